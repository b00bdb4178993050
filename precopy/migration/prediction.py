"""What the downtime would be: measured where a rehearsal was, else made of what the steps took.

A rehearsal is a final copy while the application runs.  It takes as long as the real one, but for
stopping the application, the second scan, and writing down who is in charge; what goes into these
is measured, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median


class Prediction:
    """Predicts the downtime.

    Attributes
    ----------
    scan_s : float
        What the last scan of the tree took.
    round_trip_s : float
        What an exchange with the destination without data takes.
    processes_s : float
        What looking at all processes takes.
    journal_s : float
        What making a line of the journal durable takes.
    rehearsed_s : float or None
        What a rehearsal in this cycle took; None where there was none.
    """

    def __init__(self) -> None:
        self.scan_s = self.round_trip_s = self.processes_s = 0.0
        self.journal_s = 0.001
        self.rehearsed_s: float | None = None
        self._looks: deque[float] = deque(maxlen=9)

    def looked_at_processes(self, seconds: float) -> None:
        """Take in what looking at all processes took just now."""
        self._looks.append(seconds)
        self.processes_s = median(self._looks)

    def rehearsed(self, seconds: Sequence[float]) -> float:
        """Return the downtime after rehearsals of these lengths."""
        return median(seconds) + self._around()

    def estimated(self, pending_bytes: int, bandwidth: float | None, look_s: float) -> float:
        """Return the downtime: after this cycle's rehearsal, or else a look, sending, verifying."""
        if self.rehearsed_s is not None:
            return self.rehearsed([self.rehearsed_s])
        sending = pending_bytes / bandwidth if bandwidth else 0.0
        return look_s + sending + self.round_trip_s + self._around()

    def _around(self) -> float:
        """Return what comes before and after a final copy.

        Stopping looks at all processes, and so does, for less, the check before the decision.
        FROZEN, VERIFIED and COMMITTED are made durable here, and the decision there.
        """
        stop = 1.5 * self.processes_s + self.journal_s
        decide = 3 * self.journal_s + self.round_trip_s
        return stop + self.scan_s + decide
