"""Makes of a recording what the package ships: small, and with where it comes from.

Times are rounded down to hundredths of a second, paths are relative to the service's directory, and
only the files that are written most keep their names: the others have an asterisk in their place.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from precopy import FileSet, Recorded, WriteTrace
from precopy.access.in_time import OUTSIDE

UNIT_NS = 10_000_000
NAMED = 300
ELSEWHERE = "outside the service's directory"
ON_PURPOSE = (OUTSIDE, ELSEWHERE)

VERSIONS: dict[str, list[str]] = {
    "pg": ["/usr/lib/postgresql/*/bin/postgres", "--version"],
    "mariadb": ["mariadbd", "--version"],
    "redis": ["redis-server", "--version"],
    "git": ["git", "--version"],
    "nginx": ["nginx", "-v"],
}
PACKAGES = {"leveldb": "plyvel", "rocksdb": "rocksdict", "lmdb": "lmdb"}


def version_of(name: str) -> str:
    """Return which version of a service is here, in its own words."""
    if name in PACKAGES:
        return f"{PACKAGES[name]} {version(PACKAGES[name])}"
    if name.startswith("sqlite"):
        import sqlite3

        return f"SQLite {sqlite3.sqlite_version}"
    if name not in VERSIONS:
        return f"Python {platform.python_version()}"
    program, *words = VERSIONS[name]
    if "*" in program:
        program = os.fspath(max(Path("/").glob(program[1:])))
    done = subprocess.run(
        [shutil.which(program) or program, *words], capture_output=True, text=True
    )
    said = re.sub(r"\s+(for|malloc|sha)\b.*", "", (done.stdout + done.stderr).strip())
    return re.sub(r"^\S*/", "", said)


def below(recorded: Recorded, directory: Path) -> Recorded:
    """Return the recording of the files below a directory, with paths relative to it."""
    paths, writes = recorded.files.path, recorded.writes
    assert paths is not None
    assert writes.from_id is not None
    assert writes.count is not None
    prefix = f"{directory}/"
    stays = np.array([path.startswith(prefix) for path in paths])
    number = np.cumsum(stays) - 1
    inside = stays[writes.file_id]
    origin = np.where((writes.from_id >= 0) & stays[writes.from_id], writes.from_id, -1)
    # What is renamed to a place outside is gone.
    leaves = ~inside & (origin >= 0)
    rows = inside | leaves
    file_id = number[np.where(leaves, origin, writes.file_id)]
    origin = np.where(leaves | (origin < 0), -1, number[origin])
    still = ~leaves[rows]
    left_out = dict(writes.left_out)
    if outside := int(writes.count[~inside].sum()):
        left_out[ELSEWHERE] = outside
    trace = WriteTrace(
        file_id[rows],
        None if writes.write_bytes is None else writes.write_bytes[rows] * still,
        time_ns=writes.time_ns[rows],
        count=writes.count[rows] * still,
        size_bytes=np.where(still, writes.size_bytes[rows], -1),
        from_id=origin[rows],
        present=recorded.present[stays],
        duration_ns=writes.duration_ns,
        left_out=left_out,
    )
    files = FileSet(
        recorded.files.size_bytes[stays],
        recorded.files.read_only[stays],
        [path.removeprefix(prefix) for path, stay in zip(paths, stays, strict=True) if stay],
    )
    return Recorded(recorded.name, files, trace, recorded.notes)


def smaller(recorded: Recorded) -> Recorded:
    """Return the recording with rounded times, and names for the files written most only.

    What was left out on purpose, the initial load and the clients' own files, is not counted any
    more: `left_out` tells of what the service wrote in this time and nobody knows where.
    """
    paths, writes = recorded.files.path, recorded.writes
    assert paths is not None
    updates = writes.counts(recorded.files)
    named = set(np.argsort(-updates, kind="stable")[:NAMED].tolist())
    names = [
        path if k in named else os.path.join(os.path.dirname(path), "*")
        for k, path in enumerate(paths)
    ]
    assert writes.time_ns is not None
    left_out = {why: count for why, count in writes.left_out.items() if why not in ON_PURPOSE}
    trace = writes.replace(time_ns=writes.time_ns // UNIT_NS * UNIT_NS, left_out=left_out)
    files = FileSet(recorded.files.size_bytes, recorded.files.read_only, names)
    return Recorded(recorded.name, files, trace, recorded.notes)


def ship(recorded: Recorded, what: str, seed: int, room: Path) -> None:
    """Write the recording, and how it was made, into the package's room of data."""
    small = smaller(recorded)
    writes, seconds = small.writes, small.seconds
    counts, kernel = recorded.writes.left_out, ".".join(platform.release().split(".")[:2])
    left = [f"{count} updates: {why}" for why, count in counts.items()] or ["no updates"]
    left += [
        f"times are rounded down to {UNIT_NS // 1_000_000} ms",
        f"all but the {NAMED} files that are written most have an asterisk for a name",
        "the making of the initial data",
    ]
    about: dict[str, Any] = {
        "service": what,
        "version": version_of(small.name),
        "command": f"python benchmarks/services/record.py {small.name} "
        f"--seconds {round(seconds)} --seed {seed}",
        "seconds": round(seconds, 3),
        "seed": seed,
        "machine": f"{os.cpu_count()} processors, busy with other work, Linux {kernel}",
        "updates_per_s": round(writes.updates / seconds, 1),
        "bytes_per_s": round(int(writes.write_bytes.sum()) / seconds),
        "left_out": "; ".join(left),
    }
    noted = [*small.notes, f"{what} {about['version']}, {about['machine']}, seed {seed}."]
    noted.append(f"Left out: {about['left_out']}.")
    Recorded(small.name, small.files, writes, noted).save(room / f"{small.name}.npz")
    table = room / "provenance.json"
    known = json.loads(table.read_text("utf-8")) if table.exists() else {}
    known[small.name] = about
    table.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", "utf-8")
