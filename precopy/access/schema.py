"""The access log's SQLite schema: what is stored, in which units, and how rows are added.

Everything the log knows is a *sum* (counts, bytes), a *flag* (read, write, mapped), a *span* (first
and last time) or the *newest* of its kind, so records can be added in any order and in any grouping
and give the same log.  Invariant: whoever adds rows owns the transaction; nothing here commits.

Version 3 (``PRAGMA user_version``).  Paths are raw bytes, because a file name is raw bytes; times
are integer nanoseconds since the epoch.  A log of version 2 is read as one without what was added
since (``sample``, ``moved``, ``mark``, ``file.born_ns``, ``write_bucket.last_ns``); whoever opens
it to write makes it one of version 3.

======================  ===========================================================================
``meta``                ``complete`` (1 or 0), ``incomplete_reason``, ``bucket_ns``, ``created_ns``;
                        ``recording`` is there while somebody records, and stays if that one dies;
                        ``ended_ns NAME``: when the last recording of an application ended;
                        ``imported`` (1): paths may be another machine's
``ingested``            per source (journal, spill file): how many of its bytes this log contains
``application``         one row per application name
``process``             who ran: pid **and** start time, since pids are reused
``file``                one row per absolute path ever seen: its kind, and which file it names
``access``              per application and file: opens, kind of use, writes, bytes, time span
``write_bucket``        per file, application and time bucket: enough to rebuild a write trace
``renamed``             directories that were renamed, until the files below them are (`settle`)
``sample``              how large a file was at some time, -1: it was gone; the newest per bucket
``moved``               files that were renamed or got one more name, in the order of their time
``mark``                moments that somebody gave a name (`AccessLog.mark`)
======================  ===========================================================================

``writes`` counts write calls and ``bytes_written`` what they wrote; ``changes`` counts the other
ways to change a file: replaced or removed by name, truncated, extended, its attributes changed.
``write`` says that any of these happened, or that the file was opened or mapped so that it could be
written; ``mapped`` that it was mapped shared and writable, so that stores went into it that no call
shows; ``looked`` that it was looked at by name (its status, a link that a path passes through);
``listed`` that the entries of a directory were read; ``loaded`` that the dynamic loader read it.

``kind`` is ``link`` or ``directory`` if the path was ever reported as one, else ``file``.  Two
paths with one ``identity``, if it is not 0, name one file: it is mixed from device, inode and time
of birth, as last reported; ``born_ns`` is that time of birth, 0 if it is not known.

A ``sample`` is what the tracker found by asking for a written file's status, or what the monitor
knew: the size when a file was opened (that sample lies before the opening, at the end of the bucket
before), and that it was removed.  Its bucket is that of its own time.  An exchange of two names is
two rows of ``moved`` with one time; in a row with ``linked`` the old name has stayed.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from precopy.access.ownership import check_owner, resolve

VERSION = 3
"""Schema version that this module writes."""

OLDEST = 2
"""The oldest schema version that it reads."""

TICK_NS = round(time.clock_getres(5) * 1e9)
"""Of the clock that gives most times, ``CLOCK_REALTIME_COARSE``: what happens within a tick has one
time.  Renames and removals of files are told by an exact one."""

GONE = -1
"""A sample's size where the file was gone."""

BUCKET_NS = 100_000_000
"""Default width of a write bucket: 100 ms, the monitor's own reporting interval."""

