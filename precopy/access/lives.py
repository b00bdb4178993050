"""What happened to one file name after the other: from a log's sums to rows in time.

A log has for each file and bucket of time how often it was written, sizes at some times, and when
files were renamed.  `Life` makes of what concerns one name its rows: a write per bucket, a rename,
a death.  Invariants: each update is in one row; of one bucket what was written before a rename
comes before it; a size is one that was seen after the row and before the next one, else it is
estimated, and counted as such.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

GONE, UNKNOWN = -1, -2
NOBODY = -1

WRITE, MOVE, DEATH = 0, 1, 2
"""What a row is, in the order of those of one time."""


class Row(NamedTuple):
    """What is one row of a `precopy.WriteTrace`; ``writes`` are the write calls among `updates`."""

    time_ns: int
    kind: int
    turn: int
    file: int
    updates: int
    writes: int
    write_bytes: int
    size_bytes: int
    source: int


class Written(NamedTuple):
    """A row of the log's table ``write_bucket``, of all applications that are asked for."""

    bucket: int
    writes: int
    changes: int
    bytes_written: int
    last_ns: int


class Moved(NamedTuple):
    """A rename of a file, or several of one bucket that are alike; `times` is how often."""

    time_ns: int
    turn: int
    old: int
    new: int
    times: int


class Sample(NamedTuple):
    """How large a file was, `GONE`: it did not exist."""

    at_ns: int
    size_bytes: int


@dataclass
class _Event:
    """A row in the making."""

    time_ns: int
    kind: int
    turn: int = 0
    updates: int = 0
    writes: int = 0
    write_bytes: int = 0
    size_bytes: int = UNKNOWN
    source: int = NOBODY
    bucket: int = -1
    leaves: bool = False  # the name was renamed away: no row of this one


