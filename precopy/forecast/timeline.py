"""A recording as time goes: who lives when, and what is written between two moments.

A recording goes on at its beginning when it is over, so moments may lie behind its end.  A *life*
is a file from its birth to its death, under whatever names: a rename carries it on.  Invariant: in
one recording lives are numbered, the first ones being those that exist at its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precopy.access.schema import BUCKET_NS
from precopy.recorded import Recorded
from precopy.replay import Replay
from precopy.trace import GONE, NO_FILE

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Written:
    """What was written between two moments to files that still exist at the second one.

    Attributes
    ----------
    file_id : int64[k]
        Their names then.
    size_bytes : int64[k]
        Their sizes then.
    unsent_bytes : int64[k]
        What was written to each between the moments.
    born : bool[k]
        Which did not exist at the first moment.
    """

    file_id: Ints
    size_bytes: Ints
    unsent_bytes: Ints
    born: Flags

    def cost_bytes(self, cost: str, overhead_bytes: int) -> Ints:
        """Return what sending each costs, if all was sent up to the first moment."""
        if cost == "whole":
            return self.size_bytes
        delta = np.minimum(self.size_bytes, self.unsent_bytes + overhead_bytes)
        return np.where(self.born, self.size_bytes, delta)


class Timeline:
    """The rows of a recording with the lives that they belong to.

    A log adds up what is written to a file in 100 ms, and knows when the last of that was.  Windows
    may be shorter (`between`): there the updates of a row are evenly apart.

    Parameters
    ----------
    app : Recorded
    resolution_ns : int
        How far the updates of a row may be apart.

    Attributes
    ----------
    time_ns, file_id, count, write_bytes, size_bytes, from_id : int64[m]
        As in the trace.
    duration_ns : int
    present : bool[n]
        Which files exist at the beginning.
    initial_bytes : int64[n]
        Their sizes then.
    """

    def __init__(self, app: Recorded, resolution_ns: int = BUCKET_NS) -> None:
        writes = app.writes
        assert writes.time_ns is not None
        assert writes.size_bytes is not None
        assert writes.count is not None
        assert writes.from_id is not None
        self.time_ns, self.file_id = writes.time_ns, writes.file_id
        self.count, self.size_bytes, self.from_id = writes.count, writes.size_bytes, writes.from_id
        nothing = np.zeros(len(writes), np.int64)
        self.write_bytes = nothing if writes.write_bytes is None else writes.write_bytes
        self.duration_ns = writes.duration_ns
        self.present = app.present
        self.initial_bytes = app.files.size_bytes
        self._resolution_ns = resolution_ns
        self._replay = Replay.of(app.files, writes)
        several = (self.size_bytes != GONE) & (resolution_ns > 0)
        self._count = np.maximum(np.where(several, self.count, 1), 1)
        self._step_ns = np.maximum(resolution_ns // self._count, 1)
        self._life, self._born_ns, self._died_ns, self._writes = _lives(self)

    def __len__(self) -> int:
        return len(self.time_ns)

    def between(self, first_ns: int, last_ns: int) -> Written:
        """Return what is written from one moment to another, both since the beginning.

        What is written before and after the end of the recording counts apart, as of two files.
        """
        laps = range(first_ns // self.duration_ns, (last_ns - 1) // self.duration_ns + 1)
        parts = []
        for lap in laps:
            begin = max(first_ns - lap * self.duration_ns, 0)
            end = min(last_ns - lap * self.duration_ns, self.duration_ns)
            parts.append(self._within(begin, end))
        if len(parts) == 1:
            return parts[0]
        columns = ("file_id", "size_bytes", "unsent_bytes", "born")
        joined = [np.concatenate([getattr(part, name) for part in parts]) for name in columns]
        return Written(*joined) if parts else self._within(0, 0)

    def _within(self, begin: int, end: int) -> Written:
        first, last = np.searchsorted(self.time_ns, [begin, end + self._resolution_ns])
        rows = np.arange(first, last)
        count, step = self._count[rows], self._step_ns[rows]
        # A row's updates are `step` apart, the last one at its time; so many from a moment on:
        since, after = (
            np.clip((self.time_ns[rows] - moment) // step + 1, 0, count) for moment in (begin, end)
        )
        inside = (since > after) & (self._died_ns[self._life[rows]] >= end)
        rows, part = rows[inside], ((since - after) / count)[inside]
        # Back to front, so that the first of a life that is found is its last row.
        life, at, inverse = np.unique(
            self._life[rows][::-1], return_index=True, return_inverse=True
        )
        last_row = rows[len(rows) - 1 - at]
        unsent = np.bincount(inverse, (self.write_bytes[rows] * part)[::-1], len(life))
        dirty = np.zeros(len(life), np.bool_)
        dirty[inverse[self._writes[rows][::-1]]] = True
        born = self._born_ns[life] >= begin
        dirty |= born
        last_row = last_row[dirty]
        return Written(
            self.file_id[last_row],
            self.size_bytes[last_row],
            np.ceil(unsent[dirty]).astype(np.int64),
            born[dirty],
        )

    def state(self, at_ns: int) -> tuple[Flags, Ints]:
        """Return which files exist at a moment of the recording, and their sizes, 0 elsewhere."""
        size = self._replay.sizes(self._replay.first_row(at_ns))
        return size != GONE, np.maximum(size, 0)

    def rows_back(self) -> tuple[Ints, Ints, Ints]:
        """Return what leads from the end to the beginning: file ids, sizes, bytes written."""
        file_id, _, written, size, _ = self._replay.recording[2]
        return file_id, size, written


def _lives(line: Timeline) -> tuple[Ints, Ints, Ints, Flags]:
    """Return each row's life, when each life began and ended, and which rows write content."""
    files = len(line.present)
    file_id, from_id, size, time_ns = line.file_id, line.from_id, line.size_bytes, line.time_ns
    renames = from_id != NO_FILE
    odd = np.zeros(files, np.bool_)  # names that die or are renamed: one by one; others need none
    odd[file_id[(size == GONE) | renames]] = True
    odd[from_id[renames]] = True
    life = file_id.copy()
    writes = (size != GONE) & (~renames | (line.write_bytes > 0))
    none = files  # whose death is told and who did not live
    born = [-1] * (files + 1)
    died = [_NEVER] * (files + 1)
    first = np.full(files, _NEVER, np.int64)
    np.minimum.at(first, file_id, time_ns)
    for name in np.flatnonzero(~odd & ~line.present & (first < _NEVER)).tolist():
        born[name] = int(first[name])
    now: dict[int, int] = {name: name for name in np.flatnonzero(odd & line.present).tolist()}
    for row in np.flatnonzero(odd[file_id]).tolist():
        name, old, at = int(file_id[row]), int(from_id[row]), int(time_ns[row])
        if size[row] == GONE:
            life[row] = now.pop(name) if name in now else none
            died[life[row]] = at
            continue
        if old in now:
            if name in now:
                died[now[name]] = at
            now[name] = now.pop(old)
        else:  # also where what was renamed is not known: a write
            writes[row] = True
            if name not in now:
                now[name] = len(born)
                born.append(at)
                died.append(_NEVER)
        life[row] = now[name]
    return life, np.array(born, np.int64), np.array(died, np.int64), writes
