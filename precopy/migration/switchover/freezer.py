"""Stops the processes of the applications that move, all together, and lets them go on.

Three ways.  ``freeze``: they stand still, and go on as if nothing had been if the migration fails:
the control group (version 2) that holds them and nobody else is frozen as a whole; where there is
none, every process gets SIGSTOP until all of them and all of their threads are in state T, children
that were born meanwhile included.  ``term``: they get SIGTERM and end.  A command of the
operator's: it must end with status 0, and then they must be gone, or stand.

What each leaves to see: SIGSTOP shows to the parent (a shell says "Stopped"), and a call that waits
(``epoll_wait``, ``nanosleep`` …) may return early once with EINTR, as after Ctrl-Z and ``fg``; a
frozen group shows nothing.  No process is moved into a group of ours: it would lose its limits and
the service manager that knows it by its group.

Who is stopped: the processes given or found in the log, with all their descendants.  A child whose
parent ends before it was seen is still known by its process group, its session, or the recorder's
variables.  Never this process and its ancestors, the recorder of a log, kernel threads.  Those
that stood before us stay so.  A process that is traced is refused: its tracer lets it go on when it
likes.

Invariants: `announce` is told of every process before it is stopped; a signal goes to a pid only
while its start time fits.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from precopy.migration.switchover import groups, watchdog
from precopy.migration.switchover import processes as proc
from precopy.migration.switchover.members import Members, in_group, recorded, with_pids
from precopy.migration.switchover.processes import Process, Seen
from precopy.migration.switchover.stopping import NotStoppedError, run, split

if TYPE_CHECKING:
    from precopy.access.log import AccessLog

Announce = Callable[[list[Process], list[str]], None]
"""Called with the processes and the control groups that are stopped next."""

FREEZE_S, TERM_S = 10.0, 60.0
"""How long it may take until all stand, or have ended, unless told otherwise."""

_FIRST_LOOK_S, _LOOK_S, _LONGEST_LOOK_S = 0.0002, 0.0005, 0.02
_LET_GO_AFTER_S = 0.005
_SUPERVISOR_S = 0.5


class Freezer:
    """The processes that are stopped; made by `from_pids`, `from_group` or `from_log`.

    Parameters
    ----------
    find : callable
        Returns the processes to begin with, whenever it is called.
    stop : str
        ``"freeze"``, ``"term"``, or a command.
    timeout_s : float, optional
        How long stopping may take, in seconds; by default `FREEZE_S`, or `TERM_S` where processes
        are to end.
    group : Path, optional
        The control group that was asked for.

    Attributes
    ----------
    stop_by : str
        As given.
    stopped : list of Process
        Those that would go on after `thaw`; empty before the stop.
    group : Path or None
        The control group that is, or will be, frozen.
    """

    def __init__(
        self,
        find: Callable[[], Iterable[Process]],
        *,
        stop: str = "freeze",
        timeout_s: float | None = None,
        group: Path | None = None,
    ) -> None:
        self.stop_by = stop
        self._timeout_s = timeout_s or (FREEZE_S if stop == "freeze" else TERM_S)
        self._command = [] if stop in ("freeze", "term") else split(stop)
        self._members = Members(find)
        self.group = self._asked_group = group
        self.stopped: list[Process] = []
        self._frozen_groups: list[Path] = []
        self._stood: set[Process] = set()
        self._signatures: set[tuple[str, tuple[bytes, ...]]] = set()
        self._is_supervised = False
        self._sending = threading.Lock()
        self._is_over = False

    # --- who --------------------------------------------------------------------------------------

    @classmethod
    def from_pids(
        cls, pids: Iterable[int], *, stop: str = "freeze", timeout_s: float | None = None
    ) -> Self:
        """Return what stops these processes and their descendants.

        Raises
        ------
        ValueError
            If one is no process, or one that must not be stopped.
        """
        return cls(with_pids(pids), stop=stop, timeout_s=timeout_s)

    @classmethod
    def from_group(
        cls, path: str | os.PathLike[str], *, stop: str = "freeze", timeout_s: float | None = None
    ) -> Self:
        """Return what stops the processes of a control group of version 2, and their descendants.

        Raises
        ------
        ValueError
            If there is no such group, or it holds what must not be stopped.
        """
        group, find = in_group(path)
        return cls(find, stop=stop, timeout_s=timeout_s, group=group)

    @classmethod
    def from_log(
        cls,
        log: AccessLog,
        applications: Iterable[str],
        *,
        stop: str = "freeze",
        timeout_s: float | None = None,
    ) -> Self:
        """Return what stops the processes of recorded applications that still live.

        Raises
        ------
        ValueError
            If none does, and `stop` is no command.
        """
        names = list(applications)
        find = recorded(log, names)
        freezer = cls(find, stop=stop, timeout_s=timeout_s)
        if not freezer.processes and stop in ("freeze", "term"):
            raise ValueError(
                f"no process of {', '.join(map(repr, names))} in the log is running; name those to "
                "be stopped by --pid or --cgroup, or, if the application does not run, give "
                "--stop true"
            )
        freezer._members.log = log.path
        return freezer

    @property
    def processes(self) -> list[Process]:
        """Those that are to be stopped, as last seen."""
        return [seen.process for seen in self._members.known.values()]

    def refresh(self) -> None:
        """Look who belongs to the applications now; cheap enough for every cycle."""
        self._members.refresh()

    # --- before anything is stopped ---------------------------------------------------------------

    def check(self) -> list[str]:
        """Find out what stands against stopping, while nothing is stopped yet.

        Returns
        -------
        list of str
            What the operator should know: a service manager that will start the application anew.

        Raises
        ------
        ValueError
            If a process cannot be stopped: another user's, traced, or none is left.
        """
        self.refresh()
        if not self._members.known and not self._command:
            raise ValueError(
                "the processes that were to be stopped have ended; name others by --pid or "
                "--cgroup, or, if the application does not run, give --stop true"
            )
        for pid in self._members.known:
            try:
                os.kill(pid, 0)
            except PermissionError:
                owner = os.stat(f"/proc/{pid}").st_uid
                raise ValueError(
                    f"pid: {proc.told(pid)} belongs to user {owner}, expected a process that we "
                    "may stop; run as that user, or as root"
                ) from None
            except ProcessLookupError:
                continue
            if self.stop_by == "freeze" and (by := proc.tracer(pid)) and not self._choose_group():
                raise ValueError(
                    f"pid: {proc.told(pid)} is traced by {proc.told(by)}, which may let it go on "
                    "at any moment; detach it first, or use --stop term"
                )
        units = sorted({unit for pid in self._members.known if (unit := proc.service(pid))})
        return [
            f"systemd keeps {unit}: once its processes end it may start the application here "
            f"again; --stop 'systemctl stop {unit}' prevents it"
            for unit in units
            if not self._command
        ]

    def _choose_group(self) -> Path | None:
        """Return the group to freeze: the one that was asked for, or one that holds just these."""
        group = self._asked_group or groups.common(self._members.known)
        return group if group and groups.is_usable(group, self._members.strangers) else None

    # --- the stop ---------------------------------------------------------------------------------

    def stop(self, announce: Announce) -> float:
        """Stop everything.

        Parameters
        ----------
        announce : callable
            Called with processes and control groups before they are stopped: what it is told would
            have to be let go on.

        Returns
        -------
        float
            `time.monotonic` of the moment before the first was stopped.

        Raises
        ------
        NotStoppedError
            If not all could be stopped in time.  `thaw` lets go on what was.
        """
        self._members.begin_stop()
        roots = self._members.roots()
        self._signatures = {proc.command(pid) for pid in roots}
        self._signatures.discard(("", ()))
        parents = {self._members.known[pid].parent for pid in roots} - proc.ancestors()
        self._is_supervised = any(not proc.is_recorder(pid) for pid in parents) or any(
            proc.service(pid) for pid in roots
        )
        if self._command:
            return self._stop_by_command(announce)
        if self.stop_by == "term":
            return self._stop_by_term(announce)
        self.group = self._choose_group()
        if self.group is None or groups.is_frozen(self.group):
            self.group = None
            return self._freeze_by_signals(announce)
        began = self._freeze_group(self.group, announce)
        if self._outside(self.group):  # somebody has left it: then all of them by signals
            watchdog.thaw([], [str(self.group)])
            self.group, self._frozen_groups = None, []
            self._freeze_by_signals(announce)
        return began

    def _outside(self, group: Path) -> bool:
        """Tell whether somebody of ours is not in the frozen group."""
        self._members.grow()
        with suppress(OSError):
            inside = groups.members(group)
            return any(p.pid not in inside and not proc.is_gone(p) for p in self.processes)
        return True

    def _freeze_group(self, group: Path, announce: Announce) -> float:
        announce([], [str(group)])
        self._frozen_groups.append(group)
        began = time.monotonic()
        try:
            with self._sending:
                self._go_on_stopping()
                (group / "cgroup.freeze").write_text("1")
            if groups.wait(group, began + self._timeout_s):
                return began
        except OSError as error:
            raise NotStoppedError(f"cgroup: cannot freeze {group}: {error.strerror}") from error
        raise NotStoppedError(self._too_late("did not freeze", _is_stuck))

    def _freeze_by_signals(self, announce: Announce) -> float:
        began, pause, quiet = 0.0, _FIRST_LOOK_S, 0
        told: set[Process] = set(self._stood)
        running_since: dict[int, float] = {}
        while quiet < 2:
            new = [seen for seen in self._members.known.values() if seen.process not in told]
            told.update(seen.process for seen in new)
            began = self._stop_these(new, announce, began)
            running = [
                pid
                for pid, seen in self._members.known.items()
                if seen.process not in self._stood and not proc.stands(pid)
            ]
            self._go_on_stopping()
            now = time.monotonic()
            running_since = {pid: running_since.get(pid, now) for pid in running}
            if running and now > began + self._timeout_s:
                raise NotStoppedError(
                    self._too_late("did not stop", lambda pid: not proc.stands(pid))
                )
            if running:
                self._let_out(pid for pid in running if now - running_since[pid] > _LET_GO_AFTER_S)
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_LOOK_S) if pause > _FIRST_LOOK_S else _LOOK_S
            born = self._members.grow()
            quiet = 0 if new or running or born else quiet + 1
        return began

    def _stop_these(self, new: list[Seen], announce: Announce, began: float) -> float:
        """Stop processes, those that stand already apart; returns when the first was stopped."""
        stood = [seen.process for seen in new if _stands(seen.process.pid)]
        self._stood.update(stood)
        moving = [seen.process for seen in new if seen.process not in self._stood]
        if moving:
            announce(moving, [])
            self.stopped += moving
        began = began or time.monotonic()
        for process in moving:
            self._send(process, signal.SIGSTOP)
        return began

    def _send(self, process: Process, number: int) -> None:
        """Send a signal; none after `thaw`, which another thread may have called."""
        with self._sending:
            self._go_on_stopping()
            try:
                watchdog.send_signal(*process, number)
            except PermissionError as error:
                raise NotStoppedError(f"pid: {proc.told(process.pid)}: {error.strerror}") from error

    def _go_on_stopping(self) -> None:
        if self._is_over:
            raise NotStoppedError("the stop was given up before all processes stood")

    def _let_out(self, waiting: Iterable[int]) -> None:
        """Help processes that cannot stop since they wait for a child of theirs.

        vfork() waits, deaf to signals, until the child has become another program; if the child
        stands before that, neither ever stops.  The child goes on for a moment.
        """
        for pid in waiting:
            if any(thread.state == "D" for thread in proc.threads(pid)):
                for seen in self._members.known.values():
                    if seen.parent == pid and seen.process not in self._stood:
                        self._send(seen.process, signal.SIGCONT)
                time.sleep(0.001)
                for seen in self._members.known.values():
                    if seen.parent == pid and seen.process not in self._stood:
                        self._send(seen.process, signal.SIGSTOP)

    def _stop_by_term(self, announce: Announce) -> float:
        announce([], [])
        began = time.monotonic()
        asked: set[Process] = set()
        everybody: dict[Process, None] = {}
        pause = _LOOK_S
        while True:
            everybody.update(dict.fromkeys(self.processes))
            alive = [process for process in everybody if not proc.is_gone(process)]
            if not alive:
                return began
            # Those at the top end their children as they are used to; then whoever is left.
            for process in [p for p in alive if p.pid in self._members.roots()] or alive:
                if process not in asked:
                    asked.add(process)
                    self._send(process, signal.SIGTERM)
            if time.monotonic() > began + self._timeout_s:
                raise NotStoppedError(
                    self._too_late("did not end after SIGTERM", lambda pid: True)
                    + "; those that have ended must be started again"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_S)
            self._members.grow()

    def _stop_by_command(self, announce: Announce) -> float:
        self._stood = {process for process in self.processes if _stands(process.pid)}
        announce([], [])
        began = time.monotonic()
        run(self._command, self._timeout_s)
        pause = _LOOK_S
        while True:
            self._members.grow(all_of_them=True)
            alive = [process for process in self.processes if not proc.is_gone(process)]
            running = [process for process in alive if not _stands(process.pid)]
            if not running:
                break
            if time.monotonic() > began + self._timeout_s:
                raise NotStoppedError(
                    f"stop: {self.stop_by!r} ended with status 0, but these still run: "
                    + ", ".join(proc.told(process.pid) for process in running[:5])
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_S)
        self._take_over([process for process in alive if process not in self._stood], announce)
        return began

    def _take_over(self, standing: list[Process], announce: Announce) -> None:
        """Note what a command has stopped: if the migration fails it is ours to let go on."""
        frozen = {
            group for p in standing if (group := groups.of(p.pid)) and groups.is_frozen(group)
        }
        by_signal = [process for process in standing if proc.stands(process.pid)]
        if standing:
            announce(by_signal, [str(group) for group in frozen])
            self.stopped += by_signal
            self._frozen_groups += frozen

    def _too_late(self, what: str, which: Callable[[int], bool]) -> str:
        rows = []
        for process in self.processes:
            if proc.is_gone(process) or not which(process.pid):
                continue
            states = {thread.state for thread in proc.threads(process.pid)}
            why = ""
            if proc.tracer(process.pid):
                why = f", traced by {proc.told(proc.tracer(process.pid))}"
            elif "D" in states:
                why = ", waits in the kernel (state D), usually for a disk or a network file system"
            elif "T" in states:
                why = ", is stopped"
            rows.append(proc.told(process.pid) + why)
        return f"{len(rows)} of the processes {what} in {self._timeout_s:g} s: " + "; ".join(
            rows[:5]
        )

    # --- while they stand, and after --------------------------------------------------------------

    def trouble(self, born: bool = True) -> list[str]:
        """Return what shows that the applications do not stand any more; empty if they do.

        Parameters
        ----------
        born : bool
            Whether to look for new processes, too.
        """
        new = self._members.grow() if born else []
        found = [f"{proc.told(seen.process.pid)} was born after the stop" for seen in new]
        frozen = {group for group in self._frozen_groups if groups.is_frozen(group)}
        for group in set(self._frozen_groups) - frozen:
            if groups.members(group):
                found.append(f"control group {group} was let go on by somebody else")
        # In a group that is frozen as a whole nobody has to be looked at one by one.
        for process in self.processes if self.group not in frozen else ():
            if not (_stands(process.pid) or proc.is_gone(process)):
                found.append(f"{proc.told(process.pid)} was let go on by somebody else")
        return found + (self.restarted() if born else [])

    def restarted(self, wait: bool = False, ours: int | None = None) -> list[str]:
        """Return who runs the same programs, with the same arguments, since the stop.

        Parameters
        ----------
        wait : bool
            Whether to give a supervisor the time it needs, if there may be one.
        ours : int, optional
            The session of what was started at the destination, which may be this machine.
        """
        if not self._signatures or (self.stop_by == "freeze" and self._stand()):
            return []
        give_up_at = time.monotonic() + (_SUPERVISOR_S if wait and self._is_supervised else 0)
        while not (found := self._twins(ours)) and time.monotonic() < give_up_at:
            time.sleep(_LONGEST_LOOK_S)
        return found

    def _twins(self, ours: int | None) -> list[str]:
        found = []
        for pid, seen in proc.table(self._members.strangers).items():
            if (
                seen.process.start_time < self._members.since
                or pid in self._members.known
                or seen.state in "ZX"
                or seen.session == ours
            ):
                continue
            if proc.command(pid) in self._signatures:
                unit = proc.service(pid)
                how = f"systemctl disable --now {unit}" if unit else "its supervisor's own command"
                found.append(
                    f"{proc.told(pid)} was started since the stop, by {proc.told(seen.parent)}, "
                    f"with the command line of a process that was stopped; end it with {how}"
                )
        return found

    def _stand(self) -> bool:
        return any(not proc.is_gone(process) for process in self.processes)

    def thaw(self) -> list[str]:
        """Let go on what was stopped, for good; returns who could not be reached."""
        with self._sending:
            self._is_over = True
            places = [str(group) for group in self._frozen_groups]
            refused = watchdog.thaw(list(self.stopped), places)
        return [proc.told(pid) for pid in refused]

    def end(self, timeout_s: float = 10.0) -> list[str]:
        """End what stands, for good (SIGKILL); returns who is still there after the time-out."""
        return end(self.processes, [str(group) for group in self._frozen_groups], timeout_s)

    def describe(self) -> dict[str, object]:
        """Return what the journal keeps, so that a later run knows who this was."""
        return {
            "stop": self.stop_by,
            "programs": [
                [program, *(os.fsdecode(word) for word in words)]
                for program, words in sorted(self._signatures)
            ],
        }


def end(processes: Iterable[Process], places: Iterable[str], timeout_s: float = 10.0) -> list[str]:
    """Kill processes that stand, and wait until they are gone; returns who is not."""
    wanted = list(processes)
    # A group that does not stand any more was let go on since: what is in it is not known to us.
    frozen = [place for place in places if groups.is_to_stand(Path(place))]
    for place in frozen:
        with suppress(OSError):
            inside = [proc.look(pid) for pid in groups.members(Path(place))]
            wanted += [seen.process for seen in inside if seen and seen.process not in wanted]
    for process in wanted:
        with suppress(PermissionError):
            watchdog.send_signal(*process, signal.SIGKILL)
    give_up_at = time.monotonic() + timeout_s
    while left := [process for process in wanted if not proc.is_gone(process)]:
        if time.monotonic() > give_up_at:
            break
        time.sleep(0.002)
    watchdog.thaw([], frozen)  # whoever is put into the group later is not to stand
    return [proc.told(process.pid) for process in left]


def _stands(pid: int) -> bool:
    """Tell whether a process stands, by a signal or with its group."""
    return proc.stands(pid) or groups.stands(pid)


def _is_stuck(pid: int) -> bool:
    """Tell whether a process waits for something that does not listen to a stop."""
    return proc.tracer(pid) > 0 or any(thread.state == "D" for thread in proc.threads(pid))
