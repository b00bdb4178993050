"""The command ``precopy forecast``.

`add_command` registers it with a parser; nothing else of the forecast is imported until it runs.
Invariant: standard output is the answer; progress and warnings go to standard error.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from precopy.access.cli import DEFAULT_LOG
from precopy.migration.cli import add_exclude, add_ranking, add_share
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
    >>> args = parser.parse_args(["forecast", "shop", "--bandwidth", "12.5MB"])
    >>> args.names, args.bandwidth, args.granularity
    (['shop'], 12500000, 'block')
    """
    parser = subparsers.add_parser(
        "forecast",
        allow_abbrev=False,
        help="say what a migration of a recorded application would bring",
        description="Replay what was recorded of an application, from several moments, as 'precopy "
        "migrate' would go about it: for which downtimes it can be had, after how long, with how "
        "much traffic; what is left in the long run, and which files keep it up. Nothing is "
        "touched. Sizes take kB, MB, GB (powers of 1000) or KiB, MiB, GiB, times ms, s, min, h.",
    )
    _add_what(parser)
    _add_how(parser)
    _add_output(parser)
    parser.set_defaults(run=_forecast)


def _add_what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what would move")
    group.add_argument(
        "names",
        nargs="+",
        metavar="APP",
        help="applications in the log; what moves with them is taken in (see 'precopy identify'); "
        "or a saved recording, FILE.npz",
    )
    group.add_argument(
        "--log",
        default=DEFAULT_LOG,
        metavar="FILE",
        help="the access log (default: %(default)s); it may grow meanwhile",
    )
    group.add_argument(
        "--since",
        metavar="MARK",
        help="leave out what was recorded before this mark ('precopy mark'), or before so many "
        "seconds since the beginning, such as the application's start",
    )
    add_share(group)
    group.add_argument(
        "--roots",
        "--root",
        dest="roots",
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="DIR moves with all in it, also what is not in the log",
    )
    add_exclude(group)
    group.add_argument(
        "--accept-incomplete",
        action="store_true",
        help="forecast though the log says that accesses are missing from it",
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it would move; defaults are those of 'precopy migrate'")
    group.add_argument(
        "--bandwidth",
        type=bytes_argument,
        metavar="BYTES_PER_S",
        help="what the link carries, like 12.5MB; without it, a line each for links of 100 Mbit/s, "
        "1 and 10 Gbit/s",
    )
    group.add_argument(
        "--downtime",
        type=seconds_argument,
        nargs="+",
        action="extend",
        metavar="S",
        help="downtimes of which to tell whether they are reached, like 50ms (default: 50ms 100ms "
        "500ms 1s 5s)",
    )
    group.add_argument(
        "--until",
        metavar="RULE",
        help="the rule that stops it (default: that of 'precopy migrate')",
    )
    group.add_argument(
        "--granularity",
        choices=("block", "file"),
        default="block",
        help="what is ranked and sent: changed blocks, which is an estimate, or whole files, as in "
        "the paper (default: %(default)s)",
    )
    add_ranking(group)
    group.add_argument(
        "--cycle-seconds",
        type=seconds_argument,
        default=1.0,
        metavar="S",
        help="how long a cycle is (default: 1)",
    )
    group.add_argument(
        "--round-trip",
        type=seconds_argument,
        default=0.0,
        metavar="S",
        help="how long an exchange with the destination takes, like 20ms (default: 0)",
    )
    group.add_argument(
        "--starts",
        type=int,
        default=20,
        metavar="N",
        help="from how many moments of the recording it is replayed (default: %(default)s)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is told")
    group.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="one screen, or all numbers (default: %(default)s)",
    )
    group.add_argument("--picture", metavar="FILE", help="draw it: .png, .svg or .pdf")
    group.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _forecast(args: argparse.Namespace) -> int:
    from precopy.forecast.command import run

    return run(args)
