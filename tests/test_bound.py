"""The optimal bound: its published figures, an independent optimum, and runs that respect it."""

from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import precopy
from precopy import Cycle, FileSet, Workload, simulate
from precopy.bound import final_copy_bytes

PAPER = FileSet.from_classes(
    [200_000, 400_000, 800_000, 1_600_000, 3_200_000],
    [350, 300, 200, 100, 50],
    [3500, 3000, 2000, 1000, 500],
)
PATTERNS = {
    (1,): 5237.3,
    (1, 10, 10, 79): 1713.6,
    (1, 1, 1, 97): 1381.7,
    (10, 20, 30, 40): 4033.2,
}


@pytest.mark.model("bound")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_figures_of_the_model(pattern):
    bound = final_copy_bytes(PAPER, Workload.shares(PAPER, pattern), Cycle())
    assert round(bound / 1e6, 1) == PATTERNS[pattern]


def test_uniform_in_one_line():
    q = (1 - 1e-4) ** 500
    expected = 6700e6 - 75e6 * q / (1 - q)
    assert final_copy_bytes(PAPER, Workload.uniform(PAPER)) == pytest.approx(expected, rel=1e-12)


def served_in(order, size, share, writes, budget):
    """Return what is pending when the budget serves the files in this order, exactly."""
    clean = Fraction(0)
    left = Fraction(budget)
    for i in order:
        q = (1 - share[i]) ** writes
        cost = size[i] * (1 - q)
        part = min(Fraction(1), left / cost) if cost else Fraction(1)
        clean += part * size[i] * q
        left -= part * cost
    return sum(size) - clean


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=5).filter(
        lambda rows: any(weight for _, weight in rows)
    ),
    st.integers(1, 12),
    st.integers(1, 4),
)
def test_is_the_least_over_every_order_of_service(rows, budget, writes):
    """A fractional knapsack has its optimum in one of its greedy orders: try all of them."""
    size, weight = zip(*rows, strict=True)
    share = [Fraction(w, sum(weight)) for w in weight]
    files = FileSet(size)
    exact = min(served_in(o, size, share, writes, budget) for o in permutations(range(len(rows))))
    bound = final_copy_bytes(files, Workload(weight), Cycle(writes, 1.0, budget / writes))
    assert bound == pytest.approx(float(exact), rel=1e-9, abs=1e-9)


@pytest.mark.model("bound")
@pytest.mark.parametrize(
    "order",
    [
        "size-ascending",
        "size-descending",
        "update-frequency",
        "expected-update",
        "least-recently-updated",
        "rate",
    ],
)
@pytest.mark.parametrize("budget", ["whole", "carry", "skip"])
def test_no_order_beats_it_in_the_long_run(order, budget):
    rng = np.random.default_rng(4)
    files = FileSet(rng.integers(1, 100, 60))
    workload = Workload(rng.random(60) ** 3)
    cycle = Cycle(20, 1.0, 150 / 20)
    key = workload.share if order == "rate" else order
    run = simulate(files, workload, key, cycle, 20_000, seed=3, budget=budget)
    bound = final_copy_bytes(files, workload, cycle)
    steady = run.final_copy_bytes[2000:]
    blocks = steady.reshape(100, -1).mean(axis=1)  # long enough to be nearly independent
    z = (blocks.mean() - bound) / (blocks.std(ddof=1) / 10)
    assert z > 4
    if order == "rate" and budget == "carry":
        assert blocks.mean() < 1.05 * bound


def brute_force(sizes, shares, writes, budget):
    """Return the long-run mean final copy of the best policy, by value iteration.

    The state is the set of pending files; the policy sees it and may send any files that fit.
    """
    n = len(sizes)
    states = range(2**n)
    total = [sum(sizes[i] for i in range(n) if state >> i & 1) for state in states]
    hit = np.zeros(2**n)  # chance that a cycle writes exactly this set
    hit[0] = 1.0
    for _ in range(writes):
        after = np.zeros(2**n)
        for state in states:
            for i in range(n):
                after[state | 1 << i] += hit[state] * shares[i]
        hit = after
    choices = [
        {state & ~sent for sent in states if total[sent & state] <= budget} for state in states
    ]
    value = np.zeros(2**n)
    for _ in range(500):
        kept = [sum(hit[w] * (total[s | w] + value[s | w]) for w in states) for s in states]
        new = np.array([min(kept[s] for s in choices[state]) for state in states])
        gain, value = new - value, new - new[0]
    assert np.ptp(gain) < 1e-9
    return float(gain.mean())


