/* hooks_look.c - whatever looks at a file by its name: status, rights, where a link leads.
 *
 * Invariant: only a look that succeeded is reported, so the name can be read; what is not there is
 * not needed at the destination either. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "hooks.h"
#include "identity.h"
#include "looks.h"
#include "real.h"

#include "rules.h"

/* What programs that were linked with an older libc call; headers declare none of them. */
int
__xstat(int version, const char *name, struct stat *status);
int
__xstat64(int version, const char *name, struct stat64 *status);
int
__lxstat(int version, const char *name, struct stat *status);
int
__lxstat64(int version, const char *name, struct stat64 *status);
int
__fxstatat(int version, int dirfd, const char *name, struct stat *status, int flags);
int
__fxstatat64(int version, int dirfd, const char *name, struct stat64 *status, int flags);
/* Fortified programs call these. */
ssize_t
__readlink_chk(const char *name, char *out, size_t size, size_t room);
ssize_t
__readlinkat_chk(int dirfd, const char *name, char *out, size_t size, size_t room);
char *
__realpath_chk(const char *name, char *out, size_t room);

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one layout on 64-bit machines");

/* `failed` is what the call returned. */
static int
found(int failed, int dirfd, const char *name, bool follow, const void *result)
{
    const struct stat *status = result;

    if (failed == 0) {
        pcm_file_t file = {.device = status->st_dev, .inode = status->st_ino};
        file.mode = status->st_mode;
        pcm_on_look(dirfd, name, follow, &file);
    }
    return failed;
}

static bool
follows(int flags)
{
    return (flags & AT_SYMLINK_NOFOLLOW) == 0;
}

PCM_EXPORT int
stat(const char *name, struct stat *status)
{
    return found(PCM_REAL(stat)(name, status), AT_FDCWD, name, true, status);
}

PCM_EXPORT int
stat64(const char *name, struct stat64 *status)
{
    return found(PCM_REAL(stat64)(name, status), AT_FDCWD, name, true, status);
}

PCM_EXPORT int
lstat(const char *name, struct stat *status)
{
    return found(PCM_REAL(lstat)(name, status), AT_FDCWD, name, false, status);
}

PCM_EXPORT int
lstat64(const char *name, struct stat64 *status)
{
    return found(PCM_REAL(lstat64)(name, status), AT_FDCWD, name, false, status);
}

PCM_EXPORT int
fstatat(int dirfd, const char *name, struct stat *status, int flags)
{
    return found(PCM_REAL(fstatat)(dirfd, name, status, flags), dirfd, name, follows(flags),
                 status);
}

PCM_EXPORT int
fstatat64(int dirfd, const char *name, struct stat64 *status, int flags)
{
    return found(PCM_REAL(fstatat64)(dirfd, name, status, flags), dirfd, name, follows(flags),
                 status);
}

PCM_EXPORT int
__xstat(int version, const char *name, struct stat *status)
{
    return found(PCM_REAL(__xstat)(version, name, status), AT_FDCWD, name, true, status);
}

PCM_EXPORT int
__xstat64(int version, const char *name, struct stat64 *status)
{
    return found(PCM_REAL(__xstat64)(version, name, status), AT_FDCWD, name, true, status);
}

PCM_EXPORT int
__lxstat(int version, const char *name, struct stat *status)
{
    return found(PCM_REAL(__lxstat)(version, name, status), AT_FDCWD, name, false, status);
}

PCM_EXPORT int
__lxstat64(int version, const char *name, struct stat64 *status)
{
    return found(PCM_REAL(__lxstat64)(version, name, status), AT_FDCWD, name, false, status);
}

PCM_EXPORT int
__fxstatat(int version, int dirfd, const char *name, struct stat *status, int flags)
{
    return found(PCM_REAL(__fxstatat)(version, dirfd, name, status, flags), dirfd, name,
                 follows(flags), status);
}

PCM_EXPORT int
__fxstatat64(int version, int dirfd, const char *name, struct stat64 *status, int flags)
{
    return found(PCM_REAL(__fxstatat64)(version, dirfd, name, status, flags), dirfd, name,
                 follows(flags), status);
}

/* Calls that say nothing of what they found. */
static int
looked(int failed, int dirfd, const char *name, bool follow)
{
    if (failed == 0)
        pcm_on_look(dirfd, name, follow, NULL);
    return failed;
}

static ssize_t
looked_size(ssize_t result, int dirfd, const char *name, bool follow)
{
    if (result >= 0)
        pcm_on_look(dirfd, name, follow, NULL);
    return result;
}

PCM_EXPORT int
statx(int dirfd, const char *name, int flags, unsigned mask, struct statx *status)
{
    return looked(PCM_REAL(statx)(dirfd, name, flags, mask, status), dirfd, name, follows(flags));
}

