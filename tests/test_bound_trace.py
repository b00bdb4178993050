"""The bound of a recording: figures by hand, and every policy on tiny recordings."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import precopy
from precopy import Cycle, FileSet, Recorded, WriteTrace, _core, simulate
from precopy.bound import trace_final_copy_bytes

SECOND = 10**9
ORDERS = _core.CHOICES["order"]


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


def test_a_rest_may_be_longer_than_the_recording():
    """Files of one size that are rotated: what one lap leaves at a name, the next one moves on."""
    rows = [(5, 3, 100, 2), (5, 2, 100, 1), (5, 1, 100, 0), (5.5, 0, 100, -1)]
    app = recorded([100] * 4, rows, 10)
    # A file is written once, and rests for 9 ends as name 0, then for 10 at each other one.
    assert trace_final_copy_bytes(app, link(1000)) == pytest.approx(10)
    # One send in ten ends buys 39 of them, of which the link pays half.
    assert trace_final_copy_bytes(app, link(5)) == pytest.approx(10 + 390 / 2)
    for budget in (5, 8, 10, 20):
        run = simulate(app, cycle=link(budget), order="least-recently-updated", cycles=900)
        assert trace_final_copy_bytes(app, link(budget)) <= run.final_copy_bytes[-400:].mean()


def test_a_rename_that_makes_a_file_smaller():
    """What is at rest is no more than the least size that a file has there."""
    app = recorded([2, 0], [(0, 1, 0, 0)], 5)
    assert trace_final_copy_bytes(app, link(1), budget="skip", cycles=1) == 0


def test_cycles_that_do_not_fit_a_lap():
    """Laps of 60.03 cycles: in some sixty cycles a file that is written once per lap is not."""
    for phase in range(59):
        app = recorded([100, 900], [(phase + 0.72, 1, 900, -1)], 60.032762153)
        assert trace_final_copy_bytes(app, link(10_000)) <= 900 / 60 + 1e-9


def test_cycles_of_writes():
    app = recorded([100, 100], [(i * 0.001, i // 5 % 2, 100, -1) for i in range(20)], 60)
    # Five writes to one, then five to the other: each is at rest every second cycle.
    cycle = Cycle(writes=5, write_seconds=0.1, bandwidth=200)
    assert trace_final_copy_bytes(app, cycle) == pytest.approx(100)
    with pytest.raises(ValueError, match=r"^cycle: expected Cycle\.of_seconds"):
        trace_final_copy_bytes(recorded([1], [], 1), cycle)


def test_a_burst_can_only_be_sent_after_it():
    """All files are written at once: while the link sends them, the others wait."""
    app = recorded([100] * 10, [(10, i, 100, -1) for i in range(10)], 50)
    # Pending at the ends 10 ... 19 of 50: all ten, then nine of them (one is sent), ..., one.
    sizes = [1000] + [100 * left for left in range(9, 0, -1)]
    slow = trace_final_copy_bytes(app, link(100), budget="whole")
    assert slow == pytest.approx(sum(sizes) / 50)
    # What was carried into a cycle may have sent one more file.
    carried = [1000] + [100 * left for left in range(8, 0, -1)]
    assert trace_final_copy_bytes(app, link(100)) == pytest.approx(sum(carried) / 50)


def test_the_longest_rest_is_served_first():
    """Of two files that are written together, one rests for 4 cycles, one for 9 of 10."""
    rows = [(0, 0, 100, -1), (0, 1, 100, -1), (5, 0, 100, -1)]
    app = recorded([100, 100], rows, 10)
    # Written at 0: both wait for the end 0; then one is sent in each second second. At the ends:
    # 200; half of 1, and the other; 1 is sent; half of 0; 0 is sent; 100 at 5; half; 0; 0; 0.
    left = [200, 150, 100, 50, 0, 100, 50, 0, 0, 0]
    assert trace_final_copy_bytes(app, link(50), budget="skip") == pytest.approx(sum(left) / 10)


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


def test_a_sweep_brings_the_bound_of_a_recording():
    app = recorded([100] * 10, [(10, i, 100, -1) for i in range(10)], 50)
    cycles = {"slow": link(100), "fast": link(1000)}
    table = precopy.sweep(app, cycle=cycles, cycles=9, start_s=[0.0, 25.0])
    assert table.bound_bytes.dims == ("cycle",)
    for name, cycle in cycles.items():
        assert table.bound_bytes.sel(cycle=name) == trace_final_copy_bytes(app, cycle)
    apart = precopy.sweep(app.files, app.writes, cycle=link(100), cycles=9)
    assert apart.bound_bytes == trace_final_copy_bytes(app, link(100))


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


def choices(pending, sizes, budget, saves):
    """Yield what stays pending and what is carried, for every choice of files to send."""
    for count in range(len(pending) + 1):
        for sent in itertools.combinations(sorted(pending), count):
            left = budget - sum(sizes[i] for i in sent)
            if left >= 0:
                rest = pending - set(sent)
                yield rest, 0
                if saves and any(sizes[i] > left for i in rest):
                    yield rest, left


def best_of_all(cycles, budget, saves):
    """Return the least sum of final copies that any policy reaches."""
    states = {(frozenset(cycles[0][0]), 0): 0}
    for before, effects, after in cycles:
        reached = {}
        for (pending, saved), total in states.items():
            for rest, left in choices(pending, before, saved + budget, saves):
                then = step(rest, effects)
                key = then, left
                value = total + sum(after[i] for i in then)
                reached[key] = min(value, reached.get(key, value))
        states = reached
    return min(states.values())


def best_in_the_long_run(lap, budget, saves, laps=12):
    """Return a mean per lap that some policy reaches in the long run, or one above it."""
    most = 5 if saves else 0  # what is carried is less than the largest file
    value = {(pending, saved): 0 for pending in subsets(lap[0][0]) for saved in range(most)}
    value |= {(pending, 0): 0 for pending in subsets(lap[0][0])}
    for _ in range(laps):
        then = value
        for before, effects, after in reversed(lap):
            now = {}
            for pending in subsets(before):
                for saved in {0, *range(most)}:
                    now[pending, saved] = min(
                        sum(after[i] for i in step(rest, effects)) + then[step(rest, effects), left]
                        for rest, left in choices(pending, before, saved + budget, saves)
                    )
            then = now
        gain = [then[state] - value[state] for state in value]
        value = then
    return max(gain)


def subsets(names):
    return [
        frozenset(some)
        for count in range(len(names) + 1)
        for some in itertools.combinations(sorted(names), count)
    ]


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


@pytest.mark.model("bound.recording")
@given(recordings(), st.integers(1, 6), st.integers(1, 9), st.integers(0, 4), st.booleans())
def test_no_policy_comes_below(app, budget, count, start, saves):
    """Every choice of files in every cycle, and whether to carry what is left."""
    cycles = list(itertools.islice(replayed(app, start), count))
    rule = "carry" if saves else "skip"
    bound = trace_final_copy_bytes(
        app, link(budget), budget=rule, cycles=count, start_s=float(start)
    )
    assert bound <= best_of_all(cycles, budget, saves) / count + 1e-9


@pytest.mark.model("bound.recording")
@given(recordings(names=2, seconds=4), st.integers(1, 4), st.booleans())
def test_no_policy_comes_below_in_the_long_run(app, budget, saves):
    lap = list(itertools.islice(replayed(app, 4), 4))  # the second one begins with the way back
    reachable = best_in_the_long_run(lap, budget, saves)
    rule = "carry" if saves else "skip"
    assert trace_final_copy_bytes(app, link(budget), budget=rule) <= reachable / 4 + 1e-9


@given(
    recordings(names=8, seconds=9),
    st.sampled_from(sorted(ORDERS)),
    st.integers(4, 12),
    st.integers(0, 8),
)
def test_no_run_comes_below(app, order, budget, start):
    cycle = link(budget)
    run = simulate(app, cycle=cycle, order=order, cycles=60, start_s=float(start))
    for count in (1, 5, 60):
        bound = trace_final_copy_bytes(app, cycle, cycles=count, start_s=float(start))
        assert bound <= run.final_copy_bytes[:count].mean() + 1e-9
    assert trace_final_copy_bytes(app, cycle) <= run.final_copy_bytes[-9:].mean() + 1e-9


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
