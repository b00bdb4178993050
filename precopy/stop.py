"""Stop rules over recorded curves: where runs would have ended, without running again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from precopy import _check
from precopy._units import BYTES, state_units, stated_unit
from precopy.run import CURVES, Run, as_dataset, curve_attrs

if TYPE_CHECKING:
    import xarray


def finish(dataset: xarray.Dataset | Run, threshold_bytes: Any) -> xarray.Dataset:
    """Find where each run of a sweep, or one run, would have ended for a vector of limits X.

    A run ends after the first cycle whose final copy is not above the limit.

    Parameters
    ----------
    dataset : xarray.Dataset or Run
        Of `sweep` with ``keep="curves"``, of `simulate`, or of `Run.to_xarray`, made without a
        threshold.
    threshold_bytes : float or array_like of float, shape (k,)
        The limits, in bytes.

    Returns
    -------
    xarray.Dataset
        Over the dimensions of the runs and ``threshold_bytes``: finish_cycle, final_copy_bytes,
        precopy_bytes, resent_bytes, precopy_s (the pre-copy phase) and downtime_s. NaN where the
        limit is never reached. What was computed from a table before has no unit here.

    Raises
    ------
    ValueError
        For limits that are negative or NaN, and for a dataset without curves or with runs that
        were stopped by a threshold of their own.
    TypeError
        For a dataset that is none.

    References
    ----------
    Paper, section 4.1; model, rule cycle.stop.

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
    """
    import xarray

    given = threshold_bytes if not _check.is_scalar(threshold_bytes) else [threshold_bytes]
    limits = _check.floats("threshold_bytes", given)
    _check.first("threshold_bytes", limits, limits < 0, "numbers from 0 on")
    if len(limits) == 0:
        raise ValueError("threshold_bytes: expected at least one limit, got none")
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
    stacked = dataset["final_copy_bytes"].transpose(..., "step")
    dims, shape = stacked.dims[:-1], stacked.shape[:-1]
    steps = stacked.sizes["step"]
    final = stacked.values.reshape(-1, steps)
    # The first value at or below X is where the running minimum gets there; NaN: the run is over.
    least = np.fmin.accumulate(final, axis=1)
    at = np.array([np.searchsorted(-row, -limits) for row in least]).reshape(-1, len(limits))
    index = np.minimum(at, steps - 1)
    reached = (at < steps) & ~np.isnan(np.take_along_axis(final, index, axis=1))
    out_dims = [*dims, "threshold_bytes"]

    def where_reached(values: Any) -> Any:
        return np.where(reached, values, np.nan).reshape(*shape, len(limits))

    step = dataset["step"].values
    variables: dict[str, Any] = {
        "finish_cycle": (out_dims, where_reached(step[index]), {"long_name": "last pre-copy cycle"})
    }
    for name in CURVES:
        curve = dataset[name].transpose(..., "step").values.reshape(-1, steps)
        values = where_reached(np.take_along_axis(curve, index, axis=1))
        variables[name] = (out_dims, values, {**curve_attrs(name), "units": known[name]})
    in_bytes = known["final_copy_bytes"] in BYTES
    attrs = {"long_name": "limit on the final copy", "units": known["final_copy_bytes"]}
    coords = {name: value for name, value in dataset.coords.items() if "step" not in value.dims}
    result = xarray.Dataset(
        variables, {**coords, "threshold_bytes": ("threshold_bytes", limits, attrs)}
    )
    result["precopy_s"] = result["finish_cycle"] * dataset["cycle_seconds"]
    result["precopy_s"].attrs = {"long_name": "pre-copy phase", "units": known["cycle_seconds"]}
    result["downtime_s"] = result["final_copy_bytes"] / dataset["bandwidth"]
    seconds = "s" if in_bytes and known["bandwidth"] == "bytes/s" else ""
    result["downtime_s"].attrs = {"long_name": "downtime", "units": seconds}
    result.attrs = dict(dataset.attrs)
    for variable in result.variables.values():
        if not variable.attrs.get("units", "1"):
            del variable.attrs["units"]
    return state_units(result.transpose(*out_dims))


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
