"""What waits to be sent: units (files or blocks), how often each was found written, their ranks.

The decisions are the simulator's own: `precopy.rank` says which unit goes first, `precopy.take` how
many go, `precopy.Estimate` what "updates" means.  Invariant: a unit's number stays its own for the
whole migration; one that is gone costs nothing and does not wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from precopy.estimate import LAST_WRITE, Estimate
from precopy.files import FileSet
from precopy.options import Budget, LiveFrequency, Order
from precopy.ranking import rank, take

Granularity = Literal["block", "file"]
"""What a unit is: a block of a file, or a whole file, as in the paper."""

Units = npt.NDArray[np.int64]
"""Numbers of units."""


@dataclass(frozen=True)
class Policy:
    """How pending units are ranked and taken, in the words of `precopy.simulate`.

    Attributes
    ----------
    order, frequency, half_life, budget, read_only_first
        As for `precopy.simulate`.
    """

    order: Order = "update-frequency"
    frequency: LiveFrequency = "count"
    half_life: float | None = None
    budget: Budget = "carry"
    read_only_first: bool = True


@dataclass(frozen=True)
class HeldOut:
    """Units that are kept for the final copy, since each send of them was in vain.

    Attributes
    ----------
    units : int
        How many.
    left_bytes : int
        What will be left for the final copy, by their rates (model, rule bound).
    """

    units: int
    left_bytes: int


class Pending:
    """The units of one migration, as columns.

    Parameters
    ----------
    policy : Policy
        How they are ranked and taken.

    Attributes
    ----------
    cost_bytes : int64[units]
        What sending each costs on the link.
    read_only : bool[units]
        Never seen written.
    waiting : bool[units]
        To be sent.
    precopy_bytes, resent_bytes : int
        Costs of what was sent so far; those of them that were for the second time or later.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.cost_bytes: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.read_only: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.waiting: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.precopy_bytes = self.resent_bytes = 0
        self._estimate = Estimate(0, policy.frequency, policy.half_life, order=policy.order)
        self._sent_before: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._carried_bytes = self._available_bytes = 0
        self._ranked: Units = np.zeros(0, np.int64)
        self._count = self._cycles = 0
        self._dirty_cycles: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._held_out: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return self._count

    @property
    def waiting_bytes(self) -> int:
        """What a final copy would send now."""
        return int(self.cost_bytes[self.waiting].sum())

    @property
    def total_bytes(self) -> int:
        """What sending every unit once costs."""
        return int(self.cost_bytes.sum())

    @property
    def updates(self) -> npt.NDArray[Any]:
        """How often each unit was written, as the policy's estimate has it."""
        return self._estimate.updates

    def add(
        self,
        cost_bytes: npt.ArrayLike,
        read_only: npt.ArrayLike,
        history: npt.ArrayLike | None = None,
    ) -> Units:
        """Add units that wait; return their numbers, which follow one another.

        Parameters
        ----------
        cost_bytes : array_like of int, shape (k,)
        read_only : array_like of bool, shape (k,)
        history : array_like of int, shape (k,), optional
            How often each was written before, as far as it is known.
        """
        costs = np.asarray(cost_bytes, np.int64)
        first, self._count = self._count, self._count + len(costs)
        if self._count > len(self.waiting):
            self._make_room(max(self._count, 2 * len(self.waiting)))
        new = slice(first, self._count)
        self.cost_bytes[new] = costs
        self.read_only[new] = read_only
        self.waiting[new] = True
        self._sent_before[new] = False
        if history is not None and self.policy.order != LAST_WRITE:  # counts tell no last write
            self._estimate.updates[new] += np.asarray(history, self.updates.dtype)
        return np.arange(first, self._count)

    def _make_room(self, places: int) -> None:
        for name in _COLUMNS:
            column = getattr(self, name)
            more = np.zeros(places - len(column), column.dtype)
            setattr(self, name, np.concatenate([column, more]))
        self._estimate.grow(places)

    def moved(self, old: int, new: int, count: int) -> None:
        """Let `count` units from `new` on be what those from `old` on were, which are gone."""
        here, there = slice(old, old + count), slice(new, new + count)
        for column in (*(getattr(self, name) for name in _COLUMNS), self._estimate.updates):
            column[there] = column[here]
        self.gone(np.arange(old, old + count))

    def written(self, units: npt.ArrayLike) -> None:
        """Take in what one cycle wrote: each unit as often as it was written; it waits (again)."""
        found = np.asarray(units, np.int64)
        self._estimate.observe(found)
        self.waiting[found] = True
        self._cycles += 1
        self._dirty_cycles[np.unique(found)] += 1

    def begin_cycle(self, budget_bytes: int) -> None:
        """Give the next cycle its budget, with what the cycle before left to it."""
        self._available_bytes = budget_bytes + self._carried_bytes
        self._ranked = self.ranked()

    def ranked(self, *, everything: bool = False) -> Units:
        """Return what waits, in rank order; what is held out only if it is `everything`."""
        ids = np.flatnonzero(self.waiting if everything else self.waiting & ~self._held_out)
        if not len(ids):
            return ids
        files = FileSet(self.cost_bytes[ids], self.read_only[ids])
        updates = self._estimate.updates[ids]
        policy = self.policy
        place = rank(files, policy.order, None, updates, policy.read_only_first)
        units: Units = ids[place]
        return units

    def choose(self) -> Units:
        """Return what goes now for the budget that is left, in rank order.

        Nothing that the ranks depend on changes while a cycle sends.
        """
        ranked = self._ranked[self.waiting[self._ranked]]
        taken, _, self._carried_bytes = take(
            self.cost_bytes[ranked], self._available_bytes, self.policy.budget
        )
        return ranked[taken]

    def spent(self, link_bytes: int) -> None:
        """Note what crossed the link for the units chosen: it may be less than they could cost."""
        self._available_bytes = max(self._available_bytes - link_bytes, 0)

    def sent(self, units: Units) -> None:
        """Note that units were sent as they were: they wait no more."""
        costs = self.cost_bytes[units]
        self.precopy_bytes += int(costs.sum())
        self.resent_bytes += int(costs[self._sent_before[units]].sum())
        self._sent_before[units] = True
        self.waiting[units] = False

    def gone(self, units: Units) -> None:
        """Note that units are no more."""
        self.waiting[units] = False
        self.cost_bytes[units] = 0

    def hold_out(self, budget_bytes: int) -> HeldOut:
        """Keep for the final copy what is written faster than a cycle's budget could send it.

        The units that are written in the fewest cycles are served, as far as the budget goes; of
        the others those are held out that are written in at least every second cycle.

        References
        ----------
        Model, rule bound.
        """
        # Of what has not been sent, it is not known which units of a file are written.
        ids = np.flatnonzero((self._dirty_cycles > 0) & self._sent_before)
        rate = np.minimum(self._dirty_cycles[ids] / max(self._cycles, 1), 1.0)
        ids, rate = ids[np.argsort(rate, kind="stable")], np.sort(rate, kind="stable")
        costs = self.cost_bytes[ids]
        served = np.cumsum(costs * rate) <= budget_bytes
        left_bytes = int((costs[served] * rate[served]).sum() + costs[~served].sum())
        held = ids[~served & (rate >= 0.5)]
        self._held_out[held] = True
        return HeldOut(len(held), left_bytes)


_COLUMNS = ("cost_bytes", "read_only", "waiting", "_sent_before", "_dirty_cycles", "_held_out")
