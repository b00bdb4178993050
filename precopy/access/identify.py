"""Identification: which applications and files must move together.

Applications and files form a bipartite graph; the answer is the part of it that the targets reach,
and what a copy needs beside it.  Invariant: every application and every file enters the queue at
most once and every (application, file) pair is looked at twice, so the time is linear in the number
of pairs, without recursion.
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
from precopy.access.graph import APPLICATION, FILE, ROOT, Graph, Node
from precopy.access.log import AccessLog
from precopy.access.needs import Needs, unused
from precopy.access.targets import (
    Target,
    candidates,
    checked_roots,
    is_below,
    starts_of,
    target_list,
)
from precopy.access.tracking.wire import LOADED, LOOKED, READ, WRITE

Share = Literal["written", "any"]


@dataclass(frozen=True, repr=False)
class Identification:
    """What must move together, and why.

    Attributes
    ----------
    applications : list of str
        Names of the applications that move, sorted.
    files : list of str
        Absolute paths of the regular files that move, sorted; ``os.fsencode`` gives their bytes.
        All that the applications opened, loaded or looked at, also those that have been removed
        since; those directly inside a directory whose entries an application read, as they are
        now; and those below `roots`.
    shared : list of str
        Those of `files` that applications which stay use as well, while nobody who moves depends
        on it: they are copied, and the original stays.
    links : list of str
        Symbolic links that the applications pass through or make, sorted, with those that lead to
        their programs.
    directories : list of str
        Directories that the applications make, list, look at or are in, and all directories above
        what moves: they are copied with their modes and owners, but not all that is in them.
    programs : list of str
        Executables that the applications ran, and the interpreters that those name, sorted, as far
        as the operating system does not provide them.  They are not among `files` unless an
        application opened them itself.
    targets : list of str
        What was asked for: application names and paths.
    share : {"written", "any"}
        Which common files tie applications together.
    exclude : list of str
        Paths that were left out, see `precopy.access.exclude`.
    roots : list of str
        Directories that move with everything below them.
    notes : list of str
        What to look at before copying: directories that are used in part.
    complete : bool
        False if the log says that accesses are missing from it.
    incomplete_reason : str
        Why.
    """

    applications: list[str]
    files: list[str]
    shared: list[str]
    links: list[str]
    directories: list[str]
    programs: list[str]
    targets: list[str]
    share: Share
    exclude: list[str]
    roots: list[str]
    notes: list[str]
    complete: bool
    incomplete_reason: str
    graph: Graph
    needs: Needs = field(compare=False)
    _came_from: dict[Node, Node | None] = field(compare=False)

    def explain(self, path: Target) -> str:
        """Return why a file or an application is in, as the shortest chain from a target.

        Parameters
        ----------
        path : str, bytes or PathLike
            A file, a link, a directory, a program, or the name of an application.

        Returns
        -------
        str
            For example ``AP1 –writes→ A ←reads– AP2 –writes→ C``; a target explains itself, and
            ``A –is→ B`` says that both are names of one file.

        Raises
        ------
        ValueError
            If it is not part of this identification; the message says who uses it.
        """
        node = self._find(path)
        if isinstance(node, str):
            return node
        chain = [node]
        while (previous := self._came_from[chain[-1]]) is not None:
            chain.append(previous)
        chain.reverse()
        text = self._label(chain[0])
        for here, there in pairwise(chain):
            text += self._arrow(here, there) + self._label(there)
        return text

    def uses(self) -> dict[str, dict[str, str]]:
        """Return which application uses what, and how.

        Returns
        -------
        dict of dict
            Per application that moves, and path: "reads", "writes", "reads, writes", "loads",
            "looks at", "opens", "lists", "makes", "passes through", "is in" or "runs".
        """
        known: dict[str, dict[bytes, str]] = {name: {} for name in self.applications}
        needs = self.needs
        for paths in (needs.files, needs.links, needs.directories, needs.programs):
            for path, users in paths.items():
                for name, verb in users.items():
                    if name in known:
                        known[name][path] = verb
        return {
            name: {os.fsdecode(path): paths[path] for path in sorted(paths)}
            for name, paths in known.items()
        }

    def existing(self) -> list[str]:
        """Return those of `files` that exist now: what a copy can be made of."""
        return [path for path in self.files if os.path.lexists(path)]

    def moves(self, node: Node) -> bool:
        """Return whether an application or a file of `graph` moves."""
        return node in self._came_from

    def _find(self, path: Target) -> Node | str:
        """Return a node of the graph, or the reason itself for what is outside of it."""
        graph = self.graph
        if isinstance(path, str) and path in self.applications:
            return APPLICATION, graph.names.index(path)
        meant = candidates(path)
        for index, name in enumerate(graph.paths):
            if name in meant and (FILE, index) in self._came_from:
                return FILE, index
        for name in meant:
            if (reason := self._reason(name)) is not None:
                return reason
        for index, name in enumerate(graph.paths):
            if name in meant:
                users = ", ".join(printable(graph.names[a]) for a, _ in graph.users[index])
                raise ValueError(
                    f"path: '{printable(path)}' is not part of the identification: "
                    f"it is used by {users} only, to which no chain leads"
                )
        if isinstance(path, str) and path in graph.names:
            raise ValueError(
                f"path: application '{printable(path)}' is not part of the identification"
            )
        raise ValueError(
            f"path: '{printable(path)}' is not in the log, or excluded as a system path"
        )

    def _reason(self, path: bytes) -> str | None:
        needs = self.needs
        for paths in (needs.files, needs.links, needs.directories, needs.programs):
            if path in paths:
                for name, verb in paths[path].items():
                    return f"{printable(name)} –{verb}→ {printable(path)}"
                above = [root for root in self.roots if is_below(path, os.fsencode(root))]
                if above:
                    return f"{printable(above[0])} –holds→ {printable(path)}"
                return f"{printable(path)} holds what moves"
        return None

    def _arrow(self, here: Node, there: Node) -> str:
        if here[0] == ROOT:
            return " –holds→ "
        if here[0] == there[0]:
            return " –is→ "
        how = _verb(self._how(here, there))
        return f" –{how}→ " if here[0] == APPLICATION else f" ←{how}– "

    def _how(self, here: Node, there: Node) -> int:
        (_, application), (_, file) = (here, there) if here[0] == APPLICATION else (there, here)
        links = min(self.graph.uses[application], self.graph.users[file], key=len)
        wanted = file if links is self.graph.uses[application] else application
        return next(how for index, how in links if index == wanted)

    def _label(self, node: Node) -> str:
        kind, index = node
        if kind == FILE:
            return printable(self.graph.paths[index])
        return printable((self.roots if kind == ROOT else self.graph.names)[index])

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
    roots: Iterable[str | os.PathLike[str]] = (),
) -> Identification:
    """Compute which applications and files must move together.

    All files of an application that moves move with it.  A file that moves brings in the other
    applications that use it

    - under ``share="any"`` always: any common file connects;
    - under ``share="written"`` if one of its users writes it, since then the others depend on
      what that one writes.  A common file that everybody only reads is copied and stays.

    A file named as a target brings in everybody who uses it, under either rule.  Names of one file
    (hard links, bind mounts) are one file.  What an application only looks at (status, links on the
    way, entries of a directory) and what only the dynamic loader reads is copied with it and brings
    in nobody; a library that an application writes is a file like others.

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
    roots : iterable of path
        Directories that move with everything below them, used while recording or not.  A written
        file below one brings in its users.

    Returns
    -------
    Identification
        Applications, files, and the reasons.

    Raises
    ------
    ValueError
        If a target is neither an application nor a recorded path, or `share` is unknown.
    NotADirectoryError
        If a root is no directory.

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
    wanted = target_list(targets)
    prefixes = Excluded(exclude).prefixes
    tops = checked_roots(roots)
    with nullcontext(log) if isinstance(log, AccessLog) else AccessLog(log) as opened:
        names = set(opened.names().values())
        named = [os.fsdecode(p) for t in wanted if t not in names for p in candidates(t)]
        excluded = Excluded([*prefixes, *(f"!{path}" for path in [*named, *tops])])
        graph = Graph.load(opened, excluded)
        complete, reason = opened.complete, opened.incomplete_reason
        programs = opened.programs()
        needs = Needs(excluded, os.fsencode(os.path.realpath(opened.path)))
    starts = [node for target in wanted for node in starts_of(graph, target)]
    came_from = _reach(graph, starts, share, [os.fsencode(top) for top in tops])
    moving = sorted(a for kind, a in came_from if kind == APPLICATION)
    files = [f for kind, f in came_from if kind == FILE]
    for f in files:
        needs.files[graph.paths[f]] = {
            graph.names[a]: "reads, writes" if how == READ | WRITE else _verb(how)
            for a, how in graph.users[f]
            if (APPLICATION, a) in came_from
        }
    for a in moving:
        ran = sorted(programs.get(graph.names[a], ()))
        needs.add_others(graph, a, ran)
        for program in ran:
            needs.add_program(program, graph.names[a])
    for top in tops:
        needs.add_root(os.fsencode(top))
    needs.settle()
    needs.add_parents()
    used_in_part = unused(
        (
            os.path.dirname(graph.paths[f])
            for f in files
            if any(how & WRITE and (APPLICATION, a) in came_from for a, how in graph.users[f])
            # Where the log lies, somebody works; that is no application's data.
            and os.path.dirname(graph.paths[f]) != os.path.dirname(needs.own)
        ),
        [*needs.files, *needs.programs],
        needs,
    )
    shared = [f for f in files if _stays(graph, f, came_from) and graph.paths[f] in needs.files]
    return Identification(
        applications=sorted(graph.names[a] for a in moving),
        files=_sorted(needs.files),
        shared=_sorted(graph.paths[f] for f in shared),
        links=_sorted(needs.links),
        directories=_sorted(needs.directories),
        programs=_sorted(needs.programs),
        targets=[printable(target) for target in wanted],
        share=share,
        exclude=list(prefixes),
        roots=tops,
        notes=[
            f"{count} file{'' if count == 1 else 's'} below {printable(directory)} "
            f"{'was' if count == 1 else 'were'} not used while recording; "
            f"--root {printable(directory)} takes {'it' if count == 1 else 'them'} in"
            for directory, count in used_in_part
        ],
        complete=complete,
        incomplete_reason=reason,
        graph=graph,
        needs=needs,
        _came_from=came_from,
    )


