/* hooks_rights.c - whatever changes what the process may do, or where it lives.
 *
 * Invariant: no thread of ours lives through such a call.  It would keep the rights that the
 * application gives up, and what only a process of one thread may do would fail; the next one
 * begins with the rights of whoever starts it. */
#define _GNU_SOURCE
#include <grp.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fds.h"
#include "flush.h"
#include "hooks.h"
#include "names.h"
#include "readable.h"
#include "real.h"
#include "report.h"
#include "state.h"
#include "thread.h"

#include "rules.h"

#define HELD(call)                                                                                 \
    pcm_flusher_hold();                                                                            \
    int result = call;                                                                             \
    pcm_flusher_release();                                                                         \
    return result;

PCM_EXPORT int
setuid(uid_t user)
{
    HELD(PCM_REAL(setuid)(user))
}

PCM_EXPORT int
setgid(gid_t group)
{
    HELD(PCM_REAL(setgid)(group))
}

PCM_EXPORT int
seteuid(uid_t user)
{
    HELD(PCM_REAL(seteuid)(user))
}

PCM_EXPORT int
setegid(gid_t group)
{
    HELD(PCM_REAL(setegid)(group))
}

PCM_EXPORT int
setreuid(uid_t real, uid_t effective)
{
    HELD(PCM_REAL(setreuid)(real, effective))
}

PCM_EXPORT int
setregid(gid_t real, gid_t effective)
{
    HELD(PCM_REAL(setregid)(real, effective))
}

PCM_EXPORT int
setresuid(uid_t real, uid_t effective, uid_t saved)
{
    HELD(PCM_REAL(setresuid)(real, effective, saved))
}

PCM_EXPORT int
setresgid(gid_t real, gid_t effective, gid_t saved)
{
    HELD(PCM_REAL(setresgid)(real, effective, saved))
}

PCM_EXPORT
int
setgroups(size_t count, const gid_t *groups)
{
    HELD(PCM_REAL(setgroups)(count, groups))
}

PCM_EXPORT int
initgroups(const char *user, gid_t group)
{
    HELD(PCM_REAL(initgroups)(user, group))
}

PCM_EXPORT int
setfsuid(uid_t user)
{
    HELD(PCM_REAL(setfsuid)(user))
}

PCM_EXPORT int
setfsgid(gid_t group)
{
    HELD(PCM_REAL(setfsgid)(group))
}

PCM_EXPORT int
capset(void *header, const void *data)
{
    HELD(PCM_REAL(capset)(header, data))
}

/* Whether a process goes on, or begins, among mounts of its own: whoever is outside finds other files
 * under the paths that it sees. */
static void
on_namespaces(uint64_t flags)
{
    if ((flags & CLONE_NEWNS) != 0 && atomic_load_explicit(&pcm_active, memory_order_relaxed))
        pcm_mark_lost(PCM_LOST_NAMESPACE);
}

/* `flags`: of what it left. */
static int
moved(int failed, uint64_t flags)
{
    pcm_forget_cwd();
    pcm_forget_all_fds();
    pcm_flusher_release();
    if (!failed)
        on_namespaces(flags);
    return failed;
}

PCM_EXPORT int
unshare(int flags)
{
    if ((flags & CLONE_FILES) != 0)
        pcm_split_fds();
    pcm_flusher_hold();
    return moved(PCM_REAL(unshare)(flags), (uint64_t)flags);
}

/* No type: of any kind. */
PCM_EXPORT int
setns(int fd, int type)
{
    pcm_flusher_hold();
    return moved(PCM_REAL(setns)(fd, type), type == 0 ? CLONE_NEWNS : (uint64_t)type);
}

int
pivot_root(const char *new, const char *old);

PCM_EXPORT int
pivot_root(const char *new, const char *old)
{
    pcm_flusher_hold();
    return moved(PCM_REAL(pivot_root)(new, old), CLONE_NEWNS);
}

