"""The entries of a tree as columns, by id, and what may be asked about them.

Memory per entry: 64 bytes of status, and what Python takes for the path, its place in a dictionary
and in a list: about 220 bytes and the path itself (`benchmarks/bench_migrate_scale.py`).
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precopy.migration.source.entries import KINDS, STATUS, TYPE_MASK, Entry, Kind, Status
from precopy.migration.source.granularity import Granularity
from precopy.migration.source.hardlinks import Names
from precopy.migration.source.mounts import Mount


@dataclass(slots=True)
class Candidate:
    """A name that was found and is not an entry yet."""

    path: bytes
    status: np.void
    kind: Kind
    walked: bool = False
    target: bytes | None = None


class Table:
    """Entries by id; those that are gone keep their row."""

    def __init__(self) -> None:
        self._names: list[bytes | None] = []
        self._gone: dict[int, bytes] = {}
        self._known = np.zeros(64, STATUS)
        self._granularity_ns = np.zeros(64, np.int64)
        self._ids: dict[bytes, int] = {}
        self._targets: dict[int, bytes] = {}
        self._walked: set[int] = set()
        self._above: set[bytes] = set()
        self._links = Names()
        self._granularity = Granularity()

    def _append(self, candidate: Candidate) -> int:
        """Make an entry; return its id."""
        id = len(self._names)
        if id == len(self._known):
            self._known = np.concatenate((self._known, np.zeros(id, STATUS)))
            self._granularity_ns = np.concatenate((self._granularity_ns, np.zeros(id, np.int64)))
        self._names.append(None)
        self._place(id, candidate)
        return id

    def _place(self, id: int, candidate: Candidate) -> None:
        self._names[id] = candidate.path
        self._ids[candidate.path] = id
        self._known[id] = candidate.status
        dev, ctime_ns = int(candidate.status["dev"]), int(candidate.status["ctime_ns"])
        if self._granularity.learn(candidate.path, dev, ctime_ns):
            self._granularity_ns[self._known["dev"] == dev] = self._granularity.of(dev)
        self._granularity_ns[id] = self._granularity.of(dev)
        if candidate.walked:
            self._walked.add(id)
        if candidate.target is not None:
            self._targets[id] = candidate.target

    def __len__(self) -> int:
        """Return how many ids have been given, those of entries that are gone included."""
        return len(self._names)

    def entry(self, id: int) -> Entry:
        """Return an entry as the last scan saw it, or as it was before it went."""
        path = self._names[id]
        if path is None:
            path = self._gone[id]
        status = self._known[id]
        first = self._links.first(id)
        return Entry(
            id,
            path,
            KINDS[stat.S_IFMT(int(status["mode"]))],
            Status(*status.tolist()),
            None if first == id else first,
            path in self._above,
            self._targets.get(id),
        )

    def is_there(self, id: int) -> bool:
        """Return whether an entry was there at the last scan."""
        return self._names[id] is not None

    def find(self, path: bytes) -> Entry | None:
        """Return the entry that stands at a path now."""
        id = self._ids.get(path)
        return None if id is None else self.entry(id)

    def find_inodes(self, inodes: Iterable[int]) -> list[int]:
        """Return the ids of files with one of these inodes, first names only.

        Of any device: what /proc and tracepoints call one is not always what a status says.
        """
        wanted = np.array(list(inodes), np.uint64)
        known = self._known[: len(self._names)]
        return self._first_names(np.isin(known["ino"], wanted) & self._are_files())

    def files_where(self, holds: Callable[[Mount], bool]) -> list[int]:
        """Return the ids of all files on file systems of a kind, first names only."""
        known = self._known[: len(self._names)]
        devices, first = np.unique(known["dev"], return_index=True)
        chosen = [dev for dev, id in zip(devices, first, strict=True) if holds(self.mount(int(id)))]
        if not chosen:
            return []
        return self._first_names(np.isin(known["dev"], chosen) & self._are_files())

    def _are_files(self) -> NDArray[np.bool_]:
        mode = self._known["mode"][: len(self._names)]
        return np.asarray((mode & TYPE_MASK) == stat.S_IFREG)

    def _first_names(self, hits: NDArray[np.bool_]) -> list[int]:
        ids = map(int, np.flatnonzero(hits))
        return sorted({self._links.first(id) for id in ids if self._names[id] is not None})

    def mount(self, id: int) -> Mount:
        """Return the file system that an entry lies on."""
        return self._granularity.mount(self.entry(id).path)

    def entries(self) -> Iterator[Entry]:
        """Yield all entries that are there, parents first."""
        for path in sorted(self._ids):
            yield self.entry(self._ids[path])

    def files(self) -> Iterator[Entry]:
        """Yield the files, one name of each."""
        for entry in self.entries():
            if entry.kind == "file" and entry.same_as is None:
                yield entry

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.status.size for entry in self.files())

    def counts_by_kind(self) -> dict[Kind, int]:
        """Return how many entries there are of each kind; every name of a file counts."""
        counts: dict[Kind, int] = {"file": 0, "directory": 0, "link": 0, "fifo": 0}
        for entry in self.entries():
            counts[entry.kind] += 1
        return counts

    def names(self, id: int) -> list[int]:
        """Return the ids of all names of a file, its first one first."""
        return self._links.all(id)

    def large_files(self, least_bytes: int) -> list[int]:
        """Return the ids of files of a size or more, the largest ones first, first names only."""
        known = self._known[: len(self._names)]
        ids = self._first_names((known["size"] >= least_bytes) & self._are_files())
        return sorted(ids, key=lambda id: (-int(known["size"][id]), id))

    def files_changed_since(self, ctime_ns: int) -> list[int]:
        """Return the ids of files whose change time is not older, first names only."""
        known = self._known[: len(self._names)]
        return self._first_names((known["ctime_ns"] >= ctime_ns) & self._are_files())

    def folders(self, ids: Iterable[int]) -> set[bytes]:
        """Return the directories that hold these files."""
        names = [self._names[id] for id in ids]
        return {path[: path.rfind(b"/")] or b"/" for path in names if path is not None}
