"""Study files: a sweep, its limits and its pictures declared in TOML.

.. code-block:: toml

    [files]                      # exactly one of these
    paper = true                 # the files of the paper's table 1
    # table = "files.csv"        # size, access (ro or rw), optionally path and share
    # directory = "/srv/app"
    # classes = { size_bytes = [200_000], read_only = [10], read_write = [90] }

    [writes]                     # label = pattern; several make the dimension "writes"
    even = "uniform"
    skewed = "1:10:10:79"
    hot = { zipf = 1.0, seed = 3 }

    [cycle]                      # or several tables [cycle.LABEL]: the dimension "cycle"
    writes = 500
    write_seconds = 0.03
    bandwidth = 5e6

    [sweep]                      # any other argument of simulate; a list is a dimension
    order = ["size-ascending", "update-frequency"]
    seeds = 10                   # short for seed = [0, 1, ..., 9]
    cycles = 300

    [finish]                     # optional
    threshold_bytes = [4e9, 5e9]

    [[plot]]
    kind = "final_copy"          # or precopy_bars, heatmap, pareto
    writes = "skewed"            # which values of the other dimensions to draw

    [[plot]]
    kind = "heatmap"
    value = "precopy_bytes"
    x = "threshold_bytes"
    y = "writes"
    order = "update-frequency"
"""

from __future__ import annotations

import difflib
import os
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precopy import _check, paper, plot
from precopy._picture import own_style, save
from precopy.files import FileSet
from precopy.run import Cycle
from precopy.simulation import OPTIONS
from precopy.stop import finish
from precopy.sweep import check_arguments, sweep, swept_labels
from precopy.tables import parse_shares, read_table
from precopy.workload import Workload

if TYPE_CHECKING:
    import xarray

_FINISHED = ("precopy_bars", "heatmap", "pareto")
_PLOTS = ("final_copy", *_FINISHED)
_PLOT_KEYS = ("kind", "name", "value", "x", "y")
# The dimensions that a picture shows; of the others one value must be chosen.
_SHOWN = {
    "final_copy": ("order",),
    "precopy_bars": ("order",),
    "pareto": ("order", "threshold_bytes"),
}
_VALUES = (
    "precopy_bytes",
    "final_copy_bytes",
    "resent_bytes",
    "finish_cycle",
    "precopy_s",
    "downtime_s",
)


@dataclass(frozen=True)
class Study:
    """A study file that has been read and checked.

    Attributes
    ----------
    arguments : dict
        For `precopy.sweep`.
    threshold_bytes : list of float or None
        For `precopy.finish`.
    plots : list of dict
        The pictures, as in the file.
    """

    arguments: dict[str, Any]
    threshold_bytes: list[float] | None
    plots: list[dict[str, Any]]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Study:
        r"""Read a study file.

        Parameters
        ----------
        path : path
            TOML as described in the module's documentation; paths in it are relative to it.

        Returns
        -------
        Study

        Raises
        ------
        ValueError, TypeError
            For what is no TOML, and for unknown, missing or bad keys, naming the key.
        OSError
            If a file cannot be read.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from precopy.study import Study
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "study.toml")
        ...     _ = file.write_text('files.paper = true\nwrites.even = "uniform"')
        ...     study = Study.load(file)
        >>> list(study.arguments["writes"])
        ['even']
        """
        file = Path(_check.path("path", path))
        try:
            # A byte order mark, as editors on Windows write it, is no part of the first key.
            data = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{file}: expected TOML, got {error}") from None
        except RecursionError:
            raise ValueError(f"{file}: expected TOML, got too many tables within tables") from None
        _known("", data, ["files", "writes", "cycle", "sweep", "finish", "plot"])
        files, share = _files(_table(data, "files"), file.parent)
        arguments = {
            "files": files,
            "writes": _writes(_table(data, "writes"), files, share),
            **_cycles(data),
            **_parameters(_table(data, "sweep")),
        }
        try:
            check_arguments(arguments)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{_section(str(error), data)}{error}") from None
        limits = _limits(data, arguments)
        plots = data.get("plot", [])
        _check_plots(plots, arguments, limits)
        return cls(arguments, limits, plots)

    def run(
        self, directory: str | os.PathLike[str], progress: bool | None = None
    ) -> tuple[xarray.Dataset, list[Path]]:
        """Make the sweep, its limits and pictures, and write them.

        Finished runs are kept in the directory: started again, after an interrupt or with a changed
        study, only what is missing is run.

        Parameters
        ----------
        directory : path
            Made if it is missing; gets sweep.nc, finish.nc and a PNG per picture.
        progress : bool, optional
            As for `precopy.sweep`.

        Returns
        -------
        dataset : xarray.Dataset
            Of `precopy.sweep`.
        written : list of Path
        """
        import matplotlib.pyplot as plt

        folder = Path(_check.path("directory", directory, _check.DIRECTORY))
        names = [entry.get("name", _default_name(number, entry)) for number, entry in self._plots()]
        pictures = [folder / f"{name}.png" for name in names]
        tables = [folder / "sweep.nc", *([folder / "finish.nc"] if self.threshold_bytes else [])]
        _check_writable(folder, [*tables, *pictures])
        dataset = sweep(**self.arguments, cache=folder, progress=progress)
        dataset.to_netcdf(tables[0])
        finished = None
        if self.threshold_bytes is not None:
            finished = finish(dataset, self.threshold_bytes)
            finished.to_netcdf(tables[1])
        for (_, entry), path in zip(self._plots(), pictures, strict=True):
            with own_style():
                _draw(entry, dataset, finished)
                save(plt.gcf(), path)
                plt.close()
        return dataset, [*tables, *pictures]

    def _plots(self) -> Iterator[tuple[int, dict[str, Any]]]:
        return enumerate(self.plots, start=1)


