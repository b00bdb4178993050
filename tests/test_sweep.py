"""Grids of runs: every run is `simulate`'s, whoever made it, and the dataset tells how."""

import itertools
import json
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from pathlib import Path

import numpy as np
import pandas
import pytest
import tqdm.auto
import xarray
from distributed import Client, LocalCluster, WorkerPlugin

import precopy
from precopy import _core, execution

FILES = precopy.FileSet.from_classes(
    [100_000, 200_000, 400_000], read_only=[5, 4, 3], read_write=[20, 18, 12]
)
LARGER = precopy.FileSet(FILES.size_bytes * 2, FILES.read_only)
SHORTER = precopy.FileSet([300_000] * 7)
CYCLE = precopy.Cycle(writes=25, write_seconds=0.1, bandwidth=6e5)
FAST = precopy.Cycle(writes=10, write_seconds=0.2, bandwidth=9e5)
WRITES = {
    "uniform": precopy.Workload.uniform(FILES),
    "zipf": precopy.Workload.zipf(FILES, 1.2, seed=4),
    "skewed": precopy.Workload.shares(FILES, (1, 9)),
}
KEY = np.cos(np.arange(len(FILES)))
HISTORY = WRITES["zipf"].draw(300, seed=9).counts(FILES)
CURVES = ["final_copy_bytes", "precopy_bytes", "resent_bytes"]

# Enough combinations that every kind of column occurs: integers, NaN behind the end, rounds.
STUDY = {
    "writes": WRITES,
    "order": ["size-ascending", "size-descending", "update-frequency"],
    "seed": range(5),
    "cycle": CYCLE,
    "cycles": 40,
    "threshold_bytes": 7_000_000,
}


def study(**options):
    return precopy.sweep(FILES, **{**STUDY, **options})


@pytest.fixture(scope="module")
def reference():
    return study()


@pytest.fixture
def runs_made(monkeypatch):
    """The options of every run that this process makes."""
    made = []
    real = _core.simulate

    def simulate(**arguments):
        made.extend(arguments["options"])
        return real(**arguments)

    monkeypatch.setattr(_core, "simulate", simulate)
    return made


def values_of(value):
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, range)) else None


def without_idle(options):
    """Leave out what means nothing to a run; a sweep takes it if any other run uses it."""
    order, rounds = options.get("order", "update-frequency"), options.get("schedule") == "rounds"
    changing = isinstance(order, str) and not order.startswith("size")
    idle = [] if changing and not rounds else ["frequency"]
    idle += [] if changing else ["history"]
    idle += [] if rounds else ["dirty_tracking", "rounds"]
    idle += [] if options.get("cost") == "delta" else ["write_bytes"]
    return {name: value for name, value in options.items() if name not in idle}


def assert_every_run_equals_simulate(dataset, grid):
    swept = {name: values_of(value) for name, value in grid.items()}
    swept = {name: values for name, values in swept.items() if values is not None}
    count = 0
    for places in itertools.product(*(range(len(values)) for values in swept.values())):
        at = dict(zip(swept, places, strict=True))
        chosen = {**grid, **{name: swept[name][i] for name, i in at.items()}}
        run = precopy.simulate(**without_idle(chosen))
        found = dataset.isel(at)
        assert found.cycles_run == run.cycles
        assert found.converged == run.converged
        assert found.downtime_s == run.downtime_s
        for name, curve in run.to_xarray().data_vars.items():
            values = found[name].values
            assert values[: run.cycles].tolist() == curve.values.tolist(), (name, at)
            assert np.isnan(values[run.cycles :]).all(), (name, at)
        count += 1
    assert count == dataset.cycles_run.size


GRIDS = {
    "no dimension": {"seed": 3},
    "what is simulated": {
        "files": {"small": FILES, "large": LARGER},
        "writes": WRITES,
        "cycle": {"slow": CYCLE, "fast": FAST},
        "seed": [11, 5],
    },
    "file sets of different lengths": {
        "files": {"many": precopy.FileSet(FILES.size_bytes), "few": SHORTER},
        "writes": precopy.WriteTrace(np.full(500, 6)),
        "read_only_first": False,
        "cycles": 20,
    },
    "orders and estimates": {
        "order": {"updates": "update-frequency", "expected": "expected-update", "own": KEY},
        "frequency": ["count", "last-cycle"],
        "history": {"none": None, "recorded": HISTORY},
        "read_only_first": [None, True, False],
        "seed": 2,
    },
    "half-lives": {"frequency": "exponential", "half_life": [0.5, 3, 20.0], "seed": [1, 2]},
    "budgets and lengths": {
        "budget": ["whole", "carry", "skip"],
        "cycles": [1, 7, 30],
        "seed": range(2, 8, 3),
    },
    "thresholds": {"threshold_bytes": [None, 0, 7.3e6, 1e9], "seed": range(3), "cycles": 30},
    "more writes than are drawn at a time": {
        "writes": {
            "drawn": WRITES["skewed"],
            "moving": precopy.Workload.switching(
                [(0, WRITES["skewed"]), (3, WRITES["zipf"])], precopy.Cycle(3001, 0.001, 1e6)
            ),
            "recorded": WRITES["zipf"].draw(30_000, seed=1),
        },
        "order": ["size-descending", "update-frequency"],
        "cycle": {"long": precopy.Cycle(4999, 0.0005, 1e6), "short": CYCLE},
        "cycles": [6, 1],
        "threshold_bytes": [None, 9e6],
        "seed": [1, 2],
    },
    "deltas and limits, drawn together": {
        "writes": WRITES["zipf"].draw(30_000, seed=2),
        "order": ["size-ascending", "expected-update"],
        "cost": ["whole", "delta"],
        "write_bytes": 700,
        "max_sends": [None, 2],
        "cycle": precopy.Cycle(3000, 0.0005, 1e6),
        "cycles": [10, 4],
    },
    "rounds": {
        "schedule": ["rounds", "cycles"],
        "dirty_tracking": ["round-start", "sent"],
        "rounds": [1, 3],
        "seed": range(2),
        "cycles": 60,
    },
}


