"""What a copy needs beside the files that applications opened: links, directories, programs.

None of it ties applications together.  Invariants: ``/`` is never in an answer, nothing below a
directory is taken in because of the directory (but for the regular files directly inside one that
was listed), and what is a directory or a link now is not among the files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from precopy.access.exclude import Excluded
from precopy.access.graph import Graph, kind_now
from precopy.access.targets import above, outermost
from precopy.access.tracking.wire import LISTED, WRITE

Users = dict[str, str]
"""Per application, what it does with a path."""

_MOST_LINKS = 40  # as the kernel has it
_MOST_COUNTED = 100_000


@dataclass
class Needs:
    """Paths by kind, each with who needs it.

    Parameters
    ----------
    excluded : Excluded
        What the destination has.
    own : bytes
        The access log: it and what stands beside it under its name is never taken in.
    """

    excluded: Excluded
    own: bytes
    files: dict[bytes, Users] = field(default_factory=dict)
    links: dict[bytes, Users] = field(default_factory=dict)
    directories: dict[bytes, Users] = field(default_factory=dict)
    programs: dict[bytes, Users] = field(default_factory=dict)
    _run: set[tuple[bytes, str]] = field(default_factory=set)

    def add_others(self, graph: Graph, application: int, programs: Iterable[bytes]) -> None:
        """Take in the directories and links of an application, and what it saw listed."""
        name = graph.names[application]
        others = graph.others[application]
        # Shells look at the directories that PWD and OLDPWD name: that alone is no use of them.
        used = above(
            [
                *programs,
                *(graph.paths[file] for file, _ in graph.uses[application]),
                *(path for path, kind, how in others if kind == "link" or how & (WRITE | LISTED)),
            ]
        )
        for path, kind, how in others:
            if path == b"/":
                continue
            if kind == "link":
                self._add_link(path, name, "makes" if how & WRITE else "passes through")
                continue
            verb = "makes" if how & WRITE else "lists" if how & LISTED else ""
            verb = verb or ("is in" if path in used else "looks at")
            self.directories.setdefault(path, {})[name] = verb
            if how & LISTED:
                for entry in _regular_files(path):
                    if not self.leaves_out(entry):
                        self.files.setdefault(entry, {}).setdefault(name, "lists")

    def add_program(self, path: bytes, application: str, verb: str = "runs") -> None:
        """Take in a program, the links that lead to it, and the interpreter that it names."""
        if (path, application) in self._run:
            return
        self._run.add((path, application))
        for link in links_on(path):
            self._add_link(link, application, verb)
        for program in dict.fromkeys((path, os.path.realpath(path))):
            if kind_now(program, "file") != "file":
                continue
            if program not in self.excluded:
                self.programs.setdefault(program, {})[application] = verb
            interpreter = _interpreter(program)
            if interpreter:
                self.add_program(interpreter, application)

    def add_root(self, root: bytes) -> None:
        """Take in everything below a directory, and the directory."""
        self.directories.setdefault(root, {})
        for path, mode in _below(root):
            if self.leaves_out(path):
                continue
            if stat.S_ISDIR(mode):
                self.directories.setdefault(path, {})
            elif stat.S_ISLNK(mode):
                self.links.setdefault(path, {})
            elif stat.S_ISREG(mode):
                self.files.setdefault(path, {})

    def add_parents(self) -> None:
        """Take in the directories above all that there is: their modes and owners count."""
        for path in [*self.files, *self.links, *self.directories, *self.programs]:
            parent = os.path.dirname(path)
            while parent != b"/" and parent and parent not in self.directories:
                if parent not in self.excluded:
                    self.directories[parent] = {}
                parent = os.path.dirname(parent)

    def settle(self) -> None:
        """Move what is listed as a file, and is something else now, to where it belongs."""
        for path in list(self.files):
            kind = kind_now(path, "file")
            if path == b"/" or kind == "directory":
                users = self.files.pop(path)
                if path != b"/":
                    self.directories.setdefault(path, {}).update(users)
            elif kind == "link":
                users = self.files.pop(path)
                for name in users:
                    self._add_link(path, name, "passes through")

    def leaves_out(self, path: bytes) -> bool:
        """Return whether a path stays: excluded, or the log itself."""
        return path in self.excluded or is_own(path, self.own)

    def _add_link(self, path: bytes, application: str, verb: str) -> None:
        for link in (path, *links_on(path)):
            if not self.leaves_out(link):
                self.links.setdefault(link, {}).setdefault(application, verb)


def is_own(path: bytes, log: bytes) -> bool:
    """Return whether a path is the log, or what SQLite and the tracker keep beside it."""
    return path.startswith(log) and path[len(log) : len(log) + 1] in (b"", b"-")


def links_on(path: bytes) -> list[bytes]:
    """Return the symbolic links that a path passes through now, those inside links included.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as top:
    ...     os.symlink("two", f"{top}/one")
    ...     os.symlink("there", f"{top}/two")
    ...     os.mkdir(f"{top}/there")
    ...     found = links_on(os.fsencode(os.path.realpath(top)) + b"/one/file")
    >>> [os.path.basename(link) for link in found]
    [b'one', b'two']
    """
    found: list[bytes] = []
    rest = [part for part in path.split(b"/") if part]
    here = b""
    while rest:
        part = rest.pop(0)
        if part in (b".", b".."):
            here = os.path.dirname(here) if part == b".." else here
            continue
        there = here.rstrip(b"/") + b"/" + part
        try:
            target = os.readlink(there)
        except (OSError, ValueError):
            here = there
            continue
        if there in found or len(found) >= _MOST_LINKS:
            break
        found.append(there)
        rest = [piece for piece in target.split(b"/") if piece] + rest
        here = b"" if target.startswith(b"/") else here
    return found


def unused(
    directories: Iterable[bytes], listed: Iterable[bytes], needs: Needs
) -> Iterator[tuple[bytes, int]]:
    """Yield the outermost directories with the number of regular files below that are not listed.

    Directories that everybody may write into, such as ``/tmp``, are nobody's in particular; those
    in them are somebody's.
    """
    known = set(listed)
    for directory in outermost(filter(_is_somebodys, set(directories))):
        count = 0
        for number, (path, kind) in enumerate(_below(directory)):
            if number >= _MOST_COUNTED:
                break
            count += stat.S_ISREG(kind) and path not in known and not needs.leaves_out(path)
        if count:
            yield directory, count


def _is_somebodys(directory: bytes) -> bool:
    try:
        mode = os.lstat(directory).st_mode
    except OSError:
        return False
    return directory != b"/" and not (mode & stat.S_ISVTX and mode & stat.S_IWOTH)


def _regular_files(directory: bytes) -> list[bytes]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _below(directory: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield what is below a directory with its mode; what goes meanwhile is left out."""
    pending = [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                found = list(entries)
        except OSError:
            continue
        for entry in found:
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except OSError:
                continue
            yield entry.path, mode
            if stat.S_ISDIR(mode):
                pending.append(entry.path)


def _interpreter(program: bytes) -> bytes:
    """Return the absolute path behind ``#!``, if there is one."""
    try:
        fd = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (OSError, ValueError):
        return b""
    try:
        line = os.read(fd, 256).partition(b"\n")[0]
    except OSError:
        return b""
    finally:
        os.close(fd)
    words = line[2:].split() if line.startswith(b"#!") else []
    return words[0] if words and words[0].startswith(b"/") else b""
