"""The picture of a recorded application: `precopy.plot.character`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precopy import _check
from precopy._clean import column, lap_cycles
from precopy._rest import of_long_run
from precopy.character import LINKS_S, History, dirty_bytes, updates_of
from precopy.recorded import Recorded
from precopy.run import Cycle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of the palette of the other pictures; they differ in lightness and dash, too.
_BLUE, _ORANGE, _GREEN = "#0072B2", "#E69F00", "#009E73"
_ROWS, _COLUMNS = 150, 240
_UNITS = (("GB", 20e9), ("MB", 1e6), ("kB", 0.0))


def draw(app: Recorded, figure: Figure, interval_s: float) -> dict[str, Axes]:
    """Draw all parts; return their axes by name."""
    grid = figure.add_gridspec(3, 2, height_ratios=(2.2, 1.0, 1.0), width_ratios=(1.9, 1.0))
    axes: dict[str, Axes] = {"files": figure.add_subplot(grid[0, 0])}
    axes["rate"] = figure.add_subplot(grid[1, 0], sharex=axes["files"])
    axes["bytes"] = figure.add_subplot(grid[2, 0], sharex=axes["files"])
    axes["skew"] = figure.add_subplot(grid[0, 1])
    axes["bound"] = figure.add_subplot(grid[1:, 1])
    _draw_files(axes["files"], app)
    _draw_rate(axes["rate"], app, interval_s)
    _draw_bytes(axes["bytes"], app)
    _draw_skew(axes["skew"], app)
    _draw_bound(axes["bound"], app, interval_s)
    for name in ("files", "rate"):
        axes[name].tick_params(labelbottom=False)
    axes["files"].set_xlim(0, app.seconds)
    return axes


def _draw_files(ax: Axes, app: Recorded) -> None:
    """Draw how often each file is updated when, the busiest ones on top."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    counts = updates_of(app)
    ranked = np.argsort(-counts, kind="stable")
    written = int((counts > 0).sum())
    place = np.empty(len(counts), np.int64)
    place[ranked] = np.arange(len(counts))
    edges = _edges(written)
    row = np.searchsorted(edges, place[app.writes.file_id], side="right") - 1
    column_of = column(app.writes.time_ns) * _COLUMNS // app.writes.duration_ns
    count = column(app.writes.count)
    known = count > 0
    cells = np.zeros((len(edges) - 1, _COLUMNS))
    np.add.at(cells, (row[known], column_of[known]), count[known])
    times = np.linspace(0, app.seconds, _COLUMNS + 1)
    most = max(float(cells.max(initial=1.0)), 2.0)
    mesh = ax.pcolormesh(
        times,
        edges + 1,
        np.ma.masked_equal(cells, 0),
        cmap="cividis_r",
        norm=LogNorm(1, most),
        rasterized=True,
    )
    if written > _ROWS:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:,.0f}")
    else:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(edges[-1] + 1, 1)
    ax.set(ylabel="written files, busiest first")
    ax.set_title(
        f"{app.name}: {app.writes.updates:,} updates of {written:,} of {len(counts):,} files",
        fontsize="medium",
        parse_math=False,
    )
    assert ax.figure is not None
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.01, format="{x:,.0f}")
    bar.set_label(f"updates in {app.seconds / _COLUMNS:.2g} s (log scale)")


def _edges(files: int) -> npt.NDArray[np.int64]:
    """Return the places at which rows of cells begin: one file each, or ever more of them."""
    if files <= _ROWS:
        return np.arange(max(files, 1) + 1)
    grown = np.unique(np.round(np.geomspace(1, files + 1, _ROWS)).astype(np.int64)) - 1
    return np.asarray(grown)


