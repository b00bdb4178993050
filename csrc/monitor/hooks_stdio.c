/* hooks_stdio.c - writes that libc makes for a stream, and that never pass through `write`.
 *
 * Invariant: what a call put into the stream and does not lie in its buffer afterwards has been
 * written: buffered before + produced - buffered after.  That counts bytes exactly and a call as
 * one write.  A stream's last bytes are counted when it is closed, or when the process ends. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "fds.h"
#include "hooks.h"
#include "real.h"
#include "state.h"
#include "stream.h"

#include "rules.h"

/* Some are macros, too. */
#undef fwrite_unlocked
#undef putc
#undef fputc_unlocked
#undef putc_unlocked
#undef putchar_unlocked

int
__overflow(FILE *stream, int byte);
int
_IO_putc(int byte, FILE *stream);
int
__fprintf_chk(FILE *stream, int flag, const char *format, ...);
int
__printf_chk(int flag, const char *format, ...);
int
__vfprintf_chk(FILE *stream, int flag, const char *format, va_list arguments);
int
__vprintf_chk(int flag, const char *format, va_list arguments);

extern FILE *_IO_list_all __attribute__((weak)); /* every open stream, linked by _chain */
extern void
_IO_list_lock(void) __attribute__((weak));
extern void
_IO_list_unlock(void) __attribute__((weak));

static void
written(const FILE *stream, size_t before, size_t produced)
{
    size_t after = pcm_stream_buffered(stream);

    if (before + produced > after)
        pcm_wrote(pcm_stream_fd(stream), (long)(before + produced - after));
}

/* The stream is about to be closed, or its buffer about to be written by libc alone.  What wide
 * characters become is seen only when `flush` writes them. */
void
pcm_stream_ending(FILE *stream, int (*flush)(FILE *))
{
    long from;

    if (!pcm_stream_is_wide(stream)) {
        pcm_wrote(pcm_stream_fd(stream), (long)pcm_stream_buffered(stream));
    } else if (pcm_stream_is_put(stream)) {
        from = pcm_stream_position(stream);
        flush(stream);
        pcm_wrote(pcm_stream_fd(stream), pcm_stream_position(stream) - from);
    }
}

/* libc, which does the same right afterwards, takes the same lock. */
void
pcm_streams_ending(int (*flush)(FILE *))
{
    if (&_IO_list_all == NULL || &_IO_list_lock == NULL || !atomic_load(&pcm_active))
        return;
    _IO_list_lock();
    for (FILE *stream = _IO_list_all; stream != NULL; stream = stream->_chain)
        pcm_stream_ending(stream, flush);
    _IO_list_unlock();
}

/* Call the next definition and count what left the buffer of `stream`. */
#define COUNTED(type, stream, call, produced)                                                      \
    size_t before = pcm_stream_buffered(stream);                                                   \
    type result = call;                                                                            \
    written(stream, before, produced);                                                             \
    return result;

#define COUNT_OF(value) ((value) > 0 ? (size_t)(value) : 0)

PCM_EXPORT size_t
fwrite(const void *data, size_t size, size_t count, FILE *stream)
{
    COUNTED(size_t, stream, PCM_REAL(fwrite)(data, size, count, stream), result *size)
}

PCM_EXPORT size_t
fwrite_unlocked(const void *data, size_t size, size_t count, FILE *stream)
{
    COUNTED(size_t, stream, PCM_REAL(fwrite_unlocked)(data, size, count, stream), result *size)
}

PCM_EXPORT int
fputs(const char *text, FILE *stream)
{
    COUNTED(int, stream, PCM_REAL(fputs)(text, stream), result < 0 ? 0 : strlen(text))
}

PCM_EXPORT int
fputs_unlocked(const char *text, FILE *stream)
{
    COUNTED(int, stream, PCM_REAL(fputs_unlocked)(text, stream), result < 0 ? 0 : strlen(text))
}

PCM_EXPORT int
puts(const char *text)
{
    COUNTED(int, stdout, PCM_REAL(puts)(text), result < 0 ? 0 : strlen(text) + 1)
}

PCM_EXPORT int
fputc(int byte, FILE *stream)
{
    COUNTED(int, stream, PCM_REAL(fputc)(byte, stream), result >= 0)
}

PCM_EXPORT int
fputc_unlocked(int byte, FILE *stream)
{
    COUNTED(int, stream, PCM_REAL(fputc_unlocked)(byte, stream), result >= 0)
}

PCM_EXPORT int
putc(int byte, FILE *stream)
{
    COUNTED(int, stream, PCM_REAL(putc)(byte, stream), result >= 0)
}

PCM_EXPORT int
_IO_putc(int byte, FILE *stream)
{
    COUNTED(int, stream, PCM_REAL(_IO_putc)(byte, stream), result >= 0)
}

PCM_EXPORT int
putc_unlocked(int byte, FILE *stream)
{
    COUNTED(int, stream, PCM_REAL(putc_unlocked)(byte, stream), result >= 0)
}

PCM_EXPORT int
putchar(int byte)
{
    COUNTED(int, stdout, PCM_REAL(putchar)(byte), result >= 0)
}

PCM_EXPORT int
putchar_unlocked(int byte)
{
    COUNTED(int, stdout, PCM_REAL(putchar_unlocked)(byte), result >= 0)
}

PCM_EXPORT int
putw(int word, FILE *stream)
{
    COUNTED(int, stream, PCM_REAL(putw)(word, stream), result == 0 ? sizeof(word) : 0)
}

/* What an inlined putc calls when the buffer is full. */
PCM_EXPORT int
__overflow(FILE *stream, int byte)
{
    COUNTED(int, stream, PCM_REAL(__overflow)(stream, byte), byte != EOF && result >= 0)
}

PCM_EXPORT int
vfprintf(FILE *stream, const char *format, va_list arguments)
{
    COUNTED(int, stream, PCM_REAL(vfprintf)(stream, format, arguments), COUNT_OF(result))
}

PCM_EXPORT int
__vfprintf_chk(FILE *stream, int flag, const char *format, va_list arguments)
{
    COUNTED(int, stream, PCM_REAL(__vfprintf_chk)(stream, flag, format, arguments),
            COUNT_OF(result))
}

PCM_EXPORT int
vprintf(const char *format, va_list arguments)
{
    return vfprintf(stdout, format, arguments);
}

PCM_EXPORT int
__vprintf_chk(int flag, const char *format, va_list arguments)
{
    return __vfprintf_chk(stdout, flag, format, arguments);
}

/* Pass the arguments behind `last` to a function that takes a list. */
#define VARIADIC(last, call)                                                                       \
    va_list list;                                                                                  \
    va_start(list, last);                                                                          \
    int size = call;                                                                               \
    va_end(list);                                                                                  \
    return size;

PCM_EXPORT int
fprintf(FILE *stream, const char *format, ...)
{
    VARIADIC(format, vfprintf(stream, format, list))
}

PCM_EXPORT int
__fprintf_chk(FILE *stream, int flag, const char *format, ...)
{
    VARIADIC(format, __vfprintf_chk(stream, flag, format, list))
}

PCM_EXPORT int
printf(const char *format, ...)
{
    VARIADIC(format, vfprintf(stdout, format, list))
}

PCM_EXPORT int
__printf_chk(int flag, const char *format, ...)
{
    VARIADIC(format, __vfprintf_chk(stdout, flag, format, list))
}
