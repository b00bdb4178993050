"""Runs programs under the access monitor.

`record` starts a command with the monitor preloaded and a tracker behind it, and waits until all
its processes have ended and everything they reported is in the log.  Invariant: whatever happens to
tracker, pipe or disk, the command runs as it would have run, and the log is complete or says
that it is not.

References
----------
Paper section 2.1, figure 1.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from tqdm import tqdm

from precopy.access import schema
from precopy.access.supervisor import Supervisor

MONITOR = Path(__file__).with_name("libprecopy_monitor.so")
"""The preloaded library."""

_LIBRARIES = (MONITOR, Path(__file__).with_name("libprecopy_journal.so"))

_RUNNER = Path(__file__).with_name("runner.py")
_SANITIZER = "verify_asan_link_order=0"
_POLL_S = 0.2


def environment(app: str, log: str | Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that put a program under the monitor.

    Parameters
    ----------
    app : str
        The application's name in the log, at most 255 bytes.
    log : str or Path
        The access log that a tracker keeps.
    base : mapping, optional
        The environment whose ``LD_PRELOAD`` and ``ASAN_OPTIONS`` are extended; by default this
        process's.

    Returns
    -------
    dict
        Only the variables to be set.

    Raises
    ------
    TypeError
        If `app` is not a string.
    ValueError
        If `app` is empty or too long.
    FileNotFoundError
        If the monitor was not built when precopy was installed.

    Examples
    --------
    >>> environment("editor", "/data/access.db", {})["PRECOPY_LIVE"]
    '/data/access.db-live'
    """
    if not isinstance(app, str):
        raise TypeError(f"app: got {app!r}, expected a string")
    if not 0 < len(app.encode(errors="replace")) <= 255 or "\0" in app:
        raise ValueError(f"app: got {app!r}, expected a name of 1 to 255 bytes")
    _check_built()
    base = os.environ if base is None else base
    log = Path(log).absolute()
    preload = [part for part in (base.get("LD_PRELOAD"), str(MONITOR)) if part]
    options = [part for part in (base.get("ASAN_OPTIONS"), _SANITIZER) if part]
    return {
        "LD_PRELOAD": ":".join(preload),
        "ASAN_OPTIONS": ":".join(options),
        "PRECOPY_LIVE": f"{log}-live",
        "PRECOPY_APP": app,
    }


