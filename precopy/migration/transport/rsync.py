"""Whole files by rsync, for destinations without Python; for granularity ``file``.

What is asked for is gathered, and a barrier sends it: rsync reads the files themselves, at that
time. Invariants: its quick check is never used. A file whose content has changed since it was
digested is not taken for sent: it goes again with the next barrier, until both agree. Nothing is
deleted at the destination that was not sent there.

What rsync alone cannot do: lock the target, start a program, write parts of files, tell digests
(so a resumed migration sends everything again, of which rsync's own delta keeps most from the
link), keep access times, or tell how much is free at a host. Nor does it know an inode there: what
was sent is known by its name only, so what others put in its place is replaced.

References
----------
Paper section 2.2.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precopy.migration.transport.farside import DIGEST_BYTES, STATE, Refused, digest, guard
from precopy.migration.transport.interface import (
    Acknowledged,
    Kind,
    Started,
    StartError,
    TargetError,
    TransportError,
    VerifyError,
)
from precopy.migration.transport.reach import SshReach

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from precopy.migration.source.metadata import Metadata

# A window of -1 compares times to the nanosecond, not the second.
_OPTIONS = [
    *("-lptgoDHAXS", "--numeric-ids", "--ignore-times", "--modify-window=-1"),
    *("--fsync", "--no-motd"),
]
_LISTED = ["--files-from=-", "--from0", "--relative"]
_PARTIAL, _VANISHED = 23, 24
_CHECK_S = 10.0
_ATTEMPTS = 3
_SENT = re.compile(rb"^Total bytes (?:sent|received): ([\d,]+)", re.MULTILINE)
_NOT_EMPTY = re.compile(rb"^cannot delete non-empty directory: (.*)$", re.MULTILINE)
_ESCAPED = re.compile(rb"\\#(\d{3})")
_RECORDS = ("migration", "manifest", "commit")


class Rsync:
    """A destination that rsync reaches; see `precopy.migration.transport.interface`."""

    blocks = False

    def __init__(
        self, reach: SshReach | None, directory: str, *, bandwidth: float | None, timeout: float
    ) -> None:
        self.bandwidth = bandwidth
        self._name = directory if reach is None else reach.name
        self._directory = directory
        self._reach = reach
        self._timeout = timeout
        self._crossed = 0
        self._closed = False
        self._committed = False
        self._made: dict[bytes, int] = {}  # kind
        self._queued: dict[bytes, bool] = {}  # whether it is to be there
        self._expected: dict[bytes, list[tuple[int, int, list[int], bytes]]] = {}
        self._unsure: set[bytes] = set()
        self._groups: dict[bytes, set[bytes]] = {}
        self._noted = 0
        self._doubts: list[str] = []
        self._since = (0, time.monotonic())
        program = shutil.which("rsync")
        if program is None:
            raise TransportError("rsync: it is not installed here; install it, or use the channel")
        self._program = program
        # Mode 0700: the socket that the connections share is as good as a key.
        self._scratch = Path(tempfile.mkdtemp(prefix="precopy-rsync-"))
        self._environment = os.environ | {"LC_ALL": "C"}
        if reach is not None:
            reach.command = [*reach.command, *self._sharing()]
            words = [*reach.command, *reach.options()]
            self._environment["RSYNC_RSH"] = " ".join(map(_quoted, words))

    def _sharing(self) -> list[str]:
        """Return ssh's options for one connection that all calls share."""
        path = f"{self._scratch}/s"
        return ["-oControlMaster=auto", f"-oControlPath={path}", "-oControlPersist=60"]

    def _place(self, below: str = "") -> str:
        """Return how rsync calls a place at the destination."""
        directory = self._directory.rstrip("/") + "/" + below
        if self._reach is None:
            return directory
        host = self._reach.host
        user, at, name = host.rpartition("@")
        return f"{user}{at}[{name}]:{directory}" if ":" in name else f"{host}:{directory}"

    # Running rsync.

    def _run(
        self,
        *words: str,
        names: Iterable[bytes] | None = None,
        accept: Sequence[int] = (),
        within_s: float | None = None,
    ) -> tuple[int, bytes]:
        """Run rsync; return its status and what it printed."""
        if self._closed:
            raise TransportError("rsync: the transport is closed")
        limit = ["--timeout", str(max(1, round(self._timeout)))]
        try:
            done = subprocess.run(
                [self._program, "-s", *limit, *words],
                input=b"" if names is None else b"".join(name + b"\0" for name in names),
                capture_output=True,
                env=self._environment,
                check=False,
                start_new_session=self._reach is None or not self._reach.interactive,
                timeout=within_s,
            )
        except subprocess.TimeoutExpired:
            raise TransportError(
                f"rsync: {self._name} did not answer within {within_s:g} s; run the same command "
                "again to go on from here"
            ) from None
        except OSError as error:
            raise TransportError(f"rsync: it cannot be run: {error.strerror}") from None
        self._crossed += sum(
            int(number.replace(b",", b"")) for number in _SENT.findall(done.stdout)
        )
        if done.returncode == 0 or done.returncode in accept:
            return done.returncode, done.stdout
        said = done.stderr.decode("utf-8", "replace").strip()
        # Where ssh has failed rsync ends with its status, or with 12 if it hears of it later.
        ssh_failed = done.returncode == 255 or said.startswith("ssh: ")
        if ssh_failed and self._reach is not None:
            raise TransportError(self._reach.explain(255, said))
        lines = " / ".join(line.strip()[:200] for line in said.splitlines()[:3])
        text = f"rsync: {self._name}: it ended with {done.returncode} ({lines})"
        if done.returncode in (_PARTIAL, _VANISHED, 3, 11):
            raise TargetError(text)
        raise TransportError(f"{text}; run the same command again to go on from here")

    def _send_records(self, **records: bytes) -> None:
        """Bring small files of our own into the state directory there."""
        here = self._scratch / "records"
        here.mkdir(mode=0o700, exist_ok=True)
        for name, data in records.items():
            (here / name).write_bytes(data)
            (here / name).chmod(0o600)
        words = ["-rpt", "--fsync", "--ignore-times", "--chmod=D0700,F0600"]
        self._run(*words, f"{here}/", self._place(os.fsdecode(STATE) + "/"))

    def _fetch_records(self) -> dict[str, bytes]:
        """Return the small files in the state directory there."""
        here = self._scratch / "fetched"
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(mode=0o700)
        place = self._place(os.fsdecode(STATE) + "/")
        includes = [f"--include=/{name}" for name in _RECORDS]
        status, _ = self._run(
            "-r", "--ignore-times", *includes, "--exclude=*", place, f"{here}/", accept=[_PARTIAL]
        )
        if status == _PARTIAL:
            return {}
        return {name: (here / name).read_bytes() for name in _RECORDS if (here / name).exists()}

    def _listed(self) -> list[bytes]:
        """Return the names in the target, none if it is not there."""
        status, printed = self._run("-d", "--list-only", "--no-h", self._place(), accept=[_PARTIAL])
        if status == _PARTIAL:
            return []
        names = [line.split(None, 4)[4] for line in printed.splitlines() if line.count(b" ") >= 4]
        return [name for name in names if name not in (b".", b"lost+found")]

    # The interface.

    @property
    def link_bytes(self) -> int:
        """Bytes that rsync says have crossed the link so far."""
        return self._crossed

    def begin(self, migration: str, *, resume: bool, merge: bool = False) -> None:
        """Mark the target; without a far side it cannot be locked."""
        if self._reach is None:
            try:
                doubts = guard(self._directory, os.geteuid() == 0)
            except Refused as refused:
                raise TargetError(f"target: {refused}") from None
            self._doubts = [f"target: {doubt}" for doubt in doubts]
        records = self._fetch_records()
        owner, begun_with = _owner(records)
        if owner is None:
            foreign = [name for name in self._listed() if name != STATE]
            if foreign and not merge:
                raise TargetError(
                    f"target: {self._name} is not empty and not of this migration (it holds "
                    f"{os.fsdecode(foreign[0])!a}); choose another directory, or allow "
                    "merging into it"
                )
            if foreign:
                raise TargetError(
                    "target: rsync cannot merge without replacing what is there; use the channel"
                )
            self._run("-d", "--mkpath", f"{self._empty()}/", self._place())
            record = {"id": migration, "transport": "rsync"}
            self._send_records(migration=json.dumps(record).encode())
        elif owner != migration:
            raise TargetError(
                f"target: {self._name} belongs to migration {owner}; choose another directory, or "
                "withdraw that migration first (--abort)"
            )
        elif begun_with != "rsync":
            raise TargetError(f"target: {self._name} was begun with --transport {begun_with}")
        elif not resume:
            raise TargetError(f"target: migration {migration} to {self._name} was begun already")
        self._committed = "commit" in records
        for line in records.get("manifest", b"").split(b"\0"):
            if line:
                kind, _, path = line.partition(b" ")
                self._made[path] = int(kind)
        self._noted = len(self._made)

    def _empty(self) -> Path:
        empty = self._scratch / "empty"
        empty.mkdir(exist_ok=True)
        return empty

    def free_bytes(self) -> int:
        """Return how much is free, or at a host, where rsync cannot tell, no limit."""
        if self._reach is not None:
            return sys.maxsize
        place = Path(self._directory)
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def listing(self) -> dict[bytes, tuple[Kind, int]]:
        """Return what is there and must go: all else is sent again, as rsync tells no digests."""
        gone: dict[bytes, tuple[Kind, int]] = {}
        for path, kind in self._made.items():
            status = _look(path)
            if status is None or stat.S_IFMT(status.st_mode) != kind:
                gone[path] = ("fifo", -1)  # as nothing at the source is: it is deleted
        return gone

    def _queue(self, path: bytes, there: bool = True) -> None:
        if self._closed:
            raise TransportError("rsync: the transport is closed")
        if not path.startswith(b"/"):
            raise ValueError(f"path: got {path!r}, expected an absolute one")
        if self._committed:
            raise TargetError("the migration is committed: nothing is changed any more", path=path)
        self._queued[path] = there

    def mkdir(self, path: bytes) -> None:
        """Send a directory."""
        self._queue(path)

    def truncate(self, path: bytes, size: int) -> None:
        """Send a file."""
        self._queue(path)

    def write(self, path: bytes, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Send a file; rsync reads it itself."""
        self._queue(path)

    def zero(self, path: bytes, offset: int, size: int) -> None:
        """Send a file."""
        self._queue(path)

    def symlink(self, path: bytes, target: bytes) -> None:
        """Send a symbolic link."""
        self._queue(path)

    def link(self, path: bytes, existing: bytes) -> None:
        """Send a hard link: all names of its file go together."""
        group = self._groups.get(path, {path}) | self._groups.get(existing, {existing})
        for name in group:
            self._groups[name] = group
        self._queue(path)

    def fifo(self, path: bytes) -> None:
        """Send a FIFO."""
        self._queue(path)

    def rename(self, old: bytes, new: bytes) -> None:
        """Delete, and send under the new name with all below it."""
        known = [*self._made, *self._queued]
        for path in [path for path in known if path == old or path.startswith(old + b"/")]:
            self._queue(path, there=False)
            self._queue(new + path[len(old) :])

    def metadata(self, path: bytes, meta: Metadata) -> None:
        """Send what it belongs to."""
        self._queue(path)

    def delete(self, path: bytes) -> None:
        """Delete what was sent, with all below it."""
        for known in [*self._made, *self._queued]:
            if known == path or known.startswith(path + b"/"):
                self._queue(known, there=False)
        for name in self._groups.pop(path, set()) - {path}:
            self._groups[name].discard(path)

    def digests(self, path: bytes, block_bytes: int) -> bytes:
        """Refuse: rsync tells no digests."""
        raise TargetError("rsync: it tells no digests; use the channel", path=path)

    def digests_of(self, wanted: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, bytes]]:
        """Yield nothing of nothing; refuse else."""
        for path, block_bytes in wanted:
            yield path, self.digests(path, block_bytes)

    def verify(
        self,
        path: bytes,
        size: int,
        block_bytes: int,
        index: Sequence[int] | NDArray[np.int64],
        digests: bytes | NDArray[np.uint8],
    ) -> None:
        """Compare at the barrier: the source with these digests, and by rsync with what is there.

        A difference of the source alone is no error: it has changed, and goes again.
        """
        self._queue(path)
        blob = digests if isinstance(digests, bytes) else digests.tobytes()
        blocks = [int(block) for block in index]
        self._expected.setdefault(path, []).append((size, block_bytes, blocks, blob))

    def sync(self) -> None:
        """Do nothing: every file is brought to the disk before it gets its name."""

    def barrier(self) -> Acknowledged:
        """Send all that was gathered, and have rsync compare it by checksums."""
        began = time.monotonic()
        queued, self._queued = self._queued, {}
        try:
            verify_s = self._send(queued)
        except BaseException:
            self._queued = queued | self._queued
            raise
        crossed, since = self._since
        now = time.monotonic()
        self._since = (self._crossed, now)
        doubts, self._doubts = tuple(self._doubts), []
        return Acknowledged(
            bytes=self._crossed - crossed,
            seconds=now - since,
            waited_s=now - began,
            verify_s=verify_s,
            notes=doubts,
        )

    def _send(self, queued: dict[bytes, bool]) -> float:
        """Delete and send; return how long the comparison took."""
        for path in self._unsure:
            queued.setdefault(path, True)
        for path in list(queued):
            if queued[path]:
                for name in self._groups.get(path, ()):
                    queued.setdefault(name, True)
        self._delete([path for path, there in queued.items() if not there])
        present = {path: status for path, there in queued.items() if there
                   and (status := _look(path)) is not None}  # fmt: skip
        self._note_made(present)
        if not present:
            return 0.0
        self._transfer(present)
        verifying = time.monotonic()
        self._compare(present)
        return time.monotonic() - verifying

    def _delete(self, paths: list[bytes]) -> None:
        """Delete there what was sent and is gone here; directories after what is in them."""
        gone = [path for path in paths if path in self._made and _look(path) is None]
        directories = [path for path in gone if stat.S_ISDIR(self._made[path])]
        depths = sorted({path.count(b"/") for path in directories}, reverse=True)
        rounds = [[path for path in gone if not stat.S_ISDIR(self._made[path])]]
        rounds += [[path for path in directories if path.count(b"/") == at] for at in depths]
        for names in filter(None, rounds):
            stay = self._remove(names)
            if stay:
                raise TargetError(
                    f"delete: {os.fsdecode(stay[0])!a} at {self._name} holds something that "
                    "was not made by this migration",
                    path=stay[0],
                )
        for path in gone:
            self._made.pop(path)
            self._unsure.discard(path)
            self._expected.pop(path, None)

    def _note_made(self, present: dict[bytes, os.stat_result]) -> None:
        """Write down there what is about to be made."""
        made = {path: stat.S_IFMT(status.st_mode) for path, status in present.items()}
        for path in present:
            parent = os.path.dirname(path)
            while parent != b"/" and parent not in made and parent not in self._made:
                made[parent] = stat.S_IFDIR
                parent = os.path.dirname(parent)
        fresh = any(self._made.get(path) != kind for path, kind in made.items())
        self._made |= made
        if fresh or len(self._made) != self._noted:
            lines = [b"%d %s\0" % (kind, path) for path, kind in self._made.items()]
            self._send_records(manifest=b"".join(lines))
            self._noted = len(self._made)

    def _transfer(self, present: dict[bytes, os.stat_result]) -> None:
        """Let rsync send; a file that vanished meanwhile is looked for again."""
        for attempt in range(_ATTEMPTS):
            names = [path for path in present if _look(path) is not None]
            last = attempt + 1 == _ATTEMPTS
            status, _ = self._run(
                *_OPTIONS, *_LISTED, "--stats", "/", self._place(),
                names=names, accept=[] if last else [_PARTIAL, _VANISHED],
            )  # fmt: skip
            if status == 0:
                return

    def _compare(self, present: dict[bytes, os.stat_result]) -> None:
        """Find out what is there as it was expected; raise if the fault is not the source's."""
        differing = self._differing([path for path in present if _look(path) is not None])
        wrong: dict[bytes, list[int]] = {}
        for path, before in present.items():
            now = _look(path)
            steady = now is not None and _state(now) == _state(before)
            expected = self._expected.pop(path, [])
            if path in differing and steady:
                wrong[path] = []
            if steady and path not in differing and all(_as_expected(path, e) for e in expected):
                self._unsure.discard(path)
            elif now is not None:
                self._unsure.add(path)
                self._expected.setdefault(path, [])
        if wrong:
            first = ascii(os.fsdecode(next(iter(wrong))))
            raise VerifyError(
                f"verify: at {self._name} {first} differs, and {len(wrong) - 1} more", wrong=wrong
            )

    def _differing(self, paths: list[bytes]) -> set[bytes]:
        """Return which of these rsync would change, by checksum."""
        if not paths:
            return set()
        words = [*_OPTIONS, "--checksum", "--dry-run", "--out-format=%i %n", "--stats"]
        words.remove("--ignore-times")
        _, printed = self._run(
            *words, *_LISTED, "/", self._place(), names=paths, accept=[_PARTIAL, _VANISHED]
        )
        found = set()
        for line in printed.splitlines():
            if re.match(rb"[<>ch.*][fdLDS][^ ]{9} ", line) is None or line[:2] == b".d":
                continue
            found.add(_name(line[12:]))
        return found.intersection(paths)

    def check(self) -> None:
        """See whether the target answers: no connection stays open that would tell."""
        place = self._place(os.fsdecode(STATE) + "/")
        self._run("-d", "--list-only", place, within_s=min(self._timeout, _CHECK_S))

    def commit(self, record: bytes, *, wait: bool = True) -> None:
        """Bring the record to the destination's disk."""
        if self._queued or self._unsure:
            self.barrier()
        if self._unsure:
            raise TargetError(f"commit: {len(self._unsure)} files changed while they were sent")
        if not self._committed:
            self._send_records(commit=record)
            self._committed = True

    def start(self, argv: Sequence[bytes], cwd: bytes | None, *, watch_s: float = 0.3) -> Started:
        """Refuse: rsync starts nothing."""
        raise StartError("rsync: it starts no programs; start it by hand, or use the channel")

    def status(self) -> dict[str, Any]:
        """Return what the records there say."""
        records = self._fetch_records()
        return {
            "migration": _owner(records)[0],
            "commit": records.get("commit"),
            "started": None,
            "locked": False,
        }

    def withdraw(self) -> list[bytes]:
        """Delete what was sent, and the state; directories of others' things stay."""
        if self._committed:
            raise TargetError("the migration is committed: the data there are in charge")
        stay: list[bytes] = []
        by_depth: dict[int, list[bytes]] = {}
        for path, kind in self._made.items():
            depth = path.count(b"/") if stat.S_ISDIR(kind) else 1 << 30
            by_depth.setdefault(depth, []).append(path)
        for depth in sorted(by_depth, reverse=True):
            stay += self._remove(by_depth[depth])
        state = os.fsdecode(STATE)
        self._run("-r", "--delete", f"{self._empty()}/", self._place(f"{state}/"))
        self._remove([b"/" + STATE])
        self._made.clear()
        return stay

    def _remove(self, paths: list[bytes]) -> list[bytes]:
        """Delete these there, by a source that has just their parents; return what stays."""
        source = self._scratch / "parents"
        source.mkdir()
        for parent in {os.path.dirname(path) for path in paths}:
            os.makedirs(os.fsencode(source) + parent, exist_ok=True)
        words = [*_OPTIONS, *_LISTED, "--no-implied-dirs", "--delete-missing-args", "--stats"]
        try:
            _, printed = self._run(*words, f"{source}/", self._place(), names=paths)
        finally:
            shutil.rmtree(source)
        return [_name(name) for name in _NOT_EMPTY.findall(printed)]

    def close(self) -> None:
        """End the shared connection."""
        if self._closed:
            return
        self._closed = True
        if self._reach is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    [*self._reach.command, "-O", "exit", "--", self._reach.host],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=5,
                    check=False,
                )
        shutil.rmtree(self._scratch, ignore_errors=True)


