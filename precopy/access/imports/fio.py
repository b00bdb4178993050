"""I/O logs of fio, version 3: ``timestamp file action [offset length]``.

Written by ``fio --write_iolog=FILE`` since fio 3.31 (its manual, "Trace file format v3").  Times
are microseconds since the job began; a file has the size of the largest end in the log, since fio
lays its files out before it begins.  Actions: read, write, trim (a change without bytes), and add,
open, close, sync, datasync, which change nothing.  Every job needs a log of its own.  Version 2 is
refused: it has no times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from precopy.access.imports.devices import device_name, extents
from precopy.access.imports.events import (
    CHANGE,
    READ,
    WRITE,
    Event,
    Refused,
    absolute,
    shown,
    whole,
)
from precopy.access.imports.lines import Lines
from precopy.access.imports.options import Options

_ACTIONS = {b"read": READ, b"write": WRITE, b"trim": CHANGE}
_WITHOUT = frozenset((b"add", b"open", b"close", b"sync", b"datasync"))


def fio(lines: Lines, options: Options, left_out: Counter[str]) -> Iterator[Event]:
    """Yield the events of an I/O log."""
    for line in lines:
        if lines.number == 1:
            _check(line)
            continue
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in (3, 5):
            raise Refused(
                f"got {len(fields)} words, expected: timestamp file action [offset length]"
            )
        time_ns = options.start_ns + whole(fields[0], "timestamp") * 1000
        action, path = fields[2], absolute(fields[1], "file")
        if action in _WITHOUT:
            continue
        op = _ACTIONS.get(action)
        if op is None or len(fields) != 5:
            raise Refused(f"action: got {shown(action)}, expected one of fio's, with its columns")
        offset, size = whole(fields[3], "offset"), whole(fields[4], "length")
        device = device_name(path)
        if device:
            yield from extents(time_ns, op, device, offset, size, options.extent_bytes)
        else:
            yield Event(time_ns, op, path, offset, size)


def _check(line: bytes) -> None:
    if line.startswith((b"fio version 2 iolog", b"fio version 1 iolog")):
        raise Refused(
            f"got {shown(line)}, which has no times; expected version 3, from fio 3.31 or newer"
        )
    if line != b"fio version 3 iolog":
        raise Refused(f"got {shown(line)}, expected 'fio version 3 iolog'")
