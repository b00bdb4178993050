/* hooks_fd.c - whatever gives a descriptor's number another meaning.
 *
 * Invariants: the table forgets before the kernel does, so that nobody finds an old meaning under a
 * new file; the pipe's own descriptor does not exist as far as the application can tell, and moves
 * away when its number is wanted. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <utmp.h>
#include <stdarg.h>
#include <unistd.h>

#include "fds.h"
#include "hooks.h"
#include "pipe.h"
#include "real.h"

#include "rules.h"

static int
no_such_fd(void)
{
    errno = EBADF;
    return -1;
}

static int
renamed_fd(int fd)
{
    pcm_forget_fd(fd);
    pcm_pipe_approached(fd);
    return fd;
}

PCM_EXPORT int
close(int fd)
{
    if (pcm_is_own(fd))
        return no_such_fd();
    pcm_forget_fd(fd);
    return PCM_REAL(close)(fd);
}

PCM_ALIAS(__close, close)

PCM_EXPORT int
close_range(unsigned first, unsigned last, int flags)
{
    unsigned own;
    int failed;

    pcm_pipe_settle();
    own = (unsigned)atomic_load(&pcm_own_fd);
    if (((unsigned)flags & CLOSE_RANGE_UNSHARE) != 0)
        pcm_split_fds();
    pcm_forget_all_fds();
    if (own > INT_MAX || first > own || last < own)
        return PCM_REAL(close_range)(first, last, flags);
    failed = first < own ? PCM_REAL(close_range)(first, own - 1, flags) : 0;
    if (!failed && last > own)
        failed = PCM_REAL(close_range)(own + 1, last, flags);
    return failed;
}

PCM_EXPORT void
closefrom(int first)
{
    close_range(first < 0 ? 0 : (unsigned)first, UINT_MAX, 0);
}

PCM_EXPORT int
dup(int fd)
{
    return pcm_is_own(fd) ? no_such_fd() : renamed_fd(PCM_REAL(dup)(fd));
}

PCM_EXPORT int
dup2(int fd, int to)
{
    if (pcm_is_own(fd))
        return no_such_fd();
    pcm_make_room(to);
    pcm_forget_fd(to);
    return renamed_fd(PCM_REAL(dup2)(fd, to));
}

PCM_ALIAS(__dup2, dup2)

PCM_EXPORT int
dup3(int fd, int to, int flags)
{
    if (pcm_is_own(fd))
        return no_such_fd();
    pcm_make_room(to);
    pcm_forget_fd(to);
    return renamed_fd(PCM_REAL(dup3)(fd, to, flags));
}

static int
after_fcntl(int command, int result)
{
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? renamed_fd(result) : result;
}

/* libc makes the terminal standard input, output and error. */
PCM_EXPORT int
login_tty(int terminal)
{
    int failed = PCM_REAL(login_tty)(terminal);

    for (int fd = 0; fd <= 2; fd++)
        pcm_forget_fd(fd);
    pcm_forget_fd(terminal);
    return failed;
}

PCM_EXPORT int
fcntl(int fd, int command, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, command);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (pcm_is_own(fd))
        return no_such_fd();
    return after_fcntl(command, PCM_REAL(fcntl)(fd, command, argument));
}

PCM_ALIAS(__fcntl, fcntl)

PCM_EXPORT int
fcntl64(int fd, int command, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, command);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (pcm_is_own(fd))
        return no_such_fd();
    return after_fcntl(command, PCM_REAL(fcntl64)(fd, command, argument));
}
