"""Audit: which files changed, or were opened, without ever being reported.

The monitor lives in the C library, so what does not pass through the C library does not pass by
the monitor.  Its blind spots:

- **static binaries** load no library at all, programs that gain rights by being started
  (set-user-ID, file capabilities) ignore LD_PRELOAD, and programs for another word size or with
  another C library (musl) cannot bear it: these run without the monitor, as may what they start,
  and the log is incomplete (told from the program's header; a program that may be executed but
  not read is taken for one like the caller);
- **inline system calls**, such as those of Go programs, do not call the C library;
- **dlmopen** makes a second C library, which the monitor does not interpose; the libraries that it
  loads are reported, unless its outcome depends on who calls it (``$ORIGIN``, a run path);
- **stores into a shared mapping** are no calls: the mapping itself is reported, and such a file
  counts as written, but the stores are not counted;
- **io_uring** hands everything to the kernel in memory: files that are opened, written or renamed
  this way are not seen at all.  Making a ring through liburing or ``syscall()`` makes the log
  incomplete; a ring made by an inline system call goes unnoticed;
- **the C library's own files** (the system's locales, time zones and catalogs, the password and
  host databases, ``/etc/fstab``, ``/etc/ttys``) are opened inside it.  Files that the application
  names are seen: mount tables, utmp and wtmp, ``bindtextdomain``, ``catopen`` and ``NLSPATH``,
  ``LOCPATH``, ``TZ`` and ``TZDIR``, ``DATEMSK``.  Not seen are those of ``HOSTALIASES``,
  ``~/.netrc`` and ``~/.rhosts``, ``MALLOC_TRACE``, ``gmon.out`` of a profiled program, what the
  dynamic loader writes for ``LD_DEBUG_OUTPUT`` and ``LD_PROFILE``, and a message catalog whose
  ``LANGUAGE`` changes after the last ``setlocale``; nor what ``error``, ``assert``, ``getopt``,
  ``psignal`` and ``backtrace_symbols_fd`` say on a standard error that was inherited and that
  nothing else writes to.

- **looks that fail** are not reported: what is not there is not needed.  Nor are looks inside the C
  library (``wordexp``), those by ``pathconf``, and libraries that ``LD_AUDIT`` names.

For these, `import_strace` is the remedy (except mappings and io_uring, which strace does not see
either), and the audit tells whether one is needed.  It has two sources: a scan of the file system
for files whose status changed since the log was begun, which works for everybody, afterwards; and
fanotify, which needs root and listens while it happens (`precopy.access.fanotify.Watch`).  Neither
says who changed a file: choose roots that only the application uses.

What a monitored program could notice: it has one descriptor more, the pipe's, write-only, numbered
at its limit on descriptors or at 1,024, above what it uses itself.  It counts for no limit, and
``close``, ``dup``, ``fcntl``, ``fstat`` and ``readdir`` in ``/proc/PID/fd`` say that it is not
there; other calls on that number, ``scandir``, and programs outside see it.  Where a hard limit
that only root could lift leaves no number above, it is given up before the program needs it.
It is closed by exec, except where a program could not open the pipe by name: it gave up its rights,
or lives in another root.  While a file must be opened for a report, a program of several threads
has one thread more.

What ``precopy record`` cannot pass on: locks that belong to a process (``fcntl``, ``lockf``) and
that the process held which becomes ``precopy record``: the command is its child, and has none of
them; ``flock`` locks and those of open file descriptions are kept.  A command that is stopped by
SIGSTOP to ``precopy record`` alone stops up to 0.2 s later.  Where ``RLIMIT_FSIZE`` leaves no room
for an empty log, the command is refused.

Whom a log trusts: every program recorded into it.  A program can report what it likes, in any
application's name, also one that gave up its rights and inherited the pipe; it cannot read or take
out what others reported.  A program of another user's, root's included, does nothing in a live
directory that is not its own: it is not followed, and a byte beside the directory says so
(`precopy.access.tracking.live`).  Where ``RLIMIT_NPROC`` allows no helper thread and the process
has several threads, a report that the pipe does not take is lost, which counts as every loss.

What is seen but not known to the last: a name that was looked at is not looked up again for 100 ms
(nor is its directory), so that a link which somebody turns in between may be missed; a library that
was loaded by a name whose meaning depends on the caller is reported at the next look, dlopen or
exec, or when the process ends by itself; of a process that is killed, the counts of its last 10 ms
are missing (of the last 100 ms if it uses many files), not the files; write *calls* of stdio
streams are approximate, their bytes are not; asynchronous writes count when they are asked for; a
file behind a descriptor that was inherited, received or taken counts as read if the descriptor can
read; a file that another process renames while it is being written is followed within 100 ms; in a
root directory without ``/proc`` a path is as the program spells it. What could not be followed at
all makes the log incomplete, and the log says so: mounts of a program's own (``unshare``,
``setns``, ``pivot_root``), whose paths are reported as the program sees them, a program that
forbids itself system calls, one that is started in a root directory in which the monitor cannot be
found, a path that no system call tells (of more than 4,096 bytes, in a mount that was taken away,
or of a file that lost the name it was opened by and has others, for example).

A filter of system calls that somebody who is not followed set before the program was started (a
service manager) binds the monitor, too: it must allow ``clone``, ``close_range``, ``fcntl``,
``readlinkat``, ``statx`` and the like, or refuse them with an error.  One that kills instead kills
the program.

What `identify` cannot know: applications that talk over sockets are not tied by files, and the log
does not say who talks to whom, so name them together.  A file that nobody used while recording is
not in the answer, unless it is below a root.  Of a directory that is listed, the regular files
directly inside are, as they are when `identify` is asked; sockets and named pipes never are.  Two
names are one file by device, inode and birth; where a file system keeps no births, if both exist.
The files below a renamed directory get their new names if they are there when the tracker looks,
within seconds.  Removing what it made and cutting what it wrote are updates; making a file is none.

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
