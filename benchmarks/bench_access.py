"""What the access monitor and the tracker cost, as ratios measured in one run, interleaved.

    python benchmarks/bench_access.py [--rounds N] [--strace-rounds N] [--json FILE]

Each workload runs plain, monitored (a tracker at work) and under ``strace -f``, in turns; a ratio
is the median of the turns' ratios, which a busy machine disturbs least.  Single calls are made both
ways in one process, inserts in two processes that take turns, clones as whole processes.  The last
rows are the tracker's own: records in a journal, taken into SQLite.
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
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from precopy.access import schema
from precopy.access.tracking import wire
from precopy.access.tracking.ingest import Ingest
from precopy.access.tracking.live import LiveDirectory
from precopy.access.tracking.recording import record

HERE = Path(__file__).parent
LIMITS = {
    "pwrite": 1.1, "open+close": 1.4, "stat": 1.15, "access": 1.15, "sqlite insert": 1.1,
    "git clone": 1.15, "git status": 1.35,
}  # fmt: skip
STRACE = ["strace", "-f", "-qq", "-y", "-e", "trace=file,desc", "-o", "/dev/null"]
BLOCK = 100

INSERTS = """
import sqlite3, sys, time
log = sqlite3.connect(sys.argv[1], isolation_level=None)
log.execute("PRAGMA synchronous = OFF")
log.execute("CREATE TABLE t (a, b)")
for line in sys.stdin:
    start = time.perf_counter_ns()
    for i in range(int(line)):
        log.execute("INSERT INTO t VALUES (?, ?)", (i, "x" * 50))
    print((time.perf_counter_ns() - start) / int(line), flush=True)
"""

Row = dict[str, float]
"""Per way (plain, monitored, strace) nanoseconds, and two ratios."""


class Inserter:
    """A process that inserts rows into an SQLite database of its own, a block when asked to.

    Parameters
    ----------
    directory : Path
        Where the database goes.
    name : str
        The database's file name.
    prefix : list of str
        What to run it under.
    env : dict
        Its environment.
    """

    def __init__(self, directory: Path, name: str, prefix: list[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-S", "-c", INSERTS, name],
            cwd=directory, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def block(self, rows: int) -> float:
        """Insert so many rows; return nanoseconds per row."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(rows, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


class Bench:
    """The workloads, each in three ways.

    Parameters
    ----------
    directory : Path
        For everything they need and make.
    monitored : dict
        The environment of a monitored program.
    rounds, strace_rounds : int
        How often to measure; the traced ways are slow and need few.
    """

    def __init__(
        self, directory: Path, monitored: dict[str, str], rounds: int, strace_rounds: int
    ) -> None:
        self.directory, self.rounds = directory, rounds
        self.strace_rounds = strace_rounds if shutil.which("strace") else 0
        self.plain, self.monitored = dict(os.environ), monitored

    def calls(self, kind: str) -> Row:
        """Both ways in one process, in turns: the ratio that noise disturbs least."""
        program = self.directory / "calls_cost"
        if not program.exists():
            subprocess.run(
                ["cc", "-O2", str(HERE / "calls_cost.c"), "-o", str(program)], check=True
            )

        def run(count: int, prefix: list[str], env: dict[str, str]) -> list[float]:
            command = [*prefix, str(program), kind, str(count)]
            done = subprocess.run(
                command, env=env, cwd=self.directory, check=True, capture_output=True
            )
            return [float(value) for value in done.stdout.split()]

        rows = [run(20_000, [], self.monitored) for _ in self._progress(kind)]
        direct, hooked, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
        traced = [run(2_000, STRACE, self.plain)[1] for _ in range(self.strace_rounds)]
        return self._row([direct], [hooked], traced) | {"ratio": ratio}

    def inserts(self) -> Row:
        """Two processes that insert in turns, a block each."""
        ways = {"plain": ([], self.plain), "monitored": ([], self.monitored)}
        if self.strace_rounds:
            ways["strace"] = (STRACE, self.plain)
        workers = {
            way: Inserter(self.directory, f"{way}.db", prefix, env)
            for way, (prefix, env) in ways.items()
        }
        times: dict[str, list[float]] = {way: [] for way in workers}
        for worker in workers.values():
            worker.block(BLOCK)
        for number in self._progress("sqlite insert", 10 * self.rounds):
            for way, worker in workers.items():
                if way != "strace" or number < self.strace_rounds:
                    times[way].append(worker.block(BLOCK))
        for worker in workers.values():
            worker.end()
        return self._row(times["plain"], times["monitored"], times.get("strace", []))

    def clones(self) -> Row:
        """Whole processes, many files."""
        source = self._repository()

        def run(prefix: list[str], env: dict[str, str]) -> float:
            shutil.rmtree(self.directory / "clone", ignore_errors=True)
            command = [*prefix, "git", "clone", "-q", "--no-local", str(source), "clone"]
            start = time.perf_counter_ns()
            subprocess.run(command, env=env, cwd=self.directory, check=True, capture_output=True)
            return float(time.perf_counter_ns() - start)

        run([], self.plain)
        times: list[list[float]] = [[], [], []]
        for number in self._progress("git clone"):
            times[0].append(run([], self.plain))
            times[1].append(run([], self.monitored))
            if number < self.strace_rounds:
                times[2].append(run(STRACE, self.plain))
        return self._row(*times)

    def statuses(self) -> Row:
        """Whole processes that look at many files."""
        command = ["git", "-C", str(self._repository()), "status", "-s"]

        def run(prefix: list[str], env: dict[str, str]) -> float:
            start = time.perf_counter_ns()
            subprocess.run([*prefix, *command], env=env, check=True, capture_output=True)
            return float(time.perf_counter_ns() - start)

        run([], self.plain)
        times: list[list[float]] = [[], [], []]
        for number in self._progress("git status"):
            times[0].append(run([], self.plain))
            times[1].append(run([], self.monitored))
            if number < self.strace_rounds:
                times[2].append(run(STRACE, self.plain))
        return self._row(*times)

    def _repository(self) -> Path:
        source = self.directory / "source"
        if source.exists():
            return source
        for i in range(3000):
            file = source / f"d{i % 50}" / f"file{i}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{file.name}\n" * 20)
        git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.org"]
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
            subprocess.run([*git, *arguments], check=True)
        return source

    def _progress(self, name: str, rounds: int | None = None) -> Iterable[int]:
        return tqdm(range(rounds or self.rounds), desc=name, file=sys.stderr)

    @staticmethod
    def _row(plain: list[float], monitored: list[float], traced: list[float]) -> Row:
        row = {
            "plain": statistics.median(plain),
            "monitored": statistics.median(monitored),
            "ratio": _ratio(monitored, plain),
        }
        if traced:
            row["strace"] = statistics.median(traced)
            row["strace ratio"] = row["strace"] / row["plain"]
        return row


def measure(rounds: int, strace_rounds: int, parent: Path) -> dict[str, Row]:
    """Return per workload the medians of the three ways in nanoseconds, and their ratios."""
    work = parent / "work"
    work.mkdir()
    with record(app="benchmark", log=parent / "access.db") as recording:
        bench = Bench(work, recording.env, rounds, strace_rounds)
        return {
            "pwrite": bench.calls("pwrite"),
            "open+close": bench.calls("open"),
            "stat": bench.calls("stat"),
            "access": bench.calls("access"),
            "sqlite insert": bench.inserts(),
            "git clone": bench.clones(),
            "git status": bench.statuses(),
        }


def _ratio(times: list[float], plain: list[float]) -> float:
    return statistics.median(time / base for time, base in zip(times, plain, strict=True))


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
