"""`precopy migrate`, run as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PRECOPY = [sys.executable, "-m", "precopy", "migrate"]
TIMEOUT_SECONDS = 120


@dataclass
class Moved:
    """How it ended, and what it reported."""

    status: int
    errors: str
    report: dict[str, Any]


def migrate(
    paths: Sequence[Path],
    to: str | Path,
    *options: str,
    scratch: Path,
    pids: Sequence[int] = (),
    prefix: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> Moved:
    """Move `paths`; whatever state it keeps is in `scratch`."""
    report = scratch / "report.json"
    report.unlink(missing_ok=True)
    command = [*prefix, *PRECOPY, "--to", os.fspath(to), "--report", os.fspath(report), *options]
    command += [word for pid in pids for word in ("--pid", str(pid))]
    command += [] if pids or "--stop" in options else ["--stop", "true"]
    command += ["--paths", *map(os.fspath, paths)]
    settings = dict(environment or os.environ) | {"XDG_STATE_HOME": os.fspath(scratch / "state")}
    done = subprocess.run(
        command, env=settings, capture_output=True, text=True, errors="replace",
        stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    found = json.loads(report.read_text()) if report.exists() else {}
    return Moved(done.returncode, done.stderr, found)


@contextlib.contextmanager
def place(*, memory: bool = False) -> Iterator[Path]:
    """Give a directory that every user can reach, on disk or in memory."""
    where = Path(tempfile.mkdtemp(prefix="precopy-test-", dir="/dev/shm" if memory else "/var/tmp"))
    where.chmod(0o755)
    try:
        yield where
    finally:
        shutil.rmtree(where, ignore_errors=True)


def need(*programs: str) -> None:
    """Skip the test if a program is not installed."""
    for program in programs:
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} not installed")


def need_root() -> None:
    """Skip the test unless namespaces can be made."""
    if os.getuid() != 0:
        pytest.skip("root is needed for network namespaces")
