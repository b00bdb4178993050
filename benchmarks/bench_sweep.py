"""What a study costs beside its runs: `sweep` and `finish` against the core called directly."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from harness import QUICK, Figure, figure, interleave, repeats

import precopy
from precopy import _core
from precopy.simulation import Plan
from precopy.sweep import parameter_defaults

_LIMITS = np.linspace(1.5e9, 6e9, 50)


class Study:
    """1,000 runs of the paper's size, 5 orders x 20 skews x 10 seeds, with 50 limits each.

    The core's share is the same runs by the same two threads, each called once with its arguments
    ready: no checks, no curves put together, no limits.
    """

    unit = "x core"

    def setup_cache(self):
        files = precopy.paper.files()
        skews = {
            f"1:1:1:{hot}": precopy.Workload.shares(files, (1, 1, 1, hot))
            for hot in np.geomspace(1, 97, 4 if QUICK else 20).round(2)
        }
        seeds = range(2 if QUICK else 10)
        orders = {name: name for name in _core.CHOICES["order"]}
        orders["key"] = -files.size_bytes.astype(float)

        def study():
            table = precopy.sweep(files, skews, order=orders, seed=seeds, progress=False)
            return precopy.finish(table, _LIMITS)

        plans = []
        for skew in skews.values():
            for order in orders.values():
                plan = Plan.of(files, skew, **{**_arguments(), "order": order})
                plans.extend((plan, seed) for seed in seeds)
        workers = len(os.sched_getaffinity(0))

        def core():
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(_run_all, [plans[part::workers] for part in range(workers)]))

        return interleave({"study": study, "core": core}, repeats(9), clock=time.perf_counter)

    def track_over_core(self, times) -> Figure:
        return figure(times["study"] / times["core"], at_most=1.2)


def _arguments():
    return {name: value for name, value in parameter_defaults().items() if name != "seed"}


def _run_all(plans):
    for plan, seed in plans:
        _core.simulate(
            size_bytes=plan.files.size_bytes,
            read_only=plan.files.read_only,
            by_size=plan.files.by_size,
            trace=None,
            alias=plan.writes.alias,
            bit_generator=np.random.default_rng(seed).bit_generator,
            cancel=None,
            **plan.arguments,
        )
