"""The audit: files that really changed against files that were reported."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from precopy.access import AccessLog, audit, identify, import_strace, record
from precopy.access.audit import listen
from precopy.access.cli import add_commands
from precopy.access.fanotify import Watch


@pytest.fixture
def work(tmp_path):
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


@pytest.fixture
def traced(work, tmp_path):
    """Run a shell command in `work` and record it, as strace saw it, in the returned log."""
    if shutil.which("strace") is None:
        pytest.skip("strace not installed")
    log = tmp_path / "access.db"

    def run(command, app="traced"):
        trace = tmp_path / "trace"
        subprocess.run(
            ["strace", "-f", "-y", "-ttt", "-o", trace, "sh", "-c", command],
            cwd=work,
            check=True,
            timeout=60,
        )
        import_strace(trace, log, app)
        return log

    return run


def age(directory):
    """Let the kernel's clock pass over the files that were just made."""
    time.sleep(0.05)
    return directory


def names(paths):
    return [os.path.basename(path) for path in paths]


def test_what_was_reported_and_what_was_not(traced, work):
    (work / "untouched").write_text("x")
    (work / "read").write_text("x")
    age(work)
    since_ns = time.time_ns()
    log = traced("cat read > written; mkdir sub; echo x > sub/deep; mv sub/deep moved")
    found = audit(log, [work], since_ns)
    assert names(found.changed) == ["moved", "written"]
    assert found.unreported == []
    assert found.coverage == 1.0
    subprocess.run(["sh", "-c", "echo x >> read; echo y > sub/new"], cwd=work, check=True)
    found = audit(log, [work], since_ns)
    assert names(found.changed) == ["moved", "read", "new", "written"]
    assert found.unreported == [str(work / "read"), str(work / "sub" / "new")]
    assert found.coverage == 0.5
    assert str(found).splitlines() == [
        "2 of 4 changed files reported (50.0%)",
        f"changed, never reported: {work}/read",
        f"changed, never reported: {work}/sub/new",
    ]


def test_a_static_binary_is_found_by_the_audit_and_recorded_by_strace(work, tmp_path):
    """The monitor cannot see it, the audit says so, and the import of a trace is the remedy."""
    for tool in ("cc", "strace"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} not installed")
    source = tmp_path / "static.c"
    source.write_text(
        '#include <fcntl.h>\nint main(void) { return creat("by-static", 0600) < 0; }\n'
    )
    static, log, trace = (tmp_path / name for name in ("static", "access.db", "trace"))
    subprocess.run(["cc", "-static", "-o", static, source], check=True)
    record(["sh", "-c", f"echo x > by-shell; {static}"], app="app", log=log, cwd=work)
    found = audit(log, [work])
    assert names(found.changed) == ["by-shell", "by-static"]
    assert names(found.unreported) == ["by-static"]
    subprocess.run(["strace", "-f", "-y", "-ttt", "-o", trace, static], cwd=work, check=True)
    import_strace(trace, log, "app")
    assert audit(log, [work]).coverage == 1.0
    assert names(identify(log, "app").files) == ["by-shell", "by-static"]


def test_times_that_a_program_sets_back_do_not_hide_a_change(traced, work):
    log = traced("echo x > reported")
    age(work)
    since_ns = time.time_ns()
    (work / "backdated").write_text("x")
    os.utime(work / "backdated", (1, 1))
    assert names(audit(log, [work], since_ns).unreported) == ["backdated"]


def test_a_file_counts_under_any_of_its_names(traced, work):
    log = traced("echo x > one; ln one two")
    os.link(work / "one", work / "three")  # not reported, but the same file
    assert audit(log, [work], 0).unreported == []


def test_the_log_and_excluded_files_are_left_out(traced, work, tmp_path):
    log = traced("echo x > reported")
    (work / "cache").mkdir()
    (work / "cache" / "entry").write_text("x")
    with AccessLog(log) as opened:
        found = audit(opened, [tmp_path], 0, exclude=[str(work / "cache")])
        assert opened.applications() == ["traced"]
    assert str(log) not in found.changed
    assert names(found.unreported) == ["trace"]


def test_excluded_directories_are_not_searched_unless_a_part_is_kept(work, tmp_path):
    import_strace(["7 1.5 close(3) = 0"], tmp_path / "access.db", "app")
    for name in ("a/kept/x", "a/y", "b/z"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).touch()
    exclude = [f"{work}/a", f"!{work}/a/kept", f"{work}/b"]
    found = audit(tmp_path / "access.db", [work], 0, exclude=exclude)
    assert found.changed == [f"{work}/a/kept/x"]


def test_since_is_the_beginning_of_the_recording_by_default(work, tmp_path, traced):
    (work / "before").write_text("x")
    age(work)
    log = traced("echo x > during")
    (work / "after").write_text("x")
    found = audit(log, [work])
    assert names(found.changed) == ["after", "during"]
    with AccessLog(log) as opened:
        assert found.since_ns == opened.begin_ns == opened.accesses()["first_ns"].min()