@pytest.mark.parametrize(
    ("sizes", "weights", "writes", "budget"),
    [
        ([1, 1, 1], [1, 1, 1], 1, 1),
        ([1, 2, 3], [1, 2, 4], 2, 3),
        ([3, 2, 1], [1, 2, 4], 2, 3),
        ([2, 2, 2], [1, 5, 20], 3, 2),
        ([1, 3, 3, 2], [1, 1, 2, 8], 2, 3),
        ([4, 4, 1], [1, 6, 9], 1, 4),
    ],
)
def test_the_best_of_all_policies_stays_above_it(sizes, weights, writes, budget):
    files, workload = FileSet(sizes), Workload(weights)
    cycle = Cycle(writes, 1.0, budget / writes)
    best = brute_force(sizes, workload.share, writes, budget)
    bound = final_copy_bytes(files, workload, cycle)
    assert bound <= best + 1e-9
    cycles = 40_000
    run = simulate(files, workload, "update-frequency", cycle, cycles, seed=2, budget="skip")
    blocks = run.final_copy_bytes.reshape(200, -1).mean(axis=1)
    z = (blocks.mean() - best) / (blocks.std(ddof=1) / np.sqrt(200))
    assert z > -4  # and no order of ours beats the best policy


def test_files_that_are_never_written_cost_nothing():
    files = FileSet([5, 7, 9], [True, False, False])
    assert final_copy_bytes(files, Workload([0, 0, 1]), Cycle(1, 1, 1)) == 9
    idle = Workload.uniform(FileSet([5, 7], [True, True]))
    assert final_copy_bytes(FileSet([5, 7], [True, True]), idle, Cycle(1, 1, 1)) == 0
    assert final_copy_bytes(FileSet([0, 0]), Workload([1, 1]), Cycle(1, 1, 1)) == 0


def test_more_budget_is_never_worse_and_much_is_not_enough():
    files = FileSet(np.arange(1, 50))
    workload = Workload.zipf(files, 1.0)
    bounds = [final_copy_bytes(files, workload, Cycle(10, 1.0, b)) for b in range(1, 200, 7)]
    assert all(a >= b for a, b in pairwise(bounds))
    written = files.size_bytes @ (1 - (1 - workload.share) ** 10)
    assert bounds[-1] == pytest.approx(written, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((5, Workload([1])), TypeError, "files: expected a FileSet, got 5"),
        ((FileSet([1]), 5), TypeError, "workload: expected a Workload, got 5"),
        ((FileSet([1]), Workload([1]), 5), TypeError, "cycle: expected a Cycle, got 5"),
        ((FileSet([1]), Workload([1, 1])), ValueError, "workload: .* of 1 files, .* got 2"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        final_copy_bytes(*arguments)


@pytest.mark.parametrize(
    ("workload", "error", "message"),
    [
        (precopy.WriteTrace([0, 1]), TypeError, "a trace, whose writes are not independent"),
        (precopy.Workload([1, 1]), ValueError, "a share of 0 for read-only files, got 0.5"),
        (precopy.Workload([1, 1, 1]), ValueError, "shares of 2 files, as in files, got 3"),
    ],
)
def test_the_bound_refuses_what_simulate_refuses(workload, error, message):
    files = precopy.FileSet([10, 10], [True, False])
    with pytest.raises(error, match=rf"^workload: expected .*{message}"):
        precopy.bound.final_copy_bytes(files, workload)
    if not isinstance(workload, precopy.WriteTrace):
        with pytest.raises(error, match=rf"^writes: expected .*{message}"):
            precopy.simulate(files, workload, seed=1)
