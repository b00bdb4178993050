/* report.c - delivers records: into the named pipe, else into this process's spill file.
 *
 * Invariants: neither way ever waits for a reader; what cannot be delivered is counted, and a file
 * in the tracker's directory says so, or the process's next record does. */
#define _GNU_SOURCE
#include <string.h>

#include "apart.h"
#include "directory.h"
#include "pipe.h"
#include "proc.h"
#include "report.h"
#include "state.h"
#include "sys.h"
#include "text.h"
#include "thread.h"
#include "wire.h"

#include "rules.h"

#define SPILL_LIMIT (64 << 20) /* bytes per process */

static const char *const loss_names[] = {
    [PCM_LOST_SPILL] = "lost-spill",         [PCM_LOST_PATH] = "lost-path",
    [PCM_LOST_SANDBOX] = "lost-sandbox",     [PCM_LOST_MEMORY] = "lost-memory",
    [PCM_LOST_RING] = "lost-ring",           [PCM_LOST_PROGRAM] = "lost-program",
    [PCM_LOST_NAMESPACE] = "lost-namespace",
};

static _Atomic uint32_t marked; /* losses that are known, or are being made known */

/* A record, or several, on the way. */
typedef struct {
    const struct iovec *parts;
    int count;
    size_t size;
} parcel_t;

static bool
mark(void *argument)
{
    const pcm_loss_t *loss = argument;
    int directory = pcm_directory_open(PCM_OURS);
    bool done;

    if (directory < 0)
        return false;
    done = pcm_directory_mark(directory, loss_names[*loss]);
    pcm_sys_close(directory);
    return done;
}

/* Where the tracker's directory cannot be reached, a record says it, which cannot say what. */
static bool
tell_of_loss(pcm_loss_t loss)
{
    pcm_record_t record = {.kind = PCM_KIND_PROCESS};

    if (pcm_apart(mark, &loss))
        return true;
    if (loss != PCM_LOST_SPILL)
        atomic_fetch_add(&pcm_state->lost, 1);
    record.first_ns = record.last_ns = pcm_now();
    return pcm_report(&record, NULL, 0, NULL);
}

/* Make a loss known, once: it then is in the log. */
void
pcm_mark_lost(pcm_loss_t loss)
{
    if (pcm_state == NULL)
        return;
    if (loss == PCM_LOST_SPILL)
        atomic_fetch_add(&pcm_state->lost, 1);
    if ((atomic_fetch_or(&marked, 1u << loss) & 1u << loss) == 0 && !tell_of_loss(loss))
        atomic_fetch_and(&marked, ~(1u << loss)); /* the next loss tries again */
}

/* The same at the start, by the process's only thread: without a state there is nothing else. */
void
pcm_mark_lost_at_start(pcm_loss_t loss)
{
    mark(&loss);
}

static bool
spill(int directory, const struct iovec *parts, int count, long size)
{
    struct stat status;
    char name[48];
    bool done = false;
    int fd;

    pcm_format_two(name, atomic_load(&pcm_state->pid), '-', atomic_load(&pcm_state->start_time));
    fd = pcm_directory_spill(directory, name);
    if (fd < 0)
        return false;
    if (pcm_sys_fstat(fd, &status) == 0 && status.st_size + size <= SPILL_LIMIT &&
        pcm_may_grow_to((uint64_t)(status.st_size + size)))
        done = pcm_sys_writev(fd, parts, count) == size;
    pcm_sys_close(fd);
    return done;
}

static bool
deliver_by_name(void *argument)
{
    const parcel_t *parcel = argument;
    int directory = pcm_directory_open(PCM_OURS), pipe = -1;
    bool done = false;

    if (directory < 0)
        return false;
    if (parcel->size <= PIPE_BUF)
        pipe = pcm_directory_pipe(directory);
    if (pipe >= 0) {
        done = pcm_pipe_write_to(pipe, parcel->parts, parcel->count, parcel->size, UINT64_MAX);
        pcm_sys_close(pipe);
    }
    done = done || spill(directory, parcel->parts, parcel->count, (long)parcel->size);
    pcm_sys_close(directory);
    return done;
}

static bool
deliver(const struct iovec *parts, int count, size_t size)
{
    parcel_t parcel = {.parts = parts, .count = count, .size = size};

    if (size <= PIPE_BUF && pcm_pipe_write(parts, count, size))
        return true;
    if (pcm_apart(deliver_by_name, &parcel))
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

/* Complete the record with who we are. */
static void
complete(pcm_record_t *record, const char *path, size_t size)
{
    char *head = (char *)record + offsetof(pcm_record_t, size);
    size_t head_size = sizeof(*record) - offsetof(pcm_record_t, size);
    uint32_t sum;

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
}

/* Complete the record and deliver it, or put it into `batch` if there is one.  Returns whether it is
 * under way. */
bool
pcm_report(pcm_record_t *record, const char *path, size_t size, pcm_batch_t *batch)
{
    struct iovec parts[] = {
        {.iov_base = record, .iov_len = sizeof(*record)},
        {.iov_base = pcm_config.app, .iov_len = pcm_config.app_size},
        {.iov_base = (void *)(uintptr_t)path, .iov_len = size},
    };

    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    complete(record, path, size);
    if (batch == NULL || record->size > sizeof(batch->records))
        return deliver(parts, 3, record->size);
    batch_add(batch, parts, 3, record->size);
    return true;
}

/* Learn who this process is and report it: once after exec, and once in every fork child, where the
 * wiped state says that nobody is known yet. */
void
pcm_identify(void)
{
    pcm_record_t record = {.kind = PCM_KIND_PROCESS};
    uint32_t pid = pcm_sys_getpid();
    char *executable = pcm_scratch_acquire();
    long size = 0;

    atomic_store(&pcm_state->start_time, pcm_start_time());
    atomic_store(&pcm_state->pid, pid);
    if (executable != NULL)
        size = pcm_sys_readlink("/proc/self/exe", executable, PCM_PATH_MAX);
    record.first_ns = record.last_ns = pcm_now();
    pcm_report(&record, executable, size > 0 ? (size_t)size : 0, NULL);
    pcm_scratch_release(executable);
}

/* Before anything else: is the tracker's directory somebody else's?  Then this process must not act
 * on what it says, not even with the rights that it has: a byte says that it leaves.  Nobody else
 * sees the descriptors. */
bool
pcm_refuse_foreign(void)
{
    struct iovec byte = {.iov_base = (char[]){'!'}, .iov_len = 1};
    int directory = pcm_directory_open(PCM_FOREIGN), strangers;
    uint64_t before;

    if (directory < 0)
        return false;
    pcm_sys_close(directory);
    strangers = pcm_directory_strangers();
    if (strangers >= 0) {
        before = pcm_signals_block();
        pcm_pipe_write_to(strangers, &byte, 1, 1, before);
        pcm_signals_restore(before);
        pcm_sys_close(strangers);
    }
    return true;
}
