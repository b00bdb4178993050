"""What a study file says, table by table: every key and value is checked before the first run."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from precopy import _check, paper
from precopy._looks import REPEATED
from precopy._rule import Rule
from precopy._until import parse
from precopy.files import FileSet
from precopy.run import Cycle
from precopy.simulation import OPTIONS
from precopy.sweep import swept_labels
from precopy.tables import parse_bytes, parse_shares, read_table
from precopy.workload import Workload

FINISHED = ("precopy_bars", "heatmap", "pareto")
_PLOTS = ("final_copy", *FINISHED)
PLOT_KEYS = ("kind", "name", "value", "x", "y")
# The dimensions that a picture shows; of the others one value must be chosen.
_SHOWN = {
    "final_copy": ("order",),
    "precopy_bars": ("order",),
    "pareto": ("order", "threshold_bytes", "rule"),
}
_VALUES = (
    "precopy_bytes",
    "final_copy_bytes",
    "resent_bytes",
    "finish_cycle",
    "precopy_s",
    "downtime_s",
)


def default_name(number: int, entry: dict[str, Any]) -> str:
    return f"{number}-{entry['kind']}"


def known_keys(where: str, table: dict[str, Any], names: Any) -> None:
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(
                f"{where}{key}: expected one of the keys {list(names)}, got "
                f"{_check.shown(key)}{hint}"
            )


def table_of(data: dict[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise TypeError(f"{name}: expected a table, got {_check.shown(table)}")
    return table


def files_of(table: dict[str, Any], folder: Path) -> tuple[FileSet, list[float] | None]:
    known_keys("files.", table, ["paper", "table", "directory", "classes"])
    if len(table) != 1:
        raise ValueError(
            "files: expected exactly one of the keys ['paper', 'table', 'directory', 'classes'], "
            f"got {list(table)}"
        )
    key, value = next(iter(table.items()))
    if key == "paper":
        if value is not True:
            raise ValueError(f"files.paper: expected true, got {_check.shown(value)}")
        return paper.files(), None
    if key == "classes":
        if not isinstance(value, dict):
            raise TypeError(f"files.classes: expected a table, got {_check.shown(value)}")
        known_keys("files.classes.", value, ["size_bytes", "read_only", "read_write"])
        if len(value) != 3:
            raise ValueError(
                f"files.classes: expected size_bytes, read_only and read_write, got {list(value)}"
            )
        sizes = _sizes("files.classes.size_bytes", value["size_bytes"])
        try:
            return FileSet.from_classes(**{**value, "size_bytes": sizes}), None
        except (ValueError, TypeError) as error:
            raise type(error)(f"files.classes.{error}") from None
    if not isinstance(value, str):
        raise TypeError(f"files.{key}: expected a path, got {_check.shown(value)}")
    if key == "table":
        return read_table(folder / value)
    return FileSet.from_directory(folder / value), None


def _sizes(name: str, value: Any) -> Any:
    """Return bytes for texts like "500MB", in lists and tables, too; the rest as it is."""
    if isinstance(value, str):
        try:
            return parse_bytes(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if isinstance(value, list):
        return [_sizes(name, one) for one in value]
    if isinstance(value, dict):
        return {key: _sizes(f"{name}.{key}", one) for key, one in value.items()}
    return value


def writes_of(
    table: dict[str, Any], files: FileSet, share: list[float] | None
) -> dict[str, Workload]:
    patterns = {label: _pattern(label, value, files) for label, value in table.items()}
    if not patterns and share is not None:
        patterns = {"table": Workload(share)}
    if not patterns:
        raise ValueError("writes: expected at least one label = pattern, got none")
    return patterns


def _pattern(label: str, value: Any, files: FileSet) -> Workload:
    try:
        if value == "uniform":
            return Workload.uniform(files)
        if isinstance(value, str):
            return Workload.shares(files, parse_shares(value))
        if isinstance(value, dict) and "zipf" in value:
            known_keys("", value, ["zipf", "seed"])
            seed = _check.integer("seed", value.get("seed", 0))
            return Workload.zipf(files, value["zipf"], seed)
    except (ValueError, TypeError) as error:
        raise type(error)(f"writes.{label}: {error}") from None
    raise ValueError(
        f'writes.{label}: expected "uniform", shares like "1:10:10:79" or {{ zipf = 1.0 }}, '
        f"got {_check.shown(value)}"
    )


def cycles_of(data: dict[str, Any]) -> dict[str, Any]:
    table = table_of(data, "cycle")
    if table and all(isinstance(value, dict) for value in table.values()):
        return {"cycle": {name: _cycle(f"cycle.{name}.", one) for name, one in table.items()}}
    return {"cycle": _cycle("cycle.", table)}


def _cycle(where: str, table: dict[str, Any]) -> Cycle:
    known_keys(where, table, ["writes", "write_seconds", "bandwidth"])
    given = dict(table)
    if "bandwidth" in given:
        given["bandwidth"] = _sizes(f"{where}bandwidth", given["bandwidth"])
    try:
        return Cycle(**given)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}{error}") from None


def parameters_of(table: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in OPTIONS if name != "cycle"]
    known_keys("sweep.", table, [*names, "seeds"])
    parameters = dict(table)
    if "threshold_bytes" in parameters:
        limits = _sizes("sweep.threshold_bytes", parameters["threshold_bytes"])
        parameters["threshold_bytes"] = limits
    if "seeds" in parameters:
        if "seed" in parameters:
            raise ValueError("sweep.seeds: expected either seed or seeds, got both")
        parameters["seed"] = range(_check.integer("sweep.seeds", parameters.pop("seeds"), least=1))
    return parameters


def ends_of(data: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the dimension of `finish` with its limits, or its rules by label; or nothing."""
    if "finish" not in data:
        return {}
    table = table_of(data, "finish")
    known_keys("finish.", table, ["threshold_bytes", "until"])
    if arguments.get("threshold_bytes") is not None:
        raise ValueError(
            "sweep.threshold_bytes: expected none beside [finish], whose runs go on, got "
            f"{_check.shown(arguments['threshold_bytes'])}"
        )
    if "until" not in table:
        return {"threshold_bytes": _limits(table.get("threshold_bytes", []))}
    if "threshold_bytes" in table:
        raise ValueError("finish.until: expected either threshold_bytes or until, got both")
    return {"rule": _rules(table["until"])}


