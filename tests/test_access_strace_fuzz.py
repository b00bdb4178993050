"""Traces that are damaged in every way end in counts, or in an error that says what is wrong."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from precopy.access import AccessLog, import_strace

TRACES = [path.read_bytes() for path in sorted((Path(__file__).parent / "access/traces").iterdir())]
NUMBERS = [
    b"0",
    b"-1",
    b"99999999",
    b"4294967296",
    b"9223372036854775808",
    b"1" * 40,
    b"0x" + b"f" * 20,
]
NUMBERS += [b"1795627814", b"18446744073709551615.999999999", b"07", b"1e9", "\u0663".encode()]
PIECES = [
    b'"', b"\\", b"<", b">", b"(", b")", b"{", b"[", b", ", b" = ", b"\n", b"\r\n", b"\0", b"/*",
    b"*/", b"<unfinished ...>", b"<... read resumed>", b"<detached ...>", b"<pid changed to 7 ...>",
    b"+++ exited with 0 +++", b"--- SIGINT ---", b"AT_FDCWD", b"NULL", b"/..", b"//", b"(deleted)",
    b"[pid 1] ", b"strace: Process 9 attached\n", b"RENAME_EXCHANGE", b"CLONE_FS", b"...", b"? ",
    b"\xff", b"9" * 5000,
]  # fmt: skip


def damaged(rng: random.Random) -> bytes:
    """A stored trace with a few wounds."""
    text = bytearray(rng.choice(TRACES))
    for _ in range(rng.choice([1, 1, 2, 3, 5, 20])):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        to = min(to, at + rng.choice([1, 8, 200, 5000]))
        match rng.randrange(6):
            case 0:
                text[at:to] = b""
            case 1:
                text[at:at] = rng.choice(PIECES)
            case 2:
                text[at:to] = rng.choice(PIECES)
            case 3:
                text[at:at] = text[at:to]
            case 4:
                text[at : at + 1] = bytes([rng.randrange(256)])
            case 5:
                other = rng.choice(TRACES)
                start = rng.randrange(len(other))
                text[at:at] = other[start : start + rng.randrange(400)]
            case 6:
                digits = next((i for i in range(at, len(text)) if 48 <= text[i] <= 57), len(text))
                end = digits
                while end < len(text) and 48 <= text[end] <= 57:
                    end += 1
                text[digits:end] = rng.choice(NUMBERS)
            case _:
                lines = text.split(b"\n")
                i, k = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[i], lines[k] = lines[k], lines[i]
                text = bytearray(b"\n").join(lines)
    return bytes(text)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_trace_ends_in_counts_or_in_a_clear_error(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    log, refused = tmp_path / "log.db", 0
    for number in range(60):
        app = f"app {number}"
        lines, error = damaged(rng).split(b"\n"), ""
        try:
            summary = import_strace(lines, log, app, cwd="/srv/w", date="2026-11-25T00:00:00")
            assert summary.calls > 0
            assert summary.unreadable == 0 or summary.reasons
        except ValueError as raised:
            error, refused = str(raised), refused + 1
        assert error == "" or error.startswith("path_or_lines: ")
    assert refused < 20
    with closing(sqlite3.connect(log)) as connection:
        [(least, most)] = connection.execute(
            """SELECT min(min(opens, writes, bytes_written, changes, first_ns)),
                      max(max(writes, last_ns)) FROM access"""
        )
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert 0 <= least <= most < 2**63
    with AccessLog(log) as opened:
        assert len(opened.accesses()) > 0
