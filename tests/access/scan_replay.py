"""Checks a recording against what a scanner saw beside it: two simulations of one migration.

    scan_replay.py RECORDING.npz SCAN.gz [--log LOG.db]

The scanner (`scanner.py`) knows nothing of the access monitor: path, size, time stamp and inode of
all files, once a second.  `Scans.simulate` migrates them in plain Python, with nothing of
precopy's: a path that is new or changed since the look before is pending.  `compare` sets the
long-run mean of the final copy beside that of the recording's replay, at links that send all data
once in T seconds, with cycles from look to look.

For "update-frequency" both must count alike, or they rank by different numbers: a scan sees that a
file has changed, not how often.  So the recording is replayed as a scan would have counted it, too.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from access.scanner import Look, State, looks

LINKS_S = (8, 25, 60)
ORDERS = ("size-ascending", "update-frequency")


@dataclass(frozen=True)
class Step:
    """What one look shows that the look before did not."""

    sizes: dict[str, int]  # of all files, in this look
    written: list[str]  # new or changed
    moved: dict[str, str]  # the same file under a new name, which is not counted as written
    gone: list[str]


def step(before: dict[str, State], now: dict[str, State]) -> Step:
    """Compare two looks."""
    changed = [path for path, state in now.items() if before.get(path) != state]
    gone = [path for path in before if path not in now]
    left = {before[path]: path for path in before if now.get(path, (0, 0, 0))[2] != before[path][2]}
    moved = {path: left[now[path]] for path in changed if now[path] in left}
    written = [path for path in changed if path not in moved]
    return Step({path: state[0] for path, state in now.items()}, written, moved, gone)


@dataclass
class Scans:
    """The looks of a window, which is gone through again and again."""

    looks: list[Look]
    steps: list[Step] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.looks) < 3:
            raise ValueError(f"looks: expected at least 3 of them, got {len(self.looks)}")
        files = [look.files for look in self.looks]
        self.steps = [step(one, other) for one, other in itertools.pairwise(files)]
        touched: set[str] = set()
        for each in self.steps:
            touched.update(each.written, each.moved, each.moved.values(), each.gone)
        self.constant = {path for path in files[0] if path not in touched}
        first, last = self.steps[0], {path: state[0] for path, state in files[-1].items()}
        begin = {path: state[0] for path, state in files[0].items()}
        # A lap begins with what leads back from the end: files that are there or not, and sizes.
        self.back = Step(
            first.sizes,
            [path for path, size in begin.items() if last.get(path) != size],
            {},
            [path for path in last if path not in begin],
        )

    @classmethod
    def between(cls, path: str | Path, begin_ns: int, end_ns: int) -> Scans:
        """Take the looks of a file that began within a window."""
        return cls([look for look in looks(path) if begin_ns <= look.begin_ns <= end_ns])

    @property
    def begin_ns(self) -> int:
        return self.looks[0].begin_ns

    @property
    def end_ns(self) -> int:
        return self.looks[-1].begin_ns

    @property
    def cycle_s(self) -> float:
        """The time from look to look."""
        return (self.end_ns - self.begin_ns) / 1e9 / len(self.steps)

    @property
    def mean_bytes(self) -> float:
        return sum(sum(one.sizes.values()) for one in self.steps) / len(self.steps)

    def from_step(self, start: int) -> Iterator[list[Step]]:
        """Go through the steps without end, beginning with number `start`: those of each cycle."""
        number = start
        while True:
            lap, at = divmod(number, len(self.steps))
            yield [self.back, self.steps[at]] if lap and not at else [self.steps[at]]
            number += 1

    def simulate(self, order: str, budget_bytes: int, cycles: int, start: int = 0) -> list[int]:
        """Migrate; return the final copy after each cycle."""
        sizes = {path: state[0] for path, state in self.looks[start].files.items()}
        pending = set(sizes)
        updates: dict[str, int] = {}
        final: list[int] = []
        carried = 0

        def rank(path: str) -> tuple[bool, int, str]:
            key = sizes[path] if order == "size-ascending" else updates.get(path, 0)
            return path not in self.constant, key, path

        for steps in self.from_step(start):
            left = budget_bytes + carried
            carried = 0
            for path in sorted(pending, key=rank):
                if sizes[path] > left:
                    carried = left
                    break
                left -= sizes[path]
                pending.discard(path)
            for one in steps:
                was_pending = set(pending)
                for path in one.gone:
                    pending.discard(path)
                for path, old in one.moved.items():
                    pending.discard(path)
                    if old in was_pending:
                        pending.add(path)
                pending.update(one.written)
                for path in (*one.written, *one.moved) if one is not self.back else ():
                    updates[path] = updates.get(path, 0) + 1
                sizes = one.sizes
            pending.intersection_update(sizes)
            final.append(sum(sizes[path] for path in pending))
            if len(final) == cycles:
                return final
        raise AssertionError("unreachable")


@dataclass(frozen=True)
class Compared:
    """The long-run means of the final copy, at one link and under one order."""

    once_s: float
    order: str
    scans_bytes: float
    replay_bytes: float
    all_bytes: float

    @property
    def ratio(self) -> float:
        """What the replay leaves, per byte that the scans leave."""
        if self.scans_bytes == self.replay_bytes:
            return 1.0
        return self.replay_bytes / self.scans_bytes if self.scans_bytes else math.inf

    def __str__(self) -> str:
        return (
            f"T = {self.once_s:2g} s  {self.order:22} scans {self.scans_bytes / 1e6:9.3f} MB  "
            f"replay {self.replay_bytes / 1e6:9.3f} MB  ratio {self.ratio:6.3f}  "
            f"of {self.all_bytes / 1e6:8.1f} MB"
        )


def compare(recording, scans: Scans, begin_ns: int, starts: int = 4) -> list[Compared]:
    """Compare the long-run means of both.

    Parameters
    ----------
    recording : precopy.Recorded
    scans : Scans
        Within the time of the recording.
    begin_ns : int
        When the recording began, since the epoch.
    starts : int
        How many start points are averaged.
    """
    import numpy as np

    from precopy import Cycle, simulate

    app = recording.part(
        (scans.begin_ns - begin_ns) / 1e9,
        (scans.end_ns - begin_ns) / 1e9,
    )
    lap = len(scans.steps)
    found = []
    for once_s in LINKS_S:
        cycle = Cycle.of_seconds(scans.cycle_s, scans.mean_bytes / once_s)
        # After a lap, and twice the time that all data takes.
        before = math.ceil(max(lap, 2 * once_s / scans.cycle_s))
        for order, counted in [(order, False) for order in ORDERS] + [(ORDERS[1], True)]:
            of_scans, of_replay = [], []
            for index in range(starts):
                start = index * lap // starts
                final = scans.simulate(order, cycle.budget_bytes, before + lap, start)
                of_scans.append(np.mean(final[-lap:]))
                run = simulate(
                    app if counted or order == ORDERS[0] else as_scanned(app, scans),
                    cycle=cycle,
                    order=order,
                    cycles=before + lap,
                    start_s=start * scans.cycle_s,
                )
                of_replay.append(np.mean(run.final_copy_bytes[-lap:]))
            found.append(
                Compared(
                    once_s,
                    order + (", all counts" if counted else ""),
                    float(np.mean(of_scans)),
                    float(np.mean(of_replay)),
                    scans.mean_bytes,
                )
            )
    return found


def as_scanned(app, scans: Scans):
    """Return a recording with the counts that a scan has: one for each file that has changed."""
    import numpy as np

    from precopy import Recorded, WriteTrace

    writes, rows = app.writes, len(app.writes)
    moved = np.flatnonzero(writes.from_id >= 0)
    name = np.concatenate([writes.file_id, writes.from_id[moved]])
    row = np.concatenate([np.arange(rows), moved])
    number = writes.time_ns[row] // round(scans.cycle_s * 1e9)
    # The last that happens to a file in a cycle, where it is still there after it.
    order = np.lexsort((row, number, name))
    of, at = name[order], number[order]
    last = order[np.append((of[1:] != of[:-1]) | (at[1:] != at[:-1]), True)[: len(of)]]
    seen = np.zeros(rows, np.int64)
    seen[last[last < rows]] = 1
    seen[writes.size_bytes < 0] = 0
    trace = WriteTrace(
        writes.file_id,
        writes.write_bytes,
        time_ns=writes.time_ns,
        count=seen,
        size_bytes=writes.size_bytes,
        from_id=writes.from_id,
        present=writes.present,
        duration_ns=writes.duration_ns,
    )
    return Recorded(app.name, app.files, trace)


def marked_ns(log: str | Path, name: str) -> int:
    """Return when a mark was set in a log, since the epoch."""
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as connection:
        [(time_ns,)] = connection.execute(
            "SELECT time_ns FROM mark WHERE name = ? ORDER BY time_ns DESC LIMIT 1", (name,)
        )
    return int(time_ns)


def differences(recording, scans: Scans, begin_ns: int) -> list[tuple[float, float, str]]:
    """Return what to look at where both differ: bytes that only one of them says are written.

    Pairs of what scans saw and the recording has not, and the reverse, in bytes per look, with the
    path; the largest first. For a person who searches for the cause.
    """
    import numpy as np

    app = recording.part(
        (scans.begin_ns - begin_ns) / 1e9,
        (scans.end_ns - begin_ns) / 1e9,
    )
    writes, paths = app.writes, app.files.path
    base = common_directory(app, scans)
    number = np.minimum(writes.time_ns // round(scans.cycle_s * 1e9), len(scans.steps) - 1)
    recorded_in: list[set[str]] = [set() for _ in scans.steps]
    for index, file_id in zip(number.tolist(), writes.file_id.tolist(), strict=True):
        recorded_in[index].add(paths[file_id].removeprefix(base))
    only: dict[str, list[float]] = {}
    for one, recorded in zip(scans.steps, recorded_in, strict=True):
        scanned = {*one.written, *one.moved}
        for path in scanned - recorded:
            only.setdefault(path, [0.0, 0.0])[0] += one.sizes[path] / len(scans.steps)
        for path in (recorded - scanned) & one.sizes.keys():
            only.setdefault(path, [0.0, 0.0])[1] += one.sizes[path] / len(scans.steps)
    rows = [(missed, added, path) for path, (missed, added) in only.items()]
    return sorted(rows, key=lambda row: -row[0] - row[1])


def common_directory(app, scans: Scans) -> str:
    """Return where the scanned files are: what the recorded paths have before the scanned ones."""
    for sample in scans.looks[0].files:
        for path in app.files.path:
            if path == sample or path.endswith("/" + sample):
                return path.removesuffix(sample)
    raise ValueError("scans: expected files of the recording among them, got none")


def main() -> None:
    from precopy import Recorded

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--log", type=Path, required=True, help="for its marks ready and end")
    parser.add_argument("--differences", type=int, default=0, metavar="N")
    options = parser.parse_args()
    app = Recorded.load(options.recording)
    begin, end = (marked_ns(options.log, name) for name in ("ready", "end"))
    scans = Scans.between(options.scan, begin, end)
    print(f"{app!r}\n{len(scans.looks)} looks, {scans.cycle_s:.3f} s apart")
    for one in compare(app, scans, begin):
        print(one)
    for missed, added, path in differences(app, scans, begin)[: options.differences]:
        print(
            f"  only scanned {missed / 1e3:10.1f} kB, only recorded {added / 1e3:10.1f} kB  {path}"
        )


if __name__ == "__main__":
    main()
