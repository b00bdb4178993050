"""The published evaluation: our means over 30 seeds, within the spread that thirty seeds leave."""

import numpy as np
import pytest

from precopy import Cycle, FileSet, Workload, simulate

SEEDS = range(30)
FILES = FileSet.from_classes(
    [200_000, 400_000, 800_000, 1_600_000, 3_200_000],
    [350, 300, 200, 100, 50],
    [3500, 3000, 2000, 1000, 500],
)
SKEWED = Workload.shares(FILES, (1, 10, 10, 79))
UNIFORM = Workload.uniform(FILES)
SIZE_ORDERS = ["size-ascending", "size-descending"]


def curves_mb(workload, order, cycles):
    runs = [simulate(FILES, workload, order, Cycle(), cycles, seed=seed) for seed in SEEDS]
    return np.array([run.final_copy_bytes for run in runs]) / 1e6


@pytest.fixture(scope="module")
def skewed():
    """Final copies in MB, [seed, cycle], by order."""
    return {order: curves_mb(SKEWED, order, 300) for order in [*SIZE_ORDERS, "update-frequency"]}


def test_table_1():
    assert len(FILES) == 11_000
    assert FILES.total_bytes == 7_370_000_000
    assert FILES.size_bytes[FILES.read_only].sum() == 670_000_000
    assert Cycle().budget_bytes == 75_000_000


def test_least_final_copy(skewed):
    assert abs(skewed["size-ascending"].min(axis=1).mean() - 4956) < 4
    assert abs(skewed["size-descending"].min(axis=1).mean() - 4835) < 50
    assert abs(skewed["update-frequency"][:, -1].mean() - 1723) < 12


def test_published_numbers_lie_within_the_spread_of_single_seeds(skewed):
    for order, published in [
        ("size-ascending", 4954),
        ("size-descending", 4748),
        ("update-frequency", 1717),
    ]:
        last = skewed[order][:, -1] if order == "update-frequency" else skewed[order].min(axis=1)
        assert abs(published - last.mean()) < 2 * last.std(ddof=1)


def crossings(skewed):
    """Return, per seed, until when descending leads and from when it leads again (or NaN).

    Before cycle 20 the two are within a few MB of one another; late in the run they swing, so the
    second crossing is that of means over eleven cycles.
    """
    until, again = [], []
    for lead in skewed["size-ascending"] - skewed["size-descending"]:
        until.append(20 + np.flatnonzero(lead[20:] < 0)[0])
        means = np.convolve(lead[until[-1] :], np.ones(11) / 11, "valid")
        back = np.flatnonzero(means > 0)
        again.append(until[-1] + 6 + back[0] if len(back) else np.nan)
    return np.array(until), np.array(again)


def test_size_descending_is_ahead_until_about_cycle_40(skewed):
    """Another model's twelve seeds gave 38 to 42; one of these thirty gives 43."""
    until, _ = crossings(skewed)
    assert 38 <= until.mean() <= 42
    assert np.sum((until >= 38) & (until <= 42)) >= 29
    lead = skewed["size-ascending"] - skewed["size-descending"]
    assert (lead[:, 20:38] > 0).all()


def test_size_ascending_is_ahead_until_about_cycle_200_in_most_seeds(skewed):
    """Another model's seeds: again between cycles 157 and 298 in ten of twelve, never in two."""
    _, again = crossings(skewed)
    assert 20 <= np.sum(~np.isnan(again)) < 30
    assert np.sum((again >= 157) & (again <= 298)) > 15
    assert abs(np.nanmedian(again) - 200) < 25


@pytest.mark.parametrize(("order", "stall"), [("size-descending", 40), ("size-ascending", 50)])
def test_size_orders_stall(skewed, order, stall):
    """There the mean curve, over ten cycles, falls by less than a tenth of the budget each."""
    mean = skewed[order].mean(axis=0)
    fall = (mean[:-10] - mean[10:]) / 10
    middle = np.flatnonzero(fall < 7.5)[0] + 6
    assert abs(middle - stall) <= 3
    assert (fall[: stall - 20] > 30).all()


def test_update_frequency_saturates_later_than_published(skewed):
    """Steep until about cycle 70, near its steady level only from about cycle 180 on."""
    mean = skewed["update-frequency"].mean(axis=0)
    assert 2700 < mean[89] < 2870
    within = np.flatnonzero(mean > 1.02 * mean[-50:].mean())[-1] + 2
    assert abs(within - 180) <= 10


def test_steady_state_is_just_above_the_bound(skewed):
    """Seeds are independent, so the mean over them has a known spread."""
    steady = skewed["update-frequency"][:, 250:].mean(axis=1)
    z = (steady.mean() - 1713.6) / (steady.std(ddof=1) / np.sqrt(len(SEEDS)))
    assert z > 4
    assert steady.mean() < 1.01 * 1713.6


def test_orders_hardly_differ_under_uniform_writes():
    least = [
        curves_mb(UNIFORM, order, 300).min(axis=1).mean()
        for order in [*SIZE_ORDERS, "update-frequency"]
    ]
    assert max(least) < 5500
    assert max(least) - min(least) < 0.05 * 5500


def test_limit_of_the_skewed_pattern():
    """Update frequency reaches 5000 MB with the least pre-copy data, then size ascending."""
    sent = {}
    for order in [*SIZE_ORDERS, "update-frequency"]:
        runs = [
            simulate(FILES, SKEWED, order, cycles=500, threshold_bytes=5e9, seed=s) for s in SEEDS
        ]
        assert all(run.converged for run in runs)
        sent[order] = np.array([run.precopy_bytes[-1] for run in runs])
    assert (sent["update-frequency"] < sent["size-ascending"]).all()
    assert sent["size-ascending"].mean() < sent["size-descending"].mean()
    assert round(sent["update-frequency"].mean() / 1e9, 1) == 2.7


@pytest.fixture(scope="module")
def existing():
    """Ten classic rounds in the order of true frequency."""
    history = np.rint(SKEWED.share * 1e9).astype(int)
    options = {"cycles": 2000, "schedule": "rounds", "rounds": 10, "history": history}
    runs = [simulate(FILES, SKEWED, seed=seed, **options) for seed in SEEDS]
    assert all(run.stop == "rounds" for run in runs)
    return runs


def test_existing_method_at_the_end_of_its_rounds(existing):
    """The numbers are those of one run of another model; here is the spread of single seeds."""
    ends = []
    for run in existing:
        last = [np.flatnonzero(run.rounds_completed == r)[0] for r in range(1, 6)]
        ends.append(run.final_copy_bytes[last] / 1e6)
    ends = np.array(ends)
    z = ([4893, 4391, 4164, 4054, 4090] - ends.mean(axis=0)) / ends.std(axis=0, ddof=1)
    assert np.abs(z).max() < 3


def test_existing_method_sends_much_more(existing):
    """Ten rounds send about 45 GB, and 5302 MB is not their least final copy."""
    sent = np.array([run.precopy_bytes[-1] for run in existing])
    assert round(sent.mean() / 1e9) == 45
    least = np.array([run.final_copy_bytes.min() for run in existing]) / 1e6
    assert abs(least.mean() - 5302) / least.std(ddof=1) > 10
