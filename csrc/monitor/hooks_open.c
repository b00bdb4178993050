/* hooks_open.c - whatever opens a file and returns a descriptor.
 *
 * Invariant: a number that was just handed out is resolved anew, whatever the table said of it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>

#include "fds.h"
#include "hooks.h"
#include "names.h"
#include "real.h"
#include "slots.h"
#include "state.h"
#include "stream.h"
#include "sys.h"
#include "wire.h"

#include "rules.h"

/* Fortified programs call these; libc declares them only for itself. */
int
__open_2(const char *path, int flags);
int
__open64_2(const char *path, int flags);
int
__openat_2(int dirfd, const char *path, int flags);
int
__openat64_2(int dirfd, const char *path, int flags);

static int
opened_at(int fd, int flags, int dirfd, const char *name)
{
    if (fd >= 0)
        pcm_on_open(fd, flags, dirfd, name);
    return fd;
}

static int
opened(int fd, int flags)
{
    return opened_at(fd, flags, AT_FDCWD, NULL);
}

/* The mode of an open that may create. */
#define MODE_ARGUMENT(flags, mode)                                                                 \
    mode_t mode = 0;                                                                               \
    if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE) {                          \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode = va_arg(arguments, mode_t);                                                          \
        va_end(arguments);                                                                         \
    }

PCM_EXPORT int
open(const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags, mode)
    return opened_at(PCM_REAL(open)(path, flags, mode), flags, AT_FDCWD, path);
}

PCM_EXPORT int
open64(const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags, mode)
    return opened_at(PCM_REAL(open64)(path, flags, mode), flags, AT_FDCWD, path);
}

PCM_EXPORT int
openat(int dirfd, const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags, mode)
    return opened_at(PCM_REAL(openat)(dirfd, path, flags, mode), flags, dirfd, path);
}

PCM_EXPORT int
openat64(int dirfd, const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags, mode)
    return opened_at(PCM_REAL(openat64)(dirfd, path, flags, mode), flags, dirfd, path);
}

PCM_EXPORT int
__open_2(const char *path, int flags)
{
    return opened_at(PCM_REAL(__open_2)(path, flags), flags, AT_FDCWD, path);
}

PCM_EXPORT int
__open64_2(const char *path, int flags)
{
    return opened_at(PCM_REAL(__open64_2)(path, flags), flags, AT_FDCWD, path);
}

PCM_EXPORT int
__openat_2(int dirfd, const char *path, int flags)
{
    return opened_at(PCM_REAL(__openat_2)(dirfd, path, flags), flags, dirfd, path);
}

PCM_EXPORT int
__openat64_2(int dirfd, const char *path, int flags)
{
    return opened_at(PCM_REAL(__openat64_2)(dirfd, path, flags), flags, dirfd, path);
}

PCM_EXPORT int
creat(const char *path, mode_t mode)
{
    return opened_at(PCM_REAL(creat)(path, mode), O_WRONLY | O_TRUNC, AT_FDCWD, path);
}

PCM_EXPORT int
creat64(const char *path, mode_t mode)
{
    return opened_at(PCM_REAL(creat64)(path, mode), O_WRONLY | O_TRUNC, AT_FDCWD, path);
}

PCM_EXPORT int
mkstemp(char *template)
{
    return opened_at(PCM_REAL(mkstemp)(template), O_RDWR, AT_FDCWD, template);
}

PCM_EXPORT int
mkstemp64(char *template)
{
    return opened_at(PCM_REAL(mkstemp64)(template), O_RDWR, AT_FDCWD, template);
}

PCM_EXPORT int
mkostemp(char *template, int flags)
{
    return opened_at(PCM_REAL(mkostemp)(template, flags), O_RDWR, AT_FDCWD, template);
}

PCM_EXPORT int
mkostemp64(char *template, int flags)
{
    return opened_at(PCM_REAL(mkostemp64)(template, flags), O_RDWR, AT_FDCWD, template);
}

PCM_EXPORT int
mkstemps(char *template, int suffix)
{
    return opened_at(PCM_REAL(mkstemps)(template, suffix), O_RDWR, AT_FDCWD, template);
}

PCM_EXPORT int
mkstemps64(char *template, int suffix)
{
    return opened_at(PCM_REAL(mkstemps64)(template, suffix), O_RDWR, AT_FDCWD, template);
}

PCM_EXPORT int
mkostemps(char *template, int suffix, int flags)
{
    return opened_at(PCM_REAL(mkostemps)(template, suffix, flags), O_RDWR, AT_FDCWD, template);
}

PCM_EXPORT int
mkostemps64(char *template, int suffix, int flags)
{
    return opened_at(PCM_REAL(mkostemps64)(template, suffix, flags), O_RDWR, AT_FDCWD, template);
}

PCM_ALIAS(__open, open)
PCM_ALIAS(__open64, open64)

PCM_EXPORT int
open_by_handle_at(int mount_fd, struct file_handle *handle, int flags)
{
    return opened(PCM_REAL(open_by_handle_at)(mount_fd, handle, flags), flags);
}

PCM_EXPORT int
shm_open(const char *name, int flags, mode_t mode)
{
    return opened(PCM_REAL(shm_open)(name, flags, mode), flags);
}

/* libc maps the semaphore's file, shared and writable. */
PCM_EXPORT sem_t *
sem_open(const char *name, int flags, ...)
{
    va_list arguments;
    char path[PCM_SEMAPHORE_PATH];

    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    unsigned value = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    sem_t *semaphore = PCM_REAL(sem_open)(name, flags, mode, value);
    if (semaphore != SEM_FAILED && pcm_semaphore_path(name, path))
        pcm_on_path(AT_FDCWD, path,
                    (pcm_event_t){.use = PCM_READ | PCM_WRITE | PCM_MAPPED, .opens = 1});
    return semaphore;
}

/* The stream's descriptor tells how it was opened, except whether that emptied the file. */
static FILE *
opened_stream(FILE *stream, const char *mode, const char *name)
{
    long flags;

    if (stream == NULL)
        return stream;
    flags = pcm_sys_fcntl(pcm_stream_fd(stream), F_GETFL, 0);
    if (flags >= 0)
        pcm_on_open(pcm_stream_fd(stream), (int)flags | (mode[0] == 'w' ? O_TRUNC : 0), AT_FDCWD,
                    name);
    return stream;
}

PCM_EXPORT FILE *
fopen(const char *path, const char *mode)
{
    return opened_stream(PCM_REAL(fopen)(path, mode), mode, path);
}

PCM_EXPORT FILE *
fopen64(const char *path, const char *mode)
{
    return opened_stream(PCM_REAL(fopen64)(path, mode), mode, path);
}

/* Even a freopen that fails has closed what there was. */
static void
stream_closing(FILE *stream)
{
    pcm_stream_ending(stream, PCM_REAL(fflush));
    pcm_forget_fd(pcm_stream_fd(stream));
}

PCM_EXPORT FILE *
freopen(const char *path, const char *mode, FILE *stream)
{
    stream_closing(stream);
    return opened_stream(PCM_REAL(freopen)(path, mode, stream), mode, path);
}

PCM_EXPORT FILE *
freopen64(const char *path, const char *mode, FILE *stream)
{
    stream_closing(stream);
    return opened_stream(PCM_REAL(freopen64)(path, mode, stream), mode, path);
}
