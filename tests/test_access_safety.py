"""Who may do what to a log, and what is said of logs that are moved, damaged or cut off."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from access.truth import meta, query, uses

from precopy.access import schema
from precopy.access.tracking.live import LiveDirectory
from precopy.access.tracking.recording import record
from precopy.access.tracking.supervisor import KILLED, Supervisor

RECORD = [sys.executable, "-m", "precopy", "record", "--app", "x", "--log"]
OTHER = 65534


def run(log: Path, script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RECORD, str(log), "--", "sh", "-c", script],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir(mode=0o755)
    (tmp_path / "access.db-live").symlink_to(public)
    done = run(tmp_path / "access.db", "echo > f", tmp_path)
    assert done.returncode == 2
    assert "symbolic link" in done.stderr
    assert stat.S_IMODE(public.stat().st_mode) == 0o755
    assert list(public.iterdir()) == []
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("kind", ["directory", "device", "missing", "fifo", "long", "foreign"])
def test_an_unusable_log_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    log = {
        "directory": tmp_path, "device": Path("/dev/null"), "missing": tmp_path / "no" / "a.db",
        "fifo": tmp_path / "fifo", "long": tmp_path / ("x" * 250), "foreign": tmp_path / "other",
    }[kind]  # fmt: skip
    os.mkfifo(tmp_path / "fifo")
    foreign = sqlite3.connect(tmp_path / "other")
    foreign.execute("CREATE TABLE mine (x)")
    foreign.close()
    before = (tmp_path / "other").read_bytes()
    done = run(log, "echo > f", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "log" in done.stderr
    assert not (tmp_path / "f").exists()
    assert (tmp_path / "other").read_bytes() == before


@pytest.mark.parametrize("how", ["owner", "mode", "directory", "names", "trigger", "wal"])
def test_a_log_that_others_may_change_is_refused(how: str, tmp_path: Path) -> None:
    if os.geteuid() != 0 and how in ("owner", "wal"):
        pytest.skip("root only")
    shared = tmp_path / "shared"
    shared.mkdir()
    log = shared / "access.db"
    assert run(log, "true", tmp_path).returncode == 0
    if how == "owner":
        os.chown(log, OTHER, OTHER)
    elif how == "mode":
        log.chmod(0o666)
    elif how == "directory":
        shared.chmod(0o777)
    elif how == "names":
        os.link(log, tmp_path / "second.db")
    elif how == "trigger":
        connection = sqlite3.connect(log)
        connection.execute("CREATE TRIGGER t AFTER INSERT ON file BEGIN SELECT 1; END")
        connection.close()
    else:
        (shared / "access.db-wal").touch()
        os.chown(shared / "access.db-wal", OTHER, OTHER)
    done = run(log, "echo > secretname", tmp_path)
    assert done.returncode == 2
    assert not (tmp_path / "secretname").exists()


def test_a_link_is_the_log_that_it_means(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("real.db")
    assert LiveDirectory(tmp_path / "link.db").path == tmp_path / "real.db-live"
    assert run(tmp_path / "link.db", "echo > f", tmp_path).returncode == 0
    assert os.fsencode(tmp_path / "f") in uses(tmp_path / "real.db")


@pytest.mark.parametrize(
    "how", ["rm access.db*", "mv access.db old.db", "cp o.db n.db; mv n.db access.db"]
)
def test_a_log_that_is_taken_away_is_noticed(how: str, tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    how = how.replace("access.db*", "access.db access.db-wal access.db-shm")
    run(tmp_path / "o.db", "true", tmp_path)
    wait = "until [ -e access.db-wal ]; do sleep .1; done; sleep 1"
    script = f"echo > f1; {wait}; {how}; echo > f2; sleep 1"
    done = run(log, script, tmp_path)
    assert done.returncode == 0
    assert "moved, removed or replaced" in done.stderr
    assert os.fsencode(tmp_path / "f2") in uses(log)
    assert meta(log, "complete") == 0


def test_a_spill_file_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    run(log, "true", tmp_path)
    (tmp_path / "access.db-live" / "spill" / "1-1").mkdir()
    done = run(log, "echo > f", tmp_path)
    assert done.returncode == 0
    assert "spill/1-1" in done.stderr
    assert os.fsencode(tmp_path / "f") in uses(log)
    assert meta(log, "complete") == 0


def test_a_damaged_log_is_one_message_and_the_reports_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    run(log, "i=0; while [ $i -lt 1500 ]; do : > f$i; i=$((i+1)); done", tmp_path)
    with log.open("r+b") as file:
        for page in range(8, log.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    done = run(log, "echo > g", tmp_path)
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr
    assert "damaged" in done.stderr or "malformed" in done.stderr


def test_a_recording_that_was_killed_makes_the_log_incomplete(tmp_path: Path) -> None:
    """All of it is killed while the pipe holds what nobody has read."""
    log = tmp_path / "access.db"
    assert run(log, "true", tmp_path).returncode == 0
    live = LiveDirectory(log)
    connection = schema.connect(log)
    schema.set_meta(connection, "recording", "another-boot-0")
    connection.close()
    pipe = live.open_pipe()
    os.write(pipe, b"lost")
    os.close(pipe)
    assert run(log, "true", tmp_path).returncode == 0
    assert meta(log, "complete") == 0
    assert meta(log, "incomplete_reason") == KILLED
    assert meta(log, "recording") is None


def test_the_log_names_a_recording_while_it_is_at_work(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    with record(app="x", log=log) as recording:
        assert meta(log, "recording")
        assert LiveDirectory(log).is_at_work()
        subprocess.run(["true"], env=recording.env, check=True)
    assert meta(log, "recording") is None
    assert not LiveDirectory(log).is_at_work()


def test_of_two_recordings_the_last_one_takes_the_mark_away(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    first, second = Supervisor(log), Supervisor(log)
    assert first.finish()
    assert meta(log, "recording")
    assert second.finish()
    assert meta(log, "recording") is None
    assert meta(log, "complete") == 1


def test_two_recordings_that_end_at_once_end_both(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    recordings = [Supervisor(log) for _ in range(2)]
    ending = [threading.Thread(target=recording.finish) for recording in recordings]
    with LiveDirectory(log).door():  # where both come together
        for thread in ending:
            thread.start()
        time.sleep(1.5)
    for thread in ending:
        thread.join()
    assert meta(log, "recording") is None
    assert meta(log, "incomplete_reason") is None


def test_recordings_that_begin_at_once_share_one_log(tmp_path: Path) -> None:
    for turn in range(20):
        log = tmp_path / f"{turn}.db"
        found: list[str] = []

        def begin(log: Path = log, found: list[str] = found) -> None:
            schema.connect(log).close()
            live = LiveDirectory(log)
            live.create()
            found.append(live.id)

        threads = [threading.Thread(target=begin) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert len(set(found)) == 1


def test_a_log_that_is_locked_for_a_time_is_complete(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    with record(app="x", log=log) as recording:
        connection = sqlite3.connect(log, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        subprocess.run(["sh", "-c", "echo > f"], env=recording.env, cwd=tmp_path, check=True)
        time.sleep(1)
        connection.execute("ROLLBACK")
        connection.close()
    assert os.fsencode(tmp_path / "f") in uses(log)
    assert meta(log, "complete") == 1


def test_a_journal_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    run(log, "true", tmp_path)
    journal = tmp_path / "access.db-live" / "journal"
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(journal)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mount: not allowed to mount a tmpfs")
    try:
        with (journal / "ballast").open("wb", buffering=0) as file:
            file.write(bytes(16384))
        done = run(log, "for i in 1 2 3 4; do echo > f$i; done", tmp_path)
    finally:
        subprocess.run(["umount", str(journal)], check=True)
    assert done.returncode == 0
    assert query(log, "SELECT count(*) FROM file WHERE cast(path AS text) LIKE '%/f_'") == [(4,)]


def test_a_process_of_another_user_makes_a_tracked_log_incomplete(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root only")
    log = Path(f"/tmp/precopy-test-{os.getpid()}.db")  # where other users may come
    strangers = LiveDirectory(log).strangers
    try:
        with record(app="x", log=log) as recording:
            fd = os.open(strangers, os.O_WRONLY | os.O_NONBLOCK)
            assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o622
            os.write(fd, b"!")
            os.close(fd)
            subprocess.run(["true"], env=recording.env, check=True)
        assert meta(log, "complete") == 0
        assert "another user" in str(meta(log, "incomplete_reason"))
        assert not strangers.exists()
    finally:
        subprocess.run(["rm", "-rf", log, f"{log}-live"], check=True)
