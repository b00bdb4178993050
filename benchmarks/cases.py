"""What is run: the paper's evaluation at any scale, and the floor that every run stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import precopy

ORDERS = (
    "size-ascending",
    "size-descending",
    "update-frequency",
    "expected-update",
    "least-recently-updated",
)
# Limits that hold back nothing, and one that holds back the hottest files.
LIMITS = {
    "max_sends=100": {"max_sends": 100},
    "max_update_rate=10": {"max_update_rate": 10.0},
    "max_update_rate=0.1": {"max_update_rate": 0.1},
}
RUNS = (*ORDERS, "rounds")
PATTERNS = ("uniform", "skewed")

CYCLES = 300
WRITES_PER_CYCLE = 500
WRITES = CYCLES * WRITES_PER_CYCLE
FILES = 11_000

_SIZE_BYTES = (200_000, 400_000, 800_000, 1_600_000, 3_200_000)
_READ_ONLY = (350, 300, 200, 100, 50)
_READ_WRITE = (3500, 3000, 2000, 1000, 500)
_SHARES = (1, 10, 10, 79)


@dataclass(frozen=True, eq=False)
class Case:
    """The paper's files, writes and link, all `scale` times over."""

    files: precopy.FileSet
    workload: precopy.Workload
    cycle: precopy.Cycle
    history: npt.NDArray[np.int64]

    @classmethod
    def paper(cls, scale: int = 1, pattern: str = "skewed") -> Case:
        """Return paper, tables 1 and 2, with `scale` times the files, writes and bandwidth."""
        files = precopy.FileSet.from_classes(
            _SIZE_BYTES, np.multiply(_READ_ONLY, scale), np.multiply(_READ_WRITE, scale)
        )
        if pattern == "uniform":
            workload = precopy.Workload.uniform(files)
        else:
            workload = precopy.Workload.shares(files, _SHARES)
        # A cycle lasts as long as in the paper: `scale` times the writes, as many times as fast.
        cycle = precopy.Cycle(WRITES_PER_CYCLE * scale, 0.03 / scale, 5e6 * scale)
        # What a run as long as this one might have counted before the migration.
        history = np.random.default_rng(2).poisson(workload.share * (WRITES * scale))
        return cls(files, workload, cycle, history)

    def shuffled(self) -> Case:
        """Return the same files and writes with the ids at random."""
        order = np.random.default_rng(3).permutation(len(self.files))
        files = precopy.FileSet(self.files.size_bytes[order], self.files.read_only[order])
        workload = precopy.Workload(self.workload.share[order])
        return Case(files, workload, self.cycle, self.history[order])

    def arguments(self, run: str) -> dict[str, Any]:
        """Return what `precopy.simulate` needs to know about one of `RUNS`."""
        if run == "rounds":
            return {"schedule": "rounds", "history": self.history}
        return {"order": run}

    def simulate(
        self, run: str, writes: precopy.WriteTrace | None = None, **options: Any
    ) -> precopy.Run:
        """Make one of `RUNS`, on drawn writes or on given ones."""
        options = {"cycle": self.cycle, "cycles": CYCLES, "seed": 1, **options}
        source = self.workload if writes is None else writes
        return precopy.simulate(self.files, source, **self.arguments(run), **options)


def floor() -> Callable[[], object]:
    """Return the floor: draw as many numbers as a paper run has writes, and do nothing else."""
    rng = np.random.default_rng(1)
    return lambda: rng.integers(0, 10_000, WRITES)