def _limits(value: Any) -> list[float]:
    limits = _sizes("finish.threshold_bytes", value if isinstance(value, list) else [value])
    checked = _check.floats("finish.threshold_bytes", limits)
    _check.first("finish.threshold_bytes", checked, checked < 0, "numbers from 0 on")
    if not len(checked):
        raise ValueError("finish.threshold_bytes: expected at least one limit, got none")
    if len(set(checked.tolist())) < len(checked):
        raise ValueError(
            f"finish.threshold_bytes: expected different limits, got {_check.shown(value)}"
        )
    return [float(limit) for limit in checked]


def _rules(value: Any) -> dict[str, Rule]:
    if isinstance(value, str):
        value = {value: value}
    if not isinstance(value, dict) or not value:
        raise TypeError(
            f"finish.until: expected a rule, or rules by label, got {_check.shown(value)}"
        )
    rules = {}
    for label, text in value.items():
        try:
            rules[label] = parse(text)
        except (ValueError, TypeError) as error:
            message = str(error).removeprefix("until: ")
            raise type(error)(f"finish.until.{label}: {message}") from None
    return rules


def check_plots(
    plots: Any, arguments: dict[str, Any], ends: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the pictures, checked, with limits as bytes."""
    if not isinstance(plots, list) or not all(isinstance(entry, dict) for entry in plots):
        raise TypeError(f"plot: expected tables [[plot]], got {_check.shown(plots)}")
    swept = swept_labels(arguments)
    checked: list[dict[str, Any]] = []
    names: set[str] = set()
    for number, entry in enumerate(plots, start=1):
        where = f"plot {number}: "
        kind = _check.choice(f"{where}kind", entry.get("kind"), _PLOTS)
        finished = {name: list(values) for name, values in ends.items()} or {"threshold_bytes": []}
        labels = {**swept, **finished} if kind in FINISHED else swept
        limit = entry.get("threshold_bytes")
        # Sizes, unless limits have labels of the user's own.
        if isinstance(limit, str) and str not in map(type, labels.get("threshold_bytes", [])):
            entry = {**entry, "threshold_bytes": _sizes(f"{where}threshold_bytes", limit)}
        own = PLOT_KEYS if kind == "heatmap" else ("kind", "name")
        known_keys(where, entry, [*own, *labels])
        name = _file_name(f"{where}name", entry.get("name", default_name(number, entry)))
        if name in names:
            raise ValueError(f"{where}name: expected a name of its own, got {name!r} twice")
        names.add(name)
        if kind in FINISHED and not ends:
            raise ValueError(
                f"{where}kind: {kind!r} needs a table [finish] with threshold_bytes or until"
            )
        axes: set[str] = set()
        if kind == "heatmap":
            axes = {_check.choice(where + axis, entry.get(axis), labels) for axis in "xy"}
            if len(axes) < 2:
                raise ValueError(
                    f"{where}y: expected another dimension than x, got {_check.shown(entry['y'])}"
                )
            _check.choice(f"{where}value", entry.get("value", "precopy_bytes"), _VALUES)
        elif kind == "pareto":
            axes = set(ends)
        _check_selection(where, entry, labels, axes, {*REPEATED, *_SHOWN.get(kind, ())} | axes)
        checked.append(entry)
    return checked


def _check_selection(
    where: str,
    entry: dict[str, Any],
    labels: dict[str, list[Any]],
    axes: set[str],
    shown: set[str],
) -> None:
    """Check that one value is chosen of each dimension that is not shown, and of no axis."""
    for name, known in labels.items():
        if name in entry and name in axes:
            raise ValueError(f"{where}{name}: expected no choice, it is an axis of the picture")
        if name in entry and not any(_same(entry[name], label) for label in known):
            raise ValueError(
                f"{where}{name}: expected one of {known}, got {_check.shown(entry[name])}"
            )
        if name not in entry and name not in shown and len(known) > 1:
            raise ValueError(f"{where}{name}: expected one of {known}, got no choice")


def _same(value: Any, label: Any) -> bool:
    return isinstance(value, bool) == isinstance(label, bool) and bool(value == label)


def _file_name(where: str, name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{where}: expected a file name, got {name!r}")
    if not name or "/" in name or "\0" in name or len(name.encode()) > 250:
        raise ValueError(f"{where}: expected a file name of 1 to 250 bytes, got {name!r}")
    return name
