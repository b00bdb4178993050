"""A slow link to another host, on one machine: two network namespaces and an sshd in one of them.

Needs root.  The namespaces are joined by a pair of virtual interfaces, each of which lets out so
many bytes per second (`tc tbf`).  A proxy in front of the sshd can add a round trip.  What is made
here is taken away again, whatever happens in between.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

NEAR, FAR = "10.71.0.1", "10.71.0.2"
SSH_PORT, PROXY_PORT = 22, 2222
_numbers = itertools.count()


def run(*command: str | os.PathLike[str], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return str(done.stdout)


class Link:
    """The two ends of a link: `near`, where a migration starts, and `far`, which it goes to.

    Attributes
    ----------
    near, far : list of str
        Put in front of a command, they run it at that end.  Both ends see the same files.
    environment : dict
        With it, ``ssh far`` gets there (and everything that uses ssh).
    """

    def __init__(self, stack: contextlib.ExitStack, bandwidth: float, round_trip: float) -> None:
        self.bandwidth = bandwidth
        name = f"pcy{os.getpid() % 100000}{next(_numbers)}"
        self.names = (f"{name}n", f"{name}f")
        for end in self.names:
            run("ip", "netns", "add", end)
            stack.callback(run, "ip", "netns", "delete", end)
        # Not `ip netns exec`: that would hide the control groups.
        self.near, self.far = (["nsenter", f"--net=/run/netns/{end}"] for end in self.names)
        run("ip", "link", "add", "v", "netns", self.names[0], "type", "veth", "peer", "name", "v",
            "netns", self.names[1])  # fmt: skip
        rate = f"{round(bandwidth * 8)}bit"
        for end, address in ((self.near, NEAR), (self.far, FAR)):
            run(*end, "ip", "address", "add", f"{address}/24", "dev", "v")
            run(*end, "ip", "link", "set", "lo", "up")
            run(*end, "ip", "link", "set", "v", "up")
            run(*end, "tc", "qdisc", "add", "dev", "v", "root", "tbf", "rate", rate,
                "burst", "32kb", "latency", "20ms")  # fmt: skip
        self.directory = Path(tempfile.mkdtemp(prefix="precopy-link-"))
        stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.start_sshd(stack)
        if round_trip:
            self.start_proxy(stack, round_trip)
        self.write_ssh(PROXY_PORT if round_trip else SSH_PORT)

    def start_sshd(self, stack: contextlib.ExitStack) -> None:
        here = self.directory
        Path("/run/sshd").mkdir(exist_ok=True)
        for key in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", here / key)
        shutil.copy(here / "user.pub", here / "authorized")
        (here / "sshd_config").write_text(
            f"ListenAddress {FAR}\nHostKey {here}/host\nAuthorizedKeysFile {here}/authorized\n"
            f"PidFile {here}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "PermitRootLogin yes\nLogLevel ERROR\nMaxStartups 100\nMaxSessions 100\n"
        )
        self.background(
            stack, ["/usr/sbin/sshd", "-D", "-e", "-f", os.fspath(here / "sshd_config")]
        )
        self.wait_for_port(SSH_PORT)

    def start_proxy(self, stack: contextlib.ExitStack, round_trip: float) -> None:
        script = os.fspath(Path(__file__).resolve())
        self.background(stack, [sys.executable, script, str(round_trip / 2)])
        self.wait_for_port(PROXY_PORT)

    def background(self, stack: contextlib.ExitStack, command: list[str]) -> None:
        """Run a command at the far end for as long as the link is there."""
        with (self.directory / "background.err").open("ab") as errors:
            process = subprocess.Popen(
                [*self.far, *command], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                start_new_session=True,
            )  # fmt: skip

        def end() -> None:
            # Connections that an sshd serves are processes of their own, some in their own group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

        stack.callback(end)

    def wait_for_port(self, port: int) -> None:
        """Wait until something listens, without connecting to it."""
        for _ in range(600):
            if run(*self.far, "ss", "-Hltn", f"sport = :{port}"):
                return
            time.sleep(0.01)
        raise AssertionError((self.directory / "background.err").read_text())

    def write_ssh(self, port: int) -> None:
        """Write an `ssh` that knows the way to ``far``, as the user's own configuration would."""
        here = self.directory
        key = " ".join((here / "host.pub").read_text().split()[:2])
        (here / "known_hosts").write_text(f"far {key}\n")
        (here / "ssh_config").write_text(
            f"Host far\n  HostName {FAR}\n  Port {port}\n  User root\n  HostKeyAlias far\n"
            f"  IdentityFile {here}/user\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {here}/known_hosts\n  StrictHostKeyChecking yes\n"
        )
        (here / "bin").mkdir()
        ssh = here / "bin/ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {here}/ssh_config "$@"\n')
        ssh.chmod(0o755)
        self.environment = os.environ | {"PATH": f"{here}/bin:{os.environ['PATH']}"}

    def bytes(self) -> int:
        """Return how many bytes went from the near end to the far one so far, headers included."""
        [counters] = json.loads(run(*self.near, "ip", "-j", "-s", "link", "show", "v"))
        return int(counters["stats64"]["tx"]["bytes"])

    def cut(self, end: bool = True) -> None:
        """Let nothing through any more, without telling anyone; or again."""
        for side in (self.near, self.far):
            run(*side, "ip", "link", "set", "v", "down" if end else "up")


@contextlib.contextmanager
def link(bandwidth: float = 12.5e6, round_trip: float = 0.0) -> Iterator[Link]:
    """Give a link of `bandwidth` bytes/s that adds `round_trip` seconds."""
    with contextlib.ExitStack() as stack:
        yield Link(stack, bandwidth, round_trip)


# -- the proxy


def forward(source: socket.socket, sink: socket.socket, delay: float) -> None:
    """Hand on what comes, each piece `delay` seconds later."""
    pieces: queue.Queue[tuple[float, bytes]] = queue.Queue(4096)

    def send() -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = pieces.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)

    threading.Thread(target=send, daemon=True).start()
    data = b"?"
    while data:
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + delay, data))


def main() -> None:
    delay = float(sys.argv[1])
    server = socket.create_server((FAR, PROXY_PORT))
    while True:
        near, _ = server.accept()
        far = socket.create_connection((FAR, SSH_PORT))
        for one, other in ((near, far), (far, near)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=forward, args=(one, other, delay), daemon=True).start()


if __name__ == "__main__":
    main()
