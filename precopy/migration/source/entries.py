"""What a scan tells of: entries, their statuses, and what changed.

A status is the signature of an entry: whatever is written later moves it, but for writes in the
very tick of the clock.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from precopy.migration.source.hardlinks import Identity

Kind = Literal["file", "directory", "link", "fifo"]

STATUS = np.dtype(
    [(name, "i8") for name in ("size", "mtime_ns", "ctime_ns", "birth_ns")]
    + [(name, "u8") for name in ("ino", "dev")]
    + [(name, "u4") for name in ("mode", "uid", "gid", "nlink")]
)
"""One status as `_source.statuses` takes and gives it; `mode` is 0 where there is nothing."""

MOVED = np.dtype([("index", "i8"), ("status", STATUS)])
"""What `_source.statuses` returns."""

TYPE_MASK = 0o170000

KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
}


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
    target : bytes or None
        Of a link, where it leads.
    """

    id: int
    path: bytes
    kind: Kind
    status: Status
    same_as: int | None = None
    above: bool = False
    target: bytes | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found, compared with the one before; the first one finds that all appeared.

    To bring a destination up to date, apply in this order: `heirs`, `renames`, `vanished` (deepest
    first), `relinked` (delete the name), `appeared` and `relinked` (parents first), `changed`, and
    at last `touched` (files before the directories that hold them).

    Attributes
    ----------
    changed : ndarray of int64
        Ids of files whose content may have changed: they appeared, their signature moved, or it is
        so young that a later write need not have moved it.
    touched : ndarray of int64
        Ids of entries whose mode, owner, times or attributes may have changed, of every kind, those
        that appeared included.  The times of directories that others use, too, do not count.
    moved : ndarray of int64
        Those of `touched` that are not merely young: their status is another one, or they appeared.
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
    moved: NDArray[np.int64]
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
        """Whether nothing changed, and nothing is young."""
        return not (
            len(self.touched) or self.appeared or self.vanished or self.renames or self.relinked
        )


def identity_of(status: np.void) -> tuple[Identity, int]:
    """Return which file a status is of, and of which type."""
    dev, ino, birth = int(status["dev"]), int(status["ino"]), int(status["birth_ns"])
    return (dev, ino, birth), stat.S_IFMT(int(status["mode"]))


def is_same_file(before: np.void, now: np.void) -> bool:
    """Return whether one inode is one file; inode numbers are used again after a deletion."""
    if int(now["birth_ns"]):
        return True
    return (
        stat.S_ISREG(int(now["mode"]))
        and before["size"] == now["size"]
        and before["mtime_ns"] == now["mtime_ns"]
    )
