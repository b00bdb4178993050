"""What the access monitor and the tracker cost, as ratios measured in one run, interleaved.

    python benchmarks/bench_access.py [--rounds N] [--strace-rounds N] [--json FILE]

Each workload runs plain, monitored (a tracker at work) and under ``strace -f``, one after the other
in every round; a ratio is the median of the rounds' ratios, which a busy machine disturbs least.
The last rows are the tracker's own: records in a journal, taken into SQLite.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from precopy.access import schema, wire
from precopy.access.ingest import Ingest
from precopy.access.live import LiveDirectory
from precopy.access.recording import record

HERE = Path(__file__).parent
LIMITS = {"pwrite": 1.15, "open+close": 2.0, "sqlite insert": 1.1, "git clone": 1.15}
STRACE = ["strace", "-f", "-qq", "-y", "-e", "trace=file,desc", "-o", "/dev/null"]

SQLITE = """
import os, sqlite3, sys, time
log = sqlite3.connect(sys.argv[1], isolation_level=None)
log.execute("PRAGMA synchronous = OFF")
log.execute("CREATE TABLE IF NOT EXISTS t (a, b)")
start = time.perf_counter()
for i in range(int(sys.argv[2])):
    log.execute("INSERT INTO t VALUES (?, ?)", (i, "x" * 50))
print((time.perf_counter() - start) / int(sys.argv[2]) * 1e9)
"""


class Workload:
    """A command that prints its own time, or is timed from outside.

    Parameters
    ----------
    name : str
        What it is called in the table.
    command : function from (directory, share) to list of str
        Its arguments; `share` scales the amount of work, smaller under strace.
    prints : bool
        Whether it prints nanoseconds per operation.
    """

    def __init__(
        self, name: str, command: Callable[[Path, float], list[str]], prints: bool
    ) -> None:
        self.name, self.command, self.prints = name, command, prints

    def run(self, directory: Path, prefix: list[str], env: dict[str, str], share: float) -> float:
        """Return nanoseconds: per operation if the command says so, else of the whole."""
        command = prefix + self.command(directory, share)
        start = time.perf_counter_ns()
        done = subprocess.run(command, env=env, cwd=directory, check=True, capture_output=True)
        elapsed = time.perf_counter_ns() - start
        return float(done.stdout) if self.prints else elapsed


def workloads(directory: Path) -> list[Workload]:
    """Prepare everything that is not to be timed."""
    cost = directory / "calls_cost"
    subprocess.run(["cc", "-O2", str(HERE / "calls_cost.c"), "-o", str(cost)], check=True)
    source = directory / "source"
    files = [source / f"d{i % 50}" / f"file{i}" for i in range(3000)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.name}\n" * 20)
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *arguments], check=True)

    def clone(where: Path, share: float) -> list[str]:
        shutil.rmtree(where / "clone", ignore_errors=True)
        return ["git", "clone", "-q", "--no-local", str(source), "clone"]

    def insert(where: Path, share: float) -> list[str]:
        (where / "t.db").unlink(missing_ok=True)
        return [sys.executable, "-S", "-c", SQLITE, "t.db", str(int(4000 * share))]

    return [
        Workload("pwrite", lambda _, share: [str(cost), "pwrite", str(int(400_000 * share))], True),
        Workload(
            "open+close", lambda _, share: [str(cost), "open", str(int(100_000 * share))], True
        ),
        Workload("sqlite insert", insert, True),
        Workload("git clone", clone, False),
    ]


def measure(rounds: int, strace_rounds: int, parent: Path) -> dict[str, dict[str, float]]:
    """Return per workload the medians of the three ways in nanoseconds, and their ratios."""
    table: dict[str, dict[str, float]] = {}
    work = parent / "work"
    work.mkdir()
    plain = dict(os.environ)
    has_strace = shutil.which("strace") is not None
    with record(app="benchmark", log=parent / "access.db") as recording:
        for workload in workloads(parent):
            times: dict[str, list[float]] = {"plain": [], "monitored": [], "strace": []}
            for number in tqdm(range(rounds), desc=workload.name, file=sys.stderr):
                times["plain"].append(workload.run(work, [], plain, 1))
                times["monitored"].append(workload.run(work, [], recording.env, 1))
                if number < strace_rounds and has_strace:
                    times["strace"].append(workload.run(work, STRACE, plain, 0.02))
            row = {way: statistics.median(values) for way, values in times.items() if values}
            row["ratio"] = _ratio(times["monitored"], times["plain"])
            if "strace" in row:
                row["strace ratio"] = _ratio(times["strace"], times["plain"])
            table[workload.name] = row
    return table


def _ratio(times: list[float], plain: list[float]) -> float:
    return statistics.median(time / base for time, base in zip(times, plain, strict=False))


def ingest_rate(paths: int, parent: Path, events: int = 2_000_000) -> float:
    """Return the records per second that a tracker takes from its journal into SQLite."""
    directory = parent / f"ingest-{paths}"
    directory.mkdir()
    live = LiveDirectory(directory / "access.db")
    live.create()
    chunk = b"".join(
        wire.Record(
            wire.ACCESS, b"app", b"/srv/data/some/directory/file-%06d" % (i * 7919 % paths), pid=9,
            use=wire.WRITE, writes=3, bytes_written=12288, first_ns=i * 1000, last_ns=i * 1000,
        ).encode()
        for i in range(200_000)
    )  # fmt: skip
    with (live.journal / f"{0:020d}").open("wb") as journal:
        for _ in range(events // 200_000):
            journal.write(chunk)
    connection = schema.connect(live.log)
    ingest = Ingest(live, connection)
    start = time.perf_counter()
    while ingest.step():
        pass
    elapsed = time.perf_counter() - start
    connection.close()
    return events / elapsed


def main() -> int:
    """Measure, print the table, write the JSON; exit code 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--strace-rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=HERE / "results" / "access.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        table = measure(options.rounds, options.strace_rounds, Path(name))
        rates = {paths: ingest_rate(paths, Path(name)) for paths in (100, 10_000, 200_000)}
    print(
        f"{'':14}{'plain':>12}{'monitored':>12}{'ratio':>8}{'limit':>8}{'strace':>14}{'ratio':>8}"
    )
    for workload, row in table.items():
        print(
            f"{workload:14}{row['plain'] / 1e3:>10.2f}us{row['monitored'] / 1e3:>10.2f}us"
            f"{row['ratio']:>8.3f}{LIMITS[workload]:>8}"
            f"{row.get('strace', float('nan')) / 1e3:>12.2f}us"
            f"{row.get('strace ratio', float('nan')):>8.1f}"
        )
    for paths, rate in rates.items():
        print(f"tracker, {paths} paths: {rate / 1e6:.2f} million records/s into SQLite")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"calls": table, "records_per_s": rates}, indent=1) + "\n")
    within = all(row["ratio"] <= LIMITS[workload] for workload, row in table.items())
    return 0 if within and rates[10_000] >= 1e6 else 1


if __name__ == "__main__":
    sys.exit(main())
