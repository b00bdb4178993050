"""The command line: every command is a thin layer over the Python API of the same name."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import select
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from precopy import _check, _core, paper
from precopy._picture import own_style, save
from precopy._rules import NAMES
from precopy._text import error_text, printable_lines
from precopy._until import rule_argument
from precopy._version import __version__
from precopy.access.cli import add_commands
from precopy.files import FileSet
from precopy.forecast.cli import add_command as add_forecast
from precopy.migration.cli import add_command
from precopy.options import Option
from precopy.run import Cycle
from precopy.simulation import OPTIONS
from precopy.tables import bytes_argument, parse_shares, read_table
from precopy.workload import Workload

# What a terminal without these letters shows instead; others become their numbers.
_PLAIN = {"…": "...", "±": "+-", "–": "-", "—": "-", "→": "->", "×": "x", "≤": "<=", "≥": ">="}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status, as a shell has it for a program that SIGPIPE ends.

    Where nobody reads the output any more, as after ``| head -1``, the command ends quietly.
    """
    codecs.register_error("precopy.plain", _plain)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="precopy.plain")
    try:
        try:
            return _command(argv)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _close_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _close_output()
        print(f"precopy: error: the output cannot be written: {error}", file=sys.stderr)
        return 2


def _close_output() -> None:
    """Lose what nobody can be told, or the interpreter would complain about it at its end."""
    with contextlib.suppress(OSError):
        sys.stdout.close()


def _nobody_reads() -> bool:
    """Whether the output is a pipe whose other end is closed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


class _Parser(argparse.ArgumentParser):
    """A parser that says when its help cannot be written, and refuses what its command has not."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def _print_message(self, message: str, file: Any = None) -> None:
        (sys.stderr if file is None else file).write(message)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":  # a byte of a file's name that is no text
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    plain = _PLAIN.get(letter, letter.encode("ascii", "backslashreplace").decode())
    return plain, error.start + 1