def _reach(
    graph: Graph, starts: Iterable[Node], share: Share, roots: Sequence[bytes]
) -> dict[Node, Node | None]:
    """Breadth-first search; returns for everything reached from where it was reached."""
    came_from: dict[Node, Node | None] = dict.fromkeys(starts)
    for number, root in enumerate(roots):
        came_from[ROOT, number] = None
        for f, path in enumerate(graph.paths):
            if is_below(path, root):
                came_from.setdefault((FILE, f), (ROOT, number))
    queue = deque(came_from)
    while queue:
        node = queue.popleft()
        above = came_from[node]  # another name of a target is the target
        named = above is None or (node[0] == above[0] and came_from[above] is None)
        for neighbour in _neighbours(graph, node, share, is_target=named):
            if neighbour not in came_from:
                came_from[neighbour] = node
                queue.append(neighbour)
    for kind, index in list(came_from):
        if kind == APPLICATION:
            for f, _ in graph.uses[index]:  # what it only looks at goes with it, and leads nowhere
                came_from.setdefault((FILE, f), (APPLICATION, index))
    return came_from


def _neighbours(graph: Graph, node: Node, share: Share, *, is_target: bool) -> list[Node]:
    kind, index = node
    if kind == APPLICATION:
        return [(FILE, f) for f, how in graph.uses[index] if graph.ties(f, how)]
    if kind == FILE and (is_target or share == "any" or graph.written(index)):
        users = graph.users[index]
        return [
            *((APPLICATION, a) for a, how in users if graph.ties(index, how, is_target)),
            *((FILE, f) for f in graph.same[index]),
        ]
    return []


def _stays(graph: Graph, file: int, came_from: dict[Node, Node | None]) -> bool:
    return any(how != LOOKED and (APPLICATION, a) not in came_from for a, how in graph.users[file])


def _sorted(paths: Iterable[bytes]) -> list[str]:
    return [os.fsdecode(path) for path in sorted(paths)]


def _verb(how: int) -> str:
    if how & (READ | WRITE):
        return "writes" if how & WRITE else "reads"
    return "loads" if how == LOADED else "looks at" if how == LOOKED else "opens"
