"""Cost against size: the paper's case 1 to 1000 times over, up to 11 million files."""

from __future__ import annotations

import ctypes
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
from cases import FILES, RUNS, WRITES, WRITES_PER_CYCLE, Case, floor
from harness import QUICK, Figure, figure, interleave, repeats
from peers import Task, numpy_model

import precopy

SCALES = (1, 10, 100) if QUICK else (1, 10, 100, 1000)
LARGEST = 1000
SIZES = tuple(FILES * scale for scale in SCALES)

# Enough to send every file once, which takes about 100, and then what has been written since.
CYCLES = 120

# One write, and a budget for little more than the largest file: a run that sets up and ends.
NOTHING = precopy.Cycle(writes=1, bandwidth=1.1e8)

# What comes before the first of many runs.
BEFORE = ("file set", "workload")


@cache
def events(run: str) -> int:
    """Return the events (writes and sends) of a run of `CYCLES` cycles at scale 1.

    At scale s there are s times as many, within half a percent: the model knows no scale, only the
    luck of the draw differs.
    """
    case = Case.paper()
    trace = case.workload.draw(CYCLES * WRITES_PER_CYCLE, seed=1)
    result = numpy_model(Task.of(case, run, trace, cycles=CYCLES))
    return len(trace) + int(result.sends[-1])


@cache
def measure():
    """Return the times of all that is timed here, all sizes in turn."""
    subjects = {"floor": floor()}
    for scale in SCALES:
        case = Case.paper(scale)
        size, read_only = case.files.size_bytes, case.files.read_only
        subjects["lexsort", scale] = partial(np.lexsort, (size, ~read_only))
        subjects["setup", "file set", scale] = partial(_first_run, case)
        subjects["setup", "workload", scale] = partial(_first_draw, case)
        for run in RUNS:
            subjects |= _runs(case, run, scale)
    return interleave(subjects, repeats(9), least_seconds=1e-2)


def _runs(case, run, scale):
    simulate = partial(case.simulate, run)
    return {
        ("setup", run, scale): partial(simulate, cycle=NOTHING, cycles=1),
        ("whole", run, scale): partial(simulate, cycles=CYCLES),
    }


def _first_run(case):
    files = precopy.FileSet(case.files.size_bytes, case.files.read_only)
    precopy.simulate(files, case.workload, "size-ascending", NOTHING, cycles=1, seed=1)


def _first_draw(case):
    # The first write needs the alias table.
    precopy.Workload(case.workload.share).draw(1, seed=1)


def event_seconds(times, run, scale):
    """Return the seconds per event: what a run costs beyond its setting up."""
    return _beyond_setting_up(times, run, scale) / (events(run) * scale)


def _beyond_setting_up(times, run, scale):
    return times["whole", run, scale] - times["setup", run, scale]


class _Scale:
    timeout = 3600

    def setup_cache(self):
        return measure()


class EventOverSmallest(_Scale):
    """An event (a write or a send) at some size, over an event at 11,000 files.

    Events are charged with whatever a run costs beyond setting up, so nothing falls in between.
    """

    params = (RUNS, SIZES)
    param_names = ("run", "files")
    unit = "x 11,000 files"

    def track_event(self, times, run, files) -> Figure:
        scale = files // FILES
        ratio = event_seconds(times, run, scale) / event_seconds(times, run, 1)
        return figure(ratio, at_most=6.0 if scale == LARGEST else None)