@pytest.mark.parametrize("name", GRIDS)
def test_every_run_is_the_run_of_simulate(name):
    grid = {"files": FILES, "writes": WRITES["zipf"], "cycle": CYCLE, "cycles": 12, **GRIDS[name]}
    dataset = precopy.sweep(**grid)
    expected = [argument for argument, value in grid.items() if values_of(value) is not None]
    assert set(dataset.converged.dims) == set(expected)
    assert_every_run_equals_simulate(dataset, grid)


def test_lists_ranges_and_dicts_become_labelled_dimensions():
    dataset = precopy.sweep(
        FILES,
        WRITES,
        order=["size-ascending", "update-frequency"],
        cycle={"slow": CYCLE, "fast": FAST},
        threshold_bytes=[1e6, 5],
        read_only_first=[True, None],
        seed=range(3, 9, 2),
        cycles=4,
    )
    labels = {str(name): dataset[name].values.tolist() for name in dataset.converged.dims}
    assert labels == {
        "writes": ["uniform", "zipf", "skewed"],
        "order": ["size-ascending", "update-frequency"],
        "cycle": ["slow", "fast"],
        "threshold_bytes": [1e6, 5],
        "read_only_first": [True, None],
        "seed": [3, 5, 7],
    }
    assert dataset.final_copy_bytes.dims[-1] == "step"
    assert dataset.step.values.tolist() == [1, 2, 3, 4]
    assert dataset.bandwidth.sel(cycle="fast") == FAST.bandwidth
    assert dataset.cycle_seconds.sel(cycle="slow") == CYCLE.seconds


@pytest.mark.parametrize(
    "seed",
    [np.arange(3), (0, 1, 2), np.arange(6, dtype=np.int16)[::2] // 2, pandas.Index([0, 1, 2])],
)
def test_arrays_and_tuples_are_dimensions(seed):
    options = {"cycle": CYCLE, "cycles": 5}
    dataset = precopy.sweep(FILES, WRITES["zipf"], seed=seed, **options)
    assert dataset.identical(precopy.sweep(FILES, WRITES["zipf"], seed=[0, 1, 2], **options))
    limits = np.array([1e6, 5e6])
    dataset = precopy.sweep(FILES, WRITES["zipf"], threshold_bytes=limits, seed=1, **options)
    assert dataset.threshold_bytes.values.tolist() == [1e6, 5e6]


def test_booleans_and_none_select_as_what_they_are(tmp_path):
    dataset = precopy.sweep(
        FILES,
        WRITES["zipf"],
        cycle=CYCLE,
        cycles=5,
        seed=1,
        read_only_first=[True, False],
        threshold_bytes=[None, 5, 6e6],
        history={None: None, "recorded": HISTORY},
    )
    assert (
        dataset.sel(read_only_first=False, threshold_bytes=None, history=None).converged.ndim == 0
    )
    assert dataset.sel(threshold_bytes=5, history="recorded").sizes["read_only_first"] == 2
    dataset.to_netcdf(tmp_path / "one.nc")
    read = xarray.load_dataset(tmp_path / "one.nc")
    assert read.attrs == dataset.attrs
    for limit in (None, 5, 6e6):
        one = read.sel(read_only_first=True, threshold_bytes=limit, history="recorded")
        other = dataset.sel(read_only_first=True, threshold_bytes=limit, history="recorded")
        assert one.final_copy_bytes.equals(other.final_copy_bytes)
    both = precopy.sweep(
        FILES, WRITES["zipf"], cycle=CYCLE, cycles=5, seed=1, read_only_first=[None, True, False]
    )
    for value in (None, True, False):
        assert both.sel(read_only_first=value).converged.ndim == 0


def test_a_list_of_one_value_is_a_dimension_and_a_single_value_is_not():
    dataset = precopy.sweep(FILES, WRITES["zipf"], order=["size-ascending"], seed=1, cycles=3)
    assert dict(dataset.sizes) == {"order": 1, "step": 3, "file": len(FILES)}


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "i"),
        ({"budget": ["carry", "skip"], "seed": range(3)}, "i"),
        ({"cycles": [9, 9.0 + 1]}, "f"),
        ({"threshold_bytes": 0}, "f"),
        ({"threshold_bytes": [None, 0]}, "f"),
        ({"schedule": "rounds"}, "f"),
        ({"schedule": ["cycles", "rounds"]}, "f"),
    ],
    ids=str,
)
def test_curves_are_integers_unless_runs_can_end_at_different_steps(options, kind):
    dataset = precopy.sweep(
        FILES, WRITES["zipf"], **{"seed": 1, "cycle": CYCLE, "cycles": 9, **options}
    )
    for name in CURVES:
        assert dataset[name].dtype == {"i": np.int64, "f": np.float64}[kind]
    assert dataset.cycles_run.dtype == np.int64
    assert dataset.converged.dtype == np.bool_


