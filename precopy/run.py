"""What a simulated migration is measured in and what it leaves: `Cycle` and `Run`."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precopy import _check
from precopy._units import state_units

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Cycle:
    """One pre-copy cycle: a fixed number of writes, and what the link sends meanwhile.

    Where writes have their times, a cycle can be a stretch of time instead: `Cycle.of_seconds`.

    Parameters
    ----------
    writes : int, default 500
        Write calls per cycle.
    write_seconds : float, default 0.03
        Seconds per write call.
    bandwidth : float, default 5e6
        Bytes per second that the link sends.

    Raises
    ------
    ValueError
        If a value is not above 0, or the budget is less than one byte.

    References
    ----------
    Paper, section 4.1 and table 2; model, rule cycle. The paper's table says 5 Mbit/s, its other
    figures (75 MB per cycle) mean 5 MB/s.

    Examples
    --------
    >>> import precopy
    >>> cycle = precopy.Cycle()
    >>> cycle.seconds, cycle.budget_bytes
    (15.0, 75000000)
    """

    writes: int = 500
    write_seconds: float = 0.03
    bandwidth: float = 5e6

    def __post_init__(self) -> None:
        object.__setattr__(self, "writes", _check.integer("writes", self.writes, least=1))
        for name in ("write_seconds", "bandwidth"):
            object.__setattr__(self, name, _check.positive(name, getattr(self, name)))
        exact = self.bandwidth * self.writes * self.write_seconds
        if not 0.5 < exact < math.inf:
            raise ValueError(
                "bandwidth: expected a budget of at least 1 byte per cycle, got "
                f"{self.bandwidth} B/s x {self.writes} x {self.write_seconds} s = {exact} B"
            )

    @classmethod
    def of_seconds(cls, seconds: float, bandwidth: float) -> Cycle:
        """Return a cycle that lasts so long, however much is written meanwhile.

        Parameters
        ----------
        seconds : float
            How long it lasts; it is rounded to whole nanoseconds.
        bandwidth : float
            Bytes per second that the link sends.

        Returns
        -------
        Cycle
            Its `writes` are 0, which means as many as there are.

        Raises
        ------
        ValueError
            If a value is not above 0, or the budget is less than one byte.

        References
        ----------
        Model, rule replay.cycle.

        Examples
        --------
        >>> import precopy
        >>> cycle = precopy.Cycle.of_seconds(0.5, bandwidth=12.5e6)
        >>> cycle.seconds, cycle.budget_bytes, cycle.in_time
        (0.5, 6250000, True)
        """
        one = cls(1, _check.positive("seconds", seconds), bandwidth)
        if not 1 <= one.seconds * 1e9 <= _check.INT64_MAX:
            raise ValueError(f"seconds: expected 1 ns to 292 years, got {_check.shown(seconds)}")
        cycle = cls.__new__(cls)
        values = {"writes": 0, "write_seconds": one.seconds, "bandwidth": one.bandwidth}
        for name, value in values.items():
            object.__setattr__(cycle, name, value)
        return cycle

    @property
    def in_time(self) -> bool:
        """Whether it is a stretch of time, not a number of writes."""
        return self.writes == 0

    @property
    def seconds(self) -> float:
        """How long a cycle lasts, in seconds."""
        return (self.writes or 1) * self.write_seconds

    @property
    def budget_bytes(self) -> int:
        """How many bytes the link sends in a cycle."""
        return round(self.bandwidth * (self.writes or 1) * self.write_seconds)

    def __repr__(self) -> str:
        if self.in_time:
            return f"Cycle.of_seconds({self.write_seconds!r}, bandwidth={self.bandwidth!r})"
        return (
            f"Cycle(writes={self.writes}, write_seconds={self.write_seconds!r}, "
            f"bandwidth={self.bandwidth!r})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """What a simulated migration did, cycle by cycle.

    Attributes
    ----------
    final_copy_bytes : int64[cycles run]
        What a final copy after each cycle would have to send: the bytes of the pending files.
    precopy_bytes : int64[cycles run]
        Bytes sent since the start.
    resent_bytes : int64[cycles run]
        Those of them that were sent for the second time or later.
    rounds_completed : int64[cycles run] or None
        Rounds completed since the start; None unless ``schedule="rounds"``.
    present_bytes : int64[cycles run] or None
        The size of all files that exist after each cycle; None unless the writes are a trace in
        time, in which files come and go.
    stop : str
        Why the run ended: "cycles" (all that were asked for), "threshold" (reached), "rounds" (all
        that were asked for) or "clean" (a round began with nothing to send).
    cycle : Cycle
    order, schedule : str
        As given; a key of the caller's own is called "key".
    threshold_bytes : int or None
    total_bytes : int
        The size of all files together, where the run begins.
    start_s : float
        Where in a trace in time it begins, in seconds.
    seed : int or another seed, or None
        What reproduces the writes that were drawn: the seed as given, the one drawn where none was
        given, or a copy of a generator as it was before the run. None for a trace.
    """

    final_copy_bytes: npt.NDArray[np.int64]
    precopy_bytes: npt.NDArray[np.int64]
    resent_bytes: npt.NDArray[np.int64]
    rounds_completed: npt.NDArray[np.int64] | None
    stop: str
    cycle: Cycle
    order: str
    schedule: str
    threshold_bytes: int | None
    total_bytes: int
    present_bytes: npt.NDArray[np.int64] | None = None
    start_s: float = 0.0
    _seed: Any = None

    @property
    def seed(self) -> Any:
        """What reproduces the writes that were drawn; a generator is a new copy each time."""
        return copy.deepcopy(self._seed)

    @property
    def cycles(self) -> int:
        """How many cycles have run."""
        return len(self.final_copy_bytes)

    @property
    def converged(self) -> bool:
        """Whether the final copy came down to the threshold; False if none was given."""
        return self.stop == "threshold"

    @property
    def precopy_s(self) -> float:
        """How long the pre-copy lasted, in seconds; the application runs."""
        return self.cycles * self.cycle.seconds

    @property
    def downtime_s(self) -> float:
        """How long the final copy after the last cycle takes, in seconds, while nothing runs."""
        left = int(self.final_copy_bytes[-1]) if self.cycles else self.total_bytes
        return left / self.cycle.bandwidth

    @property
    def duration_s(self) -> float:
        """The whole migration in seconds: pre-copy and downtime."""
        return self.precopy_s + self.downtime_s

    @cached_property
    def steps(self) -> npt.NDArray[np.int64]:
        """The number of each cycle, from 1."""
        return np.arange(1, self.cycles + 1)

    def to_xarray(self) -> xarray.Dataset:
        """Return the curves as a dataset over ``step``, with units and long names.

        `precopy.finish` and the pictures that need no grid of runs take it as they take a sweep.

        Returns
        -------
        xarray.Dataset
            Variables final_copy_bytes, precopy_bytes and resent_bytes (and rounds_completed for
            rounds, present_bytes in time); order, bandwidth, cycle_seconds, total_bytes, cycles_run
            and converged are coordinates, as far as a table needs them, and all scalars of the run
            attributes that NetCDF and Zarr can hold (a seed as text).

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([100, 200])
        >>> run = precopy.simulate(files, precopy.Workload.uniform(files), cycles=2, seed=1)
        >>> run.to_xarray().sizes["step"]
        2
        """
        import xarray

        curves = {name: getattr(self, name) for name in CURVES}
        if self.rounds_completed is not None:
            curves["rounds_completed"] = self.rounds_completed
        if self.present_bytes is not None:
            curves["present_bytes"] = self.present_bytes
        dataset = xarray.Dataset(
            {name: ("step", values, curve_attrs(name)) for name, values in curves.items()},
            {
                "step": ("step", self.steps, STEP_ATTRS),
                "order": self.order,
                "bandwidth": ((), self.cycle.bandwidth, {"units": "bytes/s"}),
                "cycle_seconds": ((), self.cycle.seconds, {"units": "s"}),
                "total_bytes": ((), self.total_bytes, {"long_name": "all files", "units": "bytes"}),
                "cycles_run": self.cycles,
                "converged": self.converged,
            },
        )
        dataset.attrs = {
            "order": self.order,
            "schedule": self.schedule,
            "stop": self.stop,
            "writes_per_cycle": self.cycle.writes,
            "write_seconds": self.cycle.write_seconds,
            "bandwidth": self.cycle.bandwidth,
            "downtime_s": self.downtime_s,
            "duration_s": self.duration_s,
        }
        if self.threshold_bytes is not None:
            dataset.attrs["threshold_bytes"] = self.threshold_bytes
        if self.cycle.in_time:
            dataset.attrs[CYCLES_OF] = "seconds"
        if self.present_bytes is not None:
            dataset.attrs["start_s"] = self.start_s
        if self._seed is not None:
            dataset.attrs["seed"] = str(self._seed)
        return state_units(dataset)

    def _rows(self) -> list[tuple[str, str]]:
        text = _check.bytes_text
        sent, resent = int(self.precopy_bytes[-1]), int(self.resent_bytes[-1])
        return [
            ("order", f"{self.order}, schedule {self.schedule}"),
            ("stopped by", f"{self.stop} after {self.cycles} cycles"),
            (
                "final copy",
                f"{text(int(self.final_copy_bytes[-1]))} of {text(self.total_bytes)} "
                f"(least {text(int(self.final_copy_bytes.min()))})",
            ),
            ("pre-copy", f"{text(sent)}, {text(resent)} of it sent again"),
            ("downtime", f"{self.downtime_s:.1f} s after {self.precopy_s:.0f} s of pre-copy"),
            *([("seed", str(self._seed))] if isinstance(self._seed, int) else []),
        ]

    def __repr__(self) -> str:
        if not self.cycles:
            return f"<Run: order {self.order}, no cycle run>"
        return "<Run: " + "; ".join(f"{name} {value}" for name, value in self._rows()) + ">"

    def _repr_html_(self) -> str:
        if not self.cycles:
            return f"<code>{escape(repr(self))}</code>"
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        return (
            f"<table><caption><b>Run</b></caption><tbody>{rows}"
            f"<tr><th>final copy over cycles</th><td>{_sparkline(self)}</td></tr></tbody></table>"
        )


def as_dataset(name: str, table: Any) -> xarray.Dataset:
    """Return the table of one `Run` or of a sweep, which is passed on: what pictures take.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    table : Run or xarray.Dataset

    Raises
    ------
    TypeError
        For anything else.

    Examples
    --------
    >>> import precopy
    >>> from precopy.run import as_dataset
    >>> files = precopy.FileSet([100, 200])
    >>> run = precopy.simulate(files, precopy.Workload.uniform(files), cycles=2, seed=1)
    >>> as_dataset("dataset", run).sizes["step"]
    2
    """
    import xarray

    if isinstance(table, Run):
        return table.to_xarray()
    if not isinstance(table, xarray.Dataset):
        raise TypeError(
            f"{name}: expected a dataset of precopy.sweep or a Run, got {_check.shown(table)}"
        )
    return table


CURVES = ("final_copy_bytes", "precopy_bytes", "resent_bytes")
CYCLES_OF = "cycles_of"
"""The attribute of a table that is "seconds" where its cycles are stretches of time."""

STEP_ATTRS = {"long_name": "pre-copy cycle"}
_LONG_NAMES = {
    "final_copy_bytes": "final copy",
    "precopy_bytes": "pre-copy since the start",
    "resent_bytes": "resent since the start",
    "present_bytes": "all files that exist",
}


def curve_attrs(name: str) -> dict[str, str]:
    """Return the long name and unit of a recorded curve."""
    if name == "rounds_completed":
        return {"long_name": "rounds completed"}
    return {"long_name": _LONG_NAMES[name], "units": "bytes"}


def _sparkline(run: Run, width: int = 240, height: int = 40) -> str:
    at = np.unique(np.linspace(0, run.cycles - 1, min(run.cycles, width)).astype(int))
    x = at / max(run.cycles - 1, 1) * width
    y = height * (1 - run.final_copy_bytes[at] / max(run.total_bytes, 1))
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<svg width="{width}" height="{height + 2}" role="img" aria-label="final copy">'
        f'<polyline points="{points}" fill="none" stroke="currentColor"/></svg>'
    )
