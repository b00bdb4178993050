"""The published evaluation: its files, patterns, limits and numbers, and our run of it.

Kuroki, Onishi, Yokoyama and Taniguchi, "a pre-copy migration method for program execution
environments that shortens service downtime" (in Japanese), section 5.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor
from dataclasses import asdict
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precopy import _check
from precopy._picture import own_style, save
from precopy._units import state_units
from precopy.execution import check_executor
from precopy.files import FileSet
from precopy.options import Order
from precopy.paper.claims import (
    CYCLE,
    CYCLES_FIGURE_7,
    EXISTING,
    LIMITS,
    ORDERS,
    PUBLISHED,
    Claim,
    claims,
)
from precopy.run import CURVES, curve_attrs
from precopy.stop import finish
from precopy.sweep import sweep
from precopy.workload import Workload

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_CYCLES_FIGURES_5_6 = 500
# Ten rounds of the existing method take about 900 cycles with the uniform pattern.
_CYCLES_ROUNDS = 2000


@cache
def files() -> FileSet:
    """Return the files of table 1: 1000 read-only and 10000 read-write, 7370 MB.

    Returns
    -------
    FileSet

    References
    ----------
    Paper, table 1.

    Examples
    --------
    >>> import precopy
    >>> precopy.paper.files()
    <FileSet: 11000 files, 7.37 GB; 1000 read-only (670 MB), 10000 read-write (6.7 GB)>
    """
    return FileSet.from_classes(
        size_bytes=[200_000, 400_000, 800_000, 1_600_000, 3_200_000],
        read_only=[350, 300, 200, 100, 50],
        read_write=[3500, 3000, 2000, 1000, 500],
    )


@cache
def uniform() -> Workload:
    """Return the first update pattern: all read-write files alike.

    Returns
    -------
    Workload

    References
    ----------
    Paper, section 5.1.1.

    Examples
    --------
    >>> import precopy
    >>> precopy.paper.uniform()
    <Workload: 11000 files, 10000 written; the busiest 1000 get 10.0% of the writes>
    """
    return Workload.uniform(files())


@cache
def skewed() -> Workload:
    """Return the second update pattern, 1:10:10:79.

    Which files make up the groups is not stated there; here each size class is cut into four equal
    groups (model, rule random.shares), which reproduces the published numbers.

    Returns
    -------
    Workload

    References
    ----------
    Paper, section 5.1.1.

    Examples
    --------
    >>> import precopy
    >>> precopy.paper.skewed()
    <Workload: 11000 files, 10000 written; the busiest 1000 get 31.6% of the writes>
    """
    return Workload.shares(files(), (1, 10, 10, 79))


class Reproduction:
    """The paper's evaluation as we ran it.

    Attributes
    ----------
    claims : list of Claim
        Every claim of section 5 with the published value and ours.
    curves : xarray.Dataset
        The proposed orders, both patterns, over ``step`` and ``seed``.
    existing : xarray.Dataset
        The existing method's ten rounds, likewise.
    """

    def __init__(self, curves: xarray.Dataset, existing: xarray.Dataset) -> None:
        self.curves = curves
        self.existing = existing
        self.claims = list(claims(curves, existing))

    def until_limit(self, pattern: str) -> xarray.Dataset:
        """Return the pre-copy bytes until X, of the existing method in all, per order and seed."""
        import xarray

        limit = LIMITS[pattern]
        done = finish(_proposed(self.curves, pattern), limit)[["precopy_bytes"]]
        total = _proposed(self.existing, pattern)["precopy_bytes"].max("step")
        both = xarray.concat(
            [total.to_dataset(), done.isel(threshold_bytes=0)],
            "order",
            coords="minimal",
            compat="override",
        )
        both["precopy_bytes"].attrs = curve_attrs("precopy_bytes")
        return state_units(both.assign_coords(threshold_bytes=limit).assign_attrs(done.attrs))

    def figure7_curves(self) -> xarray.Dataset:
        """Return the curves of figure 7: the skewed pattern, all methods, 300 cycles."""
        import xarray

        first = {"step": slice(1, CYCLES_FIGURE_7)}
        names = [*CURVES, "bound_bytes", "converged"]
        parts = [
            _proposed(part, "skewed").sel(first)[names] for part in (self.existing, self.curves)
        ]
        return state_units(
            xarray.concat(parts, "order", data_vars="minimal", coords="minimal", compat="override")
        )

    def figures(self) -> dict[str, Figure]:
        """Draw figures 5, 6 and 7; the caller closes them."""
        with own_style():
            return self._figures()

    def _figures(self) -> dict[str, Figure]:
        import matplotlib.pyplot as plt

        from precopy import plot

        drawn = {}
        for name, pattern in (("fig5", "uniform"), ("fig6", "skewed")):
            figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
            plot.precopy_bars(self.until_limit(pattern), ax)
            ax.set_title(
                f"{pattern} updates: pre-copy until X = {LIMITS[pattern] / 1e6:.0f} MB\n"
                "(existing method: its ten rounds)",
                fontsize="medium",
            )
            drawn[name] = figure
        figure, ax = plt.subplots(figsize=(7.4, 4.6), layout="constrained")
        curves = self.figure7_curves()
        plot.final_copy(curves, ax)
        by_label = {line.get_label(): line.get_color() for line in ax.get_lines()}
        for place, (order, value) in enumerate(PUBLISHED["least_final_copy_bytes"].items()):
            ax.plot(
                CYCLES_FIGURE_7 - 3 - 4 * (place % 2),
                value / 1e6,
                marker="*",
                ms=11,
                ls="",
                mfc="white",
                mec=by_label[order],
                mew=1.4,
                zorder=5,
                label="published least" if place == 0 else None,
            )
        ax.set_title(
            f"skewed updates (1:10:10:79), mean and range of {curves.sizes['seed']} seeds",
            fontsize="medium",
        )
        ax.legend(frameon=False, fontsize="small", ncols=2, loc="upper right")
        drawn["fig7"] = figure
        return drawn

    def write(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write the figures (PNG and SVG), their numbers and the claims (CSV).

        The same evaluation gives the same bytes, whatever style is set.

        Parameters
        ----------
        directory : path
            Made if it is missing.

        Returns
        -------
        list of Path
            What was written.
        """
        import matplotlib.pyplot as plt
        import pandas as pd

        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        with own_style():
            for name, figure in self._figures().items():
                for suffix in ("png", "svg"):
                    written.append(folder / f"{name}.{suffix}")
                    save(figure, written[-1])
                plt.close(figure)
        tables = {
            "fig5": self.until_limit("uniform")["precopy_bytes"].to_pandas().T,
            "fig6": self.until_limit("skewed")["precopy_bytes"].to_pandas().T,
            "fig7": _band(self.figure7_curves()["final_copy_bytes"]),
            "claims": pd.DataFrame([asdict(claim) for claim in self.claims]).set_index("section"),
        }
        for name, table in tables.items():
            written.append(folder / f"{name}.csv")
            table.to_csv(written[-1])
        return written

    def __str__(self) -> str:
        head = ("§", "claim", "published", "ours", "z", "verdict")
        rows = [
            head,
            *((c.section, c.claim, c.published, c.ours, _z(c), c.verdict) for c in self.claims),
        ]
        width = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(size) for cell, size in zip(row, width, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def __repr__(self) -> str:
        good = sum(claim.verdict == "reproduced" for claim in self.claims)
        return (
            f"<Reproduction: {good} of {len(self.claims)} claims reproduced, "
            f"{self.curves.sizes['seed']} seeds>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{escape(cell)}</td>"
                for cell in (c.section, c.claim, c.published, c.ours, _z(c), c.verdict)
            )
            + "</tr>"
            for c in self.claims
        )
        return (
            "<table><thead><tr><th>§</th><th>claim</th><th>published</th><th>ours</th><th>z</th>"
            f"<th>verdict</th></tr></thead><tbody>{rows}</tbody></table>"
        )


