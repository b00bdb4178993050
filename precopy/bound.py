"""The optimal bounds: what no policy can beat in the long run.

`final_copy_bytes` is for writes that are drawn independently of each other, and policies that do
not know the future; `trace_final_copy_bytes` for a recording, and for every policy.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from precopy import _check, _clean
from precopy.files import FileSet
from precopy.recorded import Recorded
from precopy.run import Cycle
from precopy.simulation import check_shares
from precopy.trace import WriteTrace
from precopy.workload import Workload

_Floats = npt.NDArray[np.float64]


def final_copy_bytes(
    files: FileSet,
    workload: Workload,
    cycle: Cycle = Cycle(),
) -> float:
    """Return the fluid lower bound on the long-run mean final copy, in bytes.

    With p the share of a file, q = (1 - p) ** writes is its chance to survive a cycle clean. A
    file of size s that is always sent again costs s (1 - q) bytes per cycle and keeps s q bytes
    clean, so a byte sent buys most where p is lowest, whatever the size. The bound fills the
    cycle's budget in ascending p, the last file fractionally; what stays uncovered is pending.

    It holds for writes that are drawn independently of each other, as a `Workload` draws them. Real
    traces are often bursty: while a file is at rest a send of it lasts, and runs come far below
    what the trace's shares would give here (to a 25th was seen). So a `WriteTrace` has no bound
    here; a recording has its own, `trace_final_copy_bytes`.

    Parameters
    ----------
    files : FileSet
        The files; read-only files cost nothing in the long run.
    workload : Workload
        Each file's share of the writes.
    cycle : Cycle
        Writes and budget of one cycle.

    Returns
    -------
    float
        Bytes. Single cycles fluctuate below it, long-run means do not.

    Raises
    ------
    ValueError, TypeError
        For what `simulate` would refuse: files and workload that do not belong together, shares of
        read-only files; for a `WriteTrace`; and for a workload that switches, whose parts have
        bounds of their own.

    References
    ----------
    Model, rule bound. The paper has no such bound; on its workload the update-frequency order comes
    within one percent of it.

    Examples
    --------
    >>> import precopy
    >>> files = precopy.paper.files()
    >>> round(precopy.bound.final_copy_bytes(files, precopy.paper.skewed()) / 1e6, 1)
    1713.6
    """
    if not isinstance(files, FileSet):
        raise TypeError(f"files: expected a FileSet, got {_check.shown(files)}")
    if isinstance(workload, WriteTrace):
        raise TypeError(
            "workload: expected a Workload, got a trace, whose writes are not independent: "
            f"{_check.shown(workload)}; Workload(trace.counts(files)) has its shares"
        )
    if not isinstance(workload, Workload):
        raise TypeError(f"workload: expected a Workload, got {_check.shown(workload)}")
    if len(workload.parts) > 1:
        raise ValueError(
            "workload: expected one whose shares stay, got "
            f"{_check.shown(workload)}; each of its parts has a bound"
        )
    if not isinstance(cycle, Cycle):
        raise TypeError(f"cycle: expected a Cycle, got {_check.shown(cycle)}")
    workload = workload.along(files)
    check_shares("workload", files, workload)
    by_rate = np.argsort(workload.share, kind="stable")
    share = workload.share[by_rate]
    size = files.size_bytes[by_rate].astype(np.float64)
    with np.errstate(divide="ignore"):
        survives = np.exp(cycle.writes * np.log1p(-share))
        dirtied = -np.expm1(cycle.writes * np.log1p(-share))
    cost = size * dirtied
    spent_before = np.cumsum(cost) - cost
    covered = np.ones(len(files))
    paid = cost > 0
    left = np.maximum(cycle.budget_bytes - spent_before[paid], 0.0)
    covered[paid] = np.minimum(left / cost[paid], 1.0)
    return float(files.total_bytes - np.sum(covered * size * survives))


def trace_final_copy_bytes(
    app: Recorded,
    cycle: Cycle,
    *,
    cycles: int | None = None,
    start_s: float = 0.0,
) -> float:
    """Return a lower bound on the mean final copy of a recording, in bytes, for every policy.

    It holds for policies that know the future, too. Cut into cycles, a recording leaves a file
    alone for runs of cycles. One send at the begin of a run keeps the file clean at the end of
    each of its cycles, more sends do not help, and a write ends it; a rename does not. So a run of
    l cycles of a file of size s is worth up to s l bytes clean, for s bytes of the link. The bytes
    that the link can send in all the cycles, spent on the longest runs, whatever the files' sizes,
    and on the last one in part, keep clean what no policy can exceed; the rest is pending.

    The link's bytes may be spent here before or after the cycle that they belong to, so what the
    budget rules carry over is covered. It is a bound, not a forecast: a real policy does not know
    which runs will be long, and cannot save what an idle link could have sent.

    Parameters
    ----------
    app : Recorded
        The recording; it is replayed again and again.
    cycle : Cycle
        Seconds, or writes, and budget of one cycle.
    cycles : int, optional
        Bound the mean over the first so many cycles of a run in which everything is pending at the
        begin. Default: over a long run, when files that are never written have been sent once.
    start_s : float, default 0.0
        Where in the recording the run begins, in seconds.

    Returns
    -------
    float
        Bytes. Single cycles fluctuate below it, means do not: exactly so for `cycles`; in the long
        run, where laps are no whole number of cycles, up to the place of cycles in the lap.

    Raises
    ------
    ValueError, TypeError
        For anything but a recording and a cycle; for cycles of writes where nothing is written.

    Notes
    -----
    For ``cost="delta"`` there is no such bound: what a send of changes costs depends on when the
    file was sent last.

    References
    ----------
    Model, rules replay.*.

    Examples
    --------
    Of two files of 100 bytes one is written every second. The other one stays clean:

    >>> import precopy
    >>> files = precopy.FileSet([100, 100])
    >>> second = range(0, 10 * 10**9, 10**9)
    >>> writes = precopy.WriteTrace(
    ...     [0] * 10, time_ns=second, size_bytes=[100] * 10, duration_ns=10 * 10**9
    ... )
    >>> app = precopy.Recorded("log", files, writes)
    >>> cycle = precopy.Cycle.of_seconds(1, bandwidth=100)
    >>> precopy.bound.trace_final_copy_bytes(app, cycle)
    100.0
    """
    app, cycle = _clean.check(app, cycle)
    start_s = _check.not_negative("start_s", start_s)
    if cycles is not None:
        count = _check.integer("cycles", cycles, least=1)
        parts = _clean.pieces(app, cycle, count, start_s)
        return _Runs(parts, 1, count + 1).pending_bytes(cycle.budget_bytes)
    return LongRun(app, cycle, start_s).bound_bytes(cycle.budget_bytes)


def trace_estimate_bytes(app: Recorded, cycle: Cycle) -> float:
    """Return an estimate of what policies that do not adapt leave of a recording, in bytes.

    It takes from the recording, for each name, the share q of the cycles at whose ends it is clean
    if it is sent whenever it can be: that costs s (1 - q) bytes per cycle, sent in vain while
    it is written in each, and keeps s q bytes clean. The budget goes to the names with the largest
    q first. So a name is served all the time or never: policies that adapt, and serve a file while
    it is at rest only, may come below. **It is no bound**; `trace_final_copy_bytes` is one.

    Parameters
    ----------
    app : Recorded
        The recording; it is replayed again and again.
    cycle : Cycle
        Seconds, or writes, and budget of one cycle.

    Returns
    -------
    float
        Bytes, a mean over the long run.

    Examples
    --------
    Both files are at rest every other second. Half of each is kept clean, or one in both seconds
    that it is at rest:

    >>> import precopy
    >>> files = precopy.FileSet([100, 100])
    >>> second = range(0, 10 * 10**9, 2 * 10**9)
    >>> writes = precopy.WriteTrace(
    ...     [0] * 5, time_ns=second, size_bytes=[100] * 5, duration_ns=10 * 10**9
    ... )
    >>> app = precopy.Recorded("log", files, writes)
    >>> cycle = precopy.Cycle.of_seconds(1, bandwidth=100)
    >>> precopy.bound.trace_estimate_bytes(app, cycle)
    50.0
    """
    app, cycle = _clean.check(app, cycle)
    return LongRun(app, cycle).estimate_bytes(cycle.budget_bytes)


class LongRun:
    """What a recording leaves alone in the long run, for cycles of one length and any budget.

    Parameters
    ----------
    app : Recorded
    cycle : Cycle
        How long cycles are.
    start_s : float
        Where in the recording the run begins, in seconds.
    """

    def __init__(self, app: Recorded, cycle: Cycle, start_s: float = 0.0) -> None:
        lap = _clean.lap_cycles(app, cycle)
        count = _whole_laps(lap, len(app.writes))
        # After a lap, so that runs begin there which stand for those that reach into the window.
        # One that begins there ends within two laps, or never.
        first = math.ceil(lap) + 2
        parts = _clean.pieces(app, cycle, first + count + 2 * math.ceil(lap) + 2, start_s)
        self._cycles = count
        self._runs = _Runs(parts, first, first + count)
        names = len(app.files)
        exists = _sums(parts.name, parts.present_bytes(first, first + count), names)
        self._clean = _sums(parts.name, parts.clean_bytes(first, first + count), names)
        self._dirty = exists - self._clean

    def bound_bytes(self, budget_bytes: float) -> float:
        """Return the mean final copy that no policy comes below with this budget per cycle."""
        return self._runs.pending_bytes(budget_bytes)

    def estimate_bytes(self, budget_bytes: float) -> float:
        """Return an estimate of what policies leave that do not adapt."""
        covered = _filled(self._clean, self._dirty, float(budget_bytes) * self._cycles)
        total = float(self._clean.sum() + self._dirty.sum())
        return max(total - covered, 0.0) / self._cycles


def _whole_laps(lap: float, rows: int) -> int:
    """Return a number of cycles that is nearly a whole number of laps."""
    least = max(1, math.ceil(1 / lap))
    most = 8 if rows < 1_000_000 else 1
    of = range(least, least + most)
    laps = min(of, key=lambda k: round(abs(k * lap - round(k * lap)) / k, 9))
    return max(round(laps * lap), 1)


class _Runs:
    """What each run that begins at the ends first … end - 1 is worth, and costs.

    In the long run, later than the first cycle, what never ends costs nothing.
    """

    def __init__(self, parts: _clean.Pieces, first: int, end: int) -> None:
        forever = (parts.last() > parts.cycles) & (first > 1)
        begins = (parts.clean_from >= first) & (parts.clean_from < end) & ~forever
        whole = parts.clean_bytes(1, parts.cycles + 1)
        value = _sums(parts.run, np.where(begins, whole, 0.0), len(parts.run))
        heads = np.flatnonzero(value > 0)
        self._value, self._cost = value[heads], parts.cost_bytes()[heads]
        self._cycles = end - first
        self._total = float(parts.present_bytes(first, end).sum())
        self._total -= float(parts.clean_bytes(first, end)[forever].sum())

    def pending_bytes(self, budget_bytes: float) -> float:
        """Return the mean of what stays pending at the least."""
        covered = _filled(self._value, self._cost, float(budget_bytes) * self._cycles)
        return max(self._total - covered, 0.0) / self._cycles


def _sums(group: npt.NDArray[np.int64], value: _Floats, groups: int) -> _Floats:
    return np.bincount(group, value, groups).astype(np.float64)


def _filled(value: _Floats, cost: _Floats, budget: float) -> float:
    """Return the most value that a budget buys, where every item can be had in part."""
    paid = cost > 0
    free = float(value[~paid].sum())
    value, cost = value[paid], cost[paid]
    best = np.argsort(-(value / cost), kind="stable")
    left = np.maximum(budget - (np.cumsum(cost[best]) - cost[best]), 0.0)
    return free + float(np.sum(value[best] * np.minimum(left / cost[best], 1.0)))
