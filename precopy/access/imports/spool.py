"""What an import adds up, kept on disk while it reads.

A trace may be larger than memory, and nobody who records into the log is to wait for it: sums go in
batches into a private SQLite file without a name, and from there into the log in one transaction.
Invariant: memory holds one batch; an import that ends early leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from precopy.access import schema

_ROWS = 50_000
"""A batch is written when it has this many rows ..."""
_WEIGHT = 16 << 20
"""... or its names are this many bytes long."""
_CHUNK = 10_000
"""Names are looked up in so many at a time."""

_TABLES = """
CREATE TABLE name (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, log_id INTEGER);
CREATE TABLE bucket (name INTEGER, bucket INTEGER, writes INTEGER, bytes_written INTEGER,
                     changes INTEGER, last_ns INTEGER, PRIMARY KEY (name, bucket)) WITHOUT ROWID;
CREATE TABLE sample (name INTEGER, bucket INTEGER, size_bytes INTEGER, at_ns INTEGER,
                     PRIMARY KEY (name, bucket)) WITHOUT ROWID;
CREATE TABLE moved (old INTEGER, new INTEGER, time_ns INTEGER, linked INTEGER);
CREATE TABLE born (name INTEGER PRIMARY KEY, time_ns INTEGER);
CREATE TABLE file (name INTEGER PRIMARY KEY, size_bytes INTEGER, exact INTEGER, read INTEGER,
                   write INTEGER, opens INTEGER, writes INTEGER, bytes_written INTEGER,
                   changes INTEGER, first_ns INTEGER, last_ns INTEGER);
