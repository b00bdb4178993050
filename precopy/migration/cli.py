"""The command ``precopy migrate``.

`add_command` registers it with a parser; nothing else of the migration is imported until it runs.
Invariant: standard output is the answer (the summary, the plan, the status); progress and warnings
go to standard error.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, get_args

from precopy.access.cli import DEFAULT_LOG
from precopy.options import Budget, LiveFrequency, Order
from precopy.tables import bytes_argument, seconds_argument

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_command(subparsers: Subparsers) -> None:
    """Add the command to a parser.

    Examples
    --------
    >>> import argparse
    >>> parser = argparse.ArgumentParser(prog="precopy")
    >>> add_command(parser.add_subparsers())
    >>> args = parser.parse_args(["migrate", "shop", "--to", "backup:/srv", "--downtime", "50ms"])
    >>> args.names, args.to, args.downtime
    (['shop'], 'backup:/srv', 0.05)
    """
    parser = subparsers.add_parser(
        "migrate",
        allow_abbrev=False,
        help="move an application with its files while it runs",
        description="Move an application: its files are sent in ranked cycles while it runs; then "
        "it is stopped for a moment, what is left is sent and compared, and it can go on at the "
        "destination. Until that is decided, whatever fails lets it run on here, and the same "
        "command, given again, resumes. Sizes take kB, MB, GB (powers of 1000) or KiB, MiB, GiB, "
        "times ms, s, min, h.",
        epilog="Exit status: 0 done; 1 it failed, and the application runs on here; 2 bad "
        "input, nothing was touched; 3 the destination is in charge, and something is left to do, "
        "which the same command does; 130 interrupted (Ctrl-C), the application runs on here. "
        "With --status: 0, whatever it says. With --abort: 0 given up; 1 not all of it, which "
        "--abort once more does; 2 there is nothing to give up, since nothing is known of it or "
        "it is done; 3 the destination is in charge, which is not taken back.",
    )
    _add_what(parser)
    _add_cycles(parser)
    _add_stop(parser)
    _add_more(parser)
    parser.set_defaults(run=_migrate)


def _add_what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what moves, and where to")
    group.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="applications in the log; what they use moves, and what moves with it (see 'precopy "
        "identify')",
    )
    group.add_argument(
        "--paths",
        nargs="+",
        metavar="PATH",
        help="in place of NAME: files, and directories with all in them; needs no log",
    )
    group.add_argument(
        "--to",
        required=True,
        metavar="DIR|HOST:DIR",
        help="where to: a directory here, or at a host that ssh reaches; a file /a/b arrives as "
        "DIR/a/b",
    )
    group.add_argument(
        "--log",
        metavar="FILE",
        help=f"the access log (default, with NAME: {DEFAULT_LOG}); it may grow meanwhile",
    )
    add_share(group)
    group.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="DIR moves with all in it, also what is not in the log (repeatable)",
    )
    add_exclude(group)
    group.add_argument(
        "--programs", action="store_true", help="programs and interpreters move as well"
    )
    group.add_argument(
        "--accept-incomplete",
        action="store_true",
        help="migrate though the log says that accesses are missing from it",
    )
    group.add_argument(
        "--merge",
        action="store_true",
        help="DIR may hold other things; nothing of them is replaced or deleted",
    )


def add_share(group: argparse._ArgumentGroup) -> None:
    """Add which common files tie applications together."""
    group.add_argument(
        "--share",
        choices=("written", "any"),
        default="written",
        help="which common files tie applications together, as for identify (default: %(default)s)",
    )


def add_exclude(group: argparse._ArgumentGroup) -> None:
    """Add what does not move, though it was used."""
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATH",
        help="PATH and what is below it stays; '!PATH' takes it off the list of what the operating "
        "system provides (repeatable)",
    )


def _add_cycles(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the cycles while it runs")
    group.add_argument(
        "--granularity",
        choices=("block", "file"),
        default="block",
        help="what is ranked and sent: changed blocks, or whole files as in the paper (default: "
        "%(default)s)",
    )
    add_ranking(group)
    group.add_argument(
        "--bandwidth",
        type=bytes_argument,
        metavar="BYTES_PER_S",
        help="what the link carries, like 12.5MB; so much is sent per second at most, "
        "but what is left when it stands as fast as it goes (default: measured)",
    )
    cycle = group.add_mutually_exclusive_group()
    cycle.add_argument(
        "--cycle-seconds",
        type=seconds_argument,
        metavar="S",
        help="how long a cycle is (default: 1)",
    )
    cycle.add_argument(
        "--cycle-writes",
        type=int,
        metavar="N",
        help="how many writes make a cycle, as in the paper; counted in a log that grows",
    )


def add_ranking(group: argparse._ArgumentGroup) -> None:
    """Add how what waits is ranked and taken: the options of a migration and of its forecast."""
    group.add_argument(
        "--order",
        choices=get_args(Order),
        default="update-frequency",
        metavar="ORDER",
        help="which goes first: %(choices)s (default: %(default)s)",
    )
    group.add_argument(
        "--frequency",
        choices=get_args(LiveFrequency),
        default="count",
        help="how updates are counted, as for simulate (default: %(default)s)",
    )
    group.add_argument(
        "--half-life",
        type=float,
        metavar="CYCLES",
        help="with --frequency exponential: cycles in which a count halves",
    )
    group.add_argument(
        "--budget",
        choices=get_args(Budget),
        default="carry",
        help="what happens to a cycle's budget at what does not fit, as for simulate (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--read-only-first",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="send first what was never written (default: yes)",
    )


def _add_stop(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("when and how it is stopped and started")
    rule = group.add_mutually_exclusive_group()
    rule.add_argument(
        "--threshold",
        type=bytes_argument,
        metavar="BYTES",
        help="stop it when at most so much is pending, like 1MB",
    )
    rule.add_argument(
        "--downtime",
        type=seconds_argument,
        metavar="SECONDS",
        help="stop it when the predicted downtime is at most so long, like 50ms",
    )
    rule.add_argument(
        "--until",
        metavar="RULE",
        help="stop it when RULE holds (default: 'downtime(0.1) | stall(10) & dip(0.1)': at once "
        "where 0.1 s can be had; else when ten cycles brought nothing, while little is pending)",
    )
    who = group.add_mutually_exclusive_group()
    who.add_argument(
        "--pid",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="a process to be stopped, with its descendants (repeatable; default: those in the "
        "log)",
    )
    who.add_argument(
        "--cgroup", metavar="PATH", help="the control group (version 2) that is stopped"
    )
    group.add_argument(
        "--stop",
        default="freeze",
        metavar="freeze|term|COMMAND",
        help="how: it stands still and could go on; SIGTERM; or COMMAND stops it (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--max-downtime",
        type=seconds_argument,
        default=60.0,
        metavar="SECONDS",
        help="how long it may stand before the decision; then it goes on here, and the migration "
        "is given up (default: 60)",
    )
    group.add_argument(
        "--start",
        metavar="COMMAND",
        help="what is started at the destination; split into words as a shell does, but no shell "
        "runs it",
    )
    group.add_argument(
        "--start-in",
        metavar="DIR",
        help="the directory there in which COMMAND is started (default: that of --to)",
    )


def _add_more(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the link, and what is told")
    group.add_argument(
        "--transport",
        choices=("channel", "rsync"),
        default="channel",
        help="rsync: with --granularity file, where the other side has no Python (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--ssh",
        metavar="COMMAND",
        help="the ssh client with its options, like 'ssh -p 2222' (default: $PRECOPY_SSH, or ssh)",
    )
    group.add_argument("--report", metavar="FILE", help="write the report there, as JSON")
    group.add_argument("--picture", metavar="FILE", help="draw the report: .png, .svg or .pdf")
    group.add_argument("--quiet", action="store_true", help="no progress on standard error")
    instead = group.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would move and what is to be expected; nothing is touched",
    )
    instead.add_argument(
        "--status", action="store_true", help="print where this migration stands, who is in charge"
    )
    instead.add_argument(
        "--abort",
        action="store_true",
        help="give this migration up: the application goes on here, DIR is emptied of it",
    )


def _migrate(args: argparse.Namespace) -> int:
    from precopy.migration.command import run

    return run(args)
