/* hooks_syscall.c - the same calls made through syscall().
 *
 * Invariant: the call itself is made by libc's syscall(), with at most our environment put into it.
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fds.h"
#include "hooks.h"
#include "looks.h"
#include "names.h"
#include "pipe.h"
#include "real.h"
#include "slots.h"
#include "wire.h"

#include "rules.h"

typedef const long arguments_t[6];

static const char *
text(long argument)
{
    return (const char *)(uintptr_t)argument;
}

static void
after_open(long number, arguments_t a, long result)
{
    if (number == SYS_openat)
        pcm_on_open((int)result, (int)a[2], (int)a[0], text(a[1]));
    else if (number == SYS_openat2)
        pcm_on_open((int)result, (int)*(const uint64_t *)(uintptr_t)a[2], (int)a[0], NULL);
#ifdef SYS_open
    else if (number == SYS_open)
        pcm_on_open((int)result, (int)a[1], AT_FDCWD, text(a[0]));
    else if (number == SYS_creat)
        pcm_on_open((int)result, O_WRONLY | O_TRUNC, AT_FDCWD, text(a[0]));
#endif
}

/* A call that looked at something by its name, or read a directory's entries. */
static void
after_look(long number, arguments_t a)
{
    bool follow = true;

    switch (number) {
    case SYS_getdents64:
#ifdef SYS_getdents
    case SYS_getdents:
#endif
        pcm_on_listed((int)a[0], "");
        break;
    case SYS_newfstatat:
        follow = (a[3] & AT_SYMLINK_NOFOLLOW) == 0;
        pcm_on_look((int)a[0], text(a[1]), follow, NULL);
        break;
    case SYS_statx:
        follow = (a[2] & AT_SYMLINK_NOFOLLOW) == 0;
        pcm_on_look((int)a[0], text(a[1]), follow, NULL);
        break;
    case SYS_faccessat2:
        follow = (a[3] & AT_SYMLINK_NOFOLLOW) == 0;
        pcm_on_look((int)a[0], text(a[1]), follow, NULL);
        break;
    case SYS_faccessat:
    case SYS_readlinkat:
        pcm_on_look((int)a[0], text(a[1]), number == SYS_faccessat, NULL);
        break;
    case SYS_inotify_add_watch:
        pcm_on_look(AT_FDCWD, text(a[1]), true, NULL);
        break;
#ifdef SYS_stat
    case SYS_stat:
    case SYS_access:
        pcm_on_look(AT_FDCWD, text(a[0]), true, NULL);
        break;
    case SYS_lstat:
    case SYS_readlink:
        pcm_on_look(AT_FDCWD, text(a[0]), false, NULL);
        break;
#endif
    default:
        break;
    }
}

static void
after_directory(long number, arguments_t a)
{
    if (number == SYS_mkdirat || (number == SYS_unlinkat && (a[2] & AT_REMOVEDIR) != 0))
        pcm_changed_directory(0, (int)a[0], text(a[1]));
#ifdef SYS_mkdir
    else if (number == SYS_mkdir || number == SYS_rmdir)
        pcm_changed_directory(0, AT_FDCWD, text(a[0]));
#endif
}

static void
after_name(long number, arguments_t a)
{
    pcm_event_t event = {.use = PCM_WRITE, .changes = 1};
    pcm_event_t made_link = {.use = PCM_WRITE | PCM_LINK, .changes = 1};

    if (number == SYS_renameat || number == SYS_renameat2)
        pcm_on_rename2(0, (int)a[0], text(a[1]), (int)a[2], text(a[3]),
                       number == SYS_renameat2 ? (unsigned)a[4] : 0);
    else if (number == SYS_unlinkat && (a[2] & AT_REMOVEDIR) == 0)
        pcm_removed_name(0, (int)a[0], text(a[1]));
    else if (number == SYS_linkat)
        pcm_on_link(0, (int)a[0], text(a[1]), (int)a[2], text(a[3]), (int)a[4]);
    else if (number == SYS_symlinkat)
        pcm_on_path((int)a[1], text(a[2]), made_link);
    else if (number == SYS_truncate)
        pcm_on_target(AT_FDCWD, text(a[0]), 0, event);
#ifdef SYS_rename
    else if (number == SYS_rename)
        pcm_on_rename2(0, AT_FDCWD, text(a[0]), AT_FDCWD, text(a[1]), 0);
    else if (number == SYS_unlink)
        pcm_removed_name(0, AT_FDCWD, text(a[0]));
    else if (number == SYS_link)
        pcm_on_link(0, AT_FDCWD, text(a[0]), AT_FDCWD, text(a[1]), 0);
    else if (number == SYS_symlink)
        pcm_on_path(AT_FDCWD, text(a[1]), made_link);
#endif
}

