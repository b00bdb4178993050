/* state.c - all that the monitor remembers, and how it is laid out.
 *
 * Invariant: while pcm_active is true, pcm_state points to pages that belong to this process alone
 * (MADV_WIPEONFORK makes the kernel zero them in a fork child); while it is false, every hook
 * passes through. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "real.h"
#include "state.h"
#include "sys.h"

#include "rules.h"

pcm_state_t *pcm_state;
_Atomic bool pcm_active;
_Atomic bool pcm_sandboxed;
pcm_config_t pcm_config;
_Atomic bool pcm_exiting;

/* The pages of the state; false: there is no memory. */
bool
pcm_state_begin(void)
{
    long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    long address = pcm_sys(SYS_mmap, 0, sizeof(pcm_state_t), PROT_READ | PROT_WRITE, flags, -1, 0);

    if (address < 0 && address > -4096)
        return false;
    if (pcm_sys(SYS_madvise, address, sizeof(pcm_state_t), MADV_WIPEONFORK, 0, 0, 0) < 0) {
        /* Counts would be reported twice, by the parent and by the child. */
        pcm_sys(SYS_munmap, address, sizeof(pcm_state_t), 0, 0, 0, 0);
        return false;
    }
    pcm_state = (pcm_state_t *)address;
    return true;
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

static uint64_t
now_by(clockid_t clock)
{
    struct timespec now = {0};

    if (pcm_real.libc_clock_gettime != NULL)
        pcm_real.libc_clock_gettime(clock, &now);
    else
        pcm_sys(SYS_clock_gettime, clock, (long)&now, 0, 0, 0, 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t
pcm_now(void)
{
    return now_by(CLOCK_REALTIME_COARSE);
}

/* Not before any time that pcm_now gave: for what must be told apart from others of one tick. */
uint64_t
pcm_now_exact(void)
{
    return now_by(CLOCK_REALTIME);
}

/* A vfork child has its parent's memory but descriptors of its own: what it learns about them must
 * not be remembered. */
bool
pcm_owns_memory(void)
{
    return pcm_sys_getpid() == atomic_load_explicit(&pcm_state->pid, memory_order_relaxed);
}
