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
from precopy.migration.source.logged import Logged
from precopy.migration.source.mapped import Mapped, deleted_open, writes_behind
from precopy.migration.source.modified import Modified
from precopy.migration.source.tracing import LARGE_BYTES, Ranges, Tracing, is_traceable
from precopy.migration.source.tree import UNDER_WAY_NS, Scan, Tree

_UNDER_WAY_NS = 1_000_000_000
_BEFORE_NS = 60_000_000_000


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

    @property
    def prepared_s(self) -> float:
        """What only prepared a later look, in seconds: not done when nothing runs any more."""
        return self.seconds - self.scan.seconds


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

    Notes
    -----
    What each layer reaches, and for whom:

    ============  ==========  =====================================================================
    signatures    everybody   every write call that has returned, whatever was done to the times,
                              if it took less than 0.2 s
    log           a log that  how often files are written; names of new files in directories that
                  grows       are not wholly the application's; up to 0.2 s late
    mapped        everybody   stores through shared mappings of one's own processes (root: of all)
    fanotify      root        any write call when it ends; so files need not be looked at a second
                              time 0.2 s after they were written
    trace         root, ext4  where a file above 64 MiB was written; without it the whole file is
                  only        read when its signature has moved, about 1 s per GB and core
    ============  ==========  =====================================================================

    Not seen by anybody without root: stores of other users' processes through mappings, and a
    write call of more than 0.2 s that is under way while its file is read and ends without another
    one following.
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
        self._polled: tuple[set[int], int] = (set(), 0)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._modified: Modified | None = None
        self._tracing: Tracing | None = None
        self._inode_of: dict[int, int] = {}
        self._uncleaned: set[int] = set()
        self._was_final = False
        self._started_ns = time.time_ns()

    def start(self) -> None:
        """Begin to listen; the first `cycle` follows."""
        self._started_ns = time.time_ns()
        if "mapped" in self._use:
            self.layers["mapped"] = "files that are mapped shared are cleaned or always looked at"
        if self._logged is not None:
            self._logged.news()
            self.layers["log"] = "counts writes and names new files while the recording goes on"
        if "fanotify" in self._use:
            try:
                self._modified = Modified()
                self.layers["fanotify"] = "tells when a write ends"
            except OSError as error:
                self.layers["fanotify"] = (
                    f"not here ({error.strerror}): a write call of more than 0.2 s is found "
                    "only if another one follows, or in the log"
                )
        if "trace" in self._use:
            try:
                self._tracing = Tracing()
                self.layers["trace"] = "tells where files above 64 MiB are written, on ext4"
            except OSError as error:
                self.layers["trace"] = (
                    f"not here ({error.strerror or error}): a large file that was written is read "
                    "as a whole, about 1 s per GB"
                )

    def stop(self) -> None:
        """Take everything away again; also done by ``with``."""
        for layer in (self._modified, self._tracing):
            if layer is not None:
                layer.close()
        self._modified = self._tracing = None

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
        late, writes = late | self._polled[0], writes + self._polled[1]
        self._polled = (set(), 0)
        self._tree.under_way_ns = self._under_way_ns(final)
        scan = self._tree.scan()
        look = set(map(int, scan.changed))
        look.update(id for id in late if self._tree.is_there(id))
        # What is asked after the scan has happened before the files are read.
        look |= self._ask_fanotify(scan)
        clean: set[int] = set()
        if "mapped" in self._use:
            more, clean = self._mapped.cycle(look, final=final)
            look |= more
            if self._mapped.unseen:
                pids = ", ".join(map(str, sorted(self._mapped.unseen)))
                self.layers["mapped"] = (
                    f"not for {pids}, another user's: what they store through mappings is found "
                    "only if it moves a time stamp; run as root, or as that user"
                )
        look |= self._ask_trace()
        ranges, traced = self._take_ranges(look, final=final)
        return Found(
            scan,
            np.array(sorted(look), np.int64),
            ranges,
            frozenset(() if final else clean | traced),
            writes,
            time.perf_counter() - began,
        )

    def poll(self) -> int:
        """Ask the log alone; return how many writes and changes it has counted since `start`."""
        late, writes = self._ask_log()
        self._polled = (self._polled[0] | late, self._polled[1] + writes)
        return int(self._counts.sum())

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

    def _under_way_ns(self, final: bool) -> int:
        """Return how long a write may be under way that has moved the times already."""
        second_look = final and self._was_final  # whatever was under way had ended before the first
        self._was_final = final
        told = self._modified is not None and not self._modified.refused
        if second_look or (told and not any(map(writes_behind, self._processes))):
            return 0
        return UNDER_WAY_NS

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

    def _ask_fanotify(self, scan: Scan) -> set[int]:
        """Return files that were modified; listen to directories that are new."""
        if self._modified is None:
            return set()
        self._modified.unfollow({self._tree.entry(id).path for id in scan.vanished})
        self._modified.follow(sorted(self._tree.folders(scan.appeared)))
        inodes, overflowed = self._modified.drain()
        found = set(self._tree.find_inodes(inodes))
        if overflowed:
            since = self._started_ns - _BEFORE_NS
            found.update(self._tree.files_changed_since(since))
        return found

    def _ask_trace(self) -> set[int]:
        """Say which large files to follow; return those with pages that became dirty."""
        if self._tracing is None:
            return set()
        inode_of: dict[int, int] = {}
        for id in self._tree.large_files(LARGE_BYTES):
            inode = self._tree.entry(id).status.ino
            if inode not in inode_of.values() and is_traceable(self._tree.mount(id)):
                inode_of[id] = inode
        entries = [self._tree.entry(id) for id in inode_of]
        self._inode_of = inode_of
        self._tracing.follow(
            {entry.status.ino: (entry.path, entry.status.size) for entry in entries}
        )
        touched = self._tracing.drain()
        return {id for id, inode in inode_of.items() if inode in touched}

    def _take_ranges(self, look: set[int], *, final: bool) -> tuple[dict[int, Ranges], set[int]]:
        """Return where to look, and which files to clean before, so that events tell the rest."""
        if self._tracing is None:
            return {}, set()
        if not final:
            for id in self._uncleaned & self._inode_of.keys():
                self._tracing.distrust(self._inode_of[id])
            self._uncleaned.clear()
        traced = look & self._inode_of.keys()
        ranges: dict[int, Ranges] = {}
        for id in traced:
            size = self._tree.entry(id).status.size
            where = self._tracing.take(self._inode_of[id], size)
            if where is not None:
                ranges[id] = where
        if final:
            self._uncleaned |= traced
        return ranges, traced
