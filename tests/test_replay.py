"""Traces in time: the C core replays them as the executable specification does, bit for bit."""

from dataclasses import dataclass

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
        present=np.array(present, bool),
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
