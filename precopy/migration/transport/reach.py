"""How a far side is reached: as a child of ours, or through ssh; and what it means if it is not.

Invariant: no shell here. The one that ssh runs at the host sees a constant text.
"""

from __future__ import annotations

import os
import pkgutil
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field

from precopy.migration.transport.interface import TransportError

_BOOTSTRAP = (
    "import io,sys;"
    "sys.version_info<(3,9)and sys.exit(9);"
    "s=io.BufferedReader(io.FileIO(0,closefd=False),1).read({0});"
    "len(s)=={0} or sys.exit(8);"
    'exec(compile(s,"precopy-far-side","exec"))'
)
_PYTHONS = (
    "python3",
    *(f"python3.{minor}" for minor in range(14, 8, -1)),
    "/usr/libexec/platform-python",
    "/usr/local/bin/python3",
)
_NO_PYTHON = 127 - 13
_NEED = "import sys;sys.exit(sys.version_info<(3,9))"


def source() -> bytes:
    """Return the far side's text."""
    text = pkgutil.get_data(__package__, "farside.py")
    if text is None:
        raise TransportError("install: the far side's text is missing; install precopy anew")
    return text


def bootstrap() -> str:
    """Return the Python that reads the far side's text from standard input and runs it."""
    return _BOOTSTRAP.format(len(source()))


@dataclass
class Reach:
    """A directory of this machine, served by a child.

    Attributes
    ----------
    name : str
        How messages call the other side.
    noise : bytes
        What it printed in place of a greeting.
    greeted : bool
        Whether a far side was there.
    """

    name: str
    noise: bytes = field(default=b"", init=False)
    greeted: bool = field(default=False, init=False)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process whose standard input and output lead to the far side."""
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", bootstrap()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def patience(self, timeout: float) -> float:
        """Return how many seconds to wait for the greeting."""
        return timeout

    def silence(self, noise: bytes, said: str) -> str:
        """Return what to say if no greeting came in time."""
        return f"link: the far side for {self.name} did not greet in time{_words(noise, said)}"

    def explain(self, status: int | None, said: str) -> str:
        """Return what it means that the connection has ended."""
        how = _ended("its far side", status)
        return (
            f"link: the connection to {self.name} has ended: {how}{_words(self.noise, said)}; run "
            "the same command again to go on from here"
        )


@dataclass
class SshReach(Reach):
    """A host behind ssh, with the user's own configuration and host keys.

    Attributes
    ----------
    host : str
        ``HOST`` or ``USER@HOST``.
    command : list of str
        The client with options, for example ``["ssh", "-p", "2222"]``.
    connect_s : float
        Seconds for the connection itself.
    """

    host: str
    command: list[str]
    connect_s: float

    @property
    def interactive(self) -> bool:
        """Whether ssh could ask somebody for a password."""
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def options(self) -> list[str]:
        """Return ssh's options besides the user's, which come first and so win."""
        batch = [] if self.interactive else ["-oBatchMode=yes"]
        wait = f"-oConnectTimeout={max(1, round(self.connect_s))}"
        return ["-T", "-x", "-a", "-oRemoteCommand=none", wait, *batch]

    def arguments(self) -> list[str]:
        """Return ssh's argument vector."""
        return [*self.command, *self.options(), "--", self.host, remote_command()]

    def start(self) -> subprocess.Popen[bytes]:
        """Start ssh. Ctrl-C is ours to handle: it must not cut the link."""
        try:
            return subprocess.Popen(
                self.arguments(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=not self.interactive,
                preexec_fn=_ignore_interrupt if self.interactive else None,
            )
        except OSError as error:
            raise TransportError(
                f"ssh: {self.command[0]} cannot be run: {error.strerror}; install the OpenSSH "
                "client, or name another one"
            ) from None

    def patience(self, timeout: float) -> float:
        """Return how long to wait; longer where somebody may have to type a password."""
        return timeout + 120 if self.interactive else timeout

    def silence(self, noise: bytes, said: str) -> str:
        """Return what to say if no greeting came in time."""
        return (
            f"ssh: {self.host} did not answer in time{_words(noise, said)}; see whether "
            f"`{self._by_hand()} true` works, and whether its rc files wait for something"
        )

    def _by_hand(self) -> str:
        return shlex.join([*self.command, self.host])

    def explain(self, status: int | None, said: str) -> str:
        """Return what it means that ssh has ended."""
        words = _words(self.noise, said)
        hand = self._by_hand()
        if status == _NO_PYTHON:
            return (
                f"ssh: no usable Python at {self.host}: tried {', '.join(_PYTHONS)}, expected "
                "version 3.9 or newer; install one there"
            )
        for sign, advice in _ADVICE:
            if sign in said:
                return f"ssh: {self.host}: {advice.format(hand=hand)}{words}"
        if self.greeted:
            return (
                f"ssh: the connection to {self.host} was lost ({_ended('ssh', status)}){words}; "
                "run the same command again to go on from here"
            )
        if status == 255:
            return f"ssh: no connection to {self.host}{words}; see whether `{hand} true` works"
        return (
            f"ssh: {self.host} ran no far side ({_ended('its command', status)}){words}; the "
            "account there must allow commands (`sh` and `python3`)"
        )


_ADVICE = (
    (
        "Host key verification failed",
        "its host key is not known here, or is not the one that is known; compare it with the "
        "host's own, and connect once by hand (`{hand} true`)",
    ),
    (
        "Permission denied",
        "it accepts no key of ours, and without a terminal nobody can be asked for a password; "
        "load a key into ssh-agent, or install one there with ssh-copy-id",
    ),
    ("Connection refused", "it refuses the connection; see whether sshd runs there, at this port"),
    ("Could not resolve hostname", "there is no host of this name; see the name"),
    ("No route to host", "there is no way to it; see the network"),
    ("Network is unreachable", "there is no way to it; see the network"),
    ("timed out", "it did not answer in time; see whether it is up and reachable"),
)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _ended(who: str, status: int | None) -> str:
    if status is None:
        return f"{who} has closed it"
    return f"{who} was killed by signal {-status}" if status < 0 else f"{who} ended with {status}"


def _words(noise: bytes, said: str) -> str:
    """Return the last lines that were heard, for a message."""
    heard = noise.decode("utf-8", "replace").strip().splitlines()[-1:]
    heard += said.splitlines()[-2:]
    text = " / ".join(line.strip()[:200] for line in heard if line.strip())
    return f" (it said: {text})" if text else ""


def remote_command() -> str:
    """Return what the host's login shell is given: a constant text for ``sh``."""
    start = f"-I -S -c {shlex.quote(bootstrap())}"
    script = (
        f"for p in {' '.join(_PYTHONS)}; do "
        f'if "$p" -I -S -c {shlex.quote(_NEED)} </dev/null >/dev/null 2>&1; '
        f'then exec "$p" {start}; fi; done; exit {_NO_PYTHON}'
    )
    return f"exec sh -c {shlex.quote(script)}"
