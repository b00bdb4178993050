"""The optimal bounds: what no policy can beat in the long run.

`final_copy_bytes` is for writes that are drawn independently of each other, and policies that do
not know the future; `trace_final_copy_bytes` for a recording, and for every policy.
"""

from __future__ import annotations

import numpy as np

from precopy import _check, _clean
from precopy._rest import Rest, Saved, of_long_run
from precopy.files import FileSet
from precopy.recorded import Recorded
from precopy.run import Cycle
from precopy.simulation import check_shares
from precopy.trace import WriteTrace
from precopy.workload import Workload


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
    budget: Saved = "carry",
    cycles: int | None = None,
    start_s: float = 0.0,
) -> float:
    """Return a lower bound on the mean final copy of a recording, in bytes, for every policy.

    It holds for policies that know the future, too. Cut into cycles, a recording leaves a file
    alone for runs of cycles; a write ends a run, a rename of a clean file does not. What is clean
    at the end of a cycle was sent in its present run. So of the files whose runs began in the last
    k cycles, no more can be clean than the link sent in those k cycles: k budgets, and what was
    carried into them, which is less than the largest file. What is beyond that, for the k for which
    it is most, is pending, and so is what was written in the cycle. No policy leaves less after any
    cycle; the mean of it is the bound.

    A second bound does not care when the link's bytes are spent, and so needs nothing for what is
    carried: a run of l cycles of a file of size s is worth up to s l bytes clean, for s bytes of
    the link; all bytes that it sends, spent on the longest runs, the last one in part, keep clean
    what no policy can exceed. The larger one of both is returned.

    It is a bound, not a forecast: a real policy does not know which runs will be long.

    Parameters
    ----------
    app : Recorded
        The recording; it is replayed again and again.
    cycle : Cycle
        Seconds, or writes, and budget of one cycle.
    budget : {"carry", "whole", "skip"}, default "carry"
        The budget rule, as for `simulate`; only "carry" lets a cycle send what another one saved.
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
    Model, rule bound.recording.

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
    saves = _check.choice("budget", budget, ("carry", "whole", "skip")) == "carry"
    if cycles is None:
        rest = of_long_run(app, cycle, start_s)
    else:
        count = _check.integer("cycles", cycles, least=1)
        rest = Rest(_clean.pieces(app, cycle, count, start_s), 1, count + 1)
    return rest.bound_bytes(cycle.budget_bytes, saves=saves)
