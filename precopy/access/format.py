"""An identification as text: a table for people, JSON and paths for programs.

Invariant: every form can hold every file name.  The table escapes what a terminal would
interpret; JSON writes bytes that are not UTF-8 as lone surrogates (``os.fsencode`` undoes that
after ``json.loads``); paths are raw bytes, and a name with a newline needs the NUL form.
"""

from __future__ import annotations

import json
import os
from typing import Any

from precopy._text import printable
from precopy.access.graph import APPLICATION
from precopy.access.identify import Identification
from precopy.access.targets import above, outermost
from precopy.access.tracking.wire import LOOKED

_SEEN = ("is in", "looks at")
"""What an application does with a directory that it does not make or list."""


def table(found: Identification, *, existing: bool = False) -> str:
    """Return what moves as a table, with today's sizes.

    Parameters
    ----------
    found : Identification
        What to show.
    existing : bool
        Leave out files that are gone.

    Returns
    -------
    str
        Lines without a final newline.

    Examples
    --------
    >>> import os, tempfile
    >>> from precopy.access import identify, import_strace
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log = os.path.join(directory, "access.db")
    ...     _ = import_strace(['7 1.5 creat("/never/a", 0600) = 3</never/a>'], log, app="AP1")
    ...     print(table(identify(log, "AP1")))
    Applications that move: 1
      AP1  1 file, 1 written
    Files that move: 1, 0 bytes
      SIZE/BYTES  USE      PATH
            gone  written  /never/a
    """
    uses = found.uses()
    width = max((len(printable(name)) for name in found.applications), default=0)
    lines = [f"Applications that move: {len(found.applications)}"]
    for name in found.applications:
        verbs = [uses[name][path] for path in found.files if path in uses[name]]
        written = sum("writes" in verb for verb in verbs)
        lines.append(
            f"  {printable(name):{width}}  {_count(len(verbs), 'file')}, {written} written"
        )
    lines += _files(found, uses, existing)
    verbs_of = {
        path: [paths[path] for paths in uses.values() if path in paths]
        for path in found.directories
    }
    for title, paths in (
        ("Links on the way", found.links),
        ("Directories they make, list or are in", [path for path, verbs in verbs_of.items() if any(
            verb != "looks at" for verb in verbs)]),
        ("Directories they only look at, with nothing of theirs inside", [path for path, verbs in
            verbs_of.items() if verbs and all(verb == "looks at" for verb in verbs)]),
        ("Programs they run, which the destination needs as well", found.programs),
    ):  # fmt: skip
        shown = [path for path in paths if not existing or os.path.lexists(path)]
        if shown:
            lines.append(f"{title}: {len(shown)}")
            lines += [f"  {printable(path)}{_by(found, uses, path)}" for path in shown]
    lines += [f"Note: {note}" for note in found.notes]
    return "\n".join(lines)


def _files(found: Identification, uses: dict[str, dict[str, str]], existing: bool) -> list[str]:
    graph = found.graph
    index_of = {path: index for index, path in enumerate(graph.paths)}
    shared = set(found.shared)
    there: list[tuple[str, str, str, str]] = []
    gone: list[tuple[str, str, str, str]] = []
    total = 0
    for path in found.files:
        size = _size(path)
        total += size or 0
        index = index_of.get(os.fsencode(path))
        use = "shared" if path in shared else _use(found, index)
        note = f"  (stays for {', '.join(_staying(found, index))}, too)" if path in shared else ""
        row = ("gone" if size is None else str(size), use, printable(path) + note)
        (gone if size is None else there).append((*row, _by(found, uses, path)))
    rows = there if existing else there + gone
    lines = [f"Files that move: {len(rows)}, {_count(total, 'byte')}"]
    if rows:
        wide = max(len("SIZE/BYTES"), *(len(row[0]) for row in rows))
        rows.insert(0, ("SIZE/BYTES", "USE", "PATH", ""))
        lines += [f"  {size:>{wide}}  {use:7}  {path}{by}" for size, use, path, by in rows]
    return lines


def _use(found: Identification, index: int | None) -> str:
    if index is None:
        return "listed"
    if found.graph.written(index):
        return "written"
    looked = all(how == LOOKED for _, how in found.graph.users[index])
    return "looked" if looked else "read"


def _by(found: Identification, uses: dict[str, dict[str, str]], path: str) -> str:
    """Say who uses a path, where several applications move."""
    if len(found.applications) < 2:
        return ""
    users = [f"{printable(name)} {uses[name][path]}" for name in uses if path in uses[name]]
    return f"  [{'; '.join(users)}]" if users else ""


def json_text(found: Identification, *, existing: bool = False) -> str:
    r"""Return an identification as JSON.

    The keys: ``applications``, ``files``, ``shared``, ``links``, ``directories``, ``programs``,
    ``uses`` (per application and path, how), ``targets``, ``share``, ``exclude``, ``roots``,
    ``notes``, ``complete``, ``incomplete_reason``.  The text is ASCII; a byte that is not UTF-8
    is written as an escape from ``\udc80`` to ``\udcff``.

    Parameters
    ----------
    found : Identification
        What to show.
    existing : bool
        Leave out files that are gone.

    Returns
    -------
    str
        One JSON object.
    """

    def kept(paths: list[str]) -> list[str]:
        return [path for path in paths if os.path.lexists(path)] if existing else paths

    answer: dict[str, Any] = {
        "applications": found.applications,
        "files": kept(found.files),
        "shared": kept(found.shared),
        "links": kept(found.links),
        "directories": kept(found.directories),
        "programs": kept(found.programs),
        "uses": found.uses(),
        "targets": found.targets,
        "share": found.share,
        "exclude": found.exclude,
        "roots": found.roots,
        "notes": found.notes,
        "complete": found.complete,
        "incomplete_reason": found.incomplete_reason,
    }
    return json.dumps(answer, indent=2)


