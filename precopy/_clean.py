"""When a recording leaves files alone: the stretches of cycles for which one send of a file lasts.

A *piece* is a name from one row that concerns it to the next: a file of one size that nothing is
done to. A *run* is pieces that a rename joins, since a clean file stays clean when it is renamed;
cut into cycles, it is what one send keeps clean. Invariant: whatever the policy, each end of a
cycle at which a file is clean lies in exactly one run, after a send that was made in that run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precopy import _check
from precopy.recorded import Recorded
from precopy.replay import Replay
from precopy.run import Cycle

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pieces:
    """All pieces of a recording that is replayed for a number of cycles.

    Attributes
    ----------
    name : int64[k]
        The file id of each.
    size_bytes : int64[k]
        Its size.
    first, end : int64[k]
        It exists at the ends of the cycles first … end - 1; 0 is the begin of the replay.
    clean_from : int64[k]
        The first of them at which a send can have made it clean, of all in its run.
    run : int64[k]
        The piece that begins its run.
    cycles : int
        How many cycles there are.
    """

    name: Ints
    size_bytes: Ints
    first: Ints
    end: Ints
    clean_from: Ints
    run: Ints
    cycles: int

    def present_bytes(self, first: int, end: int) -> Floats:
        """Return what each piece adds to the existing bytes, summed over ends first … end - 1."""
        ends = np.minimum(self.end, end) - np.maximum(self.first, first)
        return self._times(ends)

    def clean_bytes(self, first: int, end: int) -> Floats:
        """Return what of that a send at the first occasion would keep clean."""
        ends = np.minimum(self.end, end) - np.maximum(
            np.maximum(self.first, self.clean_from), first
        )
        return self._times(ends)

    def _times(self, ends: Ints) -> Floats:
        byte_ends: Floats = np.multiply(self.size_bytes, np.maximum(ends, 0), dtype=np.float64)
        return byte_ends

    def last(self) -> Ints:
        """Return where the run of each piece ends: the end of its last piece."""
        last = np.zeros(len(self.run), np.int64)
        np.maximum.at(last, self.run, self.end)
        return last[self.run]

    def cost_bytes(self) -> Floats:
        """Return, at the piece that begins a run, the least that a send in the run costs."""
        # What is sent at the begin of a cycle has the size of the end before it, and a send that
        # keeps anything clean is made by the begin of the run's last cycle.
        return self._least(self.first <= self.last() - 2)

    def least_bytes(self) -> Floats:
        """Return, at the piece that begins a run, the least size in it, also before its first end.

        Only a rename can change a size within a run.
        """
        return self._least(self.first <= self.last() - 1)

    def _least(self, which: npt.NDArray[np.bool_]) -> Floats:
        which = which & (self.end > self.first)
        least = np.full(len(self.run), np.inf)
        np.minimum.at(least, self.run[which], self.size_bytes[which].astype(np.float64))
        return least


def lap_cycles(app: Recorded, cycle: Cycle) -> float:
    """Return how many cycles it takes to go through a recording once."""
    if cycle.in_time:
        return app.writes.duration_ns / cycle_ns(cycle)
    return app.writes.updates / cycle.writes


def cycle_ns(cycle: Cycle) -> int:
    """Return how long a cycle in time lasts, in whole nanoseconds."""
    return round(cycle.seconds * 1e9)


def pieces(app: Recorded, cycle: Cycle, cycles: int, start_s: float = 0.0) -> Pieces:
    """Return the pieces of a recording that is replayed for so many cycles, again and again.

    Parameters
    ----------
    app : Recorded
    cycle : Cycle
    cycles : int
        How many; what happens later does not count.
    start_s : float
        Where in the recording the replay begins, in seconds.
    """
    start_ns = round(start_s * 1e9)
    rows = _unrolled(app, cycle, cycles, start_ns)
    entry = _entries(app, rows)
    return _joined(entry, cycles)


@dataclass(frozen=True)
class _Rows:
    """Rows of all laps, in their order, each with its cycle; 0 is before the replay begins."""

    file_id: Ints
    from_id: Ints
    size_bytes: Ints
    written: npt.NDArray[np.bool_]  # whether bytes are known to be written, so a rename is none
    cycle: Ints


def _unrolled(app: Recorded, cycle: Cycle, cycles: int, start_ns: int) -> _Rows:
    writes = app.writes
    wrote = np.zeros(len(writes), np.bool_)
    if writes.write_bytes is not None:
        wrote = writes.write_bytes > 0
    back_id, _, _, back_size, _ = Replay.of(app.files, writes).recording[2]
    none = np.full(len(back_id), -1)
    lap = (
        np.concatenate([back_id, writes.file_id]),
        np.concatenate([none, column(writes.from_id)]),
        np.concatenate([back_size, column(writes.size_bytes)]),
        np.concatenate([none > 0, wrote]),
    )
    nothing = np.zeros(len(back_id), np.int64)
    time_ns = np.concatenate([nothing, column(writes.time_ns)])
    count = np.concatenate([nothing, column(writes.count)])
    first = len(back_id)  # the first lap begins without what leads back
    laps = int(cycles / lap_cycles(app, cycle) + start_ns / writes.duration_ns) + 2
    columns = [np.tile(column, laps)[first:] for column in lap]
    at = (np.repeat(np.arange(laps), len(time_ns)) * writes.duration_ns + np.tile(time_ns, laps))[
        first:
    ]
    before = at < start_ns
    if cycle.in_time:
        number = (at - start_ns) // cycle_ns(cycle) + 1
    else:
        counted = np.where(before, 0, np.tile(count, laps)[first:])
        number = (np.cumsum(counted) - counted) // cycle.writes + 1
    number = np.where(before, 0, number)
    keep = number <= cycles
    file_id, from_id, size_bytes, written = (column[keep] for column in columns)
    return _Rows(file_id, from_id, size_bytes, written, number[keep])


@dataclass(frozen=True)
class _Entries:
    """What happens to one name: sorted by name, then in the order of the rows."""

    name: Ints
    cycle: Ints
    size_bytes: Ints  # afterwards, -1: gone
    source: Ints  # for what a clean rename brought here: the entry that took the old name away


def _entries(app: Recorded, rows: _Rows) -> _Entries:
    names = len(app.files)
    begin = np.where(app.present, app.files.size_bytes, -1)
    count = len(rows.file_id)
    moved = np.flatnonzero(rows.from_id >= 0)
    name = np.concatenate([np.arange(names), rows.file_id, rows.from_id[moved]])
    cycle = np.concatenate([np.zeros(names, np.int64), rows.cycle, rows.cycle[moved]])
    size = np.concatenate([begin, rows.size_bytes, np.full(len(moved), -1)])
    sequence = np.concatenate([np.full(names, -1), np.arange(count), moved])
    source = np.full(len(name), -1)
    takes_over = ~rows.written[moved] & (rows.cycle[moved] > 0) & (rows.size_bytes[moved] >= 0)
    source[names + moved] = np.where(takes_over, names + count + np.arange(len(moved)), -1)
    by_name = np.lexsort((sequence, name))
    place = np.empty_like(by_name)
    place[by_name] = np.arange(len(by_name))
    source = source[by_name]
    source[source >= 0] = place[source[source >= 0]]
    return _Entries(name[by_name], cycle[by_name], size[by_name], source)


def _joined(entry: _Entries, cycles: int) -> Pieces:
    count = len(entry.name)
    end = np.full(count, cycles + 1)
    follows = np.flatnonzero(entry.name[1:] == entry.name[:-1])
    end[follows] = entry.cycle[follows + 1]
    # What the entry that took the old name away ended is the piece before it, if there was a file.
    run = np.arange(count)
    linked = np.flatnonzero(entry.source >= 0)
    before = entry.source[linked] - 1
    existed = entry.size_bytes[before] >= 0
    run[linked[existed]] = before[existed]
    while True:
        further = run[run]
        if np.array_equal(further, run):
            break
        run = further
    kept = entry.size_bytes >= 0
    index = np.cumsum(kept) - 1
    return Pieces(
        name=entry.name[kept],
        size_bytes=entry.size_bytes[kept],
        first=entry.cycle[kept],
        end=end[kept],
        clean_from=entry.cycle[run][kept] + 1,
        run=index[run[kept]],
        cycles=cycles,
    )


def column(values: Ints | None) -> Ints:
    """Return a column that every trace in time has."""
    assert values is not None
    return values


def check(app: object, cycle: object) -> tuple[Recorded, Cycle]:
    """Return a recording and a cycle that belong together, or raise."""
    if not isinstance(app, Recorded):
        raise TypeError(f"app: expected a Recorded, got {_check.shown(app)}")
    if not isinstance(cycle, Cycle):
        raise TypeError(f"cycle: expected a Cycle, got {_check.shown(cycle)}")
    if not cycle.in_time and not app.writes.updates:
        raise ValueError(
            f"cycle: expected Cycle.of_seconds for a recording without an update, got {cycle!r}"
        )
    return app, cycle
