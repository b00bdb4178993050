"""Import of strace output: real traces of real programs, and the lines that are easy to misread."""

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from precopy.access import AccessLog, import_strace, record
from precopy.access.strace import ImportSummary
from precopy.access.strace.lines import Call, parse_calls, unescape
from precopy.access.strace.source import Clock, first_midnight


@pytest.fixture
def log_path(tmp_path):
    return tmp_path / "access.db"


def rows(log_path):
    """What the log says per file: opens, read, write, mapped, writes, bytes, changes."""
    with closing(sqlite3.connect(log_path)) as connection:
        table = connection.execute(
            """SELECT path, opens, read, write, mapped, writes, bytes_written, changes
               FROM access JOIN file ON file.id = file_id
               WHERE kind != 'directory' AND (read OR write OR mapped)"""
        )
        return {os.fsdecode(row[0]): tuple(map(int, row[1:])) for row in table}


def looks(log_path):
    """What the log says per path: kind, looked, listed, loaded, changes."""
    with closing(sqlite3.connect(log_path)) as connection:
        table = connection.execute(
            """SELECT path, kind, looked, listed, loaded, changes
               FROM access JOIN file ON file.id = file_id"""
        )
        return {os.fsdecode(row[0]): tuple(row[1:]) for row in table}


def incomplete(log_path):
    """Why the log is incomplete; empty if it is not."""
    with AccessLog(log_path) as log:
        return "" if log.complete else log.incomplete_reason


def calls(*lines):
    return list(parse_calls([os.fsencode(line) for line in lines], Clock(0, 7)))


@pytest.fixture
def trace(tmp_path):
    """Run a command under strace in a directory of its own and return the trace's path."""
    if shutil.which("strace") is None:
        pytest.skip("strace not installed")
    work = tmp_path / "work"
    work.mkdir()

    def run(*command, options=("-f", "-y", "-ttt"), cwd=work, stdout=subprocess.PIPE):
        output = tmp_path / "trace"
        subprocess.run(
            ["strace", *options, "-o", output, *command],
            cwd=cwd,
            check=True,
            stdout=stdout,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            timeout=120,
        )
        return output

    run.work = work
    return run


PROGRAM = textwrap.dedent(
    r"""
    import mmap, os, sys, threading
    names = [b"a b", b"new\nline", b"g>t<", b"\xff\"q\\", b"AT_FDCWD<x>) = 3"]
    for name in names:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, b'"), 99) = 99 <unfinished ...>\n')
        os.close(fd)
    fd = os.open("data", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 100)
    os.pwrite(fd, b"y" * 50, 10)
    os.writev(fd, [b"one", b"three"])
    os.ftruncate(fd, 4096)
    with mmap.mmap(fd, 4096) as shared:
        shared[0:3] = b"abc"
    os.close(fd)
    os.rename("data", "renamed")
    os.mkdir("sub")
    os.chdir("sub")
    os.symlink("../renamed", "link")
    os.truncate("../renamed", 10)
    os.unlink("../a b")
    os.close(os.open("link", os.O_RDONLY))

    def work(number):
        fd = os.open(f"thread{number}", os.O_WRONLY | os.O_CREAT)
        for _ in range(300):
            os.write(fd, b"z" * 10)
        os.close(fd)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if os.fork() == 0:
        os.rename("thread0", "moved")   # a relative name in a child's first calls
        os._exit(0)
    os.wait()
    """
)


def test_every_kind_of_access_of_a_real_program(trace, log_path):
    script = trace.work / "program.py"
    script.write_text(PROGRAM)
    output = trace(sys.executable, "-I", "-S", "program.py")
    assert b"unfinished" in output.read_bytes(), "the threads were meant to interrupt each other"
    summary = import_strace(output, log_path, "program")
    assert summary.unresolved == 0

    def at(name):
        return os.fsdecode(os.path.join(os.fsencode(trace.work), name))

    found = rows(log_path)
    line = len(b'"), 99) = 99 <unfinished ...>\n')
    for name in (b"new\nline", b"g>t<", b'\xff"q\\', b"AT_FDCWD<x>) = 3"):
        assert found[at(name)] == (1, 0, 1, 0, 1, line, 0), name
    assert found[at(b"a b")] == (1, 0, 1, 0, 1, line, 1)
    assert found[at(b"data")] == (1, 1, 1, 1, 3, 158, 2)  # ftruncate, renamed away
    assert found[at(b"renamed")] == (1, 1, 1, 0, 0, 0, 2)  # renamed to, truncate; read by link
    assert found[at(b"sub/link")] == (0, 0, 1, 0, 0, 0, 1)
    for number in (1, 2, 3):
        assert found[at(b"sub/thread%d" % number)] == (1, 0, 1, 0, 300, 3000, 0)
    assert found[at(b"sub/thread0")] == (1, 0, 1, 0, 300, 3000, 1)
    assert found[at(b"sub/moved")] == (0, 0, 1, 0, 0, 0, 1)
    assert found[at(b"program.py")][:3] == (found[at(b"program.py")][0], 1, 0)
    assert at(b"sub") not in found
    with AccessLog(log_path) as log:
        assert log.complete


