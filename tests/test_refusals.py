"""Every parameter of the public API against values of every kind: taken, or refused by name."""

import inspect
import sys
from fractions import Fraction

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import precopy
from precopy import plot, stop
from precopy.study import Study

FILES = precopy.FileSet([1000, 2000, 3000, 500], [False, False, True, False], ["a", "b", "c", "d"])
WRITES = precopy.Workload.uniform(FILES)
TRACE = precopy.WriteTrace([0, 1, 3] * 400)
CYCLE = precopy.Cycle(10, 0.1, 1e5)
RUN = {"files": FILES, "writes": WRITES, "cycle": CYCLE, "cycles": 10, "seed": 1}


class Odd:
    def __repr__(self):
        raise RuntimeError("no text for this")


VALUES = {
    "None": None,
    "empty text": "",
    "text": "x",
    "text with a zero": "a\0b",
    "long text": "y" * 100_000,
    "bytes": b"x",
    "0": 0,
    "-1": -1,
    "1.5": 1.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "2**63": 2**63,
    "10**5000": 10**5000,
    "complex": 1 + 2j,
    "fraction": Fraction(1, 3),
    "True": True,
    "NumPy's True": np.True_,
    "no list": [],
    "no dict": {},
    "dict": {"a": 1},
    "set": {1, 2},
    "frozenset": frozenset([1]),
    "nested": [[1, 2], [3, 4]],
    "ragged": [[1], [2, 3]],
    "mixed": [1, "a", None, 2],
    "booleans and numbers": [True, 2, 3, 4],
    "negative": [-1, 0, 1, 2],
    "NaN's": [float("nan")] * 4,
    "too large": [2**64] * 4,
    "long list": list(range(100_000)),
    "iterator": iter(range(3)),
    "whole 0-d": np.array(3),
    "0-d": np.array(1.5),
    "0-d object": np.array(None),
    "masked": np.ma.masked_array([1, 2, 3, 4], [0, 1, 0, 0]),
    "complex array": np.array([1 + 2j] * 4),
    "date": np.datetime64("2020-01-01"),
    "dates": np.array(["2020-01-01"] * 4, dtype="M8[D]"),
    "seconds": np.timedelta64(3, "s"),
    "objects": np.array([None, 1, "b", 3], dtype=object),
    "object": Odd(),
    "function": len,
    "type": int,
    "cycle": CYCLE,
}
SIZES = {"0", "1.5", "inf", "2**63", "fraction", "whole 0-d", "0-d"}
SEEDS = {"None", "0", "2**63", "nested", "ragged", "too large", "long list"}
FLAGS = {"True", "NumPy's True"}
PATHS = {"text", "long text"}

