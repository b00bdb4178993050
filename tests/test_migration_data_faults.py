"""Changes that are easy to miss: whatever a program did last, the destination has it.

`migration/hostile.py` changes files in a dozen ways, each file last at another moment of the
migration; when it stands still, the destination must equal the source in everything.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from migration import compare, hostile
from migration.moving import Moved, migrate, place
from migration.services import Log, alive, descendants, wait_for

GROUPS = {
    "times": ["Stores", "SameSecond", "LongAgo", "Sizes"],
    "names": ["Swaps", "Renames", "HardLinks", "Deleted", "Special", "Names"],
    "rest": ["Holes", "Attributes", "Born"],
}


@contextlib.contextmanager
def writing(base: Path, *kinds: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the hostile program in ``base/source``."""
    source, ready = base / "source", base / "ready"
    source.mkdir()
    command = [sys.executable, "-I", "-S", os.fspath(Path(hostile.__file__))]
    with (base / "hostile.err").open("wb") as errors:
        process = subprocess.Popen(
            [*command, os.fspath(source), os.fspath(ready), *kinds],
            stdin=subprocess.DEVNULL,
            stderr=errors,
        )
    threading.Thread(target=process.wait, daemon=True).start()
    try:
        wait_for(lambda: ready.exists() or not alive(process.pid), "files to be prepared")
        yield process
        assert not (base / "hostile.err").read_text(), (base / "hostile.err").read_text()
    finally:
        for pid in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def arrived(base: Path, moved: Moved) -> list[str]:
    """Return how the destination differs from the source, which stands still."""
    assert moved.status == 0, moved.errors
    assert moved.report["verified"] is True
    return compare.differences(base / "source", base / "target" / str(base / "source")[1:])


@pytest.mark.parametrize("granularity", ["block", "file"])
@pytest.mark.parametrize(("group", "memory"), [*((g, False) for g in GROUPS), ("times", True)])
def test_nothing_that_was_changed_is_missed(group: str, memory: bool, granularity: str) -> None:
    with place(memory=memory) as base, writing(base, *GROUPS[group]) as process:
        options = ["--granularity", granularity, "--cycle-seconds", "0.2", "--until", "cycles(6)"]
        options += ["--max-downtime", "600"]
        moved = migrate([base / "source"], base / "target", *options, scratch=base,
                        pids=[process.pid])  # fmt: skip
        assert arrived(base, moved) == []
        assert not alive(process.pid)


def test_a_program_that_writes_faster_than_the_link_is_moved_and_told() -> None:
    with place() as base, writing(base, "Fast") as process:
        # About ten megabytes a second are written.
        moved = migrate([base / "source"], base / "target", "--bandwidth", "1MB",
                        "--cycle-seconds", "0.3", scratch=base, pids=[process.pid])  # fmt: skip
        assert arrived(base, moved) == []
        notes = [note for note in moved.report["notes"] if "link cannot keep up" in note]
        assert notes, moved.report["notes"]


def still(base: Path) -> Path:
    """Make a tree with everything that is hard to copy, which nobody writes."""
    source = base / "source"
    source.mkdir()
    for number in range(3):
        (source / f"file{number}").write_bytes(hostile.filled(number))
    os.utime(source / "file0", ns=(1, 987654321))
    os.utime(source / "file1", ns=(5, -1_500_000_001))
    (source / "file2").chmod(0o4711)
    os.link(source / "file0", source / "same as file0")
    (source / "empty").write_bytes(b"")
    with (source / "sparse").open("wb") as file:
        file.truncate(50 << 20)
        file.seek(30 << 20)
        file.write(b"here")
    (source / "all hole").touch()
    os.truncate(source / "all hole", 10 << 20)
    for name in (b"new\nline", b"-rf", b"\xff\xfe", b" ", b"$(touch x)", b"n" * 255):
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(name)
    deep = source / "/".join(["deep"] * 40)
    deep.mkdir(parents=True)
    (deep / "down").write_bytes(b"down")
    (source / "empty directory").mkdir()
    os.symlink("nowhere", source / "dangling")
    os.symlink(os.fspath(source / "file0"), source / "absolute")
    os.symlink("deep", source / "to directory")
    os.symlink(b"\xff\n", os.fsencode(source) + b"/odd link")
    os.link(source / "dangling", source / "same as dangling", follow_symlinks=False)
    os.mkfifo(source / "pipe", 0o620)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.fspath(source / "socket"))
    os.setxattr(source / "file1", "user.kind", b"odd\0value")
    subprocess.run(["setfacl", "-m", "u:12345:rw", source / "file1"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "g:54321:rx", source / "deep"], check=True)
    if os.getuid() == 0:
        os.chown(source / "file0", 1234, 4321)
        os.chown(source / "dangling", 1234, 4321, follow_symlinks=False)
    os.utime(source / "dangling", ns=(7, 7), follow_symlinks=False)
    for directory in (source / "deep/deep", source / "empty directory", source):
        os.utime(directory, ns=(11, 123_456_789))
    (source / "empty directory").chmod(0o1500)
    return source


@pytest.mark.parametrize("granularity", ["block", "file"])
def test_everything_a_tree_can_hold_arrives(granularity: str) -> None:
    with place() as base:
        source = still(base)
        moved = migrate([source], base / "target", "--granularity", granularity,
                        "--until", "cycles(1)", scratch=base)  # fmt: skip
        assert arrived(base, moved) == []
        # What does not move is named.
        assert str(source / "socket") in moved.errors + str(moved.report)


def test_a_program_that_ends_by_itself_is_told_and_moved_by_the_next_run() -> None:
    with place() as base, Log(base / "outside") as service:
        service.start(base / "source")
        destination = base / "target" / str(base / "source")[1:]

        def end() -> None:
            wait_for((destination / "service.log").exists, "the first copy")
            os.kill(service.pid, signal.SIGTERM)

        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        moved = migrate([base / "source"], base / "target", "--until", "cycles(4)",
                        "--cycle-seconds", "0.5", scratch=base, pids=[service.pid])  # fmt: skip
        ending.join()
        assert moved.status != 0
        assert "have ended" in moved.errors
        assert "--stop true" in moved.errors
        moved = migrate([base / "source"], base / "target", "--until", "cycles(1)", scratch=base)
        assert arrived(base, moved) == []
        service.check(destination)


def test_a_link_planted_at_the_destination_leads_nowhere() -> None:
    """Somebody else may write at the destination: nothing of ours goes where he points."""
    with place() as base, Log(base / "outside") as service:
        service.start(base / "source")
        destination = base / "target" / str(base / "source")[1:]
        trap = base / "trap"
        trap.mkdir()

        def plant() -> None:
            while not (destination / "service.log").exists():
                time.sleep(0.001)
            destination.rename(destination.with_name("aside"))
            destination.symlink_to(trap)

        planting = threading.Thread(target=plant, daemon=True)
        planting.start()
        moved = migrate([base / "source"], base / "target", "--until", "cycles(8)",
                        "--cycle-seconds", "0.2", scratch=base, pids=[service.pid])  # fmt: skip
        planting.join(10)
        assert destination.is_symlink()
        assert list(trap.iterdir()) == []
        assert moved.status != 0
        assert "Traceback" not in moved.errors
        assert str(destination) in moved.errors
        # And it goes on as if nothing had been.
        before = service.acknowledged()
        wait_for(lambda: service.acknowledged() > before + 5, "the service to go on")
