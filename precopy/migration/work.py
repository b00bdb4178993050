"""The engine's work on real files: which units were written, and how they get across.

A unit is a whole file, as in the paper, or a block of one.  Digests decide what is sent: a file
whose signature moved is read and compared with what the destination holds.  Invariant: what is
noted as held are the digests of the very bytes that were sent, once they are acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from precopy.migration.blocks import Blocks, Changed
from precopy.migration.dirty import Dirty, Found
from precopy.migration.engine import Sent
from precopy.migration.pending import Pending, Policy, Units
from precopy.migration.resume import resume
from precopy.migration.structure import Structure
from precopy.migration.transport.interface import Acknowledged, Transport
from precopy.migration.tree import Entry, Tree

Granularity = Literal["block", "file"]

READ_BYTES = 8 << 20
"""So much of a file is read, and kept in memory, at a time."""

WRITE_BYTES = 256 << 10
"""The largest write that is sent in one piece."""


SYNC_SECONDS = 1.0
"""How often the destination brings everything to its disk."""


@dataclass
class Spent:
    """Where the time of a step went, in seconds."""

    scan: float = 0.0
    read: float = 0.0
    link: float = 0.0
    verify: float = 0.0
    sync: float = 0.0


@dataclass
class _File:
    """The units of one file."""

    first: int
    places: int
    count: int = 0
    seen: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 16), np.uint8))


class FileWork:
    """Files of a tree, moved through a transport.

    Parameters
    ----------
    tree, dirty, blocks, transport
        What is at the source, and the destination.
    policy : Policy
        How units are ranked and taken.
    granularity : {"block", "file"}
        What a unit is.
    history : mapping of bytes to int, optional
        Updates per path before the migration, from a log; a path with none is read-only. Without
        it every file is read-only until it is found written.

    Attributes
    ----------
    pending : Pending
    structure : Structure
    found : Found
        What the last look found.
    spent : Spent
        Where the time went since `reset_spent`.
    acknowledged : Acknowledged
        Of the last barrier.
    """

    def __init__(
        self,
        tree: Tree,
        dirty: Dirty,
        blocks: Blocks,
        transport: Transport,
        policy: Policy,
        granularity: Granularity = "block",
        history: Mapping[bytes, int] | None = None,
    ) -> None:
        self.tree, self.transport, self.pending = tree, transport, Pending(policy)
        self.structure = Structure(tree, blocks, transport)
        self.spent = Spent()
        self.found: Found
        self.acknowledged: Acknowledged
        self._dirty, self._blocks = dirty, blocks
        self._by_block = granularity == "block"
        self._history = history
        self._files: dict[int, _File] = {}
        self._file_of: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._resized: set[int] = set()
        self._written_files: set[int] = set()
        self._synced = 0.0
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    # --- looking ----------------------------------------------------------------------------------

    def begin(self, there: Mapping[bytes, tuple[str, int]] | None = None) -> None:
        """Look for the first time: everything waits, but for what the destination has already.

        Parameters
        ----------
        there : mapping, optional
            What an interrupted migration has put there (`Transport.listing`).
        """
        self._scan()
        if there:
            resume(there, self.tree, self._blocks, self.structure, self.transport)
        self._compare()

    def look(self) -> Units:
        """Find what was written since the last look; names are brought up to date on the way."""
        self._scan()
        return self._compare()

    def _scan(self) -> None:
        self.found = self._dirty.cycle()
        self.spent.scan += self.found.seconds

    def _compare(self) -> Units:
        found = self.found
        look = dict.fromkeys([*self.structure.apply(found.scan), *found.look.tolist()])
        for id in found.scan.vanished:
            self._gone(id)
        counts = self._new_counts()
        written = [self._look_at(id, counts.get(id, 0)) for id in look]
        return np.concatenate([np.zeros(0, np.int64), *written])

    def writes(self) -> int | None:
        """Return how many writes the log has counted so far."""
        counts = self._dirty.counts()
        return int(counts.sum()) if len(counts) else None

    def _new_counts(self) -> dict[int, int]:
        """Return the monitor's counts per file since the last look."""
        if self._by_block:
            return {}
        counts = self._dirty.counts()
        before = np.zeros_like(counts)
        before[: len(self._counts)] = self._counts
        self._counts = counts
        more = counts - before
        return {int(id): int(more[id]) for id in np.flatnonzero(more)}

    def _look_at(self, id: int, counted: int) -> Units:
        """Compare a file with what the destination holds; return its units found written."""
        entry = self.tree.entry(id)
        if entry.kind != "file" or entry.same_as is not None:
            return np.zeros(0, np.int64)
        try:
            ranges = self.found.ranges.get(id)
            changed = self._blocks.compare(entry, ranges, clean=id in self.found.clean)
        except FileNotFoundError:
            return np.zeros(0, np.int64)  # the next scan says what became of it
        self.spent.read += changed.seconds
        known = id in self._files
        if changed.size != self._blocks.held(entry)[0] or id not in self.structure.there:
            self._resized.add(id)
        else:
            self._resized.discard(id)
        units = self._changed_units(entry, changed, ranges is None)
        if not known:
            return units[:0]  # it appeared: nothing is known of writes to it
        if len(units):
            self._written_files.add(id)
            self.pending.read_only[units] = False
        return np.repeat(units, max(counted, 1)) if not self._by_block else units

    def _changed_units(self, entry: Entry, changed: Changed, whole: bool) -> Units:
        """Let the changed units of a file wait; return those that are written since last seen."""
        file = self._room_for(entry, changed)
        if not self._by_block:
            waits = bool(len(changed.index)) or entry.id in self._resized
            self.pending.cost_bytes[file.first] = changed.size
            self.pending.waiting[file.first] = waits
            return np.arange(file.first, file.first + waits)
        units = file.first + changed.index
        if whole:
            self.pending.waiting[file.first : file.first + file.places] = False
        self.pending.waiting[units] = True
        sizes = np.minimum(changed.size - changed.index * changed.block_bytes, changed.block_bytes)
        self.pending.cost_bytes[units] = sizes
        if not len(file.seen):
            file.seen = np.zeros((file.places, 16), np.uint8)
        new = (file.seen[changed.index] != changed.digests).any(axis=1)
        unread = not changed.digests.any()
        file.seen[changed.index] = changed.digests
        return units if unread else units[new]

    def _room_for(self, entry: Entry, changed: Changed) -> _File:
        """Return a file's units, as many as it needs; units that move keep what is known."""
        blocks = -(-changed.size // changed.block_bytes)
        needed = blocks if self._by_block else 1
        file = self._files.get(entry.id)
        if file is not None and needed <= file.places:
            file.count = needed
            return file
        places = needed if file is None or not self._by_block else 2 * needed
        updates = None if self._history is None else self._history.get(entry.path, 0)
        read_only = updates == 0 or updates is None
        history = np.full(places, 0 if self._by_block else updates or 0)
        units = self.pending.add(np.zeros(places, np.int64), np.full(places, read_only), history)
        self.pending.waiting[units] = False
        new = _File(int(units[0]) if places else 0, places, needed)
        if file is not None:
            self.pending.moved(file.first, new.first, file.places)
            new.seen = np.zeros((places, 16), np.uint8)
            new.seen[: len(file.seen)] = file.seen
        self._files[entry.id] = new
        if len(self._file_of) < len(self.pending):
            more = np.zeros(len(self.pending), np.int64)
            self._file_of = np.concatenate([self._file_of, more])
        self._file_of[units] = entry.id
        return new

    def _gone(self, id: int) -> None:
        file = self._files.pop(id, None)
        self._resized.discard(id)
        if file is not None:
            self.pending.gone(np.arange(file.first, file.first + file.places))

    # --- sending ----------------------------------------------------------------------------------

    def send_all(self) -> Units:
        """Look, and send all that is left, durably; return what was sent.

        This is the final copy; while the application runs, a rehearsal of it.
        """
        self.pending.written(self.look())
        units = self.pending.ranked()
        held = self.queue(units)
        self.structure.send_metadata(())
        self.transport.sync()
        self.wait(held)
        self.pending.sent(units)
        return units

    def send(self, units: Units) -> Sent:
        """Send units and wait until they have arrived, verified."""
        before, begin = self.transport.link_bytes, time.monotonic()
        held = self.queue(units)
        self.structure.send_metadata(self._waiting_files(sent=units))
        self.wait(held)
        end = time.monotonic()
        if end - self._synced >= SYNC_SECONDS:
            # Not waited for: it goes on while the application writes, and keeps the last one short.
            self.transport.sync()
            self._synced = end
        seconds = end - begin - self.acknowledged.sync_s
        return Sent(self.transport.link_bytes - before, seconds)

    def queue(self, units: Units) -> list[tuple[Entry, Changed]]:
        """Queue units, and the verification of what will be there; return what to hold."""
        held: list[tuple[Entry, Changed]] = []
        for id, index in self._by_file(units):
            entry = self.tree.entry(id)
            held += self._queue_file(entry, index)
        for id in list(self._resized):
            held += self._queue_size(self.tree.entry(id))
        return held

    def wait(self, held: list[tuple[Entry, Changed]]) -> None:
        """Wait for the destination, and note what it holds then."""
        self.acknowledged = done = self.transport.barrier()
        self.spent.verify += done.verify_s
        self.spent.sync += done.sync_s
        self.spent.link += max(done.waited_s - done.verify_s - done.sync_s, 0.0)
        for entry, changed in held:
            self._blocks.hold(entry, changed.index, changed.digests, changed.size)

    def _by_file(self, units: Units) -> list[tuple[int, npt.NDArray[np.int64]]]:
        """Return the units by file, in the order in which their files come first."""
        files = self._file_of[units]
        order = np.argsort(files, kind="stable")
        starts = np.flatnonzero(np.diff(files[order], prepend=-1))
        groups = np.split(order, starts[1:]) if len(order) else []
        groups.sort(key=lambda places: int(places[0]))
        found = []
        for places in groups:
            id = int(files[places[0]])
            index = np.sort(units[places]) - self._files[id].first
            found.append((id, index))
        return found

    def _queue_file(
        self, entry: Entry, index: npt.NDArray[np.int64]
    ) -> list[tuple[Entry, Changed]]:
        block_bytes = self._blocks.block_bytes(entry)
        if not self._by_block:
            size = int(self.pending.cost_bytes[self._files[entry.id].first])
            index = np.arange(-(-size // block_bytes))
        held: list[tuple[Entry, Changed]] = []
        at_once = max(READ_BYTES // block_bytes, 1)
        for first in range(0, max(len(index), 1), at_once):
            try:
                part = self._blocks.read(entry, index[first : first + at_once])
            except FileNotFoundError:
                return held
            self.spent.read += part.seconds
            self._queue_part(entry, part)
            held.append((entry, part))
        return held

    def _queue_part(self, entry: Entry, part: Changed) -> None:
        self.structure.make(entry)
        path, size = entry.path, part.block_bytes
        if part.size != self._blocks.held(entry)[0]:
            self.transport.truncate(path, part.size)
        self._resized.discard(entry.id)
        data, at = memoryview(part.data), 0
        for begin, count, zero in _runs(part, WRITE_BYTES // size or 1):
            length = min(count * size, part.size - begin * size)
            if zero:
                self.transport.zero(path, begin * size, length)
            else:
                self.transport.write(path, begin * size, data[at : at + length])
                at += length
        self.transport.verify(path, part.size, size, part.index, part.digests)
        self.structure.touched.add(entry.id)

    def _queue_size(self, entry: Entry) -> list[tuple[Entry, Changed]]:
        """Queue a size that changed while no content has to be sent."""
        file = self._files.get(entry.id)
        if file is None or self.pending.waiting[file.first : file.first + file.places].any():
            return []
        none = np.zeros(0, np.int64)
        return self._queue_file(entry, none)

    def _waiting_files(self, sent: Units) -> set[int]:
        still = self.pending.waiting.copy()
        still[sent] = False
        return set(np.unique(self._file_of[np.flatnonzero(still)]).tolist())


def _runs(part: Changed, longest: int) -> list[tuple[int, int, bool]]:
    """Return (first block, blocks, whether zero) of blocks that follow one another."""
    index, zero = part.index, part.zero
    if not len(index):
        return []
    breaks = np.flatnonzero((np.diff(index) != 1) | (np.diff(zero.astype(np.int8)) != 0)) + 1
    runs = []
    for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(index)], strict=True):
        step = last - first if zero[first] else longest
        for at in range(first, last, step):
            runs.append((int(index[at]), min(step, last - at), bool(zero[first])))
    return runs
