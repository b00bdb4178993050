"""Services that tests and benchmarks move while they write, and how to tell that nothing is lost.

Each is started in a directory, writes there, and keeps outside of it what it acknowledged.
`Service.check` looks into any directory, the old one or the one it was moved to: it must be whole,
and every write that was acknowledged must be there.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from migration import program

PROGRAM = Path(program.__file__)
POSTGRES_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/nonexistent"))


def alive(pid: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


def wait_for(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait until `holds` returns something true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.005)


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, itself first."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            tasks = Path(f"/proc/{parent}/task").glob("*/children")
            found += [int(child) for task in tasks for child in task.read_text().split()]
    return found


class Service:
    """A program that writes into `directory` and acknowledges into `outside`."""

    name: str

    def __init__(self, outside: Path, seed: int = 0, prefix: Sequence[str] = ()) -> None:
        self.outside = outside
        self.seed = seed
        self.prefix = list(prefix)
        self.acks = outside / f"{self.name}.acks"
        self.running: int | None = None
        outside.mkdir(parents=True, exist_ok=True)

    # -- to be given by each

    def command(self, directory: Path) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    def check(self, directory: Path) -> None:
        """Fail unless `directory` is whole and has everything that was acknowledged."""
        raise NotImplementedError

    def prepare(self, directory: Path) -> None:
        """Put there what it needs to be started, where that is missing."""

    def fill(self) -> None:
        """Have it make its initial data, where it runs and has none."""

    def clients(self) -> None:
        """Start who writes, where that is not the service itself."""

    # -- for all

    @property
    def pid(self) -> int:
        """The process that was started; those below it belong to it."""
        assert self.running is not None
        return self.running

    def start(self, directory: Path) -> None:
        """Start it, and return when it has written something."""
        self.prepare(directory)
        self.launch(directory)
        self.fill()
        self.serve()

    def launch(self, directory: Path) -> None:
        """Start it, and return when it would answer."""
        directory.mkdir(parents=True, exist_ok=True)
        with (self.outside / f"{self.name}.err").open("ab") as errors:
            process = subprocess.Popen(
                self.prefix + self.command(directory),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        # Whoever ends it, it is not left behind as a zombie.
        threading.Thread(target=process.wait, daemon=True).start()
        self.running = process.pid
        self.wait_until_ready()

    def adopt(self, pid: int) -> None:
        """Go on with a process that was started elsewhere, and return when it has written."""
        self.stop(signal.SIGKILL)
        self.running = pid
        self.wait_until_ready()
        self.serve()

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.ready() or not alive(self.pid), f"{self.name} to be ready")
        assert alive(self.pid), f"{self.name} ended: {self.errors()}"

    def serve(self) -> None:
        self.clients()
        before = self.acknowledged()
        wait_for(lambda: self.acknowledged() > before + 5, f"{self.name} to write")

    def errors(self) -> str:
        return (self.outside / f"{self.name}.err").read_text(errors="replace")[-2000:]

    def acknowledged(self) -> int:
        """Return how many writes were acknowledged."""
        with contextlib.suppress(FileNotFoundError):
            return self.acks.read_bytes().count(b"\n")
        return 0

    def lines(self) -> Iterator[tuple[str, str]]:
        """Give the acknowledged writes: of what, and what they say."""
        if not self.acks.exists():
            return
        for line in self.acks.read_text().splitlines():
            part, text, *_ = line.split("\t")
            yield part, text

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and everything below it, if it still runs."""
        if self.running is None:
            return
        processes = descendants(self.pid) if alive(self.pid) else []
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                # A service that is asked to end ends its own; one that is frozen hears it late.
                if how is signal.SIGKILL or pid == self.pid:
                    os.kill(pid, how)
                os.kill(pid, signal.SIGCONT)
        for pid in processes:
            with contextlib.suppress(AssertionError):
                wait_for(lambda pid=pid: not alive(pid), f"{self.name} to end", 20)
                continue
            os.kill(pid, signal.SIGKILL)
        self.running = None

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)


