"""Where an access log lies, and who may write it.

Invariant: a log is opened by one name only, and is ours alone to write: its owner may put anything
into it, and another name of it would be another log.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_CLOSED = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def resolve(log: str | Path) -> Path:
    """Return the one absolute name of a log, links followed: two names of it would be two logs.

    Raises
    ------
    ValueError
        If the name cannot be that of a log.
    """
    given = os.fspath(log)
    try:
        found, name = Path(os.path.realpath(given)), Path(os.path.abspath(given))
        if name.is_symlink() and (owner := name.lstat().st_uid) not in (0, os.geteuid()):
            raise ValueError(f"log: {str(name)!r} is a link of user {owner}")
    except OSError as error:
        raise ValueError(f"log: {given!r}: {error.strerror}") from error
    if len(os.fsencode(found.name)) > 255 - len("-strangers"):
        raise ValueError(f"log: the name {found.name[:20]!r}… is too long")
    return found


def check_owner(log: Path) -> None:
    """Make a log that is missing (mode 0600); refuse one that is not ours alone to write.

    Raises
    ------
    ValueError, OSError
        If it is no file, or cannot be one.
    PermissionError
        If it, a file that SQLite keeps beside it, or its directory is open to other users.
    """
    if not log.parent.is_dir():
        raise NotADirectoryError(f"log: {str(log.parent)!r} is no directory")
    if log.exists() and not log.is_file():
        raise ValueError(f"log: got {str(log)!r}, expected a regular file or a new name")
    parent = os.stat(log.parent)
    if parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX:
        raise PermissionError(
            f"log: everybody may replace files in {str(log.parent)!r}, expected a directory that "
            "is not open to all, or has the sticky bit"
        )
    with suppress(FileExistsError):
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSED, 0o600)
        os.fchmod(fd, 0o600)
        os.close(fd)
    for ending in ("", "-wal", "-shm", "-journal"):
        name = log.with_name(log.name + ending)
        with suppress(FileNotFoundError):
            status = name.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise PermissionError(f"log: {str(name)!r} is no regular file")
            if status.st_uid != os.geteuid():
                raise PermissionError(f"log: {str(name)!r} belongs to user {status.st_uid}")
            if status.st_mode & stat.S_IWOTH:
                raise PermissionError(f"log: everybody may write {str(name)!r}")
            if status.st_nlink > 1 and not ending:
                raise PermissionError(
                    f"log: {str(name)!r} has {status.st_nlink} names (hard links), expected one"
                )
