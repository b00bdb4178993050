/* hooks_receive.c - descriptors that somebody else opened: received, taken or inherited.
 *
 * Invariant: a number that was just handed out is resolved anew.  Who can read a file that came this
 * way is taken to read it: a look at every read would cost every read. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "fds.h"
#include "hooks.h"
#include "real.h"
#include "report.h"
#include "slots.h"
#include "state.h"
#include "sys.h"
#include "wire.h"

#include "rules.h"

#define MOST_WITHOUT_PROC 256 /* numbers that are tried where /proc does not list them */

/* Whoever holds this descriptor may read a file through it. */
static void
on_readable(int fd)
{
    long flags = pcm_sys_fcntl(fd, F_GETFL, 0);

    if (flags >= 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY)
        pcm_on_fd(fd, (pcm_event_t){.use = PCM_READ});
}

void
pcm_on_received(int fd)
{
    if (fd < 0 || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return;
    pcm_forget_fd(fd);
    on_readable(fd);
}

/* The kernel filled in a message: look for descriptors in it. */
void
pcm_on_message(const struct msghdr *message)
{
    const char *at = message->msg_control, *end = at + message->msg_controllen;
    struct cmsghdr head;
    int fd;

    if (at == NULL || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return;
    while ((size_t)(end - at) >= sizeof(head)) {
        memcpy(&head, at, sizeof(head));
        if (head.cmsg_len < sizeof(head) || head.cmsg_len > (size_t)(end - at))
            return;
        if (head.cmsg_level == SOL_SOCKET && head.cmsg_type == SCM_RIGHTS)
            for (size_t i = CMSG_LEN(0); i + sizeof(fd) <= head.cmsg_len; i += sizeof(fd)) {
                memcpy(&fd, at + i, sizeof(fd));
                pcm_on_received(fd);
            }
        if (CMSG_ALIGN(head.cmsg_len) > (size_t)(end - at))
            return;
        at += CMSG_ALIGN(head.cmsg_len);
    }
}

PCM_EXPORT ssize_t
recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t size = PCM_REAL(recvmsg)(fd, message, flags);

    if (size >= 0)
        pcm_on_message(message);
    return size;
}

PCM_EXPORT int
recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    int received = PCM_REAL(recvmmsg)(fd, messages, count, flags, timeout);

    for (int i = 0; i < received; i++)
        pcm_on_message(&messages[i].msg_hdr);
    return received;
}

PCM_EXPORT int
pidfd_getfd(int pidfd, int target, unsigned flags)
{
    int fd = PCM_REAL(pidfd_getfd)(pidfd, target, flags);

    pcm_on_received(fd);
    return fd;
}

/* The entries of /proc/self/fd that were read into `entries`. */
static void
on_entries(const char *entries, long size, int own)
{
    for (long at = 0; at < size;) {
        const struct dirent64 *entry = (const void *)(entries + at);
        int fd = 0;

        for (const char *digit = entry->d_name; *digit >= '0' && *digit <= '9'; digit++)
            fd = fd * 10 + (*digit - '0');
        if (fd != own && fd > 2) /* "." and "..": 0 */
            on_readable(fd);
        at += entry->d_reclen;
    }
}

/* At the start of a program: what it finds open, apart from the three streams. */
void
pcm_on_inherited(void)
{
    int list = pcm_sys_openat(AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    char *entries = pcm_scratch_acquire();
    long size = 0;

    for (int fd = 3; list < 0 && fd < MOST_WITHOUT_PROC; fd++)
        on_readable(fd);
    while (list >= 0 && entries != NULL &&
           (size = pcm_sys(SYS_getdents64, list, (long)entries, PCM_PATH_MAX, 0, 0, 0)) > 0)
        on_entries(entries, size, list);
    if (list >= 0)
        pcm_sys_close(list);
    if (entries == NULL || size < 0)
        pcm_mark_lost(PCM_LOST_MEMORY);
    pcm_scratch_release(entries);
}