def test_the_trace_of_dd_counts_each_block(trace, log_path):
    import_strace(
        trace("dd", "if=/dev/zero", "of=out", "bs=1000", "count=37", "status=none"), log_path, "dd"
    )
    assert rows(log_path)[str(trace.work / "out")][4:6] == (37, 37_000)


def test_cp_and_the_shell_in_processes_of_their_own(trace, log_path):
    (trace.work / "source").write_bytes(b"x" * 5000)
    output = trace("bash", "-c", "cp source copy; echo hi > redirected; cat copy >> redirected")
    import_strace(output, log_path, "shell")
    found = rows(log_path)
    assert found[str(trace.work / "source")][:3] == (1, 1, 0)
    assert found[str(trace.work / "copy")][2:6] == (1, 0, 1, 5000)
    assert found[str(trace.work / "redirected")][4:6] == (2, 5003)
    with closing(sqlite3.connect(log_path)) as connection:
        commands = {row[0] for row in connection.execute("SELECT command FROM process")}
    assert {b"/usr/bin/bash", b"/usr/bin/cp", b"/usr/bin/cat"} <= commands


def test_a_static_binary_which_no_preloaded_monitor_sees(trace, log_path, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("cc not installed")
    source = tmp_path / "static.c"
    source.write_text(
        """
        #include <fcntl.h>
        #include <stdio.h>
        #include <unistd.h>
        int main(void) {
            int fd = open("plain", O_WRONLY | O_CREAT, 0600);
            return fd < 0 || write(fd, "12345", 5) != 5 || rename("plain", "final") != 0;
        }"""
    )
    program = tmp_path / "static"
    subprocess.run(["cc", "-static", "-o", program, source], check=True)
    import_strace(trace(program), log_path, "static")
    found = rows(log_path)
    assert found[str(trace.work / "plain")][4:] == (1, 5, 1)
    assert found[str(trace.work / "final")][4:] == (0, 0, 1)


def test_a_process_that_already_runs(trace, log_path, tmp_path):
    program = "import os, sys, time\nfd = os.open('kept', os.O_WRONLY | os.O_CREAT)\n"
    program += "print('ready', flush=True)\nsys.stdin.readline()\n"
    program += "[os.write(fd, b'0123456789') for _ in range(25)]\nos.rename('kept', 'done')"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=trace.work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        running.stdout.readline()
        output = tmp_path / "attached"
        with subprocess.Popen(
            ["strace", "-f", "-y", "-ttt", "-o", output, "-p", str(running.pid)],
            stderr=subprocess.PIPE,
            text=True,
        ) as tracer:
            assert "attached" in tracer.stderr.readline()
            running.stdin.write("\n")
            running.stdin.flush()
            tracer.wait(60)
    summary = import_strace(output, log_path, "attached", cwd=trace.work)
    assert summary.unresolved == 0
    found = rows(log_path)
    assert found[str(trace.work / "kept")] == (0, 0, 1, 0, 25, 250, 1)
    assert found[str(trace.work / "done")][6] == 1


@pytest.mark.parametrize("stamp", ["-ttt", "-tt", "-t"])
def test_times_are_those_of_the_run(trace, log_path, stamp):
    before = time.time_ns()
    output = trace("touch", "file", options=("-f", "-y", stamp))
    after = time.time_ns()
    import_strace(output, log_path, "touch")
    with AccessLog(log_path) as log:
        table = log.accesses().set_index("path")
    first_ns = table.loc[str(trace.work / "file"), "first_ns"]
    assert before - 1_000_000_000 <= first_ns <= after


def test_without_times_everything_happened_at_the_import(trace, log_path):
    output = trace("touch", "file", options=("-f", "-y"))
    before = time.time_ns()
    import_strace(output, log_path, "touch")
    with AccessLog(log_path) as log:
        assert (log.accesses()["first_ns"] >= before).all()


def test_without_f_a_trace_has_no_process_ids(trace, log_path):
    output = trace("touch", "file", options=("-y", "-ttt"))
    import_strace(output, log_path, "touch")
    assert rows(log_path)[str(trace.work / "file")][:3] == (1, 0, 1)


def test_a_trace_over_midnight_ends_on_the_day_the_file_was_written():
    noon = time.mktime((2024, 5, 3, 12, 0, 0, 0, 0, -1))
    lines = [b"7 23:59:59.5 close(3) = 0", b"7 00:00:01 close(3) = 0", b"7 11:00:00 close(3) = 0"]
    midnight = first_midnight(lines, int(noon) * 10**9)
    times = [call.time_ns for call in parse_calls(lines, Clock(midnight, 0))]
    assert times[2] == (int(noon) - 3600) * 10**9
    assert times[1] - times[0] == 1_500_000_000


def test_a_call_is_put_together_from_its_parts():
    found = calls(
        '7 1.25 write(3</a>, "x", 1 <unfinished ...>',
        "8 1.5 close(4</b>) = 0",
        "7 1.75 <... write resumed>) = 1",
        "8 2.0 <... read resumed>) = 1",
        "8 2.0 +++ exited with 0 +++",
        "7 2.5 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---",
        '[pid  9] 3.0 creat("/c", 0600) = 5</c>',
        "[pid 9<comm>] 3.5 close(5</c>) = -1 EIO (Input/output error)",
        "9 4.0 exit_group(0) = ?",
        '9 4.0 write(3</a>, "cut o',
    )
    assert [(call.pid, call.name, call.time_ns) for call in found[:3]] == [
        (8, b"close", 1_500_000_000),
        (7, b"write", 1_250_000_000),
        (9, b"creat", 3_000_000_000),
    ]
    assert [call.succeeded for call in found] == [True, True, True, False, False]
    assert found[1].path(0) == b"/a"
    assert found[2].value_path == b"/c"


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("3</plain>", b"/plain"),
        ("3</a, b>", b"/a, b"),
        (r"3</less\74greater\76quote\"back\\>", b'/less<greater>quote"back\\'),
        ("3</gone>(deleted)", b"/gone"),
        ("3</tmp/#1234>(deleted)", None),
        ("3</tmp/#1234>", b"/tmp/#1234"),
        ("3</memfd:name>(deleted)", None),
        ("3<pipe:[123]>", None),
        ("3<TCP:[127.0.0.1:1->127.0.0.1:2]>", None),
        ("3</dev/null<char 1:3>>", None),
        ("AT_FDCWD</here>", b"/here"),
        ("3", None),
    ],
)
def test_the_path_behind_a_descriptor(argument, path):
    call = Call(1, 0, b"fchmod", os.fsencode(f'fchmod({argument}, "x) = 3</y>") = 0'), 1)
    assert call.path(0) == path
    assert call.value == 0


