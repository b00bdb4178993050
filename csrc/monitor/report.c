/* report.c - delivers records: into the named pipe, else into this process's spill file.
 *
 * Invariants: the pipe's descriptor is compared with the pipe (device, inode, still named) before
 * every write, because an application that closes everything may be given the number back, and its
 * file must never receive our bytes; neither way ever waits for a reader; what cannot be delivered
 * is counted, and a file in the tracker's directory says so. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/resource.h>

#include "monitor.h"
#include "sys.h"

#define SPILL_LIMIT (64 << 20) /* bytes per process */

static const char *const loss_names[] = {
    [PCM_LOST_SPILL] = "lost-spill",     [PCM_LOST_PATH] = "lost-path",
    [PCM_LOST_SANDBOX] = "lost-sandbox", [PCM_LOST_MEMORY] = "lost-memory",
    [PCM_LOST_RING] = "lost-ring",
};

#define PATIENCE_NS 20000000u /* for threads that write into the pipe */
#define REOPENING_NS 1000000000u

static _Atomic uint32_t marked; /* losses that are known, or are being made known */

/* The name of a file in the tracker's directory; `out` has PATH_MAX bytes. */
static void
name_in_directory(const char *folder, const char *name, char *out)
{
    size_t at = pcm_config.directory_size, folder_size = strlen(folder);

    memcpy(out, pcm_config.directory, at);
    memcpy(out + at, folder, folder_size);
    memcpy(out + at + folder_size, name, strlen(name) + 1);
}

/* Whether this process may make a file that long: the signal that it may not would kill it. */
static bool
may_grow_to(uint64_t size)
{
    uint64_t limit[2] = {0, 0};

    return pcm_sys(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)limit, 0, 0) == 0 && size <= limit[0];
}

/* The tracker keeps an empty file per way of losing reports; making it longer takes no space, so
 * this works on a full disk, too.  Where its directory cannot be reached, a record says it. */
static bool
tell_of_loss(pcm_loss_t loss)
{
    pcm_record_t record = {.kind = PCM_KIND_PROCESS};
    char *name = pcm_scratch_acquire();
    bool told;

    if (name == NULL)
        return false;
    name_in_directory("/", loss_names[loss], name);
    told = may_grow_to(1) && pcm_sys(SYS_truncate, (long)name, 1, 0, 0, 0, 0) >= 0;
    pcm_scratch_release(name);
    record.first_ns = record.last_ns = pcm_now();
    return told || pcm_report(&record, NULL, 0, NULL);
}

/* Make a loss known, once: it then is in the log. */
void
pcm_mark_lost(pcm_loss_t loss)
{
    if (pcm_state == NULL)
        return;
    atomic_fetch_add(&pcm_state->lost, 1);
    if ((atomic_fetch_or(&marked, 1u << loss) & 1u << loss) == 0 && !tell_of_loss(loss))
        atomic_fetch_and(&marked, ~(1u << loss)); /* the next loss tries again */
}

static bool
is_the_pipe(int fd)
{
    struct stat status;

    return pcm_sys_fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode) && status.st_nlink > 0 &&
           status.st_dev == pcm_config.pipe_dev && status.st_ino == pcm_config.pipe_ino;
}

/* Open the pipe under a number that no application asks for.  O_RDWR: a dead tracker then means a
 * full pipe (EAGAIN), never SIGPIPE and never a hanging open.  The descriptor stays open across
 * exec, since a later program may have given up the right to open the pipe by name. */
static int
open_pipe(void)
{
    struct stat status;
    int low = -1, high = -1;
    char *name = pcm_scratch_acquire();

    if (name == NULL)
        return -1;
    name_in_directory("/", "pipe", name);
    low = pcm_sys_openat(AT_FDCWD, name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW, 0);
    pcm_scratch_release(name);
    if (low < 0)
        return -1;
    if (pcm_sys_fstat(low, &status) == 0 && S_ISFIFO(status.st_mode)) {
        pcm_config.pipe_dev = status.st_dev;
        pcm_config.pipe_ino = status.st_ino;
        /* Where the limit on descriptors is lower, as high as it goes. */
        for (int least = PCM_OWN_FD; high < 0 && least >= 16; least /= 2)
            high = (int)pcm_sys_fcntl(low, F_DUPFD, least);
    }
    pcm_sys_close(low);
    return high;
}

/* Look for the pipe, one thread at a time; -1: there is none now. */
static int
reopen_pipe(void)
{
    uint64_t now = pcm_now(), since = atomic_load(&pcm_state->reopening_ns);
    int fd;

    /* What a vfork child opens is not its parent's.  And who has been at it for that long is not
     * coming back. */
    if (!pcm_owns_memory() || (since != 0 && now - since < REOPENING_NS) ||
        !atomic_compare_exchange_strong(&pcm_state->reopening_ns, &since, now))
        return -1;
    /* The old number is the application's by now, or a pipe that was removed and that we leave to
     * the supervisor; closing it could only hurt. */
    fd = open_pipe();
    atomic_store(&pcm_own_fd, fd);
    pcm_environment_describe_pipe(fd);
    atomic_store(&pcm_state->reopening_ns, 0);
    return fd;
}

