"""What is to move: checked paths, and what does not move, each with its reason.

Invariant: nothing is left out silently.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from precopy.access import Identification

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


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
        Those directories all of whose entries move: what appears there moves, too.
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
    left_out: list[tuple[bytes, str]] = field(default_factory=list)
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
        raise NotImplementedError

    @classmethod
    def from_paths(cls, paths: Iterable[Path]) -> Selection:
        """Return files, and directories with everything below them.

        Raises
        ------
        FileNotFoundError, ValueError
            If a path is missing, or cannot move; all of them are named.
        """
        raise NotImplementedError

    def refuse_target(self, target: Path) -> None:
        """Raise ValueError if a directory of this machine cannot be where this moves to.

        It must not lie inside of what moves, and what moves must not arrive where it is.
        """
        raise NotImplementedError
