"""How far apart two changes may be and still bear one time stamp, per device.

Nothing is written to find out: a change time with a fraction of a second proves that fractions are
kept, and until there is one a file system is taken for one that keeps whole seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import numpy as np

from precopy.migration.source.mounts import COARSE_NS, KERNEL, Mount, Mounts

_SECOND_NS = 1_000_000_000


class Granularity:
    """What is known of the time stamps of every device so far."""

    def __init__(self) -> None:
        self._mounts = Mounts.read()
        self._assumed_ns: dict[int, int] = {}
        self._asked: set[int] = set()
        self._proven: set[int] = set()
        self._remote: set[int] = set()
        self._moved_at: dict[int, float] = {}
        self._scanned_at = 0.0

    def of(self, dev: int) -> int:
        """Return the nanoseconds within which two changes may look like one."""
        return self._assumed_ns[dev] if dev in self._proven else COARSE_NS

    def learn(self, path: bytes, dev: int, ctime_ns: int) -> bool:
        """Take in the change time of a file; return whether that made `of` another for its device.

        Invariant: a device is known afterwards.
        """
        if dev not in self._assumed_ns:
            mount = self._mounts.of(path)
            self._assumed_ns[dev] = mount.granularity_ns
            if mount.is_remote:
                self._remote.add(dev)
        if dev in self._proven or ctime_ns % _SECOND_NS == 0:
            return False
        self._proven.add(dev)
        return True

    def unsettled(self, moved: Mapping[int, np.void]) -> Iterable[int]:
        """Return ids that had moved a short while before the last scan, or did so since.

        Only where another machine's clock makes the times; asked once in every scan.
        """
        before, now = self._scanned_at, time.monotonic()
        self._scanned_at = now
        if not self._remote:
            return ()
        for id, status in moved.items():
            if int(status["dev"]) in self._remote:
                self._moved_at[id] = now
        self._moved_at = {
            id: at for id, at in self._moved_at.items() if before - at <= COARSE_NS / _SECOND_NS
        }
        return list(self._moved_at)

    def mount(self, path: bytes) -> Mount:
        """Return what a path lies on."""
        return self._mounts.of(path)

    def kernel_view(self, path: bytes, dev: int) -> str:
        """Return the name of the kernel's file system that is mounted at a path, if one is."""
        if dev not in self._assumed_ns and dev not in self._asked:
            self._mounts = Mounts.read()
            self._asked.add(dev)
        kind = self._mounts.of(path).kind
        return kind if kind in KERNEL else ""
