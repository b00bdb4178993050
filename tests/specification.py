"""docs/model.md in slow plain Python: what the C core must compute, integer for integer.

One function per schedule, written from the model's rules rather than from the C. Everything is
an exact Python int, except the shares behind drawn writes, the scores of the exponential estimate
and keys of the caller's own, which are doubles as the model says. NumPy only supplies raw draws.
"""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

ALWAYS = 2**64 - 1


@dataclass
class Result:
    """What a run leaves behind, one entry per cycle."""

    final_copy_bytes: list[int] = field(default_factory=list)
    precopy_bytes: list[int] = field(default_factory=list)
    resent_bytes: list[int] = field(default_factory=list)
    rounds_completed: list[int] = field(default_factory=list)
    present_bytes: list[int] = field(default_factory=list)
    stop: str = "cycles"


def simulate_cycles(
    size_bytes,
    read_only,
    trace,
    *,
    order,
    writes_per_cycle,
    budget_bytes,
    cycles,
    threshold_bytes=None,
    read_only_first=True,
    frequency="count",
    half_life=None,
    history=None,
    parts=None,
    max_sends=None,
    max_update_rate=None,
    cost="whole",
    write_bytes=None,
    overhead_bytes=0,
    budget="whole",
):
    """Schedule "cycles": rank, send, write, record, stop."""
    n = len(size_bytes)
    if order == "least-recently-updated":
        updates = _LastWrite([0] * n)
    elif frequency == "oracle":
        updates = _Oracle(parts, writes_per_cycle)
    else:
        updates = _estimate(frequency, half_life, history or [0] * n)
    pending = set(range(n))
    sent_before = set()
    sends, writes, unsent = [0] * n, [0] * n, [0] * n
    cost_bytes = list(size_bytes)
    precopy = resent = carried = 0
    result = Result()
    for cycle in range(1, cycles + 1):

        def rank(i):
            read_only_part = 0 if read_only_first and read_only[i] else 1
            return read_only_part, _key(order, i, size_bytes[i], updates.of(i)), i

        held_out = set()
        if max_sends is not None:
            held_out |= {i for i in pending if sends[i] >= max_sends}
        if max_update_rate is not None:
            held_out |= {i for i in pending if writes[i] > max_update_rate * (cycle - 1)}
        queue = sorted(pending - held_out, key=rank)
        sent, carried = _send(queue, cost_bytes, budget_bytes + carried, budget)
        pending -= set(sent)
        precopy += _total(cost_bytes, sent)
        resent += _total(cost_bytes, sent_before.intersection(sent))
        sent_before |= set(sent)

        for i in sent:
            sends[i] += 1
            unsent[i] = 0
        written = _writes_of_cycle(trace, cycle, writes_per_cycle)
        updates.observe(cycle, [(i, 1) for i in written])
        pending |= set(written)
        for k, i in enumerate(written, start=(cycle - 1) * writes_per_cycle):
            writes[i] += 1
            unsent[i] += write_bytes[k] if isinstance(write_bytes, list) else write_bytes or 0
        if cost == "delta":
            for i in sent_before:
                cost_bytes[i] = min(size_bytes[i], unsent[i] + overhead_bytes)

        result.final_copy_bytes.append(_total(cost_bytes, pending))
        result.precopy_bytes.append(precopy)
        result.resent_bytes.append(resent)
        if threshold_bytes is not None and result.final_copy_bytes[-1] <= threshold_bytes:
            result.stop = "threshold"
            break
    return result


