"""The paper's claim on a real service: which order leaves least, and does the simulator agree.

Whole files are sent, in cycles, over a link about as fast as files become dirty.  The service's own
log says which file each transaction wrote and when; `simulate` gets these writes, the files'
sizes and the link, and must leave what the migration left.
"""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from movers import Move, precopy

# isort: split
from migration.services import Mixed

import precopy as simulator

ORDERS = ("update-frequency", "size-ascending", "size-descending")
RATE, FILES, BANDWIDTH = 40.0, 100, 11.5e6
CYCLE_SECONDS, CYCLES = 0.25, 60


@dataclass
class Leaves:
    """What one migration left for the final copy."""

    measured_bytes: int
    simulated_bytes: int


class Skewed(Mixed):
    """Databases only: a transaction writes one file, of which a hundredth or most are written."""

    def __init__(self, outside: Path, **options: Any) -> None:
        super().__init__(outside, **options)
        self.parts = (f"sqlite:delete:{FILES}",)


def leaves(order: str, move: Move) -> Leaves:
    """Move the service in this order, and simulate the same."""
    report = precopy(
        "--granularity", "file", "--order", order, "--bandwidth", str(BANDWIDTH),
        "--cycle-seconds", str(CYCLE_SECONDS), "--until", f"cycles({CYCLES})",
    )(move)["report"]  # fmt: skip
    cycles = report["cycles"][:CYCLES]
    paths = sorted((move.source / "databases").glob("*.db"))
    files = simulator.FileSet(
        np.array([path.stat().st_size for path in paths]),
        read_only=np.zeros(len(paths), dtype=bool),
    )
    times, written = recorded(move.service, {path.name: k for k, path in enumerate(paths)})
    # What came after the last cycle is no longer part of the curve.
    end = times[-1] - (report["precopy_s"] - cycles[-1]["seconds"])
    begin = end - cycles[-1]["seconds"]
    during = written[(times >= begin) & (times < end)]
    per_cycle = len(during) // CYCLES
    run = simulator.simulate(
        files,
        simulator.WriteTrace(during[: per_cycle * CYCLES]),
        order=order,
        cycle=simulator.Cycle(
            writes=per_cycle,
            write_seconds=cycles[-1]["seconds"] / CYCLES / per_cycle,
            bandwidth=BANDWIDTH,
        ),
        cycles=CYCLES,
        budget="carry",
    )
    # One cycle more or less changes much: what is compared is the mean of the last third.
    left = [cycle["pending_bytes"] for cycle in cycles]
    third = slice(2 * CYCLES // 3, None)
    return Leaves(int(np.mean(left[third])), int(run.final_copy_bytes[third].mean()))


def recorded(service: Any, index: dict[str, int]) -> tuple[Any, Any]:
    """Return when which file was written, from what the service acknowledged."""
    lines = [line.split("\t") for line in service.acks.read_text().splitlines()]
    last = max(k for k, line in enumerate(lines) if line[0] == "ready")
    writes = [line for line in lines[last + 1 :] if line[0] == "sqlite"]
    times = np.array([float(line[2]) for line in writes])
    return times, np.array([index[line[1].split()[0]] for line in writes])


def claim(base: Path, link: Any, rounds: int) -> dict[str, list[Leaves]]:
    """Move the service `rounds` times in every order, in turn."""
    scratch, source, target = base / "scratch", base / "service", base / "target"
    scratch.mkdir(parents=True)
    found: dict[str, list[Leaves]] = {order: [] for order in ORDERS}
    with Skewed(scratch, rate=RATE) as service:
        for _ in range(rounds):
            for order in ORDERS:
                service.start(source)
                move = Move(link, service, source, target, scratch)
                try:
                    found[order].append(leaves(order, move))
                finally:
                    service.stop(signal.SIGKILL)
                    shutil.rmtree(target, ignore_errors=True)
    return found


def print_claim(found: dict[str, list[Leaves]]) -> None:
    """Print per order what was left, and what the simulator says of the same writes."""
    print("\nwhole files, link about as fast as files become dirty: left for the final copy")
    row = "{:20}{:>12}{:>12}{:>22}".format
    print(row("order", "measured", "simulated", "measured/simulated"))
    for order, runs in found.items():
        measured = np.median([run.measured_bytes for run in runs]) / 1e6
        simulated = np.median([run.simulated_bytes for run in runs]) / 1e6
        ratio = np.median([run.measured_bytes / max(run.simulated_bytes, 1) for run in runs])
        print(row(order, f"{measured:.1f} MB", f"{simulated:.1f} MB", f"{ratio:.2f}"))
