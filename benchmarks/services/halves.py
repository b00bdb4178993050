"""How well one half of a recording forecasts the other.

    python benchmarks/services/halves.py [RECORDING.npz ...] [--order update-frequency]

For each recording (default: those that ship with precopy) and links that send all data once in 8,
25 and 60 s, each half is replayed by itself, again and again: the means of the final copy over a
long run, and the factor between them.  Then the factor that half of all pairs stay below, and the
one that three quarters do.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

import precopy
from precopy.character import LINKS_S, History


def long_run_bytes(
    app: precopy.Recorded, cycle: precopy.Cycle, order: str, once_s: float, starts: int = 4
) -> float:
    """Return the mean final copy over a lap, after as long as everything takes to be sent twice.

    Parameters
    ----------
    app : Recorded
    cycle : Cycle
    order : str
    once_s : float
        How long the link needs to send all data once, in seconds.
    starts : int
        How many start points are averaged.
    """
    lap = max(round(app.seconds / cycle.seconds), 1)
    before = math.ceil(max(lap, 2 * once_s / cycle.seconds))
    means = [
        precopy.simulate(
            app, cycle=cycle, order=order, cycles=before + lap, start_s=start
        ).final_copy_bytes[-lap:].mean()
        for start in app.starts(starts)
    ]  # fmt: skip
    return float(np.mean(means))


def halves(app: precopy.Recorded, once_s: float, order: str) -> tuple[float, float]:
    """Return the long-run means of both halves, at one link."""
    cycle = precopy.Cycle.of_seconds(1.0, History.of(app).mean_bytes() / once_s)
    middle = app.seconds / 2
    return (
        long_run_bytes(app.part(0.0, middle), cycle, order, once_s),
        long_run_bytes(app.part(middle, app.seconds), cycle, order, once_s),
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
    options = parser.parse_args()
    if options.recording:
        apps = [precopy.Recorded.load(path) for path in options.recording]
    else:
        apps = [precopy.datasets.load(name) for name in precopy.datasets.names()]
    factors = []
    print(f"{'recording':20} {'T [s]':>6} {'first [MB]':>11} {'second [MB]':>12} {'factor':>7}")
    for app in apps:
        for once_s in LINKS_S:
            one, other = halves(app, once_s, options.order)
            factors.append(apart(one, other))
            print(
                f"{app.name:20} {once_s:6g} {one / 1e6:11.3f} {other / 1e6:12.3f} "
                f"{factors[-1]:7.2f}"
            )
    half, most = np.quantile(factors, [0.5, 0.75])
    print(f"median {half:.2f}, q75 {most:.2f}")


if __name__ == "__main__":
    main()
