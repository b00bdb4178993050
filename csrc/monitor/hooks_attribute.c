/* hooks_attribute.c - whatever changes what is kept about a file, rather than in it: rights, owner,
 * times, extended attributes (and with them access control lists).
 *
 * Invariant: a change of attributes is a change of the file, directory or link that has them; a
 * name is only read after the kernel took it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

#include "fds.h"
#include "hooks.h"
#include "identity.h"
#include "names.h"
#include "real.h"
#include "slots.h"
#include "state.h"
#include "wire.h"

#include "rules.h"

/* Calls that are younger than the headers, the same on every architecture. */
#define FCHMODAT2 452
#define SETXATTRAT 463
#define REMOVEXATTRAT 466
#define FILE_SETATTR 469

static const pcm_event_t change = {.use = PCM_WRITE, .changes = 1};

static int
changed_at(int failed, int dirfd, const char *name, int flags)
{
    if (failed == 0 && name != NULL)
        pcm_on_target(dirfd, name, flags, change);
    else if (failed == 0)
        pcm_on_attributes(dirfd);
    return failed;
}

static int
changed_link(int failed, const char *path)
{
    return changed_at(failed, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);
}

/* The attributes of a descriptor's file or directory changed. */
void
pcm_on_attributes(int fd)
{
    pcm_file_t file;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return;
    if (pcm_find_file(fd, "", AT_EMPTY_PATH, &file) == 0 && S_ISREG(file.mode))
        pcm_changed(fd);
    else
        pcm_on_target(fd, "", AT_EMPTY_PATH, change);
}

PCM_EXPORT int
chmod(const char *path, mode_t mode)
{
    return changed_at(PCM_REAL(chmod)(path, mode), AT_FDCWD, path, 0);
}

PCM_EXPORT int
lchmod(const char *path, mode_t mode)
{
    return changed_link(PCM_REAL(lchmod)(path, mode), path);
}

PCM_EXPORT int
fchmod(int fd, mode_t mode)
{
    return changed_at(PCM_REAL(fchmod)(fd, mode), fd, NULL, 0);
}

PCM_EXPORT int
fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
    return changed_at(PCM_REAL(fchmodat)(dirfd, path, mode, flags), dirfd, path, flags);
}

PCM_EXPORT int
chown(const char *path, uid_t owner, gid_t group)
{
    return changed_at(PCM_REAL(chown)(path, owner, group), AT_FDCWD, path, 0);
}

PCM_EXPORT int
lchown(const char *path, uid_t owner, gid_t group)
{
    return changed_link(PCM_REAL(lchown)(path, owner, group), path);
}

PCM_EXPORT int
fchown(int fd, uid_t owner, gid_t group)
{
    return changed_at(PCM_REAL(fchown)(fd, owner, group), fd, NULL, 0);
}

PCM_EXPORT int
fchownat(int dirfd, const char *path, uid_t owner, gid_t group, int flags)
{
    return changed_at(PCM_REAL(fchownat)(dirfd, path, owner, group, flags), dirfd, path, flags);
}

PCM_EXPORT int
setxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
    return changed_at(PCM_REAL(setxattr)(path, name, value, size, flags), AT_FDCWD, path, 0);
}

PCM_EXPORT int
lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
    return changed_link(PCM_REAL(lsetxattr)(path, name, value, size, flags), path);
}

PCM_EXPORT int
fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    return changed_at(PCM_REAL(fsetxattr)(fd, name, value, size, flags), fd, NULL, 0);
}

PCM_EXPORT int
removexattr(const char *path, const char *name)
{
    return changed_at(PCM_REAL(removexattr)(path, name), AT_FDCWD, path, 0);
}

PCM_EXPORT int
lremovexattr(const char *path, const char *name)
{
    return changed_link(PCM_REAL(lremovexattr)(path, name), path);
}

PCM_EXPORT int
fremovexattr(int fd, const char *name)
{
    return changed_at(PCM_REAL(fremovexattr)(fd, name), fd, NULL, 0);
}

PCM_EXPORT int
utime(const char *path, const struct utimbuf *times)
{
    return changed_at(PCM_REAL(utime)(path, times), AT_FDCWD, path, 0);
}

PCM_EXPORT int
utimes(const char *path, const struct timeval times[2])
{
    return changed_at(PCM_REAL(utimes)(path, times), AT_FDCWD, path, 0);
}

PCM_EXPORT int
lutimes(const char *path, const struct timeval times[2])
{
    return changed_link(PCM_REAL(lutimes)(path, times), path);
}

PCM_EXPORT int
futimes(int fd, const struct timeval times[2])
{
    return changed_at(PCM_REAL(futimes)(fd, times), fd, NULL, 0);
}

PCM_EXPORT int
futimesat(int dirfd, const char *path, const struct timeval times[2])
{
    return changed_at(PCM_REAL(futimesat)(dirfd, path, times), dirfd, path, 0);
}

PCM_EXPORT int
utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)
{
    return changed_at(PCM_REAL(utimensat)(dirfd, path, times, flags), dirfd, path, flags);
}

PCM_EXPORT int
futimens(int fd, const struct timespec times[2])
{
    return changed_at(PCM_REAL(futimens)(fd, times), fd, NULL, 0);
}

/* The same by their numbers, made through syscall(); false: it is none of them. */
bool
pcm_on_attribute_call(long number, const long a[6])
{
    const char *first = (const char *)(uintptr_t)a[0], *second = (const char *)(uintptr_t)a[1];

    switch (number) {
    case SYS_fchmod:
    case SYS_fchown:
    case SYS_fsetxattr:
    case SYS_fremovexattr:
        changed_at(0, (int)a[0], NULL, 0);
        break;
    case SYS_setxattr:
    case SYS_removexattr:
#ifdef SYS_chmod
    case SYS_chmod:
    case SYS_chown:
    case SYS_utime:
    case SYS_utimes:
#endif
        changed_at(0, AT_FDCWD, first, 0);
        break;
    case SYS_lsetxattr:
    case SYS_lremovexattr:
#ifdef SYS_lchown
    case SYS_lchown:
#endif
        changed_link(0, first);
        break;
    case SYS_fchmodat:
#ifdef SYS_futimesat
    case SYS_futimesat:
#endif
        changed_at(0, (int)a[0], second, 0);
        break;
    case SYS_utimensat:
    case FCHMODAT2:
        changed_at(0, (int)a[0], second, (int)a[3]);
        break;
    case SETXATTRAT:
    case REMOVEXATTRAT:
        changed_at(0, (int)a[0], second, (int)a[2]);
        break;
    case SYS_fchownat:
    case FILE_SETATTR:
        changed_at(0, (int)a[0], second, (int)a[4]);
        break;
    default:
        return false;
    }
    return true;
}
