"""The competitors: the same model as a competent user would write it with the usual tools.

Each peer takes a `Task` and returns a `Result`; all of them, and precopy, must agree bit for bit
(`check_equal`) before anybody's time is taken.

    numpy          whole-array operations; ranks the pending files by lexsort in each cycle
    numba sort     compiled loops; sorts the pending files in each cycle
    numba heap     compiled loops over heapq; a stale key is repaired when it comes up
    python heap    the same source, not compiled, on lists

In rounds nobody ranks in a cycle, for the order is fixed: "numpy" and "numba sort" walk a queue
that is made once per round, the heaps hold the queue's places in the order.

Left out of the model because no paper run gets there: thresholds, budget rules other than "whole",
and the end after ten rounds (three or four fit into 300 cycles).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from cases import CYCLES, Case

import precopy

try:
    import numba
except ModuleNotFoundError:
    numba = None

# Below every key: with it, read-only files come first.
_READ_ONLY_FIRST = -(1 << 60)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Task:
    """One run: what every peer gets."""

    run: str
    size_bytes: Ints
    read_only: npt.NDArray[np.bool_]
    history: Ints
    trace: Ints
    writes_per_cycle: int
    budget_bytes: int
    cycles: int

    @classmethod
    def of(cls, case: Case, run: str, trace: precopy.WriteTrace, cycles: int = CYCLES) -> Task:
        return cls(
            run=run,
            size_bytes=case.files.size_bytes,
            read_only=case.files.read_only,
            history=case.history,
            trace=trace.file_id,
            writes_per_cycle=case.cycle.writes,
            budget_bytes=case.cycle.budget_bytes,
            cycles=cycles,
        )


class Result(NamedTuple):
    """The recorded curves, one entry per cycle; all but the first are counted since the start."""

    final_copy_bytes: Any
    precopy_bytes: Any
    resent_bytes: Any
    sends: Any

    @classmethod
    def zeros(cls, cycles: int) -> Result:
        return cls(*np.zeros((4, cycles), dtype=np.int64))

    @classmethod
    def lists(cls, cycles: int) -> Result:
        return cls(*([0] * cycles for _ in range(4)))


def check_equal(run: precopy.Run, result: Result) -> None:
    """Raise unless a peer's curves equal precopy's in every entry."""
    for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes"):
        if getattr(run, name).tolist() != list(getattr(result, name)):
            raise AssertionError(f"a peer disagrees about {name} of {run.order}, {run.schedule}")


def numpy_model(task: Task) -> Result:
    """Run `task` in NumPy."""
    return (_numpy_rounds if task.run == "rounds" else _numpy_cycles)(task)


def numba_sort_model(task: Task) -> Result:
    """Run `task` in compiled loops that sort in each cycle."""
    result = Result.zeros(task.cycles)
    _compiled(_queue_rounds if task.run == "rounds" else _sort_cycles)(_columns(task), result)
    return result


def numba_heap_model(task: Task) -> Result:
    """Run `task` by the loops of `python_heap_model`, compiled, on arrays."""
    result = Result.zeros(task.cycles)
    _compiled(_heap_rounds if task.run == "rounds" else _heap_cycles)(_columns(task), result)
    return result


def python_heap_model(task: Task) -> Result:
    """Run `task` in plain Python, on lists: they are faster than arrays there."""
    result = Result.lists(task.cycles)
    arrays = _columns(task)
    columns = type(arrays)(*(x.tolist() if isinstance(x, np.ndarray) else x for x in arrays))
    (_heap_rounds if task.run == "rounds" else _heap_cycles)(columns, result)
    return result


PEERS: dict[str, Callable[[Task], Result]] = {
    "numpy": numpy_model,
    "numba sort": numba_sort_model,
    "numba heap": numba_heap_model,
    "python heap": python_heap_model,
}


class _CycleColumns(NamedTuple):
    """What the loops over cycles work on: arrays, or lists; a key is base + slope * updates."""

    size: Any
    base: Any
    slope: Any
    trace: Any
    writes: int
    budget: int
    updates: Any
    pending: Any
    sent_before: Any


class _RoundColumns(NamedTuple):
    """What the loops over rounds work on: arrays, or lists."""

    size: Any
    order: Any
    trace: Any
    writes: int
    budget: int
    waiting: Any
    dirty: Any
    sent_before: Any


def _columns(task: Task) -> _CycleColumns | _RoundColumns:
    size, count = task.size_bytes, len(task.size_bytes)
    link = (task.trace, task.writes_per_cycle, task.budget_bytes)
    no, yes, zero = np.zeros(count, bool), np.ones(count, bool), np.zeros(count, np.int64)
    if task.run == "rounds":
        return _RoundColumns(size, _fixed_order(task), *link, no, yes, no.copy())
    base, slope = {
        "size-ascending": (size, zero),
        "size-descending": (-size, zero),
        "update-frequency": (zero, zero + 1),
        "expected-update": (zero, size),
    }[task.run]
    base = base + task.read_only * _READ_ONLY_FIRST
    return _CycleColumns(size, base, slope, *link, zero.copy(), yes, no)


def _fixed_order(task: Task) -> Ints:
    return np.argsort(task.history, kind="stable")


def _written(task: Task) -> Iterator[tuple[int, Ints]]:
    by_cycle = task.trace.reshape(-1, task.writes_per_cycle)
    return enumerate(by_cycle[: task.cycles])


def _numpy_key(task: Task, ids: Ints, updates: Ints) -> Ints:
    match task.run:
        case "size-ascending":
            return task.size_bytes[ids]
        case "size-descending":
            return -task.size_bytes[ids]
        case "update-frequency":
            return updates[ids]
    return updates[ids] * task.size_bytes[ids]


def _numpy_cycles(task: Task) -> Result:
    size, result = task.size_bytes, Result.zeros(task.cycles)
    updates = np.zeros_like(size)
    pending = np.ones(len(size), dtype=bool)
    sent_before = np.zeros(len(size), dtype=bool)
    sent_bytes = resent_bytes = sends = 0
    for cycle, written in _written(task):
        ids = np.flatnonzero(pending)
        # The sort is stable and ids ascend, so ties fall to the smaller id.
        ranked = ids[np.lexsort((_numpy_key(task, ids, updates), ~task.read_only[ids]))]
        fits = np.searchsorted(np.cumsum(size[ranked]), task.budget_bytes, side="right")
        sent = ranked[:fits]
        pending[sent] = False
        sends += len(sent)
        sent_bytes += size[sent].sum()
        resent_bytes += size[sent[sent_before[sent]]].sum()
        sent_before[sent] = True
        updates += np.bincount(written, minlength=len(size))
        pending[written] = True
        result.final_copy_bytes[cycle] = size[pending].sum()
        result.precopy_bytes[cycle] = sent_bytes
        result.resent_bytes[cycle] = resent_bytes
        result.sends[cycle] = sends
    return result


def _numpy_rounds(task: Task) -> Result:
    size, result = task.size_bytes, Result.zeros(task.cycles)
    order = _fixed_order(task)
    dirty = np.ones(len(size), dtype=bool)
    waiting = np.zeros(len(size), dtype=bool)
    sent_before = np.zeros(len(size), dtype=bool)
    queue = order[:0]
    sent_bytes = resent_bytes = sends = 0
    for cycle, written in _written(task):
        if len(queue) == 0:
            queue = order[dirty[order]]
            waiting[queue] = True
            dirty[:] = False
        fits = np.searchsorted(np.cumsum(size[queue]), task.budget_bytes, side="right")
        sent, queue = queue[:fits], queue[fits:]
        waiting[sent] = False
        sends += len(sent)
        sent_bytes += size[sent].sum()
        resent_bytes += size[sent[sent_before[sent]]].sum()
        sent_before[sent] = True
        dirty[written] = True
        result.final_copy_bytes[cycle] = size[dirty | waiting].sum()
        result.precopy_bytes[cycle] = sent_bytes
        result.resent_bytes[cycle] = resent_bytes
        result.sends[cycle] = sends
    return result


_machine_code: dict[Callable[..., None], Callable[..., None]] = {}


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    if numba is None:
        raise NotImplementedError("numba is not installed")
    if function not in _machine_code:
        _machine_code[function] = numba.njit(function)
    return _machine_code[function]


def _sort_cycles(columns, result):
    """Collect the pending files and sort them by key, in each cycle; the sort is stable."""
    size, base, slope, trace, writes, budget, updates, pending, sent_before = columns
    ids = np.empty(len(size), dtype=np.int64)
    key = np.empty(len(size), dtype=np.int64)
    pending_bytes = size.sum()
    sent_bytes = resent_bytes = sends = 0
    for cycle in range(len(result.sends)):
        count = 0
        for i in range(len(size)):
            if pending[i]:
                ids[count] = i
                key[count] = base[i] + slope[i] * updates[i]
                count += 1
        left = budget
        for place in np.argsort(key[:count], kind="mergesort"):
            i = ids[place]
            if size[i] > left:
                break
            left -= size[i]
            pending[i] = False
            pending_bytes -= size[i]
            sent_bytes += size[i]
            sends += 1
            if sent_before[i]:
                resent_bytes += size[i]
            sent_before[i] = True
        for i in trace[cycle * writes : (cycle + 1) * writes]:
            updates[i] += 1
            if not pending[i]:
                pending[i] = True
                pending_bytes += size[i]
        result.final_copy_bytes[cycle] = pending_bytes
        result.precopy_bytes[cycle] = sent_bytes
        result.resent_bytes[cycle] = resent_bytes
        result.sends[cycle] = sends


def _heap_cycles(columns, result):
    """Keep the pending files in a heap of (key, id); keys only grow: stale ones come up early."""
    size, base, slope, trace, writes, budget, updates, pending, sent_before = columns
    heap = [(base[i], i) for i in range(len(size))]
    heapify(heap)
    pending_bytes = sent_bytes = resent_bytes = sends = 0
    for i in range(len(size)):
        pending_bytes += size[i]
    for cycle in range(len(result.sends)):
        left = budget
        while len(heap) > 0:
            key, i = heap[0]
            now = base[i] + slope[i] * updates[i]
            if key != now:
                heapreplace(heap, (now, i))
                continue
            if size[i] > left:
                break
            heappop(heap)
            left -= size[i]
            pending[i] = False
            pending_bytes -= size[i]
            sent_bytes += size[i]
            sends += 1
            if sent_before[i]:
                resent_bytes += size[i]
            sent_before[i] = True
        for i in trace[cycle * writes : (cycle + 1) * writes]:
            updates[i] += 1
            if not pending[i]:
                pending[i] = True
                pending_bytes += size[i]
                heappush(heap, (base[i] + slope[i] * updates[i], i))
        result.final_copy_bytes[cycle] = pending_bytes
        result.precopy_bytes[cycle] = sent_bytes
        result.resent_bytes[cycle] = resent_bytes
        result.sends[cycle] = sends


def _queue_rounds(columns, result):
    """Walk a queue that is laid out in the fixed order when a round begins."""
    size, order, trace, writes, budget, waiting, dirty, sent_before = columns
    queue = np.empty(len(size), dtype=np.int64)
    first = last = 0
    left_bytes = size.sum()
    sent_bytes = resent_bytes = sends = 0
    for cycle in range(len(result.sends)):
        if first == last:
            first = last = 0
            for i in order:
                if dirty[i]:
                    queue[last] = i
                    last += 1
                    dirty[i] = False
                    waiting[i] = True
        left = budget
        while first < last and size[queue[first]] <= left:
            i = queue[first]
            first += 1
            left -= size[i]
            waiting[i] = False
            sent_bytes += size[i]
            sends += 1
            if not dirty[i]:
                left_bytes -= size[i]
            if sent_before[i]:
                resent_bytes += size[i]
            sent_before[i] = True
        for i in trace[cycle * writes : (cycle + 1) * writes]:
            if not dirty[i]:
                dirty[i] = True
                if not waiting[i]:
                    left_bytes += size[i]
        result.final_copy_bytes[cycle] = left_bytes
        result.precopy_bytes[cycle] = sent_bytes
        result.resent_bytes[cycle] = resent_bytes
        result.sends[cycle] = sends


def _heap_rounds(columns, result):
    """Keep a round's queue in a heap of places in the fixed order."""
    size, order, trace, writes, budget, waiting, dirty, sent_before = columns
    heap = [0 for _ in range(0)]
    left_bytes = sent_bytes = resent_bytes = sends = 0
    for i in range(len(size)):
        left_bytes += size[i]
    for cycle in range(len(result.sends)):
        if len(heap) == 0:
            for place in range(len(order)):
                i = order[place]
                if dirty[i]:
                    heap.append(place)
                    dirty[i] = False
                    waiting[i] = True
            heapify(heap)
        left = budget
        while len(heap) > 0:
            i = order[heap[0]]
            if size[i] > left:
                break
            heappop(heap)
            left -= size[i]
            waiting[i] = False
            sent_bytes += size[i]
            sends += 1
            if not dirty[i]:
                left_bytes -= size[i]
            if sent_before[i]:
                resent_bytes += size[i]
            sent_before[i] = True
        for i in trace[cycle * writes : (cycle + 1) * writes]:
            if not dirty[i]:
                dirty[i] = True
                if not waiting[i]:
                    left_bytes += size[i]
        result.final_copy_bytes[cycle] = left_bytes
        result.precopy_bytes[cycle] = sent_bytes
        result.resent_bytes[cycle] = resent_bytes
        result.sends[cycle] = sends
