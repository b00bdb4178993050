"""What may be dirty: the tree's signatures, and layers that only add to them.

The monitor's log, shared writable mappings, fanotify and tracepoints.  Invariant: no layer ever
says that a file is clean; each one adds files to look at, and one narrows down where to look in
large ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from precopy.access.exclude import DEFAULT_EXCLUDED
from precopy.access.log import AccessLog
from precopy.migration.logged import Logged
from precopy.migration.mapped import Mapped, deleted_open
from precopy.migration.tree import Scan, Tree

_UNDER_WAY_NS = 1_000_000_000


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
        Those that move; say with `follow` when there are others.
    log : AccessLog, optional
        A log that grows while the migration runs.
    applications : iterable of str, optional
        Those in the log that move: the files that they make move, too.  Without any, all in the
        log are counted, and what moves is known from its paths alone.
    exclude : iterable of str
        Paths in the log that stay.
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
        applications: Iterable[str] | None = None,
        exclude: Iterable[str] = DEFAULT_EXCLUDED,
        use: Iterable[str] = ("log", "mapped", "fanotify", "trace"),
    ) -> None:
        applications = list(applications or ())
        self.layers: dict[str, str] = {}
        self._tree, self._use = tree, frozenset(use)
        self._processes = set(processes)
        self._mapped = Mapped(tree, self._processes)
        self._logged = None
        if log is not None and "log" in self._use:
            self._logged = Logged(log, applications or None, exclude)
        self._adds_names = bool(applications)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)

    def start(self) -> None:
        """Begin to listen; the first `cycle` follows."""
        if self._logged is not None:
            self._logged.news()
            self.layers["log"] = "counts writes and names new files while the recording goes on"

    def stop(self) -> None:
        """Take everything away again; also done by ``with``."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def follow(self, processes: Iterable[int]) -> None:
        """Say which processes move from now on."""
        self._mapped.processes = self._processes = set(processes)

    def cycle(self, *, final: bool = False) -> Found:
        """Scan, and ask every layer.

        Parameters
        ----------
        final : bool
            Whether everything that moves stands still: then nothing has to be prepared for a later
            cycle.
        """
        began = time.perf_counter()
        late, writes = self._ask_log()
        scan = self._tree.scan()
        look = set(map(int, scan.changed))
        look.update(id for id in late if self._tree.is_there(id))
        clean: set[int] = set()
        if "mapped" in self._use:
            more, clean = self._mapped.cycle(look, final=final)
            look |= more
        return Found(
            scan,
            np.array(sorted(look), np.int64),
            {},
            frozenset(clean),
            writes,
            time.perf_counter() - began,
        )

    def counts(self) -> NDArray[np.int64]:
        """Return the writes and changes per entry that the log counted since `start`, by id.

        Empty without a log.
        """
        return self._counts

    def deleted_files(self) -> list[tuple[bytes, str]]:
        """Return the files without a name that the processes have open, and what that means."""
        why = (
            "deleted, but open in process {}: it has no name and does not move; "
            "the process makes a new one when it is started"
        )
        return [
            (path, why.format(pid)) for pid in sorted(self._processes) for path in deleted_open(pid)
        ]

    def _ask_log(self) -> tuple[set[int], int]:
        """Count what the log reports; return files that were written long after they had moved."""
        late: set[int] = set()
        writes = 0
        if self._logged is None:
            return late, writes
        counts = np.zeros(len(self._tree), np.int64)
        counts[: len(self._counts)] = self._counts
        for use in self._logged.news():
            entry = self._tree.find(use.path)
            if entry is None:
                if use.written and self._adds_names:
                    self._tree.add(use.path)
                continue
            id = entry.id if entry.same_as is None else entry.same_as
            counts[id] += use.updates
            writes += use.updates
            if entry.kind == "file" and use.last_ns > entry.status.ctime_ns + _UNDER_WAY_NS:
                late.add(id)
        self._counts = counts
        return late, writes
