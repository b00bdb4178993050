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

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from precopy.access import schema
from precopy.access.ownership import resolve
from precopy.access.tracking import wire
from precopy.access.tracking.live import LiveDirectory
from precopy.access.tracking.program import startable, why_not_followed
from precopy.access.tracking.supervisor import Supervisor, say_kept

MONITOR = Path(__file__).parents[1] / "libprecopy_monitor.so"
"""The preloaded library."""

_LIBRARIES = (MONITOR, Path(__file__).with_name("libprecopy_batch.so"))

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
    log = resolve(log)
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
        base = dict(os.environ if env is None else env)
        self.app = app
        self._variables = environment(app, log, base)
        self.command = None if command is None else [os.fspath(part) for part in command]
        self.returncode: int | None = None
        self.finished = False
        self._unfollowed: str | None = None
        if self.command is not None:
            self._unfollowed = look_at_program(self.command[0], base, cwd)
        self._supervisor = Supervisor(log, history)
        self.log = self._supervisor.live.log
        tell_outer_recording(self._supervisor.live, base)
        if self._unfollowed is not None:
            self._supervisor.mark_incomplete(self._unfollowed)
            self._variables = {}
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
        # No signal may reach the runner before it passes them on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            options = runner_options(self._variables, before, ignored=(), closed=(), supervisor=())
            return subprocess.Popen(
                [*runner_command(), options, "--", *self.command], cwd=cwd, env=base
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def terminate(self) -> None:
        """Send the command SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> int | None:
        """Wait until all processes have ended and the log is up to date; return `returncode`.

        Ctrl-C reaches the command by itself: it is waited for as ever, and then raised.
        """
        interrupted: KeyboardInterrupt | None = None
        while self._process is not None and self.returncode is None:
            try:
                self.returncode = self._process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                if self._progress is not None:
                    self._progress.update()
            except KeyboardInterrupt as error:
                interrupted = error
        self._finish()
        if interrupted is not None:
            raise interrupted
        return self.returncode

    def _finish(self) -> None:
        if self.finished:
            return
        self.finished = True
        # Who is killed may not have come so far as to report anything.
        ask = self._unfollowed is None and self.returncode is not None and self.returncode >= 0
        if not self._supervisor.finish(self.app if ask else None):
            say_kept(self._supervisor.live)
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
        if error is not None and not isinstance(error, KeyboardInterrupt):
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
    PermissionError
        If the command is not a file that may be executed.

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
    other = [library.name for library in _LIBRARIES if wire.MARK not in library.read_bytes()]
    if other:
        raise FileNotFoundError(
            f"the access monitor was built for another version of precopy ({', '.join(other)}): "
            "expected one that was installed with this version; install precopy again"
        )


def look_at_program(program: str, env: Mapping[str, str], cwd: str | Path | None) -> str | None:
    """Return why a program cannot be followed, said on standard error, too; None if it can.

    Raises
    ------
    FileNotFoundError, PermissionError
        If there is no such program, or it cannot be executed.
    """
    why = why_not_followed(startable(program, env, cwd))
    if why is not None:
        os.write(2, f"precopy: not followed: {why}; the log is incomplete\n".encode())
    return why


def tell_outer_recording(live: LiveDirectory, env: Mapping[str, str]) -> None:
    """Tell the recording that this one runs in, if it is another's log, that it sees nothing."""
    outer = env.get("PRECOPY_LIVE", "")
    if outer.endswith("-live") and outer != str(live.path):
        with suppress(OSError, ValueError):
            LiveDirectory(outer.removesuffix("-live")).mark_loss("lost-elsewhere")


def runner_command() -> list[str]:
    """Return how to start the runner."""
    return [sys.executable, "-I", "-S", str(_RUNNER)]


def runner_options(
    variables: Mapping[str, str],
    mask: Iterable[int],
    ignored: Iterable[int],
    closed: Iterable[int],
    supervisor: Sequence[str],
) -> str:
    """Return the runner's first argument; see `precopy.access.tracking.runner.main`."""
    return json.dumps(
        {
            "variables": dict(variables),
            "mask": [int(number) for number in mask],
            "ignored": [int(number) for number in ignored],
            "closed": list(closed),
            "supervisor": list(supervisor),
        }
    )


class _Progress:
    """A line on standard error that says how far the log is."""

    def __init__(self, log: Path) -> None:
        from tqdm import tqdm  # `precopy record` shows nothing, and is to begin at once

        self._log = log
        self._bar = tqdm(unit=" events", desc="recording", file=sys.stderr, smoothing=0.1)
        self._before = self._read()[1]

    def _read(self) -> tuple[int, int]:
        with suppress(sqlite3.Error, OSError, ValueError):
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
