"""The tracker under real faults: kills, missing pipes, full disks, hostile applications."""

from __future__ import annotations

import functools
import operator
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from access.truth import meta, query, until, uses
from hypothesis import given, settings
from hypothesis import strategies as st

from precopy.access import schema
from precopy.access.tracking import tracker, wire
from precopy.access.tracking.batch import Batch, find_file
from precopy.access.tracking.ingest import Ingest
from precopy.access.tracking.live import LiveDirectory
from precopy.access.tracking.recording import environment, record

HERE = Path(__file__).parent / "access"
EVERY_WRITE_A_RECORD = {"PRECOPY_INTERVAL_MS": "0"}


def compiled(source: str, directory: Path) -> str:
    if shutil.which("gcc") is None:
        pytest.skip("gcc not installed")
    program = directory / Path(source).stem
    subprocess.run(["gcc", "-O2", "-w", str(HERE / source), "-o", str(program)], check=True)
    return str(program)


def every_write_a_record() -> dict[str, str]:
    return dict(os.environ) | EVERY_WRITE_A_RECORD


def tracker_of(log: Path) -> int | None:
    """The pid of the tracker at work on a log, from its command line."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(log) in command and any(b"tracking.tracker" in part for part in command):
            return int(directory.name)
    return None


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


records = st.builds(
    wire.Record,
    kind=st.just(wire.ACCESS),
    app=st.sampled_from([b"a", b"b"]),
    path=st.one_of(st.sampled_from([b"/x", b"/y"]), st.binary(min_size=1, max_size=5000)),
    pid=st.integers(1, 3),
    use=st.integers(0, 255),
    opens=st.integers(0, 5),
    writes=st.integers(0, 5),
    changes=st.integers(0, 5),
    bytes_written=st.integers(0, 2**40),
    first_ns=st.integers(1, 10**9),
    last_ns=st.integers(10**9, 10**10),
    identity=st.just(0) | st.integers(0, 2**64 - 1),
)


NAMES = ("app", "use", "opens", "writes", "changes", "bytes_written", "first_ns", "last_ns",
         "identity")  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(records, max_size=30), st.integers(1, 200))
def test_a_batch_is_the_sum_of_its_records(sent: list[wire.Record], cut: int) -> None:
    data = b"".join(record.encode() for record in sent)
    assert list(wire.records(data)) == sent
    with Batch(10**9) as batch:
        taken = batch.add(data[: len(data) - min(cut, len(data))])
        assert batch.add(data[taken:]) == len(data) - taken
        assert (batch.records, batch.damaged) == (len(sent), 0)
        apps = [name.encode() for name in batch.apps()]
        accesses, paths = batch.accesses(), batch.paths()
        buckets = list(batch.buckets())
        rows = [{name: accesses[name][i] for name in NAMES} for i in range(len(accesses))]
    keys = {(record.app, record.path) for record in sent}
    assert {(apps[row["app"]], path) for row, path in zip(rows, paths, strict=True)} == keys
    assert len(rows) == len(keys)
    for index, (row, path) in enumerate(zip(rows, paths, strict=True)):
        mine = [r for r in sent if (r.app, r.path) == (apps[row["app"]], path)]
        for name in ("opens", "writes", "changes", "bytes_written"):
            assert row[name] == sum(getattr(r, name) for r in mine)
        assert (row["first_ns"], row["last_ns"]) == (
            min(r.first_ns for r in mine), max(r.last_ns for r in mine)
        )  # fmt: skip
        assert row["use"] == functools.reduce(operator.or_, (r.use for r in mine))
        told = [(r.last_ns, number, r.identity) for number, r in enumerate(mine) if r.identity]
        assert int(row["identity"]) % 2**64 == max(told, default=(0, 0, 0))[2]
        counted = [r for r in mine if r.writes or r.changes]
        of_row = {bucket: rest for access, bucket, *rest in buckets if access == index}
        assert of_row.keys() == {r.last_ns // 10**9 for r in counted}
        assert sum(rest[0] for rest in of_row.values()) == sum(r.writes for r in counted)


def test_names_that_were_told_of_together_are_rows_of_their_own() -> None:
    told = wire.Record(
        wire.TOLD, b"app", b"/dir/\0a\0\0b", pid=1, use=wire.LOOKED, first_ns=1, last_ns=2
    )
    nothing = wire.Record(wire.TOLD, b"app", b"/dir/", pid=1, use=wire.LOOKED, last_ns=2)
    last = wire.Record(wire.TOLD, b"app", b"/\0", pid=1, use=wire.READ, last_ns=2)
    with Batch(10**9) as batch:
        batch.add(told.encode() + nothing.encode() + last.encode())
        assert (batch.records, batch.damaged) == (3, 0)
        assert batch.paths() == [b"/dir/a", b"/dir/", b"/dir/b", b"/"]
        assert batch.accesses()["use"] == [wire.LOOKED] * 3 + [wire.READ]


def test_a_file_that_was_moved_is_two_rows_and_a_move() -> None:
    moved = wire.Record(
        wire.MOVED, b"app", b"/old\0/new", pid=1, use=wire.WRITE, changes=1, first_ns=4, last_ns=5,
        identity=9, born_ns=3, length=101,
    )  # fmt: skip
    linked = replace(moved, use=wire.WRITE | wire.LINKED, path=b"/new\0/more", last_ns=6, length=0)
    nothing = replace(moved, path=b"/old")
    with Batch(10**9) as batch:
        batch.add(moved.encode() + linked.encode() + nothing.encode())
        assert (batch.records, batch.damaged) == (3, 0)
        assert batch.paths() == [b"/old", b"/new", b"/more"]
        accesses = batch.accesses()
        assert list(batch.moves()) == [(0, 1, 5, 0, 101), (1, 2, 6, 1, 0)]
    assert accesses["changes"] == [1, 1, 1]
    assert accesses["identity"] == [0, 9, 9]
    assert accesses["born_ns"] == [0, 3, 3]


def test_a_batch_says_what_was_removed_last_and_how_large_files_are(tmp_path: Path) -> None:
    names = [os.fsencode(tmp_path / name) for name in ("there", "gone", "fifo", "again")]
    (tmp_path / "there").write_bytes(bytes(70))
    (tmp_path / "again").touch()
    os.mkfifo(tmp_path / "fifo")
    written = [
        wire.Record(wire.ACCESS, b"a", name, pid=1, use=wire.WRITE, writes=1, last_ns=4, length=8)
        for name in names
    ]
    removed = [
        wire.Record(
            wire.ACCESS, b"a", names[1], pid=1, use=wire.WRITE | wire.REMOVED, changes=1, last_ns=5
        ),
        wire.Record(
            wire.ACCESS, b"a", names[3], pid=1, use=wire.WRITE | wire.REMOVED, changes=1, last_ns=3
        ),
    ]
    with Batch(10**9) as batch:
        batch.add(b"".join(record.encode() for record in written + removed))
        assert batch.accesses()["looked_ns"] == [0] * 4
        began_ns = time.time_ns()
        batch.look()
        accesses, buckets = batch.accesses(), batch.buckets()
    assert accesses["size"] == [70, -1, -2, 0]
    assert min(accesses["looked_ns"]) >= began_ns
    assert accesses["length"] == [8] * 4
    assert accesses["born_ns"][0] == find_file(names[0])[1]
    assert buckets["last_ns"] == [4, 5, 4, 4]
    assert buckets["removed_ns"] == [0, 5, 0, 3]


def test_records_of_another_version_are_skipped_and_the_log_says_so(tmp_path: Path) -> None:
    one = wire.Record(wire.ACCESS, b"app", b"/file", pid=1, use=wire.WRITE, writes=1, last_ns=1)
    other = b"PCP1" + one.encode()[4:]
    live = LiveDirectory(tmp_path / "access.db")
    live.create()
    (live.journal / f"{0:020d}").write_bytes(one.encode() + other * 2 + one.encode())
    ingest = Ingest(live, schema.connect(live.log))
    while ingest.step():
        pass
    ingest.close()
    assert query(live.log, "SELECT sum(writes) FROM access") == [(2,)]
    reason = "a program ran under the monitor of another version of precopy"
    assert str(meta(live.log, "incomplete_reason")).startswith(reason)
    assert meta(live.log, "complete") == 0


def test_a_library_of_another_version_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MARK", b"precopy wire format 999")
    with pytest.raises(FileNotFoundError, match="built for another version of precopy"):
        record(["true"], app="a", log=tmp_path / "access.db")
    assert not list(tmp_path.iterdir())


def test_a_process_without_memory_for_the_monitor_says_so(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    limits = " ".join(str(kilobytes) for kilobytes in range(3000, 14_000, 1000))
    loop = f"for limit in {limits}; do (ulimit -v $limit; exec true 2>/dev/null); done; true"
    record(["sh", "-c", loop], app="a", log=log)
    reason = "a process could not be followed for want of memory"
    assert meta(log, "incomplete_reason") == reason


@pytest.mark.parametrize("damage", ["cut", "flip", "noise"])
def test_damage_is_skipped_counted_and_marks_the_log(damage: str, tmp_path: Path) -> None:
    one = wire.Record(wire.ACCESS, b"app", b"/file", pid=1, use=wire.WRITE, writes=1, last_ns=1)
    whole = one.encode()
    broken = {
        "cut": whole[:50],
        "flip": whole[:60] + bytes([whole[60] ^ 1]) + whole[61:],
        "noise": os.urandom(300),
    }[damage]
    live = LiveDirectory(tmp_path / "access.db")
    live.create()
    (live.journal / f"{0:020d}").write_bytes(whole * 3 + broken + whole * 4)
    connection = schema.connect(live.log)
    ingest = Ingest(live, connection)
    while ingest.step():
        pass
    connection.close()
    assert uses(live.log)[b"/file"].writes == 7
    assert meta(live.log, "complete") == 0
    assert "damaged" in str(meta(live.log, "incomplete_reason"))


def test_a_tracker_killed_twenty_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    program = compiled("feeder.c", tmp_path)
    log = tmp_path / "access.db"
    kills = 0
    with record(
        [program, "4", "250", "1000"], app="feeder", log=log, cwd=tmp_path, wait=False,
        env=every_write_a_record(),
    ) as recording:  # fmt: skip
        while kills < 20:
            time.sleep(0.1)
            pid = tracker_of(log)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                kills += 1
    assert recording.returncode == 0
    assert query(log, "SELECT sum(writes), sum(bytes_written), sum(opens) FROM access") == [
        (1_000_000, 1_000_000, 1000)
    ]
    assert query(log, "SELECT sum(writes) FROM write_bucket") == [(1_000_000,)]
    assert meta(log, "complete") == 1
    live = LiveDirectory(log)
    assert live.segments() == []


def test_a_tracker_killed_in_the_middle_of_ingesting_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    """No application meanwhile: everything lies in the journal, and trackers die over it."""
    log = tmp_path / "access.db"
    live = LiveDirectory(log)
    live.create()
    rows = [
        wire.Record(wire.ACCESS, b"app", b"/file-%d" % (i % 5000), pid=1, writes=1, last_ns=i)
        for i in range(1_000_000)
    ]
    data = b"".join(row.encode() for row in rows)
    half = len(data) // 2 + 17  # in the middle of a record
    (live.journal / f"{0:020d}").write_bytes(data[:half])
    (live.journal / f"{half:020d}").write_bytes(data[half:])
    command = [
        sys.executable,
        "-c",
        "from precopy.access.tracking.tracker import main; exit(main())",
    ]
    for delay in range(20):
        process = subprocess.Popen([*command, str(log), "--drain"])
        time.sleep(0.05 + 0.05 * delay)
        process.kill()
        process.wait()
    while subprocess.run([*command, str(log), "--drain"], check=False).returncode:
        pass
    assert query(log, "SELECT sum(writes), count(*) FROM access") == [(1_000_000, 5000)]
    assert meta(log, "complete") == 1


def test_without_a_tracker_the_reports_wait_in_spill_files(tmp_path: Path) -> None:
    log, program = tmp_path / "access.db", compiled("feeder.c", tmp_path)
    live = LiveDirectory(log)
    live.create()
    variables = dict(os.environ) | environment("feeder", log) | EVERY_WRITE_A_RECORD
    subprocess.run([program, "3", "10", "50"], env=variables, cwd=tmp_path, check=True)
    assert len(live.spills()) == 4
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in live.spills())
    record(["true"], app="other", log=log)
    assert uses(log)[os.fsencode(tmp_path / "fed-7")].writes == 3 * 50
    assert query(log, "SELECT sum(writes) FROM access") == [(3 * 10 * 50,)]
    assert meta(log, "complete") == 1


def test_without_a_live_directory_the_program_runs_as_ever(tmp_path: Path) -> None:
    program = compiled("feeder.c", tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    variables = dict(os.environ) | environment("feeder", tmp_path / "nowhere" / "access.db")
    done = subprocess.run(
        [program, "2", "5", "20"], env=variables, cwd=work, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert contents(work) == {f"fed-{i}": b"x" * 40 for i in range(5)}
    assert list(tmp_path.glob("nowhere*")) == []


def test_a_removed_pipe_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    program = compiled("feeder.c", tmp_path)
    log = tmp_path / "access.db"
    live = LiveDirectory(log)
    with record(
        [program, "2", "100", "1000"], app="feeder", log=log, cwd=tmp_path, wait=False,
        env=every_write_a_record(),
    ) as recording:  # fmt: skip
        for _ in range(5):
            time.sleep(0.1)
            live.pipe.unlink(missing_ok=True)
    assert recording.returncode == 0
    assert query(log, "SELECT sum(writes) FROM access") == [(200_000,)]
    assert meta(log, "complete") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mount: not allowed to mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return


def test_a_full_disk_is_reported_and_the_application_runs_on(
    small_disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = compiled("feeder.c", tmp_path)
    work, log = tmp_path / "work", small_disk / "access.db"
    work.mkdir()
    script = '"$0" 1 100 5; until [ -e ../full ]; do sleep 0.02; done; "$0" 4 100 500'
    with record(
        ["bash", "-c", script, program], app="feeder", log=log, cwd=work, wait=False,
        env=every_write_a_record(),
    ):  # fmt: skip
        until(lambda: meta(log, "events"))
        fill(small_disk / "ballast")
        (tmp_path / "full").touch()
    assert contents(work) == {f"fed-{i}": b"x" * 2005 for i in range(100)}
    assert "No space left" in (told := capfd.readouterr().err) or "full" in told
    assert meta(log, "complete") == 0
    assert meta(log, "incomplete_reason")
    (small_disk / "ballast").unlink()
    assert record(["true"], app="after", log=log).returncode == 0
    assert query(log, "SELECT count(*) FROM application") == [(2,)]
    assert meta(log, "complete") == 0


def test_a_record_that_a_full_disk_has_torn_hides_none_behind_it(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    assert record(["true"], app="before", log=log).returncode == 0
    ((position,),) = query(log, "SELECT bytes FROM ingested WHERE source LIKE 'journal/%'")
    torn = wire.Record(wire.ACCESS, b"before", bytes(200).replace(b"\0", b"x"), pid=1).encode()
    segment = tmp_path / "access.db-live" / "journal" / f"{position:020d}"
    segment.write_bytes(torn[:27])
    assert record(["true"], app="after", log=log).returncode == 0
    assert query(log, "SELECT name FROM application ORDER BY id") == [("before",), ("after",)]
    assert meta(log, "complete") == 0
    assert not segment.exists()


@pytest.mark.parametrize("way", ["range", "from", "loop", "syscall", "inline", "dup2"])
def test_an_application_that_takes_every_descriptor_keeps_its_files(
    way: str, tmp_path: Path
) -> None:
    program = compiled("closes_all.c", tmp_path)
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    plain.mkdir()
    watched.mkdir()
    expected = subprocess.run([program, way], cwd=plain, capture_output=True, check=True)
    log = tmp_path / "access.db"
    script = 'exec "$0" "$1" > ../out 2> ../err'
    done = record(["bash", "-c", script, program, way], app="closer", log=log, cwd=watched)
    assert done.returncode == 0
    assert (tmp_path / "out").read_bytes() == expected.stdout
    assert (tmp_path / "err").read_bytes() == expected.stderr
    assert contents(watched) == contents(plain)
    assert meta(log, "complete") == 1
    seen = uses(log)
    assert [name for name in contents(plain) if os.fsencode(watched / name) not in seen] == []
    assert seen[os.fsencode(watched / "file-7")].writes == 3


def test_a_thousand_processes(tmp_path: Path) -> None:
    program = compiled("feeder.c", tmp_path)
    log = tmp_path / "access.db"
    done = record([program, "1000", "5", "7"], app="many", log=log, cwd=tmp_path)
    assert done.returncode == 0
    assert query(log, "SELECT sum(writes), sum(opens) FROM access") == [(35_000, 5000)]
    assert query(log, "SELECT count(*) FROM process") == [(1001,)]
    assert contents(tmp_path)["fed-3"] == b"x" * 7000
    assert meta(log, "complete") == 1


def test_awkward_names_and_long_paths(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    work = tmp_path / "work"
    work.mkdir()
    for size in (3900, 4090):
        command = [sys.executable, str(HERE / "names.py"), str(size)]
        done = record(["bash", "-c", '"$@" > ../out', "-", *command], app="n", log=log, cwd=work)
        assert done.returncode == 0
        assert (tmp_path / "out").read_text() == f"{size} 10\n"
        shutil.rmtree(work)
        work.mkdir()
    seen = uses(log)
    for name in (b"new\nline", b"\xff\xfe invalid", b"tab\tquote'\"", b" ", b"-rf", b"a" * 255):
        assert seen[os.fsencode(work) + b"/" + name].bytes_written == 2 * len(name)
    deep = {len(path): use for path, use in seen.items() if path.endswith(b"d/deep")}
    assert deep.keys() == {3905, 4095}
    assert {(use.writes, use.bytes_written) for use in deep.values()} == {(10, 10)}
    assert meta(log, "complete") == 1


def test_a_path_that_no_system_call_tells_marks_the_log(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    command = [sys.executable, str(HERE / "names.py"), "4500"]
    done = record(["bash", "-c", '"$@" > out', "-", *command], app="n", log=log, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "4500 10\n"
    assert meta(log, "complete") == 0
    assert "path" in str(meta(log, "incomplete_reason"))
    shutil.rmtree(next(path for path in tmp_path.iterdir() if path.name.startswith("ddd")))


def test_several_applications_share_a_log_and_a_tracker(tmp_path: Path) -> None:
    program = compiled("feeder.c", tmp_path)
    log = tmp_path / "access.db"
    names = [f"app{i}" for i in range(5)]

    def run(name: str) -> None:
        directory = tmp_path / name
        directory.mkdir()
        record([program, "2", "10", "100"], app=name, log=log, cwd=directory)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert query(
        log,
        """SELECT name, sum(writes) FROM access JOIN application ON id = application_id
           GROUP BY name ORDER BY name""",
    ) == [(name, 2000) for name in names]
    assert meta(log, "complete") == 1


def test_track_serves_recordings_and_ends_cleanly(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    code = "import sys; from precopy.access import track; sys.exit(track(sys.argv[1]))"
    server = subprocess.Popen([sys.executable, "-c", code, str(log)])
    until(lambda: tracker_of(log) is not None)
    assert record(["cp", "/etc/hostname", "a"], app="one", log=log, cwd=tmp_path).returncode == 0
    assert uses(log)[os.fsencode(tmp_path / "a")].writes == 1
    assert server.poll() is None
    server.terminate()
    assert server.wait() == 0
    live = LiveDirectory(log)
    assert (live.pipe.exists(), live.segments()) == (False, [])


def test_a_second_tracker_on_the_same_log_refuses(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    live = LiveDirectory(log)
    live.create()
    lock = live.lock()
    assert lock is not None
    assert tracker.main([str(log), "--drain"]) == tracker.BUSY
    os.close(lock)


def test_an_abandoned_tracker_ends_by_itself(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    code = "import sys; from precopy.access import track; sys.exit(track(sys.argv[1]))"
    server = subprocess.Popen([sys.executable, "-c", code, str(log)])
    pid = until(lambda: tracker_of(log))
    live = LiveDirectory(log)
    until(live.pipe.exists)
    server.kill()
    server.wait()
    until(lambda: tracker_of(log) != pid)
    assert not live.pipe.exists()


def test_log_and_pipe_are_private(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    before = os.umask(0)
    try:
        with record(["sleep", "0.5"], app="x", log=log, wait=False):
            live = LiveDirectory(log)
            modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in live.path.rglob("*")}
            modes |= {live.path: stat.S_IMODE(live.path.stat().st_mode)}
            modes |= {log: stat.S_IMODE(log.stat().st_mode)}
    finally:
        os.umask(before)
    assert live.pipe in modes
    assert {path.name: mode for path, mode in modes.items() if mode & 0o077} == {}


def test_renamed_directories_rename_the_files_below(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    script = "mkdir old; echo 1 > old/a; mkdir old/b; echo 2 > old/b/c; mv old new"
    record(["bash", "-c", script], app="x", log=log, cwd=tmp_path)
    seen = uses(log)
    for name in ("old/a", "new/a", "old/b/c", "new/b/c"):
        assert seen[os.fsencode(tmp_path / name)].write
    assert seen[os.fsencode(tmp_path / "new/a")].changes == 1


def test_history_keeps_recent_buckets_and_all_sums(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    connection = schema.connect(log)
    application = schema.application_id(connection, "old")
    (file,) = schema.file_ids(connection, [b"/old"])
    schema.add_accesses(connection, [(application, file, 1, 0, 1, 0, 0, 0, 0, 9, 9, 0, 1, 1)])
    schema.add_write_buckets(connection, [(file, application, 1, 9, 9, 0)])
    connection.close()
    record(["bash", "-c", "echo > f"], app="new", log=log, history=3600, cwd=tmp_path)
    assert query(log, "SELECT count(*), sum(writes) FROM write_bucket") == [(1, 1)]
    assert query(log, "SELECT sum(writes) FROM access") == [(10,)]


def test_daemons_are_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    record(["bash", "-c", "(sleep 0.3; echo late > f) &"], app="x", log=log, cwd=tmp_path)
    assert uses(log)[os.fsencode(tmp_path / "f")].writes == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [(["true"], 0), (["bash", "-c", "exit 7"], 7), (["bash", "-c", "kill -9 $$"], -9)],
)
def test_the_exit_code_is_the_commands(command: list[str], code: int, tmp_path: Path) -> None:
    assert record(command, app="x", log=tmp_path / "access.db").returncode == code


def test_programs_may_be_started_inside_the_context(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    with record(app="inside", log=log) as recording:
        subprocess.run(["cp", "/etc/hostname", "a"], env=recording.env, cwd=tmp_path, check=True)
    assert uses(log)[os.fsencode(tmp_path / "a")].write


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"command": "ls"}, TypeError, "command"),
        ({"command": []}, ValueError, "command"),
        ({"command": ["/no/such"]}, FileNotFoundError, "/no/such"),
        ({"command": ["true"], "app": ""}, ValueError, "app"),
        ({"command": ["true"], "app": "x" * 256}, ValueError, "app"),
        ({"command": ["true"], "app": 3}, TypeError, "app"),
        ({"command": ["true"], "history": -1.0}, ValueError, "history"),
    ],
)
def test_unusable_arguments(
    arguments: dict[str, object], error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        record(**({"app": "x", "log": tmp_path / "access.db"} | arguments))  # type: ignore[arg-type]


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "notes.txt"
    log.write_text("not a database, and longer than the header of one" * 10)
    with pytest.raises(ValueError, match=r"notes\.txt"):
        record(["true"], app="x", log=log)


@pytest.mark.parametrize("module", ["tracker", "supervisor", "becoming"])
def test_what_keeps_a_log_is_small(module: str) -> None:
    """Of others' packages, and of what only readers of a log need, it imports nothing."""
    code = f"import sys, precopy.access.tracking.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert f"precopy.access.tracking.{module}" in found
    assert not found & {"numpy", "tqdm", "precopy.access.log", "precopy.access.identify"}
