"""The monitor's records, as bytes: what ``csrc/monitor/wire.h`` says, in Python.

Used where a few records are read or written; the tracker reads millions with the C twin of
`records` in ``csrc/batch``.  Invariant: `encode` and the monitor produce the same bytes.

References
----------
Paper section 2.1 (the access monitor reports through a named pipe).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = 0x33504350
HEADER = struct.Struct("=IIIHBBIIQQQQQQQIIII")
"""Everything before the application's name and the path."""

MARK = b"precopy wire format 3"
"""What a library that knows this format contains."""

ACCESS, PROCESS, RENAMED, TOLD, MOVED = 1, 2, 3, 4, 5
"""Kinds of record: what was accessed; a process; a directory's old name, NUL, its new name; a
directory, a slash at its end, and names in it, each behind a NUL, all used the same way; a file's
old name, NUL, its new name."""

READ, WRITE, MAPPED = 1, 2, 4
"""Bits of `Record.use`: opened to be read; to be written, or changed; mapped to be written."""

LOOKED, LISTED, DIRECTORY, LINK, LOADED = 8, 16, 32, 64, 128
"""More of them: looked at by name only, or passed through; entries read; the path is a directory's;
it is a symbolic link's; read by the dynamic loader."""

REMOVED, LINKED = 256, 512
"""And more: the name was removed, at `Record.last_ns`; of a file that was moved, that the old name
has stayed."""

LONGEST = HEADER.size + 255 + 0xFFFF
"""No record is longer than this many bytes."""


@dataclass(frozen=True)
class Record:
    """One report of a monitored process; counts are what was added since its last report.

    Examples
    --------
    >>> record = Record(ACCESS, b"editor", b"/tmp/a", pid=7, use=WRITE, writes=2, bytes_written=10)
    >>> [(r.path, r.writes) for r in records(record.encode())]
    [(b'/tmp/a', 2)]
    """

    kind: int
    app: bytes
    path: bytes
    pid: int
    start_time: int = 0
    use: int = 0
    opens: int = 0
    writes: int = 0
    changes: int = 0
    bytes_written: int = 0
    first_ns: int = 0
    last_ns: int = 0
    lost: int = 0
    identity: int = 0
    born_ns: int = 0
    length: int = 0

    def encode(self) -> bytes:
        """Return the record as it travels through the pipe.

        Raises
        ------
        ValueError
            If a name is too long for the format.
        """
        if len(self.app) > 255:
            raise ValueError(f"app: got {len(self.app)} bytes, expected at most 255")
        if len(self.path) > 0xFFFF:
            raise ValueError(f"path: got {len(self.path)} bytes, expected at most 65535")
        size = HEADER.size + len(self.app) + len(self.path)
        header = HEADER.pack(
            MAGIC, 0, size, len(self.path), len(self.app), self.kind, self.use, self.pid,
            self.start_time, self.first_ns, self.last_ns, self.bytes_written,
            self.identity, self.born_ns, self.length, self.opens, self.writes, self.changes,
            self.lost,
        )  # fmt: skip
        rest = header[8:] + self.app + self.path
        return struct.pack("=II", MAGIC, zlib.adler32(rest)) + rest


def records(data: bytes) -> Iterator[Record]:
    """Yield the complete records at the beginning of `data`.

    Raises
    ------
    ValueError
        If a record is damaged; the message gives its offset in bytes.
    """
    offset = 0
    while offset + HEADER.size <= len(data):
        (magic, check, size, path_size, app_size, kind, use, pid, start_time, first_ns, last_ns,
         written, identity, born_ns, length, opens, writes, changes, lost,
        ) = HEADER.unpack_from(data, offset)  # fmt: skip
        if magic != MAGIC or size != HEADER.size + app_size + path_size:
            raise ValueError(f"data: no record at byte {offset}")
        if offset + size > len(data):
            return
        if zlib.adler32(data[offset + 8 : offset + size]) != check:
            raise ValueError(f"data: damaged record at byte {offset}")
        names = data[offset + HEADER.size : offset + size]
        yield Record(
            kind, names[:app_size], names[app_size:], pid, start_time, use, opens, writes,
            changes, written, first_ns, last_ns, lost, identity, born_ns, length,
        )  # fmt: skip
        offset += size