def test_quoting_is_undone():
    every = bytes(range(1, 256))
    octal = b"".join(b"\\%03o" % byte for byte in every)
    hexadecimal = b"".join(b"\\x%02x" % byte for byte in every)
    assert unescape(octal) == unescape(hexadecimal) == every
    assert unescape(rb"\t\n\v\f\r\"\\") == b'\t\n\v\f\r"\\'


def quoted(name, style):
    """Any name as strace quotes it: with octal, hexadecimal or no escapes where it has a choice."""
    short = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}

    def letter(byte):
        if style == "hexadecimal":
            return f"\\x{byte:02x}"
        if byte in short:
            return short[byte]
        return chr(byte) if 32 <= byte < 127 and byte not in b"<>" else f"\\{byte:03o}"

    return "".join(map(letter, name))


file_names = st.binary(min_size=1, max_size=40).map(
    lambda name: name.replace(b"/", b"\n").replace(b"\0", b")")
)


@given(file_names, file_names, st.sampled_from(["octal", "hexadecimal"]), st.integers(0, 99))
@example(b"a", b'") = 3</x>', "octal", 1)
@example(b"<", b">, 5", "octal", 1)
@example(b"(deleted)", b"<unfinished ...>", "octal", 1)
def test_no_name_is_mistaken_for_syntax(directory, name, style, value):
    path = quoted(b"/" + directory + b"/" + name, style)
    [call] = calls(
        f'7 1.5 pwrite64(3<{path}>, "{quoted(name, style)}"..., 7, [8]) = {value}<{path}>'
    )
    assert call.path(0) == call.value_path == b"/" + directory + b"/" + name
    assert call.value == value
    assert len(call.arguments) == 4


