"""Who belongs to the applications that move: processes given or recorded, and what they start.

A child whose parent ends before it was seen is still known by its process group, its session, or
the recorder's variables.  Never this process and its ancestors, the recorder of a log, kernel
threads.

Invariant: a process that was known stays known while it lives, wherever it is hung in the tree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from precopy._text import printable
from precopy.migration.switchover import groups, watchdog
from precopy.migration.switchover import processes as proc
from precopy.migration.switchover.processes import Process, Seen

if TYPE_CHECKING:
    from precopy.access.log import AccessLog

Find = Callable[[], Iterable[Process]]
"""Returns the processes to begin with, whenever it is called."""


class Members:
    """The processes of the applications.

    Parameters
    ----------
    find : callable
        Returns the processes to begin with.

    Attributes
    ----------
    known : dict
        The processes by pid, as last seen.
    strangers : set of int
        The pids of all others when it was looked last at everything.
    since : int
        When the stop began, in clock ticks since boot; 0 before it.
    log : Path or None
        The log that they are recorded into.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self.known: dict[int, Seen] = {}
        self.strangers: set[int] = set()
        self.since = 0
        self.log: Path | None = None
        self._sessions: set[int] = set()
        self._packs: set[int] = set()
        self.refresh()

    def refresh(self) -> None:
        """Look who belongs to them now."""
        self.strangers.clear()
        self._sessions.clear()
        self._packs.clear()
        seen = proc.table()
        self._grow(seen, self._find())
        self.strangers = set(seen) - set(self.known)

    def begin_stop(self) -> None:
        """Look once more; who is born from now on is looked at more closely."""
        self.refresh()
        self.since = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))

    def grow(self, all_of_them: bool = False) -> list[Seen]:
        """Take in who is new and forget who has ended; return the new ones.

        Parameters
        ----------
        all_of_them : bool
            Whether to look at strangers, too, which takes longer.
        """
        return self._grow(proc.table(() if all_of_them else self.strangers))

    def roots(self) -> list[int]:
        """Return those whose parent does not belong to the applications."""
        return [pid for pid, seen in self.known.items() if seen.parent not in self.known]

    def _grow(self, seen: dict[int, Seen], first: Iterable[Process] = ()) -> list[Seen]:
        family = proc.ancestors()
        for pid, known in list(self.known.items()):
            if pid in seen and seen[pid].process != known.process:
                del self.known[pid]
        before = set(self.known)
        for process in first:
            found = seen.get(process.pid)
            if found and found.process == process:
                self.known[process.pid] = found
        children: dict[int, list[Seen]] = {}
        for one in seen.values():
            children.setdefault(one.parent, []).append(one)
        todo = list(self.known)
        self._sessions.update(s.session for s in self.known.values() if s.session in self.known)
        self._packs.update(s.group for s in self.known.values() if s.group in self.known)
        todo.append(0)
        children[0] = [one for one in seen.values() if self._is_orphan(one)]
        while todo:
            for child in children.get(todo.pop(), []):
                pid = child.process.pid
                if pid in self.known or pid in family or child.kernel or proc.is_recorder(pid):
                    continue
                if child.parent == 2 or pid == 1:
                    continue
                self.known[pid] = child
                todo.append(pid)
        for pid in list(self.known):
            if pid in family or (pid not in seen and pid not in self.strangers):
                del self.known[pid]
        return [self.known[pid] for pid in self.known if pid not in before]

    def _is_orphan(self, seen: Seen) -> bool:
        """Tell whether a process is the application's, though its parent is not (any more).

        A session belongs to who leads it.  A process group and the recorder's variables only tell
        of processes that were born during the stop.
        """
        if seen.session in self._sessions:
            return True
        if not self.since or seen.process.start_time < self.since:
            return False
        return seen.group in self._packs or self._is_marked(seen)

    def _is_marked(self, seen: Seen) -> bool:
        """Tell whether a process is recorded into our log."""
        if self.log is None:
            return False
        wanted = b"PRECOPY_LIVE=" + os.fsencode(f"{os.path.realpath(self.log)}-live")
        with suppress(OSError):
            return wanted in Path(f"/proc/{seen.process.pid}/environ").read_bytes().split(b"\0")
        return False


def with_pids(pids: Iterable[int]) -> Find:
    """Return what finds these processes.

    Raises
    ------
    ValueError
        If one is no process, or one that must not be stopped.
    """
    chosen = []
    for pid in pids:
        seen = proc.look(pid) if pid > 0 else None
        if seen is None:
            raise ValueError(f"pid: got {pid}, expected the pid of a running process")
        refuse_protected(seen)
        chosen.append(seen.process)

    return lambda: chosen


def in_group(path: str | os.PathLike[str]) -> tuple[Path, Find]:
    """Return a control group of version 2, and what finds its processes.

    Raises
    ------
    ValueError
        If there is no such group, or it holds what must not be stopped.
    """
    root = groups.mount()
    if root is None:
        raise ValueError("cgroup: no control groups of version 2 here; use --pid")
    given = Path(path)
    inside_mount = given == root or root in given.parents
    group = given if inside_mount else root / os.fspath(path).lstrip("/")
    group = Path(os.path.normpath(group))
    if root not in group.parents:
        raise ValueError(f"cgroup: got {printable(given)!r}, expected a group below {root}")

    def find() -> list[Process]:
        return [s.process for pid in groups.members(group) if (s := proc.look(pid))]

    try:
        inside = find()
    except OSError as error:
        raise ValueError(f"cgroup: {printable(given)!r}: {error.strerror}") from error
    if not inside:
        raise ValueError(f"cgroup: {printable(given)!r} holds no process")
    family = proc.ancestors() & {process.pid for process in inside}
    if family:
        raise ValueError(
            f"cgroup: {printable(given)!r} holds this command itself (pid {min(family)}), "
            "expected a group of the application alone; use --pid"
        )

    return group, find


def recorded(log: AccessLog, names: list[str]) -> Find:
    """Return what finds the recorded processes of applications that still live.

    Raises
    ------
    ValueError
        If an application is not in the log, or one of its processes must not be stopped.
    """
    opened = type(log)

    def find() -> list[Process]:
        with opened(log.path) as now:  # the caller's may be closed by then
            found = [Process(*process) for process in now.processes(names)]
        return _with_orphans(p for p in found if watchdog.start_time(p.pid) == p.start_time)

    for process in find():
        refuse_protected(proc.look(process.pid))

    return find


def refuse_protected(seen: Seen | None) -> None:
    """Refuse a process that must not be stopped; None stands for one that has ended."""
    if seen is None:
        return
    pid = seen.process.pid
    if pid in proc.ancestors():
        who = "this command itself" if pid == os.getpid() else "an ancestor of this command"
        raise ValueError(
            f"pid: {proc.told(pid)} is {who}, expected a process of the application; run precopy "
            "from outside of it"
        )
    if seen.kernel or pid in (1, 2):
        raise ValueError(f"pid: {proc.told(pid)} is the system's, expected one of the application")
    if proc.is_recorder(pid):
        raise ValueError(
            f"pid: {pid} is the recorder of a log, expected a process of the application it records"
        )


def _with_orphans(found: Iterable[Process]) -> list[Process]:
    """Add what the recorder waits for besides: a daemon that it could not follow, for one."""
    known = list(found)
    seen = proc.table() if known else {}
    parents = {seen[process.pid].parent for process in known if process.pid in seen}
    recorders = {pid for pid in parents if proc.is_recorder(pid)}
    orphans = (s.process for s in seen.values() if s.parent in recorders)
    return known + [p for p in orphans if p not in known and not proc.is_recorder(p.pid)]
