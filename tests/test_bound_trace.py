"""The bound of a recording: figures by hand, every policy on tiny recordings, and its estimate."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import precopy
from precopy import Cycle, FileSet, Recorded, WriteTrace
from precopy.bound import trace_estimate_bytes, trace_final_copy_bytes

SECOND = 10**9


def recorded(sizes, rows, seconds, present=None):
    """Make a recording of rows (second, file, size afterwards, old name)."""
    time, file_id, size, source = zip(*rows, strict=True) if rows else ((), (), (), ())
    written = {*file_id, *source}
    trace = WriteTrace(
        list(file_id),
        time_ns=[round(at * SECOND) for at in time],
        size_bytes=list(size),
        from_id=list(source),
        present=present,
        duration_ns=round(seconds * SECOND),
    )
    read_only = [i not in written for i in range(len(sizes))]
    return Recorded("app", FileSet(sizes, read_only), trace)


def link(budget, seconds=1.0):
    return Cycle.of_seconds(seconds, budget / seconds)


def test_one_send_lasts_for_the_whole_rest():
    app = recorded([100], [(0, 0, 100, -1)], 10)
    # Written in one cycle of ten: a send of 100 bytes buys nine clean ends.
    assert trace_final_copy_bytes(app, link(10)) == pytest.approx(10)
    assert trace_final_copy_bytes(app, link(5)) == pytest.approx(55)
    # At the begin nothing is sent: 100 is pending at the first end, whatever is sent before it.
    assert trace_final_copy_bytes(app, link(100), cycles=1) == 100


def test_a_burst_costs_one_send_only():
    """Shares know nothing of rest: 50 writes in a burst count like 50 in as many cycles."""
    burst = recorded([100], [(0.01 * i, 0, 100, -1) for i in range(50)], 50)
    steady = recorded([100], [(i + 0.5, 0, 100, -1) for i in range(50)], 50)
    assert trace_final_copy_bytes(burst, link(2)) == pytest.approx(2)
    assert trace_final_copy_bytes(steady, link(2)) == 100


def test_files_that_are_never_written_cost_nothing_in_the_long_run():
    app = recorded([100, 700], [(i, 0, 100, -1) for i in range(10)], 10)
    assert trace_final_copy_bytes(app, link(1)) == 100
    assert trace_final_copy_bytes(app, link(70), cycles=10) == 100
    assert trace_final_copy_bytes(app, link(70), cycles=5) == 450


@pytest.mark.parametrize("written", [False, True])
def test_a_renamed_file_stays_clean(written):
    rows = [(0, 0, 100, -1), (5, 1, 100, 0), (9.5, 1, -1, -1)]
    if written:
        rows.insert(2, (5.5, 1, 100, -1))
    app = recorded([100, 0], rows, 10, present=[False, False])
    # There at the ends 1 … 9 of 10; clean from 2 on for one send, but for the one in which it is
    # written: two sends then.
    assert trace_final_copy_bytes(app, link(1000)) == pytest.approx(20 if written else 10)
    # For half of a send: half of 8 ends, or of the longer run, 4 ends, only.
    assert trace_final_copy_bytes(app, link(5)) == pytest.approx((9 - (2 if written else 4)) * 10)


def test_a_rename_over_a_file_ends_what_was_clean_there():
    app = recorded([40, 30], [(3, 0, 30, 1), (6, 1, 30, -1)], 10)
    # Name 0 has 30 bytes from second 3 on, in one run with name 1 since its birth at 6 of the lap
    # before. Each lap begins with a row that gives name 0 its 40 bytes again.
    assert trace_final_copy_bytes(app, link(1000)) == pytest.approx((40 + 30) / 10)


def test_cycles_of_writes():
    app = recorded([100, 100], [(i * 0.001, i // 5 % 2, 100, -1) for i in range(20)], 60)
    # Five writes to one, then five to the other: each is at rest every second cycle.
    cycle = Cycle(writes=5, write_seconds=0.1, bandwidth=200)
    assert trace_final_copy_bytes(app, cycle) == pytest.approx(100)
    with pytest.raises(ValueError, match=r"^cycle: expected Cycle\.of_seconds"):
        trace_final_copy_bytes(recorded([1], [], 1), cycle)


def test_the_estimate_serves_a_name_always_or_never():
    """One file is busy for half the time, one is written every third second."""
    rows = [(i, 0, 300, -1) for i in range(15)] + [(i, 1, 300, -1) for i in range(0, 30, 3)]
    app = recorded([300, 300], sorted(rows), 30)
    # All of the budget keeps the second one clean in 20 of 30 cycles.
    assert trace_estimate_bytes(app, link(100)) == pytest.approx(600 - 200)
    # A policy that waits for the rest of the first one sends it once per lap.
    assert trace_final_copy_bytes(app, link(100)) == pytest.approx(600 - 150 - 300 * 18 / 30)


def test_no_time_no_bound():
    files = FileSet([10])
    with pytest.raises(TypeError, match=r"^app: expected a Recorded"):
        trace_final_copy_bytes(files, link(5))
    with pytest.raises(TypeError, match=r"^cycle: expected a Cycle"):
        trace_final_copy_bytes(recorded([10], [], 1), 5)
    table = precopy.sweep(
        files, WriteTrace([0] * 9), cycle=Cycle(writes=3, bandwidth=1000), cycles=3
    )
    assert "bound_bytes" not in table


# ------------------------------------------------------------------------- every policy there is


def replayed(app, start=0):
    """Yield, cycle by cycle (seconds), what each row does: a function of the pending names."""
    writes, duration = app.writes, app.writes.duration_ns // SECOND
    begin = {i: int(app.files.size_bytes[i]) for i in range(len(app.files)) if app.present[i]}
    rows = list(
        zip(
            (writes.time_ns // SECOND).tolist(),
            writes.file_id.tolist(),
            writes.size_bytes.tolist(),
            writes.from_id.tolist(),
            strict=True,
        )
    )
    sizes = dict(begin)
    for cycle in itertools.count():
        lap, second = divmod(cycle, duration)
        steps = []
        if lap and not second:
            steps += [(i, -1, -1) for i in sizes if i not in begin]
            steps += [(i, size, -1) for i, size in begin.items() if sizes.get(i) != size]
        steps += [row[1:] for row in rows if row[0] == second]
        before = dict(sizes)
        effects = []
        for name, size, source in steps:
            effects.append((name, size, source if source in sizes else -1))
            sizes.pop(source, None)
            if size < 0:
                sizes.pop(name, None)
            else:
                sizes[name] = size
        if cycle >= start:
            yield before, effects, dict(sizes)


def step(pending, effects):
    pending = set(pending)
    for name, size, source in effects:
        is_pending = (source in pending) if source >= 0 else True
        pending -= {name, source}
        if size >= 0 and is_pending:
            pending.add(name)
    return frozenset(pending)


def choices(pending, sizes, budget):
    for count in range(len(pending) + 1):
        for sent in itertools.combinations(sorted(pending), count):
            cost = sum(sizes[i] for i in sent)
            if cost <= budget:
                yield pending - set(sent), budget - cost


def best_of_all(cycles, budget):
    """Return the least sum of final copies that any policy reaches which may save its budget."""
    states = {(frozenset(cycles[0][0]), 0): 0}
    for before, effects, after in cycles:
        reached = {}
        for (pending, saved), total in states.items():
            for rest, left in choices(pending, before, saved + budget):
                then = step(rest, effects)
                key = then, left
                value = total + sum(after[i] for i in then)
                reached[key] = min(value, reached.get(key, value))
        states = reached
    return min(states.values())


def best_in_the_long_run(lap, budget, most, laps=12):
    """Return what no policy comes below per lap in the long run, and what some policy reaches.

    The bytes that a policy may save are limited to `most`.
    """
    begin = lap[0][0]
    subsets = [
        frozenset(some)
        for count in range(len(begin) + 1)
        for some in itertools.combinations(begin, count)
    ]
    value = {(pending, saved): 0 for pending in subsets for saved in range(most + 1)}
    for _ in range(laps):
        then = value
        for before, effects, after in reversed(lap):
            now = {}
            names = [
                frozenset(some)
                for count in range(len(before) + 1)
                for some in itertools.combinations(before, count)
            ]
            for pending in names:
                for saved in range(most + 1):
                    now[pending, saved] = min(
                        sum(after[i] for i in step(rest, effects))
                        + then[step(rest, effects), min(left, most)]
                        for rest, left in choices(pending, before, saved + budget)
                    )
            then = now
        gain = [then[state] - value[state] for state in then if state in value]
        value = then
    return min(gain), max(gain)


@st.composite
def recordings(draw, names=3, seconds=5, changes=True):
    count = draw(st.integers(1, names))
    present = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    size = st.integers(0, 4) if changes else st.just(2)
    sizes = [draw(size) if there else 0 for there in present]
    number = draw(st.integers(0, 7))
    times = sorted(draw(st.integers(0, seconds * 2 - 1)) / 2 for _ in range(number))
    rows = []
    for at in times:
        name = draw(st.integers(0, count - 1))
        source = draw(st.sampled_from([-1, -1, *(i for i in range(count) if i != name)]))
        gone = source < 0 and draw(st.integers(0, 3)) == 0
        rows.append((at, name, -1 if gone else draw(size), source))
    return recorded(sizes, rows, seconds, present=present)


@given(recordings(), st.integers(1, 6), st.integers(1, 9), st.integers(0, 4))
def test_no_policy_comes_below(app, budget, count, start):
    """Every choice of files in every cycle, with a budget that may be saved without limit."""
    cycles = list(itertools.islice(replayed(app, start), count))
    bound = trace_final_copy_bytes(app, link(budget), cycles=count, start_s=start)
    assert bound <= best_of_all(cycles, budget) / count + 1e-9


@given(recordings(names=2, seconds=4), st.integers(1, 4))
def test_no_policy_comes_below_in_the_long_run(app, budget):
    lap = list(itertools.islice(replayed(app, 4), 4))  # the second one begins with the way back
    _, reachable = best_in_the_long_run(lap, budget, most=10)
    assert trace_final_copy_bytes(app, link(budget)) <= reachable / 4 + 1e-9


@given(recordings(names=3, seconds=5, changes=False))
def test_a_link_for_everything_leaves_what_is_written(app):
    """With budget for all files the bound is exact: what is pending was written in the cycle."""
    cycles = list(itertools.islice(replayed(app, 5), 5))
    left = sum(sum(after[i] for i in step(frozenset(), effects)) for _, effects, after in cycles)
    assert trace_final_copy_bytes(app, link(1000)) == pytest.approx(left / 5)


def test_numbers_of_many_laps():
    """Laps that are no whole number of cycles: every place of the cycles in the lap counts."""
    app = recorded([100], [(0, 0, 100, -1)], 7.5)
    # Written in 2 cycles of 15: all others are clean.
    assert trace_final_copy_bytes(app, link(1000)) == pytest.approx(200 / 15)
    long = recorded([100], [(0, 0, 100, -1)], np.pi)
    assert trace_final_copy_bytes(long, link(1000)) == pytest.approx(100 / np.pi, rel=0.02)
