"""Another host, played by an sshd of the test's own on a port of its own; keys only."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SSHD = "/usr/sbin/sshd"


class Host:
    """A running sshd, and how to get there.

    Attributes
    ----------
    alias : str
        The host's name for ``--to`` and `connect`.
    ssh : str
        The command that knows it, for ``connect(ssh=…)``, ``--ssh`` or ``PRECOPY_SSH``.
    ssh_config, known_hosts : Path
    port : int
    process : subprocess.Popen
    """

    alias = "there"

    def __init__(self, directory: Path, options: str, login: str | None) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for key in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True
            )
        # What is printed at login comes before what the command prints, as from an rc file.
        line = (directory / "user.pub").read_text()
        if login is not None:
            script = directory / "login"
            script.write_text(f"#!/bin/sh\n{login}\n")
            script.chmod(0o755)
            line = f'command="{script}" {line}'
        (directory / "authorized").write_text(line)
        self.options = options
        self.known_hosts = directory / "known_hosts"
        self.ssh_config = directory / "ssh_config"
        self.ssh = f"ssh -F {self.ssh_config}"
        for _ in range(5):
            if self.start():
                break
        else:
            raise AssertionError((directory / "log").read_text())
        key_words = (directory / "host.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"{self.alias} {' '.join(key_words)}\n")
        self.ssh_config.write_text(
            f"Host {self.alias}\n  HostName 127.0.0.1\n  Port {self.port}\n"
            f"  User {getpass.getuser()}\n  IdentityFile {directory}/user\n  IdentitiesOnly yes\n"
            f"  HostKeyAlias {self.alias}\n  UserKnownHostsFile {self.known_hosts}\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
        )

    def start(self) -> bool:
        """Start the sshd; return whether it listens."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        here = self.directory
        (here / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {here}/host\n"
            f"AuthorizedKeysFile {here}/authorized\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
            f"MaxStartups 100\nMaxSessions 100\nLogLevel VERBOSE\n{self.options}\n"
        )
        with (here / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", here / "sshd_config"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        for _ in range(1000):
            if self.process.poll() is not None:
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        """End the sshd; connections that it serves go on."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_sshd(directory: Path, options: str = "", login: str | None = None) -> Host:
    """Start an sshd whose files are in `directory`; `stop` it afterwards.

    Parameters
    ----------
    directory : Path
        Not below what a migration moves.
    options : str
        More lines for ``sshd_config``.
    login : str, optional
        A shell script that is run in place of the command, which is in ``SSH_ORIGINAL_COMMAND``;
        for example ``echo noise; exec sh -c "$SSH_ORIGINAL_COMMAND"``.
    """
    return Host(directory, options, login)


@contextlib.contextmanager
def sshd(directory: Path, options: str = "", login: str | None = None) -> Iterator[Host]:
    """Have an sshd for a while."""
    host = start_sshd(directory, options, login)
    try:
        yield host
    finally:
        host.stop()


def has_sshd() -> bool:
    """Return whether the programs are there."""
    return os.path.exists(SSHD) and shutil.which("ssh") is not None