def _default_name(number: int, entry: dict[str, Any]) -> str:
    return f"{number}-{entry['kind']}"


def _section(message: str, data: dict[str, Any]) -> str:
    """Return which table of the file a message is about, by the name that it begins with."""
    name = message.split(":")[0]
    if name in ("files", "writes", "cycle"):
        return ""
    return "sweep." if name in data.get("sweep", {}) or name in OPTIONS else ""


def _check_writable(folder: Path, targets: list[Path]) -> None:
    """Make the directory; raise now for what would be noticed only after the runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder}: expected a directory, got a file in the way") from None
    for target in [folder / "runs.sqlite", *targets]:
        if target.is_dir():
            raise IsADirectoryError(f"{target}: expected a file to write, got a directory")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(f"{target}: expected a file to write, got one that is read-only")
    with tempfile.TemporaryFile(dir=folder):
        pass


def _known(where: str, table: dict[str, Any], names: Any) -> None:
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(
                f"{where}{key}: expected one of the keys {list(names)}, got "
                f"{_check.shown(key)}{hint}"
            )


def _table(data: dict[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise TypeError(f"{name}: expected a table, got {_check.shown(table)}")
    return table


def _files(table: dict[str, Any], folder: Path) -> tuple[FileSet, list[float] | None]:
    _known("files.", table, ["paper", "table", "directory", "classes"])
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
        _known("files.classes.", value, ["size_bytes", "read_only", "read_write"])
        if len(value) != 3:
            raise ValueError(
                f"files.classes: expected size_bytes, read_only and read_write, got {list(value)}"
            )
        try:
            return FileSet.from_classes(**value), None
        except (ValueError, TypeError) as error:
            raise type(error)(f"files.classes.{error}") from None
    if not isinstance(value, str):
        raise TypeError(f"files.{key}: expected a path, got {_check.shown(value)}")
    if key == "table":
        return read_table(folder / value)
    return FileSet.from_directory(folder / value), None


def _writes(
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
            _known("", value, ["zipf", "seed"])
            seed = _check.integer("seed", value.get("seed", 0))
            return Workload.zipf(files, value["zipf"], seed)
    except (ValueError, TypeError) as error:
        raise type(error)(f"writes.{label}: {error}") from None
    raise ValueError(
        f'writes.{label}: expected "uniform", shares like "1:10:10:79" or {{ zipf = 1.0 }}, '
        f"got {_check.shown(value)}"
    )


def _cycles(data: dict[str, Any]) -> dict[str, Any]:
    table = _table(data, "cycle")
    if table and all(isinstance(value, dict) for value in table.values()):
        return {"cycle": {name: _cycle(f"cycle.{name}.", one) for name, one in table.items()}}
    return {"cycle": _cycle("cycle.", table)}


def _cycle(where: str, table: dict[str, Any]) -> Cycle:
    _known(where, table, ["writes", "write_seconds", "bandwidth"])
    try:
        return Cycle(**table)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}{error}") from None


def _parameters(table: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in OPTIONS if name != "cycle"]
    _known("sweep.", table, [*names, "seeds"])
    parameters = dict(table)
    if "seeds" in parameters:
        if "seed" in parameters:
            raise ValueError("sweep.seeds: expected either seed or seeds, got both")
        parameters["seed"] = range(_check.integer("sweep.seeds", parameters.pop("seeds"), least=1))
    return parameters


def _limits(data: dict[str, Any], arguments: dict[str, Any]) -> list[float] | None:
    if "finish" not in data:
        return None
    table = _table(data, "finish")
    _known("finish.", table, ["threshold_bytes"])
    value = table.get("threshold_bytes", [])
    limits = value if isinstance(value, list) else [value]
    checked = _check.floats("finish.threshold_bytes", limits)
    _check.first("finish.threshold_bytes", checked, checked < 0, "numbers from 0 on")
    if not len(checked):
        raise ValueError("finish.threshold_bytes: expected at least one limit, got none")
    if len(set(checked.tolist())) < len(checked):
        raise ValueError(
            f"finish.threshold_bytes: expected different limits, got {_check.shown(value)}"
        )
    if arguments.get("threshold_bytes") is not None:
        raise ValueError(
            "sweep.threshold_bytes: expected none beside [finish], whose runs go on, got "
            f"{_check.shown(arguments['threshold_bytes'])}"
        )
    return [float(limit) for limit in checked]


def _check_plots(plots: Any, arguments: dict[str, Any], limits: list[float] | None) -> None:
    if not isinstance(plots, list) or not all(isinstance(entry, dict) for entry in plots):
        raise TypeError(f"plot: expected tables [[plot]], got {_check.shown(plots)}")
    swept = swept_labels(arguments)
    names: set[str] = set()
    for number, entry in enumerate(plots, start=1):
        where = f"plot {number}: "
        kind = _check.choice(f"{where}kind", entry.get("kind"), _PLOTS)
        labels = {**swept, "threshold_bytes": limits or []} if kind in _FINISHED else swept
        own = _PLOT_KEYS if kind == "heatmap" else ("kind", "name")
        _known(where, entry, [*own, *labels])
        name = _file_name(f"{where}name", entry.get("name", _default_name(number, entry)))
        if name in names:
            raise ValueError(f"{where}name: expected a name of its own, got {name!r} twice")
        names.add(name)
        if kind in _FINISHED and limits is None:
            raise ValueError(f"{where}kind: {kind!r} needs a table [finish] with threshold_bytes")
        axes: set[str] = set()
        if kind == "heatmap":
            axes = {_check.choice(where + axis, entry.get(axis), labels) for axis in "xy"}
            if len(axes) < 2:
                raise ValueError(
                    f"{where}y: expected another dimension than x, got {_check.shown(entry['y'])}"
                )
            _check.choice(f"{where}value", entry.get("value", "precopy_bytes"), _VALUES)
        elif kind == "pareto":
            axes = {"threshold_bytes"}
        _check_selection(where, entry, labels, axes, {"seed", *_SHOWN.get(kind, ())} | axes)


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


def _draw(entry: dict[str, Any], dataset: xarray.Dataset, finished: xarray.Dataset | None) -> None:
    chosen = {key: value for key, value in entry.items() if key not in _PLOT_KEYS}
    if entry["kind"] == "final_copy":
        ax = plot.final_copy(dataset.sel(chosen))
    else:
        assert finished is not None
        table = finished.sel(chosen)
        if entry["kind"] == "heatmap":
            ax = plot.heatmap(table[entry.get("value", "precopy_bytes")], entry["x"], entry["y"])
        elif entry["kind"] == "precopy_bars":
            ax = plot.precopy_bars(table)
        else:
            ax = plot.pareto(table)
        if "threshold_bytes" not in chosen and finished.sizes["threshold_bytes"] == 1:
            chosen["threshold_bytes"] = float(finished["threshold_bytes"][0])
    ax.set_title(_headline(entry, chosen), fontsize="medium", wrap=True)


_HEADLINES = {
    "final_copy": "final copy",
    "precopy_bars": "pre-copy until X",
    "heatmap": "",
    "pareto": "downtime against pre-copy",
}


def _headline(entry: dict[str, Any], chosen: dict[str, Any]) -> str:
    """Return what a picture shows, with the limit X and everything else that was chosen."""
    what = _HEADLINES[entry["kind"]] or entry.get("value", "precopy_bytes").replace("_", " ")
    parts = [
        f"X = {_check.bytes_text(value)}"
        if name == "threshold_bytes" and entry["kind"] in _FINISHED
        else f"{name.replace('_', ' ')} {value}"
        for name, value in chosen.items()
    ]
    if entry["kind"] != "pareto" and "threshold_bytes" in (entry.get("x"), entry.get("y")):
        parts = [part for part in parts if not part.startswith("X = ")]
    return "\n".join(part for part in (what, ", ".join(parts)) if part)
