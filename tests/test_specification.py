"""The C core gives the integers of the executable specification, bit for bit."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import specification
from hypothesis import example, given, settings
from hypothesis import strategies as st

import precopy
from precopy import Cycle, FileSet, Workload, WriteTrace

ORDERS = [
    "size-ascending",
    "size-descending",
    "update-frequency",
    "expected-update",
    "least-recently-updated",
]
CHANGING = ["update-frequency", "expected-update"]
FREQUENCIES = ["count", "last-cycle", "exponential"]
BUDGETS = ["whole", "carry", "skip"]
RATES = [5e-324, 0.01, 0.1, 1 / 3, 0.5, 0.7, 1.0, 1.5, 3.0, 1e300]
LIMITS = st.fixed_dictionaries(
    {}, optional={"max_sends": st.integers(1, 4), "max_update_rate": st.sampled_from(RATES)}
)
KEYS = [-np.inf, -1e300, -2.5, -5e-324, -0.0, 0.0, 5e-324, 2.5, 1e300, np.inf]
HALF_LIVES = [0.01, 0.0137, 0.1, 0.5, 1.0, 3.7, 100.0]
PAPER = FileSet.from_classes(
    [200_000, 400_000, 800_000, 1_600_000, 3_200_000],
    [350, 300, 200, 100, 50],
    [3500, 3000, 2000, 1000, 500],
)
SKEWED = Workload.shares(PAPER, (1, 10, 10, 79))


@dataclass(frozen=True)
class Case:
    """One run, as plain values."""

    size_bytes: list
    read_only: list
    writes: object
    writes_per_cycle: int
    budget_bytes: int
    options: dict
    seed: object = None

    @property
    def cycle(self):
        return Cycle(self.writes_per_cycle, 1.0, self.budget_bytes / self.writes_per_cycle)

    def run(self):
        files = FileSet(self.size_bytes, self.read_only)
        return precopy.simulate(
            files, self.writes, cycle=self.cycle, seed=self.seed, **self.options
        )

    def specified(self):
        options = dict(self.options)
        schedule = options.pop("schedule", "cycles")
        function = getattr(specification, f"simulate_{schedule}")
        if schedule == "rounds":  # the order is fixed: estimates do not matter
            options.pop("frequency", None)
            options.pop("half_life", None)
        else:
            options.pop("rounds", None)
            options.pop("dirty_tracking", None)
        if isinstance(self.writes, WriteTrace) and self.writes.write_bytes is not None:
            options["write_bytes"] = self.writes.write_bytes.tolist()
        if isinstance(self.writes, WriteTrace):
            trace = self.writes.file_id.tolist()
        else:
            needed = options["cycles"] * self.writes_per_cycle
            parts = [(first, part.share.tolist()) for first, part in self.writes.parts]
            trace = specification.draw(parts, self.seed, needed)
            if options.get("frequency") == "oracle":
                options["parts"] = parts
        return function(
            self.size_bytes,
            self.read_only,
            trace,
            writes_per_cycle=self.writes_per_cycle,
            budget_bytes=self.cycle.budget_bytes,
            **options,
        )


def assert_equal(case):
    run, expected = case.run(), case.specified()
    assert run.stop == expected.stop
    assert run.final_copy_bytes.tolist() == expected.final_copy_bytes
    assert run.precopy_bytes.tolist() == expected.precopy_bytes
    assert run.resent_bytes.tolist() == expected.resent_bytes
    if case.options.get("schedule") == "rounds":
        assert run.rounds_completed.tolist() == expected.rounds_completed
    else:
        assert run.rounds_completed is None


@st.composite
def option_sets(
    draw, n, read_only, total, orders, schedules, frequencies, budgets, histories, limits
):
    schedule = draw(st.sampled_from(schedules))
    order = draw(st.sampled_from(orders))
    if order == "key":
        order = draw(st.lists(st.sampled_from(KEYS), min_size=n, max_size=n))
    options = {
        "order": order,
        "schedule": schedule,
        "budget": draw(st.sampled_from(budgets)),
        "threshold_bytes": draw(st.none() | st.integers(0, total)),
        "dirty_tracking": draw(st.sampled_from(["round-start", "sent"])),
        "rounds": draw(st.integers(1, 6)),
        "frequency": draw(st.sampled_from(frequencies)),
    }
    first = draw(st.sampled_from([None, True, False]))
    if first is not None:
        options["read_only_first"] = first
    if options["frequency"] == "exponential":
        options["half_life"] = draw(st.sampled_from(HALF_LIVES))
    counts = draw(st.none() | st.lists(histories, min_size=n, max_size=n))
    if schedule == "cycles":
        del options["dirty_tracking"], options["rounds"]
        options |= {} if limits is None else draw(limits)
    if schedule == "rounds" or order not in CHANGING:  # no writes are counted
        options.pop("half_life", None)
        del options["frequency"]
    if counts is not None and order in CHANGING:
        options["history"] = [
            0 if fixed else count for fixed, count in zip(read_only, counts, strict=True)
        ]
    return options


@st.composite
def small_cases(
    draw,
    orders=(*ORDERS, "key"),
    schedules=("cycles", "rounds"),
    frequencies=tuple(FREQUENCIES),
    budgets=tuple(BUDGETS),
    histories=st.integers(0, 3) | st.integers(60, 70) | st.integers(0, 2**40),  # noqa: B008
    most_cycles=12,
    most_writes=8,
    limits=None,
):
    """Up to twelve files, everything drawn one by one; traces and workloads."""
    n = draw(st.integers(1, 12))
    sizes = st.sampled_from([0, 1, 1, 2, 3, 5, 8]) | st.integers(0, 40)
    size_bytes = draw(st.lists(sizes, min_size=n, max_size=n))
    read_only = draw(st.lists(st.booleans(), min_size=n, max_size=n) | st.just([False] * n))
    total, largest = sum(size_bytes), max(size_bytes)
    cycles = draw(st.integers(1, most_cycles))
    writes_per_cycle = draw(st.integers(1, most_writes))
    options = draw(
        option_sets(n, read_only, total, orders, schedules, frequencies, budgets, histories, limits)
    )
    options["cycles"] = cycles
    least = largest if options["budget"] == "whole" else 1
    budget_bytes = draw(st.integers(max(least, 1), max(least, total // 3, 1) + 3))
    seed = draw(st.integers(0, 99))
    written = [i for i in range(n) if not read_only[i]]
    if not written:
        writes = draw(st.sampled_from([WriteTrace([]), Workload.uniform(FileSet([1], [True]))]))
        if isinstance(writes, Workload):
            writes = Workload.uniform(FileSet(size_bytes, read_only))
    elif draw(st.booleans()):
        count = cycles * writes_per_cycle
        ids = st.lists(st.sampled_from(written), min_size=count, max_size=count)
        writes = WriteTrace(np.array(draw(ids), dtype=np.int64))
    else:
        parts = st.lists(
            st.sampled_from([0.0, 1.0, 1.0, 0.1, 3.0, 1e-9, 1e9]),
            min_size=len(written),
            max_size=len(written),
        ).filter(any)
        share = np.zeros(n)
        share[written] = draw(parts)
        writes = Workload(share)
    return Case(size_bytes, read_only, writes, writes_per_cycle, budget_bytes, options, seed)


@st.composite
def medium_cases(
    draw,
    orders=(*ORDERS, "key"),
    schedules=("cycles", "rounds"),
    frequencies=tuple(FREQUENCIES),
    budgets=tuple(BUDGETS),
    most_files=200,
    most_cycles=30,
    most_writes=150,
    largest_history=100,
    limits=None,
):
    """Up to `most_files` files; the columns come from one drawn seed."""
    n = draw(st.integers(13, most_files))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    highest = draw(st.sampled_from([1, 3, 1000, 10**9]))
    sizes = rng.integers(0, highest, n, endpoint=True)
    sizes[0] = max(sizes[0], 1)
    read_only = rng.random(n) < draw(st.sampled_from([0.0, 0.1, 0.9]))
    read_only[-1] = False
    total, largest = int(sizes.sum()), int(sizes.max())
    writes_per_cycle = draw(st.integers(1, most_writes))
    cycles = draw(st.integers(1, most_cycles))
    options = draw(
        option_sets(
            1, [True], total, orders, schedules, frequencies, budgets, st.integers(0, 3), limits
        )
    )
    options["cycles"] = cycles
    if not isinstance(options["order"], str):
        options["order"] = rng.choice(KEYS, n).tolist()
    if "history" in options:
        history = rng.integers(0, largest_history, n, endpoint=True)
        options["history"] = np.where(read_only, 0, history).tolist()
    if options["budget"] == "whole":
        budget_bytes = largest + draw(st.integers(0, total // 2))
    else:
        budget_bytes = max(1, total // draw(st.integers(1, 40)))
    share = np.where(read_only, 0.0, rng.random(n) ** draw(st.sampled_from([0, 1, 8, 40])))
    return Case(
        sizes.tolist(),
        read_only.tolist(),
        Workload(share),
        writes_per_cycle,
        budget_bytes,
        options,
        draw(st.integers(0, 2**32)),
    )


@pytest.mark.model(
    "state",
    "cycle.rank",
    "cycle.send",
    "cycle.write",
    "cycle.record",
    "order.size-ascending",
    "order.size-descending",
    "order.update-frequency",
    "order.expected-update",
    "order.key",
    "budget.whole",
    "estimate.count",
)
@settings(max_examples=500)
@given(small_cases())
def test_small(case):
    assert_equal(case)


@pytest.mark.model("estimate.last-cycle")
@settings(max_examples=150)
@given(medium_cases())
def test_medium(case):
    assert_equal(case)


@settings(max_examples=150)
@given(
    small_cases(
        orders=CHANGING,
        schedules=["cycles"],
        frequencies=["count", "last-cycle"],
        histories=st.integers(58, 68),
        most_writes=30,
    )
)
def test_counts_around_the_end_of_the_rows(case):
    assert_equal(case)


@settings(max_examples=60)
@given(
    medium_cases(
        orders=CHANGING, schedules=["cycles"], most_files=40, most_writes=600, largest_history=80
    )
)
def test_many_updates_of_few_files(case):
    assert_equal(case)


@pytest.mark.model("estimate.exponential")
@settings(max_examples=100)
@given(small_cases(orders=CHANGING, schedules=["cycles"], frequencies=["exponential"]))
def test_exponential_estimate(case):
    assert_equal(case)


@settings(max_examples=40)
@given(
    medium_cases(
        orders=CHANGING,
        schedules=["cycles"],
        frequencies=["exponential"],
        most_files=60,
        most_cycles=60,
    )
)
def test_exponential_estimate_for_many_cycles(case):
    assert_equal(case)


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([0, 60]), st.sampled_from(FREQUENCIES))
def test_files_that_are_written_again_while_they_wait(seed, least_history, frequency):
    """Small tight cases in which a waiting file falls behind others that it had been before."""
    rng = np.random.default_rng(seed)
    n = rng.integers(3, 13)
    sizes = rng.integers(0, 41, n)
    options = {
        "order": CHANGING[int(rng.integers(4) > 0)],
        "cycles": 12,
        "history": (least_history + rng.integers(0, 4, n)).tolist(),
        "frequency": frequency,
        "budget": BUDGETS[rng.integers(3)],
    }
    if frequency == "exponential":
        options["half_life"] = float(rng.choice(HALF_LIVES))
    budget_bytes = int(max(sizes.max(), 1) + rng.integers(0, sizes.sum() // 4 + 1))
    workload = Workload(rng.random(n) ** 2 + 1e-3)
    writes_per_cycle = int(rng.integers(1, 9))
    assert_equal(
        Case(sizes.tolist(), [False] * n, workload, writes_per_cycle, budget_bytes, options, seed)
    )


@pytest.mark.model("order.least-recently-updated")
@settings(max_examples=100)
@given(small_cases(orders=["least-recently-updated"], schedules=["cycles"], most_cycles=75))
def test_last_writes_beyond_the_end_of_the_rows(case):
    assert_equal(case)


@settings(max_examples=40)
@given(medium_cases(orders=["least-recently-updated"], schedules=["cycles"], most_cycles=100))
def test_last_writes_of_many_files(case):
    assert_equal(case)


@pytest.mark.model("order.least-recently-updated")
def test_files_at_rest_go_first():
    """Worked by hand: of four files of a budget each, 0 to 2 are written in cycles 1 to 3.

    Cycle 1 sends file 0, which is written, cycle 2 file 1, cycle 3 file 2: each was never written
    when it is sent. File 3 goes in cycle 4 as the last of that kind; then the order is that of the
    last writes, 0, 1, 2, though file 0 was written three times in cycle 1.
    """
    trace = WriteTrace([0, 0, 0, 1, 1, 1, 2, 2, 2, *[2] * 9])
    case = Case([5, 6, 7, 8], [False] * 4, trace, 3, 8, {"order": ORDERS[-1], "cycles": 6})
    assert_equal(case)
    assert np.diff(case.run().precopy_bytes, prepend=0).tolist() == [5, 6, 7, 8, 5, 6]


def test_scores_too_old_to_tell_apart_are_ties():
    """Scores shrink by 2^512 at a time; what becomes zero that way is ranked by id.

    With 92 bits per cycle, cycle 17 takes 1536 bits off all scores: those of the writes in cycle 5
    (460 bits) to file 17 and in cycle 4 to file 18 are both 0 then, and file 17 is sent.
    """
    sizes, read_only = [2] * 17 + [2, 1, 1], [True] * 17 + [False] * 3
    trace = [19] * 18
    trace[4], trace[3] = 17, 18
    options = {"order": "update-frequency", "cycles": 18}
    options |= {"frequency": "exponential", "half_life": 1 / 92}
    case = Case(sizes, read_only, WriteTrace(trace), 1, 2, options)
    assert_equal(case)
    assert case.run().final_copy_bytes[-1] == 2


@pytest.mark.model(
    "rounds.order",
    "rounds.round",
    "rounds.round-start",
    "rounds.sent",
    "rounds.record",
    "rounds.stop",
)
@settings(max_examples=150)
@given(small_cases(schedules=["rounds"], most_cycles=30))
def test_rounds(case):
    assert_equal(case)


@settings(max_examples=60)
@given(medium_cases(schedules=["rounds"], most_cycles=60))
def test_rounds_of_many_files(case):
    assert_equal(case)


DELTAS = st.fixed_dictionaries(
    {
        "cost": st.just("delta"),
        "write_bytes": st.sampled_from([0, 1, 2, 3, 10, 2**62]),
        "overhead_bytes": st.sampled_from([0, 0, 1, 2, 50, 2**63 - 1]),
    },
    optional={"max_sends": st.integers(1, 4), "max_update_rate": st.sampled_from(RATES)},
)


@pytest.mark.model("cost.delta", "cost.whole")
@settings(max_examples=300)
@given(small_cases(schedules=["cycles"], limits=DELTAS, most_cycles=30), st.data())
def test_deltas(case, data):
    if isinstance(case.writes, WriteTrace) and data.draw(st.booleans()):
        count = len(case.writes)
        sizes = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
        options = {name: case.options[name] for name in case.options if name != "write_bytes"}
        trace = WriteTrace(case.writes.file_id, sizes)
        case = replace(case, writes=trace, options=options)
    assert_equal(case)


@settings(max_examples=150)
@given(medium_cases(schedules=["cycles"], limits=DELTAS, most_files=60, most_cycles=80))
def test_deltas_of_many_files(case):
    assert_equal(case)


@pytest.mark.model("cost.delta")
def test_a_delta_costs_what_was_written_since_the_last_send():
    """Worked by hand: file 0 goes in cycle 1, then a delta of 2 + 3 + 1 with file 1, whole.

    In cycle 2 the writes of 0 and 5 bytes cost 1 and 6, in cycle 3 those of 4 and 4 cost 9.
    """
    trace = WriteTrace([0, 0, 0, 1, 0, 0], [2, 3, 0, 5, 4, 4])
    options = {"order": "size-ascending", "cycles": 3, "cost": "delta", "overhead_bytes": 1}
    case = Case([20, 30], [False, False], trace, 2, 36, options)
    assert_equal(case)
    run = case.run()
    assert np.diff(run.precopy_bytes, prepend=0).tolist() == [20, 6 + 30, 7]
    assert run.final_copy_bytes.tolist() == [6 + 30, 1 + 6, 9]


@pytest.mark.model("limit.max-sends", "limit.max-update-rate")
@settings(max_examples=300)
@given(small_cases(schedules=["cycles"], limits=LIMITS, most_cycles=30))
def test_limits(case):
    assert_equal(case)


@settings(max_examples=150)
@given(medium_cases(schedules=["cycles"], limits=LIMITS, most_files=60, most_cycles=80))
def test_limits_of_many_files(case):
    assert_equal(case)


@pytest.mark.model("limit.max-sends")
def test_a_file_is_sent_so_often_and_no_more():
    """Worked by hand: both files are written in every cycle, and each fills the budget."""
    trace = WriteTrace([0, 1] * 6)
    options = {"order": "size-ascending", "cycles": 6, "max_sends": 2}
    case = Case([5, 7], [False, False], trace, 2, 7, options)
    assert_equal(case)
    run = case.run()
    assert np.diff(run.precopy_bytes, prepend=0).tolist() == [5, 5, 7, 7, 0, 0]
    assert run.final_copy_bytes.tolist() == [12] * 6


@pytest.mark.model("limit.max-update-rate")
def test_a_file_that_cools_is_sent_again():
    """Worked by hand: file 0 is written twice in cycle 1, and at most 0.5 per cycle is allowed.

    In cycle c it is held out if 2 > 0.5 (c - 1): in cycles 2, 3 and 4, though the link idles. It
    goes in cycle 5.
    """
    trace = WriteTrace([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    options = {"order": "size-ascending", "cycles": 6, "max_update_rate": 0.5}
    case = Case([5, 3], [False, False], trace, 2, 8, options)
    assert_equal(case)
    assert np.diff(case.run().precopy_bytes, prepend=0).tolist() == [8, 0, 0, 0, 5, 0]


@pytest.mark.model("budget.carry")
@settings(max_examples=100)
@given(small_cases(budgets=["carry"], most_cycles=30), st.integers(1, 6))
def test_carry_over_several_cycles(case, budget_bytes):
    assert_equal(replace(case, budget_bytes=budget_bytes))


@pytest.mark.model("budget.skip")
@settings(max_examples=100)
@given(small_cases(budgets=["skip"], most_cycles=30), st.integers(1, 12))
def test_skip(case, budget_bytes):
    assert_equal(replace(case, budget_bytes=budget_bytes))


@pytest.mark.model("random.switch", "estimate.oracle")
@settings(max_examples=200)
@given(st.integers(0, 2**32), st.sampled_from([*FREQUENCIES, "oracle", "oracle", "oracle"]))
def test_workloads_that_switch(seed, frequency):
    """Parts of any length, which need not be that of cycles; some files rest in some parts."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    sizes = rng.integers(0, 41, n)
    writes_per_cycle = int(rng.integers(1, 40))
    starts = np.unique(np.concatenate([[0], rng.integers(1, 30, rng.integers(0, 4))]))
    shares = [rng.integers(0, 3, n) * rng.random(n) ** 4 + (np.arange(n) == 0) for _ in starts]
    parts = [(int(first), Workload(share)) for first, share in zip(starts, shares, strict=True)]
    unit = writes_per_cycle if rng.random() < 0.5 else int(rng.integers(1, 20))
    options = {
        "order": CHANGING[int(rng.integers(2))],
        "cycles": 30,
        "frequency": frequency,
        "budget": BUDGETS[rng.integers(3)],
    }
    if frequency == "exponential":
        options["half_life"] = float(rng.choice(HALF_LIVES))
    budget_bytes = int(max(sizes.max(), 1) + rng.integers(0, sizes.sum() // 4 + 1))
    workload = Workload.switching(parts, Cycle(unit))
    read_only = [False] * n
    assert_equal(
        Case(sizes.tolist(), read_only, workload, writes_per_cycle, budget_bytes, options, seed)
    )


@pytest.mark.model("random.draw")
@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([0.0, 1.0, 2.0, 1e-300, 1e300, 0.1, 1 / 3]) | st.floats(0.0, 1e6),
        min_size=1,
        max_size=40,
    ).filter(any)
)
@example([1.0])
@example([0.0, 1.0])
@example([1.0] * 7)
@example([0.1] * 10)
@example([1e-300, 1.0])
@example([1.0, 1e-300, 1.0, 3.0])
def test_alias_table(share):
    workload = Workload(share)
    table = specification.alias_table(workload.share.tolist())
    own, other = workload.alias[:, 1] % 2**32, workload.alias[:, 1] >> 32
    assert own.tolist() == [own for _, own, _ in table]
    assert other.tolist() == [other for _, _, other in table]
    shared = own != other  # otherwise the coin does not matter
    accepts = np.array([accept for accept, _, _ in table], dtype=np.uint64)
    assert workload.alias[shared, 0].tolist() == accepts[shared].tolist()


