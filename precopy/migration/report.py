"""What a migration did: numbers, JSON, a summary for one screen, a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from precopy._check import bytes_text
from precopy._text import json_text, printable
from precopy.migration.curves import CycleRecord

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]
    from matplotlib.figure import Figure

PARTS = ("freeze", "scan", "read", "link", "verify", "sync", "commit", "start")
"""Of the downtime, in their order; what is in none of them is Python between them."""


@dataclass(frozen=True, repr=False)
class Report:
    """What one migration did.

    Attributes
    ----------
    migration : str
        Its id, from what moved and where to.
    what : str
        What moved: names of applications, or paths.
    to : str
        Where to.
    granularity : {"block", "file"}
    order : str
        In which pending units were sent.
    files, directories, links : int
        How many moved.
    total_bytes : int
        The size of all files together.
    downtime_s : float
        From the moment before the first process was stopped until the application could run at the
        destination: complete, verified, durable, and the destination in charge.  In seconds.
    downtime_parts : dict of str to float
        Where it went, in seconds: freeze, scan, read, link, verify, sync, commit, start, other.
    predicted_downtime_s : float
        What was predicted just before the stop.
    final_copy_bytes : int
        What was sent while the application stood still.
    final_copy_files : int
        In how many files.
    precopy_bytes, resent_bytes : int
        What was sent before, while it ran; what of it for the second time or later.
    link_bytes : int
        All that crossed the link, in both directions.
    precopy_s : float
        How long the application ran on while its files were sent.
    bandwidth : float or None
        Bytes per second of the link, given or measured.
    stopped_because : str
        The rule that ended the pre-copy, and its numbers.
    verified : bool
        Whether every block that was sent was read back at the destination and compared.
    started : dict or None
        The program that was started there: pid, argv, output.
    notes : list of str
        What the operator should know.
    records : list of CycleRecord
        The cycles; `cycles` is a table of them.
    layers : dict of str to str
        What beside the status of files told of writes, or why it could not be had.
    simulated : dict or None
        What was to be expected from the recording: seconds and pending_bytes, lists; the median
        of replays from several moments.
    """

    migration: str
    what: str
    to: str
    granularity: str
    order: str
    files: int
    directories: int
    links: int
    total_bytes: int
    downtime_s: float
    downtime_parts: dict[str, float]
    predicted_downtime_s: float
    final_copy_bytes: int
    final_copy_files: int
    precopy_bytes: int
    resent_bytes: int
    link_bytes: int
    precopy_s: float
    bandwidth: float | None
    stopped_because: str
    verified: bool
    started: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    layers: dict[str, str] = field(default_factory=dict)
    records: list[CycleRecord] = field(default_factory=list)
    simulated: dict[str, list[float]] | None = None

    @property
    def cycles(self) -> pd.DataFrame:
        """One row per cycle.

        Returns
        -------
        pandas.DataFrame
            seconds (at its end, since the start), cycle_seconds, sent_bytes, resent_bytes,
            link_bytes, pending_bytes, written_bytes, bandwidth (bytes per second) and
            predicted_downtime_s; the index is the number of the cycle, from 1.
        """
        import pandas as pd

        names = list(CycleRecord.__dataclass_fields__)
        rows = [asdict(record) for record in self.records]
        index = pd.RangeIndex(1, len(rows) + 1, name="cycle")
        return pd.DataFrame(rows, index, names)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON knows it; ``cycles`` is a list of objects."""
        values = asdict(self)
        values["cycles"] = values.pop("records")
        return values

    def to_json(self, path: str | Path | None = None) -> str:
        """Return all of it as JSON text, and write it to a file if one is given."""
        return json_text(self.to_dict(), path)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the pending curve, what was sent when, and where the downtime went.

        Parameters
        ----------
        path : path, optional
            Write it there as well, in the format of the name's ending.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from precopy.migration.picture import draw

        return draw(self, path)

    def __str__(self) -> str:
        return "\n".join(f"{name:<12}{text}" for name, text in self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        text = bytes_text
        again = f", {text(self.resent_bytes)} of it again" if self.resent_bytes else ""
        link = f"; the link carried {text(self.bandwidth)}/s" if self.bandwidth else ""
        count = len(self.records)
        if not count:
            lines = [
                ("moved", f"{printable(self.what)} to {printable(self.to)}, by an earlier run")
            ]
            return lines + self._last_lines()
        lines = [
            (
                "moved",
                f"{printable(self.what)} to {printable(self.to)}: "
                f"{number_text(self.files, 'file')}, "
                f"{text(self.total_bytes)}"
                + (", every byte verified there, on its disk" if self.verified else ""),
            ),
            (
                "downtime",
                f"{seconds_text(self.downtime_s)} "
                f"(predicted {seconds_text(self.predicted_downtime_s)}): {self._split()}",
            ),
            (
                "final copy",
                f"{text(self.final_copy_bytes)} in {number_text(self.final_copy_files, 'file')}",
            ),
            (
                "pre-copy",
                f"{seconds_text(self.precopy_s)}, {number_text(count, 'cycle')}, "
                f"{text(self.precopy_bytes)}{again}{link}",
            ),
            ("stopped", self.stopped_because),
        ]
        return lines + self._last_lines()

    def _last_lines(self) -> list[tuple[str, str]]:
        lines = []
        if self.started is not None:
            argv = " ".join(map(printable, self.started["argv"]))
            where = self.started.get("output")
            output = f"; its output: {printable(where)} there" if where else ""
            lines.append(("started", f"pid {self.started['pid']} there: {argv}{output}"))
        return lines + [("note", printable(note)) for note in self.notes]

    def _split(self) -> str:
        parts = self.downtime_parts
        return ", ".join(
            f"{name} {seconds_text(value)}" for name, value in parts.items() if value >= 5e-5
        )

    def __repr__(self) -> str:
        return (
            f"<Report: {printable(self.what)} to {printable(self.to)}, downtime "
            f"{seconds_text(self.downtime_s)}, final copy {bytes_text(self.final_copy_bytes)}, "
            f"{'verified' if self.verified else 'NOT verified'}>"
        )


def seconds_text(seconds: float) -> str:
    """Return a time for a person.

    Examples
    --------
    >>> [seconds_text(value) for value in (0.00834, 0.512, 12.34, 754.2, 45000, 2e6)]
    ['8.3 ms', '512 ms', '12.3 s', '12 min 34 s', '12 h 30 min', '23 days']
    """
    if not np.isfinite(seconds):
        return "unknown"
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    if minutes < 72 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.0f} days"


def number_text(count: int, word: str) -> str:
    """Return a number of things for a person.

    Examples
    --------
    >>> number_text(1, "file"), number_text(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"
