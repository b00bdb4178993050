"""A trace in time and its files, as the core replays them: rows, and where each cycle ends."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from precopy import _check, _core
from precopy.files import FileSet
from precopy.run import Cycle
from precopy.trace import GONE, NO_FILE, Ints, WriteTrace

Rows = tuple[Ints, Ints, Ints, Ints, Ints]
"""file_id, count, write_bytes, size_bytes and from_id of some rows."""

# Above this, sums over all files might leave int64; the core allows for no more.
_MOST_BYTES = 2**62


class Replay:
    """A trace in time that has been checked against its files.

    Parameters
    ----------
    files : FileSet
        The files, with their sizes at the beginning.
    writes : WriteTrace
        A trace in time.

    Raises
    ------
    ValueError
        For rows that name files that are none, or read-only; for sizes or counts whose sums do not
        fit int64.

    References
    ----------
    Model, rules replay.*.

    Examples
    --------
    >>> import precopy
    >>> from precopy.replay import Replay
    >>> files = precopy.FileSet([100, 0])
    >>> writes = precopy.WriteTrace(
    ...     [0, 1], time_ns=[0, 10**9], size_bytes=[100, 20], present=[True, False]
    ... )
    >>> replay = Replay.of(files, writes)
    >>> replay.total_bytes(start_ns=0), replay.total_bytes(start_ns=10**9 + 1)
    (100, 120)
    """

    def __init__(self, files: FileSet, writes: WriteTrace) -> None:
        if writes.present is not None and len(writes.present) != len(files):
            raise ValueError(
                f"writes: expected what is present of {len(files)} files, as in files, got "
                f"{len(writes.present)} flags"
            )
        assert writes.time_ns is not None
        assert writes.count is not None
        assert writes.size_bytes is not None
        assert writes.from_id is not None
        written = writes.write_bytes
        if written is None:
            written = np.zeros(len(writes), np.int64)
        self._files = files
        self._present = np.ones(len(files), np.bool_) if writes.present is None else writes.present
        self._time_ns = writes.time_ns
        self._duration_ns = writes.duration_ns
        self._rows = (writes.file_id, writes.count, written, writes.size_bytes, writes.from_id)
        self._totals: dict[int, int] = {}
        self._check()

    @staticmethod
    def of(files: FileSet, writes: WriteTrace) -> Replay:
        """Return the replay of a trace, which keeps the one that it was asked for last."""
        known = writes._replay
        if known is None or known._files is not files:
            known = writes._replay = Replay(files, writes)
        return known

    def _check(self) -> None:
        files, (_, count, _, size, _) = self._files, self._rows
        row = _core.recording_check(files.size_bytes, files.read_only, self._recording(_NO_ROWS))
        if row >= 0:
            self._explain(row)
        largest = max(int(size.max(initial=0)), int(files.size_bytes.max(initial=0)))
        if largest * len(files) >= _MOST_BYTES:
            raise ValueError(
                "writes: expected sizes of less than 2^62 bytes times files, got "
                f"{largest} bytes in {len(files)} files"
            )
        # In doubles first: a sum of int64 would wrap.
        if float(count.sum(dtype=np.float64)) >= 2.0**62:
            raise ValueError("writes: expected counts whose sum is below 2^62, got more")
        self.largest_bytes = largest
        self.updates = int(count.sum())

    def _explain(self, row: int) -> NoReturn:
        files = self._files
        new, old = int(self._rows[0][row]), int(self._rows[4][row])
        for file_id in (new, old) if old != NO_FILE else (new,):
            if file_id >= len(files):
                what = f"id {file_id}"
            elif files.read_only[file_id]:
                what = f"{files.name(file_id)}, which is read-only"
            else:
                continue
            raise ValueError(
                f"writes: expected ids of read-write files below {len(files)}, got {what}, in row "
                f"{row}"
            )
        raise ValueError(
            f"writes: expected a size for the new name of {files.name(old)}, got "
            f"{self._rows[3][row]}, in row {row}"
        )

    def _recording(self, back: Rows) -> tuple[npt.NDArray[np.bool_], Rows, Rows]:
        return self._present, self._rows, back

    @cached_property
    def recording(self) -> tuple[npt.NDArray[np.bool_], Rows, Rows]:
        """What the core replays: files present at the beginning, rows, and those that lead back."""
        return self._recording(self._back())

    def _back(self) -> Rows:
        """Return the rows that lead from the state at the end to the one at the beginning."""
        first = np.where(self._present, self._files.size_bytes, GONE)
        last = self.sizes(len(self._time_ns))
        gone = np.flatnonzero((first == GONE) & (last != GONE))
        other = np.flatnonzero((first != GONE) & (first != last))
        ids = np.concatenate([gone, other])
        size = first[ids]
        written = np.abs(size - np.maximum(last[ids], 0))
        written[: len(gone)] = 0
        nothing = np.zeros(len(ids), np.int64)
        return ids, nothing, written, size, nothing + NO_FILE

    def sizes(self, row: int) -> Ints:
        """Return the size of each file before a row, int64[n], -1 where it does not exist."""
        files = self._files
        return np.asarray(
            _core.recording_sizes(files.size_bytes, files.read_only, self._recording(_NO_ROWS), row)
        )

    def first_row(self, start_ns: int) -> int:
        """Return the first row of a replay that begins then."""
        return int(np.searchsorted(self._time_ns, start_ns))

    def start_ns(self, start_s: float) -> int:
        """Return a start point in whole nanoseconds; one outside the recording is an error."""
        start_ns = round(start_s * 1e9)
        if not 0 <= start_ns < self._duration_ns:
            raise ValueError(
                f"start_s: expected a time from 0 on and before the end of the recording at "
                f"{self._duration_ns / 1e9:g} s, got {start_s!r}"
            )
        return start_ns

    def total_bytes(self, start_ns: int) -> int:
        """Return the size of all files that exist then."""
        row = self.first_row(start_ns)
        if row not in self._totals:
            self._totals[row] = int(np.maximum(self.sizes(row), 0).sum())
        return self._totals[row]

    def cycle_ends(self, cycle: Cycle, cycles: int, start_ns: int) -> Ints:
        """Return how many rows there are from the start point to each cycle's end, int64[cycles].

        After the end of the recording come the rows that lead back, then the first row again.
        """
        if cycle.in_time:
            ends = self._ends_in_time(round(cycle.seconds * 1e9), cycles, start_ns)
        else:
            ends = self._ends_by_writes(cycle.writes, cycles, start_ns)
        ends -= self.first_row(start_ns)
        ends.flags.writeable = False
        return ends

    def _ends_in_time(self, cycle_ns: int, cycles: int, start_ns: int) -> Ints:
        end = start_ns + cycles * cycle_ns
        self._check_laps(end, cycles, end // self._duration_ns)
        # Lap l holds what happens from l * duration on; its first rows are those that led back.
        before = np.arange(1, cycles + 1) * cycle_ns + (start_ns - 1)
        lap, rest = np.divmod(before, self._duration_ns)
        return np.asarray(lap * self._lap + np.searchsorted(self._time_ns, rest + 1))

    def _ends_by_writes(self, writes: int, cycles: int, start_ns: int) -> Ints:
        if self.updates == 0:
            raise ValueError("cycle: expected one of seconds for a trace without updates")
        first = int(self._updates_before[self.first_row(start_ns)])
        last = first + cycles * writes
        self._check_laps(last, cycles, last // self.updates)
        before = np.arange(1, cycles + 1) * writes + (first - 1)
        lap, rest = np.divmod(before, self.updates)
        return np.asarray(lap * self._lap + np.searchsorted(self._updates_before, rest + 1))

    def _check_laps(self, end: int, cycles: int, laps: int) -> None:
        most = max(end, (laps + 2) * max(self._lap, self.updates))
        if most > _check.INT64_MAX:
            raise ValueError(
                f"cycles: expected times, rows and updates that fit int64, got {cycles} cycles, "
                f"{laps} times the recording"
            )

    @property
    def _lap(self) -> int:
        """How many rows it is from the beginning to the beginning."""
        return len(self._time_ns) + len(self.recording[2][0])

    @cached_property
    def _updates_before(self) -> Ints:
        """The updates in the first 0, 1, ... rows."""
        return np.concatenate([[0], np.cumsum(self._rows[1])])

    def most_updates(self, first_row: int, cycle_ends: Ints) -> int:
        """Return how many updates the cycles may make, as the core bounds it."""
        laps = (first_row + int(cycle_ends[-1])) // max(self._lap, 1)
        return (laps + 1) * self.updates

    def check_fits(self, budget_bytes: int) -> None:
        """Raise for a file that ever is larger than a cycle's budget."""
        if self.largest_bytes <= budget_bytes:
            return
        expected = f"writes: expected no file larger than a cycle's budget of {budget_bytes} bytes"
        wrong = self._rows[3] > budget_bytes
        what = self._files.name(self._files.largest)
        size, where = int(self._files.size_bytes[self._files.largest]), "at the beginning"
        if wrong.any():
            row = int(wrong.argmax())
            what, size = self._files.name(int(self._rows[0][row])), int(self._rows[3][row])
            where = f"in row {row}"
        raise ValueError(
            f'{expected}, got {what} of {size} bytes, {where}; budget="carry" or "skip" allow it'
        )


def _no_rows() -> Rows:
    nothing: Any = np.zeros(0, np.int64)
    return nothing, nothing, nothing, nothing, nothing


_NO_ROWS = _no_rows()
