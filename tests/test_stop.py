"""Limits over recorded curves: `finish` finds what `simulate` does under each of them."""

import itertools

import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

import precopy
from precopy import _core, stop

FILES = precopy.FileSet.from_classes(
    [100_000, 200_000, 400_000], read_only=[5, 4, 3], read_write=[20, 18, 12]
)
WRITES = {
    "zipf": precopy.Workload.zipf(FILES, 1.3, seed=4),
    "skewed": precopy.Workload.shares(FILES, (1, 9)),
}
CYCLES = {
    "slow": precopy.Cycle(writes=15, write_seconds=0.1, bandwidth=6e5),
    "fast": precopy.Cycle(writes=20, write_seconds=0.2, bandwidth=9e5),
}
STUDY = {
    "writes": WRITES,
    "order": ["size-ascending", "size-descending", "update-frequency"],
    "cycle": CYCLES,
    "seed": range(3),
    "cycles": 40,
}
NUMBERS = ["final_copy_bytes", "precopy_bytes", "resent_bytes", "downtime_s", "precopy_s"]


@pytest.fixture(scope="module")
def curves():
    return precopy.sweep(FILES, **STUDY)


def assert_equals_simulate(finished, arguments, options):
    """Compare every run and limit of `finished` with a run that has the limit itself."""
    swept = {name: list(value) for name, value in arguments.items() if name in finished.dims}
    reached = 0
    for labels in itertools.product(*swept.values()):
        chosen = dict(zip(swept, labels, strict=True))
        values = {
            name: arguments[name][label] if isinstance(arguments[name], dict) else label
            for name, label in chosen.items()
        }
        for place, limit in enumerate(finished.threshold_bytes.values.tolist()):
            run = precopy.simulate(FILES, threshold_bytes=limit, **{**options, **values})
            found = finished.sel(chosen).isel(threshold_bytes=place)
            if run.converged:
                reached += 1
                assert found.finish_cycle == run.cycles
                for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes"):
                    assert found[name] == getattr(run, name)[-1]
                assert found.downtime_s == run.downtime_s
                assert found.precopy_s == run.precopy_s
            else:
                assert all(np.isnan(found[name]) for name in ["finish_cycle", *NUMBERS])
    return reached


def test_every_limit_ends_every_run_where_simulate_does(curves):
    some = curves.final_copy_bytes.sel(writes="skewed", cycle="slow", seed=1)
    exact = int(some.sel(order="size-ascending")[20])
    limits = [0, 3.3e6, exact, exact - 1, exact + 0.5, 8e6, FILES.total_bytes - 1, 1e12]
    finished = precopy.finish(curves, limits)
    assert set(finished.final_copy_bytes.dims) == {*curves.converged.dims, "threshold_bytes"}
    reached = assert_equals_simulate(finished, STUDY, {"cycles": 40})
    assert 0 < reached < finished.finish_cycle.size


@pytest.mark.parametrize(
    "options",
    [
        {"budget": "carry"},
        {"read_only_first": False, "frequency": "last-cycle"},
        {"schedule": "rounds", "rounds": 2},
        {"schedule": "rounds", "dirty_tracking": "sent"},
    ],
    ids=str,
)
def test_runs_under_other_rules_too(options):
    arguments = {"seed": range(2), "order": ["expected-update", "update-frequency"]}
    fixed = {"writes": WRITES["zipf"], "cycle": CYCLES["slow"], "cycles": 60, **options}
    curves = precopy.sweep(FILES, **arguments, **fixed)
    finished = precopy.finish(curves, np.linspace(0, FILES.total_bytes, 9))
    assert 0 < assert_equals_simulate(finished, arguments, fixed) < finished.finish_cycle.size


@given(st.lists(st.floats(0, 2 * FILES.total_bytes), min_size=1, max_size=20))
def test_a_higher_limit_never_ends_a_run_later(curves, limits):
    limits = np.sort(limits)
    done = precopy.finish(curves, limits).transpose(..., "threshold_bytes")
    assert done.threshold_bytes.values.tolist() == limits.tolist()
    reached = done.finish_cycle.notnull()
    assert bool((done.final_copy_bytes <= done.threshold_bytes).where(reached, True).all())
    # Never counts as later than any cycle.
    last = 1e18
    for name in ("finish_cycle", "precopy_bytes", "resent_bytes", "precopy_s"):
        assert (np.diff(done[name].fillna(last).values, axis=-1) <= 0).all(), name


def made_up(rows, **options):
    """A dataset like that of a sweep, with these final copies; NaN behind the end of a run."""
    final = np.array(rows, dtype=float)
    step = np.arange(1, final.shape[1] + 1)
    variables = {
        "final_copy_bytes": (("seed", "step"), final),
        "precopy_bytes": (("seed", "step"), np.where(np.isnan(final), np.nan, step * 10.0)),
        "resent_bytes": (("seed", "step"), np.where(np.isnan(final), np.nan, step * 3.0)),
        "converged": ("seed", np.zeros(len(final), bool)),
    }
    coords = {"step": step, "seed": np.arange(len(final)), "bandwidth": 4.0, "cycle_seconds": 2.0}
    return xarray.Dataset(variables, coords, {"parameters": "{}"}).assign(options)