class Recording:
    """Programs that run, or ran, under the monitor; made by `record`.

    Attributes
    ----------
    app : str
        The application's name in the log.
    log : Path
        The access log.
    command : list of str or None
        What was run.
    returncode : int or None
        The command's exit code, negative if it died of a signal; None before its end.
    pid : int or None
        The process that passes signals on to the command.
    """

    def __init__(
        self,
        command: Sequence[str] | None,
        app: str,
        log: str | Path,
        history: float | None,
        progress: bool,
        cwd: str | Path | None,
        env: Mapping[str, str] | None,
    ) -> None:
        self.app, self.log = app, Path(log).absolute()
        self.command = None if command is None else [os.fspath(part) for part in command]
        self.returncode: int | None = None
        self.finished = False
        base = dict(os.environ if env is None else env)
        self._variables = environment(app, log, base)
        if self.command is not None:
            _find(self.command, base, cwd)
        self._supervisor = Supervisor(log, history)
        self.env = base | self._variables
        self._progress = _Progress(self.log) if progress else None
        self._process: subprocess.Popen[bytes] | None = None
        if self.command is not None:
            try:
                self._process = self._start(base, cwd)
            except BaseException:
                self._supervisor.finish()
                raise

    @property
    def pid(self) -> int | None:
        """The process that passes signals on to the command."""
        return None if self._process is None else self._process.pid

    def _start(self, base: dict[str, str], cwd: str | Path | None) -> subprocess.Popen[bytes]:
        assert self.command is not None
        variables = [f"{name}={value}" for name, value in self._variables.items()]
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_RUNNER), *variables, "--", *self.command],
            cwd=cwd,
            env=base,
        )

    def terminate(self) -> None:
        """Send the command SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> int | None:
        """Wait until all processes have ended and the log is up to date; return `returncode`."""
        while self._process is not None and self.returncode is None:
            try:
                self.returncode = self._process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                if self._progress is not None:
                    self._progress.update()
        self._finish()
        return self.returncode

    def _finish(self) -> None:
        if self.finished:
            return
        self.finished = True
        if not self._supervisor.finish():
            print(
                f"precopy: not everything could be written to {str(self.log)!r}; it is kept in "
                f"{str(self._supervisor.live.path)!r} and taken in by the next recording",
                file=sys.stderr,
            )
        if self._progress is not None:
            self._progress.update()
            self._progress.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.terminate()
        self.wait()


def record(
    command: Sequence[str] | None = None,
    *,
    app: str,
    log: str | Path = "access.db",
    history: float | None = None,
    wait: bool = True,
    progress: bool = False,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Recording:
    """Run a command under the access monitor; record which files it uses and how.

    With a command this is a blocking call: it returns when the command, everything it started,
    and the log are done.  With ``wait=False`` it returns at once, and with no command there is
    nothing to wait for: use it as a context manager then, at whose end the same is waited for.

    Parameters
    ----------
    command : sequence of str, optional
        The program and its arguments; never passed to a shell.  Without it, start programs with
        ``env=recording.env`` inside the ``with`` block.
    app : str
        The application's name in the log.
    log : str or Path
        The access log, created if missing; several recordings may share it, at once, too.
    history : float, optional
        Keep the times of writes for the last so many seconds only; sums are kept for good.
    wait : bool
        Whether to wait for the command here.
    progress : bool
        Show files seen and events per second on standard error.
    cwd : str or Path, optional
        Working directory of the command.
    env : mapping, optional
        Environment of the command, without the monitor's variables; by default this process's.

    Returns
    -------
    Recording
        Its ``returncode`` is the command's.

    Raises
    ------
    TypeError, ValueError
        If an argument is unusable, or the log is not an access log.
    FileNotFoundError
        If there is no such command, or the monitor was not built when precopy was installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     record(["cp", "/etc/hostname", f"{directory}/copy"], app="cp",
    ...            log=f"{directory}/access.db").returncode
    0

    References
    ----------
    Paper section 2.1.
    """
    if isinstance(command, str | bytes):
        raise TypeError(f"command: got {command!r}, expected a sequence of strings")
    if command is not None and len(command) == 0:
        raise ValueError(f"command: got {command!r}, expected at least a program")
    recording = Recording(command, app, log, history, progress, cwd, env)
    if command is not None and wait:
        try:
            recording.wait()
        except BaseException:
            recording.__exit__(*sys.exc_info())
            raise
    return recording


def track(log: str | Path = "access.db", *, progress: bool = False) -> int:
    """Keep the log of several applications until SIGINT or SIGTERM.

    Parameters
    ----------
    log : str or Path
        The access log, created if missing.
    progress : bool
        Show files seen and events per second on standard error.

    Returns
    -------
    int
        0 if everything reported is in the log, else 1.

    References
    ----------
    Paper section 2.1 (the tracking process).
    """
    _check_built()
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        supervisor = Supervisor(log)
        display = _Progress(Path(log).absolute()) if progress else None
        while not stopping.wait(_POLL_S):
            if display is not None:
                display.update()
        done = supervisor.finish()
        if display is not None:
            display.update()
            display.close()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if done else 1


def _check_built() -> None:
    """Raise where precopy was installed without the libraries that a recording needs."""
    missing = [library.name for library in _LIBRARIES if not library.exists()]
    if missing:
        raise FileNotFoundError(
            f"the access monitor was not built when precopy was installed ({', '.join(missing)} is "
            "missing): it needs Linux, the GNU C library and a C compiler; 'pip install -v' says "
            "why, and 'precopy import-strace' does without it"
        )


def _find(command: list[str], env: Mapping[str, str], cwd: str | Path | None) -> None:
    """Raise before anything is started if there is no such program."""
    program = command[0]
    if os.sep in program:
        found = os.access(Path(cwd or ".", program), os.X_OK)
    else:
        found = shutil.which(program, path=env.get("PATH")) is not None
    if not found:
        raise FileNotFoundError(f"command: no program {program!r}")


class _Progress:
    """A line on standard error that says how far the log is."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._bar = tqdm(unit=" events", desc="recording", file=sys.stderr, smoothing=0.1)
        self._before = self._read()[1]

    def _read(self) -> tuple[int, int]:
        with suppress(sqlite3.OperationalError):
            connection = schema.connect(self._log, read_only=True)
            try:
                files = connection.execute("SELECT count(*) FROM file").fetchone()[0]
                return int(files), int(schema.get_meta(connection, "events") or 0)
            finally:
                connection.close()
        return 0, 0

    def update(self) -> None:
        files, events = self._read()
        self._bar.set_postfix_str(f"{files} files", refresh=False)
        self._bar.update(max(0, events - self._before - self._bar.n))
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()
