/* pipe.c - the one descriptor of ours in the application's table: the pipe's, to be written into.
 *
 * Invariants: it is opened only while no other thread can look at the table.  Its number is that
 * of the limit on descriptors or lies behind it, where that can be had: the application then has
 * all of its numbers, and a walk over them does not meet ours; elsewhere it moves away, or is given
 * up, before the application needs the number.  It is compared with the pipe (device, inode, still
 * named) before every write.  It is closed by exec, except where a program could not open the pipe
 * by name: that one inherits it, and its environment says so. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "apart.h"
#include "directory.h"
#include "pipe.h"
#include "state.h"
#include "sys.h"
#include "text.h"
#include "thread.h"

#include "rules.h"

#define GIVEN_UP (-2) /* there is no number for it */

#define PATIENCE_NS 1000000000u  /* for threads that write into the pipe */
#define REOPENING_NS 1000000000u /* between two looks for a pipe that was not there */

_Atomic int pcm_own_fd = -1;
static _Atomic uint64_t pipe_dev, pipe_ino;

static bool
is_the_pipe(int fd)
{
    struct stat status;

    return pcm_sys_fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode) &&
           status.st_dev == atomic_load(&pipe_dev) && status.st_ino == atomic_load(&pipe_ino) &&
           status.st_nlink > 0;
}

/* Whether a file is the pipe. */
bool
pcm_pipe_is(uint64_t dev, uint64_t ino)
{
    return ino != 0 && ino == atomic_load(&pipe_ino) && dev == atomic_load(&pipe_dev);
}

static int
duplicate(int fd, uint64_t least)
{
    return least > INT_MAX ? -1 : (int)pcm_sys_fcntl(fd, F_DUPFD_CLOEXEC, (long)least);
}

/* The lowest free number at or behind the limit `soft`, which is lifted for a moment: nobody may
 * see it. */
static int
duplicate_behind(int fd, const uint64_t limit[2])
{
    uint64_t lifted[2] = {limit[0] + 16, limit[1]};
    int high;

    if (lifted[0] > lifted[1]) /* takes a privilege */
        lifted[1] = lifted[0];
    if (pcm_sys(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)lifted, 0, 0, 0) < 0)
        return -1;
    high = duplicate(fd, limit[0]);
    pcm_sys(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)limit, 0, 0, 0);
    return high;
}

/* A duplicate under a number that the application does not ask for; `alone`: nobody else sees the
 * limit. */
static int
duplicate_out_of_the_way(int fd, uint64_t least, bool alone)
{
    uint64_t limit[2] = {0, 0};
    int high = -1;

    if (pcm_sys(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)limit, 0, 0) < 0)
        return -1;
    if (least < limit[0])
        return duplicate(fd, least);
    if (alone && limit[0] <= INT_MAX / 2)
        high = duplicate_behind(fd, limit);
    return high >= 0 || limit[0] < 64 ? high : duplicate(fd, limit[0] - 1);
}

/* Open the pipe; only this thread sees the table. */
static int
open_pipe(void)
{
    int directory = pcm_directory_open(PCM_OURS), low = -1, high = -1;
    struct stat status;

    if (directory >= 0) {
        low = pcm_directory_pipe(directory);
        pcm_sys_close(directory);
    }
    if (low >= 0 && pcm_sys_fstat(low, &status) == 0) {
        high = duplicate_out_of_the_way(low, PCM_OWN_FD, true);
        atomic_store(&pipe_dev, status.st_dev);
        atomic_store(&pipe_ino, status.st_ino);
    }
    if (low >= 0)
        pcm_sys_close(low);
    return high;
}

/* Look for the pipe; negative: there is none now, or none can be opened out of sight. */
static int
reopen(int old)
{
    uint64_t now = pcm_now(), since = atomic_load(&pcm_state->reopening_ns);
    struct stat status;
    int fd;

    /* What a vfork child opens is not its parent's. */
    if (old == GIVEN_UP || !pcm_owns_memory() || (since != 0 && now - since < REOPENING_NS) ||
        !pcm_is_alone())
        return -1;
    atomic_store(&pcm_state->reopening_ns, now);
    /* A pipe that lost its name is still ours; any other file is the application's by now. */
    if (old >= 0 && pcm_sys_fstat(old, &status) == 0 && S_ISFIFO(status.st_mode) &&
        pcm_pipe_is(status.st_dev, status.st_ino))
        pcm_sys_close(old);
    fd = open_pipe();
    atomic_store(&pcm_own_fd, fd);
    if (fd >= 0)
        atomic_store(&pcm_state->reopening_ns, 0);
    return fd;
}

