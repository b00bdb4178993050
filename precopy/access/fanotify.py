"""The kernel's own report of opened and written files, for the audit (root only).

fanotify sees what no library can: static binaries, inline system calls, io_uring.  It does not
say how much was written.  Invariant: a `Watch` only listens; no program ever waits for it.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

_CLASS_NOTIF, _CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE = 0x0, 0x1, 0x2, 0x10
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_MODIFY, _CLOSE_WRITE, _OPEN, _OVERFLOW = 0x2, 0x8, 0x20, 0x4000
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBBHQii")  # length, version, reserved, header length, mask, fd, pid
_DELETED = b" (deleted)"


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
        self._fd = -1
        self._stop = (-1, -1)
        self._thread = threading.Thread(target=self._listen, name="fanotify", daemon=True)

    def __enter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        flags = _CLASS_NOTIF | _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE
        self._fd = libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC)
        if self._fd < 0:
            _fail("fanotify_init")
        mask = ctypes.c_uint64(_OPEN | _MODIFY | _CLOSE_WRITE)
        for root in self._roots:
            how = _MARK_ADD | _MARK_FILESYSTEM
            if libc.fanotify_mark(self._fd, how, mask, _AT_FDCWD, ctypes.c_char_p(root)) < 0:
                os.close(self._fd)
                _fail("fanotify_mark", root)
        self._stop = os.pipe()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._stop[1])
        self._thread.join()
        os.close(self._stop[0])
        os.close(self._fd)

    def _listen(self) -> None:
        # Once told to stop, take what has already happened and do not wait for more.
        stopping = False
        while True:
            waited_for = [self._fd] if stopping else [self._fd, self._stop[0]]
            ready, _, _ = select.select(waited_for, [], [], 0 if stopping else None)
            stopping = stopping or self._stop[0] in ready
            if self._fd in ready:
                self._take(os.read(self._fd, 1 << 16))
            elif stopping:
                return

    def _take(self, events: bytes) -> None:
        offset = 0
        while offset < len(events):
            length, _, _, _, mask, fd, pid = _EVENT.unpack_from(events, offset)
            offset += length
            if mask & _OVERFLOW:
                self.overflowed = True
            if fd < 0:
                continue
            try:
                path = os.readlink(b"/proc/self/fd/%d" % fd).removesuffix(_DELETED)
            finally:
                os.close(fd)
            if pid != os.getpid() and any(path.startswith(root) for root in self._roots):
                if mask & _OPEN:
                    self.opened.add(path)
                if mask & (_MODIFY | _CLOSE_WRITE):
                    self.written.add(path)


def _fail(call: str, path: bytes = b"") -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}", os.fsdecode(path) or None)
