"""What keeps it up: the files that wait in the long run, how they are written, what can be done."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precopy._check import bytes_text
from precopy._text import printable
from precopy.forecast.numbers import Hot
from precopy.forecast.replayed import FileReplay
from precopy.forecast.runs import COST, OVERHEAD_BYTES, Runs
from precopy.forecast.timeline import Ints
from precopy.migration.pending import Granularity
from precopy.trace import GONE, NO_FILE

Floats = npt.NDArray[np.float64]

MOST = 12
"""So many are told of."""

LEAST_SHARE = 0.005
"""Below this part of the final copy and of the traffic a file is not told of."""

_DIGITS = re.compile(r"[0-9a-f]{6,}|[0-9]+")
_BURST_NS = 500_000_000
_REGULAR = 0.35


@dataclass(frozen=True)
class Burden:
    """What each file is in the long run, in bytes.

    Attributes
    ----------
    waiting_bytes : float[n]
        At the end of a cycle, on average.
    sent_bytes : float[n]
        Per cycle, on average.
    """

    waiting_bytes: Floats
    sent_bytes: Floats


def burden(runs: Runs, granularity: Granularity, starts: Sequence[float]) -> Burden:
    """Replay file by file, from these moments."""
    files = len(runs.app.files)
    waiting, sent = np.zeros((2, files))
    for start_s in starts:
        replay = FileReplay(
            runs.line,
            runs.app.files.read_only,
            runs.policy,
            runs.cycle,
            start_s,
            COST[granularity],
            OVERHEAD_BYTES,
        )
        for _ in range(runs.cycles - runs.steady_cycles):
            replay.cycle()
        before = replay.sent_bytes.copy()
        for _ in range(runs.steady_cycles):
            replay.cycle()
            waits = np.flatnonzero(replay.pending)
            waiting[waits] += replay.cost_bytes[waits]
        sent += replay.sent_bytes - before
    cycles = max(len(starts) * runs.steady_cycles, 1)
    return Burden(waiting / cycles, sent / cycles)


def hottest(runs: Runs, found: Burden, granularity: Granularity) -> list[Hot]:
    """Return what waits most, files whose names differ in digits only together."""
    all_waiting, all_sent = found.waiting_bytes.sum(), found.sent_bytes.sum()
    if not all_waiting and not all_sent:
        return []
    waiting = found.waiting_bytes / (all_waiting or 1.0)
    sent = found.sent_bytes / (all_sent or 1.0)
    groups = _groups(runs, np.flatnonzero((waiting > 0) | (sent > 0)))
    told = []
    for ids in groups:
        share, traffic = float(waiting[ids].sum()), float(sent[ids].sum())
        if max(share, traffic) >= LEAST_SHARE:
            told.append((share, traffic, ids))
    told.sort(key=lambda each: (-each[0], -each[1]))
    return [_hot(runs, *each, granularity) for each in told[:MOST]]


def _groups(runs: Runs, ids: Ints) -> list[Ints]:
    paths = runs.app.files.path
    if paths is None:
        return [np.array([each]) for each in ids.tolist()]
    groups: dict[str, list[int]] = defaultdict(list)
    for each in ids.tolist():
        groups[_DIGITS.sub("#", paths[each])].append(each)
    return [np.array(each) for each in groups.values()]


def common_name(paths: Sequence[str]) -> str:
    """Return what paths that differ in digits have in common, with # for the rest.

    Examples
    --------
    >>> common_name(["/srv/v2/db-1", "/srv/v2/db-17"]), common_name(["/srv/log.1"])
    ('/srv/v2/db-#', '/srv/log.1')
    """
    texts = [_DIGITS.split(path) for path in paths]
    numbers = [_DIGITS.findall(path) for path in paths]
    name = texts[0][0]
    for place, text in enumerate(texts[0][1:]):
        known = {each[place] for each in numbers}
        name += (known.pop() if len(known) == 1 else "#") + text
    return name


def _hot(runs: Runs, share: float, traffic: float, ids: Ints, granularity: Granularity) -> Hot:
    line, paths = runs.line, runs.app.files.path
    member = np.zeros(len(runs.app.files), np.bool_)
    member[ids] = True
    rows = np.flatnonzero(member[line.file_id])
    written, seconds = float(line.write_bytes[rows].sum()), runs.app.seconds
    size = int(_mean_size(runs, ids))
    every_s = _every(line.time_ns[rows[line.size_bytes[rows] != GONE]])
    kind = _kind(runs, ids, rows, written)
    names = [f"file {each}" for each in ids.tolist()] if paths is None else None
    known = names or [printable(paths[each]) for each in ids.tolist()]  # type: ignore[index]
    hot = Hot(
        path=common_name(known),
        files=len(ids),
        kind=kind,
        size_bytes=size,
        written_bytes_per_s=written / seconds,
        updates_per_s=float(line.count[rows].sum()) / seconds,
        every_s=every_s,
        final_copy_share=share,
        traffic_share=traffic,
    )
    return Hot(**{**vars(hot), "advice": _advice(hot, granularity)})


def _mean_size(runs: Runs, ids: Ints) -> float:
    """Return how large files are together, on average over the recording."""
    at = np.linspace(0, runs.line.duration_ns, 9).astype(np.int64)
    return float(np.mean([runs.line.state(int(each))[1][ids].sum() for each in at]))


def _kind(runs: Runs, ids: Ints, rows: Ints, written: float) -> str:
    line = runs.line
    renamed = line.from_id[rows] != NO_FILE
    if int(renamed.sum()) >= 2:
        return "replaced"
    if int((line.size_bytes[rows] == GONE).sum()) >= 2:
        return "comes and goes"
    begin, end = (line.state(at)[1][ids].sum() for at in (0, line.duration_ns))
    if written and float(end) - float(begin) >= 0.5 * written:
        return "grows"
    if len(ids) == 1:
        bursts = _bursts(line.time_ns[rows])
        largest = float(line.size_bytes[rows].max(initial=0))
        if len(bursts) >= 2 and largest and written / len(bursts) >= 0.8 * largest:
            return "rewritten"
    return "in place"


def _bursts(time_ns: Ints) -> Ints:
    """Return when bursts of writes begin: half a second without writes is between two."""
    if not len(time_ns):
        return time_ns
    begins: Ints = time_ns[np.diff(time_ns, prepend=time_ns[0] - _BURST_NS - 1) > _BURST_NS]
    return begins


def _every(time_ns: Ints) -> float | None:
    """Return how far apart bursts of writes are, if they are, and that is regular."""
    gaps = np.diff(_bursts(time_ns)) / 1e9
    if len(gaps) < 2:
        return None
    usual = float(np.median(gaps))
    if usual < 1.0 or float(np.median(np.abs(gaps - usual))) > _REGULAR * usual:
        return None
    return usual


def _advice(hot: Hot, granularity: Granularity) -> str:
    apart = f", about every {hot.every_s:.2g} s: stop between two" if hot.every_s else ""
    if hot.kind == "grows":
        rate = f"{bytes_text(hot.written_bytes_per_s)}/s"
        if granularity == "file" and hot.size_bytes > 4 * hot.written_bytes_per_s:
            return f"grows by {rate}: send blocks; a log can be rotated before, or left out"
        return f"grows by {rate}{apart}"
    if hot.kind == "replaced":
        return f"replaced as a whole{apart or '; blocks do not help'}"
    if hot.kind == "rewritten":
        return f"rewritten as a whole{apart or '; blocks do not help'}"
    if hot.kind == "comes and goes":
        return "comes and goes: only what lives at the stop is left"
    if granularity == "file" and hot.size_bytes > 4 * hot.written_bytes_per_s > 0:
        return f"written in place, {bytes_text(hot.written_bytes_per_s)}/s of it: send blocks"
    return f"written in place{apart}"
