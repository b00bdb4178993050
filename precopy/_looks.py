"""What pictures have in common: how lines look, what they are drawn on, units and dimensions.

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
from precopy._units import BYTES, stated_unit

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

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
LUMINANCE = (0.2126, 0.7152, 0.0722)
HATCHES = ["", "///", "\\\\\\", "xx", "..", "++", "oo"]


def look_of(label: Any, labels: Iterable[Any], ink: str = "#000000") -> dict[str, Any]:
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


def is_dark(ax: Axes) -> bool:
    """Tell whether the background is dark; what is black elsewhere is drawn white there."""
    from matplotlib.colors import to_rgb

    return float(np.dot(to_rgb(ax.get_facecolor()), LUMINANCE)) < 0.4


def from_zero(ax: Axes) -> None:
    """Let the y axis begin at 0, and still make room for what is drawn later."""
    for artist in [*ax.lines, *ax.patches, *ax.collections]:
        artist.sticky_edges.y.append(0)
    ax.update_datalim([(0, 0)], updatex=False)
    ax.autoscale_view(scalex=False)


def with_hue(dataset: xarray.Dataset, hue: str) -> xarray.Dataset:
    """Make `hue` a dimension, of one label where the dataset has only one value of it."""
    if not isinstance(hue, str):
        raise TypeError(f"hue: expected the name of a dimension, got {_check.shown(hue)}")
    if hue in dataset.dims:
        return dataset
    if hue in dataset.coords:
        return dataset.expand_dims(hue)
    if hue != "order":
        check_dimension(dataset, hue, "hue")
    order = json.loads(dataset.attrs.get("parameters", "{}")).get("order")
    return dataset.expand_dims(order=[order if isinstance(order, str) else "key"])


_SCALES = {"GB": 1e9, "MB": 1e6, "kB": 1e3}


def scale_and_unit(values: xarray.DataArray, unit: str | None = None) -> tuple[float, str]:
    """Return what to divide the numbers by, and the name of the unit that they have then.

    Bytes are drawn in the unit asked for, which says that they are bytes, or as their size
    suggests. Other numbers stay as they are.
    """
    if unit is None:
        stated = stated_unit(values)
        if stated not in BYTES:
            return 1.0, stated
        largest = float(values.max()) if bool(values.notnull().any()) else 1e6
        unit = "GB" if largest >= 20e9 else "MB" if largest >= 1e6 else "kB"
    return _SCALES[_check.choice("unit", unit, _SCALES)], unit


def with_unit(name: str, unit: str) -> str:
    """Return a label with its unit, if there is one."""
    return f"{name} [{unit}]" if unit else name


def axes_or_new(ax: Axes | None, width: float = 7.0, height: float = 4.2) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


REPEATED = ("seed", "start_s")
"""Dimensions whose runs say the same again, from other writes: pictures show mean and spread."""


def only_dimensions(array: xarray.DataArray, keep: Iterable[str]) -> xarray.DataArray:
    """Drop dimensions of length 1; complain about others that the picture cannot show.

    Those that repeat runs become one of the name ``run``, unless they are kept.
    """
    squeezed = array.squeeze([d for d in array.dims if array.sizes[d] == 1 and str(d) not in keep])
    others = [str(d) for d in squeezed.dims if str(d) not in keep]
    repeated = [name for name in others if name in REPEATED]
    extra = [name for name in others if name not in REPEATED]
    if extra:
        raise ValueError(
            f"dataset: expected the dimensions {[*keep, *REPEATED]}, got also "
            f"{extra}; choose with dataset.sel({extra[0]}=...) or average with .mean({extra[0]!r})"
        )
    return squeezed.stack(run=repeated, create_index=False) if repeated else squeezed


def check_axes(ax: Any) -> None:
    """Raise unless pictures can be drawn on `ax`; None stands for a new figure."""
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax: expected matplotlib Axes, got {_check.shown(ax)}")


def check_table(name: str, table: Any, kind: str) -> None:
    """Raise unless `table` is what xarray calls by the name `kind`."""
    import xarray

    if not isinstance(table, getattr(xarray, kind)):
        raise TypeError(f"{name}: expected an xarray.{kind}, got {_check.shown(table)}")


def check_dimension(array: xarray.DataArray | xarray.Dataset, name: str, argument: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{argument}: expected the name of a dimension, got {_check.shown(name)}")
    if name not in array.dims:
        raise ValueError(
            f"{argument}: expected one of the dimensions {[str(d) for d in array.dims]}, "
            f"got {_check.shown(name)}"
        )


def tick_texts(coordinate: xarray.DataArray) -> list[str]:
    """Return what stands at the cells of a heat map: sizes with their unit, if they are bytes."""
    if stated_unit(coordinate) in BYTES:
        return [_check.bytes_text(float(value)) for value in coordinate.values]
    return [
        f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)
        for value in coordinate.values
    ]


def title_of(dimension: str) -> str:
    return "limit X" if dimension == "threshold_bytes" else dimension.replace("_", " ")
