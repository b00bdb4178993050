"""What an identification starts from: names of applications, paths, whole directories."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from precopy._text import hint, printable
from precopy.access.graph import APPLICATION, FILE, Graph, Node

Target = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def checked_roots(roots: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return directories of which everything moves, resolved and sorted."""
    if isinstance(roots, str | os.PathLike):
        raise TypeError(f"roots: got {roots!r}, expected a list of directories")
    tops = []
    for root in roots:
        path = os.path.realpath(root)
        if not os.path.isdir(path):
            raise NotADirectoryError(f"roots: '{printable(root)}' is not a directory")
        if path == "/":
            raise ValueError("roots: got '/', expected a directory of the application's")
        tops.append(path)
    return sorted(set(tops))


def is_below(path: bytes, directory: bytes) -> bool:
    """Return whether a path lies below a directory."""
    return path.startswith(directory.rstrip(b"/") + b"/")


def outermost(directories: Iterable[bytes]) -> list[bytes]:
    """Return those directories that are below no other one of them."""
    outermost: list[bytes] = []
    for directory in sorted(set(directories), key=lambda name: name.rstrip(b"/") + b"/"):
        if not (outermost and is_below(directory, outermost[-1])):
            outermost.append(directory)
    return outermost


def above(names: Iterable[bytes]) -> set[bytes]:
    """Return paths and all directories above them."""
    known = {b"/"}
    for name in names:
        while name not in known:
            known.add(name)
            name = os.path.dirname(name)
    return known


def target_list(targets: Target | Iterable[Target]) -> Sequence[Target]:
    """Return one target or several as a list."""
    wanted = [targets] if isinstance(targets, str | bytes | os.PathLike) else list(targets)
    if not wanted:
        raise ValueError("targets: got none, expected at least one application or path")
    for target in wanted:
        if not isinstance(target, str | bytes | os.PathLike):
            raise TypeError(f"targets: got {target!r}, expected the name of an application or path")
    return wanted


def candidates(target: Target) -> list[bytes]:
    """Return the absolute paths a target may mean: as written, and with symbolic links resolved."""
    path = os.fsencode(target)
    return [os.path.abspath(path), os.path.realpath(path)] if path else []


def starts_of(graph: Graph, target: Target) -> list[Node]:
    """Return the application, the file, or the files below the directory that a target names."""
    if isinstance(target, str) and target in graph.names:
        return [(APPLICATION, graph.names.index(target))]
    for path in candidates(target):
        below = path.rstrip(b"/") + b"/"
        found: list[Node] = [
            (FILE, index)
            for index, name in enumerate(graph.paths)
            if name == path or name.startswith(below)
        ]
        if found:
            return found
    raise ValueError(
        f"targets: '{printable(target)}' is neither an application nor a path in the log"
        f"{hint(printable(target), graph.names)}"
    )
