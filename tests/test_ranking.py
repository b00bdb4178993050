"""Rank and take: they are the simulator's own, they answer as the specification does."""

import math

import numpy as np
import pytest
import specification
from hypothesis import given, settings
from hypothesis import strategies as st

import precopy
from precopy import Cycle, Estimate, FileSet, WriteTrace, rank, take

ORDERS = [
    "size-ascending",
    "size-descending",
    "update-frequency",
    "expected-update",
    "least-recently-updated",
]
BUDGETS = ["whole", "carry", "skip"]


@st.composite
def problems(draw):
    """Files, a trace, a cycle, and options of a run that `simulate` takes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 40))
    sizes = rng.integers(0, draw(st.sampled_from([2, 10, 1000])), n)
    read_only = rng.random(n) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    writes = draw(st.integers(1, 30))
    cycles = draw(st.integers(1, 25))
    writable = np.flatnonzero(~read_only)
    weight = rng.random(max(len(writable), 1)) ** 4
    trace = rng.choice(writable, writes * cycles, p=weight / weight.sum()) if len(writable) else []
    budget = draw(st.sampled_from(BUDGETS))
    least = int(sizes.max()) if budget == "whole" else 0
    bandwidth = float(draw(st.integers(least, max(least, int(sizes.sum())) + 3)))
    options = {
        "order": draw(st.sampled_from([*ORDERS, rng.integers(0, 4, n).astype(float)])),
        "cycles": cycles,
        "budget": budget,
        "read_only_first": draw(st.booleans()),
    }
    if str(options["order"]) in ("update-frequency", "expected-update"):
        options["frequency"] = draw(st.sampled_from(["count", "last-cycle", "exponential"]))
        if options["frequency"] == "exponential":
            options["half_life"] = draw(st.sampled_from([0.01, 0.5, 3.0, 100.0]))
        if draw(st.booleans()):
            options["history"] = np.where(read_only, 0, rng.integers(0, 90, n))
    cycle = Cycle(writes=writes, write_seconds=1.0 / writes, bandwidth=max(bandwidth, 1.0))
    return FileSet(sizes, read_only), WriteTrace(trace), cycle, options


def drive_cycles(files, trace, cycle, options):
    """Run the schedule "cycles" with nothing but `rank` and `take`."""
    n, left_over = len(files), 0
    frequency, half_life = options.get("frequency", "count"), options.get("half_life")
    name = options["order"] if isinstance(options["order"], str) else "update-frequency"
    estimate = Estimate(n, frequency, half_life, options.get("history"), name)
    pending, sent_before = np.ones(n, bool), np.zeros(n, bool)
    precopy_bytes = resent_bytes = 0
    curves = []
    for c in range(1, options["cycles"] + 1):
        ids = rank(files, options["order"], pending, estimate.updates, options["read_only_first"])
        taken, _, left_over = take(
            files.size_bytes[ids], cycle.budget_bytes, options["budget"], left_over
        )
        sent = ids[taken]
        precopy_bytes += int(files.size_bytes[sent].sum())
        resent_bytes += int(files.size_bytes[sent[sent_before[sent]]].sum())
        sent_before[sent] = True
        pending[sent] = False
        written = trace.file_id[(c - 1) * cycle.writes : c * cycle.writes]
        estimate.observe(written)
        pending[written] = True
        curves.append((int(files.size_bytes[pending].sum()), precopy_bytes, resent_bytes))
    return curves


@pytest.mark.model("rank.equal")
@given(problems())
@settings(max_examples=300, deadline=None)
def test_cycles_of_rank_and_take_are_those_of_simulate(problem):
    files, trace, cycle, options = problem
    run = precopy.simulate(files, trace, cycle=cycle, **options)
    curves = np.array([run.final_copy_bytes, run.precopy_bytes, run.resent_bytes]).T
    assert curves.tolist() == [list(row) for row in drive_cycles(files, trace, cycle, options)]


def drive_rounds(files, trace, cycle, options, dirty_tracking, rounds):
    """Run the schedule "rounds": ranked once, each round's queue taken cycle by cycle."""
    n, left_over, completed = len(files), 0, 0
    ranked = rank(files, options["order"], None, options.get("history"), options["read_only_first"])
    dirty, queue = np.ones(n, bool), np.zeros(0, int)
    curves = []
    for c in range(1, options["cycles"] + 1):
        if not len(queue):
            queue, dirty = ranked[dirty[ranked]], np.zeros(n, bool)
            if not len(queue):
                break
        taken, _, left_over = take(
            files.size_bytes[queue], cycle.budget_bytes, options["budget"], left_over
        )
        queue = queue[~taken]
        completed += not len(queue)
        written = trace.file_id[(c - 1) * cycle.writes : c * cycle.writes]
        queued = np.isin(written, queue)
        dirty[written[~queued] if dirty_tracking == "sent" else written] = True
        left = dirty.copy()
        left[queue] = True
        curves.append(int(files.size_bytes[left].sum()))
        if completed == rounds:
            break
    return curves