TABLES = """
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;
CREATE TABLE ingested (
    source TEXT PRIMARY KEY,              -- 'journal', or a spill file's name
    bytes  INTEGER NOT NULL               -- stream offset up to which this log contains it
) WITHOUT ROWID;
CREATE TABLE application (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE process (
    id             INTEGER PRIMARY KEY,
    application_id INTEGER NOT NULL REFERENCES application(id),
    pid            INTEGER NOT NULL,
    start_time     INTEGER NOT NULL,      -- clock ticks since boot, as in /proc/PID/stat
    command        BLOB NOT NULL,         -- its executable
    first_ns       INTEGER NOT NULL,
    last_ns        INTEGER NOT NULL,
    UNIQUE (pid, start_time, application_id)
);
CREATE TABLE file (
    id          INTEGER PRIMARY KEY,
    path        BLOB NOT NULL UNIQUE,
    kind        TEXT NOT NULL DEFAULT 'file',   -- or 'directory', 'link'
    identity    INTEGER NOT NULL DEFAULT 0,     -- of the file behind the path; 0: unknown
    identity_ns INTEGER NOT NULL DEFAULT 0,     -- when it was that one
    born_ns     INTEGER NOT NULL DEFAULT 0      -- when the newest known one was made; 0: unknown
);
CREATE TABLE access (
    application_id INTEGER NOT NULL REFERENCES application(id),
    file_id        INTEGER NOT NULL REFERENCES file(id),
    opens          INTEGER NOT NULL,
    read           INTEGER NOT NULL,      -- 0 or 1
    write          INTEGER NOT NULL,      -- 0 or 1
    mapped         INTEGER NOT NULL,      -- 0 or 1
    looked         INTEGER NOT NULL,      -- 0 or 1
    listed         INTEGER NOT NULL,      -- 0 or 1
    loaded         INTEGER NOT NULL,      -- 0 or 1
    writes         INTEGER NOT NULL,
    bytes_written  INTEGER NOT NULL,
    changes        INTEGER NOT NULL,
    first_ns       INTEGER NOT NULL,
    last_ns        INTEGER NOT NULL,
    PRIMARY KEY (application_id, file_id)
) WITHOUT ROWID;
CREATE INDEX access_file ON access(file_id);
CREATE TABLE write_bucket (
    file_id        INTEGER NOT NULL REFERENCES file(id),
    application_id INTEGER NOT NULL REFERENCES application(id),
    bucket         INTEGER NOT NULL,      -- time_ns // meta.bucket_ns
    writes         INTEGER NOT NULL,
    bytes_written  INTEGER NOT NULL,
    changes        INTEGER NOT NULL,
    last_ns        INTEGER NOT NULL DEFAULT 0,  -- of the last of them; 0: unknown
    PRIMARY KEY (file_id, application_id, bucket)
) WITHOUT ROWID;
CREATE TABLE renamed (                    -- rowid: the order of those of one time
    application_id INTEGER NOT NULL REFERENCES application(id),
    old            BLOB NOT NULL,
    new            BLOB NOT NULL,
    times          INTEGER NOT NULL,
    last_ns        INTEGER NOT NULL,
    PRIMARY KEY (application_id, old, new)
);
"""

_SINCE_2 = """
CREATE TABLE sample (
    file_id    INTEGER NOT NULL REFERENCES file(id),
    bucket     INTEGER NOT NULL,          -- at_ns // meta.bucket_ns
    size_bytes INTEGER NOT NULL,          -- -1: it was gone
    at_ns      INTEGER NOT NULL,
    PRIMARY KEY (file_id, bucket)
) WITHOUT ROWID;
CREATE TABLE moved (                      -- rowid: the order of those of one time
    application_id INTEGER NOT NULL REFERENCES application(id),
    old_id         INTEGER NOT NULL REFERENCES file(id),
    new_id         INTEGER NOT NULL REFERENCES file(id),
    time_ns        INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL,      -- the file's then; -1: unknown
    linked         INTEGER NOT NULL       -- 1: the old name stayed (a hard link)
);
CREATE TABLE mark (
    name    TEXT PRIMARY KEY,
    time_ns INTEGER NOT NULL
) WITHOUT ROWID;
"""

_UPGRADE = (
    """
ALTER TABLE file ADD COLUMN born_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE write_bucket ADD COLUMN last_ns INTEGER NOT NULL DEFAULT 0;
"""
    + _SINCE_2
)

TABLES += _SINCE_2

ProcessRow = tuple[int, int, int, bytes, int, int]
"""``(application_id, pid, start_time, command, first_ns, last_ns)``."""

AccessRow = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int]
"""``(application_id, file_id, opens, read, write, mapped, looked, listed, loaded, writes,
bytes_written, changes, first_ns, last_ns)``: what is to be *added*."""

KINDS = ("file", "directory", "link")
"""What a path may stand for; a later one of these is kept when reports differ."""

FileRow = tuple[int, str, int, int]
"""``(file_id, kind, identity, identity_ns)``; an identity of 0 says nothing."""

