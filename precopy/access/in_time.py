"""An application in time: what `AccessLog.recorded` makes of a log.

Invariant: every write call that the log counts for the application is in the trace, or in
``left_out`` under the reason why it is not.
"""

from __future__ import annotations

import json
import os
import stat
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from precopy._text import hint, is_path
from precopy.access.exclude import Excluded
from precopy.access.lives import (
    DEATH,
    GONE,
    MOVE,
    NOBODY,
    UNKNOWN,
    Life,
    Moved,
    Row,
    Sample,
    Written,
)
from precopy.access.tracking.batch import find_file
from precopy.access.updates import EXCLUDED, NO_SIZE, NO_TIME, NOT_REGULAR_FILES, OUTSIDE

if TYPE_CHECKING:
    from precopy.access.log import AccessLog, Applications
    from precopy.recorded import Recorded

Moment = str | float | None
"""A mark's name, or seconds since the recording's begin."""

_AT_ONCE_NS = 1_000_000_000

_WRITTEN = """
SELECT file_id, bucket, sum(writes), sum(changes), sum(bytes_written), {last}
FROM write_bucket WHERE application_id IN (SELECT value FROM json_each(?))
GROUP BY file_id, bucket ORDER BY file_id, bucket"""

_USED = """
SELECT file_id, path, kind, max(write), max(mapped), sum(writes), min(first_ns), {born}
FROM access JOIN file ON file.id = file_id
WHERE application_id IN (SELECT value FROM json_each(?)) GROUP BY file_id ORDER BY path"""


@dataclass
class Name:
    """A file of the application."""

    path: bytes
    written: bool
    mapped: bool
    writes: int
    first_ns: int
    born_ns: int
    size_bytes: int  # today's; GONE, or UNKNOWN where it cannot be asked for


@dataclass
class _Rename:
    """A rename; or a link, whose old name was gone at `gone_ns`."""

    old: int
    new: int
    time_ns: int
    first_ns: int
    gone_ns: int
    times: int
    size_bytes: int


