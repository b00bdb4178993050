"""The monitor against strace: no file missed, and the same counts."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from access.truth import meta, need, query, until, uses, watch

from precopy.access.tracking.recording import record

HERE = Path(__file__).parent / "access"


@pytest.mark.parametrize(
    ("script", "programs"),
    [
        ("cp a b; cp -r . ../copy; cp -al ../copy ../links", ["cp"]),
        ("dd if=a of=b bs=4k conv=fsync; dd if=a of=b bs=1k oflag=append conv=notrunc", ["dd"]),
        ("mkdir d x; cp a d/1; ln d/1 d/2; tar czf t d; tar xzf t -C x; tar cf - d | tar xf - -C x",
         ["tar", "gzip"]),
        (f"bash {HERE / 'shell.sh'}", ["awk", "perl", "gzip"]),
        (f"bash {HERE / 'gcc.sh'}", ["gcc", "make", "ar"]),
        (f"bash {HERE / 'git.sh'}", ["git"]),
        (f"bash {HERE / 'sqlite.sh'}", ["sqlite3"]),
        (f"bash {HERE / 'redis.sh'}", ["redis-server", "redis-cli"]),
        (f"python3 {HERE / 'files.py'}", ["python3"]),
        (f"node {HERE / 'files.js'}", ["node"]),
        (f"java {HERE / 'Access.java'}", ["java", "javac"]),
        ("rsync -a a ./ copy/; rsync -a --inplace a copy/b; echo x >> a; rsync -a a copy/",
         ["rsync"]),
        ("zip -q z.zip a; zip -q z.zip a; unzip -qo z.zip -d unzipped", ["zip", "unzip"]),
        ("curl -s -o got file://$PWD/a", ["curl"]),
        ("vim -es -c '%s/x/y/' -c wq a < /dev/null || test $? -eq 1", ["vim"]),
    ],
    ids=["cp", "dd", "tar", "shell", "gcc", "git", "sqlite", "redis", "python", "node", "java",
         "rsync", "zip", "curl", "vim"],
)  # fmt: skip
def test_no_file_is_missed(script: str, programs: list[str], tmp_path: Path) -> None:
    need("strace", *programs)
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / "a").write_bytes(b"x" * 300_000)
    views = watch(["bash", "-c", script.replace("; ", " && ")], tmp_path)
    assert len(views.strace) > 1
    assert views.missed() == []


def test_no_file_of_postgresql_is_missed(tmp_path: Path) -> None:
    if not glob.glob("/usr/lib/postgresql/*/bin/initdb"):
        pytest.skip("postgresql not installed")
    # User postgres must reach the directory.
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.owner() == tmp_path.owner() and parent != Path("/tmp"):
            parent.chmod(0o755)
    views = watch(["bash", str(HERE / "postgres.sh")], tmp_path)
    assert len(views.strace) > 500
    assert views.missed() == []
    assert [path for path, use in views.strace.items() if use.writes
            and (use.writes, use.bytes_written)
            != (views.monitor[path].writes, views.monitor[path].bytes_written)] == []  # fmt: skip


def test_no_file_of_cpp_streams_is_missed(tmp_path: Path) -> None:
    need("g++")
    program = tmp_path / "stream"
    subprocess.run(["g++", str(HERE / "stream.cc"), "-o", str(program)], check=True)
    views = watch([str(program)], tmp_path)
    assert views.missed() == []
    assert [(true, seen) for _, true, seen in views.counts("out", "both") if true != seen] == []


def test_writes_and_bytes_equal_those_of_strace(tmp_path: Path) -> None:
    need("dd", "sqlite3")
    script = """
        dd if=/dev/zero of=one bs=1 count=3000 status=none
        dd if=/dev/zero of=two bs=64k count=7 status=none
        cp two three; cat one two > four; tar cf five one two
        sqlite3 six.db 'create table t(a); insert into t values(1); insert into t values(2)'
        python3 -c 'import os; f = os.open("seven", 65); [os.write(f, b"x" * i) for i in range(50)]'
        echo a > eight; for i in 1 2 3 4 5 6 7; do echo $i >> eight; done
    """
    views = watch(["bash", "-c", script], tmp_path)
    names = ["one", "two", "three", "four", "five", "six.db", "seven", "eight"]
    rows = views.counts(*names)
    assert [name for name, *_ in rows] == names
    assert [row for row in rows if row[1] != row[2]] == []
    assert rows[0][1] == (3000, 3000)


def test_bytes_of_stdio_equal_those_of_strace(tmp_path: Path) -> None:
    program = _compile("stdio.c", tmp_path)
    views = watch([str(program)], tmp_path)
    rows = views.counts("printf", "putc", "fwrite", "fputs", "seek", "exit", "wide", "big")
    assert [(name, true, seen) for name, true, seen in rows if true[1] != seen[1]] == []
    assert all(seen[0] > 0 for _, _, seen in rows)


def test_whatever_produces_bytes_is_counted_in_files_that_were_inherited(tmp_path: Path) -> None:
    """Nothing but the writes themselves tells of these files."""
    program = _compile("produces.c", tmp_path, "-D_FORTIFY_SOURCE=2", "-w")
    files = [tmp_path / f"way-{way}" for way in range(22)]
    for file in files:
        file.write_bytes(bytes(1000))
    given = [os.open(file, os.O_WRONLY | os.O_APPEND) for file in files]
    command = [sys.executable, "-m", "precopy", "record", "--app", "x", "--log", "access.db", "--"]
    command += [str(program), *map(str, given)]
    try:
        subprocess.run(command, cwd=tmp_path, pass_fds=given, check=True)
    finally:
        for fd in given:
            os.close(fd)
    seen = uses(tmp_path / "access.db")
    counted = [seen[os.fsencode(file)].bytes_written for file in files]
    assert counted == [file.stat().st_size - 1000 for file in files]
    assert min(counted) > 0


def test_no_way_to_a_file_is_a_detour(tmp_path: Path) -> None:
    program = _compile("detours.c", tmp_path, "-w")
    work, log = tmp_path / "work", tmp_path / "access.db"
    work.mkdir()
    assert record([str(program)], app="x", log=log, cwd=work).returncode == 0
    seen = uses(log)
    files = [path for path in work.rglob("*") if path.is_file() and not path.is_symlink()]
    counted = {path.name: seen[os.fsencode(path)].bytes_written for path in files}
    assert counted == {path.name: path.stat().st_size for path in files}
    assert len(counted) == 25
    assert meta(log, "complete") == 1


def test_what_a_child_opens_elsewhere_is_lost_and_said(tmp_path: Path) -> None:
    program = _compile("detours.c", tmp_path, "-w")
    record([str(program), "elsewhere"], app="x", log=tmp_path / "access.db", cwd=tmp_path)
    assert meta(tmp_path / "access.db", "complete") == 0
    assert os.fsencode(tmp_path / "relative") not in uses(tmp_path / "access.db")


def test_mappings_aio_and_raw_calls_are_seen(tmp_path: Path) -> None:
    program = _compile("calls.c", tmp_path)
    views = watch([str(program)], tmp_path)
    assert views.missed() == []
    assert views.monitor[os.fsencode(views.directory / "mapped")].mapped
    assert views.monitor[os.fsencode(views.directory / "aio")].bytes_written == 1000
    rows = views.counts("raw", "vector", "fortified", "dprintf")
    assert [row for row in rows if row[1] != row[2]] == []


def test_writes_that_are_asked_for_are_counted(tmp_path: Path) -> None:
    program, log = _compile("asks.c", tmp_path), tmp_path / "access.db"
    assert record([str(program)], app="x", log=log, cwd=tmp_path).returncode == 0
    seen = uses(log)
    counted = {name: seen[os.fsencode(tmp_path / name)] for name in ("list", "list-64", "kernel")}
    assert {name: (use.writes, use.bytes_written) for name, use in counted.items()} == {
        "list": (2, 600), "list-64": (1, 50), "kernel": (3, 830),
    }  # fmt: skip
    assert meta(log, "complete") == 1


def test_a_silent_process_is_reported_within_its_lifetime(tmp_path: Path) -> None:
    """Counts that are pending when a process falls silent do not wait for its end."""
    log = tmp_path / "access.db"
    code = (
        "import os, signal\n"
        "f = os.open('f', os.O_CREAT | os.O_WRONLY)\n"
        "for i in range(10): os.write(f, b'x')\n"
        "signal.pause()\n"
    )
    path = os.fsencode(tmp_path / "f")

    def reported() -> bool:
        use = uses(log).get(path)
        return use is not None and (use.writes, use.bytes_written) == (10, 10)

    with record(
        ["python3", "-c", code], app="silent", log=log, cwd=tmp_path, wait=False
    ) as recording:
        assert recording.pid is not None
        try:
            until(reported)
        finally:
            os.kill(recording.pid, signal.SIGKILL)
    assert recording.returncode == -signal.SIGKILL
    assert reported()


def test_forked_children_count_only_their_own_writes(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    program = _compile("forks.c", tmp_path)
    assert record([str(program)], app="forks", log=log, cwd=tmp_path).returncode == 0
    use = uses(log)[os.fsencode(tmp_path / "shared")]
    assert (use.writes, use.bytes_written) == (5 + 3 * 4, 5 + 3 * 4)
    assert len(query(log, "SELECT 1 FROM process")) == 1 + 3


def test_an_application_has_one_thread_when_it_forks_or_unshares(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    program = _compile("threads_seen.c", tmp_path)
    assert record([str(program)], app="threads", log=log, cwd=tmp_path).returncode == 0
    assert uses(log)[os.fsencode(tmp_path / "f")].writes == 200


def test_every_process_is_named(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    record(["bash", "-c", "cp /etc/hostname a; dd if=a of=b status=none; true"], app="x", log=log,
           cwd=tmp_path)  # fmt: skip
    commands = {
        os.path.basename(bytes(row[0])) for row in query(log, "SELECT command FROM process")
    }
    assert commands == {b"bash", b"cp", b"dd"}
    assert query(log, "SELECT count(*) FROM process WHERE start_time = 0") == [(0,)]


@pytest.mark.parametrize("sanitizer", ["address", "undefined", "thread"])
def test_sanitized_programs_run_clean(sanitizer: str, tmp_path: Path) -> None:
    program = _compile("many_threads.c", tmp_path, f"-fsanitize={sanitizer}", "-g", "-pthread")
    plain = subprocess.run([str(program)], cwd=tmp_path, capture_output=True, check=False)
    if plain.returncode != 0:
        pytest.skip(f"-fsanitize={sanitizer} does not work here at all: {plain.stderr[:200]!r}")
    log = tmp_path / "access.db"
    script = 'exec "$0" > out 2> err'
    done = record(["bash", "-c", script, str(program)], app="sane", log=log, cwd=tmp_path)
    assert (tmp_path / "err").read_bytes() == plain.stderr == b""
    assert done.returncode == 0
    assert (tmp_path / "out").read_bytes() == plain.stdout
    for thread in range(8):
        use = uses(log)[os.fsencode(tmp_path / f"thread{thread}")]
        assert (use.writes, use.bytes_written, use.opens) == (1000, 64_000, 10)
    assert meta(log, "complete") == 1


def test_the_monitor_compiles_for_the_other_architecture(tmp_path: Path) -> None:
    need("aarch64-linux-gnu-gcc")
    sources = sorted((HERE.parents[1] / "csrc" / "monitor").glob("*.c"))
    strict = ["-Wpedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    own = ["-fvisibility=hidden", "-fno-stack-protector", "-fno-tree-loop-distribute-patterns"]
    command = ["aarch64-linux-gnu-gcc", "-std=c11", "-O2", "-fPIC", "-shared", *strict, *own]
    subprocess.run([*command, "-o", tmp_path / "monitor.so", *sources], check=True)


def _compile(source: str, directory: Path, *options: str) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc not installed")
    program = directory / Path(source).stem
    command = [compiler, "-std=gnu11", "-O2", *options, str(HERE / source), "-o", str(program)]
    subprocess.run(command, check=True)
    return program