/* Once the application forbids itself system calls, ours would kill it. */
static void
deactivate(void)
{
    if (!atomic_load(&pcm_active))
        return;
    pcm_flusher_hold();
    atomic_store(&pcm_active, false);
    atomic_store(&pcm_sandboxed, true);
    pcm_flush_all();
    pcm_mark_lost(PCM_LOST_SANDBOX);
}

/* It did not come to that. */
static void
reactivate(void)
{
    if (!atomic_exchange(&pcm_sandboxed, false))
        return;
    atomic_store(&pcm_active, true);
    pcm_flusher_release();
}

/* A filter of system calls is no filter without its rules: that is how to ask whether there are
 * filters. */
PCM_EXPORT int
prctl(int option, ...)
{
    unsigned long arguments[4];
    va_list list;

    va_start(list, option);
    for (int i = 0; i < 4; i++)
        arguments[i] = va_arg(list, unsigned long);
    va_end(list);
    bool sandbox =
        option == PR_SET_SECCOMP && (arguments[0] == SECCOMP_MODE_STRICT ||
                                     (arguments[0] == SECCOMP_MODE_FILTER && arguments[1] != 0));
    bool rights = option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECUREBITS ||
                  option == PR_CAPBSET_DROP || option == PR_CAP_AMBIENT;
    if (sandbox)
        deactivate();
    if (rights)
        pcm_flusher_hold();
    int result = PCM_REAL(prctl)(option, arguments[0], arguments[1], arguments[2], arguments[3]);
    if (sandbox && result < 0)
        reactivate();
    if (rights)
        pcm_flusher_release();
    return result;
}

static bool
concerns_rights(long number)
{
    static const long numbers[] = {
        SYS_setuid,    SYS_setgid,    SYS_setreuid,   SYS_setregid, SYS_setresuid,
        SYS_setresgid, SYS_setgroups, SYS_setfsuid,   SYS_setfsgid, SYS_capset,
        SYS_unshare,   SYS_setns,     SYS_pivot_root,
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (numbers[i] == number)
            return true;
    return false;
}

/* The flags of a call that begins a process or a thread, 0 of any other. */
static uint64_t
clone_flags(long number, const long a[6])
{
    uint64_t flags = 0;

    if (number == SYS_clone)
        flags = (uint64_t)a[0];
    else if (number == SYS_clone3 && a[1] >= (long)sizeof(flags) &&
             !pcm_copy_in(&flags, (const void *)(uintptr_t)a[0], sizeof(flags)))
        flags = 0; /* to be refused by the kernel */
    return flags;
}

/* Before a process begins: one that shares the descriptor table is no thread of this one, and nobody
 * counts as alone then. */
void
pcm_before_clone(uint64_t flags)
{
    if ((flags & (CLONE_FILES | CLONE_THREAD)) == CLONE_FILES)
        pcm_split_fds();
    on_namespaces(flags);
}

/* The same made through syscall(): before and after. */
void
pcm_before_rights(long number, const long a[6])
{
    if (number == SYS_seccomp &&
        (a[0] == SECCOMP_SET_MODE_STRICT || (a[0] == SECCOMP_SET_MODE_FILTER && a[2] != 0)))
        deactivate();
    if (number == SYS_unshare && (a[0] & CLONE_FILES) != 0)
        pcm_split_fds();
    pcm_before_clone(clone_flags(number, a));
    if (concerns_rights(number))
        pcm_flusher_hold();
}

void
pcm_after_rights(long number, const long a[6], long result)
{
    if (number == SYS_seccomp && result < 0)
        reactivate();
    if (number == SYS_unshare)
        moved(result < 0, (uint64_t)a[0]);
    else if (number == SYS_setns)
        moved(result < 0, a[1] == 0 ? CLONE_NEWNS : (uint64_t)a[1]);
    else if (number == SYS_pivot_root)
        moved(result < 0, CLONE_NEWNS);
    else if (concerns_rights(number))
        pcm_flusher_release();
}