class Program(Service):
    """program.py with some of its parts."""

    program = PROGRAM
    isolated: tuple[str, ...] = ("-I", "-S")
    parts: tuple[str, ...]
    rate = 200.0

    def command(self, directory: Path) -> list[str]:
        # No number is used twice.
        first = 1 + 10**9 * sum(part == "ready" for part, _ in self.lines())
        options = ["--rate", str(self.rate), "--seed", str(self.seed), "--first", str(first)]
        where = [os.fspath(directory), os.fspath(self.acks)]
        python = [sys.executable, *self.isolated, os.fspath(self.program)]
        return [*python, *options, *where, *self.parts]

    def ready(self) -> bool:
        # What is started through a prefix is below it.
        pids = set(map(str, descendants(self.pid)))
        return any(part == "ready" and text in pids for part, text in self.lines())

    def check(self, directory: Path) -> None:
        seen: dict[str, list[str]] = {}
        for part, text in self.lines():
            seen.setdefault(part.rstrip("?"), []).append(("? " if part[-1] == "?" else "") + text)
        for part in dict.fromkeys(self.parts):
            kind = part.partition(":")[0]
            getattr(self, "look_" + kind)(directory, seen.get(kind, []))

    def look_sqlite(self, directory: Path, acknowledged: list[str]) -> None:
        expected: dict[str, dict[int, int]] = {}
        for text in acknowledged:
            name, row, number = text.split()
            expected.setdefault(name, {})[int(row)] = int(number)
        for path in sorted((directory / "databases").glob("*.db")):
            with contextlib.closing(sqlite3.connect(path)) as database:
                whole = database.execute("pragma integrity_check").fetchall()
                assert whole == [("ok",)], f"{path}: {whole[:3]}"
                rows = database.execute("select id, number, data from t").fetchall()
            numbers = {row: number for row, number, _ in rows}
            for row, number, data in rows:
                assert data == program.payload(path.name, row, number), f"{path}: row {row}"
            for row, number in expected.pop(path.name, {}).items():
                assert numbers[row] >= number, f"{path}: row {row} lost write {number}"
        assert not expected, f"databases are missing: {sorted(expected)}"

    def look_append(self, directory: Path, acknowledged: list[str]) -> None:
        text = (directory / "service.log").read_text()
        assert text.endswith("\n") or not text, "service.log ends in mid-line"
        lines = [line.split() for line in text.splitlines()]
        assert all(len(line) == 2 and len(line[1]) == 200 for line in lines), "service.log is torn"
        numbers = [int(line[0]) for line in lines]
        assert numbers == sorted(set(numbers)), "service.log is out of order"
        lost = set(map(int, acknowledged)) - set(numbers)
        assert not lost, f"service.log lost {sorted(lost)[:3]}"

    def look_replace(self, directory: Path, acknowledged: list[str]) -> None:
        if not acknowledged:
            return
        body, _, digest = (directory / "state.txt").read_text().rstrip("\n").rpartition(" ")
        assert hashlib.sha256(body.encode()).hexdigest() == digest, "state.txt is torn"
        assert int(body.split()[0]) >= int(acknowledged[-1]), "state.txt is old"

    def look_mapped(self, directory: Path, acknowledged: list[str]) -> None:
        data = (directory / "mapped.bin").read_bytes()
        assert len(data) == program.SLOTS * program.SLOT_BYTES
        slots = {int(slot): int(number) for slot, number in map(str.split, acknowledged)}
        for slot, number in slots.items():
            (stored,) = struct.unpack_from("<q", data, slot * program.SLOT_BYTES)
            assert stored >= number, f"mapped.bin: slot {slot} lost {number}, has {stored}"

    def look_churn(self, directory: Path, acknowledged: list[str]) -> None:
        there: dict[str, str] = {}
        unsure: list[str] = []
        intent: list[str] = []

        def replay(operation: list[str]) -> None:
            kind, name, *to = operation
            below = [path for path in there if (path + "/").startswith(name + "/")]
            if kind in ("unlink", "rmtree"):
                for path in below:
                    del there[path]
            elif kind == "rename":
                for path in below:
                    there[to[0] + path[len(name) :]] = there.pop(path)
            else:
                there[name] = kind

        for text in acknowledged:
            about, operation = text.startswith("? "), text.removeprefix("? ").split()
            if intent and (about or operation != intent):
                unsure += intent[1:]  # the program was stopped before it could acknowledge this
            intent = operation if about else []
            if not about:
                replay(operation)
        unsure += intent[1:]
        doubtful = tuple(name + "/" for name in unsure)
        found = {}
        for base in directory.glob("churn-*"):
            for path in [base, *base.rglob("*")]:
                kind = "symlink" if path.is_symlink() else "mkdir" if path.is_dir() else "create"
                found[os.fspath(path.relative_to(directory))] = kind
        for name in sorted({*there, *found}):
            if not (name + "/").startswith(doubtful):
                expected, got = there.get(name), found.get(name)
                assert expected == got, f"{name}: expected {expected}, found {got}"
        for name, kind in found.items():
            if kind == "create" and not (name + "/").startswith(doubtful):
                assert (directory / name).stat().st_size > 0, f"{name}: it is empty"


class SqliteWal(Program):
    name = "sqlite-wal"
    parts = ("sqlite:wal:8:0.4",)


class SqliteJournal(Program):
    name = "sqlite-journal"
    parts = ("sqlite:delete:8:0.4",)


class SqliteMapped(Program):
    name = "sqlite-mapped"
    parts = ("sqlite:mapped:8:0.4",)


