"""Audit: which files changed, or were opened, without ever being reported.

The monitor does not see everything: ``docs/monitor.md`` lists what it sees, what it knows only
approximately, and what it misses.  The audit tells whether that matters.  It has two sources: a
scan of the file system for files whose status changed since the log was begun, which works for
everybody, afterwards; and fanotify, which needs root and listens while it happens
(`precopy.access.fanotify.Watch`).  Neither says who changed a file: choose roots that only the
application uses.

Invariant: the audit only reads, and never opens a file that it looks at.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from precopy._text import printable
from precopy.access.exclude import DEFAULT_EXCLUDED, Excluded
from precopy.access.fanotify import Watch
from precopy.access.log import AccessLog
from precopy.access.tracking.wire import WRITE

KERNEL_TICK_NS = 10_000_000
"""File times lag behind the clock by up to one tick of the kernel, 10 ms at most."""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    changed : list of str
        Regular files below the roots that changed since the recording began, sorted.
    unreported : list of str
        Those of `changed` that no recorded application ever wrote, as far as the log knows.
    unreported_opens : list of str
        Files that fanotify saw being opened and the log does not know; empty without a watch.
    unreadable : list of str
        Directories that could not be searched.
    since_ns : int
        Changes from this time on were looked for, in nanoseconds since the epoch.
    """

    changed: list[str]
    unreported: list[str]
    unreported_opens: list[str]
    unreadable: list[str]
    since_ns: int

    @property
    def coverage(self) -> float:
        """The share of changed files that were reported, from 0 to 1; 1 if nothing changed."""
        return 1 - len(self.unreported) / len(self.changed) if self.changed else 1.0

    def __str__(self) -> str:
        reported = len(self.changed) - len(self.unreported)
        lines = [f"{reported} of {len(self.changed)} changed files reported ({self.coverage:.1%})"]
        for title, paths in (
            ("changed, never reported", self.unreported),
            ("opened, never reported", self.unreported_opens),
            ("could not be searched", self.unreadable),
        ):
            lines += [f"{title}: {printable(path)}" for path in paths]
        return "\n".join(lines)


def audit(
    log: AccessLog | str | os.PathLike[str],
    roots: Iterable[str | os.PathLike[str]],
    since_ns: int | None = None,
    *,
    exclude: Iterable[str] = DEFAULT_EXCLUDED,
    watch: Watch | None = None,
) -> Audit:
    """Compare an access log with what happened to the files below some directories.

    Parameters
    ----------
    log : AccessLog or path
        The recorded accesses.
    roots : iterable of path
        Directories to search.  Symbolic links are not followed.
    since_ns : int, optional
        Look for changes from this time on, in nanoseconds since the epoch.  By default since the
        recording began, ``AccessLog.begin_ns``.
    exclude : iterable of str
        Paths to leave out, see `precopy.access.exclude`.  The log itself is always left out.
    watch : Watch, optional
        A closed fanotify watch, whose files are looked at as well.

    Returns
    -------
    Audit
        The files that changed and those that were never reported.

    Raises
    ------
    NotADirectoryError
        If a root is no directory.
    ValueError
        If there are no roots.

    Notes
    -----
    A file counts as changed by the time of its last status change (ctime), which no program can
    set back; so does one whose mode or owner changed.  Removed files are seen by a watch only.

    Examples
    --------
    >>> import os, tempfile
    >>> from precopy.access import audit, import_strace
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log, work = os.path.join(directory, "access.db"), os.path.join(directory, "work")
    ...     _ = import_strace([f'7 1.5 creat("{work}/a", 0600) = 3<{work}/a>'], log, app="AP1")
    ...     os.mkdir(work)
    ...     for name in "ab":
    ...         open(os.path.join(work, name), "w").close()
    ...     found = audit(log, [work])
    >>> found.coverage, [os.path.basename(path) for path in found.unreported]
    (0.5, ['b'])
    """
    excluded = Excluded(exclude)
    places = [Path(root).resolve() for root in roots]
    if not places:
        raise ValueError("roots: got none, expected at least one directory")
    for place in places:
        if not place.is_dir():
            raise NotADirectoryError(f"roots: {str(place)!r} is not a directory")
    with nullcontext(log) if isinstance(log, AccessLog) else AccessLog(log) as opened:
        since_ns = opened.begin_ns if since_ns is None else since_ns
        known, written = _reported(opened)
        own = os.fsencode(opened.path.resolve())
    inodes = {inode for path in written if (inode := _inode(path)) is not None}
    unreadable: list[bytes] = []
    changed: dict[bytes, tuple[int, int] | None] = {}
    for place in places:
        for path, status in _walk(os.fsencode(place), excluded, unreadable):
            if status.st_ctime_ns >= since_ns - KERNEL_TICK_NS:
                changed[path] = status.st_dev, status.st_ino
    if watch is not None:
        changed |= {path: _inode(path) for path in watch.written if path not in excluded}
    # The log, and what SQLite and the tracker keep beside it.
    for path in [path for path in changed if path == own or path.startswith(own + b"-")]:
        del changed[path]
    seen = watch.opened if watch is not None else set[bytes]()
    return Audit(
        changed=_sorted(changed),
        unreported=_sorted(
            path for path, inode in changed.items() if path not in written and inode not in inodes
        ),
        unreported_opens=_sorted(
            path
            for path in seen
            if path not in known and path not in excluded and not path.startswith(own)
        ),
        unreadable=_sorted(unreadable),
        since_ns=since_ns,
    )


def listen(roots: Iterable[str | os.PathLike[str]], seconds: float) -> Watch:
    """Listen to what happens below some directories for a while, and return the closed watch.

    Parameters
    ----------
    roots : iterable of path
        Directories.
    seconds : float
        For how long.

    Raises
    ------
    PermissionError, OSError
        As `Watch`.
    """
    with Watch(roots) as watch:
        time.sleep(seconds)
    return watch


def _reported(log: AccessLog) -> tuple[set[bytes], set[bytes]]:
    """Return the paths that the log knows, and those of them that somebody wrote."""
    with log.snapshot():
        paths = log.paths()
        written = {paths[file] for _, file, how in log.pairs() if how & WRITE and file in paths}
    return set(paths.values()), written


def _inode(path: bytes) -> tuple[int, int] | None:
    """Return what identifies a file under all its names (hard links)."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _walk(
    directory: bytes, excluded: Excluded, unreadable: list[bytes]
) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield the regular files below a directory with their status."""
    pending = [directory]
    while pending:
        here = pending.pop()
        try:
            entries = os.scandir(here)
        except OSError:
            unreadable.append(here)
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not excluded.covers(entry.path):
                        pending.append(entry.path)
                elif entry.path not in excluded:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue  # removed since it was listed
                    if stat.S_ISREG(status.st_mode):
                        yield entry.path, status


def _sorted(paths: Iterable[bytes]) -> list[str]:
    return [os.fsdecode(path) for path in sorted(paths)]
