"""Workloads and traces: shares, draws, and what is refused."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
import specification
from hypothesis import given
from hypothesis import strategies as st

import precopy
from precopy import Cycle, FileSet, Workload, WriteTrace

FILES = FileSet([1, 2, 3], [True, False, False])


@pytest.mark.model("random.share")
@pytest.mark.parametrize(
    ("share", "error", "message"),
    [
        ([], ValueError, "expected at least one"),
        ([0.5, -1e-9], ValueError, "got -1e-09 at index 1"),
        ([0, 0], ValueError, "got only zeros"),
        ([1, np.nan], ValueError, "got nan at index 1"),
        ([1, np.inf], ValueError, "got inf at index 1"),
        ([1, -np.inf], ValueError, "got -inf at index 1"),
        ([1e308, 1e308], ValueError, "got an overflow"),
        ([[1.0]], ValueError, r"got shape \(1, 1\)"),
        (["a"], TypeError, "got dtype <U1"),
        ([True], TypeError, "got dtype bool"),
        ([1j], TypeError, "got dtype complex128"),
        (None, TypeError, "got None"),
    ],
)
def test_bad_shares(share, error, message):
    with pytest.raises(error, match=f"^share: .*{message}"):
        Workload(share)


@pytest.mark.parametrize(
    "share",
    [
        (1, 0, 3),
        np.array([1, 0, 3], dtype=">f8"),
        np.array([1, 0, 3], dtype=">i2"),
        np.array([1, 9, 0, 9, 3], dtype=np.float32)[::2],
        np.array([3.0, 0.0, 1.0])[::-1],
        [5e-324 * 1, 0, 5e-324 * 3],
    ],
)
def test_good_shares(share):
    workload = Workload(share)
    assert workload.share.tolist() == [0.25, 0.0, 0.75]
    assert len(workload) == 3
    with pytest.raises(ValueError, match="read-only"):
        workload.share[0] = 1


def test_uniform():
    assert Workload.uniform(FILES).share.tolist() == [0, 0.5, 0.5]
    assert Workload.uniform(FileSet([1, 1], [True, True])).share.tolist() == [0, 0]
    with pytest.raises(TypeError, match=r"^files: expected a FileSet, got 5"):
        Workload.uniform(5)


@pytest.mark.model("random.shares")
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 5]), st.booleans()), min_size=1, max_size=40),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_shares_are_cut_inside_each_size_class(rows, shares):
    sizes, read_only = zip(*rows, strict=True)
    k = len(shares)
    group = {}
    for size in set(sizes):
        written = [i for i, row in enumerate(rows) if row == (size, False)]
        group |= {i: j * k // len(written) for j, i in enumerate(written)}
    members = [list(group.values()).count(g) for g in range(k)]
    files = FileSet(sizes, read_only)
    if 0 in members and group:
        with pytest.raises(ValueError, match=r"^shares: .* no file in group"):
            Workload.shares(files, shares)
        return
    expected = [
        Fraction(shares[group[i]], sum(shares) * members[group[i]]) if i in group else 0
        for i in range(len(rows))
    ]
    drawn = Workload.shares(files, shares).share
    np.testing.assert_allclose(drawn, [float(part) for part in expected], rtol=1e-14)


def test_shares_of_given_groups():
    group = np.array([7, 1, 0])
    assert Workload.shares(FILES, (1, 3), group=group).share.tolist() == [0, 0.75, 0.25]
    assert Workload.shares(FILES, (1, 0), group=[0, 0, 0]).share.tolist() == [0, 0.5, 0.5]
    assert Workload.shares(FILES, (0, 1), group=[0, 0, 1]).share.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("shares", "group", "error", "message"),
    [
        ((1, 1, 1), None, ValueError, r"shares: .* \(1, 1, 1\) with no file in group 1"),
        ((1, 1), [0, 0, 0], ValueError, r"shares: .* \(1, 1\) with no file in group 1"),
        ((1, -1), None, ValueError, "shares: .* got -1"),
        ((0, 0), None, ValueError, "shares: .* only zeros"),
        ((1, np.nan), None, ValueError, "shares: .* got nan"),
        ((), None, ValueError, "shares: "),
        (5, None, TypeError, "shares: .* got 5"),
        ("ab", None, TypeError, "shares: .* got 'ab'"),
        ((1,), [0, 0], ValueError, "group: expected 3 entries, one per file, got 2"),
        ((1,), [0, 0, 1], ValueError, "group: .* from 0 to 0, got 1 at index 2"),
        ((1,), [0, -1, 0], ValueError, "group: .* from 0 to 0, got -1 at index 1"),
        ((1,), [0, 0.0, 0], TypeError, "group: .* got dtype float64"),
        ((1,), [[0, 0, 0]], ValueError, r"group: .* got shape \(1, 3\)"),
    ],
)
def test_bad_groups(shares, group, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Workload.shares(FILES, shares, group)


def test_zipf():
    files = FileSet([1] * 6, [False, True, False, False, False, False])
    share = Workload.zipf(files, 1.0, seed=3).share
    harmonic = sum(1 / r for r in range(1, 6))
    assert share[1] == 0
    np.testing.assert_allclose(sorted(share)[1:], [1 / r / harmonic for r in (5, 4, 3, 2, 1)])
    assert Workload.zipf(files, 0.0).share.tolist() == [0.2, 0, 0.2, 0.2, 0.2, 0.2]
    others = [Workload.zipf(files, 1.0, seed=seed).share.tolist() for seed in range(20)]
    assert len({tuple(share) for share in others}) > 10
    assert Workload.zipf(files, 1.0, seed=3).share.tolist() == share.tolist()


@pytest.mark.parametrize("exponent", [-0.1, np.nan, np.inf])
def test_bad_exponent(exponent):
    with pytest.raises(ValueError, match=f"^exponent: .* got {exponent}"):
        Workload.zipf(FILES, exponent)
    with pytest.raises(TypeError, match=r"^exponent: .* got 'a'"):
        Workload.zipf(FILES, "a")


@pytest.mark.model("random.draw")
@pytest.mark.parametrize("seed", [0, 12345, np.random.SeedSequence(4), [1, 2, 3]])
def test_draw_is_the_specified_trace(seed):
    workload = Workload.zipf(FileSet([1] * 50), 1.2, seed=1)
    trace = workload.draw(2000, seed)
    assert trace.file_id.tolist() == specification.draw([(0, workload.share.tolist())], seed, 2000)


def test_draw_is_the_same_on_every_machine():
    """These numbers are promised: they must never change."""
    workload = Workload([1, 0, 2, 3, 0.5])
    promised = [3, 2, 2, 4, 3, 0, 0, 2, 2, 2, 3, 3, 0, 3, 0, 3, 3, 4, 3, 2]
    assert workload.draw(20, seed=2024).file_id.tolist() == promised


def test_draw_advances_a_generator():
    workload = Workload.uniform(FileSet([1] * 10))
    generator = np.random.default_rng(9)
    parts = [workload.draw(n, generator).file_id.tolist() for n in (7, 0, 13)]
    assert [*parts[0], *parts[1], *parts[2]] == workload.draw(20, 9).file_id.tolist()


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_draw_from_any_generator(bits):
    workload = Workload([1, 2, 3])
    drawn = workload.draw(300, bits(5)).file_id.tolist()
    assert drawn == specification.draw([(0, workload.share.tolist())], bits(5), 300)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 3.0])
def test_draws_follow_the_shares(exponent):
    """Pearson's statistic is near its mean; files with few expected draws count together."""
    workload = Workload.zipf(FileSet([1] * 400), exponent, seed=2)
    n = 400_000
    counts = np.bincount(workload.draw(n, seed=77).file_id, minlength=400)
    by_share = np.argsort(-workload.share)
    expected = n * workload.share[by_share]
    group = np.minimum(np.arange(400), np.sum(expected >= 50))
    observed = np.bincount(group, weights=counts[by_share])
    expected = np.bincount(group, weights=expected)
    freedom = len(expected) - 1
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert freedom >= 3
    assert abs(statistic - freedom) / np.sqrt(2 * freedom) < 4


