"""What may be dirty: the tree's signatures, and layers that only add to them.

The monitor's log, shared writable mappings, fanotify and tracepoints.  Invariant: no layer ever
says that a file is clean; each one adds files to look at, and one narrows down where to look in
large ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from precopy.access.log import AccessLog
from precopy.migration.tree import Scan, Tree


@dataclass(frozen=True, slots=True)
class Found:
    """What one cycle found.

    Attributes
    ----------
    scan : Scan
        What the tree says.
    look : ndarray of int64
        Ids of files whose content has to be compared: `scan.changed` and what the layers add.
    ranges : dict of int to ndarray of int64, shape (m, 2)
        For some of them, where to look (begin, end in bytes); the whole file for all others.
    clean : frozenset of int
        Those to be cleaned before they are read (``compare(…, clean=True)``).
    writes : int
        Write calls and changes that the log counted since the last cycle; 0 without a log.
    seconds : float
        How long the cycle took, the scan included.
    """

    scan: Scan
    look: NDArray[np.int64]
    ranges: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    clean: frozenset[int] = frozenset()
    writes: int = 0
    seconds: float = 0.0


class Dirty:
    """The layers over a tree.

    Parameters
    ----------
    tree : Tree
    processes : iterable of int
        Those that move; ask again with `follow` when there are others.
    log : AccessLog, optional
        A log that grows while the migration runs.
    use : iterable of {"log", "mapped", "fanotify", "trace"}
        Which layers to use where they can be had.

    Attributes
    ----------
    layers : dict of str to str
        What each layer does here, or why it is not there and what that means.
    """

    def __init__(
        self,
        tree: Tree,
        processes: Iterable[int] = (),
        log: AccessLog | None = None,
        use: Iterable[str] = ("log", "mapped", "fanotify", "trace"),
    ) -> None:
        self.layers: dict[str, str] = {}

    def start(self) -> None:
        """Begin to listen; the first `cycle` follows."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take everything away again; also done by ``with``."""
        raise NotImplementedError

    def follow(self, processes: Iterable[int]) -> None:
        """Say which processes move from now on."""
        raise NotImplementedError

    def cycle(self) -> Found:
        """Scan, and ask every layer."""
        raise NotImplementedError

    def counts(self) -> NDArray[np.int64]:
        """Return the writes and changes per entry that the log counted since `start`, by id."""
        raise NotImplementedError
