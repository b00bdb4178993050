"""What a log lets expect of a migration: the forecast of `precopy.forecast`, for its settings."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from precopy.access.identify import Identification
from precopy.access.log import AccessLog
from precopy.forecast.fixed import Slowdown
from precopy.forecast.forecast import GOALS_S, forecast
from precopy.forecast.moves import moves
from precopy.forecast.numbers import Forecast
from precopy.forecast.runs import Runs
from precopy.migration.settings import Settings
from precopy.run import Cycle

_STARTS = 5
_MOST_CYCLES = 500


def foretell(
    log: AccessLog | None, what: object, sizes: Mapping[bytes, int], settings: Settings
) -> Forecast | None:
    """Return the forecast of a migration; None where no log or no bandwidth is given.

    Parameters
    ----------
    log : AccessLog or None
    what : Identification, path or iterable of path
        What moves; writes are known of an identification's applications only.
    sizes : mapping of bytes to int
        The files that move: size by path.
    settings : Settings
    """
    if log is None or settings.bandwidth is None or not isinstance(what, Identification):
        return None
    if not what.applications:
        return None
    moving = moves(log, what, sizes=sizes)
    return forecast(
        moving.app,
        settings.bandwidth,
        downtime_s=settings.downtime_s or GOALS_S,
        until=settings.rule,
        granularity=settings.granularity,
        order=settings.order,
        frequency=settings.frequency,
        half_life=settings.half_life,
        budget=settings.budget,
        read_only_first=settings.read_only_first,
        cycle_seconds=settings.pace.seconds,
        slowdown=Slowdown.measured(),
        progress=False,
    )


def curve(
    log: AccessLog,
    what: Identification,
    sizes: Mapping[bytes, int],
    settings: Settings,
    bandwidth: float,
    cycle_seconds: float,
    cycles: int,
    began_s_ago: float,
) -> dict[str, list[float]]:
    """Return what was to be expected of a migration that is done: pending bytes over seconds.

    Parameters
    ----------
    log, what, sizes, settings
        As for `foretell`.
    bandwidth, cycle_seconds : float
        As they were.
    cycles : int
        How many there were.
    began_s_ago : float
        When it began; what was recorded since then is left out, if there is anything before.
    """
    before_s = time.time() - began_s_ago - log.begin_ns / 1e9
    app = moves(log, what, sizes=sizes).app
    if 2 * cycle_seconds < before_s < app.seconds:
        app = app.part(0.0, before_s)
    cycle = Cycle.of_seconds(cycle_seconds, bandwidth)
    runs = Runs.of(app, settings.policy, cycle, progress=False)
    count = min(cycles, _MOST_CYCLES)
    found = runs.curves([settings.order], [settings.granularity], app.starts(_STARTS), count)
    own = found[settings.order, settings.granularity]
    pending = np.median([each.final_copy_bytes for each in own], axis=0)
    return {
        "seconds": (np.arange(count + 1) * cycle.seconds).tolist(),
        "pending_bytes": [float(np.median([each.total_bytes for each in own])), *pending.tolist()],
    }
