"""Renamed directories: a rename is stored as one row, whatever lies below the directory.

`settle` later gives the files below their new names, a large number of renames at once.  Invariant:
after it, the paths in the log are those of today, and no rename is left.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from precopy.access.schema import (
    BUCKET_NS,
    TICK_NS,
    add_accesses,
    add_moves,
    add_write_buckets,
    describe_files,
    file_ids,
    get_meta,
)

RenamedRow = tuple[int, bytes, bytes, int, int]
"""``(application_id, old, new, times, last_ns)``: what is to be *added*."""


def add_renames(connection: sqlite3.Connection, rows: Iterable[RenamedRow]) -> None:
    """Note that directories were renamed; the files below them follow with `settle`.

    Their times come from a clock that ticks 250 times a second: of one time, the order counts.
    """
    connection.executemany(
        """INSERT OR REPLACE INTO renamed
           SELECT ?1, ?2, ?3, ?4 + coalesce(sum(times), 0), max(?5, coalesce(max(last_ns), 0))
           FROM renamed WHERE application_id = ?1 AND old = ?2 AND new = ?3""",
        (row for row in rows if row[1].startswith(b"/") and row[2].startswith(b"/")),
    )


def settle(connection: sqlite3.Connection) -> None:
    """Replace by name what lies below renamed directories, and forget the renames.

    A file below the old name that exists now below the new one was replaced there and removed here.
    A directory that was renamed on and on is followed to its last name.  So renames cost what they
    are, and what lies below costs once, however often its directory moved.

    Examples
    --------
    >>> import tempfile, os
    >>> from precopy.access.schema import application_id, connect, file_ids
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log, now = connect(os.path.join(directory, "access.db")), os.fsencode(directory)
    ...     app = application_id(log, "app")
    ...     _ = file_ids(log, [b"/old/access.db", b"/old/gone"])
    ...     add_renames(log, [(app, b"/old", b"/between", 1, 8), (app, b"/between", now, 1, 9)])
    ...     settle(log)
    ...     changed = log.execute("SELECT path FROM file, access WHERE file_id = id").fetchall()
    ...     log.close()
    >>> sorted(os.path.basename(path) for (path,) in changed if path.startswith(now + b"/"))
    [b'access.db']
    """
    rows: list[RenamedRow] = connection.execute(
        "SELECT application_id, old, new, times, last_ns FROM renamed ORDER BY last_ns, rowid"
    ).fetchall()
    if not rows:
        return
    bucket_ns = int(get_meta(connection, "bucket_ns") or BUCKET_NS)
    by_name: dict[bytes, list[tuple[RenamedRow, bytes]]] = {}
    for row, now in zip(rows, _names_now(rows), strict=True):
        by_name.setdefault(row[1], []).append((row, now))
    for old, renames in by_name.items():
        for (app, _, _, times, last_ns), pairs in _moved(connection, old, renames):
            ids = file_ids(connection, [new for _, _, _, new in pairs])
            described = (
                (new, kind, identity, last_ns)
                for new, (_, kind, identity, _) in zip(ids, pairs, strict=True)
            )
            describe_files(connection, described)
            # Exactly when is not known: after what happened to the files before, in that tick.
            add_moves(
                connection,
                (
                    (app, before, new, last_ns + TICK_NS - 1)
                    for new, (before, kind, _, _) in zip(ids, pairs, strict=True)
                    if kind == "file"
                ),
            )
            ids = sorted({*ids, *(before for before, _, _, _ in pairs)})
            add_accesses(
                connection,
                ((app, f, 0, 0, 1, 0, 0, 0, 0, 0, 0, times, last_ns, last_ns) for f in ids),
            )
            bucket = last_ns // bucket_ns
            add_write_buckets(connection, ((f, app, bucket, 0, 0, times) for f in ids))
    connection.execute("DELETE FROM renamed")


def _names_now(rows: Sequence[RenamedRow]) -> list[bytes]:
    """Return the last name of each renamed directory, from renames in the order of their time.

    One name for another and back at one time is an exchange, unless what is there denies it.
    """
    now: dict[bytes, bytes] = {}
    last: list[bytes] = []
    turn = len(rows) - 1
    while turn >= 0:
        at_once = 1 + (turn > 0 and _are_exchange(rows[turn - 1], rows[turn]))
        after = dict(now) if at_once == 2 else now
        for _, old, new, _, _ in reversed(rows[turn + 1 - at_once : turn + 1]):
            names = [_follow(known, new) for known in (after, now)]
            now[old] = next((name for name in names if os.path.lexists(name)), names[0])
            last.append(now[old])
        turn -= at_once
    return last[::-1]


def _are_exchange(one: RenamedRow, other: RenamedRow) -> bool:
    return (one[0], one[1], one[2], one[4]) == (other[0], other[2], other[1], other[4])


def _follow(now: dict[bytes, bytes], name: bytes) -> bytes:
    """Return what a name is called `now`, if it or a directory above it was renamed."""
    above = name
    while above and above not in now:
        above = above[: above.rfind(b"/")]
    return now[above] + name[len(above) :] if above else name


def _moved(
    connection: sqlite3.Connection, old: bytes, renames: list[tuple[RenamedRow, bytes]]
) -> Iterator[tuple[RenamedRow, list[tuple[int, str, int, bytes]]]]:
    """Yield for each rename of one name what moved: ``(id, kind, identity, new path)``.

    What was last used before the rename before went with that one, so that each is looked at about
    once, even if a name is used for one directory after the other.
    """
    below = connection.execute(
        """SELECT file.id, path, kind, identity, coalesce(min(first_ns), 0),
                  coalesce(max(last_ns), 0) AS last
           FROM file LEFT JOIN access ON file_id = file.id
           WHERE path >= ? AND path < ? GROUP BY file.id ORDER BY 5""",
        (old + b"/", old + b"0"),
    )
    waiting = below.fetchone()
    there: list[tuple[int, bytes, str, int, int, int]] = []
    (directory,) = file_ids(connection, [old])
    for row, now in renames:
        while waiting is not None and waiting[4] <= row[4]:
            there.append(waiting)
            waiting = below.fetchone()
        if os.path.lexists(now):
            moved = [
                (number, kind, identity, now + path[len(old) :])
                for number, path, kind, identity, _, _ in there
            ]
            yield (
                row,
                [
                    (directory, "directory", 0, now),
                    *(entry for entry in moved if os.path.lexists(entry[3])),
                ],
            )
        there = [file for file in there if file[5] >= row[4]]
