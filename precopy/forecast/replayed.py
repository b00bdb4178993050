"""A replay that remembers the files: which wait in the long run, and which were sent how often.

`simulate` replays a recording fast and keeps totals.  Here the same cycles are driven through
`rank` and `take`, so that it can be said which files the totals are made of.  Invariant: the curves
are those of `simulate`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from precopy.estimate import LAST_WRITE, Estimate
from precopy.files import FileSet
from precopy.forecast.timeline import Flags, Ints, Timeline
from precopy.migration.pending import Policy
from precopy.options import Cost
from precopy.ranking import rank, take
from precopy.run import Cycle
from precopy.trace import GONE, NO_FILE


class FileReplay:
    """The cycles of one pre-copy of a recording.

    Parameters
    ----------
    line : Timeline
    read_only : bool[n]
    policy : Policy
    cycle : Cycle
        One of seconds.
    start_s : float
        Where in the recording it begins.
    cost : {"whole", "delta"}
    overhead_bytes : int
        What a delta costs besides what was written.

    Attributes
    ----------
    cost_bytes : int64[n]
        What sending each file would cost now.
    pending : bool[n]
        Which wait.
    sent_bytes, resent_bytes : int64[n]
        What was sent of each so far; that of it for the second time or later.
    """

    def __init__(
        self,
        line: Timeline,
        read_only: Flags,
        policy: Policy,
        cycle: Cycle,
        start_s: float,
        cost: Cost,
        overhead_bytes: int,
    ) -> None:
        self._line, self._policy, self._read_only = line, policy, read_only
        self._is_delta, self._overhead_bytes = cost == "delta", overhead_bytes
        self._budget_bytes, self._cycle_ns = cycle.budget_bytes, round(cycle.seconds * 1e9)
        self._now_ns = round(start_s * 1e9)
        self._exists, self._size = line.state(self._now_ns)
        files = len(self._size)
        self.pending = self._exists.copy()
        self._has_copy, self._sent_before = np.zeros((2, files), np.bool_)
        self._unsent, self.sent_bytes, self.resent_bytes = np.zeros((3, files), np.int64)
        self._carried_bytes = 0
        frequency = "count" if policy.order == LAST_WRITE else policy.frequency
        half_life = None if policy.order == LAST_WRITE else policy.half_life
        self._estimate = Estimate(files, frequency, half_life, order=policy.order)
        self._row = int(np.searchsorted(line.time_ns, self._now_ns))
        self._lap = 0
        self._back = line.rows_back()

    @property
    def cost_bytes(self) -> Ints:
        """What sending each file would cost now, int64[n]."""
        if not self._is_delta:
            return self._size
        delta = np.minimum(self._size, self._unsent + self._overhead_bytes)
        return np.where(self._has_copy, delta, self._size)

    def cycle(self) -> None:
        """Run one cycle: rank, send, and let the application write."""
        self._send()
        self._now_ns += self._cycle_ns
        observed = [ids for ids in self._rows_until(self._now_ns)]
        self._estimate.observe(np.concatenate([np.zeros(0, np.int64), *observed]))

    def _send(self) -> None:
        policy, costs = self._policy, self.cost_bytes
        ids = np.flatnonzero(self.pending)
        if len(ids):
            files = FileSet(self._size[ids], self._read_only[ids])
            updates = self._estimate.updates[ids]
            ids = ids[rank(files, policy.order, None, updates, policy.read_only_first)]
        taken, _, self._carried_bytes = take(
            costs[ids], self._budget_bytes, policy.budget, self._carried_bytes
        )
        sent = ids[taken]
        again = sent[self._sent_before[sent]]
        self.sent_bytes[sent] += costs[sent]
        self.resent_bytes[again] += costs[again]
        self.pending[sent] = False
        self._sent_before[sent] = self._has_copy[sent] = True
        self._unsent[sent] = 0

    def _rows_until(self, until_ns: int) -> Iterator[Ints]:
        """Apply what happens before a moment; yield the ids of updated files, once per update."""
        line = self._line
        while True:
            lap_ns = self._lap * line.duration_ns
            end = int(np.searchsorted(line.time_ns, until_ns - lap_ns))
            if end > self._row:
                yield self._apply(slice(self._row, end))
                self._row = end
            if until_ns <= lap_ns + line.duration_ns:
                return
            file_id, size, written = self._back
            for each in zip(file_id.tolist(), size.tolist(), written.tolist(), strict=True):
                self._apply_one(*each, NO_FILE)
            self._row, self._lap = 0, self._lap + 1

    def _apply(self, rows: slice) -> Ints:
        line = self._line
        file_id, size, written = (
            column[rows] for column in (line.file_id, line.size_bytes, line.write_bytes)
        )
        from_id = line.from_id[rows]
        if bool((size == GONE).any()) or bool((from_id != NO_FILE).any()):
            for each in zip(
                file_id.tolist(), size.tolist(), written.tolist(), from_id.tolist(), strict=True
            ):
                self._apply_one(*each)
        else:
            new = file_id[~self._exists[file_id]]
            self._has_copy[new] = False
            self._unsent[new] = 0
            np.add.at(self._unsent, file_id, written)
            self._exists[file_id] = self.pending[file_id] = True
            self._size[file_id] = size
        repeated: npt.NDArray[np.int64] = np.repeat(file_id, line.count[rows])
        return repeated

    def _apply_one(self, new: int, size: int, written: int, old: int) -> None:
        exists, pending = self._exists, self.pending
        if size == GONE:
            exists[new] = pending[new] = False
            return
        if old != NO_FILE and exists[old]:
            pending[new] = pending[old] or written > 0
            self._has_copy[new] = self._has_copy[old]
            self._sent_before[new] |= self._sent_before[old]
            self._unsent[new] = self._unsent[old] + written
            exists[old] = pending[old] = False
        else:
            if not exists[new]:
                self._has_copy[new] = False
                self._unsent[new] = 0
            pending[new] = True
            self._unsent[new] += written
        exists[new] = True
        self._size[new] = size
