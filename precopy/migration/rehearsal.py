"""Final copies while the application runs, which tell how long one takes.

There is one in each cycle that could send everything, and some in a row just before the stop.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from precopy.migration.engine import Engine
from precopy.migration.pending import Units
from precopy.migration.prediction import Prediction
from precopy.migration.work import FileWork

FEWEST, MOST = 6, 14
LONG = 0.5
"""Where sending what is pending takes more than this part of a cycle, it is not sent beforehand:
that would be a cycle more than the rule asked for, and nothing would be learned that the link's
speed does not tell."""

SHORT = 0.1
"""A rehearsal in the cycle is made where a look takes no more than this part of a cycle."""


def rehearse_once(work: FileWork, engine: Engine, prediction: Prediction) -> int:
    """Make one rehearsal, and note what it took; return the bytes that crossed the link."""
    if work.look_seconds > SHORT * engine.pace.seconds:
        return 0
    before = work.transport.link_bytes
    prediction.rehearsed_s, _ = _final_copy(work)
    return work.transport.link_bytes - before


def _final_copy(work: FileWork) -> tuple[float, Units]:
    """Make a final copy; return what it took, in seconds, and what was sent."""
    begin = time.monotonic()
    units = work.send_all()
    return time.monotonic() - begin - work.found.prepared_s, units


def rehearse(
    work: FileWork,
    engine: Engine,
    prediction: Prediction,
    tell: Callable[[float], None] = lambda seconds: None,
) -> float:
    """Send what is left, again and again, until that gets no shorter; return the prediction."""
    took: list[float] = []
    scans: list[float] = []
    predicted = engine.predict()
    cycle_bytes = (engine.bandwidth or float("inf")) * engine.pace.seconds
    if work.pending.waiting_bytes > LONG * cycle_bytes:
        return predicted
    while len(took) < MOST:
        before = work.pending.precopy_bytes, work.pending.resent_bytes
        seconds, units = _final_copy(work)
        took.append(seconds)
        scans.append(work.found.scan.seconds)
        prediction.scan_s = median(scans[-5:])
        predicted = prediction.rehearsed(took[-5:])
        engine.note(
            seconds=took[-1],
            sent_bytes=work.pending.precopy_bytes - before[0],
            resent_bytes=work.pending.resent_bytes - before[1],
            pending_bytes=int(work.pending.cost_bytes[units].sum()),
            predicted_downtime_s=predicted,
        )
        tell(predicted)
        if len(took) >= FEWEST and took[-1] >= 0.8 * median(took[-4:-1]):
            break
    return predicted


@contextmanager
def no_collections() -> Iterator[None]:
    """Let Python collect no garbage for a while: it would take milliseconds."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
