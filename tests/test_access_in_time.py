"""An application in time: its files come and go in the trace as they did on the disk."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from access.truth import query

from precopy import Recorded
from precopy.access import AccessLog, record
from precopy.access.exclude import DEFAULT_EXCLUDED

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
    assert sum(size for _, size, _, _ in written) == 10_000
    assert max(size for _, _, size, _ in written) == 2500


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
