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

USUAL = 1.34
"""Three in four halves of recordings told the other half within this factor
(``benchmarks/services/halves.py``): no forecast claims to know more."""

LEAST_SECONDS = 4.0
"""A shorter recording is not cut."""


def compare(app: Recorded, runs: Runs, order: Order, granularity: Granularity) -> Halves | None:
    """Lay what the first half forecasts beside the second one; None for a short recording.

    Parameters
    ----------
    app : Recorded
        As it was recorded.
    runs : Runs
        How it is replayed.
    order, granularity
        Which replays are compared.
    """
    if app.seconds < LEAST_SECONDS:
        return None
    middle = app.seconds / 2
    first, second = (
        _level_bytes(half, runs, order, granularity)
        for half in (ahead(app.part(0.0, middle)), app.part(middle, app.seconds))
    )
    return Halves(first, second, apart(first, second))


def _level_bytes(half: Recorded, runs: Runs, order: Order, granularity: Granularity) -> float:
    """Return what waits on average while a half is replayed once, all having been sent before.

    What leads from its end back to its beginning, the application has not done.
    """
    own = Runs.of(half, runs.policy, runs.cycle, runs.executor, runs.progress)
    idle = own.cycles - own.steady_cycles
    count = max(int(half.seconds / own.cycle.seconds), 1)
    curves = Runs.of(
        half.later(idle * round(own.cycle.seconds * 1e9)),
        runs.policy,
        runs.cycle,
        runs.executor,
        runs.progress,
    ).curves([order], [granularity], [0.0], idle + count)
    final = curves[order, granularity][0].final_copy_bytes
    return float(final[-count:].mean())


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
