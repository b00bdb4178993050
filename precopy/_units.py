"""Which unit the numbers of a variable have, known only as long as nothing was computed from it.

Newer xarray keeps attributes through arithmetic: megabytes that were made from bytes still say
that they are bytes. What every xarray drops on the way is a variable's encoding, so that is where
it stands that the numbers are those of a run. It survives a selection and is not written to files;
there the encoding tells where a variable was read from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray

_MARK = "precopy_range"


def state_units(dataset: xarray.Dataset) -> xarray.Dataset:
    """Note at every variable with a unit that its numbers have it; return the dataset."""
    for variable in dataset.data_vars.values():
        if "units" in variable.attrs:
            variable.encoding[_MARK] = _range(variable)
    return dataset


def stated_unit(values: xarray.DataArray) -> str:
    """Return the unit that the attributes name, if the numbers have it; otherwise nothing."""
    unit = str(values.attrs.get("units", ""))
    if "source" in values.encoding:
        return unit
    low, high = values.encoding.get(_MARK, (np.inf, -np.inf))
    least, most = _range(values)
    # Where a number was changed in place, it is likely to have left the range.
    return unit if low <= least and most <= high else ""


def _range(values: xarray.DataArray) -> tuple[float, float]:
    numbers = np.abs(values.values)
    numbers = numbers[numbers > 0]
    return (float(numbers.min()), float(numbers.max())) if len(numbers) else (np.inf, -np.inf)
