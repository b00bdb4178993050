"""How well one half of a recording forecasts the other.

    python benchmarks/services/halves.py [RECORDING.npz ...] [--order update-frequency] [--ahead]

For each recording (default: those that ship with precopy) and links that send all data once in 8,
25 and 60 s, each half is replayed once, after an idle time in which everything is sent: the means
of the final copy over the half, and the factor between them.  Then the factor that half of all
pairs stay below, and the one that three quarters do.

A half is not replayed again and again, as `simulate` does: what leads from its end back to its
begin writes all files that came, went or grew, at once, and that is not what the service did.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

from precopy import Cycle, Recorded, datasets, simulate
from precopy.character import LINKS_S, History
from precopy.forecast.ahead import ahead


def half_bytes(app: Recorded, cycle: Cycle, order: str, once_s: float) -> float:
    """Return the mean final copy over a recording that everything was sent before.

    Parameters
    ----------
    app : Recorded
    cycle : Cycle
        In seconds.
    order : str
    once_s : float
        How long the link needs to send all data once, in seconds.
    """
    idle = math.ceil(3 * once_s / cycle.seconds)
    later = app.later(idle * round(cycle.seconds * 1e9))
    cycles = max(int(app.seconds / cycle.seconds), 1)
    run = simulate(later, cycle=cycle, order=order, cycles=idle + cycles)
    return float(run.final_copy_bytes[-cycles:].mean())


def halves(app: Recorded, once_s: float, order: str, goes_on: bool) -> tuple[float, float]:
    """Return the means of both halves, at one link; the first as it was, or would go on."""
    cycle = Cycle.of_seconds(1.0, History.of(app).mean_bytes() / once_s)
    middle = app.seconds / 2
    first = app.part(0.0, middle)
    return (
        half_bytes(ahead(first) if goes_on else first, cycle, order, once_s),
        half_bytes(app.part(middle, app.seconds), cycle, order, once_s),
    )


def apart(one: float, other: float) -> float:
    """Return the factor between two numbers, from 1 on."""
    if one == other:
        return 1.0
    return math.inf if min(one, other) == 0 else max(one, other) / min(one, other)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", nargs="*", type=Path)
    parser.add_argument("--order", default="update-frequency")
    parser.add_argument(
        "--ahead", action="store_true", help="the first half as `precopy forecast` replays it"
    )
    options = parser.parse_args()
    if options.recording:
        apps = [Recorded.load(path) for path in options.recording]
    else:
        apps = [datasets.load(name) for name in datasets.names()]
    factors = []
    print(f"{'recording':20} {'T [s]':>6} {'first [MB]':>11} {'second [MB]':>12} {'factor':>7}")
    for app in apps:
        for once_s in LINKS_S:
            one, other = halves(app, once_s, options.order, options.ahead)
            factors.append(apart(one, other))
            print(
                f"{app.name:20} {once_s:6g} {one / 1e6:11.3f} {other / 1e6:12.3f} "
                f"{factors[-1]:7.2f}"
            )
    half, most = np.quantile(factors, [0.5, 0.75])
    print(f"median {half:.2f}, q75 {most:.2f}")


if __name__ == "__main__":
    main()
