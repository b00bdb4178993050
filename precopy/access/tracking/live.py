"""The directory beside an access log in which monitor, tracker and supervisor meet.

``access.db-live/`` (mode 0700) holds the named ``pipe`` (0600), the ``journal`` in segments named
by the stream offset they begin at, the ``spill`` files of processes that found no room in the
pipe, and small files:

=============  ===================================================================================
``lock``       held by the tracker, whose process id it says
``at-work``    held, shared, by every recording; ``door`` is held while that is looked at
``id``         which journal this is; the log names it where it says how far it has read
``drained``    its time: what came into the pipe before is in the journal
``offset``     the stream offset at which the next segment begins
``kept``       recordings that have ended, and of which all is in the log or the journal
``lost-…``     one empty file per way of losing reports: the monitor makes it one byte long, which
               works on a full disk, too
=============  ===================================================================================

Beside it lies, as long as somebody is at work, the pipe ``access.db-strangers`` (0622): a process
of another user, who may not report, writes a byte into it, and only that it came is taken from it.

Invariants: the pipe has a name exactly while somebody is responsible for emptying it; a monitored
process that finds it nameless writes to its spill file instead.  The directory is opened without
following a link, everything in it relative to that, and owner and kind are those of the
descriptor, checked before anything is changed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from precopy.access.ownership import resolve

PIPE_BYTES = 1 << 20
"""Capacity asked for: what applications may report before the tracker looks again."""

RESERVE_BYTES = 256 << 10
"""Size of the file ``reserve``."""

OF_ANOTHER_USER = "a process of another user could not report"
"""What the log says then."""

LOSSES = {
    "lost-spill": "reports were dropped: neither the pipe nor the spill file would take them",
    "lost-path": "accesses whose absolute path could not be determined",
    "lost-sandbox": (
        "a process was not followed further: it forbade itself system calls, "
        "or went on in a root directory without the monitor"
    ),
    "lost-program": (
        "a program could not be followed, nor what it started: it is static, uses another C "
        "library or word size, or gains rights by being started"
    ),
    "lost-elsewhere": "a program was recorded into another log",
    "lost-namespace": (
        "a process went on among mounts of its own, in which paths may mean other files"
    ),
    "lost-memory": "a process could not be followed for want of memory",
    "lost-ring": "a process used io_uring, whose opens, writes and renames nobody sees",
}
"""Files by which the monitor says that the log is incomplete, and what each means."""

_CLOSED = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CLOCK_TICK_NS = 20_000_000  # the kernel's time stamps lag behind the clock by a tick of it


class LiveDirectory:
    """The live directory of one access log.

    Parameters
    ----------
    log : str or Path
        The access log; the directory's name is the log's with ``-live`` behind it.

    Raises
    ------
    ValueError
        If the name cannot be that of a log.

    Examples
    --------
    >>> LiveDirectory("/tmp/access.db").path.name
    'access.db-live'
    """

    def __init__(self, log: str | Path) -> None:
        self._fds: dict[str, int] = {}
        log = resolve(log)
        self.log = log
        self.path = log.with_name(log.name + "-live")
        self.pipe = self.path / "pipe"
        self.journal = self.path / "journal"
        self.spill = self.path / "spill"
        self.strangers = log.with_name(log.name + "-strangers")

    def __del__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])

    # --- directories -----------------------------------------------------------------------------

    def _open_directory(self, name: str) -> int:
        """Return a descriptor of the directory itself ('.') or of one in it; ours, checked."""
        if name not in self._fds:
            flags = os.O_RDONLY | os.O_DIRECTORY | _CLOSED
            if name == ".":
                fd = self._open_checked(self.path, flags, None)
            else:
                fd = self._open_checked(self.path / name, flags, self._open_directory("."))
            self._fds[name] = fd
        return self._fds[name]

    def _open_checked(self, path: Path, flags: int, within: int | None, mode: int = 0o600) -> int:
        """Open a path of which the last part is no link, and which belongs to us.

        Raises
        ------
        PermissionError
            If it belongs to somebody else, or is a link.
        """
        try:
            fd = os.open(path if within is None else path.name, flags, mode, dir_fd=within)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
                raise PermissionError(f"log: {str(path)!r} is a symbolic link") from error
            raise OSError(error.errno, error.strerror, str(path)) from error
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            os.close(fd)
            raise PermissionError(f"log: {str(path)!r} belongs to user {status.st_uid}")
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            os.close(fd)
            raise PermissionError(f"log: {str(path)!r} has several names")
        return fd

    def create(self) -> None:
        """Make what is missing, except the pipe.

        Raises
        ------
        PermissionError
            If the directory, or what is in it, belongs to somebody else, or is a link.
        """
        self._look_again()
        for name, mode in ((".", 0o700), ("journal", 0o700), ("spill", 0o700)):
            if name not in self._fds:
                with suppress(FileExistsError):
                    if name == ".":
                        self.path.mkdir(mode=0o700)
                    else:
                        os.mkdir(name, 0o700, dir_fd=self._open_directory("."))
            fd = self._open_directory(name)
            if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
                os.fchmod(fd, mode)
        for name in (*LOSSES, "drained", "kept", "door", "at-work", "lock"):
            self._touch(name)
        if not self.id:
            with self.door():  # two recordings that begin at once have one journal
                if not self.id:
                    self._write("id", secrets.token_hex(16))
        self._fill_reserve()

    def _look_again(self) -> None:
        """Forget descriptors of directories that have lost their names."""
        for name, fd in list(self._fds.items()):
            try:
                same = os.path.samestat(os.fstat(fd), os.lstat(self.path / name))
            except OSError:
                same = False
            if not same:
                self._forget()
                return

    def _touch(self, name: str) -> None:
        directory = self._open_directory(".")
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSED
            with suppress(FileExistsError):
                os.close(os.open(name, flags, 0o600, dir_fd=directory))
            return
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"log: {str(self.path / name)!r} is not a file of ours")

    def open(self, name: str, flags: int, within: str = ".") -> int:
        """Open a file in the directory, or in one in it; made with mode 0600 if `flags` say so.

        Raises
        ------
        OSError
            If it cannot be opened, is no regular file, or not ours.
        """
        directory = self._open_directory(within)
        path = (self.path if within == "." else self.path / within) / name
        fd = self._open_checked(path, flags | _CLOSED, directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileExistsError(errno.EEXIST, "expected a regular file", str(path))
        return fd

    def _read(self, name: str) -> str:
        try:
            fd = self.open(name, os.O_RDONLY)
        except FileNotFoundError:
            return ""
        try:
            return os.read(fd, 1 << 16).decode(errors="replace")
        finally:
            os.close(fd)

    def _write(self, name: str, text: str) -> None:
        """Replace a file's content in one step."""
        fd = self.open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        directory = self._open_directory(".")
        os.replace(f"{name}.new", name, src_dir_fd=directory, dst_dir_fd=directory)

    @property
    def id(self) -> str:
        """Which journal this is; empty if there is none yet."""
        return self._read("id")

    def _fill_reserve(self) -> None:
        if "reserve" in os.listdir(self._open_directory(".")):
            return
        fd = self.open("reserve", os.O_WRONLY | os.O_CREAT)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        except OSError:
            self.release_reserve()
        finally:
            os.close(fd)

    def release_reserve(self) -> None:
        """Give up the space kept for saying, on a full disk, that the log is incomplete."""
        self._unlink("reserve")

    def _unlink(self, name: str, within: str = ".") -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._open_directory(within))

    # --- the pipes -------------------------------------------------------------------------------

    def _check_pipe(self, path: Path, within: int | None) -> None:
        status = os.stat(
            path if within is None else path.name, dir_fd=within, follow_symlinks=False
        )
        if not stat.S_ISFIFO(status.st_mode):
            raise FileExistsError(f"log: {str(path)!r} is in the way, expected a named pipe")

    def open_pipe(self) -> int:
        """Open the pipe, made if it has no name; return a descriptor that reads and writes."""
        directory = self._open_directory(".")
        with suppress(FileExistsError):
            os.mkfifo("pipe", 0o600, dir_fd=directory)
        self._check_pipe(self.pipe, directory)
        fd = self._open_checked(self.pipe, os.O_RDWR | _CLOSED, self._open_directory("."))
        with suppress(OSError):  # a user's pipes may have reached their limit together
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return fd

    def open_strangers(self) -> int:
        """Open the pipe that processes of other users write a byte into; made if it is missing.

        Raises
        ------
        OSError
            If it cannot be made, or something else is in its place.
        """
        with suppress(FileExistsError):
            os.mkfifo(self.strangers, 0o600)
        self._check_pipe(self.strangers, None)
        fd = self._open_checked(self.strangers, os.O_RDWR | _CLOSED, None)
        os.fchmod(fd, 0o622)
        return fd

    def remove_strangers(self) -> None:
        """Remove the pipe of `open_strangers`: nobody is at work any more."""
        with suppress(OSError):
            status = self.strangers.lstat()
            if stat.S_ISFIFO(status.st_mode) and status.st_uid == os.geteuid():
                self.strangers.unlink()

    def is_named(self, fd: int) -> bool:
        """Return whether the pipe open at `fd` is the one that has the name."""
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self.pipe))
        except OSError:
            return False

    def remove_pipe(self) -> None:
        """Take away the pipe's name."""
        self._unlink("pipe")

    def note_drained(self, pipe: int, began_ns: int) -> None:
        """Note that the pipe was found empty by a look at it that began at `began_ns`."""
        began_ns -= _CLOCK_TICK_NS
        directory = self._open_directory(".")
        noted = os.stat("drained", dir_fd=directory, follow_symlinks=False).st_mtime_ns
        if os.fstat(pipe).st_mtime_ns >= noted:
            os.utime("drained", ns=(began_ns, began_ns), dir_fd=directory, follow_symlinks=False)

    def was_drained(self) -> bool:
        """Return whether all that ever came into the pipe is in the journal."""
        try:
            directory = self._open_directory(".")
            pipe = os.stat("pipe", dir_fd=directory, follow_symlinks=False)
            drained = os.stat("drained", dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        return pipe.st_mtime_ns < drained.st_mtime_ns

    # --- who is at work --------------------------------------------------------------------------

    def lock(self) -> int | None:
        """Take the tracker's lock; return its descriptor, or None if a tracker holds it."""
        fd = self.open("lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def sign(self, lock: int) -> None:
        """Say who holds the tracker's lock; a full disk is no reason not to."""
        with suppress(OSError):
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d" % os.getpid(), 0)

    def wake_tracker(self) -> None:
        """Let the tracker that holds the lock go on if somebody stopped it."""
        with suppress(OSError):
            text = self._read("lock")
            if text.isdigit() and int(text) > 1:
                os.kill(int(text), signal.SIGCONT)

    @contextmanager
    def door(self) -> Iterator[None]:
        """Hold the door: nobody begins or ends a recording meanwhile."""
        fd = self.open("door", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def attend(self) -> int:
        """Return a descriptor that says, as long as it is open anywhere, that we are at work."""
        fd = self.open("at-work", os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_SH)
        return fd

    def is_deserted(self) -> bool:
        """Return whether nobody is at work; call it behind the `door`."""
        fd = self.open("at-work", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def is_at_work(self) -> bool:
        """Return whether anybody records into the log now; for readers, who create nothing."""
        try:
            with self.door():
                return not self.is_deserted()
        except OSError:
            return False

    @property
    def offset(self) -> int:
        """The stream offset at which the next journal segment begins."""
        segments = self.segments()
        end = segments[-1][0] + segments[-1][2] if segments else 0
        text = self._read("offset")
        return max(end, int(text) if text.isdigit() else 0)

    def note_offset(self, offset: int) -> None:
        """Note where the stream goes on, before its last segment is removed."""
        self._write("offset", str(offset))

    @property
    def kept(self) -> set[str]:
        """Recordings that have ended, and of which all is in the log or the journal."""
        return set(self._read("kept").split())

    def keep(self, recordings: set[str]) -> None:
        """Replace `kept`."""
        self._write("kept", " ".join(sorted(recordings)))

    # --- what lies here --------------------------------------------------------------------------

    def segments(self) -> list[tuple[int, Path, int]]:
        """Return ``(stream offset, file, bytes)`` of every journal segment, in order."""
        try:
            directory = self._open_directory("journal")
        except FileNotFoundError:
            return []
        names = sorted(name for name in os.listdir(directory) if name.isdigit())
        sizes = [os.stat(name, dir_fd=directory, follow_symlinks=False).st_size for name in names]
        return [
            (int(name), self.journal / name, size) for name, size in zip(names, sizes, strict=True)
        ]

    def spills(self) -> list[Path]:
        """Return the spill files."""
        try:
            return sorted(self.spill / name for name in os.listdir(self._open_directory("spill")))
        except FileNotFoundError:
            return []

    def remove(self, file: Path) -> None:
        """Remove a journal segment or spill file."""
        self._unlink(file.name, file.parent.name)

    def losses(self) -> list[str]:
        """Return what the monitor says was lost, as sentences."""
        directory, found = self._open_directory("."), []
        for name, sentence in LOSSES.items():
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=directory, follow_symlinks=False).st_size > 0:
                    found.append(sentence)
        return found

    def mark_loss(self, name: str) -> None:
        """Say that reports were lost, as the monitor does."""
        fd = self.open(name, os.O_WRONLY)
        try:
            os.ftruncate(fd, 1)
        finally:
            os.close(fd)

    def forget_losses(self) -> None:
        """Empty the files of `losses`, once the log itself says it."""
        for name in LOSSES:
            with suppress(FileNotFoundError):
                fd = self.open(name, os.O_WRONLY)
                os.ftruncate(fd, 0)
                os.close(fd)


def now_ns() -> int:
    """Return the time by the clock of file time stamps."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
