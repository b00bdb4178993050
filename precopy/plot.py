"""Pictures of sweeps: datasets in, matplotlib Axes out; nothing here simulates.

Lines differ in colour, lightness and dash, so that they stay apart in greyscale and for
colour-blind readers; an order looks the same in every picture.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from precopy import _check
from precopy._units import stated_unit
from precopy.stop import check_curves

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

    from precopy.run import Run

# Colours of Okabe and Ito's palette, from light to dark with growing ink in the dashes.
_LOOKS: list[tuple[str, Any, str]] = [
    ("#0072B2", "-", "o"),
    ("#E69F00", (0, (6, 2)), "s"),
    ("#009E73", (0, (2, 1.2)), "^"),
    ("#000000", (0, (1, 1.6)), "D"),
    ("#D55E00", (0, (7, 2, 1.5, 2)), "v"),
    ("#CC79A7", (0, (4, 1.5, 1, 1.5, 1, 1.5)), "P"),
    ("#56B4E9", (0, (10, 3)), "X"),
]
_KNOWN = ["update-frequency", "size-ascending", "size-descending", "existing method"]
_LUMINANCE = (0.2126, 0.7152, 0.0722)
_HATCHES = ["", "///", "\\\\\\", "xx", "..", "++", "oo"]


def _look(label: Any, labels: Iterable[Any], ink: str = "#000000") -> dict[str, Any]:
    """Known orders have places of their own; others take those that are free, in turn."""
    names = [str(one) for one in labels]
    taken = {_KNOWN.index(name) for name in names if name in _KNOWN}
    free = (place for place in itertools.count() if place not in taken)
    places = {name: next(free) for name in names if name not in _KNOWN}
    place = places[str(label)] if str(label) in places else _KNOWN.index(str(label))
    # Beyond the number of looks, colours meet other dashes and markers.
    color = _LOOKS[place % len(_LOOKS)][0]
    _, dash, marker = _LOOKS[(place + place // len(_LOOKS)) % len(_LOOKS)]
    if color == "#000000":
        color = ink
    return {"color": color, "linestyle": dash, "marker": marker, "place": place}


def _is_dark(ax: Axes) -> bool:
    """Tell whether the background is dark; what is black elsewhere is drawn white there."""
    from matplotlib.colors import to_rgb

    return float(np.dot(to_rgb(ax.get_facecolor()), _LUMINANCE)) < 0.4


def _from_zero(ax: Axes) -> None:
    """Let the y axis begin at 0, and still make room for what is drawn later."""
    for artist in [*ax.lines, *ax.patches, *ax.collections]:
        artist.sticky_edges.y.append(0)
    ax.update_datalim([(0, 0)], updatex=False)
    ax.autoscale_view(scalex=False)


def _with_hue(dataset: xarray.Dataset, hue: str) -> xarray.Dataset:
    """Make `hue` a dimension, of one label where the dataset has only one value of it."""
    if hue in dataset.dims:
        return dataset
    if hue in dataset.coords:
        return dataset.expand_dims(hue)
    if hue != "order":
        _dimension(dataset, hue, "hue")
    order = json.loads(dataset.attrs.get("parameters", "{}")).get("order")
    return dataset.expand_dims(order=[order if isinstance(order, str) else "key"])


_UNITS = {"GB": 1e9, "MB": 1e6, "kB": 1e3}


def _unit(values: xarray.DataArray, unit: str | None = None) -> tuple[float, str]:
    """Return what to divide bytes by, and the name of that unit; by default as values suggest."""
    if unit is None:
        largest = float(values.max()) if bool(values.notnull().any()) else 1e6
        unit = "GB" if largest >= 20e9 else "MB" if largest >= 1e6 else "kB"
    return _UNITS[_check.choice("unit", unit, _UNITS)], unit


def _axes(ax: Axes | None, width: float = 7.0, height: float = 4.2) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _only(
    array: xarray.DataArray, keep: Iterable[str], over: str | None = None
) -> xarray.DataArray:
    """Drop dimensions of length 1; complain about others that the picture cannot show."""
    squeezed = array.squeeze([d for d in array.dims if array.sizes[d] == 1 and str(d) not in keep])
    extra = [str(d) for d in squeezed.dims if str(d) not in keep and d != over]
    if extra:
        raise ValueError(
            f"dataset: expected the dimensions {[*keep, *([over] if over else [])]}, got also "
            f"{extra}; choose with dataset.sel({extra[0]}=...) or average with .mean({extra[0]!r})"
        )
    return squeezed


def _dimension(array: xarray.DataArray | xarray.Dataset, name: str, argument: str) -> None:
    if name not in array.dims:
        raise ValueError(
            f"{argument}: expected one of the dimensions {[str(d) for d in array.dims]}, "
            f"got {name!r}"
        )


def final_copy(
    dataset: xarray.Dataset | Run,
    ax: Axes | None = None,
    *,
    hue: str = "order",
    limit: float | None = None,
    unit: str | None = None,
) -> Axes:
    """Draw the final copy over the pre-copy cycles, one line per order.

    Parameters
    ----------
    dataset : xarray.Dataset or Run
        Of `precopy.sweep`, with curves, or one run. Over ``seed`` the mean is drawn, with a band
        from the least to the greatest value; other dimensions must have been selected.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    hue : str, default "order"
        The dimension with a line per value.
    limit : float, optional
        A limit X in bytes, drawn as a horizontal line.
    unit : {"kB", "MB", "GB"}, optional
        Of the bytes. Default: as their size suggests.

    Returns
    -------
    matplotlib.axes.Axes
        The cycle on x, MB or GB on y; ``bound_bytes`` of the dataset is a dashed line.

    References
    ----------
    Paper, figure 7.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import precopy
    >>> files = precopy.paper.files()
    >>> table = precopy.sweep(files, precopy.paper.skewed(), seed=[1, 2], cycles=20,
    ...                       order=["size-ascending", "update-frequency"])
    >>> precopy.plot.final_copy(table).get_ylabel()
    'final copy [MB]'
    """
    dataset = _with_hue(check_curves(dataset), hue)
    ax = _axes(ax)
    curves = _only(dataset["final_copy_bytes"], [hue, "step"], over="seed")
    scale, unit = _unit(curves, unit)
    step = dataset["step"].values
    ink, grey = ("#FFFFFF", "0.75") if _is_dark(ax) else ("#000000", "0.35")
    for label in dataset[hue].values:
        look = _look(label, dataset[hue].values, ink)
        line = curves.sel({hue: label}) / scale
        if "seed" in line.dims:
            low, high = line.min("seed"), line.max("seed")
            ax.fill_between(step, low, high, color=look["color"], alpha=0.22, linewidth=0)
            line = line.mean("seed")
        ax.plot(
            step,
            line,
            label=str(label),
            color=look["color"],
            linestyle=look["linestyle"],
            lw=1.8,
            marker=look["marker"] if len(step) == 1 else None,
        )
    if "bound_bytes" in dataset:
        bounds = np.unique(dataset["bound_bytes"].values)
        if len(bounds) == 1:
            ax.axhline(bounds[0] / scale, color=grey, ls="--", lw=1.2, label="optimal bound")
    if limit is not None:
        ax.axhline(
            limit / scale, color=grey, ls="-.", lw=1.0, label=f"X = {limit / scale:g} {unit}"
        )
    ax.set(
        xlabel="pre-copy cycle",
        ylabel=f"final copy [{unit}]",
        xlim=(0, step[-1] if len(step) > 1 else 2 * step[-1]),
    )
    _from_zero(ax)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    return ax


def precopy_bars(
    finished: xarray.Dataset,
    ax: Axes | None = None,
    *,
    hue: str = "order",
    unit: str | None = None,
) -> Axes:
    """Draw the pre-copy bytes that each order needs to come down to one limit.

    Parameters
    ----------
    finished : xarray.Dataset
        Of `precopy.finish`, with one limit selected. Bars are means over ``seed``, the line on a
        bar goes from the least to the greatest value. Runs that never reach the limit are left out
        of both and counted above the bar.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    hue : str, default "order"
        The dimension with a bar per value.
    unit : {"kB", "MB", "GB"}, optional
        Of the bytes. Default: as their size suggests.

    Returns
    -------
    matplotlib.axes.Axes

    References
    ----------
    Paper, figures 5 and 6.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import precopy
    >>> table = precopy.sweep(precopy.paper.files(), precopy.paper.skewed(), seed=[1, 2],
    ...                       order=["size-ascending", "update-frequency"])
    >>> ax = precopy.plot.precopy_bars(precopy.finish(table, 5.0e9))
    >>> ax.get_ylabel()
    'pre-copy until X [MB]'
    """
    if "precopy_bytes" not in finished or "threshold_bytes" not in finished.coords:
        raise ValueError(
            f"finished: expected a dataset of precopy.finish, got {list(finished.data_vars)}"
        )
    finished = _with_hue(finished, hue)
    ax = _axes(ax, width=6.0)
    values = _only(finished["precopy_bytes"], [hue], over="seed")
    scale, unit = _unit(values, unit)
    top = float(values.max()) / scale if bool(values.notnull().any()) else 1.0
    ink = "#FFFFFF" if _is_dark(ax) else "#000000"
    for place, label in enumerate(finished[hue].values):
        runs = np.atleast_1d(values.sel({hue: label}).values) / scale
        reached = runs[~np.isnan(runs)]
        look = _look(label, finished[hue].values, ink)
        height = 0.0
        if len(reached):
            mean, height = reached.mean(), reached.max()
            spread = [[mean - reached.min()], [reached.max() - mean]]
            ax.bar(
                place,
                mean,
                0.6,
                color=look["color"],
                alpha=0.75,
                edgecolor=ink,
                hatch=_HATCHES[look["place"] % len(_HATCHES)],
            )
            ax.errorbar(place, mean, spread, color=ink, capsize=4, lw=1.2)
            text = f"{mean:,.{2 if unit == 'GB' else 0}f} {unit}"
        else:
            text = "never"
        if 0 < len(reached) < len(runs):
            text += f"\n({len(reached)} of {len(runs)} runs)"
        ax.text(place, height + 0.015 * top, text, ha="center", va="bottom", fontsize="small")
    names = [str(label) for label in finished[hue].values]
    ax.set_xticks(range(len(names)), names)
    if sum(map(len, names)) > 45:
        ax.tick_params(axis="x", rotation=15)
    ax.set(ylabel=f"pre-copy until X [{unit}]")
    ax.margins(y=0.15)
    ax.set_xlim(-0.6, finished.sizes[hue] - 0.4)
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", alpha=0.25)
    return ax


def heatmap(
    values: xarray.DataArray,
    x: str,
    y: str,
    ax: Axes | None = None,
    *,
    label: str | None = None,
    annotate: bool | None = None,
    log: bool | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw one number over two swept dimensions.

    Parameters
    ----------
    values : xarray.DataArray
        One variable of a dataset; the mean over ``seed`` is drawn, where no seed has NaN. Bytes
        are drawn in MB or GB. What was computed from a variable is drawn as it is and without a
        unit, whatever its attributes say (newer xarray keeps them through arithmetic); a `label`
        gives it one.
    x, y : str
        The dimensions on the axes; the first value of `y` is on top.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    label : str, optional
        Of the colour bar, with the unit; the values are drawn as they are. Default: the variable's
        long name and unit.
    annotate : bool, optional
        Write the numbers into the cells. Default: up to 120 cells.
    log : bool, optional
        Whether the colours are on a log scale; then the colour bar says so. Default: where no
        number is negative, no end is given, and the numbers span two decades or one is ten times
        above their median.
    vmin, vmax : float, optional
        The ends of the colour scale in the units of `values`, to give several pictures one scale.

    Returns
    -------
    matplotlib.axes.Axes
        NaN cells are hatched. Up to ten different counts (whole numbers) have a colour each.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import precopy
    >>> table = precopy.sweep(precopy.paper.files(), precopy.paper.skewed(), seed=1, cycles=50,
    ...                       order=["size-ascending", "update-frequency"])
    >>> done = precopy.finish(table, [5e9, 6e9, 7e9])
    >>> precopy.plot.heatmap(done.precopy_bytes, "order", "threshold_bytes").get_xlabel()
    'order'
    """
    from matplotlib import colors

    for name, argument in ((x, "x"), (y, "y")):
        _dimension(values, name, argument)
    if x == y:
        raise ValueError(f"y: expected another dimension than x, got {y!r} for both")
    ax = _axes(ax)
    table = _only(values, [x, y], over="seed")
    if "seed" in table.dims:
        table = table.mean("seed", skipna=False)
    table = table.transpose(y, x)
    unit = stated_unit(values)
    scale = 1.0
    if unit == "bytes" and label is None:
        scale, unit = _unit(table)
    cells = np.ma.masked_invalid(table.values / scale)
    ends = [None if end is None else end / scale for end in (vmin, vmax)]
    norm, ticks, shown = _colours(cells, ends[0], ends[1], log)
    mesh = ax.pcolormesh(shown, cmap="cividis", edgecolors="white", linewidth=0.5, norm=norm)
    ax.set_ylim(table.sizes[y], 0)  # the first row on top, as in a table
    ax.patch.set(hatch="xx", edgecolor="0.7")
    name = label or values.attrs.get("long_name", str(values.name or "")) + (unit and f" [{unit}]")
    if isinstance(norm, colors.LogNorm):
        name += " (log scale)"
    assert ax.figure is not None
    ax.figure.colorbar(mesh, ax=ax, label=name, ticks=ticks)
    for axis, dimension in ((ax.xaxis, x), (ax.yaxis, y)):
        names = [_tick(one, dimension) for one in table[dimension].values]
        axis.set_ticks(np.arange(len(names)) + 0.5, names)
        axis.set_label_text(_title(dimension))
    if table.sizes[x] > 6:
        ax.tick_params(axis="x", rotation=45)
    if annotate if annotate is not None else cells.size <= 120:
        for row, column in zip(*np.nonzero(~np.ma.getmaskarray(cells)), strict=True):
            value = float(cells[row, column])
            behind = mesh.cmap(mesh.norm(shown[row, column]))[:3]
            ax.text(
                column + 0.5,
                row + 0.5,
                _number(value),
                ha="center",
                va="center",
                color="white" if np.dot(behind, _LUMINANCE) < 0.5 else "black",
                fontsize="x-small",
            )
    return ax


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


