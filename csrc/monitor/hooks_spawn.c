/* hooks_spawn.c - what a spawned child does, out of our sight, before it becomes a program.
 *
 * Invariant: what it is going to open is told when that is asked for.  Where it will have gone to
 * another directory first, a name relative to that is lost, and said to be. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>

#include "fds.h"
#include "hooks.h"
#include "names.h"
#include "real.h"
#include "report.h"
#include "state.h"
#include "sys.h"

#include "rules.h"

/* A word that libc keeps free for its future, and empty: whether the child changes its directory. */
static int *
elsewhere(posix_spawn_file_actions_t *actions)
{
    return &actions->__pad[sizeof(actions->__pad) / sizeof(actions->__pad[0]) - 1];
}

static void
on_addopen(const char *path, int flags)
{
    static const uint32_t uses[] = {
        [O_RDONLY] = PCM_READ, [O_WRONLY] = PCM_WRITE, [O_RDWR] = PCM_READ | PCM_WRITE};
    pcm_event_t event = {.use = uses[(flags & O_ACCMODE) % 3], .opens = 1};
    struct stat status;

    if (pcm_sys_statat(AT_FDCWD, path, &status) == 0) {
        event.changes = (flags & O_TRUNC) != 0 && status.st_size > 0;
        if (S_ISREG(status.st_mode))
            pcm_on_target(AT_FDCWD, path, 0, event);
    } else if ((flags & O_CREAT) != 0) {
        pcm_on_path(AT_FDCWD, path, event);
    }
}

PCM_EXPORT
int
posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd, const char *path,
                                 int flags, mode_t mode)
{
    int failed = PCM_REAL(posix_spawn_file_actions_addopen)(actions, fd, path, flags, mode);

    if (failed || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return failed;
    if (path[0] == '/' || *elsewhere(actions) == 0)
        on_addopen(path, flags);
    else
        pcm_mark_lost(PCM_LOST_PATH);
    return 0;
}

PCM_EXPORT
int
posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions, const char *path)
{
    int failed = PCM_REAL(posix_spawn_file_actions_addchdir_np)(actions, path);

    if (!failed)
        *elsewhere(actions) = 1;
    return failed;
}

PCM_EXPORT
int
posix_spawn_file_actions_addfchdir_np(posix_spawn_file_actions_t *actions, int fd)
{
    int failed = PCM_REAL(posix_spawn_file_actions_addfchdir_np)(actions, fd);

    if (!failed)
        *elsewhere(actions) = 1;
    return failed;
}