def simulate_rounds(
    size_bytes,
    read_only,
    trace,
    *,
    order,
    writes_per_cycle,
    budget_bytes,
    cycles,
    threshold_bytes=None,
    read_only_first=False,
    history=None,
    budget="whole",
    dirty_tracking="round-start",
    rounds=10,
):
    """Schedule "rounds": send what was dirty when the round began, in an order fixed beforehand."""
    n = len(size_bytes)
    counts = history or [0] * n

    def rank(i):
        read_only_part = 0 if read_only_first and read_only[i] else 1
        return read_only_part, _key(order, i, size_bytes[i], counts[i]), i

    fixed_order = sorted(range(n), key=rank)
    dirty = set(range(n))
    queue = []
    sent_before = set()
    precopy = resent = carried = completed = 0
    result = Result()
    for cycle in range(1, cycles + 1):
        if not queue:
            queue = [i for i in fixed_order if i in dirty]
            dirty = set()
            if not queue:
                result.stop = "clean"
                break
        sent, carried = _send(queue, size_bytes, budget_bytes + carried, budget)
        gone = set(sent)
        queue = [i for i in queue if i not in gone]
        precopy += _total(size_bytes, sent)
        resent += _total(size_bytes, sent_before.intersection(sent))
        sent_before |= gone
        if not queue:
            completed += 1

        written = set(_writes_of_cycle(trace, cycle, writes_per_cycle))
        dirty |= written if dirty_tracking == "round-start" else written.difference(queue)

        result.final_copy_bytes.append(_total(size_bytes, dirty.union(queue)))
        result.precopy_bytes.append(precopy)
        result.resent_bytes.append(resent)
        result.rounds_completed.append(completed)
        if threshold_bytes is not None and result.final_copy_bytes[-1] <= threshold_bytes:
            result.stop = "threshold"
            break
        if completed == rounds:
            result.stop = "rounds"
            break
    return result


@dataclass(frozen=True)
class Row:
    """One row of a trace in time."""

    file_id: int
    time_ns: int
    count: int
    write_bytes: int
    size_bytes: int  # afterwards; -1: it is gone
    from_id: int = -1  # the name that it had before


class _Names:
    """What is known of every name while rows are replayed."""

    def __init__(self, size_bytes, present):
        self.size = list(size_bytes)
        self.exists = {i for i, there in enumerate(present) if there}
        self.pending = set(self.exists)
        self.sent_before = set()  # under this name, whatever was there then
        self.has_copy = set()  # the file that is there now was sent before
        self.unsent = [0] * len(self.size)

    def apply(self, row):
        new, old = row.file_id, row.from_id
        if row.size_bytes == -1:
            self.exists.discard(new)
            self.pending.discard(new)
            return
        if old in self.exists:
            written = old in self.pending or row.write_bytes > 0
            _put(self.pending, new, written)
            _put(self.has_copy, new, old in self.has_copy)
            if old in self.sent_before:
                self.sent_before.add(new)
            self.unsent[new] = self.unsent[old] + row.write_bytes
            self.exists.discard(old)
            self.pending.discard(old)
        else:
            if new not in self.exists:
                self.has_copy.discard(new)
                self.unsent[new] = 0
            self.pending.add(new)
            self.unsent[new] += row.write_bytes
        self.exists.add(new)
        self.size[new] = row.size_bytes

    def send(self, i):
        self.pending.discard(i)
        self.sent_before.add(i)
        self.has_copy.add(i)
        self.unsent[i] = 0

    def costs(self, cost, overhead_bytes):
        return [
            min(size, self.unsent[i] + overhead_bytes)
            if cost == "delta" and i in self.has_copy
            else size
            for i, size in enumerate(self.size)
        ]


def _put(members, i, is_member):
    (members.add if is_member else members.discard)(i)


def rows_back(size_bytes, present, rows):
    """Return what leads from the state at the end back to the one at the begin."""
    end = _Names(size_bytes, present)
    for row in rows:
        end.apply(row)
    back = []
    for i, there in enumerate(present):
        if i in end.exists and not there:
            back.append(Row(i, 0, 0, 0, -1))
    for i, there in enumerate(present):
        before = end.size[i] if i in end.exists else 0
        if there and (i not in end.exists or before != size_bytes[i]):
            back.append(Row(i, 0, 0, abs(size_bytes[i] - before), size_bytes[i]))
    return back


def _again_and_again(rows, back, duration_ns):
    """Go through a recording without end: pairs of a time and a row."""
    lap = 0
    while rows or back:
        yield from ((lap * duration_ns + row.time_ns, row) for row in rows)
        lap += 1
        yield from ((lap * duration_ns, row) for row in back)