def test_threads_share_a_working_directory_and_children_inherit_one(log_path):
    lines = [
        '7 1.0 openat(AT_FDCWD</one>, "f", O_RDONLY) = 3</one/f>',
        "7 1.1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD}, 88) = 8",
        "7 1.2 vfork( <unfinished ...>",
        '9 1.3 rename("a", "b") = 0',
        "7 1.4 <... vfork resumed>) = 9",
        '8 1.5 chdir("/two") = 0',
        '7 1.6 unlink("c") = 0',
        '9 1.7 unlink("d") = 0',
        '9 1.8 unlinkat(5</three>, "e", 0) = 0',
        '9 1.9 unlinkat(5</three>, "directory", AT_REMOVEDIR) = 0',
    ]
    assert import_strace(lines, log_path, "app").unresolved == 0
    changed = {path for path, row in rows(log_path).items() if row[6]}
    assert changed == {"/one/a", "/one/b", "/two/c", "/one/d", "/three/e"}


def test_a_renamed_directory_holds_only_what_is_still_in_it(log_path):
    lines = [
        '7 1.0 openat(AT_FDCWD</w>, "d/s.new", O_WRONLY|O_CREAT, 0600) = 3</w/d/s.new>',
        '7 1.1 openat(AT_FDCWD</w>, "d/t", O_WRONLY|O_CREAT, 0600) = 4</w/d/t>',
        '7 1.2 rename("d/s.new", "d/s") = 0',
        '7 1.3 unlink("d/t") = 0',
        '7 1.4 rename("d", "e") = 0',
        "7 1.5 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, 5</w/f>, 0) = 0x7",
    ]
    import_strace(lines, log_path, "app", cwd="/w")
    assert set(rows(log_path)) == {"/w/d/s.new", "/w/d/t", "/w/d/s", "/w/e/s"}


def test_a_name_in_an_unknown_directory_marks_the_log_incomplete(log_path):
    summary = import_strace(['7 1.0 rename("/a", "b") = 0'], log_path, "app")
    assert summary == ImportSummary(1, 1, 1, 0, 0, 0, 1)
    with AccessLog(log_path) as log:
        assert not log.complete
        assert "1 calls in an unknown directory" in log.incomplete_reason


def test_devices_and_descriptors_that_were_gone_too_soon(trace, log_path):
    lines = [
        '7 1.0 openat(AT_FDCWD</srv>, "/dev/null", O_RDWR) = 3</dev/null<char 1:3>>',
        '7 1.1 write(3</dev/null<char 1:3>>, "x", 1) = 1',
        '7 1.2 openat(AT_FDCWD</srv>, "a", O_RDWR|O_TRUNC) = 4',
        '7 1.3 openat(AT_FDCWD</srv>, "b", O_RDONLY) = 5</srv/b>',
        '7 1.4 write(6<TCP:[127.0.0.1:1->127.0.0.1:2]>, "x", 1) = 1',
        '7 1.5 sendfile(4</srv/a>, 6<UNIX-STREAM:[1->2, "/run/x"]>, NULL, 9) = 9',
    ]
    assert import_strace(lines, log_path, "app").unresolved == 0
    assert rows(log_path) == {"/srv/a": (1, 1, 1, 0, 1, 9, 1), "/srv/b": (1, 1, 0, 0, 0, 0, 0)}
    import_strace(
        trace("sh", "-c", "echo x > f; cat f > /dev/null", options=("-f", "-yy", "-ttt")),
        log_path.with_name("yy.db"),
        "app",
    )
    found = rows(log_path.with_name("yy.db"))
    assert found[str(trace.work / "f")] == (2, 1, 1, 0, 1, 2, 1)
    assert "/dev/null" not in found


