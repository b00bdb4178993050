"""The live engine, given a recorded trace and a link that only counts, is the simulator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import precopy
from precopy import Cycle, FileSet, WriteTrace
from precopy.migration.engine import Engine, Pace, Sent
from precopy.migration.pending import Pending, Policy

ORDERS = [
    "size-ascending",
    "size-descending",
    "update-frequency",
    "expected-update",
    "least-recently-updated",
]
WRITE_SECONDS = 2.0**-5  # so that no product is rounded


class FakeLink:
    """A link that carries everything at once and counts it."""

    def __init__(self):
        self.link_bytes = 0

    def carry(self, size):
        self.link_bytes += size


class TraceWork:
    """Whole files; what one look finds are the next cycle's writes of a trace."""

    def __init__(self, files, trace, writes, policy, history):
        self.files, self.trace, self.writes_per_cycle = files, trace, writes
        self.link, self.cycle = FakeLink(), 0
        self.pending = Pending(policy)
        self.pending.add(files.size_bytes, files.read_only, history)

    def look(self):
        first = self.cycle * self.writes_per_cycle
        self.cycle += 1
        return self.trace.file_id[first : first + self.writes_per_cycle]

    def send(self, units):
        before = self.link.link_bytes
        for unit in units:
            self.link.carry(int(self.files.size_bytes[unit]))
        return Sent(self.link.link_bytes - before, 0.0)

    def writes(self):
        return self.cycle * self.writes_per_cycle


class Limits:
    """Ends after so many cycles, or at a limit on the final copy."""

    def __init__(self, cycles, limit=-1):
        self.cycles, self.limit = cycles, limit

    def after(self, curves):
        if curves.final_copy_bytes[-1] <= self.limit:
            return "threshold"
        return "cycles" if len(curves) >= self.cycles else None

    def would(self, curves):
        return self.after(curves) is not None


class FakeClock:
    """Time that passes only while somebody waits."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


@st.composite
def migrations(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 40))
    sizes = rng.integers(0, draw(st.sampled_from([2, 10, 1000])), n)
    read_only = rng.random(n) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    writes, cycles = draw(st.integers(1, 30)), draw(st.integers(1, 25))
    writable = np.flatnonzero(~read_only)
    weight = rng.random(max(len(writable), 1)) ** 4
    trace = rng.choice(writable, writes * cycles, p=weight / weight.sum()) if len(writable) else []
    budget = draw(st.sampled_from(["whole", "carry", "skip"]))
    least = int(sizes.max()) if budget == "whole" else 0
    budget_bytes = draw(st.integers(least, max(least, int(sizes.sum())) + 3))
    cycle = Cycle(writes, WRITE_SECONDS, max(budget_bytes, 1) / (writes * WRITE_SECONDS))
    options = {
        "order": draw(st.sampled_from(ORDERS)),
        "budget": budget,
        "read_only_first": draw(st.booleans()),
    }
    if options["order"] in ("update-frequency", "expected-update"):
        options["frequency"] = draw(st.sampled_from(["count", "last-cycle", "exponential"]))
        if options["frequency"] == "exponential":
            options["half_life"] = draw(st.sampled_from([0.01, 0.5, 3.0, 100.0]))
    history = None
    if "frequency" in options and draw(st.booleans()):
        history = np.where(read_only, 0, rng.integers(0, 90, n))
    return FileSet(sizes, read_only), WriteTrace(trace), cycle, cycles, options, history


def migrated(files, trace, cycle, ending, options, history):
    work = TraceWork(files, trace, cycle.writes, Policy(**options), history)
    pace = Pace(cycle.seconds, None, cycle.bandwidth)
    engine = Engine(work, pace, lambda engine: 0.0, ending, FakeClock())
    return engine, engine.run()


@pytest.mark.model("rank.equal")
@given(migrations())
@settings(max_examples=300, deadline=None)
def test_the_engine_and_a_recorded_trace_are_simulate(problem):
    files, trace, cycle, cycles, options, history = problem
    run = precopy.simulate(files, trace, cycle=cycle, cycles=cycles, history=history, **options)

    engine, _ = migrated(files, trace, cycle, Limits(cycles), options, history)
    curves = engine.curves
    assert curves.final_copy_bytes.tolist() == run.final_copy_bytes.tolist()
    assert curves.precopy_bytes.tolist() == run.precopy_bytes.tolist()
    assert curves.resent_bytes.tolist() == run.resent_bytes.tolist()


@pytest.mark.model("cycle.stop")
@given(migrations(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_limit_ends_both_after_the_same_cycle(problem, data):
    files, trace, cycle, cycles, options, history = problem
    limit = data.draw(st.integers(0, files.total_bytes))
    run = precopy.simulate(
        files, trace, cycle=cycle, cycles=cycles, threshold_bytes=limit, history=history, **options
    )

    ending = Limits(cycles, limit)
    engine, reason = migrated(files, trace, cycle, ending, options, history)
    assert (reason, len(engine.curves)) == (run.stop, run.cycles)
    assert engine.curves.final_copy_bytes.tolist() == run.final_copy_bytes.tolist()