def test_known_answers_on_made_up_curves():
    curves = made_up([[9, 5, 7, 3, 3, 8], [6, 9, 9, np.nan, np.nan, np.nan]])
    done = precopy.finish(curves, [8, 2, 5, 3, 9])
    expected = {
        "finish_cycle": [[2, np.nan, 2, 4, 1], [1, np.nan, np.nan, np.nan, 1]],
        "final_copy_bytes": [[5, np.nan, 5, 3, 9], [6, np.nan, np.nan, np.nan, 6]],
        "precopy_bytes": [[20, np.nan, 20, 40, 10], [10, np.nan, np.nan, np.nan, 10]],
        "resent_bytes": [[6, np.nan, 6, 12, 3], [3, np.nan, np.nan, np.nan, 3]],
        "downtime_s": [[1.25, np.nan, 1.25, 0.75, 2.25], [1.5, np.nan, np.nan, np.nan, 1.5]],
        "precopy_s": [[4, np.nan, 4, 8, 2], [2, np.nan, np.nan, np.nan, 2]],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(done[name], values, err_msg=name)


def test_the_order_of_dimensions_does_not_matter(curves):
    limits = [4e6, 8e6]
    turned = curves.transpose("step", "seed", "order", ...)
    xarray.testing.assert_identical(
        precopy.finish(turned, limits).transpose(*precopy.finish(curves, limits).dims),
        precopy.finish(curves, limits),
    )


def test_a_selection_of_a_dataset_finishes_like_the_whole(curves):
    whole = precopy.finish(curves, [5e6, 9e6])
    part = precopy.finish(curves.sel(order="size-ascending", seed=1, cycle="fast"), [5e6, 9e6])
    for name in NUMBERS:
        expected = whole[name].sel(order="size-ascending", seed=1, cycle="fast")
        np.testing.assert_array_equal(part[name], expected)


def test_a_single_limit_is_a_dimension_of_one(curves):
    one = precopy.finish(curves, 6e6)
    assert one.sizes["threshold_bytes"] == 1
    assert one.identical(precopy.finish(curves, [6e6]))
    assert one.identical(precopy.finish(curves, np.float64(6e6)))
    assert one.identical(precopy.finish(curves, (6_000_000,)))


def test_limits_keep_their_order_and_may_repeat(curves):
    limits = [9e6, 4e6, 9e6]
    done = precopy.finish(curves, limits)
    assert done.threshold_bytes.values.tolist() == limits
    first, last = done.isel(threshold_bytes=0), done.isel(threshold_bytes=2)
    assert first.identical(last)


def test_results_tell_their_names_units_and_origin(curves):
    done = precopy.finish(curves, [5e6])
    units = {name: done[name].attrs["units"] for name in NUMBERS}
    assert units == {
        "final_copy_bytes": "bytes",
        "precopy_bytes": "bytes",
        "resent_bytes": "bytes",
        "downtime_s": "s",
        "precopy_s": "s",
    }
    assert all(done[name].attrs["long_name"] for name in [*NUMBERS, "finish_cycle"])
    assert done.threshold_bytes.attrs["units"] == "bytes"
    assert done.attrs == curves.attrs


def test_it_never_simulates_and_leaves_the_dataset_alone(curves, monkeypatch):
    def fail(**arguments):
        raise AssertionError("simulated")

    monkeypatch.setattr(_core, "simulate", fail)
    before = curves.copy(deep=True)
    precopy.finish(curves, [1e6, 7e6])
    assert curves.identical(before)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (-1, ValueError),
        ([5e6, -0.5], ValueError),
        ([np.nan], ValueError),
        ([], ValueError),
        ([[1e6]], ValueError),
        ("5 MB", TypeError),
        (None, TypeError),
    ],
    ids=str,
)
def test_bad_limits_are_refused_by_name(limits, error, curves):
    with pytest.raises(error, match=r"^threshold_bytes: "):
        precopy.finish(curves, limits)


SMALL = {"files": FILES, "writes": WRITES["zipf"], "cycle": CYCLES["slow"], "cycles": 30, "seed": 1}


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: precopy.sweep(**SMALL, keep="summary"), "curves"),
        (lambda: precopy.sweep(**SMALL, threshold_bytes=8e6), "threshold"),
        (lambda: precopy.sweep(**SMALL, threshold_bytes=[0, 1]), "threshold"),
        (lambda: precopy.finish(precopy.sweep(**SMALL), 8e6), "curves"),
        (lambda: precopy.sweep(**SMALL)[["final_copy_bytes"]], "precopy_bytes"),
        (lambda: precopy.sweep(**SMALL).drop_vars("bandwidth"), "bandwidth"),
    ],
    ids=["summary", "stopped", "thresholds swept", "finished", "one curve", "no bandwidth"],
)
def test_datasets_without_whole_curves_are_refused(make, what):
    dataset = make()
    with pytest.raises(ValueError, match=f"^dataset: .*{what}"):
        precopy.finish(dataset, 8e6)


