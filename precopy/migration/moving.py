"""A whole migration: copy while the application runs, stop it, send the rest, decide, start."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from precopy import stop as rules
from precopy._check import bytes_text
from precopy._text import error_text, printable
from precopy.migration.ending import RuleEnding
from precopy.migration.engine import Engine
from precopy.migration.interrupts import Interrupts
from precopy.migration.observer import Observer
from precopy.migration.outcome import Times, nothing, outcome, started_there, told
from precopy.migration.pending import Granularity
from precopy.migration.prediction import Prediction
from precopy.migration.rehearsal import no_collections, rehearse, rehearse_once
from precopy.migration.report import Report, number_text, seconds_text
from precopy.migration.settings import Command, Link, Settings
from precopy.migration.source.blocks import BLOCK_BYTES, Blocks
from precopy.migration.source.dirty import Dirty
from precopy.migration.source.tree import Tree
from precopy.migration.subject import Subject, What, grouped, named
from precopy.migration.switchover.journal import Journal, MigrationError, read
from precopy.migration.switchover.processes import Process, stands
from precopy.migration.switchover.processes import told as told_of
from precopy.migration.switchover.switch import (
    MAX_DOWNTIME_S,
    CommittedError,
    Switch,
    Todo,
    complete,
    recover,
    stopped,
)
from precopy.migration.switchover.watchdog import is_committed
from precopy.migration.transport import connect, take
from precopy.migration.transport.interface import Transport, TransportError
from precopy.migration.work import FileWork
from precopy.options import Budget, LiveFrequency, Order


class Migration:
    """One migration, stage by stage; `run` does all of them.

    Parameters
    ----------
    what : Identification, path or iterable of path
    settings : Settings
    observer : Observer
    """

    def __init__(self, what: What, settings: Settings, observer: Observer | None = None) -> None:
        self.settings, self.observer = settings, observer or Observer()
        self._what = what
        self._prediction = Prediction()
        self._notes: list[str] = []

    def run(self) -> Report:
        """Migrate; whatever ends this before the decision leaves the application running here."""
        with ExitStack() as stack:
            self._name, self._migration = named(self._what, self.settings.to)
            if is_committed(read(self._migration)) and (report := self._go_on(stack)) is not None:
                return report
            subject = self._subject = Subject.of(self._what, self.settings, stack)
            for note in subject.notes:
                self._note(note)
            if self.settings.local_target is not None:
                subject.selection.refuse_target(self.settings.local_target)
            self._journal = stack.enter_context(Journal(subject.migration))
            far = self._reach(stack)
            if (todo := self._todo(far)) != "copy":
                return self._completed(todo, stack)
            resumes = far.get("migration") == subject.migration
            with Interrupts() as self._interrupts:
                self._begin(stack, resumes)
                try:
                    self._copy()
                    return self._finish()
                except CommittedError:
                    raise
                except Exception as error:
                    if self._journal.committed:
                        raise CommittedError(
                            "the destination is in charge; but then: "
                            f"{error or type(error).__name__}; run the same command again, it does "
                            "what is left"
                        ) from error
                    if isinstance(error, (OSError, ValueError)):
                        raise MigrationError(error_text(error)) from error
                    raise

    def _go_on(self, stack: ExitStack) -> Report | None:
        """Complete what an earlier run has decided: its processes and files need not be there.

        None if it is done and was taken away there since: then another migration begins.
        """
        journal = self._journal = stack.enter_context(Journal(self._migration))
        done, since = journal.state == "DONE", journal.committed_at
        try:
            far = self._reach(stack)
        except TransportError as error:
            if not done or self.settings.argv:
                raise CommittedError(
                    f"the destination is in charge since {since}, but cannot be reached: {error}"
                ) from error
            self._note(f"the destination could not be asked: {error}")
            return self._completed("done", stack)
        if far.get("migration") == self._migration:
            if done:
                self._refuse_if_running(stack, since)
            return self._completed(self._todo(far), stack)
        to = printable(self.settings.to)
        if not done:
            raise CommittedError(
                f"{to} is in charge since {since}, but holds nothing of this migration any more. "
                "Bring it back, and run the same command again. If it is lost, the files here are "
                f"as they were at the stop: delete {printable(journal.path)}, and start the "
                "application here"
            )
        self._note(f"what was moved to {to} at {since} is not there any more; it is moved anew")
        journal.put_aside()
        self._transport.close()
        return None

    def _refuse_if_running(self, stack: ExitStack, since: str) -> None:
        """Refuse to call it done where the application runs here, too."""
        running = [told_of(process.pid) for process in self._processes(stack)]
        if running:
            raise ValueError(
                f"to: {printable(self.settings.to)} holds what was moved there at {since}, and is "
                f"in charge, but the application runs here, too: {', '.join(running[:3])}. To move "
                "it once more, choose another directory, or delete that one first"
            )

    def _processes(self, stack: ExitStack) -> list[Process]:
        """Return what would be stopped here, if anything is left of it."""
        try:
            return Subject.of(self._what, self.settings, stack).freezer.processes
        except (ValueError, OSError):
            return []

    def _refuse_two(self, stack: ExitStack) -> None:
        """Where the journal was lost, and with it who was stopped, let nobody run on both sides."""
        entries = self._journal.entries
        if not any(entry.get("adopted") for entry in entries):
            return
        lost = (
            "the destination's own record says that it is in charge, but the journal here, which "
            "would say who was stopped, was lost"
        )
        stopped_here, _ = stopped(entries)
        here = [
            f"{told_of(process.pid)} {'stands' if stands(process.pid) else 'runs'}"
            for process in self._processes(stack)
            if process not in stopped_here or not stands(process.pid)
        ]
        if here:
            raise CommittedError(
                f"{lost}, and the application is here: {', '.join(here[:3])}. Nothing was ended "
                "here and nothing was started there, or it would run on both sides. Who stands "
                "was stopped for the move: end it (kill -9). Who runs may have written here since: "
                "see which side holds the newer files. If it is this one, delete "
                f"{printable(self._journal.path)} and what is in {printable(self.settings.to)}; "
                "if not, end it, and run the same command again"
            )
        asserted = self.settings.stop in ("freeze", "term", "true")
        if self.settings.argv and not asserted:
            raise CommittedError(
                f"{lost}: whether the application runs here is not known, so it was not started "
                "there. See that it does not run here, and run the same command again with --stop "
                "true"
            )
        self._note(f"{lost}: see that the application does not run here")

    def _reach(self, stack: ExitStack) -> dict[str, Any]:
        """Connect, and ask what is known there; whoever stands goes on if nobody answers."""
        try:
            self._transport = self._connect(stack)
            return self._transport.status()
        except TransportError:
            self._todo(None)
            raise

    def _todo(self, far: dict[str, Any] | None) -> Todo:
        return recover(self._journal, far, start=bool(self.settings.argv))

    def _connect(self, stack: ExitStack) -> Transport:
        settings = self.settings
        self.observer.stage("connect", f"connecting to {printable(settings.to)}")
        transport = connect(
            settings.to,
            bandwidth=settings.bandwidth,
            ssh=settings.ssh,
            transport=settings.transport,
        )
        stack.callback(transport.close)
        return transport

    # --- before the stop --------------------------------------------------------------------------

    def _begin(self, stack: ExitStack, resumes: bool) -> None:
        subject, settings, transport = self._subject, self.settings, self._transport
        self._began = time.monotonic()
        tree = self._tree = Tree(subject.selection)
        processes = [process.pid for process in subject.freezer.processes]
        dirty = self._dirty = Dirty(tree, processes, subject.log, subject.applications)
        stack.callback(dirty.stop)
        dirty.start()
        self._work = FileWork(
            tree,
            dirty,
            Blocks(),
            transport,
            settings.policy,
            settings.granularity,
            subject.history(),
            has_log=subject.log is not None,
        )
        self._work.scan()
        self._check_budget()
        for note in [*grouped(dirty.deleted_files()), *subject.unwatched()]:
            self._note(note)
        self._tell_problems()
        self._journal.enter("PLAN", what=subject.name, to=settings.to)
        resumes = take(
            transport, subject.migration, resume=resumes, merge=settings.merge, tell=self._wait
        )
        there = self._there = transport.listing() if resumes else {}
        try:
            self._check_space(sum(size for _, size in there.values()))
        except OSError:
            if not resumes:
                with suppress(Exception):
                    transport.withdraw()
            raise

    def _check_budget(self) -> None:
        """Refuse a file that would block all behind it, as `precopy.simulate` does."""
        settings = self.settings
        if settings.budget != "whole" or settings.bandwidth is None:
            return
        budget = round(settings.bandwidth * settings.pace.seconds)
        for entry in self._work.tree.files():
            size = entry.status.size
            unit = size if settings.granularity == "file" else min(size, BLOCK_BYTES)
            if unit > budget:
                raise ValueError(
                    f"budget: got 'whole' with {bytes_text(budget)} per cycle, which "
                    f"{printable(entry.path)} of {bytes_text(size)} never fits; use 'carry' or "
                    "longer cycles"
                )

    def _check_space(self, there_bytes: int) -> None:
        free = self._transport.free_bytes() + there_bytes
        needed = self._work.tree.total_bytes
        if needed > free:
            needed = self._work.allocated_bytes()
        if needed > free:
            raise OSError(
                f"to: {printable(self.settings.to)} has {bytes_text(free)} free, expected at "
                f"least {bytes_text(needed)}"
            )

    def _copy(self) -> None:
        settings, work, there = self.settings, self._work, self._there
        self._journal.enter("COPY")
        if there:
            self._note(f"resumes: {len(there):,} files and directories are there already")
        work.begin(there)
        self.observer.stage(
            "copy",
            f"{self._subject.name}: {number_text(work.tree.counts_by_kind()['file'], 'file')}, "
            f"{bytes_text(work.tree.total_bytes)}; until {settings.rule}",
        )
        ending = RuleEnding(
            settings.rule, lambda: work.pending.total_bytes, self._outrun, self._note
        )
        self._engine = Engine(
            work, settings.pace, self._predict, ending, rehearse=self._rehearse_once
        )
        self._stopped_because = self._engine.run(self._cycle)

    def _cycle(self, record: Any) -> None:
        self.observer.cycle(len(self._engine.curves), record)
        freezer = self._subject.freezer
        begin = time.monotonic()
        freezer.refresh()
        self._prediction.looked_at_processes(time.monotonic() - begin)
        self._dirty.follow(process.pid for process in freezer.processes)
        self._transport.bandwidth = self._engine.bandwidth
        self._prediction.rehearsed_s = None

        self._tell_problems()

    def _tell_problems(self) -> None:
        """Say what does not move while the application still runs here."""
        for note in grouped(self._work.problems):
            self._note(note)

    def _rehearse_once(self, engine: Engine) -> int:
        return rehearse_once(self._work, engine, self._prediction)

    def _predict(self, engine: Engine) -> float:
        prediction, work = self._prediction, self._work
        prediction.scan_s = work.found.scan.seconds
        prediction.round_trip_s = work.round_trip_s
        return prediction.estimated(work.pending.waiting_bytes, engine.bandwidth, work.look_seconds)

    def _outrun(self, text: str) -> None:
        held = self._work.pending.hold_out(self._engine.budget_bytes)
        if not held.units:
            self._note(text)
            return
        left_s = held.left_bytes / (self._engine.bandwidth or float("inf"))
        self._note(
            f"{text}; {held.units:,} units that are written again before they are sent are held "
            f"back until the application stands; about {bytes_text(held.left_bytes)} will be left "
            f"then, {left_s:.2g} s of the link"
        )

    # --- the stop ---------------------------------------------------------------------------------

    def _finish(self) -> Report:
        work, journal = self._work, self._journal
        self.observer.stage("drain", f"stops now: {self._stopped_because}")
        begin = time.monotonic()
        journal.enter("DRAIN", because=self._stopped_because)
        self._prediction.journal_s = time.monotonic() - begin
        with (
            no_collections(),
            Switch(
                journal,
                self._subject.freezer,
                self._transport,
                max_downtime_s=self.settings.max_downtime_s,
            ) as switch,
        ):
            predicted_s = rehearse(work, self._engine, self._prediction, self.observer.rehearsal)
            self._check_prediction(predicted_s)
            precopy_s = time.monotonic() - self._began
            before = work.pending.precopy_bytes, work.pending.resent_bytes
            work.reset_spent()
            freeze_s = switch.freeze()
            units = work.send_all(final=True)
            if unread := work.unread():
                raise MigrationError(
                    f"{unread[0]} (and {len(unread) - 1:,} more); so it is not known whether all "
                    "is there. Mend that"
                )
            switch.nothing_changed(work.changed_paths)
            at_commit = time.monotonic()
            self._interrupts.decided()
            decided, started, failed = at_commit, None, None
            try:
                switch.commit()
                decided = time.monotonic()
                started = switch.start(self.settings.argv, self._start_directory())
            except CommittedError as error:  # told below, with what has been done
                failed = error
                self._note("it is not all done: the downtime goes on")
        for warning in switch.warnings:
            self._note(warning)
        if self._interrupts.late:
            self._note("the interruption came after the decision, so all was completed")
        for note in told(work):
            self._note(note)
        times = Times(
            precopy_s=precopy_s,
            predicted_s=predicted_s,
            stopped_at=switch.stopped_at or at_commit,
            freeze_s=freeze_s,
            at_commit=at_commit,
            decided=decided,
            start_s=None
            if started is None
            else switch.end_s + started.seconds + self._prediction.round_trip_s / 2,
        )
        report = replace(
            outcome(self._subject, self.settings, work, self._engine, times),
            stopped_because=self._stopped_because,
            precopy_bytes=before[0],
            resent_bytes=before[1],
            final_copy_bytes=int(work.pending.cost_bytes[units].sum()),
            final_copy_files=len(work.units.files(units)),
            started=started_there(started, self.settings.argv),
            notes=list(self._notes),
            layers=dict(self._dirty.layers),
        )
        if failed is not None:
            failed.report = report
            raise failed
        return report

    def _check_prediction(self, predicted_s: float) -> None:
        longest_s = self.settings.max_downtime_s
        if predicted_s > longest_s:
            raise MigrationError(
                f"it was not stopped: it would stand for about {seconds_text(predicted_s)}, and "
                f"--max-downtime allows {seconds_text(longest_s)}; give another, or a rule that "
                "waits for a shorter one"
            )

    def _start_directory(self) -> bytes | None:
        directory = self.settings.start_directory
        return None if directory is None else os.fsencode(directory)

    # --- telling ----------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)
            self.observer.note(text)

    def _wait(self, text: str) -> None:
        self.observer.stage("wait", text)

    def _completed(self, todo: Todo, stack: ExitStack) -> Report:
        """Do what an earlier run has left after its decision."""
        started, link_bytes = None, 0
        if todo == "complete":
            self._refuse_two(stack)
            started, warnings = complete(
                self._journal,
                self._transport,
                self.settings.argv,
                self._start_directory(),
                tell=self._wait,
            )
            for warning in warnings:
                self._note(warning)
            link_bytes = self._transport.link_bytes
        self._note(
            "an earlier run of this command had decided: the destination is in charge since "
            f"{self._journal.committed_at}"
            + ("; what was left to do is done now" if todo == "complete" else ", and all is done")
        )
        return replace(
            nothing(self._migration, self._name, self.settings),
            link_bytes=link_bytes,
            stopped_because="an earlier run had decided",
            started=started_there(started, self.settings.argv),
            notes=list(self._notes),
        )


def migrate(
    what: What,
    to: str,
    *,
    log: str | os.PathLike[str] | None = None,
    granularity: Granularity = "block",
    order: Order = "update-frequency",
    frequency: LiveFrequency = "count",
    half_life: float | None = None,
    budget: Budget = "carry",
    read_only_first: bool = True,
    bandwidth: float | None = None,
    cycle_seconds: float | None = None,
    cycle_writes: int | None = None,
    threshold_bytes: float | None = None,
    downtime_s: float | None = None,
    until: str | rules.Rule | None = None,
    pids: Sequence[int] = (),
    cgroup: str | os.PathLike[str] | None = None,
    stop: str = "freeze",
    max_downtime_s: float = MAX_DOWNTIME_S,
    start: Command | None = None,
    start_directory: str | None = None,
    transport: Link = "channel",
    ssh: str | Sequence[str] | None = None,
    programs: bool = False,
    merge: bool = False,
    accept_incomplete: bool = False,
    observer: Observer | None = None,
) -> Report:
    """Move a running application's files, and with them the application.

    Parameters
    ----------
    what : Identification, path, or iterable of path
        What moves: what `precopy.access.identify` found, or files, and directories with all in
        them.
    to : str
        Where to: ``DIR``, ``HOST:DIR`` or ``USER@HOST:DIR``. A file ``/a/b`` arrives as
        ``DIR/a/b``.
    log : path, optional
        The access log: it knows the processes, and which files were written how often.
    granularity : {"block", "file"}
        What is ranked and sent: changed blocks, or whole files as in the paper.
    order, frequency, half_life, budget, read_only_first
        How pending blocks or files are ranked and taken, as for `precopy.simulate`.
    bandwidth : float, optional
        Bytes per second of the link; by default it is measured.
    cycle_seconds : float, optional
        How long a cycle is; by default 1 s.
    cycle_writes : int, optional
        How many writes, as the log counts them, make a cycle; in place of `cycle_seconds`.
    threshold_bytes : float, optional
        The application is stopped when at most so much is pending.
    downtime_s : float, optional
        It is stopped when the predicted downtime is at most so long.
    until : str or precopy.stop.Rule, optional
        It is stopped when this rule holds. Without any of the three, the rule is
        ``downtime(0.1) | stall(10) & dip(0.1)``.
    pids : sequence of int, optional
        Processes to be stopped, with their descendants; by default those in the log.
    cgroup : path, optional
        A control group (version 2) whose processes are stopped.
    stop : str
        ``"freeze"``, ``"term"``, or a command that stops the application.
    max_downtime_s : float
        How long the application may stand before the decision, in seconds; then it goes on here.
    start : str or sequence of str, optional
        What is started at the destination; no shell sees it.
    start_directory : str, optional
        Where it is started, a directory of the destination; relative ones start at `to`.
    transport : {"channel", "rsync"}
        rsync: for ``granularity="file"``, where the other side has no Python.
    ssh : str or sequence of str, optional
        The ssh client with its options; by default ``PRECOPY_SSH``, or ``ssh``.
    programs : bool
        Whether the programs of an identification move as well.
    merge : bool
        Whether the destination may hold other things; nothing of them is replaced or deleted.
    accept_incomplete : bool
        Whether a log that is incomplete will do.
    observer : Observer, optional
        Told of the progress.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError, OSError
        For what cannot be done; nothing was touched.
    MigrationError, TransportError
        If it failed on the way. Before the decision the application runs on here, and the same
        call resumes.
    KeyboardInterrupt
        After Ctrl-C before the decision: the application runs on here.

    References
    ----------
    Paper, section 2.2.
    """
    options = dict(locals())
    what, observer = options.pop("what"), options.pop("observer")
    return Migration(what, Settings(**options), observer).run()
