"""Ways to move a running service over a link, as a competent operator would go about it.

Each of `MOVERS` gets a `Move` and returns what was measured: how long the service stood still until
the last command that makes the destination complete had ended.  The peers' time does not include
`syncfs` at the destination and no verification; ours does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[1] / "tests"))

from migration.links import Link
from migration.services import Service, alive, descendants

PRECOPY = Path(sys.executable).with_name("precopy")
# Everything that a destination must equal the source in; names of users are not resolved.
RSYNC = ["rsync", "-aHAX", "--numeric-ids", "--delete"]


@dataclass
class Move:
    """A service that runs in `source` and shall go on at the far end of `link`."""

    link: Link
    service: Service
    source: Path
    target: Path
    scratch: Path

    @property
    def destination(self) -> Path:
        """Where the source's directory is to be in the end."""
        return self.target / self.source.relative_to("/")

    def run(self, *command: str | os.PathLike[str], may: tuple[int, ...] = (0,)) -> str:
        """Run a command at the near end; fail unless it ends with one of the statuses of `may`."""
        # What ours remembers of a migration that is over, is none of the next one's business.
        environment = self.link.environment | {"XDG_STATE_HOME": os.fspath(self.scratch / "state")}
        done = subprocess.run(
            [*self.link.near, *command], env=environment, capture_output=True, text=True
        )
        if done.returncode not in may:
            raise RuntimeError(f"{command}: status {done.returncode}: {done.stderr[-1500:]}")
        return done.stdout

    def rsync(self, *options: str, running: bool = False) -> None:
        """Synchronize once; files that vanish meanwhile are normal as long as the service runs."""
        self.run("ssh", "far", "mkdir", "-p", self.destination) if running else None
        where = [f"{self.source}/", f"far:{self.destination}/"]
        self.run(*RSYNC, *options, *where, may=(0, 24) if running else (0,))

    @contextlib.contextmanager
    def stopped(self) -> Iterator[dict[str, float]]:
        """Stop the service; what is in the block is its downtime, after which it is gone."""
        measured = {}
        before = self.link.bytes()
        start = time.monotonic()
        for pid in descendants(self.service.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield measured
        measured["downtime_s"] = time.monotonic() - start
        measured["stopped_bytes"] = self.link.bytes() - before
        self.service.stop(signal.SIGKILL)


Measured = dict[str, Any]


def tar(move: Move) -> Measured:
    with move.stopped() as measured:
        pack = f"tar -C / --xattrs --acls -cf - {move.source.relative_to('/')}"
        unpack = f"mkdir -p {move.target} && tar -C {move.target} --xattrs --acls -xpf -"
        move.run("sh", "-c", f"{pack} | ssh far '{unpack}'")
    return measured


def two_passes(*last: str) -> Callable[[Move], Measured]:
    def rsync(move: Move) -> Measured:
        move.rsync(running=True)
        with move.stopped() as measured:
            move.rsync(*last)
        return measured

    return rsync


def three_passes(*last: str) -> Callable[[Move], Measured]:
    """The second pass makes the third one short, and all of them share one connection."""

    def rsync(move: Move) -> Measured:
        control = f"-oControlPath={move.scratch}/control"
        shell = ["-e", f"ssh {control}"]
        move.run("ssh", control, "-oControlMaster=yes", "-oControlPersist=yes", "-fN", "far")
        try:
            move.rsync(*shell, running=True)
            move.rsync(*shell, running=True)
            with move.stopped() as measured:
                move.rsync(*shell, "--inplace", *last)
        finally:
            move.run("ssh", control, "-O", "exit", "far", may=(0, 255))
        return measured

    return rsync


LSYNCD = """
settings {{ nodaemon = true, logfile = "{scratch}/lsyncd.log", pidfile = "{scratch}/lsyncd.pid",
           statusFile = "{scratch}/lsyncd.status" }}
sync {{ default.rsync, source = "{source}/", target = "far:{destination}/", delay = 1,
       rsync = {{ archive = true, acls = true, xattrs = true, hard_links = true,
                 _extra = {{ "--numeric-ids" }} }} }}
"""


def lsyncd(move: Move) -> Measured:
    """It follows events for some seconds after its first copy; a pass of rsync ends it."""
    move.run("ssh", "far", "mkdir", "-p", move.destination)
    log = move.scratch / "lsyncd.log"
    log.unlink(missing_ok=True)
    config = move.scratch / "lsyncd.lua"
    config.write_text(
        LSYNCD.format(scratch=move.scratch, source=move.source, destination=move.destination)
    )
    with (move.scratch / "lsyncd.err").open("wb") as errors:
        follower = subprocess.Popen(
            [*move.link.near, "lsyncd", os.fspath(config)], env=move.link.environment,
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 300
        while not (log.exists() and "Startup of" in log.read_text()):
            if follower.poll() is not None or time.monotonic() > end:
                raise RuntimeError((move.scratch / "lsyncd.err").read_text()[-1500:])
            time.sleep(0.1)
        time.sleep(5)
        follower.terminate()
        follower.wait(60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(follower.pid, signal.SIGKILL)
        follower.wait()
    with move.stopped() as measured:
        move.rsync()
    return measured


class Watch(threading.Thread):
    """Sees from outside when a process is gone."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.gone_at = 0.0
        self.start()

    def run(self) -> None:
        while alive(self.pid):
            time.sleep(0.001)
        self.gone_at = time.time()


def precopy(*options: str) -> Callable[[Move], Measured]:
    def migrate(move: Move) -> Measured:
        report = move.scratch / "report.json"
        report.unlink(missing_ok=True)
        shutil.rmtree(move.scratch / "state", ignore_errors=True)
        watch = Watch(move.service.pid)
        command: list[str | os.PathLike[str]] = [PRECOPY, "migrate", "--to", f"far:{move.target}"]
        command += ["--pid", str(move.service.pid), "--report", report, *options]
        move.run(*command, "--paths", move.source)
        watch.join(30)
        last_write = float(move.service.acks.read_text().splitlines()[-1].split("\t")[2])
        move.service.stop(signal.SIGKILL)
        found = json.loads(report.read_text())
        quiet = found["cycles"][-1]["cycle_seconds"] + found["downtime_parts"]["freeze"]
        return {
            "downtime_s": found["downtime_s"],
            "outside_s": watch.gone_at - last_write,
            "predicted_s": found["predicted_downtime_s"],
            "limit_s": 1.3 * (quiet + found["final_copy_bytes"] / move.link.bandwidth),
            "report": found,
        }

    return migrate


MOVERS: dict[str, Callable[[Move], Measured]] = {
    "stop + tar": tar,
    "rsync, 2 passes": two_passes(),
    "rsync, 2 passes, -I": two_passes("-I"),
    "rsync, 3 passes, --inplace": three_passes(),
    "rsync, 3 passes, --inplace, ns": three_passes("--modify-window=-1"),
    "rsync, 3 passes, --inplace, -I": three_passes("-I"),
    "lsyncd + rsync": lsyncd,
    "precopy": precopy(),
    "precopy, files": precopy("--granularity", "file"),
    "precopy, files, size ascending": precopy("--granularity", "file", "--order", "size-ascending"),
    "precopy, files, size descending": precopy(
        "--granularity", "file", "--order", "size-descending"
    ),
}
