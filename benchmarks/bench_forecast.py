"""Forecasts beside live migrations: real services are recorded, forecast, and moved.

    python benchmarks/bench_forecast.py [--services NAME ...] [--seconds 40] [--orders] [--peers]
        [--csv FILE] [--json FILE]

Each service of the zoo runs under the access monitor.  When it has run for so many seconds,
``precopy forecast`` says what a migration would bring, of blocks and of whole files, over a fast
and a slow link; then each of these migrations is made, over a real link between two network
namespaces, and laid beside its forecast.  A migration is right if the destination equals the
stopped source and has every write that was acknowledged.

With --orders, whole files go at the slow link's rate in each order for a fixed number of cycles:
what waits at the end of a cycle, on average over the last third, beside what the replay said of it.
With --peers, the service is moved by what people use instead (`movers.py`), for comparison.

Needs root, and what the services and `bench_migrate.py` need.  Figures of one machine; the ratios
are what matters.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from movers import MOVERS, PRECOPY, Move
from tqdm import tqdm

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent / "services"))

# isort: split
import zoo
from migration import compare, links

FAST, SLOW = 12.5e6, 5e6
RULE = "downtime(0.1) | stall(10) & dip(0.1) | seconds(30)"
"""The rule of migrate, with an end: some services never come down on the slow link."""

ORDERS = ("update-frequency", "least-recently-updated", "size-ascending", "size-descending")
CYCLES = 30
PEERS = ("rsync, 2 passes", "rsync, 2 passes, -I", "rsync, 3 passes, --inplace")
COMPARED = ("downtime_s", "final_copy_bytes", "precopy_bytes", "precopy_s")
"""What a forecast and a report both say, by the same names."""

# The services' own programs and clients, which do not move.
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Running:
    """A service that runs under the monitor, in a directory that moves."""

    service: Any
    log: Path
    base: Path

    @property
    def source(self) -> Path:
        return self.base / self.service.name

    @property
    def what(self) -> list[str]:
        """What moves, for the command line."""
        stays = [REPOSITORY, Path(sys.prefix), self.service.outside]
        exclude = [word for path in stays for word in ("--exclude", os.fspath(path))]
        where = ["--log", os.fspath(self.log), "--root", os.fspath(self.source)]
        return [self.service.name, *where, *exclude]

    def start(self) -> None:
        """Start it where it was, and let it write."""
        self.service.prepare(self.source)
        self.service.launch(self.source)
        self.service.fill()
        self.service.serve()


@contextlib.contextmanager
def running(name: str, seconds: float) -> Iterator[Running]:
    """Start a service, and let it be recorded for so many seconds."""
    with tempfile.TemporaryDirectory(prefix="bench-forecast-", dir="/var/tmp") as made:
        base = Path(made)
        base.chmod(0o755)  # servers have users of their own
        log = base / "access.db"
        prefix = [os.fspath(PRECOPY), "record", "--app", name, "--log", os.fspath(log), "--"]
        with zoo.ZOO[name](base / "outside", 1, prefix) as service:
            found = Running(service, log, base)
            found.start()
            call("mark", "ready", "--log", os.fspath(log))
            time.sleep(seconds)
            yield found


def call(*words: str) -> str:
    done = subprocess.run([PRECOPY, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"precopy {words[0]}: status {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout


def forecast(run: Running, bandwidth: float, *options: str) -> dict[str, Any]:
    """Return what ``precopy forecast`` says of the service."""
    words = [*run.what, "--since", "ready", "--bandwidth", str(bandwidth), "--accept-incomplete"]
    found: dict[str, Any] = json.loads(
        call("forecast", *words, "--format", "json", "--quiet", *options)
    )
    return found


def migrate(move: Move, run: Running, *options: str) -> dict[str, Any]:
    """Move the service, and return the report; what was moved is looked at."""
    report = move.scratch / "report.json"
    shutil.rmtree(move.scratch / "state", ignore_errors=True)
    command = [PRECOPY, "migrate", *run.what, "--accept-incomplete", "--to", f"far:{move.target}"]
    move.run(*command, "--report", report, "--quiet", *options)
    move.service.stop(signal.SIGKILL)
    found: dict[str, Any] = json.loads(report.read_text())
    found["right"] = is_right(move)
    return found


def is_right(move: Move) -> bool:
    """Whether the destination has all, content and acknowledged writes."""
    found = compare.differences(move.source, move.destination, content_only=True)
    try:
        move.service.prefix, prefix = [], move.service.prefix
        move.service.check(move.destination)
    except AssertionError as error:
        found.append(str(error))
    finally:
        move.service.prefix = prefix
    for text in found[:5]:
        print(f"  {move.service.name}: {text}", file=sys.stderr)
    return not found


@contextlib.contextmanager
def moving(run: Running, link: links.Link) -> Iterator[Move]:
    """Give a fresh target; the service runs again where it was when it is over."""
    target, scratch = run.base / "target", run.base / "scratch"
    scratch.mkdir(exist_ok=True)
    try:
        yield Move(link, run.service, run.source, target, scratch)
    finally:
        run.service.stop(signal.SIGKILL)
        shutil.rmtree(target, ignore_errors=True)


def beside(said: dict[str, Any], fixed_s: float, measured: dict[str, Any]) -> dict[str, Any]:
    """Return a row: what was said, from where to where, and what was measured."""
    row: dict[str, Any] = {"reached": said["reached"], "of": said["of"], "rule": said["rule"]}
    for name in COMPARED:
        interval = said[name] or {"median": None, "low": None, "high": None}
        row |= {f"{name}_{end}": interval[end] for end in ("low", "median", "high")}
        row[f"{name}_measured"] = measured[name]
    row["fixed_s"] = fixed_s
    row["downtime_parts"] = {k: round(v, 4) for k, v in measured["downtime_parts"].items()}
    row["predicted_s"] = measured["predicted_downtime_s"]
    row["stopped_because"] = measured["stopped_because"]
    row["right"] = measured["right"]
    return row


def predictions(run: Running, fast: links.Link, slow: links.Link) -> Iterator[dict[str, Any]]:
    """Move the service as blocks and as whole files, over both links, beside its forecasts."""
    cases = [
        (bandwidth, granularity) for bandwidth in (FAST, SLOW) for granularity in ("block", "file")
    ]
    said = {
        case: forecast(run, case[0], "--granularity", case[1], "--until", RULE) for case in cases
    }
    for number, (bandwidth, granularity) in enumerate(cases):
        if number:
            run.start()
            time.sleep(3)
        with moving(run, fast if bandwidth == FAST else slow) as move:
            measured = migrate(move, run, "--granularity", granularity, "--until", RULE)
        row = {"service": run.service.name, "granularity": granularity, "bandwidth": bandwidth}
        found = said[bandwidth, granularity]
        yield row | beside(found["outcome"], found["fixed_s"], measured)


def orders(run: Running, fast: links.Link) -> Iterator[dict[str, Any]]:
    """Move whole files in each order for the same number of cycles, beside its replay.

    Over the fast link, which carries what the slow one is said to: whole files do not fill a link.
    """
    rule = f"cycles({CYCLES})"
    third = slice(2 * CYCLES // 3, CYCLES)
    for order in ORDERS:
        said = forecast(run, SLOW, "--granularity", "file", "--order", order, "--until", rule)
        if run.service.running is None:
            run.start()
            time.sleep(3)
        with moving(run, fast) as move:
            measured = migrate(
                move, run, "--granularity", "file", "--order", order, "--until", rule,
                "--bandwidth", str(SLOW), "--max-downtime", "600",
            )  # fmt: skip
        left = [cycle["pending_bytes"] for cycle in measured["cycles"]][third]
        yield {
            "service": run.service.name,
            "order": order,
            "pending_bytes_said": said["long_run"]["orders"][order],
            "pending_bytes_measured": statistics.mean(left),
            "bound_bytes": said["long_run"]["bound_bytes"],
            "right": measured["right"],
        }


def peers(run: Running, fast: links.Link) -> Iterator[dict[str, Any]]:
    """Move the service by what people use; its clients are not recorded then."""
    for name in PEERS:
        run.service.stop(signal.SIGKILL)
        run.service.prefix, prefix = [], run.service.prefix
        run.start()
        run.service.prefix = prefix
        time.sleep(3)
        with moving(run, fast) as move:
            measured = MOVERS[name](move)
            measured["right"] = is_right(move)
        yield {"service": run.service.name, "mover": name} | {
            key: measured[key] for key in ("downtime_s", "right")
        }


def inside(rows: list[dict[str, Any]], name: str) -> str:
    """Say how many measured values lie in their interval, and how wide the intervals are."""
    known = [row for row in rows if row[f"{name}_median"] is not None]
    within = sum(
        row[f"{name}_low"] <= row[f"{name}_measured"] <= row[f"{name}_high"] for row in known
    )
    width = statistics.median(row[f"{name}_high"] / max(row[f"{name}_low"], 1e-9) for row in known)
    return f"{within} of {len(known)} within, high/low {width:.2f} in the median"


def show(kind: str, rows: list[dict[str, Any]]) -> None:
    """Print what a part has found."""
    print(f"\n{kind}")
    for row in rows:
        if kind == "predictions":
            text = "{service:16}{granularity:6}{bandwidth:>10.3g} B/s".format(**row)
            for name in ("downtime_s", "final_copy_bytes", "precopy_bytes"):
                ends = [row[f"{name}_{end}"] for end in ("low", "median", "high", "measured")]
                text += "  " + name + " " + " ".join("-" if e is None else f"{e:.3g}" for e in ends)
            print(text, "" if row["right"] else "NOT RIGHT")
        else:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
    if kind == "predictions" and rows:
        for name in COMPARED:
            print(f"  {name}: {inside(rows, name)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", nargs="*", choices=[*zoo.ZOO], default=[*zoo.ZOO])
    parser.add_argument("--seconds", type=float, default=40.0, help="how long each is recorded")
    parser.add_argument("--orders", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--no-predictions", action="store_true")
    parser.add_argument("--csv", type=Path, help="the predictions, as precopy.datasets ships them")
    parser.add_argument("--json", type=Path, help="everything")
    options = parser.parse_args()
    # However it is ended, namespaces and services are taken away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    found: dict[str, list[dict[str, Any]]] = {"predictions": [], "orders": [], "peers": []}
    with links.link(FAST) as fast, links.link(SLOW) as slow:
        for name in tqdm(options.services, leave=False):
            if lacks := zoo.missing(zoo.ZOO[name]):
                print(f"{name}: left out, missing {', '.join(lacks)}", file=sys.stderr)
                continue
            with running(name, options.seconds) as run:
                try:
                    if not options.no_predictions:
                        found["predictions"] += predictions(run, fast, slow)
                    if options.orders:
                        found["orders"] += orders(run, fast)
                    if options.peers:
                        found["peers"] += peers(run, fast)
                except (RuntimeError, AssertionError) as error:
                    print(f"{name}: {error}", file=sys.stderr)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1))
    for kind, rows in found.items():
        if rows:
            show(kind, rows)
    if options.csv and found["predictions"]:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(found["predictions"][0]))
            writer.writeheader()
            writer.writerows(found["predictions"])


if __name__ == "__main__":
    main()
