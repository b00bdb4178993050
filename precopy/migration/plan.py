"""A dry run: what would move, and what is to be expected of it.  Nothing is touched, nobody asked.

Not even the destination is: whether it can be reached, and is empty, shows in the run itself.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from precopy._check import bytes_text
from precopy._text import printable
from precopy.forecast.numbers import Forecast
from precopy.forecast.report import in_one_line
from precopy.migration.expectation import foretell
from precopy.migration.report import number_text, seconds_text
from precopy.migration.settings import Settings
from precopy.migration.source.tree import Tree
from precopy.migration.subject import Subject, What, grouped


@dataclass(frozen=True)
class Plan:
    """What a migration would do.

    Attributes
    ----------
    what, to : str
        What would move, and where to.
    files, directories, links : int
        How many.
    total_bytes : int
        The size of all files together.
    largest : list of (str, int)
        The largest files: path and size.
    stops : list of str
        The processes that would be stopped, for people.
    rule : str
        When.
    bandwidth : float or None
        Bytes per second, as given.
    forecast : Forecast or None
        From the recording, where a log and a bandwidth are given.
    notes : list of str
        What the operator should know.
    """

    what: str
    to: str
    files: int
    directories: int
    links: int
    total_bytes: int
    largest: list[tuple[str, int]]
    stops: list[str]
    rule: str
    bandwidth: float | None
    forecast: Forecast | None
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            (
                "would move",
                f"{printable(self.what)} to {printable(self.to)}: "
                f"{number_text(self.files, 'file')}, "
                f"{bytes_text(self.total_bytes)}; {self.directories:,} directories, "
                f"{self.links:,} links",
            ),
            (
                "largest",
                ", ".join(f"{printable(path)} {bytes_text(size)}" for path, size in self.largest),
            ),
            ("would stop", ", ".join(self.stops) or "nothing: a command does"),
            ("as soon as", self.rule),
            *self._expected(),
            *(("note", printable(note)) for note in self.notes),
        ]
        text = "\n".join(f"{name:<12}{text}" for name, text in lines if text)
        return text if self.forecast is None else f"{text}\n\n{self.forecast}"

    def _expected(self) -> list[tuple[str, str]]:
        if self.bandwidth is None:
            return [("expected", "give --bandwidth to learn how long it takes")]
        once = f"sending all once takes {seconds_text(self.total_bytes / self.bandwidth)}"
        if self.forecast is None:
            return [("expected", f"{once}; what it writes is not known without a recording")]
        return [("expected", f"{once}; {in_one_line(self.forecast)}; the forecast is below")]


def plan(what: What, settings: Settings) -> Plan:
    """Return what a migration would do; nothing is touched.

    Raises
    ------
    ValueError, TypeError, OSError
        As `precopy.migration.migrate`, for what is clear before it begins.
    """
    with ExitStack() as stack:
        subject = Subject.of(what, settings, stack)
        if settings.local_target is not None:
            subject.selection.refuse_target(settings.local_target)
        tree = Tree(subject.selection)
        scan = tree.scan()
        files, counts = list(tree.files()), tree.counts_by_kind()
        largest = sorted(files, key=lambda entry: entry.status.size, reverse=True)[:3]
        notes = [*subject.notes, *grouped(scan.problems)]
        sizes = {entry.path: entry.status.size for entry in files}
        return Plan(
            what=subject.name,
            to=settings.to,
            files=counts["file"],
            directories=counts["directory"],
            links=counts["link"],
            total_bytes=tree.total_bytes,
            largest=[(printable(entry.path), entry.status.size) for entry in largest],
            stops=subject.processes(),
            rule=str(settings.rule),
            bandwidth=settings.bandwidth,
            forecast=foretell(subject.log, what, sizes, settings),
            notes=notes,
        )
