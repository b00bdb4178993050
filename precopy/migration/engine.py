"""The loop of a live pre-copy: look, rank, take, send, acknowledge, record, ask the stop rule.

It knows neither files nor hosts: `Work` finds what was written and sends it.  The order of the
steps is the simulator's (model, rules cycle.*): what one look found is ranked and sent, then the
application writes until the next look, then the cycle is recorded.  Invariant: with work that
writes a recorded trace and sends each file whole, the curves are those of `precopy.simulate`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from precopy.migration.curves import Curves, CycleRecord
from precopy.migration.pending import Pending, Units

ENOUGH_BYTES = 256 << 10
"""From so many bytes on their time says how fast the link is."""

ENOUGH_SECONDS = 0.002

POLL_SECONDS = 0.05
LONGEST_CYCLE_SECONDS = 60.0
"""A cycle that is to end after so many writes ends after this time, if there are too few."""


@dataclass(frozen=True)
class Sent:
    """What sending took.

    Attributes
    ----------
    link_bytes : int
        What crossed the link.
    seconds : float
        How long that took, as far as it was the link.
    """

    link_bytes: int
    seconds: float


class Ending(Protocol):
    """Says why the pre-copy ends."""

    def after(self, curves: Curves) -> str | None:
        """Return the reason to end after the last cycle, or None; asked after every cycle."""

    def would(self, curves: Curves) -> bool:
        """Return whether it would end if this was all; asked at any time, changes nothing."""


class Work(Protocol):
    """What moves: the engine's view of it."""

    pending: Pending

    def look(self) -> Units:
        """Find what was written since the last look: units, as often as each was written."""

    def send(self, units: Units) -> Sent:
        """Send units as they are now, in this order, and return when they have arrived."""

    def writes(self) -> int | None:
        """Return how many writes have been counted so far; None where nobody counts."""


class Clock:
    """Time as it passes; tests have one that does not wait."""

    now = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


@dataclass(frozen=True)
class Pace:
    """How long a cycle is, and how fast the link.

    Attributes
    ----------
    seconds : float
        The length of a cycle; with `writes` only that of the first.
    writes : int or None
        How many writes make a cycle, as in the paper.
    bandwidth : float or None
        Bytes per second; None: measured from what the destination acknowledges.
    """

    seconds: float = 1.0
    writes: int | None = None
    bandwidth: float | None = None


