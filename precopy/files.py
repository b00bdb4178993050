"""The files that are to move: sizes, access types, and optionally paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precopy import _check, _core


class FileSet:
    """A set of files, one column per property; a file's id is its index.

    Parameters
    ----------
    size_bytes : array_like of int, shape (n,)
        Sizes in bytes, not negative; their sum must fit int64. Floats pass if they are whole.
    read_only : array_like of bool, shape (n,), optional
        True where the application only reads the file. Default: all files are read-write.
    path : sequence of str, length n, optional
        Names for people and reports; the simulation does not look at them.

    Raises
    ------
    ValueError
        For an empty set, a size that is negative, NaN, not whole or too large, or columns of
        different lengths.
    TypeError
        For columns of another type.

    References
    ----------
    Paper, section 4.2.1 (access types) and table 1; model, rule files.

    Examples
    --------
    >>> import precopy
    >>> files = precopy.FileSet([4096, 1_000_000, 0], read_only=[True, False, False])
    >>> files
    <FileSet: 3 files, 1.004 MB; 1 read-only (4.096 kB), 2 read-write (1 MB)>
    >>> files.total_bytes
    1004096
    """

    __slots__ = ("_by_size", "_largest", "_path", "_read_only", "_size_bytes", "_total_bytes")

    def __init__(self, size_bytes: Any, read_only: Any = None, path: Any = None) -> None:
        self._size_bytes = _check.counts("size_bytes", size_bytes)
        count = len(self._size_bytes)
        if count == 0:
            raise ValueError("size_bytes: expected at least one file, got an empty array")
        # A sum in floating point is close enough to tell whether the exact one could overflow.
        if float(np.sum(self._size_bytes, dtype=np.float64)) > 2.0**62:
            total = sum(self._size_bytes.tolist())
            if total > _check.INT64_MAX:
                raise ValueError(f"size_bytes: expected a sum that fits int64, got {total}")
        self._total_bytes = int(self._size_bytes.sum())
        self._read_only = _check.flags("read_only", read_only, count)
        self._path = None if path is None else _paths(path, count)
        self._largest = int(self._size_bytes.argmax())
        self._by_size: npt.NDArray[np.uint32] | None = None

    @classmethod
    def from_classes(cls, size_bytes: Any, read_only: Any, read_write: Any) -> FileSet:
        """Make a set from counts per size class, as in the paper's table 1.

        Parameters
        ----------
        size_bytes : array_like of int, shape (k,)
            The size of each class, in bytes.
        read_only, read_write : array_like of int, shape (k,)
            How many read-only and read-write files each class has.

        Returns
        -------
        FileSet
            Ids go first through all read-only files class by class, then through all read-write
            files class by class.

        References
        ----------
        Paper, table 1.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet.from_classes([200, 400], read_only=[1, 0], read_write=[2, 1])
        >>> files.size_bytes.tolist(), files.read_only.tolist()
        ([200, 200, 200, 400], [True, False, False, False])
        """
        sizes = _check.counts("size_bytes", size_bytes)
        fixed = _check.counts("read_only", read_only)
        changing = _check.counts("read_write", read_write)
        if not len(sizes) == len(fixed) == len(changing):
            raise ValueError(
                "size_bytes, read_only, read_write: expected one entry per size class each, "
                f"got {len(sizes)}, {len(fixed)} and {len(changing)}"
            )
        return cls(
            np.concatenate([np.repeat(sizes, fixed), np.repeat(sizes, changing)]),
            np.repeat([True, False], [fixed.sum(), changing.sum()]),
        )

    @classmethod
    def from_directory(cls, root: str | os.PathLike[str]) -> FileSet:
        """Take the regular files below a directory, with their sizes as they are now.

        Files that nobody may write (no write permission in their mode) count as read-only. Of
        several hard links to one file the first path is taken; symbolic links are neither followed
        nor counted.

        Parameters
        ----------
        root : path
            The directory.

        Returns
        -------
        FileSet
            In the order of the paths, which are absolute.

        Raises
        ------
        NotADirectoryError, PermissionError
            If the directory or one below it cannot be listed.
        ValueError
            If there is no regular file.

        References
        ----------
        Paper, section 4.2.1 (access types).

        Examples
        --------
        >>> import pathlib, tempfile, precopy
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "a").write_bytes(bytes(10))
        ...     files = precopy.FileSet.from_directory(folder)
        >>> files.size_bytes.tolist()
        [10]
        """
        base = Path(root).resolve()
        found = _without_links(sorted(_regular_files(base)))
        if not found:
            raise ValueError(
                f"root: expected a directory with regular files, got {os.fspath(root)!r}"
            )
        paths, sizes, modes = zip(*found, strict=True)
        return cls(sizes, [mode & 0o222 == 0 for mode in modes], paths)

    @property
    def size_bytes(self) -> npt.NDArray[np.int64]:
        """Sizes in bytes, int64[n], read-only."""
        return self._size_bytes

    @property
    def read_only(self) -> npt.NDArray[np.bool_]:
        """Whether each file is only read, bool[n], read-only."""
        return self._read_only

    @property
    def path(self) -> tuple[str, ...] | None:
        """The paths, or None."""
        return self._path

    @property
    def total_bytes(self) -> int:
        """The size of all files together, in bytes."""
        return self._total_bytes

    @property
    def largest(self) -> int:
        """The id of the first of the largest files."""
        return self._largest

    @property
    def by_size(self) -> npt.NDArray[np.uint32]:
        """The ids by size, then by id, uint32[n]; sorted once for all runs."""
        if self._by_size is None:
            self._by_size = _core.rank_by_size(self._size_bytes)
            self._by_size.flags.writeable = False
        return self._by_size

    @property
    def read_write(self) -> npt.NDArray[np.int64]:
        """The ids of the read-write files."""
        return np.flatnonzero(~self._read_only)

    def name(self, file_id: int) -> str:
        """Return what to call a file in a message: its path if it has one, always its id."""
        return f"file {file_id}" + (f" ({self._path[file_id]})" if self._path else "")

    def __len__(self) -> int:
        return len(self._size_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return FileSet, (self._size_bytes, self._read_only, self._path)

    def _counts(self) -> tuple[int, int, int, int]:
        fixed = int(self._read_only.sum())
        fixed_bytes = int(self._size_bytes[self._read_only].sum())
        return fixed, fixed_bytes, len(self) - fixed, self._total_bytes - fixed_bytes

    def __repr__(self) -> str:
        fixed, fixed_bytes, changing, changing_bytes = self._counts()
        text = _check.bytes_text
        return (
            f"<FileSet: {len(self)} files, {text(self._total_bytes)}; "
            f"{fixed} read-only ({text(fixed_bytes)}), "
            f"{changing} read-write ({text(changing_bytes)})>"
        )

    def _repr_html_(self) -> str:
        fixed, fixed_bytes, changing, changing_bytes = self._counts()
        text = _check.bytes_text
        rows = [
            ("read-only", fixed, fixed_bytes, self._size_bytes[self._read_only]),
            ("read-write", changing, changing_bytes, self._size_bytes[~self._read_only]),
            ("all", len(self), self._total_bytes, self._size_bytes),
        ]
        body = "".join(
            f"<tr><th>{label}</th><td>{count:,}</td><td>{text(total)}</td>"
            + "".join(
                f"<td>{text(value)}</td>"
                for value in (np.quantile(sizes, [0, 0.5, 1]) if count else [])
            )
            + "</tr>"
            for label, count, total, sizes in rows
        )
        first = f"<p>e.g. <code>{escape(self._path[0])}</code></p>" if self._path else ""
        return (
            "<table><caption><b>FileSet</b></caption><thead><tr><th></th><th>files</th>"
            "<th>bytes</th><th>smallest</th><th>median</th><th>largest</th></tr></thead>"
            f"<tbody>{body}</tbody></table>{first}"
        )


def _paths(path: Any, count: int) -> tuple[str, ...]:
    if isinstance(path, (str, bytes)) or not isinstance(path, Iterable):
        raise TypeError(f"path: expected a sequence of str, got {path!r}")
    paths = tuple(path)
    if len(paths) != count:
        raise ValueError(f"path: expected {count} entries, one per file, got {len(paths)}")
    for index, item in enumerate(paths):
        if not isinstance(item, str):
            raise TypeError(f"path: expected str, got {item!r} at index {index}")
    return paths


def _regular_files(base: Path) -> Iterator[tuple[str, os.stat_result]]:
    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(base, onerror=fail):
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                yield path, status


def _without_links(found: list[tuple[str, os.stat_result]]) -> list[tuple[str, int, int]]:
    first: dict[tuple[int, int], tuple[str, int, int]] = {}
    for path, status in found:
        identity = (status.st_dev, status.st_ino)
        first.setdefault(identity, (path, status.st_size, status.st_mode))
    return list(first.values())
