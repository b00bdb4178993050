"""The commands that record, import and identify: ``record``, ``track``, ``mark`` and others.

`add_commands` registers them with a parser; each parsed command carries a function ``run(args)``
that returns the exit status.  Invariant: standard output is the command's answer and nothing
else; progress and warnings go to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from precopy._text import printable, printable_lines
from precopy.access.exclude import DEFAULT_EXCLUDED

if TYPE_CHECKING:
    from precopy.access.identify import Identification

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULT_LOG = "access.db"


def add_commands(subparsers: Subparsers) -> None:
    """Add the commands of the identification step to a parser.

    Parameters
    ----------
    subparsers : argparse sub-parsers action
        What ``ArgumentParser.add_subparsers()`` returned.

    Examples
    --------
    >>> import argparse
    >>> parser = argparse.ArgumentParser(prog="precopy")
    >>> add_commands(parser.add_subparsers())
    >>> args = parser.parse_args(["identify", "redis", "--share", "any"])
    >>> args.targets, args.share, args.log
    (['redis'], 'any', 'access.db')
    """
    _add_record(subparsers)
    _add_track(subparsers)
    _add_mark(subparsers)
    _add_identify(subparsers)
    _add_import(subparsers)
    _add_import_strace(subparsers)
    _add_character(subparsers)


def _parser(subparsers: Subparsers, name: str, summary: str, text: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {text}",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--log",
        default=DEFAULT_LOG,
        metavar="FILE",
        help="the access log, an SQLite file (default: %(default)s)",
    )
    return parser


def _add_record(subparsers: Subparsers) -> None:
    parser = _parser(
        subparsers,
        "record",
        "run a command and record which files it uses",
        "The access monitor is loaded into COMMAND and everything it starts, and a tracker keeps "
        "what it reports in the log; ends when all processes have ended, with COMMAND's exit "
        "status. Several recordings may share a log. Static binaries are not seen: trace them "
        "with strace and use 'precopy import-strace'.",
    )
    parser.add_argument(
        "--app", required=True, metavar="NAME", help="what to call the application in the log"
    )
    parser.add_argument(
        "--history",
        type=_positive,
        metavar="SECONDS",
        help="keep the times of writes for the last so many seconds only (default: all); the "
        "counts are kept for good",
    )
    parser.add_argument("program", metavar="COMMAND", help="what to run")
    arguments = parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="…", help="and its arguments"
    )
    arguments.required = False  # or it is asked for where COMMAND is missing
    parser.set_defaults(run=_record)


def _add_track(subparsers: Subparsers) -> None:
    parser = _parser(
        subparsers,
        "track",
        "keep the access log of several applications",
        "Runs a tracker on its own until it is interrupted (Ctrl-C, SIGTERM). Prints with which "
        "environment to start applications, services for example, under the monitor.",
    )
    parser.set_defaults(run=_track)


def _add_mark(subparsers: Subparsers) -> None:
    parser = _parser(
        subparsers,
        "mark",
        "give this moment a name in the log",
        "A window of a recording can begin or end there, such as when an initial load is over: "
        "AccessLog.recorded(…, since=NAME). A name that is given again moves.",
    )
    parser.add_argument("name", metavar="NAME", help="what to call it, such as ready")
    parser.set_defaults(run=_mark)


def _add_identify(subparsers: Subparsers) -> None:
    parser = _parser(
        subparsers,
        "identify",
        "say which applications and files must move together",
        "All files of an application that moves move with it, and a common file brings in the "
        "other applications that use it, as --share says. Files that the operating system "
        "provides stay; --exclude lists more, --list-excluded prints the list.",
    )
    parser.add_argument(
        "targets", nargs="*", metavar="NAME|PATH", help="what has to move: applications, files"
    )
    parser.add_argument(
        "--share",
        choices=("written", "any"),
        default="written",
        help="which common files tie applications together: those that one of them writes "
        "(default), or any",
    )
    parser.add_argument(
        "--format",
        choices=("table", "json", "paths"),
        default="table",
        help="how to print the answer: a table; JSON, where bytes that are not UTF-8 appear as "
        "\\udc80…\\udcff (Python's surrogateescape); or one path per line: files, links, programs, "
        "and those directories that 'tar -T' may walk into, since all in them is in the list",
    )
    parser.add_argument(
        "--null", "-0", action="store_true", help="with --format paths: end each with a NUL"
    )
    parser.add_argument(
        "--directories",
        action="store_true",
        help="with --format paths: all directories that the copy needs, for their modes and "
        "owners; give it to 'rsync -a --files-from' or to 'tar --no-recursion -T', not to others",
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="DIR moves with everything below it, used while recording or not (repeatable)",
    )
    parser.add_argument(
        "--existing", action="store_true", help="leave out files that do not exist any more"
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATH",
        help="PATH and what is below it stays; '!PATH' takes it off the list (repeatable)",
    )
    parser.add_argument(
        "--no-default-excluded", action="store_true", help="begin with an empty list of exclusions"
    )
    parser.add_argument("--list-excluded", action="store_true", help="print the exclusions and end")
    parser.add_argument(
        "--explain", metavar="PATH", help="print only why PATH (or an application) is in"
    )
    parser.add_argument(
        "--picture",
        metavar="FILE",
        help="also draw it, in the format of FILE's ending: .png, .svg, .pdf, .dot (Graphviz)",
    )
    parser.add_argument(
        "--audit",
        action="store_true",
        help="also print which files changed since the log was begun and were never reported",
    )
    parser.add_argument(
        "--audit-root",
        action="append",
        metavar="DIR",
        help="where --audit searches (repeatable; default: the directories of the written files)",
    )
    parser.add_argument(
        "--audit-watch",
        type=_positive,
        metavar="SECONDS",
        help="with --audit, as root: also listen to the kernel (fanotify) for this time",
    )
    parser.set_defaults(run=_identify)


def _add_import_strace(subparsers: Subparsers) -> None:
    parser = _parser(
        subparsers,
        "import-strace",
        "add the output of 'strace -f -y' to the access log",
        "For static binaries, and for processes that already run. Make the trace with "
        "'strace -f -y -ttt -o TRACE COMMAND', or '-p PID' in place of COMMAND. Without -y give "
        "--cwd, and what was open before is unknown; -ff, -T, -Y, -k, -n, -v, -x, -X, -s and -z "
        "are fine; a filter must keep -e trace=%file,%desc,%process,%memory; -r is refused without "
        "--date, and so are compressed traces. What cannot be read or known makes the log "
        "incomplete.",
    )
    _add_trace(parser, "strace's output; - for standard input; all files that strace -ff made")
    parser.add_argument(
        "--date",
        metavar="DATE",
        help="the day of the first line, YYYY-MM-DD, for times without a date (-tt, -t; default: "
        "from when TRACE was last written); for relative ones (-r) YYYY-MM-DDTHH:MM:SS",
    )
    _add_cwd(parser)
    parser.set_defaults(run=_import_strace)


def _add_import(subparsers: Subparsers) -> None:
    parser = _parser(
        subparsers,
        "import",
        "add a trace of another program to the access log",
        "Reads traces of strace, MSR Cambridge, fio (I/O log, version 3), VMware's vscsiStats and "
        "blkparse, and any CSV that says when which file was written. A block device is cut into "
        "extents, each of which stands for a file. Compressed traces: "
        "'zcat TRACE | precopy import … -'. A line that cannot be read ends the import: nothing "
        "is added; strace's are counted, and make the log incomplete.",
    )
    _add_trace(parser, "the trace; - for standard input; several only of 'strace -ff'")
    parser.add_argument(
        "--format",
        required=True,
        choices=("strace", "csv", "msr", "fio", "vscsi", "blkparse"),
        help="what the trace is",
    )
    _add_cwd(parser)
    parser.add_argument(
        "--date",
        metavar="DATE",
        help="when the trace began, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, where its times do not say "
        "(default: 1970-01-01 in UTC; strace: see import-strace)",
    )
    parser.add_argument(
        "--columns",
        metavar="ROLE=NAME,…",
        help="csv: which column holds time, path, op, offset, size, to: its name in the header or "
        "its number (default: these names, or in this order)",
    )
    parser.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="csv: whether the first line is a header (default: if it names the columns)",
    )
    parser.add_argument(
        "--unit",
        choices=("s", "ms", "us", "ns", "filetime", "iso"),
        help="csv: unit of time; filetime: 100 ns since 1601; iso: ISO 8601 (default: s)",
    )
    parser.add_argument(
        "--delimiter", metavar="LETTER", help="csv: what is between columns (default: a comma)"
    )
    parser.add_argument(
        "--extent-bytes",
        type=int,
        metavar="BYTES",
        help="devices: size of the extents that stand for files (default: 1048576)",
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="msr, blkparse: only this device (hm_1; 8,0); vscsi: what to call it (default: vscsi)",
    )
    parser.add_argument(
        "--action",
        choices=("C", "D"),
        help="blkparse: which event of a request counts, completion or issue (default: C)",
    )
    parser.set_defaults(run=_import)


def _add_trace(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("trace", nargs="+", metavar="TRACE", help=text)
    parser.add_argument(
        "--app", required=True, metavar="NAME", help="what to call the application in the log"
    )


def _add_cwd(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cwd",
        metavar="DIR",
        help="strace: working directory at the start, in case the trace does not show it",
    )


def _add_character(subparsers: Subparsers) -> None:
    parser = _parser(
        subparsers,
        "character",
        "say what an application's writes look like",
        "Prints rates, skew, births and deaths, bursts, how alike the halves of the recording are, "
        "and at some links the least mean final copy that any policy could reach.",
    )
    parser.add_argument(
        "target",
        metavar="NAME|FILE",
        help="an application of the log, or a file that a recording was saved to (.npz)",
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="files below DIR belong to it, opened while recording or not (repeatable)",
    )
    parser.add_argument("--since", metavar="WHEN", help="from this mark, or second, on")
    parser.add_argument("--until", metavar="WHEN", help="up to this mark, or second")
    parser.add_argument(
        "--bandwidth",
        action="append",
        metavar="B",
        help="a link, in bytes per second, like 12.5MB (repeatable; default: those that send the "
        "data once in 8, 25 and 60 s)",
    )
    parser.add_argument(
        "--interval",
        type=_positive,
        default=1.0,
        metavar="SECONDS",
        help="what rates are counted in, and a cycle of the bound (default: %(default)g)",
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="how to print the answer"
    )
    parser.add_argument(
        "--picture", metavar="FILE", help="also draw it, in the format of FILE's ending"
    )
    parser.set_defaults(run=_character)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text}, expected a positive number of seconds")
    return value


def _record(args: argparse.Namespace) -> int:
    from precopy.access.tracking.becoming import become_runner
    from precopy.access.tracking.program import startable

    try:
        startable(args.program, os.environ)
    except (FileNotFoundError, PermissionError) as error:  # nothing has begun
        print(f"precopy record: error: {printable_lines(str(error))}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    become_runner([args.program, *args.arguments], args.app, args.log, args.history)


def _track(args: argparse.Namespace) -> int:
    from precopy.access.tracking.live import LiveDirectory
    from precopy.access.tracking.recording import MONITOR, environment, track
    from precopy.access.tracking.supervisor import prepare

    variables = environment("NAME", args.log, {}).items()
    # Once this is printed an application may be started, even before the tracker listens.
    live = LiveDirectory(args.log)
    prepare(live)
    with suppress(OSError):  # the tracker says why
        live.open_strangers()
    print("To start an application under the monitor, in place of COMMAND run:")
    print("  env", *(f"{name}={_quoted(value)}" for name, value in variables), "COMMAND")
    sys.stdout.flush()
    hidden = [directory for path in (live.path, MONITOR) for directory in _hidden(path)]
    _warn(
        "only programs of this user can report; one of another user makes the log incomplete"
        + (f", unless it cannot reach {hidden[0]!r}: then nothing is known of it" if hidden else "")
    )
    return track(args.log, progress=sys.stderr.isatty())


def _mark(args: argparse.Namespace) -> int:
    from precopy.access.log import AccessLog

    with AccessLog(args.log) as log:
        log.mark(args.name)
    return 0


def _hidden(path: Path) -> list[str]:
    """Return the directories on the way to a path that other users cannot pass through."""
    return [str(parent) for parent in path.parents if not parent.stat().st_mode & 0o001]


def _import_strace(args: argparse.Namespace) -> int:
    from precopy.access.strace import import_strace

    if args.cwd is not None and not os.path.isabs(args.cwd):
        raise ValueError(f"--cwd: got '{printable(args.cwd)}', expected an absolute path")
    twice = [path for number, path in enumerate(args.trace) if path in args.trace[:number]]
    if twice:
        raise ValueError(f"TRACE: '{printable(twice[0])}' is given twice")
    several = [Path(path) for path in args.trace]
    source = sys.stdin.buffer if args.trace == ["-"] else several if several[1:] else several[0]
    with _progress() as progress:
        try:
            summary = import_strace(
                source, args.log, args.app, cwd=args.cwd, date=args.date, progress=progress
            )
        except ValueError as error:
            which = f"TRACE '{printable(args.trace[0])}'" + (" and others" if several[1:] else "")
            raise ValueError(str(error).replace("path_or_lines:", f"{which}:", 1)) from None
    print(
        f"{summary.calls} calls in {summary.lines} lines: {summary.files} files, "
        f"{summary.opens} opens, {summary.writes} writes, {summary.bytes_written} bytes written"
    )
    for count, known in ((summary.sizes_at_least, "only at least"), (summary.sizes_unknown, "not")):
        if count:
            _warn(f"the size of {count} written files is {known} known: the trace does not show it")
    for reason in summary.reasons:
        _warn(f"the log is incomplete: {reason}")
    if summary.unresolved:
        _warn("give --cwd, the working directory at the start")
    return 0


_OPTIONS = {
    "cwd": ("strace",),
    "columns": ("csv",),
    "header": ("csv",),
    "unit": ("csv",),
    "delimiter": ("csv",),
    "extent_bytes": ("csv", "msr", "fio", "vscsi", "blkparse"),
    "device": ("msr", "vscsi", "blkparse"),
    "action": ("blkparse",),
    "date": ("strace", "csv", "fio", "vscsi", "blkparse"),
}
"""Formats that each option of ``import`` means something for."""


def _import(args: argparse.Namespace) -> int:
    given = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    for name in given:
        if args.format not in _OPTIONS[name]:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option}: expected it with --format {' or '.join(_OPTIONS[name])}")
    if args.format == "strace":
        return _import_strace(args)
    from precopy.access.imports import import_trace

    if len(args.trace) > 1:
        raise ValueError(
            f"TRACE: got {len(args.trace)} files, expected one; several only with --format strace"
        )
    if "columns" in given:
        given["columns"] = _columns(given["columns"])
    source = sys.stdin.buffer if args.trace == ["-"] else args.trace[0]
    with _progress() as progress:
        summary = import_trace(source, args.log, args.app, args.format, progress=progress, **given)
    print(
        f"{summary.lines} lines: {summary.files} files, {summary.writes} writes, "
        f"{summary.bytes_written} bytes written"
    )
    for reason, count in summary.left_out.items():
        _warn(f"left out: {count} {reason}")
    if summary.sizes_at_least:
        _warn(
            f"the size of {summary.sizes_at_least} files is only at least known: it is the largest "
            "end that the trace reads or writes"
        )
    return 0


def _columns(text: str) -> dict[str, str]:
    columns: dict[str, str] = {}
    for part in text.split(","):
        role, equals, name = part.partition("=")
        if not equals or role.strip() in columns:
            raise ValueError(f"--columns: got '{printable(part)}', expected ROLE=NAME, each once")
        columns[role.strip()] = name.strip()
    return columns


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None] | None]:
    """Show on a terminal how much of a trace is read."""
    if not sys.stderr.isatty():
        yield None
        return
    shown_at = time.monotonic()

    def show(read: int, total: int | None) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at > 0.5:
            shown_at = time.monotonic()
            of = f" of {total / 1e6:.0f}" if total else ""
            print(f"\r{read / 1e6:.0f}{of} MB", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _identify(args: argparse.Namespace) -> int:
    from precopy.access import format
    from precopy.access.identify import identify

    _check_together(args)
    exclude = [*(() if args.no_default_excluded else DEFAULT_EXCLUDED), *args.exclude]
    if args.list_excluded:
        print("\n".join(map(printable, exclude)))
        return 0
    found = identify(args.log, args.targets, args.share, exclude, args.root)
    # Before anything is written: a picture that is drawn is no change that went unreported.
    audited = _audit(args, found, exclude) if args.audit else ""
    if args.explain is not None:
        print(found.explain(args.explain))
    elif args.format == "paths":
        text = format.paths(
            found, null=args.null, existing=args.existing, directories=args.directories
        )
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
    elif args.format == "json":
        print(format.json_text(found, existing=args.existing))
    else:
        print(format.table(found, existing=args.existing))
    if audited:  # below a table, but what programs read stays as it is
        print(audited, file=sys.stdout if args.format == "table" else sys.stderr)
    if not found.complete:
        _warn(f"the log is incomplete: {found.incomplete_reason}")
    if args.format != "table" or args.explain is not None:
        for note in found.notes:
            _warn(note)
    if args.format == "paths" and not args.directories:
        for path in format.left_out(found):
            _warn(f"the directory {printable(path)} is needed and not in the list; --directories")
    if args.picture is not None:
        from precopy.access import picture

        picture.save(found, args.picture)
    return 0


def _character(args: argparse.Namespace) -> int:
    from precopy.character import characterise
    from precopy.recorded import Recorded
    from precopy.tables import parse_bytes

    if args.target.endswith(".npz"):
        for value, option in ((args.since, "--since"), (args.until, "--until")):
            if value is not None:
                raise ValueError(f"{option}: expected it with an application of a log only")
        if args.root:
            raise ValueError("--root: expected it with an application of a log only")
        app = Recorded.load(args.target)
    else:
        from precopy.access.log import AccessLog

        with AccessLog(args.log) as log:
            since, until = (moment(text) for text in (args.since, args.until))
            app = log.recorded(args.target, roots=args.root, since=since, until=until)
    bandwidths = args.bandwidth and [parse_bytes(text) for text in args.bandwidth]
    found = characterise(app, bandwidths=bandwidths, interval_s=args.interval)
    if args.format == "json":
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print(printable_lines(str(found)))
    for note in app.notes:
        _warn(note)
    if args.picture is not None:
        import matplotlib.pyplot as plt

        from precopy import plot
        from precopy._picture import own_style, save

        with own_style():
            figure = plt.figure(figsize=plot.CHARACTER_INCH, layout="constrained")
            plot.character(app, figure, interval_s=args.interval)
            save(figure, Path(args.picture))
            plt.close(figure)
    return 0


def moment(text: str | None) -> str | float | None:
    """Return what an option such as --since says: seconds, or the name of a mark."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _check_together(args: argparse.Namespace) -> None:
    """Refuse options that would mean nothing, and a picture that could not be drawn."""
    if args.format != "paths" or args.explain is not None:
        for given, option in ((args.null, "--null"), (args.directories, "--directories")):
            if given:
                raise ValueError(f"{option}: expected it with --format paths only")
    if not args.audit:
        for value, option in (
            (args.audit_root, "--audit-root"),
            (args.audit_watch, "--audit-watch"),
        ):
            if value is not None:
                raise ValueError(f"{option}: expected it with --audit only")
    if args.list_excluded and args.targets:
        raise ValueError(
            f"--list-excluded: got '{printable(args.targets[0])}' beside it, expected no target"
        )
    if args.picture is not None:
        from precopy.access import picture

        picture.check_path(args.picture)


def _audit(args: argparse.Namespace, found: Identification, exclude: list[str]) -> str:
    from precopy.access.audit import audit, listen
    from precopy.access.format import written_directories

    roots = args.audit_root or written_directories(found)
    if not roots:
        raise ValueError("--audit: nothing was written that still exists; give --audit-root")
    watch = listen(roots, args.audit_watch) if args.audit_watch else None
    answer = audit(args.log, roots, exclude=exclude, watch=watch)
    return f"Audit of {', '.join(map(printable, roots))}:\n{answer}"


def _quoted(text: str) -> str:
    """Quote for a shell; what a terminal would interpret as bash and zsh spell it."""
    if text.isprintable():
        return shlex.quote(text)
    spelled = (
        re.sub(r"(['\\\\])", r"\\\1", letter)
        if letter.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
        for letter in text
    )
    return "$'" + "".join(spelled) + "'"


def _warn(text: str) -> None:
    print(f"precopy: {printable_lines(text)}", file=sys.stderr)
