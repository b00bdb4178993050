"""Adds up stretches of journal: the Python side of ``csrc/journal``.

A `Batch` swallows records by the million and yields one row per application and path, per time
bucket and per process, ready for the SQLite upserts.  Invariant: the rows are copied out before
the C batch is freed, so nothing here refers to C memory.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_LIBRARY = Path(__file__).with_name("libprecopy_journal.so")

_WORD = 8
_COLUMNS = (2, 11, 5, 7, 4)
"""64-bit words per row: applications, accesses, buckets, processes, renames (``journal.h``)."""


class Access(NamedTuple):
    """What happened to one path in one application."""

    app: int
    path: bytes
    use: int
    opens: int
    writes: int
    changes: int
    bytes_written: int
    first_ns: int
    last_ns: int
    lost: int


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_LIBRARY))
    pointer, word = ctypes.c_void_p, ctypes.c_uint64
    library.pcj_new.restype, library.pcj_new.argtypes = pointer, [word]
    library.pcj_free.restype, library.pcj_free.argtypes = None, [pointer]
    library.pcj_add.restype = ctypes.c_int64
    library.pcj_add.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t]
    for name in ("pcj_records", "pcj_damaged", "pcj_text_size"):
        getattr(library, name).restype = word
        getattr(library, name).argtypes = [pointer]
    library.pcj_count.restype, library.pcj_count.argtypes = word, [pointer, ctypes.c_int]
    library.pcj_rows.restype, library.pcj_rows.argtypes = pointer, [pointer, ctypes.c_int]
    library.pcj_text.restype, library.pcj_text.argtypes = pointer, [pointer]
    return library


class Batch:
    """Records, added up.

    Parameters
    ----------
    bucket_ns : int
        Width of a write bucket in nanoseconds.

    Examples
    --------
    >>> from precopy.access.wire import ACCESS, WRITE, Record
    >>> record = Record(ACCESS, b"editor", b"/tmp/a", pid=7, use=WRITE, writes=2, bytes_written=10)
    >>> with Batch(bucket_ns=10**8) as batch:
    ...     batch.add(record.encode() * 3) == 3 * len(record.encode())
    ...     [(access.path, access.writes) for access in batch.accesses()]
    True
    [(b'/tmp/a', 6)]

    References
    ----------
    Paper section 2.1 (the tracking process records the accesses on disk).
    """

    def __init__(self, bucket_ns: int) -> None:
        if bucket_ns <= 0:
            raise ValueError(f"bucket_ns: got {bucket_ns}, expected a positive number")
        self._library = _library()
        self._batch: int | None = self._library.pcj_new(bucket_ns)
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
        self._library.pcj_free(self._batch)
        self._batch = None

    def add(self, data: bytes) -> int:
        """Add the complete records at the beginning of `data`; return the bytes they take."""
        taken: int = self._library.pcj_add(self._batch, data, len(data))
        if taken < 0:
            raise MemoryError("no memory for a batch of records")
        return taken

    @property
    def records(self) -> int:
        """How many records were added."""
        return int(self._library.pcj_records(self._batch))

    @property
    def damaged(self) -> int:
        """How many stretches were no records."""
        return int(self._library.pcj_damaged(self._batch))

    def apps(self) -> list[str]:
        """Return the applications' names, in the order that rows refer to."""
        text = self._text()
        return [text[at : at + size].decode("utf-8", "replace") for at, size in self._rows(0)]

    def accesses(self) -> list[Access]:
        """Return one row per application and path."""
        text = self._text()
        return [Access(app, text[at : at + size], *rest) for at, size, app, *rest in self._rows(1)]

    def buckets(self) -> list[tuple[int, ...]]:
        """Return ``(access, bucket, writes, changes, bytes)``; `access` indexes `accesses`."""
        return self._rows(2)

    def processes(self) -> list[tuple[int, int, int, bytes, int, int]]:
        """Return ``(app, pid, start_time, command, first_ns, last_ns)`` per process."""
        text = self._text()
        return [
            (app, pid, start, text[at : at + size], first, last)
            for at, size, app, pid, start, first, last in self._rows(3)
        ]

    def renames(self) -> list[tuple[int, bytes, bytes, int]]:
        """Return ``(app, old, new, time_ns)`` per renamed directory."""
        text = self._text()
        rows = []
        for at, size, app, time_ns in self._rows(4):
            old, _, new = text[at : at + size].partition(b"\0")
            rows.append((app, old, new, time_ns))
        return rows

    def _text(self) -> bytes:
        size = self._library.pcj_text_size(self._batch)
        return ctypes.string_at(self._library.pcj_text(self._batch), size) if size else b""

    def _rows(self, kind: int) -> list[tuple[int, ...]]:
        columns = _COLUMNS[kind]
        count = self._library.pcj_count(self._batch, kind)
        if count == 0:
            return []
        size = count * columns * _WORD
        words = memoryview(ctypes.string_at(self._library.pcj_rows(self._batch, kind), size))
        flat = iter(words.cast("Q").tolist())
        return list(zip(*[flat] * columns, strict=True))
