"""Whether a recording was long enough: one half of it against the other."""

from __future__ import annotations

from precopy.forecast.numbers import Halves
from precopy.forecast.runs import Runs
from precopy.migration.pending import Granularity
from precopy.options import Order

MOST_APART = 10.0
"""Beyond this, a factor says no more than that the halves have nothing in common."""

LEAST_SECONDS = 4.0
"""A shorter recording is not cut."""


def compare(runs: Runs, order: Order, granularity: Granularity, starts: int) -> Halves | None:
    """Replay each half on its own; None where the recording is too short."""
    app = runs.app
    if app.seconds < LEAST_SECONDS:
        return None
    levels = []
    for first_s, last_s in ((0.0, app.seconds / 2), (app.seconds / 2, app.seconds)):
        half = app.part(first_s, last_s)
        own = Runs.of(half, runs.policy, runs.cycle, runs.executor, runs.progress)
        curves = own.curves([order], [granularity], half.starts(starts))
        levels.append(own.level_bytes(curves[order, granularity]))
    return Halves(levels[0], levels[1], apart(*levels))


def apart(one: float, other: float) -> float:
    """Return by which factor two levels differ.

    Examples
    --------
    >>> apart(2.0, 3.0), apart(0.0, 0.0), apart(0.0, 5.0)
    (1.5, 1.0, 10.0)
    """
    less, more = sorted((one, other))
    if more == 0:
        return 1.0
    return min(more / less, MOST_APART) if less > 0 else MOST_APART
