"""Which units a file has: itself as a whole, or its blocks; and which of them differ.

Invariant: the units of a file follow one another, so that a block's unit is its number plus the
file's first one.  A file that outgrows its places gets others, and takes along what was known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from precopy.migration.pending import Pending, Units
from precopy.migration.source.blocks import Changed
from precopy.migration.source.tree import Entry

NONE: Units = np.zeros(0, np.int64)


@dataclass
class _File:
    """The units of one file."""

    first: int
    places: int
    seen: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 16), np.uint8))


class FileUnits:
    """The units of all files.

    Parameters
    ----------
    pending : Pending
        Their columns.
    by_block : bool
        Whether a unit is a block.
    history : mapping of bytes to int, optional
        Updates per path before the migration, from a log; a path with none is read-only. Without
        it every file is read-only until it is found written.
    """

    def __init__(
        self, pending: Pending, by_block: bool, history: Mapping[bytes, int] | None = None
    ) -> None:
        self._pending, self._by_block, self._history = pending, by_block, history
        self._files: dict[int, _File] = {}
        self._file_of: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def __contains__(self, id: int) -> bool:
        return id in self._files

    def of(self, id: int) -> Units:
        """Return all units of a file."""
        file = self._files[id]
        return np.arange(file.first, file.first + file.places)

    def files(self, units: Units) -> set[int]:
        """Return the ids of the files that units belong to."""
        return set(np.flatnonzero(np.bincount(self._file_of[units])).tolist())

    def by_file(self, units: Units) -> list[tuple[int, npt.NDArray[np.int64]]]:
        """Return the places of units in their files, in the order in which the files come first."""
        files = self._file_of[units]
        order = np.argsort(files, kind="stable")
        starts = np.flatnonzero(np.diff(files[order], prepend=-1))
        groups = np.split(order, starts[1:]) if len(order) else []
        groups.sort(key=lambda places: int(places[0]))
        found = []
        for places in groups:
            id = int(files[places[0]])
            found.append((id, np.sort(units[places]) - self._files[id].first))
        return found

    def gone(self, id: int) -> None:
        """Forget a file."""
        if id in self._files:
            self._pending.gone(self.of(id))
            del self._files[id]

    def changed(self, entry: Entry, changed: Changed, *, whole: bool, resized: bool) -> Units:
        """Let the changed units of a file wait; return those that are written since last seen.

        Parameters
        ----------
        entry : Entry
        changed : Changed
            What differs from what the destination holds.
        whole : bool
            Whether all of the file was looked at.
        resized : bool
            Whether its size differs.
        """
        file = self._room_for(entry, changed)
        pending = self._pending
        if not self._by_block:
            waits = bool(len(changed.index)) or resized
            pending.cost_bytes[file.first] = changed.size
            pending.waiting[file.first] = waits
            return np.arange(file.first, file.first + waits)
        units: Units = file.first + changed.index
        if whole:
            pending.waiting[file.first : file.first + file.places] = False
        pending.waiting[units] = True
        sizes = changed.size - changed.index * changed.block_bytes
        pending.cost_bytes[units] = np.minimum(sizes, changed.block_bytes)
        if not changed.digests.any():
            return units  # nothing was read: which of them were written is not known
        if not len(file.seen):
            file.seen = np.zeros((file.places, 16), np.uint8)
        new = (file.seen[changed.index] != changed.digests).any(axis=1)
        file.seen[changed.index] = changed.digests
        written: Units = units[new]
        return written

    def _room_for(self, entry: Entry, changed: Changed) -> _File:
        """Return a file's units, as many as it needs; units that move keep what is known."""
        needed = -(-changed.size // changed.block_bytes) if self._by_block else 1
        file = self._files.get(entry.id)
        if file is not None and needed <= file.places:
            return file
        places = needed if file is None else 2 * needed
        updates = None if self._history is None else self._history.get(entry.path, 0)
        units = self._pending.add(
            np.zeros(places, np.int64),
            np.full(places, not updates),
            np.full(places, 0 if self._by_block else updates or 0),
        )
        self._pending.waiting[units] = False
        new = _File(int(units[0]) if places else 0, places)
        if file is not None:
            self._pending.moved(file.first, new.first, file.places)
            if len(file.seen):
                new.seen = np.zeros((places, 16), np.uint8)
                new.seen[: len(file.seen)] = file.seen
        self._files[entry.id] = new
        if len(self._file_of) < len(self._pending):
            # All that `Pending` has room for, which doubles: a copy per file would be quadratic.
            more = np.zeros(len(self._pending.waiting) - len(self._file_of), np.int64)
            self._file_of = np.concatenate([self._file_of, more])
        self._file_of[units] = entry.id
        return new
