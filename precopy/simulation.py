"""One simulated migration: `simulate`, and the checked `Plan` behind it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from precopy import _check, _core
from precopy.files import FileSet
from precopy.options import (
    Budget,
    Cost,
    DirtyTracking,
    Frequency,
    Order,
    OwnKey,
    Schedule,
    declared,
)
from precopy.ranking import order_and_key
from precopy.recorded import Recorded
from precopy.replay import Replay
from precopy.run import CURVES, Cycle, Run
from precopy.seeds import Seed, drawn_seed, generator, reproducing
from precopy.trace import WriteTrace
from precopy.workload import Workload

_STOPS = {value: name for name, value in _core.STOPS.items()}


def simulate(
    files: FileSet | Recorded,
    writes: Workload | WriteTrace | None = None,
    order: Order | OwnKey = "update-frequency",
    cycle: Cycle = Cycle(),
    cycles: int = 300,
    threshold_bytes: float | None = None,
    schedule: Schedule = "cycles",
    seed: Seed = None,
    read_only_first: bool | None = None,
    frequency: Frequency = "count",
    half_life: float | None = None,
    history: npt.ArrayLike | None = None,
    max_sends: int | None = None,
    max_update_rate: float | None = None,
    cost: Cost = "whole",
    write_bytes: int | None = None,
    overhead_bytes: int | None = None,
    budget: Budget | None = None,
    dirty_tracking: DirtyTracking = "round-start",
    rounds: int = 10,
    start_s: float = 0.0,
) -> Run:
    """Simulate the pre-copy phase of one migration.

    Parameters
    ----------
    files : FileSet or Recorded
        The n files; all are pending at the start. A recorded application takes the place of files
        and writes.
    writes : Workload or WriteTrace
        What the application writes. A trace needs ``cycles * cycle.writes`` entries; a file set
        without read-write files needs none, nothing is written there. A trace in time goes on at
        its beginning where it ends.
    order : str or array_like of float, shape (n,), default "update-frequency"
        The key by which pending files are ranked, ascending, ties by id: "size-ascending",
        "size-descending", "update-frequency" (updates), "expected-update" (updates times size),
        "least-recently-updated" (cycle of the last write, 0 for never), or a fixed key of your own,
        one number per file.
    cycle : Cycle
        Writes, seconds and bandwidth of one cycle; for a trace in time a stretch of time, too:
        ``Cycle.of_seconds``.
    cycles : int, default 300
        How many cycles to run at most.
    threshold_bytes : float, optional
        The limit X: the run ends after the first cycle whose final copy is not above it.
    schedule : {"cycles", "rounds"}
        "cycles" is the paper's proposed method, "rounds" classic iterative pre-copy in an order
        that is fixed before the start; not for a trace in time.
    seed : anything that numpy.random.default_rng takes, optional
        Draws the writes of a workload; ignored for a trace. A Generator is advanced.
    read_only_first : bool, optional
        Send read-only files before all others. Default: yes for cycles, no for rounds.
    frequency : {"count", "last-cycle", "exponential", "oracle"}
        What "updates" means for the two orders that use it: the count since the start, the count
        of the last cycle only, a count that halves every `half_life` cycles, or, to compare with,
        the true shares of the workload as the cycle begins.
    half_life : float, optional
        In cycles, at least 0.01; only for (and required by) ``frequency="exponential"``.
    history : array_like of int, shape (n,), optional
        Updates of each file observed before the start; read-only files must have 0. It starts the
        update counts, and alone decides the order of rounds. For "last-cycle" it stands for the
        cycle before the first.
    max_sends : int, optional
        How often each file is sent at most; written again, it waits for the final copy. Only for
        cycles, and not for a trace in time.
    max_update_rate : float, optional
        Writes per cycle, on average since the start, above which a file is held out: it is not
        sent, and waits for the final copy or for its rate to fall. Only for cycles, and not for a
        trace in time.
    cost : {"whole", "delta"}
        What a pending file costs on the link and in the final copy: its size, or, once it has been
        sent, what was written since then and an overhead, at most its size. A delta only for
        cycles.
    write_bytes : int, optional
        For deltas, the bytes of each write; required unless a trace brings the sizes of its writes.
        They are added up: bytes written twice count twice.
    overhead_bytes : int, optional
        For deltas, what each costs besides what was written. Default: 0.
    budget : {"whole", "carry", "skip"}
        What happens when the next file does not fit in what is left of the cycle's budget: the rest
        is lost; it is carried over to the next cycle; smaller files behind are sent instead.
        Default: "whole", but "carry" for a trace in time, where a file may become larger than the
        budget.
    dirty_tracking : {"round-start", "sent"}
        For rounds: whether a write to a file that still waits in the queue makes it dirty for the
        next round ("round-start", as Xen and QEMU do) or not ("sent").
    rounds : int, default 10
        How many rounds to run at most.
    start_s : float, default 0
        Where in a trace in time the migration begins, in seconds: with the files that exist then.

    Returns
    -------
    Run

    Raises
    ------
    ValueError, TypeError
        For any argument out of its range, naming the argument and the value; among them files
        larger than a cycle's budget under ``budget="whole"``, shares or trace entries on read-only
        files, a trace that is too short, and a cycle of seconds for writes without times.
    KeyboardInterrupt
        Within a second of Ctrl-C, when called from the main thread.

    References
    ----------
    Paper, sections 3 and 4; model, rules cycle.*, rounds.* and replay.*.

    Examples
    --------
    >>> import precopy
    >>> files = precopy.FileSet([1_000_000] * 100)
    >>> writes = precopy.Workload.zipf(files, 1.0)
    >>> cycle = precopy.Cycle(writes=20, write_seconds=0.1, bandwidth=5e6)
    >>> run = precopy.simulate(files, writes, cycle=cycle, threshold_bytes=10e6, seed=1)
    >>> run.converged, run.downtime_s
    (True, 2.0)
    """
    arguments = dict(locals())
    seed = arguments.pop("seed")
    plan = Plan.of(**arguments)
    plan.refuse_unused()
    return plan.run(seed)


OPTIONS = declared(simulate)
_PLAIN = [option for option in OPTIONS.values() if option.is_plain]


@dataclass(eq=False, slots=True)  # frozen, it would cost a tenth of the smallest run
class Plan:
    """A run that has been checked and can be started, once per seed."""

    files: FileSet
    writes: Workload | WriteTrace
    cycle: Cycle
    order: str
    schedule: str
    threshold_bytes: int | None
    start_s: float
    replay: Replay | None  # of a trace in time
    total_bytes: int  # of all files where the run begins
    arguments: dict[str, Any]
    used: set[str]  # options other than their defaults, which the run depends on
    unused: dict[str, str]  # options that mean nothing to the run, and why

    @classmethod
    def of(
        cls, files: FileSet | Recorded, writes: Workload | WriteTrace | None, **given: Any
    ) -> Plan:
        """Check all arguments of `simulate` but the seed; raises what `simulate` raises."""
        files, writes = files_and_writes(files, writes)
        cycle = given["cycle"]
        if not isinstance(cycle, Cycle):
            raise TypeError(f"cycle: expected a Cycle, got {_check.shown(cycle)}")
        plain = {option.name: option.check(given[option.name]) for option in _PLAIN}
        cycles, schedule, frequency = plain["cycles"], plain["schedule"], plain["frequency"]
        order, key = order_and_key(given["order"], len(files))
        budget = _budget_rule(given["budget"], writes)
        if isinstance(writes, Workload):
            writes = writes.along(files)
        extent = _extent(files, writes, cycle, cycles, given["start_s"])
        budget_bytes = _budget(extent, cycle, cycles)
        history = _history(files, given["history"], cycles, cycle, extent.updates)
        if budget == "whole":
            _check_fits(files, cycle, extent)
        if order in _core.USES_SIZE and order in _core.USES_UPDATES:
            _check_products(extent, history)
        limit = _threshold(given["threshold_bytes"])
        read_only_first = given["read_only_first"]
        if read_only_first is None:
            read_only_first = schedule == "cycles"
        if extent.replay is not None:
            _check_in_time(given)
        else:
            _check_source(files, writes, cycles * cycle.writes)
        if frequency == "oracle" and isinstance(writes, WriteTrace):
            raise ValueError(
                "frequency: expected another estimate for a trace, whose true shares nobody knows, "
                "got 'oracle'"
            )
        arguments = {
            **plain,
            "budget": budget,
            "order": order,
            "key": key,
            "read_only_first": _check.truth("read_only_first", read_only_first),
            "half_life": _half_life(frequency, given["half_life"]),
            "history": history,
            **_delta(plain["cost"], schedule, writes, given),
            "max_sends": _max_sends(schedule, given["max_sends"]),
            "max_update_rate": _max_update_rate(schedule, given["max_update_rate"]),
            "writes_per_cycle": cycle.writes,
            "budget_bytes": budget_bytes,
            "threshold_bytes": -1 if limit is None else limit,
            "first_row": extent.first_row,
            "cycle_end": extent.cycle_end,
        }
        other = {name for name in _NOT_ALWAYS_USED if not _is_default(name, given[name])}
        used, unused = other, {}
        if other:  # all defaults are right for every run
            without_use = _without_use(order, schedule, frequency, plain["cost"])
            arguments |= {name: _NOT_ALWAYS_USED[name] for name in without_use}
            unused = {
                name: f"{name}: {without_use[name]}, got {_check.shown(given[name])}"
                for name in other & set(without_use)
            }
            used = other - set(without_use)
        return cls(
            files=files,
            writes=writes,
            cycle=cycle,
            order=order,
            schedule=schedule,
            threshold_bytes=limit,
            start_s=extent.start_s,
            replay=extent.replay,
            total_bytes=extent.total_bytes,
            arguments=arguments,
            used=used,
            unused=unused,
        )

    @property
    def curves(self) -> tuple[str, ...]:
        """The names of the curves that it leaves."""
        if self.replay is not None:
            return (*CURVES, "present_bytes")
        return (*CURVES, "rounds_completed") if self.schedule == "rounds" else CURVES

    @property
    def work(self) -> int:
        """How many writes or rows it goes through."""
        ends = self.arguments["cycle_end"]
        if ends is None:
            return int(self.arguments["cycles"] * self.cycle.writes)
        return int(self.arguments["first_row"] + ends[-1])

    def refuse_unused(self, but: Collection[str] = ()) -> None:
        """Raise for an option that means nothing to this run, nor to others that use `but`."""
        for name, message in self.unused.items():
            if name not in but:
                raise ValueError(message)

    def check_trace(self) -> None:
        """Check the entries of a trace, which otherwise the run itself does."""
        trace = self.writes.file_id if isinstance(self.writes, WriteTrace) else None
        if (
            trace is not None
            and self.replay is None
            and _core.trace_check(trace, self.files.read_only) >= 0
        ):
            _explain_trace(self.files, trace)

    def run(self, seed: Seed = None) -> Run:
        """Run it."""
        bits = drawn_from = None
        held: AbstractContextManager[Any] = nullcontext()
        if not isinstance(self.writes, WriteTrace):
            seed = drawn_seed() if seed is None else seed
            bits = generator(seed).bit_generator
            held = bits.lock
        with held:
            if bits is not None:
                drawn_from = reproducing(seed)
            [(stop, curves)] = run_together([self], bits)
        named = dict(zip(self.curves, curves, strict=True))
        return Run(
            final_copy_bytes=named["final_copy_bytes"],
            precopy_bytes=named["precopy_bytes"],
            resent_bytes=named["resent_bytes"],
            rounds_completed=named.get("rounds_completed"),
            present_bytes=named.get("present_bytes"),
            stop=stop,
            cycle=self.cycle,
            order=self.order,
            schedule=self.schedule,
            threshold_bytes=self.threshold_bytes,
            total_bytes=self.total_bytes,
            start_s=self.start_s,
            _seed=drawn_from,
        )


def run_together(
    plans: list[Plan],
    bits: np.random.BitGenerator | None,
    cancel: npt.NDArray[np.uint8] | None = None,
) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """Run plans of the same files on the same writes, which are drawn once.

    Returns for each why it ended and its curves, int64[3 or 4, cycles run]. Another thread can end
    all by setting ``cancel[0]``.
    """
    files, writes = plans[0].files, plans[0].writes
    parts = writes.parts if isinstance(writes, Workload) else ()
    replay = plans[0].replay
    trace = writes.file_id if isinstance(writes, WriteTrace) and replay is None else None
    with memory_for(max(plan.arguments["cycles"] for plan in plans), len(plans)):
        runs = _core.simulate(
            size_bytes=files.size_bytes,
            read_only=files.read_only,
            by_size=files.by_size if any(p.order in _core.USES_SIZE for p in plans) else None,
            trace=trace,
            alias=parts[0][1].alias if parts else None,
            bit_generator=bits,
            cancel=cancel,
            options=tuple(plan.arguments for plan in plans),
            trace_bytes=writes.write_bytes if isinstance(writes, WriteTrace) else None,
            recording=None if replay is None else replay.recording,
            phases=tuple((first, part.alias, part.share) for first, part in parts)
            if len(parts) > 1 or any(p.arguments["frequency"] == "oracle" for p in plans)
            else (),
        )
    if runs is None:
        assert trace is not None
        _explain_trace(files, trace)
    return [
        (_STOPS[stop], curves if count == curves.shape[1] else curves[:, :count].copy())
        for stop, count, curves in runs
    ]


@contextmanager
def memory_for(cycles: int, runs: int = 1) -> Iterator[None]:
    """Say which argument it was where the memory for the curves is not there."""
    try:
        yield
    except MemoryError as error:
        of = f" of {runs} runs" if runs > 1 else ""
        why = str(error) or type(error).__name__
        raise MemoryError(
            f"cycles: expected curves that fit in memory, got {cycles} cycles{of}: {why}"
        ) from None


# Options that only some runs use, and what the core is given where a run does not: the default,
# for which the core has a number.
_NOT_ALWAYS_USED = {
    name: OPTIONS[name].default
    for name in ("frequency", "half_life", "history", "dirty_tracking", "rounds")
} | {"half_life": 0.0, "write_bytes": 0, "overhead_bytes": 0}


def _is_default(name: str, value: Any) -> bool:
    return value is None or (name != "history" and value == _NOT_ALWAYS_USED[name])


@cache
def _without_use(order: str, schedule: str, frequency: str, cost: str) -> dict[str, str]:
    """Return the options that mean nothing to a run, each with what was expected of it."""
    idle = {}
    if cost != "delta":
        for name in ("write_bytes", "overhead_bytes"):
            idle[name] = 'expected None unless cost="delta"'
    if frequency == "oracle":
        idle["history"] = 'expected None for frequency="oracle", which needs none'
    if order not in _core.USES_UPDATES:
        idle["history"] = f"expected None for an order that uses no updates, {order!r}"
    if order not in _core.USES_UPDATES or schedule == "rounds":
        what = f"order {order!r} in schedule {schedule!r}"
        idle["frequency"] = f'expected "count" where no writes are counted, {what}'
        idle["half_life"] = f"expected None where no writes are counted, {what}"
    elif frequency != "exponential":
        idle["half_life"] = 'expected None unless frequency="exponential"'
    if schedule != "rounds":
        tracking, rounds = OPTIONS["dirty_tracking"].default, OPTIONS["rounds"].default
        idle["dirty_tracking"] = f'expected "{tracking}" unless schedule="rounds"'
        idle["rounds"] = f'expected {rounds}, the default, unless schedule="rounds"'
    return idle


def files_and_writes(
    files: FileSet | Recorded, writes: Workload | WriteTrace | None
) -> tuple[FileSet, Workload | WriteTrace]:
    """Return the files and writes that are meant, also by a recorded application."""
    if isinstance(files, Recorded):
        if writes is not None:
            raise TypeError(
                "writes: expected None beside a recorded application, which brings its own, got "
                f"{_check.shown(writes)}"
            )
        return files.files, files.writes
    if not isinstance(files, FileSet):
        raise TypeError(f"files: expected a FileSet or a Recorded, got {_check.shown(files)}")
    if not isinstance(writes, (Workload, WriteTrace)):
        raise TypeError(f"writes: expected a Workload or a WriteTrace, got {_check.shown(writes)}")
    return files, writes


@dataclass(slots=True)
class _Extent:
    """Where a run begins, and how much there will be at most."""

    start_s: float
    replay: Replay | None
    total_bytes: int  # where the run begins
    most_bytes: int  # of all files at any time
    largest_bytes: int  # of one file at any time
    updates: int
    first_row: int
    cycle_end: npt.NDArray[np.int64] | None


def _extent(
    files: FileSet, writes: Workload | WriteTrace, cycle: Cycle, cycles: int, start_s: float
) -> _Extent:
    start_s = _check.not_negative("start_s", start_s)
    if isinstance(writes, WriteTrace) and writes.in_time:
        replay = Replay.of(files, writes)
        start_ns = replay.start_ns(start_s)
        first = replay.first_row(start_ns)
        with memory_for(cycles):
            ends = replay.cycle_ends(cycle, cycles, start_ns)
        total, largest = replay.total_bytes(start_ns), replay.largest_bytes
        updates = replay.most_updates(first, ends)
        return _Extent(start_s, replay, total, largest * len(files), largest, updates, first, ends)
    if cycle.in_time:
        raise ValueError(
            f"cycle: expected a number of writes for writes without times, got {cycle!r}"
        )
    if start_s:
        raise ValueError(f"start_s: expected 0 for writes without times, got {start_s!r}")
    total, largest = files.total_bytes, int(files.size_bytes[files.largest])
    return _Extent(0.0, None, total, total, largest, cycles * cycle.writes, 0, None)


def _budget_rule(budget: Budget | None, writes: Workload | WriteTrace) -> str:
    if budget is None:
        return "carry" if isinstance(writes, WriteTrace) and writes.in_time else "whole"
    return _check.choice("budget", budget, OPTIONS["budget"].choices)


def _check_in_time(given: dict[str, Any]) -> None:
    if given["schedule"] != "cycles":
        raise ValueError(
            f'schedule: expected "cycles" for a trace in time, got {given["schedule"]!r}'
        )
    for name in ("max_sends", "max_update_rate"):
        if given[name] is not None:
            raise ValueError(
                f"{name}: expected None for a trace in time, got {_check.shown(given[name])}"
            )


def _budget(extent: _Extent, cycle: Cycle, cycles: int) -> int:
    # More than everything cannot be sent; without the excess no sum overflows sooner than it must.
    budget_bytes = min(cycle.budget_bytes, extent.most_bytes)
    if cycles * max(budget_bytes, cycle.writes) > _check.INT64_MAX:
        raise ValueError(
            f"cycles: expected totals that fit int64, got {cycles} cycles of {cycle.writes} writes "
            f"and up to {budget_bytes} bytes"
        )
    return budget_bytes


def _history(
    files: FileSet, history: Any, cycles: int, cycle: Cycle, updates: int
) -> npt.NDArray[np.int64] | None:
    if history is None:
        return None
    counts = _check.counts("history", history, len(files))
    most = int(counts.max())
    if most + updates > _check.INT64_MAX:
        file_id = int(counts.argmax())
        what = f"{cycles} cycles of {cycle.writes} writes"
        if updates != cycles * cycle.writes:
            what = f"up to {updates} updates"
        raise ValueError(
            "history: expected counts that stay below 2^63 with all writes of the run, got "
            f"{most} for {files.name(file_id)} before {what}"
        )
    wrong = files.read_only & (counts > 0)
    if wrong.any():
        file_id = int(wrong.argmax())
        raise ValueError(
            f"history: expected 0 for read-only files, got {counts[file_id]} for "
            f"{files.name(file_id)}"
        )
    return counts


def _half_life(frequency: str, half_life: float | None) -> float:
    if half_life is None:
        if frequency == "exponential":
            raise ValueError(
                'half_life: expected a number of cycles for frequency="exponential", got None'
            )
        return 0.0
    value = _check.positive("half_life", half_life)
    if value < _core.HALF_LIFE_MIN:
        raise ValueError(
            f"half_life: expected at least {_core.HALF_LIFE_MIN} cycles, got "
            f"{_check.shown(half_life)}"
        )
    return value


def _delta(
    cost: str, schedule: str, writes: Workload | WriteTrace, given: dict[str, Any]
) -> dict[str, int]:
    numbers = {}
    for name in ("write_bytes", "overhead_bytes"):
        value = given[name]
        numbers[name] = 0 if value is None else _check.integer(name, value)
    if cost == "delta":
        if schedule != "cycles":
            raise ValueError('cost: expected "whole" unless schedule="cycles", got \'delta\'')
        written = given["write_bytes"]
        brought = isinstance(writes, WriteTrace) and writes.write_bytes is not None
        if brought and written is not None:
            raise ValueError(
                "write_bytes: expected None beside a trace that brings the sizes of its writes, "
                f"got {_check.shown(written)}"
            )
        if not brought and isinstance(writes, WriteTrace) and writes.in_time:
            raise ValueError(
                'cost: expected "whole" for a trace in time that does not bring write_bytes, got '
                "'delta'"
            )
        if not brought and written is None:
            raise ValueError(
                'write_bytes: expected the bytes of a write for cost="delta", got None'
            )
    return numbers


# What the core takes for "no limit".
_NO_MAX_SENDS, _NO_MAX_UPDATE_RATE = 0, 0.0


def _max_sends(schedule: str, most: int | None) -> int:
    if most is None:
        return _NO_MAX_SENDS
    value = _check.integer("max_sends", most, least=1)
    _only_for_cycles("max_sends", schedule, most)
    return value


def _max_update_rate(schedule: str, most: float | None) -> float:
    if most is None:
        return _NO_MAX_UPDATE_RATE
    value = _check.positive("max_update_rate", most)
    _only_for_cycles("max_update_rate", schedule, most)
    return value


def _only_for_cycles(name: str, schedule: str, value: Any) -> None:
    if schedule != "cycles":
        raise ValueError(
            f'{name}: expected None unless schedule="cycles", got {_check.shown(value)}'
        )


def _threshold(threshold_bytes: float | None) -> int | None:
    if threshold_bytes is None:
        return None
    value = _check.real("threshold_bytes", threshold_bytes)
    if not value >= 0.0:
        raise ValueError(
            "threshold_bytes: expected a number that is not negative, got "
            f"{_check.shown(threshold_bytes)}"
        )
    return _check.INT64_MAX if value >= 2.0**63 else math.floor(threshold_bytes)


def _check_fits(files: FileSet, cycle: Cycle, extent: _Extent) -> None:
    if extent.replay is not None:
        extent.replay.check_fits(cycle.budget_bytes)
        return
    size = int(files.size_bytes[files.largest])
    if size > cycle.budget_bytes:
        raise ValueError(
            f"files: expected no file larger than a cycle's budget of {cycle.budget_bytes} bytes, "
            f'got {files.name(files.largest)} of {size} bytes; budget="carry" or "skip" allow it'
        )


def _check_products(extent: _Extent, history: npt.NDArray[np.int64] | None) -> None:
    most = extent.updates + (0 if history is None else int(history.max()))
    largest = extent.largest_bytes
    # In floating point with a margin, as the core checks it.
    if float(most) * float(largest) >= 2.0**63 * (1 - 1e-9):
        raise ValueError(
            'order: expected updates times size below 2^63 for "expected-update", got up to '
            f"{most} updates of a file of {largest} bytes; count sizes in a larger unit"
        )


def _check_source(files: FileSet, writes: Workload | WriteTrace, needed: int) -> None:
    if isinstance(writes, WriteTrace):
        if len(writes) < needed and not files.read_only.all():
            raise ValueError(
                f"writes: expected a trace of at least {needed} writes (cycles x writes per "
                f"cycle), got {len(writes)}"
            )
        return
    check_shares("writes", files, writes)


def check_shares(name: str, files: FileSet, workload: Workload) -> None:
    """Raise unless a workload belongs to files: as many, and read-write where it writes."""
    if len(workload) != len(files):
        raise ValueError(
            f"{name}: expected shares of {len(files)} files, as in files, got {len(workload)}"
        )
    for _, part in workload.parts:
        _check_part(name, files, part)


def _check_part(name: str, files: FileSet, workload: Workload) -> None:
    if workload.share[files.read_only].any():
        file_id = int((files.read_only & (workload.share > 0)).argmax())
        raise ValueError(
            f"{name}: expected a share of 0 for read-only files, got {workload.share[file_id]} for "
            f"{files.name(file_id)}"
        )
    if not len(workload.alias) and not files.read_only.all():
        raise ValueError(f"{name}: expected a share above 0 for a read-write file, got none")


def _explain_trace(files: FileSet, trace: npt.NDArray[np.int64]) -> NoReturn:
    index = _core.trace_check(trace, files.read_only)
    file_id = int(trace[index])
    what = files.name(file_id) + ", which is read-only" if file_id < len(files) else f"id {file_id}"
    raise ValueError(
        f"writes: expected ids of read-write files below {len(files)}, got {what}, at index {index}"
    )
