"""What a stop takes beside the bytes that are left: constants that were measured, and their source.

Source: the live migration of 400 SQLite databases in docs/speed.md (1,200 entries, a far side over
ssh without delay): stopping 1.8 ms, looking 5.1 ms for two looks, the disk there 0.7 ms, deciding
1.7 ms, Python 2.2 ms; and the rates of docs/migration.md ("Speed", "The channel").
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass

from precopy.forecast.timeline import Written
from precopy.migration.pending import Granularity
from precopy.migration.source.tracing import LARGE_BYTES

STOP_S, DISK_S, DECIDE_S, PYTHON_S = 0.0018, 0.0007, 0.0017, 0.0022
LOOK_S_PER_FILE = 0.0051 / 2 / 1200
READ_BYTES_PER_S = 1.6e9
"""A file that was written is read and hashed as a whole, unless tracepoints tell where."""

CHANNEL_BYTES_PER_S = {"block": 560e6, "file": 1.6e9}
"""More than this no link brings: scattered blocks, or large pieces, per second of a core."""

QUICK, SLOW = 0.6, 2.0
"""Machines are so many times as slow as the one of these figures."""

_PROBES, _PAUSE_S = 30, 0.02


@dataclass(frozen=True)
class Slowdown:
    """How many times as long this machine takes at the moment, since it is busy.

    Attributes
    ----------
    usual, worst : float
        The median and the ninth tenth of short pieces of work.
    """

    usual: float = 1.0
    worst: float = 1.0

    @property
    def slow(self) -> float:
        """How slow it is with bad luck: whoever waits here waits for the other side as well."""
        return SLOW * self.usual * self.worst

    @classmethod
    def measured(cls) -> Slowdown:
        """Work for some milliseconds, as a final copy does, and see how long that takes."""
        ratios = []
        for _ in range(_PROBES):
            time.sleep(_PAUSE_S)
            began, worked = time.perf_counter(), time.thread_time()
            for _ in range(300):
                os.stat("/")
            hashlib.blake2b(bytes(1 << 20)).digest()
            worked = time.thread_time() - worked
            ratios.append(max((time.perf_counter() - began) / max(worked, 1e-6), 1.0))
        ratios.sort()
        return cls(ratios[_PROBES // 2], ratios[_PROBES * 9 // 10])


IDLE = Slowdown()


@dataclass(frozen=True)
class Fixed:
    """What a final copy takes, and what a stop adds to it.

    Parameters
    ----------
    files : int
        How many entries are looked at.
    granularity : {"block", "file"}
    bandwidth : float
        Bytes per second of the link.
    round_trip_s : float
        What an exchange with the destination takes.
    slower : float
        How many times as slow the machine is as that of the constants.
    """

    files: int
    granularity: Granularity
    bandwidth: float
    round_trip_s: float = 0.0
    slower: float = 1.0

    @property
    def seconds(self) -> float:
        """The downtime where nothing is left."""
        return self.parts["freeze"] + self.copy_s + self.parts["scan"] / 2 + self.parts["commit"]

    @property
    def parts(self) -> dict[str, float]:
        """What the fixed part is made of, by the names of a migration's report."""
        return {
            "freeze": STOP_S * self.slower,
            "scan": 2 * LOOK_S_PER_FILE * self.files * self.slower,
            "sync": DISK_S * self.slower,
            "commit": DECIDE_S * self.slower + self.round_trip_s,
            "other": PYTHON_S * self.slower + self.round_trip_s,
        }

    @property
    def copy_s(self) -> float:
        """What a final copy takes in which nothing is sent, as in a rehearsal."""
        return self.parts["scan"] / 2 + self.parts["sync"] + self.parts["other"]

    def sending_s(self, left_bytes: float) -> float:
        """Return what sending takes."""
        channel = CHANNEL_BYTES_PER_S[self.granularity] / self.slower
        return left_bytes / min(self.bandwidth, channel)

    def reading_s(self, written: Written) -> float:
        """Return what reading takes of files that were written; large ones are not read whole."""
        size = written.size_bytes
        return float(size[size <= LARGE_BYTES].sum()) / READ_BYTES_PER_S * self.slower
