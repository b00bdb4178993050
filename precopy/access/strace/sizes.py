"""Sizes, births, deaths and new names of files, as far as the calls of a trace show them.

A size is known exactly after a call that tells it (``fstat``, a seek to the end, ``ftruncate``, a
new file, the end that a read found), and from then on it is followed through every write.  Before
that it is at least the largest end that was read or written.  Invariant: a size is reported only
when it changes, and never for what the trace has shown to be no file.
"""

from __future__ import annotations

import re

from precopy.access.imports.spool import Spool
from precopy.access.strace.lines import Call
from precopy.access.strace.state import Opened

GONE = -1
_MOST = (1 << 63) - 1
_REGULAR = re.compile(rb"stx?_mode=(?:S_IFREG|0?10[0-7]{4})\b")
_SIZE = re.compile(rb"stx?_size=(\d{1,19})\b")
_STATUS_BYTES = 4096


class Sizes:
    """The sizes of one trace's files, by name.

    Parameters
    ----------
    spool : Spool
        Takes what the log is to hold.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._sizes: dict[bytes, int] = {}
        self.least: set[bytes] = set()
        self._perhaps: dict[bytes, int] = {}  # opened with O_CREAT, when nothing was known of them

    def known(self, path: bytes) -> bool:
        """Return whether anything is known of a file's size."""
        return path in self._sizes

    def tell(self, path: bytes, call: Call, size: int) -> None:
        """Note a size that a call has told."""
        if not 0 <= size <= _MOST:
            return
        perhaps = self._perhaps.pop(path, None)
        if perhaps is not None and size == 0:
            self._spool.birth(path, perhaps)
        elif path not in self._sizes:
            self._spool.sample_before(path, call.time_ns, size)
        self.set(path, call, size)

    def set(self, path: bytes, call: Call, size: int) -> None:
        """Note a size that a call has given a file."""
        if 0 <= size <= _MOST:
            self._perhaps.pop(path, None)
            self.least.discard(path)
            self._put(path, call, size)

    def reach(self, path: bytes, call: Call, end: int) -> None:
        """Note that a file is at least so large: bytes up to there were read or written."""
        size = self._sizes.get(path)
        if size == GONE or not 0 <= end <= _MOST:
            return  # it is open still, and has no name
        if size is None:
            self.least.add(path)
        if size is None or end > size:
            self._put(path, call, end)

    def write(self, path: bytes, call: Call, opened: Opened | None, offset: int | None) -> None:
        """Note a write of as many bytes as it returned, at an offset or where the descriptor is."""
        size, written = self._sizes.get(path), call.value
        if opened is not None and opened.appends:
            start: int | None = max(size or 0, 0)
        elif offset is not None:
            start = offset
        else:
            start = opened.position if opened is not None else None
        end = None if start is None else start + written
        if opened is not None and offset is None:
            sure = not opened.appends or (size is not None and path not in self.least)
            opened.position = end if sure else None
        if end is not None:
            self.reach(path, call, end)

    def resize(self, path: bytes, call: Call, change: int) -> None:
        """Note that a range was put in, or taken out."""
        size = self._sizes.get(path, GONE)
        if 0 <= size + change <= _MOST and size != GONE:
            self._put(path, call, size + change)

    def made(self, path: bytes, call: Call, *, known: bool, sure: bool) -> None:
        """Note that a name stands for a new, empty file; `known`: it was in the trace before."""
        if not known:
            if not sure:
                self._perhaps[path] = call.time_ns
                return
            self._spool.birth(path, call.time_ns)
        if sure:
            self.set(path, call, 0)

    def removed(self, path: bytes, call: Call) -> None:
        """Note that a file has no name any more."""
        self.least.discard(path)
        self._perhaps.pop(path, None)
        self._put(path, call, GONE)

    def linked(self, old: bytes, new: bytes, call: Call, *, known: bool) -> None:
        """Note that a file has a second name."""
        if not known:
            self._spool.birth(new, call.time_ns)
        self._take(new, call, self._state(old))
        self._spool.move(old, new, call.time_ns, linked=True)

    def renamed(
        self, files: list[tuple[bytes, bytes, bool]], call: Call, *, exchange: bool
    ) -> None:
        """Note new names of files, all at once: old, new, and whether that was known before."""
        states = [self._state(old) for old, _, _ in files]
        if not exchange:
            for old, _, _ in files:
                self.removed(old, call)
        for (old, new, known), state in zip(files, states, strict=True):
            if not known:
                self._spool.birth(new, call.time_ns)
            self._take(new, call, state)
            self._spool.move(old, new, call.time_ns)

    def _state(self, path: bytes) -> tuple[int | None, bool]:
        return self._sizes.get(path), path in self.least

    def _take(self, path: bytes, call: Call, state: tuple[int | None, bool]) -> None:
        size, least = state
        self.least.discard(path)
        self._perhaps.pop(path, None)
        if size is None or size == GONE:
            self._sizes.pop(path, None)
            return
        if least:
            self.least.add(path)
        self._put(path, call, size)

    def _put(self, path: bytes, call: Call, size: int) -> None:
        if self._sizes.get(path) != size:
            self._sizes[path] = size
            self._spool.sample(path, call.time_ns, size)


def regular_size(call: Call) -> int | None:
    """Return the size that a call tells of a regular file, None if it tells none."""
    for argument in call.arguments:
        if argument.startswith(b"{st"):
            status = argument[:_STATUS_BYTES]
            size = _SIZE.search(status) if _REGULAR.search(status) else None
            return int(size[1]) if size else None
    return None


def integer(text: bytes) -> int | None:
    """Return an argument that is a number, alone or as ``[number]``."""
    match = re.fullmatch(rb"\[?(-?\d{1,19}|0x[0-9a-f]{1,16})\]?(?: => \[\d+\])?", text)
    return int(match[1], 0 if match[1].startswith(b"0x") else 10) if match else None
