"""How often each file is updated, estimated as the simulator does: what `rank` takes as updates.

The C core has the same three estimates inside its loop. This is them for a mover of your own, and
for the live migration; driven through `rank` and `take`, both give identical integers.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from precopy import _check, _core
from precopy.options import LiveFrequency, Order

_BITS = 512
"""Scores are divided by two to this power before weights could overflow."""

LAST_WRITE = "least-recently-updated"


class Estimate:
    """What "updates" means for each file, cycle by cycle.

    Parameters
    ----------
    files : int
        How many files there are.
    frequency : {"count", "last-cycle", "exponential"}
        The count since the start, that of the last cycle only, or a count that halves every
        `half_life` cycles.
    half_life : float, optional
        In cycles, at least 0.01; only for (and required by) ``frequency="exponential"``.
    history : array_like of int, shape (files,), optional
        Updates of each file before the first cycle.
    order : str, default "update-frequency"
        The order that it is for: "least-recently-updated" wants the cycle of the last write, and
        neither `frequency` nor `history`.

    Attributes
    ----------
    updates : int64[files] or float64[files]
        What `rank` takes; scores (float) for "exponential".

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range.

    References
    ----------
    Paper, section 4.2.2; model, rules estimate.*.

    Examples
    --------
    >>> import precopy
    >>> estimate = precopy.Estimate(3)
    >>> estimate.observe([0, 2, 0])
    >>> estimate.updates.tolist()
    [2, 0, 1]
    """

    def __init__(
        self,
        files: int,
        frequency: LiveFrequency = "count",
        half_life: float | None = None,
        history: npt.ArrayLike | None = None,
        order: Order = "update-frequency",
    ) -> None:
        count = _check.integer("files", files)
        self.frequency = _check.choice("frequency", frequency, get_args(LiveFrequency))
        if (half_life is None) == (frequency == "exponential"):
            raise ValueError(
                'half_life: expected it with frequency="exponential" and only then, got '
                f"{_check.shown(half_life)} with {_check.shown(frequency)}"
            )
        self._last_write = _check.choice("order", order, get_args(Order)) == LAST_WRITE
        if self._last_write and (frequency != "count" or history is not None):
            raise ValueError(
                f'order: expected neither frequency nor history with "{LAST_WRITE}", got '
                f"{_check.shown(frequency)} and {_check.shown(history)}"
            )
        self._half_life = 1.0 if half_life is None else _check.positive("half_life", half_life)
        if self._half_life < _core.HALF_LIFE_MIN:
            raise ValueError(
                f"half_life: expected at least {_core.HALF_LIFE_MIN}, got {_check.shown(half_life)}"
            )
        known = np.zeros(count, np.int64) if history is None else history
        kind = np.float64 if frequency == "exponential" else np.int64
        self.updates: npt.NDArray[Any] = _check.counts("history", known, count).astype(kind)
        self._cycle = 0
        self._scaled_bits = 0.0

    def observe(self, file_id: npt.ArrayLike) -> None:
        """Take in the writes of one cycle: the ids of the files, each as often as it was written.

        Parameters
        ----------
        file_id : array_like of int
            In any order. A cycle without writes is observed, too.
        """
        written = np.asarray(file_id, dtype=np.int64).reshape(-1)
        self._cycle += 1
        if self.frequency == "exponential":
            bits = self._cycle / self._half_life
            while bits - self._scaled_bits >= _BITS:
                self._scaled_bits += _BITS
                self.updates *= 2.0**-_BITS
            # One by one, since a sum of doubles depends on how it is made.
            np.add.at(self.updates, written, math.exp2(bits - self._scaled_bits))
            return
        if self._last_write:
            self.updates[written] = self._cycle
            return
        if self.frequency == "last-cycle":
            self.updates[:] = 0
        np.add.at(self.updates, written, 1)

    def grow(self, files: int) -> None:
        """Make room for files that have appeared; nothing is known of them.

        Parameters
        ----------
        files : int
            How many there are now, at least as many as before.
        """
        more = _check.integer("files", files, least=len(self.updates)) - len(self.updates)
        self.updates = np.concatenate([self.updates, np.zeros(more, self.updates.dtype)])