class EventOverFloor(_Scale):
    """An event at some size, over one number drawn by the floor."""

    params = (RUNS, SIZES)
    param_names = ("run", "files")
    unit = "x floor's draw"

    def track_event(self, times, run, files) -> Figure:
        draw = times["floor"] / WRITES
        return figure(event_seconds(times, run, files // FILES) / draw)


class SetUpTime(_Scale):
    """Setting up a run, per file: one cycle with one write, through `precopy.simulate`.

    It includes the checks of the arguments and giving the memory back, and is what each of many
    runs costs.  What comes once for all of them: "workload" normalises shares and makes the alias
    table; "file set" makes a set from its columns and its first run, which may sort.
    """

    params = ((*RUNS, *BEFORE), SIZES)
    param_names = ("run", "files")
    unit = "ns/file"

    def track_setup(self, times, run, files) -> Figure:
        scale = files // FILES
        most = {"workload": None, "file set": 25.0, "rounds": 20.0}.get(run, 15.0)
        at_most = most if scale == LARGEST else None
        return figure(times["setup", run, scale] * 1e9 / files, at_most=at_most)


class SetUpRatio(_Scale):
    """Setting up a run, over one ranking of all files: `lexsort((size_bytes, ~read_only))`."""

    params = ((*RUNS, *BEFORE), SIZES)
    param_names = ("run", "files")
    unit = "x lexsort"

    def track_setup(self, times, run, files) -> Figure:
        scale = files // FILES
        return figure(times["setup", run, scale] / times["lexsort", scale])


@cache
def measure_shuffled():
    """Return the times at 1,100,000 files as they are (scale 100) and shuffled (scale -100)."""
    case = Case.paper(100)
    subjects = {}
    for run in RUNS:
        subjects |= _runs(case, run, 100) | _runs(case.shuffled(), run, -100)
    return interleave(subjects, repeats(15))


class _Shuffled:
    params = (RUNS,)
    param_names = ("run",)
    unit = "x in classes"
    timeout = 600

    def setup_cache(self):
        return measure_shuffled()


class ShuffledEvent(_Shuffled):
    """An event at 1,100,000 files whose ids are shuffled, over the paper's, sorted by class.

    Nothing that is fast only because neighbours have equal sizes and rates survives the shuffle.
    The order of files changes who is sent, hence a little of the work as well.
    """

    def track_event(self, times, run) -> Figure:
        shuffled, sorted_ = (_beyond_setting_up(times, run, scale) for scale in (-100, 100))
        return figure(shuffled / sorted_)


class ShuffledSetUp(_Shuffled):
    """Setting up a run of 1,100,000 files whose ids are shuffled, over the paper's."""

    def track_setup(self, times, run) -> Figure:
        return figure(times["setup", run, -100] / times["setup", run, 100])


class Memory:
    """Memory that a run takes beyond its inputs, at the peak, per file.

    The highest resident memory during a call of `precopy.simulate`, less the resident memory before
    it, in a process of its own.  It counts whatever the call makes resident: the core's arrays,
    Python's temporaries, the result.  It does not count what is there before: sizes and access
    types (9 bytes per file), shares and alias table (8 and at most 16), a history (8).
    """

    params = (RUNS, SIZES[-2:])
    param_names = ("run", "files")
    unit = "bytes/file"
    timeout = 3600

    def track_peak(self, run, files) -> Figure:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            extra = process.submit(peak_of_run, run, files // FILES).result()
        return figure(extra / files, at_most=60.0 if files == FILES * LARGEST else None)


def peak_of_run(run: str, scale: int) -> int:
    """Return by how many bytes a run raises the resident memory of this process at its peak."""
    Case.paper().simulate(run)
    case = Case.paper(scale)
    case.workload.draw(1, seed=1)
    _give_back_free_memory()
    try:
        # Let the peak start again from what is resident now: proc_pid_clear_refs(5).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise NotImplementedError("no /proc/self/clear_refs to reset the peak memory") from error
    before = _status_bytes("VmRSS")
    case.simulate(run, cycles=CYCLES)
    return _status_bytes("VmHWM") - before


def _give_back_free_memory() -> None:
    """Give free memory back to the system, lest the run find it resident and seem to need less."""
    try:
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
    except AttributeError as error:
        raise NotImplementedError("no malloc_trim: not the GNU C library") from error


def _status_bytes(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


def draw(figures: dict[tuple, Figure], path: Path) -> bool:
    """Draw cost against size if the figures of both panels are there; return whether they are."""
    panels = ("EventOverFloor.track_event", "SetUpTime.track_setup")
    if not {name for name, *_ in figures}.issuperset(panels):
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    series = (*RUNS, *BEFORE)
    styles = ("o-", "s--", "^-.", "D:", "v-", "x--", "+:")
    picture, both = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for axes, name in zip(both, panels, strict=True):
        for number, (run, style) in enumerate(zip(series, styles, strict=True)):
            if (name, run, SIZES[0]) not in figures:
                continue
            values = [figures[name, run, n] for n in SIZES]
            axes.plot(
                SIZES,
                values,
                style,
                color=str(0.11 * number),
                mfc="w",
                label={"file set": "a new file set", "workload": "a new workload"}.get(run, run),
            )
            axes.vlines(SIZES, [v.low for v in values], [v.high for v in values], color="0.3")
        axes.set(xscale="log", yscale="log", xlabel="number of files")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.25)
    left, right = both
    left.legend(fontsize="small")
    left.set(title="An event: a write or a send", ylabel="CPU time (draws of the floor)")
    right.set(title="Setting up a run", ylabel="CPU time per file (ns)")
    right.axhline(15, color="k", linewidth=0.8, label="required of a run: 15")
    right.legend(fontsize="x-small", ncols=2)
    picture.savefig(path, dpi=150)
    plt.close(picture)
    return True
