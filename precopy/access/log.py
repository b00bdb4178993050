"""The access log, read side: what the tracker recorded, as lists, tables, files and writes.

The log is one SQLite file that anybody may query; `precopy.access.schema` holds its tables and
their units.  Invariant: an `AccessLog` never writes (`AccessLog.mark` does, by a connection of its
own), so it can be open while a tracker records.

An **update** of a file is a write call, or a change of another kind: replaced or removed by name,
cut (opening an existing file with O_TRUNC cuts it, even if it was empty; making a new one does not
count), resized, its attributes changed.  Cutting a file and writing it anew are two updates.

Two queries to start from, in ``sqlite3 access.db``.  The ten files updated most often::

    SELECT CAST(path AS TEXT) AS path, sum(writes + changes) AS updates,
           sum(bytes_written) AS bytes_written
    FROM access JOIN file ON file.id = file_id
    WHERE kind = 'file' GROUP BY file_id ORDER BY updates DESC, path LIMIT 10;

Files through which one application depends on what another one writes::

    SELECT writer.name, reader.name, CAST(path AS TEXT) AS path
    FROM access AS w
    JOIN access AS r ON r.file_id = w.file_id AND r.application_id != w.application_id
    JOIN application AS writer ON writer.id = w.application_id
    JOIN application AS reader ON reader.id = r.application_id
    JOIN file ON file.id = w.file_id
    WHERE w.write AND r.read AND kind = 'file' ORDER BY 1, 2, 3;

``file.identity`` tells files with several names.  A path is a BLOB, since a file name may be any
bytes; CAST shows it as text.
"""

from __future__ import annotations

import html
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from precopy._text import hint, is_path, printable
from precopy.access import schema
from precopy.access.exclude import DEFAULT_EXCLUDED, Excluded
from precopy.access.tracking.live import LiveDirectory
from precopy.access.tracking.wire import LISTED, LOADED, LOOKED, MAPPED, READ, WRITE
from precopy.access.updates import (
    CHOSEN,
    EXCLUDED,
    NO_MORE,
    NO_TIME,
    NOT_LISTED,
    NOT_REGULAR,
    NOT_REGULAR_FILES,
    UPDATES,
    interleave,
    regular_size,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]
    from numpy.typing import NDArray

    from precopy.files import FileSet
    from precopy.recorded import Recorded
    from precopy.trace import WriteTrace

Applications = str | Iterable[str]
Pair = tuple[int, int, int]
"""``(application_id, file_id, how)``, `how` a sum of the bits READ … LOADED of the wire."""

_COLUMNS = (
    "application",
    "path",
    "kind",
    "opens",
    "read",
    "write",
    "mapped",
    "looked",
    "listed",
    "loaded",
    "writes",
    "bytes_written",
    "changes",
    "first_ns",
    "last_ns",
)

_SUMMARY = """
SELECT name, count(*), sum(write), sum(opens), sum(writes), sum(bytes_written)
FROM application JOIN access ON application_id = application.id
JOIN file ON file.id = file_id WHERE kind = 'file'
GROUP BY application.id ORDER BY name"""

_TIMED = f"""
SELECT path, sum(writes), coalesce(sum((
    SELECT sum(writes) FROM write_bucket AS timed
    WHERE timed.file_id = access.file_id AND timed.application_id = access.application_id)), 0)
FROM access JOIN file ON file.id = file_id
WHERE {CHOSEN} AND writes > 0 GROUP BY file_id"""

_USE = " + ".join(
    f"{bit} * {name}"
    for name, bit in (
        ("read", READ), ("write", WRITE), ("mapped", MAPPED),
        ("looked", LOOKED), ("listed", LISTED), ("loaded", LOADED),
    )
)  # fmt: skip