@pytest.mark.model("random.draw")
@pytest.mark.parametrize(
    "generator", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64]
)
def test_drawn_trace(generator):
    workload = Workload(np.random.default_rng(5).random(37) ** 4)
    trace = workload.draw(5000, np.random.Generator(generator(7)))
    expected = specification.draw(
        [(0, workload.share.tolist())], np.random.Generator(generator(7)), 5000
    )
    assert trace.file_id.tolist() == expected


@pytest.mark.parametrize("schedule", ["cycles", "rounds"])
@pytest.mark.parametrize("order", [*ORDERS, "key"])
def test_paper_workload(order, schedule):
    options = {"order": order, "schedule": schedule, "cycles": 300}
    if order == "key":
        options["order"] = np.random.default_rng(1).random(len(PAPER)).round(3).tolist()
    if schedule == "rounds":
        options["cycles"] = 500
        if order in CHANGING:
            options["history"] = SKEWED.draw(20_000, 3).counts(PAPER).tolist()
    sizes, read_only = PAPER.size_bytes.tolist(), PAPER.read_only.tolist()
    assert_equal(Case(sizes, read_only, SKEWED, 500, 75_000_000, options, seed=2024))


@pytest.mark.parametrize("order", ["size-descending", *CHANGING])
def test_more_files_than_one_word_of_the_top_level_covers(order):
    """The ordered sets have three levels of 64; the third has a second word from 262,144 on."""
    n = 270_000
    rng = np.random.default_rng(8)
    sizes = rng.integers(1, 50, n)
    files = Case(
        sizes.tolist(),
        (rng.random(n) < 0.2).tolist(),
        None,
        4000,
        int(sizes.sum()) // 2,
        {"order": order, "cycles": 4},
        seed=6,
    )
    share = np.where(files.read_only, 0.0, rng.random(n) ** 20)
    assert_equal(replace(files, writes=Workload(share)))
