"""What ``precopy forecast`` does once its arguments are parsed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from precopy._picture import check_format
from precopy._text import printable
from precopy.access.cli import moment
from precopy.access.exclude import DEFAULT_EXCLUDED
from precopy.access.identify import identify
from precopy.access.log import AccessLog
from precopy.forecast.fixed import Slowdown
from precopy.forecast.forecast import GOALS_S, forecast
from precopy.forecast.moves import Moves, moves
from precopy.forecast.numbers import Forecast
from precopy.forecast.report import links
from precopy.migration.ending import DEFAULT_RULE
from precopy.migration.subject import incompleteness
from precopy.recorded import Recorded

LINKS = (12.5e6, 125e6, 1.25e9)
"""Bytes per second of the links that are told of where none is given."""


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    _check_picture(args)
    if len(args.names) == 1 and args.names[0].endswith(".npz"):
        moving, notes = _saved(args), list[str]()
    else:
        with AccessLog(args.log) as log:
            exclude = [*DEFAULT_EXCLUDED, *args.exclude]
            what = identify(log, args.names, args.share, exclude, args.roots)
            notes = incompleteness(what, args.accept_incomplete)
            moving = moves(log, what, since=moment(args.since))
    slowdown = Slowdown.measured()
    told = sys.stderr.isatty() and not args.quiet
    if args.bandwidth is None:
        found = [_of(args, moving, notes, each, told, slowdown) for each in LINKS]
        if args.format == "json":
            print(json.dumps({"links": [each.to_dict() for each in found]}, indent=1))
        else:
            print(links(found))
        return 0
    one = _of(args, moving, notes, args.bandwidth, told, slowdown)
    print(one.to_json().rstrip("\n") if args.format == "json" else str(one))
    if args.picture is not None:
        one.plot(args.picture)
    return 0


def _saved(args: argparse.Namespace) -> Moves:
    given = {
        "--since": args.since is not None,
        "--roots": bool(args.roots),
        "--exclude": bool(args.exclude),
        "--accept-incomplete": args.accept_incomplete,
    }
    for option, is_given in given.items():
        if is_given:
            raise ValueError(f"{option}: expected it with an application of a log only")
    return Moves(Recorded.load(args.names[0]), [], True)


def _of(
    args: argparse.Namespace,
    moving: Moves,
    notes: list[str],
    bandwidth: float,
    told: bool,
    slowdown: Slowdown,
) -> Forecast:
    found = forecast(
        moving.app,
        bandwidth,
        downtime_s=args.downtime or GOALS_S,
        until=args.until or DEFAULT_RULE,
        granularity=args.granularity,
        order=args.order,
        frequency=args.frequency,
        half_life=args.half_life,
        budget=args.budget,
        read_only_first=args.read_only_first,
        cycle_seconds=args.cycle_seconds,
        starts=args.starts,
        round_trip_s=args.round_trip,
        slowdown=slowdown,
        progress=None if told else False,
    )
    return replace(
        found,
        applications=moving.applications,
        complete=moving.complete,
        notes=[*notes, *found.notes],
    )


def _check_picture(args: argparse.Namespace) -> None:
    """Refuse what could not be written at the end, before anything begins."""
    if args.picture is None:
        return
    path = Path(args.picture)
    check_format("--picture", args.picture)
    if args.bandwidth is None:
        raise ValueError("--picture: expected --bandwidth beside it, got none")
    directory = path.parent
    if not directory.is_dir() or not os.access(directory, os.W_OK) or path.is_dir():
        raise ValueError(f"--picture: '{printable(args.picture)}' cannot be written")