# So many colours can still be told apart.
_COUNTS_APART = 10


def _colours(
    cells: Any, vmin: float | None, vmax: float | None, log: bool | None
) -> tuple[Normalize, Any, Any]:
    """Return the scale of the colours, the ticks beside it, and the numbers to be coloured.

    Counts get a colour each as long as there are few, values over two decades or with a single one
    far above the others a logarithmic scale; there zero has the colour of the least.
    """
    from matplotlib.colors import BoundaryNorm, LogNorm, Normalize
    from matplotlib.ticker import MaxNLocator

    found = np.asarray(cells.compressed(), dtype=float)
    positive = found[found > 0]
    low = vmin if vmin is not None else found.min() if len(found) else 0.0
    high = vmax if vmax is not None else found.max() if len(found) else 1.0
    if log and (low < 0 or not len(positive) or high <= 0):
        raise ValueError(f"log: expected numbers above 0 for a log scale, got {low:g} to {high:g}")
    if log is None:
        spread = (
            len(positive) > 1
            and low >= 0
            and (
                positive.max() >= 100 * positive.min() or positive.max() >= 10 * np.median(positive)
            )
        )
        log = spread and vmin is None and vmax is None
    if log:
        least = low if low > 0 else positive.min()
        high = max(high, least * (1 + 1e-9))
        return LogNorm(least, high), None, np.ma.maximum(cells, least)
    whole = len(found) > 0 and bool((found == np.round(found)).all()) and high - low < 1e6
    if whole and low == round(low) and high == round(high):
        if high - low < _COUNTS_APART:
            numbers = np.arange(low, high + 1)
            edges = np.append(numbers - 0.5, high + 0.5)
            return BoundaryNorm(edges, 256), numbers, cells
        return Normalize(low, high), MaxNLocator(integer=True), cells
    return Normalize(low, high), None, cells


