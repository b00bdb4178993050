"""Whatever dies in whatever state: the application runs, or the destination is in charge.

And no acknowledged write is lost, and the same command, run again, succeeds.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from migration import controller
from migration.compare import differences
from migration.hosts import Host, has_sshd, start_sshd
from migration.moving import place
from migration.services import Program, alive, descendants, wait_for

from precopy.migration.switchover import processes as proc
from precopy.migration.transport import connect, take

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
        self.timeout_s = 0.0
        self.quiet = True
        self.environment = {"XDG_STATE_HOME": os.fspath(scratch / "state")}
        self.pid = 0

    @property
    def to(self) -> str:
        return f"{self.host.alias}:{self.target}" if self.host else os.fspath(self.target)

    def begin(self, *options: str, hold: str = "") -> None:
        """Begin a run, and return when it is held."""
        for name in ("held", "go", "out", "err"):
            (self.scratch / name).unlink(missing_ok=True)
        for name in ("out", "err"):
            (self.scratch / name).touch()
        argv = ["--to", self.to, "--cycle-seconds", "0.02", "--threshold", "1GB"]
        argv += ["--quiet"] if self.quiet else []
        argv += ["--ssh", self.host.ssh] if self.host else []
        argv += self.options if self.options else ["--pid", str(self.source_pid)]
        argv += [*options, *(["--start", self.start_command] if self.start else [])]
        self.pid = self.controllers.ask(
            argv=[*argv, "--paths", os.fspath(self.source)],
            environment=self.environment,
            scratch=os.fspath(self.scratch),
            hold=hold,
            timeout=self.timeout_s,
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
        found = list((self.scratch / "state" / "precopy" / "migrations").glob("*/journal"))
        text = found[0].read_text() if found else ""
        return [json.loads(line) for line in text.split("\n") if line.strip()]

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
            wait_for(lambda: not any(map(alive, pids)), f"the {victim} to be gone")

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
    elif state == "before:COMMITTED":
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
        assert scene.run("--abort") == 3
        assert "that is not taken back" in scene.errors
        scene.never_goes_on_here()
    assert scene.run() == 0, scene.errors
    scene.ends_well()


# --- the link, and our own processes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "part", "state"),
    [
        ("local", "far side", "COPY"),
        ("local", "far side", "FINAL"),
        ("local", "far side", "COMMITTED"),
        ("ssh", "ssh", "FINAL"),
    ],
    indirect=["scene"],
)
def test_a_link_that_stalls(scene: Scene, part: str, state: str) -> None:
    scene.timeout_s = 1
    scene.begin(hold=state)
    stalled = scene.find(part)
    for pid in stalled:
        os.kill(pid, signal.SIGSTOP)
    scene.go()
    status = scene.wait()
    if state == "COMMITTED":
        assert status == 3, scene.errors
        scene.never_goes_on_here()
    else:
        assert status == 1, scene.errors
        scene.runs_here()
    for pid in stalled:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.mark.parametrize(
    ("state", "then"), [("COPY", "again"), ("COPY", "--abort"), ("COMMITTED", "again")]
)
def test_a_far_side_that_ends_later_than_the_next_run_begins(
    scene: Scene, state: str, then: str
) -> None:
    scene.begin(hold=state)
    (late,) = scene.find("far side")
    os.kill(late, signal.SIGSTOP)
    wait_for(lambda: proc.stands(late), "the far side to stand")
    scene.kill("controller")
    scene.wait()
    scene.quiet = False
    try:
        scene.begin(*([then] if then == "--abort" else []))
        said = f"is at work (process {late} there)"
        wait_for(lambda: said in scene.errors or not alive(scene.pid), "the next run to wait")
        assert "waiting up to" in scene.errors, scene.errors
    finally:
        os.kill(late, signal.SIGCONT)
    assert scene.wait() == 0, scene.errors
    if then == "--abort":
        scene.runs_here()
        assert not scene.target.exists()
        assert scene.run() == 0, scene.errors
    scene.ends_well()


def test_the_watchdog_is_killed_while_all_stand(scene: Scene) -> None:
    scene.begin(hold="FINAL")
    scene.kill("watchdog")
    scene.runs_here()
    scene.go()
    assert scene.wait() == 1
    assert "the watchdog died" in scene.errors
    assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.mark.parametrize("then", ["again", "--abort"])
def test_controller_and_watchdog_are_killed_at_once(scene: Scene, then: str) -> None:
    scene.begin(hold="FINAL")
    os.kill(scene.pid, signal.SIGSTOP)  # so that it cannot notice
    wait_for(lambda: proc.stands(scene.pid), "the controller to stand")
    scene.kill("watchdog")
    scene.kill("controller")
    scene.wait()
    assert proc.stands(scene.source_pid)
    assert scene.run("--status") == 0
    assert "nobody is at work: run the same command again, or --abort" in scene.said
    assert proc.stands(scene.source_pid)
    if then == "--abort":
        assert scene.run("--abort") == 0, scene.errors
        assert "the application goes on here; the source is in charge" in scene.said
        scene.runs_here()
        assert not scene.target.exists()
    assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.mark.parametrize("scene", ["ssh"], indirect=True)
def test_who_stands_goes_on_though_the_destination_is_gone(scene: Scene) -> None:
    scene.begin(hold="VERIFIED")
    os.kill(scene.pid, signal.SIGSTOP)
    wait_for(lambda: proc.stands(scene.pid), "the controller to stand")
    scene.kill("watchdog")
    scene.kill("controller")
    scene.wait()
    assert scene.run("--status", "--ssh", "false") == 0
    assert "the destination cannot be asked" in scene.said
    assert "in charge: source" in scene.said
    assert proc.stands(scene.source_pid)
    assert scene.run("--ssh", "false") == 1
    scene.runs_here()
    assert scene.run() == 0, scene.errors
    scene.ends_well()


def test_it_stands_no_longer_than_it_may(scene: Scene) -> None:
    scene.begin("--max-downtime", "1s", hold="FINAL")
    scene.runs_here()
    scene.go()
    assert scene.wait() == 1
    assert "the application stood for more than 1 s" in scene.errors
    assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.mark.parametrize("state", ["PLAN", "COPY", "FINAL", "VERIFIED", "COMMITTED", "STARTED"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(scene: Scene, state: str, number: signal.Signals) -> None:
    scene.start = state in AFTER
    scene.begin(hold=state)
    os.kill(scene.pid, number)
    scene.go()
    if state in AFTER:
        assert scene.wait() == 0, scene.errors
    else:
        assert scene.wait() == 128 + number
        assert "the application runs on here; the same command resumes" in scene.errors
        scene.runs_here()
        assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_again_and_again(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    scene.start = True
    scene.options = ["--pid", str(scene.source_pid), "--bandwidth", "500kB"]
    for _ in range(6):
        scene.begin()
        time.sleep(chance.random() * 1.5)
        if alive(scene.pid):
            with contextlib.suppress(AssertionError, ProcessLookupError):
                scene.kill(chance.choice(["controller", "far side", "group"]))
        if scene.wait() == 0 or "COMMITTED" in scene.states:
            break
        scene.runs_here()
    assert scene.run() == 0, scene.errors
    scene.ends_well()


# --- a journal that was lost ----------------------------------------------------------------------


def decided_there_only(scene: Scene) -> Path:
    """The destination has recorded that it is in charge, all here are dead, and nobody noted it."""
    scene.begin(hold="VERIFIED")
    os.kill(scene.pid, signal.SIGSTOP)
    wait_for(lambda: proc.stands(scene.pid), "the controller to stand")
    scene.kill("watchdog")
    scene.kill("controller")
    scene.wait()
    [journal] = (scene.scratch / "state/precopy/migrations").glob("*/journal")
    there = connect(scene.to)
    take(there, journal.parent.name, resume=True)
    there.commit(b"record")
    there.close()
    return journal


@pytest.mark.parametrize("runs", [False, True])
def test_a_lost_journal_lets_nobody_run_on_both_sides(scene: Scene, runs: bool) -> None:
    decided_there_only(scene).unlink()
    if runs:
        os.kill(scene.source_pid, signal.SIGCONT)
    scene.start = True
    for _ in range(2):
        assert scene.run() == 3
        assert f"{scene.source_pid} (" in scene.errors
        assert f") {'runs' if runs else 'stands'}. Nothing was ended here" in scene.errors
        assert alive(scene.source_pid)
        assert proc.stands(scene.source_pid) != runs
        assert "STARTED" not in scene.states
    assert scene.run("--abort") == 3
    assert alive(scene.source_pid)
    assert proc.stands(scene.source_pid) != runs
    if runs:
        scene.service.stop(signal.SIGKILL)  # what it wrote here since is not there
        return
    os.kill(scene.source_pid, signal.SIGKILL)
    wait_for(lambda: not alive(scene.source_pid), "the application to end here")
    assert scene.run() == 0, scene.errors
    assert "see that the application does not run here" in scene.said
    scene.ends_well()


def test_a_lost_journal_and_nobody_named_starts_nothing(scene: Scene) -> None:
    decided_there_only(scene).unlink()
    scene.start = True
    scene.options = ["--stop", "systemctl stop shop"]
    assert scene.run() == 3
    assert "whether the application runs here is not known" in scene.errors
    assert "STARTED" not in scene.states
    os.kill(scene.source_pid, signal.SIGKILL)
    scene.options = ["--stop", "true"]
    assert scene.run() == 0, scene.errors
    scene.ends_well()


def test_giving_up_asks_the_destination_before_anybody_goes_on(scene: Scene) -> None:
    decided_there_only(scene)
    assert scene.run("--abort") == 3
    assert "the destination's own record says that it is in charge" in scene.errors
    assert proc.stands(scene.source_pid)
    assert scene.run("--status") == 0
    assert "in charge: destination" in scene.said
    assert scene.run() == 0, scene.errors
    scene.ends_well()


# --- the source ----------------------------------------------------------------------------------


def test_somebody_writes_who_was_not_stopped(scene: Scene) -> None:
    over = threading.Event()
    path = scene.source / "foreign"

    def write() -> None:
        with path.open("w") as file:
            while not over.wait(0.0005):
                file.write("x")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert scene.run() == 1
        assert (
            f"after the stop: {path} changed; open for writing in {os.getpid()} (" in scene.errors
        )
        scene.runs_here()
    finally:
        over.set()
        writer.join()
    assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.mark.parametrize("state", ["COPY", "DRAIN"])
def test_the_application_ends_by_itself_before_the_stop(scene: Scene, state: str) -> None:
    scene.begin(hold=state)
    scene.service.stop()
    scene.go()
    assert scene.wait() == 1
    assert "the processes that were to be stopped have ended" in scene.errors
    assert "The application has ended by itself; then run the same command" in scene.errors
    assert scene.run() == 2
    assert f"got {scene.source_pid}, expected the pid of a running process" in scene.errors
    scene.options = ["--stop", "true"]
    assert scene.run() == 0, scene.errors
    scene.ends_well()


def test_the_application_is_killed_while_it_stands(scene: Scene) -> None:
    scene.begin(hold="FINAL")
    scene.service.stop(signal.SIGKILL)
    scene.go()
    assert scene.wait() == 0, scene.errors
    scene.ends_well()


# --- the destination -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("false", "status 1"),
        ("/no/such/server", "No such file"),
        ("sh -c 'echo port 80 is taken >&2; exit 7'", "port 80 is taken"),
    ],
)
def test_the_start_fails(scene: Scene, command: str, why: str) -> None:
    report = scene.scratch / "report.json"
    for _ in range(2):
        assert scene.run("--start", command, "--report", str(report)) == 3
        assert why in scene.errors
        assert "It does not go on here. Mend what is wrong there and run" in scene.errors
        scene.never_goes_on_here()
        assert "DONE" not in scene.states
    told = json.loads(report.read_text())  # of the run that has moved all
    assert told["verified"]
    assert told["cycles"]
    assert any("the downtime goes on" in note for note in told["notes"])
    scene.start = True
    assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.fixture
def small_disk(scene: Scene) -> Iterator[Path]:
    """The target is on a file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("root is needed to mount a file system")
    place = scene.scratch / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", place], check=True)
    scene.target = place / "target"
    scene.there = Path(f"{scene.target}{scene.source}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> Path:
    path = place / "filler"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(fd, bytes(4096))
    os.close(fd)
    return path


@pytest.mark.parametrize("what", ["full", "read-only"])
def test_a_destination_that_takes_nothing(scene: Scene, small_disk: Path, what: str) -> None:
    filler = fill(small_disk) if what == "full" else small_disk / "filler"
    if what == "read-only":
        filler.touch()
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert scene.run() in (1, 2)
    if what == "read-only":
        assert "Read-only file system" in scene.errors
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    else:
        assert "No space left" in scene.errors or "free, expected at least" in scene.errors
    scene.runs_here()
    filler.unlink()
    assert scene.run() == 0, scene.errors
    scene.ends_well()


@pytest.mark.parametrize("state", ["COPY", "FINAL"])
def test_a_destination_that_fills_up(scene: Scene, small_disk: Path, state: str) -> None:
    scene.begin(hold=state)
    filler = fill(small_disk)
    (scene.source / "new").write_bytes(bytes(range(256)) * 4000)
    scene.go()
    assert scene.wait() == 1
    assert "No space left" in scene.errors
    scene.runs_here()
    filler.unlink()
    assert scene.run() == 0, scene.errors
    scene.ends_well()


def test_two_migrations_to_one_target(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("other")
    scene.begin(hold="COPY")
    first = scene.pid
    command = [sys.executable, "-m", "precopy", "migrate", "--to", scene.to, "--stop", "true"]
    settings = os.environ | scene.environment
    again = [*command[:-2], "--pid", str(scene.source_pid)]
    for words, why in [
        ([*command, "--paths", os.fspath(tmp_path / "other")], "another"),
        ([*again, "--paths", os.fspath(scene.source)], f"another precopy (pid {first}) is at work"),
    ]:
        done = subprocess.run(words, env=settings, capture_output=True, text=True)
        assert done.returncode in (1, 2), done.stderr
        assert why in done.stderr
    scene.runs_here()
    scene.go()
    assert scene.wait() == 0, scene.errors
    scene.ends_well()
    assert not list(scene.target.rglob("other"))


def test_a_destination_that_holds_other_things(scene: Scene) -> None:
    scene.target.mkdir()
    (scene.target / "mine").write_text("mine")
    assert scene.run() in (1, 2)
    assert "mine" in scene.errors
    scene.runs_here()
    assert [path.name for path in scene.target.iterdir()] == ["mine"]
