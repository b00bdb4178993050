"""A forecast on one screen."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence

from precopy._check import bytes_text
from precopy._text import printable
from precopy.forecast.fixed import QUICK, Slowdown
from precopy.forecast.halves import USUAL
from precopy.forecast.numbers import Forecast, Hot, Interval, Outcome
from precopy.migration.ending import DEFAULT_RULE
from precopy.migration.report import number_text, seconds_text

WIDTH = 100
BUSY = 1.5
_INDENT = 12
_SHOWN = 6
_JOINT = "\ue000"
_UNIT = re.compile(r"([0-9]) ([a-zA-Z%]{1,3}\b|%)")
_UNITS = {"block": "blocks (estimated)", "file": "whole files"}


def screen(found: Forecast) -> str:
    """Return the forecast as text of a screen."""
    return "\n".join(
        [
            *_head(found),
            "",
            *_table(found),
            "",
            *_long_run(found),
            *_hot(found),
            *_rest(found),
        ]
    )


def downtime_text(outcome: Outcome) -> str:
    """Return the downtime with its interval."""
    if outcome.downtime_s is None:
        return "not reached"
    return f"downtime {_seconds(outcome.downtime_s)}"


def in_one_line(found: Forecast) -> str:
    """Return how a migration is expected to end, as a part of a sentence."""
    one = found.outcome
    if one.precopy_s is None or one.precopy_bytes is None:
        return f"the rule {one.rule} is never reached"
    return (
        f"after {_seconds(one.precopy_s)} and {_bytes(one.precopy_bytes)} sent, "
        f"{downtime_text(one)}"
    )


def _line(name: str, text: str) -> list[str]:
    return _wrapped(text, f"{name:<{_INDENT}}", _INDENT)


def _wrapped(text: str, first: str, indent: int) -> list[str]:
    """Return lines; a number stays with its unit."""
    lines = textwrap.wrap(
        _UNIT.sub(f"\\1{_JOINT}\\2", text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_JOINT, " ") for line in lines]


def _head(found: Forecast) -> Iterator[str]:
    together = ", ".join(printable(each) for each in found.applications)
    what = f"{printable(found.what)}" + (
        f", which moves with all of {together}" if len(found.applications) > 1 else ""
    )
    yield from _line(
        "forecast",
        f"{what}: {number_text(found.files, 'file')}, {bytes_text(found.total_bytes)}; "
        f"{found.written_files:,} were written while it was recorded",
    )
    left_out = ", ".join(f"{n:,} {why}" for why, n in found.updates_left_out.items())
    yield from _line(
        "recorded",
        f"{seconds_short(found.recorded_s)}, {found.updates:,} updates; "
        f"{_percent(found.seen_share)} of what was written is in the replay"
        + (f" (not: {left_out})" if left_out else ""),
    )
    once = seconds_short(found.total_bytes / found.bandwidth)
    yield from _line(
        "link",
        f"{_b(found.bandwidth)}/s: sending all once takes {once}; {_how(found)}",
    )


def _how(found: Forecast) -> str:
    cycles = f"cycles of {seconds_short(found.cycle_seconds)}"
    return f"{cycles}, {_UNITS[found.granularity]}, order {found.order}"


def _table(found: Forecast) -> Iterator[str]:
    own = "by default" if found.outcome.rule == DEFAULT_RULE else "--until"
    rows = [(own, found.outcome)]
    rows += [
        (seconds_short(goal), one) for goal, one in zip(found.goals_s, found.goals, strict=True)
    ]
    if found.patient.downtime_s != found.outcome.downtime_s:
        rows.append(("patient", found.patient))
    other = "file" if found.granularity == "block" else "block"
    rows.append((f"{other}s", found.instead))
    yield from _columns(
        [
            ("stop", "reached", "after", "sent before", "left", "downtime"),
            *((name, *_cells(one)) for name, one in rows),
        ]
    )
    patient = (
        f"patient: --until '{found.patient.rule}'; " if len(rows) == len(found.goals) + 3 else ""
    )
    yield from _line(
        "",
        f"{own}: {found.outcome.rule}; {patient}{other}s: {own} with {_UNITS[other]}. Reached: "
        "from how many start points in the recording, on a slow machine and usually. In brackets: "
        "from 10 to 90 % of them.",
    )


def _cells(one: Outcome) -> tuple[str, ...]:
    least = f"{one.reached_if_slow}–" if one.reached_if_slow < one.reached else ""
    reached = f"{least}{one.reached} of {one.of}"
    if one.precopy_s is None or one.precopy_bytes is None or one.downtime_s is None:
        return reached, "", "", "", ""
    left = one.final_copy_bytes.median if one.final_copy_bytes is not None else 0.0
    return (
        reached,
        _seconds(one.precopy_s),
        _bytes(one.precopy_bytes),
        _b(left),
        _seconds(one.downtime_s),
    )


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield rows whose columns are as wide as they must be; the first one no less than others."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    widths[0] = max(widths[0], _INDENT - 2)
    for row in rows:
        yield "  ".join(
            f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()


def links(found: Sequence[Forecast]) -> str:
    """Return forecasts for several links, each in one line."""
    rows: list[tuple[str, ...]] = [
        ("link", "all once", "reached", "after", "sent before", "left", "downtime")
    ]
    for one in found:
        once = seconds_short(one.total_bytes / one.bandwidth)
        rows.append((f"{_b(one.bandwidth)}/s", once, *_cells(one.outcome)))
    first = found[0]
    head = list(_head(first))
    notes = [line for text in _common(found) for line in _line("note", printable(text))]
    return "\n".join(
        [
            *head[: _lines_before_link(head)],
            *_line("how", f"{_how(first)}; it stops at {first.outcome.rule}"),
            "",
            *_columns(rows),
            "",
            *_line("more", "--bandwidth B tells more: goals, what keeps it up, what could be done"),
            *notes,
        ]
    )


def _common(found: Sequence[Forecast]) -> list[str]:
    """Return the notes that all have."""
    return [text for text in found[0].notes if all(text in each.notes for each in found)]


def _lines_before_link(head: Sequence[str]) -> int:
    return next(at for at, line in enumerate(head) if line.startswith("link"))


def _long_run(found: Forecast) -> Iterator[str]:
    long_run = found.long_run
    level = long_run.orders[found.order]
    yield from _line(
        "long run",
        f"{_b(level)} wait at the end of a cycle on average "
        f"{_brackets(long_run.pending_bytes, _b).strip()}, "
        f"{seconds_short(level / found.bandwidth)} of the link",
    )
    ranked = sorted(long_run.orders.items(), key=lambda each: each[1])
    texts = [f"{name} {_b(left)}" for name, left in ranked]
    least, most = ranked[0][1], ranked[-1][1]
    said = f"all leave {_b(most)}" if most <= 1.01 * least else ", ".join(texts)
    yield from _line(
        "orders",
        f"{said}; no policy leaves less than {_b(long_run.bound_bytes)} of whole files",
    )


def _hot(found: Forecast) -> Iterator[str]:
    if not found.hot:
        return
    yield ""
    yield f"{'waits':>7}{'sent':>7}   what keeps it up, in the long run"
    for each in found.hot[:_SHOWN]:
        yield from _hot_lines(each)
    rest = found.hot[_SHOWN:]
    if rest:
        waits = sum(each.final_copy_share for each in rest)
        sent = sum(each.traffic_share for each in rest)
        yield f"{_percent(waits):>7}{_percent(sent):>7}   {len(rest)} more"
    yield ""


def _hot_lines(each: Hot) -> list[str]:
    shares = f"{_percent(each.final_copy_share):>7}{_percent(each.traffic_share):>7}   "
    many = f"{each.files:,} files, " if each.files > 1 else ""
    text = (
        f"{each.path} ({many}{_b(each.size_bytes)}, {each.updates_per_s:.3g} "
        f"updates/s): {each.advice}"
    )
    return _wrapped(text, shares, 17)


def _busy(found: Forecast) -> str:
    usual, worst = found.slowdown
    if worst < BUSY:
        return ""
    return f" (this machine is busy: all takes {usual:.2g} times as long, at times {worst:.2g})"


def _rest(found: Forecast) -> Iterator[str]:
    slowdown = Slowdown(*found.slowdown)
    parts = ", ".join(f"{name} {seconds_short(value)}" for name, value in found.fixed_parts.items())
    yield from _line(
        "fixed",
        f"{seconds_short(found.fixed_s)} of each downtime are not the link: {parts}{_busy(found)}; "
        f"the brackets have {QUICK:g} to {slowdown.slow / slowdown.usual:.2g} times that",
    )
    halves = found.halves
    if halves is not None:
        yield from _line(
            "halves",
            f"the first half of the recording forecasts that {_b(halves.first_bytes)} wait, in the "
            f"second one {_b(halves.second_bytes)} do: {halves.factor:.3g} times apart, and the "
            f"brackets are as much wider, {USUAL:g} times at least",
        )
    for text in found.advice:
        yield from _line("advice", text)
    for text in found.notes:
        yield from _line("note", printable(text))


def _percent(share: float) -> str:
    if 0.9995 <= share < 1:
        return "99.9 %"
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def _rounded(size: float) -> float:
    """Return a size that is not shown to a byte."""
    return float(f"{size:.3g}")


def _b(size: float) -> str:
    return bytes_text(_rounded(size))


def _bytes(one: Interval) -> str:
    return f"{_b(one.median)}{_brackets(one, _b)}"


def _seconds(one: Interval) -> str:
    return f"{seconds_short(one.median)}{_brackets(one, seconds_short)}"


def seconds_short(seconds: float) -> str:
    """Return a time for a person, to two or three digits.

    Examples
    --------
    >>> [seconds_short(value) for value in (0.0071, 0.05, 0.25, 1.0, 12.34, 754.2)]
    ['7.1 ms', '50 ms', '250 ms', '1 s', '12.3 s', '12 min 34 s']
    """
    if seconds < 1:
        return f"{1000 * seconds:.2g} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"
    return f"{seconds:.3g} s" if seconds < 100 else seconds_text(seconds)


def _brackets(one: Interval, text: Callable[[float], str]) -> str:
    """Return from where to where it lies, in brackets; nothing where that is one number."""
    low, high = text(one.low), text(one.high)
    if low == high:
        return ""
    number, _, unit = low.partition(" ")
    return f" ({number if high.endswith(f' {unit}') else low}–{high})"
