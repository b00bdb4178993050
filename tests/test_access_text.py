"""Names that a terminal or a reader would interpret, and logs that are damaged: one clear line."""

import os
import random
import shlex
import sqlite3
import subprocess
from contextlib import closing

import pytest

from precopy._text import printable, printable_lines
from precopy.access import AccessLog, audit, identify, schema
from precopy.access.cli import _quoted
from precopy.access.tracking.wire import LISTED, LOOKED, READ, WRITE
from precopy.cli import main

HOSTILE = "\x1b[31m\n\r\x07\u202e\u2028\u2066\x7f\x85\udcff\ud800\t"
SAFE = set("\n")


def assert_safe(text, lines=True):
    allowed = SAFE if lines else set()
    assert [letter for letter in text if not letter.isprintable() and letter not in allowed] == []


@pytest.fixture
def log(tmp_path):
    """A log in which every field that holds text holds hostile text."""
    path = tmp_path / "log" / "access.db"
    path.parent.mkdir()
    raw = b"\x1b[2J\n\r\x07\xe2\x80\xae\xe2\x80\xa8\xff"
    top = os.fsencode(tmp_path) + b"/srv" + raw
    os.makedirs(top + b"/d")
    for name in (b"/w", b"/unused1", b"/unused2", b"/d/entry"):
        with open(top + name, "wb"):
            pass
    os.symlink(b"w", top + b"/link")
    bits = (READ, WRITE, 4, LOOKED, LISTED, 128)
    with closing(schema.connect(path)) as connection:
        connection.execute("BEGIN")
        for app in ("a" + HOSTILE.replace("\udcff", "").replace("\ud800", ""), "b\x1b\u202e"):
            number = schema.application_id(connection, app)
            for name, kind, use in (
                (b"/w", "file", READ | WRITE),
                (b"/gone", "file", READ),
                (b"/link", "link", LOOKED),
                (b"/d", "directory", LISTED),
            ):
                (file,) = schema.file_ids(connection, [top + name])
                schema.describe_files(connection, [(file, kind, 0, 0)])
                flags = [int(use & bit != 0) for bit in bits]
                schema.add_accesses(connection, [(number, file, 1, *flags, 1, 1, 1, 1, 1)])
            schema.add_processes(connection, [(number, 7, 1, top + b"/program", 1, 2)])
        schema.mark_incomplete(connection, "reason\x1b[31m\u202e")
        connection.execute("COMMIT")
    return path


def test_printable_is_one_safe_line():
    assert printable(HOSTILE).isprintable()
    assert printable("plain ü 漢 name") == "plain ü 漢 name"
    assert printable_lines("a\nb\x1b") == "a\nb\\x1b"


def test_nothing_hostile_reaches_a_terminal(log, tmp_path, capsys):
    app = "b\x1b\u202e"
    top = os.fsdecode(os.fsencode(tmp_path) + b"/srv\x1b[2J\n\r\x07\xe2\x80\xae\xe2\x80\xa8\xff")
    base = ["identify", app, "--log", str(log)]
    for options in (
        [],
        ["--existing"],
        ["--share", "any"],
        ["--format", "json"],
        ["--explain", f"{top}/w"],
        ["--explain", f"{top}/d/entry"],
        ["--explain", "nowhere" + HOSTILE],
        ["--audit", "--audit-root", top],
        ["--audit", "--audit-root", "/nowhere" + HOSTILE],
        ["--root", top],
        ["--root", "/nowhere" + HOSTILE],
        ["--exclude", "relative" + HOSTILE],
        ["--format", "paths"],  # refused: newlines
        ["--picture", f"{tmp_path}/x.nonsense{HOSTILE}"],
    ):
        main([*base, *options])
        captured = capsys.readouterr()
        assert_safe(captured.out)
        assert_safe(captured.err)
        assert captured.out or captured.err
    main(["identify", "--list-excluded", "--exclude", "/x" + HOSTILE])
    assert_safe(capsys.readouterr().out)
    main(["identify", "unknown" + HOSTILE, "--log", str(log)])
    main(["identify", "x", "--log", f"{tmp_path}/none{HOSTILE}"])
    main(["import-strace", f"{tmp_path}/none{HOSTILE}", "--app", "x", "--log", str(log)])
    assert_safe(capsys.readouterr().err)