def test_draws_are_independent_of_one_another():
    """Pairs of neighbours follow the product of the shares."""
    share = np.array([0.1, 0.2, 0.3, 0.4])
    drawn = Workload(share).draw(200_001, seed=5).file_id
    pairs = np.bincount(4 * drawn[:-1] + drawn[1:], minlength=16)
    expected = 200_000 * np.outer(share, share).ravel()
    statistic = np.sum((pairs - expected) ** 2 / expected)
    assert abs(statistic - 12) / np.sqrt(24) < 4  # 15 less the 3 that the margins tie


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (-1, ValueError, "got -1"),
        (1.5, ValueError, r"got 1\.5"),
        (np.nan, ValueError, "got nan"),
        (2**63, ValueError, "got 9223372036854775808"),
        ("a", TypeError, "got 'a'"),
        (None, TypeError, "got None"),
        (True, TypeError, "got True"),
    ],
)
def test_bad_number_of_draws(n, error, message):
    with pytest.raises(error, match=f"^n: .*{message}"):
        Workload([1]).draw(n)


def test_draw_without_read_write_files():
    idle = Workload.uniform(FileSet([1], [True]))
    assert len(idle.draw(0)) == 0
    with pytest.raises(ValueError, match=r"^n: expected 0 without a read-write file, got 5"):
        idle.draw(5)


