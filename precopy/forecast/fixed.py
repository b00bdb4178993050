"""What a stop takes beside the bytes that are left: constants that were measured, and their source.

Source: the live migration of 400 SQLite databases in docs/speed.md (1,200 entries, a far side over
ssh without delay): stopping 1.8 ms, looking 5.1 ms for two looks, the disk there 0.7 ms, deciding
1.7 ms, Python 2.2 ms; and the rates of docs/migration.md ("Speed", "The channel").
"""

from __future__ import annotations

from dataclasses import dataclass

from precopy.forecast.timeline import Written
from precopy.migration.source.tracing import LARGE_BYTES

STOP_S, DISK_S, DECIDE_S, PYTHON_S = 0.0018, 0.0007, 0.0017, 0.0022
LOOK_S_PER_FILE = 0.0051 / 2 / 1200
READ_BYTES_PER_S = 1.6e9
"""A file that was written is read and hashed as a whole, unless tracepoints tell where."""

CHANNEL_BYTES_PER_S = {"block": 560e6, "file": 1.6e9}
"""More than this no link brings: scattered blocks, or large pieces, per second of a core."""

LEAST_FIXED, MOST_FIXED = 0.6, 2.0
"""The fixed part is from so many to so many times what is said here, as machines differ and are
busy."""


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
    """

    files: int
    granularity: str
    bandwidth: float
    round_trip_s: float = 0.0

    @property
    def seconds(self) -> float:
        """The downtime where nothing is left."""
        return self.parts["freeze"] + self.copy_s + self.parts["scan"] / 2 + self.parts["commit"]

    @property
    def parts(self) -> dict[str, float]:
        """What the fixed part is made of, by the names of a migration's report."""
        return {
            "freeze": STOP_S,
            "scan": 2 * LOOK_S_PER_FILE * self.files,
            "sync": DISK_S,
            "commit": DECIDE_S + self.round_trip_s,
            "other": PYTHON_S + self.round_trip_s,
        }

    @property
    def copy_s(self) -> float:
        """What a final copy takes in which nothing is sent, as in a rehearsal."""
        return self.parts["scan"] / 2 + self.parts["sync"] + self.parts["other"]

    def sending_s(self, left_bytes: float) -> float:
        """Return what sending takes."""
        return left_bytes / min(self.bandwidth, CHANNEL_BYTES_PER_S[self.granularity])

    def reading_s(self, written: Written) -> float:
        """Return what reading takes of files that were written; large ones are not read whole."""
        size = written.size_bytes
        return float(size[size <= LARGE_BYTES].sum()) / READ_BYTES_PER_S
