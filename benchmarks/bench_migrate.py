"""Moves a running service over a slow link, and compares with what people use for it.

    python benchmarks/bench_migrate.py [--quick] [--rounds N] [--only WORD ...] [--json FILE]

The service writes into 400 SQLite databases (186 MB, half of them with a write-ahead log, half with
rollback journals; quarters of them get 1, 10, 10 and 79 of a hundred transactions), appends to a
log and replaces a file by renaming.  The link is 100 Mbit/s between two network namespaces, with an
sshd at its far end.  Needs root, and openssh-server, rsync, lsyncd and iproute2.

Every method moves the service once a round, in turn; figures are medians.  Downtime is from the
stop signal until the destination is complete (ours: durable and verified, too).  A file is stale if
it differs from its stopped source.  "Not shm" leaves out the indexes of write-ahead logs, which are
stored through mappings and which SQLite can make anew.  A result is right if no file is stale, all
databases are whole, and every write that was acknowledged is there.

At the end stands the paper's claim on a real service: what whole files in three orders leave for
the final copy, and what `simulate` says of the very writes that were recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claim import claim, print_claim
from movers import MOVERS, Move
from tqdm import tqdm

# isort: split
from migration import compare, links
from migration.services import Mixed

LINK = 12.5e6


@dataclass(frozen=True)
class Setting:
    """Under which the methods are compared."""

    name: str
    rate: float
    bandwidth: float = LINK
    round_trip: float = 0.0
    files: int = 400


SETTINGS = [
    Setting("40/s", 40),
    Setting("250/s", 250),
    Setting("40/s, 20 ms", 40, round_trip=0.02),
    Setting("at the link's rate", 250, bandwidth=1.5e6, files=100),
]


class Bench:
    """A service in a directory of its own, which every method moves in turn."""

    def __init__(self, setting: Setting, base: Path, link: links.Link) -> None:
        self.setting = setting
        self.link = link
        self.scratch = base / "scratch"
        self.scratch.mkdir(parents=True)
        self.source = base / "service"
        self.target = base / "target"
        self.service = Mixed(self.scratch, files=setting.files, rate=setting.rate)

    def move(self, name: str) -> dict[str, Any]:
        """Let the service run, move it, and look at what arrived."""
        self.service.start(self.source)
        move = Move(self.link, self.service, self.source, self.target, self.scratch)
        before = self.link.bytes()
        try:
            measured = MOVERS[name](move)
            measured["link_bytes"] = self.link.bytes() - before
            found = compare.differences(self.source, move.destination, content_only=True)
            measured["stale"] = len(found)
            # SQLite makes its index of a log anew; what else is stale, is lost.
            measured["stale_index"] = sum("-shm'" in text for text in found)
            measured["whole"] = True
            try:
                self.service.check(move.destination)
            except AssertionError as error:
                measured["whole"] = False
                found.append(str(error))
            measured["found"] = found[:20]
        finally:
            self.service.stop(signal.SIGKILL)
            shutil.rmtree(self.target, ignore_errors=True)
        return measured


@contextlib.contextmanager
def bench(setting: Setting) -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-migrate-") as base,
        links.link(setting.bandwidth, setting.round_trip) as link,
    ):
        found = Bench(setting, Path(base), link)
        with found.service:
            yield found


def span(values: list[int]) -> str:
    return f"{min(values)}..{max(values)}" if min(values) != max(values) else str(values[0])


def table(setting: Setting, results: dict[str, list[dict[str, Any]]]) -> None:
    """Print one row per method: medians, and how often the result was right."""
    print(f"\n{setting.name}")
    row = "{:34}{:>10}{:>10}{:>13}{:>9}  {}".format
    print(row("method", "downtime", "link", "stale files", "not shm", "right"))
    for name, runs in results.items():
        downtime = statistics.median(run["downtime_s"] for run in runs)
        crossed = statistics.median(run["link_bytes"] for run in runs) / 1e6
        stale = span([run["stale"] for run in runs])
        lost = span([run["stale"] - run["stale_index"] for run in runs])
        right = sum(run["whole"] and not run["stale"] for run in runs)
        count = f"{right} of {len(runs)}"
        print(row(name, f"{downtime:.3f} s", f"{crossed:.0f} MB", stale, lost, count))
    judge(results)


def judge(results: dict[str, list[dict[str, Any]]]) -> None:
    """Print how ours stands: to the best of the others that was right, and to what it said."""
    ours = results.get("precopy")
    if not ours:
        return
    downtime = statistics.median(run["downtime_s"] for run in ours)
    right = {
        name: statistics.median(run["downtime_s"] for run in runs)
        for name, runs in results.items()
        if not name.startswith("precopy") and all(run["whole"] and not run["stale"] for run in runs)
    }
    if right:
        best = min(right, key=lambda name: right[name])
        print(f"  {downtime / right[best]:.3f} of the best that was right, {best}")
    near = sum(abs(run["predicted_s"] / run["downtime_s"] - 1) <= 0.3 for run in ours)
    print(f"  predicted within 30 %: {near} of {len(ours)}")
    limit = statistics.median(run["downtime_s"] / run["limit_s"] for run in ours)
    print(f"  of 1.3 x (last quiet cycle + freeze + bytes/link): {limit:.2f}")
    seen = statistics.median(run["outside_s"] for run in ours)
    print(f"  from its last write until the service was gone: {seen * 1000:.1f} ms")
    parts: dict[str, list[float]] = {}
    for run in ours:
        for part, seconds in run["report"]["downtime_parts"].items():
            parts.setdefault(part, []).append(seconds * 1000)
    split = ", ".join(f"{part} {statistics.median(each):.1f}" for part, each in parts.items())
    print(f"  milliseconds: {split}")
    left = statistics.median(run["report"]["final_copy_bytes"] for run in ours)
    print(f"  final copy: {left / 1e3:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the files, once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="methods that match one of these patterns")
    parser.add_argument("--settings", nargs="*", help="settings that match one of these patterns")
    parser.add_argument("--no-claim", action="store_true", help="leave out the orders of files")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # However it is ended, namespaces and services are taken away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    everything = {}
    for setting in SETTINGS:
        if options.settings and not any(re.search(word, setting.name) for word in options.settings):
            continue
        if options.quick:
            setting = Setting(setting.name, setting.rate, setting.bandwidth, setting.round_trip, 64)
        names = [
            name
            for name in MOVERS
            if not options.only or any(re.search(word, name) for word in options.only)
        ]
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        with bench(setting) as running:
            for _ in tqdm(range(1 if options.quick else options.rounds), leave=False):
                for name in names:
                    results[name].append(running.move(name))
        table(setting, results)
        everything[setting.name] = results
        if options.json:
            options.json.write_text(json.dumps(everything, indent=1))
    if not options.no_claim:
        with tempfile.TemporaryDirectory(prefix="bench-migrate-") as base, links.link(LINK) as link:
            print_claim(claim(Path(base), link, 1 if options.quick else options.rounds))


if __name__ == "__main__":
    main()
