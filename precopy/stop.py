"""When to stop the application: rules, and where recorded runs would have ended under them.

>>> from precopy import stop
>>> rule = stop.stall(10) & stop.dip(0.1) | stop.downtime(0.05)
>>> str(rule), rule == stop.parse("stall(10) & dip(10%) | downtime(50ms)")
('stall(10) & dip(0.1) | downtime(0.05)', True)

A finished table and a live migration ask the same objects. `finish` takes a whole table. A live
migration makes a watch and tells it how far it is after every cycle:

>>> watch = stop.final_copy(10e6).watch()
>>> now = stop.Progress(cycle=1, seconds=0.5, final_copy_bytes=9.5e6, precopy_bytes=80e6,
...                     resent_bytes=0, bandwidth=125e6, total_bytes=85e6)
>>> bool(watch(now)), watch.reason
(True, 'final_copy(10MB): the final copy is 9.5 MB')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precopy import _check
from precopy._rule import AllOf, AnyOf, Curves, Progress, Rule, Watch
from precopy._rules import (
    NAMES,
    cycles,
    dip,
    downtime,
    final_copy,
    growth,
    marginal,
    outrun,
    ramp,
    resent,
    seconds,
    stall,
    traffic,
)
from precopy._units import BYTES, state_units, stated_unit
from precopy._until import parse
from precopy.run import CURVES, Run, as_dataset, curve_attrs

if TYPE_CHECKING:
    import xarray

__all__ = [
    "NAMES",
    "AllOf",
    "AnyOf",
    "Curves",
    "Progress",
    "Rule",
    "Watch",
    "curves_of",
    "cycles",
    "dip",
    "downtime",
    "final_copy",
    "finish",
    "growth",
    "marginal",
    "outrun",
    "parse",
    "ramp",
    "resent",
    "seconds",
    "stall",
    "traffic",
]


def finish(dataset: xarray.Dataset | Run, threshold_bytes: Any) -> xarray.Dataset:
    """Find where each run of a sweep, or one run, would have ended under limits or stop rules.

    A run ends after the first cycle whose final copy is not above the limit X, or after which the
    rule holds.

    Parameters
    ----------
    dataset : xarray.Dataset or Run
        Of `sweep` with ``keep="curves"``, of `simulate`, or of `Run.to_xarray`, made without a
        threshold.
    threshold_bytes : float or array_like of float, shape (k,), or dict of str to Rule
        The limits, in bytes; or rules of `precopy.stop`, or their texts, by labels of your own.

    Returns
    -------
    xarray.Dataset
        Over the dimensions of the runs and ``threshold_bytes``, or ``rule``: finish_cycle,
        final_copy_bytes, precopy_bytes, resent_bytes, precopy_s (the pre-copy phase) and
        downtime_s. NaN where the limit is never reached or the rule never holds. What was computed
        from a table before has no unit here.

    Raises
    ------
    ValueError
        For limits that are negative or NaN, and for a dataset without curves or with runs that
        were stopped by a threshold of their own.
    TypeError
        For a dataset that is none, and for rules that are none.

    References
    ----------
    Paper, section 4.1; model, rules cycle.stop and stop.first.

    Examples
    --------
    >>> import precopy
    >>> files = precopy.FileSet([1_000_000] * 100)
    >>> writes = precopy.Workload.zipf(files, 1.0)
    >>> table = precopy.sweep(files, writes, cycle=precopy.Cycle(20, 0.1, 5e6), seed=1)
    >>> precopy.finish(table, [10e6, 20e6]).finish_cycle.values.tolist()
    [138.0, 17.0]
    >>> run = precopy.simulate(files, writes, cycle=precopy.Cycle(20, 0.1, 5e6), seed=1)
    >>> precopy.finish(run, 20e6).downtime_s.values.tolist()
    [4.0]
    >>> rules = {"stall": precopy.stop.stall(10), "or sent twice": "stall(10) | traffic(2)"}
    >>> precopy.finish(run, rules).finish_cycle.values.tolist()
    [37.0, 20.0]
    """
    import xarray

    by_rules = isinstance(threshold_bytes, (Mapping, Rule))
    rules = _rules(threshold_bytes) if by_rules else {}
    limits = np.zeros(0) if by_rules else _limits(threshold_bytes)
    dataset = check_curves(dataset)
    known = {name: stated_unit(dataset[name]) for name in (*CURVES, "bandwidth", "cycle_seconds")}
    if "threshold_bytes" in dataset.dims or bool(dataset["converged"].any()):
        raise ValueError(
            "dataset: expected runs without a threshold of their own, got runs that one has stopped"
        )
    # Where the runs themselves ended is another question.
    dataset = dataset.drop_vars(["cycles_run", "converged"], errors="ignore")
    if not dataset.sizes["step"]:
        dataset = dataset.reindex(step=[1])  # all NaN: where no cycle ran, none reaches a limit
    dataset = dataset.transpose(..., "step")
    dims = dataset["final_copy_bytes"].dims[:-1]
    if not by_rules:
        label = "threshold_bytes"
        attrs = {"long_name": "limit on the final copy", "units": known["final_copy_bytes"]}
        coord = xarray.Variable(label, limits, attrs)
        index, reached = _ends_by_limits(dataset["final_copy_bytes"].values, limits)
    else:
        label = "rule"
        coord = xarray.Variable(label, list(rules), {"long_name": "stop rule"})
        index, reached = _ends_by_rules(_curves(dataset), list(rules.values()))
    out_dims = [*dims, label]

    def where_reached(values: Any) -> Any:
        return np.where(reached, values, np.nan)

    step = dataset["step"].values
    variables: dict[str, Any] = {
        "finish_cycle": (out_dims, where_reached(step[index]), {"long_name": "last pre-copy cycle"})
    }
    for name in CURVES:
        values = where_reached(np.take_along_axis(dataset[name].values, index, axis=-1))
        variables[name] = (out_dims, values, {**curve_attrs(name), "units": known[name]})
    coords = {name: value for name, value in dataset.coords.items() if "step" not in value.dims}
    result = xarray.Dataset(variables, {**coords, label: coord})
    in_bytes = known["final_copy_bytes"] in BYTES
    result["precopy_s"] = result["finish_cycle"] * dataset["cycle_seconds"]
    result["precopy_s"].attrs = {"long_name": "pre-copy phase", "units": known["cycle_seconds"]}
    result["downtime_s"] = result["final_copy_bytes"] / dataset["bandwidth"]
    unit = "s" if in_bytes and known["bandwidth"] == "bytes/s" else ""
    result["downtime_s"].attrs = {"long_name": "downtime", "units": unit}
    result.attrs = dict(dataset.attrs)
    for variable in result.variables.values():
        if not variable.attrs.get("units", "1"):
            del variable.attrs["units"]
    return state_units(result.transpose(*out_dims))


def _limits(given: Any) -> npt.NDArray[np.float64]:
    limits = _check.floats("threshold_bytes", [given] if _check.is_scalar(given) else given)
    _check.first("threshold_bytes", limits, limits < 0, "numbers from 0 on")
    if len(limits) == 0:
        raise ValueError("threshold_bytes: expected at least one limit, got none")
    return limits


def _rules(given: Mapping[str, Rule | str] | Rule) -> dict[str, Rule]:
    named = {str(given): given} if isinstance(given, Rule) else given
    if not named:
        raise ValueError("threshold_bytes: expected at least one rule, got none")
    rules = {}
    for label, one in named.items():
        rule = parse(one) if isinstance(one, str) else one
        if not isinstance(rule, Rule):
            raise TypeError(f"threshold_bytes: expected rules by label, got {_check.shown(one)}")
        rules[str(label)] = rule
    return rules


Ends = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]
"""For each run and each limit or rule: the index of its last cycle, and whether it ends."""


def _ends_by_limits(final: npt.NDArray[Any], limits: npt.NDArray[np.float64]) -> Ends:
    """Find the first value at or below each limit: where the running minimum gets there."""
    steps = final.shape[-1]
    rows = final.reshape(-1, steps)
    least = np.fmin.accumulate(rows, axis=1)  # NaN: the run is over
    at = np.array([np.searchsorted(-row, -limits) for row in least]).reshape(-1, len(limits))
    index = np.minimum(at, steps - 1)
    reached = (at < steps) & ~np.isnan(np.take_along_axis(rows, index, axis=1))
    shape = (*final.shape[:-1], len(limits))
    return index.reshape(shape), reached.reshape(shape)


def _ends_by_rules(curves: Curves, rules: list[Rule]) -> Ends:
    held = [rule.holds(curves) for rule in rules]
    index = np.stack([one.argmax(axis=-1) for one in held], axis=-1)
    return index, np.stack([one.any(axis=-1) for one in held], axis=-1)


def curves_of(dataset: xarray.Dataset | Run) -> Curves:
    """Return what rules look at in the table of a sweep, or in one run.

    Examples
    --------
    >>> import precopy
    >>> files = precopy.FileSet([100, 200])
    >>> run = precopy.simulate(files, precopy.Workload.uniform(files), cycles=3, seed=1)
    >>> precopy.stop.cycles(2).holds(precopy.stop.curves_of(run)).tolist()
    [False, True, True]
    """
    return _curves(check_curves(dataset).transpose(..., "step"))


def _curves(table: xarray.Dataset) -> Curves:
    final = table["final_copy_bytes"]

    def along(values: Any) -> Any:
        return values.broadcast_like(final).transpose(*final.dims).values

    return Curves(
        **{name: along(table[name]) for name in CURVES},
        seconds=along(table["step"] * table["cycle_seconds"]),
        bandwidth=along(table["bandwidth"]),
        total_bytes=along(table["total_bytes"]) if "total_bytes" in table else None,
    )


def check_curves(dataset: xarray.Dataset | Run) -> xarray.Dataset:
    """Return the table of a sweep or a run; raise unless it has curves."""
    dataset = as_dataset("dataset", dataset)
    if "final_copy_bytes" not in dataset or "step" not in dataset["final_copy_bytes"].dims:
        raise ValueError(
            'dataset: expected the curves of a sweep with keep="curves", got variables '
            f"{list(dataset.data_vars)}"
        )
    for name in (*CURVES, "converged", "bandwidth", "cycle_seconds"):
        if name not in dataset:
            raise ValueError(f"dataset: expected a variable {name!r} as sweep makes it, got none")
    return dataset
