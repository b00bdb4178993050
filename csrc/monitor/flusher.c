/* flusher.c - reports pending counts when the application falls silent.
 *
 * A bare thread that lives only while counts are pending: it sleeps, reports, and ends after an
 * interval without news.  It runs without libc: blocked signals, its own small stack, a dummy
 * thread-local block.  Invariant: flusher_tid is 0 exactly while there is no such thread (the kernel
 * clears it when the thread is gone), and no thread begins while anybody holds it: a program that
 * forks, changes its rights or ends has none of ours at that moment. */
#define _GNU_SOURCE
#include <linux/futex.h>

#include "apart.h"
#include "monitor.h"
#include "sys.h"

#define LITTLE 16 /* reports, about one write into the pipe */
#define SOON 10   /* parts of an interval */

#define RETRY_NS 1000000000u /* after the kernel refused the thread; exit and later events flush */

static void
futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout, int private)
{
    pcm_sys(SYS_futex, (long)word, FUTEX_WAIT | private, value, (long)timeout, 0, 0);
}

/* What is little is reported soon, since a killed application takes with it what is pending; what
 * is much, once per interval. */
static void
flusher_main(void *argument)
{
    (void)argument;
    uint64_t interval = pcm_config.interval_ns, nap = interval / SOON, quiet = 0;

    while (quiet < interval && atomic_load(&pcm_state->flusher_holds) == 0) {
        struct timespec patience = {.tv_sec = (time_t)(nap / 1000000000u),
                                    .tv_nsec = (long)(nap % 1000000000u)};
        futex_wait(&pcm_state->flusher_holds, 0, &patience, FUTEX_PRIVATE_FLAG);
        uint32_t reports = pcm_flush_all();
        quiet = reports > 0 ? 0 : quiet + nap;
        nap = reports > LITTLE ? interval : interval / SOON;
    }
    /* From here on whoever adds counts reports them himself; what came before is ours. */
    atomic_store(&pcm_state->flusher_closing, 1);
    pcm_flush_all();
}

static void
start_unless_held(void)
{
    uint32_t none = 0;

    if (!atomic_compare_exchange_strong(&pcm_state->flusher_tid, &none, UINT32_MAX))
        return;
    atomic_store(&pcm_state->flusher_closing, 0);
    /* Whoever holds from here on waits for the thread; who did before is seen here. */
    if (atomic_load(&pcm_state->flusher_holds) == 0 &&
        pcm_clone(PCM_CLONE_THREAD, &pcm_state->flusher, &pcm_state->flusher_tid, flusher_main,
                  NULL) >= 0)
        return;
    if (atomic_load(&pcm_state->flusher_holds) == 0)
        atomic_store(&pcm_state->flusher_retry_ns, pcm_now() + RETRY_NS);
    atomic_store(&pcm_state->flusher_closing, 1);
    atomic_store(&pcm_state->flusher_tid, 0);
}

/* Counts are pending: somebody must report them, even if the application does nothing more.  No
 * signal handler may interrupt the start: it could fork, and would wait for what it interrupted. */
void
pcm_flusher_want(void)
{
    uint64_t before;

    if (atomic_load_explicit(&pcm_state->flusher_tid, memory_order_relaxed) != 0 ||
        atomic_load(&pcm_state->flusher_holds) != 0 ||
        pcm_now() < atomic_load_explicit(&pcm_state->flusher_retry_ns, memory_order_relaxed) ||
        !pcm_owns_memory())
        return;
    before = pcm_signals_block();
    start_unless_held();
    pcm_signals_restore(before);
}

/* End the thread, have none begin, and wait until it is gone; what it had in hand is reported.  It
 * is not waited for without end: nothing of ours is worth an application that hangs. */
void
pcm_flusher_hold(void)
{
    const struct timespec patience = {.tv_nsec = 10000000};
    uint32_t tid, last = 0;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || !pcm_owns_memory())
        return;
    atomic_fetch_add(&pcm_state->flusher_holds, 1);
    pcm_sys(SYS_futex, (long)&pcm_state->flusher_holds, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, 0,
            0, 0);
    for (int i = 0; i < 50 && (tid = atomic_load(&pcm_state->flusher_tid)) != 0; i++) {
        futex_wait(&pcm_state->flusher_tid, tid, &patience, 0); /* woken as a shared futex */
        last = tid;
    }
    if (last != 0 && last != UINT32_MAX)
        pcm_wait_until_gone(last);
}

/* What a hold was for is over, in the process that holds: a fork child's memory knows of none. */
void
pcm_flusher_release(void)
{
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || !pcm_owns_memory() ||
        atomic_load(&pcm_state->flusher_holds) == 0)
        return;
    if (atomic_fetch_sub(&pcm_state->flusher_holds, 1) == 1 && pcm_is_pending())
        pcm_flusher_want();
}
