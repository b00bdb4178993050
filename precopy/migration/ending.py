"""When the pre-copy ends: a stop rule of `precopy.stop` at work on a live migration."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from precopy import stop
from precopy._check import bytes_text
from precopy.migration.curves import Curves
from precopy.migration.report import seconds_text

ENOUGH_RULE = "stall(10) & dip(0.1)"
"""Stop when ten cycles brought nothing any more, in a moment at which little is pending."""

DEFAULT_RULE = f"downtime(0.1) | {ENOUGH_RULE}"
"""Stop as soon as the downtime would be at most 0.1 s; or, where that cannot be reached, when ten
cycles brought nothing any more, in a moment at which little is pending."""

STALL_CYCLES = 30
"""After so many cycles without progress the operator is told, and again after twice as many."""

PROGRESS = 0.99
"""What is pending, or the downtime, has to fall below this part of its least to be progress."""

KEEP_UP_CYCLES = 5
"""In so many cycles more is written than the link carries before that is said."""

STANDSTILL = 0.9
"""As long as what is pending falls below this part in these cycles, or by the rest of what is sent,
the link keeps up."""


class RuleEnding:
    """Asks a rule after every cycle, and notes when the link cannot keep up with the writes.

    Parameters
    ----------
    rule : precopy.stop.Rule
    total_bytes : callable
        Returns the size of all that moves.
    outrun : callable
        Called once with what to tell the operator, when the writes outrun the link.
    stalled : callable
        The same, when many cycles have brought nothing and the rule does not hold; and again, at
        intervals that grow, as long as it does not: nobody may be at the terminal.

    Attributes
    ----------
    rule : precopy.stop.Rule
    """

    def __init__(
        self,
        rule: stop.Rule,
        total_bytes: Callable[[], int],
        outrun: Callable[[str], None] = lambda text: None,
        stalled: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.rule = rule
        self._total_bytes, self._tell = total_bytes, outrun
        self._watch = rule.watch()
        self._told = False
        self._stall = _Stall(rule, stalled)
        self._seen = self._sent = self._resent = 0

    def after(self, curves: Curves) -> str | None:
        """Return the rule's reason to end after the last cycle, or None."""
        reason = None
        for now in self._unseen(curves):
            self._seen, self._sent, self._resent = now.cycle, now.precopy_bytes, now.resent_bytes
            held = bool(self._watch(now))
            reason = self._watch.reason if held else None
            self._stall.after(now, held)
        self._ask_whether_outrun(curves)
        return reason

    def would(self, curves: Curves) -> bool:
        """Return whether the rule would hold if this was all."""
        watch = self._watch.fork()
        for now in self._unseen(curves):
            watch(now)
        return watch.held

    def _unseen(self, curves: Curves) -> Iterator[stop.Progress]:
        """Yield the cycles that `after` has not seen yet, as rules look at them."""
        sent_bytes, resent_bytes = self._sent, self._resent
        for cycle, record in enumerate(curves.records[self._seen :], self._seen + 1):
            sent_bytes += record.sent_bytes
            resent_bytes += record.resent_bytes
            yield stop.Progress(
                cycle=cycle,
                seconds=record.seconds,
                final_copy_bytes=record.pending_bytes,
                precopy_bytes=sent_bytes,
                resent_bytes=resent_bytes,
                bandwidth=record.bandwidth or float("inf"),
                total_bytes=self._total_bytes(),
                downtime_s=record.predicted_downtime_s,
            )

    def _ask_whether_outrun(self, curves: Curves) -> None:
        last = curves.records[-KEEP_UP_CYCLES:]
        seconds = sum(record.cycle_seconds for record in last)
        written = sum(record.written_bytes for record in last)
        sent = sum(record.sent_bytes for record in last)
        bandwidth = last[-1].bandwidth
        if self._told or bandwidth is None or len(last) < KEEP_UP_CYCLES:
            return
        # What was found written in a cycle was sent since the cycle before, or waits still.
        if written < bandwidth * seconds or sent < bandwidth * seconds / 2:
            return
        # Of a file that has not been sent, all counts as written: while the first copy gets on,
        # and less and less is pending, the link does keep up. It may be slow for a large file.
        fallen = last[0].pending_bytes - last[-1].pending_bytes
        if fallen > (1 - STANDSTILL) * min(last[0].pending_bytes, sent):
            return
        self._told = True
        self._tell(
            f"the link cannot keep up: {bytes_text(written / seconds)} are written per second, "
            f"and it carries {bytes_text(bandwidth)}"
        )


class _Stall:
    """Tells, now and then, that the rule does not hold and nothing gets any better."""

    def __init__(self, rule: stop.Rule, tell: Callable[[str], None]) -> None:
        self._rule, self._tell = str(rule), tell
        self._enough = stop.parse(ENOUGH_RULE).watch()
        self._ended: stop.Progress | None = None
        self._best: stop.Progress | None = None
        self._least_bytes = float("inf")
        self._since = self._since_s = 0.0
        self._again = 0

    def after(self, now: stop.Progress, held: bool) -> None:
        """Look at a cycle, and whether the rule holds."""
        if self._enough(now):
            self._ended = now
        best_s = float("inf") if self._best is None else self._best.downtime_s
        if now.final_copy_bytes < PROGRESS * self._least_bytes or now.downtime_s < (
            PROGRESS * best_s
        ):
            self._since, self._since_s = now.cycle, now.seconds
        self._least_bytes = min(self._least_bytes, now.final_copy_bytes)
        if self._best is None or now.downtime_s < best_s:
            self._best = now
        if held or now.cycle - self._since < STALL_CYCLES or now.cycle < self._again:
            return
        self._again = 2 * now.cycle
        self._tell(self._text(now, self._best))

    def _text(self, now: stop.Progress, best: stop.Progress) -> str:
        text = (
            f"{now.cycle - self._since:.0f} cycles ({seconds_text(now.seconds - self._since_s)}) "
            f"have brought nothing more, and the rule {self._rule} does not hold: stopped now it "
            f"would stand {_standing(now)}, at best it was {_standing(best)} in cycle {best.cycle}."
            " It goes on. Ctrl-C ends it, the application runs on, and the same command resumes"
        )
        if ENOUGH_RULE in self._rule:
            return text
        text += f"; --until '{self._rule} | {ENOUGH_RULE}' stops it where nothing improves"
        if self._ended is None:
            return text
        return f"{text}, last in cycle {self._ended.cycle}: {_standing(self._ended)}"


def _standing(at: stop.Progress) -> str:
    return f"{seconds_text(at.downtime_s)} ({bytes_text(at.final_copy_bytes)} pending)"
