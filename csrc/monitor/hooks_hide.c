/* hooks_hide.c - what would show the application our descriptor.
 *
 * Invariant: a number that the application was never given is not open, and not listed, as far as
 * fstat and a look into /proc/PID/fd tell; close, dup and fcntl (hooks_fd.c) say the same. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "hooks.h"
#include "pipe.h"
#include "real.h"
#include "sys.h"
#include "text.h"

#include "rules.h"

#define SHOWN(fd, call)                                                                            \
    if (pcm_is_own(fd)) {                                                                          \
        errno = EBADF;                                                                             \
        return -1;                                                                                 \
    }                                                                                              \
    return call;

PCM_EXPORT int
fstat(int fd, struct stat *status){SHOWN(fd, PCM_REAL(fstat)(fd, status))}

PCM_EXPORT int fstat64(int fd, struct stat64 *status){SHOWN(fd, PCM_REAL(fstat64)(fd, status))}

/* What programs built for an older libc call. */
PCM_EXPORT int __fxstat(int version, int fd, struct stat *status);
PCM_EXPORT int
__fxstat64(int version, int fd, struct stat64 *status);

int
__fxstat(int version, int fd, struct stat *status)
{
    SHOWN(fd, PCM_REAL(__fxstat)(version, fd, status))
}

int
__fxstat64(int version, int fd, struct stat64 *status)
{
    SHOWN(fd, PCM_REAL(__fxstat64)(version, fd, status))
}

/* Whether an entry of a directory stands for our descriptor, this process's or one of the same number
 * of another's. */
static bool
is_ours(DIR *directory, const char *name)
{
    int own = atomic_load_explicit(&pcm_own_fd, memory_order_relaxed);
    struct stat status;
    char number[24];

    if (own < 0 || name[0] < '1' || name[0] > '9')
        return false;
    pcm_format_two(number, (uint64_t)own, '\0', 0);
    return strcmp(name, number) == 0 && pcm_sys_statat(dirfd(directory), name, &status) == 0 &&
           S_ISFIFO(status.st_mode) && pcm_pipe_is(status.st_dev, status.st_ino);
}

PCM_EXPORT struct dirent *
readdir(DIR *directory)
{
    struct dirent *entry;

    do
        entry = PCM_REAL(readdir)(directory);
    while (entry != NULL && is_ours(directory, entry->d_name));
    return entry;
}

PCM_EXPORT struct dirent64 *
readdir64(DIR *directory)
{
    struct dirent64 *entry;

    do
        entry = PCM_REAL(readdir64)(directory);
    while (entry != NULL && is_ours(directory, entry->d_name));
    return entry;
}
