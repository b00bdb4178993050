"""What ``precopy migrate`` does once its arguments are parsed.

Everything that can be refused is refused before anything is touched.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from precopy._picture import check_format
from precopy._text import printable, printable_lines
from precopy.access.cli import DEFAULT_LOG
from precopy.access.exclude import DEFAULT_EXCLUDED
from precopy.access.identify import identify
from precopy.migration.interrupts import Interrupted
from precopy.migration.moving import Migration
from precopy.migration.observer import Observer
from precopy.migration.plan import plan
from precopy.migration.progress import Terminal
from precopy.migration.report import Report
from precopy.migration.settings import Settings
from precopy.migration.subject import What, migration_id
from precopy.migration.switchover.journal import MigrationError, read
from precopy.migration.switchover.status import abort, status
from precopy.migration.switchover.switch import CommittedError
from precopy.migration.switchover.watchdog import is_committed
from precopy.migration.transport import TransportError, connect

FAILED, INCOMPLETE = 1, 3
"""Statuses: it failed before the decision, and the application runs on here; the destination is in
charge, and something is left to do."""


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    if bool(args.names) == (args.paths is not None):
        raise ValueError("NAME: expected names of applications, or --paths, and not both")
    _check_files(args)
    settings = _settings(args)
    try:
        if args.status:
            return _status(args)
        if args.abort:
            return _abort(args)
        if args.dry_run:
            print(plan(_what(args), settings))
            return 0
        return _whole(args, settings)
    except CommittedError as error:
        _say(f"error: {error}")
        return INCOMPLETE
    except (MigrationError, TransportError) as error:
        if _is_decided(args):
            _say(f"error: {error}\nThe destination is in charge; then run the same command again")
            return INCOMPLETE
        if args.abort:  # not now, or not all of it; a note says what is left
            _say("; ".join([f"error: {error}", *getattr(error, "__notes__", ())]))
            return FAILED
        # A note says why it does not go on here: it was ended in order to be stopped.
        notes = getattr(error, "__notes__", ()) or ("The application runs on here",)
        _say(f"error: {error}\n{'; '.join(notes)}; then run the same command again")
        return FAILED
    except KeyboardInterrupt as error:
        number = 128 + (error.signal if isinstance(error, Interrupted) else 2)
        if args.abort or args.status:
            _say("interrupted" + ("; run --abort once more" if args.abort else ""))
            return number
        if _is_decided(args):
            _say("interrupted: the destination is in charge; the same command does what is left")
            return INCOMPLETE
        notes = getattr(error, "__notes__", ()) or ("the application runs on here",)
        _say(f"interrupted: {'; '.join(notes)}; the same command resumes")
        return number


def _is_decided(args: argparse.Namespace) -> bool:
    return is_committed(read(_id(args)))


def _whole(args: argparse.Namespace, settings: Settings) -> int:
    observer = Observer() if args.quiet else Terminal(sys.stderr)
    try:
        report = Migration(_what(args), settings, observer).run()
    except CommittedError as error:
        if error.report is not None:
            _tell(args, error.report)
        raise
    return _tell(args, report)


def _tell(args: argparse.Namespace, report: Report) -> int:
    """Print the report, and write it where it is asked for."""
    print(report, flush=True)
    try:
        if args.report is not None:
            report.to_json(args.report)
        if args.picture is not None:
            report.plot(args.picture)
    except Exception as error:  # whatever it is, it is not the migration that failed
        _say(f"error: all is moved, but the report cannot be written: {error}")
        return INCOMPLETE
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        to=args.to,
        log=args.log if args.paths is not None else args.log or DEFAULT_LOG,
        granularity=args.granularity,
        order=args.order,
        frequency=args.frequency,
        half_life=args.half_life,
        budget=args.budget,
        read_only_first=args.read_only_first,
        bandwidth=args.bandwidth,
        cycle_seconds=args.cycle_seconds,
        cycle_writes=args.cycle_writes,
        threshold_bytes=args.threshold,
        downtime_s=args.downtime,
        until=args.until,
        pids=args.pid,
        cgroup=args.cgroup,
        stop=args.stop,
        max_downtime_s=args.max_downtime,
        start=args.start,
        start_directory=args.start_in,
        transport=args.transport,
        ssh=args.ssh,
        programs=args.programs,
        merge=args.merge,
        accept_incomplete=args.accept_incomplete,
    )


def _what(args: argparse.Namespace) -> What:
    if args.paths is not None:
        return list(args.paths)
    exclude = [*DEFAULT_EXCLUDED, *args.exclude]
    return identify(args.log or DEFAULT_LOG, args.names, args.share, exclude, args.root)


def _check_files(args: argparse.Namespace) -> None:
    """Refuse what could not be written at the end, before anything begins."""
    for option, name in (("--report", args.report), ("--picture", args.picture)):
        if name is None:
            continue
        path = Path(name)
        if not path.name or path.is_dir() or not path.absolute().parent.is_dir():
            raise ValueError(
                f"{option}: got '{printable(name)}', expected a file in a directory that is there"
            )
        if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            raise ValueError(f"{option}: '{printable(name)}' cannot be written")
    if args.picture is not None:
        check_format("--picture", args.picture)
    if args.paths is not None:
        for option, given in (
            ("--root", args.root),
            ("--exclude", args.exclude),
            ("--programs", args.programs),
            ("--accept-incomplete", args.accept_incomplete),
        ):
            if given:
                raise ValueError(f"{option}: expected it with NAME only, got --paths")


def _status(args: argparse.Namespace) -> int:
    far, why = None, ""
    try:
        transport = connect(args.to, ssh=args.ssh, transport=args.transport)
        try:
            far = transport.status()
        finally:
            transport.close()
    except (TransportError, OSError) as error:
        why = str(error)
    print(status(_id(args), far, why))
    return 0


def _abort(args: argparse.Namespace) -> int:
    print(
        "\n".join(
            abort(
                _id(args),
                lambda: connect(args.to, ssh=args.ssh, transport=args.transport),
                tell=None if args.quiet else _say,
            )
        )
    )
    return 0


def _id(args: argparse.Namespace) -> str:
    return migration_id(args.names, args.paths, args.to)


def _say(text: str) -> None:
    print(f"precopy migrate: {printable_lines(text)}", file=sys.stderr)
