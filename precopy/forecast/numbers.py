"""What a forecast says, as numbers: `Forecast` and its parts.

The names are those of a migration's report (`precopy.migration.Report`), so that both can be laid
side by side: `downtime_s`, `final_copy_bytes`, `precopy_bytes`, `resent_bytes`, `precopy_s`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from precopy._text import json_text
from precopy.access.updates import OUTSIDE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOW, HIGH = 0.1, 0.9
"""The quantiles over the start points that an interval begins and ends with."""


@dataclass(frozen=True)
class Interval:
    """A number that depends on the moment and the machine: its median, and where it lies.

    Attributes
    ----------
    median : float
        Over the start points.
    low, high : float
        Their quantiles 0.1 and 0.9, moved apart by the factor between the halves of the recording
        (`Halves.factor`), by 1.34 at least; of a stop, the low end on a quick machine, the high end
        on a slow one.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Iterable[float], factor: float = 1.0, base: float = 0.0) -> Interval:
        """Return the interval of samples; only what is above the base is moved apart.

        Examples
        --------
        >>> Interval.of([10, 20, 30], factor=2.0)
        Interval(median=20.0, low=6.0, high=56.0)
        """
        numbers = np.array(list(samples), np.float64)
        low, median, high = np.quantile(numbers, [LOW, 0.5, HIGH])
        return cls(
            float(median),
            float(min(base + (low - base) / factor, median)),
            float(max(base + (high - base) * factor, median)),
        )

    @property
    def width(self) -> float:
        """How many times the low end the high end is."""
        return self.high / self.low if self.low else float("inf") if self.high else 1.0


@dataclass(frozen=True)
class Outcome:
    """How a migration ends under one rule.

    Attributes
    ----------
    rule : str
        The stop rule.
    reached, of : int
        From how many start points it holds, and of how many.
    reached_if_slow : int
        The same on a slow machine (`Forecast.slowdown`).
    precopy_s : Interval or None
        How long the application runs on until then; None where it never holds.
    precopy_bytes, resent_bytes : Interval or None
        What is sent meanwhile, and what of it for the second time or later.
    final_copy_bytes : Interval or None
        What is sent while it stands.
    downtime_s : Interval or None
    """

    rule: str
    reached: int
    of: int
    reached_if_slow: int
    precopy_s: Interval | None = None
    precopy_bytes: Interval | None = None
    resent_bytes: Interval | None = None
    final_copy_bytes: Interval | None = None
    downtime_s: Interval | None = None


@dataclass(frozen=True)
class LongRun:
    """What waits at the end of a cycle when the pre-copy has gone on for long.

    Attributes
    ----------
    orders : dict of str to float
        Under each order, in bytes, on average over the recording.
    best_order : str
        The one that leaves least.
    pending_bytes : Interval
        Under the order of the forecast; over all cycles and start points.
    granularities : dict of str to float
        The average under the order of the forecast, of blocks and of whole files.
    bound_bytes : float
        What no policy that sends whole files comes below, on average.
    """

    orders: dict[str, float]
    best_order: str
    pending_bytes: Interval
    granularities: dict[str, float]
    bound_bytes: float


@dataclass(frozen=True)
class Hot:
    """Files that wait in the long run: one, or several whose names differ in digits only.

    Attributes
    ----------
    path : str
        With # for the digits, where it stands for several.
    files : int
        How many there are.
    kind : {"grows", "replaced", "rewritten", "comes and goes", "in place"}
        How they are written.
    size_bytes : int
        Of all together, on average while they exist.
    written_bytes_per_s, updates_per_s : float
    every_s : float or None
        How far apart their writes are, where they are far apart.
    final_copy_share, traffic_share : float
        Their part of what waits at the end of a cycle, and of what is sent, in the long run.
    advice : str
        What can be done; "" where nothing can.
    """

    path: str
    files: int
    kind: str
    size_bytes: int
    written_bytes_per_s: float
    updates_per_s: float
    every_s: float | None
    final_copy_share: float
    traffic_share: float
    advice: str = ""


