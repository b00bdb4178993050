"""Input that people write by hand: tables of files, and shares like 1:10:10:79."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from precopy import _check
from precopy.files import FileSet

_ACCESS = {"ro": True, "read-only": True, "rw": False, "read-write": False}


def read_table(path: Path) -> tuple[FileSet, list[float] | None]:
    """Read a table of files.

    Parameters
    ----------
    path : Path
        CSV with a header: size (bytes), access (ro, rw, read-only or read-write), and optionally
        path and share (of all writes, in any unit).

    Returns
    -------
    files : FileSet
    share : list of float or None
        The column share, if there is one.

    Raises
    ------
    ValueError
        For a missing column or a bad value, with its line.
    """
    try:
        # A byte order mark, as spreadsheets write it, is no part of the first column's name.
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a table as UTF-8 CSV, got {error}") from None
    for name in ("size", "access"):
        if name not in columns:
            raise ValueError(f"{path}: expected a column {name!r}, got the columns {columns}")
    if not rows:
        raise ValueError(f"{path}: expected at least one file, got none")
    sizes, read_only, share = [], [], []
    for line, row in rows:
        try:
            sizes.append(_check.integer("size", int(row["size"])))
            read_only.append(_ACCESS[row["access"].strip()])
            share.append(float(row["share"]) if "share" in columns else 0.0)
            if None in row or not 0.0 <= share[-1] < math.inf:
                raise ValueError
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ValueError(
                f"{path}, line {line}: expected size in bytes, access ro or rw, a share from 0 on "
                f"where there is such a column, and no more cells than columns, got {dict(row)}"
            ) from None
    paths = [row["path"] or "" for _, row in rows] if "path" in columns else None
    return FileSet(sizes, read_only, paths), share if "share" in columns else None


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
        raise ValueError(f"expected numbers like 1:10:10:79, got {text!r}") from None
