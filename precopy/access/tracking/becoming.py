"""``precopy record``: the process becomes the runner of the command.

Whoever started ``precopy record`` holds its process id: signals that are sent to it, its stops and
its end are the command's.  So this process checks what it was asked for, and then becomes
`precopy.access.tracking.runner`, which is small and has one thread.  Invariant: nothing of what
the command inherits is changed on the way, or the runner is told how it was.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from precopy.access.tracking.live import LiveDirectory
from precopy.access.tracking.recording import (
    environment,
    look_at_program,
    runner_command,
    runner_options,
    tell_outer_recording,
)  # fmt: skip
from precopy.access.tracking.runner import raw_environment
from precopy.access.tracking.supervisor import new_recording, prepare, python_command


def become_runner(
    command: Sequence[str], app: str, log: str, history: float | None = None
) -> NoReturn:
    """Run a command under the monitor in place of this process.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    app : str
        The application's name in the log.
    log : str
        The access log.
    history : float, optional
        Keep the times of writes for the last so many seconds only.

    Raises
    ------
    ValueError, OSError
        If an argument is unusable: nothing has been started.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        closed = _open_standard_streams()
        variables = environment(app, log)
        unfollowed = look_at_program(command[0], os.environ, None)
        live = LiveDirectory(log)
        prepare(live)
        tell_outer_recording(live, os.environ)
        supervisor = [*python_command("supervisor"), str(live.log), "--app", app]
        supervisor += ["--recording", new_recording(), "--began", str(time.time_ns())]
        if history is not None:
            supervisor += ["--history", str(history)]
        if unfollowed is not None:
            supervisor += ["--unfollowed", unfollowed]
            variables = {}
        variables |= _underscore(command[0])
        options = runner_options(variables, mask, _ignored_before(), closed, supervisor)
        _execute([*runner_command(), options, "--", *command])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _open_standard_streams() -> list[int]:
    """Put something under the numbers 0 to 2 that are closed; return which they were.

    A file of ours would be opened there otherwise, and messages be written into it.
    """
    closed = []
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            closed.append(fd)
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    return closed


def _underscore(program: str) -> dict[str, str]:
    """Return what shells tell a program in ``_``, its file: they told us ours."""
    told = os.environ.get("_")
    with suppress(OSError):
        if told and (told == sys.executable or os.path.samefile(told, sys.argv[0])):
            from precopy.access.tracking.program import find

            return {"_": find(program, os.environ) or program}
    return {}


def _ignored_before() -> list[int]:
    """Return which of the signals that Python ignores were ignored before it.

    Nothing tells but the parent: a shell or service manager that ignores SIGPIPE passes that on.
    One that also ignores SIGXFSZ is Python, which does not.
    """
    with suppress(OSError, ValueError), open(f"/proc/{os.getppid()}/status", "rb") as file:
        for line in file:
            if line.startswith(b"SigIgn:"):
                ignored = int(line.split()[1], 16)
                found = [n for n in (signal.SIGPIPE, signal.SIGXFSZ) if ignored >> (n - 1) & 1]
                return [] if len(found) == 2 else [int(n) for n in found]
    return []


def _execute(command: Sequence[str]) -> NoReturn:
    """Become another program, with the environment as it was given to this one."""
    arguments, entries = [os.fsencode(part) for part in command], raw_environment()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.execve(
        arguments[0],
        (ctypes.c_char_p * (len(arguments) + 1))(*arguments, None),
        (ctypes.c_char_p * (len(entries) + 1))(*entries, None),
    )
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
