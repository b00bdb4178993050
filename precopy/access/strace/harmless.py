"""Calls that cannot change what the log says, and what to make of calls that nobody knows."""

from __future__ import annotations

import re

from precopy.access.strace.lines import Call

_HARMLESS = frozenset(
    b"""
    _llseek _newselect _sysctl add_key adjtimex afs_syscall alarm arch_prctl arm_fadvise64_64
    arm_sync_file_range bdflush bind bpf brk cacheflush cachestat capget capset clock_adjtime
    clock_getres clock_gettime clock_nanosleep clock_settime connect create_module delete_module
    epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old exit exit_group
    fadvise64 fadvise64_64 fdatasync fgetxattr file_getattr finit_module flistxattr flock fsconfig
    fstatfs fsync ftime futex futex_requeue futex_wait futex_waitv futex_wake get_kernel_syms
    get_mempolicy get_robust_list get_thread_area getcpu getegid geteuid getgid getgroups getitimer
    getpeername getpgid getpgrp getpid getpmsg getppid getpriority getrandom getresgid getresuid
    getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid idle init_module
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_uring_enter
    io_uring_register ioperm iopl ioprio_get ioprio_set ipc kcmp kexec_file_load kexec_load keyctl
    kill landlock_add_rule landlock_restrict_self listen listmount listns lock lookup_dcookie lseek
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr madvise map_shadow_stack mbind membarrier
    migrate_pages mincore mlock mlock2 mlockall modify_ldt move_pages mpx mq_getsetattr mq_notify
    mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall nanosleep nfsservctl nice oldolduname olduname pause personality pidfd_send_signal
    pkey_alloc pkey_free poll ppoll prctl pread pread64 preadv preadv2 prlimit64 process_madvise
    process_mrelease process_vm_readv process_vm_writev prof profil pselect6 ptrace putpmsg
    query_module quotactl quotactl_fd read readahead readv reboot recv recvfrom request_key
    restart_syscall riscv_flush_icache riscv_hwprobe rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp security select semctl semget semop semtimedop send
    sendmmsg sendmsg sendto set_mempolicy set_mempolicy_home_node set_robust_list set_thread_area
    set_tid_address setdomainname setfsgid setfsuid setgid setgroups sethostname setitimer setpgid
    setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt settimeofday
    setuid sgetmask shmat shmctl shmdt shmget shutdown sigaction sigaltstack signal sigpending
    sigprocmask sigreturn sigsuspend socketcall ssetmask statmount stime stty swapoff sync
    sync_file_range sync_file_range2 syncfs sysfs sysinfo syslog tee tgkill time timer_create
    timer_delete timer_getoverrun timer_gettime timer_settime timerfd_gettime timerfd_settime times
    tkill tuxcall ugetrlimit ulimit umask uname uprobe uretprobe ustat vhangup vm86 vm86old vserver
    wait4 waitid waitpid
    """.split()
)
"""Calls that change no file and name none, or only sockets, pipes, devices and memory."""


def matters(name: bytes) -> bool:
    """Return whether a call can change what the log says, or is not known."""
    return name not in _HARMLESS


def harmless(call: Call) -> bool:
    """Return whether a call without a handler cannot change or name a file."""
    plain = re.sub(rb"(_time64|_time32|32|64)\Z", b"", call.name)
    if call.name in _HARMLESS or plain in _HARMLESS:
        return True
    return not call.name.startswith(b"syscall_") and not re.search(rb'"|</', call.text)
