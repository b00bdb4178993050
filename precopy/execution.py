"""Many runs on any executor: in chunks, with a progress bar, interruptible, resumable."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import signal
import sqlite3
import warnings
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precopy import _check, _core
from precopy._version import __version__
from precopy.files import FileSet
from precopy.seeds import Seed, generator
from precopy.simulation import Plan, run_together
from precopy.trace import WriteTrace
from precopy.workload import Workload

# Enough writes that handing a chunk to a worker costs little beside running it, few enough that an
# interrupt loses little: about 0.1 s.
_CHUNK_WRITES = 20_000_000

# Runs that share their writes are in memory at the same time; so many files and cycles of them.
_GROUP_ENTRIES = 1 << 22

SUMMARY = {
    "final_copy_bytes_least": "least final copy",
    "final_copy_bytes_last": "final copy after the last cycle",
    "final_copy_bytes_steady": "mean final copy over the last half of the cycles",
    "precopy_bytes_last": "pre-copy",
    "resent_bytes_last": "resent",
}


@dataclass(eq=False, slots=True)
class FinishedRun:
    """One run of many: its number, why and when it stopped, and what was kept of it.

    `data` is int64[3 or 4, cycles], the curves of its plan, or the float64[5] of `SUMMARY`.
    """

    index: int
    stop: str
    cycles: int
    data: npt.NDArray[Any]


def check_executor(executor: Any) -> None:
    """Raise for what is no executor of the standard library's kind."""
    if executor is None:
        return
    if hasattr(executor, "get_executor"):
        raise TypeError(
            "executor: expected a concurrent.futures.Executor, as client.get_executor() makes one, "
            f"got the client {_check.shown(executor)}"
        )
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise TypeError(
            f"executor: expected a concurrent.futures.Executor, got {_check.shown(executor)}"
        )


def check_memory(size: int) -> None:
    """Raise for more than the machine has, which it may promise, and then end the process."""
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > most:
        raise MemoryError(
            f"{_check.bytes_text(size)} of {_check.bytes_text(most)}; "
            'keep="summary" needs five numbers per run'
        )


def run_all(
    plans: list[Plan],
    seeds: list[Seed],
    keep: str,
    executor: Executor | None,
    progress: bool | None,
    cache: str | os.PathLike[str] | None,
) -> Generator[FinishedRun, None, None]:
    """Make every run that `cache` does not hold, and give each one as soon as it is there."""
    with warnings.catch_warnings():
        # In a notebook without widgets tqdm says so, and shows a bar of text.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    # Without an answer from the user, a bar appears only for what takes longer than a second.
    quiet = {"disable": not progress} if progress is not None else {"disable": None, "delay": 1}
    with (
        closing(_Store(plans, seeds, keep, cache)) as store,
        tqdm(total=len(plans), unit="run", desc="runs", **quiet) as bar,
    ):
        missing = []
        for index in range(len(plans)):
            run = store.get(index)
            if run is None:
                missing.append(index)
            else:
                bar.update()
                yield run
        with closing(_run_chunks(plans, seeds, missing, keep, executor)) as chunks:
            for chunk in chunks:
                store.put(chunk)
                bar.update(len(chunk))
                yield from chunk


def _run_chunks(
    plans: list[Plan], seeds: list[Seed], indices: list[int], keep: str, executor: Executor | None
) -> Generator[list[FinishedRun], None, None]:
    workers = len(os.sched_getaffinity(0))
    cancel = np.zeros(1, dtype=np.uint8)
    pool = executor if executor is not None else ThreadPoolExecutor(workers)
    futures: list[Future[list[FinishedRun]]] = []
    try:
        with _interrupts_held() if executor is None else nullcontext():
            for chunk in _chunks(plans, seeds, indices, workers):
                flag = cancel if executor is None else None
                futures.append(_submitted(pool, chunk, keep, flag))
        for future in as_completed(futures):
            yield future.result()
    finally:
        # After an error or an interrupt; finished futures are not affected.
        cancel[0] = 1
        for future in futures:
            future.cancel()
        if executor is None:
            pool.shutdown(wait=True)


def _submitted(pool: Executor, *task: Any) -> Future[list[FinishedRun]]:
    try:
        future = pool.submit(_run_chunk, *task)
    except RuntimeError as error:  # such as a pool that is shut down, or whose workers have died
        raise RuntimeError(
            f"executor: expected one that takes work, got {_check.shown(pool)}: {error}"
        ) from error
    if not isinstance(future, Future):
        raise TypeError(
            "executor: expected submit() to return a concurrent.futures.Future, got "
            f"{type(future).__name__} from {_check.shown(pool)}"
        )
    return future


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait: in the middle of a submission it would leave the pool's lock taken."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(eq=False, slots=True)
class _Group:
    """Runs that share their files, writes and seed, and so the drawing of the writes."""

    seed: Seed
    indices: list[int]
    plans: list[Plan]


