"""What moves, as a tree of entries with ids, and what of it changed since the last look.

A scan takes the status of every entry once; a directory is read again only if it may have changed.
A status is taken *before* anybody reads the content, so whatever is written later shows in the next
one.  Invariant: "changed" only means "look"; that nothing is reported means that nothing happened,
up to stores through mappings and writes still under way, which `precopy.migration.dirty` adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from precopy.migration.selection import Selection

__all__ = ["Entry", "Kind", "Scan", "Selection", "Status", "Tree"]

Kind = Literal["file", "directory", "link", "fifo"]


@dataclass(frozen=True, slots=True)
class Status:
    """The signature of an entry, as the kernel told it; times in nanoseconds since the epoch."""

    size: int
    mtime_ns: int
    ctime_ns: int
    birth_ns: int
    ino: int
    dev: int
    mode: int
    uid: int
    gid: int
    nlink: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One name that moves, as the last scan saw it.

    Attributes
    ----------
    id : int
        Stays with the entry for the whole migration, also if it is renamed or its content replaced.
        Ids count from 0 and are never used again.
    path : bytes
        Absolute.
    kind : {"file", "directory", "link", "fifo"}
    status : Status
    same_as : int or None
        The id of the first name of the same file (a hard link inside of what moves); None for the
        first name, and for all others.  Only first names are reported as changed.
    above : bool
        A directory that is there only because something below it moves.
    """

    id: int
    path: bytes
    kind: Kind
    status: Status
    same_as: int | None = None
    above: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found, compared with the one before; the first one finds that all appeared.

    To bring a destination up to date, apply in this order: `heirs`, `renames`, `vanished` (deepest
    first), `relinked` (delete the name), `appeared` and `relinked` (parents first), `changed`, and
    at last `touched` (files before the directories that hold them).

    Attributes
    ----------
    changed : ndarray of int64
        Ids of files whose content may have changed: their signature moved, or it is so young that a
        later write need not have moved it.
    touched : ndarray of int64
        Ids of entries whose mode, owner, times or attributes may have changed, of every kind.  A
        link whose target changed is in `relinked`.
    appeared : list of int
        Ids, parents first.  What changed its kind vanished, and appeared under a new id.
    vanished : list of int
        Ids, children first; `Tree.entry` still knows them.
    renames : list of (int, bytes, bytes)
        ``(id, old path, new path)`` in an order in which they can be done.  What lies below a
        renamed directory has moved with it and is not in the list.
    heirs : list of (int, int)
        ``(old, new)``: the first name of a file is gone or names another file now, and `new` is its
        first name from here on; what the destination holds of it is known under `old`.
    relinked : list of int
        Ids of names that have to be made again at the destination: they joined or left the names of
        a file (hard links), or are links whose target changed.
    problems : list of (bytes, str)
        What could not be looked at or does not move, and why; each is told once.
    seconds : float
        How long it took.
    began_ns : int
        Wall clock when it began.
    """

    changed: NDArray[np.int64]
    touched: NDArray[np.int64]
    appeared: list[int]
    vanished: list[int]
    renames: list[tuple[int, bytes, bytes]]
    heirs: list[tuple[int, int]]
    relinked: list[int]
    problems: list[tuple[bytes, str]]
    seconds: float
    began_ns: int

    @property
    def quiet(self) -> bool:
        """Whether nothing changed at all."""
        return not (
            len(self.changed)
            or len(self.touched)
            or self.appeared
            or self.vanished
            or self.renames
            or self.relinked
        )


class Tree:
    """The entries of a selection, scanned again and again.

    Parameters
    ----------
    selection : Selection
        What moves.
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection

    def scan(self) -> Scan:
        """Take the status of every entry and say what is not as it was."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Return how many ids have been given, those of entries that are gone included."""
        raise NotImplementedError

    def entry(self, id: int) -> Entry:
        """Return an entry as the last scan saw it, or as it was before it went."""
        raise NotImplementedError

    def find(self, path: bytes) -> Entry | None:
        """Return the entry that stands at a path now."""
        raise NotImplementedError

    def entries(self) -> Iterator[Entry]:
        """Yield all entries that are there, parents first."""
        raise NotImplementedError

    def names(self, id: int) -> list[int]:
        """Return the ids of all names of a file, its first one first."""
        raise NotImplementedError

    def add(self, path: bytes) -> bool:
        """Take in one more path, such as one that a log reported; the next scan looks at it.

        Returns
        -------
        bool
            False if it is known already.
        """
        raise NotImplementedError
