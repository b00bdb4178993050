"""What surrounds a run: threads, the overhead of a call, and instructions in place of time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
from cases import RUNS, WRITES, Case, floor
from harness import Figure, figure, interleave, repeats

import precopy

FLOOR = "floor"


class TwoThreads:
    """Two independent runs of two threads, over the same two runs in turn.

    The runs are ten times the paper's, so that starting a thread costs nothing beside them.
    "floor" draws integers instead of simulating: what the machine gives any two threads just now.
    """

    params = ((*RUNS, FLOOR),)
    param_names = ("run",)
    unit = "x serial"

    def setup_cache(self):
        case = Case.paper(scale=10)
        subjects = {}
        with ThreadPoolExecutor(2) as pool:
            for name in (*RUNS, FLOOR):
                one = _draw if name == FLOOR else partial(case.simulate, name)
                subjects[name, "serial"] = lambda one=one: [one(seed=seed) for seed in (1, 2)]
                subjects[name, "threads"] = lambda one=one: [
                    done.result() for done in [pool.submit(one, seed=seed) for seed in (1, 2)]
                ]
            return interleave(subjects, repeats(41), clock=time.perf_counter)

    def track_over_serial(self, times, run) -> Figure:
        ratio = times[run, "threads"] / times[run, "serial"]
        return figure(ratio, at_most=None if run == FLOOR else 0.6)


def _draw(seed):
    return np.random.default_rng(seed).integers(0, 10_000, 30 * WRITES)


@cache
def measure_tiny_run():
    """Return the times of a run of one file and one cycle, and of what it cannot do without."""
    files = precopy.FileSet([1])
    workload = precopy.Workload.uniform(files)
    cycle = precopy.Cycle()
    run = partial(precopy.simulate, files, workload, cycle=cycle, cycles=1, seed=1)
    return interleave(
        {"run": run, "generator": lambda: np.random.default_rng(1)},
        repeats(101),
    )


class _TinyRun:
    def setup_cache(self):
        return measure_tiny_run()


class TinyRunTime(_TinyRun):
    """A run of one file and one cycle of 500 writes; the one figure that is a time."""

    unit = "us"

    def track_time(self, times) -> Figure:
        return figure(times["run"] * 1e6, at_most=30.0)


class TinyRunRatio(_TinyRun):
    """The same over `numpy.random.default_rng(1)`, which is a part of it."""

    unit = "x default_rng"

    def track_over_default_rng(self, times) -> Figure:
        return figure(times["run"] / times["generator"])


class _Instructions:
    params = (RUNS,)
    param_names = ("run",)
    timeout = 600

    def setup_cache(self):
        return count_instructions()


class InstructionsOverFloor(_Instructions):
    """Instructions of one paper run, Python's included, as callgrind counts them: no jitter."""

    unit = "x floor"

    def track_over_floor(self, counts, run) -> Figure:
        return figure(counts[run] / counts[FLOOR])


class InstructionsPerWrite(_Instructions):
    """The same per write, whatever a write entails: drawing, ranking, sending, recording."""

    unit = "instructions"

    def track_per_write(self, counts, run) -> Figure:
        return figure(counts[run] / WRITES)


_RUNS_PER_COUNT = 3


@cache
def count_instructions() -> dict[str, float]:
    """Return the instructions of one run of each of `RUNS`, and of the floor.

    One process makes all of them under callgrind, with a call of getppid between one and the next:
    callgrind is told to start a new count there, so the start of Python is in none of them.
    """
    if shutil.which("valgrind") is None:
        raise NotImplementedError("valgrind is not installed")
    here = str(Path(__file__).parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--dump-before=getppid"]
        command += [f"--callgrind-out-file={folder}/count"]
        command += [sys.executable, "-c", "import bench_calls; bench_calls.runs_between_marks()"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        names = [FLOOR, *RUNS]
        # Part 1 is the start of Python, part 2 what lies between the first mark and the second.
        return {
            name: _total(Path(folder, f"count.{part}")) / _RUNS_PER_COUNT
            for part, name in enumerate(names, start=2)
        }


def _total(part: Path) -> int:
    text = part.read_text()
    return int(re.search(r"^totals: (\d+)$", text, re.MULTILINE)[1])


def runs_between_marks() -> None:
    """Make the runs that are counted; what only the first call costs is paid before."""
    case = Case.paper()
    subjects = [floor(), *(partial(case.simulate, run) for run in RUNS)]
    for subject in subjects:
        subject()
    os.getppid()
    for subject in subjects:
        for _ in range(_RUNS_PER_COUNT):
            subject()
        os.getppid()