PCM_EXPORT int
access(const char *name, int mode)
{
    return looked(PCM_REAL(access)(name, mode), AT_FDCWD, name, true);
}

PCM_EXPORT int
faccessat(int dirfd, const char *name, int mode, int flags)
{
    return looked(PCM_REAL(faccessat)(dirfd, name, mode, flags), dirfd, name, follows(flags));
}

PCM_EXPORT int
euidaccess(const char *name, int mode)
{
    return looked(PCM_REAL(euidaccess)(name, mode), AT_FDCWD, name, true);
}

PCM_EXPORT int
eaccess(const char *name, int mode)
{
    return looked(PCM_REAL(eaccess)(name, mode), AT_FDCWD, name, true);
}

PCM_EXPORT ssize_t
readlink(const char *name, char *out, size_t size)
{
    return looked_size(PCM_REAL(readlink)(name, out, size), AT_FDCWD, name, false);
}

PCM_EXPORT ssize_t
readlinkat(int dirfd, const char *name, char *out, size_t size)
{
    return looked_size(PCM_REAL(readlinkat)(dirfd, name, out, size), dirfd, name, false);
}

PCM_EXPORT ssize_t
__readlink_chk(const char *name, char *out, size_t size, size_t room)
{
    return looked_size(PCM_REAL(__readlink_chk)(name, out, size, room), AT_FDCWD, name, false);
}

PCM_EXPORT ssize_t
__readlinkat_chk(int dirfd, const char *name, char *out, size_t size, size_t room)
{
    return looked_size(PCM_REAL(__readlinkat_chk)(dirfd, name, out, size, room), dirfd, name,
                       false);
}

static char *
resolved(char *result, const char *name)
{
    if (result != NULL)
        pcm_on_look(AT_FDCWD, name, true, NULL);
    return result;
}

PCM_EXPORT char *
realpath(const char *name, char *out)
{
    return resolved(PCM_REAL(realpath)(name, out), name);
}

PCM_EXPORT char *
__realpath_chk(const char *name, char *out, size_t room)
{
    return resolved(PCM_REAL(__realpath_chk)(name, out, room), name);
}

PCM_EXPORT char *
canonicalize_file_name(const char *name)
{
    return resolved(PCM_REAL(canonicalize_file_name)(name), name);
}

PCM_EXPORT int
inotify_add_watch(int fd, const char *name, uint32_t mask)
{
    int watch = PCM_REAL(inotify_add_watch)(fd, name, mask);

    if (watch >= 0)
        pcm_on_look(AT_FDCWD, name, (mask & IN_DONT_FOLLOW) == 0, NULL);
    return watch;
}

PCM_EXPORT int
statfs(const char *name, struct statfs *status)
{
    return looked(PCM_REAL(statfs)(name, status), AT_FDCWD, name, true);
}

PCM_EXPORT int
statfs64(const char *name, struct statfs64 *status)
{
    return looked(PCM_REAL(statfs64)(name, status), AT_FDCWD, name, true);
}

PCM_EXPORT int
statvfs(const char *name, struct statvfs *status)
{
    return looked(PCM_REAL(statvfs)(name, status), AT_FDCWD, name, true);
}

PCM_EXPORT int
statvfs64(const char *name, struct statvfs64 *status)
{
    return looked(PCM_REAL(statvfs64)(name, status), AT_FDCWD, name, true);
}

PCM_EXPORT ssize_t
getxattr(const char *name, const char *attribute, void *value, size_t size)
{
    return looked_size(PCM_REAL(getxattr)(name, attribute, value, size), AT_FDCWD, name, true);
}

PCM_EXPORT ssize_t
lgetxattr(const char *name, const char *attribute, void *value, size_t size)
{
    return looked_size(PCM_REAL(lgetxattr)(name, attribute, value, size), AT_FDCWD, name, false);
}

PCM_EXPORT ssize_t
listxattr(const char *name, char *list, size_t size)
{
    return looked_size(PCM_REAL(listxattr)(name, list, size), AT_FDCWD, name, true);
}

PCM_EXPORT ssize_t
llistxattr(const char *name, char *list, size_t size)
{
    return looked_size(PCM_REAL(llistxattr)(name, list, size), AT_FDCWD, name, false);
}

PCM_EXPORT int
name_to_handle_at(int dirfd, const char *name, struct file_handle *handle, int *mount, int flags)
{
    return looked(PCM_REAL(name_to_handle_at)(dirfd, name, handle, mount, flags), dirfd, name,
                  (flags & AT_SYMLINK_FOLLOW) != 0);
}
