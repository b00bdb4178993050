"""A hook behaves as the function that it replaces, whatever it is given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from access.truth import need

from precopy.access.tracking.recording import MONITOR, record

HERE = Path(__file__).parent / "access"

# The letters are those of fidelity.c: the result first.
CALLS = """
_IO_putc:inS __close:if __dprintf_chk:ifnw __dup2:inn __endmntent:io __fcntl:ifnn
__fprintf_chk:iSnw __libc_pwrite:lfonn __open:ipnn __open64:ipnn __open64_2:ipn __open_2:ipn
__openat64_2:ifpn __openat_2:ifpn __overflow:iSn __printf_chk:inw __pwrite64:lfonn
__setmntent:Ppo __vdprintf_chk:ifnwo __vfprintf_chk:iSnwo __vprintf_chk:inwo __write:lfon
addmntent:iSo aio_write:io aio_write64:io bindtextdomain:Poo capset:ioo catopen:Ppn chdir:ip
chmod:ipn chown:ipnn chroot:ip close:if close_range:inn copy_file_range:lfofonn creat:ipn
creat64:ipn dlopen:Ppn dprintf:ifw dup:if dup2:ifn dup3:ifnn endmntent:io
execl:ipon execle:iponn execlp:ipon execv:ipo execve:ipoo execveat:ifpoon execvp:ipo execvpe:ipoo
fallocate:ifnnn fallocate64:ifnnn fchdir:if fchmod:ifn fchmodat:ifpnn fchown:ifnn fchownat:ifpnnn
fclose:iS fcloseall:i fcntl:ifnn fcntl64:ifnn fexecve:ifoo fflush:iS fflush_unlocked:iS
fopen:Ppo fopen64:Ppo fprintf:iSw fputc:inS fputc_unlocked:inS fputs:ioS fputs_unlocked:ioS
fputwc:inS fputws:iWS fremovexattr:ifo freopen:PpoS freopen64:PpoS fseek:iSnn fseeko:iSnn
fseeko64:iSnn fsetpos:iSo fsetpos64:iSo fsetxattr:ifoonn ftruncate:ifn ftruncate64:ifn
futimens:ifo futimes:ifo futimesat:ifpo fwprintf:iSW fwrite:lonnS fwrite_unlocked:lonnS
getdate:Po getdate_r:ioo getutent:P getutent_r:ioo getutid:Po getutid_r:iooo getutline:Po
getutline_r:iooo getutxent:P getutxid:Po getutxline:Po initgroups:ion ioctl:ifno
lchmod:ipn lchown:ipnn link:ipp linkat:ifpfpn lio_listio:inono lio_listio64:inono
localtime:Po localtime_r:Poo lremovexattr:ipo lsetxattr:ipoonn lutimes:ipo mknod:ipnn
mknodat:ifpnn mkostemp:ipn mkostemp64:ipn mkostemps:ipnn mkostemps64:ipnn mkstemp:ip mkstemp64:ip
mkstemps:ipn mkstemps64:ipn mktime:lo mmap:Ponnnfn mmap64:Ponnnfn newlocale:Pnoo open:ipnn
open64:ipnn open_by_handle_at:ifon openat:ifpnn openat64:ifpnn perror:vo pidfd_getfd:ifnn
posix_fallocate:ifnn posix_fallocate64:ifnn posix_spawn:iopnooo
posix_spawn_file_actions_addopen:ionpnn posix_spawnp:iopnooo prctl:innnnn printf:iw putc:inS
putc_unlocked:inS putchar:in putchar_unlocked:in puts:iw pwrite:lfonn pwrite64:lfonn
pwritev:lfonn pwritev2:lfonnn pwritev64:lfonn pwritev64v2:lfonnn recvmmsg:ifonno recvmsg:lfon
remove:ip removexattr:ipo rename:ipp renameat:ifpfp renameat2:ifpfpn rewind:vS sem_open:Ppn
sem_unlink:ip sendfile:lffon sendfile64:lffon setegid:in seteuid:in setfsgid:in setfsuid:in
setgid:in setgroups:ino setlocale:Pno setmntent:Ppo setns:ifn setregid:inn setresgid:innn
setresuid:innn setreuid:inn setuid:in setxattr:ipoonn shm_open:ipnn shm_unlink:ip
splice:lfofonn symlink:ipp symlinkat:ipfp syscall:lnnnnnn system:ip truncate:ipn truncate64:ipn
tzset:v unlink:ip unlinkat:ifpn unshare:in utime:ipo utimensat:ifpon utimes:ipo
utmpname:ip utmpxname:ip vdprintf:ifwo vfprintf:iSwo vfwprintf:iSWo vprintf:iwo vwarn:vwo
vwarnx:vwo warn:vw warnx:vw wprintf:iW write:lfon writev:lfon
__fxstatat:infpon __fxstatat64:infpon __lxstat:inpo __lxstat64:inpo __readlink_chk:lponn
__readlinkat_chk:lfponn __realpath_chk:Ppon __xstat:inpo __xstat64:inpo access:ipn
canonicalize_file_name:Pp dlmopen:Pnpn eaccess:ipn euidaccess:ipn faccessat:ifpnn fdopendir:Pf
fstatat:ifpon fstatat64:ifpon ftw:ipon ftw64:ipon getdents64:lfon getxattr:lpoon glob:ipnno
glob64:ipnno inotify_add_watch:ifpn lgetxattr:lpoon listxattr:lpon llistxattr:lpon lstat:ipo
lstat64:ipo mkdir:ipn mkdirat:ifpn mkdtemp:Pp name_to_handle_at:ifpoon nftw:iponn nftw64:iponn
opendir:Pp readlink:lpon readlinkat:lfpon realpath:Ppo rmdir:ip scandir:ipooo scandir64:ipooo
scandirat:ifpooo scandirat64:ifpooo stat:ipo stat64:ipo statfs:ipo statfs64:ipo statvfs:ipo
statvfs64:ipo statx:ifpnno
__fxstat:info __fxstat64:info fstat:ifo fstat64:ifo
fputwc_unlocked:inS putwc:inS putwchar:in putwc_unlocked:inS putwchar_unlocked:in
fputws_unlocked:ioS vwprintf:iWo __vfwprintf_chk:iSnWo __vwprintf_chk:inWo __fwprintf_chk:iSnW
__wprintf_chk:inW putw:inS putpwent:ioS putgrent:ioS putspent:ioS putsgent:ioS login_tty:if
posix_spawn_file_actions_addchdir_np:iop posix_spawn_file_actions_addfchdir_np:iof
_exit:vn _Exit:vn quick_exit:vn abort:v verr:vnwo verrx:vnwo err:vnw errx:vnw
"""

# What has no bad arguments, or would do something to the machine: their hooks only look at what the
# function did.
LEFT_OUT = {
    "_Fork", "__fork", "__libc_fork", "acct", "clone", "closefrom", "daemon", "fork", "forkpty",
    "fts64_read", "fts_read", "io_submit", "io_uring_queue_init", "io_uring_queue_init_mem",
    "io_uring_queue_init_params", "io_uring_setup", "login", "logout", "logwtmp", "pclose",
    "pivot_root", "popen", "pututline", "pututxline", "readdir", "readdir64", "updwtmp", "updwtmpx",
}  # fmt: skip


def exported() -> set[str]:
    """The functions that the monitor stands in front of."""
    need("nm")
    out = subprocess.run(
        ["nm", "-D", "--defined-only", MONITOR], capture_output=True, text=True, check=True
    ).stdout
    return {line.split()[2] for line in out.splitlines()}


def test_every_hook_is_tried() -> None:
    names = {call.split(":")[0] for call in CALLS.split()}
    assert exported() - names - LEFT_OUT == set()
    assert names - exported() == set()
    assert names & LEFT_OUT == set()


def test_every_hook_answers_as_the_function_does(tmp_path: Path) -> None:
    need("gcc")
    program = tmp_path / "fidelity"
    subprocess.run(["gcc", "-O1", "-w", "-o", program, HERE / "fidelity.c"], check=True)
    answers = []
    for way in ("plain", "monitored"):
        work = tmp_path / way
        work.mkdir()
        script = f"exec {program} {' '.join(CALLS.split())} > {tmp_path / way}.out 2> /dev/null"
        if way == "plain":
            subprocess.run(["sh", "-c", script], cwd=work, check=True)
        else:
            done = record(["sh", "-c", script], app="a", log=tmp_path / "log.db", cwd=work)
            assert done.returncode == 0
        answers.append((tmp_path / f"{way}.out").read_text(errors="replace").splitlines())
    plain, monitored = answers
    assert len(plain) > 1000
    differing = [pair for pair in zip(plain, monitored, strict=True) if pair[0] != pair[1]]
    assert differing == []
    assert os.path.exists(tmp_path / "plain" / "file")
