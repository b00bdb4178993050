"""What a recording leaves alone, and so what a link can keep clean of it at the most.

`bound` says why. Invariant: whatever is returned as a bound is below what any policy leaves.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from precopy import _clean
from precopy._clean import Floats, Ints
from precopy.recorded import Recorded
from precopy.run import Cycle

Saved = Literal["carry", "whole", "skip"]


def of_long_run(app: Recorded, cycle: Cycle, start_s: float = 0.0) -> Rest:
    """Return what is left alone in the long run: in some laps, after some others.

    Parameters
    ----------
    app : Recorded
    cycle : Cycle
        How long cycles are.
    start_s : float
        Where in the recording the run begins, in seconds.
    """
    lap = _clean.lap_cycles(app, cycle)
    most = min(_ROWS / max(len(app.writes), 1), _CYCLES / lap)
    laps = int(min(max(most, 2), 8))
    count = _whole_laps(lap, laps)
    first = laps * math.ceil(lap) + 2
    return Rest(_clean.pieces(app, cycle, 2 * first + count, start_s), first, first + count)


# How many rows, and cycles, are looked at in laps before and after those that count.
_ROWS, _CYCLES = 2_000_000, 2000


def _whole_laps(lap: float, most: int) -> int:
    """Return a number of cycles that is nearly a whole number of laps."""
    least = max(1, math.ceil(1 / lap))
    of = range(least, least + most)
    laps = min(of, key=lambda k: round(abs(k * lap - round(k * lap)) / k, 9))
    return max(round(laps * lap), 1)


class Rest:
    """What is left alone at the ends of the cycles first … end - 1.

    With a later `first` than 1 it is about the long run. Then a run that was there at the begin of
    all cycles, or that is there at their end, costs nothing, since it may last for ever; and so
    does one that is too long to be seen whole. What begins at the ends that count stands for what
    reaches into them: each lap begins the same runs.

    Parameters
    ----------
    parts : Pieces
    first, end : int
    """

    def __init__(self, parts: _clean.Pieces, first: int, end: int) -> None:
        last = parts.last() - 1
        long = last - parts.clean_from > first - 3
        forever = ((last >= parts.cycles) | (parts.clean_from == 1) | long) & (first > 1)
        self._first, self._end = first, end
        clean = parts.clean_bytes(first, end)
        self._dirty = float((parts.present_bytes(first, end) - clean).sum())
        at_rest = float(clean[~forever].sum())
        # Runs, each at the piece that begins it.
        begins_run = parts.run == np.arange(len(parts.run))
        heads = np.flatnonzero(begins_run & ~forever & (last >= parts.clean_from))
        heads = heads[np.argsort(parts.clean_from[heads], kind="stable")]
        self._begin, self._last = parts.clean_from[heads], last[heads]
        self._cost, self._least = parts.cost_bytes()[heads], parts.least_bytes()[heads]
        whole = _sums(parts.run, parts.clean_bytes(1, parts.cycles + 1), len(parts.run))
        begins = (self._begin >= first) & (self._begin < end)
        self._value = np.where(begins, whole[heads], 0.0)
        # Where laps are no whole number of cycles, no run of a file may begin there, or two.
        self._at_rest = min(at_rest, float(self._value.sum()))
        self._largest = float(parts.size_bytes[~forever].max(initial=0))

    def bound_bytes(self, budget_bytes: float, *, saves: bool = True) -> float:
        """Return the mean final copy that no policy comes below.

        Parameters
        ----------
        budget_bytes : float
            What the link sends in a cycle.
        saves : bool
            Whether a cycle may send what another one saved, as much as the largest file.
        """
        cycles = self._end - self._first
        carried = self._largest if saves else 0.0
        waiting = self.waiting_bytes(budget_bytes)
        least = float(np.maximum(waiting - carried, 0.0).sum())
        worth = self._value > 0
        covered = _filled(self._value[worth], self._cost[worth], budget_bytes * cycles)
        return (self._dirty + max(least, self._at_rest - covered)) / cycles

    def waiting_bytes(self, budget_bytes: float) -> Floats:
        """Return, for each cycle, what is at rest and cannot have been sent, if none is carried.

        For each later end x, what lasts until x arrives with its runs and is served in order of
        its end, the last first: a queue that a cycle shortens by its budget.
        """
        queue = np.zeros(self._end + 1)  # by x: what waits and lasts at least until x
        until = np.minimum(self._last, self._end)
        at = np.searchsorted(self._begin, np.arange(self._end + 1))
        found = np.zeros(self._end)
        for cycle in range(1, self._end):
            arrived = slice(at[cycle], at[cycle + 1])
            lasting = np.bincount(until[arrived], self._least[arrived], self._end + 1)
            queue += np.cumsum(lasting[::-1])[::-1]
            queue = np.maximum(queue - budget_bytes, 0.0)
            found[cycle] = queue[cycle]
        return found[self._first :]


def _sums(group: Ints, value: Floats, groups: int) -> Floats:
    return np.bincount(group, value, groups).astype(np.float64)


def _filled(value: Floats, cost: Floats, budget: float) -> float:
    """Return the most value that a budget buys, where every item can be had in part."""
    paid = cost > 0
    free = float(value[~paid].sum())
    value, cost = value[paid], cost[paid]
    best = np.argsort(-(value / cost), kind="stable")
    left = np.maximum(budget - (np.cumsum(cost[best]) - cost[best]), 0.0)
    return free + float(np.sum(value[best] * np.minimum(left / cost[best], 1.0)))
