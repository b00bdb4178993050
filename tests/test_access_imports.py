"""Traces of other programs in the access log: what each format says, and what none may do."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import tracemalloc
from contextlib import closing

import pytest

from precopy.access import AccessLog, import_strace, schema
from precopy.access.imports import files as files_module
from precopy.access.imports import import_trace
from precopy.access.imports import spool as spool_module
from precopy.cli import main

BLKPARSE = """\
  0,0    0        3     0.000000000   812  A   W 2048 + 8 <- (8,1) 0
  8,0    0        4     0.000001000   812  Q   W 2048 + 8 [postgres]
  8,0    0        5     0.000002000   812  G   W 2048 + 8 [postgres]
  8,0    0        6     0.000003000   812  I   W 2048 + 8 [postgres]
  8,0    0        7     0.000040000   812  D   W 2048 + 8 [postgres]
  8,0    0        8     0.002000000     0  C   W 2048 + 8 [0]
  8,0    0       13     0.030040000   812  D  WS 8192 + 128 [postgres]
  8,0    0       14     0.032000000     0  C  WS 8192 + 128 [0]
  8,0    0       19     0.060040000   812  D WFS 2048 + 8 [postgres]
  8,0    0       20     0.062000000     0  C WFS 2048 + 8 [0]
  8,0    0       25     0.090040000   812  D  RA 999424 + 32 [postgres]
  8,0    0       26     0.092000000     0  C  RA 999424 + 32 [0]
  8,0    0       31     0.120040000   812  D WSM 4194304 + 2048 [postgres]
  8,0    0       32     0.122000000     0  C WSM 4194304 + 2048 [0]
  8,0    0       37     0.150040000   812  D   D 4096 + 16 [postgres]
  8,0    0       38     0.152000000     0  C   D 4096 + 16 [0]
  8,0    0       43     0.180040000   812  D  FW [postgres]
  8,0    0       44     0.182000000     0  C  FW 0 [0]
  8,0    0        0     0.225000000     0  m   N cfq 812 slice expired
CPU0 (m):
 Reads Queued:           1,       16KiB\t Writes Queued:           6,     1104KiB
 Read Dispatches:        1,       16KiB\t Write Dispatches:        6,     1104KiB

