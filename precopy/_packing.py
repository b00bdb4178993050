"""The rows of a recording as small columns: what `Recorded.save` writes and `load` reads.

Rows are put file by file, where neighbours are alike: times and sizes become differences, and bytes
what is more or less than the file's usual ones per update.  Invariant: `unpacked` gives every
column of `packed` back as it was, the order of rows of one time included.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from precopy.trace import WriteTrace

Ints = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[np.integer]]


def packed(writes: WriteTrace, initial_bytes: Ints) -> Columns:
    """Return a trace in time as columns of small numbers, from 0 on."""
    file_id, time_ns = writes.file_id, writes.time_ns
    count, size, origin = writes.count, writes.size_bytes, writes.from_id
    assert time_ns is not None
    assert count is not None
    assert size is not None
    assert origin is not None
    order = np.argsort(file_id, kind="stable")
    unit = max(int(np.gcd.reduce(time_ns, initial=0)), 1)
    rows = np.bincount(file_id, minlength=len(initial_bytes))
    first = _first(rows)
    columns = {
        "rows": rows,
        "unit": np.array([unit]),
        "time": _differences(time_ns[order] // unit, first, 0),
        "count": count[order],
        "size": _zigzag(_differences(size[order], first, initial_bytes[rows > 0])),
        "place": _zigzag(_places(file_id, time_ns, order)),
        "renamed": np.diff(np.flatnonzero(origin[order] >= 0), prepend=0),
        "from": origin[order][origin[order] >= 0],
    }
    if writes.write_bytes is not None:
        usual = _usual(file_id, writes.write_bytes, count, len(rows))
        columns["usual"] = usual
        columns["bytes"] = _zigzag((writes.write_bytes - usual[file_id] * count)[order])
    return {name: _small(column) for name, column in columns.items()}


def unpacked(columns: Columns, initial_bytes: Ints) -> dict[str, Ints | None]:
    """Return the columns of a `WriteTrace` in time."""
    wide = {name: _wide(column) for name, column in columns.items()}
    rows = wide["rows"]
    first = _first(rows)
    file_id = np.repeat(np.arange(len(rows)), rows)
    time = _sums(wide["time"], first, 0) * wide["unit"][0]
    origin = np.full(len(file_id), -1)
    origin[np.cumsum(wide["renamed"])] = wide["from"]
    made: dict[str, Ints | None] = {
        "file_id": file_id,
        "time_ns": time,
        "count": wide["count"],
        "size_bytes": _sums(_unzigzag(wide["size"]), first, initial_bytes[rows > 0]),
        "from_id": origin,
        "write_bytes": None,
    }
    if "bytes" in wide:
        made["write_bytes"] = _unzigzag(wide["bytes"]) + wide["usual"][file_id] * wide["count"]
    usual = np.lexsort((file_id, time))
    place = np.empty(len(usual), np.int64)
    place[usual] = np.arange(len(usual))
    place += _unzigzag(wide["place"])
    back = np.empty(len(usual), np.int64)
    back[place] = np.arange(len(usual))
    return {name: None if column is None else column[back] for name, column in made.items()}


def _first(rows: Ints) -> Ints:
    """Return where each file's rows begin, of the files that have some."""
    return (np.cumsum(rows) - rows)[rows > 0]


def _differences(values: Ints, first: Ints, before: Ints | int) -> Ints:
    differences = np.diff(values, prepend=0)
    differences[first] = values[first] - before
    return differences


def _sums(differences: Ints, first: Ints, before: Ints | int) -> Ints:
    sums = np.cumsum(differences)
    lead = np.zeros(len(first), np.int64) + before - (sums[first] - differences[first])
    sums += np.repeat(lead, np.diff(first, append=len(sums)))
    return sums


def _places(file_id: Ints, time_ns: Ints, order: Ints) -> Ints:
    """Return how far each row is from where rows of one time are in the order of their files."""
    usual = np.lexsort((file_id, time_ns))
    place = np.empty(len(usual), np.int64)
    place[usual] = np.arange(len(usual))
    return (np.arange(len(usual)) - place)[order]


def _usual(file_id: Ints, write_bytes: Ints, count: Ints, files: int) -> Ints:
    """Return how many bytes an update of each file usually writes."""
    rate = write_bytes // np.maximum(count, 1)
    order = np.lexsort((rate, file_id))
    rows = np.bincount(file_id, minlength=files)
    usual = np.zeros(files, np.int64)
    usual[rows > 0] = rate[order][_first(rows) + rows[rows > 0] // 2]
    return usual


def _zigzag(values: Ints) -> npt.NDArray[np.uint64]:
    """Return numbers that are small where the values are near 0; whatever wraps, wraps back."""
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def _unzigzag(values: Ints) -> Ints:
    bits = values.view(np.uint64)
    return ((bits >> np.uint64(1)) ^ (np.uint64(0) - (bits & np.uint64(1)))).view(np.int64)


def _small(values: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Return the bytes of each number, the lowest of all first: shape (bytes, numbers)."""
    most = int(values.max(initial=0))
    width = next(width for width in (1, 2, 4, 8) if most >> (8 * width) == 0)
    planes = values.astype(f"<u{width}").view(np.uint8).reshape(len(values), width)
    return np.ascontiguousarray(planes.T)


def _wide(planes: npt.NDArray[np.integer]) -> Ints:
    width = len(planes)
    numbers = np.ascontiguousarray(planes.T.astype(np.uint8)).view(f"<u{width}")
    return numbers.reshape(-1).astype(np.uint64).view(np.int64)
