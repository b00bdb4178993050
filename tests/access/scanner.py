"""Looks at all files below a directory once a second, beside a recording and independent of it.

    scanner.py DIRECTORY FILE [--seconds S]

Until it gets SIGTERM it notes each file's size, time stamp and inode whenever one of them is new,
and which files are gone, one line of JSON per look.  `looks` gives them back as whole states.
Only regular files; nothing of precopy's is used.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

State = tuple[int, int, int]
"""Size in bytes, time of the last change of content in nanoseconds, inode."""


@dataclass(frozen=True)
class Look:
    """All files at one time; the looking took from `begin_ns` to `end_ns`, since the epoch."""

    begin_ns: int
    end_ns: int
    files: dict[str, State]


def below(directory: str) -> dict[str, State]:
    """Return the regular files below a directory, by their paths relative to it."""
    found: dict[str, State] = {}
    rooms = [""]
    while rooms:
        room = rooms.pop()
        try:
            entries = os.scandir(os.path.join(directory, room))
        except OSError:
            continue
        with entries:
            for entry in entries:
                name = f"{room}/{entry.name}" if room else entry.name
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        rooms.append(name)
                    elif stat.S_ISREG(status.st_mode):
                        found[name] = status.st_size, status.st_mtime_ns, status.st_ino
    return found


def scan(directory: str, path: str, seconds: float, ended: threading.Event) -> None:
    """Write one line per look, until `ended` is set."""
    before: dict[str, State] = {}
    due = time.monotonic()
    with gzip.open(path, "wt", encoding="utf-8", errors="surrogateescape", compresslevel=4) as file:
        while not ended.is_set():
            begin = time.time_ns()
            now = below(directory)
            line = {
                "begin_ns": begin,
                "end_ns": time.time_ns(),
                "set": [[name, *now[name]] for name in now if before.get(name) != now[name]],
                "gone": [name for name in before if name not in now],
            }
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
            before = now
            due = max(due + seconds, time.monotonic())
            ended.wait(due - time.monotonic())


def looks(path: str | os.PathLike[str]) -> Iterator[Look]:
    """Go through the looks of a file, each with all files that there were then."""
    files: dict[str, State] = {}
    with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            look = json.loads(line)
            for name in look["gone"]:
                del files[name]
            files.update((name, (size, mtime, inode)) for name, size, mtime, inode in look["set"])
            yield Look(look["begin_ns"], look["end_ns"], dict(files))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0, help="from look to look")
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    scan(options.directory, os.fspath(options.file), options.seconds, ended)


if __name__ == "__main__":
    main()
