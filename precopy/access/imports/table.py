"""A neutral CSV, ``time,path,op,offset,size[,to]``, and the same columns under other names.

``time`` is a decimal number of units, or ISO 8601 (unit ``iso``; without a zone it is UTC), and
does not go back.  ``op`` is one of

========================  ==========================================================================
``read``, ``write``       `size` bytes at `offset`; a write without an offset appends
``create``                the file is made anew, empty
``truncate``              its size is `size` from now on
``rename``                its name is now what the column ``to`` says; a directory is no file
``delete``, ``unlink``    it is gone
``stat``                  it has `size` bytes; also lists a file that the trace does not touch
========================  ==========================================================================

A path below ``/dev`` (but ``/dev/shm``) is a device, see `precopy.access.imports.devices`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from precopy.access.imports.devices import device_name, extents
from precopy.access.imports.events import (
    CREATE,
    DELETE,
    MOST,
    READ,
    RENAME,
    STAT,
    TRUNCATE,
    WRITE,
    Event,
    Refused,
    absolute,
    shown,
    time_of,
    whole,
)
from precopy.access.imports.lines import Lines
from precopy.access.imports.options import Options

ROLES = ("time", "path", "op", "offset", "size", "to")
"""The columns, in the order of a file without a header."""
UNITS = {
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1000,
    "ns": 1,
    "filetime": 100,
    "iso": 0,
}
"""Units of time in nanoseconds; filetime counts from 1601, iso is a date and time."""
EPOCH_1601_NS = 11_644_473_600 * 1_000_000_000
"""From the beginning of Windows' time to that of Unix."""

_OPS = {
    b"read": READ, b"r": READ, b"write": WRITE, b"w": WRITE,
    b"create": CREATE, b"truncate": TRUNCATE, b"rename": RENAME,
    b"delete": DELETE, b"unlink": DELETE, b"remove": DELETE, b"stat": STAT,
}  # fmt: skip


def split(line: bytes, delimiter: bytes = b",") -> list[bytes]:
    """Return the fields of one line of a CSV.

    Examples
    --------
    >>> split(b'1.5,"/srv/a, b",write,0,10')
    [b'1.5', b'/srv/a, b', b'write', b'0', b'10']
    """
    if b'"' not in line:
        return line.split(delimiter)
    text = line.decode("utf-8", "surrogateescape")
    try:
        (fields,) = csv.reader([text], delimiter=delimiter.decode("ascii"), strict=True)
    except (csv.Error, ValueError) as error:
        raise Refused(f"not one line of a CSV ({error})") from None
    return [field.encode("utf-8", "surrogateescape") for field in fields]


def windows_time(text: bytes, what: str = "time") -> int:
    """Return a Windows filetime (100 ns since 1601) in nanoseconds since the Unix epoch."""
    time_ns = whole(text, what) * 100 - EPOCH_1601_NS
    if not 0 <= time_ns <= MOST:
        raise Refused(f"{what}: got {shown(text)}, expected a Windows filetime of 1970 or later")
    return time_ns


def read(lines: Lines, options: Options, left_out: Counter[str]) -> Iterator[Event]:
    """Yield the events of a CSV."""
    rows = iter(lines)
    first = next(rows, b"").removeprefix(b"\xef\xbb\xbf")
    places, is_header = _places(split(first, options.delimiter), options)
    unit_ns = UNITS[options.unit]
    at_time, at_path, at_op = (places[role] for role in ROLES[:3])
    at_offset, at_size, at_to = (places.get(role, -1) for role in ROLES[3:])
    needed = max(places.values()) + 1
    required = max(at_time, at_path, at_op) + 1

    def value(fields: list[bytes], place: int) -> bytes:
        return fields[place].strip() if 0 <= place < len(fields) else b""

    def of(line: bytes) -> Iterator[Event]:
        fields = split(line, options.delimiter)
        if len(fields) < required:
            raise Refused(f"got {len(fields)} columns, expected {needed}")
        text = fields[at_time].strip()
        if options.unit == "iso":
            time_ns = _iso(text)
        elif options.unit == "filetime":
            time_ns = windows_time(text)
        else:
            time_ns = options.start_ns + time_of(text, unit_ns)
        op = _OPS.get(fields[at_op].strip().lower())
        if op is None:
            raise Refused(
                f"op: got {shown(fields[at_op])}, expected read, write, create, truncate, rename, "
                "delete or stat"
            )
        path = absolute(fields[at_path])
        size_text, offset_text = value(fields, at_size), value(fields, at_offset)
        needs = op in (READ, WRITE, TRUNCATE, STAT)
        size = whole(size_text, "size") if size_text or needs else 0
        offset = whole(offset_text, "offset") if offset_text else None
        to = absolute(fields[at_to], "to") if op == RENAME and 0 <= at_to < len(fields) else b""
        if op == RENAME and not to:
            raise Refused("to: got no column, expected the new name of the file")
        device = device_name(path)
        if device:
            yield from extents(time_ns, op, device, offset, size, options.extent_bytes)
        else:
            yield Event(time_ns, op, path, offset, size, to)

    if first and not is_header:
        yield from of(first)
    for line in rows:
        if line:
            yield from of(line)


def _places(first: list[bytes], options: Options) -> tuple[dict[str, int], bool]:
    """Return where the columns are, and whether the first line is a header."""
    wanted = {role: options.columns.get(role, role) for role in ROLES}
    numbered = {role: int(name) - 1 for role, name in wanted.items() if name.isdecimal()}
    names = [field.strip().decode("utf-8", "surrogateescape") for field in first]
    header = options.header
    if header is None:
        header = wanted["time"] in names and wanted["path"] in names
    if not header:
        named = [name for role, name in options.columns.items() if not name.isdecimal()]
        if named:
            raise Refused(f"columns: got {named[0]!r}, expected a header with it, or a number")
        places = numbered if options.columns else {role: i for i, role in enumerate(ROLES)}
    else:
        places = numbered | {
            role: names.index(name) for role, name in wanted.items() if name in names
        }
        lost = [name for role, name in options.columns.items() if role not in places]
        if lost:
            there = ", ".join(shown(field.strip()) for field in first[:20])
            raise Refused(f"columns: got {lost[0]!r}, expected one of {there}")
    missing = [role for role in ROLES[:3] if role not in places]
    if missing:
        raise Refused(f"columns: got none for {missing[0]}, expected {missing[0]}=NAME or =NUMBER")
    return places, header


def _iso(text: bytes) -> int:
    try:
        time = datetime.fromisoformat(text.decode("ascii"))
    except ValueError:
        raise Refused(f"time: got {shown(text)}, expected ISO 8601") from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    time_ns = (since.days * 86400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
    if time_ns < 0:
        raise Refused(f"time: got {shown(text)}, expected 1970 or later")
    return time_ns


def check_columns(columns: Mapping[str, str]) -> None:
    """Refuse a mapping of columns that means nothing.

    Examples
    --------
    >>> check_columns({"time": "ts", "file": "name"})
    Traceback (most recent call last):
        ...
    ValueError: columns: got 'file', expected one of time, path, op, offset, size, to
    """
    for role, name in columns.items():
        if role not in ROLES:
            raise ValueError(f"columns: got {role!r}, expected one of {', '.join(ROLES)}")
        if not name or (name.isdecimal() and not 0 < int(name[:9]) <= 10_000):
            raise ValueError(f"columns: got {role}={name}, expected a name, or a number from 1")
