/* hooks_name.c - whatever changes which file a name stands for.
 *
 * Invariant: what is reported last of a name says whether it was taken away after all that was counted
 * of it.  What gives a file another name is in hooks_rename.c. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "environment.h"
#include "fds.h"
#include "hooks.h"
#include "identity.h"
#include "names.h"
#include "real.h"
#include "report.h"
#include "slots.h"
#include "state.h"
#include "sys.h"
#include "tell.h"
#include "walk.h"
#include "wire.h"

#include "rules.h"

/* `failed` is what the call returned: 0 if the name now stands for another file, or for none. */
static int
changed_name(int failed, int dirfd, const char *path)
{
    if (!failed)
        pcm_on_path(dirfd, path, (pcm_event_t){.use = PCM_WRITE, .changes = 1});
    return failed;
}

/* The same for a call that took the name away. */
int
pcm_removed_name(int failed, int dirfd, const char *path)
{
    if (!failed)
        pcm_on_path(dirfd, path, (pcm_event_t){.use = PCM_WRITE | PCM_REMOVED, .changes = 1});
    return failed;
}

PCM_EXPORT int
unlink(const char *path)
{
    return pcm_removed_name(PCM_REAL(unlink)(path), AT_FDCWD, path);
}

PCM_EXPORT int
unlinkat(int dirfd, const char *path, int flags)
{
    int failed = PCM_REAL(unlinkat)(dirfd, path, flags);

    return (flags & AT_REMOVEDIR) != 0 ? pcm_changed_directory(failed, dirfd, path)
                                       : pcm_removed_name(failed, dirfd, path);
}

PCM_EXPORT int
remove(const char *path)
{
    struct stat status;
    bool directory = atomic_load_explicit(&pcm_active, memory_order_relaxed) &&
                     pcm_sys_lstatat(AT_FDCWD, path, &status) == 0 && S_ISDIR(status.st_mode);
    int failed = PCM_REAL(remove)(path);

    return directory ? pcm_changed_directory(failed, AT_FDCWD, path)
                     : pcm_removed_name(failed, AT_FDCWD, path);
}

static int
made_link(int failed, int dirfd, const char *path)
{
    if (!failed)
        pcm_on_path(dirfd, path, (pcm_event_t){.use = PCM_WRITE | PCM_LINK, .changes = 1});
    return failed;
}

PCM_EXPORT int
symlink(const char *target, const char *path)
{
    return made_link(PCM_REAL(symlink)(target, path), AT_FDCWD, path);
}

PCM_EXPORT int
symlinkat(const char *target, int dirfd, const char *path)
{
    return made_link(PCM_REAL(symlinkat)(target, dirfd, path), dirfd, path);
}

/* "<prefix><name>" with the slashes in front of the name left out; false: it is too long. */
static bool
shared_memory_path(const char *prefix, const char *name, char *out)
{
    size_t size = strlen(prefix);

    while (*name == '/')
        name++;
    if (size + strlen(name) >= PCM_SEMAPHORE_PATH)
        return false;
    memcpy(out, prefix, size);
    memcpy(out + size, name, strlen(name) + 1);
    return true;
}

bool
pcm_semaphore_path(const char *name, char *out)
{
    return shared_memory_path("/dev/shm/sem.", name, out);
}

PCM_EXPORT int
shm_unlink(const char *name)
{
    int failed = PCM_REAL(shm_unlink)(name);
    char path[PCM_SEMAPHORE_PATH];

    if (!failed && shared_memory_path("/dev/shm/", name, path))
        pcm_removed_name(0, AT_FDCWD, path);
    return failed;
}

PCM_EXPORT int
sem_unlink(const char *name)
{
    int failed = PCM_REAL(sem_unlink)(name);
    char path[PCM_SEMAPHORE_PATH];

    if (!failed && pcm_semaphore_path(name, path))
        pcm_removed_name(0, AT_FDCWD, path);
    return failed;
}

/* A regular file can be made this way, too; nodes and pipes hold nothing to be copied. */
static bool
makes_file(mode_t mode)
{
    return (mode & S_IFMT) == S_IFREG || (mode & S_IFMT) == 0;
}

PCM_EXPORT int
mknod(const char *path, mode_t mode, dev_t device)
{
    int failed = PCM_REAL(mknod)(path, mode, device);

    return makes_file(mode) ? changed_name(failed, AT_FDCWD, path) : failed;
}

PCM_EXPORT int
mknodat(int dirfd, const char *path, mode_t mode, dev_t device)
{
    int failed = PCM_REAL(mknodat)(dirfd, path, mode, device);

    return makes_file(mode) ? changed_name(failed, dirfd, path) : failed;
}

/* Where the new root lies, into `out` of PCM_PATH_MAX bytes; its size, 0 for that of all, or -1. */
static long
root_path(const char *path, char *out)
{
    pcm_file_t file;
    long size =
        pcm_find_file(AT_FDCWD, path, 0, &file) == 0 ? pcm_walk(AT_FDCWD, path, &file, out) : -1;

    if (size == 1)
        return 0;
    return size < PCM_ROOT_MAX ? size : -1;
}

/* From here on paths begin elsewhere. */
PCM_EXPORT int
chroot(const char *path)
{
    bool active = atomic_load_explicit(&pcm_active, memory_order_relaxed);
    char *root = active ? pcm_scratch_acquire() : NULL;
    long size = root == NULL ? -1 : root_path(path, root);
    int failed = PCM_REAL(chroot)(path);

    if (!failed && size >= 0) {
        pcm_tell(size > 0 ? root : "/", size > 0 ? (size_t)size : 1, PCM_LOOKED | PCM_DIRECTORY,
                 NULL);
        memcpy(pcm_config.root, root, (size_t)size);
        pcm_config.root[size] = '\0';
        pcm_config.root_size = (size_t)size;
        pcm_environment_describe_root();
    } else if (!failed && active) {
        pcm_mark_lost(PCM_LOST_PATH);
    }
    if (active)
        pcm_scratch_release(root);
    pcm_forget_cwd();
    pcm_forget_all_fds();
    return failed;
}
