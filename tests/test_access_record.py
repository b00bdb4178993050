"""`precopy record` changes nothing of the program that it runs, and passes on what is its."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from access.truth import meta, need, until, uses

from precopy.access.tracking.program import startable, why_not_followed
from precopy.access.tracking.recording import record

HERE = Path(__file__).parent / "access"
RECORD = [sys.executable, "-m", "precopy", "record", "--app", "x", "--log"]
DUMP = [sys.executable, "-I", str(HERE / "inherited.py"), "an argument", ""]


def recorded(log: Path, *command: str) -> list[str]:
    return [*RECORD, str(log), "--", *command]


def seen(command: list[str], tmp_path: Path, **options: Any) -> dict[str, Any]:
    out = tmp_path / "inherited"
    env = options.pop("env", dict(os.environ)) | {"INHERITED": str(out)}
    process = subprocess.run(command, env=env, check=False, timeout=120, **options)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def ignoring(*numbers: int) -> Callable[[], None]:
    def prepare() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    return prepare


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**7, 10**8))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o137)
    os.nice(3)


def blocking() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGINT, 40])


def dying_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGUSR2, 0, 0, 0)


def without_standard_streams() -> None:
    for fd in range(3):
        os.close(fd)


WAYS = {
    "plain": None,
    "ignoring": ignoring(signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD, 41),
    "limited": limited,
    "blocking": blocking,
    "dying with the parent": dying_with_parent,
    "a session of its own": os.setsid,
    "no standard streams": without_standard_streams,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_program_inherits_what_it_would_inherit(way: str, tmp_path: Path) -> None:
    held = os.open(HERE / "inherited.py", os.O_RDONLY)
    read, write = os.pipe()
    options = {"preexec_fn": WAYS[way], "pass_fds": (held, read, write), "cwd": tmp_path}
    env = dict(os.environ) | {"LANG": "C", "LC_ALL": "C", "ODD": "\udcff\n", "PYTHONSTARTUP": "no"}
    env.pop("LC_CTYPE", None)
    try:
        plain = seen(DUMP, tmp_path, env=env, **options)
        under = seen(recorded(tmp_path / "access.db", *DUMP), tmp_path, env=env, **options)
    finally:
        for fd in (held, read, write):
            os.close(fd)
    assert under == plain
    assert meta(tmp_path / "access.db", "complete") == 1


def test_a_service_is_given_the_descriptors_that_are_meant_for_it(tmp_path: Path) -> None:
    script = 'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@"'
    log = tmp_path / "access.db"
    for command in (DUMP, recorded(log, *DUMP)):
        assert seen(["sh", "-c", script, "-", *command], tmp_path)["given pid"]


def test_make_finds_its_jobserver_and_a_shell_its_substitution(tmp_path: Path) -> None:
    need("make", "bash")
    log = tmp_path / "access.db"
    prefix = " ".join(recorded(log))
    (tmp_path / "Makefile").write_text("all:\n\t+$(PRE) $(MAKE) -f Sub\n")
    (tmp_path / "Sub").write_text("all:\n\t@echo sub\n")
    done = subprocess.run(
        ["make", "-s", "-j2", f"PRE={prefix}"], cwd=tmp_path, capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"sub\n", b"")
    done = subprocess.run(
        ["bash", "-c", f"{prefix} cat <(echo hi)"], capture_output=True, check=True
    )
    assert done.stdout == b"hi\n"


SIGNALS = [
    signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGALRM, signal.SIGWINCH, signal.SIGPIPE, signal.SIGCONT, signal.SIGRTMIN,
    signal.SIGRTMIN + 7, signal.SIGRTMAX,
]  # fmt: skip
COUNTS = """
import os, signal, sys
got = os.open(sys.argv[1] + "/got", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for number in map(int, sys.argv[2:]):
    signal.signal(number, lambda number, frame: os.write(got, b"%d " % number))
open(sys.argv[1] + "/ready", "w").close()
while os.read(0, 1):
    pass
"""


@pytest.mark.parametrize("whom", ["record", "group"])
def test_every_signal_reaches_the_program_once(whom: str, tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    numbers = [str(int(number)) for number in SIGNALS]
    command = recorded(log, sys.executable, "-c", COUNTS, str(tmp_path), *numbers)
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        until((tmp_path / "ready").exists)
        for count, number in enumerate(SIGNALS):
            if whom == "record":
                os.kill(process.pid, number)
            else:
                os.killpg(process.pid, number)
            until(lambda count=count: len((tmp_path / "got").read_bytes().split()) > count)
            time.sleep(0.02)  # for a second one
        time.sleep(0.2)
        process.stdin.close()
        assert process.wait(60) == 0
    assert list(map(int, (tmp_path / "got").read_text().split())) == list(map(int, SIGNALS))
    assert meta(log, "complete") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGSEGV])
def test_record_ends_as_the_program_ends(number: int, tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    path = os.fsencode(tmp_path / "f")
    script = f"echo > f; read line; kill -{int(number)} $$"
    with subprocess.Popen(
        recorded(log, "sh", "-c", script), cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        # Of a process that is killed, its last moments may not be reported.
        until((tmp_path / "f").exists)  # so there is a log
        until(lambda: path in (seen := uses(log)) and seen[path].writes == 1)
        process.communicate(b"\n", timeout=60)
    assert process.returncode == -number
    assert uses(log)[path].writes == 1


def test_a_signal_between_the_end_and_the_wait_is_nobodys(tmp_path: Path) -> None:
    """The command signals record and ends at once; what it left running is still recorded."""
    for turn in range(5):
        log = tmp_path / f"{turn}.db"
        script = (
            f'(trap "" TERM; echo > set{turn}; exec > /dev/null 2>&1; sleep .5; echo > late{turn})'
            f" & until [ -e set{turn} ]; do :; done; kill -TERM $PPID; exit 5"
        )
        done = subprocess.run(
            recorded(log, "sh", "-c", script), cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode in (5, -signal.SIGTERM)
        assert done.stderr == b""
        assert os.fsencode(tmp_path / f"late{turn}") in uses(log)
        assert meta(log, "complete") == 1


def test_a_killed_record_leaves_the_program_running_and_the_log_incomplete(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    script = "echo > begun; until [ -e killed ]; do sleep 0.1; done; echo > ended"
    with subprocess.Popen(recorded(log, "sh", "-c", script), cwd=tmp_path) as process:
        until((tmp_path / "begun").exists)
        process.kill()
    (tmp_path / "killed").touch()
    until((tmp_path / "ended").exists)
    until(lambda: meta(log, "complete") == 0)


# --- whatever happens to the processes behind it -------------------------------------------------


def processes_behind(record: int, log: Path) -> dict[str, int]:
    """Return the witness, supervisor and tracker of a recording that has begun."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if os.fsencode(log) in words and words[2] == b"-c":
            found["tracker" if b"tracking.tracker" in words[3] else "supervisor"] = int(entry.name)
        elif parent == record and any(word.endswith(b"runner.py") for word in words):
            found["witness"] = int(entry.name)
    return found


@pytest.mark.parametrize(
    ("whom", "times", "complete"),
    [
        ({"supervisor": signal.SIGKILL}, 3, 1),
        ({"tracker": signal.SIGKILL}, 3, 1),
        (
            {"supervisor": signal.SIGSTOP, "tracker": signal.SIGSTOP, "witness": signal.SIGSTOP},
            1,
            1,
        ),
        ({"tracker": signal.SIGSTOP, "supervisor": signal.SIGKILL}, 1, 1),
        ({"witness": signal.SIGKILL}, 1, 0),
    ],
)
def test_record_ends_whatever_is_killed_or_stopped_behind_it(
    whom: dict[str, int], times: int, complete: int, tmp_path: Path
) -> None:
    log = tmp_path / "access.db"
    script = ": > begun; until [ -e stop ]; do sleep 0.1; done; : > ended; exit 7"
    with subprocess.Popen(recorded(log, "sh", "-c", script), cwd=tmp_path) as process:
        until((tmp_path / "begun").exists)
        killed: set[int] = set()
        for _ in range(times):
            found = until(
                lambda: (
                    len(found := processes_behind(process.pid, log)) == 3
                    and not killed & set(found.values())
                    and found
                )
            )
            for name, number in whom.items():
                os.kill(found[name], number)
                if number == signal.SIGKILL:
                    killed.add(found[name])
        (tmp_path / "stop").touch()
        try:
            assert process.wait(60) == 7
        finally:
            process.kill()
    until(lambda: meta(log, "recording") is None)
    assert meta(log, "complete") == complete
    if complete:
        assert os.fsencode(tmp_path / "ended") in uses(log)


def test_the_program_stops_and_goes_on_with_record(tmp_path: Path) -> None:
    """SIGSTOP cannot be passed on; it reaches the program all the same."""
    script = ": > begun; until [ -e stop ]; do sleep 0.1; done; exit 7"
    command = recorded(tmp_path / "access.db", "bash", "-c", script)
    with subprocess.Popen(command, cwd=tmp_path) as process:
        until((tmp_path / "begun").exists)
        program = next(
            int(pid)
            for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if b"runner.py" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        try:
            for _ in range(2):
                os.kill(process.pid, signal.SIGSTOP)
                until(lambda: state_of(program) == "T")
                os.kill(process.pid, signal.SIGCONT)
                until(lambda: state_of(program) == "S" and state_of(process.pid) == "S")
            (tmp_path / "stop").touch()
            assert process.wait(60) == 7
        finally:
            (tmp_path / "stop").touch()
            process.kill()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# --- on a terminal -------------------------------------------------------------------------------


class Shell:
    """An interactive shell on a terminal of its own; call it to type."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal

    def __call__(self, text: str) -> None:
        while select.select([self._terminal], [], [], 0)[0]:
            os.read(self._terminal, 4096)
        os.write(self._terminal, text.encode())

    def has_in_front(self, pid: int) -> bool:
        return os.tcgetpgrp(self._terminal) == os.getpgid(pid)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    need("bash")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    yield Shell(terminal)
    os.close(terminal)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_on_a_terminal_the_program_is_in_the_foreground(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "inherited"
    found = []
    # The first command of a shell finds its environment in another order than those after it.
    for command in (DUMP, DUMP, recorded(tmp_path / "access.db", *DUMP)):
        out.unlink(missing_ok=True)
        shell(f"INHERITED={out} " + " ".join(f"'{word}'" for word in command) + "; : > done\n")
        until((tmp_path / "done").exists)
        (tmp_path / "done").unlink()
        found.append(json.loads(out.read_text()))
    _, plain, under = found
    assert plain["foreground"]
    assert under == plain


def test_ctrl_z_and_fg_and_ctrl_c(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "s.sh").write_text(
        'trap "echo >> int" INT\necho $$ > pid\n: > ready\n'
        "while [ ! -e stop ]; do sleep 0.1; done\n: > ended\n"
    )
    shell(" ".join(recorded(tmp_path / "access.db", "bash", "s.sh")) + "; echo $? > status\n")
    until((tmp_path / "ready").exists)
    program = int((tmp_path / "pid").read_text())
    shell("\x1a")
    shell("jobs > jobs; : > stopped\n")
    until((tmp_path / "stopped").exists)
    assert "Stopped" in (tmp_path / "jobs").read_text()
    shell("fg; echo $? > after\n")
    until(lambda: shell.has_in_front(program) and state_of(program) != "T")
    shell("\x03")
    until((tmp_path / "int").exists)
    time.sleep(0.5)
    (tmp_path / "stop").touch()
    until((tmp_path / "after").exists)
    assert (tmp_path / "ended").exists()
    assert (tmp_path / "int").read_text() == "\n"
    assert (tmp_path / "after").read_text() == "0\n"


# --- programs that the monitor cannot live in ----------------------------------------------------


@pytest.fixture(scope="module")
def unfollowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc", "musl-gcc")
    directory = tmp_path_factory.mktemp("unfollowed")
    (directory / "m.c").write_text(
        '#include <stdio.h>\nint main(void) {FILE *f = fopen("out", "w"); fclose(f); return 3;}\n'
    )
    source = directory / "m.c"
    subprocess.run(["musl-gcc", source, "-o", directory / "musl"], check=True)
    subprocess.run(["gcc", "-static", source, "-o", directory / "static"], check=True)
    (directory / "script").write_text(f"#!{directory}/musl\n")
    (directory / "script").chmod(0o755)
    return directory


@pytest.mark.parametrize(
    ("name", "why"),
    [("musl", "another C library"), ("static", "statically"), ("script", "another C library")],
)
def test_what_cannot_be_followed_runs_without_the_monitor(
    name: str, why: str, unfollowed: Path, tmp_path: Path
) -> None:
    log = tmp_path / "access.db"
    program = str(unfollowed / name)
    done = subprocess.run(
        recorded(log, program), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert program in done.stderr
    assert why in done.stderr
    assert (tmp_path / "out").exists()
    assert meta(log, "complete") == 0
    assert why in str(meta(log, "incomplete_reason"))
    assert record([program], app="x", log=tmp_path / "api.db", cwd=tmp_path).returncode == 3
    assert meta(tmp_path / "api.db", "complete") == 0


def test_a_program_whose_loader_is_missing_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "program"
    bytes_of = re.sub(rb"(/lib[^\0]*/ld-)linux", rb"\1nowhe", Path("/bin/true").read_bytes())
    program.write_bytes(bytes_of)
    program.chmod(0o755)
    with pytest.raises(FileNotFoundError, match="ld-nowhe"):
        startable(str(program), {})
    # One of another machine may have an emulator, which looks for the loader elsewhere.
    program.write_bytes(bytes_of[:18] + b"\xff\xff" + bytes_of[20:])
    assert startable(str(program), {}) == str(program)


def test_ordinary_programs_are_followed() -> None:
    for program in ("/bin/sh", sys.executable, "/usr/bin/env"):
        assert why_not_followed(program) is None


def test_a_recording_inside_another_is_known_to_the_outer_one(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.db", tmp_path / "outer.db"
    command = recorded(outer, *recorded(inner, "sh", "-c", "echo > f"))
    subprocess.run(command, cwd=tmp_path, check=True)
    assert os.fsencode(tmp_path / "f") in uses(inner)
    assert meta(inner, "complete") == 1
    assert meta(outer, "complete") == 0
