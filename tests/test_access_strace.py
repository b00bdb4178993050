"""Import of strace output: real traces of real programs, and the lines that are easy to misread."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import tracemalloc
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
    assert summary == ImportSummary(
        1, 1, 1, 0, 0, 0, 1, reasons=("1 calls in an unknown directory",)
    )
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
    assert changed == {"/a/b/f": (1, 2, 1), "/c/b/f": (1, 2, 1)}  # made, renamed away


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
    for path, row in traced.items():
        # One thing a trace cannot tell: whether O_CREAT|O_TRUNC made a file or emptied one.
        assert row[6] - recorded[path][6] in (0, 1), path


def test_a_trace_counts_once_and_two_traces_add_up(trace, log_path):
    output = trace("dd", "if=/dev/zero", "of=out", "bs=10", "count=5", "status=none")
    import_strace(output, log_path, "dd")
    with pytest.raises(ValueError, match="already in the log"):
        import_strace(output, log_path, "dd")
    again = trace("dd", "if=/dev/zero", "of=out", "bs=10", "count=7", "status=none")
    import_strace(again, log_path, "dd")
    assert rows(log_path)[str(trace.work / "out")][4:6] == (12, 120)


def test_what_is_no_trace_is_refused_and_adds_nothing(log_path):
    with pytest.raises(ValueError, match="no system call"):
        import_strace(["hello", ""], log_path, "app")
    with pytest.raises(ValueError, match="app: got an empty name"):
        import_strace(["7 1.0 close(3) = 0"], log_path, "")
    with pytest.raises(TypeError, match="app: got 3, expected a string"):
        import_strace(["7 1.0 close(3) = 0"], log_path, 3)
    with pytest.raises(FileNotFoundError):
        import_strace(log_path.with_name("absent"), log_path, "app")
    assert not log_path.exists()
    with pytest.raises(NotADirectoryError, match=r"log: .* is no directory"):
        import_strace(["7 1.0 close(3) = 0"], log_path / "below" / "log", "app")
    import_strace(['7 1.0 creat("/a", 0600) = 3</a>'], log_path, "one")
    before = log_path.read_bytes()
    with pytest.raises(ValueError, match="path_or_lines"):
        import_strace(["hello"], log_path, "app")
    assert log_path.read_bytes() == before
    with AccessLog(log_path) as log:
        assert log.applications() == ["one"]
        assert log.complete


def test_relative_times_are_refused_or_added_up(trace, log_path):
    output = trace("sh", "-c", "echo a > f", options=("-f", "-y", "-r"))
    with pytest.raises(ValueError, match=r"line 1: relative time stamps \(strace -r\)"):
        import_strace(output, log_path, "app")
    start = time.mktime((2024, 5, 3, 12, 0, 0, 0, 0, -1))
    import_strace(output, log_path, "app", date="2024-05-03T12:00:00")
    with AccessLog(log_path) as log:
        first_ns = log.accesses().set_index("path").loc[str(trace.work / "f"), "first_ns"]
    assert 0 < first_ns - start * 1e9 < 60e9


def test_a_date_is_given_for_times_of_the_day(log_path):
    lines = ['7 23:59:59 creat("/a", 0600) = 3</a>', '7 00:00:01 creat("/b", 0600) = 3</b>']
    import_strace(lines, log_path, "app", date="2024-05-03")
    with AccessLog(log_path) as log:
        times = log.accesses().set_index("path")["first_ns"]
    assert times["/b"] - times["/a"] == 2_000_000_000
    assert time.localtime(int(times["/a"]) // 10**9)[:5] == (2024, 5, 3, 23, 59)
    with pytest.raises(ValueError, match="date: got 'May', expected YYYY-MM-DD"):
        import_strace(lines, log_path, "app", date="May")


@pytest.mark.parametrize(
    "options",
    [
        ("-X", "raw"),
        ("-X", "verbose"),
        ("-Y", "-n", "-T"),
        ("-i", "-k"),
        ("-xx", "-yy"),
        ("--absolute-timestamps=unix,ns", "-s", "1"),
        ("--absolute-timestamps=unix,s", "-v"),
        ("-t", "-r", "-C"),
        ("-e", "read=all", "-e", "write=all", "-qq"),
        ("--decode-pids=pidns", "-z"),
    ],
    ids=" ".join,
)
def test_other_flags_of_strace_give_the_same(trace, tmp_path, options):
    program = "import os, shutil; fd = os.open('f', os.O_RDWR | os.O_CREAT | os.O_TRUNC)\n"
    program += "os.write(fd, b'123'); os.rename('f', 'g'); os.mkdir('d'); os.rename('g', 'd/g')\n"
    program += "fd = os.open('d/g', os.O_WRONLY | os.O_APPEND); os.writev(fd, [b'4', b'5'])\n"
    program += "os.unlink('d/g'); os.rmdir('d')\nos.system('echo x > h')"
    found = []
    for number, flags in enumerate([("-ttt",), options]):
        log = tmp_path / f"{number}.db"
        output = trace(sys.executable, "-I", "-S", "-c", program, options=("-f", "-y", *flags))
        import_strace(output, log, "app")
        assert incomplete(log) == ""
        found.append({path: row for path, row in rows(log).items() if str(trace.work) in path})
        shutil.rmtree(trace.work)
        trace.work.mkdir()
    assert found[0] == found[1]
    assert found[0][str(trace.work / "d/g")] == (1, 0, 1, 0, 1, 2, 2)


def test_paths_below_another_root_are_whole(log_path):
    lines = [
        '7 1.0 chroot("jail") = 0',
        '7 1.1 chdir("/data") = 0',
        '7 1.2 creat("tmp", 0644) = 3</w/jail/data/tmp>',
        '7 1.3 rename("/data/tmp", "/data/../../data/final") = 0',
        "7 1.4 clone(child_stack=NULL, flags=SIGCHLD) = 8",
        '8 1.5 unlink("/data/final") = 0',
        '8 1.6 getcwd("/data", 4096) = 6',
        '8 1.7 mkdir("/data/d", 0777) = 0',
    ]
    import_strace(lines, log_path, "app", cwd="/w")
    assert set(rows(log_path)) == {"/w/jail/data/tmp", "/w/jail/data/final"}
    assert rows(log_path)["/w/jail/data/final"][6] == 2
    assert looks(log_path)["/w/jail/data/d"] == ("directory", 0, 0, 0, 1)


def test_a_process_id_used_twice(log_path):
    clone = "clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 453"
    lines = [
        '452 1.1 openat(AT_FDCWD</w>, "one/v", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</w/one/v>',
        '452 1.2 openat(AT_FDCWD</w>, "two/v", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 4</w/two/v>',
        f"452 1.3 {clone}",
        '453 1.31 execve("/bin/one", ["one"], 0x1) = 0',
        '453 1.4 chdir("one") = 0',
        "453 1.5 exit_group(0) = ?",
        "453 1.6 +++ exited with 0 +++",
        '452 1.7 chdir("two") = 0',
        f"452 1.8 {clone}",
        '453 1.81 execve("/bin/two", ["two"], 0x1) = 0',
        '453 1.9 unlink("v") = 0',
    ]
    import_strace(lines, log_path, "app")
    found = rows(log_path)
    assert (found["/w/one/v"][6], found["/w/two/v"][6]) == (1, 2)
    assert incomplete(log_path) == ""
    with closing(sqlite3.connect(log_path)) as connection:
        programs = [row[0] for row in connection.execute("SELECT command FROM process")]
    assert {b"/bin/one", b"/bin/two"} <= set(programs)
    # Without exit lines (strace -qq) the clone tells; a child may be seen before its clone returns.
    quiet = [line for line in lines if "+++" not in line]
    begun = f"452 1.75 {clone.replace(') = 453', ' <unfinished ...>')}"
    quiet[7:] = [begun, *quiet[8:], "452 1.95 <... clone resumed>) = 453"]
    log = log_path.with_name("quiet.db")
    import_strace(quiet, log, "app")
    assert rows(log)["/w/two/v"][6] == 2


def test_children_of_several_clones_at_once_wait_for_their_parents(log_path):
    lines = [
        '1 1.0 openat(AT_FDCWD</a>, "x", O_RDONLY) = 3</a/x>',
        '2 1.0 openat(AT_FDCWD</b>, "x", O_RDONLY) = 3</b/x>',
        "1 1.1 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>",
        "2 1.1 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>",
        '3 1.2 unlink("x") = 0',
        '4 1.2 unlink("y") = 0',
        "2 1.3 <... clone resumed>) = 4",
        "1 1.3 <... clone resumed>) = 3",
    ]
    import_strace(lines, log_path, "app")
    assert {path for path, row in rows(log_path).items() if row[6]} == {"/a/x", "/b/y"}


def test_threads_stop_sharing_a_directory_and_namespaces_number_anew(log_path):
    lines = [
        '1 1.0 openat(AT_FDCWD</a>, "x", O_RDONLY) = 3</a/x>',
        "1 1.1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, stack=0x1}, 88) = 2",
        "2 1.2 unshare(CLONE_FS) = 0",
        '2 1.3 openat(AT_FDCWD</a>, "d", O_RDONLY|O_DIRECTORY) = 4</a/d>',
        "2 1.4 fchdir(4</a/d>) = 0",
        '1 1.5 unlink("one") = 0',
        '2 1.6 unlink("two") = 0',
        "1 1.7 unshare(CLONE_NEWPID) = 0",
        "1 1.8 clone(child_stack=NULL, flags=SIGCHLD) = 1",
        '77 1.9 unlink("three") = 0',
        "77 2.0 clone(child_stack=NULL, flags=0x200|SIGCHLD) = 2 /* 78 in strace's PID NS */",
        '78 2.1 unlink("four") = 0',
    ]
    import_strace(lines, log_path, "app")
    changed = {path for path, row in rows(log_path).items() if row[6]}
    assert changed == {"/a/one", "/a/d/two", "/a/three", "/a/four"}
    assert incomplete(log_path) == ""


def test_links_are_those_of_the_trace_not_of_today(trace, log_path):
    work = trace.work
    for name in ("r1", "r2"):
        (work / name).mkdir()
        (work / name / "f").touch()
    (work / "current").symlink_to("r1")
    output = trace("sh", "-c", "cat current/f; rm current/f; ln -sfn r2 current; rm current/f")
    import_strace(output, log_path, "app")
    found = rows(log_path)
    assert found[str(work / "r2/f")][6] == 1  # the trace itself turned it there
    assert found[str(work / "r1/f")][:2] == (1, 1)
    assert looks(log_path)[str(work / "current")][:2] == ("link", 1)
    assert "may be symbolic links" in incomplete(log_path)


def test_what_tells_where_a_link_leads(log_path):
    lines = [
        '7 1.0 openat(AT_FDCWD</w>, "real/1/f", O_RDONLY) = 3</w/real/1/f>',
        '7 1.1 readlink("told", "real/1", 4096) = 6',
        '7 1.2 unlink("told/a") = 0',
        '7 1.3 symlink("/w/real", "made") = 0',
        '7 1.4 unlink("made/1/b") = 0',
        '7 1.5 openat(AT_FDCWD</w>, "g", O_RDONLY) = 4</w/real/1/g>',
        '7 1.6 truncate("g", 0) = 0',
        '7 1.7 rename("made", "moved") = 0',
        '7 1.8 unlink("moved/c") = 0',
        '7 1.9 lstat("unknown", {st_mode=S_IFLNK|0777, st_size=4, ...}) = 0',
        '7 2.0 stat("unknown/x", {st_mode=S_IFREG|0644, st_size=4, ...}) = 0',
    ]
    import_strace(lines, log_path, "app")
    changed = {path for path, row in rows(log_path).items() if row[6]}
    assert changed == {
        "/w/real/1/a", "/w/made", "/w/moved", "/w/real/1/b", "/w/real/1/g", "/w/real/c",
    }  # fmt: skip
    kinds = {path for path, row in looks(log_path).items() if row[0] == "link"}
    assert kinds == {"/w/told", "/w/made", "/w/moved", "/w/g", "/w/unknown"}
    assert incomplete(log_path) == ""
    import_strace(['8 1.0 unlink("/w/unknown/x") = 0'], log_path, "app")
    assert "names pass through 2 places that may be symbolic links" in incomplete(log_path)


def test_which_part_of_a_name_is_the_link_may_be_a_guess(log_path):
    lines = ['7 1.0 openat(AT_FDCWD</w>, "s/l/f", O_RDONLY) = 3</w/s/r/f>']
    import_strace(lines, log_path, "app")
    assert looks(log_path)["/w/s/l"][0] == "link"
    assert "1 links are guessed from where they led (first: /w/s/l)" in incomplete(log_path)
    # Nothing else is taken to be where the guess would put it.
    again = log_path.with_name("again.db")
    import_strace([*lines, '7 1.1 unlink("s/l/g") = 0'], again, "app")
    assert "/w/s/r/g" not in rows(again)
    told = log_path.with_name("told.db")
    import_strace(
        [
            *lines,
            '7 1.1 mkdir("/w/s/l/d", 0777) = 0',
            "7 1.2 close(4</w/s/l/d>) = 0",
            '7 1.3 lstat("/w/s/l/f", {st_mode=S_IFLNK|0777, ...}) = 0',
        ],
        told,
        "app",
    )
    assert looks(told)["/w/s/l/f"][0] == "link"


def test_damaged_lines_are_counted(trace, log_path):
    whole = trace("sh", "-c", "echo a > one; echo b > two; echo c > three").read_bytes()
    first = whole.index(b'"two"')
    second = whole.index(b"\n", whole.index(b"dup2(3", first))
    summary = import_strace(
        (whole[: first + 2] + whole[second - 20 :]).splitlines(), log_path, "app"
    )
    assert summary.unreadable == 1
    assert "1 lines could not be read (first: line" in incomplete(log_path)
    cut = log_path.with_name("cut")
    cut.write_bytes(whole[:400])
    assert import_strace(cut, log_path, "app").unreadable == 1


@pytest.mark.parametrize(
    "damaged",
    [
        'write(3</a>, "x", 1',
        'write(3</a>, "x", 1) =',
        'write(3</a>, "x", 1) = 17 1.0 write(3</a>, "y", 1) = 1',
        'write(3</a>, "x", 1) = 1</a> 7 1.0 close(3</a>) = 0',
        "write(3</a>) = 1x",
        "rename() = 0",
        'rename("/cut"..., "/b") = 0',
        "unlink(0x7f001234) = 0",
        "\0\0\0\0",
        "\x1b[31mhello\x1b[0m",
        "<... unlink resumed>) = 0",
        'openat(AT_FDCWD</w>, "/a/t',
        "close(3</a>)",
    ],
)
def test_a_line_that_cannot_be_read_makes_the_log_incomplete(log_path, damaged):
    summary = import_strace(
        ['7 1.0 creat("/a", 0600) = 3</a>', f"7 1.1 {damaged}"], log_path, "app"
    )
    assert summary.unreadable == 1
    reason = incomplete(log_path)
    assert "1 lines could not be read (first: line 2" in reason
    assert reason.isprintable()
    assert rows(log_path) == {"/a": (1, 0, 1, 0, 0, 0, 1)}


@pytest.mark.parametrize(
    "harmless",
    [
        "strace: Process 8 attached",
        "[ Process PID=7 runs in 32 bit mode. ]",
        "7 1.0 [ Process PID=7 runs in x32 mode. ]",
        "strace: Process 7 attached with 3 threads",
        " > /a b/c(f<int>(x)+0x1) [0x1]",
        "7 1.1 restart_syscall(<... resuming interrupted read ...>) = 1",
        "8 1.1 <... wait4 resumed> <unfinished ...>) = ?",
        '7 1.1 write(5<UNIX-STREAM:[1->2,@"/run/x>y<z"]>, "x", 1) = 1',
        '7 1.1 write(6</memfd:x (deleted)>, "x", 8) = 8',
        '7 1.1 write(8<anon_inode:[eventfd]>, "x", 8) = 8',
        '7 1.1 write(8</dev/null>, "x", 8) = 8',
        '7 1.1 openat(AT_FDCWD</w>, "/dev/tty", O_RDWR) = 9</dev/tty>',
        "100.00    0.000010           3         3         1 total",
        " > /usr/lib/libc.so.6(__write+0x10) [0xf8]",
        " | 00000  68 65 6c 6c 6f                                    hello            |",
        " * 14 bytes in buffer 0",
        "7 1.1 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=8} ---",
        "7 1.1 --- stopped by SIGSTOP ---",
        "7 1.1 +++ killed by SIGKILL (core dumped) +++",
        "7 1.1 +++ superseded by execve in pid 8 +++",
        "7 1.1 exit_group(0)                     = ?",
        "7 1.1 futex(0x7f, FUTEX_WAIT, 0, NULL) = ? ERESTARTSYS (To be restarted if SA_RESTART)",
        '7 1.1 unlink("/x") = -1 EPERM (Operation not permitted) (INJECTED)',
        '7 1.1 unlink("/x") = 0 (INJECTED)',
        "7 1.1 umask(022)                        = 022",
        "7 1.1 poll([{fd=3</a>, events=POLLIN}], 1, 0) = 1 ([{fd=3</a>, revents=POLLIN}]) <0.01>",
        "7 1.1 fcntl(3</a>, F_GETFL)             = 0x8001 (flags O_WRONLY|O_LARGEFILE)",
        "7 1.1 wait4(-1,  <unfinished ...>",
        "",
    ],
)
def test_a_line_that_changes_nothing_is_no_damage(log_path, harmless):
    lines = ['7 1.0 creat("/a", 0600) = 3</a>', harmless]
    assert import_strace(lines, log_path, "app").unreadable == 0
    assert incomplete(log_path) == ""
    assert rows(log_path) == {"/a": (1, 0, 1, 0, 0, 0, 1)}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("io_uring_setup(8, {flags=0}) = 4<anon_inode:[io_uring]>", "after io_uring_setup"),
        ('mount("/a", "/b", NULL, MS_BIND, NULL) = 0', "after mount"),
        ("setns(4</proc/8/ns/mnt>, 0) = 0", "after setns"),
        ('brand_new("/a", 3) = 0', "calls that are not known (brand_new)"),
        ("syscall_0x1d3(0x1, 0x2) = 0", "calls that are not known (syscall_0x1d3)"),
        ('write(9, "x", 1) = 1', "on a descriptor without its path"),
        ('unlink("/b" <unfinished ...>', "1 calls never returned (unlink)"),
        ('execve("/b", ["b"], 0x1 <detached ...>', "did not follow the program"),
        ('unlink("/x/y") = 0', "names pass through 1 places that may be symbolic links"),
    ],
)
def test_what_cannot_be_known_makes_the_log_incomplete(log_path, line, why):
    import_strace(['7 1.0 creat("/a", 0600) = 3</a>', f"7 1.1 {line}"], log_path, "app")
    assert why in incomplete(log_path)


def test_children_that_strace_did_not_follow(trace, log_path):
    output = trace("sh", "-c", "echo a > f; cat f > g", options=("-y", "-ttt"))
    import_strace(output, log_path, "app")
    assert "processes were started and not followed (strace -f)" in incomplete(log_path)


def test_the_output_on_standard_error_names_processes_late(trace, log_path):
    script = "echo a > f; cat f > g; (cd d; echo b > h; mv h i); mv f j"
    (trace.work / "d").mkdir()
    done = subprocess.run(
        ["strace", "-f", "-y", "sh", "-c", script],
        cwd=trace.work, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    import_strace(done.stderr.splitlines(), log_path, "app")
    changed = {path for path, row in rows(log_path).items() if row[2]}
    assert changed == {str(trace.work / name) for name in ("f", "g", "d/h", "d/i", "j")}
    assert incomplete(log_path) == ""


def test_the_files_of_several_processes_are_put_together(trace, log_path, tmp_path):
    program = "import os\nfor name in 'ab':\n  os.mkdir(name); os.chdir(name)\n"
    program += "  if not os.fork(): os.mkdir('m'); os._exit(0)\n  os.wait()\n"
    trace(sys.executable, "-I", "-S", "-c", program, options=("-ff", "-y", "-ttt"))
    parts = sorted(tmp_path.glob("trace.*"), reverse=True)
    assert len(parts) == 3
    import_strace(parts, log_path, "app")
    made = {path for path, row in looks(log_path).items() if row[0] == "directory" and row[4]}
    work = str(trace.work)
    assert {p.removeprefix(work) for p in made} == {"/a", "/a/m", "/a/b", "/a/b/m"}
    assert incomplete(log_path) == ""


def test_compressed_empty_and_binary_traces_are_refused(log_path, tmp_path):
    for content, why in [
        (b"\x1f\x8b\x08\0\0", "line 1: it is compressed; unpack it first"),
        (b"", "no system call"),
        (bytes(range(256)) * 100, "no system call"),
        ('7 1.0 creat("/a", 0600) = 3</a>\n'.encode("utf-16"), "no system call"),
    ]:
        (tmp_path / "t").write_bytes(content)
        with pytest.raises(ValueError, match=why):
            import_strace(tmp_path / "t", log_path, "app")
    assert not log_path.exists()
    (tmp_path / "t").write_bytes(b'7 1.0 creat("/a", 0600) = 3</a>\r\n')
    assert import_strace(tmp_path / "t", log_path, "app").unreadable == 0


LINES = {
    'renameat2(AT_FDCWD</w>, "a", AT_FDCWD</w>, "b", RENAME_EXCHANGE) = 0': {"a": 1, "b": 1},
    'rename("a", "a") = 0': {},
    'creat("a", 0600) = 3</w/a>': {"a": 1},
    'mknod("a", S_IFREG|0600) = 0': {"a": 1},
    'linkat(3</w/#12>(deleted), "", AT_FDCWD</w>, "a", AT_EMPTY_PATH) = 0': {"a": 1},
    'linkat(AT_FDCWD</w>, "/proc/self/fd/3", AT_FDCWD</w>, "a", AT_SYMLINK_FOLLOW) = 0': {"a": 1},
    'link("a", "b") = 0': {"b": 1},
    "fallocate(3</w/a>, 0, 0, 10) = 0": {"a": 1},
    'fchmodat(AT_FDCWD</w>, "a", 0600) = 0': {"a": 1},
    'utimensat(AT_FDCWD</w>, "a", NULL, 0) = 0': {"a": 1},
    "utimensat(3</w/a>, NULL, NULL, 0) = 0": {"a": 1},
    'fchownat(AT_FDCWD</w>, "a", 0, 0, AT_SYMLINK_NOFOLLOW) = 0': {"a": 1},
    'setxattr("a", "user.x", "1", 1, 0) = 0': {"a": 1},
    "ioctl(3</w/a>, BTRFS_IOC_CLONE or FICLONE, 4</w/b>) = 0": {"a": 1},
    "ioctl(3</w/a>, FS_IOC_SETFLAGS, [FS_IMMUTABLE_FL]) = 0": {"a": 1},
    'acct("a") = 0': {"a": 1},
    'openat2(AT_FDCWD</w>, "a", {flags=O_WRONLY|O_TRUNC, resolve=RESOLVE_BENEATH}, 24) = 3</w/a>': {
        "a": 1
    },
}


@pytest.mark.parametrize("line", LINES)
def test_calls_that_change_files(log_path, line):
    import_strace([f"7 1.0 {line}"], log_path, "app", cwd="/w")
    assert {path: row[6] for path, row in rows(log_path).items() if row[6]} == {
        f"/w/{name}": changes for name, changes in LINES[line].items()
    }


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("copy_file_range(4</w/b>, NULL, 3</w/a>, NULL, 9, 0) = 9", 9),
        ("sendfile(3</w/a>, 4</w/b>, NULL, 9) = 9", 9),
        ("splice(4<pipe:[1]>, NULL, 3</w/a>, NULL, 9, 0) = 9", 9),
        ("pwritev2(3</w/a>, [{iov_base=\"x\", iov_len=1}], 1, 0, 0) = 1", 1),
        (
            "io_submit(0x7f, 1, [{aio_data=0x1, aio_lio_opcode=IOCB_CMD_PWRITE, "
            'aio_fildes=3</w/a>, aio_buf="xx", aio_nbytes=2, aio_offset=0}]) = 1',
            2,
        ),
    ],
)  # fmt: skip
def test_calls_that_write(log_path, line, written):
    import_strace([f"7 1.0 {line}"], log_path, "app")
    assert rows(log_path)["/w/a"] == (0, 0, 1, 0, 1, written, 0)


def test_a_mapping_that_becomes_writable(log_path):
    lines = [
        "7 1.0 mmap(NULL, 8192, PROT_READ, MAP_SHARED, 3</w/a>, 0) = 0x7000",
        "7 1.0 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3</w/b>, 0) = 0x9000",
        "7 1.1 clone(child_stack=NULL, flags=SIGCHLD) = 8",
        "7 1.2 munmap(0x9000, 4096) = 0",
        "7 1.3 mprotect(0x9000, 4096, PROT_READ|PROT_WRITE) = 0",
        "8 1.4 mprotect(0x8000, 4096, PROT_READ|PROT_WRITE) = 0",
        "7 1.5 mmap(0x1000, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3</w/lib.so>, 0) = 0x1000",
    ]
    import_strace(lines, log_path, "app")
    assert rows(log_path) == {"/w/a": (0, 0, 1, 1, 0, 0, 0), "/w/lib.so": (0, 1, 0, 0, 0, 0, 0)}
    assert looks(log_path)["/w/lib.so"][3] == 1


def test_what_is_looked_at_and_listed(trace, log_path):
    (trace.work / "marker").touch()
    (trace.work / "d").mkdir()
    program = "import os; os.stat('marker'); os.access('d', os.R_OK); os.listdir('d'); os.stat('d')"
    import_strace(trace(sys.executable, "-I", "-S", "-c", program), log_path, "app")
    found = looks(log_path)
    assert found[str(trace.work / "marker")] == ("file", 1, 0, 0, 0)
    assert found[str(trace.work / "d")] == ("directory", 1, 1, 0, 0)
    assert str(trace.work / "marker") not in rows(log_path)


def test_names_of_one_file_that_the_trace_links_are_one(log_path):
    lines = [
        '7 1.0 creat("/w/a", 0600) = 3</w/a>',
        '7 1.1 link("/w/a", "/w/b") = 0',
        '7 1.2 rename("/w/b", "/w/c") = 0',
        '7 1.3 link("/w/a", "/w/d") = 0',
        '7 1.4 unlink("/w/d") = 0',
    ]
    import_strace(lines, log_path, "app")
    with closing(sqlite3.connect(log_path)) as connection:
        names = dict(connection.execute("SELECT path, identity FROM file"))
    assert names[b"/w/a"] == names[b"/w/c"] != 0
    assert names[b"/w/b"] == names[b"/w/d"] == 0


def test_an_open_that_is_known_to_make_its_file_changes_nothing(log_path):
    lines = [
        '7 1.0 unlink("/w/a") = 0',
        '7 1.1 openat(AT_FDCWD</w>, "a", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</w/a>',
        '7 1.2 openat(AT_FDCWD</w>, "a", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</w/a>',
        '7 1.3 mkdir("/w/d", 0777) = 0',
        '7 1.4 creat("/w/d/b", 0666) = 3</w/d/b>',
        '7 1.5 creat("/w/d/b", 0666) = 3</w/d/b>',
        '7 1.6 rename("/w/d", "/w/e") = 0',
        '7 1.7 mkdir("/w/d", 0777) = 0',
        '7 1.8 creat("/w/d/b", 0666) = 3</w/d/b>',
        '7 1.9 creat("/w/e/c", 0666) = 3</w/e/c>',
    ]
    import_strace(lines, log_path, "app")
    changes = {path: row[6] for path, row in rows(log_path).items()}
    assert changes == {"/w/a": 2, "/w/d/b": 2, "/w/e/b": 1, "/w/e/c": 1}


def test_an_interrupted_import_leaves_the_log_as_it_was(log_path):
    import_strace(['7 1.0 creat("/a", 0600) = 3</a>'], log_path, "one")
    before = log_path.read_bytes()
    command = [sys.executable, "-m", "precopy", "import-strace", "-", "--app", "two"]
    for log in (log_path, log_path.with_name("new.db")):
        with subprocess.Popen(
            [*command, "--log", log], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running:
            # More than the pipe and every buffer hold: it has read some of it by then.
            running.stdin.write(b'7 1.0 creat("/b", 0600) = 3</b>\n' * 4_000)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
        assert running.returncode == 130
        assert said == b"precopy import-strace: interrupted\n"
    assert log_path.read_bytes() == before
    assert not log_path.with_name("new.db").exists()
    assert sorted(os.listdir(log_path.parent)) == [log_path.name]


def test_descriptors_are_replayed_where_strace_does_not_show_them(log_path):
    lines = [
        '1 1.0 openat(AT_FDCWD, "a", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3',
        '1 1.0 openat(AT_FDCWD, "b", O_RDWR|O_CREAT, 0600) = 4',
        "1 1.1 dup2(3, 9) = 9",
        "1 1.1 fcntl(4, F_DUPFD_CLOEXEC, 10) = 10",
        "1 1.1 pipe2([5, 6], O_CLOEXEC) = 0",
        "1 1.1 socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 7",
        '1 1.2 write(6, "x", 1) = 1',
        '1 1.2 write(7, "x", 1) = 1',
        "1 1.3 clone(child_stack=NULL, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 2",
        "1 1.3 clone(child_stack=NULL, flags=SIGCHLD) = 3",
        "1 1.4 close(4) = 0",
        '2 1.5 openat(AT_FDCWD, "c", O_RDWR|O_CREAT, 0600) = 4',
        '1 1.6 write(4, "12", 2) = 2',
        '3 1.6 write(4, "123", 3) = 3',
        '3 1.7 execve("/bin/cat", ["cat"], 0x1) = 0',
        '3 1.8 write(9, "1234", 4) = 4',
        '3 1.8 openat(AT_FDCWD, "d", O_RDWR|O_CREAT, 0600) = 3',
        '3 1.8 openat(AT_FDCWD, "e", O_RDWR|O_CREAT, 0600) = 10',
        '3 1.9 write(10, "12345", 5) = 5',
        "3 2.0 ioctl(10, FIOCLEX) = 0",
        "3 2.1 fcntl(3, F_SETFD, FD_CLOEXEC) = 0",
        '3 2.2 execve("/bin/cat", ["cat"], 0x1) = 0',
        '3 2.3 openat(AT_FDCWD, "f", O_RDWR|O_CREAT, 0600) = 3',
        "3 2.4 close_range(3, 4294967295, 0) = 0",
        '3 2.5 mkdirat(AT_FDCWD, "sub", 0700) = 0',
        '3 2.6 openat(AT_FDCWD, "sub", O_RDONLY|O_DIRECTORY) = 3',
        "3 2.7 fchdir(3) = 0",
        '3 2.8 unlinkat(3, "gone", 0) = 0',
        '3 2.9 unlink("too") = 0',
    ]
    import_strace(lines, log_path, "app", cwd="/w")
    found = {path.removeprefix("/w/"): row[4:6] for path, row in rows(log_path).items()}
    sizes = {"a": (1, 4), "b": (1, 3), "c": (1, 2), "d": (0, 0), "e": (1, 5), "f": (0, 0)}
    assert {path: found[path] for path in sizes} == sizes
    assert {"sub/gone", "sub/too"} <= set(found)
    reason = incomplete(log_path)
    assert "symbolic links" in reason
    assert "descriptor" not in reason
    unknown = log_path.with_name("unknown.db")
    received = "1 3.0 recvmsg(7, {msg_control=[{cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, "
    received += "cmsg_data=[8]}], msg_flags=0}, 0) = 1"
    import_strace(
        [*lines[:3], "1 2.9 dup2(3, 8) = 8", received, '1 3.1 write(8, "x", 1) = 1',
         '1 3.2 write(2, "x", 1) = 1'],
        unknown, "app", cwd="/w",
    )  # fmt: skip
    assert "2 calls on a descriptor without its path (use strace -y)" in incomplete(unknown)
    assert rows(unknown)["/w/a"][4] == 0


def test_the_commonest_flags_tell_the_names_and_that_the_writes_are_missing(trace, log_path):
    script = "echo a > f; cat f > g; mv g h"
    output = trace("bash", "-c", script, options=("-f", "-ttt", "-e", "trace=file"))
    import_strace(output, log_path, "app", cwd=trace.work)
    changed = {path for path, row in rows(log_path).items() if row[2]}
    assert changed == {str(trace.work / name) for name in "fgh"}
    assert "opens a descriptor that was open: calls are missing" in incomplete(log_path)
    shown = log_path.with_name("shown.db")
    output = trace("bash", "-c", script, options=("-f", "-y", "-ttt", "-e", "trace=file"))
    import_strace(output, shown, "app")
    assert "calls are missing, as after strace -e trace=file" in incomplete(shown)


def test_memory_does_not_grow_with_the_length_of_a_trace(tmp_path):
    def lines(count):
        for number in range(count):
            name = f"/w/{number % 50}"
            yield f'{number % 9} 1.5 openat(AT_FDCWD</w>, "{name}", O_RDWR) = 3<{name}>'
            yield f'{number % 9} 1.5 write(3<{name}>, "xxxxxxxxxxxxxxxxxxxxxxxx"..., 99) = 99'
            yield f"{number % 9} 1.5 close(3<{name}>) = 0"

    peaks = []
    for count in (300, 2_000):
        tracemalloc.start()
        import_strace(lines(count), tmp_path / f"{count}.db", "app")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


FORMS = {
    "pids": ["7<b[a>sh]> 1.0 {open} = 3</w/a>", "7<bash> 1.1 {write} = 1"],
    "pids in brackets": ["[pid     7<b[a>]>] 1.0 {open} = 3</w/a>", "[pid 7] 1.1 {write} = 1"],
    "numbers": ["7 1.0 [ 257] {open} = 3</w/a>", "7 1.1 [   1] {write} = 1"],
    "pointers": ["7 1.0 [00007f12] {open} = 3</w/a>", "7 1.1 [????????] {write} = 1"],
    "both stamps": ["7 1.0 (+     0.000000) {open} = 3</w/a>", "7 1.1 (+   0.1) {write} = 1"],
    "security": [
        '7 [user_t] 1.0 openat(AT_FDCWD</w> [tmp_t], "a" [u:r:t:s0], O_WRONLY) = 3</w/a> [tmp_t]',
        '7 [user_t] 1.1 write(3</w/a> [tmp_t], "x", 1) = 1',
    ],
    "deleted": ["7 1.0 {open} = 3</w/a>(deleted)", '7 1.1 write(3</w/a>(deleted), "x", 1) = 1'],
    "deleted inside": ["7 1.0 {open} = 3</w/a>", '7 1.1 write(3</w/a (deleted)>, "x", 1) = 1'],
    "exec of a thread": [
        "7 1.0 {open} = 3</w/a>",
        '8 1.0 execve("/bin/x", ["x"], 0x1 /* 1 var */ <unfinished ...>',
        "7 1.0 +++ superseded by execve in pid 8 +++",
        "7 1.0 <... execve resumed>) = 0",
        "7 1.1 {write} = 1",
    ],
    "never back": [
        "7 1.0 {open} = 3</w/a>",
        '7 1.1 write(3</w/a>, "x", 1) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)',
        "7 1.1 --- SIGINT {si_signo=SIGINT} ---",
        "7 1.1 {write} = 1",
        "7 1.1 epoll_wait(3<anon_inode:[eventpoll]>,  <detached ...>",
    ],
    "hexadecimal": [
        r'7 1.0 openat(AT_FDCWD<\x2f\x77>, "\x61", O_WRONLY) = 3<\x2f\x77\x2f\x61>',
        r'7 1.1 write(3<\x2f\x77\x2f\x61>, "\x78", 1) = 1',
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_lines_of_other_flags_and_versions(log_path, form):
    lines = [
        line.replace("{open}", 'openat(AT_FDCWD</w>, "a", O_WRONLY)').replace(
            "{write}", 'write(3</w/a>, "x", 1)'
        )
        for line in FORMS[form]
    ]
    import_strace(lines, log_path, "app")
    assert rows(log_path) == {"/w/a": (1, 0, 1, 0, 1, 1, 0)}
    assert incomplete(log_path) == ""


def test_a_name_that_nobody_escaped_is_damage_and_one_that_ends_like_a_dead_one_is_not(log_path):
    lines = [
        '7 1.0 openat(AT_FDCWD</w>, "a (deleted)", O_WRONLY) = 3</w/a (deleted)>',
        '7 1.1 write(3</w/a (deleted)>, "x", 1) = 1',
        '7 1.2 write(4</w/b>c>, "x", 1) = 1',
    ]
    assert import_strace(lines, log_path, "app").unreadable == 1
    assert rows(log_path) == {"/w/a (deleted)": (1, 0, 1, 0, 1, 1, 0)}


def test_exec_closes_what_it_was_told_to_close(log_path):
    lines = [
        '7 1.0 openat(AT_FDCWD, "kept", O_WRONLY) = 3',
        '7 1.1 openat(AT_FDCWD, "closed", O_WRONLY|O_CLOEXEC) = 4',
        '7 1.2 execve("/bin/x", ["x"], 0x1 /* 1 var */) = 0',
        '7 1.3 write(3, "x", 1) = 1',
        '7 1.4 write(4, "x", 1) = 1',
    ]
    import_strace(lines, log_path, "app", cwd="/w")
    written = {path: row[4] for path, row in rows(log_path).items()}
    assert (written["/w/kept"], written["/w/closed"]) == (1, 0)
    assert "1 calls on a descriptor without its path" in incomplete(log_path)


def test_exchanged_directories_keep_what_is_in_both(log_path):
    lines = [
        '7 1.0 openat(AT_FDCWD</w>, "x/f", O_WRONLY) = 3</w/x/f>',
        '7 1.1 openat(AT_FDCWD</w>, "y/g", O_WRONLY) = 4</w/y/g>',
        "7 1.2 close(3</w/x/f>) = 0",
        "7 1.3 close(4</w/y/g>) = 0",
        '7 1.4 renameat2(AT_FDCWD</w>, "x", AT_FDCWD</w>, "y", RENAME_EXCHANGE) = 0',
    ]
    import_strace(lines, log_path, "app")
    assert {"/w/x/g", "/w/y/f"} <= set(rows(log_path))


def test_a_file_that_ends_in_mid_line_is_not_whole(log_path, tmp_path):
    whole = '7 1.0 creat("/w/a", 0600) = 3</w/a>\n7 1.1 creat("/w/b", 0600) = 4</w/b>\n'
    cut = tmp_path / "cut"
    cut.write_text(whole[:-1])
    import_strace(cut, log_path, "app")
    assert "1 lines" in incomplete(log_path)
    other = log_path.with_name("other.db")
    cut.write_text(whole)
    import_strace(cut, other, "app")
    assert incomplete(other) == ""
