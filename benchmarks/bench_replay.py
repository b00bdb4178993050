"""Ten million rows of a recording: over reading them from memory once."""

from __future__ import annotations

from functools import partial

import numpy as np
from harness import QUICK, Figure, figure, interleave, repeats

import precopy

FLOOR = "floor"
ROWS = 1_000_000 if QUICK else 10_000_000
NAMES = 10_000
SECONDS = 300
RUNS = {
    "update-frequency": {},
    "update-frequency, delta": {"cost": "delta"},
    "size-ascending": {"order": "size-ascending"},
    "expected-update": {"order": "expected-update"},
    "least-recently-updated": {"order": "least-recently-updated"},
}


def application() -> precopy.Recorded:
    """Return one with busy and quiet names; a row in 20 is a death, another one a rename."""
    rng = np.random.default_rng(14)
    ids = (rng.random(ROWS) ** 4 * NAMES).astype(np.int64)
    size_bytes = rng.integers(0, 100_000, ROWS)
    kind = rng.integers(0, 20, ROWS)
    size_bytes[kind == 0] = -1
    others = rng.integers(0, NAMES, ROWS)
    writes = precopy.WriteTrace(
        ids,
        rng.integers(0, 5000, ROWS),
        time_ns=np.sort(rng.integers(0, SECONDS * 10**9, ROWS)),
        count=rng.integers(1, 4, ROWS),
        size_bytes=size_bytes,
        from_id=np.where((kind == 1) & (others != ids), others, -1),
        present=rng.random(NAMES) < 0.7,
        duration_ns=SECONDS * 10**9,
    )
    return precopy.Recorded("drawn", precopy.FileSet(rng.integers(0, 100_000, NAMES)), writes)


class OverFloor:
    """A replay of all rows in cycles of a second, over a sum over their columns.

    The floor is about 2.5 ns a row; a twentieth of all data is sent in a cycle.
    """

    params = (list(RUNS),)
    param_names = ("run",)
    unit = "x floor"
    timeout = 600

    def setup_cache(self):
        app = application()
        trace = app.writes
        names = ("file_id", "time_ns", "count", "write_bytes", "size_bytes", "from_id")
        columns = [getattr(trace, name) for name in names]
        cycle = precopy.Cycle.of_seconds(1, app.files.total_bytes / 20)
        subjects = {FLOOR: lambda: [column.sum() for column in columns]}
        for run, options in RUNS.items():
            subjects[run] = partial(precopy.simulate, app, cycle=cycle, cycles=SECONDS, **options)
        return interleave(subjects, repeats(11))

    def track_over_floor(self, times, run) -> Figure:
        return figure(times[run] / times[FLOOR], at_most=10.0)
