"""Import of ``strace -f -y`` output into the access log.

For what the monitor cannot see: static binaries, and processes that already run (``strace -p``).
One call of the trace is one event; the numbers are strace's own.  Invariant: a trace enters the
log as a whole, in one transaction, and only once.

The trace should be made with ``strace -f -y -ttt -o FILE`` (``-y`` shows the path behind each
descriptor and is required; ``-tt`` or no time at all also work).  io_uring and stores into mapped
memory are not system calls, so no trace shows them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from precopy.access import schema
from precopy.access.tracelines import Call, Source, TraceError, parse_calls


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


@dataclass
class _Access:
    """Sums for one file, in the columns of the log's table ``access``."""

    opens: int = 0
    read: int = 0
    write: int = 0
    mapped: int = 0
    writes: int = 0
    bytes_written: int = 0
    changes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    buckets: dict[int, list[int]] = field(default_factory=dict)


class _Trace:
    """Replays the calls of one trace: who is where, and what happened to which file."""

    def __init__(self, bucket_ns: int, cwd: bytes | None) -> None:
        self.bucket_ns = bucket_ns
        self.cwd = cwd
        self.files: dict[bytes, _Access] = {}
        self.processes: dict[int, list[int]] = {}
        self.commands: dict[int, bytes] = {}
        self.calls = 0
        self.unresolved = 0
        self._where: dict[int, list[bytes | None]] = {}  # shared by the threads of a process
        self._parents: dict[bytes, bytes] = {}
        self._directories: set[bytes] = set()

    def replay(self, call: Call) -> None:
        """Account for one completed call."""
        self.calls += 1
        span = self.processes.setdefault(call.pid, [call.time_ns, call.time_ns])
        span[1] = max(span[1], call.time_ns)
        if call.directory is not None:
            self._cell(call)[0] = call.directory
        handler = _HANDLERS.get(call.name)
        if handler is not None and call.succeeded:
            handler(self, call)

    def touch(
        self,
        path: bytes | None,
        call: Call,
        *,
        opens: int = 0,
        read: bool = False,
        write: bool = False,
        mapped: bool = False,
        writes: int = 0,
        written: int = 0,
        changes: int = 0,
    ) -> None:
        """Add one event to a file; pipes, sockets and other things without a path are ignored."""
        if path is None or not path.startswith(b"/"):
            return
        access = self.files.get(path) or self._meet(path, call.time_ns)
        access.opens += opens
        access.read |= read
        access.write |= write
        access.mapped |= mapped
        access.writes += writes
        access.bytes_written += written
        access.changes += changes
        access.first_ns = min(access.first_ns, call.time_ns)
        access.last_ns = max(access.last_ns, call.time_ns)
        if writes or changes:
            bucket = access.buckets.setdefault(call.time_ns // self.bucket_ns, [0, 0, 0])
            bucket[0] += writes
            bucket[1] += written
            bucket[2] += changes

    def _meet(self, path: bytes, time_ns: int) -> _Access:
        access = self.files[path] = _Access(first_ns=time_ns, last_ns=time_ns)
        directory = os.path.dirname(path)
        while directory not in self._directories:
            self._directories.add(directory)
            directory = os.path.dirname(directory)
        return access

    def rename(self, call: Call, old: bytes | None, new: bytes | None) -> None:
        """Give a file a new name, or all that are known below a directory."""
        names = [(old, new)]
        if old is not None and new is not None and old in self._directories:
            below = [path for path in self.files if path.startswith(old + b"/")]
            names = [(path, new + path[len(old) :]) for path in below]
        for pair in names:
            for path in pair:
                self.touch(path, call, write=True, changes=1)

    def resolve(
        self, call: Call, path: int, directory: int | None = None, *, needed: bool = True
    ) -> bytes | None:
        """Return the absolute path that an argument names, or None if it cannot be known."""
        name = call.string(path)
        if name is None:
            return None
        if not name.startswith(b"/"):
            base = self._cell(call)[0] if directory is None else call.path(directory)
            if base is None:
                self.unresolved += needed
                return None
            name = os.path.join(base, name)
        name = os.path.normpath(name)
        parent, last = os.path.split(name)
        if parent not in self._parents:
            # The trace shows real paths for descriptors; names in calls may pass through links.
            self._parents[parent] = os.path.realpath(parent)
        return os.path.join(self._parents[parent], last)

    def move_to(self, call: Call, directory: bytes | None) -> None:
        """Note a process's new working directory."""
        self._cell(call)[0] = directory

    def start(self, call: Call) -> None:
        """Let a new process or thread begin where its parent is."""
        cell = self._cell(call)
        if any(b"CLONE_FS" in argument for argument in call.arguments):
            self._where[call.value] = cell
        else:
            self._where.setdefault(call.value, list(cell))

    def _cell(self, call: Call) -> list[bytes | None]:
        if call.pid not in self._where:
            # A child's first line may stand before its parent's clone has returned.
            parent = self._where.get(call.parent) if call.parent is not None else None
            self._where[call.pid] = list(parent) if parent else [self.cwd]
        return self._where[call.pid]


def _open(path_argument: int | None, flags_argument: int | None) -> Callable[[_Trace, Call], None]:
    def handle(trace: _Trace, call: Call) -> None:
        flags = b"O_WRONLY|O_CREAT|O_TRUNC"
        if flags_argument is not None:
            flags = call.arguments[flags_argument]
        if b"O_DIRECTORY" in flags or b"O_PATH" in flags or b"O_TMPFILE" in flags:
            return
        path = call.value_path
        if path is None:
            raise TraceError(f"line {call.line}: no path behind the descriptor; run strace with -y")
        both = b"O_RDWR" in flags
        write = both or b"O_WRONLY" in flags
        truncated = b"O_TRUNC" in flags
        trace.touch(
            path,
            call,
            opens=1,
            read=both or not write,
            write=write or truncated,
            changes=truncated,
        )

    return handle


def _write(descriptor: int) -> Callable[[_Trace, Call], None]:
    def handle(trace: _Trace, call: Call) -> None:
        if call.value > 0:  # copy_file_range and sendfile say with 0 that the source has ended
            trace.touch(call.path(descriptor), call, write=True, writes=1, written=call.value)

    return handle


def _change(path: int, directory: int | None = None) -> Callable[[_Trace, Call], None]:
    """Handle what replaces, removes, makes or resizes the file that the arguments name."""

    def handle(trace: _Trace, call: Call) -> None:
        if not any(b"AT_REMOVEDIR" in argument for argument in call.arguments):
            trace.touch(trace.resolve(call, path, directory), call, write=True, changes=1)

    return handle


def _rename(old: int, new: int) -> Callable[[_Trace, Call], None]:
    def handle(trace: _Trace, call: Call) -> None:
        directories = (old - 1, new - 1) if old == 1 else (None, None)
        trace.rename(
            call,
            trace.resolve(call, old, directories[0]),
            trace.resolve(call, new, directories[1]),
        )

    return handle


def _resize(trace: _Trace, call: Call) -> None:
    trace.touch(call.path(0), call, write=True, changes=1)


def _clone_file(trace: _Trace, call: Call) -> None:
    if any(request in call.arguments[1] for request in (b"FICLONE", b"FIDEDUPERANGE")):
        trace.touch(call.path(0), call, write=True, changes=1)


def _map(trace: _Trace, call: Call) -> None:
    if b"MAP_SHARED" in call.arguments[3] and b"PROT_WRITE" in call.arguments[2]:
        trace.touch(call.path(4), call, write=True, mapped=True)


def _chdir(trace: _Trace, call: Call) -> None:
    trace.move_to(call, trace.resolve(call, 0))


def _fchdir(trace: _Trace, call: Call) -> None:
    trace.move_to(call, call.path(0))


def _exec(trace: _Trace, call: Call) -> None:
    named_by = (0, None) if call.name == b"execve" else (1, 0)
    program = trace.resolve(call, *named_by, needed=False)
    if program:
        trace.commands[call.pid] = program


_HANDLERS: dict[bytes, Callable[[_Trace, Call], None]] = {
    b"open": _open(0, 1),
    b"openat": _open(1, 2),
    b"openat2": _open(1, 2),
    b"open_by_handle_at": _open(None, 2),
    b"creat": _open(0, None),
    b"write": _write(0),
    b"pwrite64": _write(0),
    b"writev": _write(0),
    b"pwritev": _write(0),
    b"pwritev2": _write(0),
    b"sendfile": _write(0),
    b"sendfile64": _write(0),
    b"splice": _write(2),
    b"copy_file_range": _write(2),
    b"ftruncate": _resize,
    b"ftruncate64": _resize,
    b"fallocate": _resize,
    b"truncate": _change(0),
    b"truncate64": _change(0),
    b"rename": _rename(0, 1),
    b"renameat": _rename(1, 3),
    b"renameat2": _rename(1, 3),
    b"unlink": _change(0),
    b"unlinkat": _change(1, 0),
    b"link": _change(1),
    b"linkat": _change(3, 2),
    b"symlink": _change(1),
    b"symlinkat": _change(2, 1),
    b"ioctl": _clone_file,
    b"mmap": _map,
    b"mmap2": _map,
    b"chdir": _chdir,
    b"fchdir": _fchdir,
    b"execve": _exec,
    b"execveat": _exec,
    b"fork": _Trace.start,
    b"vfork": _Trace.start,
    b"clone": _Trace.start,
    b"clone3": _Trace.start,
}


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
) -> _Trace:
    trace = _Trace(
        int(bucket_ns or schema.BUCKET_NS),
        os.fsencode(os.path.abspath(cwd)) if cwd is not None else None,
    )
    for call in parse_calls(source, source.clock()):
        trace.replay(call)
    if not trace.calls:
        raise TraceError("no system call in it; expected the output of strace -f -y")
    return trace


def _claim(connection: sqlite3.Connection, source: Source, app: str) -> None:
    """Note the trace in the log, so that the same one is not counted twice."""
    name = f"{source.name} {app}"
    if connection.execute("SELECT 1 FROM ingested WHERE source = ?", (name,)).fetchone():
        raise TraceError(f"this trace is already in the log as {app!r}")
    connection.execute("INSERT INTO ingested VALUES (?, ?)", (name, source.bytes))


def _store(connection: sqlite3.Connection, trace: _Trace, app: str) -> None:
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
