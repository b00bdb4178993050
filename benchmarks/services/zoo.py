"""The zoo: real applications that write as real applications do, from fixed seeds.

Each is a `migration.services.Service`: it can be started in a directory, recorded, moved while it
writes, and checked for lost writes.  Tenants or clients differ in how much they write, so that
some files are hotter than others.  `ZOO` has them by name; the first line of a class's docstring
says what it is, `needs` the programs and Python packages that must be there.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, os.fspath(Path(__file__).resolve().parent))

import load
from migration import services
from migration.services import Program, Service

HERE = Path(__file__).resolve().parent
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def missing(service: type[Service]) -> list[str]:
    """Return what a service needs and this machine has not."""
    found = []
    for need in getattr(service, "needs", ()):
        kind, _, name = need.partition(":")
        if kind == "python" and importlib.util.find_spec(name) is None:
            found.append(f"the Python package {name}")
        elif kind == "program" and not shutil.which(name) and not Path(name).exists():
            found.append(f"the program {name}")
    return found


# -- libraries and loops: load.py


class SqliteWal(services.SqliteWal):
    """SQLite with write-ahead logs: 128 tenants' databases, one row a transaction."""

    parts = ("sqlite:wal:128:1",)
    rate = 60.0


class SqliteRollback(services.SqliteJournal):
    """SQLite with rollback journals: the same, a journal is made and deleted each time."""

    name = "sqlite-rollback"
    parts = ("sqlite:delete:128:1",)
    rate = 60.0


class Loaded(Program):
    """A part of load.py."""

    program = HERE / "load.py"
    isolated = ("-I",)

    def look_store(self, directory: Path, acknowledged: list[str]) -> None:
        kind = load.STORES[self.parts[0]]
        store = kind(os.fspath(directory), random.Random(0))
        try:
            newest: dict[tuple[int, int], int] = {}
            for drawn, number in (map(int, text.split()) for text in acknowledged):
                tenant, keys = store.written(drawn)
                newest.update({(tenant, key): number for key in keys})
            for (tenant, key), number in newest.items():
                value = store.get(tenant, key)
                assert value is not None, f"{self.name}: key {tenant} {key} is gone"
                stored = int(value.split(b" ", 1)[0])
                assert value == store.value(tenant, key, stored), f"{self.name}: a value is torn"
                assert stored >= number, f"{self.name}: {tenant} {key}: lost {number}, has {stored}"
        finally:
            store.close()

    look_leveldb = look_rocksdb = look_lmdb = look_store

    def look_maildir(self, directory: Path, acknowledged: list[str]) -> None:
        there: dict[str, Path] = {}
        for name in ("new", "cur"):
            for path in (directory / "mail").glob(f"*/{name}/*"):
                there[path.name.partition(".")[0][1:]] = path
        # A mail that was about to be deleted may be there or not.
        gone = {text.split()[-1] for text in acknowledged if text.startswith(("expunge", "? exp"))}
        for text in acknowledged:
            what, box, number = text.removeprefix("? ").split()
            if what == "deliver" and number not in gone:
                assert number in there, f"maildir: mail {number} of box {box} is lost"
        for number, path in there.items():
            assert path.read_bytes() == load.mail(int(number)), f"maildir: {path} is torn"

    def look_uploads(self, directory: Path, acknowledged: list[str]) -> None:
        root = directory / "uploads"
        lists = {}
        for tenant in range(load.Uploads.tenants):
            files = lists[tenant] = json.loads((root / f"{tenant:03}" / "files.json").read_text())
            for name, (_, size) in files.items():
                path = root / f"{tenant:03}" / name
                assert path.exists(), f"uploads: {path} is lost"
                # It may have been replaced by a newer one that is not in the list yet.
                assert path.stat().st_size in (size, self.newest(path, size)), f"{path} is torn"
        total: dict[int, int] = {}
        seen: set[tuple[int, str]] = set()
        for text in reversed(acknowledged):
            if text.startswith("took "):
                tenant, name, number, size = text.removeprefix("took ").split()
                if (int(tenant), name) not in seen:
                    seen.add((int(tenant), name))
                    total[int(tenant)] = total.get(int(tenant), 0) + int(size)
                    # Older ones may have had to go, also for one that nobody acknowledged.
                    if total[int(tenant)] <= load.Uploads.quota - 3_000_000:
                        stored = lists[int(tenant)].get(name, [-1])[0]
                        assert stored >= int(number), f"uploads: lost {text}, has {stored}"

    @staticmethod
    def newest(path: Path, size: int) -> int:
        """Return the size of the upload that was taking this name when all stood still."""
        preview = path.parent / "previews" / (path.name + ".jpg")
        return path.stat().st_size if path.stat().st_mtime >= preview.stat().st_mtime else size

    def look_logs(self, directory: Path, acknowledged: list[str]) -> None:
        newest = dict(text.split() for text in acknowledged)
        for tenant in range(load.Logs.tenants):
            numbers = []
            for age in range(load.Logs.kept, -1, -1):
                path = directory / "logs" / (f"{tenant:03}.log" + (f".{age}" if age else ""))
                if path.exists():
                    lines = path.read_bytes().splitlines(keepends=True)
                    assert all(len(line) == load.Logs.line_bytes for line in lines), f"{path}: torn"
                    numbers += [int(line.split(b" ", 1)[0]) for line in lines]
            assert numbers == sorted(numbers), f"logs: those of tenant {tenant} are out of order"
            last = int(newest.get(str(tenant), 0))
            assert last == 0 or numbers[-1] >= last, f"logs: tenant {tenant} lost {last}"