/* The library was loaded: the process has one thread, whose program has not begun; `text` is what
 * the pipe that it inherited, if it did, said of itself. */
void
pcm_pipe_begin(const char *text)
{
    uint64_t number = pcm_parse_number(&text), dev = pcm_parse_number(&text);
    uint64_t ino = pcm_parse_number(&text);
    int fd = (int)number;
    long flags;

    if (ino != 0 && number >= 64 && number < INT_MAX) {
        atomic_store(&pipe_dev, dev);
        atomic_store(&pipe_ino, ino);
        flags = pcm_sys_fcntl(fd, F_GETFL, 0);
        if (flags >= 0 && (flags & O_ACCMODE) == O_WRONLY && is_the_pipe(fd)) {
            pcm_sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
            atomic_store(&pcm_own_fd, fd);
        }
    }
    if (atomic_load(&pcm_own_fd) < 0)
        atomic_store(&pcm_own_fd, open_pipe());
}

/* Whether a program that is started now could open this pipe by name. */
static bool
is_reachable(void)
{
    char *name = pcm_scratch_acquire();
    struct stat status;
    bool found;

    if (name == NULL)
        return false;
    memcpy(name, pcm_config.directory, pcm_config.directory_size);
    memcpy(name + pcm_config.directory_size, "/pipe", sizeof("/pipe"));
    found = pcm_sys_lstatat(AT_FDCWD, name, &status) == 0 &&
            pcm_pipe_is(status.st_dev, status.st_ino) &&
            status.st_uid == (uint32_t)pcm_sys(SYS_geteuid, 0, 0, 0, 0, 0, 0);
    pcm_scratch_release(name);
    return found;
}

/* "number:device:inode", for whoever inherits the descriptor. */
void
pcm_pipe_describe(char *out)
{
    out = pcm_format_two(out, (uint64_t)atomic_load(&pcm_own_fd), ':', atomic_load(&pipe_dev));
    pcm_append_number(pcm_append(out, ":", 1), atomic_load(&pipe_ino));
}

/* Before a program is started from here: whether it needs the descriptor, because it could not open
 * the pipe by name; then it will have it.  A vfork child decides for itself alone. */
bool
pcm_pipe_hand_on(void)
{
    int own = atomic_load(&pcm_own_fd);
    bool on = own >= 0 && is_the_pipe(own) && !is_reachable();

    if (on)
        pcm_sys_fcntl(own, F_SETFD, 0);
    return on;
}

/* Write to a pipe; all signals are blocked, `before` were before.  Without a reader a write is answered
 * by a signal: unless one was pending before, which takes that it was blocked, that one is ours and
 * is taken here. */
bool
pcm_pipe_write_to(int fd, const struct iovec *parts, int count, size_t size, uint64_t before)
{
    const uint64_t set = 1ull << (SIGPIPE - 1);
    const struct timespec none = {0};
    uint64_t pending = 0;
    long written;

    if ((before & set) != 0)
        pcm_sys(SYS_rt_sigpending, (long)&pending, sizeof(pending), 0, 0, 0, 0);
    written = pcm_sys_writev(fd, parts, count);
    if (written == -EPIPE && (pending & set) == 0)
        pcm_sys(SYS_rt_sigtimedwait, (long)&set, 0, (long)&none, sizeof(set), 0, 0);
    return written == (long)size;
}

/* Count this thread among those who may write to the number that ours is now.  There are two counts,
 * so that whoever waits for the users of a former number does not wait for those of the next. */
