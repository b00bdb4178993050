"""Whether a recording was long enough: one half of it against the other."""

from __future__ import annotations

from precopy.forecast.ahead import ahead
from precopy.forecast.numbers import Halves
from precopy.forecast.runs import Runs
from precopy.migration.pending import Granularity
from precopy.options import Order
from precopy.recorded import Recorded

MOST_APART = 10.0
"""Beyond this, a factor says no more than that the halves have nothing in common."""

LEAST_SECONDS = 4.0
"""A shorter recording is not cut."""


def compare(
    app: Recorded, runs: Runs, order: Order, granularity: Granularity, starts: int
) -> Halves | None:
    """Lay what the first half forecasts beside the second one; None for a short recording.

    Parameters
    ----------
    app : Recorded
        As it was recorded.
    runs : Runs
        How it is replayed.
    order, granularity
        Which replays are compared.
    starts : int
        From how many moments.
    """
    if app.seconds < LEAST_SECONDS:
        return None
    levels = []
    middle = app.seconds / 2
    for half in (ahead(app.part(0.0, middle)), app.part(middle, app.seconds)):
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