# Values from above that make sense there.
TAKEN = {
    "simulate.cycle": {"cycle"},
    "simulate.cycles": {"whole 0-d"},
    "simulate.threshold_bytes": SIZES | {"None"},
    "simulate.seed": SEEDS,
    "simulate.read_only_first": FLAGS | {"None"},
    "simulate.order": {"negative"},
    "simulate.half_life": {"1.5", "2**63", "fraction", "whole 0-d", "0-d"},
    "simulate.history": {"None"},
    "simulate.max_sends": {"None", "whole 0-d"},
    "simulate.max_update_rate": (SIZES - {"0", "inf"}) | {"None"},
    "simulate.write_bytes": {"0", "whole 0-d"},
    "simulate.overhead_bytes": {"None", "0", "whole 0-d"},
    "simulate.budget": {"None"},
    "simulate.rounds": {"whole 0-d"},
    "simulate.start_s": {"0"},
    "sweep.cycle": {"cycle"},
    "sweep.cycles": {"whole 0-d", "dict"},
    "sweep.threshold_bytes": SIZES | {"None", "dict", "long list"},
    "sweep.seed": (SEEDS - {"too large"}) | {"dict"},
    "sweep.read_only_first": FLAGS | {"None"},
    "sweep.half_life": {"None"},
    "sweep.budget": {"None"},
    "sweep.start_s": {"0"},
    "sweep.history": {"None"},
    "sweep.max_sends": {"None", "whole 0-d", "dict"},
    "sweep.max_update_rate": (SIZES - {"0", "inf"}) | {"None", "dict"},
    "sweep.write_bytes": {"0", "whole 0-d", "dict", "long list"},
    "sweep.overhead_bytes": {"None", "0", "whole 0-d", "dict", "long list"},
    "sweep.executor": {"None"},
    "sweep.progress": FLAGS | {"None"},
    "sweep.cache": {"None", *PATHS},
    "finish.threshold_bytes": (SIZES - {"fraction"}) | {"long list"},
    "stop.final_copy.bytes": SIZES - {"inf", "2**63"},
    "stop.downtime.seconds": SIZES - {"inf"},
    "stop.cycles.count": {"whole 0-d"},
    "stop.stall.cycles": {"whole 0-d"},
    "stop.stall.tolerance": {"0", "fraction"},
    "stop.growth.share": SIZES - {"inf"},
    "rank.order": {"negative"},
    "rank.pending": {"None"},
    "rank.updates": {"None"},
    "rank.read_only_first": FLAGS,
    "take.cost_bytes": {"no list", "long list"},
    "take.budget_bytes": {"0", "whole 0-d"},
    "take.carried_bytes": {"0", "whole 0-d"},
    "FileSet.size_bytes": {"long list"},
    "FileSet.read_only": {"None"},
    "FileSet.path": {"None"},
    "FileSet.from_directory.root": PATHS,
    "FileSet.name.file_id": {"0", "whole 0-d"},
    "Workload.share": {"long list"},
    "Workload.shares.group": {"None"},
    "Workload.zipf.exponent": (SIZES - {"inf"}),
    "Workload.zipf.seed": SEEDS,
    "Workload.draw.n": {"0", "whole 0-d"},
    "Workload.draw.seed": SEEDS,
    "WriteTrace.file_id": {"no list", "long list"},
    "WriteTrace.write_bytes": {"None"},
    "WriteTrace.count": {"None"},
    "WriteTrace.from_id": {"None"},
    "WriteTrace.present": {"None"},
    "WriteTrace.duration_ns": {"None", "whole 0-d"},
    "WriteTrace.left_out": {"None", "dict", "no dict"},
    "Cycle.writes": {"whole 0-d"},
    "Cycle.write_seconds": {"1.5", "2**63", "fraction", "whole 0-d", "0-d"},
    "Cycle.bandwidth": {"1.5", "2**63", "fraction", "whole 0-d", "0-d"},
    "bound.final_copy_bytes.cycle": {"cycle"},
    "plot.final_copy.ax": {"None"},
    "plot.final_copy.limit": (SIZES - {"inf"}) | {"None"},
    "plot.final_copy.unit": {"None"},
    "plot.precopy_bars.ax": {"None"},
    "plot.precopy_bars.unit": {"None"},
    "plot.pareto.ax": {"None"},
    "plot.pareto.unit": {"None"},
    "plot.heatmap.ax": {"None"},
    "plot.heatmap.label": {"None", "empty text", "text", "text with a zero", "long text"},
    "plot.heatmap.annotate": FLAGS | {"None"},
    "plot.heatmap.log": {"None"},
    "plot.heatmap.vmin": (SIZES - {"inf"}) | {"None", "-1"},
    "plot.heatmap.vmax": (SIZES - {"inf"}) | {"None", "-1"},
    "paper.reproduce.directory": {"None", *PATHS},
    "paper.reproduce.seeds": {"whole 0-d", "long list"},
    "paper.reproduce.progress": FLAGS | {"None"},
    "paper.reproduce.executor": {"None"},
    "Study.load.path": PATHS,
}
# What an argument is beside the others, where it means nothing alone.
BESIDE = {
    "WriteTrace.write_bytes": {"file_id": [0, 1, 2]},
    "WriteTrace.time_ns": {"file_id": [0, 1, 2], "size_bytes": [5, 6, 7]},
    "simulate.write_bytes": {"cost": "delta"},
    "simulate.overhead_bytes": {"cost": "delta", "write_bytes": 1},
    "sweep.write_bytes": {"cost": "delta"},
    "sweep.overhead_bytes": {"cost": "delta", "write_bytes": 1},
    "simulate.half_life": {"frequency": "exponential"},
    "simulate.rounds": {"schedule": "rounds"},
    "simulate.dirty_tracking": {"schedule": "rounds"},
}
IN_TIME = {"file_id": [0, 1, 2], "time_ns": [0, 1, 2], "size_bytes": [5, 6, 7]}
for name in ("count", "size_bytes", "from_id", "present", "duration_ns", "left_out"):
    BESIDE[f"WriteTrace.{name}"] = IN_TIME
# Where the message may begin with another argument, which the value has to fit.
OTHER_NAME = {"Cycle.write_seconds": "bandwidth", "Workload.shares.group": "shares"}


