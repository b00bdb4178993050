"""What a recorded application's writes look like: rates, skew, births, bursts, and what is at rest.

`characterise` puts it into numbers, `precopy.plot.character` into a picture; nothing here
simulates. How much of it a migration can use says the trace's bound, at given links.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precopy import _check, _clean
from precopy._clean import column
from precopy._rest import of_long_run
from precopy.recorded import Recorded
from precopy.run import Cycle

if TYPE_CHECKING:
    import pandas

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LINKS_S = (8.0, 25.0, 60.0)
"""In how many seconds the links that are looked at by default would send all data once."""


@dataclass(frozen=True)
class AtLink:
    """What a recording means to one link.

    Attributes
    ----------
    bandwidth : float
        Bytes per second.
    once_s : float
        How long it takes to send all data once, in seconds.
    load : float
        Bytes of the files that become pending in a cycle, as a share of what the link sends.
    bound_bytes : float
        No policy leaves less in the mean over a long run (`bound.trace_final_copy_bytes`).
    bound_s : float
        How long the link needs to send the bound, in seconds.
    """

    bandwidth: float
    once_s: float
    load: float
    bound_bytes: float
    bound_s: float


def _fact(group: str, text: str, unit: str = "") -> Any:
    return field(metadata={"group": group, "text": text, "unit": unit})


@dataclass(frozen=True)
class Character:
    """What a recorded application's writes look like, in numbers.

    Made by `characterise`. A number that the recording does not have is NaN. Attributes that end
    in ``_s`` are seconds, ``_bytes`` bytes, ``_per_s`` numbers per second, ``_share`` shares of 1.
    """

    name: str
    seconds: float
    interval_s: float
    links: tuple[AtLink, ...]

    files: int = _fact("files", "files that existed at some time")
    files_at_begin: int = _fact("files", "files at the beginning")
    begin_bytes: float = _fact("files", "bytes at the beginning", "B")
    mean_bytes: float = _fact("files", "bytes in the mean", "B")
    growth_bytes_per_s: float = _fact("files", "growth", "B/s")
    largest_share: float = _fact("files", "share of the bytes in the largest file", "%")

    updates: int = _fact("writes", "updates")
    updates_per_s: float = _fact("writes", "updates per second")
    peak_updates_per_s: float = _fact("writes", "updates per second, busiest interval")
    written_bytes_per_s: float = _fact("writes", "written", "B/s")
    peak_written_bytes_per_s: float = _fact("writes", "written, busiest interval", "B/s")
    dirty_bytes_per_s: float = _fact("writes", "files written in an interval (working set)", "B/s")
    peak_dirty_bytes_per_s: float = _fact("writes", "the same, busiest interval", "B/s")

    written_files_share: float = _fact("skew", "files that are written at all", "%")
    top_1_share: float = _fact("skew", "updates of the busiest 1 % of the files", "%")
    top_10_share: float = _fact("skew", "updates of the busiest 10 % of the files", "%")
    gini: float = _fact("skew", "Gini coefficient of the updates")
    zipf_exponent: float = _fact("skew", "Zipf exponent, fitted to the written files")

    births_per_s: float = _fact("coming and going", "births per second")
    deaths_per_s: float = _fact("coming and going", "deaths per second")
    renames_per_s: float = _fact("coming and going", "renames per second")
    replaced_per_s: float = _fact("coming and going", "files replaced by a rename, per second")
    lasting_share: float = _fact(
        "coming and going", "updates of files that exist from begin to end", "%"
    )
    fixed_share: float = _fact("coming and going", "updates of those whose size stays", "%")

    dispersion: float = _fact("bursts", "index of dispersion of updates per interval (Poisson: 1)")
    busy_10_share: float = _fact("bursts", "updates in the busiest 10 % of the intervals", "%")
    idle_share: float = _fact("bursts", "intervals in which nothing happens", "%")
    longest_idle_s: float = _fact("bursts", "longest time in which nothing happens", "s")

    halves_rank_correlation: float = _fact(
        "halves", "rank correlation of the files' updates in both halves"
    )
    halves_known_share: float = _fact(
        "halves", "updates of the second half that go to files updated in the first", "%"
    )
    halves_rate_ratio: float = _fact("halves", "updates of the second half per one of the first")

    left_out_share: float = _fact("recording", "write calls that are not in the trace", "%")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON; None where a number is not known."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the table: one row per number, with its group, meaning, value and unit.

        Returns
        -------
        pandas.DataFrame
            Indexed by the attribute's name; the links are in `links`.
        """
        import pandas

        rows = [
            {"name": one.name, **one.metadata, "value": getattr(self, one.name)}
            for one in fields(self)
            if one.metadata
        ]
        return pandas.DataFrame(rows).set_index("name")[["group", "text", "value", "unit"]]

    def _groups(self) -> dict[str, list[tuple[str, str]]]:
        groups: dict[str, list[tuple[str, str]]] = {}
        for one in fields(self):
            if one.metadata:
                shown = _shown(getattr(self, one.name), one.metadata["unit"])
                groups.setdefault(one.metadata["group"], []).append((one.metadata["text"], shown))
        return groups

    def _links(self) -> list[list[str]]:
        head = ["link", "all data in", "load", "least mean final copy", "downtime"]
        text = _check.bytes_text
        return [head] + [
            [
                f"{text(link.bandwidth)}/s",
                f"{link.once_s:.3g} s",
                f"{link.load:.0%}",
                text(link.bound_bytes),
                f"{link.bound_s:.2g} s",
            ]
            for link in self.links
        ]

    def _title(self) -> str:
        return f"{self.name}: {self.seconds:.4g} s, in intervals of {self.interval_s:g} s"

    def __str__(self) -> str:
        lines = [self._title()]
        for group, rows in self._groups().items():
            lines += ["", group] + [f"  {text:61} {value:>12}" for text, value in rows]
        links = self._links()
        widths = [max(map(len, cells)) for cells in zip(*links, strict=True)]
        lines += [
            "",
            "no policy leaves less, in the mean of a long run, cycles of one interval",
        ]
        lines += [
            "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            for row in links
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"<Character of {self.name}: {self.updates_per_s:.4g} updates/s, busiest 10 % of the "
            f"files get {self.top_10_share:.0%}, {self.lasting_share:.0%} go to lasting files>"
        )

    def _repr_html_(self) -> str:
        def row(cells: Iterable[str], tag: str = "td") -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(
            f'<tr><th colspan="2" style="text-align:left">{escape(group)}</th></tr>'
            + "".join(row(cells) for cells in rows)
            for group, rows in self._groups().items()
        )
        head, *links = self._links()
        return (
            f"<table><caption><b>{escape(self._title())}</b></caption><tbody>{body}</tbody></table>"
            "<table><caption>what no policy comes below</caption>"
            f"<thead>{row(head, 'th')}</thead><tbody>{''.join(map(row, links))}</tbody></table>"
        )


