"""Files that are mapped shared and writable: stores into them need not show in any time stamp.

A store into a page that is dirty already moves nothing.  On the usual disks' file systems the file
is therefore cleaned before it is read, and the next store shows; elsewhere such a file is looked at
in every cycle.  Invariant: a file that was seen mapped counts as mapped until the end where it
cannot be cleaned.
"""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterable, Set
from pathlib import Path

from precopy.migration.source.tree import Tree

_SHARED_WRITABLE = re.compile(rb"^[0-9a-f]+-[0-9a-f]+ .w.s [0-9a-f]+ \S+ (\d+)", re.MULTILINE)
_OTHERS_SECONDS = 0.003
_ROUND_SECONDS = 1.0


def shared_writable(pid: int) -> set[int]:
    """Return the inodes that a process has mapped so that it stores into them.

    Raises
    ------
    OSError
        If the process is gone, or another user's.
    """
    text = Path(f"/proc/{pid}/maps").read_bytes()
    if b"w-s " not in text and b"wxs " not in text:
        return set()
    return {int(inode) for inode in _SHARED_WRITABLE.findall(text)}


def descendants(pids: Iterable[int]) -> set[int]:
    """Return the children of processes, their children and so on."""
    found: set[int] = set()
    waiting = list(pids)
    while waiting:
        parent = waiting.pop()
        for path in glob.glob(f"/proc/{parent}/task/*/children"):
            try:
                children = set(map(int, Path(path).read_bytes().split()))
            except OSError:
                continue
            waiting += children - found
            found |= children
    return found


def deleted_open(pid: int) -> list[bytes]:
    """Return the files that a process has open and that have no name any more.

    What cannot be seen is left out.
    """
    found: list[bytes] = []
    folder = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(folder)
    except OSError:
        return found
    for number in numbers:
        try:
            if os.stat(f"{folder}/{number}").st_nlink == 0:
                name = os.fsencode(os.readlink(f"{folder}/{number}"))
                if name.startswith(b"/") and not name.startswith((b"/memfd:", b"/SYSV")):
                    found.append(name.removesuffix(b" (deleted)"))
        except OSError:
            continue
    return found


def writes_behind(pid: int) -> bool:
    """Return whether a process can have writes under way that no call of it waits for (Linux AIO).

    Nobody tells when these end.
    """
    try:
        return b"/[aio]" in Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return False


class Mapped:
    """Which files of a tree are mapped, and what follows from it.

    Parameters
    ----------
    tree : Tree
    processes : iterable of int
        Those that move: they and their descendants are looked at in every cycle.  All others that
        may be seen come in turn, for 3 ms per cycle, and in every cycle once they were seen to have
        mapped a file.

    Attributes
    ----------
    unseen : set of int
        Those that move and may not be looked at: another user's.
    """

    def __init__(self, tree: Tree, processes: Iterable[int]) -> None:
        self._tree = tree
        self.processes = set(processes)
        self.unseen: set[int] = set()
        self._mappers: set[int] = set()
        self._others: list[int] = []
        self._asked_all_at = float("-inf")
        self._cleaned: set[int] = set()
        self._kept: set[int] = set()

    def cycle(self, changed: Set[int], *, final: bool) -> tuple[set[int], set[int]]:
        """Return which files to look at beside `changed`, and which to clean before.

        Parameters
        ----------
        changed : set of int
            Ids of the files that are looked at anyway.
        final : bool
            Whether nothing runs any more: then nothing has to be cleaned, and a file that was
            mapped since the last cycle has moved, unless its file system hides stores.
        """
        if final:
            self._cleaned -= changed
            return self._kept | self._hidden(), set()
        mapped = set(self._tree.find_inodes(self._inodes()))
        look, clean = set(), set()
        for id in mapped:
            if not self._tree.mount(id).shows_stores:
                self._kept.add(id)
            elif id in changed or id not in self._cleaned:
                look.add(id)
                clean.add(id)
        self._cleaned -= changed
        self._cleaned |= clean
        self._kept = {id for id in self._kept if self._tree.is_there(id)}
        return look | self._kept, clean

    def _hidden(self) -> set[int]:
        """Return all files where a mapping that came and went would have left no trace."""
        return set(self._tree.files_where(lambda mount: mount.hides_stores))

    def _inodes(self) -> set[int]:
        """Return what is mapped by those that move, and by as many others as there is time for."""
        inodes: set[int] = set()
        for pid in self.processes | self._mappers | descendants(self.processes):
            inodes |= self._of(pid)
        end = time.monotonic() + _OTHERS_SECONDS
        while time.monotonic() < end:
            if not self._others:
                if self._asked_all_at + _ROUND_SECONDS > time.monotonic():
                    break
                self._asked_all_at = time.monotonic()
                self._others = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
                continue
            inodes |= self._of(self._others.pop())
        return inodes

    def _of(self, pid: int) -> set[int]:
        try:
            found = shared_writable(pid)
        except OSError:
            found = set()
            if pid in self.processes and os.path.exists(f"/proc/{pid}"):
                self.unseen.add(pid)
        (self._mappers.add if found else self._mappers.discard)(pid)
        return found
