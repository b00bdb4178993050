"""Traces damaged in every way end in an error that says what is wrong, or in numbers that fit.

``python tests/test_access_imports_fuzz.py 100000`` tries as many.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from precopy.access import AccessLog
from precopy.access.imports import FORMATS, import_trace
from precopy.access.imports.events import Refused
from precopy.access.imports.importing import take_all
from precopy.access.imports.lines import Lines
from precopy.access.imports.options import Options
from precopy.access.imports.spool import Spool

VALID = {
    "csv": b"""time,path,op,offset,size,to
0,/a,stat,,100,
0.5,/new,create,,,
1,/new,write,,10,
1.2,/a,write,90,20,
2,/a,truncate,,7,
3,/new,rename,,,/a
4,"/b, ""q"" c",WRITE,0,8,
5,/a,unlink,,,
7,/dev/sdb,w,1048570,10,
8,rel/ative,r,0,3,
""",
    "msr": b"""128166372003061629,hm,1,Read,383496192,32768,413
128166372016382155,hm,1,Write,1048000,4096,1120
128166372016382100,hm,0,Write,0,512,1120
""",
    "fio": b"""fio version 3 iolog
20 /srv/data.c add
114 /srv/data.c open
117 /srv/data.c read 0 4096
661 /dev/sdc write 28672 4096
1100 /srv/data.c trim 0 4096
1627 /srv/data.c close
""",
    "vscsi": b"""#Vscsi Cmd Trace. (Trace Format Version 1)
#Serial Number,IO Data Length,Num SG Entries,Command Type,LBN,Time Stamp (microseconds)
2147483692,4096,1,write,24048792,2756778716647
2147483769,4096,1,read,6322464,2756783857269
2147483733,0,0,0x35,0,2756783857713
""",
    "blkparse": b"""  8,0    0        7     0.000040000   812  D   W 2048 + 8 [postgres]
  8,0    0        8     0.002000000     0  C   W 2048 + 8 [0]
  8,0    0       26     0.092000000     0  C  RA 999424 + 32 [0]
  8,0    0       38     0.152000000     0  C   D 4096 + 16 [0]
  8,0    0       44     0.182000000     0  C  FW 0 [0]
CPU0 (m):
 Reads Queued:           1,       16KiB  Writes Queued:           6,     1104KiB
""",
}
PIECES = [
    b",", b",,,,", b'"', b"\n", b"\r\n", b"\r", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b" ",
    b"\t", b";",
    b"-", b"-1", b"0", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616",
    b"1" * 40, b"9" * 5000, b"1e9", b"0x10", b"1_000", b"nan", b"inf", b"1.5", b".", b"\xd9\xa3",
    b"write", b"rename", b"delete", b"create", b"truncate", b"stat", b"/dev/sda", b"/dev/", b"/",
    b"..", b"x" * 70_000, b"time,path,op", b"fio version 2 iolog", b" + ", b"[0]", b"#",
    b"CPU0 (x):", b"\x1f\x8b", b"\x1b[2J", b"\xc2\x85",
]  # fmt: skip


def damaged(rng: random.Random, text: bytes) -> bytes:
    """A valid trace with a few wounds."""
    data = bytearray(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice([1, 1, 4, 30]))
        match rng.randrange(8):
            case 0:
                data[at:to] = b""
            case 1:
                data[at:at] = rng.choice(PIECES)
            case 2:
                data[at:to] = rng.choice(PIECES)
            case 3:
                data[at:at] = data[at:to] * rng.choice([1, 2, 50])
            case 4:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 5:  # a number, for another
                while at < len(data) and not 48 <= data[at] <= 57:
                    at += 1
                to = at
                while to < len(data) and 48 <= data[to] <= 57:
                    to += 1
                data[at:to] = (
                    rng.choice(PIECES)
                    if rng.random() < 0.3
                    else b"%d"
                    % rng.choice([0, 1, 7, 2**31, 2**40, 2**62, 2**63 - 1, rng.randrange(2**66)])
                )
            case 6:  # lines in another order
                lines = data.split(b"\n")
                i, k = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[i], lines[k] = lines[k], lines[i]
                data = bytearray(b"\n").join(lines)
            case _:  # of another format
                other = VALID[rng.choice(sorted(VALID))]
                start = rng.randrange(len(other))
                data[at:at] = other[start : start + rng.randrange(200)]
    return bytes(data)


def options_of(rng: random.Random) -> Options:
    """Options, mostly those by default."""
    if rng.random() < 0.7:
        return Options()
    return Options(
        columns=rng.choice([{}, {"time": "2", "path": "1", "op": "3"}, {"size": "offset"}]),
        header=rng.choice([None, True, False]),
        unit=rng.choice(["s", "ns", "filetime", "iso"]),
        extent_bytes=rng.choice([512, 1 << 20, 1 << 40]),
        device=rng.choice([None, "hm_1", "8,0"]),
        action=rng.choice("CD"),
        start_ns=rng.choice([0, 1795564800 * 10**9]),
    )


def tried(rng: random.Random) -> str:
    """Read one damaged trace; return its error, or nothing."""
    format = rng.choice(sorted(VALID))
    text, error = damaged(rng, VALID[format]), ""
    with closing(Spool(100_000_000)) as spool:
        try:
            lines = Lines(text.splitlines(keepends=True))
            take_all(format, lines, options_of(rng), spool, Counter())
            files, _, writes, written = spool.totals()
        except Refused as raised:
            error, files, writes, written = str(raised), 1, 0, 0
    assert error.isprintable()
    assert len(error) < 700
    assert files > 0
    assert 0 <= writes <= written < 2**63
    return error


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_trace_ends_in_an_error_or_in_numbers_that_fit(seed: int) -> None:
    rng = random.Random(seed)
    errors = [tried(rng) for _ in range(500)]
    refused = [error for error in errors if error]
    assert 100 < len(refused) < 450
    assert len({error.split(":")[0] for error in refused}) > 15


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_log_holds_what_a_damaged_trace_leaves(format: str, tmp_path: Path) -> None:
    rng = random.Random(format)
    path, kept, refused = tmp_path / "log.db", 0, []
    for number in range(60):
        lines = damaged(rng, VALID[format]).splitlines(keepends=True)
        try:
            import_trace(lines, path, f"app {number}", format)
            kept += 1
        except ValueError as error:
            refused.append(str(error))
    assert kept > 3
    assert all(error.startswith("trace: the trace") for error in refused)
    with AccessLog(path) as log:
        table = log.accesses()
        assert (table["writes"] >= 0).all()
        assert (table["first_ns"] <= table["last_ns"]).all()
        assert len(log.applications()) == kept


if __name__ == "__main__":
    drawn = random.Random(sys.argv[2] if len(sys.argv) > 2 else 0)
    found = Counter(tried(drawn).split(":")[0] for _ in range(int(sys.argv[1])))
    for reason, count in found.most_common():
        print(count, reason or "read")