BucketRow = tuple[int, int, int, int, int, int] | tuple[int, int, int, int, int, int, int]
"""``(file_id, application_id, bucket, writes, bytes_written, changes)``: what is to be *added*; and
where it is known ``last_ns``, when the last of it happened."""

SampleRow = tuple[int, int, int, int]
"""``(file_id, bucket, size_bytes, at_ns)``; a size of -1 says that the file was gone."""

MovedRow = tuple[int, int, int, int] | tuple[int, int, int, int, int]
"""``(application_id, old_id, new_id, time_ns)``, and where it is known ``size_bytes``."""

_TIMEOUT_S = 30.0
_OBJECTS = {
    (kind.lower(), name) for kind, name in re.findall(r"CREATE (TABLE|INDEX) (\w+)", TABLES)
}


def connect(
    path: str | Path,
    *,
    read_only: bool = False,
    bucket_ns: int = BUCKET_NS,
    timeout_s: float = _TIMEOUT_S,
) -> sqlite3.Connection:
    """Open an access log; create it (mode 0600) unless it is opened read-only.

    Parameters
    ----------
    path : str or Path
        The SQLite file.
    read_only : bool
        Open an existing log for reading; safe while a tracker writes to it.
    bucket_ns : int
        Width of a write bucket in nanoseconds, used only when the log is created.
    timeout_s : float
        How long to wait, here and later, for another program that has locked the log.

    Returns
    -------
    sqlite3.Connection
        In autocommit mode: transactions are begun and ended explicitly.

    Raises
    ------
    FileNotFoundError
        If `read_only` and there is no such file.
    ValueError
        If the file is no access log, or one of another version, or `bucket_ns` is not positive.
    PermissionError
        If the log is to be written, and is another user's, or one that other users may write.

    Examples
    --------
    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log = connect(os.path.join(directory, "access.db"))
    ...     get_meta(log, "complete")
    ...     log.close()
    1
    """
    if bucket_ns <= 0:
        raise ValueError(f"bucket_ns: got {bucket_ns}, expected a positive number of nanoseconds")
    path = Path(os.path.realpath(path)) if read_only else resolve(path)
    if read_only and not path.exists():
        raise FileNotFoundError(f"log: no access log at {str(path)!r}")
    if not read_only:
        check_owner(path)
    uri = f"file:{quote(os.fsencode(path))}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=timeout_s, check_same_thread=False
    )
    try:
        _open(connection, path, read_only, bucket_ns)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise ValueError(f"log: {str(path)!r} is not an access log ({error})") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _open(connection: sqlite3.Connection, path: Path, read_only: bool, bucket_ns: int) -> None:
    # Nothing that somebody else put into the file is run: no trigger, no view.
    connection.execute("PRAGMA trusted_schema = OFF")
    if not read_only and not _check(connection, path, new=True):
        connection.execute("BEGIN IMMEDIATE")
        if not _check(connection, path, new=True):
            _create(connection, bucket_ns)
        connection.execute("COMMIT")
    version = _check(connection, path, new=False)
    if not read_only and version < VERSION:
        _upgrade(connection, path)
    if not read_only:
        # WAL: readers never block the tracker.  FULL is not needed: after a power cut the log is
        # an older, consistent one, and the journal that would be ingested again is as old.
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        # Rows come in no order of theirs: without room every one is a page read and written.
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA wal_autocheckpoint = 8192")


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Give an older log the tables and columns that it lacks."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _check(connection, path, new=False) < VERSION:  # nobody else was faster
            _run(connection, _UPGRADE)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _check(connection: sqlite3.Connection, path: Path, new: bool) -> int:
    """Return the version of an access log; 0 if the file is empty and may be a `new` one.

    Raises
    ------
    ValueError
        If it is something else: nothing in it was changed.
    """
    # One moment's, though another recording may be making the log just now.
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        found = connection.execute(
            "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        ).fetchall()
    finally:
        if alone and connection.in_transaction:
            connection.execute("COMMIT")
    if new and version == 0 and not found:
        return 0
    if not OLDEST <= version <= VERSION:
        raise ValueError(
            f"log: {str(path)!r} has schema version {version}, expected an access log of "
            f"version {OLDEST} or {VERSION}"
        )
    foreign = [f"{kind} {name}" for kind, name in found if (kind, name) not in _OBJECTS]
    if foreign:
        raise ValueError(
            f"log: {str(path)!r} holds {foreign[0]!r}, expected an access log's tables alone"
        )
    return int(version)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait by itself while another recording begins or ends."""
    give_up_at = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_at:
                raise
        time.sleep(0.01)


def _create(connection: sqlite3.Connection, bucket_ns: int) -> None:
    _run(connection, TABLES)
    set_meta(connection, "complete", 1)
    set_meta(connection, "bucket_ns", bucket_ns)
    set_meta(connection, "created_ns", time.time_ns())
    connection.execute(f"PRAGMA user_version = {VERSION}")


def get_meta(connection: sqlite3.Connection, key: str) -> int | str | None:
    """Return the value stored under `key`, or None."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    value: int | str = row[0]
    return value


def set_meta(connection: sqlite3.Connection, key: str, value: int | str) -> None:
    """Store `value` under `key`."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def mark_incomplete(connection: sqlite3.Connection, reason: str) -> None:
    """Say that accesses are missing from the log, and why; reasons are kept, one per line.

    Examples
    --------
    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log = connect(os.path.join(directory, "access.db"))
    ...     mark_incomplete(log, "disk full")
    ...     mark_incomplete(log, "disk full")
    ...     get_meta(log, "complete"), get_meta(log, "incomplete_reason")
    ...     log.close()
    (0, 'disk full')
    """
    known = str(get_meta(connection, "incomplete_reason") or "").splitlines()
    set_meta(connection, "complete", 0)
    if reason not in known:
        set_meta(connection, "incomplete_reason", "\n".join([*known, reason]))


def check_application(app: object) -> None:
    """Raise unless this can be the name of an application."""
    if not isinstance(app, str):
        raise TypeError(f"app: got {app!r}, expected a string")
    if not app:
        raise ValueError("app: got an empty name, expected the application's name")


def application_id(connection: sqlite3.Connection, name: str) -> int:
    """Return the application's id, adding it if it is new."""
    connection.execute("INSERT OR IGNORE INTO application (name) VALUES (?)", (name,))
    row = connection.execute("SELECT id FROM application WHERE name = ?", (name,)).fetchone()
    return int(row[0])


def file_ids(connection: sqlite3.Connection, paths: Sequence[bytes]) -> list[int]:
    """Return the ids of `paths`, in their order, adding those that are new."""
    newest = connection.execute("SELECT coalesce(max(id), 0) FROM file").fetchone()[0]
    connection.executemany(
        "INSERT OR IGNORE INTO file (path) VALUES (?)", ((path,) for path in paths)
    )
    new: dict[bytes, int] = dict(
        connection.execute("SELECT path, id FROM file WHERE id > ?", (newest,))
    )
    select = "SELECT id FROM file WHERE path = ?"
    return [new.get(path) or connection.execute(select, (path,)).fetchone()[0] for path in paths]


def describe_files(connection: sqlite3.Connection, rows: Iterable[FileRow]) -> None:
    """Note what paths stand for; of several identities the newest stays.

    Examples
    --------
    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log = connect(os.path.join(directory, "access.db"))
    ...     (number,) = file_ids(log, [b"/srv"])
    ...     describe_files(log, [(number, "directory", 7, 1000), (number, "file", 5, 900)])
    ...     log.execute("SELECT kind, identity FROM file").fetchone()
    ...     log.close()
    ('directory', 7)
    """
    connection.executemany(
        """UPDATE file SET
               kind = CASE WHEN kind = 'link' OR ?2 = 'file' THEN kind ELSE ?2 END,
               identity = CASE WHEN ?3 != 0 AND ?4 >= identity_ns THEN ?3 ELSE identity END,
               identity_ns = CASE WHEN ?3 != 0 THEN max(?4, identity_ns) ELSE identity_ns END
           WHERE id = ?1""",
        rows,
    )


def add_processes(connection: sqlite3.Connection, rows: Iterable[ProcessRow]) -> None:
    """Add processes, or widen the time span and renew the command of those already known."""
    connection.executemany(
        """INSERT INTO process (application_id, pid, start_time, command, first_ns, last_ns)
           VALUES (?, ?, ?, ?, ?, ?)
           ON CONFLICT (pid, start_time, application_id) DO UPDATE SET
               command = CASE WHEN excluded.last_ns >= last_ns AND excluded.command != x''
                              THEN excluded.command ELSE command END,
               first_ns = min(first_ns, excluded.first_ns),
               last_ns = max(last_ns, excluded.last_ns)""",
        rows,
    )


def add_accesses(connection: sqlite3.Connection, rows: Iterable[AccessRow]) -> None:
    """Add counts, flags and times to what each application did with each file."""
    connection.executemany(
        """INSERT INTO access VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (application_id, file_id) DO UPDATE SET
               opens = opens + excluded.opens,
               read = read | excluded.read,
               write = write | excluded.write,
               mapped = mapped | excluded.mapped,
               looked = looked | excluded.looked,
               listed = listed | excluded.listed,
               loaded = loaded | excluded.loaded,
               writes = writes + excluded.writes,
               bytes_written = bytes_written + excluded.bytes_written,
               changes = changes + excluded.changes,
               first_ns = min(first_ns, excluded.first_ns),
               last_ns = max(last_ns, excluded.last_ns)""",
        rows,
    )


def add_write_buckets(connection: sqlite3.Connection, rows: Iterable[BucketRow]) -> None:
    """Add writes to the time buckets they happened in."""
    connection.executemany(
        """INSERT INTO write_bucket VALUES (?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (file_id, application_id, bucket) DO UPDATE SET
               writes = writes + excluded.writes,
               bytes_written = bytes_written + excluded.bytes_written,
               changes = changes + excluded.changes,
               last_ns = max(last_ns, excluded.last_ns)""",
        (row if len(row) == 7 else (*row, 0) for row in rows),
    )


def add_samples(connection: sqlite3.Connection, rows: Iterable[SampleRow]) -> None:
    """Note how large files were; of those in one bucket the newest stays.

    Examples
    --------
    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log = connect(os.path.join(directory, "access.db"))
    ...     (number,) = file_ids(log, [b"/srv/a"])
    ...     add_samples(log, [(number, 5, 10, 501), (number, 5, GONE, 509), (number, 5, 20, 502)])
    ...     log.execute("SELECT bucket, size_bytes, at_ns FROM sample").fetchall()
    ...     log.close()
    [(5, -1, 509)]
    """
    connection.executemany(
        """INSERT INTO sample VALUES (?, ?, ?, ?)
           ON CONFLICT (file_id, bucket) DO UPDATE SET
               size_bytes = excluded.size_bytes, at_ns = excluded.at_ns
           WHERE excluded.at_ns >= at_ns""",
        rows,
    )


def add_moves(connection: sqlite3.Connection, rows: Iterable[MovedRow]) -> None:
    """Note that files were renamed."""
    _move(connection, rows, linked=0)


def add_links(connection: sqlite3.Connection, rows: Iterable[MovedRow]) -> None:
    """Note that files got one more name, the new one."""
    _move(connection, rows, linked=1)


def _move(connection: sqlite3.Connection, rows: Iterable[MovedRow], linked: int) -> None:
    connection.executemany(
        f"INSERT INTO moved VALUES (?, ?, ?, ?, ?, {linked})",
        (row if len(row) == 5 else (*row, -1) for row in rows),
    )


def add_births(connection: sqlite3.Connection, rows: Iterable[tuple[int, int]]) -> None:
    """Note when files were made, ``(file_id, born_ns)``: the newest stays, 0 says nothing."""
    connection.executemany(
        "UPDATE file SET born_ns = ?2 WHERE id = ?1 AND born_ns < ?2",
        (row for row in rows if row[1]),
    )


def add_mark(connection: sqlite3.Connection, name: str, time_ns: int) -> None:
    """Give a moment a name; one that had it before has it no more."""
    connection.execute("INSERT OR REPLACE INTO mark VALUES (?, ?)", (name, time_ns))


def mark(path: str | Path, name: str, time_ns: int) -> None:
    """Give a moment a name in a log that others may be writing."""
    connection = connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        add_mark(connection, name, time_ns)
        connection.execute("COMMIT")
        with suppress(sqlite3.OperationalError):  # somebody else has it open
            connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()