def test_variables_tell_their_names_and_units(reference):
    for name in CURVES:
        assert reference[name].attrs["units"] == "bytes"
        assert reference[name].attrs["long_name"]
    assert reference.downtime_s.attrs["units"] == "s"
    assert reference.bandwidth.attrs["units"] == "bytes/s"
    assert reference.attrs["precopy_version"] == precopy.__version__


def test_the_bound_belongs_to_files_writes_and_cycle_alone():
    dataset = precopy.sweep(
        {"small": FILES, "large": LARGER},
        WRITES,
        cycle={"slow": CYCLE, "fast": FAST},
        seed=range(2),
        cycles=2,
    )
    assert set(dataset.bound_bytes.dims) == {"files", "writes", "cycle"}
    for files, writes, cycle in itertools.product((FILES, LARGER), WRITES, (CYCLE, FAST)):
        found = dataset.bound_bytes.sel(
            files="large" if files is LARGER else "small",
            writes=writes,
            cycle="fast" if cycle is FAST else "slow",
        )
        assert found == precopy.bound.final_copy_bytes(files, WRITES[writes], cycle)


def test_a_trace_has_no_bound():
    trace = WRITES["zipf"].draw(100, seed=1)
    dataset = precopy.sweep(FILES, {"drawn": trace, "zipf": WRITES["zipf"]}, cycle=FAST, cycles=5)
    assert "bound_bytes" not in dataset


# Seeds and common random numbers.


def test_the_same_seed_gives_every_order_the_same_writes(reference):
    for writes, seed in itertools.product(WRITES, STUDY["seed"]):
        trace = WRITES[writes].draw(40 * CYCLE.writes, seed=seed)
        for order in STUDY["order"]:
            run = precopy.simulate(
                FILES, trace, order=order, cycle=CYCLE, cycles=40, threshold_bytes=7_000_000
            )
            found = reference.sel(writes=writes, seed=seed, order=order).resent_bytes
            assert found.dropna("step").values.tolist() == run.resent_bytes.tolist()


def test_without_a_seed_one_is_drawn_recorded_and_shared():
    first = study(seed=None, threshold_bytes=None)
    second = study(seed=None, threshold_bytes=None)
    assert not first.precopy_bytes.equals(second.precopy_bytes)
    recorded = json.loads(first.attrs["parameters"])["seed"]
    again = study(seed=recorded, threshold_bytes=None)
    assert first.identical(again)
    trace = WRITES["zipf"].draw(40 * CYCLE.writes, seed=recorded)
    for order in STUDY["order"]:
        run = precopy.simulate(FILES, trace, order=order, cycle=CYCLE, cycles=40)
        found = first.sel(writes="zipf", order=order).final_copy_bytes
        assert found.values.tolist() == run.final_copy_bytes.tolist()


@pytest.mark.parametrize("many", [False, True], ids=["one", "list"])
@pytest.mark.parametrize(
    "seed",
    [
        np.random.default_rng(1),
        np.random.PCG64(1),
        np.random.RandomState(1),
    ],
    ids=lambda seed: type(seed).__name__,
)
def test_generators_are_refused(seed, many, runs_made):
    with pytest.raises(TypeError, match=r"^seed: "):
        study(seed=[1, seed] if many else seed)
    assert not runs_made


# Refusals, all of them before the first run.

