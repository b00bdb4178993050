"""Which file system a path lies on, and what that means for the migration.

Invariant: what is not known to behave well is taken for one that does not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICK_NS = 10_000_000
"""Two changes within this time may bear one time stamp on a local disk: a tick of the kernel."""

COARSE_NS = 2_000_000_000
"""The same for FAT, for disks whose inodes hold whole seconds, and for other hosts' clocks."""

# fmt: off
KERNEL = frozenset([
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
    "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore",
    "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs",
])
"""Views of the kernel: they are no data, and do not move."""

_COARSE = frozenset(["exfat", "hfs", "hfsplus", "msdos", "umsdos", "vfat"])
_LOCAL = frozenset([
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "ramfs", "reiserfs", "tmpfs",
    "xfs", "zfs",
])
# fmt: on

# There a store through a mapping into a clean page moves the times, and sync_file_range cleans.
_SHOWS_STORES = frozenset(["btrfs", "ext2", "ext3", "ext4", "f2fs", "xfs"])

# No store through a mapping is seen there at all.
_HIDES_STORES = frozenset(["hugetlbfs", "ramfs", "tmpfs"])

_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo.

    Attributes
    ----------
    point : bytes
        Where it is mounted.
    kind : str
        The file system's name, such as "ext4".
    options : frozenset of str
        Of the mount and of the file system.
    """

    point: bytes
    kind: str
    options: frozenset[str] = frozenset()

    @property
    def granularity_ns(self) -> int:
        """How far apart two changes must be at the most to bear different time stamps."""
        return TICK_NS if self.kind in _LOCAL or self.kind == "overlay" else COARSE_NS

    @property
    def is_remote(self) -> bool:
        """Whether time stamps may come from a clock that is not this machine's."""
        return self.kind not in _LOCAL | _COARSE | KERNEL and self.kind != "overlay"

    @property
    def shows_stores(self) -> bool:
        """Whether a store through a mapping moves the times once the page has been cleaned."""
        return self.kind in _SHOWS_STORES and not any("dax" in option for option in self.options)

    @property
    def hides_stores(self) -> bool:
        """Whether stores through mappings never move the times."""
        return self.kind in _HIDES_STORES


class Mounts:
    """The mounts of this process, as they were when the object was made.

    Examples
    --------
    >>> Mounts.read().of(b"/proc/self/status").kind
    'proc'
    """

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._by_point = {mount.point: mount for mount in mounts}  # the last one hides others

    @classmethod
    def read(cls) -> Self:
        """Read /proc/self/mountinfo; where there is none, nothing is known of any path."""
        try:
            text = Path("/proc/self/mountinfo").read_bytes()
        except OSError:
            text = b""
        return cls(_parse(line) for line in text.splitlines() if b" - " in line)

    def points(self, kind: str) -> list[bytes]:
        """Return where file systems of a kind are mounted."""
        return [point for point, mount in self._by_point.items() if mount.kind == kind]

    def of(self, path: bytes) -> Mount:
        """Return the mount that a path lies on; links on the way are taken for directories."""
        while True:
            mount = self._by_point.get(path)
            if mount is not None:
                return mount
            if path in (b"/", b""):
                return Mount(b"/", "unknown")
            path = os.path.dirname(path)


def _parse(line: bytes) -> Mount:
    before, _, after = line.partition(b" - ")
    fields, rest = before.split(b" "), after.split(b" ")
    options = fields[5].split(b",") + (rest[2].split(b",") if len(rest) > 2 else [])
    return Mount(
        _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), fields[4]),
        os.fsdecode(rest[0]),
        frozenset(map(os.fsdecode, options)),
    )