def _chunks(
    plans: list[Plan], seeds: list[Seed], indices: list[int], workers: int
) -> Iterator[list[_Group]]:
    """Cut the runs into groups, and these into chunks, one for a worker to make."""
    alike: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for index in indices:
        plan = plans[index]
        alike[id(plan.files), id(plan.writes), id(seeds[index])].append(index)
    most = max(1, -(-len(indices) // (4 * workers)))
    chunk: list[_Group] = []
    runs = writes = 0
    for members in alike.values():
        room = 0
        for at, index in enumerate(members):
            files, arguments = plans[index].files, plans[index].arguments
            entries = len(files) + arguments["cycles"]
            full = writes >= _CHUNK_WRITES
            if full or room < entries or len(chunk[-1].indices) == most:
                if runs and (full or runs + len(members) - at > most):
                    yield chunk
                    chunk, runs, writes = [], 0, 0
                chunk.append(_Group(seeds[index], [], []))
                room = _GROUP_ENTRIES
            chunk[-1].indices.append(index)
            chunk[-1].plans.append(plans[index])
            room -= entries
            runs += 1
            writes += plans[index].work
    if chunk:
        yield chunk


def _run_chunk(
    chunk: list[_Group], keep: str, cancel: npt.NDArray[np.uint8] | None
) -> list[FinishedRun]:
    finished = []
    for group in chunk:
        bits = None
        if isinstance(group.plans[0].writes, Workload):
            bits = generator(group.seed).bit_generator
        runs = run_together(group.plans, bits, cancel)
        for index, plan, (stop, curves) in zip(group.indices, group.plans, runs, strict=True):
            data = summary_of(curves, plan.total_bytes) if keep == "summary" else curves
            finished.append(FinishedRun(index, stop, curves.shape[1], data))
    return finished


def summary_of(curves: npt.NDArray[np.int64], total_bytes: int) -> npt.NDArray[np.float64]:
    """Return the numbers of `SUMMARY`."""
    cycles = curves.shape[1]
    if not cycles:
        return np.array([total_bytes] * 3 + [0, 0], dtype=np.float64)
    final, precopy, resent = curves[:3]
    # As mean() and min() do it, without their wrappers, which take longer than a small run.
    steady = np.add.reduce(final[cycles // 2 :], dtype=np.float64) / (cycles - cycles // 2)
    least = np.minimum.reduce(final)
    return np.array([least, final[-1], steady, precopy[-1], resent[-1]], dtype=np.float64)


class _Store:
    """Finished runs in an SQLite file, under a key made of everything that a run depends on.

    Nothing that goes into a key passes through text made for people: numbers, names and arrays are
    encoded with their types and lengths, and a seed by the state of the generator it makes. Every
    row carries a checksum of itself and its key: a damaged one is an error, never another result.
    """

    def __init__(
        self,
        plans: list[Plan],
        seeds: list[Seed],
        keep: str,
        directory: str | os.PathLike[str] | None,
    ) -> None:
        self._connection: sqlite3.Connection | None = None
        if directory is None:
            return
        folder = _folder(directory)
        self._kind = np.dtype(np.float64 if keep == "summary" else np.int64)
        prints = _Fingerprints()
        software = _digest(["precopy", __version__, core_digest(), np.__version__, keep])
        self._keys = [
            _digest([software, prints.of_plan(plan), _drawn_from(plan, seed)])
            for plan, seed in zip(plans, seeds, strict=True)
        ]
        self._rows = [len(plan.curves) for plan in plans]
        self._file = folder / "runs.sqlite"
        with self._explained():
            self._connection = sqlite3.connect(self._file, timeout=60)
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS run (key TEXT PRIMARY KEY, stop TEXT, cycles INTEGER,"
                " data BLOB, checksum TEXT) WITHOUT ROWID"
            )
            columns = [row[1] for row in self._connection.execute("PRAGMA table_info(run)")]
            if columns == ["key", "stop", "cycles", "data"]:  # of a version without checksums
                self._connection.execute("ALTER TABLE run ADD COLUMN checksum TEXT")

    def get(self, index: int) -> FinishedRun | None:
        if self._connection is None:
            return None
        query = "SELECT stop, cycles, data, checksum FROM run WHERE key = ?"
        with self._explained():
            row = self._connection.execute(query, [self._keys[index]]).fetchone()
        if row is None:
            return None
        stop, cycles, data, checksum = row
        if checksum != _checksum(self._keys[index], stop, cycles, data):
            raise self._damaged("a run that is not what was stored")
        shape = (self._rows[index], cycles) if self._kind == np.int64 else (len(SUMMARY),)
        if len(data or b"") != 8 * math.prod(shape):
            raise self._damaged(f"a run that has not {8 * math.prod(shape)} bytes")
        return FinishedRun(index, stop, cycles, np.frombuffer(data, self._kind).reshape(shape))

    def put(self, runs: list[FinishedRun]) -> None:
        if self._connection is None:
            return
        rows = [(self._keys[r.index], r.stop, r.cycles, r.data.tobytes()) for r in runs]
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT OR IGNORE INTO run VALUES (?, ?, ?, ?, ?)",
                    [(*row, _checksum(*row)) for row in rows],
                )
        except sqlite3.OperationalError as error:
            # A full disk, or a place that only may be read: no reason to lose what is being made.
            self.close()
            self._connection = None
            warnings.warn(
                f"cache: expected to write {self._file}, got {error}; "
                "the runs made from here on are not kept",
                stacklevel=2,
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            self.close()
            raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> ValueError:
        return ValueError(
            f"cache: expected finished runs in {self._file}, got {what}; "
            "without the file, all runs are made again"
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _folder(directory: str | os.PathLike[str]) -> Path:
    folder = Path(_check.path("cache", directory, _check.DIRECTORY))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cache: expected a directory, got: {error.strerror}"
        raise OSError(error.errno, what, str(folder)) from None
    return folder


@functools.cache
def core_digest() -> str:
    """Return a digest of the built C core: builds of one version number may differ."""
    return hashlib.sha256(Path(_core.__file__).read_bytes()).hexdigest()


class _Fingerprints:
    """Digests of plans; files and writes that plans share are read once."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}  # by id: the caller keeps all plans alive

    def of_plan(self, plan: Plan) -> str:
        if id(plan) not in self._known:
            cycle = plan.cycle
            self._known[id(plan)] = _digest(
                [
                    self._of(plan.files),
                    self._of(plan.writes),
                    [cycle.writes, cycle.write_seconds, cycle.bandwidth],
                    plan.arguments,
                ]
            )
        return self._known[id(plan)]

    def _of(self, value: Any) -> str:
        if id(value) not in self._known:
            self._known[id(value)] = fingerprint(value)
        return self._known[id(value)]


def fingerprint(value: Any) -> str:
    """Return a digest of the contents of a FileSet, Workload, WriteTrace or array."""
    if isinstance(value, FileSet):
        return _digest(["files", value.size_bytes, value.read_only])
    if isinstance(value, Workload):
        if len(value.parts) > 1:
            parts = [[first, part.share] for first, part in value.parts]
            return _digest(["switching", parts])
        return _digest(["shares", value.share])
    if isinstance(value, WriteTrace):
        sizes = value.write_bytes
        if value.in_time:
            columns = [value.file_id, value.time_ns, value.count, sizes, value.size_bytes]
            return _digest(["rows", columns, value.from_id, value.present, value.duration_ns])
        return _digest(["trace", value.file_id, *([] if sizes is None else [sizes])])
    return _digest(value)


def _drawn_from(plan: Plan, seed: Seed) -> Any:
    """Return the state of the generator that a run draws its writes from; a trace needs none."""
    return generator(seed).bit_generator.state if isinstance(plan.writes, Workload) else None


def _checksum(key: str, stop: Any, cycles: Any, data: Any) -> str:
    return _digest([key, stop, cycles, data])


def _digest(value: Any) -> str:
    digest = hashlib.sha256()
    for part in _encoded(value):
        digest.update(part)
    return digest.hexdigest()


def _encoded(value: Any) -> Iterator[bytes]:
    """Encode a value so that no other has the same bytes: its type, its length, its contents."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        data = value if isinstance(value, bytes) else _scalar_bytes(value)
        yield f"{type(value).__name__} {len(data)} ".encode()
        yield data
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        yield f"array {value.dtype.str} {value.ndim} {value.shape} ".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, (list, tuple)):
        yield f"list {len(value)} ".encode()
        for item in value:
            yield from _encoded(item)
    elif isinstance(value, Mapping):
        yield f"map {len(value)} ".encode()
        for name in sorted(value):
            yield from _encoded(name)
            yield from _encoded(value[name])
    else:
        raise TypeError(f"expected what a run can be told apart by, got {type(value)}")


def _scalar_bytes(value: bool | int | float | str | None) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return value.hex().encode() if isinstance(value, float) else b"%d" % value if value else b"0"
