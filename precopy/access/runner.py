"""Runs a command and waits for everything it started, daemons included.

A script of its own between the supervisor (`precopy.access.recording`) and the command, because
adopting orphans (``PR_SET_CHILD_SUBREAPER``) changes the process that does it::

    python runner.py NAME=VALUE … -- COMMAND ARGUMENT …

Invariant: standard library only, so that it starts at once; the variables are for the command
alone; it ends as the command did.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_CHILD_SUBREAPER = 36
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run `command`; return its wait status once it and all its descendants have ended."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Python ignores these two, and an ignored signal is inherited.
    restored = [signal.SIGPIPE, signal.SIGXFSZ]
    pid = os.posix_spawnp(command[0], command, environment, setsigdef=restored)

    def forward(number: int, frame: object) -> None:
        if pid > 0:
            os.kill(pid, number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command by itself
    for number in _FORWARDED:
        signal.signal(number, forward)
    _let_go_of_streams()
    status = 0
    while True:
        try:
            ended, state = os.wait()
        except ChildProcessError:
            return status
        if ended == pid:
            status, pid = state, 0


def _let_go_of_streams() -> None:
    """Close input and output: who reads the command's output must see its end."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def main(arguments: list[str]) -> int:
    """Run the script; return the exit code, or die of the signal that the command died of."""
    end = arguments.index("--")
    environment = dict(os.environ)
    for variable in arguments[:end]:
        name, _, value = variable.partition("=")
        environment[name] = value
    command = arguments[end + 1 :]
    try:
        status = run(command, environment)
    except OSError as error:
        os.write(2, f"precopy: {command[0]}: {error.strerror}\n".encode(errors="replace"))
        return 126 if isinstance(error, PermissionError) else 127
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
