"""Replays the system calls of a trace: what happened to which file.

Invariant: every call is a change of sums, in the columns of the access log, so that a replay can
be stored as a whole; what a call does is said in `precopy.access.strace.calls`.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from precopy.access.exclude import DEFAULT_EXCLUDED, Excluded
from precopy.access.imports.spool import Spool
from precopy.access.strace.lines import (
    Call,
    Ended,
    Event,
    Parser,
    Unreadable,
)
from precopy.access.strace.names import Found, Names, parent, upwards
from precopy.access.strace.sizes import Sizes
from precopy.access.strace.state import Place, Process, Processes


@dataclass(slots=True)
class FileAccess:
    """Sums for one file, in the columns of the log's table ``access``."""

    opens: int = 0
    read: int = 0
    write: int = 0
    mapped: int = 0
    looked: int = 0
    listed: int = 0
    loaded: int = 0
    writes: int = 0
    bytes_written: int = 0
    changes: int = 0
    first_ns: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class Span:
    """One program run by one process."""

    first_ns: int
    last_ns: int
    command: bytes = b""


Handler = Callable[["Replay", Call], None]


class Replay:
    """The state of one trace.

    Parameters
    ----------
    handlers : mapping
        What each call does.
    harmless : callable
        Whether a call that has no handler cannot change or name a file.
    spool : Spool
        Takes what happened when: writes per time bucket, sizes, births, new names.
    cwd : bytes, optional
        The first process's working directory, if it is known.
    """

    def __init__(
        self,
        handlers: Mapping[bytes, Handler],
        harmless: Callable[[Call], bool],
        spool: Spool,
        cwd: bytes | None,
    ) -> None:
        self.spool = spool
        self.sizes = Sizes(spool)
        self.files: dict[bytes, FileAccess] = {}
        self.identities: dict[bytes, int] = {}  # of names that one file was given in the trace
        self.links: set[bytes] = set()
        self.directories: set[bytes] = set()
        self.spans: dict[tuple[int, int], Span] = {}  # by process id and how often it was used
        self.names = Names()
        self.processes = Processes(cwd)
        self.calls = 0
        self.unresolved = 0
        self.started = 0  # processes and threads
        self.missing = 0  # the line of an open that returned a descriptor which was open
        self.on_descriptors = False  # whether calls are shown that a filter of names leaves out
        self.unknown_descriptors = 0
        self.unknown_calls: Counter[bytes] = Counter()
        self.blind: dict[str, int] = {}  # why files may be missing, and since which line
        self.doubts: Counter[bytes] = Counter()
        self._handlers = handlers
        self._harmless = harmless
        self._times_used: Counter[int] = Counter()
        self.guessed: set[bytes] = set()  # which of several parts of a name is the link
        self._guesses: dict[bytes, tuple[list[bytes], Call]] = {}
        self._gone: set[bytes] = set()  # names that were removed or renamed away
        self._made: set[bytes] = set()  # directories of which everything is known: made here
        self._above: set[bytes] = set()  # directories of files, and with each those above it

    def take(self, event: Event, parser: Parser) -> None:
        """Account for one event."""
        queue = self.processes.admit(event)
        while queue:
            now, queue = queue[0], queue[1:]
            queue = self._one(now, parser) + queue

    def _one(self, event: Event, parser: Parser) -> list[Event]:
        if isinstance(event, Ended):
            self.processes.end(event)
            self._times_used[event.pid] += (event.pid, self._times_used[event.pid]) in self.spans
            return []
        if not isinstance(event, Call):
            return self.processes.admit(event)
        self.calls += 1
        self.on_descriptors |= event.name in _ON_DESCRIPTORS
        span = self.span(event)
        span.last_ns = max(span.last_ns, event.time_ns)
        if event.directory is not None:
            self._be_in(self.process(event).place, event.directory, event)
        if event.name in (b"exit", b"exit_group"):  # strace -qq says no more than that
            return self._one(Ended(event.pid), parser)
        handler = self._handlers.get(event.name)
        if handler is None:
            if not self._harmless(event) and (event.succeeded or not event.readable):
                self.unknown_calls[event.name] += 1
            return []
        try:
            if handler is _START:
                self.started += event.succeeded
                return self.processes.returned(event)
            if event.succeeded:
                handler(self, event)
        except Unreadable:
            parser.damage(event.line, event.text)
        return []

    def process(self, call: Call) -> Process:
        """Return the process that called."""
        return self.processes.of(call.pid)

    def path(self, call: Call, argument: int) -> bytes | None:
        """Return the path behind a descriptor argument: as printed, or as remembered."""
        if call.described(argument):
            path = call.path(argument)
            if path is not None and path.endswith(b" (deleted)") and path not in self.files:
                alive = path.removesuffix(b" (deleted)")  # as strace 5 says it
                return alive if alive in self.files else path
            return path
        return self.process(call).table.paths.get(call.number(argument))

    def knows(self, call: Call, argument: int) -> bool:
        """Return whether it can be said what is behind a descriptor argument."""
        return call.described(argument) or call.number(argument) in self.process(call).table.paths

    def span(self, call: Call) -> Span:
        """Return the span of the program that called."""
        key = call.pid, self._times_used[call.pid]
        if key not in self.spans:
            self.spans[key] = Span(call.time_ns, call.time_ns)
        return self.spans[key]

    def run(self, call: Call, program: bytes) -> None:
        """Note that a process runs another program now."""
        if self.span(call).command:
            self._times_used[call.pid] += 1
        self.span(call).command = program

    def touch(
        self,
        path: bytes | None,
        call: Call,
        *,
        opens: int = 0,
        read: bool = False,
        write: bool = False,
        mapped: bool = False,
        looked: bool = False,
        listed: bool = False,
        loaded: bool = False,
        writes: int = 0,
        written: int = 0,
        changes: int = 0,
    ) -> None:
        """Add one event to a file; pipes, sockets, devices and what has no path are ignored."""
        if path is None or not path.startswith(b"/"):
            return
        if path.startswith(b"/dev/") and not path.startswith(b"/dev/shm/"):
            return
        access = self.files.get(path)
        if access is None:
            access = self.files[path] = FileAccess(first_ns=call.time_ns, last_ns=call.time_ns)
        if not looked:
            self._gone.discard(path)
            for above in upwards(parent(path)):
                if above in self._above:
                    break
                self._above.add(above)
        access.opens += opens
        access.read |= read
        access.write |= write or changes > 0
        access.mapped |= mapped
        access.looked |= looked
        access.listed |= listed
        access.loaded |= loaded
        access.writes += writes
        access.bytes_written += written
        access.changes += changes
        access.first_ns = min(access.first_ns, call.time_ns)
        access.last_ns = max(access.last_ns, call.time_ns)
        if writes or changes:
            self.spool.write(path, call.time_ns, writes, written, changes)

    def look(self, path: bytes | None, call: Call, kind: str = "") -> None:
        """Note that a path was looked at, and what it turned out to be."""
        if path is None or path.startswith((b"/proc/", b"/dev/", b"/sys/")):
            return
        if kind == "directory":
            self.directories.add(path)
        elif kind == "link":
            self.links.add(path)
        self.touch(path, call, looked=True)

    def finish(self) -> None:
        """Tell files, directories and links apart, now that all is known."""
        excluded = Excluded(DEFAULT_EXCLUDED)
        for doubt in list(self.doubts):
            if self.names.known(doubt) or doubt + b"/" in excluded or doubt in excluded:
                del self.doubts[doubt]
        for links, call in self._guesses.values():
            if self.links.isdisjoint(links):
                left = [link for link in links if not self.is_directory(link)] or links[-1:]
                self.look(left[0], call, "link")
                if len(left) > 1 and left[0] not in excluded:
                    self.guessed.add(left[0])
        for path, access in self.files.items():
            if self.is_directory(path) and path not in self.links:
                self.directories.add(path)
                # Opened like a file, which for a directory means no more than to look.
                access.looked |= access.read and not access.listed
                access.opens, access.read = 0, access.listed

    def kind(self, path: bytes) -> str:
        """Return what a path was: a file, a directory or a link."""
        if path in self.links:
            return "link"
        return "directory" if path in self.directories else "file"

    def is_directory(self, path: bytes) -> bool:
        """Return whether the trace has shown that this is no file."""
        return path in self._above or path in self.directories

    def rename(self, call: Call, old: bytes, new: bytes, *, exchange: bool = False) -> None:
        """Give a file a new name, or all that are known below a directory."""
        pairs = self._below(old, new)
        if exchange:
            pairs += self._below(new, old)
        if self.names.leads_to(old, new):
            self.links.discard(old)  # no link: its path was shown after this rename
        was_link = old in self.links
        identity, other = self.identities.pop(old, 0), self.identities.pop(new, 0)
        self._made.difference_update((old, new))
        files = [
            (before, after, after in self.files)
            for before, after in pairs
            if not self.is_directory(before) and before not in self.links
        ]
        for before, _ in pairs:
            self.touch(before, call, changes=1)
            if not exchange:
                self._gone.add(before)
        for _, after in pairs:
            self.touch(after, call, changes=0 if exchange else 1, write=True)
        self.sizes.renamed(files, call, exchange=exchange)
        self.processes.moved(old, new, exchange=exchange)
        if exchange:
            self._exchange(old, new)
        else:
            self.names.move(old, new)
        if was_link:
            self.links.add(new)
        if identity:
            self.identities[new] = identity
        if other and exchange:
            self.identities[old] = other

    def _below(self, old: bytes, new: bytes) -> list[tuple[bytes, bytes]]:
        """Return the old and new names of a file, or of a directory and the files in it."""
        if not self.is_directory(old) or old in self.links:
            return [(old, new)]
        self.directories |= {old, new}
        below = [path for path in self.files if path.startswith(old + b"/")]
        inside = [path for path in below if path not in self._gone and self._counts(path)]
        for path in inside:
            if path in self.links:
                self.links.add(new + path[len(old) :])
        return [(old, new), *((path, new + path[len(old) :]) for path in inside)]

    def _counts(self, path: bytes) -> bool:
        access = self.files[path]
        return bool(access.read or access.write or access.mapped) and not self.is_directory(path)

    def _exchange(self, old: bytes, new: bytes) -> None:
        between = old + b"\0"
        self.names.move(old, between)
        self.names.move(new, old)
        self.names.move(between, new)

    def remove(self, path: bytes | None, call: Call) -> None:
        """Note that a name stands for nothing any more."""
        self.touch(path, call, changes=1)
        if path is not None:
            if path in self.files and not self.is_directory(path) and path not in self.links:
                self.sizes.removed(path, call)
            self._gone.add(path)
            self._made.discard(path)
            self.processes.died(path)
            self.names.forget(path)
            self.identities.pop(path, None)

    def make_directory(self, path: bytes, call: Call) -> None:
        """Note a new directory."""
        self.directories.add(path)
        self.touch(path, call, changes=1)
        self._made.add(path)

    def is_absent(self, path: bytes | None) -> bool:
        """Return whether the trace tells that nothing has a name: then an open makes the file."""
        if path is None:
            return False
        return path in self._gone or (parent(path) in self._made and path not in self.files)

    def give_name(self, call: Call, old: bytes | None, new: bytes) -> None:
        """Note that a file has a second name."""
        known = new in self.files
        self.touch(new, call, changes=1)
        self.names.forget(new)
        if old is not None:
            self.sizes.linked(old, new, call, known=known)
            same = self.identities.get(old)
            if same is None:
                text = b"%d %d %b" % (call.time_ns, call.line, old)
                same = (zlib.crc32(text) << 31 | zlib.crc32(text[::-1]) >> 1) or 1
            self.identities[old] = self.identities[new] = same

    def find(
        self,
        call: Call,
        path: int,
        directory: int | None = None,
        *,
        follow: bool = False,
        sure: bool = True,
    ) -> Found | None:
        """Return where the name in an argument leads, or None if that cannot be known.

        `sure` says that the log is incomplete if the name passes through what may be a link.
        """
        name = call.string(path)
        if name is None:
            return None
        place = self.process(call).place
        base = place.cwd if directory is None else self._base(call, directory)
        if name == b"":
            return Found(base) if base is not None and directory is not None else None
        if base is None and not name.startswith(b"/"):
            self.unresolved += sure
            return None
        found = self.names.find(base or b"/", place.root, name, follow=follow)
        for link in found.links:
            self.look(link, call, "link")
        if sure:
            self.doubts.update(found.doubts)
        return found

    def resolve(
        self,
        call: Call,
        path: int,
        directory: int | None = None,
        *,
        follow: bool = False,
        sure: bool = True,
    ) -> bytes | None:
        """Return the path that `find` finds."""
        found = self.find(call, path, directory, follow=follow, sure=sure)
        return found.path if found else None

    def _base(self, call: Call, directory: int) -> bytes | None:
        shown = self.path(call, directory)
        if shown is not None:
            if call.described(directory):
                self.names.show(shown)
            return shown
        argument = call.argument(directory)
        here = argument.startswith((b"AT_FDCWD", b"-100", b"0xffffff9c", b"4294967196"))
        return self.process(call).place.cwd if here else None

    def learn(self, call: Call, found: Found, opened: bytes) -> None:
        """Compare a name with the path behind the descriptor: a link may be between them."""
        links = self.names.learn(found, opened)
        if len(links) == 1:
            self.look(links[0], call, "link")
        elif links:
            self._guesses.setdefault(found.path, (links, call))

    def move_to(self, call: Call, directory: bytes | None) -> None:
        """Note a process's new working directory."""
        place = self.process(call).place
        place.cwd, place.guessed = directory, True

    def _be_in(self, place: Place, directory: bytes, call: Call) -> None:
        """Note the working directory that a call shows."""
        if place.cwd is not None and place.guessed and place.cwd != directory:
            self.learn(call, Found(place.cwd), directory)
        place.cwd, place.guessed = directory, False
        self.names.show(directory)


def start(replay: Replay, call: Call) -> None:
    """Stand for the calls that start a process, which `Replay` handles itself."""


_ON_DESCRIPTORS = frozenset((b"close", b"read", b"write", b"pwrite64", b"writev", b"mmap"))
_START = start