READ_ONLY_FILE = int(np.flatnonzero(FILES.read_only)[0])
REFUSED = {
    "unknown name": ({"ordr": ["size-ascending"]}, TypeError, "ordr"),
    "empty list": ({"order": []}, ValueError, "order"),
    "empty range": ({"seed": range(0)}, ValueError, "seed"),
    "empty dict": ({"writes": {}}, ValueError, "writes"),
    "twice": ({"order": ["size-ascending", "size-ascending"]}, ValueError, "order"),
    "twice, as a float": ({"seed": [1, 2, 1]}, ValueError, "seed"),
    "twice, other types": ({"threshold_bytes": [1, 1.0]}, ValueError, "threshold_bytes"),
    "twice, as text": ({"writes": {"1": WRITES["zipf"], 1: WRITES["zipf"]}}, ValueError, "writes"),
    "order": ({"order": ["size-ascending", "sise"]}, ValueError, "order"),
    "order of another type": ({"order": ["size-ascending", None]}, TypeError, "order"),
    "order for other files": ({"order": {"a": KEY, "b": KEY[1:]}}, ValueError, "order"),
    "files": ({"files": [FILES, "a"]}, TypeError, "files"),
    "file beyond the budget": (
        {"cycle": {"a": CYCLE, "b": precopy.Cycle(25, 0.1, 1e4)}},
        ValueError,
        "files",
    ),
    "workload for other files": (
        {"files": {"a": FILES, "b": SHORTER}, "writes": WRITES["zipf"]},
        ValueError,
        "writes",
    ),
    "share of a read-only file": (
        {"writes": {**WRITES, "all": precopy.Workload(np.ones(len(FILES)))}},
        ValueError,
        "writes",
    ),
    "trace too short": (
        {"writes": {**WRITES, "trace": precopy.WriteTrace([20] * 999)}},
        ValueError,
        "writes",
    ),
    "trace out of range": (
        {"writes": {**WRITES, "trace": precopy.WriteTrace([20] * 999 + [len(FILES)])}},
        ValueError,
        "writes",
    ),
    "trace on a read-only file": (
        {"writes": {**WRITES, "trace": precopy.WriteTrace([READ_ONLY_FILE] * 1000)}},
        ValueError,
        "writes",
    ),
    "cycle": ({"cycle": {"a": CYCLE, "b": 5}}, TypeError, "cycle"),
    "cycles": ({"cycles": [3, 0]}, ValueError, "cycles"),
    "threshold": ({"threshold_bytes": [1, -1]}, ValueError, "threshold_bytes"),
    "schedule": ({"schedule": ["cycles", "circles"]}, ValueError, "schedule"),
    "frequency": ({"frequency": ["count", "often"]}, ValueError, "frequency"),
    "half-life": ({"frequency": "exponential", "half_life": [1, 0]}, ValueError, "half_life"),
    "half-life without a use": ({"half_life": [None, 1.0]}, ValueError, "half_life"),
    "half-life missing": ({"frequency": ["count", "exponential"]}, ValueError, "half_life"),
    "history": ({"history": {"a": HISTORY, "b": -HISTORY}}, ValueError, "history"),
    "budget": ({"budget": ["whole", "half"]}, ValueError, "budget"),
    "dirty tracking": ({"dirty_tracking": ["sent", "lost"]}, ValueError, "dirty_tracking"),
    "read-only first": ({"read_only_first": [True, "yes"]}, TypeError, "read_only_first"),
    "rounds": ({"schedule": "rounds", "rounds": [1, 0]}, ValueError, "rounds"),
    "negative seed": ({"seed": [1, -1]}, (TypeError, ValueError), "seed"),
    "seed that is no number": ({"seed": [1, "x"]}, (TypeError, ValueError), "seed"),
    "seed that is not whole": ({"seed": [1, 1.5]}, (TypeError, ValueError), "seed"),
    "keep": ({"keep": "everything"}, ValueError, "keep"),
    "a set": ({"seed": {1, 2}}, TypeError, "seed"),
    "a set of names": ({"order": {"size-ascending"}}, TypeError, "order"),
    "rows of seeds": ({"seed": np.arange(4).reshape(2, 2)}, ValueError, "seed"),
    "progress": ({"progress": "yes"}, TypeError, "progress"),
    "executor's class": ({"executor": ThreadPoolExecutor}, TypeError, "executor"),
    "executor": ({"executor": "threads"}, TypeError, "executor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_argument_anywhere_in_the_grid_fails_before_the_first_run(case, runs_made):
    options, error, key = REFUSED[case]
    with pytest.raises(error, match=rf"^{key}\b"):
        precopy.sweep(**{"files": FILES, **STUDY, **options})
    assert not runs_made


def test_cycles_that_differ_a_little_are_different():
    near = precopy.Cycle(CYCLE.writes, CYCLE.write_seconds, CYCLE.bandwidth + 0.5)
    dataset = precopy.sweep(FILES, WRITES["zipf"], cycle=[CYCLE, near], seed=1, cycles=2)
    assert len(set(dataset.cycle.values.tolist())) == 2
    assert dataset.bandwidth.values.tolist() == [CYCLE.bandwidth, near.bandwidth]


# Executors.


class Immediately(Executor):
    """Runs everything at once in the calling thread, and counts what it was given."""

    def __init__(self):
        self.submitted = 0

    def submit(self, fn, /, *args, **kwargs):
        self.submitted += 1
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as workers:
        yield workers


@pytest.fixture
def client(cluster):
    with Client(cluster) as one:
        yield one


@pytest.mark.parametrize("processors", [1, 2, 3, 64])
@pytest.mark.parametrize("keep", ["curves", "summary"])
def test_the_partition_does_not_matter(processors, keep, monkeypatch):
    expected = study(keep=keep)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    assert study(keep=keep).identical(expected)
    executor = Immediately()
    assert study(keep=keep, executor=executor).identical(expected)
    assert executor.submitted == {1: 4, 2: 8, 3: 15, 64: 45}[processors]


@pytest.mark.parametrize(
    ("limit", "value", "together"), [("_GROUP_ENTRIES", 250, 2), ("_CHUNK_WRITES", 1, 1)]
)
def test_runs_in_memory_together_and_per_chunk_are_limited(
    limit, value, together, monkeypatch, reference
):
    """A run has 62 files and 40 cycles, three share a seed: two fit together, or one."""
    real = _core.simulate
    calls = []

    def simulate(**arguments):
        calls.append(len(arguments["options"]))
        return real(**arguments)

    monkeypatch.setattr(_core, "simulate", simulate)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert study().identical(reference)
    assert calls == [3] * 15
    calls.clear()
    monkeypatch.setattr(execution, limit, value)
    assert study().identical(reference)
    assert max(calls) == together
    assert sum(calls) == 45


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_threads_give_the_identical_dataset(workers, reference):
    with ThreadPoolExecutor(workers) as executor:
        assert study(executor=executor).identical(reference)
        # The executor is the caller's and still works.
        assert study(executor=executor).identical(reference)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_give_the_identical_dataset(method, reference):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        assert study(executor=executor).identical(reference)
        assert study(executor=executor, keep="summary").identical(study(keep="summary"))


def test_a_client_is_told_how_to_make_an_executor(client, runs_made):
    with pytest.raises(TypeError, match=r"^executor: .*client\.get_executor\(\).*Client"):
        study(executor=client)
    assert not runs_made


def test_executors_that_take_no_work():
    class Foreign:
        def submit(self, fn, /, *args):
            return fn(*args)

    with pytest.raises(TypeError, match=r"^executor: .* concurrent\.futures\.Future, got list"):
        study(executor=Foreign())
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    with pytest.raises(RuntimeError, match=r"^executor: .*ThreadPoolExecutor.*after shutdown"):
        study(executor=closed)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(BrokenExecutor):
            pool.submit(os.abort).result()
        with pytest.raises(RuntimeError, match=r"^executor: .*ProcessPoolExecutor"):
            study(executor=pool)


def test_dask_workers_give_the_identical_dataset(client, reference):
    with client.get_executor() as executor:
        assert study(executor=executor).identical(reference)
        rounds = {"schedule": "rounds", "threshold_bytes": None}
        assert study(executor=executor, **rounds).identical(study(**rounds))


class HangOnSecondCall(WorkerPlugin):
    """Every run leaves a mark; the first process to call the core again never comes back."""

    name = "hang-on-second-call"

    def __init__(self, folder):
        self.folder = folder

    def setup(self, worker):
        marks = Path(self.folder, f"{os.getpid()}.runs")
        victim = Path(self.folder, "victim")
        self.real = real = _core.simulate

        def simulate(**arguments):
            again = marks.exists()
            with marks.open("a") as stream:
                stream.write("." * len(arguments["options"]))
            # Both processes may get here at once; only one can create the file.
            if again:
                try:
                    with victim.open("x") as stream:
                        stream.write(str(os.getpid()))
                except FileExistsError:
                    return real(**arguments)
                time.sleep(3600)
            return real(**arguments)

        _core.simulate = simulate

    def teardown(self, worker):
        _core.simulate = self.real


def test_a_killed_dask_worker_costs_only_its_unfinished_runs(
    client, reference, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    client.register_plugin(HangOnSecondCall(str(tmp_path)))
    killed = []

    def kill():
        victim = tmp_path / "victim"
        while not (victim.exists() and victim.read_text()):
            time.sleep(0.01)
        killed.append(int(victim.read_text()))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        with client.get_executor() as executor:
            dataset = study(executor=executor, cache=tmp_path / "cache")
    finally:
        client.unregister_worker_plugin("hang-on-second-call")
    killer.join()
    assert dataset.identical(reference)
    made = {path.stem: path.stat().st_size for path in tmp_path.glob("*.runs")}
    # It made the three runs of one seed, the first half of a chunk, and died in the second half;
    # the others made each run once.
    assert made.pop(str(killed[0])) == 6
    assert sum(made.values()) == reference.cycles_run.size
    assert study(cache=tmp_path / "cache").identical(reference)


def test_an_error_in_a_run_is_raised_and_ends_the_others(monkeypatch):
    real = _core.simulate
    started = []

    def simulate(**arguments):
        started.append(1)
        if len(started) == 3:
            raise RuntimeError("out of luck")
        return real(**arguments)

    monkeypatch.setattr(_core, "simulate", simulate)
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="out of luck"):
        study(seed=range(200))
    assert len(started) < 200 * 9
    # The runs' threads have ended; that of the progress bar may stay.
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if not isinstance(thread, tqdm.TMonitor)]


# The cache.


def rows(cache):
    with sqlite3.connect(cache / "runs.sqlite", timeout=60) as connection:
        count = connection.execute("SELECT count(*) FROM run").fetchone()[0]
    connection.close()
    return count


@pytest.mark.parametrize("keep", ["curves", "summary"])
def test_a_cached_sweep_makes_no_run_again(keep, tmp_path, runs_made):
    first = study(keep=keep, cache=tmp_path / "new" / "cache")
    assert len(runs_made) == rows(tmp_path / "new" / "cache") == first.cycles_run.size
    runs_made.clear()
    assert study(keep=keep, cache=tmp_path / "new" / "cache").identical(first)
    assert not runs_made
    assert first.identical(study(keep=keep))


def test_a_sweep_takes_from_the_cache_what_it_shares_with_others(tmp_path, runs_made):
    study(seed=range(2, 4), cache=tmp_path)
    runs_made.clear()
    assert study(cache=tmp_path).identical(study())
    # Two of five seeds were there; then all of them without a cache.
    assert len(runs_made) == 9 * 3 + 45


@pytest.mark.parametrize(
    "change",
    [
        {"keep": "summary"},
        {"seed": 6},
        {"order": "size-descending"},
        {"order": KEY},
        {"cycle": FAST},
        {"cycles": 39},
        {"threshold_bytes": 7_000_001},
        {"threshold_bytes": None},
        {"schedule": "rounds"},
        {"schedule": "rounds", "rounds": 3},
        {"schedule": "rounds", "dirty_tracking": "sent"},
        {"read_only_first": False},
        {"frequency": "last-cycle"},
        {"frequency": "exponential", "half_life": 2.0},
        {"history": HISTORY},
        {"budget": "carry"},
        {"writes": WRITES["uniform"]},
        {"writes": WRITES["zipf"].draw(1000, seed=1)},
        {"files": LARGER},
        {"files": precopy.FileSet(FILES.size_bytes)},
    ],
    ids=lambda change: " ".join(f"{name}={value}"[:40] for name, value in change.items()),
)
def test_a_cached_run_is_not_taken_for_another(change, tmp_path, runs_made):
    base = {
        "files": FILES,
        "writes": WRITES["zipf"],
        "order": "update-frequency",
        "seed": 5,
        "cycle": CYCLE,
        "cycles": 40,
        "threshold_bytes": 7_000_000,
        "cache": tmp_path,
    }
    precopy.sweep(**base)
    runs_made.clear()
    other = precopy.sweep(**{**base, **change})
    assert len(runs_made) == 1
    assert other.identical(precopy.sweep(**{**base, **change, "cache": None}))


def test_another_version_does_not_trust_the_cache(tmp_path, monkeypatch, runs_made):
    study(cache=tmp_path)
    runs_made.clear()
    monkeypatch.setattr(execution, "__version__", "0.0.0")
    study(cache=tmp_path)
    assert len(runs_made) == 45


def test_sweeps_may_share_a_cache_at_the_same_time(tmp_path, reference):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: study(cache=tmp_path), range(3)))
    assert all(one.identical(reference) for one in found)
    assert rows(tmp_path) == 45


