/* stream.h - what libc's streams show of themselves, and how far a file advanced. */
#ifndef PCM_STREAM_H
#define PCM_STREAM_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "fds.h"
#include "state.h"
#include "sys.h"

/* hooks_stdio.c */
void
pcm_stream_ending(FILE *stream, int (*flush)(FILE *));
void
pcm_streams_ending(int (*flush)(FILE *));

/* A stream's descriptor, or -1: a stream into memory has none, and rubbish where it would be. */
static inline int
pcm_stream_fd(const FILE *stream)
{
    return (stream->_flags & 0x2000 /* _IO_IS_FILEBUF */) != 0 ? stream->_fileno : -1;
}

/* Bytes that wait in a stream's buffer.  Another thread may be in the middle of changing it. */
static inline size_t
pcm_stream_buffered(const FILE *stream)
{
    const char *from = stream->_IO_write_base, *to = stream->_IO_write_ptr;

    return from != NULL && from <= to && to - from <= stream->_IO_buf_end - stream->_IO_buf_base
               ? (size_t)(to - from)
               : 0;
}

static inline bool
pcm_stream_is_wide(const FILE *stream)
{
    return stream->_mode > 0;
}

/* Whether the stream's buffers hold what was put into it, and not what was read. */
static inline bool
pcm_stream_is_put(const FILE *stream)
{
    return (stream->_flags & 0x800 /* _IO_CURRENTLY_PUTTING */) != 0;
}

/* Where the next bytes go to in a stream's file; an error if it has no such place. */
static inline long
pcm_stream_position(const FILE *stream)
{
    struct stat status;
    int fd = pcm_stream_fd(stream);

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return 0;
    if ((pcm_sys_fcntl(fd, F_GETFL, 0) & O_APPEND) != 0 && pcm_sys_fstat(fd, &status) == 0)
        return status.st_size;
    return pcm_sys(SYS_lseek, fd, 0, SEEK_CUR, 0, 0, 0);
}

/* Call the next definition and count how far the stream's file advanced: where it is unknown how
 * many bytes the arguments become. */
#define PCM_ADVANCING(type, stream, call)                                                          \
    long from = pcm_stream_position(stream);                                                       \
    type result = call;                                                                            \
    pcm_wrote(pcm_stream_fd(stream), pcm_stream_position(stream) - from);                          \
    return result;

#endif