def test_names_of_any_bytes(work, tmp_path):
    for name in (b"new\nline", b"inv\xff"):
        with open(os.path.join(os.fsencode(work), name), "wb"):
            pass
    import_strace([rf'7 1.5 creat("x", 0600) = 3<{work}/inv\377>'], tmp_path / "access.db", "app")
    found = audit(tmp_path / "access.db", [work], 0)
    assert found.unreported == [f"{work}/new\nline"]
    assert str(found).splitlines()[1] == rf"changed, never reported: {work}/new\nline"


def test_what_cannot_be_searched_is_said(work, tmp_path):
    import_strace(["7 1.5 close(3) = 0"], tmp_path / "access.db", "app")
    with tempfile.TemporaryDirectory() as public, AccessLog(tmp_path / "access.db") as log:
        os.chmod(public, 0o755)
        os.mkdir(os.path.join(public, "closed"), 0o000)
        user = os.geteuid()
        try:
            os.seteuid(65534 if user == 0 else user)  # root may read everything
            found = audit(log, [public], 0)
        finally:
            os.seteuid(user)
    assert found.unreadable == [os.path.join(public, "closed")]
    assert str(found).splitlines()[1] == f"could not be searched: {public}/closed"


def test_bad_roots_are_named(work, tmp_path):
    import_strace(["7 1.5 close(3) = 0"], tmp_path / "access.db", "app")
    with pytest.raises(ValueError, match="roots: got none"):
        audit(tmp_path / "access.db", [])
    with pytest.raises(NotADirectoryError, match=r"roots: .*access.db' is not a directory"):
        audit(tmp_path / "access.db", [tmp_path / "access.db"])
    assert audit(tmp_path / "access.db", [work]).coverage == 1.0


def run_identify(*argv):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(["identify", *map(str, argv)])
    return args.run(args)


def test_the_command_prints_it_below_the_table(traced, work, capsys):
    log = traced("echo x > reported")
    (work / "silent").write_text("x")
    assert run_identify("traced", "--log", log, "--audit") == 0
    out = capsys.readouterr().out
    assert f"Audit of {work}:\n1 of 2 changed files reported (50.0%)\n" in out
    assert f"changed, never reported: {work}/silent" in out
    picture = ("--picture", work / "picture.dot")
    options = ("--audit", "--audit-root", work, "--format", "paths", *picture)
    run_identify("traced", "--log", log, *options)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"{work}/reported"]
    assert "1 of 2 changed files" in captured.err


@pytest.fixture
def fanotify(work):
    """Skip where the kernel or the rights for fanotify are missing."""
    try:
        with Watch([work]):
            pass
    except OSError as error:
        pytest.skip(f"fanotify not available: {error}")


def test_fanotify_sees_what_is_gone_and_what_was_only_opened(fanotify, traced, work, tmp_path):
    (work / "config").write_text("x")
    outside = tmp_path / "outside"
    with Watch([work]) as watch:
        log = traced("echo x > reported; cat reported > /dev/null")
        subprocess.run(["sh", "-c", "echo x > temporary; rm temporary"], cwd=work, check=True)
        subprocess.run(["cat", "config"], cwd=work, check=True, stdout=subprocess.DEVNULL)
        outside.write_text("x")
    assert watch.written == {os.fsencode(work / name) for name in ("reported", "temporary")}
    assert watch.opened == {*watch.written, os.fsencode(work / "config")}
    assert not watch.overflowed
    since_ns = time.time_ns() + 10**12  # nothing is left to the scan
    found = audit(log, [work], since_ns, watch=watch)
    assert names(found.changed) == ["reported", "temporary"]
    assert names(found.unreported) == ["temporary"]
    assert names(found.unreported_opens) == ["config", "temporary"]


@pytest.mark.parametrize(
    "command",
    [
        [
            "sh",
            "-c",
            "cat config > a; cp a b; sed -i s/x/y/ b; mkdir d; tar cf d/t a b; sort -o a b",
        ],
        [
            sys.executable,
            "-c",
            "import json; json.dump([open('config').read()], open('o', 'w'))",
        ],
        ["git", "init", "-q", "."],
        ["sqlite3", "db", "pragma journal_mode=wal; create table t(a); insert into t values(1);"],
    ],
    ids=["shell", "python", "git", "sqlite3"],
)
def test_the_kernel_agrees_that_the_monitor_missed_nothing(fanotify, work, tmp_path, command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} not installed")
    (work / "config").write_text("x\n")
    age(work)
    with Watch([work]) as watch:
        record(command, app="app", log=tmp_path / "access.db", cwd=work)
    found = audit(tmp_path / "access.db", [work], watch=watch)
    assert len(found.changed) > 0
    assert found.unreported == []
    # Directories are opened as well, to be listed or synchronised, and are no files.
    assert [path for path in found.unreported_opens if not os.path.isdir(path)] == []


def test_fanotify_takes_thousands_of_files(fanotify, work):
    script = "for i in $(seq 3000); do : > file$i; done"
    with Watch([work]) as watch:
        subprocess.run(["bash", "-c", script], cwd=work, check=True)
    assert len(watch.written) == 3000


def test_listening_for_a_while(fanotify, work):
    with subprocess.Popen(
        ["bash", "-c", "for ((i = 0; ; i++)); do echo x > file; done"], cwd=work
    ) as busy:
        watch = listen([work], 0.3)
        busy.kill()
    assert watch.written == {os.fsencode(work / "file")}
