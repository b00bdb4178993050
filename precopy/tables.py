"""Input that people write by hand: tables of files, and shares like 1:10:10:79."""

from __future__ import annotations

import argparse
import csv
import math
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from precopy import _check
from precopy.files import FileSet

_ACCESS = {"ro": True, "read-only": True, "rw": False, "read-write": False}
_COLUMNS = ("size", "access", "path", "share")
_PREFIXES = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?)\s*([kKMGT]?)(i?)B?\s*")
SIZES = "a number of bytes like 4096, 5e6, 500k, 500kB or 2MiB (k = 1000, Ki = 1024)"


def parse_bytes(text: str) -> int | float:
    """Return the bytes of a text like ``500MB``: exact, an int if they are whole.

    Parameters
    ----------
    text : str
        A number, then k or K, M, G or T for powers of 1000, or Ki, Mi, Gi, Ti for powers of 1024,
        then B or nothing.

    Raises
    ------
    ValueError
        For anything else, negative numbers, and 2^63 bytes or more.

    Examples
    --------
    >>> from precopy.tables import parse_bytes
    >>> parse_bytes("500k"), parse_bytes("1.5 MiB"), parse_bytes("0.3")
    (500000, 1572864, 0.3)
    """
    match = _SIZE.fullmatch(text)
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"expected {SIZES}, got {_check.shown(text)}")
    value = Decimal(match[1]) * (1024 if match[3] else 1000) ** _PREFIXES[match[2]]
    if value > _check.INT64_MAX:
        raise ValueError(f"expected less than 2^63 bytes, got {_check.shown(text)}")
    return int(value) if value == value.to_integral_value() else float(value)


def bytes_argument(text: str) -> int | float:
    """Return the bytes of an option's text; argparse shows what is wrong with it."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_SECONDS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_TIME = re.compile(r"\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*([a-z]*)\s*")


def parse_seconds(text: str) -> float:
    """Return the seconds of a text like ``50ms``.

    Parameters
    ----------
    text : str
        A number, then us, ms, s, min, h, or nothing for seconds.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> from precopy.tables import parse_seconds
    >>> parse_seconds("50ms"), parse_seconds("2 min"), parse_seconds("0.5")
    (0.05, 120.0, 0.5)
    """
    match = _TIME.fullmatch(text)
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f"expected seconds like 0.5, 50ms or 2min, got {_check.shown(text)}")
    return float(match[1]) * _SECONDS[match[2]]


def seconds_argument(text: str) -> float:
    """Return the seconds of an option's text; argparse shows what is wrong with it."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_table(path: Path) -> tuple[FileSet, list[float] | None]:
    """Read a table of files.

    Parameters
    ----------
    path : Path
        CSV with a header, cells apart by commas, semicolons or tabs: size (bytes, units as for
        `parse_bytes`), access (ro, rw, read-only or read-write), and optionally path and share (of
        all writes, in any unit). Names and access words in any case; empty lines do not count.

    Returns
    -------
    files : FileSet
    share : list of float or None
        The column share, if there is one.

    Raises
    ------
    ValueError
        For a missing column, one that is there twice, or a bad value, with its line and column.
    """
    try:
        # A byte order mark, as spreadsheets write it, is no part of the first column's name.
        with open(path, newline="", encoding="utf-8-sig") as stream:
            head = stream.readline()
            stream.seek(0)
            apart = next((mark for mark in ";\t" if mark in head and "," not in head), ",")
            reader = csv.reader(stream, delimiter=apart, skipinitialspace=True, strict=True)
            lines = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a table as UTF-8 CSV, got {error}") from None
    given = [name.strip() for name in lines[0][1]] if lines else []
    columns = [name.lower() for name in given]
    for name in _COLUMNS:
        if name in ("size", "access") and name not in columns:
            raise ValueError(f"{path}: expected a column {name!r}, got the columns {given}")
        if columns.count(name) > 1:
            raise ValueError(f"{path}: expected one column {name!r}, got the columns {given}")
    if len(lines) < 2:
        raise ValueError(f"{path}: expected at least one file, got none")
    read: dict[str, Callable[[str], Any]] = {
        "size": _size,
        "access": _access,
        "path": str,
        "share": _share,
    }
    cells: dict[str, list[Any]] = {name: [] for name in _COLUMNS if name in columns}
    for line, row in lines[1:]:
        if len(row) != len(columns):
            raise ValueError(
                f"{path}, line {line}: expected {len(columns)} cells, as in the header, got "
                f"{len(row)}: {row}"
            )
        for name, values in cells.items():
            cell = row[columns.index(name)]
            try:
                values.append(read[name](cell))
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: {name}: {error}") from None
    return FileSet(cells["size"], cells["access"], cells.get("path")), cells.get("share")


def _size(cell: str) -> int:
    size = parse_bytes(cell)
    if not isinstance(size, int):
        raise ValueError(f"expected whole bytes, got {_check.shown(cell)}")
    return size


def _access(cell: str) -> bool:
    word = cell.strip().lower()
    if word not in _ACCESS:
        raise ValueError(f"expected one of {list(_ACCESS)}, got {_check.shown(cell)}")
    return _ACCESS[word]


def _share(cell: str) -> float:
    try:
        share = float(cell)
    except ValueError:
        share = math.nan
    if not 0.0 <= share < math.inf:
        raise ValueError(f"expected a number from 0 on, got {_check.shown(cell)}")
    return share


def parse_shares(text: str) -> tuple[float, ...]:
    """Return the numbers of a text like ``1:10:10:79``.

    Examples
    --------
    >>> from precopy.tables import parse_shares
    >>> parse_shares("1:10:10:79")
    (1.0, 10.0, 10.0, 79.0)
    """
    try:
        return tuple(float(part) for part in text.split(":"))
    except ValueError:
        raise ValueError(f"expected numbers like 1:10:10:79, got {_check.shown(text)}") from None
