"""The commands as a user runs them: record and track with real programs, and their help."""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from access.graphs import make_log

from precopy.access import AccessLog, identify
from precopy.access.cli import add_commands
from precopy.cli import main

MAIN = """
import argparse, sys
from precopy.access.cli import add_commands
parser = argparse.ArgumentParser(prog="precopy")
add_commands(parser.add_subparsers(dest="command", required=True))
args = parser.parse_args()
assert args.command == sys.argv[1]
sys.exit(args.run(args))
"""


def precopy(*argv, **options):
    if "cwd" in options:  # a shell looks at the directory that PWD names
        options["env"] = dict(os.environ) | {"PWD": str(options["cwd"])}
    return subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, argv)],
        capture_output=True,
        timeout=120,
        check=False,
        **options,
    )


def test_record_then_identify(tmp_path):
    done = precopy(
        "record", "--app", "AP1", "--", "sh", "-c", "echo out; echo x > A; exit 3", cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"")
    done = precopy("identify", "AP1", "--format", "paths", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/A\n".encode(), b"")
    done = precopy("identify", "AP1", "--audit", cwd=tmp_path)
    assert b"1 of 1 changed files reported (100.0%)\n" in done.stdout


def test_record_passes_on_how_the_command_died(tmp_path):
    done = precopy("record", "--app", "x", "--", "sh", "-c", "kill -9 $$", cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL


def test_what_cannot_be_started_leaves_the_log_as_it_was(tmp_path):
    """A shell tells them apart: 127 is not found, 126 cannot be executed."""
    (tmp_path / "data").mkdir()
    for name, head in (("lost", "#!/nope/sh"), ("plain", "x"), ("folder", f"#!{tmp_path}/data")):
        (tmp_path / name).write_text(head + "\n")
        (tmp_path / name).chmod(0o644 if name == "plain" else 0o755)
    refused = {"./data": 126, "./plain": 126, "./folder": 126, "./lost": 127, "/nope": 127}
    for command, status in refused.items():
        done = precopy("record", "--app", "bad", "--", command, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (status, b"")
        assert done.stderr.startswith(b"precopy record: error: command: ")
        assert command.encode() in done.stderr
    assert not list(tmp_path.glob("access.db*"))


def test_what_the_kernel_refuses_leaves_the_log_complete(tmp_path):
    """A loop of interpreters that is longer than the kernel goes: only trying it tells."""
    for number in range(9):
        script = tmp_path / f"{number}"
        script.write_text(f"#!{tmp_path}/{number + 1}\n")
        script.chmod(0o755)
    done = precopy("record", "--app", "bad", "--", "./0", cwd=tmp_path)
    assert done.returncode == 126
    with AccessLog(tmp_path / "access.db") as log:
        assert log.complete


def test_record_gives_the_command_its_own_options(tmp_path):
    log = tmp_path / "x.db"
    command = ["printf", "%s|", "--log", "--", "-h"]
    done = precopy("record", "--app", "x", "--log", log, "--history", "60", "--", *command)
    assert (done.returncode, done.stdout) == (0, b"--log|--|-h|")
    with AccessLog(log) as opened:
        assert opened.complete


def test_track_keeps_a_log_for_programs_started_by_others(tmp_path):
    (tmp_path / "A").touch()
    log = tmp_path / "name with spaces.db"
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "track", "--log", log],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tracker:
        try:
            assert "start an application" in tracker.stdout.readline()
            words = shlex.split(tracker.stdout.readline())
            assert (words[0], words[-1]) == ("env", "COMMAND")
            for app, script in (("AP1", "echo x > A"), ("AP2", "cat A > C"), ("AP3", "echo > D")):
                line = [word.replace("NAME", app) for word in words[:-1]]
                subprocess.run([*line, "sh", "-c", script], cwd=tmp_path, check=True, timeout=60)
            tracker.send_signal(signal.SIGTERM)
            assert tracker.wait(60) == 0
        finally:
            tracker.kill()
    found = identify(log, "AP1")
    assert found.applications == ["AP1", "AP2"]
    assert found.files == [str(tmp_path / "A"), str(tmp_path / "C")]


@pytest.mark.parametrize("name", ["record", "track", "identify", "import", "import-strace"])
def test_every_command_explains_itself(name, capsys):
    parser = argparse.ArgumentParser(prog="precopy")
    add_commands(parser.add_subparsers())
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args([name, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    options = re.findall(r"^  (--[a-z-]+|-0, --null|--null, -0)", text, re.MULTILINE)
    assert "--log" in options
    lines = text.splitlines()
    for option in options:  # every option says what it is for
        index = next(i for i, line in enumerate(lines) if line.strip().startswith(option))
        described = re.split(r"\s{2,}", lines[index].strip())[1:] or lines[index + 1].split()
        assert described, option


MEANS_NOTHING = {
    "identify x -0": "--null: expected it with --format paths only",
    "identify x --format json --directories": "--directories: expected it with --format paths only",
    "identify x --format paths -0 --explain x": "--null: expected it with --format paths only",
    "identify x --audit-watch 1": "--audit-watch: expected it with --audit only",
    "identify x --audit-root /": "--audit-root: expected it with --audit only",
    "identify x --list-excluded": "--list-excluded: got 'x' beside it, expected no target",
    "identify x --picture x.gif2": "picture: got 'x.gif2', expected one of these endings: .dot, ",
    "identify x --picture x": "picture: got 'x', expected one of these endings: .dot, ",
    "identify x --picture=": "picture: got '', expected one of these endings: .dot, ",
    "identify x --picture /nope/x.png": "picture: '/nope' is not a directory",
    "identify x --picture /nope/x.dot": "picture: '/nope' is not a directory",
    "import-strace --cwd rel --app x f": "--cwd: got 'rel', expected an absolute path",
    "import-strace --app x f f": "TRACE: 'f' is given twice",
    "import-strace --app x f": "TRACE 'f': no system call in it",
    "import-strace --app x f g": "TRACE 'f' and others: no system call in it",
}


@pytest.mark.parametrize("line", MEANS_NOTHING)
def test_what_means_nothing_is_refused(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("")
    (tmp_path / "g").write_text("")
    (tmp_path / "log").mkdir()
    log = make_log(tmp_path / "log" / "access.db", {"x": {"/srv/x": "w"}})
    assert main([*line.split(), "--log", str(log)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {MEANS_NOTHING[line]}" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("record", "the following arguments are required: --app, COMMAND"),
        ("record --app x", "the following arguments are required: COMMAND"),
        (
            "record --history x --app x ls",
            "argument --history: got x, expected a positive number of seconds",
        ),
        ("identify x --audi", "unrecognized arguments: --audi"),
    ],
)
def test_a_wrong_command_line_is_told_in_the_words_of_its_usage(line, message, capsys):
    with pytest.raises(SystemExit):
        main(line.split())
    err = capsys.readouterr().err
    assert err.startswith(f"usage: precopy {line.split()[0]} ")
    assert err.endswith(f"precopy {line.split()[0]}: error: {message}\n")


def test_the_pieces_of_paths_are_never_run(tmp_path):
    """A file name that looks like shell commands comes through recording and output unchanged."""
    name = "$(touch pwned);`touch pwned`'\""
    done = precopy("record", "--app", name, "--", "touch", name, cwd=tmp_path)
    assert done.returncode == 0
    done = precopy("identify", name, "--format", "paths", "-0", "--picture", "x.dot", cwd=tmp_path)
    assert done.stdout == os.fsencode(tmp_path / name) + b"\0"
    assert not (tmp_path / "pwned").exists()
