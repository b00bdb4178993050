"""Digests of what the destination holds, and which blocks of a file differ from it.

Blocks of a file are hashed (BLAKE2b, 16 bytes) and compared in C without the interpreter's lock.
Invariant: what is read for sending is hashed in the very buffer that is sent, and a digest is
remembered only once the destination has acknowledged its block.  An object is for one thread.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from precopy.migration.source import _source
from precopy.migration.source.tree import Entry

DIGEST_BYTES = 16
BLOCK_BYTES = 4096
BLOCKS_MAX = 1 << 18
"""A file that is first seen with more blocks than these gets larger ones."""

_LARGEST_BLOCK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 28
_RUN_BYTES = 1 << 20
_UNKNOWN = bytes(DIGEST_BYTES)
_OTHER_FILE = (errno.ESTALE, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


@dataclass(frozen=True, slots=True)
class Changed:
    """Blocks of a file that the destination does not hold as they are.

    Attributes
    ----------
    index : ndarray of int64, shape (k,)
        Numbers of the blocks, ascending.
    digests : ndarray of uint8, shape (k, 16)
        Of what was read.  All zero for blocks that were not read, because the destination is not
        known to hold anything there.
    zero : ndarray of bool, shape (k,)
        Which of them are all zero, so that a hole will do.
    size : int
        The file's size when it was read.
    block_bytes : int
    read_bytes : int
        How much was read.
    seconds : float
    data : bytes
        The first `data_count` blocks one after another (the last one of the file may be short),
        those that are zero left out; only if asked for.
    data_count : int
    """

    index: NDArray[np.int64]
    digests: NDArray[np.uint8]
    zero: NDArray[np.bool_]
    size: int
    block_bytes: int
    read_bytes: int
    seconds: float
    data: bytes = b""
    data_count: int = 0

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.index)

    @property
    def bytes(self) -> int:
        """How many bytes these blocks have; the file's last one may be short."""
        if not len(self.index):
            return 0
        last = int(self.index[-1]) * self.block_bytes
        return (len(self.index) - 1) * self.block_bytes + min(self.size - last, self.block_bytes)

    def pieces(self) -> Iterator[tuple[int, int, memoryview | None]]:
        """Yield ``(offset, length, data)`` of the blocks whose data there are, neighbours together.

        `data` is None for zeros, which may be sent as a hole.
        """
        view, at, size = memoryview(self.data), 0, self.block_bytes
        begin, count = 0, self.data_count
        while begin < count:
            zero, first = bool(self.zero[begin]), int(self.index[begin])
            end = begin + 1
            while (
                end < count
                and int(self.index[end]) == first + end - begin
                and bool(self.zero[end]) == zero
                and (zero or (end - begin + 1) * size <= _RUN_BYTES)
            ):
                end += 1
            offset = first * size
            length = min((first + end - begin) * size, self.size) - offset
            yield offset, length, None if zero else view[at : at + length]
            at += 0 if zero else length
            begin = end


@dataclass(slots=True)
class _Held:
    """What the destination holds of one file; digests are all zero where that is not known."""

    block_bytes: int
    size: int = 0
    digests: bytearray | None = None

    def resize(self, size: int) -> None:
        """Follow a file that becomes shorter, or longer with a hole at its end."""
        digests = bytearray() if self.digests is None else self.digests
        partial = self.size % self.block_bytes
        if size != self.size and partial and self.size < size:
            digests[-DIGEST_BYTES:] = _UNKNOWN  # what was the file's end has zeros behind it now
        before, count = len(digests) // DIGEST_BYTES, -(-size // self.block_bytes)
        if count <= before:
            del digests[count * DIGEST_BYTES :]
        else:
            digests += zero_digest(self.block_bytes) * (count - before)
        if size != self.size and size % self.block_bytes:
            tail = zero_digest(size % self.block_bytes) if count > before else _UNKNOWN
            digests[-DIGEST_BYTES:] = tail
        self.size, self.digests = size, digests


