"""What is to move: checked paths, and what does not move, each with its reason.

Invariants: nothing is left out silently; no path has a link on the way, and links that given
paths pass through move as links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from precopy._text import printable
from precopy.access import targets
from precopy.migration.source.mounts import KERNEL, Mounts

if TYPE_CHECKING:
    from precopy.access import Identification

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
LeftOut = list[tuple[bytes, str]]

_MOST_LINKS = 40  # as the kernel has it
_EVERYBODYS = stat.S_IWOTH | stat.S_ISVTX

IS_GONE = "it is gone; nothing to do, if it was a temporary file"
IS_SOCKET = "a socket: what listens there makes it anew when it is started"
IS_DEVICE = "a device: make it at the destination, if it has such a one"


@dataclass(frozen=True)
class Selection:
    """Paths that move.

    Attributes
    ----------
    roots : tuple of bytes
        Directories that move with everything below them, also what will appear there.
    files, links, directories, fifos : tuple of bytes
        What moves outside of the roots.  Directories are made with their attributes; what is in
        them is listed here itself, or stays.
    watched : frozenset of bytes
        Those directories all of whose entries move: what appears there moves, too.  Not those that
        everybody may write into, nor those that hold nothing but directories.
    above : frozenset of bytes
        Directories that are there only because something below them moves.
    left_out : list of (bytes, str)
        What does not move, and why.
    unwatched : list of bytes
        Directories with moving files and others: what appears there is known only from a log that
        grows.
    """

    roots: tuple[bytes, ...] = ()
    files: tuple[bytes, ...] = ()
    links: tuple[bytes, ...] = ()
    directories: tuple[bytes, ...] = ()
    fifos: tuple[bytes, ...] = ()
    watched: frozenset[bytes] = frozenset()
    above: frozenset[bytes] = frozenset()
    left_out: LeftOut = field(default_factory=list)
    unwatched: list[bytes] = field(default_factory=list)

    @classmethod
    def from_identification(
        cls, identification: Identification, programs: bool = False
    ) -> Selection:
        """Return what an identification says has to move.

        Parameters
        ----------
        identification : Identification
        programs : bool
            Whether programs and interpreters move as well.
        """
        sorter = _Sorter([os.fsencode(root) for root in identification.roots])
        named = [*identification.files, *identification.links, *identification.directories]
        for path in (*named, *(identification.programs if programs else ())):
            sorter.add(os.fsencode(path))
        used: set[bytes] = set()
        for paths in identification.uses().values():
            used.update(os.fsencode(path) for path, verb in paths.items() if verb != "is in")
        return sorter.selection(used)

    @classmethod
    def from_paths(cls, paths: Iterable[Path]) -> Selection:
        """Return files, and directories with everything below them.

        A path that is a link, or passes through links, brings in these links and what they lead to.

        Raises
        ------
        FileNotFoundError
            If paths are missing; all of them are named.
        ValueError
            If a path cannot move, or there is none.
        """
        if isinstance(paths, (str, bytes, os.PathLike)):
            paths = [paths]
        given = [os.path.join(os.getcwdb(), os.fsencode(path)) for path in paths]
        if not given:
            raise ValueError("paths: got none, expected files or directories")
        missing = [path for path in given if not os.path.lexists(path)]
        if missing:
            names = ", ".join(f"'{printable(path)}'" for path in missing)
            raise FileNotFoundError(errno.ENOENT, f"paths: there is no {names}")
        roots: list[bytes] = []
        others: list[bytes] = []
        mounts = Mounts.read()
        for path in given:
            links, real = follow(path)
            others += links
            if not os.path.lexists(real):
                continue  # a link that leads nowhere moves as it is
            refused = _why_not(real, mounts)
            if refused:
                raise ValueError(f"paths: '{printable(path)}' cannot move: {refused}")
            (roots if os.path.isdir(real) else others).append(real)
        sorter = _Sorter(roots)
        for path in others:
            sorter.add(path)
        return sorter.selection(set())

    def refuse_target(self, target: Path) -> None:
        """Raise ValueError if a directory of this machine cannot be where this moves to.

        It must not lie inside of what moves, and what moves must not arrive where it is.
        """
        real = os.path.realpath(os.fsencode(target))
        inside = {_identity(path): path for path in (*self.roots, *self.watched)}
        above = real
        while True:
            path = inside.get(_identity(above))
            if path is not None and _identity(above) is not None:
                raise ValueError(
                    f"to: '{printable(os.fsencode(target))}' lies inside of "
                    f"'{printable(path)}', which moves; expected a directory outside of it"
                )
            if above == b"/":
                break
            above = os.path.dirname(above)
        for path in (*self.roots, *self.files, *self.links, *self.fifos):
            arrives = real.rstrip(b"/") + path
            if _identity(arrives) is not None and _identity(arrives) == _identity(path):
                raise ValueError(
                    f"to: '{printable(path)}' would arrive where it is; expected another directory"
                )


class _Sorter:
    """Sorts paths by what stands there now."""

    def __init__(self, roots: Iterable[bytes]) -> None:
        self.roots = tuple(sorted(targets.outermost(roots)))
        self._all: set[bytes] = set()
        self._by_kind: dict[int, list[bytes]] = {
            kind: [] for kind in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO)
        }
        self.left_out: LeftOut = []

    def add(self, path: bytes) -> None:
        """Take in a path, unless a root brings it in."""
        if path in self._all or any(is_at_or_below(path, root) for root in self.roots):
            return
        self._all.add(path)
        try:
            mode = os.lstat(path).st_mode
        except OSError as error:
            why = IS_GONE if error.errno == errno.ENOENT else (error.strerror or "")
            self.left_out.append((path, why))
            return
        listed = self._by_kind.get(stat.S_IFMT(mode))
        if listed is not None:
            listed.append(path)
        else:
            self.left_out.append((path, why_special(mode)))

    def selection(self, used: set[bytes]) -> Selection:
        """Return everything; `used` are the directories that an application itself used."""
        files, links, directories, fifos = (tuple(sorted(p)) for p in self._by_kind.values())
        everything = {*self.roots, *files, *links, *directories, *fifos}
        above = targets.above(everything) - everything - {b"/"}
        inner = {os.path.dirname(path) for path in (*files, *links, *fifos)}
        watched = frozenset(
            directory
            for directory in directories
            if (directory in inner or directory in used) and _is_whole(directory, everything)
        )
        return Selection(
            self.roots,
            files,
            links,
            directories,
            fifos,
            watched,
            frozenset(above),
            self.left_out,
            sorted(inner - watched),
        )


def follow(path: bytes) -> tuple[list[bytes], bytes]:
    """Return the links that a path passes through, itself included, and where it leads.

    What is missing, or lies behind too many links, is left as it is spelled.
    """
    links: list[bytes] = []
    real, rest, hops = b"/", _components(path), 0
    while rest:
        name = rest.pop(0)
        if name == b"..":
            real = os.path.dirname(real)
            continue
        at = os.path.join(real, name)
        try:
            target = os.readlink(at)
        except OSError:
            real = at
            continue
        hops += 1
        if hops > _MOST_LINKS:
            return links, os.path.join(at, *rest)
        if at not in links:
            links.append(at)
        rest = _components(target) + rest
        real = b"/" if target.startswith(b"/") else real
    return links, real


def why_special(mode: int) -> str:
    """Return why something that is no file, directory, link or FIFO does not move."""
    return IS_SOCKET if stat.S_ISSOCK(mode) else IS_DEVICE


def is_at_or_below(path: bytes, directory: bytes) -> bool:
    """Return whether a path is a directory or lies in it, going by names."""
    return path == directory or targets.is_below(path, directory)


def _components(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".")]


def _why_not(path: bytes, mounts: Mounts) -> str:
    mode = os.lstat(path).st_mode
    if path == b"/":
        return "it is the whole machine; name the directories that hold the data"
    if mounts.of(path).kind in KERNEL:
        return f"it is the kernel's ({mounts.of(path).kind}) and no data"
    if stat.S_IFMT(mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFLNK):
        return ""
    return why_special(mode)


def _is_whole(directory: bytes, moving: set[bytes]) -> bool:
    """Return whether all that is in a directory moves, and nobody else may put anything there."""
    try:
        if os.lstat(directory).st_mode & _EVERYBODYS:
            return False
        return all(os.path.join(directory, name) in moving for name in os.listdir(directory))
    except OSError:
        return False


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