def _command(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except BrokenPipeError as error:
        if _nobody_reads():
            raise
        print(f"precopy {arguments.command}: error: {error}", file=sys.stderr)
        return 2
    except (ValueError, TypeError, OSError, MemoryError, sqlite3.Error) as error:
        message = printable_lines(error_text(error)) or type(error).__name__
        print(f"precopy {arguments.command}: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"precopy {arguments.command}: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="precopy",
        description="Pre-copy migration at file granularity.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"precopy {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_reproduce(commands)
    _add_simulate(commands)
    _add_sweep(commands)
    add_commands(commands)
    add_forecast(commands)
    add_command(commands)
    return parser


def _add_reproduce(commands: Any) -> None:
    command = commands.add_parser(
        "reproduce",
        allow_abbrev=False,
        help="run the paper's evaluation and compare every claim",
        description="Run the evaluation of the paper's section 5, write its figures 5, 6 and 7 "
        "(PNG, SVG) and their numbers (CSV), and print each claim beside our number.",
    )
    command.add_argument(
        "--out",
        type=_directory,
        default=Path("paper-results"),
        metavar="DIR",
        help="where to write (default: %(default)s)",
    )
    command.add_argument(
        "--seeds", type=int, default=30, metavar="N", help="how many seeds (default: %(default)s)"
    )
    command.set_defaults(run=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> None:
    result = paper.reproduce(arguments.out, arguments.seeds)
    print(result)
    print(f"\nfigures and numbers: {arguments.out}/")


def _add_simulate(commands: Any) -> None:
    command = commands.add_parser(
        "simulate",
        allow_abbrev=False,
        help="simulate the migration of your own files",
        description="Simulate the pre-copy of your own files under one or more orders; print a "
        "summary, write the curves (CSV) and a picture (PNG). Sizes take kB, MB, GB, TB "
        "(powers of 1000) or KiB, MiB, GiB, TiB (of 1024), the B may be missing.",
    )
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--files",
        type=Path,
        metavar="TABLE.csv",
        help="columns size (bytes), access (ro or rw), optionally path and share",
    )
    source.add_argument(
        "--directory",
        type=Path,
        metavar="PATH",
        help="the files below PATH with their sizes; read-only is what no mode "
        "bit lets anybody write",
    )
    writes = command.add_mutually_exclusive_group()
    writes.add_argument(
        "--uniform",
        action="store_true",
        help="writes spread evenly over the read-write files (default)",
    )
    writes.add_argument(
        "--shares",
        metavar="A:B:…",
        type=_shares,
        help="shares of equal groups of each size class, like 1:10:10:79 (for tables with "
        "many files of each size)",
    )
    writes.add_argument(
        "--zipf", metavar="EXPONENT", type=float, help="shares by rank, hot files drawn at random"
    )
    command.add_argument(
        "--order",
        action="append",
        choices=sorted(_core.CHOICES["order"]),
        metavar="ORDER",
        help="one of %(choices)s; may be repeated (default: all)",
    )
    command.add_argument(
        "--threshold",
        type=bytes_argument,
        metavar="X",
        help="tell where the pre-copy would end under this limit, like 500MB",
    )
    command.add_argument(
        "--until",
        action="append",
        type=rule_argument,
        default=[],
        metavar="RULE",
        help="tell where it would end under this rule, like 'stall(10) & dip(0.1)'; rules are "
        f"{', '.join(NAMES)}; may be repeated",
    )
    command.add_argument(
        "--writes",
        type=int,
        default=500,
        metavar="N",
        help="write calls per cycle (default: %(default)s)",
    )
    command.add_argument(
        "--write-seconds",
        type=float,
        default=0.03,
        metavar="S",
        help="seconds per write call (default: %(default)s)",
    )
    command.add_argument(
        "--bandwidth",
        type=bytes_argument,
        default=5e6,
        metavar="B",
        help="bytes per second, like 5MB (default: 5MB)",
    )
    for option in _shown_options():
        _add_option(command, option)
    command.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="how many seeds (default: %(default)s)"
    )
    command.add_argument(
        "--out",
        type=_directory,
        default=Path("simulation-results"),
        metavar="DIR",
        help="where to write (default: %(default)s)",
    )
    command.set_defaults(run=_simulate)


def _shown_options() -> list[Option]:
    """Return the options of `simulate` that are one word or one number."""
    given_otherwise = ("order", "cycle", "threshold_bytes", "seed")
    return [
        option
        for option in OPTIONS.values()
        if option.name not in given_otherwise and (option.choices or option.kind)
    ]


def _add_option(command: argparse.ArgumentParser, option: Option) -> None:
    flag = f"--{option.name.replace('_', '-')}"
    summary = option.summary.replace("`", "").replace("%", "%%")
    default = "" if option.default is None else f" (default: {option.default})"
    known: dict[str, Any] = {"help": summary[0].lower() + summary[1:] + default}
    if option.kind is bool:
        known["action"] = argparse.BooleanOptionalAction
    elif option.choices:
        known["choices"] = option.choices
    else:
        known |= {"type": option.kind, "metavar": "N"}
    command.add_argument(flag, default=option.default, **known)


def _simulate(arguments: argparse.Namespace) -> None:
    import matplotlib.pyplot as plt

    from precopy import plot
    from precopy.stop import finish
    from precopy.sweep import sweep

    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.files:
        files, share = read_table(arguments.files)
    else:
        files, share = FileSet.from_directory(arguments.directory), None
    cycle = Cycle(arguments.writes, arguments.write_seconds, arguments.bandwidth)
    table = sweep(
        files,
        _workload(arguments, files, share),
        order=arguments.order or sorted(_core.CHOICES["order"]),
        cycle=cycle,
        **{option.name: getattr(arguments, option.name) for option in _shown_options()},
        seed=range(_check.integer("--seeds", arguments.seeds, least=1)),
    )
    curves = table[["final_copy_bytes", "precopy_bytes", "resent_bytes"]]
    curves.to_dataframe().to_csv(arguments.out / "curves.csv")
    with own_style():
        ax = plot.final_copy(table, limit=arguments.threshold)
        ax.set_title(f"{files!r}"[1:-1], fontsize="small")
        save(plt.gcf(), arguments.out / "final_copy.png")
        plt.close()

    print(files)
    print(f"{cycle!r}: {cycle.seconds:g} s and {_check.bytes_text(cycle.budget_bytes)} per cycle")
    if "bound_bytes" in table:
        print(f"optimal bound: {_check.bytes_text(float(table.bound_bytes))}")
    done = None if arguments.threshold is None else finish(table, arguments.threshold)
    rules = {str(rule): rule for rule in arguments.until}
    ends = finish(table, rules) if rules else table
    for order in table["order"].values:
        print(_summary(table.sel(order=order), None if done is None else done.sel(order=order)))
        for rule in rules:
            print(f"{'':17} {rule}: {_end(ends.sel(order=order, rule=rule))}")
    print(f"curves and picture: {arguments.out}/")


def _add_sweep(commands: Any) -> None:
    command = commands.add_parser(
        "sweep",
        allow_abbrev=False,
        help="run a study file: a sweep, its limits and its pictures",
        description="Run a study file (TOML) and write sweep.nc, finish.nc and its pictures. Runs "
        "that are in DIR already, of an interrupted or earlier study, are not made again.",
        epilog="The format is described in the documentation of precopy.study: "
        "python -c 'import precopy.study; help(precopy.study)'",
    )
    command.add_argument("study", type=Path, metavar="STUDY.toml")
    command.add_argument(
        "--out",
        type=_directory,
        metavar="DIR",
        help="where to write (default: the study's name without .toml)",
    )
    command.set_defaults(run=_sweep)


def _sweep(arguments: argparse.Namespace) -> None:
    from precopy.study import Study

    study = Study.load(arguments.study)
    dataset, written = study.run(arguments.out or arguments.study.with_suffix(""))
    print(dataset)
    for path in written:
        print(path)


def _summary(runs: Any, done: Any) -> str:
    text = _check.bytes_text
    last = runs["downtime_s"] * runs["bandwidth"]
    line = (
        f"{runs['order'].values!s:17}"
        f" least final copy {text(float(runs['final_copy_bytes'].min('step').mean()))},"
        f" at the end {text(float(last.mean()))}"
    )
    if done is None:
        return f"{line} = {float(runs['downtime_s'].mean()):.1f} s of downtime"
    reached = done["finish_cycle"].notnull()
    if not bool(reached.all()):
        line += f"; reaches the limit in {int(reached.sum())} of {reached.size} runs"
    return f"{line}; limit {_mean_end(done)}" if bool(reached.any()) else line


def _end(done: Any) -> str:
    """Return where runs end under a rule."""
    held = done["finish_cycle"].notnull()
    if not bool(held.any()):
        return "never holds"
    some = "" if bool(held.all()) else f"holds in {int(held.sum())} of {held.size} runs, "
    return some + _mean_end(done)


def _mean_end(done: Any) -> str:
    return (
        f"after {float(done['finish_cycle'].mean()):.0f} cycles and"
        f" {_check.bytes_text(float(done['precopy_bytes'].mean()))} of pre-copy,"
        f" downtime {float(done['downtime_s'].mean()):.1f} s"
    )


def _workload(arguments: argparse.Namespace, files: FileSet, share: list[float] | None) -> Workload:
    if arguments.shares is not None:
        return Workload.shares(files, arguments.shares)
    if arguments.zipf is not None:
        return Workload.zipf(files, arguments.zipf)
    if share is not None and not arguments.uniform:
        return Workload(share)
    return Workload.uniform(files)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return parse_shares(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _directory(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("got an empty name, expected a directory")
    return Path(text)
