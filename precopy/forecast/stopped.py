"""Where a live migration would stop in a replay, and how long the application would stand.

The live engine does more than the cycles of `simulate`: where all that waited could be sent, it
makes a final copy while the application runs (a rehearsal), and predicts the downtime from that;
and once the stop rule holds, it rehearses in a row before it stops.  So what is left at the stop is
what was written during the last rehearsal, not during a cycle.  Here the same is asked of the
recording.  See `precopy.migration.rehearsal`, whose bounds are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from precopy.forecast.fixed import Fixed
from precopy.forecast.timeline import Timeline, Written
from precopy.migration.rehearsal import FEWEST, LONG, MOST
from precopy.options import Cost
from precopy.run import Cycle
from precopy.stop import Progress, Rule

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Curves:
    """A replay, cycle by cycle; the names are those of `simulate`.

    Attributes
    ----------
    start_s : float
        Where in the recording it began.
    total_bytes : int
        What was there then.
    final_copy_bytes, precopy_bytes, resent_bytes : int64[cycles]
    """

    start_s: float
    total_bytes: int
    final_copy_bytes: Ints
    precopy_bytes: Ints
    resent_bytes: Ints


@dataclass(frozen=True)
class Stop:
    """One stop; the names are those of a migration's report.

    Attributes
    ----------
    precopy_s : float
        How long the application ran on.
    precopy_bytes, resent_bytes : float
        What was sent until then, and what of it again.
    final_copy_bytes : float
        What is left for the time in which it stands.
    downtime_s : float
    """

    precopy_s: float
    precopy_bytes: float
    resent_bytes: float
    final_copy_bytes: float
    downtime_s: float


class Stops:
    """The stops of a replay.

    Parameters
    ----------
    line : Timeline
    curves : Curves
    cycle : Cycle
        One of seconds.
    cost : {"whole", "delta"}
    overhead_bytes : int
        What a delta costs besides what was written.
    fixed : Fixed
    """

    def __init__(
        self,
        line: Timeline,
        curves: Curves,
        cycle: Cycle,
        cost: Cost,
        overhead_bytes: int,
        fixed: Fixed,
    ) -> None:
        self._line, self._curves, self._cycle, self._fixed = line, curves, cycle, fixed
        self._cost: Cost = cost
        self._overhead_bytes = overhead_bytes

    def find(self, rules: Sequence[Rule]) -> list[Stop | None]:
        """Return where each rule would stop it; None where it does not within the replay."""
        curves = self._curves
        watches = {index: rule.watch() for index, rule in enumerate(rules)}
        found: list[Stop | None] = [None] * len(rules)
        for index, final in enumerate(curves.final_copy_bytes.tolist()):
            if not watches:
                break
            now = Progress(
                cycle=index + 1,
                seconds=(index + 1) * self._cycle.seconds,
                final_copy_bytes=final,
                precopy_bytes=int(curves.precopy_bytes[index]),
                resent_bytes=int(curves.resent_bytes[index]),
                bandwidth=self._cycle.bandwidth,
                total_bytes=curves.total_bytes,
                downtime_s=self._predicted(index),
            )
            held = [which for which, watch in watches.items() if watch(now)]
            if held:
                stop = self._stopped_after(index)
                for which in held:
                    found[which] = stop
                    del watches[which]
        return found

    def _predicted(self, index: int) -> float:
        """Return the downtime that the engine would predict at the end of a cycle."""
        curves = self._curves
        before = int(curves.precopy_bytes[index - 1]) if index else 0
        sent = int(curves.precopy_bytes[index]) - before
        waited = int(curves.final_copy_bytes[index - 1]) if index else curves.total_bytes
        if sent < waited:
            return self._fixed.seconds + self._fixed.sending_s(int(curves.final_copy_bytes[index]))
        begin = self._moment(index)
        written = self._between(begin, begin + self._fixed.sending_s(sent) + self._fixed.copy_s)
        return self._fixed.seconds + self._taking_s(written)

    def _stopped_after(self, index: int) -> Stop:
        curves, fixed = self._curves, self._fixed
        final = float(curves.final_copy_bytes[index])
        now_s = self._moment(index + 1)
        sent, resent = float(curves.precopy_bytes[index]), float(curves.resent_bytes[index])
        extra_s = 0.0
        if final <= LONG * self._cycle.budget_bytes:
            lasted = [fixed.copy_s + fixed.sending_s(final)]
            now_s += lasted[-1]
            sent, resent = sent + final, resent + final
            while len(lasted) < MOST:
                written = self._between(now_s - lasted[-1], now_s)
                left = self._bytes(written)
                lasted.append(fixed.copy_s + self._taking_s(written))
                now_s += lasted[-1]
                sent, resent = sent + left, resent + left
                if len(lasted) >= FEWEST and lasted[-1] >= 0.8 * median(lasted[-4:-1]):
                    break
            written = self._between(now_s - lasted[-1], now_s)
            final, extra_s = self._bytes(written), sum(lasted)
            downtime_s = fixed.seconds + self._taking_s(written)
        else:
            downtime_s = fixed.seconds + fixed.sending_s(final)
        return Stop(
            precopy_s=(index + 1) * self._cycle.seconds + extra_s,
            precopy_bytes=sent,
            resent_bytes=resent,
            final_copy_bytes=final,
            downtime_s=downtime_s,
        )

    def _moment(self, index: int) -> float:
        """Return when a cycle begins, in seconds of the recording."""
        return self._curves.start_s + index * self._cycle.seconds

    def _between(self, begin_s: float, end_s: float) -> Written:
        return self._line.between(round(begin_s * 1e9), round(end_s * 1e9))

    def _bytes(self, written: Written) -> float:
        return float(written.cost_bytes(self._cost, self._overhead_bytes).sum())

    def _taking_s(self, written: Written) -> float:
        return self._fixed.sending_s(self._bytes(written)) + self._fixed.reading_s(written)
