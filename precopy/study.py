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

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precopy import _check, paper, plot
from precopy.files import FileSet
from precopy.run import Cycle
from precopy.simulation import OPTIONS
from precopy.stop import finish
from precopy.sweep import sweep, swept_labels
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
        file = Path(path)
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file}: expected TOML, got {error}") from None
        _known("", data, ["files", "writes", "cycle", "sweep", "finish", "plot"])
        files, share = _files(_table(data, "files"), file.parent)
        arguments = {
            "files": files,
            "writes": _writes(_table(data, "writes"), files, share),
            **_cycles(data),
            **_parameters(_table(data, "sweep")),
        }
        limits = _limits(data)
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

        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        dataset = sweep(**self.arguments, cache=folder, progress=progress)
        written = [folder / "sweep.nc"]
        dataset.to_netcdf(written[0])
        finished = None
        if self.threshold_bytes is not None:
            finished = finish(dataset, self.threshold_bytes)
            written.append(folder / "finish.nc")
            finished.to_netcdf(written[-1])
        for number, entry in enumerate(self.plots, start=1):
            name = entry.get("name", f"{number}-{entry['kind']}")
            written.append(folder / f"{name}.png")
            _draw(entry, dataset, finished)
            plt.savefig(written[-1], dpi=150)
            plt.close()
        return dataset, written


def _known(where: str, table: dict[str, Any], names: Any) -> None:
    for key in table:
        if key not in names:
            raise ValueError(f"{where}{key}: expected one of the keys {list(names)}, got {key!r}")


def _table(data: dict[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise TypeError(f"{name}: expected a table, got {table!r}")
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
            raise ValueError(f"files.paper: expected true, got {value!r}")
        return paper.files(), None
    if key == "classes":
        _known("files.classes.", value, ["size_bytes", "read_only", "read_write"])
        if len(value) != 3:
            raise ValueError(
                f"files.classes: expected size_bytes, read_only and read_write, got {list(value)}"
            )
        return FileSet.from_classes(**value), None
    if not isinstance(value, str):
        raise TypeError(f"files.{key}: expected a path, got {value!r}")
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
            return Workload.zipf(files, value["zipf"], value.get("seed", 0))
    except (ValueError, TypeError) as error:
        raise type(error)(f"writes.{label}: {error}") from None
    raise ValueError(
        f'writes.{label}: expected "uniform", shares like "1:10:10:79" or {{ zipf = 1.0 }}, '
        f"got {value!r}"
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


def _limits(data: dict[str, Any]) -> list[float] | None:
    if "finish" not in data:
        return None
    table = _table(data, "finish")
    _known("finish.", table, ["threshold_bytes"])
    value = table.get("threshold_bytes", [])
    limits = value if isinstance(value, list) else [value]
    checked = _check.floats("finish.threshold_bytes", limits)
    _check.first("finish.threshold_bytes", checked, checked < 0, "numbers from 0 on")
    return [float(limit) for limit in checked]


def _check_plots(plots: Any, arguments: dict[str, Any], limits: list[float] | None) -> None:
    if not isinstance(plots, list) or not all(isinstance(entry, dict) for entry in plots):
        raise TypeError(f"plot: expected tables [[plot]], got {plots!r}")
    swept = swept_labels(arguments)
    for number, entry in enumerate(plots, start=1):
        where = f"plot {number}: "
        kind = _check.choice(f"{where}kind", entry.get("kind"), _PLOTS)
        labels = {**swept, "threshold_bytes": limits or []} if kind in _FINISHED else swept
        _known(where, entry, [*_PLOT_KEYS, *labels])
        if "/" in entry.get("name", ""):
            raise ValueError(f"{where}name: expected a file name, got {entry['name']!r}")
        if kind in _FINISHED and limits is None:
            raise ValueError(f"{where}kind: {kind!r} needs a table [finish] with threshold_bytes")
        shown = {"seed", *_SHOWN.get(kind, ())}
        if kind == "heatmap":
            shown |= {_check.choice(where + axis, entry.get(axis), labels) for axis in "xy"}
            _check.choice(f"{where}value", entry.get("value", "precopy_bytes"), _VALUES)
        for name, known in labels.items():
            if name in entry and entry[name] not in known:
                raise ValueError(f"{where}{name}: expected one of {known}, got {entry[name]!r}")
            if name not in entry and name not in shown and len(known) > 1:
                raise ValueError(f"{where}{name}: expected one of {known}, got no choice")


def _draw(entry: dict[str, Any], dataset: xarray.Dataset, finished: xarray.Dataset | None) -> None:
    chosen = {key: value for key, value in entry.items() if key not in _PLOT_KEYS}
    if entry["kind"] == "final_copy":
        plot.final_copy(dataset.sel(chosen))
        return
    assert finished is not None
    table = finished.sel(chosen)
    if entry["kind"] == "heatmap":
        plot.heatmap(table[entry.get("value", "precopy_bytes")], entry["x"], entry["y"])
    elif entry["kind"] == "precopy_bars":
        plot.precopy_bars(table)
    else:
        plot.pareto(table)
