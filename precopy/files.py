"""The files that are to move: sizes, access types, and optionally paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Set
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precopy import _check, _core

if TYPE_CHECKING:
    import pandas


# As many as the core can number.
_MOST_FILES = 2**32 - 2


class FileSet:
    """A set of files, one column per property; a file's id is its index.

    Parameters
    ----------
    size_bytes : array_like of int, shape (n,)
        Sizes in bytes, not negative; their sum must fit int64. Floats pass if they are whole.
    read_only : array_like of bool, shape (n,), optional
        True where the application only reads the file. Default: all files are read-write.
    path : sequence of str or path-like, length n, optional
        Names for people and reports; the simulation does not look at them.

    Raises
    ------
    ValueError
        For an empty set, a size that is negative, NaN, not whole or too large, or columns of
        different lengths.
    TypeError
        For columns of another type, or without an order, like a set.

    Notes
    -----
    A file set cannot be changed. Two are equal, and have the same hash, if all their columns are.

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

    __slots__ = (
        "_by_size",
        "_hash",
        "_largest",
        "_path",
        "_read_only",
        "_size_bytes",
        "_total_bytes",
        "_whole",
    )

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
        self._hash: int | None = None
        self._whole: tuple[FileSet, int] | None = None

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
        for name, numbers in (("read_only", fixed), ("read_write", changing)):
            if sum(numbers.tolist()) > _MOST_FILES:
                raise ValueError(
                    f"{name}: expected at most 2^32 - 2 files, got {_check.shown(numbers.tolist())}"
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
        nor counted, nor are devices, sockets and named pipes. What comes or goes meanwhile is taken
        or left out as it is found.

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
        OSError
            If the directory, or one below it that is still there, cannot be listed, such as
            NotADirectoryError and PermissionError; it names that directory.
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
        base = Path(_check.path("root", root, _check.DIRECTORY)).resolve()
        found = _without_links(sorted(_regular_files(base)))
        if not found:
            raise ValueError(
                "root: expected a directory with regular files, got "
                f"{_check.shown(os.fspath(root))}"
            )
        paths, sizes, modes = zip(*found, strict=True)
        return cls(sizes, [mode & 0o222 == 0 for mode in modes], paths)

    @classmethod
    def from_dataframe(cls, df: pandas.DataFrame) -> FileSet:
        """Take a file per row of a pandas DataFrame.

        Parameters
        ----------
        df : pandas.DataFrame
            Columns ``size_bytes`` (bytes), and optionally ``read_only`` and ``path``, as for
            `FileSet`. Other columns, such as shares for a `Workload`, are not looked at. The index
            does not matter: ids are the places of the rows.

        Returns
        -------
        FileSet

        Raises
        ------
        TypeError
            For anything else than a DataFrame.
        ValueError
            For a missing column, a column twice, or values that `FileSet` would refuse.

        Examples
        --------
        >>> import pandas, precopy
        >>> df = pandas.DataFrame({"size_bytes": [10, 20], "read_only": [True, False]})
        >>> precopy.FileSet.from_dataframe(df)
        <FileSet: 2 files, 30 B; 1 read-only (10 B), 1 read-write (20 B)>
        """
        names = getattr(df, "columns", None)
        if names is None or not hasattr(df, "loc"):
            raise TypeError(f"df: expected a pandas DataFrame, got {_check.shown(df)}")
        names = list(names)
        for name in ("size_bytes", "read_only", "path"):
            if names.count(name) > 1:
                raise ValueError(f"df: expected one column {name!r}, got the columns {names}")
        if "size_bytes" not in names:
            raise ValueError(f"df: expected a column 'size_bytes', got the columns {names}")
        return cls(*(df[n] if n in names else None for n in ("size_bytes", "read_only", "path")))

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the columns as a pandas DataFrame, indexed by file id.

        Returns
        -------
        pandas.DataFrame
            size_bytes (int64), read_only (bool) and, if there are paths, path; copies.

        Examples
        --------
        >>> import precopy
        >>> df = precopy.FileSet([10, 20], [True, False], ["a", "b"]).to_dataframe()
        >>> df.loc[1].to_dict()
        {'size_bytes': 20, 'read_only': False, 'path': 'b'}
        """
        import pandas

        columns: dict[str, Any] = {"size_bytes": self.size_bytes, "read_only": self.read_only}
        if self._path is not None:
            columns["path"] = list(self._path)
        return pandas.DataFrame(columns, index=pandas.RangeIndex(len(self), name="file"), copy=True)

    def split(self, block_bytes: int) -> FileSet:
        """Cut every file into blocks, which are files of their own from then on.

        A `Workload` of the whole files can be used with the blocks as it is: it is split along
        (`Workload.split`). So the size of the units is a dimension of a sweep:
        ``sweep({"files": files, "256 kB": files.split(256_000)}, workload, ...)``. The ids in a
        `WriteTrace` are those of blocks; `WriteTrace.split` makes them.

        Parameters
        ----------
        block_bytes : int
            The size of a block; the last one of a file may be smaller. A file of no size is a block
            of its own.

        Returns
        -------
        FileSet
            The blocks, file by file, with the access type and the path of their file. It takes 9
            bytes of memory per block, 17 with paths; a workload of them takes 24, and a run about
            50 while it lasts.

        Raises
        ------
        ValueError
            For a size that is not above 0, and for more than 2^32 - 2 blocks.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([10, 3], [False, True])
        >>> blocks = files.split(4)
        >>> blocks.size_bytes.tolist(), blocks.read_only.tolist()
        ([4, 4, 2, 3], [False, False, False, True])
        """
        count, sizes = self.block_sizes(block_bytes)
        path = None
        if self._path is not None:
            path = np.repeat(np.array(self._path, dtype=object), count)
        blocks = FileSet(sizes, np.repeat(self._read_only, count), path)
        blocks._whole = self, int(block_bytes)
        return blocks

    def block_sizes(self, block_bytes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return how many blocks each file has, int64[n], and the size of each block, in bytes."""
        size = _check.integer("block_bytes", block_bytes, least=1)
        count = self.blocks(size)
        if int(count.sum(dtype=np.float64)) > _MOST_FILES:
            raise ValueError(
                "block_bytes: expected a size that makes at most 2^32 - 2 blocks, got "
                f"{_check.shown(block_bytes)} for {_check.bytes_text(self._total_bytes)}"
            )
        sizes = np.full(int(count.sum()), size, dtype=np.int64)
        sizes[np.cumsum(count) - 1] = self._size_bytes - (count - 1) * size
        return count, sizes

    def blocks(self, block_bytes: int) -> npt.NDArray[np.int64]:
        """Return how many blocks of a size each file has, int64[n]: at least one."""
        size = _check.integer("block_bytes", block_bytes, least=1)
        return np.maximum(-(-self._size_bytes // size), 1)

    @property
    def whole(self) -> tuple[FileSet, int] | None:
        """The files and the block size that this set was split from and by, or None."""
        return self._whole

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
        _check.integer("file_id", file_id)
        if file_id >= len(self):
            raise ValueError(f"file_id: expected an id below {len(self)}, got {file_id}")
        return f"file {file_id}" + (f" ({self._path[file_id]})" if self._path else "")

    def __len__(self) -> int:
        return len(self._size_bytes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileSet):
            return NotImplemented
        return (
            np.array_equal(self._size_bytes, other._size_bytes)
            and np.array_equal(self._read_only, other._read_only)
            and self._path == other._path
        )

    def __hash__(self) -> int:
        if self._hash is None:
            columns = self._size_bytes.tobytes(), self._read_only.tobytes(), self._path
            self._hash = hash(columns)
        return self._hash

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
    ordered = isinstance(path, Iterable) and not isinstance(path, (str, bytes, Set, Mapping))
    if not ordered or (hasattr(path, "__array__") and np.ndim(path) != 1):
        raise TypeError(f"path: expected a sequence of str, got {_check.shown(path)}")
    paths = tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in path)
    if len(paths) != count:
        raise ValueError(f"path: expected {count} entries, one per file, got {len(paths)}")
    for index, item in enumerate(paths):
        if not isinstance(item, str):
            raise TypeError(f"path: expected str, got {_check.shown(item)} at index {index}")
    return paths


def _regular_files(base: Path) -> Iterator[tuple[str, os.stat_result]]:
    def fail(error: OSError) -> None:
        # A directory below that has gone since it was seen, or is none any more, is left out.
        gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
        if not gone or error.filename == os.fspath(base):
            raise error

    for folder, _, names in os.walk(base, onerror=fail):
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status


def _without_links(found: list[tuple[str, os.stat_result]]) -> list[tuple[str, int, int]]:
    first: dict[tuple[int, int], tuple[str, int, int]] = {}
    for path, status in found:
        identity = (status.st_dev, status.st_ino)
        first.setdefault(identity, (path, status.st_size, status.st_mode))
    return list(first.values())


def file_set(files: object) -> FileSet:
    """Return `files` if it is a file set.

    Raises
    ------
    TypeError
        For anything else.
    """
    if not isinstance(files, FileSet):
        raise TypeError(f"files: expected a FileSet, got {_check.shown(files)}")
    return files
