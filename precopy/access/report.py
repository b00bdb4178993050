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
from precopy.access.identify import APPLICATION, WRITE, Identification


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
    graph = found.graph
    position = {name: index for index, name in enumerate(graph.names)}
    width = max(map(len, found.applications), default=0)
    lines = [f"Applications that move: {len(found.applications)}"]
    for name in found.applications:
        uses = graph.uses[position[name]]
        written = sum(1 for _, how in uses if how & WRITE)
        lines.append(f"  {printable(name):{width}}  {_count(len(uses), 'file')}, {written} written")
    rows = []
    total = 0
    index_of = {path: index for index, path in enumerate(graph.paths)}
    shared = set(found.shared)
    for path in found.existing() if existing else found.files:
        size = _size(path)
        total += size or 0
        index = index_of[os.fsencode(path)]
        use = "shared" if path in shared else "written" if graph.written(index) else "read"
        note = f"  (stays for {', '.join(_staying(found, index))}, too)" if path in shared else ""
        rows.append(("gone" if size is None else str(size), use, printable(path) + note))
    lines.append(f"Files that move: {len(rows)}, {_count(total, 'byte')}")
    if rows:
        wide = max(len("SIZE/BYTES"), *(len(row[0]) for row in rows))
        lines += [
            f"  {size:>{wide}}  {use:7}  {path}"
            for size, use, path in [("SIZE/BYTES", "USE", "PATH"), *rows]
        ]
    if found.programs:
        lines.append(
            f"Programs they run, which the destination needs as well: {len(found.programs)}"
        )
        lines += [f"  {printable(path)}" for path in found.programs]
    return "\n".join(lines)


def json_text(found: Identification, *, existing: bool = False) -> str:
    r"""Return an identification as JSON.

    The keys: ``applications``, ``files``, ``shared``, ``programs``, ``targets``, ``share``,
    ``exclude``, ``complete``, ``incomplete_reason``.  The text is ASCII; a byte that is not UTF-8
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
    files = found.existing() if existing else found.files
    kept = set(files)
    answer: dict[str, Any] = {
        "applications": found.applications,
        "files": files,
        "shared": [path for path in found.shared if path in kept],
        "programs": found.programs,
        "targets": found.targets,
        "share": found.share,
        "exclude": found.exclude,
        "complete": found.complete,
        "incomplete_reason": found.incomplete_reason,
    }
    return json.dumps(answer, indent=2)


def paths(found: Identification, *, null: bool = False, existing: bool = False) -> bytes:
    r"""Return the files that move as raw bytes, for ``rsync --files-from=-`` and the like.

    Parameters
    ----------
    found : Identification
        What to show.
    null : bool
        End each path with a NUL (``rsync --from0``, ``xargs -0``) instead of a newline.
    existing : bool
        Leave out files that are gone.

    Returns
    -------
    bytes
        The paths.

    Raises
    ------
    ValueError
        If a path has a newline in it and `null` is false: the list would be ambiguous.
    """
    names = [os.fsencode(path) for path in (found.existing() if existing else found.files)]
    if null:
        return b"".join(name + b"\0" for name in names)
    for name in names:
        if b"\n" in name:
            raise ValueError(f"paths: {printable(name)!r} has a newline in it; use --null")
    return b"".join(name + b"\n" for name in names)


def written_directories(found: Identification) -> list[str]:
    """Return the outermost directories that hold the written files, as far as they exist."""
    graph = found.graph
    moving = {os.fsencode(path) for path in found.files}
    directories = {
        os.path.dirname(path)
        for index, path in enumerate(graph.paths)
        if path in moving and graph.written(index)
    }
    outermost: list[bytes] = []
    for directory in sorted(directories, key=lambda name: name.rstrip(b"/") + b"/"):
        inside = outermost and directory.startswith(outermost[-1].rstrip(b"/") + b"/")
        if not inside and os.path.isdir(directory):
            outermost.append(directory)
    return [os.fsdecode(directory) for directory in outermost]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _staying(found: Identification, file: int) -> list[str]:
    graph = found.graph
    return sorted(graph.names[a] for a, _ in graph.users[file] if not found.moves((APPLICATION, a)))


def _size(path: str) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None
