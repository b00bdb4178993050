/* identity.c - which file is behind a descriptor or a name, whatever its path.
 *
 * Invariant: the same file gives the same identity in every process on this machine.  Where the
 * kernel does not tell a file's birth (it is older than statx, or a filter forbids it), it has no
 * identity: one without the birth would be another one than the next process's. */
#define _GNU_SOURCE
#include "monitor.h"
#include "sys.h"

static uint64_t
encode_device(uint32_t major, uint32_t minor)
{
    uint64_t high = major, low = minor;

    return (low & 0xff) | (high & 0xfff) << 8 | (low & ~0xffull) << 12 | (high & ~0xfffull) << 32;
}

static uint64_t
identity_of(const struct statx *found)
{
    uint64_t birth_ns = 0;

    if ((found->stx_mask & STATX_BTIME) != 0)
        birth_ns = (uint64_t)found->stx_btime.tv_sec * 1000000000u + found->stx_btime.tv_nsec;
    return pcm_identity(encode_device(found->stx_dev_major, found->stx_dev_minor), found->stx_ino,
                        birth_ns);
}

/* fstat of a descriptor; `*identity` is that of the file, or 0.  Of the status, only what makes up
 * the file's type, its links, its place and its size is filled in. */
int
pcm_identify_fd(int fd, struct stat *status, uint64_t *identity)
{
    struct statx found;
    int failed = pcm_sys_statx(fd, "", AT_EMPTY_PATH, &found);

    *identity = 0;
    if (failed)
        return pcm_sys_fstat(fd, status);
    status->st_dev = encode_device(found.stx_dev_major, found.stx_dev_minor);
    status->st_ino = found.stx_ino;
    status->st_mode = found.stx_mode;
    status->st_nlink = found.stx_nlink;
    status->st_size = (off_t)found.stx_size;
    *identity = identity_of(&found);
    return 0;
}

/* The identity of what a name stands for, a link at its end not followed; 0: unknown. */
uint64_t
pcm_identify_name(int dirfd, const char *name)
{
    struct statx found;

    return pcm_sys_statx(dirfd, name, AT_SYMLINK_NOFOLLOW, &found) == 0 ? identity_of(&found) : 0;
}
