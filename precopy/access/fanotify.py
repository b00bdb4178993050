"""The kernel's own report of opened and written files, for the audit and the migration (root only).

fanotify sees what no library can: static binaries, inline system calls, io_uring.  It does not
say how much was written.  Invariant: a `Group` only listens; no program ever waits for it.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

_CLASS_NOTIF, _CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE, _UNLIMITED_MARKS = 0x0, 0x1, 0x2, 0x10, 0x20
_MARK_ADD, _MARK_DONT_FOLLOW, _MARK_ONLYDIR, _MARK_FILESYSTEM = 0x1, 0x4, 0x8, 0x100
_ON_CHILD = 0x8000000
MODIFY, CLOSE_WRITE, OPEN, OVERFLOW = 0x2, 0x8, 0x20, 0x4000
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBBHQii")  # length, version, reserved, header length, mask, fd, pid
_DELETED = b" (deleted)"


class Group:
    """A queue of events, none of which any program waits for.

    Parameters
    ----------
    unlimited : bool
        Whether the queue may grow without a limit; otherwise an OVERFLOW event tells that some
        are missing.

    Raises
    ------
    PermissionError
        Without the right to use fanotify (CAP_SYS_ADMIN).
    OSError
        If the kernel has no fanotify.
    """

    def __init__(self, *, unlimited: bool) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        flags = _CLASS_NOTIF | _CLOEXEC | _NONBLOCK | _UNLIMITED_MARKS
        flags |= _UNLIMITED_QUEUE if unlimited else 0
        self.fd = self._libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC)
        if self.fd < 0:
            _fail("fanotify_init")

    def close(self) -> None:
        """Stop listening; doing so twice is harmless."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def mark_file_system(self, path: bytes, mask: int) -> None:
        """Listen to the whole file system that a path lies on."""
        self._mark(_MARK_ADD | _MARK_FILESYSTEM, path, mask)

    def mark_directory(self, path: bytes, mask: int) -> None:
        """Listen to the files directly inside a directory."""
        self._mark(_MARK_ADD | _MARK_ONLYDIR | _MARK_DONT_FOLLOW, path, mask | _ON_CHILD)

    def _mark(self, how: int, path: bytes, mask: int) -> None:
        name = ctypes.c_char_p(path)
        if self._libc.fanotify_mark(self.fd, how, ctypes.c_uint64(mask), _AT_FDCWD, name) < 0:
            _fail("fanotify_mark", path)

    def read(self) -> Iterator[tuple[int, int, int]]:
        """Yield ``(mask, fd, pid)`` of the events that are there; `fd` is open until the next one.

        Nothing if there is none; `fd` is negative in an overflow.
        """
        try:
            events = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(events):
            length, _, _, _, mask, fd, pid = _EVENT.unpack_from(events, offset)
            offset += length
            try:
                yield mask, fd, pid
            finally:
                if fd >= 0:
                    os.close(fd)


class Watch:
    """Collects which files are opened and written below some directories while it is open.

    Parameters
    ----------
    roots : iterable of path
        Directories; their whole file systems are listened to, and the rest is dropped.

    Attributes
    ----------
    opened, written : set of bytes
        Paths, complete once the watch is closed.  Written means: opened for writing and closed,
        or written into.
    overflowed : bool
        Whether the kernel dropped events.

    Raises
    ------
    PermissionError
        Without the right to use fanotify (CAP_SYS_ADMIN).
    OSError
        If the kernel has no fanotify, or a root cannot be watched.

    Notes
    -----
    Meant for::

        with Watch(["/srv"]) as watch:
            subprocess.run(["/srv/bin/a-static-binary"])
        print(audit("access.db", ["/srv"], watch=watch))
    """

    def __init__(self, roots: Iterable[str | os.PathLike[str]]) -> None:
        self._roots = [os.fsencode(Path(root).resolve()).rstrip(b"/") + b"/" for root in roots]
        self.opened: set[bytes] = set()
        self.written: set[bytes] = set()
        self.overflowed = False
        self._group: Group
        self._stop = (-1, -1)
        self._thread = threading.Thread(target=self._listen, name="fanotify", daemon=True)

    def __enter__(self) -> Self:
        self._group = Group(unlimited=True)
        try:
            for root in self._roots:
                self._group.mark_file_system(root, OPEN | MODIFY | CLOSE_WRITE)
        except OSError:
            self._group.close()
            raise
        self._stop = os.pipe()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._stop[1])
        self._thread.join()
        os.close(self._stop[0])
        self._group.close()

    def _listen(self) -> None:
        # Once told to stop, take what has already happened and do not wait for more.
        stopping = False
        while True:
            waited_for = [self._group.fd] if stopping else [self._group.fd, self._stop[0]]
            ready, _, _ = select.select(waited_for, [], [], 0 if stopping else None)
            stopping = stopping or self._stop[0] in ready
            if self._group.fd in ready:
                self._take()
            elif stopping:
                return

    def _take(self) -> None:
        for mask, fd, pid in self._group.read():
            if mask & OVERFLOW:
                self.overflowed = True
            if fd < 0:
                continue
            path = os.readlink(b"/proc/self/fd/%d" % fd).removesuffix(_DELETED)
            if pid != os.getpid() and any(path.startswith(root) for root in self._roots):
                if mask & OPEN:
                    self.opened.add(path)
                if mask & (MODIFY | CLOSE_WRITE):
                    self.written.add(path)


def _fail(call: str, path: bytes = b"") -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}", os.fsdecode(path) or None)