def _rows_by_cycle(rows, back, duration_ns, start_ns, cycle_ns, writes_per_cycle):
    """Go through the rows of cycle 1, 2, ...: a list for each."""
    coming = _again_and_again(rows, back, duration_ns)
    coming = itertools.dropwhile(lambda timed: timed[0] < start_ns, coming)
    time_ns, row = next(coming, (math.inf, None))
    updates = 0
    for cycle in itertools.count(1):
        of_cycle = []
        while (
            time_ns < start_ns + cycle * cycle_ns
            if cycle_ns
            else updates < cycle * writes_per_cycle
        ):
            of_cycle.append(row)
            updates += row.count
            time_ns, row = next(coming, (math.inf, None))
        yield of_cycle


def simulate_replay(
    size_bytes,
    read_only,
    present,
    rows,
    duration_ns,
    *,
    order,
    budget_bytes,
    cycles,
    cycle_ns=None,
    writes_per_cycle=None,
    start_ns=0,
    threshold_bytes=None,
    read_only_first=True,
    frequency="count",
    half_life=None,
    history=None,
    cost="whole",
    overhead_bytes=0,
    budget="carry",
):
    """A trace in time: rank, send, replay the rows of the cycle, record, stop."""
    n = len(size_bytes)
    if order == "least-recently-updated":
        updates = _LastWrite([0] * n)
    else:
        updates = _estimate(frequency, half_life, history or [0] * n)
    names = _Names(size_bytes, present)
    for row in rows:
        if row.time_ns < start_ns:
            names.apply(row)
    names = _Names(names.size, [i in names.exists for i in range(n)])
    back = rows_back(size_bytes, present, rows)
    replayed = _rows_by_cycle(rows, back, duration_ns, start_ns, cycle_ns, writes_per_cycle)
    precopy = resent = carried = 0
    result = Result()
    for cycle in range(1, cycles + 1):

        def rank(i):
            read_only_part = 0 if read_only_first and read_only[i] else 1
            return read_only_part, _key(order, i, names.size[i], updates.of(i)), i

        queue = sorted(names.pending, key=rank)
        cost_bytes = names.costs(cost, overhead_bytes)
        sent, carried = _send(queue, cost_bytes, budget_bytes + carried, budget)
        precopy += _total(cost_bytes, sent)
        resent += _total(cost_bytes, names.sent_before.intersection(sent))
        for i in sent:
            names.send(i)

        of_cycle = next(replayed)
        updates.observe(cycle, [(row.file_id, row.count) for row in of_cycle])
        for row in of_cycle:
            names.apply(row)

        cost_bytes = names.costs(cost, overhead_bytes)
        result.final_copy_bytes.append(_total(cost_bytes, names.pending))
        result.precopy_bytes.append(precopy)
        result.resent_bytes.append(resent)
        result.present_bytes.append(_total(names.size, names.exists))
        if threshold_bytes is not None and result.final_copy_bytes[-1] <= threshold_bytes:
            result.stop = "threshold"
            break
    return result


def _key(order, i, size, updates):
    match order:
        case "size-ascending":
            return size
        case "size-descending":
            return -size
        case "update-frequency" | "least-recently-updated":
            return updates
        case "expected-update":
            return updates * (float(size) if isinstance(updates, float) else size)
    return order[i]


def _send(queue, size_bytes, available, rule):
    """Return the files that are sent, in order, and the bytes carried over to the next cycle."""
    sent = []
    for i in queue:
        if size_bytes[i] <= available:
            sent.append(i)
            available -= size_bytes[i]
        elif rule != "skip":
            return sent, available if rule == "carry" else 0
    return sent, 0


def _writes_of_cycle(trace, cycle, writes_per_cycle):
    return trace[(cycle - 1) * writes_per_cycle : cycle * writes_per_cycle]


def _total(size_bytes, ids):
    return sum(size_bytes[i] for i in ids)


