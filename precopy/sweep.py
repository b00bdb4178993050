"""Grids of runs as one dataset: every argument of `simulate` can become a dimension."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from precopy import _check, bound
from precopy._swept import Swept, SweptOptions
from precopy._units import state_units
from precopy._version import __version__
from precopy.execution import (
    SUMMARY,
    FinishedRun,
    check_executor,
    check_memory,
    fingerprint,
    run_all,
)
from precopy.files import FileSet
from precopy.recorded import Recorded
from precopy.run import CURVES, CYCLES_OF, STEP_ATTRS, Cycle, curve_attrs
from precopy.seeds import Seed, generator
from precopy.simulation import OPTIONS, Plan, memory_for
from precopy.trace import WriteTrace
from precopy.workload import Workload

if TYPE_CHECKING:
    import xarray

# Sizes and shares are recorded in the dataset up to this many files; always as fingerprints.
_FILES_RECORDED = 1_000_000

# A bound takes some seconds per million rows: longer recordings have it from `bound` only.
_ROWS_BOUNDED = 200_000


@dataclass(frozen=True)
class _Dimension:
    name: str
    labels: list[Any]
    values: list[Any]


def sweep(
    files: Swept[FileSet | Recorded],
    writes: Swept[Workload | WriteTrace] | None = None,
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
    keep: Literal["curves", "summary"] = "curves",
    cache: str | os.PathLike[str] | None = None,
    **parameters: Unpack[SweptOptions],
) -> xarray.Dataset:
    """Run `simulate` over a grid of arguments.

    Any argument of `simulate` given as a list, tuple, range or array becomes a dimension of that
    name, labelled by its values; given as a dict, it is labelled by the keys. Numbers, booleans and
    None select as what they are, ``table.sel(read_only_first=True)``, ``.sel(half_life=None)``; in
    the table, None beside numbers is NaN (NetCDF makes numbers of booleans beside None, and empty
    text of None beside text). The same seed gives every other
    combination the same writes, so differences between orders are paired.

    Parameters
    ----------
    files, writes, order, cycle, cycles, seed, ... :
        As for `simulate`, or lists or dicts of such. Start points ``start_s`` take the place of
        seeds where a trace in time is replayed. An array is one order or history of your own,
        a list or tuple of numbers would be taken for a dimension. Without a seed one is drawn and
        recorded. Generators cannot be swept: their state would depend on the order of the runs. An
        option that only some of the runs use, like `frequency` beside orders by size, means nothing
        to the others; one that no run uses is an error.
    executor : concurrent.futures.Executor, optional
        Where the runs are made: a process pool, ``dask.distributed.Client(...).get_executor()``, or
        any other whose futures are those of the standard library. Default: a thread per processor;
        the core does not hold the interpreter's lock. The dataset does not depend on it.
    progress : bool, optional
        Whether to show a progress bar. Default: only if it takes longer than a second.
    keep : {"curves", "summary"}
        "summary" keeps five numbers per run instead of curves over ``step``: least, last and steady
        final copy (the mean over the last half of its cycles), pre-copy and resent bytes.
    cache : path, optional
        A directory that keeps finished runs. The same sweep, or one that shares runs with it,
        started again after an interrupt or a crash, makes only what is missing. What another
        version or build of precopy or another NumPy has stored is left alone and made again; a
        damaged run is an error. Sweeps may share a directory at the same time; on a full disk, or
        where nothing may be written, they go on with a warning.

    Returns
    -------
    xarray.Dataset
        final_copy_bytes, precopy_bytes and resent_bytes over the dimensions and ``step`` (int64; or
        float64 with NaN behind the end of a run, where runs can end at different steps),
        present_bytes (traces in time), cycles_run, converged, downtime_s, bound_bytes (workloads
        that stay, and traces in time of up to 200,000 rows; no deltas), and what it takes to make
        the dataset again: sizes, access types and shares over ``file`` (of file sets
        of one length, up to a million numbers), every parameter in ``attrs``. Traces, histories,
        keys of your own and file sets of different lengths are recorded by a fingerprint only.

    Raises
    ------
    ValueError, TypeError
        Before the first run, for any combination that `simulate` would refuse.
    KeyboardInterrupt
        After Ctrl-C, within a second under the default executor; see `cache`.

    References
    ----------
    Paper, section 5; model.

    Examples
    --------
    >>> import precopy
    >>> files = precopy.FileSet([1_000_000] * 100)
    >>> writes = {"uniform": precopy.Workload.uniform(files),
    ...           "zipf": precopy.Workload.zipf(files, 1.0)}
    >>> table = precopy.sweep(files, writes, order=["size-ascending", "update-frequency"],
    ...                       seed=range(3), cycle=precopy.Cycle(20, 0.1, 5e6), cycles=40)
    >>> dict(table.final_copy_bytes.sizes)
    {'writes': 2, 'order': 2, 'seed': 3, 'step': 40}
    """
    _check.choice("keep", keep, ["curves", "summary"])
    check_executor(executor)
    if progress is not None:
        progress = _check.truth("progress", progress)
    grid = _grid({"files": files, "writes": writes, **parameters})
    plans = grid.plans()
    # Closed wherever an interrupt or an error arrives: no run goes on behind the caller's back.
    with closing(run_all(plans, grid.seeds(), keep, executor, progress, cache)) as finished:
        table = _Table(plans, keep, finished)
    return _dataset(grid, plans, table)


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise for whatever `sweep` would refuse before its first run."""
    _grid(arguments).plans()


