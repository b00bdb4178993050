"""Who uses what: the access log as a graph of applications and files.

Invariant: nodes are applications and regular files alone.  Directories and links are kept beside
the graph, per application, since they tie nobody together; so what they are can never bring in an
application.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from precopy.access.exclude import Excluded
from precopy.access.log import AccessLog
from precopy.access.tracking.wire import LISTED, LOADED, LOOKED, READ, WRITE

Link = tuple[int, int]
"""``(index at the other end, READ | WRITE)``; or LOADED or LOOKED alone; 0: opened, no more."""

Other = tuple[bytes, str, int]
"""A directory or a link: ``(path, kind, how)``, `how` a sum of bits of the wire."""

APPLICATION: Literal["application"] = "application"
FILE: Literal["file"] = "file"
ROOT: Literal["root"] = "root"
Node = tuple[Literal["application", "file", "root"], int]
"""An application or a file of a `Graph`, by index; or a directory that moves as a whole."""


@dataclass(frozen=True)
class Graph:
    """The access log without its counts and without excluded files.

    Attributes
    ----------
    names : list of str
        Applications.
    paths : list of bytes
        Files.
    uses : list of list of (int, int)
        Per application: the files it uses and how.
    users : list of list of (int, int)
        Per file: the applications that use it and how.
    same : list of list of int
        Per file: its other names, as further files (hard links, bind mounts).
    others : list of list of (bytes, str, int)
        Per application: the directories and links it uses and how.
    """

    names: list[str]
    paths: list[bytes]
    uses: list[list[Link]]
    users: list[list[Link]]
    same: list[list[int]]
    others: list[list[Other]]

    @classmethod
    def load(cls, log: AccessLog, excluded: Excluded) -> Graph:
        """Read the graph from a log, without the excluded files."""
        with log.snapshot():
            names = log.names()
            entries = [entry for entry in log.entries() if entry[1] not in excluded]
            other = {
                number: (path, now)
                for number, path, kind, _ in entries
                if kind != "file" and (now := kind_now(path, kind)) != "file"
            }
            files = [entry for entry in entries if entry[0] not in other]
            application = {number: index for index, number in enumerate(names)}
            file = {number: index for index, (number, *_) in enumerate(files)}
            paths = [path for _, path, _, _ in files]
            graph = cls(
                list(names.values()), paths, [[] for _ in names], [[] for _ in paths],
                _same_files(paths, [identity for *_, identity in files]), [[] for _ in names],
            )  # fmt: skip
            for application_id, file_id, use in log.pairs():
                a = application.get(application_id)
                if a is None:
                    continue
                if file_id in file:
                    graph.uses[a].append((file[file_id], _how(use)))
                    graph.users[file[file_id]].append((a, _how(use)))
                elif file_id in other:
                    graph.others[a].append((*other[file_id], use))
        return graph

    @cached_property
    def _written(self) -> list[bool]:
        alone = [any(how & WRITE for _, how in users) for users in self.users]
        return [alone[f] or any(alone[g] for g in same) for f, same in enumerate(self.same)]

    def written(self, file: int) -> bool:
        """Return whether any application writes this file, under whatever name."""
        return self._written[file]

    def ties(self, file: int, how: int, is_target: bool = False) -> bool:
        """Return whether a use connects: looking never, loading what is written or asked for."""
        return how != LOOKED and (how != LOADED or is_target or self.written(file))


def _how(use: int) -> int:
    if use & LOADED and not use & WRITE:
        return LOADED
    if use & (READ | WRITE):
        return use & (READ | WRITE)
    return LOOKED if use & (LOOKED | LISTED) else 0


def kind_now(path: bytes, kind: str) -> str:
    """Return what a path stands for now: file, directory, link; or `kind` if it is gone."""
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return kind
    return "directory" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"


def _same_files(paths: list[bytes], identities: list[int]) -> list[list[int]]:
    """Return for each file those that are the same file under another name."""
    alike: dict[int, list[int]] = defaultdict(list)
    for file, identity in enumerate(identities):
        if identity != 0:
            alike[identity].append(file)
    same: list[list[int]] = [[] for _ in paths]
    for files in alike.values():
        if len(files) > 1:
            for group in _confirmed(paths, files):
                for file in group:
                    same[file] = [other for other in group if other != file]
    return same


def _confirmed(paths: list[bytes], files: list[int]) -> Iterable[list[int]]:
    """Split files of one identity where it proves nothing, since it may be an inode used again.

    An inode and its birth are one file.  Without a birth, names must be of one file now.
    """
    if all(_tells_birth(paths[file]) for file in files):
        return [files]
    now: dict[tuple[int, int], list[int]] = defaultdict(list)
    for file in files:
        try:
            status = os.lstat(paths[file])
        except (OSError, ValueError):
            continue
        now[status.st_dev, status.st_ino].append(file)
    return now.values()


_STATX_BTIME = 0x800
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW = -100, 0x100
_births: dict[int, bool] = {}


def _tells_birth(path: bytes) -> bool:
    """Return whether the file system of a path, or of the directory above it, keeps births."""
    while path:
        try:
            device = os.lstat(path).st_dev
        except (OSError, ValueError):
            path = b"" if path == b"/" else os.path.dirname(path)
            continue
        if device not in _births:
            _births[device] = _has_birth(path)
        return _births[device]
    return False


def _has_birth(path: bytes) -> bool:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "statx"):
        return False
    found = ctypes.create_string_buffer(512)
    failed = libc.statx(_AT_FDCWD, path, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, found)
    return failed == 0 and bool(int.from_bytes(found.raw[:4], sys.byteorder) & _STATX_BTIME)
