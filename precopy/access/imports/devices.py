"""Devices are no files: their blocks are cut into extents, each a file of constant size.

An extent is named ``/DEVICE/OFFSET``, its offset in bytes.  A request that reaches over several
extents is one write of each, of the bytes that fall into it.
"""

from __future__ import annotations

from collections.abc import Iterator

from precopy.access.imports.events import CHANGE, MOST, READ, WRITE, Event, Refused, shown

EXTENT_BYTES = 1 << 20
"""Default size of an extent."""
_MOST_EXTENTS = 1 << 16


def extents(
    time_ns: int, op: str, device: bytes, offset: int | None, size: int, extent_bytes: int
) -> Iterator[Event]:
    """Yield what a request does to each extent of its device.

    Examples
    --------
    >>> for event in extents(7, "write", b"/sda", 1500, 1000, 1024):
    ...     print(event.path, event.size)
    b'/sda/1024' 548
    b'/sda/2048' 452
    """
    if op not in (READ, WRITE, CHANGE):
        raise Refused(f"op: got {op!r} of the device {shown(device)}, expected read or write")
    if offset is None:
        raise Refused(f"offset: got none for the device {shown(device)}, expected one")
    end = offset + size
    if end > MOST:
        raise Refused(f"offset and size: got {end} in sum, expected at most {MOST}")
    first = offset // extent_bytes
    if size and (end - 1) // extent_bytes - first >= _MOST_EXTENTS:
        raise Refused(
            f"size: got {size} bytes, expected at most {_MOST_EXTENTS} extents of {extent_bytes}; "
            "give larger --extent-bytes"
        )
    while offset < end:
        begin = first * extent_bytes
        until = min(end, begin + extent_bytes)
        yield Event(
            time_ns, op, b"%b/%d" % (device, begin), None, until - offset, b"", extent_bytes
        )
        offset, first = until, first + 1


def device_name(path: bytes) -> bytes:
    """Return what the log calls a device, or an empty name if the path is none.

    Examples
    --------
    >>> device_name(b"/dev/mapper/vg-data"), device_name(b"/dev/shm/queue"), device_name(b"/srv/a")
    (b'/mapper/vg-data', b'', b'')
    """
    if path.startswith(b"/dev/") and not path.startswith(b"/dev/shm/") and len(path) > 5:
        return path[4:]
    return b""