def test_a_rule_on_bytes_ends_runs_where_the_limit_does(curves):
    limits = [0, 3.3e6, 5e6, 8e6, 1e12]
    by_limit = precopy.finish(curves, limits)
    by_rule = precopy.finish(curves, {str(one): stop.final_copy(one) for one in limits})
    assert by_rule.finish_cycle.dims == (*curves.converged.dims, "rule")
    assert by_rule.rule.values.tolist() == [str(one) for one in limits]
    for place, _ in enumerate(limits):
        one = by_rule.isel(rule=place).drop_vars("rule")
        assert one.identical(by_limit.isel(threshold_bytes=place).drop_vars("threshold_bytes"))


@pytest.mark.model("stop.first", "stop.all", "stop.any")
def test_known_answers_of_rules_on_made_up_curves():
    curves = made_up([[9, 5, 7, 5, 6, 4], [6, 9, 9, np.nan, np.nan, np.nan]])
    rules = {
        "stall": stop.stall(2),
        "stall, then a dip": stop.stall(2) & stop.dip(0, window=3),
        "text": "downtime(1.2s) | cycles(5)",
        "late": stop.seconds(7),
        "never": stop.final_copy(1),
    }
    done = precopy.finish(curves, rules)
    # The second run ends after three cycles: what would have held later does not count.
    expected = [[4, 4, 5, 4, np.nan], [3, np.nan, np.nan, np.nan, np.nan]]
    np.testing.assert_array_equal(done.finish_cycle, expected)
    np.testing.assert_array_equal(done.precopy_bytes, 10 * np.array(expected))
    np.testing.assert_array_equal(done.precopy_s, 2 * np.array(expected))
    np.testing.assert_array_equal(done.downtime_s[0], [1.25, 1.25, 1.5, 1.25, np.nan])
    assert done.rule.attrs == {"long_name": "stop rule"}
    single = precopy.finish(curves, stop.seconds(7))
    assert single.rule.values.tolist() == ["seconds(7s)"]
    np.testing.assert_array_equal(single.finish_cycle, [[4], [np.nan]])


@pytest.mark.model("stop.traffic", "stop.seconds", "stop.downtime")
def test_rules_ask_each_run_for_its_own_link_and_files():
    files = {"few": precopy.FileSet([100] * 10), "many": precopy.FileSet([100] * 30)}
    cycle = {"slow": precopy.Cycle(5, 0.1, 600), "fast": precopy.Cycle(5, 0.2, 900)}
    trace = precopy.WriteTrace(np.tile(np.arange(10), 50))
    table = precopy.sweep(files, trace, cycle=cycle, cycles=40)
    assert table.total_bytes.to_series().to_dict() == {"few": 1000, "many": 3000}
    rules = {"twice": stop.traffic(2), "late": stop.seconds(3), "short": stop.downtime(3)}
    done = precopy.finish(table, rules)
    for (name, some), (speed, one) in itertools.product(files.items(), cycle.items()):
        run = precopy.simulate(some, trace, cycle=one, cycles=40)
        found = done.sel(files=name, cycle=speed)
        twice = np.flatnonzero(run.precopy_bytes >= 2 * some.total_bytes)
        assert found.finish_cycle.sel(rule="twice") == twice[0] + 1
        assert found.finish_cycle.sel(rule="late") == np.ceil(3 / one.seconds)
        short = np.flatnonzero(run.final_copy_bytes / one.bandwidth <= 3)
        assert found.finish_cycle.sel(rule="short") == short[0] + 1
        alone = precopy.finish(run, rules)
        np.testing.assert_array_equal(found.finish_cycle, alone.finish_cycle)


def test_traffic_needs_the_size_of_the_data(curves):
    with pytest.raises(ValueError, match=r"^total_bytes: "):
        precopy.finish(curves.drop_vars("total_bytes"), stop.traffic(2))


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ({}, ValueError, "^threshold_bytes: expected at least one rule"),
        ({"a": 5e6}, TypeError, "^threshold_bytes: expected rules by label, got 5000000"),
        ({"a": "stal(10)"}, ValueError, "^until: expected a rule, one of final_copy, "),
        ({"a": stop.stall}, TypeError, "^threshold_bytes: expected rules by label"),
    ],
    ids=str,
)
def test_bad_rules_are_refused(rules, error, message, curves):
    with pytest.raises(error, match=message):
        precopy.finish(curves, rules)
