"""Stores into mapped files: what their time stamps show, and no call."""

import os
import sys
import threading
import time

import pytest

from precopy.access import AccessLog
from precopy.access.tracking.mapped import Mapped
from precopy.access.tracking.recording import record


@pytest.fixture
def mapped():
    """Mapped files that are looked at whenever they are asked."""
    return Mapped()


def later(path):
    """Make a file look as if something had been stored into it."""
    changed = os.stat(path).st_mtime_ns + 10**9
    os.utime(path, ns=(changed, changed))
    return changed


def test_a_newer_time_stamp_is_a_change(mapped, tmp_path):
    path = tmp_path / "shm"
    path.write_bytes(b"x" * 10)
    assert not mapped.due
    mapped.note(7, os.fsencode(path), 3)
    assert mapped.due
    assert mapped.look() == []
    changed = later(path)
    [found] = mapped.look()
    assert (found.file, found.app, found.at_ns, found.size_bytes) == (7, 3, changed, 10)
    assert mapped.look() == []
    assert not mapped.due  # for a second


def test_what_calls_have_written_is_no_change(mapped, tmp_path):
    path = tmp_path / "db"
    path.write_bytes(b"x")
    mapped.note(7, os.fsencode(path), 3)
    mapped.reported([5, 7])
    later(path)
    assert mapped.look() == []
    later(path)
    assert len(mapped.look()) == 1


def test_a_file_that_is_gone_is_looked_at_no_more(mapped, tmp_path):
    path = tmp_path / "db"
    path.write_bytes(b"x")
    mapped.note(7, os.fsencode(path), 3)
    path.unlink()
    assert mapped.look() == []
    assert not mapped.due
    path.write_bytes(b"another one")
    assert mapped.look() == []


def test_many_files_take_turns(mapped, tmp_path):
    paths = [tmp_path / f"{i}" for i in range(2500)]
    for number, path in enumerate(paths):
        path.write_bytes(b"")
        mapped.note(number, os.fsencode(path), 1)
        later(path)
    first, second = mapped.look(), mapped.look()
    assert len(first) == 2000
    assert {one.file for one in first} | {one.file for one in second} == set(range(2500))


PROGRAM = """
import mmap, os, sys
with open(sys.argv[1], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)
while not os.path.exists(sys.argv[2]):
    memory[0] = 1
"""


def test_recorded(tmp_path):
    """The tracker notices; here somebody else stamps the file, for not every file system does."""
    path, end, log = tmp_path / "file", tmp_path / "end", tmp_path / "a.db"
    path.write_bytes(bytes(4096))

    def stamp():
        while not end.exists():
            later(path)
            time.sleep(0.05)
            if log.exists() and changes() > 1:
                end.touch()

    def changes():
        with AccessLog(log) as opened:
            found = opened.query("SELECT sum(changes) FROM access WHERE mapped")
            return next(iter(found))[0] or 0

    thread = threading.Thread(target=stamp)
    thread.start()
    record([sys.executable, "-c", PROGRAM, os.fspath(path), os.fspath(end)], app="a", log=log)
    thread.join()
    with AccessLog(log) as opened:
        app = opened.recorded("a", roots=[tmp_path])
        number = [os.path.basename(one) for one in app.files.path].index("file")
        assert app.writes.count[app.writes.file_id == number].sum() >= 2
        assert app.files.size_bytes[number] == 4096
