"""The operator's own command that stops an application: ``--stop COMMAND``. No shell sees it."""

from __future__ import annotations

import shlex
import subprocess
import tempfile

from precopy._text import printable_lines
from precopy.migration.switchover.journal import MigrationError


class NotStoppedError(MigrationError):
    """Not all processes could be stopped; those that were go on."""


def split(command: str) -> list[str]:
    """Return the words of a command.

    Raises
    ------
    ValueError
        If there are none, or a quotation is not closed.

    Examples
    --------
    >>> split("systemctl stop 'a b'")
    ['systemctl', 'stop', 'a b']
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"stop: got {command!r}, expected a command: {error}") from None
    if not words:
        raise ValueError("stop: got nothing, expected 'freeze', 'term' or a command")
    return words


def run(words: list[str], timeout_s: float) -> None:
    """Run a command, which must end with status 0.

    Raises
    ------
    NotStoppedError
        If it does not, or not in time.
    """
    command = shlex.join(words)
    with tempfile.TemporaryFile() as said:  # not a pipe: what it leaves behind may keep it open
        try:
            status = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=timeout_s
            ).returncode
        except subprocess.TimeoutExpired:
            raise NotStoppedError(f"stop: '{command}' did not end in {timeout_s:g} s") from None
        except OSError as error:
            raise NotStoppedError(f"stop: cannot run {words[0]!r}: {error.strerror}") from error
        if status != 0:
            said.seek(0)
            text = printable_lines(said.read()[-2000:].strip())
            raise NotStoppedError(f"stop: '{command}' ended with status {status}: {text}")