class _Count:
    """Updates since the start, history included."""

    def __init__(self, history):
        self.updates = list(history)

    def of(self, i):
        return self.updates[i]

    def observe(self, cycle, written):
        for i, count in written:
            self.updates[i] += count


class _LastCycle(_Count):
    """Updates in the cycle before; history stands for the cycle before the first."""

    def observe(self, cycle, written):
        self.updates = [0] * len(self.updates)
        super().observe(cycle, written)


class _LastWrite(_Count):
    """The cycle of the last write, 0 for a file that was never written."""

    def observe(self, cycle, written):
        for i, count in written:
            if count:
                self.updates[i] = cycle


class _Oracle:
    """The true shares: those in force when the writes of the cycle begin."""

    def __init__(self, parts, writes_per_cycle):
        self.parts, self.writes_per_cycle = parts, writes_per_cycle
        self.observe(0, [])

    def of(self, i):
        return self.updates[i]

    def observe(self, cycle, written):
        next_write = cycle * self.writes_per_cycle
        self.updates = [share for first, share in self.parts if first <= next_write][-1]


class _Exponential(_Count):
    """Updates weighted by 2^(cycle / half-life): newer ones weigh more instead of decaying."""

    def __init__(self, history, half_life):
        super().__init__(float(count) for count in history)
        self.half_life = half_life
        self.scaled_bits = 0.0

    def observe(self, cycle, written):
        while cycle / self.half_life - self.scaled_bits >= 512:
            self.scaled_bits += 512
            self.updates = [score * 2.0**-512 for score in self.updates]
        weight = math.exp2(cycle / self.half_life - self.scaled_bits)
        for i, count in written:
            self.updates[i] += count * weight


def _estimate(frequency, half_life, history):
    match frequency:
        case "count":
            return _Count(history)
        case "last-cycle":
            return _LastCycle(history)
        case "exponential":
            return _Exponential(history, half_life)
    raise ValueError(frequency)


def alias_table(share):
    """Return (accept, own file, other file) for every file with a positive share, in id order.

    A sweep with two cursors: `light` runs over the files with at most the mean share, `heavy` over
    the others, and `rest` is what the current heavy file still has to give away.
    """
    files = [i for i, part in enumerate(share) if part > 0]
    if not files:
        return []
    total = 0.0
    for i in files:
        total += share[i]
    mean = total / len(files)
    accept = dict.fromkeys(files, ALWAYS)
    other = {i: i for i in files}
    light = iter([i for i in files if share[i] <= mean])
    heavy = iter([i for i in files if share[i] > mean])

    this_light, this_heavy = next(light, None), next(heavy, None)
    rest = share[this_heavy] if this_heavy is not None else 0.0
    while this_heavy is not None:
        if rest > mean:
            if this_light is None:
                break
            filled, filled_by, part = this_light, this_heavy, share[this_light]
            rest -= mean - part
            this_light = next(light, None)
        else:
            filled, part = this_heavy, rest
            this_heavy = filled_by = next(heavy, None)
            if this_heavy is None:
                break
            rest = share[this_heavy] + rest - mean
        accept[filled] = min(math.floor(part / mean * 2.0**64), ALWAYS)
        other[filled] = filled_by
    return [(accept[i], i, other[i]) for i in files]


def raw_draws(seed, count):
    """Return `count` 64-bit draws of NumPy's generator as Python ints."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, ALWAYS, size=count, dtype=np.uint64, endpoint=True).tolist()


def draw(parts, seed, count):
    """Return the trace of `count` writes that a workload makes with this seed.

    `parts` are pairs (first write, shares): which shares are in force from which write on.
    """
    tables = [(first, alias_table(share)) for first, share in parts]
    if not tables[0][1]:
        return []
    trace = []
    for number, raw in enumerate(raw_draws(seed, count)):
        table = [table for first, table in tables if first <= number][-1]
        slot, coin = divmod(raw * len(table), 2**64)
        accept, own, other = table[slot]
        trace.append(own if coin < accept else other)
    return trace
