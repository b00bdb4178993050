"""One paper run (300 cycles, 150,000 writes, 11,000 files): against the floor and against peers."""

from __future__ import annotations

from functools import partial

from cases import LIMITS, ORDERS, PATTERNS, RUNS, WRITES, Case, floor
from harness import Figure, figure, interleave, repeats
from peers import PEERS, Task, check_equal

import precopy

# The two prices of DESIGN.md, "Speed", and what nobody can undercut.
FLOOR = "floor"
AT_MOST = {
    "size-ascending": 3.0,
    "size-descending": 3.0,
    "update-frequency": 4.0,
    "rounds": 4.0,
    "expected-update": 6.0,
}


class OverFloor:
    """A run through `precopy.simulate`, over drawing 150,000 integers with NumPy and no more."""

    params = (RUNS, PATTERNS)
    param_names = ("run", "writes")
    unit = "x floor"

    def setup_cache(self):
        subjects = {FLOOR: floor()}
        for pattern in PATTERNS:
            case = Case.paper(pattern=pattern)
            subjects |= {(run, pattern): partial(case.simulate, run) for run in RUNS}
        return interleave(subjects, repeats(101))

    def track_over_floor(self, times, run, pattern) -> Figure:
        return figure(times[run, pattern] / times[FLOOR], at_most=AT_MOST.get(run))


class Limits:
    """A run with a limit on what is sent again, over the same run without it.

    A limit that holds files back makes other sends, up to three times as many: that is work, too.
    """

    params = (ORDERS, tuple(LIMITS))
    param_names = ("run", "limit")
    unit = "x without"

    def setup_cache(self):
        case = Case.paper()
        subjects = {(run, ""): partial(case.simulate, run) for run in ORDERS}
        for run in ORDERS:
            for limit, options in LIMITS.items():
                subjects[run, limit] = partial(case.simulate, run, **options)
        return interleave(subjects, repeats(101))

    def track_over_without(self, times, run, limit) -> Figure:
        return figure(times[run, limit] / times[run, ""])


class NewWorkload:
    """The same when the workload is new, so that its alias table has to be made as well."""

    unit = "x floor"

    def setup_cache(self):
        case = Case.paper()

        def run():
            workload = precopy.Workload(case.workload.share)
            return precopy.simulate(case.files, workload, cycle=case.cycle, seed=1)

        return interleave({"run": run, FLOOR: floor()}, repeats(101))

    def track_over_floor(self, times) -> Figure:
        return figure(times["run"] / times[FLOOR])


class Peers:
    """How many times faster than a peer precopy is, on the same trace and with equal results.

    The sort of "numba sort" is required to lose where there is something to sort.  No peer has the
    order "least-recently-updated".
    """

    params = (tuple(AT_MOST), PATTERNS, tuple(PEERS))
    param_names = ("run", "writes", "peer")
    unit = "x faster"
    at_least = {"numpy": 50.0, "numba sort": 20.0, "numba heap": 1.0}  # noqa: RUF012
    timeout = 600

    def setup_cache(self):
        times = {}
        for pattern in PATTERNS:
            case = Case.paper(pattern=pattern)
            trace = case.workload.draw(WRITES, seed=1)
            for run in AT_MOST:
                task = Task.of(case, run, trace)
                ours = partial(case.simulate, run, writes=trace)
                subjects = {"precopy": ours}
                for name, peer in PEERS.items():
                    try:
                        check_equal(ours(), peer(task))
                    except NotImplementedError:
                        continue
                    subjects[name] = partial(peer, task)
                times[run, pattern] = interleave(subjects, repeats(15))
        return times

    def track_speedup(self, times, run, pattern, peer) -> Figure:
        seconds = times[run, pattern]
        if peer not in seconds:
            raise NotImplementedError("numba is not installed")
        required = self.at_least.get(peer) if run in ORDERS else None
        return figure(seconds[peer] / seconds["precopy"], at_least=required)
