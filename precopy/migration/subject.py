"""What a migration is about: the paths that move, the processes that use them, what a log knows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from precopy._text import printable
from precopy.access.identify import Identification
from precopy.access.log import AccessLog
from precopy.migration.settings import Settings
from precopy.migration.source.selection import Path, Selection
from precopy.migration.switchover.freezer import Freezer
from precopy.migration.switchover.journal import identity
from precopy.migration.switchover.processes import told
from precopy.migration.transport.target import is_local

What = Identification | Path | Iterable[Path]


@dataclass
class Subject:
    """What moves.

    Attributes
    ----------
    name : str
        For people: the applications, or the paths.
    migration : str
        The migration's id: the same for the same command.
    selection : Selection
    freezer : Freezer
        The processes to be stopped.
    log : AccessLog or None
    applications : list of str
        Those that move, as the log calls them; empty where only paths are known.
    identification : Identification or None
        What moves, where that was identified.
    notes : list of str
        What the operator should know.
    """

    name: str
    migration: str
    selection: Selection
    freezer: Freezer
    log: AccessLog | None
    applications: list[str]
    identification: Identification | None
    notes: list[str]

    @classmethod
    def of(cls, what: What, settings: Settings, stack: ExitStack) -> Subject:
        """Find out what moves and what has to be stopped; refuse what cannot be.

        Raises
        ------
        ValueError, OSError
            If a path, a process or the log does not allow it; nothing was touched.
        """
        log = None if settings.log is None else stack.enter_context(AccessLog(settings.log))
        notes: list[str] = []
        name, migration = named(what, settings.to)
        if isinstance(what, Identification):
            notes += incompleteness(what, settings.accept_incomplete)
            selection = Selection.from_identification(what, settings.programs)
            applications, identification = what.applications, what
        else:
            selection, applications = Selection.from_paths(_paths(what)), []
            identification = None
        freezer = _freezer(settings, log, applications)
        notes += freezer.check()
        notes += grouped(selection.left_out)
        return cls(name, migration, selection, freezer, log, applications, identification, notes)

    def processes(self) -> list[str]:
        """Return the processes that would be stopped, for people."""
        return [told(process.pid) for process in self.freezer.processes]

    def unwatched(self) -> list[str]:
        """Return what to say of directories in which others' files are, too."""
        places = self.selection.unwatched
        if not places:
            return []
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        hold = "hold" if more else "holds"
        return [
            f"{printable(places[0])}{more} {hold} other things, too: what appears there moves only "
            "if a log that grows names it; --root DIR takes in all of DIR"
        ]

    def history(self) -> dict[bytes, int] | None:
        """Return how often each path was updated while it was recorded; None without a log."""
        if self.log is None or not self.applications:
            return None
        files = self.log.file_set(self.applications)
        updates = self.log.history(self.applications, files)
        assert files.path is not None
        return {
            # Stores into mapped files are not counted: such a file was written all the same.
            os.fsencode(path): int(count) or int(not read_only)
            for path, count, read_only in zip(files.path, updates, files.read_only, strict=True)
        }


def grouped(problems: Iterable[tuple[bytes, str]]) -> list[str]:
    """Return a sentence per reason: which paths do not move.

    Examples
    --------
    >>> grouped([(b"/run/a.sock", "a socket"), (b"/tmp/x", "gone"), (b"/tmp/y", "gone")])
    ['/run/a.sock does not move: a socket', '/tmp/x and 1 more do not move: gone']
    """
    reasons: dict[str, list[bytes]] = {}
    for path, why in problems:
        reasons.setdefault(why, []).append(path)
    return [
        f"{printable(paths[0])}"
        + (f" and {len(paths) - 1:,} more do" if len(paths) > 1 else " does")
        + f" not move: {why}"
        for why, paths in reasons.items()
    ]


def named(what: What, to: str) -> tuple[str, str]:
    """Return what moves, for people, and the migration's id; nothing is looked at."""
    if isinstance(what, Identification):
        name = ", ".join(what.applications or what.targets)
        return name, migration_id(what.targets, None, to)
    paths = _paths(what)
    return ", ".join(map(printable, paths)), migration_id([], paths, to)


def _paths(what: Path | Iterable[Path]) -> list[Path]:
    return [what] if isinstance(what, (str, bytes, os.PathLike)) else list(what)


def migration_id(names: Iterable[str], paths: Iterable[Path] | None, to: str) -> str:
    """Return the id of a migration, from what is asked for and where to."""
    target = os.path.abspath(to) if is_local(to) else to
    if paths is not None:
        return identity([os.path.abspath(os.fsencode(path)) for path in paths], target)
    return identity([b"application " + os.fsencode(printable(name)) for name in names], target)


def incompleteness(what: Identification, accept: bool) -> list[str]:
    """Return what to say of a log that misses accesses; refuse it unless that is accepted."""
    if what.complete:
        return []
    if not accept:
        raise ValueError(
            f"log: accesses are missing from it, so files could be left behind: "
            f"{what.incomplete_reason}; record again, or accept that (--accept-incomplete)"
        )
    return [f"the log is incomplete, so files may be missing: {what.incomplete_reason}"]


def _freezer(settings: Settings, log: AccessLog | None, applications: list[str]) -> Freezer:
    if settings.pids:
        return Freezer.from_pids(settings.pids, stop=settings.stop)
    if settings.cgroup is not None:
        return Freezer.from_group(settings.cgroup, stop=settings.stop)
    if log is not None and applications:
        return Freezer.from_log(log, applications, stop=settings.stop)
    if settings.stop in ("freeze", "term"):
        raise ValueError(
            "pid: nothing is known of the processes that use these files; name them by --pid N or "
            "--cgroup PATH, or give a command that stops them: --stop COMMAND ('--stop true' if "
            "none runs)"
        )
    return Freezer(lambda: (), stop=settings.stop)
