"""Import of ``strace -f -y`` output into the access log.

For what the monitor cannot see: static binaries, and processes that already run (``strace -p``).
One call of the trace is one event; the numbers are strace's own.  Invariants: a trace enters the
log as a whole, in one transaction, and only once; nothing is asked of the file system of the
importing machine, which may have changed since.

**Best**: ``strace -f -y -ttt -o FILE``.  ``-yy``, ``--decode-fds=all`` contain ``-y``.  Without
``-y``, descriptors and working directories are replayed from the calls: what was open before the
trace is unknown, the first directory must be given (`cwd`), and names stand as they were spelled.
Do not filter; if you must, keep ``-e trace=%file,%desc,%process,%memory``.  Without ``%desc``
(``-e trace=file``) no write is in the trace.

**Fine**: ``-ttt`` and ``--absolute-timestamps=unix,…``; ``-tt``, ``-t`` (no date: see `date`); no
time at all; ``-ff`` (give all its files at once); ``-T -n -i -k -v -x -xx -Y -z -C``, ``-X`` of any
kind, ``-s`` of any length, ``-e inject`` and ``-e read``/``write``, ``--decode-pids``, ``-q``,
``-qq``, ``-D``, ``-u``, ``--seccomp-bpf``, ``-o '|COMMAND'``.

**Refused**: a trace with relative times only (``-r``) unless `date` says when
it began, one that is compressed, and text without any system call.

**The log is incomplete, and says why**, if lines cannot be read, calls never returned, a call is
not known, a name is relative to an unknown directory, a descriptor's path is neither shown nor
known, a descriptor is opened that was open (a filter has left out the calls between), processes
were started and not followed; after io_uring, a mount, another mount namespace, ``-b execve``; and
where a changed name passes through something that may be a symbolic link and no path of the trace
tells: such a name stands as it was spelled.

**Sizes**, births, deaths and new names are followed as far as calls show them; what is known of a
size only from the offsets of reads and writes is counted (`precopy.access.strace.sizes`).

**Not in a trace**: stores into mapped memory, the interpreter that a script names (the kernel opens
it), changes that others made meanwhile, whether two names are one file (unless one was linked to
the other in the trace), whether an open with ``O_CREAT|O_TRUNC`` made its file or emptied it
(unless the trace shows that there was none: it counts as a change).  A name that is only looked at
stands as it was spelled.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from precopy._text import printable
from precopy.access import schema
from precopy.access.imports.importing import bucket_ns
from precopy.access.imports.lines import Progress
from precopy.access.imports.spool import Spool
from precopy.access.ownership import resolve
from precopy.access.strace import calls, harmless
from precopy.access.strace.lines import Parser, TraceError
from precopy.access.strace.replay import Replay
from precopy.access.strace.source import Input, Source, parse_start


@dataclass(frozen=True)
class ImportSummary:
    """What an import added to the log.

    Attributes
    ----------
    lines, calls : int
        Lines read, and completed system calls among them.
    files : int
        Distinct files that were read, written or mapped.
    opens, writes, bytes_written : int
        Successful opens, write calls, and the bytes these wrote.
    unresolved : int
        Calls that named a file relative to an unknown working directory, and were left out.
    unreadable : int
        Lines that could not be read.
    reasons : tuple of str
        Why the log is incomplete because of this trace; empty if it is not.
    sizes_at_least, sizes_unknown : int
        Written files whose size the trace shows only to be at least so large, or not at all.
    """

    lines: int
    calls: int
    files: int
    opens: int
    writes: int
    bytes_written: int
    unresolved: int
    unreadable: int = 0
    reasons: tuple[str, ...] = ()
    sizes_at_least: int = 0
    sizes_unknown: int = 0


def import_strace(
    path_or_lines: Input,
    log: str | os.PathLike[str],
    app: str,
    *,
    cwd: str | os.PathLike[str] | None = None,
    date: str | datetime | None = None,
    progress: Progress | None = None,
) -> ImportSummary:
    """Add the file accesses of a ``strace -f -y`` trace to an access log.

    Parameters
    ----------
    path_or_lines : path, iterable of str or bytes, or iterable of paths (PathLike)
        The trace: its file, its lines, or the files of ``strace -ff``, which are put together by
        their times.  Which flags of strace are needed, fine or refused stands in
        `precopy.access.strace.importing`.
    log : path
        The access log; made if it does not exist.
    app : str
        Name of the application that the traced processes belong to.
    cwd : path, optional
        Working directory at the start, for calls such as ``rename("a", "b")``.  Needed only if
        the trace does not show it: every ``AT_FDCWD</path>`` does.
    date : str or datetime, optional
        For times without a date (``-tt``, ``-t``): the day of the first line, ``YYYY-MM-DD``.
        Without it, they are taken as local time, the last of them on the day the trace's file was
        last written (given lines: today).  For relative times (``-r``), ``YYYY-MM-DDTHH:MM:SS`` of
        the first line; they are refused without it.  Without any times in the trace every access
        is dated to the moment of the import.
    progress : callable, optional
        Called now and then with the bytes read, and with all there are (None: unknown).

    Returns
    -------
    ImportSummary
        What was added.

    Raises
    ------
    ValueError
        If the trace has no system call in it, has relative times and no `date`, or is in the log
        under this name already; or if `app` is empty.  Nothing is added to the log then.

    Notes
    -----
    What could not be read or cannot be known makes the log incomplete, and the log says what it
    is.  The same text is refused when it comes a second time under the same name; a part of it, or
    the same run traced twice, would count double.

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
    schema.check_application(app)
    source = Source(path_or_lines, parse_start(date) if isinstance(date, str) else date, progress)
    path = resolve(Path(log))
    try:
        # The log is not locked while a long trace is read: somebody may be recording into it.
        # Nor is it made before: where there was none, a trace that is refused leaves none.
        with closing(Spool(bucket_ns(path))) as spool:
            trace, parser = _replay(source, spool, cwd)
            reasons = _reasons(trace, parser, source)
            with closing(schema.connect(path)) as connection:
                _add(connection, trace, source, app, reasons)
    except TraceError as error:
        raise ValueError(f"path_or_lines: {error}") from None
    accesses = trace.files.values()
    written = [
        path
        for path, access in trace.files.items()
        if (access.writes or access.changes) and trace.kind(path) == "file"
    ]
    return ImportSummary(
        lines=source.lines,
        calls=trace.calls,
        files=sum(
            bool(access.read or access.write or access.mapped) and trace.kind(path) == "file"
            for path, access in trace.files.items()
        ),
        opens=sum(access.opens for access in accesses),
        writes=sum(access.writes for access in accesses),
        bytes_written=sum(access.bytes_written for access in accesses),
        unresolved=trace.unresolved,
        unreadable=parser.damaged,
        reasons=tuple(reasons),
        sizes_at_least=sum(path in trace.sizes.least for path in written),
        sizes_unknown=sum(not trace.sizes.known(path) for path in written),
    )


