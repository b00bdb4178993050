"""The read side of the access log: tables, files, writes; and what is not an access log."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing

import numpy as np
import pytest

from precopy.access import AccessLog, import_strace, record
from precopy.access import log as log_module
from precopy.access import updates as updates_module
from precopy.access.exclude import DEFAULT_EXCLUDED, Excluded
from precopy.access.renames import add_renames, settle
from precopy.access.schema import (
    add_accesses,
    application_id,
    connect,
    file_ids,
    mark_incomplete,
    set_meta,
)
from precopy.access.tracking.live import LiveDirectory


def opened(path, mode, time="1.0"):
    return f'7 {time} openat(AT_FDCWD</>, "{path}", {mode}) = 3<{path}>'


def wrote(path, count, time):
    return [f'7 {time} write(3<{path}>, "x", 1) = 1'] * count


@pytest.fixture
def log_path(tmp_path):
    """Two applications, three files that exist, one that is gone, and one of the system's."""
    path = tmp_path / "access.db"
    for name, size in (("a", 10), ("b", 200), ("c", 3000)):
        (tmp_path / name).write_bytes(b"x" * size)
    a, b, c, gone = (str(tmp_path / name) for name in ("a", "b", "c", "gone"))
    first = [opened(a, "O_RDWR"), opened(b, "O_RDONLY"), opened(gone, "O_WRONLY")]
    first += [opened("/usr/share/dict", "O_WRONLY")]
    first += wrote(a, 2, "1.01") + wrote(gone, 4, "1.02") + wrote(a, 3, "5.0")
    import_strace(first, path, "first")
    second = [opened(a, "O_RDONLY"), opened(b, "O_WRONLY"), opened(c, "O_RDONLY")]
    import_strace([*second, *wrote(b, 1, "1.05")], path, "second")
    return path


@pytest.fixture
def log(log_path):
    with AccessLog(log_path) as log:
        yield log


def test_applications_and_accesses(log, tmp_path):
    assert log.applications() == ["first", "second"]
    table = log.accesses()
    assert list(table["application"]) == ["first"] * 4 + ["second"] * 3
    row = table[(table["application"] == "first") & (table["path"] == str(tmp_path / "a"))].iloc[0]
    assert (row["opens"], row["writes"], row["bytes_written"]) == (1, 5, 5)
    assert row["read"]
    assert row["write"]
    assert (row["first_ns"], row["last_ns"]) == (1_000_000_000, 5_000_000_000)
    assert table["write"].dtype == bool
    assert table["writes"].dtype == np.int64


def test_an_empty_log_has_an_empty_table_of_the_same_shape(tmp_path, log):
    connect(tmp_path / "empty.db").close()
    with AccessLog(tmp_path / "empty.db") as empty:
        assert empty.applications() == []
        assert list(empty.accesses().dtypes[2:]) == list(log.accesses().dtypes[2:])
        assert len(empty.accesses()) == 0


def test_it_shows_itself(log):
    assert "2 applications, 5 files, 10 writes, complete" in repr(log)
    html = log._repr_html_()
    assert html.count("<tr>") == 3
    assert "<td>first</td><td>4</td><td>3</td>" in html


def test_names_are_escaped_in_html(tmp_path):
    import_strace([opened("/x", "O_RDONLY")], tmp_path / "x.db", "<script>")
    with AccessLog(tmp_path / "x.db") as log:
        assert "<script>" not in log._repr_html_()
        assert "&lt;script&gt;" in log._repr_html_()


def test_file_set(log, tmp_path):
    pytest.importorskip("precopy.files")
    files = log.file_set("first")
    assert list(files.path) == [str(tmp_path / name) for name in ("a", "b")]
    assert files.size_bytes.tolist() == [10, 200]
    assert files.read_only.tolist() == [False, False]  # the other application writes b
    assert log.file_set("second").read_only.tolist() == [False, False, True]
    both = log.file_set(["first", "second"], missing="empty")
    assert list(both.path) == [str(tmp_path / name) for name in ("a", "b", "c", "gone")]
    assert both.size_bytes.tolist() == [10, 200, 3000, 0]
    with open(tmp_path / "a", "ab") as grown:
        grown.write(b"y")
    assert log.file_set("first").size_bytes.tolist() == [11, 200]
    with pytest.raises(ValueError, match="missing: got 'ignore'"):
        log.file_set("first", missing="ignore")


