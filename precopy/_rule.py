"""What a stop rule is: a small object that says, after each cycle, whether the pre-copy should end.

One interface for finished tables and for a live migration. A rule hands out a watch, which is told
how far the migration is after every cycle and answers; `Rule.holds` tells a watch the cycles of a
whole table one after the other, all runs at once. So a rule looks at no later cycle, and both uses
run the same code. A watch keeps no more than the rule's window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, Field, dataclass, fields
from functools import reduce
from typing import Annotated, Any, Self, TypeAlias, get_type_hints

import numpy as np
import numpy.typing as npt

from precopy import _check

Number: TypeAlias = Any
"""A number, or an array with one number per run."""
Flag: TypeAlias = Any
"""A bool, or an array with one per run."""
Memory: TypeAlias = dict[str, Any]
"""What a rule remembers from cycle to cycle, by name; a shallow copy of each value must do."""


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
    bandwidth : float or float[...] or None
        Bytes per second that the link sends; None if that is not known yet.
    total_bytes : float or float[...], optional
        The size of all that moves; `traffic` asks for it.
    downtime_s : float or float[...], optional
        The downtime if the application were stopped now. Default: final copy / bandwidth; it must
        be given where the bandwidth is not known.
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

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._memory: Memory = {}
        self._now: Progress | None = None
        self._held: Flag = False

    def __call__(self, now: Progress) -> Flag:
        """Take in one more cycle; return whether the rule holds after it."""
        self._now = now
        self._held = self._step(now)
        return self._held

    def fork(self) -> Self:
        """Return a watch that knows what this one does, to ask "what if": it goes its own way."""
        other = copy(self)
        other._memory = {name: copy(value) for name, value in self._memory.items()}
        return other

    def _step(self, now: Progress) -> Flag:
        return self.rule._step(now, self._memory)

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
        super().__init__(rule)
        self._parts = [part.watch() for part in rule.rules]
        self._combine = combine

    def fork(self) -> Self:
        """Return a watch that knows what this one does."""
        other = super().fork()
        other._parts = [part.fork() for part in self._parts]
        return other

    def _step(self, now: Progress) -> Flag:
        return reduce(self._combine, [part(now) for part in self._parts])

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
        return Watch(self)

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

    def _step(self, now: Progress, memory: Memory) -> Flag:
        """Return whether the rule holds after one more cycle.

        What it must remember until the next it keeps in `memory`, which is empty at first.
        """
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


_MOST = 10**9


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
    number = _check.integer(name, value, least=1)
    if number > _MOST:
        raise ValueError(f"{name}: expected a whole number from 1 to 10^9, got {number}")
    return number


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
