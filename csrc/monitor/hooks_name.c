/* hooks_name.c - whatever changes which file a name stands for.
 *
 * Invariant: a rename also changes what open descriptors are called, so that all of them are
 * resolved again; a renamed directory is reported as such, since every path below it changed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "environment.h"
#include "fds.h"
#include "flush.h"
#include "hooks.h"
#include "identity.h"
#include "looks.h"
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

/* The name now stands for a file that had another one, or still has it. */
static int
moved_to_name(int failed, int dirfd, const char *path)
{
    pcm_event_t event = {.use = PCM_WRITE, .changes = 1};

    if (failed || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return failed;
    event.identity = pcm_identify_name(dirfd, path);
    pcm_on_path(dirfd, path, event);
    return 0;
}

static void
on_directory_renamed(int old_dirfd, const char *old, int new_dirfd, const char *new, uint64_t now)
{
    pcm_record_t record = {.kind = PCM_KIND_RENAMED};
    char *from = pcm_scratch_acquire(), *to = pcm_scratch_acquire();
    size_t from_size = 0, to_size = 0;

    if (from != NULL && to != NULL) {
        from_size = pcm_name_path(old_dirfd, old, from);
        to_size = pcm_name_path(new_dirfd, new, to);
    }
    if (from_size > 0 && to_size > 0 && from_size + to_size < PCM_PATH_MAX) {
        from[from_size] = '\0';
        memcpy(from + from_size + 1, to, to_size);
        record.first_ns = record.last_ns = now;
        pcm_flush_all(); /* what was reported under the old names comes first */
        pcm_report(&record, from, from_size + 1 + to_size, NULL);
    } else {
        pcm_mark_lost(PCM_LOST_PATH);
    }
    pcm_scratch_release(from);
    pcm_scratch_release(to);
}

static void
on_renamed_at(uint64_t now, int old_dirfd, const char *old, int new_dirfd, const char *new)
{
    struct stat status;

    if (pcm_sys_lstatat(new_dirfd, new, &status) == 0 && S_ISDIR(status.st_mode)) {
        on_directory_renamed(old_dirfd, old, new_dirfd, new, now);
    } else {
        changed_name(0, old_dirfd, old);
        moved_to_name(0, new_dirfd, new);
    }
    pcm_forget_all_fds();
}

static int
on_renamed(int failed, int old_dirfd, const char *old, int new_dirfd, const char *new)
{
    if (failed || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return failed;
    on_renamed_at(pcm_now(), old_dirfd, old, new_dirfd, new);
    return 0;
}

PCM_EXPORT int
rename(const char *old, const char *new)
{
    return on_renamed(PCM_REAL(rename)(old, new), AT_FDCWD, old, AT_FDCWD, new);
}

PCM_EXPORT int
renameat(int old_dirfd, const char *old, int new_dirfd, const char *new)
{
    return on_renamed(PCM_REAL(renameat)(old_dirfd, old, new_dirfd, new), old_dirfd, old, new_dirfd,
                      new);
}

/* After an exchange either name stands for what the other did: two renames of one time. */
int
pcm_on_rename2(int failed, int old_dirfd, const char *old, int new_dirfd, const char *new,
               unsigned flags)
{
    uint64_t now;

    if (failed || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return failed;
    now = pcm_now();
    if ((flags & RENAME_EXCHANGE) != 0)
        on_renamed_at(now, new_dirfd, new, old_dirfd, old);
    on_renamed_at(now, old_dirfd, old, new_dirfd, new);
    return 0;
}

PCM_EXPORT int
renameat2(int old_dirfd, const char *old, int new_dirfd, const char *new, unsigned flags)
{
    return pcm_on_rename2(PCM_REAL(renameat2)(old_dirfd, old, new_dirfd, new, flags), old_dirfd,
                          old, new_dirfd, new, flags);
}

PCM_EXPORT int
unlink(const char *path)
{
    return changed_name(PCM_REAL(unlink)(path), AT_FDCWD, path);
}

PCM_EXPORT int
unlinkat(int dirfd, const char *path, int flags)
{
    int failed = PCM_REAL(unlinkat)(dirfd, path, flags);

    return (flags & AT_REMOVEDIR) != 0 ? pcm_changed_directory(failed, dirfd, path)
                                       : changed_name(failed, dirfd, path);
}

PCM_EXPORT int
remove(const char *path)
{
    struct stat status;
    bool directory = atomic_load_explicit(&pcm_active, memory_order_relaxed) &&
                     pcm_sys_lstatat(AT_FDCWD, path, &status) == 0 && S_ISDIR(status.st_mode);
    int failed = PCM_REAL(remove)(path);

    return directory ? pcm_changed_directory(failed, AT_FDCWD, path)
                     : changed_name(failed, AT_FDCWD, path);
}

/* The old name is needed too: without it the new one could not be made. */
int
pcm_on_link(int failed, int old_dirfd, const char *old, int new_dirfd, const char *new, int flags)
{
    if (failed || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return failed;
    /* What a descriptor stands for may have got its first name. */
    if ((flags & (AT_EMPTY_PATH | AT_SYMLINK_FOLLOW)) != 0)
        pcm_forget_all_fds();
    pcm_on_look(old_dirfd, old, (flags & AT_SYMLINK_FOLLOW) != 0, NULL);
    return moved_to_name(0, new_dirfd, new);
}

PCM_EXPORT int
link(const char *old, const char *new)
{
    return pcm_on_link(PCM_REAL(link)(old, new), AT_FDCWD, old, AT_FDCWD, new, 0);
}

PCM_EXPORT int
linkat(int old_dirfd, const char *old, int new_dirfd, const char *new, int flags)
{
    return pcm_on_link(PCM_REAL(linkat)(old_dirfd, old, new_dirfd, new, flags), old_dirfd, old,
                       new_dirfd, new, flags);
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
        changed_name(0, AT_FDCWD, path);
    return failed;
}

PCM_EXPORT int
sem_unlink(const char *name)
{
    int failed = PCM_REAL(sem_unlink)(name);
    char path[PCM_SEMAPHORE_PATH];

    if (!failed && pcm_semaphore_path(name, path))
        changed_name(0, AT_FDCWD, path);
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