class Log(Program):
    name = "log"
    parts = ("append",)


class Replaced(Program):
    name = "replaced"
    parts = ("replace",)


class Churning(Program):
    name = "churn"
    parts = ("churn",)


class Stores(Program):
    name = "mapped"
    parts = ("mapped",)
    rate = 1000.0


class Mixed(Program):
    """The service of the benchmarks: databases of both kinds, a log, a file that is replaced."""

    name = "mixed"

    def __init__(
        self,
        outside: Path,
        files: int = 400,
        rate: float = 40,
        seed: int = 0,
        prefix: Sequence[str] = (),
    ) -> None:
        super().__init__(outside, seed, prefix)
        self.rate = rate
        self.parts = (f"sqlite:mixed:{files}",) * 18 + ("append", "replace")


class Postgres(Service):
    """PostgreSQL under pgbench, and a client that remembers what was committed."""

    name = "postgres"
    initial: tuple[str, ...] = ()
    load: tuple[str, ...] = ("-R", "100")

    def __init__(self, outside: Path, seed: int = 0, prefix: Sequence[str] = ()) -> None:
        super().__init__(outside, seed, prefix)
        # A socket's path must be short, and the server must reach it as its own user.
        self.sockets = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.sockets.chmod(0o777)
        self.client: subprocess.Popen[str] | None = None
        self.pgbench: subprocess.Popen[bytes] | None = None

    def prepare(self, directory: Path) -> None:
        if not (directory / "PG_VERSION").exists():
            shutil.rmtree(directory, ignore_errors=True)
            subprocess.run(["cp", "-a", postgres_template(*self.initial), directory], check=True)

    def command(self, directory: Path) -> list[str]:
        settings = {"listen_addresses": "", "fsync": "off", "full_page_writes": "on"}
        settings |= {
            "wal_writer_delay": "10ms",
            "checkpoint_timeout": "30s",
            "max_wal_size": "32MB",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        sockets = os.fspath(self.sockets)
        server = os.fspath(POSTGRES_BIN / "postgres")
        return [*as_postgres(), server, "-D", os.fspath(directory), "-k", sockets, *options]

    def run(self, tool: str, *arguments: str) -> str:
        command = [os.fspath(POSTGRES_BIN / tool), "-h", os.fspath(self.sockets)]
        command += ["-U", "postgres", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ready(self) -> bool:
        command = [os.fspath(POSTGRES_BIN / "pg_isready"), "-q", "-h", os.fspath(self.sockets)]
        return subprocess.run(command).returncode == 0

    def clients(self) -> None:
        where = ["-h", os.fspath(self.sockets), "-U", "postgres"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        pgbench = [os.fspath(POSTGRES_BIN / "pgbench"), *where, "-n", "-c", "2", "-T", "3600"]
        pgbench += ["--random-seed", str(self.seed), *self.load]
        self.pgbench = subprocess.Popen([*pgbench, "bench"], stdin=subprocess.DEVNULL, **quiet)
        psql = [os.fspath(POSTGRES_BIN / "psql"), *where, "-qAtX", "bench"]
        self.client = subprocess.Popen(
            psql,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self.write, args=(self.client,), daemon=True).start()

    def write(self, client: subprocess.Popen[str]) -> None:
        assert client.stdin is not None
        assert client.stdout is not None
        number = self.acknowledged() * 1000
        with contextlib.suppress(OSError, ValueError), self.acks.open("a", buffering=1) as acks:
            while True:
                number += 1
                client.stdin.write(f"insert into done values ({number}) returning number;\n")
                client.stdin.flush()
                if client.stdout.readline() != f"{number}\n":
                    return
                acks.write(f"postgres\t{number}\n")
                time.sleep(0.005)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        # Its "smart" way to end waits for clients, the "fast" way does not.
        super().stop(signal.SIGINT if how is signal.SIGTERM else how)
        for process in (self.client, self.pgbench):
            if process is not None:
                process.kill()
                process.communicate()
        self.client = self.pgbench = None

    def check(self, directory: Path) -> None:
        """Fail unless the server starts, its indexes fit its tables and every commit is there."""
        running = self.running is not None
        if not running:
            self.launch(directory)
        try:
            self.run("pg_amcheck", "--heapallindexed", "bench")
            sums = "select (select sum(abalance) from pgbench_accounts)"
            for table, column in (("branches", "bbalance"), ("tellers", "tbalance")):
                sums += f", (select sum({column}) from pgbench_{table})"
            sums += ", (select coalesce(sum(delta), 0) from pgbench_history)"
            balances = self.run("psql", "-qAtX", "-c", sums, "bench").strip().split("|")
            assert len(set(balances)) == 1, f"sums differ: {balances}"
            acknowledged = {text for _, text in self.lines()}  # it may go on meanwhile
            there = set(self.run("psql", "-qAtX", "-c", "select number from done", "bench").split())
            lost = acknowledged - there
            assert not lost, f"commits are lost: {sorted(lost)[:3]}"
        finally:
            if not running:
                Service.stop(self, signal.SIGINT)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        shutil.rmtree(self.sockets, ignore_errors=True)


def as_postgres() -> list[str]:
    """Return what runs a command as PostgreSQL's user: the server refuses to be root."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]


@functools.cache
def postgres_template(*initial: str) -> Path:
    """Return a data directory with pgbench's tables, made once with these options of pgbench."""
    base = Path(tempfile.mkdtemp(prefix="pg-template-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    base.chmod(0o755)
    data = base / "data"
    data.mkdir()
    if os.getuid() == 0:
        shutil.chown(data, "postgres", "postgres")
    initdb = [POSTGRES_BIN / "initdb", "-N", "-A", "trust", "-U", "postgres", "-k"]
    initdb += ["--wal-segsize=1", "-D", data]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run([*as_postgres(), *map(os.fspath, initdb)], check=True, **quiet)
    script = (
        "create database bench;\n\\c bench\n"
        "create extension amcheck;\ncreate table done (number bigint primary key);\n"
    )
    with Postgres(base / "outside") as server:
        server.launch(data)
        command = [os.fspath(POSTGRES_BIN / "psql"), "-h", os.fspath(server.sockets)]
        command += ["-U", "postgres", "-qX", "-v", "ON_ERROR_STOP=1", "postgres"]
        subprocess.run(command, input=script, text=True, check=True)
        server.run("pgbench", "-i", "-q", *initial, "bench")
        server.run("psql", "-qX", "-c", "vacuum", "bench")
        Service.stop(server, signal.SIGINT)
    return data


class Redis(Service):
    """redis that logs every command, and a client that remembers the answers."""

    name = "redis"
    keys = 500
    pause_s = 0.003
    settings: dict[str, str] = {  # noqa: RUF012
        "save": "",
        "appendfsync": "no",
        "auto-aof-rewrite-min-size": "64kb",
    }

    def __init__(self, outside: Path, seed: int = 0, prefix: Sequence[str] = ()) -> None:
        super().__init__(outside, seed, prefix)
        self.sockets = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
        self.socket = self.sockets / "s"

    def command(self, directory: Path) -> list[str]:
        options = {"port": "0", "unixsocket": self.socket, "dir": directory, "appendonly": "yes"}
        options |= self.settings
        words = [word for key, value in options.items() for word in (f"--{key}", os.fspath(value))]
        return ["redis-server", *words]

    def ready(self) -> bool:
        with contextlib.suppress(OSError), self.connection() as talk:
            return talk("PING") == b"+PONG"
        return False

    @contextlib.contextmanager
    def connection(self) -> Iterator[Callable[..., bytes]]:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(self.socket))
            reader = client.makefile("rb")

            def talk(*words: str) -> bytes:
                parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
                client.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
                line = reader.readline()
                if not line.endswith(b"\r\n"):
                    raise ConnectionError("redis went away")
                if line[:1] == b"$" and line != b"$-1\r\n":
                    return reader.read(int(line[1:]) + 2)[:-2]
                return line[:-2]

            yield talk

    def clients(self) -> None:
        threading.Thread(target=self.write, daemon=True).start()

    def write(self) -> None:
        number = self.acknowledged() * 1000
        with (
            contextlib.suppress(OSError),
            self.connection() as talk,
            self.acks.open("a", 1) as acks,
        ):
            while True:
                number += 1
                key = self.key(number)
                if talk("SET", key, self.value(number)) != b"+OK":
                    return
                acks.write(f"redis\t{key} {number}\n")
                time.sleep(self.pause_s)

    def key(self, number: int) -> str:
        return f"k{number * 7919 % self.keys}"

    def value(self, number: int) -> str:
        return f"{number} " + "x" * (number % 400)

    def check(self, directory: Path) -> None:
        running = self.running is not None
        if not running:
            self.launch(directory)
        try:
            latest = dict(text.split() for _, text in self.lines())
            with self.connection() as talk:
                wait_for(lambda: talk("GET", "k0")[:8] != b"-LOADING", "redis to load")
                for key, number in latest.items():
                    stored = talk("GET", key).split()[0]
                    assert int(stored) >= int(number), f"{key}: lost {number}, has {stored!r}"
        finally:
            if not running:
                Service.stop(self)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        shutil.rmtree(self.sockets, ignore_errors=True)


SERVICES: dict[str, type[Service]] = {
    kind.name: kind
    for kind in (
        SqliteWal,
        SqliteJournal,
        SqliteMapped,
        Log,
        Replaced,
        Churning,
        Stores,
        Postgres,
        Redis,
    )
}
