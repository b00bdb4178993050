"""Import of ``strace -f -y`` output into the access log.

For what the monitor cannot see: static binaries, and processes that already run (``strace -p``).
One call of the trace is one event; the numbers are strace's own.  Invariant: a trace enters the
log as a whole, in one transaction, and only once.

The trace should be made with ``strace -f -y -ttt -o FILE``.  ``-y`` shows the path behind each
descriptor and is required; ``-tt`` or no time at all also work; ``-ff`` makes a file per process,
to be imported one by one.  io_uring and stores into mapped memory are not system calls, so no
trace shows them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from precopy.access import schema
from precopy.access.strace.lines import Source, TraceError, parse_calls
from precopy.access.strace.replay import Replay


@dataclass(frozen=True)
class ImportSummary:
    """What an import added to the log.

    Attributes
    ----------
    lines, calls : int
        Lines read, and completed system calls among them.
    files : int
        Distinct files that were accessed.
    opens, writes, bytes_written : int
        Successful opens, write calls, and the bytes these wrote.
    unresolved : int
        Calls that named a file relative to an unknown working directory, and were left out.
    """

    lines: int
    calls: int
    files: int
    opens: int
    writes: int
    bytes_written: int
    unresolved: int


def import_strace(
    path_or_lines: str | os.PathLike[str] | Iterable[str | bytes],
    log: str | os.PathLike[str],
    app: str,
    *,
    cwd: str | os.PathLike[str] | None = None,
) -> ImportSummary:
    """Add the file accesses of a ``strace -f -y`` trace to an access log.

    Parameters
    ----------
    path_or_lines : path, or iterable of str or bytes
        The trace.  Times from ``-ttt`` are used as they are; those from ``-tt`` or ``-t`` are
        taken as local time on the day the file was last written (given lines: today).  Without
        times every access is dated to the moment of the import.
    log : path
        The access log; made if it does not exist.
    app : str
        Name of the application that the traced processes belong to.
    cwd : path, optional
        Working directory at the start, for calls such as ``rename("a", "b")``.  Needed only if
        the trace does not show it: every ``AT_FDCWD</path>`` does.

    Returns
    -------
    ImportSummary
        What was added.

    Raises
    ------
    ValueError
        If the trace has no system call in it, was made without ``-y``, or is in the log under
        this name already; or if `app` is empty.  Nothing is added to the log then.

    Notes
    -----
    A file named relative to an unknown working directory cannot be recorded; the log is then
    marked incomplete.

    Examples
    --------
    >>> import os, tempfile
    >>> trace = ['7 1.5 creat("/srv/a", 0666) = 3</srv/a>',
    ...          '7 1.6 write(3</srv/a>, "hello", 5 <unfinished ...>',
    ...          '7 1.7 <... write resumed>) = 5']
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     summary = import_strace(trace, os.path.join(directory, "access.db"), app="writer")
    >>> summary.opens, summary.writes, summary.bytes_written
    (1, 1, 5)
    """
    if not isinstance(app, str):
        raise TypeError(f"app: got {app!r}, expected a string")
    if not app:
        raise ValueError("app: got an empty name, expected the application's name")
    source = Source(path_or_lines)
    connection = schema.connect(Path(log))
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            trace = _replay(source, schema.get_meta(connection, "bucket_ns"), cwd)
            _claim(connection, source, app)
            _store(connection, trace, app)
            if trace.unresolved:
                reason = f"{source.name}: {trace.unresolved} calls in an unknown directory"
                schema.mark_incomplete(connection, reason)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except TraceError as error:
        raise ValueError(f"path_or_lines: {error}") from None
    finally:
        connection.close()
    accesses = trace.files.values()
    return ImportSummary(
        lines=source.lines,
        calls=trace.calls,
        files=len(trace.files),
        opens=sum(access.opens for access in accesses),
        writes=sum(access.writes for access in accesses),
        bytes_written=sum(access.bytes_written for access in accesses),
        unresolved=trace.unresolved,
    )


def _replay(
    source: Source, bucket_ns: int | str | None, cwd: str | os.PathLike[str] | None
) -> Replay:
    trace = Replay(
        int(bucket_ns or schema.BUCKET_NS),
        os.fsencode(os.path.abspath(cwd)) if cwd is not None else None,
    )
    for call in parse_calls(source, source.clock()):
        trace.take(call)
    trace.finish()
    if not trace.calls:
        raise TraceError("no system call in it; expected the output of strace -f -y")
    return trace


def _claim(connection: sqlite3.Connection, source: Source, app: str) -> None:
    """Note the trace in the log, so that the same one is not counted twice."""
    name = f"{source.name} {app}"
    if connection.execute("SELECT 1 FROM ingested WHERE source = ?", (name,)).fetchone():
        raise TraceError(f"this trace is already in the log as {app!r}")
    connection.execute("INSERT INTO ingested VALUES (?, ?)", (name, source.bytes))


def _store(connection: sqlite3.Connection, trace: Replay, app: str) -> None:
    application = schema.application_id(connection, app)
    ids = dict(zip(trace.files, schema.file_ids(connection, list(trace.files)), strict=True))
    schema.add_processes(
        connection,
        (
            # A trace does not show the start time, which the log keeps in ticks since boot: 0.
            (application, pid, 0, trace.commands.get(pid, b""), first_ns, last_ns)
            for pid, (first_ns, last_ns) in trace.processes.items()
        ),
    )
    schema.add_accesses(
        connection,
        (
            (
                application,
                ids[path],
                access.opens,
                int(access.read),
                int(access.write),
                int(access.mapped),
                0,
                0,
                0,
                access.writes,
                access.bytes_written,
                access.changes,
                access.first_ns,
                access.last_ns,
            )
            for path, access in trace.files.items()
        ),
    )
    schema.add_write_buckets(
        connection,
        (
            (ids[path], application, bucket, writes, bytes_written, changes)
            for path, access in trace.files.items()
            for bucket, (writes, bytes_written, changes) in access.buckets.items()
        ),
    )
