"""Identification: which applications and files must move together.

Applications and files form a bipartite graph; the answer is the part of it that the targets reach.
Invariant: every application and every file enters the queue at most once and every (application,
file) pair is looked at twice, so the time is linear in the number of pairs, without recursion.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

from precopy._text import printable
from precopy.access.exclude import DEFAULT_EXCLUDED, Excluded
from precopy.access.log import AccessLog, hint

Share = Literal["written", "any"]
Target = str | bytes | os.PathLike[str] | os.PathLike[bytes]

READ, WRITE = 1, 2
"""How an application uses a file; the two add up."""

Link = tuple[int, int]
"""``(index at the other end, READ | WRITE)``."""

APPLICATION: Literal["application"] = "application"
FILE: Literal["file"] = "file"
Node = tuple[Literal["application", "file"], int]
"""An application or a file of a `Graph`, by index."""


@dataclass(frozen=True)
class Graph:
    """Who uses what: the access log without its counts and without excluded files.

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
    """

    names: list[str]
    paths: list[bytes]
    uses: list[list[Link]]
    users: list[list[Link]]

    @classmethod
    def load(cls, log: AccessLog, excluded: Excluded) -> Graph:
        """Read the graph from a log, without the excluded files."""
        with log.snapshot():
            names = log.names()
            paths = {number: path for number, path in log.paths().items() if path not in excluded}
            application = {number: index for index, number in enumerate(names)}
            file = {number: index for index, number in enumerate(paths)}
            graph = cls(
                list(names.values()), list(paths.values()), [[] for _ in names], [[] for _ in paths]
            )
            for application_id, file_id, use in log.pairs():
                if file_id in file:
                    a, f = application[application_id], file[file_id]
                    how = use & (READ | WRITE)
                    graph.uses[a].append((f, how))
                    graph.users[f].append((a, how))
        return graph

    def written(self, file: int) -> bool:
        """Return whether any application writes this file."""
        return any(how & WRITE for _, how in self.users[file])


@dataclass(frozen=True, repr=False)
class Identification:
    """What must move together, and why.

    Attributes
    ----------
    applications : list of str
        Names of the applications that move, sorted.
    files : list of str
        Absolute paths of the files that move, sorted; ``os.fsencode`` gives their bytes.  All
        that the log knows, also those that have been removed since.
    shared : list of str
        Those of `files` that nobody writes and that applications which stay read as well: they
        are copied, and the original stays.
    programs : list of str
        Executables that the applications ran, sorted, as far as the operating system does not
        provide them.  They are not among `files` unless an application opened them itself.
    targets : list of str
        What was asked for: application names and paths.
    share : {"written", "any"}
        Which common files tie applications together.
    exclude : list of str
        Paths that were left out, see `precopy.access.exclude`.
    complete : bool
        False if the log says that accesses are missing from it.
    incomplete_reason : str
        Why.
    """

    applications: list[str]
    files: list[str]
    shared: list[str]
    programs: list[str]
    targets: list[str]
    share: Share
    exclude: list[str]
    complete: bool
    incomplete_reason: str
    graph: Graph
    _came_from: dict[Node, Node | None] = field(compare=False)

    def explain(self, path: Target) -> str:
        """Return why a file or an application is in, as the shortest chain from a target.

        Parameters
        ----------
        path : str, bytes or PathLike
            A file, or the name of an application.

        Returns
        -------
        str
            For example ``AP1 –writes→ A ←reads– AP2 –writes→ C``; a target explains itself.

        Raises
        ------
        ValueError
            If it is not part of this identification; the message says who uses it.
        """
        node = self._find(path)
        chain = [node]
        while (previous := self._came_from[chain[-1]]) is not None:
            chain.append(previous)
        chain.reverse()
        text = self._label(chain[0])
        for here, there in pairwise(chain):
            how = _verb(self._how(here, there))
            arrow = f" –{how}→ " if here[0] == APPLICATION else f" ←{how}– "
            text += arrow + self._label(there)
        return text

    def existing(self) -> list[str]:
        """Return those of `files` that exist now: what a copy can be made of."""
        return [path for path in self.files if os.path.lexists(path)]

    def moves(self, node: Node) -> bool:
        """Return whether an application or a file of `graph` moves."""
        return node in self._came_from

    def _find(self, path: Target) -> Node:
        graph = self.graph
        if isinstance(path, str) and path in self.applications:
            return APPLICATION, graph.names.index(path)
        candidates = _candidates(path)
        for index, name in enumerate(graph.paths):
            if name in candidates:
                if (FILE, index) in self._came_from:
                    return FILE, index
                users = ", ".join(graph.names[a] for a, _ in graph.users[index])
                raise ValueError(
                    f"path: {printable(path)!r} is not part of the identification: "
                    f"it is used by {users} only, to which no chain leads"
                )
        if isinstance(path, str) and path in graph.names:
            raise ValueError(f"path: application {path!r} is not part of the identification")
        raise ValueError(
            f"path: {printable(path)!r} is not in the log, or excluded as a system path"
        )

    def _how(self, here: Node, there: Node) -> int:
        (_, application), (_, file) = (here, there) if here[0] == APPLICATION else (there, here)
        links = min(self.graph.uses[application], self.graph.users[file], key=len)
        wanted = file if links is self.graph.uses[application] else application
        return next(how for index, how in links if index == wanted)

    def _label(self, node: Node) -> str:
        kind, index = node
        return (
            self.graph.names[index] if kind == APPLICATION else printable(self.graph.paths[index])
        )

    def __repr__(self) -> str:
        return (
            f"<Identification of {', '.join(map(repr, self.targets))}: "
            f"{len(self.applications)} applications, {len(self.files)} files "
            f"({len(self.shared)} shared with applications that stay), share={self.share!r}"
            f"{'' if self.complete else ', log INCOMPLETE'}>"
        )


def identify(
    log: AccessLog | str | os.PathLike[str],
    targets: Target | Iterable[Target],
    share: Share = "written",
    exclude: Iterable[str] = DEFAULT_EXCLUDED,
) -> Identification:
    """Compute which applications and files must move together.

    All files of an application that moves move with it.  A file that moves brings in the other
    applications that use it

    - under ``share="any"`` always: any common file connects;
    - under ``share="written"`` if one of its users writes it, since then the others depend on
      what that one writes.  A common file that everybody only reads is copied and stays.

    A file named as a target brings in everybody who uses it, under either rule.

    Parameters
    ----------
    log : AccessLog or path
        The recorded accesses.
    targets : str, bytes, PathLike, or a sequence of them
        What has to move: names of applications, files, or directories (for all recorded files in
        them).  A name that is both is the application; write ``./NAME`` for the file.
    share : {"written", "any"}
        Which common files connect applications.
    exclude : iterable of str
        Paths that the operating system provides: they do not move and connect nothing, unless
        they are named as a target.

    Returns
    -------
    Identification
        Applications, files, and the reasons.

    Raises
    ------
    ValueError
        If a target is neither an application nor a recorded path, or `share` is unknown.

    Examples
    --------
    The paper's figure 2, AP1 writing into A:

    >>> import os, tempfile
    >>> from precopy.access import identify, import_strace
    >>> def uses(*files):
    ...     return [f'7 1.5 openat(AT_FDCWD</>, "{path}", {mode}) = 3<{path}>'
    ...             for path, mode in files]
    >>> read, write = "O_RDONLY", "O_WRONLY"
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log = os.path.join(directory, "access.db")
    ...     _ = import_strace(uses(("/A", write), ("/B", read)), log, app="AP1")
    ...     _ = import_strace(uses(("/A", read), ("/C", write)), log, app="AP2")
    ...     _ = import_strace(uses(("/D", write)), log, app="AP3")
    ...     found = identify(log, "AP1")
    >>> found.applications, found.files
    (['AP1', 'AP2'], ['/A', '/B', '/C'])
    >>> print(found.explain("/C"))
    AP1 –writes→ /A ←reads– AP2 –writes→ /C

    References
    ----------
    Paper, section 2.1 and figure 2.
    """
    if share not in get_args(Share):
        raise ValueError(f"share: got {share!r}, expected 'written' or 'any'")
    wanted = _target_list(targets)
    prefixes = Excluded(exclude).prefixes
    with nullcontext(log) if isinstance(log, AccessLog) else AccessLog(log) as opened:
        names = set(opened.names().values())
        named = ["!" + os.fsdecode(p) for t in wanted if t not in names for p in _candidates(t)]
        excluded = Excluded([*prefixes, *named])
        graph = Graph.load(opened, excluded)
        complete, reason = opened.complete, opened.incomplete_reason
        programs = opened.programs()
    starts = [node for target in wanted for node in _start(graph, target)]
    came_from = _reach(graph, starts, share)
    applications = sorted(graph.names[a] for kind, a in came_from if kind == APPLICATION)
    ran = {path for name in applications for path in programs.get(name, ())}
    files = sorted(index for kind, index in came_from if kind == FILE)
    shared = [f for f in files if any((APPLICATION, a) not in came_from for a, _ in graph.users[f])]
    return Identification(
        applications=applications,
        files=_paths(graph, files),
        shared=_paths(graph, shared),
        programs=[os.fsdecode(path) for path in sorted(ran) if path not in excluded],
        targets=[printable(target) for target in wanted],
        share=share,
        exclude=list(prefixes),
        complete=complete,
        incomplete_reason=reason,
        graph=graph,
        _came_from=came_from,
    )


def _reach(graph: Graph, starts: Iterable[Node], share: Share) -> dict[Node, Node | None]:
    """Breadth-first search; returns for everything reached from where it was reached."""
    came_from: dict[Node, Node | None] = dict.fromkeys(starts)
    queue = deque(came_from)
    while queue:
        node = queue.popleft()
        kind, index = node
        if kind == APPLICATION:
            neighbours: list[Node] = [(FILE, f) for f, _ in graph.uses[index]]
        elif came_from[node] is None or share == "any" or graph.written(index):
            neighbours = [(APPLICATION, a) for a, _ in graph.users[index]]
        else:
            continue
        for neighbour in neighbours:
            if neighbour not in came_from:
                came_from[neighbour] = node
                queue.append(neighbour)
    return came_from


def _target_list(targets: Target | Iterable[Target]) -> Sequence[Target]:
    wanted = [targets] if isinstance(targets, str | bytes | os.PathLike) else list(targets)
    if not wanted:
        raise ValueError("targets: got none, expected at least one application or path")
    for target in wanted:
        if not isinstance(target, str | bytes | os.PathLike):
            raise TypeError(f"targets: got {target!r}, expected the name of an application or path")
    return wanted


def _candidates(target: Target) -> list[bytes]:
    """Return the absolute paths a target may mean: as written, and with symbolic links resolved."""
    path = os.fsencode(target)
    return [os.path.abspath(path), os.path.realpath(path)] if path else []


def _start(graph: Graph, target: Target) -> list[Node]:
    if isinstance(target, str) and target in graph.names:
        return [(APPLICATION, graph.names.index(target))]
    for path in _candidates(target):
        below = path.rstrip(b"/") + b"/"
        found: list[Node] = [
            (FILE, index)
            for index, name in enumerate(graph.paths)
            if name == path or name.startswith(below)
        ]
        if found:
            return found
    raise ValueError(
        f"targets: {printable(target)!r} is neither an application nor a path in the log"
        f"{hint(printable(target), graph.names)}"
    )


def _paths(graph: Graph, files: Iterable[int]) -> list[str]:
    return [os.fsdecode(path) for path in sorted(graph.paths[f] for f in files)]


def _verb(how: int) -> str:
    return "writes" if how & WRITE else "reads" if how & READ else "opens"
