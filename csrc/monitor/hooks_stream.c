/* hooks_stream.c - calls on a stream that produce nothing but may write its buffer, and its end.
 *
 * Invariant: a stream's descriptor is forgotten before libc closes it out of our sight. */
#define _GNU_SOURCE
#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#include "fds.h"
#include "hooks.h"
#include "real.h"
#include "state.h"
#include "stream.h"
#include "sys.h"

#include "rules.h"

static void
flushed(const FILE *stream, size_t before)
{
    size_t after = pcm_stream_buffered(stream);

    if (before > after)
        pcm_wrote(pcm_stream_fd(stream), (long)(before - after));
}

#define FLUSHING(type, stream, call)                                                               \
    size_t before = pcm_stream_buffered(stream);                                                   \
    type result = call;                                                                            \
    flushed(stream, before);                                                                       \
    return result;

PCM_EXPORT int
fflush(FILE *stream)
{
    if (stream == NULL) {
        pcm_streams_ending(PCM_REAL(fflush));
        return PCM_REAL(fflush)(NULL);
    }
    if (pcm_stream_is_wide(stream)) {
        PCM_ADVANCING(int, stream, PCM_REAL(fflush)(stream))
    }
    FLUSHING(int, stream, PCM_REAL(fflush)(stream))
}

PCM_EXPORT int
fflush_unlocked(FILE *stream)
{
    if (stream == NULL) {
        pcm_streams_ending(PCM_REAL(fflush_unlocked));
        return PCM_REAL(fflush_unlocked)(NULL);
    }
    if (pcm_stream_is_wide(stream)) {
        PCM_ADVANCING(int, stream, PCM_REAL(fflush_unlocked)(stream))
    }
    FLUSHING(int, stream, PCM_REAL(fflush_unlocked)(stream))
}

PCM_EXPORT int
fclose(FILE *stream)
{
    pcm_stream_ending(stream, PCM_REAL(fflush));
    pcm_forget_fd(pcm_stream_fd(stream));
    return PCM_REAL(fclose)(stream);
}

PCM_EXPORT int
pclose(FILE *stream)
{
    pcm_forget_fd(pcm_stream_fd(stream));
    return PCM_REAL(pclose)(stream);
}

PCM_EXPORT int
fcloseall(void)
{
    pcm_streams_ending(PCM_REAL(fflush));
    pcm_forget_all_fds();
    return PCM_REAL(fcloseall)();
}

PCM_EXPORT int
fseek(FILE *stream, long offset, int whence)
{
    FLUSHING(int, stream, PCM_REAL(fseek)(stream, offset, whence))
}

PCM_EXPORT int
fseeko(FILE *stream, off_t offset, int whence)
{
    FLUSHING(int, stream, PCM_REAL(fseeko)(stream, offset, whence))
}

PCM_EXPORT int
fseeko64(FILE *stream, off64_t offset, int whence)
{
    FLUSHING(int, stream, PCM_REAL(fseeko64)(stream, offset, whence))
}

PCM_EXPORT int
fsetpos(FILE *stream, const fpos_t *position)
{
    FLUSHING(int, stream, PCM_REAL(fsetpos)(stream, position))
}

PCM_EXPORT int
fsetpos64(FILE *stream, const fpos64_t *position)
{
    FLUSHING(int, stream, PCM_REAL(fsetpos64)(stream, position))
}

PCM_EXPORT void
rewind(FILE *stream)
{
    size_t before = pcm_stream_buffered(stream);

    PCM_REAL(rewind)(stream);
    flushed(stream, before);
}

/* What libc says on standard error, which it never buffers. */
#define SAYING(call)                                                                               \
    long from = pcm_stream_position(stderr);                                                       \
    call;                                                                                          \
    pcm_wrote(pcm_stream_fd(stderr), pcm_stream_position(stderr) - from);

PCM_EXPORT void
perror(const char *text)
{
    SAYING(PCM_REAL(perror)(text))
}

PCM_EXPORT
void
vwarn(const char *format, va_list arguments)
{
    SAYING(PCM_REAL(vwarn)(format, arguments))
}

PCM_EXPORT
void
vwarnx(const char *format, va_list arguments)
{
    SAYING(PCM_REAL(vwarnx)(format, arguments))
}

PCM_EXPORT void
verr(int status, const char *format, va_list arguments)
{
    vwarn(format, arguments);
    exit(status);
}

PCM_EXPORT void
verrx(int status, const char *format, va_list arguments)
{
    vwarnx(format, arguments);
    exit(status);
}

/* Pass the arguments behind `format` on as a list. */
#define LISTED(call)                                                                               \
    va_list list;                                                                                  \
    va_start(list, format);                                                                        \
    call;                                                                                          \
    va_end(list);

PCM_EXPORT void
warn(const char *format, ...)
{
    LISTED(vwarn(format, list))
}

PCM_EXPORT void
warnx(const char *format, ...)
{
    LISTED(vwarnx(format, list))
}

PCM_EXPORT void
err(int status, const char *format, ...)
{
    LISTED(verr(status, format, list))
}

PCM_EXPORT void
errx(int status, const char *format, ...)
{
    LISTED(verrx(status, format, list))
}
