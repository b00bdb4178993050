/* thread.c - threads of our own, and the one that reports when the application falls silent.
 *
 * They are bare: libc knows nothing of them, signals are blocked, each lives on its own small stack
 * with a dummy thread-local block.  The flusher is there only while counts are pending: it sleeps,
 * reports, and ends after an interval without news.
 *
 * Invariants: a bare thread runs its function on the memory given and never returns from it.
 * flusher_tid is 0 exactly while there is no flusher (the kernel clears it when the thread is gone),
 * and none begins while anybody holds it: a program that forks, changes its rights or ends has none
 * of ours at that moment. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <string.h>

#include "state.h"
#include "sys.h"
#include "thread.h"

#include "rules.h"

#define LITTLE 16 /* reports, about one write into the pipe */
#define SOON 10   /* parts of an interval */

#define RETRY_NS 1000000000u /* after the kernel refused the thread; exit and later events flush */

#if defined(__x86_64__)

static long
clone_onto(unsigned long flags, char *stack, void *tls, _Atomic uint32_t *tid, pcm_entry_t *entry,
           void *argument)
{
    register long r10 __asm__("r10") = (long)tid;
    register long r8 __asm__("r8") = (long)tls;
    register pcm_entry_t *r12 __asm__("r12") = entry;
    register void *r13 __asm__("r13") = argument;
    long result;

    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xorl %%ebp, %%ebp\n\t"
                     "movq %%r13, %%rdi\n\t"
                     "callq *%%r12\n\t"
                     "xorl %%edi, %%edi\n\t"
                     "movl %[exit], %%eax\n\t"
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"((long)SYS_clone), "D"(flags), "S"(stack), "d"(tid), "r"(r10), "r"(r8),
                       "r"(r12), "r"(r13), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

#elif defined(__aarch64__)

static long
clone_onto(unsigned long flags, char *stack, void *tls, _Atomic uint32_t *tid, pcm_entry_t *entry,
           void *argument)
{
    register long x8 __asm__("x8") = SYS_clone;
    register long x0 __asm__("x0") = (long)flags;
    register long x1 __asm__("x1") = (long)stack;
    register long x2 __asm__("x2") = (long)tid;
    register long x3 __asm__("x3") = (long)tls;
    register long x4 __asm__("x4") = (long)tid;
    register pcm_entry_t *x19 __asm__("x19") = entry;
    register void *x20 __asm__("x20") = argument;

    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x20\n\t"
                     "blr x19\n\t"
                     "mov x0, xzr\n\t"
                     "mov x8, %[exit]\n\t"
                     "svc #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x19),
                       "r"(x20), [exit] "i"(SYS_exit)
                     : "memory", "cc");
    return x0;
}

#endif

/* Start a thread of this process on `memory`, where it alone lives; `tid` is its number while it
 * does. */
long
pcm_clone(unsigned long flags, pcm_bare_t *memory, _Atomic uint32_t *tid, pcm_entry_t *entry,
          void *argument)
{
    /* Compilers find the stack protector's guard and libc its thread at this address. */
    char *tls = memory->tls + sizeof(memory->tls) / 2;

    memcpy(tls, &(void *){tls}, sizeof(void *));
    memcpy(tls + 16, &(void *){tls}, sizeof(void *));
    return clone_onto(flags, memory->stack + sizeof(memory->stack), tls, tid, entry, argument);
}

uint64_t
pcm_signals_block(void)
{
    uint64_t all = UINT64_MAX, before = 0;

    pcm_sys(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, (long)&before, sizeof(all), 0, 0);
    return before;
}

void
pcm_signals_restore(uint64_t before)
{
    pcm_sys(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&before, 0, sizeof(before), 0, 0);
}

/* The kernel says that a thread ended a little before it no longer counts as one. */
void
pcm_wait_until_gone(uint32_t tid)
{
    for (int i = 0; i < 100; i++) {
        if (pcm_sys(SYS_tgkill, pcm_sys_getpid(), tid, 0, 0, 0, 0) < 0)
            break;
        pcm_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
}

static pcm_flush_t flush_all; /* set before anybody wants the flusher */

void
pcm_flusher_begin(pcm_flush_t flush)
{
    flush_all = flush;
}

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
        uint32_t reports = flush_all.flush();
        quiet = reports > 0 ? 0 : quiet + nap;
        nap = reports > LITTLE ? interval : interval / SOON;
    }
    /* From here on whoever adds counts reports them himself; what came before is ours. */
    atomic_store(&pcm_state->flusher_closing, 1);
    flush_all.flush();
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
    if (atomic_fetch_sub(&pcm_state->flusher_holds, 1) == 1 && flush_all.is_pending())
        pcm_flusher_want();
}
