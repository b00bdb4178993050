"""Every stop rule: small frozen objects, each with its source.

Add one here: its parameters with their kinds, what it remembers from cycle to cycle, and the
sentence of its reason; then its name in `_ALL`, and its formula in docs/model.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from precopy import _check
from precopy._rule import Bytes, Count, Factor, Flag, Memory, Number, Progress, Rule, Seconds, Share

_text = _check.bytes_text


@dataclass(frozen=True, repr=False)
class final_copy(Rule):
    """The final copy is at most so many bytes: the limit X.

    Source: paper, section 4.1; model, rule stop.final-copy.

    Parameters
    ----------
    bytes : float
    """

    bytes: Bytes

    def _step(self, now: Progress, memory: Memory) -> Flag:
        return now.final_copy_bytes <= self.bytes

    def _because(self, now: Progress) -> str:
        return f"the final copy is {_text(now.final_copy_bytes)}"


@dataclass(frozen=True, repr=False)
class downtime(Rule):
    """The downtime would be at most so many seconds, a fixed overhead included.

    Source: QEMU, ``downtime-limit`` (final copy / bandwidth against a limit); model, rule
    stop.downtime.

    Parameters
    ----------
    seconds : float
        The most.
    overhead_s : float, default 0
        What a stop costs beside the final copy.
    """

    seconds: Seconds
    overhead_s: Seconds = 0.0

    def _step(self, now: Progress, memory: Memory) -> Flag:
        return now.downtime_s + self.overhead_s <= self.seconds

    def _because(self, now: Progress) -> str:
        return f"the downtime would be {now.downtime_s + self.overhead_s:.3g} s"


@dataclass(frozen=True, repr=False)
class cycles(Rule):
    """So many cycles have run; from then on.

    Source: Xen, ``max_iters``; CRIU's p.haul, ``MAX_ITERS_COUNT``; model, rule stop.cycles.

    Parameters
    ----------
    count : int
    """

    count: Count

    def _step(self, now: Progress, memory: Memory) -> Flag:
        return np.full(np.shape(now.final_copy_bytes), now.cycle >= self.count)

    def _because(self, now: Progress) -> str:
        return f"{now.cycle} cycles have run"


@dataclass(frozen=True, repr=False)
class seconds(Rule):
    """So many seconds have passed since the start; from then on.

    Source: a plain time-out, as KubeVirt's ``completionTimeoutPerGiB``; model, rule stop.seconds.

    Parameters
    ----------
    seconds : float
    """

    seconds: Seconds

    def _step(self, now: Progress, memory: Memory) -> Flag:
        return now.seconds >= self.seconds

    def _because(self, now: Progress) -> str:
        return f"{now.seconds:.3g} s have passed"


@dataclass(frozen=True, repr=False)
class traffic(Rule):
    """So many times the size of the data has been sent; from then on.

    Source: Xen, ``max_factor`` = 3; model, rule stop.traffic.

    Parameters
    ----------
    factor : float
    """

    factor: Factor

    def _step(self, now: Progress, memory: Memory) -> Flag:
        if now.total_bytes is None:
            raise ValueError("total_bytes: expected the size of all data for traffic, got None")
        return now.precopy_bytes >= self.factor * now.total_bytes

    def _because(self, now: Progress) -> str:
        return f"{_text(now.precopy_bytes)} have been sent, of {_text(now.total_bytes)} of data"


@dataclass(frozen=True, repr=False)
class resent(Rule):
    """So many bytes have been sent for the second time or later; from then on.

    Source: paper, section 6 (left open: a limit on re-sent resources); model, rule stop.resent.

    Parameters
    ----------
    bytes : float
    """

    bytes: Bytes

    def _step(self, now: Progress, memory: Memory) -> Flag:
        return now.resent_bytes >= self.bytes

    def _because(self, now: Progress) -> str:
        return f"{_text(now.resent_bytes)} have been sent again"


@dataclass(frozen=True, repr=False)
class stall(Rule):
    """The least final copy has fallen by no more than `tolerance` in so many cycles; from then on.

    Source: ours; model, rule stop.stall. KubeVirt's stall detection looks at the least of what
    remained, too.

    Parameters
    ----------
    cycles : int
    tolerance : float, default 0.01
        The share of the least final copy by which it must fall to count as progress.

    Examples
    --------
    >>> from precopy import stop
    >>> final = [90, 50, 60, 49.8, 49.7, 70]
    >>> now = {"precopy_bytes": 0, "resent_bytes": 0, "bandwidth": 10}
    >>> watch = stop.stall(3).watch()
    >>> [bool(watch(stop.Progress(cycle=c, seconds=c, final_copy_bytes=f, **now)))
    ...  for c, f in enumerate(final, start=1)]
    [False, False, False, False, True, True]
    """

    cycles: Count
    tolerance: Share = 0.01

    def _step(self, now: Progress, memory: Memory) -> Flag:
        least: deque[Number] = memory.setdefault("least", deque(maxlen=self.cycles + 1))
        final = now.final_copy_bytes
        least.append(np.minimum(least[-1], final) if least else final)
        stalled: Flag = memory.get("stalled", False)
        if len(least) > self.cycles:
            stalled = stalled | (least[-1] >= (1.0 - self.tolerance) * least[0])
        memory["stalled"] = stalled
        return stalled

    def _because(self, now: Progress) -> str:
        return (
            f"the least final copy fell by no more than {100 * self.tolerance:.3g} % in "
            f"{self.cycles} cycles"
        )


@dataclass(frozen=True, repr=False)
class dip(Rule):
    """The final copy is at or below a quantile of its last `window` values, this one included.

    Source: ours; model, rule stop.dip. ``stall(10) & dip(0.1)``: stall, then wait for a dip.

    Parameters
    ----------
    quantile : float
        From 0 (the least) to 1.
    window : int, default 20
        Cycles.
    """

    quantile: Share
    window: Count = 20

    def _step(self, now: Progress, memory: Memory) -> Flag:
        last: deque[Number] = memory.setdefault("last", deque(maxlen=self.window))
        last.append(now.final_copy_bytes)
        if len(last) < self.window:
            return np.zeros(np.shape(now.final_copy_bytes), dtype=np.bool_)
        return now.final_copy_bytes <= np.quantile(np.stack(last), self.quantile, axis=0)

    def _because(self, now: Progress) -> str:
        return (
            f"the final copy, {_text(now.final_copy_bytes)}, is within the lowest "
            f"{100 * self.quantile:.3g} % of the last {self.window} cycles"
        )


@dataclass(frozen=True, repr=False)
class growth(Rule):
    """The final copy has grown by more than a share of itself since the cycle before.

    Source: CRIU's p.haul, ``MAX_ITER_GROW_RATE`` = 10 % (beside a least size and a number of
    iterations: ``growth() | final_copy(256kB) | cycles(8)``); model, rule stop.growth.

    Parameters
    ----------
    share : float, default 0.1
    """

    share: Factor = 0.1

    def _step(self, now: Progress, memory: Memory) -> Flag:
        last: Number = memory.get("last", np.inf)
        memory["last"] = now.final_copy_bytes
        return now.final_copy_bytes > (1.0 + self.share) * last

    def _because(self, now: Progress) -> str:
        return (
            f"the final copy has grown to {_text(now.final_copy_bytes)}, by more than "
            f"{self.share:.3g} of itself in one cycle"
        )


@dataclass(frozen=True, repr=False)
class ramp(Rule):
    """The downtime would be within a limit that rises in equal steps while the pre-copy goes on.

    Source: KubeVirt, dynamic downtime tuning, whose names are initialMs, maxDowntimeMs, steps,
    startAfterIteration and cooldownSeconds, and whose numbers are the defaults. OpenStack Nova's
    ``live_migration_downtime_steps`` is alike. Model, rule stop.ramp.

    Parameters
    ----------
    initial_s, most_s : float, default 0.15 and 1.05
        The first and the last limit, in seconds.
    steps : int, default 7
        From the one to the other.
    after : int, default 3
        The cycle after which time begins to count.
    wait_s : float, default 10
        Seconds from step to step, and before the first.
    """

    initial_s: Seconds = 0.15
    most_s: Seconds = 1.05
    steps: Count = 7
    after: Count = 3
    wait_s: Seconds = 10.0

    def _limit(self, waited: Number) -> Number:
        raised = np.minimum(waited // self.wait_s, self.steps) if self.wait_s else self.steps
        return self.initial_s + (self.most_s - self.initial_s) * (raised / self.steps)

    def _step(self, now: Progress, memory: Memory) -> Flag:
        if now.cycle == self.after:
            memory["since"] = now.seconds
        since: Number = memory.get("since")
        limit = self.initial_s if since is None else self._limit(now.seconds - since)
        return now.downtime_s <= limit

    def _because(self, now: Progress) -> str:
        return f"the downtime would be {now.downtime_s:.3g} s, within the limit of this moment"


@dataclass(frozen=True, repr=False)
class marginal(Rule):
    """The last `window` cycles have made the final copy smaller by a small share of what they sent.

    Source: ours, the benefit of sending on against its price; model, rule stop.marginal.

    Parameters
    ----------
    gain : float, default 0.05
        Bytes of the final copy per byte sent.
    window : int, default 10
        Cycles.
    """

    gain: Factor = 0.05
    window: Count = 10

    def _step(self, now: Progress, memory: Memory) -> Flag:
        last: deque[Progress] = memory.setdefault("last", deque(maxlen=self.window + 1))
        last.append(now)
        fallen = last[0].final_copy_bytes - now.final_copy_bytes
        sent = now.precopy_bytes - last[0].precopy_bytes
        return np.logical_and(len(last) > self.window, fallen <= self.gain * sent)

    def _because(self, now: Progress) -> str:
        return (
            f"{self.window} cycles made the final copy smaller by no more than {self.gain:.3g} of "
            "what they sent"
        )


@dataclass(frozen=True, repr=False)
class outrun(Rule):
    """In the last `window` cycles the writes made pending a share of what the link could send.

    It tells that the link cannot keep up, so that more cycles bring nothing. What becomes pending
    is what was sent, less what the final copy fell by.

    Source: QEMU, ``throttle-trigger-threshold`` (bytes that became dirty against bytes that were
    sent, of which 50 % makes it slow the guest down); model, rule stop.outrun.

    Parameters
    ----------
    share : float, default 1
    window : int, default 10
        Cycles.
    """

    share: Factor = 1.0
    window: Count = 10

    def _step(self, now: Progress, memory: Memory) -> Flag:
        last: deque[Progress] = memory.setdefault("last", deque(maxlen=self.window + 1))
        last.append(now)
        sent = now.precopy_bytes - last[0].precopy_bytes
        dirtied = sent + now.final_copy_bytes - last[0].final_copy_bytes
        if now.bandwidth is None:  # not measured yet
            return False
        could = now.bandwidth * (now.seconds - last[0].seconds)
        return np.logical_and(len(last) > self.window, dirtied >= self.share * could)

    def _because(self, now: Progress) -> str:
        return (
            f"in {self.window} cycles the writes made pending at least {self.share:.3g} of what "
            "the link could send"
        )


_ALL: tuple[type[Rule], ...] = (
    *(final_copy, downtime, cycles, seconds, traffic, resent),
    *(stall, dip, growth, ramp, marginal, outrun),
)
NAMES = {rule.__name__: rule for rule in _ALL}
"""Every rule by the name that ``--until`` knows it by."""