static _Atomic uint32_t *
enter(void)
{
    for (;;) {
        uint32_t turn = atomic_load(&pcm_state->pipe_turn);
        _Atomic uint32_t *users = &pcm_state->pipe_users[turn % 2];
        atomic_fetch_add(users, 1);
        if (atomic_load(&pcm_state->pipe_turn) == turn)
            return users;
        atomic_fetch_sub(users, 1);
    }
}

/* Write into the pipe, if the descriptor is the pipe's. */
bool
pcm_pipe_write(const struct iovec *parts, int count, size_t size)
{
    uint64_t before = pcm_signals_block();
    _Atomic uint32_t *users = enter();
    int fd = atomic_load(&pcm_own_fd);
    bool done;

    if (fd < 0 || !is_the_pipe(fd))
        fd = reopen(fd);
    done = fd >= 0 && pcm_pipe_write_to(fd, parts, count, size, before);
    atomic_fetch_sub(users, 1);
    pcm_signals_restore(before);
    return done;
}

/* Give the number `own` up for `moved`, and let nobody write to it who has just made sure that it
 * is the pipe.  No writer can be what this interrupted: they block all signals.  But one may have
 * been killed in a vfork child. */
static void
leave(int own, int moved)
{
    uint64_t until = pcm_now() + PATIENCE_NS;
    uint32_t turn;

    atomic_store(&pcm_state->pipe_leaving, (uint32_t)own + 1);
    atomic_store(&pcm_own_fd, moved);
    turn = atomic_fetch_add(&pcm_state->pipe_turn, 1);
    while (atomic_load(&pcm_state->pipe_users[turn % 2]) != 0 && pcm_now() < until)
        pcm_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    pcm_sys_close(own);
    atomic_store(&pcm_state->pipe_leaving, 0);
}

/* Whether that is our descriptor, for what the application sees, or was until a moment ago. */
bool
pcm_is_own(int fd)
{
    return fd >= 0 &&
           (fd == atomic_load(&pcm_own_fd) ||
            (pcm_state != NULL && (uint32_t)fd + 1 == atomic_load(&pcm_state->pipe_leaving)));
}

/* Nobody may put a file where somebody else is about to close ours. */
void
pcm_pipe_settle(void)
{
    while (pcm_state != NULL && atomic_load(&pcm_state->pipe_leaving) != 0 && pcm_owns_memory())
        pcm_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

/* Move to `least` or behind it, or give the descriptor up; one thread at a time. */
static void
move(int own, uint64_t least, bool alone)
{
    uint32_t nobody = 0;
    int moved;

    if (!atomic_compare_exchange_strong(&pcm_state->pipe_moving, &nobody, 1))
        return;
    if (own == atomic_load(&pcm_own_fd) && !is_the_pipe(own)) {
        atomic_store(&pcm_own_fd, -1); /* the application made it its own */
    } else if (own == atomic_load(&pcm_own_fd)) {
        moved = duplicate_out_of_the_way(own, least, alone);
        if (moved >= 0 && moved <= own) {
            pcm_sys_close(moved);
            moved = GIVEN_UP;
        }
        leave(own, moved >= 0 ? moved : GIVEN_UP);
    }
    atomic_store(&pcm_state->pipe_moving, 0);
}

/* The application wants that number. */
void
pcm_make_room(int wanted)
{
    uint64_t before;

    pcm_pipe_settle();
    if (!pcm_is_own(wanted) || !pcm_owns_memory())
        return;
    before = pcm_signals_block();
    while (pcm_is_own(wanted)) {
        move(wanted, (uint64_t)wanted + 1, pcm_is_alone());
        pcm_pipe_settle(); /* somebody else may be at it */
    }
    pcm_signals_restore(before);
}

/* The application's numbers come near ours: behind the limit they will not arrive. */
void
pcm_make_way(void)
{
    int own = atomic_load(&pcm_own_fd);
    uint64_t limit[2] = {0, 0}, before;

    if (own < 0 || !pcm_owns_memory() ||
        pcm_sys(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)limit, 0, 0) < 0 ||
        (uint64_t)own >= limit[0])
        return;
    before = pcm_signals_block();
    move(own, 2 * (uint64_t)own, pcm_is_alone());
    pcm_signals_restore(before);
}
