"""Traces in time: the C core replays them as the executable specification does, bit for bit."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
import specification
from hypothesis import given, settings
from hypothesis import strategies as st
from specification import Row

import precopy
from precopy import Cycle, FileSet, Recorded, WriteTrace

ORDERS = [
    "size-ascending",
    "size-descending",
    "update-frequency",
    "expected-update",
    "least-recently-updated",
    "key",
]
COUNTING = ["update-frequency", "expected-update"]
KEYS = [-np.inf, -2.5, -5e-324, -0.0, 0.0, 2.5, 1e300]
HALF_LIVES = [0.01, 0.1, 0.5, 1.0, 3.7, 100.0]


def trace_of(rows, present, duration_ns):
    """Return rows of the specification as a trace."""
    columns = [[getattr(row, name) for row in rows] for name in Row.__dataclass_fields__]
    file_id, time_ns, count, write_bytes, size_bytes, from_id = columns
    return WriteTrace(
        np.array(file_id, np.int64),
        write_bytes,
        time_ns=time_ns,
        count=count,
        size_bytes=np.array(size_bytes, np.int64),
        from_id=np.array(from_id, np.int64),
        present=None if present is None else np.array(present, bool),
        duration_ns=duration_ns,
    )


@dataclass(frozen=True)
class Case:
    """One replay, as plain values."""

    size_bytes: list
    read_only: list
    present: list
    rows: list
    duration_ns: int
    cycle: Cycle
    start_ns: int
    options: dict

    @property
    def app(self):
        files = FileSet(self.size_bytes, self.read_only)
        return Recorded("drawn", files, trace_of(self.rows, self.present, self.duration_ns))

    def run(self):
        start_s = self.start_ns / 1e9
        return precopy.simulate(self.app, cycle=self.cycle, start_s=start_s, **self.options)

    def specified(self):
        ends = {"cycle_ns": round(self.cycle.seconds * 1e9)}
        if not self.cycle.in_time:
            ends = {"writes_per_cycle": self.cycle.writes}
        return specification.simulate_replay(
            self.size_bytes,
            self.read_only,
            self.present,
            self.rows,
            self.duration_ns,
            budget_bytes=self.cycle.budget_bytes,
            start_ns=self.start_ns,
            **ends,
            **self.options,
        )


def assert_equal(case):
    run, expected = case.run(), case.specified()
    assert run.stop == expected.stop
    assert run.present_bytes.tolist() == expected.present_bytes
    assert run.final_copy_bytes.tolist() == expected.final_copy_bytes
    assert run.precopy_bytes.tolist() == expected.precopy_bytes
    assert run.resent_bytes.tolist() == expected.resent_bytes
    assert run.rounds_completed is None


def drawn_options(draw, n, read_only, orders=ORDERS, histories=None):
    order = draw(st.sampled_from(orders))
    options = {"order": order, "budget": draw(st.sampled_from(["whole", "carry", "skip"]))}
    if order == "key":
        options["order"] = [draw(st.sampled_from(KEYS)) for _ in range(n)]
    if order in COUNTING:
        options["frequency"] = draw(st.sampled_from(["count", "last-cycle", "exponential"]))
        if options["frequency"] == "exponential":
            options["half_life"] = draw(st.sampled_from(HALF_LIVES))
        if draw(st.booleans()):
            drawn = [draw(st.integers(0, 4) | st.integers(0, 2**40)) for _ in range(n)]
            options["history"] = [
                0 if fixed else count for fixed, count in zip(read_only, drawn, strict=True)
            ]
    if draw(st.booleans()):
        options["cost"] = "delta"
        options["overhead_bytes"] = draw(st.sampled_from([0, 0, 1, 3, 50, 2**63 - 1]))
    first = draw(st.sampled_from([None, True, False]))
    if first is not None:
        options["read_only_first"] = first
    if draw(st.integers(0, 4)) == 0:
        options["threshold_bytes"] = draw(st.integers(0, 30))
    return options


def row_of(kind, time_ns, file_id, from_id, count, write_bytes, size_bytes):
    if kind == "death":
        return Row(file_id, time_ns, count, 0, -1)
    if kind == "rename" and from_id != file_id:
        return Row(file_id, time_ns, count, write_bytes, size_bytes, from_id)
    return Row(file_id, time_ns, count, write_bytes, size_bytes)


KINDS = ["write"] * 4 + ["death", "rename", "rename"]
SIZES = [0, 1, 1, 2, 3, 5, 8, 20]


@st.composite
def small_cases(draw, orders=ORDERS, most_rows=30, kinds=KINDS):
    """Up to eight names, everything drawn one by one."""
    n = draw(st.integers(1, 8))
    size_bytes = [draw(st.sampled_from(SIZES)) for _ in range(n)]
    read_only = [draw(st.integers(0, 4)) == 0 for _ in range(n)]
    present = [draw(st.booleans()) for _ in range(n)]
    written = [i for i in range(n) if not read_only[i]]
    rows, time_ns = [], 0
    for _ in range(draw(st.integers(0, most_rows)) if written else 0):
        time_ns += draw(st.sampled_from([0, 0, 1, 2, 5, 30]))
        rows.append(
            row_of(
                draw(st.sampled_from(kinds)),
                time_ns,
                draw(st.sampled_from(written)),
                draw(st.sampled_from(written)),
                draw(st.sampled_from([0, 1, 1, 1, 2, 7])),
                draw(st.sampled_from([0, 1, 2, 3, 10])),
                draw(st.sampled_from(SIZES)),
            )
        )
    duration_ns = time_ns + 1 + draw(st.sampled_from([0, 1, 4, 30]))
    options = drawn_options(draw, n, read_only, orders)
    options["cycles"] = draw(st.integers(1, 20))
    budget = draw(st.integers(1, 40))
    if options["budget"] == "whole":
        budget = max([budget, *size_bytes, *(row.size_bytes for row in rows)])
    cycle = Cycle.of_seconds(draw(st.sampled_from([1, 2, 3, 7, 20, 100])) / 1e9, 1e9)
    if any(row.count for row in rows) and draw(st.booleans()):
        cycle = Cycle(draw(st.integers(1, 9)), 1.0, 1.0)
    cycle = with_budget(cycle, budget)
    start_ns = draw(st.integers(0, duration_ns - 1))
    return Case(size_bytes, read_only, present, rows, duration_ns, cycle, start_ns, options)


def with_budget(cycle, budget_bytes):
    bandwidth = budget_bytes / cycle.seconds
    if cycle.in_time:
        return Cycle.of_seconds(cycle.seconds, bandwidth)
    return Cycle(cycle.writes, cycle.write_seconds, bandwidth)


@pytest.mark.model(
    "replay.rows",
    "replay.write",
    "replay.death",
    "replay.rename",
    "replay.cycle",
    "replay.cycle-writes",
    "replay.start",
    "replay.again",
    "replay.order",
    "replay.record",
)
@settings(max_examples=600)
@given(small_cases())
def test_small(case):
    assert_equal(case)


@settings(max_examples=300)
@given(small_cases(kinds=["write", "death", "rename", "rename", "rename"], most_rows=60))
def test_files_that_come_go_and_are_renamed(case):
    assert_equal(case)


@st.composite
def medium_cases(draw, orders=ORDERS, most_names=150):
    """Up to `most_names` names; the rows come from one drawn seed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(9, most_names))
    m = draw(st.integers(0, 1500))
    highest = draw(st.sampled_from([1, 5, 1000, 10**9]))
    read_only = (rng.random(n) < 0.1).tolist()
    read_only[0] = read_only[1] = False
    written = np.flatnonzero(~np.array(read_only))
    # Some names are busy, some come and go.
    ids = written[
        (rng.random((2, m)) ** draw(st.sampled_from([1, 3, 8])) * len(written)).astype(int)
    ]
    times = np.sort(rng.integers(0, draw(st.sampled_from([10, 1000, 10**6])), m))
    kinds = rng.choice(KINDS, m)
    sizes = rng.integers(0, highest, m, endpoint=True)
    counts, written_bytes = rng.integers(0, 4, m), rng.integers(0, highest, m, endpoint=True)
    columns = (times, *ids, counts, written_bytes, sizes)
    rows = [
        row_of(kind, *values)
        for kind, *values in zip(kinds.tolist(), *(one.tolist() for one in columns), strict=True)
    ]
    duration_ns = int(times[-1] if m else 0) + 1 + draw(st.integers(0, 1000))
    options = drawn_options(draw, 1, [True], orders)
    if not isinstance(options["order"], str):
        options["order"] = rng.choice(KEYS, n).tolist()
    if "history" in options:
        options["history"] = np.where(read_only, 0, rng.integers(0, 5, n)).tolist()
    options["cycles"] = draw(st.integers(1, 40))
    initial = rng.integers(0, highest, n, endpoint=True).tolist()
    budget = highest * n // draw(st.sampled_from([1, 4, 20, 200])) + 1
    if options["budget"] == "whole":
        budget = max(budget, highest)
    cycle = Cycle.of_seconds(max(duration_ns // draw(st.integers(1, 60)), 1) / 1e9, 1e9)
    if counts.any() and draw(st.booleans()):
        cycle = Cycle(draw(st.integers(1, 200)), 1.0, 1.0)
    return Case(
        initial,
        read_only,
        (rng.random(n) < 0.7).tolist(),
        rows,
        duration_ns,
        with_budget(cycle, budget),
        draw(st.integers(0, duration_ns - 1)),
        options,
    )


@settings(max_examples=150)
@given(medium_cases())
def test_medium(case):
    assert_equal(case)


SECOND = 10**9
ONE = Cycle.of_seconds(1, 100)


def app_of(rows, size_bytes=(100, 0, 50, 70), present=(True, False, True, True), seconds=5):
    files = FileSet(list(size_bytes), [False, False, False, True], ["a", "b", "c", "ro"])
    return Recorded("drawn", files, trace_of(rows, list(present), seconds * SECOND))


ROWS = [
    Row(0, 0, 1, 5, 100),
    Row(1, 1 * SECOND, 2, 20, 20),
    Row(0, 2 * SECOND, 1, 0, 20, 1),
    Row(2, 3 * SECOND, 0, 10, 60),
    Row(2, 4 * SECOND, 1, 0, -1),
]


@pytest.mark.model("replay.options")
def test_a_file_may_outgrow_the_budget_of_a_cycle():
    app = app_of([Row(0, SECOND, 1, 150, 250)])
    run = precopy.simulate(app, cycle=ONE, cycles=5)
    assert np.diff(run.precopy_bytes, prepend=0).tolist() == [70, 100, 50, 0, 250]
    with pytest.raises(
        ValueError, match=r"budget of 100 bytes, got file 0 \(a\) of 250 bytes, in row 0;"
    ):
        precopy.simulate(app, cycle=ONE, cycles=5, budget="whole")
    with pytest.raises(
        ValueError, match=r"budget of 60 bytes, got file 0 \(a\) of 100 bytes, at the"
    ):
        precopy.simulate(app_of([]), cycle=Cycle.of_seconds(1, 60), budget="whole")


def row_columns(app, **changes):
    """Return the columns of an application's trace, some of them changed."""
    names = ("file_id", "time_ns", "count", "write_bytes", "size_bytes", "from_id", "present")
    columns = {name: getattr(app.writes, name) for name in names}
    return columns | {"duration_ns": app.writes.duration_ns} | changes


@settings(max_examples=150)
@given(small_cases(kinds=["write"]), st.data())
def test_plain_writes_in_time_are_the_trace_without_times(case, data):
    """All counts 1, no sizes that change, nothing comes or goes, and cycles are of writes."""
    sizes = case.size_bytes
    rows = [replace(row, count=1, size_bytes=sizes[row.file_id]) for row in case.rows]
    writes = data.draw(st.integers(1, 6))
    cycles = len(rows) // writes
    if cycles == 0:
        return
    options = case.options | {"cycles": cycles}
    cycle = with_budget(Cycle(writes), max(case.cycle.budget_bytes, *sizes, 1))
    app = replace(case, rows=rows, present=[True] * len(sizes)).app
    plain = WriteTrace(app.writes.file_id, app.writes.write_bytes)
    in_time = precopy.simulate(app, cycle=cycle, **options)
    without = precopy.simulate(app.files, plain, cycle=cycle, **options)
    assert in_time.stop == without.stop
    for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes"):
        assert getattr(in_time, name).tolist() == getattr(without, name).tolist()
    assert set(in_time.present_bytes.tolist()) == {sum(sizes)} == {in_time.total_bytes}


def drive(case):
    """Replay with nothing but `rank` and `take`, at whole costs."""
    options, n = case.options, len(case.size_bytes)
    name = options["order"] if isinstance(options["order"], str) else "update-frequency"
    frequency, half_life = options.get("frequency", "count"), options.get("half_life")
    estimate = precopy.Estimate(n, frequency, half_life, options.get("history"), name)
    names = specification._Names(case.size_bytes, case.present)
    for row in case.rows:
        if row.time_ns < case.start_ns:
            names.apply(row)
    names = specification._Names(names.size, [i in names.exists for i in range(n)])
    back = specification.rows_back(case.size_bytes, case.present, case.rows)
    cycle_ns = round(case.cycle.seconds * 1e9) if case.cycle.in_time else None
    coming = specification._rows_by_cycle(
        case.rows, back, case.duration_ns, case.start_ns, cycle_ns, case.cycle.writes
    )
    curves, sent_bytes, carried = [], 0, 0
    for _, rows in zip(range(options["cycles"]), coming, strict=False):
        files = FileSet([max(size, 0) for size in names.size], case.read_only)
        pending = np.array([i in names.pending for i in range(n)])
        first = options.get("read_only_first", True)
        ids = precopy.rank(files, options["order"], pending, estimate.updates, first)
        costs = files.size_bytes[ids]
        taken, _, carried = precopy.take(costs, case.cycle.budget_bytes, options["budget"], carried)
        sent_bytes += int(costs[taken].sum())
        for i in ids[taken].tolist():
            names.send(i)
        estimate.observe([row.file_id for row in rows for _ in range(row.count)])
        for row in rows:
            names.apply(row)
        curves.append((sum(names.size[i] for i in names.pending), sent_bytes))
    return curves


@pytest.mark.model("rank.equal")
@settings(max_examples=150)
@given(small_cases())
def test_a_loop_over_rank_and_take_is_a_replay(case):
    options = {name: case.options[name] for name in case.options if name != "threshold_bytes"}
    options |= {"cost": "whole", "overhead_bytes": None}
    if options.get("frequency") == "exponential":  # of counts, a sum is not a product
        case = replace(case, rows=[replace(row, count=min(row.count, 1)) for row in case.rows])
    case = replace(case, options=options)
    run = case.run()
    assert list(zip(run.final_copy_bytes, run.precopy_bytes, strict=True)) == drive(case)


@pytest.mark.model("replay.rename", "replay.write", "replay.record", "cost.delta")
def test_a_file_that_is_replaced_by_rename():
    """Worked by hand: file c (50 bytes) is sent; b is written anew and becomes c, twice.

    Cycle 1 sends all 220 bytes; b (20) is born, costs 20 and becomes c. Cycle 2 sends c, again
    under that name: 20 of 20 bytes. b (30) becomes c. Cycle 3 sends it. Then b is born, sent in
    cycle 4, and becomes c in the same cycle: clean, as the destination renames, too. 5 bytes of
    it are written, and cycle 5 sends a delta of them.
    """
    rows = [
        *(Row(1, 0, 1, 20, 20), Row(2, 1, 0, 0, 20, 1)),
        *(Row(1, SECOND, 1, 30, 30), Row(2, SECOND + 1, 0, 0, 30, 1)),
        Row(1, 2 * SECOND, 1, 40, 40),
        *(Row(2, 3 * SECOND, 0, 0, 40, 1), Row(2, 3 * SECOND + 1, 1, 5, 41)),
    ]
    app = app_of(rows)
    run = precopy.simulate(app, cycle=Cycle.of_seconds(1, 1000), cycles=5, cost="delta")
    assert np.diff(run.precopy_bytes, prepend=0).tolist() == [220, 20, 30, 40, 5]
    assert np.diff(run.resent_bytes, prepend=0).tolist() == [0, 20, 30, 0, 5]
    assert run.final_copy_bytes.tolist() == [20, 30, 40, 5, 0]
    assert run.present_bytes.tolist() == [190, 200, 240, 211, 211]


@pytest.mark.model("replay.again", "replay.start")
def test_a_recording_goes_on_at_its_beginning():
    """Worked by hand: c dies at 4 s; from 4.5 s on it is gone, and at 5 s it is there again."""
    app = app_of(ROWS)
    assert app.writes.duration_ns == 5 * SECOND
    run = precopy.simulate(app, cycle=Cycle.of_seconds(0.25, 4e9), cycles=4, start_s=4.5)
    # a has 20 bytes since b became a, and 100 at the beginning.
    assert (run.start_s, run.total_bytes) == (4.5, 20 + 70)
    assert run.present_bytes.tolist() == [90, 90, 100 + 50 + 70, 220]
    assert run.final_copy_bytes.tolist() == [0, 0, 150, 0]
    assert np.diff(run.precopy_bytes, prepend=0).tolist() == [90, 0, 0, 150]
    with pytest.raises(
        ValueError, match=r"start_s: .* before the end of the recording at 5 s, got"
    ):
        precopy.simulate(app, cycle=ONE, start_s=5)


@pytest.mark.parametrize("budget", ["whole", "carry", "skip"])
def test_a_recording_without_rows_is_a_copy(budget):
    app = app_of([])
    run = precopy.simulate(app, cycle=Cycle.of_seconds(10**6, 1.0), cycles=2, budget=budget)
    assert (run.precopy_bytes.tolist(), run.final_copy_bytes.tolist()) == ([220, 220], [0, 0])


UNTIMED = precopy.Workload([1, 1, 1, 0])


@pytest.mark.model("replay.options", "replay.rows")
@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([Row(4, 5, 1, 0, 1)], {}, r"writes: .* below 4, got id 4, in row 0"),
        (
            [ROWS[0], Row(3, 5, 1, 0, 1)],
            {},
            r"writes: .* got file 3 \(ro\), which is read-.* row 1",
        ),
        (
            [Row(0, 5, 1, 0, 1, 3)],
            {},
            r"writes: .* got file 3 \(ro\), which is read-only, in row 0",
        ),
        (
            [Row(0, 5, 1, 0, -1, 1)],
            {},
            r"writes: expected a size for .* file 1 \(b\), got -1, in ro",
        ),
        ([Row(0, 5, 1, 0, 2**61)], {}, r"writes: .* got 2305843009213693952 bytes in 4 files"),
        ([Row(0, 5, 2**62, 0, 1)], {}, r"writes: expected counts whose sum is below 2\^62, got"),
        (ROWS, {"schedule": "rounds"}, 'schedule: expected "cycles" for a trace in time, got'),
        (ROWS, {"max_sends": 3}, "max_sends: expected None for a trace in time, got 3"),
        (
            ROWS,
            {"max_update_rate": 0.5},
            r"max_update_rate: expected None for a trace .*, got 0\.5",
        ),
        (ROWS, {"frequency": "oracle"}, "frequency: expected another estimate for a trace"),
        (ROWS, {"cost": "delta", "write_bytes": 5}, "write_bytes: expected None beside a trace"),
        (ROWS, {"start_s": -1}, "start_s: expected a finite number from 0 on, got -1"),
        (ROWS, {"cycles": 2**40}, "cycles: expected"),
        (ROWS, {"cycle": Cycle.of_seconds(2**32, 1), "cycles": 9}, "cycles: expected times"),
        ([Row(0, 5, 0, 0, 1)], {"cycle": Cycle()}, "cycle: expected one of seconds"),
        (ROWS, {"history": [2**63 - 1, 0, 0, 0]}, r"history: .* before up to \d+ updates"),
        (ROWS, {"order": "expected-update", "history": [2**60, 0, 0, 0]}, "order: .* of 100 bytes"),
    ],
)
def test_what_cannot_be_replayed_is_said(rows, options, message):
    writes = trace_of(rows, None, 9 * SECOND)
    files = FileSet([100, 0, 50, 70], [False, False, False, True], ["a", "b", "c", "ro"])
    with pytest.raises((ValueError, MemoryError), match=f"^{message}"):
        precopy.simulate(files, writes, **{"cycle": ONE, **options})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((app_of(ROWS), UNTIMED), TypeError, "writes: expected None beside a recorded application"),
        ((app_of(ROWS).files,), TypeError, "writes: expected a Workload or a WriteTrace, got None"),
        (
            (app_of(ROWS).files, UNTIMED),
            ValueError,
            "cycle: .* without times, got Cycle.of_seconds",
        ),
        (
            (FileSet([1]), app_of(ROWS).writes),
            ValueError,
            "writes: .* present of 1 files, .* got 4",
        ),
    ],
)
def test_files_and_writes_that_do_not_belong_together(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        precopy.simulate(*arguments, cycle=ONE)


def test_a_delta_needs_what_rows_wrote():
    app = app_of(ROWS)
    columns = row_columns(app, write_bytes=None)
    app = Recorded("x", app.files, WriteTrace(**columns))
    assert precopy.simulate(app, cycle=ONE, cycles=3).cycles == 3
    with pytest.raises(ValueError, match=r'^cost: expected "whole" for a trace in .* that does'):
        precopy.simulate(app, cycle=ONE, cost="delta")


def test_a_sweep_over_start_points(tmp_path):
    app, cycle = app_of(ROWS), Cycle.of_seconds(0.5, 150)
    given = {"cycle": cycle, "cycles": 12, "order": ["size-ascending", "update-frequency"]}
    table = precopy.sweep(app, start_s=app.starts(4), cache=tmp_path, **given)
    assert table.final_copy_bytes.dims == ("order", "start_s", "step")
    assert table.total_bytes.dims == ("start_s",)
    for order in given["order"]:
        for start_s in app.starts(4):
            run = precopy.simulate(app, order=order, cycle=cycle, cycles=12, start_s=start_s)
            one = table.sel(order=order, start_s=start_s)
            assert one.total_bytes == run.total_bytes
            for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes", "present_bytes"):
                assert one[name].values.tolist() == getattr(run, name).tolist()
    assert table.attrs["cycles_of"] == "seconds"
    again = precopy.sweep(app, start_s=app.starts(4), cache=tmp_path, **given)
    assert again.identical(table)
    later = WriteTrace(**row_columns(app, time_ns=app.writes.time_ns + 6 * 10**8))
    moved = precopy.sweep(
        Recorded("x", app.files, later), start_s=app.starts(4), cache=tmp_path, **given
    )
    assert (moved.final_copy_bytes != table.final_copy_bytes).any()
    done = precopy.finish(table, precopy.stop.seconds(2))
    assert set(done.finish_cycle.values.ravel()) == {4.0}
    assert set(done.precopy_s.values.ravel()) == {2.0}


def test_a_sweep_over_applications_and_plain_traces():
    """What only some of the runs leave is NaN for the others."""
    app, other = app_of(ROWS), app_of(ROWS[:2])
    table = precopy.sweep({"one": app, "two": other}, cycle=ONE, cycles=6)
    named = Recorded("three", other.files, other.writes)
    assert precopy.sweep([app, named], cycle=ONE, cycles=2).files.values.tolist() == [
        "drawn",
        "three",
    ]
    assert table.present_bytes.sel(files="two").values.tolist() == [220, 240, 240, 240, 240, 220]
    plain = WriteTrace([0, 1, 2, 0, 1, 2])
    cycle = Cycle(2, 0.5, 300.0)
    both = precopy.sweep(
        app.files, {"time": app.writes, "plain": plain}, cycle=cycle, cycles=3, budget="carry"
    )
    assert both.present_bytes.isnull().sel(writes="plain").all()
    assert "cycles_of" not in both.attrs
    run = precopy.simulate(app, cycle=cycle, cycles=3)
    assert both.final_copy_bytes.sel(writes="time").values.tolist() == run.final_copy_bytes.tolist()


def test_a_replay_in_other_processes():
    app = app_of(ROWS)
    given = {"cycle": ONE, "cycles": 7, "start_s": app.starts(3)}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = precopy.sweep(app, executor=pool, **given)
    assert there.identical(precopy.sweep(app, **given))


def test_a_table_in_seconds_has_seconds_on_its_axis():
    app = app_of(ROWS)
    table = precopy.sweep(app, cycle=Cycle.of_seconds(0.5, 150), cycles=8, start_s=app.starts(3))
    ax = precopy.plot.final_copy(table)
    [line] = ax.lines[:1]
    assert ax.get_xlabel() == "pre-copy [s]"
    assert line.get_xdata().tolist() == [0.5 * step for step in range(1, 9)]
    scale = table.final_copy_bytes.mean("start_s").values / line.get_ydata()
    assert np.allclose(scale, scale[0], equal_nan=True)
    assert len(ax.collections) == 1  # the band
    run = precopy.simulate(app, cycle=Cycle.of_seconds(0.5, 150), cycles=8)
    assert precopy.plot.final_copy(run).get_xlabel() == "pre-copy [s]"
    by_writes = precopy.simulate(app, cycle=Cycle(1, 0.5, 300.0), cycles=4)
    assert precopy.plot.final_copy(by_writes).get_xlabel() == "pre-copy cycle"
