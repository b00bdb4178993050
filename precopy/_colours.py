"""The colours of a heat map: which scale suits its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.colors import Normalize


def number_text(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


# So many colours can still be told apart.
_COUNTS_APART = 10


def colours_of(
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
    if low > high:  # one end is given, on the other side of all numbers
        low, high = (low, low) if vmin is not None else (high, high)
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
