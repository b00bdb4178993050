"""A migration's progress for people: a line that is rewritten on a terminal, else one per cycle."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from precopy._check import bytes_text
from precopy._text import printable_lines
from precopy.migration.curves import CycleRecord
from precopy.migration.observer import Observer
from precopy.migration.report import seconds_text

TOLD_AFTER_CYCLES = 10
"""After so many cycles that were no better, it is said how good the best one was."""


class Terminal(Observer):
    """Prints what happens.

    Parameters
    ----------
    stream : file
        Standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rewrites = stream.isatty()
        self._open = False
        self._sent = 0
        self._last = float("-inf")
        self._best = float("inf"), 0

    def stage(self, name: str, text: str) -> None:
        """Print that a stage begins."""
        self._line(text)

    def note(self, text: str) -> None:
        """Print what the operator should know."""
        self._line(f"note: {text}")

    def cycle(self, number: int, record: CycleRecord) -> None:
        """Print a cycle."""
        self._sent += record.sent_bytes
        if record.predicted_downtime_s < self._best[0]:
            self._best = record.predicted_downtime_s, number
        least_s, at = self._best
        best = ""
        if number - at >= TOLD_AFTER_CYCLES and at:
            best = f" (at best {seconds_text(least_s)}, {number - at} cycles ago)"
        link = f", link {bytes_text(record.bandwidth)}/s" if record.bandwidth else ""
        self._progress(
            f"cycle {number}: sent {bytes_text(self._sent)}, pending "
            f"{bytes_text(record.pending_bytes)}, stopped now it would stand "
            f"{seconds_text(record.predicted_downtime_s)}{best}{link}"
        )

    def rehearsal(self, predicted_downtime_s: float) -> None:
        """Print what a rehearsal predicts."""
        self._progress(f"rehearsed: it will stand about {seconds_text(predicted_downtime_s)}")

    def _progress(self, text: str) -> None:
        if not self._rewrites:
            self._line(text)
            return
        width = shutil.get_terminal_size().columns - 1
        if self._open and time.monotonic() - self._last < 0.05:
            return
        self._last = time.monotonic()
        self._stream.write(f"\r\x1b[K{text[:width]}")
        self._stream.flush()
        self._open = True

    def _line(self, text: str) -> None:
        end = "\r\x1b[K" if self._open else ""
        self._open = False
        self._stream.write(f"{end}precopy: {printable_lines(text)}\n")
        self._stream.flush()