Throughput (R/W): 71KiB/s / 4906KiB/s
Events (m): 43 entries
Skips: 0 forward (0 -   0.0%)
""".splitlines()
"""From blkparse 1.2.0."""

FIO = """\
fio version 3 iolog
20 /srv/data.c add
114 /srv/data.c open
117 /srv/data.c read 0 4096
344 /srv/data.c read 45056 4096
661 /srv/data.c write 28672 4096
996 /srv/data.c write 32768 4096
1006 /srv/data.c write 20480 4096
1016 /srv/data.c write 61440 4096
1020 /srv/data.c sync 0 0
1100 /srv/data.c trim 0 4096
1505 /srv/data.c read 49152 4096
1627 /srv/data.c close
""".splitlines()
"""From fio 3.33; sync and trim added."""

MSR = [
    "128166372003061629,hm,1,Read,383496192,32768,413",
    "128166372016382155,hm,1,Write,1048000,4096,1120",
    "128166372016382100,hm,0,Write,0,512,1120",  # earlier, and of another disk
]

VSCSI = [
    "#Vscsi Cmd Trace. (Trace Format Version 1)",
    "#Serial Number,IO Data Length,Num SG Entries,Command Type,LBN,Time Stamp (microseconds)",
    "2147483692,4096,1,write,24048792,2756778716647",
    "2147483769,4096,1,read,6322464,2756783857269",
    "2147483732,512,1,0x2a,6234880,2756783857712",
    "2147483733,0,0,0x35,0,2756783857713",
]

CSV = [
    "time,path,op,offset,size,to",
    "0,/a,stat,,100,",
    "0.5,/new,create,,,",
    "1,/new,write,,10,",  # no offset: it appends
    "1.05,/new,write,,5,",
    "1.2,/a,write,90,20,",
    "2,/a,truncate,,7,",
    "3,/new,rename,,,/a",
    '4,"/b, quoted",WRITE,0,8,',
    "5,/a,unlink,,,",
    "6,/a,create,,,",
    "7,/dev/sdb,w,1048570,10,",
    "8,rel/ative,r,0,3,",
]


@pytest.fixture
def log_path(tmp_path):
    return tmp_path / "access.db"


def ask(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def accesses(path):
    """Per file: opens, read, write, writes, bytes written, changes."""
    rows = ask(
        path,
        """SELECT path, opens, read, write, writes, bytes_written, changes
           FROM access JOIN file ON file.id = file_id""",
    )
    return {os.fsdecode(row[0]): row[1:] for row in rows}


def sizes(path):
    """Per file: its sizes in the order of their time."""
    found = {}
    for name, size in ask(
        path, "SELECT path, size_bytes FROM sample JOIN file ON id = file_id ORDER BY at_ns"
    ):
        found.setdefault(os.fsdecode(name), []).append(size)
    return found


def moves(path):
    rows = ask(
        path,
        """SELECT old.path, new.path, linked FROM moved JOIN file AS old ON old.id = old_id
           JOIN file AS new ON new.id = new_id ORDER BY moved.rowid""",
    )
    return [(os.fsdecode(old), os.fsdecode(new), linked) for old, new, linked in rows]


def births(path):
    return {os.fsdecode(p): at for p, at in ask(path, "SELECT path, born_ns FROM file") if at}


def test_blkparse(log_path):
    summary = import_trace(BLKPARSE, log_path, "pg", "blkparse")
    assert (summary.files, summary.writes, summary.bytes_written) == (5, 4, 1122304)
    assert summary.left_out == {"flushes and other requests without data": 1}
    assert accesses(log_path) == {
        "/8,0/1048576": (0, 0, 1, 2, 8192, 0),
        "/8,0/4194304": (0, 0, 1, 1, 65536, 0),
        "/8,0/511705088": (0, 1, 0, 0, 0, 0),
        "/8,0/2147483648": (0, 0, 1, 1, 1 << 20, 0),
        "/8,0/2097152": (0, 0, 1, 0, 0, 1),  # the discard
    }
    assert set(map(tuple, sizes(log_path).values())) == {(1 << 20,)}
    assert ask(log_path, "SELECT min(first_ns), max(last_ns) FROM access") == [(2000000, 152000000)]


def test_the_event_that_counts_and_the_device_can_be_chosen(log_path):
    import_trace(BLKPARSE, log_path, "issued", "blkparse", action="D", date="2026-11-25T00:00:00Z")
    begin = 1795564800 * 10**9
    assert ask(log_path, "SELECT min(first_ns) FROM access") == [(begin + 40000,)]
    with pytest.raises(ValueError, match="no read or write in it"):
        import_trace(BLKPARSE, log_path, "other", "blkparse", device="8,16")
    with pytest.raises(
        ValueError, match="no request with action C; the trace has A, D, G, I, Q, m"
    ):
        import_trace([x for x in BLKPARSE if " C " not in x], log_path, "app", "blkparse")
    failed = [BLKPARSE[5], BLKPARSE[7].replace("[0]", "[65531]")]
    assert import_trace(failed, log_path, "x", "blkparse").left_out == {"requests that failed": 1}


def test_fio(log_path):
    summary = import_trace(FIO, log_path, "fio", "fio")
    assert (summary.lines, summary.files, summary.writes, summary.bytes_written) == (
        13,
        1,
        4,
        16384,
    )
    assert accesses(log_path) == {"/srv/data.c": (0, 1, 1, 4, 16384, 1)}
    # It was laid out before: it has this size before it is used.
    assert ask(log_path, "SELECT size_bytes, bucket, at_ns FROM sample") == [(65536, -1, -1)]


def test_msr(log_path):
    summary = import_trace(MSR, log_path, "hm", "msr")
    assert (summary.files, summary.writes, summary.bytes_written) == (4, 3, 4608)
    assert accesses(log_path) == {
        "/hm_1/382730240": (0, 1, 0, 0, 0, 0),
        "/hm_1/0": (0, 0, 1, 1, 576, 0),
        "/hm_1/1048576": (0, 0, 1, 1, 3520, 0),
        "/hm_0/0": (0, 0, 1, 1, 512, 0),
    }
    [(first,)] = ask(log_path, "SELECT min(first_ns) FROM access")
    assert first == 1172163600306162900  # 2007-02-22T17:00:00.306Z
    small = import_trace(MSR, log_path, "small", "msr", extent_bytes=512, device="hm_1")
    assert (small.files, small.writes, small.bytes_written) == (64 + 9, 9, 4096)
    assert small.left_out == {"requests of other devices": 1}


def test_vscsi(log_path):
    summary = import_trace(VSCSI, log_path, "vm", "vscsi", device="disk")
    assert (summary.files, summary.writes, summary.bytes_written) == (3, 2, 4608)
    assert accesses(log_path)[f"/disk/{24048792 * 512 >> 20 << 20}"] == (0, 0, 1, 1, 4096, 0)
    assert ask(log_path, "SELECT min(first_ns) FROM access") == [(2756778716647000,)]
    assert summary.left_out == {"commands of type '0x35'": 1}
    with AccessLog(log_path) as log:
        assert log.incomplete_reason == "the trace: 1 commands of type '0x35' left out"


def test_csv(log_path):
    summary = import_trace(CSV, log_path, "app", "csv")
    assert accesses(log_path) == {
        "/a": (1, 1, 1, 1, 20, 3),
        "/new": (1, 0, 1, 2, 15, 1),
        "/b, quoted": (0, 0, 1, 1, 8, 0),
        "/sdb/0": (0, 0, 1, 1, 6, 0),
        "/sdb/1048576": (0, 0, 1, 1, 4, 0),
        "/rel/ative": (0, 1, 0, 0, 0, 0),
    }
    assert sizes(log_path) == {
        "/a": [100, 100, 110, 7, 15, -1, 0],
        "/new": [0, 15, -1],
        "/b, quoted": [8],
        "/sdb/0": [1 << 20],
        "/sdb/1048576": [1 << 20],
        "/rel/ative": [3],
    }
    assert moves(log_path) == [("/new", "/a", 0)]
    assert births(log_path) == {"/new": 500_000_000}
    assert summary.sizes_at_least == 2
    assert ask(log_path, "SELECT value FROM meta WHERE key = 'imported'") == [(1,)]


def test_a_size_before_the_first_write_lies_in_the_bucket_before(log_path):
    lines = ["100.03,/a,stat,,100", "100.05,/a,write,100,10"]
    import_trace(lines, log_path, "app", "csv")
    rows = ask(log_path, "SELECT bucket, size_bytes FROM sample ORDER BY bucket")
    assert rows == [(999, 100), (1000, 110)]


def test_columns_of_a_csv_are_found_by_name_and_by_number(log_path):
    named = ["n;what;file;ts;o", "9;w;/a;1700000000123;0"]
    columns = {"time": "ts", "path": "file", "op": "what", "offset": "o", "size": "n"}
    import_trace(named, log_path, "named", "csv", columns=columns, delimiter=";", unit="ms")
    assert ask(log_path, "SELECT first_ns FROM access") == [(1700000000123000000,)]
    numbered = ["1970-01-01T00:00:01.5,write,/b,7"]
    places = {"time": "1", "path": "3", "op": "2", "size": "4"}
    import_trace(numbered, log_path, "numbered", "csv", columns=places, unit="iso")
    assert accesses(log_path)["/b"] == (0, 0, 1, 1, 7, 0)
    assert ask(log_path, "SELECT max(last_ns) FROM access WHERE application_id = 2") == [
        (1_500_000_000,)
    ]
    bom = [b"\xef\xbb\xbftime,path,op,size\r\n", b"1,/c\xff,write,3\r\n"]
    import_trace(bom, log_path, "bytes", "csv")
    assert accesses(log_path)[os.fsdecode(b"/c\xff")] == (0, 0, 1, 1, 3, 0)


WRONG = {
    ("csv", "1,/a,write,0,5", "0.5,/a,write,0,5"): "line 2: time: goes back by 0.5 s, expected",
    ("csv", "1,/a,wrote,0,5"): "line 1: op: got 'wrote', expected read, write, create, truncate",
    ("csv", "1,/a,write,0,-5"): "line 1: size: got '-5', expected a whole number, not negative",
    ("csv", "1,/a,write,0,5.5"): "line 1: size: got '5.5', expected a whole number",
    ("csv", "1,/a,write,0," + "9" * 30): "line 1: size: got '999999999999999999999999999999', exp",
    ("csv", "1,/a,write,9223372036854775807,1"): "line 1: offset and size: got 9223372036854775808",
    ("csv", "9223372037,/a,write,0,1"): "line 1: time: got '9223372037', expected at most",
    ("csv", "-1,/a,write,0,1"): "line 1: time: got '-1', expected a number, not negative",
    ("csv", "nan,/a,write,0,1"): "line 1: time: got 'nan', expected a number",
    ("csv", "1,,write,0,1"): "line 1: path: got an empty name",
    ("csv", "1,/" + "x" * 5000 + ",write,0,1"): "line 1: path: got 5001 bytes, expected at most",
    ("csv", "1,/a,write,0,1", "2,/a,rename,,,"): "line 2: to: got an empty name",
    ("csv", "1,/a,rename"): "line 1: to: got no column, expected the new name of the file",
    ("csv", "1,/a,delete", "2,/a,rename,,,/b"): "line 2: rename: the file was deleted before",
    ("csv", "1,/a"): "line 1: got 2 columns, expected 6",
    ("csv", '1,"/a,write,0,1'): "line 1: not one line of a CSV",
    ("csv", "1,/a\0,write,0,1"): "line 1: the line has a NUL byte",
    ("csv", "1,/dev/sda,create,0,1"): "line 1: op: got 'create' of the device '/sda', expected",
    ("csv", "1,/dev/sda,write,,1"): "line 1: offset: got none for the device '/sda', expected one",
    ("csv", "1,/dev/sda,write,0,1" + "0" * 15): "extents of 1048576; give larger --extent-bytes",
    ("csv", f"1,/a,write,0,{1 << 60}", "2,/a,write,0,1"): "line 2: more than 1152921504606846976",
    ("csv", "time,path,op"): "trace: the trace: no read or write in it",
    ("csv",): "trace: the trace: no read or write in it",
    ("csv", "x" * (1 << 20) + "y"): "line 1: the line is longer than 1048576 bytes",
    ("csv", b"\x1f\x8b\x08\x00"): "line 1: it is compressed; unpack it",
    ("msr", "1,hm,1,Read,0,1,1"): "line 1: Timestamp: got '1', expected a Windows filetime of 1970",
    ("msr", MSR[0], "a,b"): "line 2: got 2 columns, expected Timestamp, Hostname, DiskNumber",
    ("msr", MSR[0].replace("Read", "Trim")): "line 1: Type: got 'Trim', expected Read or Write",
    ("msr", MSR[0].replace("hm", "../hm")): "line 1: Hostname: got '../hm', expected a name",
    ("fio", "fio version 2 iolog"): "line 1: got 'fio version 2 iolog', which has no times",
    ("fio", "8 /a write 0 1"): "line 1: got '8 /a write 0 1', expected 'fio version 3 iolog'",
    ("fio", FIO[0], "8 /a wait 1 0"): "line 2: action: got 'wait', expected one of fio's",
    ("fio", FIO[0], "8 /a write"): "line 2: action: got 'write', expected one of fio's, with its",
    ("fio", FIO[0], "8 /a write 0"): "line 2: got 4 words, expected: timestamp file action",
    ("vscsi", "1,4096,1,write,5"): "line 1: got 5 columns, expected Serial Number",
    ("vscsi", "1,4096,1,write,9223372036854775807,5"): "line 1: offset and size: got",
    ("blkparse", "8,0 0 1 0.5 1 C W 0 + 8 [0]"): "line 1: got '8,0 0 1 0.5 1 C W 0 + 8 [0]', expe",
}


@pytest.mark.parametrize("case", WRONG, ids=lambda case: " ".join(map(str, case))[:40])
def test_what_cannot_be_read_is_an_error_with_its_line_and_leaves_no_log(case, log_path):
    format, *lines = case
    with pytest.raises(ValueError, match="trace: the trace") as raised:
        import_trace(lines, log_path, "app", format)
    assert WRONG[case] in str(raised.value)
    assert not log_path.exists()


REFUSED = {
    "format": ({"format": "spc"}, "format: got 'spc', expected one of csv, msr, fio, vscsi"),
    "app": ({"app": ""}, "app: got an empty name"),
    "role": ({"columns": {"file": "x"}}, "columns: got 'file', expected one of time, path"),
    "number": ({"columns": {"time": "0"}}, "columns: got time=0, expected a name, or a number"),
    "name": ({"columns": {"time": "ts"}}, "columns: got 'ts', expected a header with it"),
    "lost": (
        {"columns": {"time": "ts"}, "header": True},
        "columns: got 'ts', expected one of '1', '/a'",
    ),
    "few": ({"columns": {"time": "1"}}, "columns: got none for path, expected path=NAME or"),
    "unit": ({"unit": "h"}, "unit: got 'h', expected one of s, ms, us, ns, filetime, iso"),
    "delimiter": ({"delimiter": '"'}, "delimiter: got '\"', expected one letter of ASCII"),
    "extent": ({"extent_bytes": 0}, "extent_bytes: got 0, expected 512 to"),
    "device": ({"device": "a/b"}, "device: got 'a/b', expected a name without '/'"),
    "action": ({"action": "Q"}, "action: got 'Q', expected C or D"),
    "date": ({"date": "yesterday"}, "date: got 'yesterday', expected YYYY-MM-DD"),
    "early": ({"date": "1950-01-01"}, "date: got 1950-01-01T00:00:00, expected 1970 or later"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_that_mean_nothing_are_refused(case, log_path):
    options, message = REFUSED[case]
    given = {"app": "app", "format": "csv"} | options
    with pytest.raises(ValueError, match=re.escape(message)):
        import_trace(["1,/a,write,0,1"], log_path, **given)
    assert not log_path.exists()


def test_a_trace_comes_in_once_and_beside_what_the_log_has(log_path):
    import_trace(CSV, log_path, "one", "csv")
    with pytest.raises(ValueError, match="trace: the trace is already in the log as 'one'"):
        import_trace(CSV, log_path, "one", "csv")
    import_trace(CSV, log_path, "two", "csv")
    rows = ask(log_path, "SELECT application_id, sum(writes) FROM access GROUP BY 1")
    assert len(rows) == 2
    assert rows[0][1] == rows[1][1]


def dump(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_an_interrupted_import_leaves_the_log_as_it_was(log_path, monkeypatch):
    import_trace(MSR, log_path, "before", "msr")
    before = dump(log_path)
    lines = (f"{n},/a{n % 9},write,0,{n}" for n in range(100_000))

    def stop(read, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_trace(lines, log_path, "app", "csv", progress=stop)
    assert dump(log_path) == before
    for step in ("add_accesses", "add_births"):
        monkeypatch.setattr(schema, step, lambda *rows: stop(0, 0))
        for run in (
            lambda: import_trace(CSV, log_path, "app", "csv"),
            lambda: import_strace(['7 1.0 creat("/a", 0666) = 3'], log_path, "app"),
        ):
            with pytest.raises(KeyboardInterrupt):
                run()
            assert dump(log_path) == before


def busy(files, lines):
    """A trace of many files, with births, deaths and renames."""
    yield "time,path,op,offset,size,to"
    for n in range(lines):
        name = f"/data/{n * 7919 % files}"
        kind = n % 11
        if kind == 3:
            yield f"{n / 50},{name},create,,,"
        elif kind == 5 and n > 1000:
            yield f"{n / 50},{name}.x{n % 3},write,,7,"
            yield f"{n / 50},{name}.x{n % 3},rename,,,{name}"
        elif kind == 7:
            yield f"{n / 50},{name},delete,,,"
        else:
            yield f"{n / 50},{name},write,{n % 5000},{n % 999 + 1},"


def tables(path):
    """What a log says of files, without the numbers that it gave them."""
    return [
        sorted(accesses(path).items()),
        sorted(moves(path)),
        sorted(births(path).items()),
        sorted(
            ask(path, "SELECT path, bucket, size_bytes, at_ns FROM sample, file WHERE file_id = id")
        ),
        sorted(
            ask(
                path,
                """SELECT path, bucket, writes, bytes_written, changes, last_ns
                   FROM write_bucket, file WHERE file_id = id""",
            )
        ),
    ]


def test_small_batches_give_the_same_log(tmp_path, monkeypatch):
    whole, small = tmp_path / "whole.db", tmp_path / "small.db"
    import_trace(busy(300, 3000), whole, "app", "csv")
    monkeypatch.setattr(files_module, "_MOST_FILES", 7)
    monkeypatch.setattr(spool_module, "_ROWS", 11)
    import_trace(busy(300, 3000), small, "app", "csv")
    assert tables(whole) == tables(small)
    assert len(moves(whole)) > 100


@pytest.mark.parametrize("format", ["csv", "strace"])
def test_memory_does_not_grow_with_the_length_of_a_trace(format, tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "_MOST_FILES", 100)
    monkeypatch.setattr(spool_module, "_ROWS", 200)
    monkeypatch.setattr(spool_module, "_CHUNK", 200)

    def peak(lines):
        def csv():
            for n in range(lines):
                yield f"{n},/data/{n},write,0,9"

        def strace():
            yield '7 1 creat("/a", 0666) = 3</a>'
            for n in range(1, lines):
                yield f'7 {n}.0 pwrite64(3</a>, "x"..., 10, {n}) = 10'

        log = tmp_path / f"{lines}.db"
        tracemalloc.start()
        if format == "csv":
            import_trace(csv(), log, "app", "csv")
        else:
            import_strace(strace(), log, "app")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1000)  # modules that are imported on the way
    assert peak(12_000) < peak(2000) + 2_000_000


def test_a_long_line_costs_no_more_than_a_line_may(tmp_path, log_path):
    trace = tmp_path / "trace"
    trace.write_bytes(b"1,/a,write,0,1\n1,/" + b"x" * 30_000_000 + b",write,0,1\n")
    tracemalloc.start()
    with pytest.raises(ValueError, match="trace: trace, line 2: the line is longer than 1048576"):
        import_trace(trace, log_path, "app", "csv")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8_000_000


PROGRAM = textwrap.dedent(
    """
    import os
    def new(name, flags=0):
        return os.open(name, os.O_RDWR | os.O_CREAT | flags, 0o644)
    with open("old", "r+b") as file:
        file.seek(0, 2)
        file.write(b"more")
    fd = new("trunc", os.O_TRUNC)
    os.write(fd, b"x" * 100)
    os.pwrite(fd, b"y" * 10, 500)
    os.lseek(fd, -5, os.SEEK_CUR)
    os.write(fd, b"zz")
    os.lseek(fd, 1000, os.SEEK_END)
    os.writev(fd, [b"one", b"three"])
    copy = os.dup(fd)
    os.write(copy, b"shared position")
    os.write(fd, b"!")
    excl = new("excl", os.O_EXCL)
    os.lseek(fd, 0, os.SEEK_SET)
    os.read(fd, 7)
    os.write(fd, b"w" * 3000)
    os.sendfile(excl, fd, 0, 700)
    os.copy_file_range(fd, excl, 300, 100, 2000)
    os.ftruncate(fd, 1234)
    app = new("app", os.O_APPEND)
    os.fstat(app)
    os.write(app, b"a" * 11)
    os.pwrite(app, b"b" * 11, 0)
    if os.fork() == 0:
        os.write(app, b"child")
        os.write(excl, b"from the child")
        os._exit(0)
    os.wait()
    os.write(excl, b"after it")
    os.posix_fallocate(new("alloc", os.O_TRUNC), 100, 5000)
    os.truncate("alloc", 5050)
    for n in range(3):
        with open("conf.new", "wb") as file:
            file.write(b"c" * (n + 1) * 1000)
        os.rename("conf.new", "conf")
    os.link("conf", "second")
    with open("gone", "wb") as file:
        file.write(b"g")
    os.unlink("gone")
    os.mkdir("dir")
    with open("dir/inside", "wb") as file:
        file.write(b"i" * 77)
    os.rename("dir", "moved")
    with open("one", "wb") as one, open("two", "wb") as two:
        one.write(b"1" * 10)
        two.write(b"2" * 20)
    with open("old", "rb") as file:
        file.read()
    """
)


@pytest.mark.parametrize("options", [["-y"], []], ids=["-y", "without -y"])
def test_sizes_that_strace_shows_are_those_on_disk(options, tmp_path, log_path):
    if shutil.which("strace") is None:
        pytest.skip("strace not installed")
    work = tmp_path / "work"
    work.mkdir()
    (work / "old").write_bytes(b"o" * 333)
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    trace = tmp_path / "trace"
    command = ["strace", "-f", *options, "-ttt", "-o", trace, sys.executable, "-I", "-S", script]
    subprocess.run(command, cwd=work, check=True, timeout=120)
    summary = import_strace(trace, log_path, "program", cwd=work)
    assert (summary.sizes_at_least, summary.sizes_unknown) == (0, 0)
    root = f"{work}/"
    found = {n.removeprefix(root): s[-1] for n, s in sizes(log_path).items() if n.startswith(root)}
    here = {str(p.relative_to(work)): p.stat().st_size for p in work.rglob("*") if p.is_file()}
    assert {name: size for name, size in found.items() if size >= 0} == here
    assert {n for n, size in found.items() if size < 0} == {"conf.new", "gone", "dir/inside"}
    pairs = [(a.removeprefix(root), b.removeprefix(root), x) for a, b, x in moves(log_path)]
    assert pairs == [
        *[("conf.new", "conf", 0)] * 3,
        ("dir/inside", "moved/inside", 0),
        ("conf", "second", 1),
    ]
    born = {name.removeprefix(root) for name in births(log_path) if name.startswith(root)}
    assert born == set(found) - {"old"}
    assert sizes(log_path)[f"{root}old"][0] == 333  # as it was before the first write


def strace_sizes(log_path, *lines):
    import_strace([f"7 {n}.0 {line}" for n, line in enumerate(lines, 1)], log_path, "app")
    return sizes(log_path).get("/a", [])


CALLS = {
    "what cannot be known": (['openat(-100, "/a", O_WRONLY) = 3</a>', "close(3</a>) = 0"], []),
    "at least": (
        ['openat(-100, "/a", O_RDWR) = 3</a>', 'pwrite64(3</a>, "x", 1, 99) = 1'],
        [100],
    ),
    "then told": (
        [
            'openat(-100, "/a", O_RDWR) = 3</a>',
            'pwrite64(3</a>, "x", 1, 99) = 1',
            "fstat(3</a>, {st_mode=S_IFREG|0644, st_size=5000, ...}) = 0",
        ],
        [100, 5000],
    ),
    "of a directory": (
        [
            'openat(-100, "/a", O_RDONLY) = 3</a>',
            "fstat(3</a>, {st_mode=S_IFDIR|0755, st_size=4096, ...}) = 0",
        ],
        [],
    ),
    "to its end": (
        [
            'openat(-100, "/a", O_RDONLY) = 3</a>',
            'read(3</a>, "x"..., 4096) = 10',
            'read(3</a>, "", 4096) = 0',
        ],
        [10],
    ),
    "a range taken out": (
        [
            'creat("/a", 0666) = 3</a>',
            "ftruncate(3</a>, 10000) = 0",
            "fallocate(3</a>, FALLOC_FL_COLLAPSE_RANGE, 0, 4096) = 0",
            "fallocate(3</a>, FALLOC_FL_INSERT_RANGE, 0, 8192) = 0",
            "fallocate(3</a>, FALLOC_FL_KEEP_SIZE, 0, 99999) = 0",
            "fallocate(3</a>, FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE, 0, 99999) = 0",
        ],
        [0, 10000, 5904, 14096],
    ),
    "appended, by a flag that was set": (
        [
            'creat("/a", 0666) = 3</a>',
            'write(3</a>, "x"..., 10) = 10',
            "fcntl(3</a>, F_SETFL, O_WRONLY|O_APPEND) = 0",
            "lseek(3</a>, 0, SEEK_SET) = 0",
            'write(3</a>, "x"..., 10) = 10',
        ],
        [0, 10, 20],
    ),
    "numbers beyond": (
        ['creat("/a", 0666) = 3</a>', f'pwrite64(3</a>, "x", 1, {2**63 - 1}) = 1'],
        [0],
    ),
    "exchanged": (
        [
            'creat("/a", 0666) = 3</a>',
            'write(3</a>, "x"..., 10) = 10',
            'creat("/b", 0666) = 4</b>',
            'renameat2(-100, "/a", -100, "/b", RENAME_EXCHANGE) = 0',
        ],
        [0, 10, 0],
    ),
    "born again": (
        ['creat("/a", 0666) = 3</a>', 'unlink("/a") = 0', 'creat("/a", 0666) = 4</a>'],
        [0, -1, 0],
    ),
    "written without a name": (
        ['creat("/a", 0666) = 3</a>', 'unlink("/a") = 0', 'write(3</a>(deleted), "x", 1) = 1'],
        [0, -1],
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_calls_tell_of_a_size(case, log_path):
    lines, expected = CALLS[case]
    assert strace_sizes(log_path, *lines) == expected


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("\n".join(CSV).replace("time,path", "ts,file"))
    base = ["import", "--app", "app"]
    columns = ["--columns", "time=ts,path=file"]
    assert main([*base, "--format", "csv", *columns, "t.csv"]) == 0
    answer, warnings = capsys.readouterr()
    assert answer == "13 lines: 6 files, 6 writes, 53 bytes written\n"
    assert warnings.startswith("precopy: the size of 2 files is only at least known")
    (tmp_path / "io.log").write_text("\n".join(FIO))
    assert main([*base, "--format", "fio", "io.log"]) == 0
    (tmp_path / "trace").write_text(
        '7 1.5 openat(-100, "/q", O_RDWR) = 3</q>\n7 2 write(3, "", 2) = 2'
    )
    assert main([*base, "--format", "strace", "trace"]) == 0
    answer, warnings = capsys.readouterr()
    assert "1 files, 1 opens, 1 writes, 2 bytes written" in answer
    assert "the size of 1 written files is only at least known" in warnings
    for arguments, message in {
        "--format csv t.csv": "trace: t.csv, line 1: time: got 'ts', expected a number",
        "--format csv --columns time t.csv": "--columns: got 'time', expected ROLE=NAME, each once",
        "--format csv --columns time=a,time=b t.csv": "--columns: got 'time=b', expected ROLE=NAME",
        "--format fio --unit s io.log": "--unit: expected it with --format csv",
        "--format msr --date 2026-01-01 x": "--date: expected it with --format strace or csv or",
        "--format msr a b": "TRACE: got 2 files, expected one; several only with --format strace",
        "--format msr none": "'none': No such file or directory",
        "--format fio io.log": "trace: io.log is already in the log as 'app'",
        "--format blkparse io.log": "trace: io.log, line 1: got 'fio version 3 iolog', expected",
    }.items():
        assert main([*base, *arguments.split()]) == 2
        assert capsys.readouterr().err.startswith(f"precopy import: error: {message}")


LONG = {
    "a string": b'7 2.0 write(3</a>, "' + b"x" * 1_000_000 + b'", 10) = 10',
    "a name": b'7 2.0 unlink("' + b"/a" * 500_000 + b'") = 0',
    "a path": b"7 2.0 write(3<" + b"/a" * 500_000 + b'>, "x", 1) = 1',
    "a directory": b"7 2.0 openat(AT_FDCWD<" + b"/a" * 500_000 + b'>, "x", O_RDONLY) = 4',
    "a status": b"7 2.0 fstat(3</a>, {" + b"st_mode=S_IFREG, " * 60_000 + b"}) = 0",
}


@pytest.mark.parametrize("case", LONG)
def test_a_long_line_of_strace_costs_little(case, log_path):
    tracemalloc.start()
    import_strace([b'7 1.0 creat("/a", 0666) = 3</a>', LONG[case]], log_path, "app")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 30_000_000
    assert all(len(path) < 10 for path in accesses(log_path))