def characterise(
    app: Recorded,
    *,
    bandwidths: Iterable[float] | None = None,
    interval_s: float = 1.0,
) -> Character:
    """Say in numbers what a recorded application's writes look like.

    Parameters
    ----------
    app : Recorded
        The recording.
    bandwidths : iterable of float, optional
        Links, in bytes per second, to bound the final copy for. Default: those that send the data
        once in 8, 25 and 60 s.
    interval_s : float, default 1.0
        How long the intervals are, in seconds, that rates and bursts are counted in; also the
        cycles of the bound.

    Returns
    -------
    Character
        Print it, or let a notebook show it.

    Raises
    ------
    ValueError, TypeError
        For anything but a recording, or numbers that are not above 0.

    References
    ----------
    Paper, section 6 (its open item: evaluation fitted to real environments).

    Examples
    --------
    >>> import precopy
    >>> files = precopy.FileSet([1000, 9000])
    >>> second = range(0, 10 * 10**9, 10**9)
    >>> writes = precopy.WriteTrace(
    ...     [0] * 10, [500] * 10, time_ns=second, size_bytes=[1000] * 10, duration_ns=10 * 10**9
    ... )
    >>> app = precopy.Recorded("log", files, writes)
    >>> precopy.characterise(app)
    <Character of log: 1 updates/s, busiest 10 % of the files get 100%, 100% go to lasting files>
    """
    if not isinstance(app, Recorded):
        raise TypeError(f"app: expected a Recorded, got {_check.shown(app)}")
    interval_s = _check.positive("interval_s", interval_s)
    interval_ns = max(round(interval_s * 1e9), 1)
    history = History.of(app)
    intervals = max(math.ceil(app.writes.duration_ns / interval_ns), 1)
    mean_bytes = history.mean_bytes()
    dirty = dirty_bytes(app, interval_s)[: max(app.writes.duration_ns // interval_ns, 1)]
    links = _links(app, bandwidths, mean_bytes, dirty, interval_s)
    return Character(
        name=app.name,
        seconds=app.seconds,
        interval_s=interval_s,
        links=links,
        **_of_files(app, history, mean_bytes),
        **_of_rates(app, interval_ns, intervals),
        dirty_bytes_per_s=float(dirty.mean()) / interval_s,
        peak_dirty_bytes_per_s=float(dirty.max()) / interval_s,
        **_of_skew(app),
        **_of_coming_and_going(app, history),
        **_of_bursts(app, interval_ns, intervals),
        **_of_halves(app),
        left_out_share=_ratio(
            sum(app.writes.left_out.values()),
            sum(app.writes.left_out.values()) + app.writes.updates,
        ),
    )


@dataclass(frozen=True)
class History:
    """What happened to names, in the order of the rows: where files came, went and were replaced.

    Attributes
    ----------
    name, row : int64[k]
        The file id and the row; a rename has two entries, the second for the old name.
    before_bytes, after_bytes : int64[k]
        The size before and after it, -1 where there was, or is, no file.
    brought : bool[k]
        Whether a rename brought the file here; the old name existed.
    taken : bool[k]
        Whether a rename took it away.
    """

    app: Recorded
    name: Ints
    row: Ints
    before_bytes: Ints
    after_bytes: Ints
    brought: npt.NDArray[np.bool_]
    taken: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, app: Recorded) -> History:
        """Go through a recording."""
        writes, names, rows = app.writes, len(app.files), len(app.writes)
        source = column(writes.from_id)
        moved = np.flatnonzero(source >= 0)
        name = np.concatenate([np.arange(names), writes.file_id, source[moved]])
        row = np.concatenate([np.full(names, -1), np.arange(rows), moved])
        begin = np.where(app.present, app.files.size_bytes, -1)
        after = np.concatenate([begin, column(writes.size_bytes), np.full(len(moved), -1)])
        by_name = np.lexsort((row, name))
        before = np.full(len(name), -1)
        follows = name[by_name][1:] == name[by_name][:-1]
        before[by_name[1:][follows]] = after[by_name[:-1][follows]]
        taken = np.zeros(len(name), np.bool_)
        taken[names + rows :] = before[names + rows :] >= 0
        brought = np.zeros(len(name), np.bool_)
        brought[names + moved] = taken[names + rows :]
        by_row = names + np.argsort(row[names:], kind="stable")
        return cls(
            app, name[by_row], row[by_row], before[by_row], after[by_row], brought[by_row],
            taken[by_row],
        )  # fmt: skip

    def births(self) -> npt.NDArray[np.bool_]:
        """Tell which entries are the birth of a file."""
        return (self.before_bytes < 0) & (self.after_bytes >= 0) & ~self.brought

    def deaths(self) -> npt.NDArray[np.bool_]:
        """Tell which entries are the death of one; being replaced is none."""
        return (self.before_bytes >= 0) & (self.after_bytes < 0) & ~self.taken

    def replaced(self) -> npt.NDArray[np.bool_]:
        """Tell which entries put another file in the place of one."""
        return (self.before_bytes >= 0) & self.brought

    def present_bytes(self) -> tuple[Floats, Floats]:
        """Return times in seconds, from 0 on, and the bytes that exist from each of them on."""
        change = np.maximum(self.after_bytes, 0) - np.maximum(self.before_bytes, 0)
        begin = float(self.app.files.size_bytes[self.app.present].sum())
        at = column(self.app.writes.time_ns)[self.row] / 1e9
        return np.concatenate([[0.0], at]), begin + np.concatenate([[0.0], np.cumsum(change)])

    def mean_bytes(self) -> float:
        """Return the bytes that exist, in the mean over the time."""
        at, size = self.present_bytes()
        lasting = np.diff(at, append=self.app.seconds)
        return float(np.sum(size * lasting)) / self.app.seconds


def dirty_bytes(app: Recorded, interval_s: float) -> Floats:
    """Return, for each interval, the sizes at its end of the files that were written in it.

    Parameters
    ----------
    app : Recorded
    interval_s : float
        How long the intervals are, in seconds.
    """
    cycle = Cycle.of_seconds(interval_s, 1.0 / interval_s)
    intervals = max(math.ceil(_clean.lap_cycles(app, cycle)), 1)
    parts = _clean.pieces(app, cycle, intervals)
    dirty = (parts.first >= 1) & (parts.end > parts.first) & (parts.clean_from > parts.first)
    sums = np.bincount(parts.first[dirty], parts.size_bytes[dirty], intervals + 1)
    return sums[1:].astype(np.float64)


def _links(
    app: Recorded,
    bandwidths: Iterable[float] | None,
    mean_bytes: float,
    dirty: Floats,
    interval_s: float,
) -> tuple[AtLink, ...]:
    if bandwidths is None:
        # A recording of no bytes has no link of its own.
        bandwidths = [mean_bytes / once for once in LINKS_S if mean_bytes * interval_s > once]
    found = []
    cycles = [
        Cycle.of_seconds(interval_s, _check.positive("bandwidths", bandwidth))
        for bandwidth in bandwidths
    ]
    runs = of_long_run(app, cycles[0]) if cycles else None
    for cycle in cycles:
        assert runs is not None
        bound = runs.bound_bytes(cycle.budget_bytes)
        found.append(
            AtLink(
                bandwidth=cycle.bandwidth,
                once_s=mean_bytes / cycle.bandwidth,
                load=float(dirty.mean()) / cycle.budget_bytes,
                bound_bytes=bound,
                bound_s=bound / cycle.bandwidth,
            )
        )
    return tuple(found)


def _of_files(app: Recorded, history: History, mean_bytes: float) -> dict[str, Any]:
    begin = app.files.size_bytes[app.present]
    end = history.present_bytes()[1][-1]
    return {
        "files": len(app.files),
        "files_at_begin": len(begin),
        "begin_bytes": float(begin.sum()),
        "mean_bytes": mean_bytes,
        "growth_bytes_per_s": (float(end) - float(begin.sum())) / app.seconds,
        "largest_share": _ratio(float(begin.max(initial=0)), float(begin.sum())),
    }


def _of_rates(app: Recorded, interval_ns: int, intervals: int) -> dict[str, Any]:
    at = column(app.writes.time_ns) // interval_ns
    seconds, interval_s = app.seconds, interval_ns / 1e9
    updates = np.bincount(at, column(app.writes.count), intervals)
    facts = {
        "updates": app.writes.updates,
        "updates_per_s": app.writes.updates / seconds,
        "peak_updates_per_s": float(updates.max()) / interval_s,
        "written_bytes_per_s": math.nan,
        "peak_written_bytes_per_s": math.nan,
    }
    if app.writes.write_bytes is not None:
        written = np.bincount(at, app.writes.write_bytes, intervals)
        facts["written_bytes_per_s"] = float(written.sum()) / seconds
        facts["peak_written_bytes_per_s"] = float(written.max()) / interval_s
    return facts


def _of_skew(app: Recorded) -> dict[str, Any]:
    counts = updates_of(app)
    busiest = np.sort(counts)[::-1]
    total, files = float(busiest.sum()), len(busiest)

    def top(share: float) -> float:
        return _ratio(float(busiest[: max(1, round(share * files))].sum()), total)

    place = np.arange(1, files + 1)
    gini = 1 + 1 / max(files, 1) - 2 * _ratio(float(np.sum(busiest * place)), total * files)
    return {
        "written_files_share": _ratio(float((counts > 0).sum()), files),
        "top_1_share": top(0.01),
        "top_10_share": top(0.1),
        "gini": gini,
        "zipf_exponent": zipf_exponent(counts),
    }


def updates_of(app: Recorded) -> Ints:
    """Return the updates of every file in the whole recording, int64[n]."""
    counts = np.bincount(app.writes.file_id, column(app.writes.count), len(app.files))
    return counts.astype(np.int64)


def zipf_exponent(counts: Any) -> float:
    """Fit the exponent of Zipf's law to counts: the most likely one, from 0 to 10.

    Parameters
    ----------
    counts : array_like of int
        How often each file was updated; zeros are left out.

    Returns
    -------
    float
        NaN with fewer than two files.

    Examples
    --------
    >>> from precopy.character import zipf_exponent
    >>> round(zipf_exponent([round(1e6 / rank) for rank in range(1, 101)]), 3)
    1.0
    """
    busiest = np.sort(np.asarray(counts, np.float64))[::-1]
    busiest = busiest[busiest > 0]
    if len(busiest) < 2:
        return math.nan
    log_rank = np.log(np.arange(1, len(busiest) + 1))
    seen = float(np.sum(busiest * log_rank) / busiest.sum())
    low, high = 0.0, 10.0
    # The mean log rank that an exponent expects falls with it; where it is the one seen is the fit.
    for _ in range(60):
        middle = (low + high) / 2
        weight = np.exp(-middle * log_rank)
        expected = float(np.sum(weight * log_rank) / weight.sum())
        low, high = (middle, high) if expected > seen else (low, middle)
    return (low + high) / 2


def _of_coming_and_going(app: Recorded, history: History) -> dict[str, Any]:
    lasting = app.present.copy()
    gone = (history.after_bytes < 0) | history.brought
    lasting[history.name[gone]] = False
    fixed = lasting.copy()
    fixed[history.name[history.before_bytes != history.after_bytes]] = False
    counts = updates_of(app)
    total = float(counts.sum())
    return {
        "births_per_s": float(history.births().sum()) / app.seconds,
        "deaths_per_s": float(history.deaths().sum()) / app.seconds,
        "renames_per_s": float(history.brought.sum()) / app.seconds,
        "replaced_per_s": float(history.replaced().sum()) / app.seconds,
        "lasting_share": _ratio(float(counts[lasting].sum()), total),
        "fixed_share": _ratio(float(counts[fixed].sum()), total),
    }


def _of_bursts(app: Recorded, interval_ns: int, intervals: int) -> dict[str, Any]:
    time_ns = column(app.writes.time_ns)
    at = time_ns // interval_ns
    updates = np.bincount(at, column(app.writes.count), intervals)
    # An interval that the recording covers in part would look calm.
    whole = updates[: app.writes.duration_ns // interval_ns]
    busiest = np.sort(updates)[::-1]
    edges = np.concatenate([[0], time_ns, [app.writes.duration_ns]])
    return {
        "dispersion": _ratio(float(whole.var(ddof=1)), float(whole.mean()))
        if len(whole) > 1
        else math.nan,
        "busy_10_share": _ratio(
            float(busiest[: max(1, round(0.1 * intervals))].sum()), float(busiest.sum())
        ),
        "idle_share": float((np.bincount(at, minlength=intervals) == 0).mean()),
        "longest_idle_s": float(np.diff(edges).max()) / 1e9,
    }


def _of_halves(app: Recorded) -> dict[str, Any]:
    time_ns, count = column(app.writes.time_ns), column(app.writes.count)
    second = time_ns >= app.writes.duration_ns // 2
    one, two = (
        np.bincount(app.writes.file_id[half], count[half], len(app.files))
        for half in (~second, second)
    )
    either = (one > 0) | (two > 0)
    return {
        "halves_rank_correlation": _rank_correlation(one[either], two[either]),
        "halves_known_share": _ratio(float(two[one > 0].sum()), float(two.sum())),
        "halves_rate_ratio": _ratio(float(two.sum()), float(one.sum())),
    }


def _rank_correlation(one: Any, two: Any) -> float:
    """Return Spearman's: 1 for the same order, 0 for none, -1 for the opposite; equals share."""
    ranks = []
    for values in (one, two):
        _, inverse, number = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(number) - (number - 1) / 2)[inverse])
    if len(one) < 2 or any(np.ptp(each) == 0 for each in ranks):
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _shown(value: float, unit: str) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "not known"
    if unit == "%":
        return f"{value:.1%}".replace("%", " %")
    if unit in ("B", "B/s"):
        sign = "-" if value < 0 else ""
        return sign + _check.bytes_text(abs(value)) + unit.removeprefix("B")
    if unit == "s":
        return f"{value:.3g} s"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
