"""The directory beside an access log in which monitor, tracker and supervisor meet.

``access.db-live/`` (mode 0700) holds the named ``pipe`` (0600), the ``journal`` in segments named
by the stream offset they begin at, the ``spill`` files of processes that found no room in the
pipe, a ``lock`` that the tracker holds, and one empty file per way of losing reports: the monitor
makes it one byte long, which works on a full disk, too.

Invariant: the pipe has a name exactly while somebody is responsible for emptying it.  A monitored
process that finds it nameless writes to its spill file instead.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

PIPE_BYTES = 1 << 20
"""Capacity asked for: what applications may report before the tracker looks again."""

RESERVE_BYTES = 256 << 10
"""Size of the file ``reserve``."""

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
    "lost-memory": "a process could not be followed for want of memory",
    "lost-ring": "a process used io_uring, whose opens, writes and renames nobody sees",
}
"""Files by which the monitor says that the log is incomplete, and what each means."""


class LiveDirectory:
    """The live directory of one access log.

    Parameters
    ----------
    log : str or Path
        The access log; the directory's name is the log's with ``-live`` behind it.

    Examples
    --------
    >>> LiveDirectory("/data/access.db").path.name
    'access.db-live'
    """

    def __init__(self, log: str | Path) -> None:
        log = Path(log).absolute()
        self.log = log
        self.path = log.with_name(log.name + "-live")
        self.pipe = self.path / "pipe"
        self.journal = self.path / "journal"
        self.spill = self.path / "spill"

    def create(self) -> None:
        """Make what is missing, except the pipe.

        Raises
        ------
        PermissionError
            If the directory exists and belongs to somebody else.
        """
        for directory in (self.path, self.journal, self.spill):
            directory.mkdir(mode=0o700, exist_ok=True)
        status = self.path.stat()
        if status.st_uid != os.geteuid():
            raise PermissionError(f"log: {str(self.path)!r} belongs to user {status.st_uid}")
        if stat.S_IMODE(status.st_mode) != 0o700:
            self.path.chmod(0o700)
        for name in LOSSES:
            (self.path / name).touch(mode=0o600)
        self._fill_reserve()

    def _fill_reserve(self) -> None:
        if (self.path / "reserve").exists():
            return
        fd = os.open(self.path / "reserve", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        except OSError:
            self.release_reserve()
        finally:
            os.close(fd)

    def release_reserve(self) -> None:
        """Give up the space kept for saying, on a full disk, that the log is incomplete."""
        (self.path / "reserve").unlink(missing_ok=True)

    def open_pipe(self) -> int:
        """Open the pipe, made if it has no name; return a descriptor that reads and writes."""
        with suppress(FileExistsError):
            os.mkfifo(self.pipe, 0o600)
        fd = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileExistsError(f"log: {str(self.pipe)!r} is in the way, expected a named pipe")
        with suppress(OSError):  # a user's pipes may have reached their limit together
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return fd

    def is_named(self, fd: int) -> bool:
        """Return whether the pipe open at `fd` is the one that has the name."""
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self.pipe))
        except FileNotFoundError:
            return False

    def lock(self) -> int | None:
        """Take the tracker's lock; return its descriptor, or None if a tracker holds it."""
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def segments(self) -> list[tuple[int, Path, int]]:
        """Return ``(stream offset, file, bytes)`` of every journal segment, in order."""
        if not self.journal.exists():
            return []
        names = sorted(name for name in os.listdir(self.journal) if name.isdigit())
        files = [self.journal / name for name in names]
        return [(int(file.name), file, file.stat().st_size) for file in files]

    def spills(self) -> list[Path]:
        """Return the spill files."""
        return sorted(self.spill.iterdir()) if self.spill.exists() else []

    def losses(self) -> list[str]:
        """Return what the monitor says was lost, as sentences."""
        return [
            sentence
            for name, sentence in LOSSES.items()
            if (self.path / name).exists() and (self.path / name).stat().st_size > 0
        ]

    def forget_losses(self) -> None:
        """Empty the files of `losses`, once the log itself says it."""
        for name in LOSSES:
            with suppress(FileNotFoundError):
                os.truncate(self.path / name, 0)