def swept_labels(arguments: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the labels of each argument that is a dimension."""
    return {
        name: _dimension(name, value).labels
        for name, value in arguments.items()
        if _is_swept(name, value)
    }


class _Grid:
    """All combinations of the swept arguments, in the order of the dimensions."""

    def __init__(self, given: dict[str, Any], dimensions: list[_Dimension]) -> None:
        self.given = given
        self.dimensions = dimensions
        self.shape = tuple(len(dimension.values) for dimension in dimensions)

    def values(self, name: str) -> list[Any]:
        """Return all values that an argument takes."""
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension.values
        return [self.given[name]]

    @property
    def in_time(self) -> bool:
        """Whether a trace in time is among the writes."""
        traces = [one.writes if isinstance(one, Recorded) else None for one in self.values("files")]
        traces += self.values("writes")
        return any(isinstance(one, WriteTrace) and one.in_time for one in traces)

    def file_sets(self) -> list[FileSet]:
        """Return all file sets, also those of recorded applications."""
        return [one.files if isinstance(one, Recorded) else one for one in self.values("files")]

    def names(self, *wanted: str) -> list[str]:
        """Return which of these arguments are dimensions, in the order of the dimensions."""
        return [dimension.name for dimension in self.dimensions if dimension.name in wanted]

    def combinations(self, *left_out: str) -> Iterator[dict[str, Any]]:
        """Go through all combinations of the dimensions but those left out."""
        kept = [dimension for dimension in self.dimensions if dimension.name not in left_out]
        for values in itertools.product(*(dimension.values for dimension in kept)):
            chosen = dict(zip((dimension.name for dimension in kept), values, strict=True))
            yield {**self.given, **chosen}

    def plans(self) -> list[Plan]:
        """Check every combination; seeds share their plan. One plan per run, in grid order."""
        distinct = []
        for arguments in self.combinations("seed"):
            del arguments["seed"]
            plan = Plan.of(arguments.pop("files"), arguments.pop("writes"), **arguments)
            plan.check_trace()
            distinct.append(plan)
        used: set[str] = set().union(*(plan.used for plan in distinct))
        for plan in distinct:
            plan.refuse_unused(but=used)
        return self._per_run(distinct, [d.name for d in self.dimensions if d.name != "seed"])

    def seeds(self) -> list[Seed]:
        """Return one seed per run, in grid order."""
        return self._per_run(self.values("seed"), ["seed"])

    def _per_run(self, items: list[Any], dims: list[str]) -> list[Any]:
        """Return one of the items per run, in grid order; they belong to these dimensions."""
        shape = [len(d.values) if d.name in dims else 1 for d in self.dimensions]
        index = np.broadcast_to(np.arange(len(items)).reshape(shape), self.shape)
        return [items[i] for i in index.ravel().tolist()]


def _grid(arguments: Mapping[str, Any]) -> _Grid:
    unknown = sorted(set(arguments) - {"files", "writes", *OPTIONS})
    if unknown:
        raise TypeError(f"{unknown[0]}: expected an argument of simulate, got an unknown name")
    defaults = {name: option.default for name, option in OPTIONS.items()}
    given: dict[str, Any] = {"files": None, "writes": None, **defaults, **arguments}
    if given["seed"] is not None or _draws(given):
        given["seed"] = _reproducible(given["seed"])
    return _Grid(
        given,
        [_dimension(name, value) for name, value in given.items() if _is_swept(name, value)],
    )


def _draws(given: Mapping[str, Any]) -> bool:
    """Whether any run draws its writes, and so needs a seed."""
    writes = given["writes"]
    return any(
        isinstance(one, Workload)
        for one in (_values("writes", writes) if _is_swept("writes", writes) else [writes])
    )


def _is_swept(name: str, value: Any) -> bool:
    if isinstance(value, Set):
        raise TypeError(
            f"{name}: expected values in an order, such as a list, got {_check.shown(value)}"
        )
    if isinstance(value, (list, tuple, range, Mapping)):
        return True
    # Workloads, traces and file sets have a length and are no arrays.
    is_array = hasattr(value, "__array__") and np.ndim(value) > 0
    return is_array and name not in ("order", "history")


def _reproducible(seed: Seed) -> Seed:
    if seed is None:
        return np.random.SeedSequence().entropy
    stateful = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, bool)
    for one in _values("seed", seed) if _is_swept("seed", seed) else [seed]:
        if one is None or isinstance(one, stateful):
            raise TypeError(
                f"seed: expected integers or seed sequences in a sweep, got {_check.shown(one)}"
            )
        if type(one) is not int or not 0 <= one < 2**64:
            generator(one)
    return seed


def _values(name: str, value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return _check.column(name, value).tolist() if hasattr(value, "__array__") else list(value)


def _dimension(name: str, value: Any) -> _Dimension:
    values = _values(name, value)
    labels = [_label(one) for one in (value if isinstance(value, Mapping) else values)]
    if not values:
        raise ValueError(f"{name}: expected at least one value, got {_check.shown(value)}")
    kinds = {type(label) for label in labels if label is not None}
    if not (
        kinds == {bool}
        or (
            kinds <= {int, float}
            and all(label is None or abs(label) <= _check.INT64_MAX for label in labels)
        )
    ):
        labels = [None if label is None else str(label) for label in labels]
    seen: set[Any] = set()
    for label in labels:
        if label in seen:
            raise ValueError(
                f"{name}: expected different labels, got {_check.shown(label)} twice; "
                "a dict gives labels of your own"
            )
        seen.add(label)
    return _Dimension(name, labels, values)


def _label(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Recorded):
        return value.name
    return value if value is None or type(value) in (bool, int, float) else str(value)


def _column(labels: list[Any]) -> npt.NDArray[Any]:
    """Return labels as a column that selects as what they are; None beside numbers is NaN."""
    if None in labels and not any(isinstance(one, (bool, str)) for one in labels):
        return np.array([math.nan if one is None else one for one in labels], dtype=np.float64)
    return np.array(labels, dtype=object if None in labels else None)


def _index(dimension: _Dimension) -> xarray.Coordinates:
    """Return labels with None among them as a coordinate; in a plain column NaN replaces it."""
    import pandas
    import xarray

    labels = pandas.Index(_column(dimension.labels), dtype=object, name=dimension.name)
    index = xarray.indexes.PandasIndex(labels, dimension.name)
    return xarray.Coordinates(index.create_variables(), indexes={dimension.name: index})


class _Table:
    """The runs' results as columns, one row per run in grid order."""

    def __init__(self, plans: list[Plan], keep: str, finished: Iterable[FinishedRun]) -> None:
        count = len(plans)
        self.cycles = np.zeros(count, dtype=np.int64)
        self.converged = np.zeros(count, dtype=np.bool_)
        self.last_bytes = np.zeros(count)
        self.columns: dict[str, npt.NDArray[Any]] = {}
        self.summary = keep == "summary"
        cycles = {plan.arguments["cycles"] for plan in plans}
        self.steps = max(cycles)
        rounds = any(plan.schedule == "rounds" for plan in plans)
        sets = {plan.curves for plan in plans}
        names = list(dict.fromkeys(name for one in [CURVES, *sorted(sets)] for name in one))
        may_end = rounds or len(cycles) > 1 or any(p.threshold_bytes is not None for p in plans)
        may_end |= len(sets) > 1
        if self.summary:
            self.columns = {name: np.zeros(count) for name in SUMMARY}
        else:
            with memory_for(self.steps, count):
                check_memory(8 * count * self.steps * len(names))
                self.columns = {
                    name: np.full((count, self.steps), np.nan)
                    if may_end
                    else np.zeros((count, self.steps), np.int64)
                    for name in names
                }
        for run in finished:
            self._fill(run, plans[run.index])

    def _fill(self, run: FinishedRun, plan: Plan) -> None:
        self.cycles[run.index] = run.cycles
        self.converged[run.index] = run.stop == "threshold"
        if self.summary:
            for column, value in zip(self.columns.values(), run.data, strict=True):
                column[run.index] = value
            self.last_bytes[run.index] = run.data[1]
        else:
            for name, curve in zip(plan.curves, run.data, strict=True):
                self.columns[name][run.index, : run.cycles] = curve
            self.last_bytes[run.index] = run.data[0, -1] if run.cycles else plan.total_bytes


def _dataset(grid: _Grid, plans: list[Plan], table: _Table) -> xarray.Dataset:
    import xarray

    names = [dimension.name for dimension in grid.dimensions]
    cycle_dims = grid.names("cycle")
    cycles: list[Cycle] = grid.values("cycle")
    variables: dict[str, Any] = {}
    for name, values in table.columns.items():
        dims = names if table.summary else [*names, "step"]
        attrs = _summary_attrs(name) if table.summary else curve_attrs(name)
        variables[name] = (dims, values.reshape(grid.shape + values.shape[1:]), attrs)
    variables["cycles_run"] = (names, table.cycles.reshape(grid.shape), {"long_name": "cycles run"})
    variables["converged"] = (
        names,
        table.converged.reshape(grid.shape),
        {"long_name": "threshold reached"},
    )
    bound_dims, bounds = _bounds(grid)
    if bounds is not None:
        attrs = {"long_name": "optimal bound on the mean final copy", "units": "bytes"}
        variables["bound_bytes"] = (bound_dims, bounds, attrs)
    variables.update(_file_variables(grid))
    coords: dict[str, Any] = {d.name: _column(d.labels) for d in grid.dimensions}
    coords["bandwidth"] = (
        cycle_dims,
        _like(cycle_dims, [c.bandwidth for c in cycles]),
        {"units": "bytes/s"},
    )
    coords["cycle_seconds"] = (
        cycle_dims,
        _like(cycle_dims, [c.seconds for c in cycles]),
        {"units": "s"},
    )
    coords["total_bytes"] = _total_bytes(grid, plans)
    if not table.summary:
        coords["step"] = ("step", np.arange(1, table.steps + 1), STEP_ATTRS)
    dataset = xarray.Dataset(variables, coords)
    for dimension in grid.dimensions:
        if dataset[dimension.name].dtype == object:
            dataset = dataset.assign_coords(_index(dimension))
        elif dimension.name == "threshold_bytes" and dataset[dimension.name].dtype.kind in "if":
            dataset[dimension.name].attrs = {"units": "bytes"}
    last = xarray.DataArray(table.last_bytes.reshape(grid.shape), dims=names)
    dataset["downtime_s"] = (last / dataset["bandwidth"]).transpose(*names)
    dataset["downtime_s"].attrs = {"long_name": "downtime after the last cycle", "units": "s"}
    dataset.attrs = _attrs(grid)
    if all(cycle.in_time for cycle in cycles):
        dataset.attrs[CYCLES_OF] = "seconds"
    return state_units(dataset)


def _total_bytes(grid: _Grid, plans: list[Plan]) -> tuple[Any, ...]:
    """Return the size of all files over those dimensions that it depends on."""
    dims = grid.names("files", *(["writes", "start_s"] if grid.in_time else []))
    totals = np.array([plan.total_bytes for plan in plans]).reshape(grid.shape)
    # Along all other dimensions it is the same.
    first = tuple(slice(None) if d.name in dims else 0 for d in grid.dimensions)
    return dims, totals[first], {"long_name": "all files", "units": "bytes"}


def _summary_attrs(name: str) -> dict[str, str]:
    return {"long_name": SUMMARY[name], "units": "bytes"}


def _like(dims: list[str], values: list[float]) -> Any:
    return values if dims else values[0]


def _stays(writes: Workload | WriteTrace) -> bool:
    """Whether these are draws from shares that never change."""
    return isinstance(writes, Workload) and len(writes.parts) == 1


def _bounds(grid: _Grid) -> tuple[list[str], npt.NDArray[np.float64] | None]:
    """Return the optimal bound over those dimensions that it depends on."""
    dims = grid.names("files", "writes", "cycle")
    others = [dimension.name for dimension in grid.dimensions if dimension.name not in dims]
    if not all(cost == "whole" for cost in grid.values("cost")):  # a delta can cost less
        return dims, None
    values = []
    for chosen in grid.combinations(*others):
        value = _bound_of(chosen["files"], chosen["writes"], chosen["cycle"])
        if value is None:
            return dims, None
        values.append(value)
    shape = [len(grid.values(name)) for name in dims]
    return dims, np.array(values).reshape(shape)


def _bound_of(
    files: FileSet | Recorded, writes: Workload | WriteTrace | None, cycle: Cycle
) -> float | None:
    """Return the bound that belongs to such writes, or None."""
    if isinstance(files, FileSet) and isinstance(writes, WriteTrace) and writes.in_time:
        files = Recorded("", files, writes)
    if isinstance(files, Recorded):
        few = len(files.writes) <= _ROWS_BOUNDED
        return bound.trace_final_copy_bytes(files, cycle) if few else None
    if isinstance(writes, Workload) and _stays(writes):
        return bound.final_copy_bytes(files, writes, cycle)
    return None


def _file_variables(grid: _Grid) -> dict[str, Any]:
    """Return sizes, access types and shares, where they have one shape and are not too long."""
    sets: list[FileSet] = grid.file_sets()
    writes = grid.values("writes")
    if len({len(files) for files in sets}) > 1 or len(sets[0]) * len(writes) > _FILES_RECORDED:
        return {}
    dims = [*grid.names("files"), "file"]
    pick = (lambda arrays: np.stack(arrays)) if len(dims) > 1 else (lambda arrays: arrays[0])
    variables: dict[str, Any] = {
        "size_bytes": (dims, pick([f.size_bytes for f in sets]), {"units": "bytes"}),
        "read_only": (dims, pick([f.read_only for f in sets])),
    }
    if all(_stays(one) for one in writes):
        dims = [*grid.names("writes"), "file"]
        shares = [one.share for one in writes]
        attrs = {"long_name": "share of all writes"}
        variables["share"] = (dims, np.stack(shares) if len(dims) > 1 else shares[0], attrs)
    return variables


def _attrs(grid: _Grid) -> dict[str, str]:
    parameters = {}
    for name, value in grid.given.items():
        if _is_swept(name, value):
            labels = next(d.labels for d in grid.dimensions if d.name == name)
            described = [_describe(one) for one in grid.values(name)]
            parameters[name] = dict(zip(map(str, labels), described, strict=True))
        else:
            parameters[name] = _describe(value)
    return {
        "title": "precopy sweep",
        "precopy_version": __version__,
        "parameters": json.dumps(parameters, ensure_ascii=False),
    }


def _describe(value: Any) -> Any:
    """Return a JSON value that tells a parameter apart from any other."""
    if isinstance(value, Recorded):
        prints = [fingerprint(value.files), fingerprint(value.writes)]
        return {"object": repr(value), "sha256": fingerprint(prints)}
    if isinstance(value, (FileSet, Workload, WriteTrace)):
        return {"object": repr(value), "sha256": fingerprint(value)}
    if isinstance(value, np.ndarray):
        return {"object": f"array of {value.shape}", "sha256": fingerprint(value)}
    if isinstance(value, Cycle) and value.in_time:
        return {"seconds": value.seconds, "bandwidth": value.bandwidth}
    if isinstance(value, Cycle):
        return {
            "writes": value.writes,
            "write_seconds": value.write_seconds,
            "bandwidth": value.bandwidth,
        }
    if isinstance(value, np.generic):
        value = float(value) if isinstance(value, np.longdouble) else value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
