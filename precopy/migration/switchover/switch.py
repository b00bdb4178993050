"""Stops the application at the source, decides, and starts it at the destination; or takes it back.

    with Switch(journal, freezer, transport) as switch:
        switch.freeze()                 # FROZEN: all stand; FINAL
        ...                             # the engine sends the rest, and lets it be verified
        switch.nothing_changed(check)   # VERIFIED
        switch.commit()                 # COMMITTED, first in the source's journal, then there
        switch.start(argv)              # the source's processes are ended; STARTED; DONE

Whatever ends the block before COMMITTED lets the application go on at the source.  From COMMITTED
on the destination is in charge: nothing at the source goes on any more, and what fails (telling the
destination, the start there) is done by running the same command again.  Without a command to
start, the source's processes are ended as soon as the destination has recorded that it is in
charge: a process that stands there for good could be let go on by mistake, and there would be two.

The decision is one durable line in the source's journal.  `recover` says what a new run has to do
after any crash, `complete` does what is left after COMMITTED, `abort` gives up before it, and
`status` tells a person who is in charge.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self

from precopy._check import positive
from precopy._text import printable, printable_lines
from precopy.migration.switchover import processes as proc
from precopy.migration.switchover import watchdog
from precopy.migration.switchover.freezer import Freezer, end
from precopy.migration.switchover.guard import Guard, WatchdogError
from precopy.migration.switchover.journal import (
    Journal,
    MigrationError,
    OvertakenError,
    boot_id,
    overtaken,
    state_of,
)
from precopy.migration.switchover.processes import Process
from precopy.migration.switchover.stopping import NotStoppedError
from precopy.migration.switchover.watchdog import AFTER_COMMIT, COMMITTED
from precopy.migration.transport.interface import StartError, TransportError
from precopy.migration.transport.taking import take

if TYPE_CHECKING:
    from precopy.migration.transport.interface import Started, Transport

MAX_DOWNTIME_S = 60.0
"""How long the application may stand, unless told otherwise."""

STANDING = ("FROZEN", "FINAL", "VERIFIED", "THAWING")
"""States in which the application may stand."""


class SourceMovedError(MigrationError):
    """Something at the source changed after the application had been stopped."""


class CommittedError(MigrationError):
    """The destination is in charge, and not everything that follows from it could be done.

    Attributes
    ----------
    report : Report or None
        What was done, where this run has done it.
    """

    report: Any = None


class Switch:
    """The switch-over of one migration.

    Parameters
    ----------
    journal : Journal
    freezer : Freezer
        What is stopped.
    transport : Transport
        The destination, begun.
    max_downtime_s : float
        How long the application may stand before COMMITTED, in seconds.

    Attributes
    ----------
    stopped_at : float or None
        `time.monotonic` of the moment before the first process was stopped.
    end_s : float
        How long ending the application took, after the decision, in seconds.
    warnings : list of str
        What the operator should know.
    """

    def __init__(
        self,
        journal: Journal,
        freezer: Freezer,
        transport: Transport,
        *,
        max_downtime_s: float = MAX_DOWNTIME_S,
    ) -> None:
        self.journal, self.freezer, self.transport = journal, freezer, transport
        self.max_downtime_s = positive("max_downtime", max_downtime_s)
        self.stopped_at: float | None = None
        self.end_s = 0.0
        self.warnings: list[str] = []
        self._stop_id = f"{os.getpid()}-{time.monotonic_ns()}"
        self._begun = False
        self._overtaken = ""
        self._guard: Guard | None = None

    def __enter__(self) -> Self:
        self._guard = Guard(self.journal.path, self._stop_id, self.max_downtime_s, self._let_go_on)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        settled = False
        try:
            if self._begun and not self.journal.committed:
                self._let_go_on(_why(error))
                settled = True
                if self._overtaken and (error is None or isinstance(error, Exception)):
                    # Whatever failed then failed because of that.
                    error, cause = overtaken(self._overtaken), error
                    raise error from cause
            settled = True
        finally:
            if self._guard is not None:
                # Interrupted once more in the middle of it: then the watchdog lets the rest go on.
                self._guard.close(through=settled)
            if error is not None and self._begun and (gone := self._ended()):
                error.add_note(gone)

    def freeze(self) -> float:
        """Stop everything that moves; return how long that took, in seconds.

        Raises
        ------
        NotStoppedError, WatchdogError, OvertakenError
            If it cannot be stopped; nothing stands when the block has ended.
        """
        try:
            found = self.freezer.check()
        except ValueError as error:
            refused = NotStoppedError(str(error))
            if not self.freezer.processes:
                refused.add_note("The application has ended by itself")
            raise refused from error
        self.warnings += [text for text in found if text not in self.warnings]
        self.journal.reserve(256 * len(self.freezer.processes) + (1 << 14))
        self.stopped_at = self.freezer.stop(self._announce)
        if not self._begun:  # nobody was left to be announced: they ended just now
            ended = NotStoppedError(
                "the processes that were to be stopped have ended; if the application does not "
                "run, give --stop true"
            )
            ended.add_note("The application has ended by itself")
            raise ended
        self.journal.enter("FINAL")
        return time.monotonic() - self.stopped_at

    def _announce(self, processes: list[Process], places: list[str]) -> None:
        """Write down, and tell the watchdog, what is stopped next."""
        facts: dict[str, Any] = {
            "stop_id": self._stop_id,
            "boot": boot_id(),
            "processes": [list(process) for process in processes],
            "groups": places,
        }
        if self._begun:
            facts["more"] = True
        else:
            facts |= self.freezer.describe()
        self._begun = True
        self.journal.enter("FROZEN", **facts)
        assert self._guard is not None, "a switch-over is used in a with statement"
        self._guard.tell(processes, places)

    def nothing_changed(self, check: Callable[[], Iterable[bytes]]) -> None:
        """Make sure that nothing at the source has changed since the final scan: VERIFIED.

        Parameters
        ----------
        check : callable
            Returns the paths that have.

        Raises
        ------
        SourceMovedError
            If something has: a file, or a process that does not stand.
        """
        changed = sorted(check())
        trouble = self.freezer.trouble()
        if changed or trouble:
            raise SourceMovedError(self._who(changed, trouble))
        self._still_guarded()
        self.journal.enter("VERIFIED")

    def _who(self, changed: Sequence[bytes], trouble: Sequence[str]) -> str:
        ours = {process.pid for process in self.freezer.processes} | {os.getpid()}
        by = sorted({pid for pid, _ in proc.writers(changed, ours)})
        parts = list(trouble)
        if changed:
            names = ", ".join(printable(path) for path in changed[:5])
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            parts.append(f"{names}{more} changed")
        if by:
            who = ", ".join(proc.told(pid) for pid in by[:5])
            parts.append(f"open for writing in {who}: stop it as well (--pid), or end it")
        elif changed:
            parts.append("by whom is not known; it was none of the processes that were stopped")
        return "after the stop: " + "; ".join(parts)

    def _still_guarded(self) -> None:
        if self._guard is None or not self._guard.is_alive():
            raise WatchdogError("watchdog: it died; without it the application may not stand")

    def commit(self, record: bytes | None = None, *, wait: bool = True) -> None:
        """Decide: from here on the destination is in charge.

        Parameters
        ----------
        record : bytes, optional
            What is written down at the destination.
        wait : bool
            Whether to wait until it is durable there; without, `start` tells if it is not.

        Raises
        ------
        CommittedError
            If the destination could not be told; running again does.
        OvertakenError, SourceMovedError, WatchdogError, TransportError
            If the application goes on at the source: nothing was decided.
        """
        record = record or _record(self.journal)
        self._still_guarded()
        self.transport.check()  # while it is the source that is in charge, if it is gone
        if trouble := self.freezer.trouble(born=False):
            raise SourceMovedError(self._who([], trouble))
        self.journal.enter(COMMITTED, record=record.decode(errors="replace"))
        try:
            self.transport.commit(record, wait=wait)
        except TransportError as error:
            raise _not_told(error) from error

    def start(self, argv: Sequence[bytes] | None, cwd: bytes | None = None) -> Started | None:
        """End the application, for good, at the source and start it at the destination.

        Parameters
        ----------
        argv : sequence of bytes, optional
            What is started; without it, the application is started by somebody else.
        cwd : bytes, optional
            The directory to start it in.

        Raises
        ------
        CommittedError
            If it could not be started; running again tries once more.
        """
        if argv:
            # What it holds must be free, such as a lock file that moved and names its process.
            self._end()
        started = _start(self.journal, self.transport, argv, cwd)
        if not argv:
            self._end()
        self.journal.enter("DONE", started=started is not None)
        ours = started.pid if started else None
        self.warnings += self.freezer.restarted(wait=True, ours=ours)
        return started

    def _end(self) -> None:
        begin = time.monotonic()
        self.warnings += [f"still there: {who}" for who in self.freezer.end()]
        self.end_s = time.monotonic() - begin

    def _let_go_on(self, reason: str) -> None:
        """Let the application go on at the source, unless the destination is in charge."""
        with self.journal.decision() as found:
            if watchdog.is_committed(found):
                return
            over = watchdog.is_over(found)
            if over:
                self._overtaken = str(found[-1].get("reason", ""))
            # Whatever is wrong with the disk, the application must not stand for it.
            with suppress(OSError):
                if not over:
                    self.journal.append("THAWING", reason=reason)
            for who in self.freezer.thaw():
                self.warnings.append(f"{who} could not be let go on: not ours to signal")
            with suppress(OSError):
                if not over:
                    self.journal.append("THAWED", reason=reason)

    def _ended(self) -> str:
        """Return what to say if the stop has ended the application, so that it cannot go on."""
        if self.journal.committed:
            return ""
        left = [process for process in self.freezer.processes if not proc.is_gone(process)]
        if self.freezer.stop_by == "freeze":
            return ""
        if left:
            who = ", ".join(proc.told(process.pid) for process in left[:3])
            return (
                f"the application was asked to stop here ({self.freezer.stop_by}); {who} is there "
                "still: see whether all of it runs, it is this side that is in charge"
            )
        return (
            f"the application was ended here by the stop ({self.freezer.stop_by}) and does not "
            "run; it is still this side that is in charge: start it again as usual"
        )


# --- after a crash -------------------------------------------------------------------------------

Todo = Literal["copy", "complete", "done"]


def recover(journal: Journal, far: dict[str, Any] | None = None, *, start: bool = False) -> Todo:
    """Find out what a run of the same command has to do; what a dead one has stopped goes on.

    Parameters
    ----------
    journal : Journal
    far : dict, optional
        What the destination's records say (`Transport.status`), where it can be reached.
    start : bool
        Whether this run would start the application.

    Returns
    -------
    {"copy", "complete", "done"}
        Begin with what is at the destination; do what is left after COMMITTED; nothing.
    """
    found = journal.entries
    if not watchdog.is_committed(found):
        if far is None or far.get("migration") != journal.migration or not far.get("commit"):
            if state_of(found) in STANDING:
                let_go_on(journal, "the run that had stopped it is gone")
            return "copy"
        # The journal was lost, or its disk: the destination's record stands for it.
        journal.enter(COMMITTED, adopted=True, record=_text(far["commit"]))
    if journal.state == "DONE":
        was_started = any(entry.get("state") == "STARTED" for entry in found)
        return "complete" if start and not was_started else "done"
    return "complete"


def let_go_on(journal: Journal, reason: str) -> list[str]:
    """Let go on what the journal says was stopped; returns who could not be reached."""
    with journal.decision() as found:
        if watchdog.is_committed(found):
            return []
        processes, places = stopped(found)
        refused = watchdog.thaw(processes, places)
        with suppress(OSError):
            journal.append("THAWED", reason=reason)
    return [proc.told(pid) for pid in refused]


def stopped(found: Iterable[dict[str, Any]]) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the processes and control groups of the last stop, if it was in this boot."""
    processes: list[tuple[int, int]] = []
    places: list[str] = []
    for entry in found:
        if entry.get("state") != "FROZEN":
            continue
        if not entry.get("more"):
            processes, places = [], []
        if entry.get("boot") == boot_id():
            processes += [(int(pid), int(started)) for pid, started in entry["processes"]]
            places += entry["groups"]
    return processes, places


