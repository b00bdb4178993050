r"""Formats of block devices: MSR Cambridge, vscsiStats, blkparse.

**msr**: the traces of Microsoft Research Cambridge (SNIA IOTTA trace set 388; Narayanan, Donnelly,
Rowstron, "Write off-loading", FAST 2008): ``Timestamp,Hostname,DiskNumber,Type,Offset,Size,
ResponseTime``; Timestamp in Windows filetime (100 ns since 1601), Type Read or Write, Offset and
Size in bytes.  The device is ``Hostname_DiskNumber``, as the trace's files are called.

**vscsi**: what VMware's ``vscsiStats -e`` makes of a command trace, format version 1:
``Serial Number,IO Data Length,Num SG Entries,Command Type,LBN,Time Stamp (microseconds)``, comments
after ``#``; length in bytes, block numbers of 512 bytes, time since the host's start.

**blkparse**: the default format of blkparse(1), ``%D %2c %8s %5T.%9t %5p %2a %3d`` and then
``SECTOR + COUNT``, sectors of 512 bytes; of a request's events one is taken, by default its
completion (C), or its issue to the driver (D).  In RWBS (column 7) W is a write, D a discard, R a
read; a leading F is a flush before it.  Seconds count from the trace's start.

Requests need not be in the order of their times.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from precopy.access.imports.devices import extents
from precopy.access.imports.events import CHANGE, READ, WRITE, Event, Refused, Useless, shown, whole
from precopy.access.imports.lines import Lines
from precopy.access.imports.options import Options
from precopy.access.imports.table import split, windows_time

_SECTOR = 512
_TYPES = {b"read": READ, b"write": WRITE}


def msr(lines: Lines, options: Options, left_out: Counter[str]) -> Iterator[Event]:
    """Yield the events of a trace of MSR Cambridge."""
    only = options.device and options.device.encode("utf-8", "surrogateescape")
    for line in lines:
        fields = line.split(b",")
        if len(fields) != 7:
            raise Refused(
                f"got {len(fields)} columns, expected Timestamp, Hostname, DiskNumber, Type, "
                "Offset, Size, ResponseTime"
            )
        time, host, disk, kind, offset, size, _ = fields
        if lines.number == 1 and time.strip().lower() == b"timestamp":
            continue
        op = _TYPES.get(kind.strip().lower())
        if op is None:
            raise Refused(f"Type: got {shown(kind)}, expected Read or Write")
        name = b"%b_%d" % (host.strip(), whole(disk.strip(), "DiskNumber"))
        if b"/" in name or not 1 < len(name) < 200:
            raise Refused(f"Hostname: got {shown(host)}, expected a name without '/'")
        time_ns = windows_time(time.strip(), "Timestamp")
        first, length = whole(offset.strip(), "Offset"), whole(size.strip(), "Size")
        if only and name != only:
            left_out["requests of other devices"] += 1
            continue
        yield from extents(time_ns, op, b"/" + name, first, length, options.extent_bytes)


_OPCODES = {
    **dict.fromkeys((b"0x08", b"0x8", b"0x28", b"0xa8", b"0x88"), READ),
    **dict.fromkeys((b"0x0a", b"0xa", b"0x2a", b"0xaa", b"0x8a", b"0x2e", b"0x41", b"0x93"), WRITE),
    b"0x42": CHANGE,  # unmap
}
_COMMAND = re.compile(rb"(read|write|unmap)(?:[ _(]?\d\d?\)?|[ _]same)?\Z")
_NAMED = {b"read": READ, b"write": WRITE, b"unmap": CHANGE}


def vscsi(lines: Lines, options: Options, left_out: Counter[str]) -> Iterator[Event]:
    """Yield the events of a command trace of vscsiStats."""
    device = b"/" + (options.device or "vscsi").encode("utf-8", "surrogateescape")
    for line in lines:
        if not line or line.startswith(b"#"):
            continue
        fields = split(line)
        if len(fields) not in (6, 7):
            raise Refused(
                f"got {len(fields)} columns, expected Serial Number, IO Data Length, Num SG "
                "Entries, Command Type, LBN, Time Stamp"
            )
        length = whole(fields[1].strip(), "IO Data Length")
        block = whole(fields[4].strip(), "LBN")
        time_ns = options.start_ns + whole(fields[5].strip(), "Time Stamp") * 1000
        command = fields[3].strip().lower()
        named = _COMMAND.match(command)
        op = _NAMED[named[1]] if named else _OPCODES.get(command)
        if op is None:
            left_out[f"commands of type {shown(command[:20])}"[:60]] += 1
            if len(left_out) > 300:
                raise Refused(f"Command Type: got {shown(command)}, expected read or write")
            continue
        yield from extents(time_ns, op, device, block * _SECTOR, length, options.extent_bytes)


_EVENT = re.compile(
    rb"\s*(\d{1,7},\d{1,7})\s+\d{1,9}\s+\d{1,19}\s+(\d{1,10})\.(\d{9})\s+\d{1,10}\s+(\w\w?)\s+(\w{1,8})"
    rb"(?:\s(.*))?\Z",
    re.DOTALL,
)
_REQUEST = re.compile(rb"\s*(\d{1,19}) \+ (\d{1,10})\s+\[(.*)\]\s*\Z", re.DOTALL)
_SUMMARY = re.compile(rb"(?:CPU\d+|Total) \(.*\):\s*\Z")


def blkparse(lines: Lines, options: Options, left_out: Counter[str]) -> Iterator[Event]:
    """Yield the events of the output of blkparse."""
    wanted = options.action.encode()
    only = options.device and options.device.encode("utf-8", "surrogateescape")
    seen: set[bytes] = set()
    rows = iter(lines)
    for line in rows:
        match = _EVENT.match(line)
        if match is None:
            if _SUMMARY.match(line):
                break
            if not line.strip():
                continue
            raise Refused(f"got {shown(line)}, expected a line of blkparse's default format")
        device, seconds, fraction, action, flags, rest = match.groups()
        seen.add(action)
        if action != wanted:
            continue
        if only and device != only:
            left_out["requests of other devices"] += 1
            continue
        kind = flags.removeprefix(b"F")[:1] or b"F"
        op = {b"W": WRITE, b"R": READ, b"D": CHANGE}.get(kind)
        request = _REQUEST.match(rest or b"")
        if request is None or op is None:
            left_out["flushes and other requests without data"] += 1
            continue
        if wanted == b"C" and request[3] != b"0":
            left_out["requests that failed"] += 1
            continue
        time_ns = options.start_ns + int(seconds) * 1_000_000_000 + int(fraction)
        offset, size = whole(request[1], "sector") * _SECTOR, int(request[2]) * _SECTOR
        yield from extents(time_ns, op, b"/" + device, offset, size, options.extent_bytes)
    for _ in rows:  # the summary
        pass
    if seen and wanted not in seen:
        others = ", ".join(sorted(name.decode("ascii", "replace") for name in seen)[:20])
        raise Useless(f"no request with action {options.action}; the trace has {others}")
