"""Processes as the kernel kept them: who shares what, who was started by whom.

Invariant: a process id stands for one process at a time; when it ends, or the id is handed out
again, nothing of the old one is left.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from precopy.access.strace.lines import Began, Call, Changed, Ended, Event


@dataclass
class Place:
    """Working directory and root, shared by whatever was started with CLONE_FS."""

    cwd: bytes | None
    root: bytes = b"/"
    guessed: bool = False  # from the name in a chdir, not from a path that strace showed


@dataclass
class Memory:
    """Files mapped shared but not writable, shared by whatever was started with CLONE_VM."""

    maps: list[tuple[int, int, bytes]] = field(default_factory=list)


class Dead(bytes):
    """The last name of a file that has none any more: who renames that name renames another."""


@dataclass
class Opened:
    """An open file, shared by all descriptors that are copies of one."""

    position: int | None = None  # None: not known
    appends: bool = False


@dataclass
class Table:
    """What descriptors stand for, shared by whatever was started with CLONE_FILES."""

    paths: dict[int, bytes | None] = field(default_factory=dict)  # None: it is no file
    opened: dict[int, Opened] = field(default_factory=dict)
    closes: set[int] = field(default_factory=set)  # closed by exec
    fresh: set[int] = field(default_factory=set)  # opened since the last exec, and not closed
    shared: bool = False

    def put(
        self, number: int, path: bytes | None, closes: bool, opened: Opened | None = None
    ) -> None:
        """Note what a new descriptor stands for."""
        self.drop(number)
        self.paths[number] = path
        if opened is not None:
            self.opened[number] = opened
        if closes:
            self.closes.add(number)

    def drop(self, number: int) -> None:
        """Note that a descriptor stands for nothing known any more."""
        self.paths.pop(number, None)
        self.opened.pop(number, None)
        self.closes.discard(number)
        self.fresh.discard(number)

    def copy_to(self, old: int, new: int, closes: bool) -> None:
        """Note that one descriptor stands for what another does."""
        known, path, opened = old in self.paths, self.paths.get(old), self.opened.get(old)
        if new == old:
            return
        self.drop(new)
        if known:
            self.put(new, path, closes, opened)
        elif opened is not None:
            self.opened[new] = opened

    def copy(self) -> Table:
        """Return a table of its own with the same descriptors."""
        return Table(dict(self.paths), dict(self.opened), set(self.closes), set(self.fresh))

    def after_exec(self) -> Table:
        """Return what is left of it for the next program."""
        paths = {fd: path for fd, path in self.paths.items() if fd not in self.closes}
        opened = {fd: file for fd, file in self.opened.items() if fd not in self.closes}
        return Table(paths, opened)


@dataclass
class Process:
    """One process or thread, from its start to its end."""

    place: Place
    memory: Memory
    table: Table = field(default_factory=Table)
    early_of: int | None = None  # its parent, as long as the clone that made it has not returned


class Processes:
    """Who is alive.

    Parameters
    ----------
    cwd : bytes, optional
        Working directory of processes that were there before the trace.
    """

    def __init__(self, cwd: bytes | None) -> None:
        self._cwd = cwd
        self._alive: dict[int, Process] = {}
        self._starting: dict[int, Began] = {}
        self._waiting: dict[int, deque[Event]] = {}  # lines of those whose parent is not known yet
        self._unseen: dict[int, Process] = {}  # started, and no line yet
        self.namespaces = False  # whether numbers may differ from strace's

    def admit(self, event: Event) -> list[Event]:
        """Return the events that can be replayed now: this one, those that it explains, or none."""
        if isinstance(event, Changed):
            self._alive[event.new] = self.of(event.pid)
            if event.new != event.pid:
                self._alive.pop(event.pid, None)
            if event.pid in self._starting:
                self._starting[event.new] = self._starting.pop(event.pid)
            return []
        if event.pid not in self._alive and not self._meet(event.pid):
            self._waiting.setdefault(event.pid, deque()).append(event)
            return []
        if isinstance(event, Began):
            self._starting[event.pid] = event
            return []
        return [event]

    def of(self, pid: int) -> Process:
        """Return a process, known or new."""
        if pid not in self._alive:
            self._alive[pid] = Process(Place(self._cwd), Memory())
        return self._alive[pid]

    def returned(self, call: Call) -> list[Event]:
        """Note that a call which starts a process has returned; return what waited for that."""
        began = self._starting.pop(call.pid, None)
        if not call.succeeded:
            return self._settle()
        number = call.child
        early = self._alive.get(number)
        if early is not None and early.early_of == call.pid:
            early.early_of = None
            return self._settle()
        for process in self._alive.values():
            if began is not None and process.early_of == call.pid:
                process.early_of = None  # numbered differently in a namespace of its own
                return self._settle()
        self.namespaces |= b"CLONE_NEWPID" in call.text
        child = self._child(self.of(call.pid), call.text)
        self._alive.pop(number, None)
        if number in self._waiting:
            self._alive[number] = child
            return [*self._waiting.pop(number), *self._settle()]
        self._unseen[number] = child
        return self._settle()

    def moved(self, old: bytes, new: bytes, *, exchange: bool) -> None:
        """Follow a rename in what processes have open, and in where they are."""

        def now(path: bytes) -> bytes:
            for before, after in [(old, new), (new, old)][: 1 + exchange]:
                if path == before or path.startswith(before + b"/"):
                    return after + path[len(before) :]
            return path

        everybody = [*self._alive.values(), *self._unseen.values()]
        for place in {id(process.place): process.place for process in everybody}.values():
            place.cwd = place.cwd and now(place.cwd)
            place.root = now(place.root)
        if not exchange:
            self.died(new)
        for table in self._tables():
            for fd, path in table.paths.items():
                if path is not None and not isinstance(path, Dead):
                    table.paths[fd] = now(path)

    def died(self, name: bytes) -> None:
        """Note that whoever has the file of this name open has one without a name."""
        for table in self._tables():
            for fd, path in table.paths.items():
                if path == name:
                    table.paths[fd] = Dead(name)

    def _tables(self) -> list[Table]:
        everybody = [*self._alive.values(), *self._unseen.values()]
        return list({id(process.table): process.table for process in everybody}.values())

    def end(self, event: Ended) -> None:
        """Forget a process; its number may be used again."""
        ended = self._alive.pop(event.pid, None)
        for pid in [pid for pid, process in self._alive.items() if process is ended]:
            del self._alive[pid]  # the same one, named by no number
        self._starting.pop(event.pid, None)

    def finish(self) -> list[Event]:
        """Return the events of processes whose parents the trace does not tell."""
        self._starting.clear()
        return self._settle()

    def _meet(self, pid: int) -> bool:
        """Find out whose child a process is; False if that cannot be said yet."""
        if pid in self._waiting:
            return False
        if pid in self._unseen:
            self._alive[pid] = self._unseen.pop(pid)
        elif 0 in self._alive and 0 not in self._starting:
            self._alive[pid] = self._alive.pop(0)  # strace names it only once there are two
        elif not pid and len(self._alive) == 1:
            self._alive[0] = next(iter(self._alive.values()))
        elif len(self._starting) > 1:
            return False
        elif self._starting:
            [(parent, began)] = self._starting.items()
            child = self._child(self.of(parent), began.text)
            child.early_of = parent
            self._alive[pid] = child
        elif self.namespaces and len(self._unseen) == 1:
            self._alive[pid] = self._unseen.popitem()[1]
        else:
            self.of(pid)
        return True

    def _settle(self) -> list[Event]:
        """Return what waited, once there is no choice of parents any more."""
        if not self._waiting or len(self._starting) > 1:
            return []
        waiting, self._waiting = self._waiting, {}
        events: list[Event] = []
        for pid, lines in waiting.items():
            self._meet(pid)
            events += lines
        return events

    @staticmethod
    def _child(parent: Process, text: bytes) -> Process:
        if shares(text, b"CLONE_FS", 0x200):
            place = parent.place
        else:
            place = Place(parent.place.cwd, parent.place.root)
        if shares(text, b"CLONE_VM", 0x100) and not text.startswith(b"vfork"):
            memory = parent.memory
        else:
            memory = Memory(list(parent.memory.maps))
        if shares(text, b"CLONE_FILES", 0x400):
            table = parent.table
            table.shared = True
        else:
            table = parent.table.copy()
        return Process(place, memory, table)


def shares(text: bytes, name: bytes, bit: int) -> bool:
    """Return whether the flags of a clone, as printed, contain one."""
    _, found, flags = text.partition(b"flags=")
    if not found:
        return False
    flags = flags.split(b",")[0].split(b"}")[0]
    number = re.match(rb"0x([0-9a-f]{1,16})\b|(\d{1,20})\b", flags)
    if number:
        return bool((int(number[1], 16) if number[1] else int(number[2])) & bit)
    return name in flags.rstrip(b")").split(b"|")