def test_file_set_lists_regular_files_only(tmp_path):
    pytest.importorskip("precopy.files")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    names = ("file", "link", "directory", "fifo")
    lines = [opened(tmp_path / name, "O_RDONLY") for name in names]
    import_strace(lines, tmp_path / "x.db", "app")
    with AccessLog(tmp_path / "x.db") as log:
        assert list(log.file_set("app").path) == [str(tmp_path / "file")]


def test_write_trace_is_in_time_order_and_speaks_of_the_same_files(log):
    pytest.importorskip("precopy.workload")
    files = log.file_set("first", missing="empty")
    trace = log.write_trace("first", files)
    named = [files.path[number][-1] for number in trace.file_id]
    assert "".join(named) == "eaeeaeaaa"  # 2 a and 4 gone interleaved, then 3 a
    assert log.write_trace("first").file_id.tolist() == [0] * 5  # gone is not in file_set
    assert log.history("first", files).tolist() == [5, 0, 4]
    assert log.history(["first", "second"]).tolist() == [5, 1, 0]
    assert np.bincount(trace.file_id, minlength=3).tolist() == log.history("first", files).tolist()


def test_what_was_recorded_can_be_simulated(tmp_path):
    """From a real program to the amounts of a migration, by the documented way."""
    simulation = pytest.importorskip("precopy.simulation")
    run = pytest.importorskip("precopy.run")
    (tmp_path / "read").write_bytes(bytes(5000))
    script = "import os; cat = open('read', 'rb').read()\n"
    script += "files = [os.open(name, os.O_WRONLY | os.O_CREAT) for name in ('hot', 'cold')]\n"
    script += "for i in range(200): os.pwrite(files[i % 20 == 0], cat[:1000], 1000 * (i % 3))\n"
    log_path = tmp_path / "access.db"
    command = [sys.executable, "-I", "-S", "-c", script]
    record(command, app="app", log=log_path, cwd=tmp_path)
    with AccessLog(log_path) as log:
        python = (sys.prefix, sys.base_prefix)
        files = log.file_set("app", exclude=[*DEFAULT_EXCLUDED, *python])
        trace = log.write_trace("app", files)
        assert [os.path.basename(path) for path in files.path] == ["cold", "hot", "read"]
        assert files.size_bytes.tolist() == [3000, 3000, 5000]
        assert files.read_only.tolist() == [False, False, True]
        assert log.history("app", files).tolist() == [10, 190, 0]
        cycle = run.Cycle(writes=10, write_seconds=0.1, bandwidth=8000)
        result = simulation.simulate(files, trace, cycle=cycle, cycles=len(trace) // 10)
    assert len(trace) == 200
    assert result.precopy_bytes[-1] > files.total_bytes  # what is hot was sent again


def test_an_update_is_a_write_or_a_change(tmp_path):
    pytest.importorskip("precopy.workload")
    for name in ("settings", "cut", "both"):
        (tmp_path / name).touch()
    lines = [f'7 {second}.0 rename("/tmp/new", "{tmp_path}/settings") = 0' for second in (1, 2, 3)]
    lines += [opened(tmp_path / "cut", "O_WRONLY|O_TRUNC"), *wrote(tmp_path / "cut", 2, "9.0")]
    lines += [opened(tmp_path / "both", "O_WRONLY"), *wrote(tmp_path / "both", 1, "9.5")]
    lines += [f'7 9.{second} rename("/tmp/new", "{tmp_path}/both") = 0' for second in (6, 7)]
    import_strace(lines, tmp_path / "x.db", "app")
    with AccessLog(tmp_path / "x.db") as log:
        assert list(map(os.path.basename, log.file_set("app").path)) == ["both", "cut", "settings"]
        assert log.history("app").tolist() == [3, 3, 3]
        assert sorted(log.write_trace("app").file_id.tolist()) == [0] * 3 + [1] * 3 + [2] * 3


def test_what_is_written_once_and_then_replaced_has_been_updated_by_each(tmp_path):
    """By a real program: that opening made the file is no update."""
    script = (
        "import os\n"
        "with open('state', 'w') as state: state.write('first')\n"
        "for i in range(50):\n"
        "    with open('new', 'w') as new: new.write('x')\n"
        "    os.rename('new', 'state')\n"
    )
    log_path = tmp_path / "x.db"
    record([sys.executable, "-I", "-S", "-c", script], app="app", log=log_path, cwd=tmp_path)
    with AccessLog(log_path) as log:
        files = log.file_set("app", exclude=[*DEFAULT_EXCLUDED, sys.prefix, sys.base_prefix])
        assert dict(zip(files.path, log.history("app", files).tolist(), strict=True)) == {
            str(tmp_path / "state"): 51
        }


def test_interleaving_spreads_evenly_and_keeps_counts():
    generator = np.random.default_rng(5)
    bucket = np.sort(generator.integers(0, 9, 40))
    file_id = generator.permutation(40)
    updates = generator.integers(1, 50, 40)
    order = updates_module.interleave(bucket, file_id, updates)
    assert np.bincount(order, minlength=40).tolist() == updates[np.argsort(file_id)].tolist()
    assert (np.diff(bucket[np.argsort(file_id)][order]) >= 0).all()
    alone = updates_module.interleave(np.array([3, 3]), np.array([0, 1]), np.array([2, 6]))
    assert alone.tolist() == [1, 0, 1, 1, 1, 0, 1, 1]


def test_an_unknown_application_is_named(log):
    with pytest.raises(ValueError, match=r"app: no application 'frist' .* did you mean 'first'"):
        log.history("frist")
    with pytest.raises(ValueError, match="it has 'first', 'second'"):
        log.write_trace("postgres")


def test_incomplete_logs_say_so(log_path):
    with closing(connect(log_path)) as connection:
        mark_incomplete(connection, "disk full")
    with AccessLog(log_path) as log:
        assert not log.complete
        assert log.incomplete_reason == "disk full"
        assert "INCOMPLETE" in repr(log)
        assert "disk full" in log._repr_html_()


def test_a_recording_that_did_not_end_says_so(log_path):
    with closing(connect(log_path)) as connection:
        set_meta(connection, "recording", "1-2-3")
    with AccessLog(log_path) as log:
        assert not log.complete
        assert "did not end" in log.incomplete_reason
        assert "INCOMPLETE" in repr(log)
    live = LiveDirectory(log_path)
    live.create()
    at_work = live.attend()
    with AccessLog(log_path) as log:
        assert log.complete
    os.close(at_work)
    with AccessLog(log_path) as log:
        assert not log.complete


def test_what_is_not_an_access_log_is_refused(tmp_path, log_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        AccessLog(tmp_path / "absent.db")
    with pytest.raises(ValueError, match="is not a file"):
        AccessLog(tmp_path)
    (tmp_path / "text").write_text("this is no database, but a text of more than a few bytes\n" * 9)
    with pytest.raises(ValueError, match="not an access log"):
        AccessLog(tmp_path / "text")
    with closing(sqlite3.connect(log_path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(ValueError, match=r"version 1, expected an access log of\s+version 2"):
        AccessLog(log_path)


def test_a_log_that_may_not_be_read(log_path):
    with tempfile.TemporaryDirectory() as public:
        os.chmod(public, 0o755)
        closed = shutil.copy(log_path, public)
        os.chmod(closed, 0)
        user = os.geteuid()
        try:
            os.seteuid(65534 if user == 0 else user)  # root may read everything
            with pytest.raises(OSError, match=r"log: cannot read '.*access\.db'"):
                AccessLog(closed)
        finally:
            os.seteuid(user)


def test_reading_does_not_write_and_does_not_wait_for_the_tracker(log_path):
    with closing(connect(log_path)) as tracker, AccessLog(log_path) as log:
        tracker.execute("BEGIN IMMEDIATE")
        tracker.execute("INSERT INTO application (name) VALUES ('new')")
        assert log.applications() == ["first", "second"]
        tracker.execute("COMMIT")
        assert log.applications() == ["first", "new", "second"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            log._connection.execute("DELETE FROM access")


def test_the_documented_queries_run(log_path, log, tmp_path):
    queries = [
        "\n".join(line.strip() for line in block.splitlines())
        for block in log_module.__doc__.split("::\n\n")[1:]
    ]
    queries = [text[: text.index(";") + 1] for text in queries]
    assert len(queries) == 2
    most_written, dependencies = (log._connection.execute(query).fetchall() for query in queries)
    assert most_written[:2] == [(str(tmp_path / "a"), 5, 5), (str(tmp_path / "gone"), 4, 4)]
    assert dependencies == [
        ("first", "second", str(tmp_path / "a")),
        ("second", "first", str(tmp_path / "b")),
    ]
    if shutil.which("sqlite3") is None:
        pytest.skip("sqlite3 not installed")
    shown = subprocess.run(
        ["sqlite3", log_path, queries[1]], check=True, capture_output=True, text=True
    )
    assert shown.stdout.splitlines()[0] == f"first|second|{tmp_path / 'a'}"


def test_only_accesses_needs_pandas(log_path):
    program = (
        "import sys; sys.modules['pandas'] = None\n"
        "from precopy.access.log import AccessLog\n"
        "with AccessLog(sys.argv[1]) as log:\n"
        "    print(log.applications())\n"
        "    try: log.accesses()\n"
        "    except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, log_path], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "['first', 'second']",
        "accesses() returns a DataFrame: install pandas",
    ]


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        (b"/usr/lib/libc.so", True),
        (b"/usr", True),
        (b"/usrlocal/x", False),
        (b"/dev/null", True),
        (b"/dev/shm/segment", False),
        (b"/etc/passwd", True),
        (b"/etc/redis/redis.conf", False),
        (b"/var/lib/redis/dump.rdb", False),
        (b"/home/user/usr/x", False),
        (b"/proc/self/maps", True),
        (b"/\xff", False),
        (b"/", False),
    ],
)
def test_the_system_s_own_paths_stay(path, stays):
    assert (path in Excluded(DEFAULT_EXCLUDED)) is stays


def test_exclusions_can_be_overridden():
    assert b"/usr/local/app" not in Excluded([*DEFAULT_EXCLUDED, "!/usr/local"])
    assert b"/srv/x" in Excluded(["/"])
    assert b"/srv/x" not in Excluded([])
    with pytest.raises(ValueError, match="exclude: got 'usr', expected an absolute path"):
        Excluded(["usr"])
    with pytest.raises(TypeError, match="expected a list"):
        Excluded("/usr")


@pytest.mark.parametrize(
    ("renames", "moved"),
    [
        ("ba ab", "a/fb b/fa"),  # an exchange
        ("ba ab ac", "c/fb b/fa"),  # and one of the two renamed
        ("ba ab", "a/fb"),  # and the other removed
        ("ab ba ac", "c/fa"),  # there, back, and on
        ("ac ba", "a/fb c/fa"),
        ("bc ab", "c/fb b/fa"),
        ("bc ab ca", "a/fb b/fa"),  # the long way to exchange
    ],
)
def test_renames_within_one_tick_of_the_clock(renames, moved, tmp_path):
    work = os.fsencode(tmp_path)
    for name in moved.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with closing(connect(tmp_path / "access.db")) as log:
        app = application_id(log, "app")
        files = file_ids(log, [work + b"/a/fa", work + b"/b/fb"])
        add_accesses(log, [(app, file, 1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 5, 5) for file in files])
        rows = [[work + b"/" + name.encode() for name in pair] for pair in renames.split()]
        add_renames(log, [(app, old, new, 1, 8) for old, new in rows])
        settle(log)
        changed = log.execute("SELECT path FROM file, access WHERE file_id = id AND changes > 0")
        names = {os.path.relpath(os.fsdecode(path), tmp_path) for (path,) in changed}
    assert {name for name in names if "f" in name} >= set(moved.split())
