"""Whatever dies in whatever state: the application runs, or the destination is in charge.

And no acknowledged write is lost, and the same command, run again, succeeds.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from migration import controller
from migration.compare import differences
from migration.hosts import Host, has_sshd, start_sshd
from migration.moving import place
from migration.services import Program, alive, descendants, wait_for

from precopy.migration import processes as proc

BEFORE = ("PLAN", "COPY", "DRAIN", "before:FROZEN", "FROZEN", "FINAL", "VERIFIED")
BEFORE += ("before:COMMITTED",)
AFTER = ("COMMITTED", "before:STARTED", "STARTED", "before:DONE")
STANDS = ("FINAL", "VERIFIED", "before:COMMITTED")


class Small(Program):
    name = "small"
    parts = ("append", "replace", "sqlite:wal:2:0.2")


class Controllers:
    """The process that every run is a fork of."""

    def __init__(self) -> None:
        command = [sys.executable, os.fspath(controller.__file__)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: object) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def controllers() -> Iterator[Controllers]:
    running = Controllers()
    yield running
    running.process.kill()
    running.process.communicate()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if not has_sshd():
        pytest.skip("openssh-server not installed")
    running = start_sshd(tmp_path_factory.mktemp("host"))
    yield running
    running.stop()


class Scene:
    """A service that runs, and the migration of it."""

    def __init__(self, scratch: Path, controllers: Controllers, host: Host | None) -> None:
        self.scratch, self.controllers, self.host = scratch, controllers, host
        self.source, self.target = scratch / "app", scratch / "target"
        self.there = Path(f"{self.target}{self.source}")
        self.service = Small(scratch / "outside")
        self.service.start(self.source)
        self.source_pid = self.service.pid
        self.start = False
        self.options: list[str] = []
        self.environment = {"XDG_STATE_HOME": os.fspath(scratch / "state")}
        self.pid = 0

    @property
    def to(self) -> str:
        return f"{self.host.alias}:{self.target}" if self.host else os.fspath(self.target)

    def begin(self, *options: str, hold: str = "") -> None:
        """Begin a run, and return when it is held."""
        for name in ("held", "go", "out", "err"):
            (self.scratch / name).unlink(missing_ok=True)
        argv = ["--to", self.to, "--quiet", "--cycle-seconds", "0.02", "--threshold", "1GB"]
        argv += ["--ssh", self.host.ssh] if self.host else []
        argv += self.options if self.options else ["--pid", str(self.source_pid)]
        argv += [*options, *(["--start", self.start_command] if self.start else [])]
        self.pid = self.controllers.ask(
            argv=[*argv, "--paths", os.fspath(self.source)],
            environment=self.environment,
            scratch=os.fspath(self.scratch),
            hold=hold,
        )
        if hold:
            wait_for(lambda: (self.scratch / "held").exists() or not alive(self.pid), hold)
            assert alive(self.pid), self.errors

    def go(self) -> None:
        (self.scratch / "go").touch()

    def wait(self) -> int:
        return self.controllers.ask(wait=self.pid)

    def run(self, *options: str) -> int:
        self.begin(*options)
        return self.wait()

    @property
    def errors(self) -> str:
        return (self.scratch / "err").read_text()

    @property
    def said(self) -> str:
        return (self.scratch / "out").read_text()

    @property
    def start_command(self) -> str:
        return shlex.join(self.service.command(self.there))

    @property
    def journal(self) -> list[dict[str, object]]:
        (path,) = (self.scratch / "state" / "precopy" / "migrations").glob("*/journal")
        return [json.loads(line) for line in path.read_text().split("\n") if line.strip()]

    @property
    def states(self) -> list[str]:
        return [str(entry["state"]) for entry in self.journal]

    def kill(self, victim: str) -> None:
        """Kill one part of the migration, as a crash would."""
        if victim == "group":
            os.killpg(self.pid, signal.SIGKILL)
        elif victim == "controller":
            os.kill(self.pid, signal.SIGKILL)
        else:
            pids = self.find(victim)
            assert pids, f"no {victim}"
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

    def find(self, part: str) -> list[int]:
        ours = descendants(self.pid)[1:]
        if part == "watchdog":
            return [pid for pid in ours if proc.arguments(pid)[-1:][0].endswith(b"watchdog.py")]
        if part == "ssh":
            return [pid for pid in ours if proc.arguments(pid)[:1] == [b"ssh"]]
        where = descendants(self.host.process.pid)[1:] if self.host else ours
        if part == "sshd":
            return where
        return [pid for pid in where if {b"-I", b"-c"} <= set(proc.arguments(pid)[1:4])]

    def runs_here(self) -> None:
        """The application runs at the source, and goes on writing."""
        before = self.service.acknowledged()
        wait_for(lambda: self.service.acknowledged() > before + 3, "the application to go on")
        assert alive(self.source_pid)

    def never_goes_on_here(self) -> None:
        assert not alive(self.source_pid) or proc.stands(self.source_pid)

    def ends_well(self) -> None:
        """All is there, and nothing runs here any more."""
        wait_for(lambda: not alive(self.source_pid), "the application to end here")
        if not self.start:
            assert differences(self.source, self.there) == []
        else:
            ready = [pid for part, pid in self.service.lines() if part == "ready"]
            assert len(ready) == 2, "it was not started just once"
            self.service.adopt(int(ready[1]))
            self.service.stop()
        self.service.check(self.there)


@pytest.fixture
def scene(request: pytest.FixtureRequest, controllers: Controllers) -> Iterator[Scene]:
    over = getattr(request, "param", "local")
    host = request.getfixturevalue("host") if over == "ssh" else None
    with place(memory=True) as scratch:
        scene = Scene(scratch, controllers, host)
        yield scene
        clean_up(scene)


def clean_up(scene: Scene) -> None:
    """End whatever a failed test has left."""
    scene.service.stop(signal.SIGKILL)
    for victim in ("watchdog", "ssh"):
        with contextlib.suppress(AssertionError, ProcessLookupError, IndexError):
            scene.kill(victim)
    for one in proc.table().values():  # what was started and not adopted
        if os.fsencode(scene.there) in proc.arguments(one.process.pid):
            os.kill(one.process.pid, signal.SIGKILL)


def cases(states: Sequence[str]) -> list[tuple[str, str, str]]:
    """Give who dies in which state: everybody in each, those that are alike in some."""
    found = []
    for state in states:
        found += [("local", victim, state) for victim in ("controller", "far side")]
        found.append(("ssh", "ssh", state))
        if state in ("COPY", "FINAL", "COMMITTED", "STARTED"):
            found += [("ssh", victim, state) for victim in ("group", "far side")]
    return found


@pytest.mark.parametrize("scene", ["local", "ssh"], indirect=True)
@pytest.mark.parametrize("start", [False, True])
def test_nothing_dies(scene: Scene, start: bool) -> None:
    scene.start = start
    assert scene.run() == 0, scene.errors
    wanted = ["PLAN", "COPY", "DRAIN", "FROZEN", "FINAL", "VERIFIED", "COMMITTED"]
    assert scene.states == wanted + (["STARTED"] if start else []) + ["DONE"]
    scene.ends_well()


@pytest.mark.parametrize(("scene", "victim", "state"), cases(BEFORE), indirect=["scene"])
def test_killed_before_the_decision(scene: Scene, victim: str, state: str) -> None:
    scene.begin(hold=state)
    if state in STANDS:
        assert proc.stands(scene.source_pid)
    scene.kill(victim)
    scene.go()
    status = scene.wait()
    if victim in ("controller", "group"):
        assert status == -signal.SIGKILL
        scene.runs_here()
    elif state in ("VERIFIED", "before:COMMITTED"):
        assert status == 3, scene.errors
        assert "the destination is in charge, but could not be reached" in scene.errors
        scene.never_goes_on_here()
    else:
        assert status == 1, scene.errors
        assert "The application runs on here; then run the same command again" in scene.errors
        scene.runs_here()
    assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.mark.parametrize(("scene", "victim", "state"), cases(AFTER), indirect=["scene"])
def test_killed_after_the_decision(scene: Scene, victim: str, state: str) -> None:
    scene.start = True
    scene.begin(hold=state)
    assert proc.stands(scene.source_pid) or not alive(scene.source_pid)
    scene.kill(victim)
    scene.go()
    status = scene.wait()
    scene.never_goes_on_here()
    if victim in ("controller", "group"):
        assert status == -signal.SIGKILL
    elif state == "COMMITTED":
        assert status == 3, scene.errors
    else:
        assert status == 0, scene.errors
    if victim == "controller":
        assert scene.run("--status") == 0
        assert "in charge: destination" in scene.said
        assert scene.run("--abort") == 1
        assert "that is not taken back" in scene.errors
        scene.never_goes_on_here()
    assert scene.run() == 0, scene.errors
    scene.ends_well()
