"""The optimal bound: what no policy without knowledge of the future can beat in the long run."""

from __future__ import annotations

import numpy as np

from precopy import _check
from precopy.files import FileSet
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
    what the trace's shares would give here (to a 25th was seen). So a `WriteTrace` has no bound.

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