class LevelDb(Loaded):
    """LevelDB: 40,000 values of a kilobyte, 16 put at once; tables are merged all the time."""

    name = "leveldb"
    needs = ("python:plyvel",)
    parts = ("leveldb",)
    rate = 60.0


class RocksDb(Loaded):
    """RocksDB: the same load on small memory tables."""

    name = "rocksdb"
    needs = ("python:rocksdict",)
    parts = ("rocksdb",)
    rate = 60.0


class Lmdb(Loaded):
    """LMDB: an environment for each of 16 tenants; pages are copied within one file."""

    name = "lmdb"
    needs = ("python:lmdb",)
    parts = ("lmdb",)
    rate = 60.0


class Maildir(Loaded):
    """Maildir: 40 boxes; mail is delivered, read, flagged and deleted, and indexed."""

    name = "maildir"
    parts = ("maildir",)
    rate = 120.0


class Uploads(Loaded):
    """An upload application: files come in pieces and are renamed; previews, lists, quotas."""

    name = "uploads"
    parts = ("uploads",)
    rate = 25.0


class Logs(Loaded):
    """Appended logs: one for each of 16 tenants, rotated by renaming five files."""

    name = "logs"
    parts = ("logs",)
    rate = 250.0


# -- servers


class Pg(services.Postgres):
    """PostgreSQL under pgbench: accounts in twelve partitions, chosen by Zipf's law."""

    name = "pg"
    needs = (f"program:{services.POSTGRES_BIN}/postgres", "program:setpriv")
    initial = ("-s", "3", "--partitions=12")
    script = """\
\\set aid random_zipfian(1, 100000 * :scale, 1.05)
\\set bid random(1, :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
begin;
update pgbench_accounts set abalance = abalance + :delta where aid = :aid;
select abalance from pgbench_accounts where aid = :aid;
update pgbench_tellers set tbalance = tbalance + :delta where tid = :tid;
update pgbench_branches set bbalance = bbalance + :delta where bid = :bid;
insert into pgbench_history (tid, bid, aid, delta, mtime)
    values (:tid, :bid, :aid, :delta, current_timestamp);
end;
"""

    def __init__(self, outside: Path, seed: int = 0, prefix: Sequence[str] = ()) -> None:
        super().__init__(outside, seed, prefix)
        script = outside / "zipf.sql"
        script.write_text(self.script)
        self.load = ("-R", "150", "-D", "scale=3", "-f", os.fspath(script))


class Redis(services.Redis):
    """redis with a command log that is rewritten, and a snapshot every fifteen seconds."""

    name = "redis"
    needs = ("program:redis-server",)
    keys = 20_000
    pause_s = 0.002
    settings = {  # noqa: RUF012
        "save": "15 100",
        "appendfsync": "everysec",
        "auto-aof-rewrite-percentage": "60",
        "auto-aof-rewrite-min-size": "8mb",
        "rdbcompression": "no",
    }

    def fill(self) -> None:
        with self.connection() as talk:
            if talk("DBSIZE") == b":0":
                for number in range(self.keys):
                    assert talk("SET", f"k{number}", self.value(0)) == b"+OK"
                # As it is after a while: there is a snapshot, too.
                assert talk("SAVE") == b"+OK"

    def key(self, number: int) -> str:
        drawn = random.Random(self.seed * 10**12 + number)
        return f"k{min(int(drawn.paretovariate(0.3)) - 1, self.keys - 1)}"

    def value(self, number: int) -> str:
        return f"{number} " + random.Random(number).randbytes(750).hex()


