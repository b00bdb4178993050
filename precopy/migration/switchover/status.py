"""Who is in charge of a migration, since when, and what to do next; and how to give it up."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from precopy._text import printable
from precopy.migration.switchover import processes as proc
from precopy.migration.switchover import watchdog
from precopy.migration.switchover.journal import (
    Journal,
    MigrationError,
    at_work,
    boot_id,
    read,
    state_of,
)
from precopy.migration.switchover.switch import STANDING, CommittedError, let_go_on, stopped
from precopy.migration.transport.interface import TransportError
from precopy.migration.transport.taking import take

if TYPE_CHECKING:
    from precopy.migration.transport.interface import Transport

_MEANING = {
    "": "nothing is known of it here",
    "PLAN": "nothing was touched yet",
    "COPY": "the application runs here while its files are copied",
    "DRAIN": "the application was about to be stopped, and was not touched yet",
    "FROZEN": "the application was being stopped, or stands",
    "FINAL": "the application stands while the last bytes are sent",
    "VERIFIED": "the destination has everything, but nothing was decided",
    "COMMITTED": "the destination is in charge; the application was not started there yet",
    "STARTED": "the application was started at the destination",
    "DONE": "the application's processes here have ended",
    "THAWING": "the application goes on here",
    "THAWED": "the application goes on here",
    "ABORTED": "it was given up; the destination is not emptied yet",
    "WITHDRAWN": "it was given up, and the destination was emptied",
}


@dataclass(frozen=True)
class Status:
    """Where a migration stands.

    Attributes
    ----------
    migration : str
    state : str
        The last state in the source's journal; empty if there is none.
    in_charge : {"source", "destination", "unknown"}
        Whose files count.
    since : str
        When that began (UTC); empty where it is not known.
    todo : str
        What to do next.
    lines : tuple of str
        All of it for a person.
    """

    migration: str
    state: str
    in_charge: Literal["source", "destination", "unknown"]
    since: str
    todo: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def status(migration: str, far: dict[str, Any] | None = None, unreachable: str = "") -> Status:
    """Return where a migration stands; changes nothing and takes no lock.

    Parameters
    ----------
    migration : str
        Its name, see `precopy.migration.switchover.journal.identity`.
    far : dict, optional
        What the destination's records say (`Transport.status`), where it can be reached.
    unreachable : str
        Why it cannot.
    """
    found = read(migration)
    state, who = state_of(found), at_work(migration)
    committed = watchdog.is_committed(found)
    there = bool(far and far.get("migration") == migration and far.get("commit"))
    in_charge: Literal["source", "destination", "unknown"] = "source"
    if committed or there:
        in_charge = "destination"
    elif not found and far is None:
        in_charge = "unknown"
    since = _since(found, committed)
    todo = _todo(found, state, who, committed or there, far and far.get("started"))
    lines = [f"migration {migration}: {state or 'unknown'}: {_MEANING.get(state, '')}"]
    reason = next((str(e["reason"]) for e in reversed(found) if e.get("reason")), "")
    if state in ("THAWING", "THAWED", "ABORTED") and reason:
        lines.append(f"because: {printable(reason)}")
    lines.append(f"in charge: {in_charge}" + (f", since {since}" if since else ""))
    lines.append(_there(migration, far, unreachable))
    if who is not None:
        lines.append(f"at work on it: precopy, pid {who}")
    lines.append(f"next: {todo}")
    return Status(migration, state, in_charge, since, todo, tuple(lines))


def _since(found: list[dict[str, Any]], committed: bool) -> str:
    wanted = (watchdog.COMMITTED,) if committed else ("PLAN",)
    times = [str(e.get("time", "")) for e in found if e.get("state") in wanted]
    return times[0] if times else ""


def _there(migration: str, far: dict[str, Any] | None, unreachable: str) -> str:
    if far is None:
        why = f": {printable(unreachable)}" if unreachable else ""
        return f"the destination cannot be asked{why}; what is said here is what the source knows"
    if not far.get("migration"):
        return "the destination knows nothing of it"
    if far["migration"] != migration:
        return f"the destination belongs to another migration, {printable(str(far['migration']))}"
    if not far.get("commit"):
        return "the destination says: not decided"
    started = far.get("started")
    if not started:
        return "the destination says: in charge, not started"
    runs = "runs" if started.get("running") else "does not run any more"
    return f"the destination says: in charge; what was started, pid {started.get('pid')}, {runs}"


def _todo(
    found: list[dict[str, Any]],
    state: str,
    who: int | None,
    committed: bool,
    started: dict[str, Any] | None,
) -> str:
    if who is not None:
        return "wait for it"
    if committed and state == "DONE":
        if started and not started.get("running"):  # or it has become a daemon
            return (
                "see whether the application runs there, and start it if not; what it said is in "
                ".precopy-migration/output there"
            )
        if started or any(e.get("state") == "STARTED" for e in found):
            return "nothing"
        return "start the application there, or run the same command again with --start"
    if committed:
        return "run the same command again: it does what is left, there and here"
    processes, _ = stopped(found)
    standing = [pid for pid, since in processes if proc.stands(pid) and _lives(pid, since)]
    if standing and state not in ("THAWED", "ABORTED", "WITHDRAWN"):
        return (
            f"the application stands (pid {', '.join(map(str, standing[:5]))}) and nobody is at "
            "work: run the same command again, or --abort; both let it go on"
        )
    if state == "ABORTED":
        return "--abort once more, when the destination can be reached, empties it"
    if state in ("", "WITHDRAWN"):
        return "nothing; the same command begins anew"
    rebooted = any(e.get("boot", boot_id()) != boot_id() for e in found)
    note = "; the machine was restarted since: see that the application runs" if rebooted else ""
    return f"run the same command again: it goes on with what is there; or --abort{note}"


def _lives(pid: int, started: int) -> bool:
    return watchdog.start_time(pid) == started


def abort(
    migration: str,
    connect: Callable[[], Transport],
    *,
    tell: Callable[[str], None] | None = None,
) -> list[str]:
    """Give a migration up: the application goes on here, the destination is emptied.

    Parameters
    ----------
    migration : str
    connect : callable
        Returns the destination, connected and not begun.
    tell : callable, optional
        As in `precopy.migration.transport.take`.

    Returns
    -------
    list of str
        What was done, for a person.

    Raises
    ------
    ValueError
        If there is nothing to give up: there is no such migration, or it is done.
    MigrationError
        If the destination is in charge already, or somebody is at work on it. Nothing is changed
        then.
    TransportError
        If the destination cannot be reached: the application goes on, and `abort` can be repeated.
    """
    if not read(migration):
        raise ValueError(f"migration {migration}: nothing is known of it, nothing to give up")
    with Journal(migration) as journal:
        if journal.committed:
            text = (
                f"migration {migration}: the destination is in charge since "
                f"{_since(journal.entries, True)}; that is not taken back"
            )
            if journal.state == "DONE":
                raise ValueError(f"{text}, and all is done: there is nothing to give up")
            raise CommittedError(f"{text}. Run the same command again to complete it")
        if journal.state == "WITHDRAWN":
            return [f"migration {migration} was given up before"]
        asked = _asked(journal, connect)
        standing = journal.state in STANDING
        refused = let_go_on(journal, "--abort") if standing else []
        said = [f"{who} could not be let go on" for who in refused]
        said.append("the application goes on here; the source is in charge")
        journal.enter("ABORTED", reason="--abort")
        if isinstance(asked, TransportError):
            asked.add_note(_AGAIN)
            raise asked
        left = _withdraw(journal, *asked, tell)
        said.append(
            "the destination knows nothing of it: nothing was deleted there; if a disk is not "
            "mounted there, what is on it stays"
            if left is None
            else "what the migration had put at the destination was deleted"
        )
        if left:
            names = ", ".join(printable(path) for path in left[:5])
            said.append(f"these directories there hold files of others, and stay: {names}")
        journal.enter("WITHDRAWN", left=[os.fsdecode(path) for path in left or ()])
        return said


_AGAIN = "the application goes on here; --abort once more empties the destination"


def _asked(
    journal: Journal, connect: Callable[[], Transport]
) -> tuple[Transport, bool] | TransportError:
    """Ask the destination before anybody goes on here: it may know better who is in charge.

    Returns it, and whether it knows of the migration; or why it cannot be asked.
    """
    transport = None
    try:
        transport = connect()
        far = transport.status()
    except TransportError as error:
        if transport is not None:
            transport.close()
        return error
    known = far.get("migration") == journal.migration
    if not known or not far.get("commit"):
        return transport, known
    transport.close()
    journal.enter(watchdog.COMMITTED, adopted=True, record="")
    raise MigrationError(
        "the destination's own record says that it is in charge, though the journal here does "
        "not: nothing there was deleted, and nobody was let go on here. See which side holds the "
        "newer files before the application goes on"
    )


def _withdraw(
    journal: Journal, transport: Transport, known: bool, tell: Callable[[str], None] | None
) -> list[bytes] | None:
    """Empty the destination; return which directories stay, or None if it knows nothing of it."""
    try:
        if not known:
            return None
        take(transport, journal.migration, resume=True, tell=tell)
        return transport.withdraw()
    except TransportError as error:
        error.add_note(_AGAIN)
        raise
    finally:
        transport.close()
