/* flusher.c - reports pending counts when the application falls silent.
 *
 * A bare thread that lives only while counts are pending: it sleeps, reports, and ends after an
 * interval without news.  It runs without libc: blocked signals, its own small stack,
 * a dummy thread-local block.  Invariant: flusher_tid is 0 exactly while there is no such thread
 * (the kernel clears it when the thread is gone), and a program that forks or changes namespaces is
 * single-threaded, as far as we are concerned, at that moment. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <linux/sched.h>
#include <string.h>

#include "monitor.h"
#include "sys.h"

#define LITTLE 16 /* reports, about one write into the pipe */
#define SOON 10   /* parts of an interval */

static _Atomic bool unavailable; /* the kernel refused the thread: exit and later events flush */

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

    while (quiet < interval && atomic_load(&pcm_state->flusher_stop) == 0) {
        struct timespec patience = {.tv_sec = (time_t)(nap / 1000000000u),
                                    .tv_nsec = (long)(nap % 1000000000u)};
        futex_wait(&pcm_state->flusher_stop, 0, &patience, FUTEX_PRIVATE_FLAG);
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

static void
start(void)
{
    unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                          CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    char *stack = pcm_state->flusher_stack + PCM_STACK_BYTES;
    /* Compilers find the stack protector's guard and libc its thread at this address. */
    char *tls = pcm_state->flusher_tls + sizeof(pcm_state->flusher_tls) / 2;
    uint64_t all = UINT64_MAX, before = 0;
    long result;

    memcpy(tls, &(void *){tls}, sizeof(void *));
    memcpy(tls + 16, &(void *){tls}, sizeof(void *));
    pcm_sys(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, (long)&before, sizeof(all), 0, 0);
    result = clone_thread(flags, stack, tls, &pcm_state->flusher_tid);
    pcm_sys(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&before, 0, sizeof(before), 0, 0);
    if (result < 0) {
        atomic_store(&unavailable, true);
        atomic_store(&pcm_state->flusher_tid, 0);
    }
}

/* Counts are pending: somebody must report them, even if the application does nothing more. */
void
pcm_flusher_want(void)
{
    uint32_t none = 0;

    if (atomic_load_explicit(&pcm_state->flusher_tid, memory_order_relaxed) != 0 ||
        atomic_load_explicit(&unavailable, memory_order_relaxed) || !pcm_owns_memory())
        return;
    if (!atomic_compare_exchange_strong(&pcm_state->flusher_tid, &none, UINT32_MAX))
        return;
    atomic_store(&pcm_state->flusher_closing, 0);
    start();
}

/* End the thread and wait until it is gone, at most so many times 10 ms. */
static void
end(uint32_t times)
{
    const struct timespec patience = {.tv_nsec = 10000000};
    uint32_t tid;

    if (pcm_state == NULL || atomic_load(&pcm_state->flusher_tid) == 0 || !pcm_owns_memory())
        return;
    atomic_store(&pcm_state->flusher_stop, 1);
    pcm_sys(SYS_futex, (long)&pcm_state->flusher_stop, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, 0,
            0, 0);
    while ((tid = atomic_load(&pcm_state->flusher_tid)) != 0 && times-- > 0)
        futex_wait(&pcm_state->flusher_tid, tid, &patience, 0); /* woken as a shared futex */
    if (tid == 0)
        atomic_store(&pcm_state->flusher_stop, 0);
}

/* Before the process forks: the thread must be gone. What is pending is reported. */
void
pcm_flusher_stop(void)
{
    end(UINT32_MAX);
}

/*
 * Before the process ends: what the thread has in hand would end with it.  It is not waited for
 * without end, because a signal handler may exit while the interrupted code is starting the thread.
 */
void
pcm_flusher_finish(void)
{
    end(50);
}
