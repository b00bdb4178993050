"""`precopy migrate` as users run it: what it moves, prints, writes and refuses."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from migration import compare
from migration.services import alive, wait_for

from precopy.access import import_strace
from precopy.access.schema import connect as open_log
from precopy.access.schema import mark_incomplete
from precopy.cli import main
from precopy.migration.curves import CycleRecord
from precopy.migration.moving import Migration
from precopy.migration.observer import Observer
from precopy.migration.progress import Terminal
from precopy.migration.settings import Settings
from precopy.migration.subject import migration_id
from precopy.migration.switchover import journal as journals
from precopy.migration.switchover.journal import Journal

WRITER = """
import os, sys, time
directory = sys.argv[1]
files = [open(f"{directory}/{name}", "r+b", buffering=0) for name in ("hot", "warm")]
number = 0
while True:
    for file in files[: 1 + (number % 4 == 0)]:
        file.seek(number * 4096 % 65536)
        file.write(b"%08d" % number)
    number += 1
    time.sleep(0.005)
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    directory.mkdir()
    for name in ("hot", "warm", "cold"):
        (directory / name).write_bytes(os.urandom(200_000))
    os.symlink("hot", directory / "link")
    return directory


@pytest.fixture
def writer(source):
    """A program that writes two of three files until it is ended."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", WRITER, str(source)])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def run(capsys):
    def call(*words):
        try:
            status = main(["migrate", *map(str, words)])
        except SystemExit as stopped:
            status = stopped.code
        return (status, *capsys.readouterr())

    return call


def arrived(tmp_path, source):
    return tmp_path / "target" / str(source)[1:]


def test_a_running_program_is_moved(run, tmp_path, source, writer):
    status, out, err = run(
        "--paths", source, "--to", "target", "--pid", writer.pid, "--cycle-seconds", "0.1",
        "--until", "cycles(3)", "--report", "report.json", "--picture", "picture.png",
    )  # fmt: skip
    assert status == 0, err
    assert compare.differences(source, arrived(tmp_path, source)) == []
    assert writer.wait() == -signal.SIGKILL
    report = json.loads(Path("report.json").read_text())
    assert report["verified"] is True
    assert report["stopped_because"].startswith("cycles(3)")
    assert 0 < report["downtime_s"] < 30
    assert sum(report["downtime_parts"].values()) == pytest.approx(report["downtime_s"], abs=1e-6)
    assert report["final_copy_bytes"] <= 600_000
    assert report["precopy_bytes"] == sum(cycle["sent_bytes"] for cycle in report["cycles"])
    assert report["resent_bytes"] == sum(cycle["resent_bytes"] for cycle in report["cycles"])
    keys = {"seconds", "sent_bytes", "resent_bytes", "pending_bytes", "predicted_downtime_s"}
    assert all(keys <= set(cycle) for cycle in report["cycles"])
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")
    # Standard output is the summary, standard error the progress.
    assert [line.split()[0] for line in out.splitlines()][:5] == [
        "moved", "downtime", "final", "pre-copy", "stopped",
    ]  # fmt: skip
    assert "cycle 1: sent 6" in err


def test_what_was_moved_is_not_moved_again(run, tmp_path, source):
    words = ["--paths", source, "--to", "target", "--stop", "true", "--until", "cycles(1)"]
    assert run(*words)[0] == 0
    status, out, _ = run(*words)
    assert status == 0
    assert "by an earlier run" in out
    assert "the destination is in charge since 20" in out
    assert "verified" not in out
    assert run("--paths", source, "--to", "target", "--abort")[0] == 2
    # What was taken away there is moved anew.
    shutil.rmtree(tmp_path / "target")
    (source / "later").write_text("later")
    status, out, err = run(*words)
    assert (status, "it is moved anew" in err) == (0, True)
    assert compare.differences(source, arrived(tmp_path, source)) == []


def test_what_runs_here_again_is_not_called_moved(run, source):
    words = ["--paths", source, "--to", "target", "--until", "cycles(1)", "--pid"]
    first = subprocess.Popen(["sleep", "600"])
    assert run(*words, str(first.pid))[0] == 0
    assert first.wait() == -signal.SIGKILL
    assert run(*words, str(first.pid))[0] == 0  # nothing is left of it, and all is done
    second = subprocess.Popen(["sleep", "600"])
    try:
        status, _, err = run(*words, str(second.pid))
        assert (status, "the application runs here, too" in err) == (2, True)
        assert second.poll() is None
    finally:
        second.kill()
        second.wait()


def test_a_destination_in_charge_that_is_gone_is_told(run, tmp_path, source):
    words = ["--paths", source, "--to", "target", "--stop", "true", "--until", "cycles(1)"]
    failing = [*words, "--start", "/no/such/program"]
    assert run(*failing)[0] == 3
    shutil.rmtree(tmp_path / "target")
    status, _, err = run(*failing)
    assert (status, "holds nothing of this migration any more" in err) == (3, True)
    assert not (tmp_path / "target" / ".precopy-migration").exists()


def test_a_program_is_started_there(run, tmp_path, source):
    program = f'{sys.executable} -I -S -c \'import time; open("ran", "w"); time.sleep(60)\''
    status, out, err = run(
        "--paths", source, "--to", "target", "--stop", "true", "--until", "cycles(1)",
        "--start", program, "--start-in", str(source)[1:], "--report", "report.json",
    )  # fmt: skip
    assert status == 0, err
    started = json.loads(Path("report.json").read_text())["started"]
    try:
        wait_for((arrived(tmp_path, source) / "ran").exists, "the program to run there")
        assert f"pid {started['pid']} there" in out
    finally:
        os.kill(started["pid"], signal.SIGKILL)


def test_a_dry_run_touches_nothing(run, tmp_path, source, writer):
    before = sorted(tmp_path.iterdir())
    status, out, err = run(
        "--paths", source, "--to", "target", "--pid", writer.pid, "--dry-run",
        "--bandwidth", "300kB",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "3 files, 600 kB" in out
    assert f"{writer.pid} (" in out
    assert "sending all once takes 2.0 s" in out
    assert sorted(tmp_path.iterdir()) == before
    assert alive(writer.pid)


def trace_of(source):
    begin = int(time.time()) + 1  # the files are older than what is told of them
    lines = [f'7 {t}.5 openat(AT_FDCWD</>, "{source}/hot", O_WRONLY) = 3<{source}/hot>\n'
             f'7 {t}.6 write(3<{source}/hot>, "hello", 5) = 5\n'
             for t in range(begin, begin + 20)]  # fmt: skip
    lines.append(
        f'7 {begin + 30}.5 openat(AT_FDCWD</>, "{source}/cold", O_RDONLY) = 4<{source}/cold>\n'
    )
    return "".join(lines).splitlines()


def test_a_recorded_application_is_moved_and_forecast(run, tmp_path, source):
    import_strace(trace_of(source), "access.db", app="shop", cwd="/")
    status, out, err = run(
        "shop", "--to", "target", "--stop", "true", "--dry-run", "--bandwidth", "1MB"
    )
    assert (status, err) == (0, "")
    assert "expected    sending all once takes 400 ms; after " in out
    assert "forecast    shop: 2 files, 400 kB; 1 were written while it was recorded" in out
    assert "/hot (" in out
    status, _, err = run(
        "shop", "--to", "target", "--stop", "true", "--until", "cycles(2)", "--bandwidth", "1MB",
        "--cycle-seconds", "0.1", "--report", "report.json",
    )  # fmt: skip
    assert status == 0, err
    there = arrived(tmp_path, source)
    assert sorted(os.listdir(there)) == ["cold", "hot"]
    report = json.loads(Path("report.json").read_text())
    assert report["simulated"]["pending_bytes"][0] > 200_000
    assert len(report["simulated"]["seconds"]) == len(report["cycles"]) + 1


def test_an_incomplete_log_is_refused_unless_accepted(run, source):
    import_strace(trace_of(source), "access.db", app="shop", cwd="/")
    log = open_log("access.db")
    mark_incomplete(log, "somebody blinked")
    log.close()
    words = ["shop", "--to", "target", "--stop", "true", "--until", "cycles(1)"]
    status, _, err = run(*words)
    assert (status, Path("target").exists()) == (2, False)
    assert "somebody blinked" in err
    assert "--accept-incomplete" in err
    status, out, err = run(*words, "--accept-incomplete")
    assert status == 0, err
    assert "somebody blinked" in out


BAD = [
    ([], "NAME: expected names of applications, or --paths"),
    (["shop", "--paths", "source"], "NAME: expected names of applications, or --paths"),
    (["--paths", "source"], "pid: nothing is known of the processes"),
    (["--paths", "source", "--stop", " "], "stop: expected 'freeze', 'term' or a command"),
    (["--paths", "nowhere", "--stop", "true"], "nowhere"),
    (["--paths", "source", "--pid", "999999999"], "999999999"),
    (["--paths", "source", "--pid", "-1"], "-1"),
    (["--paths", "source", "--pid", "OURS"], "pid"),
    (["--paths", "source", "--stop", "true", "--to", "source/in"], "source"),
    (["--paths", "source", "--stop", "true", "--to", "/"], "/"),
    (["--paths", "source", "--stop", "true", "--to", ""], "to: expected DIR"),
    (["--paths", "source", "--stop", "true", "--transport", "rsync"], "expected granularity"),
    (["--paths", "source", "--stop", "true", "--bandwidth", "0"], "bandwidth: expected"),
    (["--paths", "source", "--stop", "true", "--bandwidth", "-5"], "--bandwidth"),
    (["--paths", "source", "--stop", "true", "--cycle-seconds", "0"], "cycle_seconds: expected"),
    (["--paths", "source", "--stop", "true", "--cycle-seconds", "soon"], "--cycle-seconds"),
    (["--paths", "source", "--stop", "true", "--cycle-writes", "0"], "cycle_writes: expected"),
    (["--paths", "source", "--stop", "true", "--cycle-writes", "5"], "cycle_writes: expected a"),
    (["--paths", "source", "--stop", "true", "--downtime", "0"], "downtime_s: expected"),
    (["--paths", "source", "--stop", "true", "--threshold", "1MB", "--until", "cycles(1)"],
     "not allowed with argument"),
    (["--paths", "source", "--stop", "true", "--until", "never"], "until: expected a rule"),
    (["--paths", "source", "--stop", "true", "--order", "fastest"], "--order"),
    (["--paths", "source", "--stop", "true", "--half-life", "3"], "half_life"),
    (["--paths", "source", "--stop", "true", "--start", "'"], "start: got"),
    (["--paths", "source", "--stop", "true", "--start-in", "/"], "start_directory"),
    (["--paths", "source", "--stop", "true", "--report", "no/such/place"], "--report"),
    (["--paths", "source", "--stop", "true", "--report", "source"], "--report"),
    (["--paths", "source", "--stop", "true", "--picture", "x.xyz"], "--picture"),
    (["--paths", "source", "--stop", "true", "--programs"], "--programs: expected it with NAME"),
    (["--paths", "source", "--stop", "true", "--pid", "1", "--cgroup", "x"], "not allowed with"),
    (["shop", "--stop", "true", "--log", "no.db"], "no.db"),
    (["--paths", "source", "--stop", "true", "--granularity", "file", "--budget", "whole",
      "--bandwidth", "100kB"], "of 200 kB never fits; use 'carry'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words)[-40:] for words, _ in BAD])
def test_bad_input_ends_before_anything_is_touched(run, tmp_path, source, words, message):
    before = sorted(path.name for path in tmp_path.iterdir())
    words = [str(os.getpid()) if word == "OURS" else word for word in words]
    status, out, err = run(*words, *([] if "--to" in words else ["--to", "target"]))
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    after = {path.name for path in tmp_path.iterdir()}
    assert sorted(after - {"state"}) == before  # the lock of a migration is no trace of it


def test_an_unknown_application_is_told_with_those_that_are_known(run, source):
    import_strace(trace_of(source), "access.db", app="shop", cwd="/")
    status, _, err = run("shoop", "--to", "target", "--stop", "true")
    assert (status, Path("target").exists()) == (2, False)
    assert "'shop'" in err


def test_recorded_processes_that_are_gone_are_told(run, source):
    import_strace(trace_of(source), "access.db", app="shop", cwd="/")
    status, _, err = run("shop", "--to", "target")
    assert (status, Path("target").exists()) == (2, False)
    assert "no process of 'shop' in the log is running" in err
    assert "--stop true" in err


def test_a_foreign_directory_is_left_alone(run, source):
    Path("target").mkdir()
    Path("target/theirs").write_text("theirs")
    words = ["--paths", source, "--to", "target", "--stop", "true", "--until", "cycles(1)"]
    status, _, err = run(*words)
    assert status == 1
    assert "not empty" in err
    assert os.listdir("target") == ["theirs"]
    status, _, err = run(*words, "--merge")
    assert status == 0, err
    assert Path("target/theirs").read_text() == "theirs"


def test_interrupted_it_goes_on_here_and_the_same_command_resumes(run, tmp_path, source, writer):
    (source / "large").write_bytes(os.urandom(3_000_000))
    words = ["--paths", source, "--to", "target", "--pid", str(writer.pid)]
    command = [sys.executable, "-m", "precopy", "migrate", *map(str, words)]
    process = subprocess.Popen(
        [*command, "--bandwidth", "1MB", "--cycle-seconds", "0.2", "--until", "cycles(1000)"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "cycle 16" in line:
            break
    process.send_signal(signal.SIGINT)
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert "the application runs on here; the same command resumes" in err
    assert "Traceback" not in err
    assert Path(f"/proc/{writer.pid}/stat").read_text().rpartition(")")[2].split()[0] in "RS"
    status, out, err = run(*words, "--status")
    assert (status, "in charge: source" in out) == (0, True)
    status, _, err = run(*words, "--until", "cycles(1)", "--report", "report.json")
    assert status == 0, err
    assert "resumes" in err
    assert compare.differences(source, arrived(tmp_path, source)) == []
    assert json.loads(Path("report.json").read_text())["link_bytes"] < 2_000_000


def test_a_migration_is_given_up(run, tmp_path, source, writer):
    words = ["--paths", source, "--to", "target", "--pid", str(writer.pid)]
    command = [sys.executable, "-m", "precopy", "migrate", *map(str, words)]
    process = subprocess.Popen([*command, "--until", "cycles(1000)"], stderr=subprocess.PIPE)
    wait_for((arrived(tmp_path, source) / "cold").exists, "the first copy")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    status, out, _ = run(*words, "--abort")
    assert status == 0
    assert "the application goes on here" in out
    assert not Path("target").exists() or os.listdir("target") == []
    assert alive(writer.pid)


STATES = (*journals.STATES, *journals.BACK)
GIVEN_UP = {"COMMITTED": 3, "STARTED": 3, "DONE": 2}


@pytest.mark.parametrize("state", ["", *STATES])
def test_giving_up_and_asking_in_each_state(run, tmp_path, source, state):
    words = ["--paths", source, "--to", tmp_path / "there"]
    id = migration_id([], [source], str(tmp_path / "there"))
    if state:
        with Journal(id) as journal:
            order = STATES if state in journals.STATES else (*STATES[:5], *journals.BACK)
            for name in order[: order.index(state) + 1]:
                facts = {"processes": [], "groups": []} if name == "FROZEN" else {}
                journal.enter(name, **facts, adopted=True)
    status, out, _ = run(*words, "--status")
    assert status == 0
    assert out.startswith(f"migration {id}: {state or 'unknown'}: ")
    charge = "destination" if state in GIVEN_UP else "source"
    assert f"in charge: {charge}" in out
    before = journals.read(id)
    status, out, err = run(*words, "--abort")
    assert status == GIVEN_UP.get(state, 0 if state else 2)
    if status:
        assert out == ""
        assert ("nothing to give up" in err) == (status == 2)
        assert ("Run the same command again to complete it" in err) == (status == 3)
        assert journals.read(id) == before
    else:
        assert err == ""
        assert journals.read(id)[-1]["state"] == "WITHDRAWN"
        assert ("was given up before" in out) == (state == "WITHDRAWN")
    assert not (tmp_path / "there").exists()


def test_giving_up_where_the_destination_cannot_be_reached(run, source):
    words = ["--paths", source, "--to", "host:/there", "--ssh", "false"]
    with Journal(migration_id([], [source], "host:/there")) as journal:
        journal.enter("PLAN")
        journal.enter("COPY")
    status, out, _ = run(*words, "--status")
    assert status == 0
    assert "the destination cannot be asked" in out
    status, _, err = run(*words, "--abort")
    assert status == 1
    assert "the application goes on here; --abort once more empties the destination" in err
    assert "same command" not in err


def test_what_does_not_move_is_told_before_the_stop(source):
    said = []

    class Listener(Observer):
        def stage(self, name, text):
            said.append(name)

        def note(self, text):
            said.append(text)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "socket"))
        settings = Settings(to="target", stop="true", until="cycles(1)")
        Migration([source], settings, Listener()).run()
    (note,) = (text for text in said if text.startswith(f"{source}/socket does not move: a socket"))
    assert said.index(note) < said.index("copy") < said.index("drain")


def test_after_the_decision_nobody_hears_that_it_runs_on_here(run, source, monkeypatch):
    words = ["--paths", source, "--to", "host:target", "--stop", "true", "--ssh", "false"]
    with Journal(migration_id([], [source], "host:target")) as journal:
        for state in ("FROZEN", "FINAL", "VERIFIED", "COMMITTED"):
            journal.enter(state, processes=[], groups=[], boot="")
    for more in ([], ["--start", "true"]):
        status, _, err = run(*words, *more)
        assert status == 3
        assert "the destination is in charge since" in err
        assert "but cannot be reached: ssh: " in err
        assert "runs on here" not in err

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Migration, "run", interrupted)
    status, _, err = run(*words)
    assert status == 3
    assert "interrupted: the destination is in charge; the same command does what is left" in err


def test_whatever_fails_after_the_decision_is_not_called_a_failure_before_it(
    run, source, monkeypatch
):
    def fails(*anything):
        raise KeyError("report")

    monkeypatch.setattr("precopy.migration.moving.outcome", fails)
    status, _, err = run(
        "--paths", source, "--to", "target", "--stop", "true", "--until", "cycles(1)"
    )
    assert status == 3
    assert "the destination is in charge; but then: 'report'" in err


def test_what_was_mistyped_is_told_in_one_line(run, tmp_path, source, monkeypatch):
    absent = tmp_path / "absent"
    words = ["--to", "target", "--stop", "true"]
    assert run("--paths", absent, *words) == (
        2, "", f"precopy migrate: error: paths: there is no '{absent}'\n"
    )  # fmt: skip
    status, out, err = run("--paths", source, *words, "--abort")
    assert (status, out) == (2, "")
    assert err.endswith(": nothing is known of it, nothing to give up\n")
    absent.write_text("a file, not a directory")
    monkeypatch.setenv("XDG_STATE_HOME", str(absent))
    status, out, err = run("--paths", source, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"precopy migrate: error: '{absent}/precopy")
    assert err.endswith("': Not a directory\n")


def test_a_program_that_ends_by_itself_is_told(run, source, writer):
    (source / "large").write_bytes(os.urandom(2_000_000))
    threading.Timer(1.0, writer.kill).start()
    status, _, err = run(
        "--paths", source, "--to", "target", "--pid", writer.pid, "--bandwidth", "1MB",
        "--cycle-seconds", "0.2", "--until", "seconds(3)",
    )  # fmt: skip
    assert status == 1
    assert "the processes that were to be stopped have ended" in err
    assert "The application has ended by itself" in err
    assert "runs on here" not in err


def test_what_would_stand_too_long_is_not_stopped(run, source, writer):
    status, _, err = run(
        "--paths", source, "--to", "target", "--pid", writer.pid, "--until", "cycles(1)",
        "--max-downtime", "1ms",
    )  # fmt: skip
    assert status == 1
    assert "it was not stopped: it would stand for about" in err
    assert "--max-downtime" in err
    assert alive(writer.pid)


def test_a_report_that_cannot_be_written_after_all_is_no_failure_of_the_move(
    run, tmp_path, source, monkeypatch
):
    def full(self, path=None):
        raise OSError("No space left on device")

    monkeypatch.setattr("precopy.migration.report.Report.to_json", full)
    status, out, err = run(
        "--paths", source, "--to", "target", "--stop", "true", "--until", "cycles(1)",
        "--report", "report.json",
    )  # fmt: skip
    assert status == 3
    assert out.startswith("moved")
    assert "all is moved, but the report cannot be written: No space left on device" in err
    assert compare.differences(source, arrived(tmp_path, source)) == []


def test_other_commands_import_none_of_it():
    script = (
        "import sys; from precopy.cli import main\n"
        "try: main(['simulate', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith('precopy.migration')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "['precopy.migration', 'precopy.migration.cli']"


class Screen(io.StringIO):
    def isatty(self):
        return True


def record(number):
    return CycleRecord(number, 1.0, 1_000_000, 0, 1_000_000, 5000, 5000, 2e6, 0.0125)


def test_progress_is_one_line_on_a_terminal_and_many_elsewhere():
    screen, file = Screen(), io.StringIO()
    rest = "pending 5 kB, stopped now it would stand 12.5 ms, link 2 MB/s"
    for stream in (screen, file):
        terminal = Terminal(stream)
        terminal.stage("copy", "begins")
        terminal.cycle(1, record(1))
        time.sleep(0.06)
        terminal.cycle(2, record(2))
        terminal.note("a note")
    assert file.getvalue().splitlines() == [
        "precopy: begins",
        f"precopy: cycle 1: sent 1 MB, {rest}",
        f"precopy: cycle 2: sent 2 MB, {rest}",
        "precopy: note: a note",
    ]
    assert screen.getvalue().count("\n") == 2
    assert screen.getvalue().count("\r\x1b[K") == 3


def test_progress_says_how_good_it_was_where_it_gets_no_better():
    file = io.StringIO()
    terminal = Terminal(file)
    for number in range(1, 15):
        terminal.cycle(number, replace(record(number), predicted_downtime_s=0.01 * number))
    shown = file.getvalue().splitlines()
    assert "at best" not in shown[9]
    assert "would stand 110 ms (at best 10.0 ms, 10 cycles ago), link" in shown[10]