@dataclass(frozen=True)
class Halves:
    """What the first half of the recording forecasts, beside the second one.

    Attributes
    ----------
    first_bytes, second_bytes : float
        What waits in the long run: as the first half forecasts it, and in the second one.
    factor : float
        How far the two are apart; at least 1, and at most `MOST_APART`.
    """

    first_bytes: float
    second_bytes: float
    factor: float


@dataclass(frozen=True, repr=False)
class Forecast:
    """What a migration of a recorded application would bring.

    Attributes
    ----------
    what : str
        What moves, for people.
    applications : list of str
        The applications that move together; empty where only a recording is known.
    files : int
        How many files there are now.
    total_bytes : int
        Their size together.
    written_files : int
        How many were written while recorded.
    recorded_s : float
        How long was recorded, in seconds.
    updates : int
        How many updates of files were recorded and are replayed.
    updates_left_out : dict of str to int
        How many write calls are not in the replay, by reason.
    bandwidth : float
        Bytes per second of the link.
    cycle_seconds : float
    granularity : {"block", "file"}
        What is ranked and sent. Blocks are an estimate.
    order, frequency, half_life, budget
        As for `precopy.simulate`.
    starts : int
        From how many moments of the recording it was replayed.
    outcome : Outcome
        What a migration brings that is stopped by its rule.
    goals_s : list of float
        Other downtimes that are asked for.
    goals : list of Outcome
        The same for each of them.
    patient : Outcome
        The same for a rule that waits for a good moment, ``stall(10) & dip(0.1)``.
    instead : Outcome
        The same as `outcome` for the other granularity.
    long_run : LongRun
    hot : list of Hot
        What keeps it up: those that wait most come first.
    advice : list of str
        What could be done.
    fixed_s : float
        What of each downtime is not the link: stopping, looking, deciding.
    fixed_parts : dict of str to float
        What that is made of, by the names of a migration's report.
    slowdown : tuple of float
        How many times as long this machine takes at the moment, usually and at worst; in the
        intervals.
    halves : Halves or None
        None where the recording is too short to be cut.
    complete : bool
        False if the log says that accesses are missing.
    notes : list of str
        What the reader should know.
    bands : dict
        What the picture draws: seconds, and pending_bytes of quantiles 0.1, 0.5, 0.9 by order.
    """

    what: str
    applications: list[str]
    files: int
    total_bytes: int
    written_files: int
    recorded_s: float
    updates: int
    updates_left_out: dict[str, int]
    bandwidth: float
    cycle_seconds: float
    granularity: str
    order: str
    frequency: str
    half_life: float | None
    budget: str
    starts: int
    outcome: Outcome
    goals_s: list[float]
    goals: list[Outcome]
    patient: Outcome
    instead: Outcome
    long_run: LongRun
    hot: list[Hot]
    advice: list[str]
    fixed_s: float
    fixed_parts: dict[str, float]
    slowdown: tuple[float, float]
    halves: Halves | None
    complete: bool = True
    notes: list[str] = field(default_factory=list)
    bands: dict[str, Any] = field(default_factory=dict)

    @property
    def seen_share(self) -> float:
        """How much of the writes of that time is replayed, from 0 to 1."""
        left_out = sum(n for why, n in self.updates_left_out.items() if why != OUTSIDE)
        return self.updates / (self.updates + left_out) if self.updates or left_out else 1.0

    @property
    def downtime_s(self) -> Interval | None:
        """The downtime of `outcome`; None where its rule never holds."""
        return self.outcome.downtime_s

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON knows it; an interval is an object of median, low, high."""
        return asdict(self) | {"seen_share": self.seen_share}

    def to_json(self, path: str | Path | None = None) -> str:
        """Return all of it as JSON text, and write it to a file if one is given."""
        return json_text(self.to_dict(), path)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw what waits over time, the downtime goals, and which files keep it up.

        Parameters
        ----------
        path : path, optional
            Write it there as well, in the format of the name's ending.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from precopy.forecast.picture import draw

        return draw(self, path)

    def __str__(self) -> str:
        from precopy.forecast.report import screen

        return screen(self)

    def __repr__(self) -> str:
        from precopy.forecast.report import downtime_text

        return (
            f"<Forecast of {self.what}: {downtime_text(self.outcome)}; "
            f"{self.outcome.reached} of {self.outcome.of} start points>"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
