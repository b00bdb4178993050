"""Digests of what the destination holds, and which blocks of a file differ from it.

Blocks of a file are hashed (blake2b, 16 bytes) and compared in C without the interpreter's lock.
Invariant: a digest is remembered only for bytes that were hashed after they were read into the
buffer that is sent, and only once the destination has acknowledged them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precopy.migration.tree import Entry

DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Changed:
    """Blocks of a file that the destination does not hold as they are.

    Attributes
    ----------
    index : ndarray of int64, shape (k,)
        Numbers of the blocks, ascending.
    digests : ndarray of uint8, shape (k, 16)
        Of what was read. All zero where nothing was read: of a file of which the destination holds
        nothing, every block with data is listed at once.
    zero : ndarray of bool, shape (k,)
        Which of them are all zero, so that a hole will do.
    size : int
        The file's size when it was read.
    block_bytes : int
    read_bytes : int
        How much was read.
    seconds : float
    data : bytes
        The blocks one after another (the last one of the file may be short), those that are zero
        left out; only if asked for.
    """

    index: NDArray[np.int64]
    digests: NDArray[np.uint8]
    zero: NDArray[np.bool_]
    size: int
    block_bytes: int
    read_bytes: int
    seconds: float
    data: bytes = b""


class Blocks:
    """What the destination holds of every file.

    Memory: 16 bytes per block of 4 KiB, that is 4 MiB per GiB; above 1 GiB per file blocks are as
    large as it takes to have at most 262,144 of them.
    """

    def block_bytes(self, entry: Entry) -> int:
        """Return the size of this file's blocks; it stays as it was when first asked for."""
        raise NotImplementedError

    def compare(
        self,
        entry: Entry,
        ranges: NDArray[np.int64] | None = None,
        *,
        clean: bool = False,
        data: bool = False,
    ) -> Changed:
        """Return the blocks that differ from what the destination holds.

        Parameters
        ----------
        entry : Entry
            A file.
        ranges : ndarray of int64, shape (m, 2), optional
            Begin and end in bytes of what may have changed; blocks of which nothing is known are
            looked at anyway. Default: the whole file.
        clean : bool
            Write the file's dirty pages to disk first, so that the next store through a mapping
            shows in the file's times.
        data : bool
            Return the blocks themselves, too.

        Raises
        ------
        FileNotFoundError
            If there is no such file any more, or another one stands there (`Moved`).
        OSError
            If it cannot be read; names the file.
        """
        raise NotImplementedError

    def read(self, entry: Entry, index: NDArray[np.int64]) -> Changed:
        """Read blocks for sending: `digests` are those of `data`, whatever was known before.

        Blocks beyond the end of the file, which may have become shorter, are left out.
        """
        raise NotImplementedError

    def hold(
        self, entry: Entry, index: NDArray[np.int64], digests: NDArray[np.uint8], size: int
    ) -> None:
        """Note what the destination has acknowledged: the file's size there, and these blocks.

        What lies between the former size and a larger one is a hole there.
        """
        raise NotImplementedError

    def held(self, entry: Entry) -> tuple[int, NDArray[np.uint8]]:
        """Return the size of a file at the destination and the digests of its blocks there."""
        raise NotImplementedError

    def restore(self, entry: Entry, size: int, digests: bytes) -> None:
        """Take what the far side says that it holds (`Transport.digests`), for resuming."""
        raise NotImplementedError

    def inherit(self, old: int, new: int) -> None:
        """Let the file with id `new` have what was held for `old` (`Scan.heirs`)."""
        raise NotImplementedError

    def forget(self, id: int) -> None:
        """Drop what is known of a file that the destination does not hold any more."""
        raise NotImplementedError
