"""What a migration leaves behind, put together as a report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from precopy._text import printable
from precopy.migration.engine import Engine
from precopy.migration.expectation import curve
from precopy.migration.report import Report
from precopy.migration.settings import Settings
from precopy.migration.subject import Subject, grouped
from precopy.migration.transport.interface import Started
from precopy.migration.work import FileWork


@dataclass(frozen=True)
class Times:
    """When what happened; moments are `time.monotonic`'s, all in seconds.

    Attributes
    ----------
    precopy_s : float
        How long the application ran on while its files were sent.
    predicted_s : float
        The downtime that was predicted before the stop.
    stopped_at : float
        Before the first process was stopped.
    freeze_s : float
        Until all stood.
    at_commit, decided : float
        When everything was verified, and when the destination was in charge.
    start_s : float or None
        From then on until the program was executing there, if one was started.
    """

    precopy_s: float
    predicted_s: float
    stopped_at: float
    freeze_s: float
    at_commit: float
    decided: float
    start_s: float | None

    @property
    def downtime_s(self) -> float:
        """Until the application could run at the destination."""
        return self.decided - self.stopped_at + (self.start_s or 0.0)


def outcome(
    subject: Subject, settings: Settings, work: FileWork, engine: Engine, times: Times
) -> Report:
    """Return the report of a migration that is done."""
    counts, spent = work.tree.counts_by_kind(), work.spent
    parts = {
        "freeze": times.freeze_s,
        "scan": spent.scan,
        "read": spent.read,
        "link": spent.link,
        "verify": spent.verify,
        "sync": spent.sync,
        "commit": times.decided - times.at_commit,
    }
    if times.start_s is not None:
        parts["start"] = times.start_s
    parts["other"] = max(times.downtime_s - sum(parts.values()), 0.0)
    return replace(
        nothing(subject.migration, subject.name, settings),
        files=counts["file"],
        directories=counts["directory"],
        links=counts["link"],
        total_bytes=work.tree.total_bytes,
        downtime_s=times.downtime_s,
        downtime_parts=parts,
        predicted_downtime_s=times.predicted_s,
        link_bytes=work.transport.link_bytes,
        precopy_s=times.precopy_s,
        bandwidth=engine.bandwidth,
        records=engine.curves.records,
        simulated=_simulated(subject, settings, work, engine, times),
    )


def nothing(migration: str, name: str, settings: Settings) -> Report:
    """Return the report of a migration that moved nothing."""
    return Report(
        migration=migration,
        what=name,
        to=settings.to,
        granularity=settings.granularity,
        order=settings.order,
        files=0,
        directories=0,
        links=0,
        total_bytes=0,
        downtime_s=0.0,
        downtime_parts={},
        predicted_downtime_s=0.0,
        final_copy_bytes=0,
        final_copy_files=0,
        precopy_bytes=0,
        resent_bytes=0,
        link_bytes=0,
        precopy_s=0.0,
        bandwidth=None,
        stopped_because="",
        verified=True,
    )


def started_there(started: Started | None, argv: Sequence[bytes]) -> dict[str, Any] | None:
    """Return what was started, as the report has it."""
    if started is None:
        return None
    words = [os.fsdecode(word) for word in argv]
    return {"pid": started.pid, "argv": words, "output": os.fsdecode(started.output)}


def told(work: FileWork) -> Iterator[str]:
    """Yield what the operator should know of what moved, and of what did not."""
    yield from grouped(work.problems)
    for name, count in work.structure.left_out().items():
        yield f"extended attribute {printable(name)} of {count:,} entries did not move"
    yield from work.remarks


def _simulated(
    subject: Subject, settings: Settings, work: FileWork, engine: Engine, times: Times
) -> dict[str, list[float]] | None:
    """Return what the forecast says of this migration, where writes were recorded before."""
    if subject.log is None or engine.bandwidth is None or subject.identification is None:
        return None
    cycles = len(engine.curves)
    try:
        return curve(
            subject.log,
            subject.identification,
            {entry.path: entry.status.size for entry in work.tree.files()},
            settings,
            engine.bandwidth,
            engine.curves.records[-1].seconds / cycles,
            cycles,
            times.precopy_s + times.downtime_s,
        )
    except Exception:
        # A file larger than a cycle's budget, a log that is gone: all is moved, and the report must
        # come, with or without a forecast.
        return None
