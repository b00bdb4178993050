"""Stop rules: small objects that say, after each cycle, whether the pre-copy should end.

One interface for finished tables and for a live migration. A rule hands out a watch, which is told
how far the migration is after every cycle and answers; `Rule.holds` tells a watch the cycles of a
whole table one after the other, all runs at once. So a rule looks at no later cycle, and both uses
run the same code. A watch keeps no more than the rule's window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields
from typing import Annotated, Any, TypeAlias, get_type_hints

import numpy as np
import numpy.typing as npt

from precopy import _check

Number: TypeAlias = Any
"""A number, or an array with one number per run."""
Flag: TypeAlias = Any
"""A bool, or an array with one per run."""


@dataclass(frozen=True)
class Progress:
    """How far a migration is after a cycle: what a watch is told.

    Attributes
    ----------
    cycle : int
        The number of the cycle, from 1.
    seconds : float or float[...]
        Since the start of the pre-copy.
    final_copy_bytes, precopy_bytes, resent_bytes : float or float[...]
        As in `Run`: what a final copy would have to send now; bytes sent since the start; those of
        them that were sent for the second time or later.
    bandwidth : float or float[...]
        Bytes per second that the link sends.
    total_bytes : float or float[...], optional
        The size of all that moves; `traffic` asks for it.
    downtime_s : float or float[...], optional
        The downtime if the application were stopped now. Default: final copy / bandwidth.
    """

    cycle: int
    seconds: Number
    final_copy_bytes: Number
    precopy_bytes: Number
    resent_bytes: Number
    bandwidth: Number
    total_bytes: Number = None
    downtime_s: Number = None

    def __post_init__(self) -> None:
        if self.downtime_s is None:
            object.__setattr__(self, "downtime_s", self.final_copy_bytes / self.bandwidth)


@dataclass(frozen=True, eq=False)
class Curves:
    """The cycles of one run or of many: arrays over [..., cycle]; NaN behind the end of a run.

    Attributes
    ----------
    final_copy_bytes, precopy_bytes, resent_bytes, seconds : float[..., cycles]
        As in `Progress`.
    bandwidth : float or float[..., 1]
        As in `Progress`.
    total_bytes : float or float[..., 1], optional
        As in `Progress`.
    downtime_s : float[..., cycles], optional
        As in `Progress`.
    """

    final_copy_bytes: npt.NDArray[Any]
    precopy_bytes: npt.NDArray[Any]
    resent_bytes: npt.NDArray[Any]
    seconds: npt.NDArray[Any]
    bandwidth: Any
    total_bytes: Any = None
    downtime_s: npt.NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the runs and, last, the number of cycles."""
        return np.shape(self.final_copy_bytes)

    def __iter__(self) -> Iterator[Progress]:
        """Go through the cycles: how far the runs are after each."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        columns = {
            name: np.moveaxis(np.broadcast_to(np.asarray(values, np.float64), self.shape), -1, 0)
            for name, values in given.items()
            if values is not None
        }
        for index in range(self.shape[-1]):
            now = {name: column[index] for name, column in columns.items()}
            yield Progress(cycle=index + 1, **now)


class Watch:
    """A rule at work on one migration, or on many at once.

    Call it with the `Progress` after every cycle, in order and without a gap; it answers whether
    the rule holds now.
    """

    def __init__(self, rule: Rule, step: Callable[[Progress], Flag]) -> None:
        self.rule = rule
        self._step = step
        self._now: Progress | None = None
        self._held: Flag = False

    def __call__(self, now: Progress) -> Flag:
        """Take in one more cycle; return whether the rule holds after it."""
        self._now = now
        self._held = self._step(now)
        return self._held

    @property
    def held(self) -> bool:
        """Whether the rule held after the last cycle."""
        return bool(np.all(self._held))

    @property
    def reason(self) -> str:
        """Why the rule held after the last cycle: a sentence for a report; "" if it did not."""
        return self._because(self._now) if self._now is not None and self.held else ""

    def _because(self, now: Progress) -> str:
        return f"{self.rule}: {self.rule._because(now)}"


class _WatchSeveral(Watch):
    """Any or all of several rules; every one of them is told every cycle."""

    def __init__(self, rule: AnyOf | AllOf, combine: Callable[[Flag, Flag], Flag]) -> None:
        self._parts = [part.watch() for part in rule.rules]

        def step(now: Progress) -> Flag:
            held = self._parts[0](now)
            for part in self._parts[1:]:
                held = combine(held, part(now))
            return held

        super().__init__(rule, step)

    def _because(self, now: Progress) -> str:
        return " and ".join(part.reason for part in self._parts if part.held)


@dataclass(frozen=True, repr=False)
class Rule:
    """A stop rule. ``a | b`` ends the pre-copy where either holds, ``a & b`` where both do.

    Two kinds of rule look alike: those of which the text says *from then on* stay true once they
    are (a stall, a number of cycles), so that ``stall(10) & dip(0.1)`` means "stall, then wait for
    a dip"; the others are true or not in each cycle anew.
    """

    def __post_init__(self) -> None:
        for field, kind in parameters(type(self)).items():
            object.__setattr__(self, field.name, kind.check(field.name, getattr(self, field.name)))

    def watch(self) -> Watch:
        """Begin to apply the rule to a migration."""
        return Watch(self, self._start())

    def holds(self, curves: Curves) -> npt.NDArray[np.bool_]:
        """Return whether the rule holds after each cycle, bool[..., cycles]; False for NaN."""
        watch = self.watch()
        held = np.zeros(curves.shape, dtype=np.bool_)
        for index, now in enumerate(curves):
            held[..., index] = watch(now)
        held &= ~np.isnan(curves.final_copy_bytes)
        return held

    def reason(self, curves: Curves) -> str:
        """Return why the rule holds after the last cycle of one run; "" if it does not."""
        watch = self.watch()
        for now in curves:
            watch(now)
        return watch.reason

    def _start(self) -> Callable[[Progress], Flag]:
        """Return a function that is called after every cycle and keeps what the rule remembers."""
        raise NotImplementedError

    def _because(self, now: Progress) -> str:
        """Return the sentence of the reason, given that the rule holds."""
        raise NotImplementedError

    def __or__(self, other: Rule) -> AnyOf:
        return AnyOf((self, other)) if isinstance(other, Rule) else NotImplemented

    def __and__(self, other: Rule) -> AllOf:
        return AllOf((self, other)) if isinstance(other, Rule) else NotImplemented

    def __str__(self) -> str:
        """Return the rule as ``--until`` takes it."""
        given = []
        for place, (field, kind) in enumerate(parameters(type(self)).items()):
            value = getattr(self, field.name)
            if field.default is MISSING:
                given.append(kind.text(value))
            elif value != field.default:
                named = place and len(given) < place
                given.append(f"{field.name}={kind.text(value)}" if named else kind.text(value))
        return f"{type(self).__name__}({', '.join(given)})"

    def __repr__(self) -> str:
        return str(self)


class _Several(Rule):
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        flat: list[Rule] = []
        for rule in self.rules:
            flat += rule.rules if isinstance(rule, type(self)) else [rule]
        object.__setattr__(self, "rules", tuple(flat))


@dataclass(frozen=True, repr=False)
class AnyOf(_Several):
    """Rules of which one is enough; model, rule stop.any."""

    rules: tuple[Rule, ...]

    def watch(self) -> Watch:
        """Begin to apply the rules to a migration."""
        return _WatchSeveral(self, np.logical_or)

    def __str__(self) -> str:
        return " | ".join(map(str, self.rules))


@dataclass(frozen=True, repr=False)
class AllOf(_Several):
    """Rules that must hold after the same cycle; model, rule stop.all."""

    rules: tuple[Rule, ...]

    def watch(self) -> Watch:
        """Begin to apply the rules to a migration."""
        return _WatchSeveral(self, np.logical_and)

    def __str__(self) -> str:
        return " & ".join(
            f"({rule})" if isinstance(rule, AnyOf) else str(rule) for rule in self.rules
        )


@dataclass(frozen=True)
class Kind:
    """What a parameter of a rule is: how it is checked, and written in ``--until``."""

    expected: str
    check: Callable[[str, Any], Any]
    units: tuple[tuple[str, float], ...] = ()

    def text(self, value: float) -> str:
        """Return a value as ``--until`` takes it, with a unit if that is exact and short."""
        for unit, size in self.units:
            if value >= size and value % size == 0:
                return f"{int(value // size)}{unit}"
        return f"{int(value)}" if value == int(value) and value < 1e15 else repr(value)


def _bytes(name: str, value: Any) -> float:
    number = _check.not_negative(name, value)
    if number > _check.INT64_MAX:
        raise ValueError(f"{name}: expected less than 2^63 bytes, got {_check.shown(value)}")
    return number


def _share(name: str, value: Any) -> float:
    number = _check.real(name, value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {_check.shown(value)}")
    return number


def _count(name: str, value: Any) -> int:
    return _check.integer(name, value, least=1)


Bytes = Annotated[
    float,
    Kind(
        "bytes like 4096 or 10MB",
        _bytes,
        (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)),
    ),
]
Seconds = Annotated[
    float, Kind("seconds like 0.5, or 50ms, 2s, 5min, 1h", _check.not_negative, (("s", 1.0),))
]
Factor = Annotated[float, Kind("a number from 0 on, or a percentage like 10%", _check.not_negative)]
Share = Annotated[float, Kind("a number from 0 to 1, or a percentage like 10%", _share)]
Count = Annotated[int, Kind("a whole number from 1 on", _count)]


def parameters(rule: type[Rule]) -> dict[Field[Any], Kind]:
    """Return the parameters of a rule, in order, with their kinds."""
    hints = get_type_hints(rule, include_extras=True)
    return {
        field: hints[field.name].__metadata__[0]
        for field in fields(rule)
        if hasattr(hints[field.name], "__metadata__")
    }


_text = _check.bytes_text


@dataclass(frozen=True, repr=False)
class final_copy(Rule):
    """The final copy is at most so many bytes.

    Source: paper, section 4.1; model, rule stop.final-copy.
    """

    bytes: Bytes

    def _start(self) -> Callable[[Progress], Flag]:
        return lambda now: now.final_copy_bytes <= self.bytes

    def _because(self, now: Progress) -> str:
        return f"the final copy is {_text(now.final_copy_bytes)}"


@dataclass(frozen=True, repr=False)
class downtime(Rule):
    """The downtime would be at most so many seconds, a fixed overhead included.

    Source: QEMU, ``downtime-limit`` (final copy / bandwidth against a limit); model, rule
    stop.downtime.
    """

    seconds: Seconds
    overhead_s: Seconds = 0.0

    def _start(self) -> Callable[[Progress], Flag]:
        return lambda now: now.downtime_s + self.overhead_s <= self.seconds

    def _because(self, now: Progress) -> str:
        return f"the downtime would be {now.downtime_s + self.overhead_s:.3g} s"


@dataclass(frozen=True, repr=False)
class cycles(Rule):
    """So many cycles have run; from then on.

    Source: Xen, ``max_iters``; CRIU's p.haul, ``phaul_iter_max``; model, rule stop.cycles.
    """

    count: Count

    def _start(self) -> Callable[[Progress], Flag]:
        return lambda now: np.full(np.shape(now.final_copy_bytes), now.cycle >= self.count)

    def _because(self, now: Progress) -> str:
        return f"{now.cycle} cycles have run"


@dataclass(frozen=True, repr=False)
class seconds(Rule):
    """So many seconds have passed since the start; from then on.

    Source: a plain time-out, as KubeVirt's ``completionTimeoutPerGiB``; model, rule stop.seconds.
    """

    seconds: Seconds

    def _start(self) -> Callable[[Progress], Flag]:
        return lambda now: now.seconds >= self.seconds

    def _because(self, now: Progress) -> str:
        return f"{now.seconds:.3g} s have passed"


@dataclass(frozen=True, repr=False)
class traffic(Rule):
    """So many times the size of the data has been sent; from then on.

    Source: Xen, ``max_factor`` = 3; model, rule stop.traffic.
    """

    factor: Factor

    def _start(self) -> Callable[[Progress], Flag]:
        def step(now: Progress) -> Flag:
            if now.total_bytes is None:
                raise ValueError("total_bytes: expected the size of all data for traffic, got None")
            return now.precopy_bytes >= self.factor * now.total_bytes

        return step

    def _because(self, now: Progress) -> str:
        return f"{_text(now.precopy_bytes)} have been sent, of {_text(now.total_bytes)} of data"


@dataclass(frozen=True, repr=False)
class resent(Rule):
    """So many bytes have been sent for the second time or later; from then on.

    Source: paper, section 6 (left open: a limit on re-sent resources); model, rule stop.resent.
    """

    bytes: Bytes

    def _start(self) -> Callable[[Progress], Flag]:
        return lambda now: now.resent_bytes >= self.bytes

    def _because(self, now: Progress) -> str:
        return f"{_text(now.resent_bytes)} have been sent again"


@dataclass(frozen=True, repr=False)
class stall(Rule):
    """The least final copy has fallen by no more than `tolerance` in so many cycles; from then on.

    Source: ours; model, rule stop.stall. It asks for progress as VMware's vMotion does, but of the
    least value, which a sawtooth cannot fool.
    """

    cycles: Count
    tolerance: Share = 0.01

    def _start(self) -> Callable[[Progress], Flag]:
        least: deque[Number] = deque(maxlen=self.cycles + 1)
        stalled: Flag = False

        def step(now: Progress) -> Flag:
            nonlocal stalled
            final = now.final_copy_bytes
            least.append(np.minimum(least[-1], final) if least else final)
            if len(least) > self.cycles:
                stalled = stalled | (least[-1] >= (1.0 - self.tolerance) * least[0])
            return stalled

        return step

    def _because(self, now: Progress) -> str:
        return (
            f"there were {self.cycles} cycles in which the least final copy fell by no more than "
            f"{self.tolerance:.3g} of it"
        )


@dataclass(frozen=True, repr=False)
class dip(Rule):
    """The final copy is at or below a quantile of its last `window` values, this one included.

    Source: ours; model, rule stop.dip. ``stall(10) & dip(0.1)``: stall, then wait for a dip.
    """

    quantile: Share
    window: Count = 20

    def _start(self) -> Callable[[Progress], Flag]:
        last: deque[Number] = deque(maxlen=self.window)

        def step(now: Progress) -> Flag:
            last.append(now.final_copy_bytes)
            if len(last) < self.window:
                return np.zeros(np.shape(now.final_copy_bytes), dtype=np.bool_)
            return now.final_copy_bytes <= np.quantile(np.stack(last), self.quantile, axis=0)

        return step

    def _because(self, now: Progress) -> str:
        return (
            f"the final copy is {_text(now.final_copy_bytes)}, within the lowest "
            f"{self.quantile:.3g} of the last {self.window} cycles"
        )


@dataclass(frozen=True, repr=False)
class growth(Rule):
    """The final copy has grown by more than a share of itself since the cycle before.

    Source: CRIU's p.haul, ``MAX_ITER_GROW_RATE`` = 10 % (beside a least size and a number of
    iterations: ``growth() | final_copy(256kB) | cycles(8)``); model, rule stop.growth.
    """

    share: Factor = 0.1

    def _start(self) -> Callable[[Progress], Flag]:
        last: Number = np.inf

        def step(now: Progress) -> Flag:
            nonlocal last
            grown = now.final_copy_bytes > (1.0 + self.share) * last
            last = now.final_copy_bytes
            return grown

        return step

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
    """

    initial_s: Seconds = 0.15
    most_s: Seconds = 1.05
    steps: Count = 7
    after: Count = 3
    wait_s: Seconds = 10.0

    def _limit(self, waited: Number) -> Number:
        raised = np.minimum(waited // self.wait_s, self.steps) if self.wait_s else self.steps
        return self.initial_s + (self.most_s - self.initial_s) * (raised / self.steps)

    def _start(self) -> Callable[[Progress], Flag]:
        since: Number = None

        def step(now: Progress) -> Flag:
            nonlocal since
            if now.cycle == self.after:
                since = now.seconds
            limit = self.initial_s if since is None else self._limit(now.seconds - since)
            return now.downtime_s <= limit

        return step

    def _because(self, now: Progress) -> str:
        return f"the downtime would be {now.downtime_s:.3g} s, within the limit of this moment"


@dataclass(frozen=True, repr=False)
class marginal(Rule):
    """The last `window` cycles have made the final copy smaller by a small share of what they sent.

    Source: ours, the benefit of sending on against its price; model, rule stop.marginal.
    """

    gain: Factor = 0.05
    window: Count = 10

    def _start(self) -> Callable[[Progress], Flag]:
        last: deque[Progress] = deque(maxlen=self.window + 1)

        def step(now: Progress) -> Flag:
            last.append(now)
            fallen = last[0].final_copy_bytes - now.final_copy_bytes
            sent = now.precopy_bytes - last[0].precopy_bytes
            return np.logical_and(len(last) > self.window, fallen <= self.gain * sent)

        return step

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
    """

    share: Factor = 1.0
    window: Count = 10

    def _start(self) -> Callable[[Progress], Flag]:
        last: deque[Progress] = deque(maxlen=self.window + 1)

        def step(now: Progress) -> Flag:
            last.append(now)
            sent = now.precopy_bytes - last[0].precopy_bytes
            dirtied = sent + now.final_copy_bytes - last[0].final_copy_bytes
            could = now.bandwidth * (now.seconds - last[0].seconds)
            return np.logical_and(len(last) > self.window, dirtied >= self.share * could)

        return step

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