def complete(
    journal: Journal,
    transport: Transport,
    argv: Sequence[bytes] | None = None,
    cwd: bytes | None = None,
    *,
    tell: Callable[[str], None] | None = None,
) -> tuple[Started | None, list[str]]:
    """Do what is left after COMMITTED: tell the destination, end it here, start it there.

    Parameters
    ----------
    journal : Journal
        Of a migration for which `recover` said "complete".
    transport : Transport
        The destination, connected and not begun.
    argv, cwd
        As in `Switch.start`.
    tell : callable, optional
        As in `precopy.migration.transport.take`.

    Returns
    -------
    started : Started or None
    warnings : list of str

    Raises
    ------
    CommittedError
        If something could not be done; running again tries once more.
    """
    found = journal.entries
    journal.make_durable()  # another process may have written it, and died before it was
    record = next(e for e in found if e.get("state") in AFTER_COMMIT).get("record", "")
    try:
        take(transport, journal.migration, resume=True, tell=tell)
        transport.commit(record.encode())
    except TransportError as error:
        raise _not_told(error) from error
    left = end([Process(*process) for process in stopped(found)[0]], stopped(found)[1])
    again = _running_again(found)  # before the start: the destination may be a directory here
    if argv and again and _was_restarted(found) and not _runs_there(transport):
        who = ", ".join(proc.told(pid) for pid, _ in again[:3])
        raise CommittedError(
            f"the destination is in charge, but {who} runs here again since this machine was "
            "restarted; it was not started there, or it would run on both sides. End it here, keep "
            "its service manager from starting it, and run the same command again. What it has "
            "written here since then is not there"
        )
    started = _start(journal, transport, argv, cwd)
    journal.enter("DONE", started=started is not None)
    ours = {entry.get("started_pid") for entry in journal.entries}
    return started, [f"still there: {who}" for who in left] + [
        f"{proc.told(pid)} runs here as the application did, though the destination is in charge; "
        "end it, and keep its service manager from starting it"
        for pid, session in again
        if session not in ours
    ]


