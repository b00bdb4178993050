"""The options of a migration, checked together before anything is touched."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from precopy import _check
from precopy import stop as rules
from precopy.estimate import Estimate
from precopy.migration.ending import DEFAULT_RULE
from precopy.migration.engine import Pace
from precopy.migration.pending import Granularity, Policy
from precopy.migration.switchover.switch import MAX_DOWNTIME_S
from precopy.migration.transport.target import is_local
from precopy.options import Budget, LiveFrequency, Order

Link = Literal["channel", "rsync"]
Command = str | Sequence[str | bytes]


@dataclass(frozen=True)
class Settings:
    """How to migrate; every option as `precopy.migration.migrate` describes it."""

    to: str
    granularity: Granularity = "block"
    order: Order = "update-frequency"
    frequency: LiveFrequency = "count"
    half_life: float | None = None
    budget: Budget = "carry"
    read_only_first: bool = True
    bandwidth: float | None = None
    cycle_seconds: float | None = None
    cycle_writes: int | None = None
    threshold_bytes: float | None = None
    downtime_s: float | None = None
    until: str | rules.Rule | None = None
    pids: Sequence[int] = ()
    cgroup: str | os.PathLike[str] | None = None
    stop: str = "freeze"
    max_downtime_s: float = MAX_DOWNTIME_S
    start: Command | None = None
    start_directory: str | None = None
    transport: Link = "channel"
    ssh: str | Sequence[str] | None = None
    programs: bool = False
    merge: bool = False
    accept_incomplete: bool = False
    log: str | os.PathLike[str] | None = None
    rule: rules.Rule = field(init=False)
    argv: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        _check.choice("granularity", self.granularity, get_args(Granularity))
        _check.choice("transport", self.transport, get_args(Link))
        _check.choice("order", self.order, get_args(Order))
        _check.choice("budget", self.budget, get_args(Budget))
        Estimate(0, self.frequency, self.half_life, order=self.order)
        if not isinstance(self.to, str) or not self.to:
            raise ValueError(
                f"to: expected DIR, HOST:DIR or USER@HOST:DIR, got {_check.shown(self.to)}"
            )
        _check.positive("max_downtime_s", self.max_downtime_s)
        if self.bandwidth is not None:
            _check.positive("bandwidth", self.bandwidth)
        if self.cycle_seconds is not None:
            _check.positive("cycle_seconds", self.cycle_seconds)
        if self.cycle_writes is not None:
            _check.integer("cycle_writes", self.cycle_writes, least=1)
        _one_of(cycle_seconds=self.cycle_seconds, cycle_writes=self.cycle_writes)
        if self.cycle_writes is not None and self.log is None:
            raise ValueError(
                "cycle_writes: expected a log that counts writes while the migration runs, got none"
            )
        if self.transport == "rsync" and self.granularity != "file":
            raise ValueError(
                "transport: got 'rsync' with granularity 'block', expected granularity 'file': "
                "rsync takes whole files only"
            )
        if self.transport == "rsync" and self.start is not None:
            raise ValueError(
                "start: expected transport 'channel', got 'rsync', which starts no programs"
            )
        if self.start_directory is not None and self.start is None:
            raise ValueError("start_directory: expected it with start only")
        if isinstance(self.pids, int):
            object.__setattr__(self, "pids", (self.pids,))
        if self.pids and self.cgroup is not None:
            raise ValueError("cgroup: expected pids or a cgroup, got both")
        if not isinstance(self.stop, str) or not self.stop.strip():
            raise ValueError(
                f"stop: expected 'freeze', 'term' or a command, got {_check.shown(self.stop)}"
            )
        object.__setattr__(self, "rule", self._rule())
        object.__setattr__(self, "argv", _arguments(self.start))

    def _rule(self) -> rules.Rule:
        _one_of(threshold_bytes=self.threshold_bytes, downtime_s=self.downtime_s, until=self.until)
        if self.threshold_bytes is not None:
            return rules.final_copy(_check.not_negative("threshold_bytes", self.threshold_bytes))
        if self.downtime_s is not None:
            return rules.downtime(_check.positive("downtime_s", self.downtime_s))
        if self.until is None:
            return rules.parse(DEFAULT_RULE)
        return self.until if isinstance(self.until, rules.Rule) else rules.parse(self.until)

    @property
    def policy(self) -> Policy:
        """How pending units are ranked and taken."""
        return Policy(self.order, self.frequency, self.half_life, self.budget, self.read_only_first)

    @property
    def pace(self) -> Pace:
        """How long cycles are, and how fast the link."""
        return Pace(self.cycle_seconds or 1.0, self.cycle_writes, self.bandwidth)

    @property
    def local_target(self) -> Path | None:
        """The destination's directory if it is on this machine."""
        return Path(self.to) if is_local(self.to) else None


def _one_of(**options: object) -> None:
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise ValueError(
            f"{given[1]}: expected only one of {', '.join(options)}, got both "
            f"{given[0]} and {given[1]}"
        )


def _arguments(command: Command | None) -> tuple[bytes, ...]:
    if command is None:
        return ()
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise ValueError(f"start: got {_check.shown(command)}: {error}") from None
    if not words or not words[0]:
        raise ValueError(f"start: expected a command, got {_check.shown(command)}")
    return tuple(os.fsencode(word) for word in words)
