"""What a migration has decided, on the source's disk: one line of JSON per state, for people too.

``$XDG_STATE_HOME/precopy/migrations/ID/journal`` (by default ``~/.local/state``), mode 0700.  `ID`
follows from what moves and where to, so that the same command finds it again.

=========  =========================================================================================
PLAN       what moves is known; nothing was touched
COPY       cycles are sent while the application runs
DRAIN      what is in flight is awaited; nothing is stopped yet
FROZEN     the application is being stopped (the entry says which processes), or stands
FINAL      everything stands; the last bytes are sent
VERIFIED   the destination has everything, durably, and nothing has changed here since
COMMITTED  the destination is in charge, whatever happens from here on
STARTED    the application was started there
DONE       the source's processes have ended
THAWING    (and THAWED) the application goes on here: something failed before COMMITTED
ABORTED    given up by the operator; the destination is (to be) emptied
=========  =========================================================================================

Invariants.  An entry is durable before `Journal.enter` returns, and thus before it is acted on.
The space that entries take is written beforehand, so that making one durable waits for no other
file's data.  COMMITTED is written under the lock under which others write THAWING, and never after
a THAWING of the same stop; what comes after it is never one of the states before.  A last line that
a crash has torn does not count.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from precopy.migration.switchover import watchdog
from precopy.migration.switchover.watchdog import AFTER_COMMIT, COMMITTED
from precopy.migration.transport.farside import Refused, guard

STATES = (
    "PLAN", "COPY", "DRAIN", "FROZEN", "FINAL", "VERIFIED", COMMITTED, "STARTED", "DONE",
)  # fmt: skip
"""In their order."""
BACK = ("THAWING", "THAWED", "ABORTED", "WITHDRAWN")
"""The application runs at the source again, and why."""

_SPARE = 1 << 14


class MigrationError(Exception):
    """A migration cannot go on; the message says what happened and what to do."""


class BusyError(MigrationError):
    """Another controller of the same migration is at work."""


class OvertakenError(MigrationError):
    """The application was let go on by the watchdog, or by another thread, before COMMITTED."""


def overtaken(reason: str) -> OvertakenError:
    """Return the error of whoever finds that the application was let go on."""
    return OvertakenError(f"the application runs again: {reason}; nothing was decided")


def identity(what: Iterable[bytes], to: str) -> str:
    """Return the name of a migration, from what moves and where to.

    Examples
    --------
    >>> identity([b"/srv/a", b"/srv/b"], "host:/") == identity([b"/srv/b", b"/srv/a"], "host:/")
    True
    >>> identity([b"/srv/a"], "host:/") == identity([b"/srv/a"], "other:/")
    False
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in [os.fsencode(to), *sorted(set(what))]:
        digest.update(b"%d:%s" % (len(part), part))
    return digest.hexdigest()


def home() -> Path:
    """Return the directory of all migrations."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
    return base / "precopy" / "migrations"


def boot_id() -> str:
    """Return what tells this boot of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def read(migration: str) -> list[dict[str, Any]]:
    """Return a migration's entries without its lock; none if there is no such migration."""
    try:
        return watchdog.entries((home() / migration / "journal").read_bytes())[0]
    except FileNotFoundError:
        return []


def at_work(migration: str) -> int | None:
    """Return the pid of the controller of a migration, or None; takes no lock itself."""
    try:
        status = (home() / migration / "lock").stat()
        rows = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for row in rows:
        part = row.split()
        if len(part) > 5 and part[1] == "FLOCK" and part[5] == device:
            return int(part[4])
    return None


def state_of(found: list[dict[str, Any]]) -> str:
    """Return the state that entries lead to; empty if there are none."""
    for entry in reversed(found):
        if entry.get("state") in STATES or entry.get("state") in BACK:
            return str(entry["state"])
    return ""


