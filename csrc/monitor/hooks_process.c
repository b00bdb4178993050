/* hooks_process.c - whatever begins, replaces or ends a process.
 *
 * Invariants: what is pending is reported before a program is replaced or ends; every program
 * started from here is monitored, too; a process that forks or changes namespaces has no flusher
 * meanwhile. vfork needs no hook: its child shares our memory and remembers nothing about
 * descriptors. */
#define _GNU_SOURCE
#include <alloca.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "monitor.h"
#include "real.h"

/* `injected`: the environment with our variables, on this function's stack if it must be a new one.
 */
#define INJECT(injected, envp)                                                                     \
    size_t injected##_size = pcm_environment_size(envp);                                           \
    char **injected = (char **)(uintptr_t)(envp);                                                  \
    if (injected##_size > 0)                                                                       \
        injected = pcm_environment_inject(envp, alloca(injected##_size));

/* `arguments`: a NULL-terminated array of `first` and what follows it. */
#define COLLECT(arguments, list, first)                                                            \
    size_t arguments##_count = 1;                                                                  \
    va_start(list, first);                                                                         \
    while (va_arg(list, char *) != NULL)                                                           \
        arguments##_count++;                                                                       \
    va_end(list);                                                                                  \
    char **arguments = alloca((arguments##_count + 1) * sizeof(char *));                           \
    arguments[0] = (char *)(uintptr_t)(first);                                                     \
    va_start(list, first);                                                                         \
    for (size_t i = 1; i <= arguments##_count; i++)                                                \
        arguments[i] = va_arg(list, char *);

static void
flush(void)
{
    if (atomic_load_explicit(&pcm_active, memory_order_relaxed)) {
        pcm_flusher_finish();
        pcm_flush_all();
    }
}

PCM_EXPORT int
execve(const char *path, char *const argv[], char *const envp[])
{
    INJECT(injected, envp)
    flush();
    return PCM_REAL(execve)(path, argv, injected);
}

PCM_EXPORT int
execvpe(const char *file, char *const argv[], char *const envp[])
{
    INJECT(injected, envp)
    flush();
    return PCM_REAL(execvpe)(file, argv, injected);
}

PCM_EXPORT int
fexecve(int fd, char *const argv[], char *const envp[])
{
    INJECT(injected, envp)
    flush();
    return PCM_REAL(fexecve)(fd, argv, injected);
}

PCM_EXPORT int
execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
    INJECT(injected, envp)
    flush();
    return PCM_REAL(execveat)(dirfd, path, argv, injected, flags);
}

PCM_EXPORT int
execv(const char *path, char *const argv[])
{
    return execve(path, argv, environ);
}

PCM_EXPORT int
execvp(const char *file, char *const argv[])
{
    return execvpe(file, argv, environ);
}

PCM_EXPORT int
execl(const char *path, const char *first, ...)
{
    va_list list;

    COLLECT(arguments, list, first)
    va_end(list);
    return execve(path, arguments, environ);
}

PCM_EXPORT int
execlp(const char *file, const char *first, ...)
{
    va_list list;

    COLLECT(arguments, list, first)
    va_end(list);
    return execvpe(file, arguments, environ);
}

PCM_EXPORT int
execle(const char *path, const char *first, ...)
{
    va_list list;

    COLLECT(arguments, list, first)
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return execve(path, arguments, envp);
}

PCM_EXPORT int
posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
            const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    INJECT(injected, envp)
    return PCM_REAL(posix_spawn)(pid, path, actions, attributes, argv, injected);
}

PCM_EXPORT int
posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
             const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    INJECT(injected, envp)
    return PCM_REAL(posix_spawnp)(pid, file, actions, attributes, argv, injected);
}

/* These two start a shell with `environ`, out of our sight. */
PCM_EXPORT int
system(const char *command)
{
    char **before = environ;

    INJECT(injected, before)
    environ = injected;
    int status = PCM_REAL(system)(command);
    if (environ == injected)
        environ = before;
    return status;
}

PCM_EXPORT FILE *
popen(const char *command, const char *mode)
{
    char **before = environ;

    INJECT(injected, before)
    environ = injected;
    FILE *stream = PCM_REAL(popen)(command, mode);
    if (environ == injected)
        environ = before;
    return stream;
}

PCM_EXPORT pid_t
fork(void)
{
    pcm_flusher_stop();
    return PCM_REAL(fork)();
}

PCM_ALIAS(__fork, fork)
PCM_ALIAS(__libc_fork, fork)

PCM_EXPORT int
daemon(int stay, int keep_streams)
{
    pcm_flusher_stop();
    flush(); /* the parent ends inside */
    return PCM_REAL(daemon)(stay, keep_streams);
}

PCM_EXPORT int
unshare(int flags)
{
    pcm_flusher_stop();
    if ((flags & CLONE_FILES) != 0)
        pcm_split_fds();
    return PCM_REAL(unshare)(flags);
}

PCM_EXPORT int
setns(int fd, int type)
{
    pcm_flusher_stop();
    return PCM_REAL(setns)(fd, type);
}

PCM_EXPORT int
prctl(int option, ...)
{
    unsigned long arguments[4];
    va_list list;

    va_start(list, option);
    for (int i = 0; i < 4; i++)
        arguments[i] = va_arg(list, unsigned long);
    va_end(list);
    if (option == PR_SET_SECCOMP)
        pcm_deactivate();
    return PCM_REAL(prctl)(option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

PCM_EXPORT void
_exit(int status)
{
    flush();
    PCM_REAL(_exit)(status);
    __builtin_unreachable();
}

PCM_ALIAS(_Exit, _exit)

PCM_EXPORT void
quick_exit(int status)
{
    flush();
    PCM_REAL(quick_exit)(status);
    __builtin_unreachable();
}

PCM_EXPORT void
abort(void)
{
    flush();
    PCM_REAL(abort)();
    __builtin_unreachable();
}

__attribute__((destructor)) static void
on_exit_of_process(void)
{
    atomic_store(&pcm_exiting, true);
    pcm_streams_ending();
    flush();
}
