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
LARGEST = SCALES[-1]
SIZES = tuple(FILES * scale for scale in SCALES)

# Cycles of the two runs whose difference is the cost of the events in between: the link first sends
# every file once (about 100 cycles), then what has been written since.
SHORT, LONG = 20, 120

# One write, and a budget for no more than the largest file: a run that has set up and done nothing.
NOTHING = precopy.Cycle(writes=1, bandwidth=1.1e8)


@cache
def events_per_cycle(run: str) -> float:
    """Return the events (writes and sends) per cycle between `SHORT` and `LONG`, at scale 1.

    At scale s there are s times as many, within a fraction of a percent: the model does not know a
    scale, only the luck of the draw differs.
    """
    case = Case.paper()
    trace = case.workload.draw(LONG * WRITES_PER_CYCLE, seed=1)
    sends = numpy_model(Task.of(case, run, trace, cycles=LONG)).sends
    return WRITES_PER_CYCLE + float(sends[LONG - 1] - sends[SHORT - 1]) / (LONG - SHORT)


@cache
def measure():
    """Return the times of all that is timed here, all sizes in turn."""
    subjects = {"floor": floor()}
    for scale in SCALES:
        case = Case.paper(scale)
        files, share = case.files, case.workload.share
        subjects["lexsort", scale] = partial(np.lexsort, (files.size_bytes, ~files.read_only))
        # A draw of no writes makes the alias table all the same.
        subjects["workload", scale] = lambda share=share: precopy.Workload(share).draw(0, seed=1)
        for run in RUNS:
            simulate = partial(case.simulate, run)
            subjects["setup", run, scale] = partial(simulate, cycle=NOTHING, cycles=1)
            subjects["short", run, scale] = partial(simulate, cycles=SHORT)
            subjects["long", run, scale] = partial(simulate, cycles=LONG)
    return interleave(subjects, repeats(9), least_seconds=1e-2)


def event_seconds(times, run, scale):
    """Return the seconds per event: what the cycles after `SHORT` up to `LONG` add to a run."""
    events = events_per_cycle(run) * scale * (LONG - SHORT)
    return (times["long", run, scale] - times["short", run, scale]) / events


class _Scale:
    timeout = 3600

    def setup_cache(self):
        return measure()


class EventOverSmallest(_Scale):
    """An event (a write or a send) at some size, over an event at 11,000 files."""

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
    """Setting up, per file: a run of one cycle with one write, through `precopy.simulate`.

    It includes the checks of the arguments and giving the memory back.  "workload" is what comes
    once per workload, whatever the number of runs: normalising the shares, the alias table.
    """

    params = ((*RUNS, "workload"), SIZES)
    param_names = ("run", "files")
    unit = "ns/file"

    def track_setup(self, times, run, files) -> Figure:
        scale = files // FILES
        key = (run, scale) if run == "workload" else ("setup", run, scale)
        limited = scale == LARGEST and run != "workload"
        return figure(times[key] * 1e9 / files, at_most=15.0 if limited else None)


class SetUpRatio(_Scale):
    """Setting up, over one ranking of all files: `numpy.lexsort((size_bytes, ~read_only))`."""

    params = ((*RUNS, "workload"), SIZES)
    param_names = ("run", "files")
    unit = "x lexsort"

    def track_setup(self, times, run, files) -> Figure:
        scale = files // FILES
        key = (run, scale) if run == "workload" else ("setup", run, scale)
        return figure(times[key] / times["lexsort", scale])


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
        return figure(extra / files, at_most=60.0 if files == SIZES[-1] else None)


def peak_of_run(run: str, scale: int) -> int:
    """Return by how many bytes a run raises the resident memory of this process at its peak."""
    Case.paper().simulate(run)
    case = Case.paper(scale)
    case.workload.draw(0, seed=1)
    _give_back_free_memory()
    try:
        # Let the peak start again from what is resident now: proc_pid_clear_refs(5).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise NotImplementedError("no /proc/self/clear_refs to reset the peak memory") from error
    before = _status_bytes("VmRSS")
    case.simulate(run, cycles=LONG)
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
    """Draw cost against size, if the figures of this module hold it; return whether they do."""
    panels = ("EventOverFloor.track_event", "SetUpTime.track_setup")
    if {name for name, *_ in figures}.isdisjoint(panels):
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    styles = dict(zip((*RUNS, "workload"), ("o-", "s--", "^-.", "D:", "v-", "x--"), strict=True))
    picture, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for axes, name in zip((left, right), panels, strict=True):
        for number, (run, style) in enumerate(styles.items()):
            points = [(n, figures.get((name, run, n))) for n in SIZES]
            points = [(n, value) for n, value in points if value is not None]
            if not points:
                continue
            x, y = zip(*points, strict=True)
            spread = ([v - v.low for v in y], [v.high - v for v in y])
            label = "a new workload" if run == "workload" else run
            axes.errorbar(
                x, y, spread, fmt=style, color=str(0.12 * number), label=label, capsize=2, mfc="w"
            )
        axes.set(xscale="log", yscale="log", xlabel="files")
        axes.grid(which="both", alpha=0.25)
    left.set(title="Per event (write or send)", ylabel="cost of an event / cost of one draw")
    right.set(title="Setting up, per file", ylabel="time per file (ns)")
    right.axhline(15, color="k", linewidth=0.8)
    right.annotate("required", (SIZES[0], 15), xytext=(0, 3), textcoords="offset points")
    right.legend(fontsize="small")
    picture.savefig(path, dpi=150)
    plt.close(picture)
    return True