class Journal:
    """The journal of one migration, and the right to control it.

    Parameters
    ----------
    migration : str
        The migration's name, see `identity`.

    Attributes
    ----------
    migration : str
    path : Path
        The file.

    Raises
    ------
    BusyError
        If another process has it.
    OSError
        If it cannot be written, or is not ours alone.
    """

    def __init__(self, migration: str) -> None:
        if not migration.isalnum():
            raise ValueError(f"migration: got {migration!r}, expected letters and digits")
        self.migration = migration
        self.path = home() / migration / "journal"
        self._thread = threading.RLock()
        self._fd = self._lock = -1
        _make_directory(self.path.parent)
        self._lock = _open(self.path.with_name("lock"))
        try:
            self._take_lock()
            self._fd = _open(self.path)
            self._reserve(0)
            _sync_directories(self.path.parent)
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(self._lock, 32, 0).split(b"\n")[0].decode(errors="replace")
            raise BusyError(
                f"migration {self.migration}: another precopy (pid {other}) is at work on it; wait "
                "for it, or end it: the application goes on then"
            ) from None
        os.pwrite(self._lock, b"%d\n%20s\n" % (os.getpid(), b""), 0)

    def close(self) -> None:
        """Give up control; closing twice is harmless."""
        with self._thread:
            for fd in (self._fd, self._lock):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All entries, as they are on disk."""
        return watchdog.entries(watchdog.read_all(self._fd))[0]

    @property
    def state(self) -> str:
        """The present state; empty before the first."""
        return state_of(self.entries)

    @property
    def committed(self) -> bool:
        """Whether the destination is in charge."""
        return watchdog.is_committed(self.entries)

    @property
    def committed_at(self) -> str:
        """When the destination took charge (UTC); empty if it has not."""
        times = (entry["time"] for entry in self.entries if entry.get("state") == COMMITTED)
        return str(next(times, ""))

    def put_aside(self) -> None:
        """Keep the entries under another name, so that a new migration can begin; closes it."""
        self.path.rename(self.path.with_name(f"journal.{self.committed_at}"))
        _sync_directories(self.path.parent)
        self.close()

    def enter(self, state: str, **facts: object) -> None:
        """Write a state down; it is durable when this returns.

        Parameters
        ----------
        state : str
            One of `STATES` or `BACK`.
        **facts
            What belongs to it, as JSON knows it.  ``more=True`` adds to the state that there is;
            ``adopted=True`` takes over what the destination's own record says.

        Raises
        ------
        OvertakenError
            If the application was let go on meanwhile, by the watchdog.
        RuntimeError
            If it would lead back from COMMITTED.
        OSError
            If it cannot be written.
        """
        with self.decision() as found:
            before = state_of(found)
            if watchdog.is_committed(found):
                if state not in AFTER_COMMIT:
                    raise RuntimeError(f"journal: {state} after {before}")
            elif (
                not facts.get("adopted")
                and (state in STATES[4:7] or facts.get("more"))
                and before not in STATES[3:6]
            ):
                reason = str(found[-1].get("reason", before)) if found else ""
                raise overtaken(reason)
            self.append(state, **facts)
        # Others see it already; a disk that hangs must not keep the lock from the watchdog.
        os.fdatasync(self._fd)

    def append(self, state: str, **facts: object) -> None:
        """Write an entry down within `decision`, whatever there is; it need not become durable."""
        entry = {"time": watchdog.now(), "state": state, "pid": os.getpid(), **facts}
        watchdog.append(self._fd, entry)

    @contextmanager
    def decision(self) -> Iterator[list[dict[str, Any]]]:
        """Let nobody else decide meanwhile; gives the entries so far."""
        with self._thread:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield self.entries
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def make_durable(self) -> None:
        """Make what is written durable, also what another process has written."""
        os.fsync(self._fd)

    def reserve(self, size: int) -> None:
        """Write the space that entries of `size` bytes will take, before time is short."""
        with self.decision():
            self._reserve(size)

    def _reserve(self, size: int) -> None:
        data = watchdog.read_all(self._fd)
        spare = len(data) - watchdog.entries(data)[1]
        if spare < size + _SPARE:
            os.pwrite(self._fd, b" " * (size + 2 * _SPARE - 1) + b"\n", len(data))
            os.fsync(self._fd)


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        os.close(fd)
        raise PermissionError(f"journal: {str(path)!r} is not a regular file of ours")
    return fd


def _make_directory(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022 or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"journal: {str(path)!r} is not ours alone, expected mode 0700")
    try:
        guard(str(path), os.geteuid() == 0)
    except Refused as refused:
        raise PermissionError(f"journal: {refused} (XDG_STATE_HOME)") from None


def _sync_directories(path: Path) -> None:
    """Make the names durable, up to the first directory that was there before us."""
    for directory in (path, *list(path.parents)[:3]):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
