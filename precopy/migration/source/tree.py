"""What moves, as a tree of entries with ids, and what of it changed since the last look.

A scan takes the status of every entry once; a directory is read again only if it may have changed.
A status is taken *before* anybody reads the content, so whatever is written later shows in the next
one.  Invariant: "changed" only means "look"; that nothing is reported means that nothing happened,
up to stores through mappings and writes still under way, which `source.dirty` adds.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from precopy.migration.source import _source
from precopy.migration.source.entries import (
    KINDS,
    MOVED,
    STATUS,
    TYPE_MASK,
    Entry,
    Kind,
    Scan,
    Status,
    identity_of,
    is_same_file,
)
from precopy.migration.source.hardlinks import Identity
from precopy.migration.source.metadata import GONE
from precopy.migration.source.renames import Renaming
from precopy.migration.source.selection import Selection, why_special
from precopy.migration.source.table import Candidate, Table

__all__ = ["Entry", "Kind", "Scan", "Selection", "Status", "Tree"]

WRITE_RATE = 100_000_000
"""Bytes per second that a write is taken to have at least: the times move when it begins."""

UNDER_WAY_NS = 200_000_000
"""How long a writer may lose the processor between moving the times and moving the data."""


@dataclass(slots=True)
class _Draft:
    """A scan under way."""

    began_ns: int
    moved: dict[int, np.void] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    replaced: set[int] = field(default_factory=set)
    read: list[int] = field(default_factory=list)
    same: set[int] = field(default_factory=set)
    relinked: list[int] = field(default_factory=list)
    problems: list[tuple[bytes, str]] = field(default_factory=list)


class Tree(Table):
    """The entries of a selection, scanned again and again.

    Parameters
    ----------
    selection : Selection
        What moves.

    Attributes
    ----------
    under_way_ns : int
        How long a file counts as young beyond its time stamps' granularity, for a write call that
        has moved the times and not yet the data.  0 where somebody tells when writes end.

    Notes
    -----
    A name that the selection lists and that is gone is looked for in every scan; one that `add`
    brought in is looked for once.  A signature is trusted if its change time was older, when it was
    taken, than two changes with one time stamp can be apart: 10 ms on local disks, 2 s where whole
    seconds are kept (FAT, old inodes) and where another machine's clock counts; and than one write
    call as large as the file may take: 0.2 s, and 1 s per 100 MB but at most one.  Otherwise what
    was read then may lack a later write with the same signature, however late the next scan comes.
    A write call that takes longer is found by the layers of `precopy.migration.source.dirty`.

    A directory that was not there to be read, or one of whose names was not, is read again by the
    next scan: one above may have been renamed away and back, which moves no time stamp below it.
    """

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self.under_way_ns = UNDER_WAY_NS
        self._above = set(selection.above)
        self._whole = {*selection.roots, *selection.watched}
        self._named = {
            *selection.above,
            *selection.roots,
            *selection.directories,
            *selection.files,
            *selection.links,
            *selection.fifos,
        }
        self._missing = set(self._named)
        self._probes: set[bytes] = set()
        self._told: set[tuple[bytes, str]] = set()
        self._scanned_ns = 0
        self._unread: set[bytes] = set()
        self._unread_links: set[int] = set()
        self._is_root = os.geteuid() == 0

    def scan(self) -> Scan:
        """Take the status of every entry and say what is not as it was."""
        began = time.perf_counter()
        draft = _Draft(time.time_ns())
        self._take_statuses(draft)
        self._drop_below(draft)
        formerly = {path for id in draft.gone if (path := self._names[id]) is not None}
        for path in formerly:
            del self._ids[path]
            (self._missing if path in self._named else self._probes).add(path)
        for id, status in draft.moved.items():
            self._known[id] = status
        candidates = self._find_new(draft, formerly)
        renaming = self._rename(draft, candidates, formerly)
        appeared = [self._admit(c, draft) for c in candidates if c.path not in renaming.taken]
        self._missing.difference_update(candidate.path for candidate in candidates)
        vanished = self._bury(draft, renaming)
        heirs, relinked = self._update_links(draft, appeared, vanished, renaming.ids)
        relinked = list(dict.fromkeys([*relinked, *draft.relinked]))
        seen = {*draft.moved, *appeared, *renaming.ids}
        seen |= self._holders((*appeared, *vanished, *relinked, *renaming.ids))
        looked = np.array(sorted({self._links.first(id) for id in seen}), np.int64)
        really = {self._links.first(id) for id in seen if id not in draft.same}
        is_file = (self._known["mode"][looked] & TYPE_MASK) == stat.S_IFREG
        return Scan(
            looked[is_file],
            looked,
            np.array(sorted(really), np.int64),
            appeared,
            vanished,
            renaming.renames,
            heirs,
            relinked,
            draft.problems,
            time.perf_counter() - began,
            draft.began_ns,
        )

    def _holders(self, ids: Iterable[int]) -> set[int]:
        """Return the directories in which names are made or removed at the destination.

        That moves their times there, also where a scan saw the name before it saw the directory.
        """
        paths = {self._names[id] or self._gone[id] for id in ids}
        found = {self._ids.get(path[: path.rfind(b"/")]) for path in paths}
        return {id for id in found if id is not None and id in self._walked}

    # Statuses of what is known.

    def _take_statuses(self, draft: _Draft) -> None:
        count = len(self._names)
        known = self._known[:count]
        older_ns = self._scanned_ns - self._granularity_ns[:count]
        self._scanned_ns = draft.began_ns
        answer = _source.statuses(self._names, known, older_ns, self.under_way_ns, WRITE_RATE)
        moved = np.frombuffer(answer, MOVED)
        index, status = moved["index"], moved["status"]
        before = known[index]
        same = status == before
        absent = status["mode"] == 0
        unlike = (status["mode"] ^ before["mode"]) & TYPE_MASK != 0
        other = (status["ino"] != before["ino"]) | (status["dev"] != before["dev"])
        other |= status["birth_ns"] != before["birth_ns"]
        kinds = status["mode"] & TYPE_MASK
        for row in np.flatnonzero(absent):
            self._is_absent(draft, int(index[row]), -int(status["size"][row]))
        for row in np.flatnonzero(unlike & ~absent):
            draft.gone.add(int(index[row]))  # something else stands there
        stays = ~absent & ~unlike
        is_directory = kinds == stat.S_IFDIR
        rights = status["mode"] != before["mode"]
        rights |= (status["uid"] != before["uid"]) | (status["gid"] != before["gid"])
        for row in np.flatnonzero(stays):
            id = int(index[row])
            if not is_directory[row] or id in self._walked or rights[row]:
                draft.moved[id] = status[row]
                if same[row]:
                    draft.same.add(id)
            else:
                known[id] = status[row]  # somebody else's names come and go there
        draft.replaced.update(map(int, index[stays & other]))
        again = [self._ids[path] for path in self._unread if path in self._ids]
        to_read = dict.fromkeys([*map(int, index[stays & is_directory]), *again])
        draft.read += [id for id in to_read if id in self._walked]
        self._unread.clear()
        links = {*map(int, index[stays & (kinds == stat.S_IFLNK)]), *self._unread_links}
        self._unread_links.clear()
        for id in sorted(links - draft.gone):
            self._read_target(draft, id)
        for id in self._granularity.unsettled(draft.moved):
            if self._names[id] is not None and id not in draft.gone and id not in draft.moved:
                draft.moved[id] = known[id].copy()
                draft.same.add(id)

    def _is_absent(self, draft: _Draft, id: int, number: int) -> None:
        path = self._names[id]
        assert path is not None
        if number in GONE:
            draft.gone.add(id)
        else:
            self._tell(draft, path, f"its status cannot be read: {os.strerror(number)}")

    def _drop_below(self, draft: _Draft) -> None:
        """Let everything below a directory that is gone be gone: it was renamed in mid-scan."""
        tops = [path + b"/" for id in draft.gone if self._is_dir(id) and (path := self._names[id])]
        if tops:
            below = tuple(tops)
            draft.gone.update(id for path, id in self._ids.items() if path.startswith(below))
        for id in draft.gone:
            draft.moved.pop(id, None)
            draft.replaced.discard(id)
        draft.read = [id for id in draft.read if id not in draft.gone]
        draft.relinked = [id for id in draft.relinked if id not in draft.gone]

    def _is_dir(self, id: int) -> bool:
        return stat.S_ISDIR(int(self._known["mode"][id]))

    def _read_target(self, draft: _Draft, id: int) -> None:
        path = self._names[id]
        if path is None:
            return
        try:
            target = os.readlink(path)
        except OSError:
            self._unread_links.add(id)  # what became of it need not show in the next scan
            return
        if target != self._targets.get(id):
            self._targets[id] = target
            draft.relinked.append(id)

    def _tell(self, draft: _Draft, path: bytes, why: str) -> None:
        if (path, why) not in self._told:
            self._told.add((path, why))
            draft.problems.append((path, why))

    # Names that are new.

    def _find_new(self, draft: _Draft, formerly: set[bytes]) -> list[Candidate]:
        """Return what stands in directories that changed, and at paths to be looked for."""
        found: list[Candidate] = []
        paths = sorted(path for path in (*self._missing, *self._probes) if path not in self._ids)
        self._probes.clear()
        if not paths and not draft.read:
            return found
        walked: set[bytes] = set()  # of those that are new
        seen = set(paths)
        directories = [
            (path, self._known[id]) for id in draft.read if (path := self._names[id]) is not None
        ]
        while paths or directories:
            for path, status in directories:
                above = path.rstrip(b"/") + b"/"
                names = [above + name for name in self._list(draft, path, status)]
                new = [at for at in names if at not in self._ids and at not in seen]
                seen.update(new)
                paths += new
            directories = []
            for candidate in self._look_up(draft, paths, walked):
                found.append(candidate)
                if candidate.walked:
                    walked.add(candidate.path)
                    directories.append((candidate.path, candidate.status))
            paths = []
        found.sort(key=lambda candidate: candidate.path)
        return found

    def _list(self, draft: _Draft, path: bytes, status: np.void) -> list[bytes]:
        try:
            return _list_quietly(path, int(status["dev"]), int(status["ino"]))
        except OSError as error:
            if error.errno in GONE:
                self._unread.add(path)
            else:
                self._tell(draft, path, f"the directory cannot be read: {error.strerror}")
            return []

    def _look_up(
        self, draft: _Draft, paths: list[bytes], walked: set[bytes]
    ) -> Iterator[Candidate]:
        names: list[bytes | None] = [*paths]
        answer = _source.statuses(names, np.zeros(len(names), STATUS), None, 0, 0)
        folders: set[bytes] = set()
        for index, status in np.frombuffer(answer, MOVED):
            path, mode = paths[index], int(status["mode"])
            if not self._stands_in_a_directory(path, walked, folders):
                continue  # its name leads through a link by now
            kind = KINDS.get(stat.S_IFMT(mode))
            if mode == 0:
                number = -int(status["size"])
                if number not in GONE:
                    self._tell(draft, path, f"its status cannot be read: {os.strerror(number)}")
                elif path not in self._missing:
                    self._unread.add(os.path.dirname(path))
            elif kind is None:
                self._tell(draft, path, why_special(mode))
            elif kind == "directory":
                above = os.path.dirname(path)
                inside = above in walked or self._ids.get(above) in self._walked
                inside |= path in self._whole
                why = self._why_not_walked(path, status) if inside else ""
                if why:
                    self._tell(draft, path, why)
                folders.add(path)
                yield Candidate(path, status, kind, inside and not why)
            elif kind == "link":
                target = _target(path)
                if target is not None:  # else it has gone meanwhile, and its directory has moved
                    yield Candidate(path, status, kind, target=target)
            else:
                yield Candidate(path, status, kind)

    def _stands_in_a_directory(self, path: bytes, *found: set[bytes]) -> bool:
        above = path[: path.rfind(b"/")] or b"/"
        id = self._ids.get(above)
        if id is not None:
            return self._is_dir(id)
        return above == b"/" or any(above in paths for paths in found)

    def _why_not_walked(self, path: bytes, status: np.void) -> str:
        above = self._ids.get(os.path.dirname(path))
        if above is not None and self._known["dev"][above] == status["dev"]:
            return ""
        kind = self._granularity.kernel_view(path, int(status["dev"]))
        if kind:
            return f"a {kind} file system is mounted there: it is the kernel's and no data"
        return ""

    def _admit(self, candidate: Candidate, draft: _Draft) -> int:
        """Make an entry of something new."""
        id = self._append(candidate)
        is_file = candidate.kind == "file"
        if is_file and not self._is_root and not os.access(candidate.path, os.R_OK):
            why = "it may not be read: run as root, or as a user who may"
            self._tell(draft, candidate.path, why)
        return id

    # Names that moved or went.

    def _rename(self, draft: _Draft, candidates: list[Candidate], formerly: set[bytes]) -> Renaming:
        renaming = Renaming(
            {id: path for id in draft.gone if (path := self._names[id]) is not None}
        )
        if not draft.gone or not candidates:
            return renaming
        by_identity: dict[tuple[Identity, int], list[int]] = {}
        for id in sorted(draft.gone):
            by_identity.setdefault(identity_of(self._known[id]), []).append(id)
        free = [c for c in candidates if c.path not in formerly]
        free.sort(key=lambda c: (c.kind != "directory", c.path.count(b"/"), c.path))
        for candidate in free:
            ids = by_identity.get(identity_of(candidate.status), [])
            found = renaming.choose(ids, candidate.path)
            parent = os.path.dirname(candidate.path)
            if found is None or (parent not in self._ids and parent != b"/"):
                continue
            if not is_same_file(self._known[found], candidate.status):
                continue
            ids.remove(found)
            renaming.take(found, candidate.path, is_directory=candidate.kind == "directory")
            draft.gone.discard(found)
            self._place(found, candidate)
        return renaming

    def _bury(self, draft: _Draft, renaming: Renaming) -> list[int]:
        """Note that entries are gone; return their ids, children first."""
        for id in draft.gone:
            self._gone[id] = renaming.current[id]
            self._names[id] = None
            self._walked.discard(id)
        return sorted(draft.gone, key=lambda id: self._gone[id], reverse=True)

    def _update_links(
        self, draft: _Draft, appeared: list[int], vanished: list[int], renamed: list[int]
    ) -> tuple[list[tuple[int, int]], list[int]]:
        now: dict[int, Identity | None] = {id: None for id in vanished if self._links.has(id)}
        for id in (*draft.moved, *appeared, *renamed):
            status = self._known[id]
            several = not stat.S_ISDIR(int(status["mode"])) and int(status["nlink"]) > 1
            if several or self._links.has(id):  # the last one left may have inherited
                now[id] = identity_of(status)[0]
        if not now:
            return [], []
        return self._links.update(now, draft.replaced, set(appeared))

    def add(self, path: bytes) -> bool:
        """Take in one more path, such as one that a log reported; the next scan looks at it.

        Returns
        -------
        bool
            False if it is known already.
        """
        if path in self._ids:
            return False
        self._probes.add(path)
        parent = os.path.dirname(path)
        while parent != b"/":
            if parent not in self._ids and parent not in self._named:
                self._named.add(parent)
                self._above.add(parent)
                self._missing.add(parent)
            parent = os.path.dirname(parent)
        return True


def _target(path: bytes) -> bytes | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _list_quietly(path: bytes, dev: int, ino: int) -> list[bytes]:
    """Return the names in a directory without moving its access time.

    Raises
    ------
    FileNotFoundError
        If it is gone, or another one stands there.
    OSError
        If it cannot be read.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        fd = os.open(path, flags)
    try:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != (dev, ino):
            raise FileNotFoundError(errno.ENOENT, "another directory stands there", path)
        # Encoded all at once: one by one takes longer than reading them.
        names = os.listdir(fd)
        return os.fsencode("\0".join(names)).split(b"\0") if names else []
    finally:
        os.close(fd)