@pytest.mark.model("rank.equal")
@given(problems(), st.sampled_from(["round-start", "sent"]), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_rounds_of_rank_and_take_are_those_of_simulate(problem, dirty_tracking, rounds):
    files, trace, cycle, options = problem
    options = {key: options[key] for key in options if key not in ("frequency", "half_life")}
    run = precopy.simulate(
        files, trace, cycle=cycle, schedule="rounds", dirty_tracking=dirty_tracking,
        rounds=rounds, **options,
    )  # fmt: skip
    assert run.final_copy_bytes.tolist() == drive_rounds(
        files, trace, cycle, options, dirty_tracking, rounds
    )


@pytest.mark.model("rank")
@given(problems(), st.data())
@settings(max_examples=100, deadline=None)
def test_rank_is_the_specification_s(problem, data):
    files, _, _, options = problem
    n = len(files)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    pending = rng.random(n) < 0.6
    updates = rng.integers(0, 5, n)
    if data.draw(st.booleans()):
        updates = updates / 3
    order, read_only_first = options["order"], options["read_only_first"]
    model_order = order if isinstance(order, str) else order.tolist()

    def place(i):
        part = 0 if read_only_first and files.read_only[i] else 1
        size, written = int(files.size_bytes[i]), updates[i].item()
        return part, specification._key(model_order, i, size, written), i

    expected = sorted(np.flatnonzero(pending).tolist(), key=place)
    assert rank(files, order, pending, updates, read_only_first).tolist() == expected


@pytest.mark.model("take")
@given(
    st.lists(st.integers(0, 12), max_size=30),
    st.integers(0, 60),
    st.integers(0, 20),
    st.sampled_from(BUDGETS),
)
def test_take_is_the_specification_s(costs, budget_bytes, carried_bytes, rule):
    available = budget_bytes + carried_bytes
    expected, carried = specification._send(range(len(costs)), costs, available, rule)
    taken, left, carried_on = take(costs, budget_bytes, rule, carried_bytes)
    assert np.flatnonzero(taken).tolist() == expected
    assert (left, carried_on) == (available - sum(costs[i] for i in expected), carried)


FILES = FileSet([3, 5, 2, 7], [False, True, False, False], ["/a", "/b", "/c", "/d"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"order": "fastest"}, ValueError, "order: .* got 'fastest'"),
        ({"order": "key"}, ValueError, "order: .* got 'key'"),
        ({"order": None}, TypeError, "order: .* got None"),
        ({"order": [1.0, 2.0]}, ValueError, "order: expected 4 entries.* got 2"),
        ({"order": [1, 2, 3, math.nan]}, ValueError, "order: .* got nan at index 3"),
        ({"pending": [True]}, ValueError, "pending: expected 4 entries.* got 1"),
        ({"pending": [0, 1, 0, 1]}, TypeError, "pending: .* bool"),
        ({"updates": [1, 2, 3]}, ValueError, "updates: expected 4 entries.* got 3"),
        ({"updates": [1, -2, 3, 4]}, ValueError, "updates: .* got -2 at index 1"),
        ({"updates": [0.5, math.inf, 1, 1]}, ValueError, "updates: .* got inf at index 1"),
        ({"updates": [0.5, -0.5, 1, 1]}, ValueError, "updates: .* got -0.5 at index 1"),
        ({"updates": ["a"] * 4}, TypeError, "updates: .* dtype <U1"),
        ({"read_only_first": 1}, TypeError, "read_only_first: .* got 1"),
        (
            {"order": "expected-update", "updates": [0, 0, 0, 2**62]},
            ValueError,
            "updates: .* 4611686018427387904 updates of .*/d",
        ),
    ],
)
def test_rank_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        rank(FILES, **arguments)