class Engine:
    """The cycles of one pre-copy.

    Parameters
    ----------
    work : Work
    pace : Pace
    predict : callable
        Returns the downtime, in seconds, that would follow if the application was stopped now.
    ending : Ending
    clock : Clock
    rehearse : callable, optional
        Called in a cycle in which all could be sent: makes a final copy while the application runs,
        to learn how long one takes, and returns the bytes that crossed the link.

    Attributes
    ----------
    curves : Curves
        One record per cycle.
    bandwidth : float or None
        Bytes per second, as given or as measured last.
    """

    def __init__(
        self,
        work: Work,
        pace: Pace,
        predict: Callable[[Engine], float],
        ending: Ending,
        clock: Clock | None = None,
        rehearse: Callable[[Engine], int] | None = None,
    ) -> None:
        self.work, self.pace = work, pace
        self.bandwidth = pace.bandwidth
        self.curves = Curves()
        self._predict, self._ending, self._rehearse = predict, ending, rehearse
        self._clock = clock or Clock()
        self._began = self._clock.now()
        self._cycle_seconds = pace.seconds
        self._look_seconds = 0.0
        self._link_bytes = 0

    def run(self, progress: Callable[[CycleRecord], None] = lambda record: None) -> str:
        """Run cycles until a rule holds; return why it ended."""
        while True:
            progress(self.cycle())
            if (reason := self._ending.after(self.curves)) is not None:
                return reason

    @property
    def budget_bytes(self) -> int:
        """What the link is believed to carry in a cycle."""
        length = self.pace.seconds if self.pace.writes is None else self._cycle_seconds
        return max(round((self.bandwidth or 0.0) * length), 1)

    def cycle(self) -> CycleRecord:
        """Run one cycle, and return its record."""
        pending = self.work.pending
        begin = self._clock.now()
        counted = None if self.pace.writes is None else self.work.writes()
        sent_before, resent_before = pending.precopy_bytes, pending.resent_bytes
        link_before = self._link_bytes
        self._send_for_one_cycle(begin)
        if self._rehearse is not None and not pending.waiting.any():
            self._link_bytes += self._rehearse(self)
        self._wait_for_end(begin, counted)
        looks = self._clock.now()
        found = self.work.look()
        pending.written(found)
        end = self._clock.now()
        self._look_seconds = end - looks
        self._cycle_seconds = end - begin
        return self.curves.append(
            seconds=end - self._began,
            cycle_seconds=end - begin,
            sent_bytes=pending.precopy_bytes - sent_before,
            resent_bytes=pending.resent_bytes - resent_before,
            link_bytes=self._link_bytes - link_before,
            pending_bytes=pending.waiting_bytes,
            written_bytes=int(pending.cost_bytes[np.unique(found)].sum()),
            bandwidth=self.bandwidth,
            predicted_downtime_s=self._predict(self),
        )

    def predict(self) -> float:
        """Return the downtime, in seconds, if the application was stopped now."""
        return self._predict(self)

    def note(
        self,
        seconds: float,
        sent_bytes: int,
        resent_bytes: int,
        pending_bytes: int,
        predicted_downtime_s: float,
    ) -> CycleRecord:
        """Record a cycle that was run by somebody else: a rehearsal of the final copy."""
        return self.curves.append(
            seconds=self._clock.now() - self._began,
            cycle_seconds=seconds,
            sent_bytes=sent_bytes,
            resent_bytes=resent_bytes,
            link_bytes=sent_bytes,
            pending_bytes=pending_bytes,
            written_bytes=pending_bytes,
            bandwidth=self.bandwidth,
            predicted_downtime_s=predicted_downtime_s,
        )

    def _send_for_one_cycle(self, begin: float) -> None:
        pending = self.work.pending
        if self.bandwidth is None:
            self._probe(begin)
            return
        pending.begin_cycle(self.budget_bytes)
        while len(units := pending.choose()):
            pending.spent(self._transfer(units))

    def _probe(self, begin: float) -> None:
        """Send in rank order until the cycle's time is over: nothing is known of the link yet."""
        pending = self.work.pending
        ranked = pending.ranked()
        reach = np.cumsum(pending.cost_bytes[ranked])
        at, batch_bytes = 0, 4 * ENOUGH_BYTES
        while at < len(ranked) and self._clock.now() - begin < self.pace.seconds:
            sent_bytes = int(reach[at - 1]) if at else 0
            until = max(int(np.searchsorted(reach, sent_bytes + batch_bytes, "right")), at + 1)
            self._transfer(ranked[at:until])
            at = until
            left = self.pace.seconds - (self._clock.now() - begin)
            if self.bandwidth is not None:
                batch_bytes = max(round(self.bandwidth * left), ENOUGH_BYTES)

    def _transfer(self, units: Units) -> int:
        """Send units; return the bytes that crossed the link."""
        sent = self.work.send(units)
        self.work.pending.sent(units)
        self._link_bytes += sent.link_bytes
        if (
            self.pace.bandwidth is None
            and sent.link_bytes >= ENOUGH_BYTES
            and sent.seconds >= ENOUGH_SECONDS
        ):
            measured = sent.link_bytes / sent.seconds
            before = self.bandwidth
            self.bandwidth = measured if before is None else (before + measured) / 2
        return sent.link_bytes

    def _wait_for_end(self, begin: float, counted: int | None) -> None:
        """Wait until the cycle's seconds, or its writes, are over, or nothing is left to do."""
        pace = self.pace
        # The look that follows is part of the cycle: the link idles meanwhile.
        until = begin + pace.seconds - min(self._look_seconds, pace.seconds / 2)
        if counted is not None:
            until = begin + LONGEST_CYCLE_SECONDS
        if not self.work.pending.waiting.any() and self._would_end():
            return
        while (left := until - self._clock.now()) > 0:
            if counted is None or pace.writes is None:
                self._clock.sleep(left)
            elif (self.work.writes() or 0) - counted >= pace.writes:
                return
            else:
                self._clock.sleep(min(left, POLL_SECONDS))

    def _would_end(self) -> bool:
        """Return whether the pre-copy would end if this cycle ended now, with nothing pending."""
        trial = self.curves.copy()
        trial.append(
            seconds=self._clock.now() - self._began,
            cycle_seconds=0.0,
            sent_bytes=0,
            resent_bytes=0,
            link_bytes=0,
            pending_bytes=0,
            written_bytes=0,
            bandwidth=self.bandwidth,
            predicted_downtime_s=self._predict(self),
        )
        return self._ending.would(trial)