def paths(
    found: Identification,
    *,
    null: bool = False,
    existing: bool = False,
    directories: bool = False,
) -> bytes:
    r"""Return what a copy needs as raw bytes: files, links, programs, directories.

    ``rsync --files-from=-`` copies each as it stands.  ``tar -T -`` takes in all that is below a
    directory in the list; so a directory is in the list only if nothing would come with it that is
    not in the list anyway: an empty one, or one that moves as a whole.  The others arrive as the
    parents of what is in them.

    Parameters
    ----------
    found : Identification
        What to show.
    null : bool
        End each path with a NUL (``rsync --from0``, ``tar --null``) instead of a newline.
    existing : bool
        Leave out what is gone.
    directories : bool
        All directories, so that they arrive with their modes and owners: for ``rsync`` and for
        ``tar --no-recursion``, and for nothing that copies what is below.

    Returns
    -------
    bytes
        The paths, sorted.

    Raises
    ------
    ValueError
        If a path has a newline in it and `null` is false: the list would be ambiguous.
    """
    names = {os.fsencode(path) for path in (*found.files, *found.links, *found.programs)}
    if existing:
        names = {name for name in names if os.path.lexists(name)}
    wanted = found.directories if directories else _whole(found, names)
    ordered = sorted(names | {os.fsencode(path) for path in wanted if os.path.isdir(path)})
    if null:
        return b"".join(name + b"\0" for name in ordered)
    for name in ordered:
        if b"\n" in name:
            raise ValueError(f"paths: {printable(name)!r} has a newline in it; use --null")
    return b"".join(name + b"\n" for name in ordered)


def left_out(found: Identification) -> list[str]:
    """Return directories that an application made or listed and that `paths` does not bring along.

    They are not empty, and nothing in them moves.
    """
    names = {os.fsencode(path) for path in (*found.files, *found.links, *found.programs)}
    whole = map(os.fsencode, _whole(found, names))
    brought = above([*(name for name in names if os.path.lexists(name)), *whole])
    uses = found.uses().values()
    needed = {path for paths in uses for path, verb in paths.items() if verb not in _SEEN}
    return [
        path
        for path in sorted(_used(found) & needed)
        if os.path.isdir(path) and os.fsencode(path) not in brought
    ]


def _used(found: Identification) -> set[str]:
    """Return the directories that an application itself makes, lists or is in."""
    return {path for paths in found.uses().values() for path in paths} & set(found.directories)


def _whole(found: Identification, names: set[bytes]) -> list[str]:
    """Return the directories that bring nothing along that is not in a list of names.

    A directory that is only above what moves counts if something that moves is there.
    """
    whole = _Whole(names)
    brought = above(name for name in names if os.path.lexists(name))
    used = _used(found) | {
        path
        for path in found.directories
        for root in found.roots
        if path == root or path.startswith(root + "/")
    }
    return [
        path
        for path in found.directories
        if (path in used or os.fsencode(path) in brought) and whole.holds(os.fsencode(path))
    ]


class _Whole:
    """Tells directories of which everything that `tar` would take along is in a list."""

    def __init__(self, names: set[bytes]) -> None:
        self._names = names
        self._known: dict[bytes, bool] = {}

    def holds(self, directory: bytes) -> bool:
        """Return whether all files and links below are in the list; False if it is none."""
        pending = [directory]
        while pending:
            here = pending[-1]
            if here in self._known:
                pending.pop()
                continue
            below = self._look(here)
            if below is not None and all(map(self._known.get, below)):
                self._known[here] = True
            elif below is None or any(self._known.get(path) is False for path in below):
                self._known[here] = False
            else:
                pending += [path for path in below if path not in self._known]
        return self._known[directory]

    def _look(self, directory: bytes) -> list[bytes] | None:
        """Return the directories in a directory; None if something else in it is not listed."""
        inside = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        inside.append(entry.path)
                    elif entry.path not in self._names and (
                        entry.is_file(follow_symlinks=False) or entry.is_symlink()
                    ):
                        return None
        except OSError:
            return None
        return inside


def written_directories(found: Identification) -> list[str]:
    """Return the outermost directories that hold the written files, as far as they exist."""
    graph = found.graph
    moving = {os.fsencode(path) for path in found.files}
    directories = (
        os.path.dirname(path)
        for index, path in enumerate(graph.paths)
        if path in moving and graph.written(index)
    )
    return [os.fsdecode(path) for path in outermost(directories) if os.path.isdir(path)]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _staying(found: Identification, file: int | None) -> list[str]:
    graph = found.graph
    users = [] if file is None else graph.users[file]
    staying = (a for a, how in users if how != LOOKED and not found.moves((APPLICATION, a)))
    return sorted(printable(graph.names[a]) for a in staying)


def _size(path: str) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None
