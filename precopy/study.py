"""Study files: a sweep, its limits and its pictures declared in TOML.

.. code-block:: toml

    [files]                      # exactly one of these
    paper = true                 # the files of the paper's table 1
    # table = "files.csv"        # size, access (ro or rw), optionally path and share
    # directory = "/srv/app"
    # classes = { size_bytes = ["200kB"], read_only = [10], read_write = [90] }

    [writes]                     # label = pattern; several make the dimension "writes"
    even = "uniform"
    skewed = "1:10:10:79"
    hot = { zipf = 1.0, seed = 3 }   # workloads that switch are for Python: Workload.switching

    [cycle]                      # or several tables [cycle.LABEL]: the dimension "cycle"
    writes = 500
    write_seconds = 0.03
    bandwidth = "5MB"            # sizes and limits: bytes, or with k, M, G, T or Ki, Mi, Gi, Ti

    [sweep]                      # any other argument of simulate; a list is a dimension
    order = ["size-ascending", "update-frequency"]
    seeds = 10                   # short for seed = [0, 1, ..., 9]
    cycles = 300

    [finish]                     # optional
    threshold_bytes = ["4GB", 5e9]
    # until = { stall = "stall(10)", dip = "stall(10) & dip(0.1)" }   # or rules, by label

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
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precopy import _check, plot
from precopy._picture import own_style, save
from precopy._rule import Rule
from precopy._study import (
    FINISHED,
    PLOT_KEYS,
    check_plots,
    cycles_of,
    default_name,
    ends_of,
    files_of,
    known_keys,
    parameters_of,
    table_of,
    writes_of,
)
from precopy.simulation import OPTIONS
from precopy.stop import finish
from precopy.sweep import check_arguments, sweep

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Study:
    """A study file that has been read and checked.

    Attributes
    ----------
    arguments : dict
        For `precopy.sweep`.
    threshold_bytes : list of float or None
        For `precopy.finish`.
    rules : dict of str to Rule or None
        Instead of limits.
    plots : list of dict
        The pictures, as in the file.
    """

    arguments: dict[str, Any]
    threshold_bytes: list[float] | None
    plots: list[dict[str, Any]]
    rules: dict[str, Rule] | None = None

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
        known_keys("", data, ["files", "writes", "cycle", "sweep", "finish", "plot"])
        files, share = files_of(table_of(data, "files"), file.parent)
        arguments = {
            "files": files,
            "writes": writes_of(table_of(data, "writes"), files, share),
            **cycles_of(data),
            **parameters_of(table_of(data, "sweep")),
        }
        try:
            check_arguments(arguments)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{_section(str(error), data)}{error}") from None
        ends = ends_of(data, arguments)
        plots = check_plots(data.get("plot", []), arguments, ends)
        return cls(arguments, ends.get("threshold_bytes"), plots, ends.get("rule"))

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
        ends = self.rules or self.threshold_bytes
        names = [entry.get("name", default_name(number, entry)) for number, entry in self._plots()]
        pictures = [folder / f"{name}.png" for name in names]
        tables = [folder / "sweep.nc", *([folder / "finish.nc"] if ends else [])]
        _check_writable(folder, [*tables, *pictures])
        dataset = sweep(**self.arguments, cache=folder, progress=progress)
        dataset.to_netcdf(tables[0])
        finished = None
        if ends:
            finished = finish(dataset, ends)
            finished.to_netcdf(tables[1])
        for (_, entry), path in zip(self._plots(), pictures, strict=True):
            with own_style():
                _draw(entry, dataset, finished)
                save(plt.gcf(), path)
                plt.close()
        return dataset, [*tables, *pictures]

    def _plots(self) -> Iterator[tuple[int, dict[str, Any]]]:
        return enumerate(self.plots, start=1)


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


def _draw(entry: dict[str, Any], dataset: xarray.Dataset, finished: xarray.Dataset | None) -> None:
    chosen = {key: value for key, value in entry.items() if key not in PLOT_KEYS}
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
        if "threshold_bytes" not in chosen and finished.sizes.get("threshold_bytes") == 1:
            chosen["threshold_bytes"] = float(finished["threshold_bytes"][0])
        if entry["kind"] == "precopy_bars" and finished.sizes.get("rule") == 1:
            chosen["rule"] = str(finished["rule"].values[0])
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
    if entry["kind"] == "precopy_bars" and "rule" in chosen:
        what = "pre-copy until the rule holds"
    parts = [
        f"X = {_check.bytes_text(value)}"
        if name == "threshold_bytes" and entry["kind"] in FINISHED
        else f"{name.replace('_', ' ')} {value}"
        for name, value in chosen.items()
    ]
    if entry["kind"] != "pareto" and "threshold_bytes" in (entry.get("x"), entry.get("y")):
        parts = [part for part in parts if not part.startswith("X = ")]
    return "\n".join(part for part in (what, ", ".join(parts)) if part)
