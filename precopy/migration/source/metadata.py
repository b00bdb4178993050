"""What a file is beside its content: mode, owner, times, extended attributes.

Invariant: nothing here follows a link or opens what is read.  A file system without extended
attributes is no error; an attribute that is not taken along is named.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field

_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Nothing stands at a name, or the way to it has become another."""
_NONE_HERE = (errno.ENOTSUP, errno.ENOSYS)
_VANISHED = (errno.ENODATA, errno.ERANGE)


@dataclass(frozen=True, slots=True)
class Metadata:
    """Mode, owner, times and extended attributes of one file, directory, link or FIFO.

    Attributes
    ----------
    mode : int
        Permission bits, with set-user-ID, set-group-ID and sticky (``0o7777``).
    uid, gid : int
        Numbers of the owner and the group.
    atime_ns, mtime_ns : int
        Nanoseconds since the epoch.
    xattrs : dict of bytes
        By name: the user's and (root) ``trusted`` ones, ``security.capability``, and access control
        lists, which are ``system.posix_acl_access`` and ``system.posix_acl_default``.
    left_out : tuple of bytes
        Names of other attributes, and of those that this user may not read.  Labels of a security
        module and what a network file system or overlayfs keeps belong to the machine.
    """

    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    left_out: tuple[bytes, ...] = ()


def read_metadata(path: bytes, mode: int | None = None) -> Metadata:
    """Return the metadata of what a path names; a link is not followed.

    Parameters
    ----------
    path : bytes
    mode : int, optional
        The mode of what was scanned.

    Raises
    ------
    FileNotFoundError
        If it is gone, or something of another kind than `mode` says stands there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     oct(read_metadata(os.fsencode(file.name)).mode)
    '0o600'
    """
    try:
        status = os.lstat(path)
        xattrs, left_out = _xattrs(path)
    except OSError as error:
        if error.errno in GONE:
            raise FileNotFoundError(errno.ENOENT, "it is gone", os.fsdecode(path)) from None
        raise
    if mode is not None and stat.S_IFMT(mode) != stat.S_IFMT(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "something else stands there", os.fsdecode(path))
    return Metadata(
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_atime_ns,
        status.st_mtime_ns,
        xattrs,
        tuple(left_out),
    )


def moves(name: bytes) -> bool:
    """Return whether an attribute of this name moves with its file."""
    if name.startswith(b"trusted."):
        return not name.startswith(b"trusted.overlay.")
    return name.startswith(b"user.") or name == b"security.capability" or name in _ACLS


def _xattrs(path: bytes) -> tuple[dict[bytes, bytes], list[bytes]]:
    found: dict[bytes, bytes] = {}
    left_out: list[bytes] = []
    try:
        names = sorted(map(os.fsencode, os.listxattr(path, follow_symlinks=False)))
    except OSError as error:
        if error.errno in _NONE_HERE:
            return found, left_out
        raise
    for name in names:
        if not moves(name):
            left_out.append(name)
            continue
        try:
            found[name] = os.getxattr(path, name, follow_symlinks=False)
        except PermissionError:
            left_out.append(name)
        except OSError as error:
            if error.errno not in (*_NONE_HERE, *_VANISHED):
                raise
    return found, left_out