"""
_ID = "(SELECT id FROM name WHERE path = ?1)"

State = tuple[int, int, int, int, int, int, int, int, int, int]
"""``(size_bytes, exact, read, write, opens, writes, bytes_written, changes, first_ns,
last_ns)``."""


class Spool:
    """Sums per file and time bucket, sizes, renames and births of one import.

    Parameters
    ----------
    bucket_ns : int
        Width of a time bucket of the log, in nanoseconds.
    """

    def __init__(self, bucket_ns: int) -> None:
        self.bucket_ns = bucket_ns
        self._buckets: dict[tuple[bytes, int], list[int]] = {}
        self._samples: dict[tuple[bytes, int], tuple[int, int]] = {}
        self._moves: list[tuple[bytes, bytes, int, int]] = []
        self._births: dict[bytes, int] = {}
        self._weight = 0
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA cache_size = -8192")
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Give the disk space back."""
        self._db.close()

    def write(self, path: bytes, time_ns: int, writes: int, written: int, changes: int) -> None:
        """Add writes of a file, in their bytes, and changes of other kinds."""
        key = path, time_ns // self.bucket_ns
        sums = self._buckets.get(key)
        if sums is None:
            self._buckets[key] = [writes, written, changes, time_ns]
            self._grown(len(path))
            return
        sums[0] += writes
        sums[1] += written
        sums[2] += changes
        sums[3] = max(sums[3], time_ns)

    def sample(self, path: bytes, time_ns: int, size_bytes: int) -> None:
        """Note a file's size (-1: it is gone); in a bucket the newest of them stays."""
        key = path, time_ns // self.bucket_ns
        known = self._samples.get(key)
        if known is None:
            self._grown(len(path))
        elif known[1] > time_ns:
            return
        self._samples[key] = size_bytes, time_ns

    def sample_before(self, path: bytes, time_ns: int, size_bytes: int) -> None:
        """Note a size that a file had before anything was known of it: in the bucket before."""
        self.sample(path, time_ns // self.bucket_ns * self.bucket_ns - 1, size_bytes)

    def move(self, old: bytes, new: bytes, time_ns: int, *, linked: bool = False) -> None:
        """Note that a file was renamed, or got one more name."""
        self._moves.append((old, new, time_ns, int(linked)))
        self._grown(len(old) + len(new))

    def birth(self, path: bytes, time_ns: int) -> None:
        """Note when a file was made, of which nothing was known before."""
        if path not in self._births:
            self._births[path] = time_ns
            self._grown(len(path))

    def _grown(self, weight: int) -> None:
        self._weight += weight
        rows = len(self._buckets) + len(self._samples) + len(self._moves) + len(self._births)
        if rows >= _ROWS or self._weight >= _WEIGHT:
            self.flush()

    def flush(self) -> None:
        """Write the batch to disk."""
        self._name(path for path, _ in self._buckets)
        self._name(path for path, _ in self._samples)
        self._name(path for old, new, *_ in self._moves for path in (old, new))
        self._name(self._births)
        self._db.executemany(
            f"""INSERT INTO bucket VALUES ({_ID}, ?2, ?3, ?4, ?5, ?6)
                ON CONFLICT DO UPDATE SET writes = writes + excluded.writes,
                    bytes_written = bytes_written + excluded.bytes_written,
                    changes = changes + excluded.changes,
                    last_ns = max(last_ns, excluded.last_ns)""",
            ((path, bucket, *sums) for (path, bucket), sums in self._buckets.items()),
        )
        self._db.executemany(
            f"""INSERT INTO sample VALUES ({_ID}, ?2, ?3, ?4)
                ON CONFLICT DO UPDATE SET size_bytes = excluded.size_bytes, at_ns = excluded.at_ns
                WHERE excluded.at_ns >= at_ns""",
            ((path, bucket, *newest) for (path, bucket), newest in self._samples.items()),
        )
        self._db.executemany(
            f"INSERT INTO moved VALUES ({_ID}, (SELECT id FROM name WHERE path = ?2), ?3, ?4)",
            self._moves,
        )
        self._db.executemany(f"INSERT OR IGNORE INTO born VALUES ({_ID}, ?2)", self._births.items())
        self._buckets.clear()
        self._samples.clear()
        self._moves.clear()
        self._births.clear()
        self._weight = 0

    def _name(self, paths: Iterable[bytes]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO name (path) VALUES (?)", ((path,) for path in paths)
        )

    def put_states(self, states: Iterable[tuple[bytes, State]]) -> None:
        """Keep what is known of files, until `state` asks for it."""
        for chunk in _chunks(states):
            self._name(path for path, _ in chunk)
            self._db.executemany(
                f"INSERT OR REPLACE INTO file VALUES ({_ID}{', ?' * 10})",
                ((path, *state) for path, state in chunk),
            )

    def state(self, path: bytes) -> State | None:
        """Return what was kept of a file."""
        row: tuple[int, ...] | None = self._db.execute(
            "SELECT file.* FROM file JOIN name ON name = id WHERE path = ?", (path,)
        ).fetchone()
        return row and row[1:]  # type: ignore[return-value]

    def sample_all(self) -> None:
        """Give every file that has no sample one before its first time: the size kept of it."""
        self._db.execute(
            """INSERT INTO sample SELECT name, first_ns / ?1 - 1, size_bytes, first_ns / ?1 * ?1 - 1
               FROM file WHERE name NOT IN (SELECT name FROM sample)""",
            (self.bucket_ns,),
        )

    def totals(self) -> tuple[int, int, int, int]:
        """Return the number of files kept, those of inexact size, and all writes and bytes."""
        row: tuple[int, int, int, int] = self._db.execute(
            """SELECT count(*), coalesce(sum(NOT exact), 0), coalesce(sum(writes), 0),
                      coalesce(sum(bytes_written), 0) FROM file"""
        ).fetchone()
        return row

    def store(self, log: sqlite3.Connection, application: int) -> None:
        """Add all of it to a log; the transaction is the caller's."""
        self.flush()
        last = 0
        while chunk := self._db.execute(
            "SELECT id, path FROM name WHERE id > ? ORDER BY id LIMIT ?", (last, _CHUNK)
        ).fetchall():
            last = chunk[-1][0]
            ids = schema.file_ids(log, [path for _, path in chunk])
            self._db.executemany(
                "UPDATE name SET log_id = ? WHERE id = ?",
                ((log_id, number) for log_id, (number, _) in zip(ids, chunk, strict=True)),
            )
        schema.add_accesses(
            log,
            self._db.execute(
                """SELECT ?, log_id, opens, read, write, 0, 0, 0, 0, writes, bytes_written, changes,
                          first_ns, last_ns FROM file JOIN name ON name = id""",
                (application,),
            ),
        )
        schema.add_write_buckets(
            log,
            self._db.execute(
                """SELECT log_id, ?, bucket, writes, bytes_written, changes, last_ns
                   FROM bucket JOIN name ON name = id""",
                (application,),
            ),
        )
        schema.add_samples(
            log,
            self._db.execute(
                "SELECT log_id, bucket, size_bytes, at_ns FROM sample JOIN name ON name = id"
            ),
        )
        for linked, add in enumerate((schema.add_moves, schema.add_links)):
            add(
                log,
                self._db.execute(
                    """SELECT ?, old.log_id, new.log_id, time_ns FROM moved
                       JOIN name AS old ON old.id = moved.old JOIN name AS new ON new.id = moved.new
                       WHERE linked = ? ORDER BY moved.rowid""",
                    (application, linked),
                ),
            )
        schema.add_births(
            log, self._db.execute("SELECT log_id, time_ns FROM born JOIN name ON name = id")
        )


_Item = TypeVar("_Item")


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
