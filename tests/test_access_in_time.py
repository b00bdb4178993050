"""An application in time: its files come and go in the trace as they did on the disk."""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from access.truth import query

from precopy import Recorded
from precopy.access import AccessLog, import_strace, record
from precopy.access.exclude import DEFAULT_EXCLUDED
from precopy.access.lives import Life, Moved, Sample, Written
from precopy.access.schema import add_samples, add_write_buckets, connect

HERE = Path(__file__).parent
EXCLUDE = [*DEFAULT_EXCLUDED, sys.prefix, sys.base_prefix, str(HERE)]
BEFORE = {"appended": 2000, "in place": 8000, "read": 300, "unlinked": 10, "renamed": 123}


def scan(top: Path) -> dict[str, int]:
    """What a scan of the disk sees: every file that exists, with its size."""
    return {
        os.path.join(folder, name): os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(top)
        for name in names
    }


def replay(app: Recorded, until_ns: int | None = None) -> dict[str, int]:
    """Which files exist in the end, with their sizes, as the rows tell it."""
    writes, path = app.writes, app.files.path
    there = {number: int(app.files.size_bytes[number]) for number in np.flatnonzero(app.present)}
    columns = (writes.time_ns, writes.file_id, writes.size_bytes, writes.from_id)
    for at, file, size, source in zip(*(column.tolist() for column in columns), strict=True):
        if until_ns is not None and at >= until_ns:
            break
        if source >= 0:
            there.pop(source, None)
        if size < 0:
            there.pop(file, None)
        else:
            there[file] = size
    return {path[number]: size for number, size in there.items()}


def updates(log: Path) -> dict[str, int]:
    rows = query(
        log,
        """SELECT path, sum(writes + changes) FROM access JOIN file ON file.id = file_id
           WHERE kind = 'file' GROUP BY file_id""",
    )
    return {os.fsdecode(path): count for path, count in rows}


def check_all_is_told(app: Recorded, log: Path, further: dict[str, str] | None = None) -> None:
    """Each write call is in the trace or left out by reason, and each update at its file."""
    counted = updates(log)
    for name, first in (further or {}).items():
        counted[first] += counted.pop(name)
    got = dict(zip(app.files.path, app.writes.counts(app.files).tolist(), strict=True))
    assert {name: counted.get(name, 0) for name in got} == got
    ((total,),) = query(log, "SELECT sum(writes) FROM access")
    in_trace = query(
        log, "SELECT path, sum(writes) FROM access, file WHERE id = file_id GROUP BY id"
    )
    told = sum(writes for path, writes in in_trace if os.fsdecode(path) in {*got, *(further or {})})
    assert told + sum(app.writes.left_out.values()) == total


