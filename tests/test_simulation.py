"""One simulated migration: arguments, results, and what must hold whatever the files."""

import pickle
import subprocess
import sys
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

import precopy
from precopy import Cycle, FileSet, Workload, WriteTrace, simulate

ORDERS = [
    "size-ascending",
    "size-descending",
    "update-frequency",
    "expected-update",
    "least-recently-updated",
]
SCHEDULES = ["cycles", "rounds"]
FREQUENCIES = ["count", "last-cycle", "exponential"]
FILES = FileSet([1, 2, 3], [True, False, False], ["a", "b", "c"])
WORKLOAD = Workload([0, 1, 2])
SMALL = {"files": FILES, "writes": WORKLOAD, "cycle": Cycle(2, 1.0, 2.5), "cycles": 5, "seed": 1}


def small(**changes):
    return simulate(**SMALL | changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"files": 5}, TypeError, "files: expected a FileSet or a Recorded, got 5"),
        ({"files": [1, 2]}, TypeError, r"files: expected a FileSet or a Recorded, got \[1, 2\]"),
        ({"writes": 5}, TypeError, "writes: expected a Workload or a WriteTrace, got 5"),
        ({"writes": None}, TypeError, "writes: .* got None"),
        ({"writes": [1, 2]}, TypeError, r"writes: .* got \[1, 2\]"),
        ({"writes": Workload([0, 1])}, ValueError, "writes: expected shares of 3 files, .* got 2"),
        ({"writes": Workload([1, 1, 0])}, ValueError, r"writes: .* got 0\.5 for file 0 \(a\)"),
        (
            {"writes": Workload.uniform(FileSet([1] * 3, [True] * 3))},
            ValueError,
            "writes: expected a share above 0",
        ),
        ({"writes": WriteTrace([1] * 9)}, ValueError, "writes: .* at least 10 writes .* got 9"),
        ({"writes": WriteTrace([])}, ValueError, "writes: .* at least 10 writes .* got 0"),
        (
            {"writes": WriteTrace([1] * 10 + [0])},
            ValueError,
            r"writes: .* got file 0 \(a\), which is read-only, at index 10",
        ),
        (
            {"writes": WriteTrace([1] * 9 + [3])},
            ValueError,
            "writes: .* below 3, got id 3, at index 9",
        ),
        (
            {"writes": WriteTrace([1, 2**62] + [1] * 9)},
            ValueError,
            "writes: .* got id 4611686018427387904, at index 1",
        ),
        ({"order": "x"}, ValueError, "order: expected one of .*'size-ascending'.* got 'x'"),
        ({"order": ""}, ValueError, "order: .* got ''"),
        ({"order": 5}, TypeError, "order: .* got 5"),
        ({"order": None}, TypeError, "order: .* got None"),
        ({"order": [1, 2]}, ValueError, "order: expected 3 entries, one per file, got 2"),
        ({"order": [1, 2, np.nan]}, ValueError, "order: .* got nan at index 2"),
        ({"order": [[1, 2, 3]]}, ValueError, r"order: .* got shape \(1, 3\)"),
        ({"order": ["a", "b", "c"]}, TypeError, "order: .* got dtype <U1"),
        ({"order": [2**53 + 1, 0, 0]}, ValueError, "order: .* fit a float, got 9007199254740993"),
        (
            {"order": np.array([1, 2**64 - 1, 0], np.uint64)},
            ValueError,
            "order: .* got 18446744073709551615",
        ),
        ({"order": [True, 1, 2]}, TypeError, "order: .* got True at index 0"),
        ({"order": {1, 2, 3}}, TypeError, "order: .* got {1, 2, 3}"),
        ({"threshold_bytes": b"5"}, TypeError, "threshold_bytes: .* got b'5'"),
        ({"order": [1j, 2, 3]}, TypeError, "order: .* got dtype complex128"),
        ({"cycle": 5}, TypeError, "cycle: expected a Cycle, got 5"),
        ({"cycles": 0}, ValueError, "cycles: .* got 0"),
        ({"cycles": -1}, ValueError, "cycles: .* got -1"),
        ({"cycles": 1.5}, ValueError, r"cycles: .* got 1\.5"),
        ({"cycles": np.nan}, ValueError, "cycles: .* got nan"),
        ({"cycles": "a"}, TypeError, "cycles: .* got 'a'"),
        ({"cycles": None}, TypeError, "cycles: .* got None"),
        ({"cycles": True}, TypeError, "cycles: .* got True"),
        ({"cycles": 2**62}, ValueError, "cycles: .* got 4611686018427387904"),
        ({"cycles": 2**70}, ValueError, "cycles: .* got 1180591620717411303424"),
        ({"threshold_bytes": -1}, ValueError, "threshold_bytes: .* got -1"),
        ({"threshold_bytes": -0.1}, ValueError, r"threshold_bytes: .* got -0\.1"),
        ({"threshold_bytes": np.nan}, ValueError, "threshold_bytes: .* got nan"),
        ({"threshold_bytes": "a"}, TypeError, "threshold_bytes: .* got 'a'"),
        ({"threshold_bytes": [1]}, TypeError, r"threshold_bytes: .* got \[1\]"),
        ({"schedule": "x"}, ValueError, "schedule: .*'rounds'.* got 'x'"),
        ({"schedule": None}, TypeError, "schedule: .* got None"),
        ({"frequency": "x"}, ValueError, "frequency: .*'last-cycle'.* got 'x'"),
        ({"frequency": 1}, TypeError, "frequency: .* got 1"),
        ({"half_life": 1}, ValueError, "half_life: .* got 1"),
        ({"frequency": "exponential"}, ValueError, "half_life: "),
        ({"frequency": "exponential", "half_life": 0}, ValueError, "half_life: .* got 0"),
        ({"frequency": "exponential", "half_life": -1}, ValueError, "half_life: .* got -1"),
        ({"frequency": "exponential", "half_life": 1e-3}, ValueError, r"half_life: .* got 0\.001"),
        ({"frequency": "exponential", "half_life": np.nan}, ValueError, "half_life: .* got nan"),
        ({"frequency": "exponential", "half_life": np.inf}, ValueError, "half_life: .* got inf"),
        ({"frequency": "exponential", "half_life": "a"}, TypeError, "half_life: .* got 'a'"),
        ({"history": [1, 2]}, ValueError, "history: expected 3 entries, one per file, got 2"),
        ({"history": [0, -1, 0]}, ValueError, "history: .* got -1 at index 1"),
        ({"history": [0, 0.5, 0]}, ValueError, r"history: .* got 0\.5 at index 1"),
        ({"history": [0, np.nan, 0]}, ValueError, "history: .* got nan at index 1"),
        ({"history": [7, 0, 0]}, ValueError, r"history: .* got 7 for file 0 \(a\)"),
        ({"history": ["a", "b", "c"]}, TypeError, "history: .* got dtype <U1"),
        ({"history": [0, 2**70, 0]}, ValueError, "history: .* got 1180591620717411303424"),
        (
            {"history": [0, 2**62, 0], "order": "expected-update"},
            ValueError,
            "order: .* got up to 4611686018427387914 updates of a file of 3 bytes",
        ),
        ({"budget": "x"}, ValueError, "budget: .*'carry'.* got 'x'"),
        ({"budget": 5}, TypeError, "budget: .* got 5"),
        ({"cycle": Cycle(2, 1.0, 1.0)}, ValueError, r"files: .* of 2 bytes, got file 2 \(c\) of 3"),
        ({"dirty_tracking": "x"}, ValueError, "dirty_tracking: .*'sent'.* got 'x'"),
        ({"rounds": 0}, ValueError, "rounds: .* got 0"),
        ({"rounds": 1.5}, ValueError, r"rounds: .* got 1\.5"),
        ({"rounds": "a"}, TypeError, "rounds: .* got 'a'"),
        ({"read_only_first": "x"}, TypeError, "read_only_first: .* got 'x'"),
        ({"read_only_first": 1}, TypeError, "read_only_first: .* got 1"),
        ({"seed": "x"}, (TypeError, ValueError), "seed: .* got 'x'"),
        ({"seed": -1}, (TypeError, ValueError), "seed: .* got -1"),
    ],
)
def test_bad_arguments(changes, error, message):
    with pytest.raises(error, match=f"^{message}"):
        small(**changes)


