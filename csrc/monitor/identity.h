/* identity.h - which file is behind a descriptor or a name, whatever its path. */
#ifndef PCM_IDENTITY_H
#define PCM_IDENTITY_H

#include <stdint.h>

/* What is behind a name or a descriptor. */
typedef struct {
    uint64_t device, inode;
    uint64_t birth_ns; /* since the epoch; 0: the file system keeps none, or the kernel is silent */
    uint64_t modified_ns;
    uint64_t identity; /* 0: unknown */
    uint64_t size;     /* bytes */
    uint32_t mode, links;
} pcm_file_t;

int
pcm_find_file(int dirfd, const char *name, int flags, pcm_file_t *file);
uint64_t
pcm_identify_name(int dirfd, const char *name);

#endif
