"""Keeps a tracker at work on an access log.

The supervisor is who wants a log to be complete: the process that called `record`, ``precopy
track``, or beside ``precopy record`` a process of its own (`main`). Invariants: it holds the named
pipe open, so that the pipe's content survives a tracker's death; there is one tracker per log,
whoever started it; the log's ``recording`` names every supervisor that has not ended cleanly;
`finish` returns when the log contains everything that was reported before.

References
----------
Paper section 2.1.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from precopy.access import schema
from precopy.access.tracking import tracker
from precopy.access.tracking.live import LiveDirectory

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])
_PATH = [_PACKAGE_ROOT, *(path for path in sys.path if path and path != _PACKAGE_ROOT)]
# The name in front is for those who look for it in a list of processes.
_CODE = (
    "'precopy.access.{1}'; import sys; sys.path[:] = {0!r}; "
    "from precopy.access.tracking.{1} import main; sys.exit(main())"
)
_CHECK_EVERY_S = 0.1
_WAKE_EVERY_S = 1.0
_LONGEST_REST_S = 120.0  # as long as a tracker waits for a log that is locked
_FINISH_ATTEMPTS = 50
_BROKEN_ATTEMPTS = 3
_LIMITS = ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_DATA")
KILLED = "a recording was killed: what it had not written into the log is lost"
"""What a log says of recordings that did not end."""
CUT_OFF = "a process of 'precopy record' was killed before the program had ended"
"""What it says of what a program did after that."""


def python_command(module: str) -> list[str]:
    """Return how to run a module of ours, whatever directory and environment it is run in."""
    return [sys.executable, "-I", "-c", _CODE.format(_PATH, module)]


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the monitor's variables."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("LD_PRELOAD", "LD_LIBRARY_PATH") and not name.startswith("PRECOPY_")
    }


class Supervisor:
    """Starts a tracker, restarts it when it dies, and ends it.

    Parameters
    ----------
    log : str or Path
        The access log; created if missing.
    history_s : float, optional
        Keep write buckets of the last so many seconds only.
    recording : str, optional
        By which name the log knows this recording until it has ended; by default a new one.
    began_ns : int, optional
        Since when the programs run that are to report; by default now.

    Raises
    ------
    ValueError
        If the file is no access log.
    OSError
        If the log or its live directory cannot be made, or belongs to somebody else.
    """

    def __init__(
        self,
        log: str | Path,
        history_s: float | None = None,
        recording: str | None = None,
        began_ns: int | None = None,
    ) -> None:
        self.live = LiveDirectory(log)
        self._history_s = history_s
        if history_s is not None and not history_s > 0:
            raise ValueError(f"history: got {history_s}, expected a positive number of seconds")
        self._recording = recording or new_recording()
        self._began_ns = began_ns or time.time_ns()
        prepare(self.live)
        self._marks: list[str] = []
        with self.live.door():
            self._find_dead()
            self._at_work = self.live.attend()
        self._identity = _identity(self.live.log)
        self._marked = self._mark(wait=2.0)
        self._pipes = [self._hold_pipe()]
        self._strangers = -1
        with suppress(OSError):  # the tracker says why
            self._strangers = self.live.open_strangers()
        self._tracker: subprocess.Popen[bytes] | None = None
        self._control = -1
        self._finishing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    # --- the mark in the log ---------------------------------------------------------------------

    def _find_dead(self) -> None:
        """See whether recordings were killed, nobody being at work, and lost anything."""
        if not self.live.is_deserted():
            return
        with suppress(sqlite3.Error):
            connection = schema.connect(self.live.log, read_only=True)
            names = set(str(schema.get_meta(connection, "recording") or "").split())
            connection.close()
            dead = names - self.live.kept  # this one's former supervisor included
            same_boot = all(name.startswith(_boot()) for name in dead)
            if dead and not (same_boot and self.live.was_drained()):
                self._marks.append(KILLED)
            self._dead = names - {self._recording}

    _dead: frozenset[str] | set[str] = frozenset()

    def _mark(self, wait: float) -> bool:
        """Enter this recording into the log; False if another program has it locked."""
        try:
            connection = schema.connect(self.live.log, timeout_s=wait)
        except (sqlite3.Error, OSError, ValueError):
            return False
        try:
            connection.execute("BEGIN IMMEDIATE")
            names = set(str(schema.get_meta(connection, "recording") or "").split())
            names = names - self._dead | {self._recording}
            schema.set_meta(connection, "recording", " ".join(sorted(names)))
            for reason in self._marks:
                schema.mark_incomplete(connection, reason)
            connection.execute("COMMIT")
        except sqlite3.Error:
            return False
        finally:
            connection.close()
        self._marks.clear()
        return True

    def mark_incomplete(self, reason: str) -> None:
        """Say in the log that something is missing, now or as soon as it can be written."""
        self._marks.append(reason)
        self._marked = False

    def _unmark(self, app: str | None) -> None:
        """Take this recording out of the log, everything that it reported being in it."""
        with self.live.door():
            # Here and not before: of two that end at once neither finds the other dead.
            os.close(self._at_work)
            deserted = self.live.is_deserted()
            connection = schema.connect(self.live.log)
            try:
                connection.execute("BEGIN IMMEDIATE")
                names = set(str(schema.get_meta(connection, "recording") or "").split())
                names.discard(self._recording)
                if deserted and names:
                    self._marks.append(KILLED)
                    names.clear()
                if names:
                    schema.set_meta(connection, "recording", " ".join(sorted(names)))
                else:
                    connection.execute("DELETE FROM meta WHERE key = 'recording'")
                if app is not None:
                    schema.set_meta(connection, f"ended_ns {app}", time.time_ns())
                for reason in self._marks:
                    schema.mark_incomplete(connection, reason)
                if app is not None and not self._has_reported(connection, app):
                    _say(f"{app}: nothing was reported, the log is incomplete")
                    schema.mark_incomplete(connection, f"{app}: nothing was reported")
                connection.execute("COMMIT")
                if deserted:
                    self.live.remove_strangers()
                    with suppress(sqlite3.OperationalError):  # somebody reads it just now
                        connection.execute("PRAGMA journal_mode = DELETE")
            finally:
                connection.close()

    def _has_reported(self, connection: sqlite3.Connection, app: str) -> bool:
        row = connection.execute(
            """SELECT count(*) FROM process JOIN application ON application.id = application_id
               WHERE name = ? AND last_ns >= ?""",
            (app, self._began_ns - 1_000_000_000),
        ).fetchone()
        return int(row[0]) > 0

    # --- the tracker -----------------------------------------------------------------------------

    def _hold_pipe(self) -> int:
        return self.live.open_pipe()

    def _keep(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._finishing.wait(_CHECK_EVERY_S if self._tracker else 0):
            self._follow_pipe()
            if self._tracker is None or self._tracker.poll() is not None:
                self._restart()
            if not self._marked:
                self._marked = self._mark(wait=0.0)

    def _follow_pipe(self) -> None:
        """Hold the pipe that the tracker made if the former one was removed; keep that one, too."""
        with suppress(OSError):
            named = any(self.live.is_named(pipe) for pipe in self._pipes)
            if not named and self.live.pipe.exists():
                self._pipes.append(self._hold_pipe())

    def _restart(self) -> None:
        code = None if self._tracker is None else self._tracker.returncode
        if code == tracker.MOVED:
            self._identity = _identity(self.live.log)
        if code in (tracker.UNFINISHED, tracker.FAILED):
            self._finishing.wait(1.0)  # a full disk, no memory: no hurry
        lock = None
        with suppress(OSError):
            lock = self.live.lock()
        if lock is not None:
            os.close(lock)
            self._start()

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        if self._control >= 0:
            os.close(self._control)
        its, self._control = os.pipe()
        command = [*python_command("tracker"), str(self.live.log), *options]
        command += ["--supervisor", str(os.getpid()), "--control", str(its)]
        command += ["--recording", self._recording]
        if self._identity is not None:
            command += ["--identity", *map(str, self._identity)]
        command += [option for pipe in self._pipes for option in ("--pipe", str(pipe))]
        if self._history_s is not None:
            command += ["--history", str(self._history_s)]
        # Signals to the process group are not for the tracker, not even before it can say so.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._tracker = subprocess.Popen(
                command,
                env=clean_environment(),
                pass_fds=[*self._pipes, its, self._at_work],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        finally:
            os.close(its)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._tracker

    # --- the end ---------------------------------------------------------------------------------

    def finish(self, app: str | None = None) -> bool:
        """End the tracker once everything is in the log; return whether it all is.

        A tracker that somebody else started is left at work.  With `app`, also see whether the
        application reported anything at all.
        """
        self._finishing.set()
        self._keeper.join()
        done = self._finish_tracker()
        if done:
            try:
                self._unmark(app)
            except (sqlite3.Error, OSError, ValueError) as error:
                _say(f"log: {str(self.live.log)!r}: {error}")
                done = False
        else:
            os.close(self._at_work)
        if self._control >= 0:
            os.close(self._control)
        for pipe in (*self._pipes, self._strangers):
            with suppress(OSError):
                os.close(pipe)
        return done

    def _finish_tracker(self) -> bool:
        broken = 0
        for _ in range(_FINISH_ATTEMPTS):
            try:
                code = self._end_tracker()
            except OSError as error:
                _say(f"tracker: {error}")
                code = tracker.FAILED
            if code == tracker.DONE:
                return True
            if code == tracker.BUSY and self._wait_for_other_tracker():
                return True
            if code in (tracker.UNFINISHED, tracker.DAMAGED):
                return False
            broken += code == tracker.FAILED
            if broken == _BROKEN_ATTEMPTS:
                return False
        return False

    def _end_tracker(self) -> int:
        if self._tracker is None or self._tracker.poll() is not None:
            if self._tracker is not None and self._tracker.returncode == tracker.MOVED:
                self._identity = _identity(self.live.log)
            self._start("--drain")
        else:
            with suppress(OSError):
                os.write(self._control, tracker.FINISH)
        assert self._tracker is not None
        while True:
            try:
                return self._tracker.wait(_WAKE_EVERY_S)
            except subprocess.TimeoutExpired:
                self._tracker.send_signal(signal.SIGCONT)  # if somebody stopped it

    def _wait_for_other_tracker(self) -> bool:
        """Wait until another's tracker has taken in all there is now; False if it is gone.

        More may come all the time: only what was there when this began is waited for.
        """
        in_pipe, in_journal = self._waiting_bytes(), self._journal_end()
        target: dict[str, int] | None = None
        before, give_up_at = -1, 0.0
        while (lock := self.live.lock()) is None:
            end = self._journal_end()
            if target is None and (self._waiting_bytes() == 0 or end >= in_journal + in_pipe):
                target = self._spill_sizes() | {f"journal/{self.live.id}": end}
            taken = self._taken()
            if target is not None and self._is_taken(target, taken):
                return True
            if end + sum(taken.values()) != before:
                before = end + sum(taken.values())
                give_up_at = time.monotonic() + _LONGEST_REST_S
            elif time.monotonic() > give_up_at:
                _say("the tracker of another recording does not take in what was reported")
                return False
            else:
                self.live.wake_tracker()
            time.sleep(_CHECK_EVERY_S)
        os.close(lock)
        return False

    def _waiting_bytes(self) -> int:
        return sum(tracker.waiting_bytes(pipe) for pipe in self._pipes)

    def _journal_end(self) -> int:
        return max((begin + size for begin, _, size in self.live.segments()), default=0)

    def _spill_sizes(self) -> dict[str, int]:
        sizes = {}
        for path in self.live.spills():
            with suppress(FileNotFoundError):
                sizes[f"spill/{self.live.id}/{path.name}"] = path.lstat().st_size
        return sizes

    def _taken(self) -> dict[str, int]:
        try:
            connection = schema.connect(self.live.log, read_only=True)
            rows = connection.execute("SELECT source, bytes FROM ingested").fetchall()
            connection.close()
        except (sqlite3.Error, OSError, ValueError):
            return {}
        return dict(rows)

    def _is_taken(self, target: dict[str, int], taken: dict[str, int]) -> bool:
        return all(
            taken.get(source, 0) >= size
            for source, size in target.items()
            if source.startswith("journal") or (self.live.spill / Path(source).name).is_file()
        )


def _identity(log: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = os.lstat(log)
        return status.st_dev, status.st_ino
    return None


def _boot() -> str:
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return file.read(8)
    return "unknown"


def new_recording() -> str:
    """Return a name for a recording that no other has, and that says since which boot it runs."""
    return f"{_boot()}-{secrets.token_hex(6)}"


def prepare(live: LiveDirectory) -> None:
    """Make log and live directory, or say why they cannot be used.

    Raises
    ------
    ValueError, OSError
        If they cannot.
    """
    try:
        schema.connect(live.log).close()
    except sqlite3.Error as error:
        raise ValueError(f"log: {str(live.log)!r}: {error}") from error
    live.create()


def raise_limits() -> None:
    """Be bound by no limit that was meant for the application, as far as that can be had."""
    for name in _LIMITS:
        number = getattr(resource, name)
        most = resource.getrlimit(number)[1]
        for limits in ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (most, most)):
            if name == "RLIMIT_NOFILE" and limits[0] == resource.RLIM_INFINITY:
                continue  # nobody may have that many
            with suppress(OSError, ValueError):
                resource.setrlimit(number, limits)
                break


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"precopy: {text}\n".encode(errors="replace"))


def say_kept(live: LiveDirectory) -> None:
    """Say where the reports are that did not come into the log."""
    _say(
        f"not everything could be written to {str(live.log)!r}; it is kept in "
        f"{str(live.path)!r} and taken in by the next recording"
    )


def main(arguments: list[str] | None = None) -> int:
    """Keep a log for ``precopy record``: until told to finish, or until whoever told is gone."""
    parser = argparse.ArgumentParser(prog="precopy-supervisor", description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--app", required=True)
    parser.add_argument("--recording", required=True)
    parser.add_argument("--began", type=int, required=True, metavar="NS")
    parser.add_argument("--history", type=float, default=None)
    parser.add_argument("--unfollowed", default=None, metavar="REASON")
    parser.add_argument("--control", type=int, required=True, metavar="FD")
    options = parser.parse_args(arguments)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    raise_limits()
    control = socket.socket(fileno=options.control)
    control.set_inheritable(False)
    try:
        supervisor = Supervisor(options.log, options.history, options.recording, options.began)
    except (OSError, ValueError, MemoryError) as error:
        _say(f"record: error: {error}")
        return 2
    if options.unfollowed:
        supervisor.mark_incomplete(options.unfollowed)
    os.chdir("/")
    with suppress(OSError):
        control.send(b"1")
    finish = control.recv(1)
    if not finish:
        supervisor.mark_incomplete(
            "a process of 'precopy record' was killed before the program had ended"
        )
    done = supervisor.finish(options.app if finish == b"f" and not options.unfollowed else None)
    if not done:
        say_kept(supervisor.live)
    with suppress(OSError):
        control.send(b"1" if done else b"0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