@pytest.mark.model("writes")
@pytest.mark.parametrize(
    ("file_id", "error", "message"),
    [
        ([0, -1], ValueError, "got -1 at index 1"),
        ([0.5], ValueError, r"got 0\.5"),
        ([np.nan], ValueError, "got nan"),
        ([2**63], ValueError, "got 9223372036854775808"),
        ([[0]], ValueError, r"got shape \(1, 1\)"),
        (["a"], TypeError, "got dtype <U1"),
        ([True], TypeError, "got dtype bool"),
    ],
)
def test_bad_trace(file_id, error, message):
    with pytest.raises(error, match=f"^file_id: .*{message}"):
        WriteTrace(file_id)


def test_trace():
    raw = np.array([2, 9, 0, 9, 2], dtype=">i4")
    trace = WriteTrace(raw[::2])
    raw[0] = 1
    assert trace.file_id.tolist() == [2, 0, 2]
    assert trace.file_id.dtype == np.int64
    assert len(trace) == 3
    assert trace.counts(FILES).tolist() == [1, 0, 2]
    assert WriteTrace([]).counts(FILES).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        trace.file_id[0] = 1
    with pytest.raises(ValueError, match=r"^file_id: expected ids below 2, got 2"):
        trace.counts(FileSet([1, 1]))


def test_reprs():
    assert repr(WriteTrace([1, 1, 4])) == "<WriteTrace: 3 writes to 2 files>"
    assert repr(Workload([0, 1, 3])) == (
        "<Workload: 3 files, 2 written; the busiest 1 get 75.0% of the writes>"
    )
    assert "none of them written" in repr(Workload.uniform(FileSet([1], [True])))


@pytest.mark.parametrize("copied", [lambda thing: pickle.loads(pickle.dumps(thing)), copy.deepcopy])
def test_copies(copied):
    workload = Workload([1, 2, 3])
    before = workload.draw(50, 1).file_id.tolist()
    twin = copied(workload)
    assert twin.draw(50, 1).file_id.tolist() == before
    with pytest.raises(ValueError, match="read-only"):
        twin.share[0] = 1
    trace = copied(WriteTrace([1, 2]))
    assert trace.file_id.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        trace.file_id[0] = 1


@pytest.mark.parametrize("seed", ["x", -1, 1.5])
def test_bad_seed(seed):
    with pytest.raises((TypeError, ValueError), match=f"^seed: .* got {seed!r}"):
        Workload([1]).draw(1, seed)
    with pytest.raises((TypeError, ValueError), match=f"^seed: .* got {seed!r}"):
        Workload.zipf(FILES, 1.0, seed)


def test_counts_of_no_file_set():
    with pytest.raises(TypeError, match=r"^files: expected a FileSet, got 5"):
        WriteTrace([2]).counts(5)


def test_a_workload_is_split_in_proportion():
    files = FileSet([10, 0, 4, 8], [False, False, True, False])
    workload = Workload([5, 2, 0, 3])
    split = workload.split(files, 4)
    assert split.share.tolist() == pytest.approx([0.2, 0.2, 0.1, 0.2, 0, 0.15, 0.15], abs=1e-15)
    blocks = files.split(4)
    assert workload.along(blocks) is workload.along(blocks)
    assert workload.along(blocks).share.tolist() == split.share.tolist()
    assert workload.along(files) is workload
    assert split.along(blocks) is split
    with pytest.raises(ValueError, match=r"^files: expected 4 files, .* got 1"):
        workload.split(FileSet([1]), 4)


def test_a_split_trace_stays_in_its_files():
    files = FileSet([100, 0, 30])
    trace = WriteTrace([0] * 3000 + [1, 2], range(3002))
    split = trace.split(files, 40, seed=3)
    assert split.file_id[3000:].tolist() == [3, 4]
    assert split.write_bytes.tolist() == list(range(3002))
    counts = split.counts(files.split(40))
    assert counts.tolist()[:3] == pytest.approx([1200, 1200, 600], abs=100)
    with pytest.raises(ValueError, match=r"^file_id: expected ids below 1"):
        trace.split(FileSet([1]), 40, seed=3)


def test_the_size_of_units_is_a_dimension():
    files = FileSet([30, 20, 10])
    workload, cycle = Workload([1, 2, 3]), Cycle(4, 1.0, 10.0)
    sets = {"file": files, "10": files.split(10)}
    table = precopy.sweep(sets, workload, seed=1, cycles=5, cycle=cycle)
    run = precopy.simulate(sets["10"], workload.split(files, 10), seed=1, cycles=5, cycle=cycle)
    assert table.sel(files="10").final_copy_bytes.values.tolist() == run.final_copy_bytes.tolist()
    bound = precopy.bound.final_copy_bytes(sets["10"], workload, cycle)
    assert table.bound_bytes.sel(files="10") == bound
    assert bound < table.bound_bytes.sel(files="file")