@pytest.mark.model("state")
@pytest.mark.parametrize("order", [*ORDERS, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize(("schedule", "frequency"), list(product(SCHEDULES, FREQUENCIES)))
def test_a_history_that_leaves_int64_with_the_writes(order, schedule, frequency):
    """Ten writes may come on top; the counts are exact integers, so one more is an error."""
    options = {"order": order, "schedule": schedule, "frequency": frequency}
    options["half_life"] = 2.0 if frequency == "exponential" else None
    for count in (2**63 - 10, 2**63 - 1):
        with pytest.raises(ValueError, match=rf"^history: .* {count} for file 1 \(b\) before"):
            small(history=[0, count, 0], **options)


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_a_history_that_just_fits_int64_with_the_writes(frequency):
    half_life = 2.0 if frequency == "exponential" else None
    run = small(history=[0, 2**63 - 11, 0], frequency=frequency, half_life=half_life)
    assert run.cycles == 5
    assert small(history=[0, 2**63 - 11, 0], schedule="rounds").cycles > 0


# An option, a run to which it means nothing, and one to which it does.
WITHOUT_USE = [
    ({"frequency": "last-cycle"}, {"order": "size-ascending"}, {"order": "expected-update"}),
    ({"frequency": "last-cycle"}, {"order": np.array([1.0, 2.0, 3.0])}, {}),
    ({"frequency": "last-cycle"}, {"schedule": "rounds"}, {}),
    (
        {"half_life": 2.0},
        {"frequency": ["count", "last-cycle"]},
        {"frequency": ["count", "exponential"]},
    ),
    ({"history": np.array([0, 1, 2])}, {"order": "size-descending"}, {"schedule": "rounds"}),
    ({"dirty_tracking": "sent"}, {}, {"schedule": "rounds"}),
    ({"rounds": 3}, {}, {"schedule": "rounds"}),
]


@pytest.mark.parametrize(("option", "useless", "useful"), WITHOUT_USE)
def test_an_option_that_means_nothing_is_an_error(option, useless, useful):
    name = next(iter(option))
    both = {
        key: {"useless": useless.get(key, default), "useful": useful.get(key, default)}
        for key, default in (("order", "update-frequency"), ("schedule", "cycles"))
    }
    if "frequency" in useless:
        useless, both = {"frequency": "count"}, {"frequency": useful["frequency"]}
        useful = {"frequency": "exponential"}
        assert precopy.sweep(**SMALL, **both, **option).sizes["frequency"] == 2
    else:
        assert precopy.sweep(**SMALL, **both, **option).sizes["order"] == 2
    assert small(**option, **useful).cycles > 0
    for run in (small, lambda **options: precopy.sweep(**SMALL, **options)):
        with pytest.raises(ValueError, match=f"^{name}: expected .*, got "):
            run(**option, **useless)


SIZED = WriteTrace([1, 2] * 5, [3] * 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": "delta"}, "write_bytes: expected the bytes of a write .* got None"),
        ({"writes": SIZED, "cost": "delta", "write_bytes": 1}, "write_bytes: .* trace .* got 1"),
        ({"write_bytes": 5}, 'write_bytes: expected None unless cost="delta", got 5'),
        ({"overhead_bytes": 5}, 'overhead_bytes: expected None unless cost="delta", got 5'),
        (
            {"cost": "delta", "write_bytes": 1, "schedule": "rounds"},
            'cost: expected "whole" unless schedule="cycles", got \'delta\'',
        ),
    ],
)
def test_deltas_without_what_they_need_and_the_reverse(options, message):
    for run in (small, lambda **options: precopy.sweep(**SMALL | options)):
        with pytest.raises(ValueError, match=f"^{message}"):
            run(**options)


@pytest.mark.model("cost.delta")
def test_a_sweep_of_costs_uses_the_size_of_writes_where_it_means_something():
    table = precopy.sweep(**SMALL, cost=["whole", "delta"], write_bytes=1, overhead_bytes=[0, 2])
    assert (table.final_copy_bytes.sel(cost="whole") == small().final_copy_bytes).all()
    assert (table.sel(cost="delta").final_copy_bytes <= small().final_copy_bytes).all()
    assert "bound_bytes" not in table


@pytest.mark.parametrize("option", [{"max_sends": 2}, {"max_update_rate": 0.5}])
def test_rounds_have_no_limits(option):
    name = next(iter(option))
    for run in (small, lambda **options: precopy.sweep(**SMALL, **options)):
        with pytest.raises(ValueError, match=rf'^{name}: expected None unless schedule="cycles", '):
            run(**option, schedule="rounds")


@pytest.mark.parametrize("order", [*ORDERS, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_booleans_of_any_byte(order, schedule):
    """A view of other data as bool may hold any byte; it is as true as True."""
    odd = np.array([2, 0, 255], dtype=np.uint8).view(bool)
    files = [FileSet([1, 2, 3], read_only) for read_only in (odd, [True, False, True])]
    assert files[0].read_only.view(np.uint8).tolist() == [1, 0, 1]
    options = {"writes": Workload([0, 1, 0]), "order": order, "schedule": schedule}
    runs = [small(files=one, **options) for one in files]
    assert runs[0].final_copy_bytes.tolist() == runs[1].final_copy_bytes.tolist()
    assert runs[0].precopy_bytes.tolist() == runs[1].precopy_bytes.tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "writes: .* got 0"),
        ((-1,), ValueError, "writes: .* got -1"),
        ((1.5,), ValueError, r"writes: .* got 1\.5"),
        ((2**63,), ValueError, "writes: .* got 9223372036854775808"),
        (("a",), TypeError, "writes: .* got 'a'"),
        ((True,), TypeError, "writes: .* got True"),
        ((1, 0), ValueError, "write_seconds: .* got 0"),
        ((1, -1.0), ValueError, r"write_seconds: .* got -1\.0"),
        ((1, np.nan), ValueError, "write_seconds: .* got nan"),
        ((1, np.inf), ValueError, "write_seconds: .* got inf"),
        ((1, None), TypeError, "write_seconds: .* got None"),
        ((1, 1, 0), ValueError, "bandwidth: .* got 0"),
        ((1, 1, -5), ValueError, "bandwidth: .* got -5"),
        ((1, 1, "a"), TypeError, "bandwidth: .* got 'a'"),
        ((1, 1, 0.5), ValueError, r"bandwidth: .* got 0\.5 B/s"),
        ((1, 1e300, 1e300), ValueError, "bandwidth: .* got 1e"),
        ((1, 1, 10**400), ValueError, "bandwidth: .* got 10"),
    ],
)
def test_bad_cycle(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Cycle(*arguments)


@pytest.mark.model("cycle")
def test_cycle():
    cycle = Cycle(np.int32(10), 0.5, 3)
    assert (cycle.writes, cycle.seconds, cycle.budget_bytes) == (10, 5.0, 15)
    assert Cycle() == Cycle(500.0)
    assert hash(Cycle()) == hash(Cycle(500.0))
    assert Cycle().budget_bytes == 75_000_000
    assert repr(Cycle(2)) == "Cycle(writes=2, write_seconds=0.03, bandwidth=5000000.0)"
    assert pickle.loads(pickle.dumps(cycle)) == cycle
    with pytest.raises(AttributeError):
        cycle.writes = 5


@pytest.mark.parametrize("order", [*ORDERS, [3.0, 1.0, 2.0]])
@pytest.mark.parametrize("schedule", ["cycles", "rounds"])
def test_arrays_in_any_layout_mean_the_same(order, schedule):
    is_changing = order in ("update-frequency", "expected-update")

    def result(files, workload, order, history):
        run = simulate(
            files,
            workload,
            order,
            Cycle(2, 1.0, 2.5),
            5,
            history=history if is_changing else None,
            schedule=schedule,
            seed=3,
        )
        return run.final_copy_bytes.tolist(), run.resent_bytes.tolist()

    def twisted(values, dtype):
        return np.repeat(np.array(values, dtype=dtype), 2)[::2]

    history = [0, 3, 1]
    plain = result(FILES, WORKLOAD, order, history)
    files = FileSet(twisted([1, 2, 3], ">i8"), twisted([True, False, False], bool))
    key = order if isinstance(order, str) else twisted(order, ">f4")
    workload = Workload(twisted([0, 1, 2], ">f8"))
    assert result(files, workload, key, twisted(history, ">i2")) == plain


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("schedule", ["cycles", "rounds"])
def test_without_read_write_files_nothing_is_written(order, schedule):
    files = FileSet([4, 4, 4], [True] * 3)
    for writes in (WriteTrace([]), Workload.uniform(files)):
        run = simulate(files, writes, order, Cycle(3, 1.0, 5 / 3), 5, schedule=schedule)
        assert run.final_copy_bytes.tolist()[:3] == [8, 4, 0]
        assert run.resent_bytes.tolist()[-1] == 0
        assert run.stop == ("cycles" if schedule == "cycles" else "clean")
    with pytest.raises(ValueError, match=r"^writes: .* got file 0, which is read-only"):
        simulate(files, WriteTrace([0] * 15), order, Cycle(3, 1.0, 5 / 3), 5)


@pytest.mark.parametrize("order", ORDERS)
def test_files_of_no_size(order):
    run = simulate(FileSet([0, 0]), Workload([1, 1]), order, Cycle(1, 1, 1), 4, seed=1)
    assert run.final_copy_bytes.tolist() == [0] * 4
    assert run.precopy_bytes.tolist() == [0] * 4
    run = simulate(FileSet([0, 5, 0]), Workload([0, 0, 1]), order, Cycle(1, 1, 5), 3, seed=1)
    assert run.final_copy_bytes.tolist() == [0] * 3
    assert run.precopy_bytes.tolist() == [5] * 3


@pytest.mark.model("budget.whole")
@pytest.mark.parametrize(("budget", "cycles"), [("carry", 7), ("skip", None)])
def test_a_file_larger_than_the_budget(budget, cycles):
    files = FileSet([21, 1], [False, False])
    run = simulate(
        files, WriteTrace([1] * 20), "size-descending", Cycle(1, 1, 3), 20, budget=budget
    )
    reached = np.flatnonzero(run.final_copy_bytes < 21)
    assert (reached[0] + 1 if len(reached) else None) == cycles


@pytest.mark.model("cycle.rank", "rounds.order")
def test_default_order_of_read_only_files():
    """They go first in cycles and not in rounds, unless told otherwise."""
    files = FileSet([1, 5], [False, True])
    writes = WriteTrace([0])
    options = {"order": "size-ascending", "cycle": Cycle(1, 1, 5), "cycles": 1}

    def sent(**more):
        return simulate(files, writes, **options, **more).precopy_bytes.tolist()

    assert sent() == sent(read_only_first=True) == [5]
    assert sent(schedule="rounds") == sent(read_only_first=False) == [1]
    assert sent(schedule="rounds", read_only_first=True) == [5]


@pytest.mark.model("cycle.stop")
@pytest.mark.parametrize("threshold", [6, 6.0, 6.9, np.float32(6)])
def test_threshold_is_reached_when_equal(threshold):
    files = FileSet([3, 3, 3], [True] * 3)
    run = simulate(files, WriteTrace([]), cycle=Cycle(1, 1, 3), threshold_bytes=threshold)
    assert (run.cycles, run.stop, run.converged) == (1, "threshold", True)
    run = simulate(files, WriteTrace([]), cycle=Cycle(1, 1, 3), threshold_bytes=5.9)
    assert run.cycles == 2


@pytest.mark.parametrize("threshold", [np.inf, 2**63, 1e300])
def test_a_threshold_above_everything(threshold):
    assert small(threshold_bytes=threshold).cycles == 1


def test_times():
    run = small(threshold_bytes=None)
    assert run.cycles == 5
    assert run.precopy_s == 10.0
    assert run.downtime_s == run.final_copy_bytes[-1] / 2.5
    assert run.duration_s == run.precopy_s + run.downtime_s
    assert run.steps.tolist() == [1, 2, 3, 4, 5]
    assert not run.converged
    assert run.rounds_completed is None
    assert run.total_bytes == 6
    assert run.order == "update-frequency"
    assert small(order=[1, 2, 3]).order == "key"


@pytest.mark.model("cycle.stop", "rounds.stop")
@pytest.mark.parametrize("stop", ["cycles", "threshold", "rounds", "clean"])
def test_stops(stop):
    options = {
        "cycles": {},
        "threshold": {"threshold_bytes": 4},
        "rounds": {"schedule": "rounds", "rounds": 1},
        "clean": {"schedule": "rounds", "files": FileSet([2], [True]), "writes": WriteTrace([])},
    }[stop]
    run = small(**options)
    assert run.stop == stop
    assert 0 < run.cycles < 5 or stop == "cycles"
    assert len(run.precopy_bytes) == len(run.resent_bytes) == run.cycles
    if run.schedule == "rounds":
        assert run.rounds_completed.tolist()[-1] == 1


@pytest.mark.parametrize("options", [{}, {"schedule": "rounds"}, {"threshold_bytes": 6}])
def test_run_can_be_looked_at(options):
    run = small(**options)
    for text in (repr(run), run._repr_html_()):
        assert "final copy" in text
        assert run.stop in text
    assert "<svg" in run._repr_html_()
    assert repr(run).startswith("<Run: order update-frequency")
    twin = pickle.loads(pickle.dumps(run))
    assert repr(twin) == repr(run)
    assert twin.final_copy_bytes.tolist() == run.final_copy_bytes.tolist()
    with pytest.raises(AttributeError):
        run.stop = "cycles"


def test_a_run_of_nothing_can_be_looked_at():
    files = FileSet([0], [True])
    run = simulate(files, WriteTrace([]), cycles=1)
    assert "0 B of 0 B" in repr(run)
    assert "<svg" in run._repr_html_()


@pytest.mark.parametrize("schedule", ["cycles", "rounds"])
def test_to_xarray(schedule):
    run = small(schedule=schedule, threshold_bytes=1)
    dataset = run.to_xarray()
    names = ["final_copy_bytes", "precopy_bytes", "resent_bytes"]
    names += ["rounds_completed"] if schedule == "rounds" else []
    assert list(dataset.data_vars) == names
    for name in names:
        assert dataset[name].dims == ("step",)
        assert dataset[name].values.tolist() == getattr(run, name).tolist()
        assert dataset[name].attrs["long_name"]
    assert dataset.final_copy_bytes.attrs["units"] == "bytes"
    assert dataset.step.values.tolist() == run.steps.tolist()
    expected = {
        "order": "update-frequency",
        "schedule": schedule,
        "stop": run.stop,
        "writes_per_cycle": 2,
        "write_seconds": 1.0,
        "bandwidth": 2.5,
        "downtime_s": run.downtime_s,
        "duration_s": run.duration_s,
        "threshold_bytes": 1,
    }
    assert expected.items() <= dataset.attrs.items()
    assert "threshold_bytes" not in small().to_xarray().attrs


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_run_is_finished_and_drawn(schedule):
    run = small(schedule=schedule)
    expected = next(i for i, left in enumerate(run.final_copy_bytes.tolist(), 1) if left <= 5)
    for table in (run, run.to_xarray()):
        done = precopy.finish(table, [5, 0])
        assert done.finish_cycle.values.tolist()[0] == expected
        assert done.downtime_s.values[0] == run.final_copy_bytes[expected - 1] / 2.5
        assert np.isnan(done.precopy_bytes.values[1])
        given = {"order", "bandwidth", "cycle_seconds", "total_bytes"}
        assert set(done.coords) == {*given, "threshold_bytes"}
        ax = precopy.plot.final_copy(table)
        assert ax.lines[0].get_label() == "update-frequency"
        plt.close(ax.figure)
    with pytest.raises(ValueError, match=r"^dataset: expected runs without a threshold"):
        precopy.finish(small(threshold_bytes=6), 5)
    for call in (precopy.plot.final_copy, lambda table: precopy.finish(table, 5)):
        with pytest.raises(TypeError, match=r"^dataset: expected a dataset .* or a Run, got 5"):
            call(5)


def test_a_run_of_no_cycle_reaches_no_limit():
    run = small(schedule="rounds", files=FileSet([0], [True]), writes=WriteTrace([]))
    curves = ("final_copy_bytes", "precopy_bytes", "resent_bytes", "rounds_completed")
    empty = replace(run, **{name: run.steps[:0] for name in curves})
    assert np.isnan(precopy.finish(empty, 5).finish_cycle).all()


def test_the_table_of_a_run_survives_files(tmp_path):
    table = small(seed=None, schedule="rounds").to_xarray()
    table.to_netcdf(tmp_path / "run.nc")
    table.to_zarr(tmp_path / "run.zarr", zarr_format=2, consolidated=False)
    for read in (
        xarray.load_dataset(tmp_path / "run.nc"),
        xarray.open_zarr(tmp_path / "run.zarr", consolidated=False),
    ):
        assert dict(read.attrs) == table.attrs
        assert read.identical(table)
        assert precopy.finish(read, 5).equals(precopy.finish(table, 5))


def test_the_seed_of_a_run_reproduces_it():
    def curve(seed):
        run = small(seed=seed)
        return run.seed, run.final_copy_bytes.tolist() + run.precopy_bytes.tolist()

    state = np.random.default_rng(6)
    state.random(3)
    seeds = [None, 5, np.int16(5), [1, 2], np.array([1, 2]), np.random.SeedSequence(5)]
    seeds += [state, np.random.PCG64(5), np.random.MT19937(5)]
    for given_seed in seeds:
        seed, expected = curve(given_seed)
        assert seed is not None
        assert curve(seed)[1] == expected
    run = small(seed=state)
    assert curve(run.seed)[1] == curve(run.seed)[1]  # each copy is a new one
    assert type(small(seed=np.int16(5)).seed) is int
    unseeded = small(seed=None)
    assert unseeded.to_xarray().attrs["seed"] == str(unseeded.seed)
    assert f"seed {unseeded.seed}" in repr(unseeded)
    assert small(writes=WriteTrace([1] * 10)).seed is None
    for wrong in (True, np.True_, {1, 2}, {1: 2}):
        with pytest.raises(TypeError, match=r"^seed: expected"):
            small(seed=wrong)


def test_seeds():
    def result(seed):
        return small(seed=seed, cycles=200).final_copy_bytes.tolist()

    assert result(4) == result(np.random.SeedSequence(4)) == result(np.random.default_rng(4))
    assert result(4) != result(5)
    assert result(None) != result(None)


def test_a_generator_is_advanced_by_the_writes_made():
    generator, twin = np.random.default_rng(3), np.random.default_rng(3)
    small(seed=generator)
    twin.integers(0, 2**64 - 1, 10, dtype=np.uint64, endpoint=True)
    assert generator.bit_generator.state == twin.bit_generator.state


@pytest.mark.model("writes", "random.draw")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("schedule", ["cycles", "rounds"])
def test_a_drawn_trace_gives_the_run_of_its_seed(order, schedule):
    files = FileSet(np.arange(300) % 7)
    workload = Workload.zipf(files, 0.8)
    options = {"cycle": Cycle(40, 1.0, 2.0), "cycles": 30, "schedule": schedule, "order": order}
    drawn = simulate(files, workload, seed=12, **options)
    traced = simulate(files, workload.draw(1200, 12), **options)
    assert drawn.final_copy_bytes.tolist() == traced.final_copy_bytes.tolist()
    assert drawn.resent_bytes.tolist() == traced.resent_bytes.tolist()


def test_a_trace_may_be_longer_than_needed():
    trace = WORKLOAD.draw(10, 1).file_id.tolist()
    longer = small(writes=WriteTrace([*trace, 1, 1, 2]))
    assert longer.final_copy_bytes.tolist() == small().final_copy_bytes.tolist()


@st.composite
def runs(draw, schedules=("cycles", "rounds")):
    n = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = rng.integers(0, 100, n)
    read_only = rng.random(n) < 0.3
    files = FileSet(sizes, read_only)
    workload = Workload.uniform(files)
    total = max(int(sizes.sum()), 1)
    options = {
        "order": draw(st.sampled_from([*ORDERS, rng.random(n).round(1)])),
        "schedule": draw(st.sampled_from(schedules)),
        "budget": draw(st.sampled_from(["whole", "carry", "skip"])),
        "cycle": Cycle(draw(st.integers(1, 9)), 1.0, draw(st.integers(100, 100 + total))),
        "cycles": draw(st.integers(1, 25)),
        "seed": draw(st.integers(0, 99)),
    }
    return files, workload, options


@pytest.mark.model("cycle.record")
@given(runs())
def test_bytes_are_conserved(given_run):
    """Everything has been sent or is pending, and a cycle sends no more than its budget."""
    files, workload, options = given_run
    run = simulate(files, workload, **options)
    first_time = run.precopy_bytes - run.resent_bytes
    assert (run.final_copy_bytes >= files.total_bytes - first_time).all()
    assert (run.final_copy_bytes <= files.total_bytes).all()
    assert (first_time <= files.total_bytes).all()
    sent = np.diff(run.precopy_bytes, prepend=0)
    assert (sent >= 0).all()
    assert (np.diff(run.resent_bytes, prepend=0) >= 0).all()
    assert (np.diff(first_time, prepend=0) >= 0).all()
    if options["budget"] != "carry":
        assert (sent <= options["cycle"].budget_bytes).all()
    assert (run.precopy_bytes <= options["cycle"].budget_bytes * run.steps).all()


@given(runs(), st.sampled_from([2, 3, 1000, 2**30]))
def test_scale_does_not_matter(given_run, factor):
    files, workload, options = given_run
    run = simulate(files, workload, **options)
    cycle = options["cycle"]
    larger = Cycle(cycle.writes, cycle.write_seconds, cycle.bandwidth * factor)
    scaled = simulate(
        FileSet(files.size_bytes * factor, files.read_only), workload, **options | {"cycle": larger}
    )
    for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes"):
        assert getattr(scaled, name).tolist() == (getattr(run, name) * factor).tolist()


@pytest.mark.parametrize("budget", ["whole", "carry", "skip"])
@pytest.mark.parametrize("schedule", ["cycles", "rounds"])
@pytest.mark.parametrize(("count", "per_cycle"), [(1, 1), (10, 3), (12, 3), (100, 7), (7, 100)])
def test_without_writes_the_link_decides(count, per_cycle, schedule, budget):
    """Equal files, nothing written: count / per_cycle cycles, rounded up, and no byte twice."""
    files = FileSet([10] * count, [True] * count)
    run = simulate(
        files,
        WriteTrace([]),
        cycle=Cycle(1, 1.0, 10 * per_cycle),
        cycles=count + 1,
        schedule=schedule,
        budget=budget,
        threshold_bytes=0,
    )
    assert run.cycles == -(-count // per_cycle)
    assert run.precopy_bytes[-1] == 10 * count
    assert run.resent_bytes[-1] == 0


def test_uniform_writes_leave_what_the_closed_form_says():
    """All files fit in each cycle, so after it those written in it are pending: 1 - (1 - p)^w."""
    n, writes, cycles = 200, 150, 4000
    files = FileSet([1] * n)
    run = simulate(
        files, Workload.uniform(files), cycle=Cycle(writes, 1.0, n), cycles=cycles, seed=21
    )
    clean, pair = (1 - 1 / n) ** writes, (1 - 2 / n) ** writes
    mean = n * (1 - clean)
    variance = n * (n - 1) * (pair - clean**2) + n * clean * (1 - clean)
    z = (run.final_copy_bytes.mean() - mean) / np.sqrt(variance / cycles)
    assert abs(z) < 4
    spread = run.final_copy_bytes.var(ddof=1) / variance
    assert abs(spread - 1) / np.sqrt(2 / (cycles - 1)) < 4


def test_one_slow_file_among_many_is_clean_for_a_geometric_time():
    """A file with share p, sent at once when dirty: pending after a cycle with 1 - (1 - p)^w."""
    share = np.array([0.001, 0.999])
    files = FileSet([1, 10**6])
    cycles, writes = 20_000, 100
    run = simulate(
        files, Workload(share), "size-ascending", Cycle(writes, 1.0, 10**6), cycles, seed=8,
        budget="skip",
    )  # fmt: skip
    pending = run.final_copy_bytes % 10**6
    chance = 1 - 0.999**writes
    z = (pending.mean() - chance) / np.sqrt(chance * (1 - chance) / cycles)
    assert abs(z) < 4


def test_import_of_the_package_runs_nothing_twice():
    """`python -W error` finds no deprecation in importing and running."""
    script = (
        "import precopy; f = precopy.FileSet([1, 2]);"
        "print(precopy.simulate(f, precopy.Workload.uniform(f), cycles=2, seed=1).cycles)"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("2\n", "")


def test_public_names():
    for name in precopy.__all__:
        assert hasattr(precopy, name)
