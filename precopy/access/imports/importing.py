"""Import of other programs' traces into the access log.

Invariants: a trace enters the log as a whole, in one transaction, and only once; while it is read
the log is not locked, and memory does not grow with it.  A line that cannot be what its format says
ends the import with its number, and nothing is added.  Nothing is asked of this machine's files.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from precopy.access import schema
from precopy.access.imports import block, fio, table
from precopy.access.imports.devices import EXTENT_BYTES
from precopy.access.imports.events import MOST, Event, Refused, Useless
from precopy.access.imports.files import Files
from precopy.access.imports.lines import Input, Lines, Progress
from precopy.access.imports.options import Options
from precopy.access.imports.spool import Spool
from precopy.access.ownership import resolve

Reader = Callable[[Lines, Options, Counter[str]], Iterator[Event]]

FORMATS: dict[str, Reader] = {
    "csv": table.read,
    "msr": block.msr,
    "fio": fio.fio,
    "vscsi": block.vscsi,
    "blkparse": block.blkparse,
}
"""Formats that `import_trace` reads."""

_ORDERED = ("csv", "fio")
"""Formats of files, which are born, grow and are renamed: their order tells."""


@dataclass(frozen=True)
class TraceSummary:
    """What an import added to the log.

    Attributes
    ----------
    lines : int
        Lines read.
    files : int
        Files, or extents of devices.
    writes, bytes_written : int
        Writes of files, and their bytes; a request that reaches over two extents writes both.
    sizes_at_least : int
        Files whose size is known only to be at least the largest end that was read or written.
    left_out : mapping of str to int
        Requests that are not in the log, by reason.
    """

    lines: int
    files: int
    writes: int
    bytes_written: int
    sizes_at_least: int
    left_out: Mapping[str, int] = field(default_factory=dict)


def import_trace(
    trace: Input,
    log: str | os.PathLike[str],
    app: str,
    format: str,
    *,
    columns: Mapping[str, str] | None = None,
    header: bool | None = None,
    unit: str = "s",
    delimiter: str = ",",
    extent_bytes: int = EXTENT_BYTES,
    device: str | None = None,
    action: str = "C",
    date: str | datetime | None = None,
    progress: Progress | None = None,
) -> TraceSummary:
    """Add a trace of another program to an access log.

    Parameters
    ----------
    trace : path, binary file or iterable of lines (str or bytes)
        The trace, as plain text.
    log : path
        The access log; made if it does not exist.
    app : str
        What to call the application that the trace is of.
    format : {"csv", "msr", "fio", "vscsi", "blkparse"}
        What the trace is: see `precopy.access.imports.table`, `~precopy.access.imports.block` and
        `~precopy.access.imports.fio`; for strace's output, `precopy.access.import_strace`.
    columns : mapping, optional
        csv: which column holds ``time``, ``path``, ``op``, ``offset``, ``size``, ``to``: its name
        in the header, or its number from 1.
    header : bool, optional
        csv: whether the first line is one; by default, if it names the columns of time and path.
    unit : {"s", "ms", "us", "ns", "filetime", "iso"}
        csv: the unit of time.
    delimiter : str
        csv: the letter between columns.
    extent_bytes : int
        Devices: bytes of the extents that stand for files, at least 512.
    device : str, optional
        msr, blkparse: only this device (``hm_1``; ``8,0``); vscsi: what to call the device.
    action : {"C", "D"}
        blkparse: which event of a request counts, its completion or its issue.
    date : str or datetime, optional
        When the trace began, where its times count from there (csv with units, fio, vscsi,
        blkparse): ``YYYY-MM-DD[THH:MM:SS]``; by default 1970-01-01 in UTC.
    progress : callable, optional
        Called now and then with the bytes read, and with all there are (None: unknown).

    Returns
    -------
    TraceSummary
        What was added.

    Raises
    ------
    ValueError
        If a line is not what the format says (with its number), if there is none, if an argument
        is unknown, or if the trace is in the log under this name already.  Nothing is added then.
    OSError
        If the trace cannot be read, or the disk is full.

    Examples
    --------
    >>> import os, tempfile
    >>> trace = ["time,path,op,offset,size", "0.5,/srv/a,create,,", "1.5,/srv/a,write,0,4096"]
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     summary = import_trace(trace, os.path.join(directory, "access.db"), "app", "csv")
    >>> summary.files, summary.writes, summary.bytes_written
    (1, 1, 4096)
    """
    schema.check_application(app)
    if format not in FORMATS:
        raise ValueError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}")
    options = Options(
        columns=dict(columns or {}),
        header=header,
        unit=unit,
        delimiter=delimiter.encode(),
        extent_bytes=extent_bytes,
        device=device,
        action=action,
        start_ns=_start_ns(date),
    )
    _check(options)
    path = resolve(Path(log))
    lines = Lines(trace, progress)
    left_out: Counter[str] = Counter()
    try:
        with closing(Spool(bucket_ns(path))) as spool:
            take_all(format, lines, options, spool, left_out)
            name = f"{format} {lines.digest} {app}"
            with closing(schema.connect(path)) as connection:
                _add(connection, spool, app, name, lines, left_out)
            files, at_least, writes, written = spool.totals()
    except Refused as error:
        where = "" if isinstance(error, Useless) else f", line {max(lines.number, 1)}"
        raise ValueError(f"trace: {lines.label}{where}: {error}") from None
    except sqlite3.OperationalError as error:
        raise OSError(f"log: cannot write {str(path)!r}: {error}") from error
    return TraceSummary(lines.number, files, writes, written, at_least, dict(left_out))


def take_all(
    format: str, lines: Lines, options: Options, spool: Spool, left_out: Counter[str]
) -> None:
    """Read a trace into a spool."""
    files = Files(spool, constant=format == "fio")
    before = 0
    for event in FORMATS[format](lines, options, left_out):
        if event.time_ns < before and format in _ORDERED:
            raise Refused(
                f"time: goes back by {(before - event.time_ns) / 1e9:g} s, expected lines in the "
                "order of their times"
            )
        before = event.time_ns
        if before > MOST:
            raise Refused(f"time: got {before} ns, expected at most {MOST}")
        files.take(event)
    if not files.events:
        raise Useless("no read or write in it")
    files.finish()


def bucket_ns(path: Path) -> int:
    """Return the width of a log's time buckets; refuse a log that could not be written."""
    if not path.exists() or path.stat().st_size == 0:
        if not path.parent.is_dir():
            raise NotADirectoryError(f"log: {str(path.parent)!r} is no directory")
        return schema.BUCKET_NS
    with closing(schema.connect(path)) as connection:
        return int(schema.get_meta(connection, "bucket_ns") or schema.BUCKET_NS)


