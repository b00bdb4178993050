"""What a study costs beside its runs, and what it saves by drawing the same writes once."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from harness import QUICK, Figure, figure, interleave, repeats

import precopy
from precopy.seeds import generator
from precopy.simulation import OPTIONS, Plan, run_together

_LIMITS = np.linspace(1.5e9, 6e9, 50)
_ORDERS = ("size-ascending", "size-descending", "update-frequency", "expected-update")
_SEEDS = range(2 if QUICK else 10)
_TINY = 1_000 if QUICK else 100_000


class Study:
    """1,000 runs of the paper's size, 5 orders x 20 skews x 10 seeds, with 50 limits each.

    The core's share is the same runs by the same two threads, called with their arguments ready: no
    checks, no table, no limits. "Alone" are the same runs without shared writes, one after another.
    """

    unit = "x"

    def setup_cache(self):
        files = precopy.paper.files()
        skews = {
            f"1:1:1:{hot}": precopy.Workload.shares(files, (1, 1, 1, hot))
            for hot in np.geomspace(1, 97, 4 if QUICK else 20).round(2)
        }
        orders = {name: name for name in _ORDERS} | {"key": -files.size_bytes.astype(float)}
        plans = [
            [Plan.of(files, skew, **_defaults() | {"order": order}) for order in orders.values()]
            for skew in skews.values()
        ]
        workers = len(os.sched_getaffinity(0))

        def study():
            table = precopy.sweep(files, skews, order=orders, seed=_SEEDS, progress=False)
            return precopy.finish(table, _LIMITS)

        def core():
            groups = [(group, seed) for group in plans for seed in _SEEDS]
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(_run_groups, [groups[part::workers] for part in range(workers)]))

        def alone():
            _run_groups([([plan], seed) for group in plans for seed in _SEEDS for plan in group])

        waited = interleave({"study": study, "core": core}, repeats(9), clock=time.perf_counter)
        return waited, interleave({"study": study, "alone": alone}, repeats(9))

    def track_over_core(self, times) -> Figure:
        return figure(times[0]["study"] / times[0]["core"], at_most=1.2)

    def track_alone_over_study(self, times) -> Figure:
        return figure(times[1]["alone"] / times[1]["study"])


class TinyRuns:
    """CPU time of a run: 100,000 of ten files and fifty writes, each with a seed of its own."""

    unit = "us/run"

    def setup_cache(self):
        files = precopy.FileSet([100] * 10)
        writes = precopy.Workload.uniform(files)
        cycle = precopy.Cycle(writes=5, write_seconds=1.0, bandwidth=100.0)

        def tiny():
            precopy.sweep(files, writes, cycle=cycle, cycles=10, seed=range(_TINY), progress=False)

        return interleave({"tiny": tiny}, repeats(3))

    def track_run(self, times) -> Figure:
        return figure(times["tiny"] / _TINY * 1e6, at_most=50.0)


def _defaults():
    return {name: option.default for name, option in OPTIONS.items() if name != "seed"}


def _run_groups(groups):
    for plans, seed in groups:
        run_together(plans, generator(seed).bit_generator)
