"""Just before the stop: final copies while the application runs, which tell how long one takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from precopy.migration.engine import Engine
from precopy.migration.forecast import Forecast
from precopy.migration.work import FileWork

FEWEST, MOST = 6, 14
LONG_SECONDS = 0.2
"""Where sending what is pending takes longer, it is not sent beforehand: that would be a cycle
more than the rule asked for, and nothing would be learned that the link's speed does not tell."""


def rehearse(
    work: FileWork,
    engine: Engine,
    forecast: Forecast,
    tell: Callable[[float], None] = lambda seconds: None,
) -> float:
    """Send what is left, again and again, until that gets no shorter; return the prediction."""
    took: list[float] = []
    scans: list[float] = []
    predicted = engine.predict()
    if work.pending.waiting_bytes > LONG_SECONDS * (engine.bandwidth or float("inf")):
        return predicted
    while len(took) < MOST:
        begin = time.monotonic()
        before = work.pending.precopy_bytes
        units = work.send_all()
        found = work.found
        # What only prepares a later look is not done when nothing runs any more.
        prepared = found.seconds - found.scan.seconds
        took.append(time.monotonic() - begin - prepared)
        scans.append(found.scan.seconds)
        forecast.scan_s = median(scans[-5:])
        predicted = forecast.rehearsed(took[-5:])
        engine.note(
            seconds=took[-1],
            sent_bytes=work.pending.precopy_bytes - before,
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
