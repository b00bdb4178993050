"""Where large files were written: the kernel's tracepoint of a page that becomes dirty (root).

A file of 10 GB with a few dirty blocks need not be read as a whole.  The kernel tells only when a
clean page becomes dirty, so a file is cleaned each time before it is read; and it tells the first
page of a folio, so what is taken for dirty is the largest folio that may begin there.  Direct
writes, holes that are punched and cuts have events of their own.  tmpfs has no such tracepoint, and
of the disks' file systems only ext4 without ``data=journal`` has been tested: files elsewhere are
read as a whole.

Invariants: events only say where to look; events that were lost, and anything unusual, mean the
whole file.  The trace instance is ours alone and goes away with us; one that a killed process left
behind is taken away by the next.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from precopy.migration.source.mounts import Mount, Mounts

LARGE_BYTES = 64 << 20
"""Smaller files are read as a whole: that takes less than 50 ms."""

Ranges = NDArray[np.int64]

_MOST_FILES = 64  # a filter is at most a page long
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_BUFFER_KIB = 4096
_PREFIX = "precopy-"
_NUMBERS = itertools.count()
_EVENTS = (
    "writeback/writeback_dirty_folio",
    "iomap/iomap_dio_rw_begin",
    "iomap/iomap_dio_complete",
    "ext4/ext4_punch_hole",
    "ext4/ext4_zero_range",
    "ext4/ext4_collapse_range",
    "ext4/ext4_insert_range",
    "ext4/ext4_truncate_enter",
)
_DIRTY = re.compile(rb" writeback_dirty_folio: .*? ino=(\d+) index=(\d+)")
_DIRECT = re.compile(
    rb" iomap_dio_rw_begin: .*? ino 0x([0-9a-f]+) .*? offset 0x([0-9a-f]+) length 0x([0-9a-f]+)"
)
_DIRECT_END = re.compile(
    rb" iomap_dio_complete: .*? ino 0x([0-9a-f]+) .*? offset 0x([0-9a-f]+) .*? ret (-?\d+)"
)
_OTHERS = re.compile(rb" ext4_\w+: dev \S+ ino (\d+)")
_LOST = re.compile(rb"LOST \d+ EVENTS")
_OVERRUN = re.compile(r"^(?:overrun|commit overrun|dropped events): ([1-9]\d*)$", re.MULTILINE)


def _largest_folio_pages() -> int:
    """Return how many pages a folio of the page cache may have: those of a huge page, or less."""
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").read_text()
    except OSError:
        return 2048  # ext4 has no larger ones
    return int(text) // _PAGE_BYTES


_FOLIO_PAGES = _largest_folio_pages()


def is_traceable(mount: Mount) -> bool:
    """Return whether all changes of content on a file system have events."""
    return mount.kind == "ext4" and not mount.options & {"data=journal", "dax", "dax=always"}


@dataclass(slots=True)
class _Armed:
    """What is known of a file since it was last looked at."""

    path: bytes
    size: int
    whole: bool = True
    pages: set[int] = field(default_factory=set)
    bytes: list[tuple[int, int]] = field(default_factory=list)

    def take(self, size: int) -> Ranges | None:
        """Return what has to be looked at, or None for everything; nothing is known afterwards."""
        ranges = None
        if not self.whole:
            spans = [(page * _PAGE_BYTES, _folio_end(page)) for page in self.pages] + self.bytes
            if size != self.size:
                spans.append((max(min(size, self.size) - (1 << 20), 0), max(size, self.size)))
            ranges = merged(spans)
        self.size, self.whole, self.pages, self.bytes = size, False, set(), []
        return ranges


class Tracing:
    """Traces which parts of some files become dirty.

    Raises
    ------
    OSError
        Without the rights, or where the kernel has no such tracepoints; says what is missing.
    """

    def __init__(self) -> None:
        self._mounted: str | None = None
        self._pipe = -1
        self._lost = 0
        self._armed: dict[int, _Armed] = {}
        self._filtered: frozenset[int] = frozenset()
        top = self._tracefs()
        self._instance = top / "instances" / f"{_PREFIX}{os.getpid()}-{next(_NUMBERS)}"
        try:
            _remove_stale(top / "instances")
            self._instance.mkdir()
            self._write("buffer_size_kb", str(_BUFFER_KIB))
            for event in _EVENTS:
                if not (self._instance / "events" / event).is_dir():
                    raise OSError(f"this kernel has no tracepoint {event}")
            self._filter(frozenset([0]))
            for event in _EVENTS:
                self._write(f"events/{event}/enable", "1")
            self._pipe = os.open(
                self._instance / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take the trace instance away; doing so twice is harmless."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        with suppress(OSError):
            self._instance.rmdir()
        if self._mounted is not None:
            with suppress(OSError):
                _libc("umount2", os.fsencode(self._mounted), 2)
                os.rmdir(self._mounted)
            self._mounted = None

    def follow(self, files: Mapping[int, tuple[bytes, int]]) -> None:
        """Say which files to follow from now on: path and size by inode, the largest ones first.

        One that is new, or has another path, is to be looked at as a whole; so are those that were
        let go, if they come again.
        """
        chosen = dict(list(files.items())[:_MOST_FILES])
        for inode, (path, size) in chosen.items():
            known = self._armed.get(inode)
            if known is None or known.path != path:
                self._armed[inode] = _Armed(path, size)
        for inode in self._armed.keys() - chosen.keys():
            del self._armed[inode]
        if frozenset(chosen) != self._filtered:
            self._filter(frozenset(chosen))

    def drain(self) -> set[int]:
        """Take in what happened; return the inodes of followed files with events."""
        text = self._read()
        if self._is_lossy(text):
            for file in self._armed.values():
                file.whole = True
        touched = set()
        for inode, armed, found in self._events(_DIRTY, text):
            armed.pages.add(int(found[1]))
            touched.add(inode)
        for pattern, base in ((_DIRECT, 16), (_DIRECT_END, 10)):
            for inode, armed, (_, offset, length) in self._events(pattern, text, 16):
                begin, size = int(offset, 16), max(int(length, base), 0)
                # A completed request's offset may be its end.
                armed.bytes.append((max(begin - size, 0), begin + size))
                touched.add(inode)
        for inode, armed, _ in self._events(_OTHERS, text):
            armed.whole = True
            touched.add(inode)
        return touched

    def _events(
        self, pattern: re.Pattern[bytes], text: bytes, base: int = 10
    ) -> Iterator[tuple[int, _Armed, tuple[bytes, ...]]]:
        for match in pattern.finditer(text):
            inode = int(match[1], base)
            armed = self._armed.get(inode)
            if armed is not None:
                yield inode, armed, match.groups()

    def take(self, inode: int, size: int) -> Ranges | None:
        """Return what to look at in a file, since the last time; None for the whole of it.

        The caller cleans the file, then reads: only then the next event is complete.
        """
        armed = self._armed.get(inode)
        return None if armed is None else armed.take(size)

    def distrust(self, inode: int) -> None:
        """Have a file looked at as a whole next time, since it was not cleaned before the last."""
        if inode in self._armed:
            self._armed[inode].whole = True

    def _read(self) -> bytes:
        parts = []
        while True:
            try:
                part = os.read(self._pipe, 1 << 20)
            except BlockingIOError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)

    def _is_lossy(self, text: bytes) -> bool:
        """Return whether events were lost since the last time."""
        lost = sum(
            int(number)
            for cpu in (self._instance / "per_cpu").iterdir()
            for number in _OVERRUN.findall((cpu / "stats").read_text())
        )
        before, self._lost = self._lost, lost
        return lost != before or _LOST.search(text) is not None

    def _filter(self, inodes: frozenset[int]) -> None:
        text = " || ".join(f"ino == {inode}" for inode in sorted(inodes or {0}))
        for event in _EVENTS:
            self._write(f"events/{event}/filter", text)
        self._filtered = inodes

    def _write(self, name: str, value: str) -> None:
        (self._instance / name).write_text(value)

    def _tracefs(self) -> Path:
        """Return where tracefs is, mounted for us alone if it is nowhere."""
        for point in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
            if Mounts.read().of(os.fsencode(point)).kind == "tracefs":
                return Path(point)
        self._mounted = tempfile.mkdtemp(prefix="precopy-tracefs-")
        try:
            _libc("mount", b"tracefs", os.fsencode(self._mounted), b"tracefs", 0, None)
        except OSError:
            os.rmdir(self._mounted)
            self._mounted = None
            raise
        return Path(self._mounted)


def merged(spans: Iterable[tuple[int, int]]) -> Ranges:
    """Return spans of bytes as ranges, ascending and apart.

    Examples
    --------
    >>> merged([(8, 12), (0, 4), (10, 20), (30, 30)]).tolist()
    [[0, 4], [8, 20]]
    """
    ranges: list[list[int]] = []
    for begin, end in sorted(spans):
        if begin >= end:
            continue
        if ranges and begin <= ranges[-1][1]:
            ranges[-1][1] = max(ranges[-1][1], end)
        else:
            ranges.append([begin, end])
    return np.array(ranges, np.int64).reshape(-1, 2)


def _folio_end(page: int) -> int:
    """Return where the largest folio ends that may begin with a page: folios are aligned."""
    pages = min(page & -page or _FOLIO_PAGES, _FOLIO_PAGES)
    return (page + pages) * _PAGE_BYTES


def _remove_stale(instances: Path) -> None:
    for instance in instances.glob(f"{_PREFIX}*"):
        pid = instance.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            with suppress(OSError):
                instance.rmdir()


def _libc(call: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