def test_one_file_per_process(trace, log_path, tmp_path):
    trace("sh", "-c", "echo x > f; cp f g; cat g > h", options=("-ff", "-y", "-ttt"))
    parts = sorted(tmp_path.glob("trace.*"))
    assert len(parts) == 3
    for part in parts:
        import_strace(part, log_path, "app")
    written = {path for path, row in rows(log_path).items() if row[4]}
    assert written == {str(trace.work / name) for name in "fgh"}


def test_a_renamed_directory_replaces_the_files_below_it(trace, log_path):
    script = "mkdir -p a/b; echo x > a/b/f; echo y > ab; mv a c; echo z >> c/b/f"
    import_strace(trace("sh", "-c", script), log_path, "app")
    work = str(trace.work)
    changed = {path.removeprefix(work): row[4:] for path, row in rows(log_path).items() if row[2]}
    assert changed.pop("/ab") == (1, 2, 1)
    assert changed == {"/a/b/f": (1, 2, 2), "/c/b/f": (1, 2, 1)}


def test_directories_are_no_files(trace, log_path):
    program = "import os; os.mkdir('made'); os.rename('made', 'moved'); os.listdir('moved')\n"
    program += "fd = os.open('.', os.O_RDONLY); os.fsync(fd); os.close(fd)\n"
    program += "fd = os.open('moved', os.O_RDONLY); os.fstat(fd); open('file', 'w').close()"
    import_strace(trace(sys.executable, "-I", "-S", "-c", program), log_path, "app")
    below = {path for path in rows(log_path) if path.startswith(str(trace.work))}
    assert below == {str(trace.work / "file")}


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-I", "-S", "-c", PROGRAM],
        ["sh", "-c", "dd if=/dev/zero of=x bs=999 count=9; dd if=x of=y conv=notrunc; rm x"],
        ["bash", "-c", "exec 5>f; echo a >&5; cat f >> g; cp g h; mv h i; ln i j; truncate -s 1 i"],
        ["sqlite3", "db", "create table t(a); insert into t values(1); insert into t values(2);"],
        ["sh", "-c", "mkdir d; echo x > d/f; tar --mtime=@1 -cf t d; tar xf t; gzip -n t; rm -r d"],
    ],
    ids=["python", "dd", "bash", "sqlite3", "tar"],
)
def test_the_monitor_and_the_trace_agree(trace, tmp_path, command):
    """Two independent witnesses of the same program, compared number by number."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} not installed")
    import_strace(trace(*command), tmp_path / "traced.db", "app")
    shutil.rmtree(trace.work)
    trace.work.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    record(command, app="app", log=tmp_path / "recorded.db", cwd=trace.work, env=environment)
    traced, recorded = (
        {path: row for path, row in rows(tmp_path / log).items() if str(trace.work) in path}
        for log in ("traced.db", "recorded.db")
    )
    assert len(traced) > 1
    assert {path: row[:6] for path, row in recorded.items()} == {
        path: row[:6] for path, row in traced.items()
    }


def test_a_trace_counts_once_and_two_traces_add_up(trace, log_path):
    output = trace("dd", "if=/dev/zero", "of=out", "bs=10", "count=5", "status=none")
    import_strace(output, log_path, "dd")
    with pytest.raises(ValueError, match="already in the log"):
        import_strace(output, log_path, "dd")
    again = trace("dd", "if=/dev/zero", "of=out", "bs=10", "count=7", "status=none")
    import_strace(again, log_path, "dd")
    assert rows(log_path)[str(trace.work / "out")][4:6] == (12, 120)


def test_what_is_no_trace_is_refused_and_adds_nothing(log_path, trace):
    with pytest.raises(ValueError, match="no system call"):
        import_strace(["hello", ""], log_path, "app")
    without_paths = trace("touch", "file", options=("-f", "-ttt"))
    with pytest.raises(ValueError, match=r"line [0-9]+: .* run strace with -y"):
        import_strace(without_paths, log_path, "app")
    with pytest.raises(ValueError, match="app: got an empty name"):
        import_strace(["7 1.0 close(3) = 0"], log_path, "")
    with pytest.raises(TypeError, match="app: got 3, expected a string"):
        import_strace(["7 1.0 close(3) = 0"], log_path, 3)
    with pytest.raises(FileNotFoundError):
        import_strace(log_path.with_name("absent"), log_path, "app")
    with AccessLog(log_path) as log:
        assert log.applications() == []
        assert log.complete
