r"""The lines of ``strace -f -y`` output, as completed system calls.

Takes apart process ids, the three kinds of time stamps, interrupted calls (``<unfinished ...>`` …
``<... resumed>``), quoted strings and descriptor paths.  Invariant: names stay bytes from end to
end, and nothing inside a quoted string or a path is ever mistaken for syntax.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_PREFIX = re.compile(
    rb"""(?: \[pid \s+ (?P<pid>\d+) (?:<[^>]*>)? \] \s+ | (?P<bare>\d+) (?:<[^>]*>)? \s+ )?
         (?: (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<part>\d+))? \s+
           | (?P<epoch>\d+)\.(?P<fraction>\d+) \s+ )?
         (?: (?P<name>\w+)\( | <\.\.\.\ (?P<resumed>\w+)\ resumed> )""",
    re.VERBOSE,
)
# A path has its angle brackets escaped; what strace -yy says of sockets contains arrows.
_BEHIND = rb"<([/\\](?:[^<>\\]|\\.|<[^<>]*>)*|[^/\\<>\s](?:[^<>]|(?<=-)>)*)>"
_DESCRIPTOR = re.compile(rb"(?:-?\d+|AT_FDCWD)" + _BEHIND + rb"(\(deleted\))?", re.DOTALL)
_DIRECTORY = re.compile(rb"\w+\(AT_FDCWD" + _BEHIND, re.DOTALL)
_RESULT = re.compile(rb"\s*= (-?\d+|0x[0-9a-f]+)", re.DOTALL)
_TOKEN = re.compile(
    rb'"(?:[^"\\]|\\.)*"(?:\.\.\.)?|' + _BEHIND + rb'|/\*.*?\*/|[^"</\[\]{}(),]+|.', re.DOTALL
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}
_UNFINISHED = (b"<unfinished ...>", b"<detached ...>")
_STARTING = (b"clone", b"clone3", b"fork", b"vfork")
_SECOND = 1_000_000_000
_HALF_DAY = 12 * 3600 * _SECOND


class TraceError(ValueError):
    """The text is not what ``strace -f -y`` prints."""


@dataclass
class Call:
    """One completed system call.

    Attributes
    ----------
    pid : int
        Who called; 0 if the trace does not say.
    time_ns : int
        When it began, nanoseconds since the epoch.
    name : bytes
        The system call's name.
    text : bytes
        The call as printed, from its name on.
    line : int
        Where it ended in the trace, from 1.
    parent : int or None
        For the first call of a process: who was about to start it, if the trace shows that.
    """

    pid: int
    time_ns: int
    name: bytes
    text: bytes
    line: int
    parent: int | None

    @cached_property
    def directory(self) -> bytes | None:
        """The working directory, where the call happens to show it."""
        match = _DIRECTORY.match(self.text)
        return unescape(match[1]) if match else None

    @cached_property
    def _parts(self) -> tuple[list[bytes], int]:
        """The arguments as printed, and where they end (-1: the line is cut off)."""
        arguments, depth, start = [], 0, len(self.name) + 1
        for token in _TOKEN.finditer(self.text, start):
            text = token[0]
            if text in (b"[", b"{", b"("):
                depth += 1
            elif text in (b"]", b"}", b")"):
                depth -= 1
            if depth < 0 or (depth == 0 and text == b","):
                arguments.append(self.text[start : token.start()].strip())
                start = token.end()
            if depth < 0:
                return arguments, start
        return arguments, -1

    @property
    def arguments(self) -> list[bytes]:
        """The arguments as printed."""
        return self._parts[0]

    @cached_property
    def _result(self) -> re.Match[bytes] | None:
        end = self._parts[1]
        return _RESULT.match(self.text, end) if end >= 0 else None

    @property
    def succeeded(self) -> bool:
        """Whether it returned, and no error."""
        return self._result is not None and not self._result[1].startswith(b"-")

    @property
    def value(self) -> int:
        """What it returned."""
        return int(self._result[1], 0) if self._result else -1

    @property
    def value_path(self) -> bytes | None:
        """The path behind the descriptor that it returned."""
        return _path_of(self.text[self._result.start(1) :]) if self._result else None

    @property
    def value_described(self) -> bool:
        """Whether it returned a descriptor and strace says what is behind it."""
        return self._result is not None and self.text.startswith(b"<", self._result.end())

    def path(self, argument: int) -> bytes | None:
        """Return the path behind a descriptor argument; None for pipes, sockets, devices."""
        return _path_of(self.arguments[argument])

    def string(self, argument: int) -> bytes | None:
        """Return a quoted argument's bytes; None if it is no string, such as NULL."""
        text = self.arguments[argument]
        if not (text.startswith(b'"') and text.endswith(b'"')):
            return None
        return unescape(text[1:-1])


def _path_of(text: bytes) -> bytes | None:
    match = _DESCRIPTOR.match(text)
    # A second "<" describes a device, as strace -yy does; in names it is escaped.
    if match is None or b"<" in match[1]:
        return None
    path = unescape(match[1])
    if not path.startswith(b"/"):
        return None
    nameless = path.startswith(b"/memfd:") or re.search(rb"/#\d+\Z", path)
    return None if match[2] and nameless else path


def unescape(text: bytes) -> bytes:
    r"""Undo strace's quoting.

    Examples
    --------
    >>> unescape(rb"a\"b\n\377\76")
    b'a"b\n\xff>'
    """

    def plain(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if octal:
            return bytes([int(octal, 8) & 0xFF])
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        return _LETTERS.get(letter, letter)

    return _ESCAPE.sub(plain, text) if b"\\" in text else text


class Clock:
    """Turns the time stamps of a trace into nanoseconds since the epoch.

    Parameters
    ----------
    midnight_ns : int
        When the day of the first stamp began, for stamps that show only the time of day.
    now_ns : int
        The time of lines without a stamp.
    """

    def __init__(self, midnight_ns: int, now_ns: int) -> None:
        self.midnight_ns = midnight_ns
        self.now_ns = now_ns
        self.days = 0
        self._previous = 0

    def read(self, match: re.Match[bytes]) -> int:
        """Return the time of a line."""
        if match["epoch"]:
            return int(match["epoch"]) * _SECOND + _fraction(match["fraction"])
        if not match["hour"]:
            return self.now_ns
        seconds = (int(match["hour"]) * 60 + int(match["minute"])) * 60 + int(match["second"])
        time_ns = seconds * _SECOND + _fraction(match["part"] or b"0")
        if time_ns < self._previous - _HALF_DAY:
            self.days += 1
        self._previous = time_ns
        return self.midnight_ns + self.days * 24 * 3600 * _SECOND + time_ns


def _fraction(digits: bytes) -> int:
    return int(digits[:9].ljust(9, b"0"))


def first_midnight(lines: Iterable[bytes], end_ns: int) -> int:
    """Return when the first day of a trace began that ended at `end_ns` (both nanoseconds)."""
    end = time.localtime(end_ns // _SECOND)
    clock = Clock(0, 0)
    for line in lines:
        match = _PREFIX.match(line)
        if match and match["epoch"]:
            break
        if match:
            clock.read(match)
    day = (end.tm_year, end.tm_mon, end.tm_mday - clock.days, 0, 0, 0, 0, 0, -1)
    return int(time.mktime(day)) * _SECOND


def parse_calls(lines: Iterable[bytes], clock: Clock) -> Iterator[Call]:
    """Yield the completed calls of a trace, in the order of their completion.

    Signals, exits and strace's own messages are passed over, as are calls that never returned.
    """
    begun: dict[int, tuple[int, bytes, bytes]] = {}
    seen: set[int] = set()
    for number, line in enumerate(lines, 1):
        match = _PREFIX.match(line)
        if match is None:
            continue
        pid = int(match["pid"] or match["bare"] or 0)
        parent = None
        if pid not in seen:
            seen.add(pid)
            starting = [other for other, (_, name, _) in begun.items() if name in _STARTING]
            parent = starting[-1] if starting else None
        time_ns = clock.read(match)
        if match["resumed"]:
            if pid not in begun:
                continue  # it began before the trace did
            time_ns, name, text = begun.pop(pid)
            text += line[match.end() :].rstrip(b"\r\n")
        else:
            name, text = match["name"], line[match.start("name") :].rstrip(b"\r\n")
        for mark in _UNFINISHED:
            if text.endswith(mark):
                begun[pid] = time_ns, name, text[: -len(mark)]
                break
        else:
            yield Call(pid, time_ns, name, text, number, parent)


class Source:
    """The lines of a trace, counted and hashed as they are read."""

    def __init__(self, path_or_lines: str | os.PathLike[str] | Iterable[str | bytes]) -> None:
        self.lines = 0
        self.bytes = 0
        self._digest = hashlib.sha256()
        self._lines: Iterable[str | bytes] | None = None
        self._path: Path | None = None
        if isinstance(path_or_lines, str | os.PathLike):
            self._path = Path(path_or_lines)
        else:
            self._lines = path_or_lines

    @property
    def name(self) -> str:
        """What the log calls this trace: equal for equal text."""
        return f"strace {self._digest.hexdigest()}"

    def clock(self) -> Clock:
        """Return the clock that reads this trace's time stamps."""
        if self._path is None:
            now_ns = time.time_ns()
            return Clock(first_midnight((), now_ns), now_ns)
        with self._path.open("rb") as stream:
            end_ns = os.fstat(stream.fileno()).st_mtime_ns
            return Clock(first_midnight(stream, end_ns), time.time_ns())

    def __iter__(self) -> Iterator[bytes]:
        if self._path is not None:
            with self._path.open("rb") as stream:
                yield from map(self._count, stream)
        else:
            yield from map(self._count, self._lines or ())

    def _count(self, line: str | bytes) -> bytes:
        text = (os.fsencode(line) if isinstance(line, str) else line).rstrip(b"\r\n")
        self.lines += 1
        self.bytes += len(text) + 1
        self._digest.update(text + b"\n")
        return text
