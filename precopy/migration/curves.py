"""What a pre-copy left behind, cycle by cycle: the report's rows, and what stop rules look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class CycleRecord:
    """One cycle.

    Attributes
    ----------
    seconds : float
        When it ended, since the start of the migration.
    cycle_seconds : float
        How long it lasted.
    sent_bytes, resent_bytes : int
        Bytes of units that were sent in it; those for the second time or later.
    link_bytes : int
        What crossed the link for them.
    pending_bytes : int
        What a final copy would have had to send at its end.
    written_bytes : int
        Bytes of the units that were found written in it.
    bandwidth : float or None
        Bytes per second that the link was believed to carry.
    predicted_downtime_s : float
        The downtime, had the application been stopped at its end.
    """

    seconds: float
    cycle_seconds: float
    sent_bytes: int
    resent_bytes: int
    link_bytes: int
    pending_bytes: int
    written_bytes: int
    bandwidth: float | None
    predicted_downtime_s: float


class Curves:
    """The records of all cycles so far, and as columns what `precopy.stop`'s rules look at."""

    def __init__(self, records: list[CycleRecord] | None = None) -> None:
        self.records = records if records is not None else []

    def append(self, **values: Any) -> CycleRecord:
        """Add a cycle; return its record."""
        record = CycleRecord(**values)
        self.records.append(record)
        return record

    def copy(self) -> Curves:
        """Return curves that may grow on their own."""
        return Curves(list(self.records))

    def __len__(self) -> int:
        return len(self.records)

    def _column(self, name: str, kind: Any) -> npt.NDArray[Any]:
        return np.array([getattr(record, name) for record in self.records], kind)

    @property
    def final_copy_bytes(self) -> npt.NDArray[np.int64]:
        """Pending bytes at the end of each cycle."""
        return self._column("pending_bytes", np.int64)

    @property
    def precopy_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes sent since the start."""
        return np.cumsum(self._column("sent_bytes", np.int64))

    @property
    def resent_bytes(self) -> npt.NDArray[np.int64]:
        """Those of them that were sent for the second time or later."""
        return np.cumsum(self._column("resent_bytes", np.int64))