class Blocks:
    """What the destination holds of every file.

    Memory: 16 bytes per block of 4 KiB, that is 4 MiB per GiB, and about 180 bytes per file.  A
    file that is first seen with more than 1 GiB has larger blocks, 262,144 of them at most up to
    256 GiB; a file keeps the size of its blocks when it grows.
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}

    def block_bytes(self, entry: Entry) -> int:
        """Return the size of this file's blocks; it stays as it was when first asked for."""
        return self._of(entry).block_bytes

    def _of(self, entry: Entry) -> _Held:
        held = self._held.get(entry.id)
        if held is None:
            held = self._held[entry.id] = _Held(block_bytes_for(entry.status.size))
        return held

    def compare(
        self,
        entry: Entry,
        ranges: NDArray[np.int64] | None = None,
        *,
        clean: bool = False,
        data: bool = False,
        data_limit: int = 1 << 26,
    ) -> Changed:
        """Return the blocks that differ from what the destination holds.

        Blocks of which the destination is not known to hold anything are listed without being read
        (unless `data` is set); of a file of which it holds nothing at all, only those with data
        are: the others are a hole there as soon as the file is made with its size.

        Parameters
        ----------
        entry : Entry
            A file.
        ranges : ndarray of int64, shape (m, 2), optional
            Begin and end in bytes of what may have changed, ascending and apart.  Default: the
            whole file.
        clean : bool
            Write the file's dirty pages to disk first, so that the next store through a mapping
            shows in the file's times.
        data : bool
            Return the blocks themselves, too, up to `data_limit` bytes.
        data_limit : int

        Raises
        ------
        FileNotFoundError
            If there is no such file any more, or another one stands there.
        OSError
            If it cannot be read; names the file.
        """
        held = self._of(entry)
        new = held.digests is None
        found = _look(
            entry,
            held.block_bytes,
            held.digests,
            None if new else ranges,
            clean=clean,
            lazy=not data,
            data_limit=data_limit if data else 0,
        )
        if not new or data:
            return found
        there = ~found.zero
        return replace(
            found, index=found.index[there], digests=found.digests[there], zero=found.zero[there]
        )

    def read(self, entry: Entry, index: NDArray[np.int64]) -> Changed:
        """Read blocks for sending: `digests` are those of `data`, whatever was known before.

        Blocks beyond the end of the file, which may have become shorter, are left out.

        Raises
        ------
        FileNotFoundError, OSError
            As for `compare`.
        """
        size = self._of(entry).block_bytes
        return _look(entry, size, None, _runs(index) * size, data_limit=1 << 62)

    def hold(
        self, entry: Entry, index: NDArray[np.int64], digests: NDArray[np.uint8], size: int
    ) -> None:
        """Note what the destination has acknowledged: the file's size there, and these blocks.

        What lies between the former size and a larger one is a hole there.
        """
        held = self._of(entry)
        held.resize(size)
        if len(index):
            table = np.frombuffer(held.digests or b"", np.uint8).reshape(-1, DIGEST_BYTES)
            inside = index < len(table)
            table[index[inside]] = digests[inside]

    def size_there(self, entry: Entry) -> int:
        """Return the size of a file at the destination."""
        return self._of(entry).size

    def held(self, entry: Entry) -> tuple[int, NDArray[np.uint8]]:
        """Return the size of a file at the destination and the digests of its blocks there.

        A digest that is all zero is not known.
        """
        held = self._of(entry)
        table = np.frombuffer(bytes(held.digests or b""), np.uint8).reshape(-1, DIGEST_BYTES)
        return held.size, table

    def restore(self, entry: Entry, size: int, digests: bytes) -> None:
        """Take what the far side says that it holds (`Transport.digests`), for resuming.

        Raises
        ------
        ValueError
            If the digests are not those of a file of that size.
        """
        held = self._of(entry)
        expected = -(-size // held.block_bytes) * DIGEST_BYTES
        if len(digests) != expected:
            raise ValueError(
                f"digests: got {len(digests)} bytes, expected {expected} for {size} bytes in "
                f"blocks of {held.block_bytes}"
            )
        held.size, held.digests = size, bytearray(digests)

    def inherit(self, old: int, new: int) -> None:
        """Let the file with id `new` have what was held for `old` (`Scan.heirs`)."""
        if old in self._held:
            self._held[new] = self._held.pop(old)

    def forget(self, id: int) -> None:
        """Drop what is known of a file that the destination does not hold any more."""
        self._held.pop(id, None)


def block_bytes_for(size: int) -> int:
    """Return the size of the blocks of a file that is first seen with this size, a power of two.

    Examples
    --------
    >>> block_bytes_for(0), block_bytes_for(1 << 30), block_bytes_for(10 << 30)
    (4096, 4096, 65536)
    """
    block = BLOCK_BYTES
    while size > block * BLOCKS_MAX and block < _LARGEST_BLOCK_BYTES:
        block *= 2
    return block


_ZERO_DIGESTS: dict[int, bytes] = {}


def zero_digest(size: int) -> bytes:
    """Return the digest of a number of zero bytes."""
    digest = _ZERO_DIGESTS.get(size)
    if digest is None:
        digest = _source.digests(bytes(size), max(size, 1))
        if size & (size - 1) == 0:  # of whole blocks there are few sizes
            _ZERO_DIGESTS[size] = digest
    return digest


def _runs(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (begin, end) of the runs of neighbours in ascending numbers."""
    index = np.asarray(index, np.int64)
    if not len(index):
        return np.empty((0, 2), np.int64)
    breaks = np.flatnonzero(np.diff(index) != 1)
    first = index[np.concatenate(([0], breaks + 1))]
    last = index[np.concatenate((breaks, [len(index) - 1]))]
    return np.ascontiguousarray(np.stack((first, last + 1), axis=1))


def _look(
    entry: Entry,
    block_bytes: int,
    known: bytearray | None,
    ranges: NDArray[np.int64] | None,
    *,
    clean: bool = False,
    lazy: bool = False,
    data_limit: int = 0,
) -> Changed:
    """Look at a file in pieces, so that a signal is seen in between."""
    began = time.perf_counter()
    parts: list[tuple[int, int, bytes, bytes, bytes, bytes, int]] = []
    at = 0
    while True:
        piece = None
        if ranges is not None or entry.status.size > _PIECE_BYTES or at:
            last = at + _PIECE_BYTES >= entry.status.size
            piece = _clip(ranges, at, 1 << 62 if last else at + _PIECE_BYTES)
        try:
            part = _source.look(
                entry.path,
                entry.status.dev,
                entry.status.ino,
                block_bytes,
                known,
                piece,
                clean and not at,
                lazy,
                data_limit - sum(len(part[5]) for part in parts),
            )
        except OSError as error:
            raise _explained(error, entry.path) from None
        parts.append(part)
        at += _PIECE_BYTES
        if at >= entry.status.size:
            break
    return _joined(parts, block_bytes, time.perf_counter() - began)


def _clip(ranges: NDArray[np.int64] | None, begin: int, end: int) -> NDArray[np.int64]:
    if ranges is None:
        return np.array([[begin, end]], np.int64)
    inside = ranges[(ranges[:, 0] < end) & (ranges[:, 1] > begin)]
    return np.ascontiguousarray(np.clip(inside, begin, end))


def _joined(
    parts: list[tuple[int, int, bytes, bytes, bytes, bytes, int]], block_bytes: int, seconds: float
) -> Changed:
    size = min(part[0] for part in parts) if len(parts) > 1 else parts[0][0]
    index = np.frombuffer(b"".join(part[2] for part in parts), np.int64)
    digests = np.frombuffer(b"".join(part[3] for part in parts), np.uint8)
    zero = np.frombuffer(b"".join(part[4] for part in parts), np.bool_)
    data_count = 0
    for part in parts:
        data_count += part[6]
        if part[6] * 8 < len(part[2]):
            break
    there = int(np.searchsorted(index, -(-size // block_bytes)))
    return Changed(
        index[:there],
        digests.reshape(-1, DIGEST_BYTES)[:there],
        zero[:there],
        size,
        block_bytes,
        sum(part[1] for part in parts),
        seconds,
        b"".join(part[5] for part in parts),
        min(data_count, there),
    )


def _explained(error: OSError, path: bytes) -> OSError:
    name = os.fsdecode(path)
    if error.errno in _OTHER_FILE:
        return FileNotFoundError(
            errno.ENOENT, "it is gone, or another file stands there since the scan", name
        )
    return OSError(error.errno or errno.EIO, os.strerror(error.errno or errno.EIO), name)