class Mariadb(Service):
    """MariaDB: a schema for each of eight tenants, three clients, a binary log that is purged."""

    name = "mariadb"
    needs = ("program:mariadbd", "program:mariadb-install-db", "program:setpriv")
    tenants, rows, rate, connections = 8, 2800, 200.0, 3

    def __init__(self, outside: Path, seed: int = 0, prefix: Sequence[str] = ()) -> None:
        super().__init__(outside, seed, prefix)
        self.sockets = Path(tempfile.mkdtemp(prefix="maria-", dir="/tmp"))
        self.sockets.chmod(0o777)
        self.writers: list[subprocess.Popen[str]] = []

    def as_mysql(self) -> list[str]:
        if os.getuid() != 0:
            return []
        return ["setpriv", "--reuid", "mysql", "--regid", "mysql", "--clear-groups"]

    def prepare(self, directory: Path) -> None:
        if (directory / "mysql").exists():
            return
        directory.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            shutil.chown(directory, "mysql", "mysql")
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={directory}"]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        command += ["--innodb-use-native-aio=0"]
        done = subprocess.run(
            [*self.as_mysql(), *command], stdin=subprocess.DEVNULL, capture_output=True, cwd="/"
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {(done.stdout + done.stderr).decode()[-2000:]}")

    def command(self, directory: Path) -> list[str]:
        settings = {
            "datadir": directory,
            "socket": self.sockets / "s",
            "pid-file": self.sockets / "pid",
            "skip-networking": "1",
            "innodb-buffer-pool-size": "32M",
            "innodb-log-file-size": "16M",
            "innodb-flush-log-at-trx-commit": "2",
            # A ring of io_uring is not seen by the monitor.
            "innodb-use-native-aio": "0",
            "log-bin": "binlog",
            "binlog-format": "row",
            "server-id": "1",
            "max-binlog-size": "4M",
            "binlog-expire-logs-seconds": "20",
            "performance-schema": "0",
        }
        options = [f"--{key}={os.fspath(value)}" for key, value in settings.items()]
        return [*self.as_mysql(), shutil.which("mariadbd") or "mariadbd", "--no-defaults", *options]

    def client(self, *more: str) -> list[str]:
        socket_path = f"--socket={self.sockets / 's'}"
        return ["mariadb", "--no-defaults", socket_path, "-uroot", "-N", "-B", *more]

    def run(self, text: str) -> str:
        done = subprocess.run(self.client(), input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ready(self) -> bool:
        return subprocess.run(self.client("-e", "select 1"), **QUIET).returncode == 0

    def fill(self) -> None:
        if "t0000" in self.run("show databases").split():
            return
        for tenant in range(self.tenants):
            self.run(
                f"create database t{tenant:04}; use t{tenant:04};"
                "create table t (id int primary key, number bigint, data blob);"
                "set sql_log_bin = 0;"
                "insert into t select seq - 1, 0, repeat(md5(seq), 31) "
                f"from seq_1_to_{self.rows};"
            )

    def clients(self) -> None:
        for place in range(self.connections):
            client = subprocess.Popen(
                self.client("-n"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self.writers.append(client)
            threading.Thread(target=self.write, args=(client, place), daemon=True).start()

    def write(self, client: subprocess.Popen[str], place: int) -> None:
        assert client.stdin is not None
        assert client.stdout is not None
        number = self.acknowledged() * 1000 + place
        drawn = random.Random(f"{self.seed} {number}")
        tenants = load.Tenants(self.tenants)
        with contextlib.suppress(OSError, ValueError), self.acks.open("a", buffering=1) as acks:
            while True:
                number += self.connections
                tenant, row = tenants.draw(drawn), drawn.randrange(self.rows)
                client.stdin.write(
                    f"update t{tenant:04}.t set number = greatest(number, {number}), "
                    f"data = repeat(md5({number}), 31) where id = {row}; select {number};\n"
                )
                client.stdin.flush()
                if client.stdout.readline() != f"{number}\n":
                    return
                acks.write(f"mariadb\t{tenant} {row} {number}\n")
                time.sleep(self.connections / self.rate)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        super().stop(how)
        for client in self.writers:
            client.kill()
            client.communicate()
        self.writers = []

    def check(self, directory: Path) -> None:
        running = self.running is not None
        if not running:
            self.launch(directory)
        try:
            newest: dict[str, dict[str, int]] = {}
            for _, text in list(self.lines()):
                tenant, row, number = text.split()
                rows = newest.setdefault(tenant, {})
                rows[row] = max(rows.get(row, 0), int(number))
            for tenant, rows in newest.items():
                table = f"t{int(tenant):04}.t"
                assert self.run(f"check table {table}").split()[-1] == "OK"
                text = self.run(f"select id, number from {table}")
                stored = dict(line.split("\t") for line in text.splitlines())
                for row, number in rows.items():
                    assert int(stored[row]) >= number, f"{table}: row {row} lost {number}"
        finally:
            if not running:
                Service.stop(self)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        shutil.rmtree(self.sockets, ignore_errors=True)


class Git(Service):
    """A git server: eight bare repositories, pushes of a few files, repacked now and then."""

    name = "git"
    needs = ("program:git",)
    tenants, initial_files, rate = 8, 60, 8.0

    def __init__(self, outside: Path, seed: int = 0, prefix: Sequence[str] = ()) -> None:
        super().__init__(outside, seed, prefix)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = os.environ | {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": os.fspath(outside),
        }
        self.commits: dict[int, list[str]] = {tenant: [] for tenant in range(self.tenants)}
        self.made: dict[int, int] = dict.fromkeys(range(self.tenants), 0)
        self.ended = threading.Event()
        self.pusher: threading.Thread | None = None

    def work(self, tenant: int) -> Path:
        """Return the client's repository."""
        return self.outside / f"client-{tenant}.git"

    def git(self, where: Path, *words: str, text: bytes = b"") -> str:
        command = ["git", "-C", os.fspath(where), *words]
        done = subprocess.run(command, input=text, capture_output=True, env=self.environment)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr.decode(errors='replace')[-500:]}")
        return done.stdout.decode()

    def commit(self, tenant: int, count: int) -> None:
        """Make commits in the client's repository, which are pushed one by one."""
        stream = bytearray()
        for k in range(count):
            number = self.made[tenant]
            self.made[tenant] += 1
            drawn = random.Random(f"{self.seed} {tenant} {number}")
            chosen, size = range(self.initial_files), 100_000
            if number:
                chosen, size = drawn.sample(range(self.initial_files), 3), 8000
            stream += b"commit refs/heads/main\nmark :%d\n" % (k + 1)
            stream += b"committer A <a@example.org> %d +0000\ndata 1\nx\n" % (
                1_700_000_000 + number
            )
            if number and not k:
                stream += b"from refs/heads/main^0\n"
            for file in chosen:
                content = drawn.randbytes(max(100, int(drawn.expovariate(1 / size))))
                stream += b"M 100644 inline file%03d\ndata %d\n" % (file, len(content))
                stream += content + b"\n"
        marks = self.outside / "marks"
        self.git(
            self.work(tenant),
            "fast-import",
            "--quiet",
            f"--export-marks={marks}",
            text=bytes(stream),
        )
        names = dict(line.split() for line in marks.read_text().splitlines())
        self.commits[tenant] += [names[f":{k + 1}"] for k in range(count)]

    def prepare(self, directory: Path) -> None:
        if directory.exists():
            return
        directory.mkdir(parents=True)
        for tenant in range(self.tenants):
            self.git(
                self.outside, "init", "-q", "--bare", "-b", "main", os.fspath(self.work(tenant))
            )
            self.commit(tenant, 1)
            bare = directory / f"{tenant:03}.git"
            self.git(directory, "init", "-q", "--bare", "-b", "main", os.fspath(bare))
            for key, value in {
                "gc.auto": 300,
                "gc.autoDetach": "false",
                "gc.pruneExpire": "now",
            }.items():
                self.git(bare, "config", key, str(value))
            first = self.commits[tenant].pop(0)
            self.git(self.work(tenant), "push", "-q", os.fspath(bare), f"{first}:refs/heads/main")

    def command(self, directory: Path) -> list[str]:
        core = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True)
        # The daemon itself: `git daemon` would start it as a child.
        daemon = os.fspath(Path(core.stdout.strip()) / "git-daemon")
        options = ["--reuseaddr", "--listen=127.0.0.1", f"--port={self.port}", "--export-all"]
        options += ["--enable=receive-pack", f"--base-path={directory}", os.fspath(directory)]
        return ["env", "GIT_CONFIG_NOSYSTEM=1", f"HOME={self.outside}", daemon, *options]

    def ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def clients(self) -> None:
        self.ended.clear()
        self.pusher = threading.Thread(target=self.push, daemon=True)
        self.pusher.start()

    def push(self) -> None:
        drawn = random.Random(f"{self.seed} {self.acknowledged()}")
        tenants = load.Tenants(self.tenants)
        due = time.monotonic()
        with contextlib.suppress(RuntimeError), self.acks.open("a", buffering=1) as acks:
            while not self.ended.is_set():
                tenant = tenants.draw(drawn)
                if not self.commits[tenant]:
                    self.commit(tenant, 30)
                commit = self.commits[tenant][0]
                url = f"git://127.0.0.1:{self.port}/{tenant:03}.git"
                self.git(self.work(tenant), "push", "-q", url, f"{commit}:refs/heads/main")
                self.commits[tenant].pop(0)
                acks.write(f"git\t{tenant} {commit}\n")
                due = max(due + 1 / self.rate, time.monotonic() - 0.5)
                self.ended.wait(max(0.0, due - time.monotonic()))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.ended.set()
        if self.pusher is not None and how is not signal.SIGKILL:
            self.pusher.join(30)
        super().stop(how)

    def check(self, directory: Path) -> None:
        newest = dict(text.split() for _, text in self.lines())
        for tenant, commit in newest.items():
            bare = directory / f"{int(tenant):03}.git"
            self.git(bare, "fsck", "--connectivity-only", "--no-dangling")
            self.git(bare, "merge-base", "--is-ancestor", commit, "refs/heads/main")


class Nginx(Service):
    """nginx: 12 sites, a log each, rotated and compressed; one request in forty is an upload."""

    name = "nginx"
    needs = ("program:nginx",)
    tenants, files, uploads, kept, full_bytes, rate = 12, 20, 40, 4, 1_000_000, 1000.0
    at_once = 10

    def __init__(self, outside: Path, seed: int = 0, prefix: Sequence[str] = ()) -> None:
        super().__init__(outside, seed, prefix)
        self.sockets = Path(tempfile.mkdtemp(prefix="nginx-", dir="/tmp"))
        self.sockets.chmod(0o755)

    def prepare(self, directory: Path) -> None:
        (self.sockets / "s").unlink(missing_ok=True)  # of one that was killed
        if (directory / "nginx.conf").exists():
            return
        for name in ("logs", "tmp"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        drawn = random.Random(self.seed)
        for tenant in range(self.tenants):
            site = directory / "sites" / f"{tenant:03}"
            (site / "put").mkdir(parents=True)
            for k in range(self.files):
                size = min(int(drawn.lognormvariate(11, 1)), 1_000_000)
                (site / f"{k:03}.html").write_bytes(drawn.randbytes(size))
            # As they are after a while: all uploads are there, and all old logs.
            for k in range(self.uploads):
                (site / "put" / f"{k:03}").write_bytes(self.body(0, drawn))
            log = directory / "logs" / f"{tenant:03}.log"
            line = "- [2026] HEAD 200 0 zoo " + "-" * 375 + "\n"
            log.write_text(line * drawn.randrange(self.full_bytes // len(line)))
            log.with_suffix(".log.1").write_text(line * (self.full_bytes // len(line)))
            for age in range(2, self.kept + 1):
                old = gzip.compress(drawn.randbytes(self.full_bytes // 4).hex().encode() + b"\n")
                log.with_suffix(f".log.{age}.gz").write_bytes(old)
        (directory / "nginx.conf").write_text(self.configuration(directory))

    def configuration(self, directory: Path) -> str:
        user = "user root;" if os.getuid() == 0 else ""
        servers = "".join(
            f"""
    server {{
        listen unix:{self.sockets}/s;
        server_name site{tenant:03};
        root sites/{tenant:03};
        access_log logs/{tenant:03}.log long;
        location /put/ {{ dav_methods PUT; }}
    }}"""
            for tenant in range(self.tenants)
        )
        paths = "".join(
            f"    {kind}_temp_path tmp/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""
{user}
worker_processes 1;
pid nginx.pid;
error_log logs/error.log warn;
events {{ worker_connections 64; }}
http {{
    log_format long '$remote_addr [$time_iso8601] "$request" $status $body_bytes_sent '
                    '"$http_user_agent" "$http_cookie" $request_time';
    keepalive_requests 1000000;
{paths}{servers}
}}
"""

    def command(self, directory: Path) -> list[str]:
        serve = os.fspath(HERE / "serve_nginx.py")
        numbers = [str(self.full_bytes), str(self.kept)]
        return [sys.executable, "-I", serve, os.fspath(directory), *numbers]

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(os.fspath(self.sockets / "s"))
            yield client

    def ready(self) -> bool:
        with contextlib.suppress(OSError), self.connection():
            return True
        return False

    def fill(self) -> None:
        """Have it open all uploads once: what it replaces unopened, nobody knows to have been."""
        with self.connection() as client:
            reader = client.makefile("rb")
            for tenant in range(self.tenants):
                for k in range(self.uploads):
                    head = f"Host: site{tenant:03}\r\nUser-Agent: zoo/1.0\r\n"
                    client.sendall(f"HEAD /put/{k:03} HTTP/1.1\r\n{head}\r\n".encode())
                    answer = reader.readline()
                    assert b" 200 " in answer, answer
                    while reader.readline() != b"\r\n":
                        pass

    def clients(self) -> None:
        threading.Thread(target=self.write, daemon=True).start()

    @staticmethod
    def body(number: int, drawn: random.Random) -> bytes:
        """Return what an upload brings: a number first, by which a check knows it."""
        size = min(int(drawn.lognormvariate(10.5, 1)), 900_000)
        return f"{number} ".encode() + drawn.randbytes(size)

    def request(
        self, number: int, drawn: random.Random, tenants: load.Tenants
    ) -> tuple[bytes, str]:
        """Return a request, and what to acknowledge where it is an upload."""
        tenant = tenants.draw(drawn)
        head = f"Host: site{tenant:03}\r\nUser-Agent: zoo/1.0 {'x' * 80}\r\n"
        head += f"Cookie: {drawn.randbytes(120).hex()}\r\n"
        if number % 40:
            name = f"{drawn.randrange(self.files):03}.html"
            return f"HEAD /{name} HTTP/1.1\r\n{head}\r\n".encode(), ""
        name, body = f"{drawn.randrange(self.uploads):03}", self.body(number, drawn)
        head += f"Content-Length: {len(body)}\r\n"
        request = f"PUT /put/{name} HTTP/1.1\r\n{head}\r\n".encode() + body
        return request, f"{tenant} {name} {number} {len(body)}"

    def write(self) -> None:
        number = self.acknowledged() * 1000
        drawn = random.Random(f"{self.seed} {number}")
        tenants, due = load.Tenants(self.tenants), time.monotonic()
        with (
            contextlib.suppress(OSError),
            self.connection() as client,
            self.acks.open("a", 1) as acks,
        ):
            reader = client.makefile("rb")
            while True:
                requests = []
                for _ in range(self.at_once):
                    number += 1
                    requests.append(self.request(number, drawn, tenants))
                client.sendall(b"".join(request for request, _ in requests))
                for _, text in requests:
                    # HEAD has no body, and what answers PUT is empty.
                    answer = reader.readline()
                    while reader.readline() not in (b"\r\n", b""):
                        pass
                    if answer.split()[1:2] not in ([b"200"], [b"201"], [b"204"]):
                        raise ConnectionError(f"nginx answered {answer!r}")
                    if text:
                        acks.write(f"nginx\t{text}\n")
                due = max(due + self.at_once / self.rate, time.monotonic() - 0.5)
                time.sleep(max(0.0, due - time.monotonic()))

    def check(self, directory: Path) -> None:
        newest: dict[tuple[str, str], tuple[int, int]] = {}
        for _, text in self.lines():
            tenant, name, number, size = text.split()
            newest[tenant, name] = int(number), int(size)
        for (tenant, name), (number, size) in newest.items():
            data = (directory / "sites" / f"{int(tenant):03}" / "put" / name).read_bytes()
            stored = int(data.split(b" ", 1)[0])
            assert stored > number or (stored == number and len(data) == size), f"nginx lost {text}"
        for path in (directory / "logs").glob("*.log.2.gz"):
            assert gzip.decompress(path.read_bytes()).endswith(b"\n"), f"{path} is torn"

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        shutil.rmtree(self.sockets, ignore_errors=True)


ZOO: dict[str, type[Service]] = {
    kind.name: kind
    for kind in (
        SqliteWal,
        SqliteRollback,
        Pg,
        Mariadb,
        Redis,
        LevelDb,
        RocksDb,
        Lmdb,
        Maildir,
        Git,
        Nginx,
        Uploads,
        Logs,
    )
}
