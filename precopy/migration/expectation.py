"""What the simulator expects of a migration, from the rates that a log has recorded.

Whole files, writes that come at random with the recorded rates: the paper's model.  Recorded
services write in bursts, so single cycles differ; and where blocks are sent, less is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precopy import bound
from precopy.files import FileSet
from precopy.migration.pending import Policy
from precopy.run import Cycle, Run
from precopy.simulation import simulate
from precopy.workload import Workload

SEED = 1
MOST_CYCLES = 500


@dataclass(frozen=True)
class Expectation:
    """A simulated pre-copy.

    Attributes
    ----------
    run : Run
    cycle : Cycle
    writes_per_second : float
        As recorded.
    bound_bytes : float
        What no order that does not know the future comes below, in the long run.
    total_bytes : int
    """

    run: Run
    cycle: Cycle
    writes_per_second: float
    bound_bytes: float
    total_bytes: int

    def curve(self) -> dict[str, list[float]]:
        """Return pending bytes over seconds, the start included."""
        seconds = np.arange(self.run.cycles + 1) * self.cycle.seconds
        pending = [self.total_bytes, *self.run.final_copy_bytes.tolist()]
        return {"seconds": seconds.tolist(), "pending_bytes": [float(each) for each in pending]}


def expect(
    sizes: Mapping[bytes, int],
    updates: Mapping[bytes, int],
    recorded_s: float,
    policy: Policy,
    cycle_seconds: float,
    bandwidth: float,
    cycles: int | None = None,
) -> Expectation | None:
    """Simulate a migration with recorded rates.

    Parameters
    ----------
    sizes : mapping of bytes to int
        The files that move: size by path.
    updates : mapping of bytes to int
        How often each was updated, by path; one with none is read-only.
    recorded_s : float
        In how many seconds.
    policy : Policy
    cycle_seconds, bandwidth : float
        Of a cycle, and of the link in bytes per second.
    cycles : int, optional
        How many cycles to run; by default as many as show the steady level.

    Returns
    -------
    Expectation or None
        None where nothing was written while it was recorded.
    """
    counts = np.array([updates.get(path, 0) for path in sizes], np.int64)
    if not counts.any() or recorded_s <= 0:
        return None
    files = FileSet(list(sizes.values()), counts == 0)
    rate = float(counts.sum()) / recorded_s
    writes = max(round(rate * cycle_seconds), 1)
    cycle = Cycle(writes, cycle_seconds / writes, bandwidth)
    workload = Workload(counts / counts.sum())
    run = simulate(
        files,
        workload,
        order=policy.order,
        cycle=cycle,
        cycles=min(cycles or MOST_CYCLES, MOST_CYCLES),
        seed=SEED,
        read_only_first=policy.read_only_first,
        frequency=policy.frequency,
        half_life=policy.half_life,
        budget=policy.budget,
    )
    least = float(bound.final_copy_bytes(files, workload, cycle))
    return Expectation(run, cycle, rate, least, files.total_bytes)


def saturates_at(final_copy_bytes: npt.NDArray[np.int64]) -> int:
    """Return the first cycle, from 1, whose final copy is within 2 % of the steady level.

    Examples
    --------
    >>> import numpy as np
    >>> saturates_at(np.array([100, 50, 21, 20, 20, 20]))
    4
    """
    steady = float(np.median(final_copy_bytes[-max(len(final_copy_bytes) // 5, 1) :]))
    return int(np.argmax(final_copy_bytes <= max(1.02 * steady, steady + 1e-9))) + 1
