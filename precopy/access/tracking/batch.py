"""Adds up stretches of journal: the Python side of ``csrc/batch``.

A `Batch` swallows records by the million and yields one row per application and path, per time
bucket and per process, as tuples for the SQLite upserts.  Invariants: the rows are copied out
before the C batch is freed, so nothing here refers to C memory; standard library only, for a
tracker is a small process that must begin at once.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType

_LIBRARY = Path(__file__).with_name("libprecopy_batch.so")

_APPS, _ACCESSES, _BUCKETS, _PROCESSES, _RENAMES, _MOVES = range(6)
_COUNTS = ("writes", "changes", "bytes_written")
_COLUMNS = (
    ("text_at", "text_size"),
    ("text_at", "text_size", "app", "use", "opens", *_COUNTS, "first_ns", "last_ns", "identity",
     "identity_ns", "born_ns", "length", "length_ns", "length_born_ns",
     "size", "looked_ns"),
    ("access", "bucket", *_COUNTS, "last_ns", "removed_ns"),
    ("text_at", "text_size", "app", "pid", "start_time", "first_ns", "last_ns"),
    ("text_at", "text_size", "app", "time_ns"),
    ("old", "new", "time_ns", "linked", "length"),
)  # fmt: skip
"""The 64-bit words of each kind of row, as ``batch.h`` declares them."""


class Rows:
    """Rows of 64-bit words, by the million: one block of memory, looked at where it is asked for.

    Parameters
    ----------
    data : bytes
        The rows.
    columns : sequence of str
        What a row's words are called.

    Examples
    --------
    >>> rows = Rows(struct.pack("=4q", 1, 2, 3, -4), ("a", "b"))
    >>> len(rows), rows["b"], list(rows.take([1, 0]))
    (2, [2, -4], [(3, -4), (1, 2)])
    """

    def __init__(self, data: bytes, columns: Sequence[str]) -> None:
        self._data, self._columns = data, columns
        self._form = struct.Struct(f"={len(columns)}q")

    def __len__(self) -> int:
        return len(self._data) // self._form.size

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return self._form.iter_unpack(self._data)

    def __getitem__(self, column: str) -> list[int]:
        words = memoryview(self._data).cast("q")
        return words[self._columns.index(column) :: len(self._columns)].tolist()

    def take(self, order: Iterable[int]) -> Iterator[tuple[int, ...]]:
        """Yield the rows with these numbers."""
        unpack, data, size = self._form.unpack_from, self._data, self._form.size
        return (unpack(data, number * size) for number in order)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_LIBRARY))
    pointer, word = ctypes.c_void_p, ctypes.c_uint64
    library.pcb_new.restype, library.pcb_new.argtypes = pointer, [word]
    for name in ("pcb_free", "pcb_look"):
        getattr(library, name).restype, getattr(library, name).argtypes = None, [pointer]
    library.pcb_add.restype = ctypes.c_int64
    library.pcb_add.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t]
    for name in ("pcb_records", "pcb_damaged", "pcb_foreign", "pcb_lost", "pcb_text_size"):
        getattr(library, name).restype = word
        getattr(library, name).argtypes = [pointer]
    library.pcb_find.restype = ctypes.c_int64
    library.pcb_find.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(word)]
    library.pcb_count.restype, library.pcb_count.argtypes = word, [pointer, ctypes.c_int]
    library.pcb_rows.restype, library.pcb_rows.argtypes = pointer, [pointer, ctypes.c_int]
    library.pcb_text.restype, library.pcb_text.argtypes = pointer, [pointer]
    return library


def find_file(path: bytes) -> tuple[int, int]:
    """Return a regular file's size (-1: gone, -2: another kind) and birth, 0 if it is not known."""
    born_ns = ctypes.c_uint64(0)
    size: int = _library().pcb_find(path, len(path), ctypes.byref(born_ns))
    return size, born_ns.value