@dataclass
class Life:
    """What is known of one name.

    Parameters
    ----------
    file : int
        Its id.
    bucket_ns : int
        Width of a bucket in nanoseconds.
    written, samples, moves : list
        What the log says, each in the order of time.
    present : bool or None
        Whether it existed at the begin, where something else than `samples` tells.
    """

    file: int
    bucket_ns: int
    written: list[Written] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    moves: list[Moved] = field(default_factory=list)
    present: bool | None = None
    born_ns: int = 0
    size_at_begin: int = 0
    estimated: int = 0

    def rows(self, sizes: dict[tuple[int, int], int]) -> Iterator[Row]:
        """Yield the rows; `sizes` has what is known of renames, by file and turn.

        Afterwards `present`, `size_at_begin` and `estimated` are known.
        """
        events = self._events()
        self._see(events)
        self._begin(events)
        self._estimate(events, sizes)
        for event in events:
            if not event.leaves:
                yield Row(
                    event.time_ns, event.kind, event.turn, self.file, event.updates, event.writes,
                    event.write_bytes, event.size_bytes, event.source,
                )  # fmt: skip

    def arrivals(self) -> Iterator[tuple[int, int]]:
        """Yield ``(turn, size)`` of renames to this name, where the size is known."""
        times = [at for at, _ in self.samples]
        ends = [row.last_ns for row in self.written]
        arrive = [move for move in self.moves if move.new == self.file]
        for number, move in enumerate(arrive):
            first = bisect_left(times, move.time_ns)
            last = len(times)
            if number + 1 < len(arrive):
                last = bisect_left(times, arrive[number + 1].time_ns)
            written = bisect_right(ends, move.time_ns)
            if written < len(ends):
                last = min(last, bisect_right(times, ends[written]))
            if first < last and self.samples[first].size_bytes >= 0:
                yield move.turn, self.samples[first].size_bytes

    # --- from sums to events -------------------------------------------------------------------

    def _events(self) -> list[_Event]:
        """Return writes and renames in their order, the writes of a bucket around its renames."""
        events: list[_Event] = []
        number = 0
        for row in self.written:
            begin = row.bucket * self.bucket_ns
            while number < len(self.moves) and self.moves[number].time_ns < begin:
                events.append(self._move(self.moves[number]))
                number += 1
            first = number
            while number < len(self.moves) and self.moves[number].time_ns < begin + self.bucket_ns:
                number += 1
            events.extend(self._bucket(row, self.moves[first:number]))
        events.extend(map(self._move, self.moves[number:]))
        events.sort(key=lambda event: (event.time_ns, event.kind, event.turn))
        return events

    def _move(self, move: Moved) -> _Event:
        if move.new == self.file:
            return _Event(move.time_ns, MOVE, move.turn, move.times, source=move.old)
        return _Event(move.time_ns, MOVE, move.turn, leaves=True)

    def _bucket(self, row: Written, moves: Sequence[Moved]) -> Iterator[_Event]:
        left = sum(move.times for move in moves if move.old == self.file)
        arrived = sum(move.times for move in moves if move.new == self.file)
        rest = max(0, row.writes + row.changes - left - arrived)
        yield from map(self._move, moves)
        end = row.last_ns or (row.bucket + 1) * self.bucket_ns - 1
        if not moves:
            yield self._write(row.bucket, end, rest, row.writes, row.bytes_written)
            return
        # What comes after the last rename is one part of as many as the renames make.
        after = 1.0 / (1 + sum(max(1, move.times) for move in moves))
        share = after if end > moves[-1].time_ns else 0.0
        late = [round(share * value) for value in (rest, row.writes, row.bytes_written)]
        early = [rest - late[0], row.writes - late[1], row.bytes_written - late[2]]
        if early[0] > 0:
            yield self._write(row.bucket, moves[0].time_ns, early[0] + left, *early[1:])
        elif left:
            gone = next(move for move in moves[::-1] if move.old == self.file)
            yield _Event(gone.time_ns, DEATH, updates=left, size_bytes=GONE, bucket=row.bucket)
        if late[0] > 0:
            yield self._write(row.bucket, end, *late)

    def _write(self, bucket: int, time_ns: int, updates: int, writes: int, size: int) -> _Event:
        return _Event(time_ns, WRITE, 0, updates, writes, size, bucket=bucket)

    # --- sizes that were seen ------------------------------------------------------------------

    def _see(self, events: list[_Event]) -> None:
        """Give the events the sizes that were seen after them, and add deaths that were seen."""
        times = [at for at, _ in self.samples]
        added: list[_Event] = []
        for number, event in enumerate(events):
            until = events[number + 1].time_ns if number + 1 < len(events) else None
            first = bisect_left(times, event.time_ns)
            last = len(times) if until is None else bisect_left(times, until)
            seen = self.samples[first:last]
            if not seen or event.kind == DEATH:
                continue
            if event.leaves:
                if until is None and seen[-1].size_bytes >= 0:  # made again, and never written
                    at, size = seen[-1]
                    added.append(_Event(at, WRITE, size_bytes=size))
                continue
            sizes = [size for _, size in seen if size >= 0]
            if seen[-1].size_bytes >= 0:
                event.size_bytes = sizes[-1]
                continue
            dead = self._died(seen)
            if event.kind == WRITE and event.bucket == dead // self.bucket_ns:
                event.kind, event.time_ns, event.size_bytes = DEATH, dead, GONE
                continue
            event.size_bytes = sizes[-1] if sizes else UNKNOWN
            added.append(_Event(dead, DEATH, size_bytes=GONE))
        events.extend(added)
        events.sort(key=lambda event: (event.time_ns, event.kind, event.turn))

    @staticmethod
    def _died(seen: Sequence[Sample]) -> int:
        """When it was first found gone, of samples of which the last says so."""
        dead = seen[-1].at_ns
        for at, size in seen[::-1]:
            if size >= 0:
                break
            dead = at
        return dead

    def _begin(self, events: list[_Event]) -> None:
        """Find out whether the name existed at the begin, and with what size."""
        first = events[0] if events else None
        before = [
            sample for sample in self.samples if first is None or sample.at_ns < first.time_ns
        ]
        if self.present is None:
            if before:
                self.present = before[0].size_bytes >= 0
            elif first is None:
                self.present = False
            else:
                self.present = first.leaves
        if self.present and before and before[0].size_bytes >= 0:
            self.size_at_begin = before[0].size_bytes
        elif self.present:
            self.size_at_begin = UNKNOWN

    # --- sizes that were not seen --------------------------------------------------------------

    def _estimate(self, events: list[_Event], sizes: dict[tuple[int, int], int]) -> None:
        """Fill in the sizes that were never seen, by what was written between those that were."""
        for event in events:
            if event.kind == MOVE and not event.leaves and event.size_bytes == UNKNOWN:
                event.size_bytes = sizes.get((self.file, event.turn), UNKNOWN)
        if self.size_at_begin == UNKNOWN:
            self._estimate_begin(events)
        size, start = self.size_at_begin if self.present else 0, 0
        born = not self.present
        for number, event in enumerate(events):
            if event.leaves or event.kind == DEATH:
                target = sizes.get((NOBODY, event.turn), UNKNOWN) if event.leaves else UNKNOWN
                self._fill(events[start:number], size, target, born)
                size, start, born = 0, number + 1, True
            elif event.size_bytes != UNKNOWN:
                self._fill(events[start:number], size, event.size_bytes, born, event.write_bytes)
                size, start, born = event.size_bytes, number + 1, False
            elif event.kind == MOVE:  # as large as it was under the old name
                self._fill(events[start:number], size, UNKNOWN, born)
                size, start, born = UNKNOWN, number + 1, False
        self._fill(events[start:], size, UNKNOWN, born)

    def _estimate_begin(self, events: list[_Event]) -> None:
        """Take off the first size that was seen what was appended before."""
        self.estimated += 1
        known = next((n for n, event in enumerate(events) if event.size_bytes >= 0), None)
        if known is None:
            self.size_at_begin = 0
            return
        later = [event for event in events[known:] if event.size_bytes >= 0]
        grown = later[-1].size_bytes - later[0].size_bytes
        written = sum(event.write_bytes for event in events[known + 1 :])
        size = later[0].size_bytes
        if grown > 0 and grown >= written // 2:  # it is appended to
            size = max(0, size - sum(event.write_bytes for event in events[: known + 1]))
        self.size_at_begin = size

    def _fill(
        self, events: list[_Event], size: int, target: int, born: bool, more: int = 0
    ) -> None:
        """Estimate sizes of events between a size and the next one that was seen."""
        total = sum(event.write_bytes for event in events) + more
        so_far = 0
        for event in events:
            so_far += event.write_bytes
            if size == UNKNOWN:
                continue
            self.estimated += 1
            if target == UNKNOWN:
                event.size_bytes = size + so_far if born else size
            elif target > size and total > 0:
                event.size_bytes = size + (target - size) * so_far // total
            else:
                event.size_bytes = size if not born else min(size + so_far, max(target, size))
