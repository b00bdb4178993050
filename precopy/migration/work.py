"""The engine's work on real files: which units were written, and how they get across.

A unit is a whole file, as in the paper, or a block of one.  Digests decide what is sent: a file
whose signature moved is read and compared with what the destination holds.  Invariant: what is
noted as held are the digests of the very bytes that were sent, once they are acknowledged.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from precopy._text import printable
from precopy.migration.engine import Sent
from precopy.migration.pending import Granularity, Pending, Policy, Units
from precopy.migration.resume import resume
from precopy.migration.source.blocks import Blocks, Changed
from precopy.migration.source.dirty import Dirty, Found
from precopy.migration.source.tree import Entry, Tree
from precopy.migration.structure import Structure
from precopy.migration.transport.interface import Acknowledged, Transport
from precopy.migration.units import NONE, FileUnits

READ_BYTES = 8 << 20
"""So much of a file is read, and kept in memory, at a time."""

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
        As for `FileUnits`.
    has_log : bool
        Whether a log counts writes meanwhile.

    Attributes
    ----------
    pending : Pending
    units : FileUnits
    structure : Structure
    found : Found
        What the last look found.
    look_seconds : float
        How long a look takes, as far as the final copy has it, too.
    round_trip_s : float
        The least that an exchange with the destination took.
    spent : Spent
        Where the time went since `reset_spent`.
    problems : list of (bytes, str)
        What could not be looked at, or does not move, and why.
    remarks : list of str
        What the destination could not keep.
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
        *,
        has_log: bool = False,
    ) -> None:
        self.tree, self.transport, self.pending = tree, transport, Pending(policy)
        self._by_block = granularity == "block"
        self.units = FileUnits(self.pending, self._by_block, history)
        self.structure = Structure(tree, blocks, transport)
        self.found: Found
        self.spent = Spent()
        self.look_seconds, self.round_trip_s = 0.0, 0.0
        self.problems: list[tuple[bytes, str]] = []
        self._known_problems = 0
        self.remarks: list[str] = []
        self._dirty, self._blocks = dirty, blocks
        self._resized: set[int] = set()
        self._missed: set[int] = set()
        self._synced = time.monotonic()
        self._has_log = has_log
        self._looks: deque[float] = deque(maxlen=5)
        self._frozen = self._keep_data = False
        self._read: dict[int, Changed] = {}
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    # --- what there is ----------------------------------------------------------------------------

    def allocated_bytes(self) -> int:
        """Return how much of the disk the files take: holes take nothing."""
        total = 0
        for entry in self.tree.files():
            try:
                total += min(os.lstat(entry.path).st_blocks * 512, entry.status.size)
            except OSError:
                continue
        return total

    # --- looking ----------------------------------------------------------------------------------

    def scan(self) -> None:
        """Scan for the first time; nothing is sent yet."""
        self._scan()
        self._known_problems = len(self.problems)

    def begin(self, there: Mapping[bytes, tuple[str, int]]) -> None:
        """Let everything wait that was scanned, but for what the destination has already.

        Parameters
        ----------
        there : mapping
            What an interrupted migration has put there (`Transport.listing`).
        """
        if there:
            resume(there, self.tree, self._blocks, self.structure, self.transport)
        self._compare()
        self.transport.barrier()
        begin = time.monotonic()
        self.transport.barrier()
        self.round_trip_s = time.monotonic() - begin

    def look(self) -> Units:
        """Find what was written since the last look; names are brought up to date on the way."""
        begin = time.monotonic()
        self._scan()
        units = self._compare()
        self._looks.append(time.monotonic() - begin - self.found.prepared_s)
        self.look_seconds = median(self._looks)
        return units

    def changed_paths(self) -> list[bytes]:
        """Look once more, and return what is not as the destination has it."""
        self._scan()
        scan = self.found.scan
        named = [*scan.appeared, *scan.vanished, *scan.relinked, *scan.moved.tolist()]
        paths = {self.tree.entry(id).path for id in named} | {to for _, _, to in scan.renames}
        for id in self.found.look.tolist():
            entry = self.tree.entry(id)
            if entry.kind != "file" or entry.same_as is not None or entry.path in paths:
                continue
            changed = self._blocks.compare(entry, self.found.ranges.get(id))
            self.spent.read += changed.seconds
            if len(changed) or changed.size != self._blocks.size_there(entry):
                paths.add(entry.path)
        return sorted(paths)

    def unread(self) -> list[str]:
        """Return what could not be read since the first scan: nobody knows what stands there.

        What the first scan could not read was told before anything began.
        """
        later = self.problems[self._known_problems :]
        return [f"{printable(path)}: {why}" for path, why in later if "cannot be read" in why]

    def _scan(self) -> None:
        self.found = self._dirty.cycle(final=self._frozen)
        self.spent.scan += self.found.seconds
        self.problems += self.found.scan.problems

    def _compare(self) -> Units:
        found = self.found
        names = self.structure.apply(found.scan)
        self._missed.difference_update(found.scan.vanished)
        look = dict.fromkeys([*names, *found.look.tolist(), *self._missed])
        for id in found.scan.vanished:
            self.units.gone(id)
            self._resized.discard(id)
        counts = self._new_counts()
        return np.concatenate([NONE, *(self._look_at(id, counts.get(id, 1)) for id in look)])

    def writes(self) -> int | None:
        """Return how many writes the log has counted so far; None without a log."""
        return self._dirty.poll() if self._has_log else None

    def _new_counts(self) -> dict[int, int]:
        """Return the log's counts per file since the last look, where whole files are ranked."""
        if self._by_block:
            return {}
        counts = self._dirty.counts()
        before = np.zeros_like(counts)
        before[: len(self._counts)] = self._counts[: len(counts)]
        self._counts = counts
        return {int(id): int(counts[id] - before[id]) for id in np.flatnonzero(counts > before)}

    def _look_at(self, id: int, updates: int) -> Units:
        """Compare a file with what the destination holds; return its units found written."""
        entry = self.tree.entry(id)
        if entry.kind != "file" or entry.same_as is not None:
            return NONE
        ranges, clean = self.found.ranges.get(id), id in self.found.clean
        if id in self._missed:  # what it was to be looked at for then is not told again
            self._missed.remove(id)
            ranges, clean = None, not self._frozen
        try:
            changed = self._blocks.compare(
                entry, ranges, clean=clean, data=self._keep_data and self._by_block
            )
        except FileNotFoundError:
            if self._frozen:
                raise
            # The next scan says what became of it: nothing at all if a directory above it was
            # renamed away and back.
            self._missed.add(id)
            return NONE
        self.spent.read += changed.seconds
        if self._keep_data and self._by_block and changed.data_count == len(changed):
            self._read[id] = changed
        known = id in self.units
        resized = id not in self.structure.there or changed.size != self._blocks.size_there(entry)
        (self._resized.add if resized else self._resized.discard)(id)
        units = self.units.changed(entry, changed, whole=ranges is None, resized=resized)
        if not known:
            return NONE  # it appeared: nothing is known of writes to it
        self.pending.read_only[units] = False
        return units if self._by_block else np.repeat(units, updates)

    # --- sending ----------------------------------------------------------------------------------

    def send(self, units: Units) -> Sent:
        """Send units and wait until they have arrived, verified."""
        before, begin = self.transport.link_bytes, time.monotonic()
        held = self._queue(units)
        still = self.pending.waiting.copy()
        still[units] = False
        self.structure.send_metadata(self.units.files(np.flatnonzero(still)))
        done = self._wait(held)
        end = time.monotonic()
        if end - self._synced >= SYNC_SECONDS:
            # Not waited for: it goes on while the application writes, and keeps the last one short.
            self.transport.sync()
            self._synced = end
        return Sent(self.transport.link_bytes - before, end - begin - done.sync_s)

    def send_all(self, *, final: bool = False) -> Units:
        """Look, and send all that is left, durably; return what was sent.

        This is the final copy; while the application runs, a rehearsal of it.
        """
        self._frozen, self._keep_data = final, True
        try:
            self.pending.written(self.look())
            units = self.pending.ranked(everything=True)
            held = self._queue(units)
        finally:
            self._keep_data = False
            self._read.clear()
        self.structure.send_metadata(())
        self.transport.sync()
        self._wait(held)
        self.pending.sent(units)
        return units

    def reset_spent(self) -> None:
        """Begin to count anew where the time goes."""
        self.spent = Spent()

    def _queue(self, units: Units) -> list[tuple[Entry, Changed]]:
        """Queue units, and the verification of what will be there; return what to hold then."""
        held: list[tuple[Entry, Changed]] = []
        for id, index in self.units.by_file(units):
            held += self._queue_file(self.tree.entry(id), index)
        if self._resized:
            # The size changed, or nothing is there yet, and no content has to be sent.
            waiting = self.units.files(np.flatnonzero(self.pending.waiting))
            for id in self._resized - waiting:
                if id in self.units:
                    held += self._queue_file(self.tree.entry(id), NONE)
        return held

    def _wait(self, held: list[tuple[Entry, Changed]]) -> Acknowledged:
        """Wait for the destination, and note what it holds then."""
        done = self.transport.barrier()
        self.spent.verify += done.verify_s
        self.spent.sync += done.sync_s
        self.spent.link += max(done.waited_s - done.verify_s - done.sync_s, 0.0)
        self.remarks += [note for note in done.notes if note not in self.remarks]
        for entry, changed in held:
            self._blocks.hold(entry, changed.index, changed.digests, changed.size)
        return done

    def _queue_file(
        self, entry: Entry, index: npt.NDArray[np.int64]
    ) -> list[tuple[Entry, Changed]]:
        known = self._read.pop(entry.id, None)
        if known is not None and np.array_equal(known.index, index):
            self._queue_part(entry, known, self._blocks.size_there(entry))
            return [(entry, known)]
        block_bytes = self._blocks.block_bytes(entry)
        if not self._by_block and len(index):
            size = int(self.pending.cost_bytes[self.units.of(entry.id)[0]])
            index = np.arange(-(-size // block_bytes))
        held: list[tuple[Entry, Changed]] = []
        size_there = self._blocks.size_there(entry)
        at_once = max(READ_BYTES // block_bytes, 1)
        for first in range(0, max(len(index), 1), at_once):
            try:
                part = self._blocks.read(entry, index[first : first + at_once])
            except FileNotFoundError:
                if self._frozen:
                    raise
                self._missed.add(entry.id)
                return held
            self.spent.read += part.seconds
            self._queue_part(entry, part, size_there)
            size_there = part.size
            held.append((entry, part))
        return held

    def _queue_part(self, entry: Entry, part: Changed, size_there: int) -> None:
        path = entry.path
        self.structure.make(entry)
        if part.size != size_there:
            self.transport.truncate(path, part.size)
        self._resized.discard(entry.id)
        for offset, length, data in part.pieces():
            if data is None:
                self.transport.zero(path, offset, length)
            else:
                self.transport.write(path, offset, data)
        self.transport.verify(path, part.size, part.block_bytes, part.index, part.digests)
        self.structure.touched.add(entry.id)