def _add(
    connection: sqlite3.Connection,
    spool: Spool,
    app: str,
    name: str,
    lines: Lines,
    left_out: Mapping[str, int],
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if schema.get_meta(connection, "bucket_ns") != spool.bucket_ns:
            raise ValueError("log: it was replaced while the trace was read; import it again")
        if connection.execute("SELECT 1 FROM ingested WHERE source = ?", (name,)).fetchone():
            raise ValueError(f"trace: {lines.label} is already in the log as {app!r}")
        connection.execute("INSERT INTO ingested VALUES (?, ?)", (name, lines.bytes))
        spool.store(connection, schema.application_id(connection, app))
        schema.set_meta(connection, "imported", 1)
        for reason, count in left_out.items():
            if not reason.startswith(("flushes", "requests of other", "requests that failed")):
                schema.mark_incomplete(connection, f"{lines.label}: {count} {reason} left out")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _start_ns(date: str | datetime | None) -> int:
    if date is None:
        return 0
    if isinstance(date, str):
        try:
            date = datetime.fromisoformat(date)
        except ValueError:
            raise ValueError(
                f"date: got {date!r}, expected YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS"
            ) from None
    seconds = date.replace(microsecond=0).timestamp()
    start_ns = int(seconds) * 1_000_000_000 + date.microsecond * 1000
    if start_ns < 0:
        raise ValueError(f"date: got {date.isoformat()}, expected 1970 or later")
    return start_ns


def _check(options: Options) -> None:
    table.check_columns(options.columns)
    if options.unit not in table.UNITS:
        expected = ", ".join(table.UNITS)
        raise ValueError(f"unit: got {options.unit!r}, expected one of {expected}")
    if len(options.delimiter) != 1 or options.delimiter in b'"\r\n':
        raise ValueError(
            f"delimiter: got {options.delimiter.decode()!r}, expected one letter of ASCII"
        )
    if options.action not in ("C", "D"):
        raise ValueError(f"action: got {options.action!r}, expected C or D")
    if not 512 <= options.extent_bytes <= 1 << 40:
        raise ValueError(
            f"extent_bytes: got {options.extent_bytes}, expected 512 to {1 << 40} bytes"
        )
    if options.device is not None and ("/" in options.device or not options.device.strip(".")):
        raise ValueError(f"device: got {options.device!r}, expected a name without '/'")
