"""Files that are mapped to be written: stores into them, which no call reports.

The file system stamps a file when a page of it is stored into for the first time since it was
written back (ext4, xfs, btrfs; tmpfs does not). So once a second the tracker looks at the time
stamps. Invariant: a change is noted only where no reported write can have stamped the file.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

_EVERY_S = 1.0
_MOST = 2000  # so many are looked at each time, in turn: some milliseconds


@dataclass
class _File:
    path: bytes
    app: int
    changed_ns: int  # its time stamp, when it was looked at last; 0: not yet
    reported: bool = False  # whether a call has written it since


@dataclass(frozen=True)
class Change:
    """That a mapped file has changed."""

    app: int
    file: int
    at_ns: int
    size_bytes: int


class Mapped:
    """The mapped files that a tracker knows of."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._turn: deque[int] = deque()
        self._look_at = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return bool(self._files) and time.monotonic() >= self._look_at

    def note(self, file: int, path: bytes, app: int) -> None:
        """Say that an application has mapped a file."""
        if file not in self._files:
            self._files[file] = _File(path, app, _state(path)[0])
            self._turn.append(file)

    def reported(self, files: Iterable[int]) -> None:
        """Say which files calls have written or changed since the last look."""
        for file in files:
            if file in self._files:
                self._files[file].reported = True

    def look(self) -> list[Change]:
        """Return what has changed and was not reported."""
        self._look_at = time.monotonic() + _EVERY_S
        found = []
        for _ in range(min(_MOST, len(self._turn))):
            number = self._turn.popleft()
            file = self._files[number]
            changed_ns, size_bytes = _state(file.path)
            if not changed_ns:  # it is gone, or is another kind of thing now
                del self._files[number]
                continue
            self._turn.append(number)
            if changed_ns > file.changed_ns > 0 and not file.reported:
                found.append(Change(file.app, number, changed_ns, size_bytes))
            file.changed_ns, file.reported = changed_ns, False
        return found


def _state(path: bytes) -> tuple[int, int]:
    """Return the time stamp and the size of a regular file, or zeros."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0, 0
    return (status.st_mtime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else (0, 0)
