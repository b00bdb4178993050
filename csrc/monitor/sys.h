/* sys.h - system calls without libc: no errno, no locks, no cancellation, never interposed.
 *
 * Invariant: nothing here touches thread-local storage, so every function may run in a signal
 * handler, in a vfork child and on the flusher's bare thread.  Results are the kernel's: -errno on
 * failure. */
#ifndef PCM_SYS_H
#define PCM_SYS_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#if defined(__x86_64__)

static inline long
pcm_sys(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

static inline long
pcm_sys(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#else
#error "the access monitor knows the system calls of x86-64 and aarch64 only"
#endif

static inline int
pcm_sys_openat(int dirfd, const char *path, int flags, int mode)
{
    return (int)pcm_sys(SYS_openat, dirfd, (long)path, flags, mode, 0, 0);
}

static inline int
pcm_sys_close(int fd)
{
    return (int)pcm_sys(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline long
pcm_sys_read(int fd, void *buffer, size_t size)
{
    return pcm_sys(SYS_read, fd, (long)buffer, (long)size, 0, 0, 0);
}

static inline long
pcm_sys_writev(int fd, const struct iovec *parts, int count)
{
    return pcm_sys(SYS_writev, fd, (long)parts, count, 0, 0, 0);
}

static inline int
pcm_sys_fstat(int fd, struct stat *status)
{
    return (int)pcm_sys(SYS_fstat, fd, (long)status, 0, 0, 0, 0);
}

static inline int
pcm_sys_statat(int dirfd, const char *path, struct stat *status)
{
    return (int)pcm_sys(SYS_newfstatat, dirfd, (long)path, (long)status, 0, 0, 0);
}

static inline int
pcm_sys_lstatat(int dirfd, const char *path, struct stat *status)
{
    return (int)pcm_sys(SYS_newfstatat, dirfd, (long)path, (long)status, AT_SYMLINK_NOFOLLOW, 0, 0);
}

/* With AT_EMPTY_PATH in `flags`, "" is `dirfd` itself. */
static inline int
pcm_sys_statx(int dirfd, const char *path, int flags, struct statx *status)
{
    return (int)pcm_sys(SYS_statx, dirfd, (long)path, flags, STATX_BASIC_STATS | STATX_BTIME,
                        (long)status, 0);
}

static inline int
pcm_sys_is_readable(const char *path)
{
    return pcm_sys(SYS_faccessat, AT_FDCWD, (long)path, 4 /* R_OK */, 0, 0, 0) == 0;
}

static inline long
pcm_sys_readlinkat(int dirfd, const char *path, char *buffer, size_t size)
{
    return pcm_sys(SYS_readlinkat, dirfd, (long)path, (long)buffer, (long)size, 0, 0);
}

static inline long
pcm_sys_readlink(const char *path, char *buffer, size_t size)
{
    return pcm_sys_readlinkat(AT_FDCWD, path, buffer, size);
}

static inline long
pcm_sys_fcntl(int fd, int command, long argument)
{
    return pcm_sys(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

/* Memory from the kernel, or NULL. */
static inline void *
pcm_sys_lend(size_t size)
{
    long address = pcm_sys(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return address < 0 && address > -4096 ? NULL : (void *)address;
}

static inline void
pcm_sys_give_back(void *memory, size_t size)
{
    if (memory != NULL)
        pcm_sys(SYS_munmap, (long)memory, (long)size, 0, 0, 0, 0);
}

static inline uint32_t
pcm_sys_getpid(void)
{
    return (uint32_t)pcm_sys(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

#endif
