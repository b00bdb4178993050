/* hooks_process.c - whatever begins, extends, replaces or ends a process.
 *
 * Invariants: what is pending is reported before a program is replaced or ends; every program
 * started from here is monitored, too, or the log says that it is not; a process that forks has no flusher meanwhile.  vfork needs
 * no hook: its child shares our memory and remembers nothing about descriptors. */
#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "environment.h"
#include "fds.h"
#include "flush.h"
#include "hooks.h"
#include "loaded.h"
#include "program.h"
#include "real.h"
#include "state.h"
#include "stream.h"
#include "sys.h"
#include "thread.h"

#include "rules.h"

#define SMALL 4096 /* bytes that may lie on the application's stack */

/* Declare `injected`: the environment as a program is to be started with, made anew if need be. */
#define INJECT(injected, program, envp)                                                            \
    pcm_injection_t injected##_plan;                                                               \
    char **injected = (char **)(uintptr_t)(envp);                                                  \
    void *injected##_lent = NULL;                                                                  \
    if (pcm_environment_plan(envp, program, &injected##_plan)) {                                   \
        void *memory = injected##_plan.bytes <= SMALL                                              \
                           ? alloca(injected##_plan.bytes)                                         \
                           : (injected##_lent = pcm_sys_lend(injected##_plan.bytes));              \
        if (memory != NULL)                                                                        \
            injected = pcm_environment_apply(envp, &injected##_plan, memory);                      \
    }

/* Behind the call, if it returns. */
#define INJECTED(injected) pcm_sys_give_back(injected##_lent, injected##_plan.bytes);

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

/* Before the process ends, or becomes another program: whatever is pending is reported. */
static void
finish(void)
{
    pcm_flusher_hold();
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return;
    if (atomic_load_explicit(&pcm_state->loads_pending, memory_order_relaxed) != 0)
        pcm_report_loaded();
    pcm_flush_all();
}

#define EXECUTE(program, envp, call)                                                               \
    finish();                                                                                      \
    INJECT(injected, program, envp)                                                                \
    int failed = call;                                                                             \
    pcm_flusher_release();                                                                         \
    INJECTED(injected)                                                                             \
    return failed;

PCM_EXPORT int
execve(const char *path, char *const argv[], char *const envp[])
{
    EXECUTE(pcm_program_look(AT_FDCWD, path), envp, PCM_REAL(execve)(path, argv, injected))
}

PCM_EXPORT int
execvpe(const char *file, char *const argv[], char *const envp[])
{
    EXECUTE(pcm_program_search(file), envp, PCM_REAL(execvpe)(file, argv, injected))
}

PCM_EXPORT int
fexecve(int fd, char *const argv[], char *const envp[])
{
    /* libc wants both, and tells the compiler that they are there. */
    char *const *volatile lists[] = {argv, envp};

    if (lists[0] == NULL || lists[1] == NULL)
        return PCM_REAL(fexecve)(fd, argv, envp);
    EXECUTE(pcm_program_look(fd, ""), envp, PCM_REAL(fexecve)(fd, argv, injected))
}

PCM_EXPORT
int
execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
    EXECUTE(pcm_program_look(dirfd, path), envp,
            PCM_REAL(execveat)(dirfd, path, argv, injected, flags))
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

#define SPAWN(program, envp, call)                                                                 \
    INJECT(injected, program, envp)                                                                \
    int failed = call;                                                                             \
    INJECTED(injected)                                                                             \
    return failed;

PCM_EXPORT int
posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
            const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    SPAWN(pcm_program_look(AT_FDCWD, path), envp,
          PCM_REAL(posix_spawn)(pid, path, actions, attributes, argv, injected))
}

PCM_EXPORT
int
posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
             const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    SPAWN(pcm_program_search(file), envp,
          PCM_REAL(posix_spawnp)(pid, file, actions, attributes, argv, injected))
}

PCM_EXPORT int
system(const char *command)
{
    size_t size;
    char *followed = pcm_environment_command(command, &size);
    int status = PCM_REAL(system)(followed == NULL ? command : followed);

    if (followed != NULL)
        pcm_sys_give_back(followed, size);
    return status;
}

PCM_EXPORT FILE *
popen(const char *command, const char *mode)
{
    size_t size;
    char *followed = pcm_environment_command(command, &size);
    FILE *stream = PCM_REAL(popen)(followed == NULL ? command : followed, mode);

    if (followed != NULL)
        pcm_sys_give_back(followed, size);
    return stream;
}

PCM_EXPORT int
clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
    va_list list;
    void *more[3];

    va_start(list, argument);
    for (int i = 0; i < 3; i++)
        more[i] = va_arg(list, void *);
    va_end(list);
    pcm_before_clone((unsigned)flags);
    return PCM_REAL(clone)(function, stack, flags, argument, more[0], more[1], more[2]);
}

/* The child's memory knows of no hold. */
#define FORKING(call)                                                                              \
    pcm_flusher_hold();                                                                            \
    pid_t pid = call;                                                                              \
    if (pid != 0)                                                                                  \
        pcm_flusher_release();                                                                     \
    return pid

PCM_EXPORT pid_t
fork(void)
{
    FORKING(PCM_REAL(fork)());
}

PCM_EXPORT pid_t
_Fork(void)
{
    FORKING(PCM_REAL(_Fork)());
}

PCM_EXPORT pid_t
forkpty(int *terminal, char *name, const struct termios *modes, const struct winsize *size)
{
    FORKING(PCM_REAL(forkpty)(terminal, name, modes, size));
}

PCM_ALIAS(__fork, fork)
PCM_ALIAS(__libc_fork, fork)

PCM_EXPORT int
daemon(int stay, int keep_streams)
{
    finish(); /* the parent ends inside */
    int failed = PCM_REAL(daemon)(stay, keep_streams);
    pcm_flusher_release();
    return failed;
}

PCM_EXPORT void
_exit(int status)
{
    finish();
    PCM_REAL(_exit)(status);
    __builtin_unreachable();
}

PCM_ALIAS(_Exit, _exit)

PCM_EXPORT void
quick_exit(int status)
{
    finish();
    PCM_REAL(quick_exit)(status);
    __builtin_unreachable();
}

PCM_EXPORT void
abort(void)
{
    finish();
    PCM_REAL(abort)();
    __builtin_unreachable();
}

__attribute__((destructor)) static void
on_exit_of_process(void)
{
    atomic_store(&pcm_exiting, true);
    pcm_streams_ending(PCM_REAL(fflush_unlocked)); /* as libc: who holds a lock may never let go */
    finish();
}