def _draw_rate(ax: Axes, app: Recorded, interval_s: float) -> None:
    """Draw what is written, and the files that it makes pending, per second."""
    interval_ns = max(round(interval_s * 1e9), 1)
    # An interval that the recording covers in part would look calm.
    intervals = max(app.writes.duration_ns // interval_ns, 1)
    at = column(app.writes.time_ns) // interval_ns
    times = np.minimum(np.arange(intervals + 1) * interval_s, app.seconds)
    lines: list[tuple[str, Any, str, Any]] = [
        ("whole files that are written", dirty_bytes(app, interval_s)[:intervals], _ORANGE, "--")
    ]
    if app.writes.write_bytes is not None:
        written = np.bincount(at, app.writes.write_bytes, intervals)[:intervals]
        lines.insert(0, ("bytes written", written, _BLUE, "-"))
    unit, scale = _unit(max(float(values.max()) for _, values, _, _ in lines) / interval_s)
    for label, values, color, dash in lines:
        ax.stairs(values / interval_s / scale, times, label=label, color=color, ls=dash, lw=1.4)
    ax.set_yscale("symlog", linthresh=_linear_below(lines, interval_s * scale))
    ax.set(ylabel=f"{unit}/s (log scale)")
    ax.set_ylim(bottom=0)
    _finish(ax, columns=2)


def _linear_below(lines: list[tuple[str, Any, str, Any]], scale: float) -> float:
    """Return where the log scale ends and 0 has its place: below what is usual."""
    usual = [np.median(values[values > 0]) for _, values, _, _ in lines if (values > 0).any()]
    return float(min(usual, default=scale)) / scale / 3


def _draw_bytes(ax: Axes, app: Recorded) -> None:
    """Draw the bytes that exist, and marks where files are born and where they end."""
    history = History.of(app)
    at, size = history.present_bytes()
    unit, scale = _unit(float(size.max()))
    at, size = np.append(at, app.seconds), np.append(size, size[-1])
    ax.plot(at, size / scale, color="0.2", lw=1.4, drawstyle="steps-post")
    ax.set_ylim(0, max(float(size.max()), 1.0) / scale * 1.45)
    times = column(app.writes.time_ns)
    events = (
        ("born", history.births(), _GREEN, "^", 0.94),
        ("gone", history.deaths(), "#D55E00", "v", 0.85),
        ("renamed", history.brought, "#CC79A7", "d", 0.76),
    )
    for label, which, color, marker, height in events:
        if not which.any():
            continue
        # One mark for many: marks upon marks only make the file large.
        places = np.unique(times[history.row[which]] * _COLUMNS // app.writes.duration_ns)
        ax.plot(
            places * app.seconds / _COLUMNS,
            np.full(len(places), height),
            marker,
            color=color,
            ms=3.5,
            label=f"{int(which.sum()):,} {label}",
            transform=ax.get_xaxis_transform(),
        )
    ax.set(xlabel="time [s]", ylabel=f"all files [{unit}]")
    _finish(ax, columns=3)


def _draw_skew(ax: Axes, app: Recorded) -> None:
    """Draw Lorenz curves: what share of the updates and bytes the busiest files get."""
    lines = [("updates", updates_of(app), _BLUE, "-")]
    if app.writes.write_bytes is not None:
        written = np.bincount(app.writes.file_id, app.writes.write_bytes, len(app.files))
        lines.append(("bytes written", written.astype(np.int64), _ORANGE, "--"))
    files = np.arange(len(app.files) + 1) / max(len(app.files), 1) * 100
    for label, values, color, dash in lines:
        share = np.concatenate([[0], np.cumsum(np.sort(values)[::-1])]) / max(values.sum(), 1) * 100
        ax.plot(files, share, label=label, color=color, ls=dash, lw=1.8)
    ax.plot(files, files, color="0.6", lw=0.9, ls=":", label="all files alike")
    ax.set(xlim=(0, 100), ylim=(0, 101), xlabel="busiest files [%]", ylabel="their share [%]")
    if len(app.files) > _ROWS:
        ax.set_xscale("log")
        ax.set(xlim=(files[1], 100), xlabel="busiest files [%] (log scale)")
        ax.xaxis.set_major_formatter("{x:g}")
    _finish(ax)


def _draw_bound(ax: Axes, app: Recorded, interval_s: float) -> None:
    """Draw what the bound leaves, over the time in which a link sends all data once."""
    mean_bytes = History.of(app).mean_bytes()
    if not mean_bytes:
        ax.text(0.5, 0.5, "no data", ha="center", transform=ax.transAxes)
        return
    once = np.geomspace(min(LINKS_S) / 4, max(LINKS_S) * 4, 33)
    runs = of_long_run(app, Cycle.of_seconds(interval_s, 1 / interval_s))
    share = [
        runs.bound_bytes(mean_bytes / seconds * interval_s) / mean_bytes * 100 for seconds in once
    ]
    ax.plot(once, share, color=_BLUE, lw=1.8)
    for seconds in LINKS_S:
        ax.axvline(seconds, color="0.75", lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_xticks(LINKS_S, [f"{seconds:g}" for seconds in LINKS_S])
    ax.minorticks_off()
    laps = lap_cycles(app, Cycle.of_seconds(interval_s, 1 / interval_s))
    ax.set(
        xlabel="time in which the link sends all data once [s]",
        ylabel="least mean final copy [% of all data]",
        xlim=(once[0], once[-1]),
    )
    ax.set_title(f"no policy leaves less ({laps:.4g} cycles of {interval_s:g} s)", fontsize="small")
    ax.set_ylim(bottom=0)
    _finish(ax)


def _unit(largest: float) -> tuple[str, float]:
    unit = next(name for name, least in _UNITS if largest >= least)
    return unit, {"GB": 1e9, "MB": 1e6, "kB": 1e3}[unit]


def _finish(ax: Axes, columns: int = 1) -> None:
    ax.grid(alpha=0.25)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small", ncols=columns)


def check(app: Any, figure: Any, interval_s: Any) -> float:
    """Return the length of the intervals, or raise for what cannot be drawn."""
    from matplotlib.figure import FigureBase

    if not isinstance(app, Recorded):
        raise TypeError(f"app: expected a Recorded, got {_check.shown(app)}")
    if figure is not None and not isinstance(figure, FigureBase):
        raise TypeError(f"figure: expected a matplotlib Figure, got {_check.shown(figure)}")
    return _check.positive("interval_s", interval_s)
