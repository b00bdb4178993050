"""What happened to one file name: from a log's sums to rows in time.

A log has for each file and bucket of time how often it was written, sizes at some times, and when
files were renamed.  `Life` makes of what concerns one name its rows: a write per bucket, a rename,
a death.  Invariants: each update is in one row; of one bucket what was written before a rename
comes before it; a size that was not seen between a row and the next is estimated, and counted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

GONE, UNKNOWN = -1, -2
NOBODY = -1

WRITE, MOVE, DEATH = 0, 1, 2
"""What a row is, in the order of those of one time and turn."""

_LATE_NS = 25_000_000  # of the clock that tells first uses, behind the one that tells renames
_LAST = 1 << 62  # the turn of what comes after the renames of its time


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
    """A rename of a file, or several of one bucket that are alike: the last of them.

    `gone_ns` is when the old name was gone; `times` and `left` are how many updates of the new name
    and of the old one it stands for.
    """

    time_ns: int
    first_ns: int
    gone_ns: int
    turn: int
    old: int
    new: int
    times: int
    left: int
    size_bytes: int


class Sample(NamedTuple):
    """How large a file was, `GONE`: it did not exist."""

    at_ns: int
    size_bytes: int


@dataclass
class _Event:
    """A row in the making."""

    time_ns: int
    kind: int
    begin_ns: int  # of what it stands for
    turn: int = 0
    updates: int = 0
    writes: int = 0
    write_bytes: int = 0
    size_bytes: int = UNKNOWN
    source: int = NOBODY
    leaves: bool = False  # the name was renamed away: the row is the other name's


class _Point(NamedTuple):
    """A size that was seen: after how many writes of some, and after how many bytes of them."""

    place: float
    written: float
    size_bytes: int


@dataclass
class Life:
    """What is known of one name.

    Parameters
    ----------
    file : int
        Its id.
    bucket_ns : int
        Width of a bucket in nanoseconds.
    first_ns : int
        When it was first used.
    written, samples, moves : list
        What the log says, each in the order of time.
    present : bool or None
        Whether it existed at the begin, where something else than `samples` tells.
    """

    file: int
    bucket_ns: int
    first_ns: int = 0
    written: list[Written] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    moves: list[Moved] = field(default_factory=list)
    present: bool | None = None
    size_at_begin: int = 0
    estimated: int = 0

    def rows(self, sizes: Mapping[int, int]) -> Iterator[Row]:
        """Yield the rows; `sizes` has the size of what was renamed, by turn, where it is known.

        Afterwards `present`, `size_at_begin` and `estimated` are known.
        """
        events = self._events()
        self._add_deaths(events)
        self._find_begin(events, sizes)
        self._find_sizes(events, sizes)
        for event in events:
            if not event.leaves:
                yield Row(
                    event.time_ns, event.kind, event.turn, self.file, event.updates, event.writes,
                    event.write_bytes, event.size_bytes, event.source,
                )  # fmt: skip

    def arrivals(self) -> Iterator[tuple[int, int]]:
        """Yield ``(turn, size)`` of renames to this name, where the size was seen."""
        times = [at for at, _ in self.samples]
        ends = [self._end(row) for row in self.written]
        arrive = [move for move in self.moves if move.new == self.file]
        for number, move in enumerate(arrive):
            first, last = bisect_left(times, move.time_ns), len(times)
            if number + 1 < len(arrive):
                last = bisect_left(times, arrive[number + 1].first_ns)
            after = bisect_right(ends, move.time_ns)
            if after < len(ends):
                begin = self.written[after].bucket * self.bucket_ns
                last = min(last, bisect_right(times, max(begin - 1, move.time_ns)))
            if move.size_bytes >= 0:
                yield move.turn, move.size_bytes
            elif first < last and self.samples[first].size_bytes >= 0:
                yield move.turn, self.samples[first].size_bytes

    def _end(self, row: Written) -> int:
        return row.last_ns or (row.bucket + 1) * self.bucket_ns - 1

    # --- from sums to events -------------------------------------------------------------------

    def _events(self) -> list[_Event]:
        """Return writes and renames in their order, the writes of a bucket around its renames."""
        events: list[_Event] = []
        number = 0
        for row in self.written:
            begin = row.bucket * self.bucket_ns
            first = number
            while number < len(self.moves) and self.moves[number].time_ns < begin + self.bucket_ns:
                number += 1
            moves = self.moves[first:number]
            inside = [move for move in moves if move.time_ns >= begin]
            events.extend(map(self._move, moves))
            events.extend(self._bucket(row, inside))
        events.extend(map(self._move, self.moves[number:]))
        events.sort(key=_order)
        return events

    def _move(self, move: Moved) -> _Event:
        if move.new == self.file:
            return _Event(
                move.time_ns, MOVE, move.first_ns, move.turn, move.times, source=move.old
            )  # fmt: skip
        return _Event(move.time_ns, MOVE, move.first_ns, move.turn, leaves=True)

    def _bucket(self, row: Written, moves: Sequence[Moved]) -> Iterator[_Event]:
        left = sum(move.left for move in moves if move.old == self.file)
        arrived = sum(move.times for move in moves if move.new == self.file)
        rest = max(0, row.writes + row.changes - left - arrived)
        begin, end = row.bucket * self.bucket_ns, self._end(row)
        if not moves:
            yield _written(begin, end, rest, row.writes, row.bytes_written)
            return
        # What comes after the last rename is one part of as many as the renames make.
        share = 0.0
        if end > max(move.gone_ns if move.old == self.file else move.time_ns for move in moves):
            share = 1 / (1 + sum(max(1, move.times) for move in moves))
        elif self._came_with(moves[0]):
            share, end = 1.0, moves[-1].time_ns + 1
        late = [round(share * value) for value in (rest, row.writes, row.bytes_written)]
        if share > 0:
            late[0] = max(late[0], min(rest, 1))
        early = [rest - late[0], row.writes - late[1], row.bytes_written - late[2]]
        away = [move for move in moves if move.old == self.file]
        if not away and early[0] > 0:
            yield _written(begin, moves[0].first_ns, *early)
        total = sum(max(1, move.left) for move in away)
        so_far, before = 0, [0, 0, 0]
        for move in away:  # what is renamed away was written since the one before it
            so_far += max(1, move.left)
            until = [value * so_far // total for value in early]
            part = [value - last for value, last in zip(until, before, strict=True)]
            if part[0] > 0:
                yield _written(begin, move.first_ns, part[0] + move.left, *part[1:])
            elif move.left:
                yield _Event(
                    move.time_ns, DEATH, move.time_ns, move.turn, move.left, size_bytes=GONE
                )
            begin, before = move.time_ns, until
        if late[0] > 0:
            yield _written(moves[-1].time_ns, end, *late)

    def _came_with(self, move: Moved) -> bool:
        """Whether the name was not in use before this rename to it."""
        return move.new == self.file and self.first_ns > move.first_ns - _LATE_NS

    def _add_deaths(self, events: list[_Event]) -> None:
        """Add the deaths that were seen, and that what was gone was there again."""
        times = [at for at, _ in self.samples]
        added: list[_Event] = []
        for number, event in enumerate(events):
            last = len(times)
            if number + 1 < len(events):
                following = events[number + 1]
                last = bisect_left(times, max(following.begin_ns, event.time_ns))
            seen = self.samples[bisect_left(times, event.time_ns) : last]
            if event.leaves or event.kind == DEATH:
                added.extend(self._made_again(seen))
            elif seen and seen[-1].size_bytes < 0:
                dead = _since(seen)
                if event.kind == WRITE and self._are_at_once(event.begin_ns, dead):
                    event.kind, event.turn = DEATH, _LAST
                    event.time_ns, event.size_bytes = dead, GONE
                else:
                    added.append(_Event(dead, DEATH, dead, _LAST, size_bytes=GONE))
        events.extend(added)
        events.sort(key=_order)

    def _made_again(self, seen: Sequence[Sample]) -> Iterator[_Event]:
        """Yield that a name which was gone exists, by samples; those before an open do not tell."""
        found = [sample for sample in seen if (sample.at_ns + 1) % self.bucket_ns]
        if found and found[-1].size_bytes >= 0:
            at = _since(found)
            yield _Event(at, WRITE, at - 1, size_bytes=found[-1].size_bytes)

    def _are_at_once(self, one_ns: int, other_ns: int) -> bool:
        return one_ns // self.bucket_ns == other_ns // self.bucket_ns

    # --- sizes ---------------------------------------------------------------------------------

    def _find_begin(self, events: list[_Event], sizes: Mapping[int, int]) -> None:
        """Find out whether the name existed at the begin, and with what size."""
        first = events[0] if events else None
        seen = self.samples[0] if self.samples else None
        if seen is not None and (
            seen.size_bytes < 0
            or (self.first_ns and seen.at_ns > self.first_ns)
            or (self.moves and self._came_with(self.moves[0]))
        ):
            seen = None  # it says nothing of the time before the first use
        if self.present is None:
            if seen is not None:
                self.present = True
            elif first is not None:  # what is renamed or removed, and was never made, was there
                self.present = first.leaves or (first.kind == DEATH and first.writes == 0)
            else:
                self.present = False
        if not self.present:
            return
        self.size_at_begin = UNKNOWN
        if seen is not None:
            self.size_at_begin = seen.size_bytes
        elif first is not None and first.leaves:
            self.size_at_begin = sizes.get(first.turn, UNKNOWN)

    def _find_sizes(self, events: list[_Event], sizes: Mapping[int, int]) -> None:
        """Give each write the size that was seen after it, or estimate it."""
        size = self.size_at_begin if self.present else 0
        start, since = 0, 0
        for number, event in enumerate(events):
            if event.kind == WRITE:
                continue
            target = UNKNOWN
            if event.kind == MOVE:
                known = sizes.get(event.turn, UNKNOWN)
                target = known if event.leaves else UNKNOWN
            self._find_between(events[start:number], size, since, event.begin_ns, target)
            size = 0
            if event.kind == MOVE and not event.leaves:
                size = event.size_bytes = known
            start, since = number + 1, event.time_ns
        self._find_between(events[start:], size, since, None, UNKNOWN)

    def _find_between(
        self, writes: list[_Event], size: int, since: int, until: int | None, target: int
    ) -> None:
        """Find the sizes of writes between two deaths or renames: from `size` to `target`."""
        seen = self._points(writes, since, until)
        if size == UNKNOWN and since == 0:
            size = self._estimate_begin(seen)
        if size != UNKNOWN:
            seen.insert(0, _Point(0.0, 0.0, size))
        if target != UNKNOWN:
            total = sum(event.write_bytes for event in writes)
            seen.append(_Point(float(len(writes)), float(total), target))
        grows = _is_appended(seen)
        place, so_far = 0, 0
        for number, event in enumerate(writes, 1):
            so_far += event.write_bytes
            while place < len(seen) and seen[place].place <= number:
                place += 1
            if place and seen[place - 1].place == number:
                event.size_bytes = seen[place - 1].size_bytes
            else:
                self.estimated += 1
                event.size_bytes = _between(seen, place, so_far, grows)

    def _points(self, writes: list[_Event], since: int, until: int | None) -> list[_Point]:
        """Return what was seen, by how much was written before."""
        points: list[_Point] = []
        number, so_far = 0, 0
        begin = bisect_left([at for at, _ in self.samples], since) if since else 0
        for at, size in self.samples[begin:]:
            if until is not None and at >= until:
                break
            if size < 0:
                continue
            while number < len(writes) and writes[number].time_ns <= at:
                so_far += writes[number].write_bytes
                number += 1
            part, more = 0.0, 0
            if number < len(writes) and at > writes[number].begin_ns:
                event = writes[number]
                part = (at - event.begin_ns) / (event.time_ns - event.begin_ns)
                more = event.write_bytes
            points.append(_Point(number + part, so_far + part * more, size))
        return points

    def _estimate_begin(self, seen: list[_Point]) -> int:
        """Return the size at the begin: what was appended since is no part of it."""
        self.estimated += 1
        self.size_at_begin = 0
        if seen:
            appended = round(seen[0].written) if _is_appended(seen) else 0
            self.size_at_begin = max(0, seen[0].size_bytes - appended)
        return self.size_at_begin


def _order(event: _Event) -> tuple[int, int, int]:
    return event.time_ns, event.turn, event.kind


def _written(begin_ns: int, end_ns: int, updates: int, writes: int, size: int) -> _Event:
    return _Event(end_ns, WRITE, min(begin_ns, end_ns - 1), 0, updates, writes, size)


def _since(seen: Sequence[Sample]) -> int:
    """Return since when it was as the last of these samples says, there or gone."""
    there, since = seen[-1].size_bytes >= 0, seen[-1].at_ns
    for at, size in seen[::-1]:
        if (size >= 0) != there:
            break
        since = at
    return since


def _is_appended(seen: list[_Point]) -> bool:
    """Whether a file grew by what was written, rather than being written in place."""
    if len(seen) < 2:
        return False
    written = seen[-1].written - seen[0].written
    grown = seen[-1].size_bytes - seen[0].size_bytes
    return grown > 0 and grown >= written / 2


def _between(seen: list[_Point], place: int, so_far: int, grows: bool) -> int:
    """Return a size after `so_far` bytes were written, between `seen[:place]` and the rest."""
    if place == 0:
        return seen[0].size_bytes if seen else so_far
    before = seen[place - 1]
    if place == len(seen):
        if not grows and before.size_bytes > 0:
            return before.size_bytes
        # What grows by what is written grows by no more.
        most = seen[0].size_bytes + round(so_far - seen[0].written)
        return max(before.size_bytes, min(most, before.size_bytes + round(so_far - before.written)))
    later = seen[place]
    if later.size_bytes > before.size_bytes and later.written > before.written:
        part = (so_far - before.written) / (later.written - before.written)
        return before.size_bytes + round((later.size_bytes - before.size_bytes) * part)
    return before.size_bytes
