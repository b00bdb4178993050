"""One run seen twice: by the monitor and by strace, which is the ground truth.

`strace` itself runs under the monitor and passes it on to the program: both see the very same
processes and file names.  Left out are the files that the dynamic loader and libc open for
themselves (libraries, locale, name service) and what is no file to migrate (/proc, /dev, /sys).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from precopy.access import schema
from precopy.access.strace import import_strace
from precopy.access.tracking.recording import MONITOR, Recording, record

SYSTEM = (b"/proc/", b"/dev/", b"/sys/", b"/usr/", b"/lib", b"/etc/", b"/run/")


def until(condition: Callable[[], Any]) -> Any:
    """Wait for what must come, and return what the condition gives then."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("waited in vain")


@dataclass(frozen=True)
class Use:
    opens: int
    read: bool
    write: bool
    mapped: bool
    writes: int
    bytes_written: int
    changes: int


@dataclass(frozen=True)
class Seen:
    """Everything that a log says of a path."""

    kind: str
    opens: int
    uses: str
    writes: int
    bytes_written: int
    changes: int


def need(*programs: str) -> None:
    """Skip the test if a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} not installed")


def uses(log: Path) -> dict[bytes, Use]:
    """What a log says about each file, all applications together."""
    connection = schema.connect(log, read_only=True)
    rows = connection.execute(
        """SELECT path, sum(opens), max(read), max(write), max(mapped), sum(writes),
                  sum(bytes_written), sum(changes)
           FROM access JOIN file ON file.id = file_id
           WHERE kind != 'directory' AND (read OR write OR mapped) GROUP BY path"""
    ).fetchall()
    connection.close()
    return {
        bytes(path): Use(opens, bool(read), bool(write), bool(mapped), *rest)
        for path, opens, read, write, mapped, *rest in rows
    }


def seen(log: Path) -> dict[bytes, Seen]:
    """What a log says about each path, directories, links and looks too."""
    rows = query(
        log,
        """SELECT path, kind, sum(opens), max(read), max(write), max(mapped), max(looked),
                  max(listed), max(loaded), sum(writes), sum(bytes_written), sum(changes)
           FROM access JOIN file ON file.id = file_id GROUP BY path""",
    )
    names = ("read", "write", "mapped", "looked", "listed", "loaded")
    return {
        bytes(path): Seen(
            kind, opens, " ".join(n for n, flag in zip(names, rest[:6], strict=True) if flag),
            *rest[6:],
        )
        for path, kind, opens, *rest in rows
    }  # fmt: skip


def meta(log: Path, key: str) -> int | str | None:
    connection = schema.connect(log, read_only=True)
    try:
        return schema.get_meta(connection, key)
    finally:
        connection.close()


def query(log: Path, sql: str) -> list[tuple[Any, ...]]:
    connection: sqlite3.Connection = schema.connect(log, read_only=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@dataclass(frozen=True)
class TwoViews:
    monitor: dict[bytes, Use]
    strace: dict[bytes, Use]
    log: Path
    directory: Path

    def missed(self) -> list[str]:
        """Files that strace saw opened or written, and the monitor did not."""
        failures = []
        for path, true in self.strace.items():
            seen = self.monitor.get(path)
            if seen is None:
                failures.append(f"{path!r} not reported")
            elif true.write and not seen.write:
                failures.append(f"{path!r} not reported as written")
            elif true.read and not seen.read:
                failures.append(f"{path!r} not reported as read")
            elif true.mapped and not seen.mapped:
                failures.append(f"{path!r} not reported as mapped")
        return failures

    def counts(self, *names: str) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
        """(file, (writes, bytes) of strace, of the monitor) for each name in the directory."""
        rows = []
        for name in names:
            path = os.fsencode(self.directory / name)
            pair = [(view[path].writes, view[path].bytes_written) for view in self._views()]
            rows.append((name, pair[0], pair[1]))
        return rows

    def _views(self) -> tuple[dict[bytes, Use], dict[bytes, Use]]:
        return self.strace, self.monitor


def watch(command: list[str], tmp_path: Path) -> TwoViews:
    """Run a command in a fresh directory, monitored and traced."""
    need("strace", command[0])
    directory = tmp_path / "work"
    directory.mkdir(exist_ok=True)
    trace, log, truth = tmp_path / "trace", tmp_path / "access.db", tmp_path / "truth.db"
    options = ["-f", "-y", "-ttt", "-s", "8192", "-o", str(trace)]
    done: Recording = record(
        ["strace", *options, "--", *command], app="traced", log=log, cwd=directory
    )
    assert done.returncode == 0
    assert meta(log, "complete") == 1, meta(log, "incomplete_reason")
    import_strace(trace, truth, "traced", cwd=directory)
    # The monitor looks at a program before it is started.
    programs = {path for (path,) in query(log, "SELECT DISTINCT command FROM process")}
    ignored = (*SYSTEM, os.fsencode(log), os.fsencode(MONITOR))
    seen_by_strace = {
        path: use
        for path, use in uses(truth).items()
        if path not in programs
        and not path.startswith(ignored)
        and not _is_library(path, use)
        and not os.path.isdir(path)
    }
    return TwoViews(uses(log), seen_by_strace, log, directory)


def _is_library(path: bytes, use: Use) -> bool:
    name = os.path.basename(path)
    return not use.write and (name.endswith(b".so") or b".so." in name)
