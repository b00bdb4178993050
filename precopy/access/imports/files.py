"""What events do to files: sums, sizes, births, deaths and new names.

Invariant: of files only as many are in memory as one batch has; the others wait in the spool.
A file's size is the largest end that was read or written, unless an event says it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter

from precopy.access.imports.events import (
    CHANGE,
    CREATE,
    DELETE,
    MOST,
    READ,
    RENAME,
    STAT,
    TRUNCATE,
    WRITE,
    Event,
    Refused,
)
from precopy.access.imports.spool import Spool, State

_MOST_FILES = 30_000
_MOST_WEIGHT = 8 << 20
_MOST_WRITTEN = 1 << 60
_GONE = -1


@dataclass(slots=True)
class _File:
    """A file's sums so far; as `State`, and in its order."""

    size: int
    exact: int
    read: int
    write: int
    opens: int
    writes: int
    bytes_written: int
    changes: int
    first_ns: int
    last_ns: int


_state_of: Callable[[_File], State] = attrgetter(*(each.name for each in fields(_File)))


class Files:
    """The files of one trace.

    Parameters
    ----------
    spool : Spool
        Where the sums go.
    constant : bool
        Files do not grow: each has from its first time on the largest end that the trace shows.
    """

    def __init__(self, spool: Spool, *, constant: bool = False) -> None:
        self.events = 0
        self._spool = spool
        self._constant = constant
        self._files: dict[bytes, _File] = {}
        self._weight = 0
        self._written = 0

    def take(self, event: Event) -> None:
        """Account for one event."""
        self.events += 1
        time_ns, op, path, offset, size, _, extent = event
        file = self._of(path, time_ns, extent)
        if op == WRITE:
            self._written += size
            if self._written > _MOST_WRITTEN:
                raise Refused(f"more than {_MOST_WRITTEN} bytes are written in all")
            if size:
                file.writes += 1
                file.bytes_written += size
                file.write = 1
                self._spool.write(path, time_ns, 1, size, 0)
                if not extent:
                    start = max(file.size, 0) if offset is None else offset
                    self._reach(file, path, time_ns, start + size)
        elif op == READ:
            file.read = 1
            if offset is not None and not extent:
                self._reach(file, path, time_ns, offset + size)
        elif op == CHANGE:
            self._change(file, path, time_ns)
        elif op == STAT:
            if not self._known(file):
                self._spool.sample_before(path, time_ns, size)
            file.read = 1
            self._sized(file, path, time_ns, size)
        elif op == TRUNCATE:
            self._change(file, path, time_ns)
            self._sized(file, path, time_ns, size)
        elif op == CREATE:
            self._create(file, path, time_ns)
        elif op == DELETE:
            self._change(file, path, time_ns)
            self._sized(file, path, time_ns, _GONE)
        else:
            assert op == RENAME
            self._rename(file, event)

    def _of(self, path: bytes, time_ns: int, extent: int = 0) -> _File:
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= _MOST_FILES or self._weight >= _MOST_WEIGHT:
                self.flush()
            state = self._spool.state(path)
            if state is None:
                if extent:
                    self._spool.sample_before(path, time_ns, extent)
                state = (extent, int(extent > 0), 0, 0, 0, 0, 0, 0, time_ns, time_ns)
            file = self._files[path] = _File(*state)
            self._weight += len(path)
        if time_ns > file.last_ns:
            file.last_ns = time_ns
        elif time_ns < file.first_ns:
            file.first_ns = time_ns
        return file

    def _change(self, file: _File, path: bytes, time_ns: int) -> None:
        file.changes += 1
        file.write = 1
        self._spool.write(path, time_ns, 0, 0, 1)

    def _reach(self, file: _File, path: bytes, time_ns: int, end: int) -> None:
        """Note that a file reaches to an offset."""
        if end > MOST:
            raise Refused(f"offset and size: got {end} in sum, expected at most {MOST}")
        if end > file.size:
            file.size = end
            if not self._constant:
                self._spool.sample(path, time_ns, end)

    def _sized(self, file: _File, path: bytes, time_ns: int, size: int) -> None:
        file.size, file.exact = size, 1
        self._spool.sample(path, time_ns, size)

    def _known(self, file: _File) -> bool:
        """Return whether there was anything of a file before the event that is being taken."""
        return bool(file.read or file.write or file.exact)

    def _create(self, file: _File, path: bytes, time_ns: int) -> None:
        file.opens += 1
        if not self._known(file):
            self._spool.birth(path, time_ns)
        elif file.size != _GONE:
            self._change(file, path, time_ns)  # made anew: emptied
        file.write = 1
        self._sized(file, path, time_ns, 0)

    def _rename(self, file: _File, event: Event) -> None:
        time_ns, path, to = event.time_ns, event.path, event.to
        if path == to:
            return
        if file.size == _GONE:
            raise Refused("rename: the file was deleted before, expected one that is there")
        size, exact = file.size, file.exact
        known = size > 0 or exact
        self._change(file, path, time_ns)
        file.size, file.exact = _GONE, 1
        self._spool.sample(path, time_ns, _GONE)
        other = self._of(to, time_ns)
        if not self._known(other):
            self._spool.birth(to, time_ns)
        self._change(other, to, time_ns)
        other.size, other.exact = size, exact
        if known:
            self._spool.sample(to, time_ns, size)
        self._spool.move(path, to, time_ns)

    def flush(self) -> None:
        """Let the spool keep all files."""
        self._spool.put_states((path, _state_of(file)) for path, file in self._files.items())
        self._files.clear()
        self._weight = 0

    def finish(self) -> None:
        """Bring all to the spool."""
        self.flush()
        self._spool.flush()
        if self._constant:
            self._spool.sample_all()