@dataclass
class Run:
    app: Recorded
    log: Path
    top: Path
    first: dict[str, int]
    last: dict[str, int]

    def rows(self, name: str) -> list[tuple[int, int, int, str | None]]:
        """``(count, write_bytes, size_bytes, from)`` of a file's rows."""
        writes, path = self.app.writes, self.app.files.path
        number = path.index(str(self.top / name))
        return [
            (
                int(writes.count[row]), int(writes.write_bytes[row]), int(writes.size_bytes[row]),
                None if writes.from_id[row] < 0
                else os.path.relpath(path[writes.from_id[row]], self.top),
            )
            for row in np.flatnonzero(writes.file_id == number)
        ]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One program that does all that files go through."""
    top = tmp_path_factory.mktemp("in-time")
    work = top / "work"
    (work / "before").mkdir(parents=True)
    for name, size in BEFORE.items():
        (work / "before" / name).write_bytes(bytes(size))
    first, log = scan(work), top / "access.db"
    time.sleep(0.1)
    command = [sys.executable, "-I", "-S", HERE / "access" / "comes_and_goes.py"]
    assert record(command, app="app", log=log, cwd=work).returncode == 0
    with AccessLog(log) as opened:
        assert opened.complete
        app = opened.recorded("app", exclude=EXCLUDE)
    return Run(app, log, work, first, scan(work))


def test_at_the_begin_there_is_what_a_scan_saw_and_at_the_end_too(run: Run) -> None:
    shown = {
        path: int(size)
        for path, size, there in zip(
            run.app.files.path, run.app.files.size_bytes, run.app.present, strict=True
        )
        if there
    }
    unknown = str(run.top / "before/unlinked")  # nobody asked for its size before it was removed
    assert shown == run.first | {unknown: 0}
    further = {str(run.top / "databases/wal.db"), str(run.top / "linked/other")}
    assert replay(run.app) == {path: size for path, size in run.last.items() if path not in further}


def test_each_update_is_in_the_trace(run: Run) -> None:
    top = run.top
    further = {
        str(top / "databases/wal.db"): str(top / "databases/kept.db"),
        str(top / "linked/other"): str(top / "linked/one"),
    }
    check_all_is_told(run.app, run.log, further)


def test_what_is_replaced_was_updated_by_each(run: Run) -> None:
    assert any("taken for new" in note for note in run.app.notes)
    counts = dict(zip(run.app.files.path, run.app.writes.counts(run.app.files), strict=True))
    assert counts[str(run.top / "replaced/state")] == 51
    assert counts[str(run.top / "replaced/state.tmp")] == 100
    rows = run.rows("replaced/state")
    assert rows[0] == (1, 5, 5, None)
    assert {(size, source) for _, _, size, source in rows[1:]} == {(1000, "replaced/state.tmp")}
    assert sum(size for _, size, _, _ in run.rows("replaced/state.tmp")) == 50_000


def test_a_rotated_log_goes_on_under_its_other_names(run: Run) -> None:
    renames = {
        (source, name, size)
        for name in ("log.1", "log.2", "log.3")
        for _, _, size, source in run.rows(f"rotated/{name}")
        if source is not None
    }
    assert renames == {
        ("rotated/log", "log.1", 2500),
        ("rotated/log.1", "log.2", 2500),
        ("rotated/log.2", "log.3", 2500),
    }
    written = run.rows("rotated/log")
    assert max(size for _, _, size, _ in written) == 2500
    # A write in the clock tick of a rename may be told of either name.
    names = ("log", "log.1", "log.2", "log.3")
    told = [sum(size for _, size, _, _ in run.rows(f"rotated/{name}")) for name in names]
    assert sum(told) == 10_000
    assert told[0] >= 9000


def test_mail_is_renamed_by_a_link_too(run: Run) -> None:
    names = [path for path in run.app.files.path if "/mail/box/" in path]
    rows = [row for path in names for row in run.rows(os.path.relpath(path, run.top))]
    delivered = [source for _, _, _, source in rows if source and "/tmp/" in source]
    assert len(delivered) == 8 + 5  # the mailbox links and removes; what is changed comes anew
    assert run.rows("mail/drop/new.1")[0] == (1, 0, 101, "mail/drop/tmp")
    assert run.rows("mail/drop/cur.1") == [(1, 0, 101, "mail/drop/new.1")]


def test_files_below_a_renamed_directory(run: Run) -> None:
    assert run.rows("directory/old/a")[0][2] == 1234
    renamed, appended = run.rows("directory/moved/a")
    assert renamed == (1, 0, 1234, "directory/old/a")
    assert appended == (1, 10, 1244, None)
    assert run.rows("directory/moved/below/b") == [(1, 0, 77, "directory/old/below/b")]


def test_what_is_cut_removed_and_made_again(run: Run) -> None:
    assert [size for _, _, size, _ in run.rows("cut/cut")] == [9000, 100]
    assert run.rows("cut/again")[-1][2] == 40
    assert sum(count for count, _, _, _ in run.rows("cut/again")) == 4 + 3
    assert [row[2] for row in run.rows("cut/gone")] == [40, -1]


def test_what_was_there_before(run: Run) -> None:
    assert run.rows("before/appended")[-1][2] == 7000
    assert {size for _, _, size, _ in run.rows("before/in place")} == {8000}
    assert run.rows("before/unlinked") == [(1, 0, -1, None)]
    assert run.rows("before/renamed.new") == [(1, 0, 123, "before/renamed")]
    assert run.rows("before/read") == []


def test_two_names_that_were_exchanged(run: Run) -> None:
    assert run.rows("exchanged/left")[-1] == (1, 0, 222, "exchanged/right")
    assert run.rows("exchanged/right")[-1] == (1, 0, 11, "exchanged/left (exchanged)")


def test_a_database_and_its_journals(run: Run) -> None:
    journal = run.rows("databases/delete.db-journal")
    assert sum(count for count, _, _, _ in journal) > 40 * 3
    assert journal[-1][2] == -1
    assert {size for _, _, size, _ in journal[:-1]} != {-1} or len(journal) < 5
    assert (
        run.rows("databases/wal.db-wal")[-1][2] == run.last[str(run.top / "databases/wal.db-wal")]
    )


WINDOW = """
import os, sys, time
def write(name, size, mode="ab"):
    with open(name, mode) as file: file.write(bytes(size))
write("loaded", 5000)
write("temporary", 10)
os.unlink("temporary")
time.sleep(0.4)
for _ in range(3):
    write("loaded", 100)
    write("later", 7)
    time.sleep(0.12)
