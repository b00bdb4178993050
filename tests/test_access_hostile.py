"""Programs that do what a library inside them may stumble over: they run as ever, and are seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from access.truth import Use, meta, need, query, uses

from precopy.access.tracking.live import LOSSES
from precopy.access.tracking.recording import record

HERE = Path(__file__).parent / "access"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    directory = tmp_path_factory.mktemp("cases")
    built = directory / "cases"
    subprocess.run(["gcc", "-O1", "-w", HERE / "cases.c", "-o", built, "-pthread"], check=True)
    library = directory / "libwrites.so"
    subprocess.run(["gcc", "-shared", "-fPIC", HERE / "writes.c", "-o", library], check=True)
    return built


class Seen:
    """One case under the monitor: it must end well and say nothing."""

    def __init__(self, program: Path, case: str, tmp_path: Path) -> None:
        self.log, self.work = tmp_path / "access.db", tmp_path / "work"
        self.work.mkdir()
        shutil.copy(program.with_name("libwrites.so"), self.work)
        self.work.chmod(0o777)
        script = 'exec "$0" "$@" > ../out 2> ../err'
        done = record(
            ["bash", "-c", script, str(program), case], app="case", log=self.log, cwd=self.work
        )
        assert (tmp_path / "err").read_bytes() == b""
        assert (tmp_path / "out").read_bytes() == b""
        assert done.returncode == 0
        self.complete = meta(self.log, "complete") == 1

    def __getitem__(self, name: str) -> Use | None:
        return uses(self.log).get(os.fsencode(self.work / name))

    def counts(self, name: str) -> tuple[int, int] | None:
        use = self[name]
        return None if use is None else (use.writes, use.bytes_written)


@pytest.mark.parametrize(
    ("case", "counts"),
    [
        ("forks", {"forked-0": 300, "forked-1": 300, "forked-2": 300, "forked-3": 300}),
        ("handler", {"interrupted": 30_000}),
        ("streams", {}),
        ("shells", {f"shell-{thread}-{i}": 1 for thread in range(4) for i in range(10)}),
        ("probe", {"probed": 3}),
        ("small-stack", {"spawned": 1}),
        ("headless", {"outlived": 10}),
        ("odd-streams", {"reopened": 1}),
        ("many-opens", {f"new-{thread}-{i}": 2 for thread in range(48) for i in range(50)}),
        ("quick", {"quick": 100}),
        ("deep-bind", {"deep": 1, "loaded": 1}),
    ],
)
def test_the_program_runs_as_ever_and_its_writes_are_counted(
    case: str, counts: dict[str, int], program: Path, tmp_path: Path
) -> None:
    seen = Seen(program, case, tmp_path)
    found = uses(seen.log)
    missing = [name for name in counts if os.fsencode(seen.work / name) not in found]
    assert missing == []
    writes = {name: found[os.fsencode(seen.work / name)].writes for name in counts}
    assert writes == counts
    assert seen.complete


def test_no_report_lands_in_a_file_of_the_program(program: Path, tmp_path: Path) -> None:
    seen = Seen(program, "numbers", tmp_path)  # the program looks itself
    assert seen["made-1-7"] is not None
    assert (seen.work / "victim").read_bytes() == b""


def test_a_limit_on_file_sizes_kills_no_program(program: Path, tmp_path: Path) -> None:
    seen = Seen(program, "no-growth", tmp_path)
    assert not seen.complete  # a record longer than the pipe takes had nowhere to go
    subprocess.run(["rm", "-rf", seen.work], check=True)


@ROOT_ONLY
def test_no_thread_keeps_the_rights_that_a_program_gives_up(program: Path, tmp_path: Path) -> None:
    for directory in (program.parent, *program.parents[:4]):
        if directory != Path("/tmp") and directory.owner() == tmp_path.owner():
            directory.chmod(0o755)
    assert Seen(program, "rights", tmp_path).counts("before-39") == (3, 3)


def test_a_program_started_in_a_sandbox_lives(program: Path, tmp_path: Path) -> None:
    seen = Seen(program, "sandbox", tmp_path)
    assert not seen.complete
    assert "not followed further" in str(meta(seen.log, "incomplete_reason"))


def test_a_stream_into_memory_writes_to_no_file(program: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("only read")
    command = ["bash", "-c", '"$0" odd-streams < "$1"', str(program), str(given)]
    assert record(command, app="x", log=tmp_path / "access.db", cwd=tmp_path).returncode == 0
    use = uses(tmp_path / "access.db")[os.fsencode(given)]
    assert (use.read, use.write, use.writes) == (True, False, 0)


def test_semaphores_are_files_that_are_mapped(program: Path, tmp_path: Path) -> None:
    seen = Seen(program, "semaphore", tmp_path)
    use = uses(seen.log)[b"/dev/shm/sem.precopy-test"]
    assert (use.read, use.write, use.mapped, use.changes) == (True, True, True, 1)


def test_what_libc_says_itself_is_counted(program: Path, tmp_path: Path) -> None:
    seen = Seen(program, "complaints", tmp_path)
    use = seen["complaints"]
    assert use is not None
    assert use.bytes_written == (seen.work / "complaints").stat().st_size > 30


def test_exchanged_directories_rename_what_is_below_both(program: Path, tmp_path: Path) -> None:
    seen = Seen(program, "exchange", tmp_path)
    assert [name for name in ("xa/fa", "xb/fb", "xa/fb", "xb/fa") if seen[name] is None] == []


def test_other_libraries_constructors_are_seen(program: Path, tmp_path: Path) -> None:
    library = program.with_name("libwrites.so")
    main = tmp_path / "main"
    subprocess.run(
        ["gcc", "-x", "c", "-", "-x", "none", "-Wl,--no-as-needed", library, "-o", main],
        input="int main(void) { return 0; }", text=True, check=True,
    )  # fmt: skip
    record([str(main)], app="x", log=tmp_path / "access.db", cwd=tmp_path)
    use = uses(tmp_path / "access.db")[os.fsencode(tmp_path / "loaded")]
    assert (use.writes, use.bytes_written) == (1, 3)


def python(*lines: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", "\n".join(["import os, time", *lines])]


@pytest.mark.parametrize("signal", [15, 9])
def test_little_is_reported_before_a_program_is_killed(signal: int, tmp_path: Path) -> None:
    command = python(
        "fd = os.open('f', os.O_WRONLY | os.O_CREAT)",
        "for i in range(50): os.write(fd, b'x')",
        "time.sleep(0.05)",
        f"os.kill(os.getpid(), {signal})",
    )
    record(command, app="x", log=tmp_path / "access.db", cwd=tmp_path)
    assert uses(tmp_path / "access.db")[os.fsencode(tmp_path / "f")].writes == 50


def test_links_that_others_turn_are_followed(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    script = """
        mkdir r1 r2; ln -s r1 current
        for i in 1 2 3 4 5; do
            echo $i > current/one; ln -sfn r2 current
            echo $i > current/two-$i; ln -sfn r1 current
        done
    """
    record(["bash", "-c", script], app="x", log=log, cwd=tmp_path)
    seen = uses(log)
    for i in range(1, 6):
        assert seen[os.fsencode(tmp_path / "r2" / f"two-{i}")].writes == 1
        assert os.fsencode(tmp_path / "r1" / f"two-{i}") not in seen
    assert seen[os.fsencode(tmp_path / "r1" / "one")].writes == 5


def test_open_files_that_others_rename_are_followed(tmp_path: Path) -> None:
    command = python(
        "fd = os.open('server.log', os.O_WRONLY | os.O_CREAT)",
        "os.write(fd, b'a')",
        "os.waitpid(os.posix_spawnp('mv', ['mv', 'server.log', 'server.log.1'], os.environ), 0)",
        "time.sleep(0.15)",
        "os.write(fd, b'b')",
    )
    record(command, app="x", log=tmp_path / "access.db", cwd=tmp_path)
    seen = uses(tmp_path / "access.db")
    assert seen[os.fsencode(tmp_path / "server.log")].writes == 1
    assert seen[os.fsencode(tmp_path / "server.log.1")].writes == 1


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    """A root directory with a shell that can run in it, and nothing of ours."""
    if os.geteuid() != 0:
        pytest.skip("chroot: root only")
    root = tmp_path / "jail"
    listed = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in listed.split() if word.startswith("/")]
    for file in ["/bin/sh", *libraries]:
        target = root / file.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return root


def test_a_root_without_the_monitor_is_entered_without_it(jail: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    script = "chroot jail /bin/sh -c 'echo inside > /f; echo said' > out 2> err"
    assert record(["bash", "-c", script], app="x", log=log, cwd=tmp_path).returncode == 0
    assert (tmp_path / "err").read_bytes() == b""
    assert (tmp_path / "out").read_bytes() == b"said\n"
    assert (jail / "f").read_text() == "inside\n"
    assert meta(log, "complete") == 0


@pytest.mark.parametrize("proc", ["with-proc", "without-proc"])
def test_paths_below_another_root_are_whole(proc: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("chroot: root only")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare: not allowed")
    (tmp_path / "jail" / "proc").mkdir(parents=True)
    (tmp_path / "jail" / "below").mkdir()
    log = tmp_path / "access.db"
    inside = python(
        "os.chroot('jail'); os.chdir('/below')",
        "for name in ['/secret', 'here', '../there', '/below/deep']:",
        "    with open(name, 'w', 1) as file:",
        "        file.write('x\\n'); time.sleep(0.12); file.write('y\\n')",
    )
    mount = "mount --bind /proc jail/proc && " if proc == "with-proc" else ""
    command = ["unshare", "-m", "bash", "-c", mount + '"$@"', "-", *inside]
    assert record(command, app="x", log=log, cwd=tmp_path).returncode == 0
    seen = {path: use.writes for path, use in uses(log).items() if b"/jail/" in path and use.writes}
    resolved = {os.path.normpath(path): writes for path, writes in seen.items()}
    names = ["secret", "below/here", "there", "below/deep"]
    assert resolved == {os.fsencode(tmp_path / "jail" / name): 2 for name in names}
    assert LOSSES["lost-namespace"] in str(meta(log, "incomplete_reason"))


def test_an_output_that_is_not_written_ties_nobody(tmp_path: Path) -> None:
    command = ["bash", "-c", "cp given taken", "-"]
    (tmp_path / "given").write_text("x")
    with (tmp_path / "output").open("w") as output:
        subprocess.run(
            [sys.executable, "-m", "precopy", "record", "--app", "x", "--log", "access.db", "--",
             *command], cwd=tmp_path, stdout=output, stderr=output, check=True,
        )  # fmt: skip
    seen = uses(tmp_path / "access.db")
    assert os.fsencode(tmp_path / "taken") in seen
    assert os.fsencode(tmp_path / "output") not in seen


def test_what_has_no_path_is_no_loss(tmp_path: Path) -> None:
    command = python("os.close(os.open('/proc/self/ns/mnt', os.O_RDONLY))", "os.memfd_create('x')")
    assert record(command, app="x", log=tmp_path / "access.db", cwd=tmp_path).returncode == 0
    assert meta(tmp_path / "access.db", "complete") == 1


def test_modules_in_the_working_directory_are_not_the_trackers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    record(["bash", "-c", "echo > f"], app="x", log=tmp_path / "access.db")
    assert uses(tmp_path / "access.db")[os.fsencode(tmp_path / "f")].writes == 1


def test_a_fork_is_no_fork_of_threads(tmp_path: Path) -> None:
    """Python from 3.12 on counts its threads after a fork, in /proc, and warns."""
    program = """
import os, pathlib
file = open("f", "w")
for i in range(30):
    file.write("x"); file.flush()
    pid = os.fork()
    if pid == 0: os._exit(0)
    assert pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[17] == "1"
    os.waitpid(pid, 0)
"""
    log = tmp_path / "access.db"
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", program]
    assert record(command, app="x", log=log, cwd=tmp_path).returncode == 0
    assert uses(log)[os.fsencode(tmp_path / "f")].writes == 30
    assert query(log, "SELECT path FROM file WHERE path LIKE CAST('/proc/%' AS BLOB)") == []