static void
after_fd(long number, arguments_t a, long result)
{
    switch (number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
    case SYS_sendfile:
        pcm_wrote((int)a[0], result);
        break;
    case SYS_copy_file_range:
    case SYS_splice:
        pcm_wrote((int)a[2], result);
        break;
    case SYS_ftruncate:
    case SYS_fallocate:
        pcm_changed((int)a[0]);
        break;
    case SYS_mmap:
        pcm_on_mmap((int)a[4], (int)a[2], (int)a[3]);
        break;
    case SYS_dup:
    case SYS_dup3:
#ifdef SYS_dup2
    case SYS_dup2:
#endif
        pcm_forget_fd((int)result);
        break;
    case SYS_recvmsg:
        pcm_on_message((const struct msghdr *)(uintptr_t)a[1]);
        break;
    case SYS_recvmmsg:
        for (long i = 0; i < result; i++)
            pcm_on_message(&((const struct mmsghdr *)(uintptr_t)a[1])[i].msg_hdr);
        break;
    case SYS_pidfd_getfd:
        pcm_on_received((int)result);
        break;
    case SYS_ioctl:
        if (result == 0)
            pcm_on_ioctl((int)a[0], (unsigned long)a[1]);
        break;
    case SYS_io_uring_setup:
        pcm_on_ring();
        break;
    case SYS_fchdir:
        pcm_forget_cwd();
        break;
    default:
        if (pcm_on_attribute_call(number, a))
            break;
        after_open(number, a, result);
        after_look(number, a);
        after_directory(number, a);
        after_name(number, a);
    }
}

/* Calls that are made through the hook of the same name: it knows what to do before. */
static bool
by_hook(long number, arguments_t a, long *result)
{
    char *const *argv = (char *const *)(uintptr_t)a[1], *const *envp =
                                                            (char *const *)(uintptr_t)a[2];

    if (number == SYS_close)
        *result = close((int)a[0]);
    else if (number == SYS_close_range)
        *result = close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
    else if (number == SYS_execve)
        *result = execve(text(a[0]), argv, envp);
    else if (number == SYS_execveat)
        *result = execveat((int)a[0], text(a[1]), (char *const *)(uintptr_t)a[2],
                           (char *const *)(uintptr_t)a[3], (int)a[4]);
    else if (number == SYS_chdir)
        *result = chdir(text(a[0]));
    else if (number == SYS_chroot)
        *result = chroot(text(a[0]));
    else if (number == SYS_fcntl)
        *result = fcntl((int)a[0], (int)a[1], a[2]);
    else if (number == SYS_prctl)
        *result = prctl((int)a[0], a[1], a[2], a[3], a[4]);
    else if (number == SYS_io_submit)
        *result = pcm_submit(a);
    else if (number == SYS_exit_group)
        _exit((int)a[0]);
    else
        return false;
    return true;
}

PCM_EXPORT long
syscall(long number, ...)
{
    long a[6], result;
    va_list list;

    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (by_hook(number, a, &result))
        return result;
    pcm_before_rights(number, a);
    if (number == SYS_dup3)
        pcm_make_room((int)a[1]);
#ifdef SYS_dup2
    if (number == SYS_dup2)
        pcm_make_room((int)a[1]);
#endif
    result = PCM_REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    pcm_after_rights(number, a, result);
    if (result >= 0)
        after_fd(number, a, result);
    return result;
}
