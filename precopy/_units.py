"""Which unit the numbers of a variable have, known only as long as nothing was computed from it.

Newer xarray keeps attributes through arithmetic: megabytes that were made from bytes still say
that they are bytes. What every xarray drops on the way is a variable's encoding, except where
numbers are changed in place. So that is where it stands which numbers a run has: as a set of bits
that each of them hits. It survives a selection and is not written to files; there the encoding
tells where a variable was read from, and the file is looked at again.

A unit that no table of ours has, such as MB or B, was set by the user, who knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import xarray

_MARK = "precopy_numbers"
_OURS = ("bytes", "s", "bytes/s")
BYTES = ("bytes", "B")
# The golden ratio in 64 bits, as in Fibonacci hashing.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MOST_BITS = 19


def state_units(dataset: xarray.Dataset) -> xarray.Dataset:
    """Note at every variable with a unit that its numbers have it; return the dataset."""
    for variable in dataset.variables.values():
        if variable.attrs.get("units") in _OURS:
            variable.encoding[_MARK] = _mark(variable.values)
    return dataset


def stated_unit(values: xarray.DataArray) -> str:
    """Return the unit that the attributes name, if the numbers have it; otherwise nothing."""
    unit = str(values.attrs.get("units", ""))
    if unit not in _OURS:
        return unit
    mark = values.encoding.get(_MARK)
    if mark is None and "source" in values.encoding:
        mark = _mark_of_file(str(values.encoding["source"]), values.name)
    return unit if mark is not None and _hits(mark, values.values) else ""


def _mark_of_file(source: str, name: Any) -> bytes | None:
    import xarray

    try:
        with xarray.open_dataset(source) as dataset:
            return _mark(dataset[name].values)
    except Exception:  # the file has gone or is another: each library says so in its own way
        return None


def _mark(values: npt.NDArray[Any]) -> bytes:
    numbers = _numbers(values)
    width = min(max(10, (16 * len(numbers)).bit_length()), _MOST_BITS)
    bits = np.zeros(1 << width, dtype=np.bool_)
    bits[_places(numbers, width)] = True
    return np.packbits(bits).tobytes()


def _hits(mark: bytes, values: npt.NDArray[Any]) -> bool:
    bits = np.unpackbits(np.frombuffer(mark, dtype=np.uint8))
    return bool(bits[_places(_numbers(values), len(bits).bit_length() - 1)].all())


def _places(numbers: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.int64]:
    return ((numbers.view(np.uint64) * _SPREAD) >> np.uint64(64 - width)).astype(np.int64)


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return those numbers that another unit would change."""
    numbers: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64).ravel()
    return np.asarray(numbers[(numbers != 0) & ~np.isnan(numbers)])
