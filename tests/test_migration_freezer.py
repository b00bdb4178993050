"""The application is stopped as a whole, and nothing else is."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from access.truth import need

from precopy.access import AccessLog
from precopy.migration.switchover import groups, watchdog
from precopy.migration.switchover import processes as proc
from precopy.migration.switchover.freezer import Freezer, end
from precopy.migration.switchover.processes import Process
from precopy.migration.switchover.stopping import NotStoppedError

PROGRAM = Path(__file__).parent / "migration" / "standing.py"
KINDS = ("one", "threads", "forks", "births", "orphans", "spawns")

Start = Callable[..., subprocess.Popen[bytes]]


def nobody(processes: list[Process], places: list[str]) -> None:
    """Nobody listens to what is stopped."""


def until(true: Callable[[], object], what: str) -> None:
    give_up_at = time.monotonic() + 20
    while not true():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.002)


def told(directory: Path) -> dict[str, int]:
    """How far each process has counted."""
    found = {}
    for entry in os.scandir(directory):
        try:
            found[entry.name] = entry.stat().st_size
        except FileNotFoundError:
            continue
    return found


def stands(directory: Path) -> bool:
    before = told(directory)
    time.sleep(0.03)
    return told(directory) == before


def goes_on(directory: Path) -> None:
    before = told(directory)
    until(lambda: told(directory) != before, "the application does not go on")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun: list[subprocess.Popen[bytes]] = []

    def run(kind: str, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        (tmp_path / "d").mkdir(exist_ok=True)
        command = [*prefix, sys.executable, os.fspath(PROGRAM), os.fspath(tmp_path / "d"), kind]
        process = subprocess.Popen([*command, *words], start_new_session=True)
        begun.append(process)
        if kind != "spawns":
            until(lambda: told(tmp_path / "d"), "the application does not begin")
        else:
            time.sleep(0.1)
        return process

    yield run
    for process in begun:
        for one in proc.table().values():
            if one.session == process.pid:
                with_continue(one.process.pid)
        process.wait()


def with_continue(pid: int) -> None:
    for number in (signal.SIGKILL, signal.SIGCONT):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


@pytest.mark.parametrize("kind", KINDS)
def test_everything_stands_and_goes_on(tmp_path: Path, start: Start, kind: str) -> None:
    process = start(kind)
    for _ in range(5):
        freezer = Freezer.from_pids([process.pid])
        assert freezer.stopped == []
        freezer.stop(nobody)
        assert stands(tmp_path / "d")
        session = [one for one in proc.table().values() if one.session == process.pid]
        assert {one.state for one in session} <= set("TZ"), session
        assert {one.process for one in session if one.state == "T"} <= set(freezer.stopped)
        assert freezer.trouble() == []
        assert freezer.thaw() == []
        states = [proc.look(one.process.pid) for one in session]
        assert "T" not in {one.state for one in states if one}
        if kind != "spawns":
            goes_on(tmp_path / "d")
    assert process.poll() is None


def test_who_stood_before_stands_after(tmp_path: Path, start: Start) -> None:
    parent = start("forks")
    child = next(one for one in proc.table().values() if one.parent == parent.pid).process
    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: proc.stands(child.pid), "SIGSTOP")
    freezer = Freezer.from_pids([parent.pid])
    announced: list[Process] = []
    freezer.stop(lambda processes, places: announced.extend(processes))
    assert child not in announced
    assert parent.pid in {process.pid for process in announced}
    freezer.thaw()
    assert proc.stands(child.pid)
    assert not proc.stands(parent.pid)
    assert freezer.end() == []  # it is the application's, though, and ends with it
    assert proc.is_gone(child)


def test_a_pid_that_was_used_again_is_another_process(start: Start) -> None:
    process = start("one")
    started = watchdog.start_time(process.pid)
    assert started is not None
    assert not watchdog.send_signal(process.pid, started - 1, signal.SIGKILL)
    freezer = Freezer(lambda: [Process(process.pid, started - 1)])
    assert freezer.processes == []
    assert freezer.end() == []
    assert process.poll() is None
    assert watchdog.send_signal(process.pid, started, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not watchdog.send_signal(process.pid, started, signal.SIGKILL)


def test_who_may_not_be_stopped() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for pid, why in [
        (os.getpid(), "is this command itself"),
        (os.getppid(), "is an ancestor of this command"),
        (2, "is the system's"),
        (0, "expected the pid of a running process"),
        (-1, "expected the pid of a running process"),
        (ended.pid, "expected the pid of a running process"),
    ]:
        with pytest.raises(ValueError, match=f"^pid: .*{why}"):
            Freezer.from_pids([pid])
    for stop, why in [("", "expected 'freeze'"), ("'", "No closing quotation")]:
        with pytest.raises(ValueError, match=why):
            Freezer(list, stop=stop)


def test_another_users_processes_are_refused(start: Start) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has processes of other users to begin with")
    process = start("one")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            Freezer.from_pids([process.pid]).check()
        except ValueError as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(read, 4096).decode()
    os.close(read)
    os.close(write)
    assert "belongs to user 0, expected a process that we may stop" in said
    assert not proc.stands(process.pid)


def test_a_traced_process_is_refused(start: Start) -> None:
    need("strace")
    process = start("one")
    strace = ["strace", "-o", os.devnull, "-p", str(process.pid)]
    tracer = subprocess.Popen(strace, stderr=subprocess.DEVNULL)
    until(lambda: proc.tracer(process.pid) == tracer.pid, "strace does not attach")
    freezer = Freezer.from_pids([process.pid])
    with pytest.raises(ValueError, match=rf"is traced by {tracer.pid} \(strace .*detach it first"):
        freezer.check()
    tracer.terminate()
    tracer.wait()
    assert freezer.check() == []


def test_a_process_that_cannot_stop_is_told(tmp_path: Path, start: Start) -> None:
    process = start_waiting(tmp_path, start)
    freezer = Freezer.from_pids([process.pid], timeout_s=0.2)
    with pytest.raises(NotStoppedError, match=r"^1 of the processes .* in 0.2 s: .*state D"):
        freezer.stop(nobody)
    freezer.thaw()
    (tmp_path / "d" / "fifo").write_text("")
    goes_on(tmp_path / "d")


def test_a_parent_that_waits_for_a_child_that_was_stopped(tmp_path: Path, start: Start) -> None:
    process = start_waiting(tmp_path, start)
    freezer = Freezer.from_pids([process.pid])
    held: list[int] = []

    def open_later() -> None:  # when the child stands, and cannot become another program
        until(lambda: len(freezer.stopped) == 2, "the stop to begin")
        time.sleep(0.02)
        held.append(os.open(tmp_path / "d" / "fifo", os.O_RDWR))

    helper = threading.Thread(target=open_later)
    helper.start()
    freezer.stop(nobody)
    helper.join()
    assert stands(tmp_path / "d")
    freezer.thaw()
    goes_on(tmp_path / "d")
    os.close(held[0])


def start_waiting(
    directory: Path, start: Start, prefix: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    (directory / "d").mkdir()
    (directory / "d" / "begun").write_text("")
    process = start("waits", prefix=prefix)
    until(lambda: (directory / "d" / "fifo").exists(), "no FIFO")
    until(lambda: proc.look(process.pid).state == "D", "it does not wait")
    return process


# --- to the end ----------------------------------------------------------------------------------


def test_term_ends_parents_first_and_then_who_is_left(tmp_path: Path, start: Start) -> None:
    process = start("forks")
    session = [one.process for one in proc.table().values() if one.session == process.pid]
    freezer = Freezer.from_pids([process.pid], stop="term")
    freezer.stop(nobody)
    assert all(proc.is_gone(one) for one in session)
    assert stands(tmp_path / "d")
    assert freezer.trouble() == []
    assert process.wait() == -signal.SIGTERM


def test_term_is_given_up_after_its_time(tmp_path: Path, start: Start) -> None:
    process = start("deaf")
    freezer = Freezer.from_pids([process.pid], stop="term", timeout_s=0.2)
    with pytest.raises(NotStoppedError, match=rf"after SIGTERM in 0.2 s: {process.pid} "):
        freezer.stop(nobody)
    freezer.thaw()
    goes_on(tmp_path / "d")


@pytest.mark.parametrize("stop", ["freeze", "term"])
def test_a_supervisor_that_starts_it_again_is_noticed(
    tmp_path: Path, start: Start, stop: str
) -> None:
    (tmp_path / "d").mkdir()
    words = [sys.executable, os.fspath(PROGRAM), os.fspath(tmp_path / "d"), "one"]
    loop = f"while :; do {shlex.join(words)}; done"
    supervisor = subprocess.Popen(["sh", "-c", loop], start_new_session=True)
    try:
        until(lambda: told(tmp_path / "d"), "the application does not begin")
        (child,) = [one for one in proc.table().values() if one.parent == supervisor.pid]
        freezer = Freezer.from_pids([child.process.pid], stop=stop)
        freezer.stop(nobody)
        if stop == "freeze":
            assert freezer.trouble() == []
            assert freezer.end() == []
        found = freezer.restarted(wait=True)
        assert len(found) == 1
        assert f"was started since the stop, by {supervisor.pid} (sh" in found[0]
        assert freezer.trouble() == found
        assert freezer.restarted(ours=supervisor.pid) == []  # the destination's, in its session
    finally:
        os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait()


# --- a command -----------------------------------------------------------------------------------


def test_a_command_stops_it_and_it_goes_on(tmp_path: Path, start: Start) -> None:
    process = start("one")
    freezer = Freezer.from_pids([process.pid], stop=f"kill -STOP {process.pid}")
    announced: list[Process] = []
    freezer.stop(lambda processes, places: announced.extend(processes))
    assert stands(tmp_path / "d")
    assert [one.pid for one in announced] == [process.pid]
    assert freezer.trouble() == []
    freezer.thaw()
    goes_on(tmp_path / "d")


def test_a_command_ends_it(start: Start) -> None:
    process = start("one")
    freezer = Freezer.from_pids([process.pid], stop=f"kill {process.pid}")
    freezer.stop(nobody)
    assert freezer.stopped == []
    assert process.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("false", "'false' ended with status 1"),
        ("sh -c 'echo no such unit >&2; exit 5'", "ended with status 5: no such unit"),
        ("true", "ended with status 0, but these still run"),
        ("sleep 60", "'sleep 60' did not end in 0.3 s"),
        ("/no/such/program now", "cannot run '/no/such/program': No such file"),
        ("sh -c 'sleep 60 & exit 3'", "ended with status 3"),
    ],
)
def test_a_command_that_does_not_stop_it(
    tmp_path: Path, start: Start, command: str, why: str
) -> None:
    process = start("one")
    freezer = Freezer.from_pids([process.pid], stop=command, timeout_s=0.3)
    with pytest.raises(NotStoppedError, match=why):
        freezer.stop(nobody)
    freezer.thaw()
    goes_on(tmp_path / "d")


def test_no_shell_sees_the_command(tmp_path: Path, start: Start) -> None:
    process = start("one")
    stop = f"{shlex.quote(sys.executable)} -c 'import os, sys; os.kill(int(sys.argv[1]), 9); "
    stop += f"open(sys.argv[2], \"w\")' {process.pid} '{tmp_path}/$(id) `id`;'"
    Freezer.from_pids([process.pid], stop=stop).stop(nobody)
    assert (tmp_path / "$(id) `id`;").exists()


def test_an_application_that_does_not_run_needs_a_command() -> None:
    with pytest.raises(ValueError, match=r"--pid or --cgroup, or, .* --stop true"):
        Freezer(list).check()
    freezer = Freezer(list, stop="true")
    assert freezer.check() == []
    freezer.stop(nobody)
    assert freezer.trouble() == []


# --- control groups ------------------------------------------------------------------------------


@pytest.fixture
def group() -> Iterator[Path]:
    root = groups.mount()
    if root is None or not os.access(root, os.W_OK):
        pytest.skip("no control groups of version 2 that we may write")
    place = root / f"precopy-test-{os.getpid()}"
    place.mkdir()
    yield place
    (place / "cgroup.kill").write_text("1")
    (place / "cgroup.freeze").write_text("0")
    events = place / "cgroup.events"
    until(lambda: "populated 0" in events.read_text(), "the group's processes do not end")
    place.rmdir()


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("kind", ["threads", "births", "orphans", "spawns", "waits"])
def test_a_group_is_frozen_as_a_whole(
    tmp_path: Path, start: Start, group: Path, kind: str, asked: bool
) -> None:
    inside = f'echo $$ >{shlex.quote(os.fspath(group / "cgroup.procs"))}; exec "$@"'
    prefix = ("sh", "-c", inside, "sh")
    if kind == "waits":
        process = start_waiting(tmp_path, start, prefix)
    else:
        process = start(kind, prefix=prefix)
    until(lambda: process.pid in groups.members(group), "it is not in the group")
    freezer = Freezer.from_group(group) if asked else Freezer.from_pids([process.pid])
    places: list[str] = []
    freezer.stop(lambda processes, group: places.extend(group))
    assert places == [os.fspath(group)]
    assert stands(tmp_path / "d")
    states = [one.state for one in proc.table().values() if one.session == process.pid]
    assert "T" not in states, "signals were used"
    assert freezer.trouble() == []
    (group / "cgroup.freeze").write_text("0")
    assert any("was let go on by somebody else" in text for text in freezer.trouble())
    freezer.thaw()
    if kind == "waits":
        (tmp_path / "d" / "fifo").write_text("")
    if kind != "spawns":
        goes_on(tmp_path / "d")


def test_a_group_that_others_are_in_is_not_frozen(
    tmp_path: Path, start: Start, group: Path
) -> None:
    process, other = start("one"), subprocess.Popen(["sleep", "60"])
    for pid in (process.pid, other.pid):
        (group / "cgroup.procs").write_text(str(pid))
    freezer = Freezer.from_pids([process.pid])
    places: list[str] = []
    freezer.stop(lambda processes, group: places.extend(group))
    assert places == []
    assert stands(tmp_path / "d")
    assert not proc.stands(other.pid)
    freezer.thaw()
    other.kill()
    other.wait()


def test_a_groups_processes_end_though_they_are_frozen(start: Start, group: Path) -> None:
    process = start("forks")
    session = [one.process for one in proc.table().values() if one.session == process.pid]
    for one in session:
        (group / "cgroup.procs").write_text(str(one.pid))
    freezer = Freezer.from_group(os.path.basename(group))
    freezer.stop(nobody)
    assert freezer.end() == []
    assert all(proc.is_gone(one) for one in session)
    assert "frozen 0" in (group / "cgroup.events").read_text()


def test_what_a_group_holds_later_is_not_ended(start: Start, group: Path) -> None:
    old, new = start("sleep", "1000"), start("sleep", "1000")
    (group / "cgroup.procs").write_text(str(old.pid))
    freezer = Freezer.from_group(group)
    freezer.stop(nobody)
    stopped = [*freezer.processes]
    (group / "cgroup.freeze").write_text("0")  # by hand: the service was started here again
    (group / "cgroup.procs").write_text(str(new.pid))
    assert end(stopped, [os.fspath(group)]) == []
    assert old.wait() == -signal.SIGKILL
    assert new.poll() is None


def test_groups_that_may_not_be_frozen(group: Path) -> None:
    for path, why in [
        ("/", "expected a group below"),
        (group.parent, "expected a group below"),
        (group, "holds no process"),
        (group / "no", "No such file or directory"),
        ("../../etc", "expected a group below"),
    ]:
        with pytest.raises(ValueError, match=f"^cgroup: .*{why}"):
            Freezer.from_group(path)
    before = groups.of(os.getpid())
    assert before is not None
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        with pytest.raises(ValueError, match="holds this command itself"):
            Freezer.from_group(group)
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))


# --- from the log --------------------------------------------------------------------------------


def test_the_logs_processes_and_not_the_recorder(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    command = [sys.executable, os.fspath(PROGRAM), os.fspath(tmp_path / "d"), "forks"]
    log = tmp_path / "access.db"
    recording = subprocess.Popen(
        [sys.executable, "-m", "precopy", "record", "--app", "counts", "--log", log, "--", *command]
    )
    try:
        until(lambda: len(told(tmp_path / "d")) == 4, "the application does not begin")
        until(lambda: recorded(log), "nothing is recorded")
        with AccessLog(log) as access:
            freezer = Freezer.from_log(access, ["counts"])
            with pytest.raises(ValueError, match="no application 'other'"):
                Freezer.from_log(access, ["other"])
            assert len(freezer.processes) == 4
            assert recording.pid not in {one.pid for one in freezer.processes}
            with pytest.raises(ValueError, match="is the recorder of a log"):
                Freezer.from_pids([recording.pid])
            freezer.stop(nobody)
            assert stands(tmp_path / "d")
            freezer.thaw()
            goes_on(tmp_path / "d")
            assert freezer.end() == []
        assert recording.wait() == -signal.SIGKILL  # as the command
    finally:
        for one in proc.table().values():
            if os.fsencode(tmp_path / "d") in proc.arguments(one.process.pid):
                with_continue(one.process.pid)
        recording.wait()
    with AccessLog(log) as access:
        with pytest.raises(ValueError, match=r"no process of 'counts' .* --stop true"):
            Freezer.from_log(access, ["counts"])
        assert Freezer.from_log(access, ["counts"], stop="true").processes == []


def recorded(log: Path) -> bool:
    with contextlib.suppress(OSError, ValueError), AccessLog(log) as access:
        return bool(access.processes("counts"))
    return False