def test_nothing_hostile_in_what_shows_itself(log, tmp_path):
    with AccessLog(log) as opened:
        assert_safe(repr(opened), lines=False)
        assert_safe(opened._repr_html_())
    found = identify(log, "b\x1b\u202e")
    assert_safe(repr(found), lines=False)
    assert_safe(str(audit(log, [tmp_path], 0)))


def test_an_environment_that_is_shown_can_be_typed():
    for text in ("plain", "with space", "it's", "tab\there", "bell\x07'\\ \u202e"):
        shown = _quoted(text)
        assert shown.isprintable()
        typed = ["bash", "-c", f"printf %s {shown}"]
        assert subprocess.run(typed, check=True, capture_output=True).stdout.decode() == text
    assert _quoted("with space") == shlex.quote("with space")


# Logs that are none


def run_all(path, capsys):
    """Run what reads a log; return its error lines."""
    errors = []
    for options in ([], ["--format", "json"], ["--audit", "--audit-root", str(path.parent)]):
        status = main(["identify", "app", "--log", str(path), *options])
        err = capsys.readouterr().err
        assert status in (0, 2)
        assert "Traceback" not in err
        assert (status == 2) == ("error:" in err)
        errors.append(err)
    return errors


def make_small(path):
    with closing(schema.connect(path)) as log:
        log.execute("BEGIN")
        number = schema.application_id(log, "app")
        paths = [b"/srv/file-with-a-name/%d" % file for file in range(300)]
        for file in schema.file_ids(log, paths):
            schema.add_accesses(log, [(number, file, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1)])
            schema.add_write_buckets(log, [(file, number, 1, 1, 1, 0)])
        schema.add_processes(log, [(number, 7, 1, b"/srv/program", 1, 2)])
        log.execute("COMMIT")
        log.execute("PRAGMA journal_mode = DELETE")
    return path.read_bytes()


def test_a_damaged_log_is_one_line(tmp_path, capsys):
    """Bytes that turned, pieces that are missing: an answer or an error, never a traceback."""
    path = tmp_path / "access.db"
    whole = make_small(path)
    generator = random.Random(5)
    errors = 0
    for number in range(60):
        damaged = bytearray(whole)
        if number % 3 == 0:
            del damaged[generator.randrange(len(whole)) :]
        else:
            begin = generator.randrange(100 if number % 3 == 1 else len(whole))
            for place in range(begin, min(begin + 200, len(whole))):
                damaged[place] = generator.randrange(256)
        path.write_bytes(damaged)
        said = run_all(path, capsys)
        errors += any("error:" in line for line in said)
        assert all(line.count("\n") <= 2 for line in said)
        try:
            with AccessLog(path) as log:
                log.accesses()
                log.history("app", None)
        except (ValueError, OSError):
            pass
    assert errors > 10


def test_rows_that_refer_to_nothing_and_paths_that_are_none(tmp_path, capsys):
    path = tmp_path / "access.db"
    make_small(path)
    with closing(sqlite3.connect(path)) as log, log:
        log.execute("UPDATE access SET application_id = 99 WHERE file_id % 7 = 0")
        log.execute("UPDATE access SET file_id = 9999 WHERE file_id = 5")
        log.execute("UPDATE write_bucket SET file_id = 9999 WHERE file_id = 5")
        log.execute("UPDATE file SET path = 'text' WHERE id = 6")
        log.execute("UPDATE file SET path = x'2f0061' WHERE id = 8")
        log.execute("UPDATE process SET command = x'2f0061'")
    assert run_all(path, capsys)[1] == ""
    with AccessLog(path) as log:
        assert log.history("app", log.file_set("app", missing="empty")).sum() > 200


@pytest.mark.parametrize("kind", ["directory", "fifo", "text", "empty", "foreign", "old", "later"])
def test_what_is_no_log_is_one_line(tmp_path, capsys, kind):
    path = tmp_path / "access.db"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text("this is a text and no database at all\n" * 99)
    elif kind == "empty":
        path.touch()
    else:
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("CREATE TABLE customers (name)")
            version = {"foreign": 0, "old": 1, "later": 3}[kind]
            other.execute(f"PRAGMA user_version = {version}")
    for line in run_all(path, capsys):
        assert line.startswith("precopy identify: error: log: ")
        assert str(path) in line
        assert line.count("\n") == 1
