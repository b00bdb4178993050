"""Keeps a tracker at work on an access log.

The supervisor is the process that wants a log to be complete: the one that called
`precopy.access.recording`, or ``precopy track``.  Invariants: it holds the named pipe open, so that
the pipe's content survives a tracker's death; there is one tracker per log, whoever started it;
`finish` returns when the log contains everything that was reported before.

References
----------
Paper section 2.1.
"""

from __future__ import annotations

import array
import fcntl
import os
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path

from precopy.access import schema, tracker
from precopy.access.live import LiveDirectory

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_TRACKER = "import sys; from precopy.access.tracker import main; sys.exit(main())"
_CHECK_EVERY_S = 0.1
_FINISH_ATTEMPTS = 50


class Supervisor:
    """Starts a tracker, restarts it when it dies, and ends it.

    Parameters
    ----------
    log : str or Path
        The access log; created if missing.
    history_s : float, optional
        Keep write buckets of the last so many seconds only.

    Raises
    ------
    ValueError
        If the file is no access log.
    OSError
        If the log or its live directory cannot be made.
    """

    def __init__(self, log: str | Path, history_s: float | None = None) -> None:
        self.live = LiveDirectory(log)
        self._history_s = history_s
        if history_s is not None and not history_s > 0:
            raise ValueError(f"history: got {history_s}, expected a positive number of seconds")
        schema.connect(self.live.log).close()
        self.live.create()
        self._pipes = [self._hold_pipe()]
        self._tracker: subprocess.Popen[bytes] | None = None
        self._finishing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _hold_pipe(self) -> int:
        low = self.live.open_pipe()
        try:
            return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 3)
        finally:
            os.close(low)

    def _keep(self) -> None:
        while not self._finishing.wait(_CHECK_EVERY_S if self._tracker else 0):
            self._follow_pipe()
            if self._tracker is None or self._tracker.poll() is not None:
                self._restart()

    def _follow_pipe(self) -> None:
        """Hold the pipe that the tracker made if the former one was removed; keep that one, too."""
        with suppress(OSError):
            named = any(self.live.is_named(pipe) for pipe in self._pipes)
            if not named and self.live.pipe.exists():
                self._pipes.append(self._hold_pipe())

    def _restart(self) -> None:
        if self._tracker is not None and self._tracker.returncode == tracker.UNFINISHED:
            self._finishing.wait(1.0)  # a full disk: no hurry
        lock = None
        with suppress(OSError):
            lock = self.live.lock()
        if lock is not None:
            os.close(lock)
            self._tracker = self._start()

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        # -P: whatever lies in the current directory is not ours.
        command = [sys.executable, "-P", "-c", _TRACKER, str(self.live.log), *options]
        command += ["--supervisor", str(os.getpid())]
        command += [option for pipe in self._pipes for option in ("--pipe", str(pipe))]
        if self._history_s is not None:
            command += ["--history", str(self._history_s)]
        environment = {
            name: value
            for name, value in os.environ.items()
            if name != "LD_PRELOAD" and not name.startswith("PRECOPY_")
        }
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{_PACKAGE_ROOT}:{path}" if path else str(_PACKAGE_ROOT)
        return subprocess.Popen(
            command,
            env=environment,
            pass_fds=self._pipes,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def finish(self) -> bool:
        """End the tracker once everything is in the log; return whether it all is.

        A tracker that somebody else started is left at work.
        """
        self._finishing.set()
        self._keeper.join()
        done = False
        for _ in range(_FINISH_ATTEMPTS):
            code = self._end_tracker()
            if code == tracker.BUSY:
                done = self._wait_for_other_tracker()
            if code in (tracker.DONE, tracker.UNFINISHED) or done:
                done = done or code == tracker.DONE
                break
        for pipe in self._pipes:
            os.close(pipe)
        return done

    def _end_tracker(self) -> int:
        if self._tracker is None or self._tracker.poll() is not None:
            self._tracker = self._start("--drain")
        else:
            self._tracker.terminate()
        return self._tracker.wait()

    def _wait_for_other_tracker(self) -> bool:
        """Wait until another's tracker has taken in all there is now; False if it is gone."""
        while (lock := self.live.lock()) is None:
            if self._is_drained():
                return True
            time.sleep(_CHECK_EVERY_S)
        os.close(lock)
        return False

    def _is_drained(self) -> bool:
        waiting = array.array("i", [0])
        for pipe in self._pipes:
            fcntl.ioctl(pipe, termios.FIONREAD, waiting)
            if waiting[0] > 0:
                return False
        segments = self.live.segments()
        sizes = {"journal": segments[-1][0] + segments[-1][2]} if segments else {}
        for path in self.live.spills():
            with suppress(FileNotFoundError):
                sizes[f"spill/{path.name}"] = path.stat().st_size
        try:
            connection = schema.connect(self.live.log, read_only=True)
        except sqlite3.OperationalError:
            return False
        taken = dict(connection.execute("SELECT source, bytes FROM ingested").fetchall())
        connection.close()
        return all(
            taken.get(source, 0) >= size
            for source, size in sizes.items()
            if source == "journal" or (self.live.path / source).exists()
        )
