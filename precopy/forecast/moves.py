"""What would move, as a recording: an identification's applications, and their unopened files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from precopy._check import bytes_text
from precopy._text import printable
from precopy.access.identify import Identification
from precopy.access.log import AccessLog
from precopy.files import FileSet
from precopy.migration.source.selection import Selection
from precopy.migration.source.tree import Tree
from precopy.recorded import Recorded
from precopy.replay import Replay

_CHANGED = 0.1


@dataclass(frozen=True)
class Moves:
    """What moves, and what was recorded of it.

    Attributes
    ----------
    app : Recorded
        With all files that move, also those that the recording does not know.
    applications : list of str
    complete : bool
        Whether the log misses nothing, as far as it knows.
    """

    app: Recorded
    applications: list[str]
    complete: bool


def moves(
    log: AccessLog,
    what: Identification,
    *,
    since: str | float | None = None,
    sizes: Mapping[bytes, int] | None = None,
) -> Moves:
    """Return what moves with an identification.

    Parameters
    ----------
    log : AccessLog
        What `what` was identified from.
    what : Identification
    since : str or float, optional
        As for `AccessLog.recorded`.
    sizes : mapping of bytes to int, optional
        The files that move by path, with their sizes now; by default they are looked for.
    """
    app = log.recorded(what.applications, roots=what.roots, exclude=what.exclude, since=since)
    here = _sizes(what) if sizes is None else sizes
    name = ", ".join(printable(each) for each in what.targets)
    return Moves(with_files(app, here, name), what.applications, what.complete)


def _sizes(what: Identification) -> dict[bytes, int]:
    tree = Tree(Selection.from_identification(what))
    tree.scan()
    entries = (each for each in tree.entries() if each.kind == "file" and each.same_as is None)
    return {each.path: each.status.size for each in entries}


def with_files(app: Recorded, sizes: Mapping[bytes, int], name: str | None = None) -> Recorded:
    """Return a recording with more files, which are only read.

    Parameters
    ----------
    app : Recorded
        With paths.
    sizes : mapping of bytes to int
        Files that move, by path, with their sizes now.
    name : str, optional
        Another name for it.

    Examples
    --------
    >>> import precopy
    >>> files = precopy.FileSet([100], path=["/srv/a"])
    >>> writes = precopy.WriteTrace([0], time_ns=[0], size_bytes=[100], duration_ns=10**9)
    >>> with_files(precopy.Recorded("editor", files, writes), {b"/srv/a": 100, b"/srv/b": 50})
    <Recorded editor: 2 files, 2 at the beginning (150 B); 1 updates of 1 files in 1 s, 1 rows>
    """
    files, writes = app.files, app.writes
    paths = [] if files.path is None else list(files.path)
    known = {os.fsencode(path) for path in paths}
    notes = [*app.notes]
    if paths and not known & set(sizes):
        notes.append("its files are not on this machine: what moves is what was recorded")
        sizes = {}
    more = sorted(path for path in sizes if path not in known)
    there = _end_bytes(app)
    now = sum(size for path, size in sizes.items() if path in known)
    if sizes and abs(now - there) > _CHANGED * max(now, 1):
        notes.append(
            f"the recorded files had {bytes_text(there)} at the recording's end and have "
            f"{bytes_text(now)} now; the forecast is for what was recorded"
        )
    grown = FileSet(
        np.concatenate([files.size_bytes, np.array([sizes[path] for path in more], np.int64)]),
        np.concatenate([files.read_only, np.ones(len(more), np.bool_)]),
        [*paths, *map(os.fsdecode, more)] if files.path is not None else None,
    )
    present = np.concatenate([app.present, np.ones(len(more), np.bool_)])
    trace = writes.replace(present=present)
    return Recorded(app.name if name is None else name, grown, trace, notes)


def _end_bytes(app: Recorded) -> int:
    return Replay.of(app.files, app.writes).total_bytes(app.writes.duration_ns)
