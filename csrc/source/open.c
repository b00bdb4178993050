/*
 * open.c -- hold the file first, look at it, then open what is held.
 */
#define _GNU_SOURCE
#include "open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READING = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY };

static int
open_retrying(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

/* O_NOATIME is for a file's owner and root. */
static int
open_quietly(const char *path, int flags)
{
    int fd = open_retrying(path, flags | O_NOATIME);
    return fd == -EPERM ? open_retrying(path, flags) : fd;
}

static bool
is_the_file(int fd, uint64_t dev, uint64_t ino)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_dev == dev &&
           status.st_ino == ino;
}

int
pcs_open(const char *path, uint64_t dev, uint64_t ino)
{
    char held[40];
    int fd, holder = open_retrying(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    if (holder < 0)
        return holder;
    if (!is_the_file(holder, dev, ino)) {
        close(holder);
        return -ESTALE;
    }
    snprintf(held, sizeof held, "/proc/self/fd/%d", holder);
    fd = open_quietly(held, READING & ~O_NOFOLLOW);
    if (fd == -ENOENT || fd == -ENOTDIR) /* no /proc here */
        fd = open_quietly(path, READING);
    close(holder);
    if (fd >= 0 && !is_the_file(fd, dev, ino)) {
        close(fd);
        return -ESTALE;
    }
    return fd;
}
