r"""The lines of ``strace -f -y`` output, as completed system calls.

Takes apart process ids, time stamps, interrupted calls (``<unfinished ...>`` … ``<... resumed>``),
quoted strings and descriptor paths.  Invariants: names stay bytes from end to end, nothing inside a
quoted string or a path is ever mistaken for syntax, and a line that is neither understood nor known
to be harmless is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

_PREFIX = re.compile(
    rb"""(?: \[pid \s+ (?P<pid>\d{1,8}) (?:<.{0,31}?>)? \]
           | (?P<bare>\d{1,8}) (?:<.{0,31}?>)? (?=\s) )?
         (?: \s+ \[ [a-z][\w:.,-]* \] (?=\s) )?
         (?P<gap> \s*)
         (?: (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<part>\d+))? \s+
           | (?P<epoch>[1-8]\d{9}|\d{1,9})(?:\.(?P<fraction>\d+))? \s+ )?
         (?: \(\+ \s* [\d.]+ \) \s+ )?
         (?: \[ [\s\da-f?]+ \] \s )*
         (?: (?P<name>\w+)\( | <\.\.\.\ (?P<resumed>\w+)\ resumed>
           | (?P<ended>\+\+\+\ (?:exited\ with|killed\ by) .* \+\+\+)
           | \+\+\+\ superseded\ by\ execve\ in\ pid\ (?P<heir>\d{1,8})(?:<[^>]*>)?\ \+\+\+ $
           | (?P<harmless> ---\ .*\ --- | \[\ Process\ PID=\d+\ runs\ in\ .*\ mode\.\ \] ) $ )""",
    re.VERBOSE,
)
_HARMLESS = re.compile(
    rb"""strace: .* | \[?\ ?Process\ .* | \s>\ .* | \s\|\ [0-9a-f]{5,}\ .*\|
       | \s\*\ \d+\ bytes\ in\ .*
       | %\ time\ .* | [-\ ]{20,} | \s*\d+\.\d+\s+\d+\.\d+\s+\d+\s+\d+\s.* | \s* """,
    re.VERBOSE | re.DOTALL,
)
# A path has its angle brackets escaped; what strace -yy says of sockets contains arrows.
# Possessive (++) where nothing is to be tried again: a long line costs no memory of its own.
_BEHIND = rb"<([/\\](?:[^<>\\]++|\\.|<[^<>]*+>)*+|[^/\\<>\s](?:[^<>]++|(?<=-)>)*)>"
_HERE = rb"(?:AT_FDCWD|(?:-100|0xffffff9c|4294967196)(?: /\* AT_FDCWD \*/)?)"
_DESCRIPTOR = re.compile(
    rb"(?:-?\d+|0x[0-9a-f]+|" + _HERE + rb")" + _BEHIND + rb"(\(deleted\))?", re.DOTALL
)
_DIRECTORY = re.compile(rb"\w+\(" + _HERE + _BEHIND, re.DOTALL)
_VALUE = rb"= (-?\d{1,20}|0x[0-9a-f]{1,16}|\?)"
_TAIL = (
    rb"(?:" + _BEHIND + rb"(?:\(deleted\))?)?(?: E[A-Z0-9_]+| \[[\w:.,-]+\]| /\*(?:(?! = ).)*?\*/"
    rb"| \((?:(?! = ).)*\)| <\d+(?:\.\d+)?>)*\s*\Z"
)
_RESULT = re.compile(rb"\s*" + _VALUE + _TAIL, re.DOTALL)
_COMPLETE = re.compile(rb"[)>]\s*" + _VALUE + _TAIL, re.DOTALL)
_NAMESPACE = re.compile(rb"\d+(?:<[^>]*>)? /\* (\d{1,10}) in strace's PID NS \*/")
_TOKEN = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"(?:\.\.\.)?|' + _BEHIND + rb'|/\*.*?\*/|[^"</\[\]{}(),]+|.', re.DOTALL
)
_CONTEXT = re.compile(rb" \[[\w:.,-]+\]\Z")  # strace --secontext
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}
_MOST_SPELLED = 5 * 4096
"""Bytes of the longest name of Linux, with each as an octal number, quoted."""
_UNFINISHED = re.compile(rb"<(unfinished|detached|pid changed to (\d{1,8})) \.\.\.>\Z")
_ATTACHED = re.compile(rb"(?<=.)strace: Process \d+ attached\Z")
STARTING = (b"clone", b"clone2", b"clone3", b"fork", b"vfork")
"""The calls that start a process or a thread."""


class TraceError(ValueError):
    """The text is not what ``strace -f -y`` prints, or cannot be made sense of."""


class Unreadable(Exception):  # noqa: N818 - it is no error: the line is counted
    """A call's text lacks what its kind of call always shows."""


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
    """

    pid: int
    time_ns: int
    name: bytes
    text: bytes
    line: int

    @cached_property
    def directory(self) -> bytes | None:
        """The working directory, where the call happens to show it."""
        match = _DIRECTORY.match(self.text)
        return unescape(match[1]) if match and len(match[1]) <= _MOST_SPELLED else None

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
            elif text == b'"':
                break  # a string that never ends
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
    def readable(self) -> bool:
        """Whether arguments and result are wholly there."""
        return self._result is not None

    @property
    def succeeded(self) -> bool:
        """Whether it was carried out and returned no error."""
        result = self._result
        if result is None or result[1].startswith((b"-", b"?")):
            return False
        # strace -e inject=…:retval= makes up a result and keeps the call from the kernel.
        tail = self.text[result.end(1) :]
        return b"(INJECTED)" not in tail and b"retval)" not in tail

    @property
    def value(self) -> int:
        """What it returned."""
        if self._result is None or self._result[1] == b"?":
            return -1
        return int(self._result[1], 16 if b"x" in self._result[1] else 10)

    @property
    def child(self) -> int:
        """The process that it started, as strace counts them."""
        match = _NAMESPACE.match(self.text, self._result.start(1)) if self._result else None
        return int(match[1]) if match else self.value

    @property
    def value_path(self) -> bytes | None:
        """The path behind the descriptor that it returned."""
        return _path_of(self.text[self._result.start(1) :]) if self._result else None

    @property
    def value_described(self) -> bool:
        """Whether it returned a descriptor and strace says what is behind it."""
        return self._result is not None and self.text.startswith(b"<", self._result.end(1))

    def argument(self, number: int) -> bytes:
        """Return an argument as printed."""
        if number >= len(self.arguments):
            raise Unreadable
        return self.arguments[number]

    def path(self, argument: int) -> bytes | None:
        """Return the path behind a descriptor argument; None for pipes, sockets, devices."""
        text = self.argument(argument)
        match = _DESCRIPTOR.match(text)
        if match and match[1].startswith(b"/") and text[match.end() : match.end() + 1].strip():
            raise Unreadable  # a name with angle brackets that nobody escaped
        return _path_of(text)

    def described(self, argument: int) -> bool:
        """Return whether strace says what is behind a descriptor argument."""
        return b"<" in self.argument(argument)

    def number(self, argument: int) -> int:
        """Return the number of a descriptor argument; -1 for AT_FDCWD and the like."""
        match = re.match(rb"(\d{1,9})\b", self.argument(argument))
        return int(match[1]) if match else -1

    def string(self, argument: int) -> bytes | None:
        """Return a quoted argument's bytes; None for NULL."""
        text = self.argument(argument)
        if text in (b"NULL", b"0"):
            return None
        if text.endswith(b"]"):
            text = _CONTEXT.sub(b"", text)
        if not (len(text) > 1 and text.startswith(b'"') and text.endswith(b'"')):
            raise Unreadable  # cut off by strace, an address, or torn
        if len(text) > _MOST_SPELLED:
            raise Unreadable  # the kernel takes no name as long
        return unescape(text[1:-1])

    def names(self, argument: int, name: str, bits: int) -> bool:
        """Return whether flags contain all of `bits`, printed by `name` or as a number."""
        text = self.argument(argument)
        number = re.match(rb"\{?(?:\w+=)?(0x[0-9a-f]{1,16}|\d{1,20})\b", text)
        if number:
            return bits != 0 and int(number[1], 16 if b"x" in number[1] else 10) & bits == bits
        return name.encode() in re.split(rb"[^\w]+", text)


@dataclass(frozen=True)
class Began:
    """A call that starts a process has begun and not yet returned."""

    pid: int
    name: bytes
    text: bytes


@dataclass(frozen=True)
class Ended:
    """A process or thread has ended."""

    pid: int


@dataclass(frozen=True)
class Changed:
    """A thread has called exec, and goes on under the process id of its first thread."""

    pid: int
    new: int


Event = Call | Began | Ended | Changed


def _path_of(text: bytes) -> bytes | None:
    match = _DESCRIPTOR.match(text)
    # A second "<" describes a device, as strace -yy does; in names it is escaped.
    if match is None or b"<" in match[1]:
        return None
    if len(match[1]) > _MOST_SPELLED:
        raise Unreadable
    path = unescape(match[1])
    if not path.startswith(b"/"):
        return None
    # Older versions say within the brackets that it is deleted.
    nameless = re.match(rb"/memfd:|(?:.*/)?#\d+(?: \(deleted\))?\Z", path, re.DOTALL)
    return None if nameless and (match[2] or path.endswith(b" (deleted)")) else path


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


class Parser:
    """Turns lines into events and counts what it cannot read.

    Parameters
    ----------
    clock : callable
        Turns a prefix (a match) into a time.
    matters : callable
        Whether a call of this name can change what the log says.
    """

    def __init__(
        self,
        clock: Callable[[re.Match[bytes]], int],
        matters: Callable[[bytes], bool] = lambda name: True,
    ) -> None:
        self.clock = clock
        self.matters = matters
        self.damaged = 0
        self.last_damaged = 0
        self.first_damaged: tuple[int, bytes] | None = None
        self.cut_short: list[bytes] = []  # calls that never returned
        self.left_at = 0  # the line of an exec from which on strace did not look
        self.pids = False
        self._begun: dict[int, tuple[int, bytes, bytes, int]] = {}
        self._held = b""  # a line that one of strace's messages came into

    def damage(self, number: int, line: bytes) -> None:
        """Count a line that cannot be read."""
        self.damaged += 1
        self.last_damaged = number
        if self.first_damaged is None:
            self.first_damaged = number, line[:200]

    def read(self, number: int, line: bytes, pid: int = 0) -> Iterator[Event]:
        """Yield what a line tells; `pid` is whose it is if it does not say so itself."""
        if self._held:
            line, self._held = self._held + line.strip(), b""
        interrupted = _ATTACHED.search(line)
        if interrupted:
            self._held = line[: interrupted.start()]
            return
        match = _PREFIX.match(line) if b"\0" not in line else None
        if match is None:
            if b"\0" in line or not _HARMLESS.fullmatch(line):
                self.damage(number, line)
            return
        if match["pid"] or match["bare"]:
            self.pids = True
            pid = int(match["pid"] or match["bare"])
        time_ns = self.clock(match)
        if match["harmless"]:
            return
        if match["heir"]:
            heir = int(match["heir"])  # strace 5 says no more of a thread that has called exec
            if heir in self._begun and heir != pid:
                self._drop(pid, number)
                self._begun[pid] = self._begun.pop(heir)
                yield Changed(heir, pid)
            return
        if match["ended"]:
            self._drop(pid, number)
            yield Ended(pid)
            return
        if match["resumed"]:
            if pid not in self._begun and 0 in self._begun:
                self._begun[pid] = self._begun.pop(0)  # strace names it only once there are two
                yield Changed(0, pid)
            elif not pid and 0 not in self._begun:
                # ... and no longer once there is one left.
                same = [p for p, begun in self._begun.items() if begun[1] == match["resumed"]]
                pid = same[0] if len(same) == 1 else 0
            if pid not in self._begun:
                if self.matters(match["resumed"]):
                    self.damage(number, line)  # or it began before the trace did
                return
            time_ns, name, text, _ = self._begun.pop(pid)
            text += line[match.end() :]
            if name != match["resumed"]:
                self.damage(number, line)
                return
        else:
            if pid in self._begun:  # what it began must have returned in a line that is lost
                self._drop(pid, number)
            name, text = match["name"], line[match.start("name") :]
        mark = _UNFINISHED.search(text)
        if mark is None:
            yield from self._call(Call(pid, time_ns, name, text, number), line)
        elif mark[1] == b"detached":
            if name in (b"execve", b"execveat"):
                self.left_at = self.left_at or number
        else:
            text = text[: mark.start()]
            self._begun[int(mark[2] or pid)] = time_ns, name, text, number
            if mark[2]:
                yield Changed(pid, int(mark[2]))
            elif name in STARTING:
                yield Began(pid, name, text)

    def _call(self, call: Call, line: bytes) -> Iterator[Event]:
        whole = call.readable if self.matters(call.name) else _COMPLETE.search(call.text)
        if not whole:
            self.damage(call.line, line)
            return
        yield call

    def _drop(self, pid: int, number: int) -> None:
        begun = self._begun.pop(pid, None)
        if begun is not None and self.matters(begun[1]):
            self.cut_short.append(begun[1])

    def finish(self) -> None:
        """Count what was under way when the trace ended."""
        for pid in list(self._begun):
            self._drop(pid, 0)


def parse_calls(lines: Iterable[bytes], clock: Callable[[re.Match[bytes]], int]) -> Iterator[Call]:
    """Yield the completed calls of a trace, in the order of their completion."""
    parser = Parser(clock)
    for number, line in enumerate(lines, 1):
        for event in parser.read(number, line):
            if isinstance(event, Call):
                yield event
