/* flusher.c - reports pending counts when the application falls silent.
 *
 * A bare thread that lives only while counts are pending: it sleeps, reports, and ends after an
 * interval without news.  It runs without libc: blocked signals, its own small stack, a dummy
 * thread-local block.  Invariant: flusher_tid is 0 exactly while there is no such thread (the kernel
 * clears it when the thread is gone), and no thread begins while anybody holds it: a program that
 * forks, changes its rights or ends has none of ours at that moment. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <linux/sched.h>
#include <string.h>

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
flusher_main(void)
{
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

#if defined(__x86_64__)

/* Start `flusher_main` on its own stack and never return from it. */
static long
clone_thread(unsigned long flags, void *stack, void *tls, _Atomic uint32_t *tid)
{
    register long r10 __asm__("r10") = (long)tid;
    register long r8 __asm__("r8") = (long)tls;
    register void (*entry)(void) __asm__("r12") = flusher_main;
    long result;

    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xorl %%ebp, %%ebp\n\t"
                     "callq *%%r12\n\t"
                     "xorl %%edi, %%edi\n\t"
                     "movl %[exit], %%eax\n\t"
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"((long)SYS_clone), "D"(flags), "S"(stack), "d"(tid), "r"(r10), "r"(r8),
                       "r"(entry), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

#elif defined(__aarch64__)

static long
clone_thread(unsigned long flags, void *stack, void *tls, _Atomic uint32_t *tid)
{
    register long x8 __asm__("x8") = SYS_clone;
    register long x0 __asm__("x0") = (long)flags;
    register long x1 __asm__("x1") = (long)stack;
    register long x2 __asm__("x2") = (long)tid;
    register long x3 __asm__("x3") = (long)tls;
    register long x4 __asm__("x4") = (long)tid;
    register void (*entry)(void) __asm__("x19") = flusher_main;

    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "blr x19\n\t"
                     "mov x0, xzr\n\t"
                     "mov x8, %[exit]\n\t"
                     "svc #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(entry), [exit] "i"(SYS_exit)
                     : "memory", "cc");
    return x0;
}

#endif

static long
start(void)
{
    unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                          CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    char *stack = pcm_state->flusher_stack + PCM_STACK_BYTES;
    /* Compilers find the stack protector's guard and libc its thread at this address. */
    char *tls = pcm_state->flusher_tls + sizeof(pcm_state->flusher_tls) / 2;

    memcpy(tls, &(void *){tls}, sizeof(void *));
    memcpy(tls + 16, &(void *){tls}, sizeof(void *));
    return clone_thread(flags, stack, tls, &pcm_state->flusher_tid);
}

static void
start_unless_held(void)
{
    uint32_t none = 0;

    if (!atomic_compare_exchange_strong(&pcm_state->flusher_tid, &none, UINT32_MAX))
        return;
    atomic_store(&pcm_state->flusher_closing, 0);
    /* Whoever holds from here on waits for the thread; who did before is seen here. */
    if (atomic_load(&pcm_state->flusher_holds) == 0 && start() >= 0)
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
    uint64_t all = UINT64_MAX, before = 0;

    if (atomic_load_explicit(&pcm_state->flusher_tid, memory_order_relaxed) != 0 ||
        atomic_load(&pcm_state->flusher_holds) != 0 ||
        pcm_now() < atomic_load_explicit(&pcm_state->flusher_retry_ns, memory_order_relaxed) ||
        !pcm_owns_memory())
        return;
    pcm_sys(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, (long)&before, sizeof(all), 0, 0);
    start_unless_held();
    pcm_sys(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&before, 0, sizeof(before), 0, 0);
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
    /* The kernel says so a little before the thread no longer counts as one. */
    for (int i = 0; i < 100 && last != 0 && last != UINT32_MAX; i++) {
        if (pcm_sys(SYS_tgkill, atomic_load(&pcm_state->pid), last, 0, 0, 0, 0) < 0)
            break;
        pcm_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
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
