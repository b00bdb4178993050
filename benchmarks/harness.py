"""What every benchmark uses: interleaved timing, and figures that know how sure they are.

Machines differ and are shared, so nothing here is a claim about seconds.  Subjects that are to be
compared are timed in one process in turn, A B C A B C ..., and compared repetition by repetition;
a figure is the median of these ratios, with the quartiles as its spread.  Time is CPU time of the
process unless a benchmark is about waiting: what a neighbour takes from us is not counted.
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

QUICK = bool(os.environ.get("PRECOPY_BENCHMARKS_QUICK"))

Name = TypeVar("Name", bound=Hashable)
Samples = npt.NDArray[np.float64]


class Figure(float):
    """A median that remembers its quartiles and what is required of it."""

    low: float
    high: float
    at_most: float | None
    at_least: float | None

    @property
    def holds(self) -> bool | None:
        """Whether the requirement holds; None without one."""
        if self.at_most is not None:
            return self <= self.at_most
        if self.at_least is not None:
            return self >= self.at_least
        return None


def figure(samples: Any, at_most: float | None = None, at_least: float | None = None) -> Figure:
    """Return the median of `samples` as a figure with a requirement."""
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75]).tolist()
    result = Figure(middle)
    result.low, result.high = low, high
    result.at_most, result.at_least = at_most, at_least
    return result


def repeats(full: int) -> int:
    """Return how often to repeat: `full` times, or a few times for a quick look."""
    return min(full, 5) if QUICK else full


def interleave(
    subjects: dict[Name, Callable[[], object]],
    repeats: int,
    least_seconds: float = 2e-3,
    clock: Callable[[], float] = time.process_time,
) -> dict[Name, Samples]:
    """Time the subjects in turn, `repeats` times round.

    Parameters
    ----------
    subjects : dict of callable
        What to time; each is called twice beforehand.
    repeats : int
        Rounds.
    least_seconds : float
        A subject that is faster than this is called several times in a row each time.
    clock : callable
        ``time.process_time``, or ``time.perf_counter`` where waiting counts.

    Returns
    -------
    dict of float64[repeats]
        Seconds per call.
    """
    calls = {}
    for name, subject in subjects.items():
        subject()
        calls[name] = max(1, math.ceil(least_seconds / max(_seconds(subject, 1, clock), 1e-7)))
    times = {name: np.empty(repeats) for name in subjects}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for repeat in range(repeats):
            for name, subject in subjects.items():
                times[name][repeat] = _seconds(subject, calls[name], clock)
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return times


def _seconds(subject: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        subject()
    return (clock() - start) / calls
