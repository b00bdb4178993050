"""Pictures of sweeps and recordings: data in, matplotlib Axes out; nothing here simulates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from precopy import _check
from precopy._colours import colours_of, number_text
from precopy._looks import (
    HATCHES,
    LUMINANCE,
    axes_or_new,
    check_axes,
    check_dimension,
    check_table,
    from_zero,
    is_dark,
    look_of,
    only_dimensions,
    scale_and_unit,
    tick_texts,
    title_of,
    with_hue,
    with_unit,
)
from precopy._units import stated_unit
from precopy.run import CYCLES_OF
from precopy.stop import check_curves

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from precopy.recorded import Recorded
    from precopy.run import Run


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
        Of `precopy.sweep`, with curves, or one run. Over ``seed`` and ``start_s`` the mean is
        drawn, with a band from the least to the greatest value; other dimensions must have been
        selected.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    hue : str, default "order"
        The dimension with a line per value.
    limit : float, optional
        A limit X in bytes (where the numbers have no known unit: in theirs), drawn as a
        horizontal line.
    unit : {"kB", "MB", "GB"}, optional
        What to draw bytes in; it also says that the table is one in bytes and seconds, whatever it
        was made of. Default: as their size suggests; but what was computed from a table, or
        changed, is drawn as it is and without a unit (`heatmap` says more).

    Returns
    -------
    matplotlib.axes.Axes
        The cycle on x, or the seconds where cycles are stretches of time; MB or GB on y;
        ``bound_bytes`` of the dataset is a dashed line.

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
    check_axes(ax)
    dataset = with_hue(check_curves(dataset), hue)
    if limit is not None:
        limit = _check.not_negative("limit", limit)
    curves = only_dimensions(dataset["final_copy_bytes"], [hue, "step"])
    asked = unit is not None
    scale, unit = scale_and_unit(curves, unit)
    stated = stated_unit(curves)
    ax = axes_or_new(ax)
    step, xlabel = dataset["step"].values, "pre-copy cycle"
    seconds = np.unique(dataset["cycle_seconds"].values)
    if dataset.attrs.get(CYCLES_OF) == "seconds" and len(seconds) == 1:
        step, xlabel = step * seconds[0], "pre-copy [s]"
    ink, grey = ("#FFFFFF", "0.75") if is_dark(ax) else ("#000000", "0.35")
    for label in dataset[hue].values:
        look = look_of(label, dataset[hue].values, ink)
        line = curves.sel({hue: label}) / scale
        if "run" in line.dims:
            low, high = line.min("run"), line.max("run")
            ax.fill_between(step, low, high, color=look["color"], alpha=0.22, linewidth=0)
            line = line.mean("run")
        ax.plot(
            step,
            line,
            label=str(label),
            color=look["color"],
            linestyle=look["linestyle"],
            lw=1.8,
            marker=look["marker"] if len(step) == 1 else None,
        )
    # Known or not, both must be alike: numbers of one unit.
    if "bound_bytes" in dataset and (asked or stated_unit(dataset["bound_bytes"]) == stated):
        bounds = np.unique(dataset["bound_bytes"].values)
        if len(bounds) == 1:
            ax.axhline(bounds[0] / scale, color=grey, ls="--", lw=1.2, label="optimal bound")
    if limit is not None:
        text = f"X = {limit / scale:g} {unit}".rstrip()
        ax.axhline(limit / scale, color=grey, ls="-.", lw=1.0, label=text)
    ax.set(
        xlabel=xlabel,
        ylabel=with_unit("final copy", unit),
        xlim=(0, step[-1] if len(step) > 1 else 2 * step[-1]),
    )
    from_zero(ax)
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
    """Draw the pre-copy bytes that each order needs to come down to one limit, or until a rule.

    Parameters
    ----------
    finished : xarray.Dataset
        Of `precopy.finish`, with one limit or rule selected. Bars are means over ``seed`` and
        ``start_s``, the line on a bar goes from the least to the greatest value. Runs that never
        reach the limit are left out of both and counted above the bar.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    hue : str, default "order"
        The dimension with a bar per value.
    unit : {"kB", "MB", "GB"}, optional
        What to draw bytes in; it also says that the table is one in bytes and seconds, whatever it
        was made of. Default: as their size suggests; but what was computed from a table, or
        changed, is drawn as it is and without a unit (`heatmap` says more).

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
    check_axes(ax)
    check_table("finished", finished, "Dataset")
    until = [name for name in ("threshold_bytes", "rule") if name in finished.coords]
    if "precopy_bytes" not in finished or not until:
        raise ValueError(
            f"finished: expected a dataset of precopy.finish, got {list(finished.data_vars)}"
        )
    finished = with_hue(finished, hue)
    values = only_dimensions(finished["precopy_bytes"], [hue])
    scale, unit = scale_and_unit(values, unit)
    ax = axes_or_new(ax, width=6.0)
    top = float(values.max()) / scale if bool(values.notnull().any()) else 1.0
    ink = "#FFFFFF" if is_dark(ax) else "#000000"
    for place, label in enumerate(finished[hue].values):
        runs = np.atleast_1d(values.sel({hue: label}).values) / scale
        reached = runs[~np.isnan(runs)]
        look = look_of(label, finished[hue].values, ink)
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
                hatch=HATCHES[look["place"] % len(HATCHES)],
            )
            ax.errorbar(place, mean, spread, color=ink, capsize=4, lw=1.2)
            figures = f"{mean:,.{2 if unit == 'GB' else 0}f}" if unit else number_text(mean)
            text = f"{figures} {unit}".rstrip()
        else:
            text = "never"
        if 0 < len(reached) < len(runs):
            text += f"\n({len(reached)} of {len(runs)} runs)"
        ax.text(place, height + 0.015 * top, text, ha="center", va="bottom", fontsize="small")
    names = [str(label) for label in finished[hue].values]
    ax.set_xticks(range(len(names)), names)
    if sum(map(len, names)) > 45:
        ax.tick_params(axis="x", rotation=15)
    what = "pre-copy until X" if until == ["threshold_bytes"] else "pre-copy until the rule holds"
    ax.set(ylabel=with_unit(what, unit))
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
        One variable of a dataset; the mean over ``seed`` and ``start_s`` is drawn, where no
        run has NaN. Bytes
        are drawn in kB, MB or GB. What was computed from a variable, or changed in place, is drawn
        as it is and without a unit: newer xarray keeps the attribute "bytes" through arithmetic. A
        `label` gives it one, or another attribute: ``.attrs["units"] = "MB"`` is believed, and
        ``"B"`` drawn as bytes are.
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

    check_axes(ax)
    check_table("values", values, "DataArray")
    if values.dtype.kind not in "biuf":
        raise TypeError(f"values: expected numbers, got dtype {values.dtype}")
    for name, argument in ((x, "x"), (y, "y")):
        check_dimension(values, name, argument)
    if x == y:
        raise ValueError(f"y: expected another dimension than x, got {_check.shown(y)} for both")
    if label is not None and not isinstance(label, str):
        raise TypeError(f"label: expected a text, got {_check.shown(label)}")
    if annotate is not None:
        annotate = _check.truth("annotate", annotate)
    if log is not None:
        log = _check.truth("log", log)
    table = only_dimensions(values, [x, y])
    if "run" in table.dims:
        table = table.mean("run", skipna=False)
    table = table.transpose(y, x)
    scale = 1.0
    if label is None:
        scale, unit = scale_and_unit(values)
        label = with_unit(values.attrs.get("long_name", str(values.name or "")), unit)
    cells = np.ma.masked_invalid(table.values / scale)
    low, high = (
        None if end is None else _check.finite(name, end) / scale
        for name, end in (("vmin", vmin), ("vmax", vmax))
    )
    if low is not None and high is not None and low > high:
        raise ValueError(f"vmax: expected at least vmin, {vmin!r}, got {vmax!r}")
    norm, ticks, shown = colours_of(cells, low, high, log)
    ax = axes_or_new(ax)
    mesh = ax.pcolormesh(shown, cmap="cividis", edgecolors="white", linewidth=0.5, norm=norm)
    ax.set_ylim(table.sizes[y], 0)  # the first row on top, as in a table
    ax.patch.set(hatch="xx", edgecolor="0.7")
    if isinstance(norm, colors.LogNorm):
        label += " (log scale)"
    assert ax.figure is not None
    ax.figure.colorbar(mesh, ax=ax, label=label, ticks=ticks)
    for axis, dimension in ((ax.xaxis, x), (ax.yaxis, y)):
        names = tick_texts(table[dimension])
        axis.set_ticks(np.arange(len(names)) + 0.5, names)
        axis.set_label_text(title_of(dimension))
    if table.sizes[x] > 6:
        ax.tick_params(axis="x", rotation=45)
    if annotate if annotate is not None else cells.size <= 120:
        for row, column in zip(*np.nonzero(~np.ma.getmaskarray(cells)), strict=True):
            value = float(cells[row, column])
            behind = mesh.cmap(mesh.norm(shown[row, column]))[:3]
            ax.text(
                column + 0.5,
                row + 0.5,
                number_text(value),
                ha="center",
                va="center",
                color="white" if np.dot(behind, LUMINANCE) < 0.5 else "black",
                fontsize="x-small",
            )
    return ax