A, B = Workload([1, 0, 0]), Workload([0, 1, 1])
CYCLE = Cycle(writes=4)


@pytest.mark.model("random.switch")
def test_a_workload_that_switches():
    moving = Workload.switching([(0, A), (2, B), (3, A)], CYCLE)
    assert [first for first, _ in moving.parts] == [0, 8, 12]
    drawn = moving.draw(20, 5)
    parts = [(first, part.share.tolist()) for first, part in moving.parts]
    assert drawn.file_id.tolist() == specification.draw(parts, 5, 20)
    assert moving.draw(3, 5).file_id.tolist() == drawn.file_id[:3].tolist()
    assert len(moving) == 3
    assert "switching at the writes 0, 8, 12" in repr(moving)
    for twin in (pickle.loads(pickle.dumps(moving)), copy.deepcopy(moving)):
        assert twin.draw(20, 5).file_id.tolist() == drawn.file_id.tolist()
    with pytest.raises(ValueError, match=r"^share: expected .* shares stay, got <Workload: 3"):
        _ = moving.share


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (5, TypeError, "parts: .* got 5"),
        ([], TypeError, r"parts: .* got \[\]"),
        ([A], TypeError, "parts: expected pairs .* at index 0"),
        ([(1, A)], ValueError, "parts: .* from 0 on that ascend, got 1 at index 0"),
        ([(0, A), (0, B)], ValueError, "parts: .* got 0 at index 1"),
        ([(0, A), (2, B), (1, A)], ValueError, "parts: .* got 1 at index 2"),
        ([(0, A), (-1, B)], ValueError, "parts: .* got -1"),
        ([(0, A), (2**62, B)], ValueError, "parts: .* got 4611686018427387904 at index 1"),
        ([(0, A), (1, 5)], TypeError, "parts: expected workloads .* got 5 at index 1"),
        ([(0, A), (1, Workload([1]))], ValueError, "parts: .* of 3 files, got 1 at index 1"),
        ([(0, Workload.switching([(0, A)], CYCLE)), (1, B)], None, ""),
        ([(0, Workload.switching([(0, A), (1, B)], CYCLE))], TypeError, "parts: .* do not switch"),
    ],
)
def test_parts_that_do_not_follow_one_another(parts, error, message):
    if error is None:  # one part is a workload that stays
        assert len(Workload.switching(parts, CYCLE).parts) == 2
        return
    with pytest.raises(error, match=f"^{message}"):
        Workload.switching(parts, CYCLE)


def test_a_workload_that_switches_in_a_sweep():
    """It has no bound and no shares in the table; the cache tells it from others."""
    files = FileSet([3, 4, 5])
    writes = {"moves": Workload.switching([(0, A), (2, B)], CYCLE), "stays": A}
    table = precopy.sweep(files, writes, seed=1, cycles=5, cycle=Cycle(4, 1.0, 3.0))
    assert "bound_bytes" not in table
    assert "share" not in table
    assert "size_bytes" in table
    prints = {precopy.execution.fingerprint(one) for one in writes.values()}
    later = Workload.switching([(0, A), (3, B)], CYCLE)
    assert len(prints | {precopy.execution.fingerprint(later)}) == 3
    with pytest.raises(ValueError, match=r"^workload: expected one whose shares stay, got <Work"):
        precopy.bound.final_copy_bytes(files, writes["moves"])
    with pytest.raises(ValueError, match=r"^writes: .* share of 0 for read-only files, got 0.5"):
        precopy.simulate(FileSet([3, 4, 5], [False, True, False]), writes["moves"], cycles=1)
    split = writes["moves"].along(files.split(2))
    assert [len(part) for _, part in split.parts] == [7, 7]


def test_the_oracle_needs_a_workload_and_no_history():
    files, cycle = FileSet([3, 4, 5]), Cycle(4, 1.0, 3.0)
    with pytest.raises(ValueError, match=r"^frequency: .* for a trace, .* got 'oracle'"):
        precopy.simulate(files, A.draw(8, 1), cycle=cycle, cycles=2, frequency="oracle")
    with pytest.raises(ValueError, match=r'^history: expected None for frequency="oracle".* got'):
        precopy.simulate(files, A, cycle=cycle, cycles=2, frequency="oracle", history=[1, 0, 0])
    with pytest.raises(ValueError, match=r"^frequency: expected one of .* got 'oracle'"):
        precopy.Estimate(3, "oracle")