def _add(
    connection: sqlite3.Connection,
    trace: Replay,
    source: Source,
    app: str,
    reasons: list[str],
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if schema.get_meta(connection, "bucket_ns") != trace.spool.bucket_ns:
            raise ValueError("log: it was replaced while the trace was read; import it again")
        _claim(connection, source, app)
        _store(connection, trace, app)
        for reason in reasons:
            schema.mark_incomplete(connection, f"{source.label}: {reason}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _replay(
    source: Source, spool: Spool, cwd: str | os.PathLike[str] | None
) -> tuple[Replay, Parser]:
    trace = Replay(
        calls.HANDLERS,
        harmless.harmless,
        spool,
        os.fsencode(os.path.abspath(cwd)) if cwd is not None else None,
    )
    clock = source.clock()
    parser = Parser(clock, harmless.matters)
    number, line = 0, b""
    try:
        for owner, line in source.read(clock):
            number += 1
            for event in parser.read(number, line, owner):
                trace.take(event, parser)
    except TraceError as error:
        raise TraceError(f"line {max(number, 1)}: {error}") from None
    if source.cut_off and parser.last_damaged != number:
        parser.damage(number, line)
    parser.finish()
    for event in trace.processes.finish():
        trace.take(event, parser)
    if not trace.calls:
        raise TraceError("no system call in it; expected the output of strace -f -y")
    trace.finish()
    return trace, parser


def _reasons(trace: Replay, parser: Parser, source: Source) -> list[str]:
    """Return why the log is incomplete with this trace in it."""
    reasons = []
    if parser.first_damaged is not None:
        number, text = parser.first_damaged
        reasons.append(
            f"{parser.damaged} lines could not be read (first: line {number}: {printable(text)})"
        )
    if parser.cut_short:
        names = ", ".join(sorted({name.decode("ascii", "replace") for name in parser.cut_short}))
        reasons.append(f"{len(parser.cut_short)} calls never returned ({names})")
    if trace.unresolved:
        reasons.append(f"{trace.unresolved} calls in an unknown directory")
    if trace.unknown_descriptors:
        reasons.append(
            f"{trace.unknown_descriptors} calls on a descriptor without its path (use strace -y)"
        )
    if trace.missing and not trace.on_descriptors:
        reasons.append(
            f"line {trace.missing} opens a descriptor that was open: calls are missing, as after "
            "strace -e trace=file"
        )
    if trace.unknown_calls:
        names = ", ".join(sorted(name.decode("ascii", "replace") for name in trace.unknown_calls))
        reasons.append(f"{trace.unknown_calls.total()} calls that are not known ({names})")
    if trace.doubts:
        first = printable(min(trace.doubts))
        reasons.append(
            f"names pass through {len(trace.doubts)} places that may be symbolic links, and stand "
            f"as they were spelled (first: {first})"
        )
    if trace.guessed:
        first = printable(min(trace.guessed))
        reasons.append(
            f"{len(trace.guessed)} links are guessed from where they led (first: {first})"
        )
    for call, number in trace.blind.items():
        reasons.append(f"files may be missing or have other names after {call} (line {number})")
    if parser.left_at:
        reasons.append(f"strace did not follow the program that was run in line {parser.left_at}")
    if trace.started and not parser.pids and not source.separate:
        reasons.append(f"{trace.started} processes were started and not followed (strace -f)")
    return reasons


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
            # A trace does not show the start time, which the log keeps in ticks since boot: a
            # number that tells apart the programs that one process id stood for.
            (application, pid, times_used, span.command, span.first_ns, span.last_ns)
            for (pid, times_used), span in trace.spans.items()
        ),
    )
    schema.describe_files(
        connection,
        (
            (ids[path], trace.kind(path), trace.identities.get(path, 0), access.last_ns)
            for path, access in trace.files.items()
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
                int(access.looked),
                int(access.listed),
                int(access.loaded),
                access.writes,
                access.bytes_written,
                access.changes,
                access.first_ns,
                access.last_ns,
            )
            for path, access in trace.files.items()
        ),
    )
    trace.spool.store(connection, application)