with open("later", "ab") as later:
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_a_window_begins_at_a_mark_and_reading_does_not_wait_for_the_end(tmp_path: Path) -> None:
    log, work = tmp_path / "access.db", tmp_path / "work"
    work.mkdir()
    arguments = [sys.executable, "-I", "-S", "-c", WINDOW]
    command = [sys.executable, "-m", "precopy", "record", "--app", "app", "--log", log, "--"]
    with subprocess.Popen(
        [*command, *arguments], cwd=work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        time.sleep(0.3)
        with AccessLog(log) as growing:
            before = growing.recorded("app", exclude=EXCLUDE)
            growing.mark("elsewhere")
        mark = [sys.executable, "-m", "precopy", "mark", "ready", "--log", log]
        subprocess.run(mark, check=True)
        assert before.writes.counts(before.files).sum() == 3 + 3 + 3
        assert replay(before) == scan(work)
        service.communicate("\n")
    with AccessLog(log) as opened:
        whole = opened.recorded("app", exclude=EXCLUDE)
        assert list(opened.marks()) == ["elsewhere", "ready"]
        late = opened.recorded("app", exclude=EXCLUDE, since="ready")
        early = opened.recorded("app", exclude=EXCLUDE, until="ready")
        came_and_went = whole.files.path.index(str(work / "temporary"))
        gone_ns = whole.writes.time_ns[whole.writes.file_id == came_and_went][-1]
        part = opened.recorded("app", exclude=EXCLUDE, since=gone_ns / 1e9 + 0.2, until=30.0)
        with pytest.raises(ValueError, match=r"since: no mark 'redy' .* did you mean 'ready'"):
            opened.recorded("app", since="redy")
        with pytest.raises(ValueError, match="expected a time and a later one"):
            opened.recorded("app", since=1.0, until=0.5)
        with pytest.raises(ValueError, match="name: got an empty one"):
            opened.mark("")
    check_all_is_told(whole, log)
    assert len(late.writes) == 0
    assert replay(late) == scan(work)
    assert late.writes.left_out["outside the window"] == sum(
        query(log, "SELECT sum(writes) FROM access")[0]
    ) - whole.writes.left_out.get("to excluded paths", 0)
    assert early.writes.duration_ns + late.writes.duration_ns == whole.writes.duration_ns
    assert replay(early) == scan(work)
    names = {os.path.basename(path) for path in part.files.path}
    assert {"loaded", "later"} <= names
    assert "temporary" not in names  # it came and went before
    at_begin = dict(zip(part.files.path, part.files.size_bytes.tolist(), strict=True))
    assert at_begin[str(work / "loaded")] == 5000


def test_roots_add_what_nobody_opened(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "access.db"
    (root / "below").mkdir(parents=True)
    (root / "used").write_bytes(bytes(10))
    (root / "below/unused").write_bytes(bytes(500))
    os.link(root / "below/unused", root / "again")
    time.sleep(0.05)
    script = (
        "import os, time\n"
        "open('used', 'ab').write(b'x')\n"
        "while 'born' not in os.listdir(): time.sleep(0.02)\n"
    )
    command = [sys.executable, "-I", "-S", "-c", script]
    threading.Timer(0.7, (root / "born").write_bytes, [bytes(7)]).start()  # nobody reports it
    record(command, app="app", log=log, cwd=root)
    with AccessLog(log) as opened:
        without = opened.recorded("app", exclude=EXCLUDE)
        app = opened.recorded("app", roots=[root], exclude=EXCLUDE)
        with pytest.raises(ValueError, match="roots: got 'nowhere', expected a directory"):
            opened.recorded("app", roots=["nowhere"])
        with pytest.raises(TypeError, match=r"roots: got .* expected a list"):
            opened.recorded("app", roots=str(root))
    assert without.files.path == (str(root / "used"),)
    there = {
        os.path.relpath(path, root): (int(size), bool(present), bool(fixed))
        for path, size, present, fixed in zip(
            app.files.path, app.files.size_bytes, app.present, app.files.read_only, strict=True
        )
    }
    names = set(there) - {"born"}
    assert names in ({"used", "again"}, {"used", "below/unused"})  # one file's names
    assert there["used"] == (10, True, False)
    assert there[(names - {"used"}).pop()] == (500, True, True)
    assert there["born"] == (0, False, False)
    assert {path.rpartition("/")[2]: size for path, size in replay(app).items()}["born"] == 7


def test_what_is_left_out_says_why(tmp_path: Path) -> None:
    log, fifo = tmp_path / "access.db", tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "stays").touch()
    names = ("stays", "gone", "fifo")
    lines = []
    for number, name in enumerate(names, 3):
        path = tmp_path / name
        lines.append(f'7 1.{number} openat(AT_FDCWD</>, "{path}", O_WRONLY) = {number}<{path}>')
        lines += [f'7 2.{number} write({number}<{path}>, "x", 1) = 1'] * number
    lines.append('7 1.7 openat(AT_FDCWD</>, "/usr/share/x", O_WRONLY) = 9</usr/share/x>')
    lines += ['7 2.7 write(9</usr/share/x>, "x", 1) = 1'] * 9
    import_strace(lines, log, "app")
    with AccessLog(log) as opened:
        trace = opened.write_trace("app")
        listed = opened.file_set("app")
        opened_only = opened.write_trace("app", listed)
    assert trace.file_id.tolist() == [0, 0, 0]
    assert trace.left_out == {
        "to files that are gone": 4, "to what is no regular file": 5, "to excluded paths": 9,
    }  # fmt: skip
    assert "left out: " in repr(trace)
    assert "9 to excluded paths" in repr(trace)
    assert opened_only.left_out == {"to files that were not asked for": 18}
    with closing(connect(log)) as connection:
        connection.execute("DELETE FROM write_bucket WHERE file_id = 1")
    with AccessLog(log) as opened:
        kept = [opened.write_trace("app"), opened.recorded("app").writes]
    for trace in kept:
        assert trace.left_out["of which the log keeps no times"] > 0


OLD = """
ALTER TABLE write_bucket DROP COLUMN last_ns;
ALTER TABLE file DROP COLUMN born_ns;
DROP TABLE sample;
DROP TABLE moved;
DROP TABLE mark;
PRAGMA user_version = 2;
"""


def test_a_log_of_version_2_is_read_and_upgraded_when_it_is_written(tmp_path: Path) -> None:
    log, data = tmp_path / "access.db", tmp_path / "data"
    data.write_bytes(bytes(500))
    lines = [f'7 1.5 openat(AT_FDCWD</>, "{data}", O_WRONLY) = 3<{data}>']
    lines += [f'7 {second}.6 write(3<{data}>, "x", 100) = 100' for second in (1, 2, 3)]
    import_strace(lines, log, "app")
    with closing(connect(log)) as connection:
        connection.executescript(OLD)
    with AccessLog(log) as old:
        assert old.version == 2
        app = old.recorded("app")
        history = old.history("app").tolist()
        assert old.marks() == {}
        assert len(list(old.used_since(0))) == 1
        old.mark("now")
        assert list(old.marks()) == ["now"]
    assert app.writes.counts(app.files).tolist() == history == [3]
    assert app.writes.size_bytes.tolist() == [500] * 3
    assert any("version 2" in note for note in app.notes)
    with closing(connect(log)) as connection:
        add_samples(connection, [(1, 20, 450, 2_050_000_000)])
        add_write_buckets(connection, [(1, 1, 30, 1, 50, 0, 3_050_000_000)])
    with AccessLog(log) as new:
        assert new.version == 3
        assert new.recorded("app").writes.counts(app.files).tolist() == [4]


def test_what_is_made_again_after_a_rename_in_one_bucket_is_there() -> None:
    moved = Moved(150, 150, 150, 1, 7, 8, 1, 1, 40)
    seen = [Sample(199, 5), Sample(230, 25)]  # the first is what a file was before it was opened
    life = Life(7, 100, 110, [Written(1, 2, 1, 40, 150)], seen, [moved])
    rows = [(row.time_ns, row.updates, row.size_bytes) for row in life.rows({1: 40})]
    assert rows == [(150, 3, 40), (230, 0, 25)]
    assert not life.present


def test_what_came_by_a_rename_was_not_there_before() -> None:
    moved = Moved(150, 150, 150, 1, 7, 8, 1, 1, 40)
    life = Life(8, 100, 148, [], [Sample(99, 40), Sample(210, 40)], [moved])
    assert [(row.kind, row.size_bytes, row.source) for row in life.rows({1: 40})] == [(1, 40, 7)]
    assert not life.present


def test_a_size_between_two_that_were_seen_is_estimated_by_what_was_written() -> None:
    written = [Written(bucket, 1, 0, 100, 100 * bucket + 50) for bucket in range(4)]
    life = Life(7, 100, 1, written, [Sample(0, 1000), Sample(355, 1400)])
    assert [row.size_bytes for row in life.rows({})] == [1100, 1200, 1300, 1400]
    assert (life.present, life.size_at_begin, life.estimated) == (True, 1000, 3)
    in_place = Life(7, 100, 1, written, [Sample(0, 1000), Sample(355, 1000)])
    assert [row.size_bytes for row in in_place.rows({})] == [1000] * 4
