/* pipe.h - the one descriptor of ours in the application's table. */
#ifndef PCM_PIPE_H
#define PCM_PIPE_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define PCM_OWN_FD 1024  /* the pipe's number, where the limit on descriptors is not lower */
#define PCM_PIPE_TEXT 96 /* "PRECOPY_PIPE=" and three numbers */
#define PCM_NEAR 8       /* the application's numbers come that near, and ours moves away */

extern _Atomic int pcm_own_fd; /* negative: none */

void
pcm_pipe_begin(const char *text);
bool
pcm_pipe_write(const struct iovec *parts, int count, size_t size);
bool
pcm_pipe_write_to(int fd, const struct iovec *parts, int count, size_t size, uint64_t before);
bool
pcm_pipe_hand_on(void);
void
pcm_pipe_describe(char *out);
bool
pcm_pipe_is(uint64_t dev, uint64_t ino);
bool
pcm_is_own(int fd);
void
pcm_pipe_settle(void);
void
pcm_make_room(int wanted);
void
pcm_make_way(void);

/* The application was given a descriptor. */
static inline void
pcm_pipe_approached(int fd)
{
    int own = atomic_load_explicit(&pcm_own_fd, memory_order_relaxed);

    if (fd > own - PCM_NEAR && own >= 0)
        pcm_make_way();
}

#endif
