"""Recorded writes: which file, and in time also when, how much, and which files come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precopy import _check
from precopy.files import FileSet, file_set
from precopy.seeds import Seed, generator

if TYPE_CHECKING:
    from precopy.replay import Replay

Ints = npt.NDArray[np.int64]

GONE = -1
"""The size of a file that is gone."""

NO_FILE = -1
"""Where a row is no rename, the file that it was renamed from."""


_COLUMNS = (
    "file_id", "write_bytes", "time_ns", "count", "size_bytes", "from_id", "present", "duration_ns",
    "left_out",
)  # fmt: skip


class WriteTrace:
    """A sequence of writes, each naming the file that is written; or what happened when.

    Without `time_ns` each entry is one write, and a cycle is a number of them. With it the entries
    are rows of a recording in time, which knows when files came and went, were renamed, and how
    large they were; a cycle then is a stretch of time (`Cycle.of_seconds`).

    Parameters
    ----------
    file_id : array_like of int, shape (m,)
        File ids in the order of the writes. Whether they are read-write files of a file set is
        checked where both come together.
    write_bytes : array_like of int, shape (m,), optional
        How many bytes each write writes, for ``simulate(…, cost="delta")``; in time: how many the
        writes of a row write together, by default unknown.
    time_ns : array_like of int, shape (m,), optional
        When each row happened, in nanoseconds since the recording began; ascending.
    count : array_like of int, shape (m,), optional
        In time: how many updates a row stands for, by default 1.
    size_bytes : array_like of int, shape (m,), optional
        In time: the size of the file after the row, -1 where it is gone. Needed there.
    from_id : array_like of int, shape (m,), optional
        In time: the file id of the name that the file had before, for a rename, else -1.
    present : array_like of bool, shape (n,), optional
        In time: which of the n files exist at the beginning, by default all that there will be.
    duration_ns : int, optional
        In time: how long was recorded, in nanoseconds, by default up to the last row.
    left_out : mapping of str to int, optional
        How many recorded write calls are not in the trace, by reason.

    Raises
    ------
    ValueError
        For ids, times or sizes that are negative or not whole, times that do not ascend, or
        columns of different lengths.
    TypeError
        For a column that only a trace in time has, without `time_ns`.

    References
    ----------
    Model, rules writes and replay.*.

    Examples
    --------
    >>> import precopy
    >>> precopy.WriteTrace([0, 2, 2])
    <WriteTrace: 3 writes to 2 files>

    A file of 10 bytes is written, renamed over another one, and that is removed:

    >>> precopy.WriteTrace(
    ...     [0, 1, 1],
    ...     time_ns=[0, 10**9, 2 * 10**9],
    ...     size_bytes=[10, 10, -1],
    ...     from_id=[-1, 0, -1],
    ...     duration_ns=3 * 10**9,
    ... )
    <WriteTrace: 3 updates of 2 files in 3 s, 3 rows>
    """

    __slots__ = ("_replay", *(f"_{name}" for name in _COLUMNS))

    def __init__(
        self,
        file_id: Any,
        write_bytes: Any = None,
        *,
        time_ns: Any = None,
        count: Any = None,
        size_bytes: Any = None,
        from_id: Any = None,
        present: Any = None,
        duration_ns: int | None = None,
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        self._replay: Replay | None = None
        self._file_id: Ints = _check.counts("file_id", file_id)
        rows = len(self._file_id)
        self._write_bytes = _optional("write_bytes", write_bytes, rows)
        self._time_ns = _optional("time_ns", time_ns, rows)
        self._count = _optional("count", count, rows)
        self._size_bytes = _optional("size_bytes", size_bytes, rows, least=GONE)
        self._from_id = _optional("from_id", from_id, rows, least=NO_FILE)
        self._present: npt.NDArray[np.bool_] | None = None
        self._duration_ns = 0
        self._left_out = {} if left_out is None else _left_out(left_out)
        if self._time_ns is None:
            given = (count, size_bytes, from_id, present, duration_ns)
            names = ("count", "size_bytes", "from_id", "present", "duration_ns")
            for name, value in zip(names, given, strict=True):
                if value is not None:
                    raise TypeError(
                        f"time_ns, {name}: expected times beside {name}, or None for both, got "
                        f"{_check.shown(value)}"
                    )
        else:
            self._set_in_time(self._time_ns, present, duration_ns)

    def _set_in_time(self, time_ns: Ints, present: Any, duration_ns: int | None) -> None:
        if self._size_bytes is None:
            raise TypeError("size_bytes: expected sizes beside time_ns, got None")
        rows = len(time_ns)
        backwards = np.diff(time_ns, prepend=time_ns[:1]) < 0
        _check.first("time_ns", time_ns, backwards, "times that ascend")
        if self._count is None:
            self._count = _constant(1, rows)
        if self._from_id is None:
            self._from_id = _constant(NO_FILE, rows)
        itself = self._from_id == self._file_id
        _check.first("from_id", self._from_id, itself, "another file than the row's own")
        end = int(time_ns[-1]) + 1 if rows else 1
        self._duration_ns = end
        if duration_ns is not None:
            self._duration_ns = _check.integer("duration_ns", duration_ns, least=end)
        if present is not None:
            flags = _check.column("present", present)
            self._present = _check.flags("present", flags, len(flags))
            most = max(self._file_id.max(initial=-1), self._from_id.max(initial=-1))
            if most >= len(flags):
                raise ValueError(
                    f"present: expected a flag for each file, of which the largest id is {most}, "
                    f"got {len(flags)} flags"
                )

    @classmethod
    def _trusted(cls, file_id: Ints) -> WriteTrace:
        trace = cls(())
        file_id.flags.writeable = False
        trace._file_id = file_id
        return trace

    @property
    def file_id(self) -> Ints:
        """File ids in the order of the writes, int64[m], read-only."""
        return self._file_id

    @property
    def write_bytes(self) -> Ints | None:
        """How many bytes each write, or row, writes, int64[m]; None where it is not known."""
        return self._write_bytes

    @property
    def in_time(self) -> bool:
        """Whether the entries are rows of a recording in time."""
        return self._time_ns is not None

    @property
    def time_ns(self) -> Ints | None:
        """When each row happened, in nanoseconds since the beginning, int64[m]; None: no time."""
        return self._time_ns

    @property
    def count(self) -> Ints | None:
        """How many updates each row stands for, int64[m]; None without time: one each."""
        return self._count

    @property
    def size_bytes(self) -> Ints | None:
        """The size of each row's file after it, int64[m], -1: gone; None without time."""
        return self._size_bytes

    @property
    def from_id(self) -> Ints | None:
        """The name that each row's file had before it, int64[m], -1: no rename; None: no time."""
        return self._from_id

    @property
    def present(self) -> npt.NDArray[np.bool_] | None:
        """Which files exist at the beginning, bool[n]; None: all."""
        return self._present

    @property
    def duration_ns(self) -> int:
        """How long was recorded, in nanoseconds; 0 without time."""
        return self._duration_ns

    @property
    def left_out(self) -> dict[str, int]:
        """How many recorded write calls are not in the trace, by reason."""
        return dict(self._left_out)

    @property
    def updates(self) -> int:
        """How many updates there are in all: one per entry, in time the sum of the counts."""
        return len(self) if self._count is None else int(self._count.sum())

    def replace(self, **columns: Any) -> WriteTrace:
        """Return the trace with other columns in place of its own.

        Parameters
        ----------
        **columns
            Arguments of `WriteTrace`.

        Examples
        --------
        >>> import precopy
        >>> trace = precopy.WriteTrace([0, 1], time_ns=[0, 5], size_bytes=[10, 20])
        >>> trace.replace(size_bytes=[30, 20]).size_bytes.tolist()
        [30, 20]
        """
        own = {name: getattr(self, f"_{name}") for name in _COLUMNS}
        if not self.in_time:
            own["duration_ns"] = None
        return WriteTrace(**own | columns)

    def counts(self, files: FileSet) -> Ints:
        """Return how often each file of `files` is written, int64[n]: a history for `simulate`."""
        file_set(files)
        if len(self) and int(self._file_id.max()) >= len(files):
            raise ValueError(f"file_id: expected ids below {len(files)}, got {self._file_id.max()}")
        if self._count is None:
            return np.bincount(self._file_id, minlength=len(files))
        counts = np.zeros(len(files), np.int64)
        np.add.at(counts, self._file_id, self._count)
        return counts

    def split(self, files: FileSet, block_bytes: int, seed: Seed) -> WriteTrace:
        """Let each write go to one block of its file, drawn in proportion to the blocks' sizes.

        A trace of files does not say where in a file a write was.

        Parameters
        ----------
        files : FileSet
            The files, before they are split.
        block_bytes : int
            As for `FileSet.split`.
        seed : anything that numpy.random.default_rng takes
            Draws the blocks.

        Returns
        -------
        WriteTrace
            The same writes, with ids of blocks.

        Raises
        ------
        ValueError
            For a trace in time, whose files change their sizes; ``cost="delta"`` is for them.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([2, 8])
        >>> trace = precopy.WriteTrace([0, 1, 1, 1]).split(files, 4, seed=1)
        >>> trace.file_id.tolist()
        [0, 2, 2, 2]
        """
        if self.in_time:
            raise ValueError(f'files: expected cost="delta" for a trace in time, got {self!r}')
        self.counts(files)
        first = np.concatenate([[0], np.cumsum(files.blocks(block_bytes))[:-1]])
        size = np.maximum(files.size_bytes, 1)[self._file_id]
        offset = generator(seed).integers(0, size)
        return WriteTrace(first[self._file_id] + offset // block_bytes, self._write_bytes)

    def __len__(self) -> int:
        return len(self._file_id)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "_replay"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._replay = None
        for name, value in state.items():
            setattr(self, name, value)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __repr__(self) -> str:
        written = len(np.unique(self._file_id))
        text = f"{len(self)} writes to {written} files"
        if self.in_time:
            seconds = f"{self._duration_ns / 1e9:.4g} s"
            text = f"{self.updates} updates of {written} files in {seconds}, {len(self)} rows"
        if self._left_out:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._left_out.items())
            text += f"; left out: {reasons}"
        return f"<WriteTrace: {text}>"


def _optional(name: str, value: Any, rows: int, least: int = 0) -> Ints | None:
    """Return a column of whole numbers from `least` on, or None."""
    if value is None:
        return None
    if least == 0:
        return _check.counts(name, value, rows)
    column = _check.column(name, value, rows)
    if column.dtype.kind not in "iu" and column.size:
        raise TypeError(f"{name}: expected an array of integers, got dtype {column.dtype}")
    numbers = np.array(column, np.int64)
    _check.first(name, column, numbers < least, f"numbers from {least} on")
    numbers.flags.writeable = False
    return numbers


def _constant(value: int, rows: int) -> Ints:
    numbers = np.full(rows, value, np.int64)
    numbers.flags.writeable = False
    return numbers


def _left_out(counts: Mapping[str, int]) -> dict[str, int]:
    if not isinstance(counts, Mapping):
        raise TypeError(
            f"left_out: expected a mapping of reasons to numbers, got {_check.shown(counts)}"
        )
    return {str(why): _check.integer("left_out", count) for why, count in counts.items() if count}
