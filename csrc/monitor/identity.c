/* identity.c - which file is behind a descriptor or a name, whatever its path.
 *
 * Invariant: the same file gives the same identity in every process on this machine.  Where the
 * kernel does not tell a file's birth (it is older than statx, or a filter forbids it), it has no
 * identity: one without the birth would be another one than the next process's. */
#define _GNU_SOURCE
#include <errno.h>

#include "identity.h"
#include "sys.h"
#include "wire.h"

#include "rules.h"

static uint64_t
encode_device(uint32_t major, uint32_t minor)
{
    uint64_t high = major, low = minor;

    return (low & 0xff) | (high & 0xfff) << 8 | (low & ~0xffull) << 12 | (high & ~0xfffull) << 32;
}

/* What the kernel tells without statx. */
static int
find_without_birth(int dirfd, const char *name, int flags, pcm_file_t *file)
{
    struct stat found;
    int failed = (int)pcm_sys(SYS_newfstatat, dirfd, (long)name, (long)&found, flags, 0, 0);

    if (failed != 0)
        return failed;
    *file = (pcm_file_t){
        .device = found.st_dev,
        .inode = found.st_ino,
        .mode = found.st_mode,
        .links = (uint32_t)found.st_nlink,
        .size = (uint64_t)found.st_size,
    };
    return 0;
}

/* What a name leads to; "" is `dirfd` itself if AT_EMPTY_PATH is in `flags`.  Returns 0 or the
 * kernel's error. */
int
pcm_find_file(int dirfd, const char *name, int flags, pcm_file_t *file)
{
    struct statx found;
    int failed = pcm_sys_statx(dirfd, name, flags, &found);

    if (failed == -ENOSYS || failed == -EPERM)
        return find_without_birth(dirfd, name, flags, file);
    if (failed != 0)
        return failed;
    file->device = encode_device(found.stx_dev_major, found.stx_dev_minor);
    file->inode = found.stx_ino;
    file->mode = found.stx_mode;
    file->links = found.stx_nlink;
    file->size = found.stx_size;
    file->modified_ns = (uint64_t)found.stx_mtime.tv_sec * 1000000000u + found.stx_mtime.tv_nsec;
    file->birth_ns = 0;
    if ((found.stx_mask & STATX_BTIME) != 0)
        file->birth_ns = (uint64_t)found.stx_btime.tv_sec * 1000000000u + found.stx_btime.tv_nsec;
    file->identity = pcm_identity(file->device, file->inode, file->birth_ns);
    return 0;
}

/* The identity of what a name stands for, a link at its end not followed; 0: unknown. */
uint64_t
pcm_identify_name(int dirfd, const char *name)
{
    pcm_file_t file;

    return pcm_find_file(dirfd, name, AT_SYMLINK_NOFOLLOW, &file) == 0 ? file.identity : 0;
}
