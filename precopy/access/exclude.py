"""Which recorded paths belong to the operating system and therefore do not move.

An application's own files move; what the destination's operating system provides, or what exists
only while a machine runs, does not.  Excluded files are also no bridge between applications:
otherwise ``/etc/passwd`` or ``libc.so`` would tie everything together.  Invariant: the longest
matching entry decides, so the order of the list does not matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

DEFAULT_EXCLUDED: tuple[str, ...] = (
    # Views of the kernel and of its devices; POSIX shared memory is data that programs share.
    "/proc",
    "/sys",
    "/dev",
    "!/dev/shm",
    # Made anew at every start: pid files, sockets, locks.
    "/run",
    "/var/run",
    "/var/lock",
    # Installed software and the package manager's own record of it.
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/boot",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/cache/apt",
    "/var/cache/fontconfig",
    "/var/cache/ldconfig",
    "/etc/alternatives",
    # The identity of the machine, and what the C library reads on everyone's behalf.  The rest of
    # /etc is configuration of applications, and moves.
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/mtab",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/shadow",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
)
"""Paths that stay: each entry stands for itself and everything below it; ``!`` keeps a part."""


class Excluded:
    """A set of path prefixes that can be asked whether it covers a path.

    Parameters
    ----------
    prefixes : iterable of str
        Absolute paths.  Each covers itself and everything below it; one that starts with ``!``
        takes a part back.  The longest entry that covers a path decides.

    Raises
    ------
    ValueError
        If an entry is not an absolute path.
    TypeError
        If `prefixes` is a single string.

    Examples
    --------
    >>> excluded = Excluded(["/dev", "!/dev/shm"])
    >>> b"/dev/null" in excluded, b"/dev/shm/queue" in excluded, b"/device" in excluded
    (True, False, False)
    """

    def __init__(self, prefixes: Iterable[str] = DEFAULT_EXCLUDED) -> None:
        if isinstance(prefixes, str):
            raise TypeError(f"exclude: got the string {prefixes!r}, expected a list of paths")
        self.prefixes = tuple(prefixes)
        self._stays: dict[bytes, bool] = {}
        for prefix in self.prefixes:
            path = prefix.removeprefix("!")
            if not path.startswith("/"):
                raise ValueError(f"exclude: got {prefix!r}, expected an absolute path")
            self._stays[os.fsencode(path.rstrip("/"))] = not prefix.startswith("!")

    def __contains__(self, path: bytes) -> bool:
        while path:
            stays = self._stays.get(path)
            if stays is not None:
                return stays
            path = path[: path.rfind(b"/")] if b"/" in path else b""
        return self._stays.get(b"", False)

    def covers(self, directory: bytes) -> bool:
        """Return whether a directory and everything below it is excluded.

        Examples
        --------
        >>> excluded = Excluded(["/dev", "/usr", "!/dev/shm"])
        >>> excluded.covers(b"/usr"), excluded.covers(b"/dev"), excluded.covers(b"/dev/pts")
        (True, False, True)
        """
        below = directory.rstrip(b"/") + b"/"
        kept = (path for path, stays in self._stays.items() if not stays)
        return directory in self and not any(path.startswith(below) for path in kept)