def damage_everything(path):
    path.write_bytes(b"This is not a database. " * 400)


def damage_pages(path):
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def sql(statement):
    def run(path):
        with sqlite3.connect(path) as connection:
            connection.executescript(statement)
        connection.close()

    return run


DAMAGES = {
    "not a database": damage_everything,
    "pages overwritten": damage_pages,
    "a table of somebody else": sql("DROP TABLE run; CREATE TABLE run (name, age)"),
    "half a number": sql("UPDATE run SET data = substr(data, 1, 37)"),
    "one curve of three": sql("UPDATE run SET data = substr(data, 1, 8 * cycles)"),
    "fewer cycles than data": sql("UPDATE run SET cycles = cycles * 3"),
    "no data": sql("UPDATE run SET data = NULL"),
    "another number": sql("UPDATE run SET data = x'01' || substr(data, 2)"),
    "fewer cycles": sql("UPDATE run SET cycles = 1, data = substr(data, 1, 24)"),
    "another reason to stop": sql("UPDATE run SET stop = 'threshold'"),
    "no checksum": sql("UPDATE run SET checksum = NULL"),
    "another run's results": sql(
        "UPDATE run SET (stop, cycles, data, checksum) = (SELECT stop, cycles, data, checksum"
        " FROM run ORDER BY key LIMIT 1)"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_cache_is_an_error_that_names_it(damage, tmp_path):
    study(cache=tmp_path, threshold_bytes=None)
    DAMAGES[damage](tmp_path / "runs.sqlite")
    with pytest.raises((ValueError, OSError), match=r"cache.*runs\.sqlite|runs\.sqlite.*cache"):
        study(cache=tmp_path, threshold_bytes=None)


# Pairs of seeds that look alike; the second is given to a cache that holds runs of the first.
LONG = np.arange(5000)
CHANGED = np.where(LONG == 2500, 7, LONG)
ALIKE = {
    "long arrays": (LONG, CHANGED),
    "long tuples": ({"x": tuple(LONG.tolist())}, {"x": tuple(CHANGED.tolist())}),
    "seed sequences": (np.random.SeedSequence(LONG), np.random.SeedSequence(CHANGED)),
    "spawned": tuple(np.random.SeedSequence(1).spawn(2)),
    "pool sizes": (np.random.SeedSequence(1), np.random.SeedSequence(1, pool_size=8)),
    "own type": (type("Seed", (int,), {"__repr__": lambda self: "Seed"})(1), 2),
}


@pytest.mark.parametrize("name", ALIKE)
def test_seeds_that_look_alike_are_told_apart(name, tmp_path):
    def sweep(seed, **options):
        seed = seed if isinstance(seed, dict) else {"x": seed}
        return precopy.sweep(FILES, WRITES["zipf"], cycle=CYCLE, cycles=9, seed=seed, **options)

    one, other = ALIKE[name]
    first = sweep(one, cache=tmp_path)
    second = sweep(other, cache=tmp_path)
    assert second.identical(sweep(other))
    assert not second.final_copy_bytes.equals(first.final_copy_bytes)


def test_equal_seeds_of_other_types_share_their_runs(tmp_path, runs_made):
    for seed in (5, np.int16(5), np.random.SeedSequence(5), [5]):
        precopy.sweep(
            FILES, WRITES["zipf"], cycle=CYCLE, cycles=9, seed={"x": seed}, cache=tmp_path
        )
    assert len(runs_made) == 1


def test_another_build_of_the_core_does_not_trust_the_cache(tmp_path, monkeypatch, runs_made):
    study(cache=tmp_path)
    built = tmp_path / "core.so"
    built.write_bytes(Path(_core.__file__).read_bytes() + b"x")
    for name, value in (("file", built), ("numpy", "1.0")):
        runs_made.clear()
        with monkeypatch.context() as patch:
            if name == "file":
                patch.setattr(_core, "__file__", str(value))
                execution.core_digest.cache_clear()
            else:
                patch.setattr(np, "__version__", value)
            study(cache=tmp_path)
        execution.core_digest.cache_clear()
        assert len(runs_made) == 45, name


def test_a_cache_without_checksums_is_kept_and_not_trusted(tmp_path, runs_made):
    """As an earlier version left it, with a row under a key of today."""
    study(cache=tmp_path)
    sql("ALTER TABLE run DROP COLUMN checksum; DELETE FROM run")(tmp_path / "runs.sqlite")
    runs_made.clear()
    first = study(cache=tmp_path)
    assert len(runs_made) == 45
    assert study(cache=tmp_path).identical(first)
    assert len(runs_made) == 45


@pytest.mark.parametrize("limit", ["PRAGMA max_page_count = 3", "PRAGMA query_only = 1"])
def test_a_cache_that_cannot_grow_costs_no_run(limit, tmp_path, monkeypatch, reference):
    """A full disk, or a place that only may be read."""
    real = sqlite3.connect

    def connect(*arguments, **options):
        connection = real(*arguments, **options)
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.execute(limit)
        return connection

    study(seed=[2], cache=tmp_path)
    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.warns(UserWarning, match=r"^cache: .*runs\.sqlite, got .*are not kept"):
        assert study(cache=tmp_path).identical(reference)


@pytest.mark.parametrize("cache", [5, "", b"", ["x"]])
def test_a_cache_that_is_no_path(cache, runs_made):
    with pytest.raises(TypeError, match=r"^cache: expected the path of a directory, got"):
        study(cache=cache)
    assert not runs_made


def test_a_cache_that_is_a_file_is_an_error_that_names_it(tmp_path, runs_made):
    (tmp_path / "cache").write_text("")
    with pytest.raises(OSError, match=str(tmp_path / "cache")):
        study(cache=tmp_path / "cache")
    assert not runs_made


# Ctrl-C. A child process makes the runs; SIGINT may be ignored where the tests run in the
# background, so the child takes it back.

CHILD = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import precopy
from precopy import _core
import test_sweep

real = _core.simulate
"""


def interrupted(script, is_time, tmp_path):
    """Run `script` after CHILD, send SIGINT when `is_time()`; return its exit code and stderr."""
    program = CHILD + textwrap.dedent(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as child:
        try:
            assert child.stdout.readline() == "started\n"
            while not is_time():
                time.sleep(0.01)
            child.send_signal(signal.SIGINT)
            # Without the interrupt it would take hours.
            errors = child.communicate(timeout=60)[1]
        finally:
            child.kill()
    return child.returncode, errors


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path, reference, runs_made):
    # Half of the runs are made; whoever starts another one waits for the interrupt.
    script = """
    left = list(range(22 // 3))  # calls of three runs each

    def simulate(**arguments):
        try:
            left.pop()
        except IndexError:
            os.write(1, b"started\\n")
            while not arguments["cancel"][0]:
                time.sleep(0.01)
        return real(**arguments)

    _core.simulate = simulate
    test_sweep.study(cache=sys.argv[1])
    """
    database = tmp_path / "runs.sqlite"
    code, errors = interrupted(script, lambda: database.exists() and rows(tmp_path), tmp_path)
    assert code != 0
    assert "KeyboardInterrupt" in errors
    kept = rows(tmp_path)
    assert 0 < kept <= 22
    assert study(cache=tmp_path).identical(reference)
    assert len(runs_made) == 45 - kept
    assert rows(tmp_path) == 45


@pytest.mark.parametrize("place", ["while a run is stored", "while a run is filled in"])
def test_an_interrupt_anywhere_ends_the_runs(place, monkeypatch):
    real = _core.simulate
    made = []
    give_up = threading.Event()

    def simulate(**arguments):
        made.append(arguments)
        while len(made) > 22 and not (arguments["cancel"][0] or give_up.is_set()):
            time.sleep(0.01)
        return real(**arguments)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(_core, "simulate", simulate)
    if place == "while a run is stored":
        monkeypatch.setattr(tqdm.auto.tqdm, "update", interrupt)
    else:
        monkeypatch.setattr(sys.modules["precopy.sweep"]._Table, "_fill", interrupt)
    try:
        # The traceback stays alive, as in a notebook.
        with pytest.raises(KeyboardInterrupt) as caught:
            study()
        assert caught.tb is not None
        assert all(arguments["cancel"][0] for arguments in made)
        assert len(made) < 45
    finally:
        give_up.set()


def test_ctrl_c_ends_even_one_huge_run(tmp_path):
    # 10^12 writes.
    script = """
    def simulate(**arguments):
        os.write(1, b"started\\n")
        return real(**arguments)

    _core.simulate = simulate
    precopy.sweep(test_sweep.FILES, test_sweep.WRITES["zipf"], cycles=1_000_000,
                  cycle=precopy.Cycle(1_000_000, 0.001, 1e3), keep="summary")
    """
    code, errors = interrupted(script, lambda: True, tmp_path)
    assert code != 0
    assert "KeyboardInterrupt" in errors


# What is kept, and what can be made of the dataset later.


@pytest.mark.parametrize(
    "options",
    [{}, {"threshold_bytes": None}, {"schedule": "rounds", "threshold_bytes": None}, {"cycles": 1}],
    ids=str,
)
def test_a_summary_is_what_the_curves_say(options):
    curves = study(**options)
    summary = study(keep="summary", **options)
    assert "step" not in summary.dims
    final = curves.final_copy_bytes
    last = curves.cycles_run
    expected = {
        "final_copy_bytes_least": final.min("step"),
        "final_copy_bytes_last": final.sel(step=last),
        "final_copy_bytes_steady": final.where(curves.step > last // 2).mean("step"),
        "precopy_bytes_last": curves.precopy_bytes.max("step"),
        "resent_bytes_last": curves.resent_bytes.max("step"),
    }
    for name, values in expected.items():
        # Only the mean may be summed in another order.
        np.testing.assert_allclose(
            summary[name].transpose(*values.dims),
            values,
            rtol=1e-14 if name.endswith("steady") else 0,
        )
        assert summary[name].attrs["units"] == "bytes"
        assert summary[name].attrs["long_name"]
    for name in ("cycles_run", "converged", "downtime_s", "bound_bytes", "share"):
        assert summary[name].identical(curves[name])
    assert summary.attrs == curves.attrs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold_bytes": None},
        {"schedule": "rounds", "threshold_bytes": None},
        {"keep": "summary"},
        {"cycle": {"slow": CYCLE, "fast": FAST}, "files": {"small": FILES, "large": LARGER}},
        {"order": {"naïve": "update-frequency", "キー": KEY}, "history": HISTORY},
        {"threshold_bytes": [None, 5e6], "read_only_first": [True, False]},
        {"seed": [2**63, 2**127 + 1]},
        {"seed": None},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_netcdf_gives_the_identical_dataset_back(options, tmp_path):
    dataset = precopy.sweep(**{"files": FILES, **STUDY, **options})
    dataset.to_netcdf(tmp_path / "study.nc")
    assert xarray.load_dataset(tmp_path / "study.nc").identical(dataset)


@pytest.mark.parametrize("keep", ["curves", "summary"])
def test_zarr_gives_the_identical_dataset_back(keep, tmp_path):
    dataset = study(keep=keep)
    # Zarr 3 has no text of fixed length yet.
    dataset.to_zarr(tmp_path / "study.zarr", zarr_format=2)
    assert xarray.load_dataset(tmp_path / "study.zarr", engine="zarr").identical(dataset)


def test_the_file_alone_says_how_it_was_made(tmp_path):
    original = precopy.sweep(
        {"small": FILES, "large": LARGER},
        WRITES,
        order=["size-ascending", "expected-update"],
        cycle={"slow": CYCLE, "fast": FAST},
        seed=[3, 4],
        cycles=15,
        frequency="exponential",
        half_life=[2.5, 7],
        budget="carry",
    )
    original.to_netcdf(tmp_path / "study.nc")
    dataset = xarray.load_dataset(tmp_path / "study.nc")
    arguments = json.loads(dataset.attrs["parameters"])
    files = {
        label: precopy.FileSet(
            dataset.size_bytes.sel(files=label).values,
            dataset.read_only.sel(files=label).values.astype(bool),
        )
        for label in arguments.pop("files")
    }
    writes = {
        label: precopy.Workload(dataset.share.sel(writes=label).values)
        for label in arguments.pop("writes")
    }
    cycles = {label: precopy.Cycle(**values) for label, values in arguments.pop("cycle").items()}
    for name in ("order", "seed", "half_life"):
        arguments[name] = list(arguments[name].values())
    again = precopy.sweep(files, writes, cycle=cycles, **arguments)
    for name in [*CURVES, "downtime_s", "converged", "size_bytes", "read_only"]:
        assert again[name].identical(original[name]), name
    # Normalising shares again may change their last digit.
    np.testing.assert_allclose(again.bound_bytes, original.bound_bytes, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("order", {"a": KEY, "b": KEY + 1e-9}),
        ("history", {"a": HISTORY, "b": 2 * HISTORY}),
        ("writes", {"a": precopy.WriteTrace([20, 30] * 500), "b": precopy.WriteTrace([30] * 1000)}),
        ("files", {"a": FILES, "b": precopy.FileSet(FILES.size_bytes)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_are_recorded_by_a_fingerprint_of_their_contents(name, values):
    def digests(chosen):
        dataset = precopy.sweep(**{"files": FILES, **STUDY, "seed": 1, name: chosen})
        recorded = json.loads(dataset.attrs["parameters"])[name]
        return {label: recorded[label]["sha256"] for label in chosen}

    first = digests(values)
    assert first["a"] != first["b"]
    copies = {"b": pickle.loads(pickle.dumps(values["b"]))}
    assert digests(copies)["b"] == first["b"]


def test_many_files_are_recorded_as_fingerprints():
    count = 1_000_001
    sizes = np.full(count, 10)
    dataset = precopy.sweep(
        precopy.FileSet(sizes), precopy.Workload(np.ones(count)), seed=1, cycles=1
    )
    assert "size_bytes" not in dataset
    sizes[-1] += 1
    other = precopy.sweep(
        precopy.FileSet(sizes), precopy.Workload(np.ones(count)), seed=1, cycles=1
    )
    digests = [json.loads(one.attrs["parameters"])["files"]["sha256"] for one in (dataset, other)]
    assert digests[0] != digests[1]


# The progress bar.


def test_a_progress_bar_on_demand(tmp_path, capsys):
    study(progress=True, cache=tmp_path)
    assert "45/45" in capsys.readouterr().err
    study(progress=True, cache=tmp_path)
    assert "45/45" in capsys.readouterr().err
    study(progress=False)
    study()
    assert capsys.readouterr().err == ""
