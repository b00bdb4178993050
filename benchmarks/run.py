"""Run the benchmarks without asv: `python benchmarks/run.py [--quick] [name ...]`.

Prints a table, writes the same as JSON and draws the pictures next to it.  Names are those of asv:
in each bench_*.py the classes with `track_*` methods, which return a `harness.Figure`; their
`params`, `param_names` and `unit`; their `setup_cache`, whose result is the first argument of each
method.  NotImplementedError skips, with its message.  A module's `draw`, if it has one, gets the
module's figures and the path of a picture, and says whether it drew.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import itertools
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure, or why there is none."""

    module: str
    benchmark: str
    params: dict[str, Any]
    unit: str
    figure: Any = None
    skipped: str | None = None

    def cells(self) -> tuple[str, ...]:
        params = ", ".join(_text(value) for value in self.params.values())
        if self.skipped is not None:
            return params, "skipped", self.skipped, "", ""
        value = self.figure
        required = ""
        for sign, limit in (("<=", value.at_most), (">=", value.at_least)):
            if limit is not None:
                required = f"{sign} {limit:g} {'yes' if value.holds else 'NO'}"
        return params, f"{value:.4g}", self.unit, f"{value.low:.4g} .. {value.high:.4g}", required

    def record(self) -> dict[str, Any]:
        record = {"benchmark": f"{self.module}.{self.benchmark}", "params": self.params}
        if self.skipped is not None:
            return record | {"skipped": self.skipped}
        value = self.figure
        return record | {
            "unit": self.unit,
            "median": float(value),
            "quartiles": [value.low, value.high],
            "at_most": value.at_most,
            "at_least": value.at_least,
            "holds": value.holds,
        }


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def find(patterns: list[str]) -> Iterator[tuple[str, type]]:
    """Give the benchmark classes whose "module.Class" contains one of `patterns`, or all."""
    for path in sorted(HERE.glob("bench_*.py")):
        module = importlib.import_module(path.stem)
        for name, value in vars(module).items():
            own = inspect.isclass(value) and value.__module__ == path.stem
            if not own or name.startswith("_") or not _tracks(value):
                continue
            if not patterns or any(p.lower() in f"{path.stem}.{name}".lower() for p in patterns):
                yield path.stem, value


def _tracks(benchmark: type) -> list[str]:
    return [name for name in dir(benchmark) if name.startswith("track_")]


def run(module: str, benchmark: type) -> Iterator[Row]:
    """Run one class; one row per method and parameters."""
    instance = benchmark()
    unit = getattr(benchmark, "unit", "")
    names = getattr(benchmark, "param_names", ())
    cache, problem = (), None
    try:
        if hasattr(instance, "setup_cache"):
            cache = (instance.setup_cache(),)
    except NotImplementedError as error:
        problem = str(error)
    for method in _tracks(benchmark):
        for params in itertools.product(*getattr(benchmark, "params", ())):
            row = {
                "module": module,
                "benchmark": f"{benchmark.__name__}.{method}",
                "params": dict(zip(names, params, strict=True)),
                "unit": unit,
            }
            if problem is not None:
                yield Row(**row, skipped=problem)
                continue
            try:
                yield Row(**row, figure=getattr(instance, method)(*cache, *params))
            except NotImplementedError as error:
                yield Row(**row, skipped=str(error))


def print_heading(module: str, benchmark: type) -> None:
    """Print the name of a class and the first paragraph of what it says about itself."""
    about = inspect.cleandoc(benchmark.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    print(f"\n{module}.{benchmark.__name__}: {about}", flush=True)


def print_rows(rows: list[Row]) -> None:
    """Print the rows of one class."""
    cells = [row.cells() for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    for params, value, *rest in cells:
        texts = [text.ljust(width) for text, width in zip(rest, widths[2:], strict=True)]
        line = "  ".join(["", params.ljust(widths[0]), value.rjust(widths[1]), *texts])
        print(line.rstrip(), flush=True)


def environment() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    packages = {}
    for name in ("precopy", "numpy", "numba"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "packages": packages,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def write_json(rows: list[Row], quick: bool, path: Path) -> None:
    """Write all rows, and where they were measured."""
    results = {
        "environment": environment(),
        "quick": quick,
        "results": [row.record() for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def draw(rows: list[Row], folder: Path) -> None:
    """Let each module that can draw make a picture of its figures."""
    for module, group in itertools.groupby(rows, key=lambda row: row.module):
        if not hasattr(sys.modules[module], "draw"):
            continue
        figures = {
            (row.benchmark, *row.params.values()): row.figure
            for row in group
            if row.skipped is None
        }
        path = folder / f"{module.removeprefix('bench_')}.png"
        if sys.modules[module].draw(figures, path):
            print(f"wrote {path}")


def main() -> int:
    """Run what the command line asks for; the exit status is 1 if a requirement does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", help="part of a module's or class's name; default all")
    parser.add_argument("--quick", action="store_true", help="few repetitions, no largest size")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "results.json")
    arguments = parser.parse_args()
    if arguments.quick:
        # In the environment, because benchmarks start processes of their own.
        os.environ["PRECOPY_BENCHMARKS_QUICK"] = "1"
    sys.path.insert(0, str(HERE))
    found = list(find(arguments.name))
    if arguments.list or not found:
        print(*(f"{module}.{benchmark.__name__}" for module, benchmark in found), sep="\n")
        return 0 if found else 2
    print("median and quartiles over interleaved repetitions in one process; see each benchmark")
    rows: list[Row] = []
    for module, benchmark in found:
        print_heading(module, benchmark)
        new = list(run(module, benchmark))
        print_rows(new)
        rows += new
        # Each time, so that an interrupted run leaves what it has.
        write_json(rows, arguments.quick, arguments.out)
    print(f"\nwrote {arguments.out}")
    draw(rows, arguments.out.parent)
    missed = [row for row in rows if row.skipped is None and row.figure.holds is False]
    if missed:
        print(f"{len(missed)} requirements do not hold")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