/* Write into the pipe, if the descriptor is the pipe's. */
static bool
write_to_pipe(const struct iovec *parts, int count, size_t size)
{
    bool done;
    int fd;

    atomic_fetch_add(&pcm_state->pipe_users, 1);
    fd = atomic_load(&pcm_own_fd);
    if (fd < 0 || !is_the_pipe(fd))
        fd = reopen_pipe();
    done = fd >= 0 && pcm_sys_writev(fd, parts, count) == (long)size;
    atomic_fetch_sub(&pcm_state->pipe_users, 1);
    return done;
}

/* The application wants our number: take another one, and let nobody write to the old one who has
 * just made sure that it is the pipe. */
void
pcm_make_room(int wanted)
{
    int own = wanted, moved;
    uint64_t until;

    if (wanted < 0 || !pcm_owns_memory() || !atomic_compare_exchange_strong(&pcm_own_fd, &own, -1))
        return;
    moved = (int)pcm_sys_fcntl(wanted, F_DUPFD, wanted + 1);
    atomic_store(&pcm_own_fd, moved >= 0 ? moved : -1);
    pcm_environment_describe_pipe(moved);
    /* Not for ever: this may be a signal handler that interrupted such a write. */
    for (until = pcm_now() + PATIENCE_NS;
         atomic_load(&pcm_state->pipe_users) != 0 && pcm_now() < until;)
        pcm_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

static bool
spill(const struct iovec *parts, int count, long size)
{
    char number[48], *name = pcm_scratch_acquire();
    struct stat status;
    bool done = false;
    int fd;

    if (name == NULL)
        return false;
    pcm_format_two(number, atomic_load(&pcm_state->pid), '-', atomic_load(&pcm_state->start_time));
    name_in_directory("/spill/", number, name);
    fd = pcm_sys_openat(AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                        0600);
    pcm_scratch_release(name);
    if (fd < 0)
        return false;
    if (pcm_sys_fstat(fd, &status) == 0 && status.st_size + size <= SPILL_LIMIT &&
        may_grow_to((uint64_t)(status.st_size + size)))
        done = pcm_sys_writev(fd, parts, count) == size;
    pcm_sys_close(fd);
    return done;
}

static bool
deliver(const struct iovec *parts, int count, size_t size)
{
    if (size <= PIPE_BUF && write_to_pipe(parts, count, size))
        return true;
    if (spill(parts, count, (long)size))
        return true;
    pcm_mark_lost(PCM_LOST_SPILL);
    return false;
}

/* Deliver what a batch holds. */
void
pcm_batch_send(pcm_batch_t *batch)
{
    struct iovec all = {.iov_base = batch->records, .iov_len = batch->size};

    if (batch->size > 0)
        deliver(&all, 1, batch->size);
    batch->size = 0;
}

static void
batch_add(pcm_batch_t *batch, const struct iovec *parts, int count, size_t size)
{
    if (batch->size + size > sizeof(batch->records))
        pcm_batch_send(batch);
    for (int i = 0; i < count; i++) {
        memcpy(batch->records + batch->size, parts[i].iov_base, parts[i].iov_len);
        batch->size += parts[i].iov_len;
    }
}

/* Complete the record with who we are, and deliver it, or put it into `batch` if there is one.
 * Returns whether it is under way. */
bool
pcm_report(pcm_record_t *record, const char *path, size_t size, pcm_batch_t *batch)
{
    char *head = (char *)record + offsetof(pcm_record_t, size);
    size_t head_size = sizeof(*record) - offsetof(pcm_record_t, size);
    struct iovec parts[] = {
        {.iov_base = record, .iov_len = sizeof(*record)},
        {.iov_base = pcm_config.app, .iov_len = pcm_config.app_size},
        {.iov_base = (void *)(uintptr_t)path, .iov_len = size},
    };
    uint32_t sum;

    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    record->magic = PCM_MAGIC;
    record->size = (uint32_t)(sizeof(*record) + pcm_config.app_size + size);
    record->path_size = (uint16_t)size;
    record->app_size = (uint8_t)pcm_config.app_size;
    record->pid = atomic_load_explicit(&pcm_state->pid, memory_order_relaxed);
    record->start_time = atomic_load_explicit(&pcm_state->start_time, memory_order_relaxed);
    record->lost = atomic_load_explicit(&pcm_state->lost, memory_order_relaxed);
    sum = pcm_adler32(1, head, head_size);
    sum = pcm_adler32(sum, pcm_config.app, pcm_config.app_size);
    record->check = pcm_adler32(sum, path, size);

    if (batch == NULL || record->size > sizeof(batch->records))
        return deliver(parts, 3, record->size);
    batch_add(batch, parts, 3, record->size);
    return true;
}