def _owner(records: dict[str, bytes]) -> tuple[str | None, str]:
    """Return whose a target is, and with which transport it was begun."""
    if "migration" not in records:
        return None, ""
    try:
        record = json.loads(records["migration"])
        return str(record["id"]), str(record.get("transport", "channel"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TargetError("target: its record 'migration' cannot be read") from None


def _name(printed: bytes) -> bytes:
    """Return a path as we call it, from how rsync prints it."""
    name = _ESCAPED.sub(lambda code: bytes([int(code[1], 8)]), printed)
    return b"/" + name.strip(b"/")


def _look(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _state(status: os.stat_result) -> tuple[int, ...]:
    if stat.S_ISDIR(status.st_mode):  # its times and size move with what others put in, as in /tmp
        return (status.st_mode, status.st_ino, status.st_uid, status.st_gid)
    return (
        status.st_mode,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _as_expected(path: bytes, expected: tuple[int, int, list[int], bytes]) -> bool:
    """Return whether the source has these digests still."""
    size, block_bytes, index, digests = expected
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                return False
            for number, block in enumerate(index):
                found = digest(file.fileno(), block * block_bytes, block_bytes)
                if found != digests[DIGEST_BYTES * number : DIGEST_BYTES * (number + 1)]:
                    return False
    except OSError:
        return False
    return True


def _quoted(word: str) -> str:
    """Return a word as rsync splits RSYNC_RSH, which knows quotes and no escapes."""
    if not re.search(r"[\s'\"]", word):
        return word
    quote = "'" if "'" not in word else '"'
    if quote in word:
        raise ValueError(f"ssh: got {word!r}, expected a word without both kinds of quotes")
    return f"{quote}{word}{quote}"
