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
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from precopy._text import printable, printable_lines
from precopy.migration import groups, watchdog
from precopy.migration import processes as proc
from precopy.migration.journal import MigrationError
from precopy.migration.processes import Process, Seen

if TYPE_CHECKING:
    from precopy.access.log import AccessLog

Announce = Callable[[list[Process], list[str]], None]
"""Called with the processes and the control groups that are stopped next."""

FREEZE_S, TERM_S = 10.0, 60.0
"""How long it may take until all stand, or have ended, unless told otherwise."""

_FIRST_LOOK_S, _LOOK_S, _LONGEST_LOOK_S = 0.0002, 0.0005, 0.02
_LET_GO_AFTER_S = 0.005
_SUPERVISOR_S = 0.5


class NotStoppedError(MigrationError):
    """Not all processes could be stopped; those that were go on."""


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
        self._command = [] if stop in ("freeze", "term") else _split(stop)
        self._find, self.group, self._asked_group = find, group, group
        self.stopped: list[Process] = []
        self._frozen_groups: list[Path] = []
        self._known: dict[int, Seen] = {}
        self._strangers: set[int] = set()
        self._stood: set[Process] = set()
        self._sessions: set[int] = set()
        self._packs: set[int] = set()
        self._ours: dict[bytes, bytes] = {}
        self._signatures: set[tuple[str, tuple[bytes, ...]]] = set()
        self._since = 0
        self._is_supervised = False
        self._sending = threading.Lock()
        self._is_over = False
        self.refresh()

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
        chosen = []
        for pid in pids:
            seen = proc.look(pid) if pid > 0 else None
            if seen is None:
                raise ValueError(f"pid: got {pid}, expected the pid of a running process")
            _refuse_protected(seen)
            chosen.append(seen.process)
        return cls(lambda: chosen, stop=stop, timeout_s=timeout_s)

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
        root = groups.mount()
        if root is None:
            raise ValueError("cgroup: no control groups of version 2 here; use --pid")
        given = Path(path)
        inside_mount = given == root or root in given.parents
        group = given if inside_mount else root / os.fspath(path).lstrip("/")
        group = Path(os.path.normpath(group))
        if root not in group.parents:
            raise ValueError(f"cgroup: got {printable(given)!r}, expected a group below {root}")

        def find() -> list[Process]:
            return [s.process for pid in groups.members(group) if (s := proc.look(pid))]

        try:
            inside = find()
        except OSError as error:
            raise ValueError(f"cgroup: {printable(given)!r}: {error.strerror}") from error
        if not inside:
            raise ValueError(f"cgroup: {printable(given)!r} holds no process")
        family = proc.ancestors() & {process.pid for process in inside}
        if family:
            raise ValueError(
                f"cgroup: {printable(given)!r} holds this command itself (pid {min(family)}), "
                "expected a group of the application alone; use --pid"
            )
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
        names, opened = list(applications), type(log)

        def find() -> list[Process]:
            with opened(log.path) as now:  # the caller's may be closed by then
                recorded = [Process(*process) for process in now.processes(names)]
            return _with_orphans(p for p in recorded if watchdog.start_time(p.pid) == p.start_time)

        for process in find():
            _refuse_protected(proc.look(process.pid))
        freezer = cls(find, stop=stop, timeout_s=timeout_s)
        if not freezer.processes and stop in ("freeze", "term"):
            raise ValueError(
                f"no process of {', '.join(map(repr, names))} in the log is running; name those to "
                "be stopped by --pid or --cgroup, or, if the application does not run, give "
                "--stop true"
            )
        freezer._ours[b"PRECOPY_LIVE="] = os.fsencode(f"{os.path.realpath(log.path)}-live")
        return freezer

    @property
    def processes(self) -> list[Process]:
        """Those that are to be stopped, as last seen."""
        return [seen.process for seen in self._known.values()]

    def refresh(self) -> None:
        """Look who belongs to the applications now; cheap enough for every cycle."""
        self._strangers.clear()
        self._sessions.clear()
        self._packs.clear()
        seen = proc.table()
        self._grow(seen, self._find())
        self._strangers = set(seen) - set(self._known)

    def _grow(self, seen: dict[int, Seen], first: Iterable[Process] = ()) -> list[Seen]:
        """Take in who is new and forget who has ended; returns the new ones."""
        family = proc.ancestors()
        for pid, known in list(self._known.items()):
            if pid in seen and seen[pid].process != known.process:
                del self._known[pid]
        before = set(self._known)
        for process in first:
            found = seen.get(process.pid)
            if found and found.process == process:
                self._known[process.pid] = found
        children: dict[int, list[Seen]] = {}
        for one in seen.values():
            children.setdefault(one.parent, []).append(one)
        todo = list(self._known)
        self._sessions.update(s.session for s in self._known.values() if s.session in self._known)
        self._packs.update(s.group for s in self._known.values() if s.group in self._known)
        todo.append(0)
        children[0] = [one for one in seen.values() if self._is_orphan(one)]
        while todo:
            for child in children.get(todo.pop(), []):
                pid = child.process.pid
                if pid in self._known or pid in family or child.kernel or proc.is_recorder(pid):
                    continue
                if child.parent == 2 or pid == 1:
                    continue
                self._known[pid] = child
                todo.append(pid)
        for pid in list(self._known):
            if pid in family or (pid not in seen and pid not in self._strangers):
                del self._known[pid]
        return [self._known[pid] for pid in self._known if pid not in before]

    def _is_orphan(self, seen: Seen) -> bool:
        """Tell whether a process is the application's, though its parent is not (any more).

        A session belongs to who leads it.  A process group and the recorder's variables only tell
        of processes that were born during the stop.
        """
        if seen.session in self._sessions:
            return True
        if not self._since or seen.process.start_time < self._since:
            return False
        return seen.group in self._packs or self._is_marked(seen)

    def _is_marked(self, seen: Seen) -> bool:
        """Tell whether a process is recorded into our log."""
        if not self._ours:
            return False
        with suppress(OSError):
            variables = Path(f"/proc/{seen.process.pid}/environ").read_bytes().split(b"\0")
            return all(name + value in variables for name, value in self._ours.items())
        return False

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
        if not self._known and not self._command:
            raise ValueError(
                "the processes that were to be stopped have ended; name others by --pid or "
                "--cgroup, or, if the application does not run, give --stop true"
            )
        for pid in self._known:
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
        units = sorted({unit for pid in self._known if (unit := proc.service(pid))})
        return [
            f"systemd keeps {unit}: once its processes end it may start the application here "
            f"again; --stop 'systemctl stop {unit}' prevents it"
            for unit in units
            if not self._command
        ]

    def _choose_group(self) -> Path | None:
        """Return the group to freeze: the one that was asked for, or one that holds just these."""
        group = self._asked_group or groups.common(self._known)
        return group if group and groups.is_usable(group, self._strangers) else None

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
        seen = proc.table()
        self._strangers.clear()
        self._grow(seen, self._find())
        self._strangers = set(seen) - set(self._known)
        self._signatures = {
            (proc.program(pid), tuple(proc.arguments(pid))) for pid in self._roots()
        } - {("", ())}
        family = proc.ancestors()
        parents = {self._known[pid].parent for pid in self._roots()} - family
        self._is_supervised = any(not proc.is_recorder(pid) for pid in parents) or any(
            proc.service(pid) for pid in self._roots()
        )
        self._since = _ticks_now()
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

    def _roots(self) -> list[int]:
        return [pid for pid, seen in self._known.items() if seen.parent not in self._known]

    def _outside(self, group: Path) -> bool:
        """Tell whether somebody of ours is not in the frozen group."""
        self._grow(proc.table(self._strangers))
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
            new = [seen for seen in self._known.values() if seen.process not in told]
            told.update(seen.process for seen in new)
            began = self._stop_these(new, announce, began)
            running = [
                pid
                for pid, seen in self._known.items()
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
            born = self._grow(proc.table(self._strangers))
            quiet = 0 if new or running or born else quiet + 1
        return began

    def _stop_these(self, new: list[Seen], announce: Announce, began: float) -> float:
        """Stop processes, those that stand already apart; returns when the first was stopped."""
        stood = [
            seen.process
            for seen in new
            if proc.stands(seen.process.pid) or groups.stands(seen.process.pid)
        ]
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
                for seen in self._known.values():
                    if seen.parent == pid and seen.process not in self._stood:
                        self._send(seen.process, signal.SIGCONT)
                time.sleep(0.001)
                for seen in self._known.values():
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
            for process in [p for p in alive if p.pid in self._roots()] or alive:
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
            self._grow(proc.table(self._strangers))

    def _stop_by_command(self, announce: Announce) -> float:
        self._stood = {p for p in self.processes if proc.stands(p.pid) or groups.stands(p.pid)}
        announce([], [])
        began = time.monotonic()
        self._run_command(began + self._timeout_s)
        pause = _LOOK_S
        while True:
            self._grow(proc.table())
            alive = [process for process in self.processes if not proc.is_gone(process)]
            running = [p for p in alive if not proc.stands(p.pid) and not groups.stands(p.pid)]
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

    def _run_command(self, give_up_at: float) -> None:
        with tempfile.TemporaryFile() as said:  # not a pipe: what it leaves behind may keep it open
            try:
                status = subprocess.run(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    timeout=max(0.1, give_up_at - time.monotonic()),
                ).returncode
            except subprocess.TimeoutExpired:
                raise NotStoppedError(
                    f"stop: {self.stop_by!r} did not end in {self._timeout_s:g} s"
                ) from None
            except OSError as error:
                raise NotStoppedError(
                    f"stop: cannot run {self._command[0]!r}: {error.strerror}"
                ) from error
            if status != 0:
                said.seek(0)
                text = printable_lines(said.read()[-2000:].strip())
                raise NotStoppedError(f"stop: {self.stop_by!r} ended with status {status}: {text}")

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
        new = self._grow(proc.table(self._strangers)) if born else []
        found = [f"{proc.told(seen.process.pid)} was born after the stop" for seen in new]
        frozen = {group for group in self._frozen_groups if groups.is_frozen(group)}
        for group in set(self._frozen_groups) - frozen:
            if groups.members(group):
                found.append(f"control group {group} was let go on by somebody else")
        for process in self.processes:
            if not (proc.is_gone(process) or proc.stands(process.pid)) and not (
                (self.group in frozen) or groups.stands(process.pid)
            ):
                found.append(f"{proc.told(process.pid)} was let go on by somebody else")
        return found + (self.restarted() if born else [])

    def restarted(self, wait: bool = False) -> list[str]:
        """Return who runs the same programs, with the same arguments, since the stop.

        Parameters
        ----------
        wait : bool
            Whether to give a supervisor the time it needs, if there may be one.
        """
        if not self._signatures or (self.stop_by == "freeze" and self._stand()):
            return []
        give_up_at = time.monotonic() + (_SUPERVISOR_S if wait and self._is_supervised else 0)
        while not (found := self._twins()) and time.monotonic() < give_up_at:
            time.sleep(_LONGEST_LOOK_S)
        return found

    def _twins(self) -> list[str]:
        found = []
        for pid, seen in proc.table(self._strangers).items():
            if seen.process.start_time < self._since or pid in self._known or seen.state in "ZX":
                continue
            if (proc.program(pid), tuple(proc.arguments(pid))) in self._signatures:
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
    for place in places:
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
    for place in places:
        with suppress(OSError):  # whoever is put into the group later is not to stand
            Path(place, "cgroup.freeze").write_text("0")
    return [proc.told(process.pid) for process in left]


def _refuse_protected(seen: Seen | None) -> None:
    if seen is None:
        return
    pid = seen.process.pid
    if pid in proc.ancestors():
        who = "this command itself" if pid == os.getpid() else "an ancestor of this command"
        raise ValueError(
            f"pid: {proc.told(pid)} is {who}, expected a process of the application; run precopy "
            "from outside of it"
        )
    if seen.kernel or pid in (1, 2):
        raise ValueError(f"pid: {proc.told(pid)} is the system's, expected one of the application")
    if proc.is_recorder(pid):
        raise ValueError(
            f"pid: {pid} is the recorder of a log, expected a process of the application it records"
        )


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"stop: got {command!r}, expected a command: {error}") from None
    if not words:
        raise ValueError("stop: got nothing, expected 'freeze', 'term' or a command")
    return words


def _with_orphans(found: Iterable[Process]) -> list[Process]:
    """Add what the recorder waits for besides: a daemon that it could not follow, for one."""
    known = list(found)
    seen = proc.table() if known else {}
    parents = {seen[process.pid].parent for process in known if process.pid in seen}
    recorders = {pid for pid in parents if proc.is_recorder(pid)}
    orphans = (s.process for s in seen.values() if s.parent in recorders)
    return known + [p for p in orphans if p not in known and not proc.is_recorder(p.pid)]


def _is_stuck(pid: int) -> bool:
    """Tell whether a process waits for something that does not listen to a stop."""
    return proc.tracer(pid) > 0 or any(thread.state == "D" for thread in proc.threads(pid))


def _ticks_now() -> int:
    """Return the time since boot as start times tell it."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