def pareto(
    finished: xarray.Dataset,
    ax: Axes | None = None,
    *,
    hue: str = "order",
    unit: str | None = None,
) -> Axes:
    """Draw downtime against pre-copy bytes: one point per limit X, one line per order.

    Parameters
    ----------
    finished : xarray.Dataset
        Of `precopy.finish`, for several limits; means over ``seed`` are drawn, of the limits that
        every seed reaches.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    hue : str, default "order"
        The dimension with a line per value.
    unit : {"kB", "MB", "GB"}, optional
        Of the bytes. Default: as their size suggests.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import precopy
    >>> table = precopy.sweep(precopy.paper.files(), precopy.paper.skewed(), seed=1, cycles=90,
    ...                       order=["size-ascending", "update-frequency"])
    >>> precopy.plot.pareto(precopy.finish(table, [5e9, 6e9, 7e9])).get_ylabel()
    'downtime [s]'
    """
    if "downtime_s" not in finished or "threshold_bytes" not in finished.dims:
        raise ValueError(
            "finished: expected a dataset of precopy.finish for several limits, got dimensions "
            f"{[str(d) for d in finished.dims]}"
        )
    finished = _with_hue(finished, hue)
    ax = _axes(ax)
    keep = [hue, "threshold_bytes"]
    sent = _only(finished["precopy_bytes"], keep, over="seed")
    down = _only(finished["downtime_s"], keep, over="seed")
    if "seed" in sent.dims:
        sent, down = sent.mean("seed", skipna=False), down.mean("seed", skipna=False)
    scale, unit = _unit(sent, unit)
    ink = "#FFFFFF" if _is_dark(ax) else "#000000"
    for label in finished[hue].values:
        look = _look(label, finished[hue].values, ink)
        seen = bool((sent.sel({hue: label}).notnull() & down.sel({hue: label}).notnull()).any())
        ax.plot(
            sent.sel({hue: label}) / scale,
            down.sel({hue: label}),
            label=str(label) if seen else f"{label}: reaches no limit",
            color=look["color"],
            linestyle=look["linestyle"],
            marker=look["marker"],
            ms=4,
            lw=1.4,
        )
    ax.set(xlabel=f"pre-copy [{unit}]", ylabel="downtime [s]")
    if not bool((sent.notnull() & down.notnull()).any()):
        text = "no limit is reached by every run"
        ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    _from_zero(ax)
    if bool((down == 0).any()):
        ax.set_ylim(bottom=-0.04 * ax.get_ylim()[1])  # or half of the marker would be cut off
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    return ax


def _tick(value: Any, dimension: str) -> str:
    if dimension.endswith("_bytes"):
        return _check.bytes_text(float(value))
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)


def _title(dimension: str) -> str:
    return "limit X" if dimension == "threshold_bytes" else dimension.replace("_", " ")
