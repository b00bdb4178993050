"""The picture of a migration: what was pending, what was sent when, where the downtime went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from precopy._picture import own_style, save
from precopy._text import printable
from precopy.migration.report import PARTS, Report, seconds_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "freeze": "#4c566a",
    "scan": "#5e81ac",
    "read": "#81a1c1",
    "link": "#d08770",
    "verify": "#a3be8c",
    "sync": "#ebcb8b",
    "commit": "#b48ead",
    "start": "#8fbcbb",
    "other": "#d8dee9",
}
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


def draw(report: Report, path: str | Path | None = None) -> Figure:
    """Draw a report; write the picture to a file if one is given."""
    import matplotlib.pyplot as plt

    with own_style():
        figure, (above, middle, below) = plt.subplots(
            3, 1, figsize=(8, 8), height_ratios=(4, 2.5, 1), layout="constrained"
        )
        _pending(report, above)
        _sent(report, middle)
        _downtime(report, below)
        above.sharex(middle)
        above.tick_params(labelbottom=False)
        name = printable(report.what)
        figure.suptitle(f"{name if len(name) < 60 else name[:57] + '…'} → {printable(report.to)}")
        if path is not None:
            save(figure, Path(path))
        plt.close(figure)
    return figure


def _pending(report: Report, ax: Axes) -> None:
    seconds = np.array([0.0, *(record.seconds for record in report.records)])
    pending = np.array([report.total_bytes, *(r.pending_bytes for r in report.records)], float)
    simulated = report.simulated or {"seconds": [], "pending_bytes": []}
    highest = max([1.0, *pending, *simulated["pending_bytes"]])
    scale, unit = _unit(highest)
    ax.plot(seconds, pending / scale, marker=".", color="#bf616a", label="pending")
    if report.simulated:
        ax.plot(
            simulated["seconds"],
            np.array(simulated["pending_bytes"]) / scale,
            "--",
            color="#4c566a",
            label="as forecast from the recording",
        )
    end = max(report.precopy_s, seconds[-1])
    ax.axvline(end, color="black", linewidth=0.8)
    ax.annotate(
        "stopped", (end, 1), xycoords=("data", "axes fraction"), xytext=(-4, -12),
        textcoords="offset points", ha="right", fontsize="small",
    )  # fmt: skip
    if report.precopy_s <= 0:
        ax.set_xlim(0, 1)
    positive = pending[pending > 0]
    if len(positive) and highest > 1000 * positive.min():
        ax.set_yscale("symlog", linthresh=max(positive.min() / scale, 1e-6))
    ax.set_ylim(bottom=0)
    ax.set_ylabel(f"pending ({unit})")
    ax.legend(frameon=False, loc="lower left")
    ax.grid(alpha=0.3)


def _sent(report: Report, ax: Axes) -> None:
    records = report.records
    ends = np.array([record.seconds for record in records])
    lengths = np.array([record.cycle_seconds for record in records])
    sent = np.array([record.sent_bytes for record in records], float)
    again = np.array([record.resent_bytes for record in records], float)
    scale, unit = _unit(float(max([1.0, *sent])))
    least = 0.003 * max(float(ends[-1]), 1e-3) if len(ends) else 0.0
    known: dict[str, Any] = {"width": np.maximum(lengths, least), "align": "edge"}
    ax.bar(ends - lengths, (sent - again) / scale, color="#5e81ac", label="first time", **known)
    ax.bar(
        ends - lengths, again / scale, bottom=(sent - again) / scale, color="#d08770",
        label="again", **known,
    )  # fmt: skip
    ax.set_ylabel(f"sent per cycle ({unit})")
    ax.set_xlabel("seconds since the start")
    ax.margins(y=0.25)  # room for the legend, above the bars
    ax.legend(frameon=False, ncols=2, loc="upper right")
    ax.grid(alpha=0.3)


def _downtime(report: Report, ax: Axes) -> None:
    left = 0.0
    for name in (*PARTS, "other"):
        value = 1000 * report.downtime_parts.get(name, 0.0)
        if value > 0:
            label = f"{name} {seconds_text(value / 1000)}"
            ax.barh(0, value, left=left, color=_COLOURS[name], label=label)
            left += value
    ax.set_yticks([])
    ax.set_xlabel(f"downtime: {seconds_text(report.downtime_s)} (milliseconds)")
    predicted = 1000 * report.predicted_downtime_s
    if predicted > 0:
        ax.axvline(predicted, color="black", linestyle=":", label="predicted")
    if not report.downtime_parts:
        return
    ax.legend(
        ncols=5, fontsize="x-small", frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )


def _unit(highest: float) -> tuple[float, str]:
    return next((size, name) for size, name in _UNITS if highest >= size or size == 1.0)
