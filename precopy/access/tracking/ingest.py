"""Takes journal and spill files into the access log.

Invariant: what a transaction adds to the log and how far the sources are read is committed
together, so that ending at any moment neither loses nor doubles a record; a source is removed only
when the log contains all of it.

References
----------
Paper section 2.1 (the tracking process).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from precopy.access import renames, schema
from precopy.access.tracking import wire
from precopy.access.tracking.batch import Batch, Rows
from precopy.access.tracking.live import LiveDirectory
from precopy.access.tracking.mapped import Mapped

CHUNK_BYTES = 32 << 20
"""How much of a source is read at once."""

BATCH_ROWS = 1_000_000
"""A transaction is large enough when its records amount to this many rows ..."""

BATCH_S = 1.0
"""... or adding them up took this long.  The larger it is, the fewer rows a record costs."""

_CACHED_PATHS = 500_000
_DAMAGED = "damaged records (a full disk, perhaps)"
_FOREIGN = (
    "a program ran under the monitor of another version of precopy, whose reports are skipped"
)
_SPILL_REST_S = 1.0
_JUST_BORN_NS = 50_000_000  # a file this young when it was opened was made by that
_DROP_EVERY_S = 60.0
_SETTLE_REST_S = 0.5
_SETTLE_REST = 20.0  # following renamed directories takes a twentieth of a processor at most
_FLAGS = (wire.READ, wire.WRITE, wire.MAPPED, wire.LOOKED, wire.LISTED, wire.LOADED)
_Flags = tuple[int, int, int, int, int, int]
_FLAGS_OF = [cast(_Flags, tuple(int(use & bit != 0) for bit in _FLAGS)) for use in range(256)]
_KIND_OF = [
    schema.KINDS[2 if use & wire.LINK else 1 if use & wire.DIRECTORY else 0] for use in range(256)
]


class Ingest:
    """The one writer of an access log.

    Parameters
    ----------
    live : LiveDirectory
        Where the sources lie.
    connection : sqlite3.Connection
        The log, from `precopy.access.schema.connect`.
    history_s : float, optional
        Write buckets older than this many seconds are dropped; by default none is.

    Raises
    ------
    ValueError
        If `history_s` is not positive.
    """

    def __init__(
        self,
        live: LiveDirectory,
        connection: sqlite3.Connection,
        history_s: float | None = None,
    ) -> None:
        if history_s is not None and not history_s > 0:
            raise ValueError(f"history: got {history_s}, expected a positive number of seconds")
        self._live = live
        self._log = connection
        self._history_s = history_s
        self._drop_at = self._settle_at = 0.0
        self._bucket_ns = int(schema.get_meta(connection, "bucket_ns") or schema.BUCKET_NS)
        self._file_ids: dict[bytes, int] = {}
        self._app_ids: dict[str, int] = {}
        self._births: dict[int, int] = {}
        self._sighted: set[int] = set()
        self._mapped = Mapped()
        rows = connection.execute("SELECT source, bytes FROM ingested").fetchall()
        self._taken: dict[str, int] = dict(rows)
        # Two journals never share a row, whatever happened to logs and directories.
        self._journal, self._spill = f"journal/{live.id}", f"spill/{live.id}/"
        self._losses: list[str] = []
        self._warnings: list[str] = []
        self._unreadable: set[str] = set()
        self._reconcile()

    @property
    def position(self) -> int:
        """Stream offset up to which the journal is in the log."""
        return self._taken.get(self._journal, 0)

    def _reconcile(self) -> None:
        """Settle what an ended tracker or a user left behind."""
        offset = self._live.offset  # before the segments: the journal may begin just now
        segments = self._live.segments()
        present = {self._spill + path.name for path in self._live.spills()}
        gone = [
            name for name in self._taken if name.startswith(self._spill) and name not in present
        ]
        self._log.execute("BEGIN IMMEDIATE")
        for name in gone:
            self._log.execute("DELETE FROM ingested WHERE source = ?", (name,))
            del self._taken[name]
        first = segments[0][0] if segments else offset
        if not first <= self.position <= self._live.offset:
            if self.position > 0:
                schema.mark_incomplete(self._log, "a journal segment was removed unread")
            self._take(self._journal, first)
        self._log.execute("COMMIT")

    def _take(self, source: str, position: int) -> None:
        self._log.execute("INSERT OR REPLACE INTO ingested VALUES (?, ?)", (source, position))
        self._taken[source] = position

    def step(self) -> int:
        """Take in what there is, up to a full batch; return the number of bytes.

        Raises
        ------
        sqlite3.OperationalError
            If the log cannot be written (disk full); nothing is changed then.
        """
        with Batch(self._bucket_ns) as batch:
            taken = self._add_journal(batch)
            finished = self._add_spills(batch, taken)
            said, losses = self._live.losses(), list(self._losses)
            if taken or said or losses or self._mapped.due:
                self._commit(batch, taken, said + losses)
        if said:
            self._live.forget_losses()
        del self._losses[: len(losses)]
        size = sum(end - self._taken.get(source, 0) for source, end in taken.items())
        self._taken.update(taken)
        self._remove(finished)
        return size

    def settle_file(self) -> None:
        """Make the log one plain file while nobody tracks: readable on a full disk, too."""
        with suppress(sqlite3.Error):  # somebody reads it just now
            self._log.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._log.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def lose(self, reason: str) -> None:
        """Mark the log incomplete with the next step."""
        self._losses.append(reason)

    def take_warnings(self) -> list[str]:
        """Return what is to be said since the last call."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def add_rest(self, data: bytes) -> int:
        """Take in records that are in no journal, for it cannot be written; return 0.

        Raises
        ------
        sqlite3.OperationalError
            If the log cannot be written; nothing is changed then.
        """
        with Batch(self._bucket_ns) as batch:
            torn = batch.add(data) < len(data)
            self._commit(batch, {}, [_DAMAGED] if torn else [])
        return 0

    def skip_torn(self) -> int:
        """Give up the torn record that the journal ends in, take in what follows; return the bytes.

        A full disk tears a record. The next stream goes on behind it, and as long as more may come
        the torn record looks like one that is not complete yet; call this when nothing will come.

        Raises
        ------
        sqlite3.OperationalError
            If the log cannot be written (disk full); nothing is changed then.
        """
        journal = self._read_journal(self.position)
        if not journal:
            return 0
        with Batch(self._bucket_ns) as batch:
            size = batch.add(b"\0" + journal[1:]) or len(journal)
            taken = {self._journal: self.position + size}
            self._commit(batch, taken, [_DAMAGED])
        self._taken.update(taken)
        return size

    def settle(self) -> int:
        """Give the files below renamed directories their new names, at the end; return 0.

        Raises
        ------
        sqlite3.OperationalError
            If the log cannot be written (disk full); nothing is changed then.
        """
        with self._transaction():
            self._settle()
        return 0

    def give_up(self, reason: str) -> None:
        """Mark the log incomplete, if the disk takes that much."""
        try:
            self._log.execute("BEGIN IMMEDIATE")
            for loss in [reason, *self._losses, *self._live.losses()]:
                schema.mark_incomplete(self._log, loss)
            self._log.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._log.execute("ROLLBACK")

    def _add_journal(self, batch: Batch) -> dict[str, int]:
        """Add chunks of the journal until it ends or the batch is full; return what was taken."""
        position, full_at = self.position, time.monotonic() + BATCH_S
        while True:
            chunk = self._read_journal(position)
            position += batch.add(chunk) if chunk else 0
            if len(chunk) < CHUNK_BYTES or batch.rows > BATCH_ROWS or time.monotonic() > full_at:
                return {self._journal: position} if position > self.position else {}

    def _read_journal(self, position: int) -> bytes:
        """Return a chunk of the journal's stream, whatever segments it lies in."""
        parts: list[bytes] = []
        wanted = CHUNK_BYTES
        for begin, file, size in self._live.segments():
            if begin + size <= position or wanted <= 0:
                continue
            if begin > position:
                break
            fd = self._live.open(file.name, os.O_RDONLY, "journal")
            with os.fdopen(fd, "rb") as segment:
                segment.seek(position - begin)
                part = segment.read(min(wanted, begin + size - position))
            parts.append(part)
            position += len(part)
            wanted -= len(part)
        return b"".join(parts)

    def _add_spills(self, batch: Batch, taken: dict[str, int]) -> list[Path]:
        """Add what is new in the spill files; return those that will not grow any more."""
        finished = []
        for path in self._live.spills():
            done = not _is_alive(path.name)
            position = self._taken.get(self._spill + path.name, 0)
            try:
                fd = self._live.open(path.name, os.O_RDONLY, "spill")
                with os.fdopen(fd, "rb") as spill:
                    status = os.fstat(spill.fileno())
                    spill.seek(position)
                    data = spill.read(CHUNK_BYTES)
            except OSError as error:
                self._leave_out(path, error)
                continue
            size = batch.add(data) if data else 0
            if done and 0 < len(data) - size < wire.LONGEST and len(data) < CHUNK_BYTES:
                batch.add(b"\0")  # a torn record at the end of a dead process's file: damage
                size = len(data)
            if size:
                taken[self._spill + path.name] = position + size
            rested = time.time() - status.st_mtime > _SPILL_REST_S
            if done and rested and position + size == status.st_size:
                finished.append(path)
        return finished

    def _leave_out(self, path: Path, error: OSError) -> None:
        """One file that cannot be read is no reason not to read the others."""
        if path.name in self._unreadable or error.errno == errno.ENOENT:
            return
        self._unreadable.add(path.name)
        self.lose(f"the spill file {path.name} cannot be read")
        why = error.strerror or error
        self._warnings.append(
            f"the spill file {str(path)!r} cannot be read ({why}); the log is incomplete"
        )

    def _commit(self, batch: Batch, taken: dict[str, int], losses: list[str]) -> None:
        batch.look()
        with self._transaction():
            self._add(batch)
            for source, position in taken.items():
                self._log.execute(
                    "INSERT OR REPLACE INTO ingested VALUES (?, ?)", (source, position)
                )
            for loss in losses:
                schema.mark_incomplete(self._log, loss)
            if batch.damaged:
                schema.mark_incomplete(self._log, _DAMAGED)
            events = int(schema.get_meta(self._log, "events") or 0) + batch.records
            schema.set_meta(self._log, "events", events)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all of it, or none."""
        try:
            self._log.execute("BEGIN IMMEDIATE")
            yield
            self._log.execute("COMMIT")
        except BaseException:
            self._forget_files()
            self._app_ids.clear()
            with suppress(sqlite3.Error):
                self._log.execute("ROLLBACK")
            raise

    def _add(self, batch: Batch) -> None:
        ids = [self._app_id(name) for name in batch.apps()]
        schema.add_processes(self._log, ((ids[row[0]], *row[1:]) for row in batch.processes()))
        accesses = batch.accesses()
        files = self._ids(batch.paths())
        self._describe(files, accesses)
        apps = [ids[number] for number in accesses["app"]]
        schema.add_accesses(self._log, _access_rows(apps, files, accesses))
        buckets = batch.buckets()
        schema.add_write_buckets(self._log, _bucket_rows(apps, files, buckets))
        self._add_sizes(files, accesses, buckets)
        self._add_mapped(batch, apps, files)
        self._add_moves(apps, files, batch.moves())
        if batch.foreign:
            schema.mark_incomplete(self._log, _FOREIGN)
        if batch.lost:
            schema.mark_incomplete(self._log, "a process could not deliver all its reports")
        renamed = batch.renames()
        renames.add_renames(
            self._log, ((ids[app], old, new, 1, ns) for app, old, new, ns in renamed)
        )
        if time.monotonic() >= self._settle_at:
            self._settle()
        self._drop_old_buckets()

    def _settle(self) -> None:
        began = time.monotonic()
        renames.settle(self._log)
        ended = time.monotonic()
        self._settle_at = ended + _SETTLE_REST_S + _SETTLE_REST * (ended - began)

    def _app_id(self, name: str) -> int:
        if name not in self._app_ids:
            self._app_ids[name] = schema.application_id(self._log, name)
        return self._app_ids[name]

    def _ids(self, paths: list[bytes]) -> list[int]:
        new = sorted({path for path in paths if path not in self._file_ids})
        if len(self._file_ids) + len(new) > _CACHED_PATHS:
            self._forget_files()
            new = sorted(set(paths))
        self._file_ids.update(zip(new, schema.file_ids(self._log, new), strict=True))
        return [self._file_ids[path] for path in paths]

    def _forget_files(self) -> None:
        self._file_ids.clear()
        self._births.clear()
        self._sighted.clear()

    def _add_sizes(self, files: list[int], accesses: Rows, buckets: Rows) -> None:
        """Note how large the files of a batch were, that they were removed, and their births."""
        births = [
            (file, born)
            for file, born in zip(files, accesses["born_ns"], strict=True)
            if born > self._births.get(file, 0)
        ]
        self._births.update(births)
        schema.add_births(self._log, births)
        samples = [
            (files[number], at // self._bucket_ns, size, at)
            for number, (size, at) in enumerate(
                zip(accesses["size"], accesses["looked_ns"], strict=True)
            )
            if at and size >= schema.GONE
        ]
        access, last = buckets["access"], buckets["last_ns"]
        samples += [
            (files[access[number]], removed // self._bucket_ns, schema.GONE, removed)
            for number, removed in enumerate(buckets["removed_ns"])
            if removed and removed >= last[number]
        ]
        samples += self._first_sizes(files, accesses)
        samples.sort()
        schema.add_samples(self._log, samples)

    def _first_sizes(self, files: list[int], accesses: Rows) -> Iterator[schema.SampleRow]:
        """Yield how large files were that were there before they were first opened."""
        told = zip(
            files, accesses["length"], accesses["length_ns"], accesses["length_born_ns"],
            strict=True,
        )  # fmt: skip
        for file, length, at, born in told:
            if length and file not in self._sighted:
                self._sighted.add(file)
                if born + _JUST_BORN_NS < at:
                    bucket = at // self._bucket_ns
                    yield file, bucket - 1, length - 1, bucket * self._bucket_ns - 1

    def _add_mapped(self, batch: Batch, apps: list[int], files: list[int]) -> None:
        """Note the changes of mapped files that no call has reported."""
        accesses = batch.accesses()
        mapped = [number for number, use in enumerate(accesses["use"]) if use & wire.MAPPED]
        if mapped:
            paths = batch.paths()
            for number in mapped:
                self._mapped.note(files[number], paths[number], apps[number])
        self._mapped.reported(files[number] for number in batch.buckets()["access"])
        if not self._mapped.due:
            return
        found = sorted(self._mapped.look(), key=lambda one: (one.app, one.file))
        schema.add_accesses(
            self._log,
            (
                (one.app, one.file, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, one.at_ns, one.at_ns)
                for one in found
            ),
        )
        places = [(one, one.at_ns // self._bucket_ns) for one in found]
        schema.add_write_buckets(
            self._log,
            ((one.file, one.app, bucket, 0, 0, 1, one.at_ns) for one, bucket in places),
        )
        schema.add_samples(
            self._log, ((one.file, bucket, one.size_bytes, one.at_ns) for one, bucket in places)
        )

    def _add_moves(self, apps: list[int], files: list[int], moves: Rows) -> None:
        if not len(moves):
            return
        rows = [
            (linked, (apps[new], files[old], files[new], at, length - 1))
            for old, new, at, linked, length in moves
        ]
        schema.add_moves(self._log, (row for linked, row in rows if not linked))
        schema.add_links(self._log, (row for linked, row in rows if linked))

    def _describe(self, files: list[int], accesses: Rows) -> None:
        """Note what the paths of a batch stand for, where that is more than "a file"."""
        uses, more = accesses["use"], wire.DIRECTORY | wire.LINK
        told = [
            number
            for number, identity in enumerate(accesses["identity"])
            if identity or uses[number] & more
        ]
        told.sort(key=files.__getitem__)
        rows = zip(told, accesses.take(told), strict=True)
        schema.describe_files(
            self._log,
            ((files[number], _KIND_OF[row[3] & 255], row[10], row[11]) for number, row in rows),
        )

    def _drop_old_buckets(self) -> None:
        if self._history_s is not None and time.monotonic() >= self._drop_at:
            self._drop_at = time.monotonic() + _DROP_EVERY_S
            oldest = (time.time_ns() - int(self._history_s * 1e9)) // self._bucket_ns
            for table in ("write_bucket", "sample"):
                self._log.execute(f"DELETE FROM {table} WHERE bucket < ?", (oldest,))
            self._log.execute("DELETE FROM moved WHERE time_ns < ?", (oldest * self._bucket_ns,))

    def _remove(self, spills: list[Path]) -> None:
        """Remove sources that the log contains completely; the last segment is still written."""
        for begin, file, size in self._live.segments()[:-1]:
            if begin + size <= self.position:
                self._live.remove(file)
        for path in spills:
            self._live.remove(path)
            self._log.execute("DELETE FROM ingested WHERE source = ?", (self._spill + path.name,))
            self._taken.pop(self._spill + path.name, None)


def _order(*columns: list[int]) -> list[int]:
    """Return the row numbers in the order of columns, the last of which counts most.

    Columns of small numbers, one by one, sort in half the time of tuples.
    """
    order = list(range(len(columns[0])))
    for column in columns:
        order.sort(key=column.__getitem__)
    return order


def _access_rows(apps: list[int], files: list[int], accesses: Rows) -> Iterator[schema.AccessRow]:
    """Yield what is to be added, in the order of the table: neighbours there are on one page."""
    order, flags = _order(files, apps), _FLAGS_OF
    for number, row in zip(order, accesses.take(order), strict=True):
        _, _, _, use, opens, writes, changes, size, first_ns, last_ns = row[:10]
        read, write, mapped, looked, listed, loaded = flags[use & 255]
        yield (
            apps[number], files[number], opens, read, write, mapped, looked, listed, loaded,
            writes, size, changes, first_ns, last_ns,
        )  # fmt: skip


def _bucket_rows(apps: list[int], files: list[int], buckets: Rows) -> Iterator[schema.BucketRow]:
    access = buckets["access"]
    file, app = [files[number] for number in access], [apps[number] for number in access]
    order = _order(buckets["bucket"], app, file)
    for number, row in zip(order, buckets.take(order), strict=True):
        _, bucket, writes, changes, size, last_ns, _ = row
        yield file[number], app[number], bucket, writes, size, changes, last_ns


def _is_alive(spill_name: str) -> bool:
    """Return whether the process of a spill file, named ``pid-start_time``, still runs."""
    pid, _, start_time = spill_name.partition("-")
    if not pid.isdigit():
        return False
    try:
        status = Path("/proc", pid, "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(b")")[2].split()[19].decode() == start_time
