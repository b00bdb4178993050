"""Where a trace comes from, and what its time stamps mean.

Invariant: lines are read one by one, so a trace may be larger than memory; of ``strace -ff`` only
the files of processes that run at the same time are open.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path

from precopy.access.imports.lines import COMPRESSED, Progress
from precopy.access.strace.lines import _PREFIX, TraceError

Input = str | os.PathLike[str] | Iterable[str | bytes] | Iterable[os.PathLike[str]]

_SECOND = 1_000_000_000
_DAY = 24 * 3600 * _SECOND
_OLDEST = 100_000_000  # seconds since the epoch, March 1973
_LONGEST = 1 << 22
_OFTEN = 1 << 13


class Clock:
    """Turns the time stamps of a trace into nanoseconds since the epoch.

    Parameters
    ----------
    midnight_ns : int
        When the day of the first stamp began, for stamps that show only the time of day.
    now_ns : int
        The time of lines without a stamp.
    start_ns : int, optional
        The time from which relative stamps are added up; without it they are refused.
    """

    def __init__(self, midnight_ns: int, now_ns: int, start_ns: int | None = None) -> None:
        self.midnight_ns = midnight_ns
        self.now_ns = now_ns
        self.start_ns = start_ns
        self.days = 0
        self._previous = 0
        self._sum = 0

    def __call__(self, match: re.Match[bytes]) -> int:
        """Return the time of a line."""
        if match["epoch"]:
            time_ns = int(match["epoch"]) * _SECOND + _fraction(match["fraction"] or b"0")
            if is_relative(match):
                if self.start_ns is None:
                    raise TraceError(
                        "relative time stamps (strace -r), expected -ttt; "
                        "or give the date and time of its first line"
                    )
                self._sum += time_ns
                return self.start_ns + self._sum
            return time_ns
        if not match["hour"]:
            return self.now_ns
        time_ns = _of_day(match)
        if time_ns < self._previous - _DAY // 2:
            self.days += 1
        self._previous = time_ns
        return self.midnight_ns + self.days * _DAY + time_ns


def is_relative(match: re.Match[bytes]) -> bool:
    """Return whether a stamp is one of ``strace -r``: small, and set in a column of its own."""
    return len(match["gap"]) > 1 and int(match["epoch"]) < _OLDEST


def _of_day(match: re.Match[bytes]) -> int:
    seconds = (int(match["hour"]) * 60 + int(match["minute"])) * 60 + int(match["second"])
    return seconds * _SECOND + _fraction(match["part"] or b"0")


def _fraction(digits: bytes) -> int:
    return int(digits[:9].ljust(9, b"0"))


def first_midnight(lines: Iterable[bytes], end_ns: int) -> int:
    """Return when the first day of a trace began that ended at `end_ns` (both nanoseconds)."""
    end = time.localtime(end_ns // _SECOND)
    clock = Clock(0, 0, 0)
    for line in lines:
        match = _PREFIX.match(line)
        if match and match["epoch"]:
            break
        if match:
            clock(match)
    day = (end.tm_year, end.tm_mon, end.tm_mday - clock.days, 0, 0, 0, 0, 0, -1)
    return int(time.mktime(day)) * _SECOND


class Source:
    """The lines of a trace, counted and hashed as they are read.

    Parameters
    ----------
    trace : path, iterable of lines, or iterable of paths
        One trace, or the files of ``strace -ff``.
    start : datetime, optional
        The date, or date and time, of the first line.
    progress : callable, optional
        Called now and then with the bytes read, and with all there are.
    """

    def __init__(
        self, trace: Input, start: datetime | None = None, progress: Progress | None = None
    ) -> None:
        self.lines = 0
        self.bytes = 0
        self.cut_off = False
        self.start = start
        self._progress = progress
        self._digest = hashlib.sha256()
        self._lines: Iterable[str | bytes] = ()
        self._paths: list[Path] = []
        if isinstance(trace, str | os.PathLike):
            self._paths = [Path(trace)]
            return
        items = iter(trace)
        first = next(items, None)
        if isinstance(first, os.PathLike):
            self._paths = [Path(first), *(Path(os.fspath(path)) for path in items)]  # type: ignore[arg-type]
        elif first is not None:
            self._lines = _again(first, items)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """What the log calls this trace: equal for equal text."""
        return f"strace {self._digest.hexdigest()}"

    @property
    def label(self) -> str:
        """What a message calls it."""
        path = self._paths[0] if self._paths else None
        return ascii(path.name)[1:-1] if path else "strace output"

    @cached_property
    def _size(self) -> int | None:
        """All bytes of the trace, None if they are not in files."""
        if not all(path.is_file() for path in self._paths):
            return None
        return sum(path.stat().st_size for path in self._paths) or None

    @property
    def separate(self) -> bool:
        """Whether every process has a file of its own, as ``strace -ff`` makes them."""
        return any(_owner(path) for path in self._paths)

    def clock(self) -> Clock:
        """Return the clock that reads this trace's time stamps."""
        now_ns = time.time_ns()
        if self.start is not None:
            midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
            exact = int(self.start.timestamp()) * _SECOND + self.start.microsecond * 1000
            alone = len(self._paths) < 2  # or the increments of one file say nothing of the others
            return Clock(int(midnight.timestamp()) * _SECOND, now_ns, exact if alone else None)
        if len(self._paths) != 1 or not self._paths[0].is_file():
            end_ns = max((path.stat().st_mtime_ns for path in self._paths), default=now_ns)
            return Clock(first_midnight((), end_ns), now_ns)
        with self._paths[0].open("rb") as stream:
            end_ns = os.fstat(stream.fileno()).st_mtime_ns
            # Only stamps without a date need their days counted, and the first line tells.
            match = _PREFIX.match(stream.readline(_LONGEST))
            timed = match is not None and match["hour"]
            return Clock(first_midnight(stream if timed else (), end_ns), now_ns)

    def read(self, clock: Clock) -> Iterator[tuple[int, bytes]]:
        """Yield lines, each with the process whose file it is from (0: it says so itself)."""
        if len(self._paths) > 1:
            yield from self._merged()
        elif self._paths:
            owner = _owner(self._paths[0])
            for line in self._file(self._paths[0]):
                yield owner, line
        else:
            for text in self._lines:
                yield 0, self._count(os.fsencode(text) if isinstance(text, str) else bytes(text))

    def _merged(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of several files in the order of their times."""
        heap: list[tuple[int, int, bytes, Iterator[bytes] | None]] = []
        for index, path in enumerate(self._paths):
            with path.open("rb") as stream:
                line = stream.readline(_LONGEST)
            heap.append((_order(line, 0), index, line, None))
        heapq.heapify(heap)
        while heap:
            before, index, line, rest = heap[0]
            if rest is None:
                rest = self._file(self._paths[index])
                line = next(rest, b"")
            if line:
                yield _owner(self._paths[index]), line
            following = next(rest, None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (_order(following, before), index, following, rest))

    def _file(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as stream:
            raw = b"\n"
            while line := stream.readline(_LONGEST):
                if not self.lines and line.startswith(COMPRESSED):
                    raise TraceError("it is compressed; unpack it first")
                raw = line
                yield self._count(line)
            self.cut_off |= not raw.endswith(b"\n")

    def _count(self, line: bytes) -> bytes:
        text = line.rstrip(b"\r\n")
        self.lines += 1
        self.bytes += len(text) + 1
        self._digest.update(text + b"\n")
        if self._progress is not None and not self.lines % _OFTEN:
            self._progress(self.bytes, self._size)
        return text


def _again(first: str | bytes, rest: Iterator[str | bytes]) -> Iterator[str | bytes]:
    yield first
    yield from rest


def _owner(path: Path) -> int:
    """Return the process that a file of ``strace -ff`` belongs to."""
    number = path.name.rpartition(".")[2]
    return int(number) if number.isdecimal() and number.isascii() and len(number) < 9 else 0


def _order(line: bytes, before: int) -> int:
    match = _PREFIX.match(line)
    if match is None or not (match["epoch"] or match["hour"]):
        return before
    if match["epoch"]:
        time_ns = int(match["epoch"]) * _SECOND + _fraction(match["fraction"] or b"0")
        return before + time_ns if is_relative(match) else time_ns
    time_ns = _of_day(match)
    # Without dates: what is earlier in one file by half a day is of the day after.
    days = before // _DAY
    return days * _DAY + time_ns + (_DAY if days * _DAY + time_ns < before - _DAY // 2 else 0)


def parse_start(text: str) -> datetime:
    """Return the date, or date and time, of a trace's first line (local time unless it says).

    Examples
    --------
    >>> parse_start("2026-11-25").isoformat()
    '2026-11-25T00:00:00'
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"date: got {text!r}, expected YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS"
        ) from None
