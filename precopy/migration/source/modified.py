"""Files that somebody modified, as fanotify tells it (root).

The times of a file move when a write begins, fanotify tells when it ends: of a long write both are
needed.  Invariant: it only adds files.  It does not see stores through mappings, and not what is
written under a name in a directory that is not part of what moves.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from precopy.access.fanotify import CLOSE_WRITE, MODIFY, OVERFLOW, Group
from precopy.migration.source.metadata import GONE


class Modified:
    """Listens to directories.

    Attributes
    ----------
    refused : set of bytes
        Directories that cannot be listened to.

    Raises
    ------
    PermissionError, OSError
        If fanotify cannot be had.
    """

    def __init__(self) -> None:
        self.refused: set[bytes] = set()
        self._group = Group(unlimited=False)
        self._marked: set[bytes] = set()

    def close(self) -> None:
        """Stop listening."""
        self._group.close()

    def follow(self, directories: Iterable[bytes]) -> None:
        """Listen to these directories as well."""
        for path in directories:
            if path in self._marked:
                continue
            self._marked.add(path)
            try:
                self._group.mark_directory(path, MODIFY | CLOSE_WRITE)
            except OSError as error:
                self._marked.discard(path)
                if error.errno not in GONE:
                    self.refused.add(path)

    def unfollow(self, directories: Iterable[bytes]) -> None:
        """Forget directories that are gone; the kernel has done so already."""
        self._marked.difference_update(directories)

    def drain(self) -> tuple[set[int], bool]:
        """Return the inodes of files modified since the last call, and whether events were lost."""
        inodes: set[int] = set()
        overflowed = False
        while True:
            some = False
            for mask, fd, _ in self._group.read():
                some = True
                if mask & OVERFLOW:
                    overflowed = True
                elif fd >= 0:
                    with suppress(OSError):
                        inodes.add(os.fstat(fd).st_ino)
            if not some:
                return inodes, overflowed