def reproduce(
    directory: str | os.PathLike[str] | None = None,
    seeds: Any = 30,
    *,
    progress: bool | None = None,
    executor: Executor | None = None,
) -> Reproduction:
    """Run the paper's whole evaluation and compare every claim.

    Parameters
    ----------
    directory : path, optional
        Where to write fig5, fig6 and fig7 (PNG, SVG, CSV) and claims.csv; nowhere by default.
    seeds : int or sequence of int, default 30
        How many seeds (from 0), or which; at least 2, the spread is needed.
    progress : bool, optional
        Whether to show a progress bar. Default: if it takes longer than a second.
    executor : concurrent.futures.Executor, optional
        As for `precopy.sweep`.

    Returns
    -------
    Reproduction
        Printed, it is the table of claims.

    References
    ----------
    Paper, section 5.

    Examples
    --------
    >>> import precopy
    >>> result = precopy.paper.reproduce(seeds=2)
    >>> [c.published for c in result.claims if "update-frequency, at cycle 300" in c.claim]
    ['1717 MB']
    """
    chosen = _seeds(seeds)
    check_executor(executor)
    if progress is not None:
        progress = _check.truth("progress", progress)
    if directory is not None:
        folder = Path(_check.path("directory", directory, _check.DIRECTORY))
        if os.path.exists(folder) and not folder.is_dir():
            raise NotADirectoryError(f"directory: expected a directory, got the file {directory}")
    patterns = {"uniform": uniform(), "skewed": skewed()}
    options: dict[str, Any] = {
        "cycle": CYCLE,
        "seed": chosen,
        "progress": progress,
        "executor": executor,
    }
    orders: list[Order] = [*ORDERS, "expected-update"]
    curves = sweep(files(), patterns, order=orders, cycles=_CYCLES_FIGURES_5_6, **options)
    rounds = [
        sweep(
            files(),
            {name: pattern},
            order={EXISTING: pattern.share},
            schedule="rounds",
            cycles=_CYCLES_ROUNDS,
            **options,
        )
        for name, pattern in patterns.items()
    ]
    import xarray

    existing = xarray.concat(rounds, "writes", data_vars="all", coords="minimal", compat="override")
    result = Reproduction(curves, existing)
    if directory is not None:
        result.write(directory)
    return result


def _seeds(seeds: Any) -> list[int]:
    """Return whole numbers, all different and at least two."""
    if _check.is_scalar(seeds):
        chosen = list(range(_check.integer("seeds", seeds)))
    else:
        chosen = _check.counts("seeds", seeds).tolist()
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise ValueError(f"seeds: expected at least 2 different ones, got {_check.shown(seeds)}")
    return chosen


def _proposed(dataset: xarray.Dataset, pattern: str) -> xarray.Dataset:
    chosen = dataset.sel(writes=pattern)
    kept = [order for order in chosen["order"].values if order != "expected-update"]
    return chosen.sel(order=kept)


def _band(values: xarray.DataArray) -> Any:
    import pandas as pd

    parts = {"mean": values.mean("seed"), "least": values.min("seed"), "most": values.max("seed")}
    return pd.concat(
        {name: part.transpose("step", "order").to_pandas() for name, part in parts.items()}, axis=1
    )


def _z(claim: Claim) -> str:
    return "" if claim.z is None else f"{claim.z:+.1f}"
