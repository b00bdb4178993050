/* state.c - the monitor's state and how it comes to life.
 *
 * Invariant: while pcm_active is true, pcm_state points to pages that belong to this process alone
 * (MADV_WIPEONFORK makes the kernel zero them in a fork child); while it is false, every hook
 * passes through. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "apart.h"
#include "monitor.h"
#include "real.h"
#include "sys.h"

#define STAT_BYTES 1024

pcm_state_t *pcm_state;
_Atomic bool pcm_active;
_Atomic bool pcm_sandboxed;
pcm_config_t pcm_config;
_Atomic bool pcm_exiting;

static pcm_state_t *
allocate_state(void)
{
    long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    long address = pcm_sys(SYS_mmap, 0, sizeof(pcm_state_t), PROT_READ | PROT_WRITE, flags, -1, 0);

    if (address < 0 && address > -4096)
        return NULL;
    if (pcm_sys(SYS_madvise, address, sizeof(pcm_state_t), MADV_WIPEONFORK, 0, 0, 0) < 0) {
        /* Counts would be reported twice, by the parent and by the child. */
        pcm_sys(SYS_munmap, address, sizeof(pcm_state_t), 0, 0, 0, 0);
        return NULL;
    }
    return (pcm_state_t *)address;
}

/* A buffer of PCM_PATH_MAX bytes, off the application's stack: a signal handler's may be small.
 * There are a few for all; when they are in use the kernel lends one.  NULL: no memory, then the
 * event is lost, and counted as lost by whoever got NULL. */
char *
pcm_scratch_acquire(void)
{
    uint32_t used = atomic_load(&pcm_state->scratches), bit;

    do {
        uint32_t free_bits = ~used & ((1u << PCM_SCRATCHES) - 1);
        if (free_bits == 0)
            return pcm_sys_lend(PCM_PATH_MAX);
        bit = free_bits & (~free_bits + 1);
    } while (!atomic_compare_exchange_weak(&pcm_state->scratches, &used, used | bit));
    return pcm_state->scratch[__builtin_ctz(bit)];
}

void
pcm_scratch_release(char *scratch)
{
    char *first = pcm_state->scratch[0];

    if (scratch >= first && scratch < first + sizeof(pcm_state->scratch))
        atomic_fetch_and(&pcm_state->scratches,
                         ~(1u << (uint32_t)((size_t)(scratch - first) / PCM_PATH_MAX)));
    else
        pcm_sys_give_back(scratch, PCM_PATH_MAX);
}

uint64_t
pcm_now(void)
{
    struct timespec now = {0};

    if (pcm_real.libc_clock_gettime != NULL)
        pcm_real.libc_clock_gettime(CLOCK_REALTIME_COARSE, &now);
    else
        pcm_sys(SYS_clock_gettime, CLOCK_REALTIME_COARSE, (long)&now, 0, 0, 0, 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Read /proc/self/stat into `argument`, STAT_BYTES. */
static bool
read_stat(void *argument)
{
    char *text = argument;
    int fd = pcm_sys_openat(AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
    long size;

    if (fd < 0)
        return false;
    size = pcm_sys_read(fd, text, STAT_BYTES - 1);
    text[size > 0 ? size : 0] = '\0';
    pcm_sys_close(fd);
    return size > 0;
}

/* The 22nd field of /proc/self/stat; the second, in parentheses, may contain anything. */
static uint64_t
read_start_time(void)
{
    char text[STAT_BYTES];
    const char *at = text;
    uint64_t value = 0;

    if (!pcm_apart(read_stat, text))
        return 0;
    for (const char *end = text; *end != '\0'; end++)
        if (*end == ')')
            at = end;
    for (int fields = 2; *at != '\0' && fields < 22; at++)
        fields += *at == ' ';
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
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

    atomic_store(&pcm_state->start_time, read_start_time());
    atomic_store(&pcm_state->pid, pid);
    if (executable != NULL)
        size = pcm_sys_readlink("/proc/self/exe", executable, PCM_PATH_MAX);
    record.first_ns = record.last_ns = pcm_now();
    pcm_report(&record, executable, size > 0 ? (size_t)size : 0, NULL);
    pcm_scratch_release(executable);
}

/* A vfork child has its parent's memory but descriptors of its own: what it learns about them must
 * not be remembered. */
bool
pcm_owns_memory(void)
{
    return pcm_sys_getpid() == atomic_load_explicit(&pcm_state->pid, memory_order_relaxed);
}

/* Standard input may come from outside, and reading shows nowhere else; the first write to an
 * inherited descriptor does. */
static void
report_standard_input(void)
{
    struct stat status;
    long flags = pcm_sys_fcntl(0, F_GETFL, 0);

    if (flags >= 0 && (flags & O_ACCMODE) != O_WRONLY && pcm_sys_fstat(0, &status) == 0 &&
        status.st_nlink > 0)
        pcm_on_fd(0, (pcm_event_t){.use = PCM_READ});
}

static void
init(char *const argv[], char *const envp[])
{
    pcm_inherited_t inherited;
    pcm_state_t *state;
    struct stat proc;

    pcm_real_resolve();
    pcm_environment_read(envp, &inherited);
    if (pcm_sys_lstatat(AT_FDCWD, "/proc/self", &proc) == 0)
        pcm_config.proc_dev = proc.st_dev;
    if (pcm_config.app_size == 0 || pcm_config.directory_size == 0)
        return;
    state = allocate_state();
    if (state == NULL)
        return;
    pcm_state = state;
    pcm_pipe_begin(&inherited);
    if (atomic_load(&pcm_own_fd) < 0 && pcm_refuse_foreign())
        return;
    pcm_program_begin();
    pcm_identify();
    atomic_store(&pcm_active, true);
    report_standard_input();
    pcm_on_inherited();
    pcm_report_start(argv, envp);
}

/* From here on threads may have descriptors of their own. */
void
pcm_split_fds(void)
{
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return;
    atomic_store(&pcm_state->split, 1);
    pcm_forget_all_fds();
}

/* Once the application forbids itself system calls, ours would kill it. */
void
pcm_deactivate(void)
{
    if (!atomic_load(&pcm_active))
        return;
    pcm_flusher_hold();
    atomic_store(&pcm_active, false);
    atomic_store(&pcm_sandboxed, true);
    pcm_flush_all();
    pcm_mark_lost(PCM_LOST_SANDBOX);
}

/* It did not come to that. */
void
pcm_reactivate(void)
{
    if (!atomic_exchange(&pcm_sandboxed, false))
        return;
    atomic_store(&pcm_active, true);
    pcm_flusher_release();
}

/* The library is linked so that it is the first to be initialised, before others open files: libc
 * itself has not got as far as `environ`. */
__attribute__((constructor)) static void
on_load(int argc, char **argv, char **envp)
{
    (void)argc;
    init(argv, envp);
}
