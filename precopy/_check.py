"""Argument checks: every message names the argument, the value and what was expected."""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

INT64_MAX = 2**63 - 1

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxdict = 12
_SHORT.maxarray = _SHORT.maxdeque = 12
_SHORT.maxlong = 60
_SHORT.maxstring = _SHORT.maxother = 160


def shown(value: object) -> str:
    """Return a value for a message: as `repr` does, on one line, the middle of a long one left out.

    Examples
    --------
    >>> from precopy._check import shown
    >>> shown(list(range(10**6)))
    '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...]'
    """
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python refuses to print it
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = _SHORT.repr(value)
    except Exception:  # a repr that fails is no reason to lose the message
        text = f"<{type(value).__name__}>"
    return " ".join(text.split()) if "\n" in text else text


def choice(name: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the `allowed` names."""
    names = list(allowed)
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {names}, got {shown(value)}")
    if value not in names:
        raise ValueError(f"{name}: expected one of {names}, got {shown(value)}")
    return value


def integer(name: str, value: Any, least: int = 0) -> int:
    """Return `value` as an int of at least `least`; floats pass if they are whole numbers."""
    if isinstance(value, (float, np.floating)):
        if not float(value).is_integer():
            raise ValueError(f"{name}: expected a whole number, got {shown(value)}")
        value = int(value)
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a whole number, got {shown(value)}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {shown(value)}") from None
    if not least <= number <= INT64_MAX:
        raise ValueError(
            f"{name}: expected a whole number from {least} to 2^63 - 1, got {shown(value)}"
        )
    return number


def positive(name: str, value: Any) -> float:
    """Return `value` as a finite float above zero."""
    number = real(name, value)
    if not (number > 0.0 and math.isfinite(number)):
        raise ValueError(f"{name}: expected a finite number above 0, got {shown(value)}")
    return number


def finite(name: str, value: Any) -> float:
    """Return `value` as a finite float."""
    number = real(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {shown(value)}")
    return number


def not_negative(name: str, value: Any) -> float:
    """Return `value` as a finite float from zero on."""
    number = real(name, value)
    if not (number >= 0.0 and math.isfinite(number)):
        raise ValueError(f"{name}: expected a finite number from 0 on, got {shown(value)}")
    return number


def real(name: str, value: Any) -> float:
    """Return `value` as a float."""
    if isinstance(value, (bool, np.bool_, str, bytes, bytearray)) or not is_scalar(value):
        raise TypeError(f"{name}: expected a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{name}: expected a number that fits a float, got {shown(value)}"
        ) from None
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {shown(value)}") from None


def is_scalar(value: Any) -> bool:
    """Tell whether a value has no entries, as NumPy sees it."""
    try:
        return np.ndim(value) == 0
    except ValueError:  # rows of different lengths
        return False


def path(name: str, value: Any, what: str = "the path of a file") -> str:
    """Return the text of a path, from a str or a path-like object."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text:
        raise TypeError(f"{name}: expected {what}, got {shown(value)}")
    if "\0" in text:
        raise ValueError(f"{name}: expected {what}, got {shown(value)}")
    return text


DIRECTORY = "the path of a directory"


def truth(name: str, value: Any) -> bool:
    """Return `value` if it is a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


def column(name: str, value: Any, length: int | None = None) -> npt.NDArray[Any]:
    """Return `value` as a one-dimensional array of the given length."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name}: expected a one-dimensional array, got {shown(value)}") from None
    if array.ndim == 0:
        raise TypeError(f"{name}: expected a one-dimensional array, got {shown(value)}")
    if isinstance(value, (list, tuple)) and array.ndim == 1 and array.dtype.kind in "iuf":
        _exact_items(name, value, array)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a one-dimensional array, got shape {array.shape}")
    if np.ma.is_masked(value):
        raise ValueError(f"{name}: expected an array without masked entries, got {shown(value)}")
    if length is not None and len(array) != length:
        raise ValueError(f"{name}: expected {length} entries, one per file, got {len(array)}")
    return array


def _exact_items(name: str, items: Any, array: npt.NDArray[Any]) -> None:
    """Refuse what NumPy changes without a word: True is 1 to it, and a large int beside a float."""
    rounded = array.dtype.kind == "f"
    for index, item in enumerate(items):
        if type(item) is bool:
            raise TypeError(f"{name}: expected numbers, got {shown(item)} at index {index}")
        if rounded and type(item) is int and item != float(item):
            raise ValueError(
                f"{name}: expected numbers that fit a float, got {shown(item)} at index {index}"
            )


def first(name: str, array: npt.NDArray[Any], bad: npt.NDArray[np.bool_], rule: str) -> None:
    """Raise for the first entry of `array` that is `bad`."""
    if bad.any():
        index = int(bad.argmax())
        raise ValueError(f"{name}: expected {rule}, got {array[index]!s} at index {index}")


def counts(name: str, value: Any, length: int | None = None) -> npt.NDArray[np.int64]:
    """Return `value` as a new, read-only int64 array of numbers that are not negative."""
    array = column(name, value, length)
    if array.dtype == object and all(isinstance(item, int) for item in array):
        first(name, array, np.abs(array) > INT64_MAX, "numbers that fit int64")
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind == "f":
        whole = np.isfinite(array)
        whole[whole] = array[whole] == np.floor(array[whole])
        first(name, array, ~whole, "whole numbers")
        first(name, array, np.abs(array) >= 2.0**63, "numbers that fit int64")
    elif array.dtype.kind == "u":
        first(name, array, array > INT64_MAX, "numbers that fit int64")
    elif array.dtype.kind != "i":
        raise TypeError(f"{name}: expected an array of integers, got dtype {array.dtype}")
    first(name, array, array < 0, "numbers that are not negative")
    result = np.array(array, dtype=np.int64, order="C")
    result.flags.writeable = False
    return result


def floats(
    name: str, value: Any, length: int | None = None, exact: bool = False
) -> npt.NDArray[np.float64]:
    """Return `value` as a new, read-only float64 array without NaN; `exact`: nor rounded."""
    array = column(name, value, length)
    if array.dtype.kind not in "fiu" and array.size:
        raise TypeError(f"{name}: expected an array of numbers, got dtype {array.dtype}")
    result = np.array(array, dtype=np.float64, order="C")
    first(name, array, np.isnan(result), "numbers that are not NaN")
    if exact and array.dtype.kind in "iu":
        # From 2^63 on, floats are multiples of 2^11.
        edge = np.abs(result) >= 2.0**63
        back = np.where(edge, 0.0, result).astype(np.int64)
        lost = np.where(edge, array.astype(np.uint64) % 2048 != 0, back != array)
        first(name, array, lost, "numbers that fit a float")
    elif exact:
        first(name, array, result != array, "numbers that fit a float")
    result.flags.writeable = False
    return result


def flags(name: str, value: Any, length: int) -> npt.NDArray[np.bool_]:
    """Return `value` as a new, read-only bool array; None stands for all False."""
    if value is None:
        result = np.zeros(length, dtype=np.bool_)
    else:
        array = column(name, value, length)
        if array.dtype != np.bool_:
            raise TypeError(f"{name}: expected an array of bool, got dtype {array.dtype}")
        # A view of other data may hold other bytes than 0 and 1; they are as true as 1.
        result = np.array(array.view(np.uint8) != 0, dtype=np.bool_, order="C")
    result.flags.writeable = False
    return result


def bytes_text(size: float) -> str:
    """Return `size` bytes for a person, in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.4g} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