@pytest.fixture(scope="module")
def calls():
    """Every public function, with arguments that it takes."""
    options = {**RUN, "order": ["size-ascending", "update-frequency"], "seed": [1, 2]}
    table = precopy.sweep(**options)
    one = precopy.finish(table, 1e3)
    classes = {"size_bytes": [1, 2], "read_only": [1, 1], "read_write": [2, 2]}
    return {
        "simulate": (precopy.simulate, RUN),
        "sweep": (precopy.sweep, RUN),
        "finish": (precopy.finish, {"dataset": table, "threshold_bytes": 1e3}),
        "stop.final_copy": (stop.final_copy, {}),
        "stop.downtime": (stop.downtime, {"seconds": 1}),
        "stop.cycles": (stop.cycles, {}),
        "stop.stall": (stop.stall, {"cycles": 5}),
        "stop.growth": (stop.growth, {}),
        "rank": (precopy.rank, {"files": FILES}),
        "take": (precopy.take, {"cost_bytes": [1, 2, 3], "budget_bytes": 4}),
        "FileSet": (precopy.FileSet, {"size_bytes": [1, 2, 3, 4]}),
        "FileSet.from_classes": (precopy.FileSet.from_classes, classes),
        "FileSet.from_directory": (precopy.FileSet.from_directory, {}),
        "FileSet.from_dataframe": (precopy.FileSet.from_dataframe, {}),
        "FileSet.name": (FILES.name, {}),
        "Workload": (precopy.Workload, {}),
        "Workload.uniform": (precopy.Workload.uniform, {}),
        "Workload.shares": (precopy.Workload.shares, {"files": FILES, "shares": (1,)}),
        "Workload.zipf": (precopy.Workload.zipf, {"files": FILES, "exponent": 1.0}),
        "Workload.draw": (WRITES.draw, {"n": 5}),
        "WriteTrace": (precopy.WriteTrace, {}),
        "WriteTrace.counts": (TRACE.counts, {}),
        "Cycle": (precopy.Cycle, {}),
        "bound.final_copy_bytes": (
            precopy.bound.final_copy_bytes,
            {"files": FILES, "workload": WRITES},
        ),
        "plot.final_copy": (plot.final_copy, {"dataset": table}),
        "plot.precopy_bars": (plot.precopy_bars, {"finished": one}),
        "plot.pareto": (plot.pareto, {"finished": precopy.finish(table, [1e3, 2e3])}),
        "plot.heatmap": (plot.heatmap, {"values": one.downtime_s, "x": "order", "y": "seed"}),
        "paper.reproduce": (precopy.paper.reproduce, {"seeds": 2}),
        "Study.load": (Study.load, {}),
    }


FUNCTIONS = {
    "simulate": precopy.simulate,
    "finish": precopy.finish,
    "stop.final_copy": stop.final_copy,
    "stop.cycles": stop.cycles,
    "stop.stall": stop.stall,
    "stop.growth": stop.growth,
    "rank": precopy.rank,
    "take": precopy.take,
    "FileSet": precopy.FileSet,
    "FileSet.from_classes": precopy.FileSet.from_classes,
    "FileSet.from_directory": precopy.FileSet.from_directory,
    "FileSet.from_dataframe": precopy.FileSet.from_dataframe,
    "FileSet.name": FILES.name,
    "Workload": precopy.Workload,
    "Workload.uniform": precopy.Workload.uniform,
    "Workload.shares": precopy.Workload.shares,
    "Workload.zipf": precopy.Workload.zipf,
    "Workload.draw": WRITES.draw,
    "WriteTrace": precopy.WriteTrace,
    "WriteTrace.counts": TRACE.counts,
    "Cycle": precopy.Cycle,
    "bound.final_copy_bytes": precopy.bound.final_copy_bytes,
    "plot.final_copy": plot.final_copy,
    "plot.precopy_bars": plot.precopy_bars,
    "plot.pareto": plot.pareto,
    "plot.heatmap": plot.heatmap,
    "paper.reproduce": precopy.paper.reproduce,
    "Study.load": Study.load,
}
PARAMETERS = [
    *(
        f"{name}.{one}"
        for name, call in FUNCTIONS.items()
        for one in inspect.signature(call).parameters
    ),
    *(f"sweep.{one}" for one in inspect.signature(precopy.simulate).parameters),
    "stop.downtime.seconds",
    *("sweep.executor", "sweep.progress", "sweep.keep", "sweep.cache"),
]


class WouldRunError(Exception):
    pass


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_value_is_taken_or_refused_by_name(parameter, calls, monkeypatch, tmp_path, capsys):
    def would_run(*arguments, **options):
        raise WouldRunError

    function, _, name = parameter.rpartition(".")
    call, arguments = calls[function]
    arguments = {**arguments, **BESIDE.get(parameter, {})}
    if function == "paper.reproduce":
        monkeypatch.setattr(sys.modules["precopy.paper.evaluation"], "sweep", would_run)
    monkeypatch.chdir(tmp_path)
    taken = set()
    with mpl.rc_context({"backend": "agg"}):
        for kind, value in VALUES.items():
            if parameter == "sweep.seed" and kind == "long list":
                value = value[:100]
            try:
                call(**{**arguments, name: value})
            except (WouldRunError, OSError):  # it would run, or the path is none of a file
                taken.add(kind)
            except (TypeError, ValueError) as error:
                message = str(error)
                named = message.partition(":")[0].split(", ")
                assert {name, OTHER_NAME.get(parameter, name)} & {*named}, (kind, message)
                assert "got" in message, (kind, message)
                assert len(message) < 600, (kind, message[:1000])
                assert not plt.get_fignums(), kind
            else:
                taken.add(kind)
                plt.close("all")
    assert taken == TAKEN.get(parameter, set())


@pytest.mark.parametrize(
    ("call", "why"), [(precopy.simulate, "llocate"), (precopy.sweep, 'TB of .* keep="summary"')]
)
def test_more_cycles_than_memory_are_an_error_that_says_so(call, why):
    with pytest.raises(MemoryError, match=rf"^cycles: .*got 1000000000000 cycles: .*{why}"):
        call(**{**RUN, "cycles": 10**12})


def test_more_files_than_can_be_numbered_are_refused_before_they_are_made():
    with pytest.raises(ValueError, match=r"^read_write: .* got \[5000000000\]"):
        precopy.FileSet.from_classes([1], [0], [5e9])
