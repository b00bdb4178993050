/* fds.h - from a descriptor to the path it stands for. */
#ifndef PCM_FDS_H
#define PCM_FDS_H

#include <stdint.h>

#include "slots.h"
#include "wire.h"

void
pcm_on_fd(int fd, pcm_event_t event);
void
pcm_on_open(int fd, int flags, int dirfd, const char *name);
void
pcm_forget_fd(int fd);
void
pcm_forget_all_fds(void);
void
pcm_split_fds(void);

static inline void
pcm_wrote(int fd, long bytes)
{
    if (bytes > 0)
        pcm_on_fd(fd, (pcm_event_t){.use = PCM_WRITE, .writes = 1, .bytes = (uint64_t)bytes});
}

static inline void
pcm_changed(int fd)
{
    pcm_on_fd(fd, (pcm_event_t){.use = PCM_WRITE, .changes = 1});
}

#endif
