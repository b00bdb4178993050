/* clone.c - starts a bare thread, one that libc knows nothing of.
 *
 * Invariant: the new thread runs `entry` on the stack given and never returns from it; the caller
 * goes on with the thread's number, or with the kernel's error. */
#define _GNU_SOURCE
#include <string.h>

#include "clone.h"
#include "sys.h"

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
