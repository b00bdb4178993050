"""Input that people write by hand: tables of files, and shares like 1:10:10:79."""

from __future__ import annotations

import csv
from pathlib import Path

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
    with open(path, newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream, skipinitialspace=True)
        columns = reader.fieldnames or []
        for name in ("size", "access"):
            if name not in columns:
                raise ValueError(f"{path}: expected a column {name!r}, got the columns {columns}")
        rows = [(reader.line_num, row) for row in reader]
    sizes, read_only, share = [], [], []
    for line, row in rows:
        try:
            sizes.append(int(row["size"]))
            read_only.append(_ACCESS[row["access"].strip()])
            share.append(float(row["share"]) if "share" in columns else 0.0)
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ValueError(
                f"{path}, line {line}: expected size in bytes, access ro or rw and a numeric share "
                f"where there is such a column, got {dict(row)}"
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