def _start(
    journal: Journal, transport: Transport, argv: Sequence[bytes] | None, cwd: bytes | None
) -> Started | None:
    try:
        if not argv:
            transport.barrier()
            return None
        started = transport.start(argv, cwd)
    except StartError as error:
        said = printable_lines(error.output[-2000:].strip())
        raise CommittedError(
            f"the destination is in charge, but the application did not start there: {error}"
            + (f"\n{said}" if said else "")
            + "\nIt does not go on here. Mend what is wrong there and run the same command again: "
            "it starts it."
        ) from error
    except TransportError as error:
        raise _not_told(error) from error
    journal.enter("STARTED", started_pid=started.pid, argv=[os.fsdecode(word) for word in argv])
    return started


def _was_restarted(found: Iterable[dict[str, Any]]) -> bool:
    return any(e.get("boot") != boot_id() for e in found if e.get("state") == "FROZEN")


def _runs_there(transport: Transport) -> bool:
    try:
        return bool((transport.status().get("started") or {}).get("running"))
    except TransportError as error:
        raise _not_told(error) from error


def _running_again(found: Iterable[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return who runs the stopped programs here again, after a reboot for example: pid, session."""
    programs = {tuple(p) for e in found for p in e.get("programs", []) if e["state"] == "FROZEN"}
    family = proc.ancestors()
    return [
        (pid, seen.session)
        for pid, seen in proc.table().items()
        if programs
        and pid not in family
        and seen.state not in "ZX"
        and (proc.program(pid), *map(os.fsdecode, proc.arguments(pid))) in programs
    ]


def _record(journal: Journal) -> bytes:
    """Return what the destination keeps about who is in charge."""
    facts = {"migration": journal.migration, "source": os.uname().nodename, "time": watchdog.now()}
    return json.dumps({"in_charge": "destination", **facts}).encode()


def _not_told(error: Exception) -> CommittedError:
    return CommittedError(
        f"the destination is in charge, but could not be reached: {error}\nThe application does "
        "not go on here. Run the same command again: it tells the destination and starts it there."
    )


def _why(error: BaseException | None) -> str:
    if error is None:
        return "the switch-over ended before the decision"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) or type(error).__name__


def _text(record: object) -> str:
    return record.decode(errors="replace") if isinstance(record, bytes) else str(record)


__all__ = ["CommittedError", "OvertakenError", "SourceMovedError", "Switch"]