@pytest.mark.parametrize("option", [{"frequency": "last-cycle"}, {"history": [1, 2]}])
def test_an_estimate_of_last_writes_refuses_what_it_does_not_use(option):
    with pytest.raises(ValueError, match=r"^order: expected neither .* got "):
        Estimate(2, order="least-recently-updated", **option)


def test_rank_refuses_what_is_no_file_set():
    with pytest.raises(TypeError, match="files: expected a FileSet, got"):
        rank([1, 2, 3])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, -1], 5), ValueError, "cost_bytes: .* got -1 at index 1"),
        (([0.5], 5), ValueError, "cost_bytes: .* got 0.5"),
        ((5, 5), TypeError, "cost_bytes: .* got 5"),
        (([1], -5), ValueError, "budget_bytes: .* got -5"),
        (([1], 1.5), ValueError, "budget_bytes: .* got 1.5"),
        (([1], 5, "half"), ValueError, "budget: .* got 'half'"),
        (([1], 5, "carry", -1), ValueError, "carried_bytes: .* got -1"),
        (([1], 2**63 - 1, "carry", 1), ValueError, "carried_bytes: .* got 1 and"),
    ],
)
def test_take_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        take(*arguments)


def test_no_file_is_pending():
    assert rank(FILES, pending=np.zeros(4, bool)).tolist() == []
    taken, left, carried = take([], 10, "carry", 3)
    assert (taken.tolist(), left, carried) == ([], 13, 0)


def test_large_ids_and_ties():
    files = FileSet(np.ones(100_000, np.int64))
    assert np.array_equal(rank(files), np.arange(100_000))
    assert np.array_equal(rank(files, -np.arange(100_000.0)), np.arange(100_000)[::-1])


@pytest.mark.parametrize("bits", [0, 1, 4, 11, 12, 16, 17, 22, 31, 32, 33, 40, 61])
@pytest.mark.parametrize("n", [3, 2000, 70_000])
@pytest.mark.parametrize("shift", [0, 1])
def test_keys_of_any_width(bits, n, shift):
    """However many bits of the keys differ, wherever they are: as NumPy sorts, ties by id."""
    rng = np.random.default_rng(bits)
    number = rng.integers(0, 1 << bits, n, dtype=np.int64) << shift
    number[rng.random(n) < 0.2] = number[0]
    read_only = rng.random(n) < 0.1
    files = FileSet(number if bits < 40 else np.ones(n, dtype=np.int64), read_only)
    expected = np.lexsort((number, ~read_only)).tolist()
    own = number.astype(np.float64)
    assert rank(files, order=own).tolist() == np.lexsort((own, ~read_only)).tolist()
    assert rank(files, order="update-frequency", updates=number).tolist() == expected
    if bits < 40:
        assert rank(files, order="size-ascending").tolist() == expected
        assert files.by_size.tolist() == np.argsort(number, kind="stable").tolist()


@pytest.mark.parametrize("bits", [3, 20, 50])
def test_rounds_rank_a_long_history(bits):
    """What a round has sent is the head of the rank, whether that takes one pass or many."""
    rng = np.random.default_rng(bits)
    n = 3000
    files = FileSet(rng.integers(1, 50, n), rng.random(n) < 0.1)
    history = np.where(files.read_only, 0, rng.integers(0, 1 << bits, n))
    trace = WriteTrace(np.full(40, int((~files.read_only).argmax())))
    for read_only_first in (True, False):
        run = precopy.simulate(
            files, trace, cycle=Cycle(1, 1.0, 900.0), cycles=40, schedule="rounds", rounds=1,
            history=history, read_only_first=read_only_first,
        )  # fmt: skip
        order = rank(files, updates=history, read_only_first=read_only_first)
        sent, ends = 0, []
        sizes = iter(files.size_bytes[order].tolist())
        size = next(sizes)
        for _ in range(40):
            left = 900
            while size <= left:
                left -= size
                sent += size
                size = next(sizes)
            ends.append(sent)
        assert run.precopy_bytes.tolist() == ends
