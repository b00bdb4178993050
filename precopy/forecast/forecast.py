"""`forecast`: what a migration of a recorded application would bring.

The recording is replayed from several moments, as `precopy migrate` would go about it; where the
live engine would stop is found by its own rules and rehearsals (`stopped`), and whether the
recording tells enough by its halves (`halves`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import numpy as np

from precopy import _check, bound, stop
from precopy.estimate import Estimate
from precopy.forecast.advice import PATIENT_RULE, advice
from precopy.forecast.ahead import ahead
from precopy.forecast.fixed import IDLE, QUICK, Fixed, Slowdown
from precopy.forecast.halves import USUAL, compare
from precopy.forecast.hot import burden, hottest
from precopy.forecast.numbers import Forecast, Interval, LongRun, Outcome
from precopy.forecast.runs import COST, OVERHEAD_BYTES, Runs
from precopy.forecast.shortcomings import shortcomings
from precopy.forecast.stopped import Curves, Stop, Stops
from precopy.forecast.timeline import Timeline
from precopy.migration.ending import DEFAULT_RULE
from precopy.migration.pending import Granularity, Policy
from precopy.options import Budget, LiveFrequency, Order
from precopy.recorded import Recorded
from precopy.run import Cycle

GOALS_S = (0.05, 0.1, 0.5, 1.0, 5.0)
"""Downtimes that are asked for where nobody says which."""

STARTS = 20
_FEW = 5
"""From so many moments the other orders are replayed."""

_CURVE_POINTS = 400


def forecast(
    app: Recorded,
    bandwidth: float,
    *,
    downtime_s: float | Sequence[float] = GOALS_S,
    until: str | stop.Rule = DEFAULT_RULE,
    granularity: Granularity = "block",
    order: Order = "update-frequency",
    frequency: LiveFrequency = "count",
    half_life: float | None = None,
    budget: Budget = "carry",
    read_only_first: bool = True,
    cycle_seconds: float = 1.0,
    starts: int = STARTS,
    round_trip_s: float = 0.0,
    slowdown: Slowdown = IDLE,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Forecast:
    """Say what a migration of a recorded application would bring.

    The recording is replayed from several moments, as it would go on after its end: what grew grows
    on. Each replay begins anew when it is over. Defaults are those of ``precopy migrate``.

    Parameters
    ----------
    app : Recorded
        The application: its files and writes in time.
    bandwidth : float
        Bytes per second of the link.
    downtime_s : float or sequence of float
        Downtimes, in seconds, of which it is asked whether they are reached.
    until : str or precopy.stop.Rule
        The rule that stops the application, as for ``precopy migrate``.
    granularity : {"block", "file"}
        What is ranked and sent. What blocks bring is estimated: a file that was sent costs what was
        written to it since, and one block.
    order, frequency, half_life, budget, read_only_first
        How what waits is ranked and taken, as for `simulate`.
    cycle_seconds : float
        How long a cycle is.
    starts : int
        From how many moments it is replayed.
    round_trip_s : float
        What an exchange with the destination takes.
    slowdown : precopy.forecast.fixed.Slowdown
        How busy this machine is; ``Slowdown.measured()`` tells, as the command does. By default it
        is not busy.
    executor : concurrent.futures.Executor, optional
        As for `sweep`.
    progress : bool, optional
        As for `sweep`.

    Returns
    -------
    Forecast

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range.
    KeyboardInterrupt
        After Ctrl-C.

    References
    ----------
    Paper, section 2.2 and 6; model, rules replay.*.

    Examples
    --------
    A file of 1 MB is replaced every second; the link carries 10 MB in that time:

    >>> import precopy
    >>> files = precopy.FileSet([50_000_000, 1_000_000], read_only=[True, False])
    >>> times = range(0, 60 * 10**9, 10**9)
    >>> writes = precopy.WriteTrace([1] * 60, [1_000_000] * 60, time_ns=times,
    ...                             size_bytes=[1_000_000] * 60, duration_ns=60 * 10**9)
    >>> found = precopy.forecast(precopy.Recorded("editor", files, writes), bandwidth=10e6)
    >>> found.outcome.reached, found.long_run.best_order
    (20, 'update-frequency')
    """
    if not isinstance(app, Recorded):
        raise TypeError(f"app: expected a Recorded, got {_check.shown(app)}")
    _check.choice("granularity", granularity, get_args(Granularity))
    _check.choice("order", order, get_args(Order))
    Estimate(0, frequency, half_life, order=order)
    policy = Policy(order, frequency, half_life, budget, read_only_first)
    cycle = Cycle.of_seconds(
        _check.positive("cycle_seconds", cycle_seconds), _check.positive("bandwidth", bandwidth)
    )
    app = _with_bytes(app)
    rule = until if isinstance(until, stop.Rule) else stop.parse(until)
    question = _Question(
        app=app,
        runs=Runs.of(ahead(app), policy, cycle, executor, progress),
        granularity=granularity,
        rule=rule,
        goals=_goals(downtime_s),
        starts=_check.integer("starts", starts, least=2),
        round_trip_s=_check.not_negative("round_trip_s", round_trip_s),
        slowdown=slowdown,
    )
    return _answer(question)


@dataclass(frozen=True)
class _Question:
    """What is asked, checked; of a recording as it was, and of replays as it would go on."""

    app: Recorded
    runs: Runs
    granularity: Granularity
    rule: stop.Rule
    goals: list[float]
    starts: int
    round_trip_s: float
    slowdown: Slowdown

    def fixed(self, granularity: Granularity, slower: float) -> Fixed:
        files = int(self.runs.line.state(0)[0].sum())
        bandwidth = self.runs.cycle.bandwidth
        return Fixed(files, granularity, bandwidth, self.round_trip_s, slower)


def _with_bytes(app: Recorded) -> Recorded:
    """Return a recording that knows how much was written: all of a file, where it does not."""
    writes = app.writes
    if writes.write_bytes is not None:
        return app
    assert writes.size_bytes is not None
    trace = writes.replace(write_bytes=np.maximum(writes.size_bytes, 0))
    note = "how much was written is not known: every write is taken to write all of its file"
    return Recorded(app.name, app.files, trace, [*app.notes, note])


def _goals(given: float | Sequence[float]) -> list[float]:
    values = [given] if _check.is_scalar(given) else list(given)  # type: ignore[arg-type]
    return sorted({_check.positive("downtime_s", value) for value in values})


def _answer(ask: _Question) -> Forecast:
    runs, granularity, policy = ask.runs, ask.granularity, ask.runs.policy
    app, line = ask.app, Timeline(ask.app)
    order = policy.order
    curves = runs.curves([order], get_args(Granularity), app.starts(ask.starts))
    own = curves[order, granularity]
    halves = compare(app, runs, order, granularity)
    factor = max(halves.factor, USUAL) if halves is not None else USUAL
    rules = [ask.rule, stop.parse(PATIENT_RULE), *map(stop.downtime, ask.goals)]
    outcome, patient, *goals = _outcomes(ask, granularity, own, rules, factor)
    other: Granularity = "file" if granularity == "block" else "block"
    (instead,) = _outcomes(ask, other, curves[order, other], [ask.rule], factor)
    others: list[Order] = [each for each in get_args(Order) if each != order]
    curves |= runs.curves(others, [granularity], app.starts(_FEW))
    long_run = _long_run(ask, curves, factor)
    found = burden(runs, granularity, app.starts(ask.starts)[:: -(-ask.starts // 2)])
    hot = hottest(runs, found, granularity)
    fixed = ask.fixed(granularity, ask.slowdown.usual)
    writes = app.writes
    there, size = line.state(line.duration_ns)
    result = Forecast(
        what=app.name,
        applications=[],
        files=int(there.sum()),
        total_bytes=int(size.sum()),
        written_files=len(np.unique(line.file_id)),
        recorded_s=app.seconds,
        updates=writes.updates,
        updates_left_out=writes.left_out,
        bandwidth=runs.cycle.bandwidth,
        cycle_seconds=runs.cycle.seconds,
        granularity=granularity,
        order=order,
        frequency=policy.frequency,
        half_life=policy.half_life,
        budget=policy.budget,
        starts=ask.starts,
        outcome=outcome,
        goals_s=ask.goals,
        goals=goals,
        patient=patient,
        instead=instead,
        long_run=long_run,
        hot=hot,
        advice=[],
        fixed_s=fixed.seconds,
        fixed_parts=fixed.parts,
        slowdown=(ask.slowdown.usual, ask.slowdown.worst),
        halves=halves,
        notes=list(app.notes),
        bands=_bands(runs, {each: curves[each, granularity] for each in (order, *others)}),
    )
    result = replace(result, notes=[*result.notes, *shortcomings(result, runs, line)])
    return replace(result, advice=advice(result, _needed(ask, result)))


def _outcomes(
    ask: _Question,
    granularity: Granularity,
    curves: Sequence[Curves],
    rules: Sequence[stop.Rule],
    factor: float,
) -> list[Outcome]:
    """Return how it ends under each rule: usually, on a quick machine and on a slow one."""
    machines = [
        ask.fixed(granularity, slower) for slower in (ask.slowdown.usual, QUICK, ask.slowdown.slow)
    ]
    stops = [_stops(ask, curves, rules, each) for each in machines]
    first_bytes = float(np.median([each.total_bytes for each in curves]))
    found = []
    for index, rule in enumerate(rules):
        reached = len(stops[0][index])
        intervals = {
            field.name: _interval(
                [
                    Interval.of(
                        [getattr(one, field.name) for one in each[index]],
                        factor,
                        {
                            "precopy_s": first_bytes / machine.bandwidth,
                            "precopy_bytes": first_bytes,
                            "downtime_s": machine.seconds,
                        }.get(field.name, 0.0),
                    )
                    for each, machine in zip(stops, machines, strict=True)
                    if each[index]
                ]
            )
            for field in (fields(Stop) if reached else ())
        }
        if_slow = len(stops[-1][index])
        found.append(Outcome(str(rule), reached, len(curves), if_slow, **intervals))
    return found


def _stops(
    ask: _Question, curves: Sequence[Curves], rules: Sequence[stop.Rule], fixed: Fixed
) -> list[list[Stop]]:
    """Return the stops of each rule, from those start points from which it holds at all."""
    cost, runs = COST[fixed.granularity], ask.runs
    found = [
        Stops(runs.line, each, runs.cycle, cost, OVERHEAD_BYTES, fixed).find(rules)
        for each in curves
    ]
    return [[one for one in stops if one is not None] for stops in zip(*found, strict=True)]


def _interval(machines: Sequence[Interval]) -> Interval:
    """Return the interval of the first machine, as wide as those of all."""
    usual = machines[0]
    return Interval(
        usual.median, min(each.low for each in machines), max(each.high for each in machines)
    )


def _long_run(
    ask: _Question, curves: dict[tuple[Order, Granularity], list[Curves]], factor: float
) -> LongRun:
    runs, granularity = ask.runs, ask.granularity
    order = runs.policy.order
    own = curves[order, granularity]
    orders = {each: runs.level_bytes(curves[each, granularity]) for each in get_args(Order)}
    moments = np.concatenate([each.final_copy_bytes[-runs.steady_cycles :] for each in own])
    best = min(orders, key=lambda each: (orders[each], each != order))
    return LongRun(
        orders=orders,
        best_order=best,
        pending_bytes=Interval.of(moments, factor),
        granularities={
            each: runs.level_bytes(curves[order, each]) for each in get_args(Granularity)
        },
        bound_bytes=bound.trace_final_copy_bytes(runs.app, runs.cycle),
    )


_MULTIPLES = (1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0, 80.0)


def _needed(ask: _Question, found: Forecast) -> dict[float, float | None]:
    """Return with which bandwidth each goal would be reached that is not, from everywhere."""
    fixed_s = found.fixed_s
    missing = {
        goal: None
        for goal, one in zip(found.goals_s, found.goals, strict=True)
        if one.reached < one.of and goal > fixed_s
    }
    needed: dict[float, float | None] = dict(missing)
    order, runs = ask.runs.policy.order, ask.runs
    for multiple in _MULTIPLES:
        open_goals = [goal for goal in missing if needed[goal] is None]
        if not open_goals:
            break
        cycle = Cycle.of_seconds(runs.cycle.seconds, multiple * runs.cycle.bandwidth)
        faster = replace(
            ask, runs=Runs.of(runs.app, runs.policy, cycle, runs.executor, runs.progress)
        )
        curves = faster.runs.curves([order], [ask.granularity], runs.app.starts(_FEW))
        rules = [stop.downtime(goal) for goal in open_goals]
        outcomes = _outcomes(faster, ask.granularity, curves[order, ask.granularity], rules, 1.0)
        for goal, one in zip(open_goals, outcomes, strict=True):
            if one.reached == one.of:
                needed[goal] = cycle.bandwidth
    return needed


def _bands(runs: Runs, curves: dict[Order, list[Curves]]) -> dict[str, Any]:
    steps = runs.cycles
    at = np.unique(np.linspace(0, steps - 1, min(steps, _CURVE_POINTS)).astype(np.int64))
    bands: dict[str, Any] = {"seconds": ((at + 1) * runs.cycle.seconds).tolist()}
    for order, own in curves.items():
        table = np.array([each.final_copy_bytes[at] for each in own], np.float64)
        bands[order] = np.quantile(table, [0.1, 0.5, 0.9], axis=0).tolist()
    return bands
