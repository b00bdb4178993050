"""The replays that a forecast is made of: from several moments, under several orders and costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from precopy import _core
from precopy.forecast.stopped import Curves
from precopy.forecast.timeline import Timeline
from precopy.migration.pending import Granularity, Policy
from precopy.migration.source.blocks import BLOCK_BYTES
from precopy.options import Cost, Order
from precopy.recorded import Recorded
from precopy.run import Cycle
from precopy.sweep import sweep

COST: dict[Granularity, Cost] = {"block": "delta", "file": "whole"}
"""What sending costs, by what is sent: of blocks it is estimated, by what was written."""

OVERHEAD_BYTES = BLOCK_BYTES
"""What is written touches as many blocks as it fills, and one more."""

FIRST_COPIES = 1.5
"""After so many times what sending all once takes, the level of the long run is reached."""

SPARE_CYCLES = 20
MOST_CYCLES = 20_000


@dataclass(frozen=True)
class Runs:
    """How the replays of an application are made.

    Attributes
    ----------
    app : Recorded
    line : Timeline
        Of the same.
    policy : Policy
    cycle : Cycle
        One of seconds.
    cycles : int
        How many.
    steady_cycles : int
        How many of the last ones make up the long run: the whole recording once.
    executor : Executor, optional
    progress : bool, optional
    """

    app: Recorded
    line: Timeline
    policy: Policy
    cycle: Cycle
    cycles: int
    steady_cycles: int
    executor: Executor | None = None
    progress: bool | None = None

    @classmethod
    def of(
        cls,
        app: Recorded,
        policy: Policy,
        cycle: Cycle,
        executor: Executor | None = None,
        progress: bool | None = None,
    ) -> Runs:
        """Return them with as many cycles as show the long run."""
        line = Timeline(app)
        largest = max(total_bytes(line, start_s) for start_s in app.starts(4))
        first_s = FIRST_COPIES * largest / cycle.bandwidth
        steady = max(math.ceil(app.seconds / cycle.seconds), SPARE_CYCLES)
        before = math.ceil(first_s / cycle.seconds) + SPARE_CYCLES
        return cls(
            app,
            line,
            policy,
            cycle,
            min(before + steady, MOST_CYCLES),
            min(steady, MOST_CYCLES // 2),
            executor,
            progress,
        )

    def curves(
        self,
        orders: Sequence[Order],
        granularities: Sequence[Granularity],
        starts: Sequence[float],
        cycles: int | None = None,
    ) -> dict[tuple[Order, Granularity], list[Curves]]:
        """Return a replay from each start, for each order and what is sent."""
        policy = self.policy
        # What an order that counts no updates makes of them is no question.
        counts = any(order in _core.USES_UPDATES for order in orders)
        table = sweep(
            self.app,
            order=list(orders),
            cost=[COST[each] for each in granularities],
            start_s=list(starts),
            cycle=self.cycle,
            cycles=self.cycles if cycles is None else cycles,
            overhead_bytes=OVERHEAD_BYTES if "block" in granularities else None,
            frequency=policy.frequency if counts else "count",
            half_life=policy.half_life if counts else None,
            budget=policy.budget,
            read_only_first=policy.read_only_first,
            executor=self.executor,
            progress=self.progress,
        )
        totals = [total_bytes(self.line, start_s) for start_s in starts]
        found: dict[tuple[Order, Granularity], list[Curves]] = {}
        for order in orders:
            for granularity in granularities:
                runs = table.sel(order=order, cost=COST[granularity])
                columns = [
                    runs[name].transpose("start_s", "step").values
                    for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes")
                ]
                own = [
                    Curves(start_s, total, *(column[index] for column in columns))
                    for index, (start_s, total) in enumerate(zip(starts, totals, strict=True))
                ]
                if granularity == "block" and policy.budget == "carry":
                    own = [begun(each, self.cycle.budget_bytes) for each in own]
                found[order, granularity] = own
        return found

    def level_bytes(self, curves: Sequence[Curves]) -> float:
        """Return what waits in the long run, on average over the recording and the starts."""
        return float(np.mean([each.final_copy_bytes[-self.steady_cycles :] for each in curves]))


def begun(curves: Curves, budget_bytes: int) -> Curves:
    """Count as sent what the link carried of a file that did not fit into a cycle.

    `simulate` saves it until all of the file can be sent; of blocks, so much is there already.

    Examples
    --------
    >>> import numpy as np
    >>> never = np.zeros(3, np.int64)
    >>> found = begun(Curves(0.0, 25, np.array([25, 25, 0]), np.array([0, 0, 25]), never), 10)
    >>> found.final_copy_bytes.tolist(), found.precopy_bytes.tolist()
    ([15, 5, 0], [10, 20, 25])
    """
    waited = np.concatenate([[curves.total_bytes], curves.final_copy_bytes[:-1]])
    sent = np.diff(curves.precopy_bytes, prepend=0)
    carried_bytes, saved = 0, []
    for left, each in zip((waited - sent).tolist(), sent.tolist(), strict=True):
        carried_bytes = budget_bytes + carried_bytes - each if left > 0 else 0
        saved.append(carried_bytes)
    part = np.minimum(np.array(saved, np.int64), curves.final_copy_bytes)
    return replace(
        curves,
        final_copy_bytes=curves.final_copy_bytes - part,
        precopy_bytes=curves.precopy_bytes + part,
    )


def total_bytes(line: Timeline, at_s: float) -> int:
    """Return the size of all files that exist at a moment of the recording."""
    return int(line.state(round(at_s * 1e9))[1].sum())