class Batch:
    """Records, added up.

    Parameters
    ----------
    bucket_ns : int
        Width of a write bucket in nanoseconds.

    Examples
    --------
    >>> from precopy.access.tracking.wire import ACCESS, WRITE, Record
    >>> record = Record(ACCESS, b"editor", b"/tmp/a", pid=7, use=WRITE, writes=2, bytes_written=10)
    >>> with Batch(bucket_ns=10**8) as batch:
    ...     batch.add(record.encode() * 3) == 3 * len(record.encode())
    ...     batch.paths(), batch.accesses()["writes"]
    True
    ([b'/tmp/a'], [6])

    References
    ----------
    Paper section 2.1 (the tracking process records the accesses on disk).
    """

    def __init__(self, bucket_ns: int) -> None:
        if bucket_ns <= 0:
            raise ValueError(f"bucket_ns: got {bucket_ns}, expected a positive number")
        self._library = _library()
        self._batch: int | None = self._library.pcb_new(bucket_ns)
        if not self._batch:
            raise MemoryError("no memory for a batch of records")

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._library.pcb_free(self._batch)
        self._batch = None

    def add(self, data: bytes) -> int:
        """Add the complete records at the beginning of `data`; return the bytes they take."""
        taken: int = self._library.pcb_add(self._batch, data, len(data))
        if taken < 0:
            raise MemoryError("no memory for a batch of records")
        return taken

    def look(self) -> None:
        """Ask how large the files are that were written, and when they were made."""
        self._library.pcb_look(self._batch)

    @property
    def records(self) -> int:
        """How many records were added."""
        return int(self._library.pcb_records(self._batch))

    @property
    def damaged(self) -> int:
        """How many stretches were no records."""
        return int(self._library.pcb_damaged(self._batch))

    @property
    def foreign(self) -> int:
        """How many records another version's monitor wrote; they are skipped."""
        return int(self._library.pcb_foreign(self._batch))

    @property
    def lost(self) -> int:
        """How many reports a process could not deliver: the greatest number that a record says."""
        return int(self._library.pcb_lost(self._batch))

    @property
    def rows(self) -> int:
        """How many rows the records amount to: the batch's size in memory, and work to be done."""
        return sum(self._library.pcb_count(self._batch, kind) for kind in range(len(_COLUMNS)))

    def apps(self) -> list[str]:
        """Return the applications' names, in the order that rows refer to."""
        return [name.decode("utf-8", "replace") for name in self._texts(self._rows(_APPS))]

    def accesses(self) -> Rows:
        """Return what happened to each path in each application, a row per pair.

        Returns
        -------
        Rows
            ``app`` (indexes `apps`), ``use``, ``opens``, ``writes``, ``changes``,
            ``bytes_written``, ``first_ns``, ``last_ns``, ``identity`` (the latest that was told,
            as a signed number; 0 if none was), ``identity_ns`` (when); ``born_ns`` (0 if it is not
            known), ``length`` (the file's size plus one when it was first opened, 0 if it was not),
            ``length_ns`` (when), ``length_born_ns`` (when that file was made); ``size`` (what
            `look` found, -1: gone, -2: no regular file), ``looked_ns`` (0 if it did not look).
        """
        return self._rows(_ACCESSES)

    def paths(self) -> list[bytes]:
        """Return the path of each row of `accesses`."""
        return self._texts(self._rows(_ACCESSES))

    def buckets(self) -> Rows:
        """Return when the writes happened, a row per row of `accesses` and time bucket.

        Returns
        -------
        Rows
            ``access`` (indexes `accesses`), ``bucket``, ``writes``, ``changes``,
            ``bytes_written``, ``last_ns``, ``removed_ns`` (when the name was last removed, or 0).
        """
        return self._rows(_BUCKETS)

    def processes(self) -> list[tuple[int, int, int, bytes, int, int]]:
        """Return ``(app, pid, start_time, command, first_ns, last_ns)`` per process."""
        rows = self._rows(_PROCESSES)
        return [
            (app, pid, start, command, first, last)
            for (_, _, app, pid, start, first, last), command in zip(
                rows, self._texts(rows), strict=True
            )
        ]

    def renames(self) -> list[tuple[int, bytes, bytes, int]]:
        """Return ``(app, old, new, time_ns)`` per renamed directory."""
        rows = self._rows(_RENAMES)
        names = [text.partition(b"\0") for text in self._texts(rows)]
        return [
            (app, old, new, time_ns)
            for (_, _, app, time_ns), (old, _, new) in zip(rows, names, strict=True)
        ]

    def moves(self) -> Rows:
        """Return which files were renamed, in the order of the records.

        Returns
        -------
        Rows
            ``old``, ``new`` (both index `accesses`), ``time_ns``, ``linked`` (1: the old name has
            stayed), ``length`` (the file's size plus one; 0 if it is not known).
        """
        return self._rows(_MOVES)

    def _texts(self, rows: Rows) -> list[bytes]:
        size = self._library.pcb_text_size(self._batch)
        text = ctypes.string_at(self._library.pcb_text(self._batch), size) if size else b""
        begins, sizes = rows["text_at"], rows["text_size"]
        return [text[at : at + size] for at, size in zip(begins, sizes, strict=True)]

    def _rows(self, kind: int) -> Rows:
        columns = _COLUMNS[kind]
        size = self._library.pcb_count(self._batch, kind) * 8 * len(columns)
        rows = self._library.pcb_rows(self._batch, kind)
        return Rows(ctypes.string_at(rows, size) if size else b"", columns)
