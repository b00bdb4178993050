"""No run of a recording that comes with the package lies below its bound, in the long run."""

from statistics import mean

import pytest

import precopy
from precopy import Cycle, _core
from precopy.character import History


@pytest.mark.model("bound.recording")
@pytest.mark.parametrize("name", precopy.datasets.names())
def test_long_runs_are_above_the_bound(name):
    """A lap is no whole number of cycles, so that single laps differ: by no more than 5 %."""
    app = precopy.datasets.load(name)
    size = History.of(app).mean_bytes()
    for once_s in (8, 25, 60):
        cycle = Cycle.of_seconds(1.0, size / once_s)
        bound = precopy.bound.trace_final_copy_bytes(app, cycle)
        lap = round(app.seconds)
        before = max(lap, 2 * once_s)
        for order in sorted(_core.CHOICES["order"]):
            run = precopy.simulate(app, cycle=cycle, order=order, cycles=before + 2 * lap)
            assert mean(run.final_copy_bytes[-2 * lap :].tolist()) >= 0.95 * bound, (once_s, order)
        # From the first cycle on there is nothing to allow for.
        run = precopy.simulate(app, cycle=cycle, order=order, cycles=60, start_s=10.0)
        exact = precopy.bound.trace_final_copy_bytes(app, cycle, cycles=60, start_s=10.0)
        assert run.final_copy_bytes.mean() >= exact * (1 - 1e-12)