def pareto(
    finished: xarray.Dataset,
    ax: Axes | None = None,
    *,
    hue: str = "order",
    unit: str | None = None,
) -> Axes:
    """Draw downtime against pre-copy bytes: one point per limit X or rule, one line per order.

    Parameters
    ----------
    finished : xarray.Dataset
        Of `precopy.finish`, for several limits, or for rules; means over ``seed`` and
        ``start_s`` are drawn, of the limits that every run reaches and the rules that end every
        run. Rules are points without a line, with their labels.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    hue : str, default "order"
        The dimension with a line per value; "rule" tells rules apart by colour.
    unit : {"kB", "MB", "GB"}, optional
        What to draw bytes in; it also says that the table is one in bytes and seconds, whatever it
        was made of. Default: as their size suggests; but what was computed from a table, or
        changed, is drawn as it is and without a unit (`heatmap` says more).

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
    check_axes(ax)
    check_table("finished", finished, "Dataset")
    ends = "rule" if "rule" in finished.dims else "threshold_bytes"
    if "downtime_s" not in finished or ends not in finished.dims:
        raise ValueError(
            "finished: expected a dataset of precopy.finish for several limits or rules, got "
            f"dimensions {[str(d) for d in finished.dims]}"
        )
    finished = with_hue(finished, hue)
    keep = [hue, ends]
    sent = only_dimensions(finished["precopy_bytes"], keep)
    down = only_dimensions(finished["downtime_s"], keep)
    waits = stated_unit(down) if unit is None else "s"
    scale, unit = scale_and_unit(sent, unit)
    if "run" in sent.dims:
        sent, down = sent.mean("run", skipna=False), down.mean("run", skipna=False)
    ax = axes_or_new(ax)
    ink = "#FFFFFF" if is_dark(ax) else "#000000"
    for label in finished[hue].values:
        look = look_of(label, finished[hue].values, ink)
        x, y = sent.sel({hue: label}) / scale, down.sel({hue: label})
        seen = bool((x.notnull() & y.notnull()).any())
        never = "reaches no limit" if ends == "threshold_bytes" else "no rule holds in every run"
        ax.plot(
            x,
            y,
            label=str(label)
            if seen
            else f"{label}: {never if hue != 'rule' else 'not in every run'}",
            color=look["color"],
            linestyle=look["linestyle"] if ends == "threshold_bytes" else "",
            marker=look["marker"],
            ms=4 if ends == "threshold_bytes" else 6,
            lw=1.4,
        )
        if ends == "rule" and hue != "rule":
            for rule in finished["rule"].values:
                place = float(x.sel(rule=rule)), float(y.sel(rule=rule))
                if not np.isnan(place).any():
                    ax.annotate(
                        str(rule), place, (4, 3), textcoords="offset points", fontsize="x-small"
                    )
    ax.set(xlabel=with_unit("pre-copy", unit), ylabel=with_unit("downtime", waits))
    if not bool((sent.notnull() & down.notnull()).any()):
        text = "no limit is reached by every run"
        ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    from_zero(ax)
    if bool((down == 0).any()):
        ax.set_ylim(bottom=-0.04 * ax.get_ylim()[1])  # or half of the marker would be cut off
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    return ax


CHARACTER_INCH = (11.0, 7.6)
"""The size of a figure that holds all parts of `character`."""


def character(
    app: Recorded, figure: Figure | None = None, *, interval_s: float = 1.0
) -> dict[str, Axes]:
    """Draw what a recorded application's writes look like: which files, when, how much.

    Parameters
    ----------
    app : Recorded
        The recording.
    figure : matplotlib Figure, optional
        Where to draw; it should be empty. Default: a new figure.
    interval_s : float, default 1.0
        How long the intervals of the rates and the cycles of the bound are, in seconds.

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        "files": when each file is updated, the busiest on top; "rate": the bytes that are written
        and those of the files that they make pending; "bytes": the bytes that exist, and when files
        come, go and are renamed; "skew": the share of the busiest files; "bound": the least mean
        final copy over links.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import precopy
    >>> writes = precopy.WriteTrace(
    ...     [0] * 10, time_ns=range(0, 10**10, 10**9), size_bytes=[10**6] * 10,
    ...     duration_ns=10**10
    ... )
    >>> app = precopy.Recorded("log", precopy.FileSet([10**6, 10**7]), writes)
    >>> sorted(precopy.plot.character(app))
    ['bound', 'bytes', 'files', 'rate', 'skew']
    """
    from precopy import _character

    interval_s = _character.check(app, figure, interval_s)
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=CHARACTER_INCH, layout="constrained")
    return _character.draw(app, figure, interval_s)