class Reader:
    """Reads one application in time.

    Parameters
    ----------
    log : AccessLog
        The log.
    app : str or iterable of str
        One application, or several that move together.
    roots : iterable of path
        Directories whose files belong to it, used or not.
    exclude : iterable of str
        Paths that stay.
    """

    def __init__(
        self,
        log: AccessLog,
        app: Applications,
        roots: Iterable[str | os.PathLike[str]],
        exclude: Iterable[str],
    ) -> None:
        self._log = log
        self._apps = [app] if isinstance(app, str) else list(app)
        self._rows_of, self._chosen = log.query, log.ids(app)
        self._excluded = Excluded(exclude)
        self._full = log.version >= 3
        self._meta = dict(log.query("SELECT key, value FROM meta"))
        self._bucket_ns = int(self._meta.get("bucket_ns") or 100_000_000)
        self._asks = not self._meta.get("imported")
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self.begin_ns, self.end_ns = self._span()
        self._names = self._used()
        self._further: set[bytes] = set()
        self._aliases = self._hard_links()
        self._add_roots(roots)
        self._lives = {
            number: Life(number, self._bucket_ns, name.first_ns)
            for number, name in self._names.items()
        }

    # --- which files ---------------------------------------------------------------------------

    def _span(self) -> tuple[int, int]:
        """Return when the applications were first and last heard of."""
        ((first, last),) = self._rows_of(
            """SELECT min(first_ns), max(last_ns) FROM (
                   SELECT first_ns, last_ns FROM access
                   WHERE application_id IN (SELECT value FROM json_each(?1))
                   UNION ALL SELECT first_ns, last_ns FROM process
                   WHERE application_id IN (SELECT value FROM json_each(?1)))""",
            (self._chosen,),
        )
        if first is None:
            raise ValueError("app: nothing was recorded of it")
        ended = [
            int(value)
            for key, value in self._meta.items()
            if key in {f"ended_ns {name}" for name in self._apps}
        ]
        return first, max([last, *ended]) + 1

    def _used(self) -> dict[int, Name]:
        names: dict[int, Name] = {}
        born = "born_ns" if self._full else "0"
        sized = self._sized()
        moved = self._moved_ids()
        for number, path, kind, write, mapped, writes, first_ns, born_ns in self._rows_of(
            _USED.format(born=born), (self._chosen,)
        ):
            if not is_path(path) or path in self._excluded:
                self.left_out[EXCLUDED] += writes
                continue
            if kind != "file":
                self.left_out[NOT_REGULAR_FILES] += writes
                continue
            size = self._size_now(path) if self._asks else UNKNOWN
            if size == UNKNOWN and number not in sized:
                self.left_out[NO_SIZE if not self._asks else NOT_REGULAR_FILES] += writes
                continue
            if size == GONE and not write and number not in sized and number not in moved:
                continue  # looked at or read once, and gone since
            names[number] = Name(path, bool(write), bool(mapped), writes, first_ns, born_ns, size)
        return names

    @staticmethod
    def _size_now(path: bytes) -> int:
        try:
            status = os.lstat(path)
        except (OSError, ValueError):
            return GONE
        return status.st_size if stat.S_ISREG(status.st_mode) else UNKNOWN

    def _sized(self) -> set[int]:
        if not self._full:
            return set()
        return {number for (number,) in self._rows_of("SELECT DISTINCT file_id FROM sample")}

    def _moved_ids(self) -> set[int]:
        if not self._full:
            return set()
        rows = self._rows_of("SELECT old_id, new_id FROM moved")
        return {number for row in rows for number in row}

    def _hard_links(self) -> dict[int, int]:
        """Return, for a further name of a file that has several now, the first one."""
        first: dict[tuple[int, int], int] = {}
        aliases: dict[int, int] = {}
        for number, name in self._names.items():
            if name.size_bytes < 0:
                continue
            try:
                status = os.lstat(name.path)
            except OSError:
                continue
            if status.st_nlink > 1:
                known = first.setdefault((status.st_dev, status.st_ino), number)
                if known != number:
                    aliases[number] = known
        for number, known in aliases.items():
            other = self._names.pop(number)
            self._further.add(other.path)
            self._names[known].writes += other.writes
            self._names[known].written |= other.written
        if aliases:
            self.notes.append(f"{len(aliases)} further names of files (hard links) are left out")
        return aliases

    def _add_roots(self, roots: Iterable[str | os.PathLike[str]]) -> None:
        if isinstance(roots, str | os.PathLike):
            raise TypeError(f"roots: got {roots!r}, expected a list of directories")
        known = {name.path for name in self._names.values()}
        known |= self._further
        self._roots: list[tuple[bytes, int, int]] = []
        seen: set[tuple[int, int]] = set()
        for root in roots:
            top = os.path.realpath(os.fsencode(root))
            if not os.path.isdir(top):
                raise ValueError(f"roots: got {os.fspath(root)!r}, expected a directory")
            for path, status in _regular_below(top):
                if path in known or path in self._excluded:
                    continue
                known.add(path)
                if status.st_nlink > 1:
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                size, born_ns = find_file(path)
                if size >= 0:
                    self._add_unopened(path, size, born_ns)

    def _add_unopened(self, path: bytes, size: int, born_ns: int) -> None:
        number = -2 - len(self._roots)  # of no row in the log
        self._roots.append((path, size, born_ns))
        self._names[number] = Name(path, False, False, 0, 0, born_ns, size)

    # --- what happened -------------------------------------------------------------------------

    def _load(self) -> None:
        last = "max(last_ns)" if self._full else "0"
        timed: Counter[int] = Counter()
        buckets: dict[int, dict[int, list[int]]] = defaultdict(dict)
        for number, bucket, writes, changes, size, last_ns in self._rows_of(
            _WRITTEN.format(last=last), (self._chosen,)
        ):
            number = self._aliases.get(number, number)
            if number not in self._names:
                continue
            timed[number] += writes
            row = buckets[number].setdefault(bucket, [0, 0, 0, 0])
            row[:] = row[0] + writes, row[1] + changes, row[2] + size, max(row[3], last_ns)
        for number, rows in buckets.items():
            self._lives[number].written = [
                Written(bucket, *rows[bucket]) for bucket in sorted(rows)
            ]
        for number, name in self._names.items():
            if name.writes > timed[number]:
                self.left_out[NO_TIME] += name.writes - timed[number]
        self._load_samples()
        self._load_moves()
        # A row has a time within its bucket, to the end of which the recording lasts.
        ends = [
            (life.written[-1].bucket + 1) * self._bucket_ns
            for life in self._lives.values()
            if life.written
        ]
        moves = [life.moves[-1].time_ns + 1 for life in self._lives.values() if life.moves]
        self.end_ns = max([self.end_ns, *ends, *moves])
        for number, life in self._lives.items():
            self._add_today(self._names[number], life)

    def _load_samples(self) -> None:
        if self._full:
            for number, size, at in self._rows_of(
                "SELECT file_id, size_bytes, at_ns FROM sample ORDER BY file_id, bucket"
            ):
                alias = number in self._aliases
                life = self._lives.get(self._aliases.get(number, number))
                if life is not None and not (alias and size < 0):
                    life.samples.append(Sample(at, size))
        for number in set(self._aliases.values()):
            self._lives[number].samples.sort()

    def _add_today(self, name: Name, life: Life) -> None:
        """Take what is never seen after it last changed to be as large as it is now."""
        last = max(
            [row.last_ns or self.end_ns - 1 for row in life.written[-1:]]
            + [move.time_ns for move in life.moves[-1:]],
            default=0,
        )
        seen = life.samples[-1].at_ns if life.samples else -1
        if name.size_bytes == UNKNOWN or seen >= last:
            return
        life.samples.append(Sample(max(last, seen, self.end_ns), name.size_bytes))
        if not life.moves and not (life.written and self._full):
            life.present = name.size_bytes >= 0 and name.born_ns < self.begin_ns

    def _load_moves(self) -> None:
        for move in self._moves():
            self._lives[move.old].moves.append(move)
            self._lives[move.new].moves.append(move)

    def _moves(self) -> Iterator[Moved]:
        """Yield renames in their order, alike ones of one bucket as the last of them."""
        last: dict[tuple[int, int, int], int] = {}
        moves: list[Moved | None] = []

        def add(rename: _Rename, old: int, new: int, times: int, left: int) -> None:
            moves.append(
                Moved(
                    rename.time_ns, rename.first_ns, rename.gone_ns, len(moves) + 1, old, new,
                    times, left, rename.size_bytes,
                )
            )  # fmt: skip

        for time_ns, group in groupby(self._renames(), key=attrgetter("time_ns")):
            at_once = list(group)
            pairs = {(rename.old, rename.new): rename for rename in at_once}
            for rename in at_once:
                old, new, times = rename.old, rename.new, rename.times
                back = pairs.get((new, old))
                if back is not None:
                    if old < new:  # an exchange, by a third name
                        middle = self._middle(old)
                        add(rename, old, middle, 0, times)
                        add(back, new, old, times, times)
                        add(rename, middle, new, times, 0)
                    continue
                same_bucket = rename.gone_ns // self._bucket_ns == time_ns // self._bucket_ns
                left = times if same_bucket else 0
                key = (old, new, time_ns // self._bucket_ns)
                known = moves[last[key]] if key in last else None
                if known is not None:
                    times, left = times + known.times, left + known.left
                    rename.first_ns = known.first_ns
                    moves[last[key]] = None
                last[key] = len(moves)
                add(rename, old, new, times, left)
        return (move for move in moves if move is not None)

    def _renames(self) -> Iterator[_Rename]:
        """Yield renames in the order of time; a link whose old name went at once is one, too."""
        if not self._full:
            return
        mine = set(json.loads(self._chosen))
        for app, old, new, time_ns, size, linked in self._rows_of(
            "SELECT application_id, old_id, new_id, time_ns, size_bytes, linked FROM moved "
            "ORDER BY time_ns, rowid"
        ):
            old, new = self._aliases.get(old, old), self._aliases.get(new, new)
            if old not in self._lives or new not in self._lives or old == new:
                continue
            gone_ns = self._gone_at_once(old, time_ns) if linked else time_ns
            if gone_ns:
                yield _Rename(old, new, time_ns, time_ns, gone_ns, int(app in mine), size)

    def _gone_at_once(self, old: int, time_ns: int) -> int:
        """Return when the old name of a new link went, if at once: a rename in two steps; or 0."""
        life = self._lives[old]
        number = bisect_left(life.samples, (time_ns, GONE - 1))
        if number == len(life.samples) or life.samples[number].size_bytes >= 0:
            return 0
        gone = life.samples[number].at_ns
        if gone > time_ns + _AT_ONCE_NS:
            return 0
        number = bisect_right(life.written, gone, key=attrgetter("last_ns"))
        last_ns = life.written[number - 1].last_ns if number else 0
        return last_ns if last_ns >= time_ns else gone

    def _middle(self, old: int) -> int:
        """Return a name that is used for the moment of an exchange only."""
        number = -2 - len(self._roots)
        path = self._names[old].path + b" (exchanged)"
        known = next((n for n, name in self._names.items() if name.path == path), None)
        if known is not None:
            return known
        self._roots.append((path, 0, 0))
        self._names[number] = Name(path, True, False, 0, 0, 0, GONE)
        self._lives[number] = Life(number, self._bucket_ns, present=False)
        return number

    # --- the answer ----------------------------------------------------------------------------

    def read(self, since: Moment, until: Moment) -> Recorded:
        """Return what happened between two moments."""
        from precopy.files import FileSet
        from precopy.recorded import Recorded
        from precopy.trace import WriteTrace

        self._load()
        begin = self.begin_ns if since is None else self._moment("since", since)
        end = self.end_ns if until is None else self._moment("until", until)
        if begin >= end:
            raise ValueError(
                f"since, until: got {since!r} and {until!r}, expected a time and a later one"
            )
        rows = self._resolved(self._rows())
        state, kept = self._window(rows, begin, end)
        used = {row.file for row in kept} | {row.source for row in kept} - {NOBODY}
        numbers = sorted(used | set(state), key=lambda number: self._names[number].path)
        if not numbers:
            raise ValueError("app: it had no regular file that is not excluded in this time")
        index = {number: place for place, number in enumerate(numbers)}
        files = FileSet(
            np.array([state.get(number, 0) for number in numbers], np.int64),
            np.array([number not in used for number in numbers], np.bool_),
            [os.fsdecode(self._names[number].path) for number in numbers],
        )
        column = {
            name: np.array([getattr(row, name) for row in kept], np.int64)
            for name in ("updates", "write_bytes", "size_bytes")
        }
        writes = WriteTrace(
            np.array([index[row.file] for row in kept], np.int64),
            column["write_bytes"],
            time_ns=np.array([row.time_ns - begin for row in kept], np.int64),
            count=column["updates"],
            size_bytes=column["size_bytes"],
            from_id=np.array(
                [-1 if row.source == NOBODY else index[row.source] for row in kept], np.int64
            ),
            present=np.array([number in state for number in numbers], np.bool_),
            duration_ns=end - begin,
            left_out=self.left_out,
        )
        return Recorded("+".join(self._apps), files, writes, self._noted(kept))

    def _rows(self) -> list[Row]:
        sizes: dict[int, int] = {}
        for life in self._lives.values():
            sizes.update(life.arrivals())
        rows: list[Row] = []
        self._estimated = 0
        for number, life in self._lives.items():
            name = self._names[number]
            arrived = bool(life.moves) and life.moves[0].new == number
            # 0 is not known; so is what an imported trace, whose times begin at 0, says by it.
            born = name.born_ns and self.begin_ns <= name.born_ns
            if born and name.born_ns <= (name.first_ns or name.born_ns) and not arrived:
                life.present = False
            rows.extend(life.rows(sizes))
            self._estimated += life.estimated
            if not life.present and not life.written and not life.moves and name.size_bytes >= 0:
                rows.append(_born(number, name))
        rows.sort(key=lambda row: (row.time_ns, row.turn, row.kind))
        return rows

    def _resolved(self, rows: list[Row]) -> list[Row]:
        """Give renames the size of what was renamed, and leave out deaths of what is dead."""
        size = {number: life.size_at_begin for number, life in self._lives.items() if life.present}
        resolved: list[Row] = []
        for row in rows:
            if row.kind == DEATH:
                if size.pop(row.file, None) is None and row.updates == 0:
                    continue
            else:
                now = row.size_bytes
                if row.kind == MOVE:
                    before = size.pop(row.source, None)
                    if now < 0 and before is not None:
                        now = before
                if now < 0:
                    now = size.get(row.file, 0)
                    self._estimated += 1
                row = row._replace(size_bytes=now)
                size[row.file] = now
            resolved.append(row)
        return resolved

    def _window(self, rows: list[Row], begin: int, end: int) -> tuple[dict[int, int], list[Row]]:
        """Return the sizes of what exists at the begin, and the rows from there on."""
        state = {number: life.size_at_begin for number, life in self._lives.items() if life.present}
        kept: list[Row] = []
        for row in rows:
            if begin <= row.time_ns < end:
                kept.append(row)
                continue
            self.left_out[OUTSIDE] += row.writes
            if row.time_ns >= end:
                continue
            if row.source != NOBODY:
                state.pop(row.source, None)
            if row.size_bytes == GONE:
                state.pop(row.file, None)
            else:
                state[row.file] = row.size_bytes
        return state, kept

    def _moment(self, which: str, moment: str | float) -> int:
        if isinstance(moment, str):
            marks = self._log.marks()
            if moment not in marks:
                raise ValueError(f"{which}: no mark {moment!r} in the log{hint(moment, marks)}")
            return marks[moment]
        if not 0 <= moment < float("inf"):
            raise ValueError(f"{which}: got {moment!r}, expected a mark, or seconds from 0 on")
        return self.begin_ns + round(moment * 1e9)

    def _noted(self, kept: list[Row]) -> list[str]:
        notes = list(self.notes)
        if self._estimated:
            notes.append(
                f"{self._estimated} sizes of {len(kept)} rows are estimated from what was written"
            )
        came = sum(
            not life.present and life.moves[0].new == number
            for number, life in self._lives.items()
            if life.moves
        )
        if came:
            notes.append(
                f"{came} names first came by a rename and are taken for new: a file that was there "
                "before and never used is not known"
            )
        mapped = sum(name.mapped for name in self._names.values())
        if mapped:
            notes.append(
                f"{mapped} files were mapped to be written: stores into them are seen by time "
                "stamps only, once a second"
            )
        if not self._full:
            notes.append(
                "the log is of version 2: it has no renames and no sizes; they are today's, and "
                "what is gone now is as large as what was written"
            )
        notes.extend(
            f"the log is incomplete: {why}" for why in self._log.incomplete_reason.splitlines()
        )
        return notes


def _born(number: int, name: Name) -> Row:
    size = name.size_bytes
    return Row(name.born_ns, 0, 0, number, 0, 0, size, size, NOBODY)


def _regular_below(top: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status