class AccessLog:
    """What applications did with files, as the tracker recorded it (paper, section 2.1).

    Parameters
    ----------
    path : str or PathLike
        The log, written by ``precopy record``, ``precopy track`` or ``precopy import-strace``.

    Attributes
    ----------
    path : Path
        Where the log is.
    complete : bool
        False if accesses are known to be missing from the log, or may be: a recording that has not
        ended, and nobody is at work on it any more.
    incomplete_reason : str
        Why, one reason per line; empty if the log is complete.
    version : int
        The schema version that the log had when it was opened.
    begin_ns : int
        When the recording began, in nanoseconds since the epoch: at the log's creation or at the
        first access in it, whichever was earlier.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no access log, one of another version, or damaged; also later, when what is
        damaged is read.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> trace = ['7 1.5 openat(AT_FDCWD</>, "/srv/a", O_WRONLY) = 3</srv/a>',
    ...          '7 1.6 write(3</srv/a>, "hello", 5) = 5']
    >>> from precopy.access import AccessLog, import_strace
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "access.db")
    ...     summary = import_strace(trace, path, app="writer")
    ...     with AccessLog(path) as log:
    ...         print(log.applications(), log.complete)
    ['writer'] True
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            if self.path.exists() and not self.path.is_file():
                raise ValueError(f"log: {str(self.path)!r} is not a file, expected an access log")
            self._connection = schema.connect(self.path, read_only=True)
            self.version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.OperationalError as error:
            raise OSError(f"log: cannot read {str(self.path)!r}: {error}") from error

    def close(self) -> None:
        """Close the log; closing twice is harmless."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def complete(self) -> bool:
        """Whether no access is known to be missing."""
        return not self._reasons()

    @property
    def incomplete_reason(self) -> str:
        """Why accesses are missing, one reason per line; empty if none are."""
        return "\n".join(self._reasons())

    def _reasons(self) -> list[str]:
        meta = dict(self.query("SELECT key, value FROM meta"))
        if meta.get("recording") and not self._is_at_work():
            # It may have ended just now, and cleanly: then the mark is gone.
            meta = dict(self.query("SELECT key, value FROM meta"))
            unfinished = bool(meta.get("recording"))
        else:
            unfinished = False
        reasons = str(meta.get("incomplete_reason") or "").splitlines()
        if not meta.get("complete") and not reasons:
            reasons = ["the log does not say why"]
        if unfinished:
            reasons.append("a recording did not end: it was killed, or the machine stopped")
        return reasons

    def _is_at_work(self) -> bool:
        try:
            return LiveDirectory(self.path).is_at_work()
        except PermissionError:
            return True  # another user's recording: it says itself how it ends
        except (OSError, ValueError):
            return False

    @property
    def begin_ns(self) -> int:
        """When the recording began, in nanoseconds since the epoch."""
        meta = dict(self.query("SELECT key, value FROM meta"))
        created_ns = int(meta.get("created_ns") or 0)
        ((first_ns,),) = self.query("SELECT min(first_ns) FROM access")
        return created_ns if first_ns is None else min(created_ns, first_ns)

    def query(self, query: str, values: tuple[object, ...] = ()) -> Iterator[Any]:
        """Yield a query's rows; a log that turns out to be damaged is an error like others."""
        try:
            for row in self._connection.execute(query, values):  # noqa: UP028 - it would be closed
                yield row
        except sqlite3.OperationalError as error:
            raise OSError(f"log: cannot read {str(self.path)!r}: {error}") from error
        except (sqlite3.DatabaseError, OverflowError) as error:
            raise ValueError(f"log: {str(self.path)!r} is damaged: {error}") from error

    def applications(self) -> list[str]:
        """Return the names of the recorded applications, sorted."""
        return sorted(self.names().values())

    def accesses(self) -> pd.DataFrame:
        """Return one row per application and file.

        Returns
        -------
        pandas.DataFrame
            ``application``; ``path`` (bytes that are not UTF-8 appear as ``os.fsdecode`` shows
            them, so ``os.fsencode`` gives the name back); ``kind`` (file, directory or link);
            ``opens`` and ``writes`` (calls), ``bytes_written`` (bytes), ``changes`` (times
            replaced, removed, truncated, extended, or attributes changed); ``read``, ``write``,
            ``mapped``, ``looked``, ``listed``, ``loaded`` (bool); ``first_ns``, ``last_ns``
            (nanoseconds since the epoch).

        Raises
        ------
        ImportError
            If pandas is not installed; nothing else here needs it.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("accesses() returns a DataFrame: install pandas") from error
        rows = self.query(
            """SELECT name, path, kind, opens, read, write, mapped, looked, listed, loaded, writes,
                      bytes_written, changes, first_ns, last_ns
               FROM access JOIN application ON application.id = application_id
               JOIN file ON file.id = file_id ORDER BY name, path"""
        )
        table = pd.DataFrame(
            ((name, os.fsdecode(path), *rest) for name, path, *rest in rows), columns=list(_COLUMNS)
        )
        kinds = dict.fromkeys(_COLUMNS[3:], "int64") | dict.fromkeys(_COLUMNS[4:10], "bool")
        return table.astype({"kind": pd.CategoricalDtype(schema.KINDS)} | kinds)

    def file_set(
        self,
        app: Applications,
        *,
        exclude: Iterable[str] = DEFAULT_EXCLUDED,
        missing: Literal["drop", "empty"] = "drop",
    ) -> FileSet:
        """Return the files that an application used, as they are now.

        Parameters
        ----------
        app : str or iterable of str
            One application, or several that move together.
        exclude : iterable of str
            Paths that stay, see `precopy.access.exclude`.
        missing : {"drop", "empty"}
            What to do with recorded files that are gone, such as temporary files: leave them
            out, or keep them with 0 bytes so that every recorded write has its file.

        Returns
        -------
        FileSet
            Sorted by path.  Sizes are the file system's at the time of the call; a file is
            read-only if no application in the log ever opened it for writing.  Only regular
            files are listed.

        Raises
        ------
        ValueError
            If an application is not in the log, if there is no file left to list, or if
            `missing` is unknown.

        References
        ----------
        Paper, sections 2.1 and 4.2.1 (access types).
        """
        from precopy.files import FileSet

        if missing not in ("drop", "empty"):
            raise ValueError(f"missing: got {missing!r}, expected 'drop' or 'empty'")
        rows = self.query(
            f"""SELECT path, max(write) FROM access JOIN file ON file.id = file_id
                WHERE kind = 'file' AND file_id IN (SELECT file_id FROM access WHERE {CHOSEN})
                GROUP BY file_id ORDER BY path""",
            (self.ids(app),),
        )
        excluded = Excluded(exclude)
        path: list[str] = []
        size_bytes: list[int] = []
        read_only: list[bool] = []
        for name, written in rows:
            if not is_path(name) or name in excluded:
                continue
            size = regular_size(name)
            if size is None and missing == "drop":
                continue
            if size != NOT_REGULAR:
                path.append(os.fsdecode(name))
                size_bytes.append(size or 0)
                read_only.append(not written)
        if not path:
            raise ValueError(f"app: {app!r} used no regular file that exists and is not excluded")
        return FileSet(np.array(size_bytes, np.int64), np.array(read_only, np.bool_), path)

    def write_trace(self, app: Applications, files: FileSet | None = None) -> WriteTrace:
        """Return the writes of an application in the order of their time.

        The log keeps counts per file and time bucket.  Buckets follow one another; inside a
        bucket each file's writes are spread evenly, which is deterministic and invents no bursts.
        A change of another kind, such as a replacement as a whole, is a write like others (the
        module's first paragraphs say what an update is).  Stores into mapped files are seen by
        the files' time stamps only, once a second.

        Parameters
        ----------
        app : str or iterable of str
            One application, or several that move together.
        files : FileSet, optional
            Files that the ids in the trace index, by path; writes to other files are left out.
            By default ``file_set(app)`` at the time of the call.

        Returns
        -------
        WriteTrace
            ``file_id``: int[number of writes].  Its ``left_out`` counts the write calls that are
            not in it, by reason: with databases that keep journals, often most of them. `recorded`
            has them, too.

        Raises
        ------
        ValueError
            If an application is not in the log, or `files` has no paths.
        """
        from precopy.trace import WriteTrace

        chosen = self.file_set(app) if files is None else files
        bucket, file_id, updates, _ = self._updates(app, chosen)
        left_out = self._left_out(app, chosen, listed=files is None)
        return WriteTrace(interleave(bucket, file_id, updates), left_out=left_out)

    def _left_out(self, app: Applications, files: FileSet, listed: bool) -> Counter[str]:
        """Count the write calls that a trace of files lacks; `listed`: they are `file_set`'s."""
        known = {os.fsencode(name) for name in files.path or ()}
        excluded = Excluded()
        left_out: Counter[str] = Counter()
        for path, writes, timed in self.query(_TIMED, (self.ids(app),)):
            if path in known:
                left_out[NO_TIME] += writes - timed
            elif not listed:
                left_out[NOT_LISTED] += writes
            elif not is_path(path) or path in excluded:
                left_out[EXCLUDED] += writes
            else:
                gone = regular_size(path) is None
                left_out[NO_MORE if gone else NOT_REGULAR_FILES] += writes
        return left_out

    def recorded(
        self,
        app: Applications,
        *,
        roots: Iterable[str | os.PathLike[str]] = (),
        exclude: Iterable[str] = DEFAULT_EXCLUDED,
        since: str | float | None = None,
        until: str | float | None = None,
    ) -> Recorded:
        """Return the files and writes of an application in time, to be replayed.

        Unlike `write_trace` it has every file that existed at some time, when files came, went and
        were renamed, how large they were, and how much was written.

        Parameters
        ----------
        app : str or iterable of str
            One application, or several that move together.
        roots : iterable of path
            Directories whose other files belong to it, too, such as a database's tables that nobody
            opened: as large as they are now, born where they are younger than the recording.
        exclude : iterable of str
            Paths that stay, see `precopy.access.exclude`.
        since, until : str or float, optional
            A window: a mark's name (`mark`), or seconds since the applications were first heard of.
            What was there at its begin is as it was then.

        Returns
        -------
        Recorded
            A row for each file and bucket of time in which it was written, at the time of the last
            of these writes; renames and deaths at their own times.  Its ``writes.left_out`` says
            which write calls are not in it, its ``notes`` what is estimated.  Sizes are those that
            the tracker saw; between them they are estimated from the bytes that were written.

        Raises
        ------
        ValueError
            If an application or a mark is not in the log, a root is no directory, the window is
            empty, or no file is left.

        References
        ----------
        Model, rules replay.*.
        """
        from precopy.access.in_time import Reader

        with self.snapshot():
            return Reader(self, app, roots, exclude).read(since, until)

    def mark(self, name: str) -> None:
        """Give this moment a name in the log, to begin or end a window at; a name's newest counts.

        Parameters
        ----------
        name : str
            Such as "ready", when the initial load is over.

        Raises
        ------
        ValueError
            If the name is empty.
        OSError
            If the log cannot be written.
        """
        if not name:
            raise ValueError("name: got an empty one, expected a mark's name")
        now_ns = time.time_ns()
        try:
            schema.mark(self.path, name, now_ns)
        except sqlite3.OperationalError as error:
            raise OSError(f"log: cannot write {str(self.path)!r}: {error}") from error

    def marks(self) -> dict[str, int]:
        """Return the marked moments, in nanoseconds since the epoch."""
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version < 3:
            return {}
        return dict(self.query("SELECT name, time_ns FROM mark ORDER BY time_ns"))

    def history(self, app: Applications, files: FileSet | None = None) -> NDArray[np.int64]:
        """Return how often each file was updated, for ``simulate(…, history=…)``.

        Parameters
        ----------
        app, files
            As in `write_trace`, whose ids these counts belong to.

        Returns
        -------
        ndarray of int64, shape (number of files,)
            Updates per file: write calls, and changes of other kinds.

        Raises
        ------
        ValueError
            If an application is not in the log, or `files` has no paths.
        """
        _, file_id, updates, files_count = self._updates(app, files)
        counts = np.zeros(files_count, np.int64)
        np.add.at(counts, file_id, updates)
        return counts

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let several reads see one state of a log that is being written."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):  # a damaged log has ended it already
                self._connection.execute("ROLLBACK")

    def names(self) -> dict[int, str]:
        """Return the applications' names by id."""
        return dict(self.query("SELECT id, name FROM application"))

    def programs(self) -> dict[str, set[bytes]]:
        """Return the executables that each application ran, as absolute paths."""
        ran: dict[str, set[bytes]] = {}
        for name, command in self.query(
            """SELECT DISTINCT name, command FROM process
               JOIN application ON application.id = application_id"""
        ):
            if is_path(command):
                ran.setdefault(name, set()).add(command)
        return ran

    def processes(self, app: Applications) -> list[tuple[int, int]]:
        """Return ``(pid, start_time)`` of the processes recorded since the machine was started.

        Parameters
        ----------
        app : str or iterable of str
            One application, or several that move together.

        Returns
        -------
        list of (int, int)
            The start time is in clock ticks since boot, as in /proc/PID/stat: together they name a
            process, a pid alone does not.  Most will have ended.

        Raises
        ------
        ValueError
            If an application is not in the log.
        """
        booted_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        rows = self.query(
            """SELECT DISTINCT pid, start_time FROM process
               WHERE application_id IN (SELECT value FROM json_each(?)) AND last_ns >= ?
               ORDER BY first_ns""",
            (self.ids(app), booted_ns),
        )
        return [(int(pid), int(started)) for pid, started in rows]

    def paths(self) -> dict[int, bytes]:
        """Return the paths of files, directories and links by id."""
        return {number: path for number, path, _, _ in self.entries()}

    def entries(self) -> Iterator[tuple[int, bytes, str, int]]:
        """Yield ``(id, path, kind, identity)`` of every path."""
        for entry in self.query("SELECT id, path, kind, identity FROM file"):
            if is_path(entry[1]):
                yield entry

    def pairs(self) -> Iterator[Pair]:
        """Yield which application uses which path and how, each pair once."""
        yield from self.query(f"SELECT application_id, file_id, {_USE} FROM access")

    def used_since(
        self, since_ns: int, app: Applications | None = None
    ) -> Iterator[tuple[int, bytes, str, bool, bool, int, int]]:
        """Yield what applications have used at a time or later, for who follows a log that grows.

        Yields ``(id, path, kind, written, mapped, updates, last_ns)``; `updates` are all that there
        ever were.
        """
        chosen = self.ids(self.applications() if app is None else app)
        for number, path, kind, written, mapped, *counts in self.query(
            """SELECT file_id, path, kind, max(write), max(mapped), sum(writes + changes),
                       max(last_ns)
                FROM access JOIN file ON file.id = file_id
                WHERE application_id IN (SELECT value FROM json_each(?1))
                GROUP BY file_id HAVING max(last_ns) >= ?2""",
            (chosen, since_ns),
        ):
            if is_path(path):
                yield number, path, kind, bool(written), bool(mapped), counts[0], counts[1]

    def ids(self, app: Applications) -> str:
        """Return the ids of applications, as a JSON array for a query.

        Raises
        ------
        ValueError
            If an application is not in the log.
        """
        wanted = [app] if isinstance(app, str) else list(app)
        known = {name: number for number, name in self.names().items()}
        for name in wanted:
            if name not in known:
                raise ValueError(f"app: no application {name!r} in the log{hint(name, known)}")
        return json.dumps([known[name] for name in wanted])

    def _updates(
        self, app: Applications, files: FileSet | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
        chosen = self.ids(app)
        files = self.file_set(app) if files is None else files
        if files.path is None:
            raise ValueError("files: got a FileSet without paths, expected one with paths")
        index = {os.fsencode(name): number for number, name in enumerate(files.path)}
        paths = self.paths()
        rows = (
            (bucket, index[paths[file_id]], updates)
            for bucket, file_id, updates in self.query(UPDATES, (chosen,))
            if paths.get(file_id) in index
        )
        table: NDArray[np.int64] = np.fromiter(rows, dtype=np.dtype((np.int64, 3)))
        return table[:, 0], table[:, 1], table[:, 2], len(files.path)

    def __repr__(self) -> str:
        rows = list(self.query(_SUMMARY))
        ((files,),) = self.query("SELECT count(*) FROM file WHERE kind = 'file'")
        state = "complete" if self.complete else "INCOMPLETE"
        return (
            f"<AccessLog '{printable(self.path)}': {len(rows)} applications, {files} files, "
            f"{sum(row[4] for row in rows)} writes, {state}>"
        )

    def _repr_html_(self) -> str:
        heads = ("application", "files", "files written", "opens", "writes", "bytes written")
        rows = [
            "".join(f"<td>{html.escape(printable(str(value)))}</td>" for value in row)
            for row in self.query(_SUMMARY)
        ]
        state = "complete" if self.complete else f"incomplete: {self.incomplete_reason}"
        caption = html.escape(f"{printable(self.path)} ({printable(state)})")
        return (
            f"<table><caption>{caption}</caption><tr>"
            + "".join(f"<th>{head}</th>" for head in heads)
            + "</tr>"
            + "".join(f"<tr>{row}</tr>" for row in rows)
            + "</table>"
        )
