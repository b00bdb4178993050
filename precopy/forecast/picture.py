"""The picture of a forecast: what waits over time, the downtimes asked for, what keeps it up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from precopy import _looks
from precopy._check import bytes_text
from precopy._picture import own_style, save
from precopy._text import printable
from precopy.forecast.numbers import Forecast
from precopy.forecast.report import seconds_short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
_LONGEST = 46
_BARS = 8


def draw(found: Forecast, path: str | Path | None = None) -> Figure:
    """Draw a forecast; write the picture to a file if one is given."""
    import matplotlib.pyplot as plt

    bars = min(len(found.hot), _BARS)
    with own_style():
        figure, (above, below) = plt.subplots(
            2, 1, figsize=(9, 5.2 + 0.3 * bars), height_ratios=(5, 0.8 + 0.4 * bars),
            layout="constrained",
        )  # fmt: skip
        _waiting(found, above)
        _keeps_up(found, below)
        what = {"block": "blocks, estimated", "file": "whole files"}[found.granularity]
        name = printable(found.what)
        figure.suptitle(
            f"{name if len(name) < 50 else name[:47] + '…'}: forecast for "
            f"{bytes_text(found.bandwidth)}/s ({what})"
        )
        if path is not None:
            save(figure, Path(path))
        plt.close(figure)
    return figure


def _waiting(found: Forecast, ax: Axes) -> None:
    seconds = np.array([0.0, *found.bands["seconds"]])
    orders = [name for name in found.bands if name != "seconds"]
    tables = {name: np.array(found.bands[name]) for name in orders}
    highest = max(found.total_bytes, *(float(table.max()) for table in tables.values()), 1)
    scale, unit = next(each for each in _UNITS if highest >= each[0])
    for name in orders:
        low, median, high = (
            np.concatenate([[found.total_bytes], row]) / scale for row in tables[name]
        )
        look = _looks.look_of(name, orders)
        own = name == found.order
        ax.plot(
            seconds, median, color=look["color"], linestyle=look["linestyle"],
            linewidth=2.0 if own else 1.2, label=name, zorder=3 if own else 2,
        )  # fmt: skip
        if own:
            ax.fill_between(seconds, low, high, color=look["color"], alpha=0.2, linewidth=0)
    positive = [float(table[table > 0].min()) for table in tables.values() if (table > 0).any()]
    least = min([*positive, highest])
    _goals(found, ax, scale, highest, least)
    if highest > 300 * least:
        ax.set_yscale("symlog", linthresh=max(least / scale, 1e-6))
    ax.set_ylim(bottom=0)
    ax.set_xlim(0, seconds[-1])
    ax.set_xlabel("seconds since the start")
    ax.set_ylabel(f"waits at the end of a cycle ({unit})")
    ax.legend(framealpha=0.9, edgecolor="none", fontsize="small", loc="upper right")
    ax.grid(alpha=0.3)


def _goals(found: Forecast, ax: Axes, scale: float, highest: float, least: float) -> None:
    """Draw what may be left for each downtime asked for."""
    apart, above = 0.04 * highest * (highest <= 300 * least), np.inf
    for goal in sorted(found.goals_s, reverse=True):
        left = (goal - found.fixed_s) * found.bandwidth
        if not least / 2 <= left <= highest:
            continue
        ax.axhline(left / scale, color="#4c566a", linewidth=0.8, linestyle=(0, (1, 2)))
        if above - left < apart:  # its name would lie on that of the one above
            continue
        above = left
        ax.annotate(
            seconds_short(goal), (1, left / scale), xycoords=("axes fraction", "data"),
            xytext=(3, 0), textcoords="offset points", va="center", fontsize="small",
            color="#4c566a",
        )  # fmt: skip


def _keeps_up(found: Forecast, ax: Axes) -> None:
    hot = found.hot[:_BARS][::-1]
    if not hot:
        ax.axis("off")
        ax.text(0.0, 0.5, "nothing is written", fontsize="small")
        return
    place = np.arange(len(hot))
    ax.barh(
        place + 0.2, [100 * each.final_copy_share for each in hot], 0.38, color="#bf616a",
        label="of what waits",
    )  # fmt: skip
    ax.barh(
        place - 0.2, [100 * each.traffic_share for each in hot], 0.38, color="#5e81ac",
        label="of what is sent",
    )  # fmt: skip
    ax.set_yticks(place, [_name(each.path) for each in hot], fontsize="small")
    ax.set_xlabel("share in the long run (%)")
    ax.set_xlim(0, 100)
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    ax.grid(axis="x", alpha=0.3)


def _name(path: str) -> str:
    return path if len(path) <= _LONGEST else "…" + path[-_LONGEST + 1 :]
