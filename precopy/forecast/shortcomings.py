"""What a recording cannot tell, or tells only once: sentences for the reader of a forecast."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from precopy._check import bytes_text
from precopy.forecast.numbers import Forecast
from precopy.forecast.report import seconds_short
from precopy.forecast.runs import MOST_CYCLES, Runs
from precopy.forecast.timeline import Timeline
from precopy.migration.source.tracing import LARGE_BYTES

SHORT_S = 20.0
"""A recording below this says little of what comes every ten seconds."""

APART = 1.35
"""Half of a recording told the other half within this factor in three of four recordings."""

_GROWTH = 0.1
_ONCE_SHARE = 0.2


def shortcomings(found: Forecast, runs: Runs, line: Timeline) -> Iterator[str]:
    """Yield what the reader should know of the recording, as it was."""
    if not found.updates:
        yield "nothing was written while it was recorded: what it writes else is not known"
        return
    if found.recorded_s < SHORT_S:
        yield (
            f"{seconds_short(found.recorded_s)} were recorded: what happens less often is not "
            "known; record a minute or more"
        )
    if found.halves is None:
        yield "the recording is too short to compare its halves: the intervals are too narrow"
    elif found.halves.factor > APART:
        yield (
            f"the halves of the recording are {found.halves.factor:.2g} times apart: it was too "
            "short, or the application does not always write alike; record longer"
        )
    precopy = found.outcome.precopy_s
    if precopy is not None and precopy.median > found.recorded_s:
        times = precopy.median / found.recorded_s
        yield (
            f"the pre-copy takes longer than was recorded: the recording is replayed {times:.1f} "
            "times, one after the other"
        )
    if runs.cycles >= MOST_CYCLES:
        yield (
            f"the replay ends after {MOST_CYCLES:,} cycles, before the level of the long run is "
            "sure to be reached"
        )
    yield from _growth(line)
    yield from _seen_once(line)
    large = line.size_bytes[line.size_bytes > LARGE_BYTES]
    if len(large):
        yield (
            f"files above {bytes_text(LARGE_BYTES)} are written: only as root on ext4 is it known "
            f"where; else they are read as a whole while it stands, up to "
            f"{seconds_short(float(large.max()) / 1.6e9)} more"
        )


def _growth(line: Timeline) -> Iterator[str]:
    begin, end = (int(line.state(at)[1].sum()) for at in (0, line.duration_ns))
    if end - begin > _GROWTH * max(end, 1):
        rate = (end - begin) / (line.duration_ns / 1e9)
        yield (
            f"it grew from {bytes_text(begin)} to {bytes_text(end)} while it was recorded, "
            f"{bytes_text(rate)}/s: later there is more to send"
        )


def _seen_once(line: Timeline) -> Iterator[str]:
    second = line.time_ns // 10**9
    written = np.bincount(second, line.write_bytes)
    if len(written) < 3 or not written.sum():
        return
    at = int(written.argmax())
    others = np.delete(written, slice(max(at - 1, 0), at + 2))
    rest = float(others.max(initial=0.0))
    if written[at] >= _ONCE_SHARE * written.sum() and rest < written[at] / 3:
        yield (
            f"{bytes_text(float(written[at]))} were written {seconds_short(float(at))} after the "
            "beginning, and so much only once: whether that comes again, and when, is not known"
        )
