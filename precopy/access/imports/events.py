"""One thing that happened to one file, as every format is read into.

Invariant: what `Event` holds was checked where it was read: times and offsets fit the log's 64-bit
integers, and a path is absolute bytes without NUL.
"""

from __future__ import annotations

from typing import NamedTuple

MOST = (1 << 63) - 1
"""The largest number that a log can hold."""
MOST_PATH = 4096
"""Bytes of the longest path of Linux."""

READ, WRITE, CHANGE = "read", "write", "change"
CREATE, TRUNCATE, RENAME, DELETE, STAT = "create", "truncate", "rename", "delete", "stat"


class Refused(ValueError):  # noqa: N818 - it becomes a ValueError with the line's number
    """A line that cannot be what its format says."""


class Useless(Refused):
    """A trace that has nothing in it, whatever its lines say."""


class Event(NamedTuple):
    """What happened.

    Attributes
    ----------
    time_ns : int
        When, nanoseconds since the epoch (or since the trace began, if it does not say).
    op : str
        read, write, change (without bytes), create, truncate, rename, delete, or stat (its size).
    path : bytes
        The file.
    offset : int or None
        Where it was read or written, in bytes; None: unknown, a write is taken to append.
    size : int
        Bytes read or written; of truncate and stat, the file's size.
    to : bytes
        The new name.
    extent : int
        The file is a part of a device, and has this size for good; 0: it is a file.
    """

    time_ns: int
    op: str
    path: bytes
    offset: int | None = None
    size: int = 0
    to: bytes = b""
    extent: int = 0


def whole(text: bytes, what: str) -> int:
    """Return a number as text, or refuse it.

    Examples
    --------
    >>> whole(b"4096", "size")
    4096
    >>> whole(b"-1", "size")
    Traceback (most recent call last):
        ...
    precopy.access.imports.events.Refused: size: got '-1', expected a whole number, not negative
    """
    if not text.isdigit():
        raise Refused(f"{what}: got {shown(text)}, expected a whole number, not negative")
    if len(text) > 19:
        text = text.lstrip(b"0")
    if len(text) > 19 or (number := int(text or b"0")) > MOST:
        raise Refused(f"{what}: got {shown(text)}, expected at most {MOST}")
    return number


def time_of(text: bytes, unit_ns: int, what: str = "time") -> int:
    """Return a decimal number of units of time in nanoseconds, without rounding by floats.

    Examples
    --------
    >>> time_of(b"1.25", 1_000_000_000)
    1250000000
    """
    number, point, fraction = text.partition(b".")
    if not (number.isdigit() and (fraction.isdigit() or not point)):
        raise Refused(f"{what}: got {shown(text)}, expected a number, not negative")
    time_ns = whole(number, what) * unit_ns
    if fraction:
        digits = fraction[:18]
        time_ns += int(digits) * unit_ns // 10 ** len(digits)
    if time_ns > MOST:
        raise Refused(f"{what}: got {shown(text)}, expected at most {MOST} ns")
    return time_ns


def absolute(path: bytes, what: str = "path") -> bytes:
    """Return a path as the log holds it: absolute; one that is not begins at the root."""
    if not path:
        raise Refused(f"{what}: got an empty name, expected the file's")
    if len(path) > MOST_PATH:
        raise Refused(f"{what}: got {len(path)} bytes, expected at most {MOST_PATH}")
    return path if path.startswith(b"/") else b"/" + path


def shown(text: bytes) -> str:
    """Return text from a trace for a message: short, and safe to print."""
    cut = text[:60]
    return ascii(cut.decode("utf-8", "backslashreplace")) + ("..." if len(text) > 60 else "")
