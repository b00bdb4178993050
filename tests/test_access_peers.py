"""A peer's own tests behave the same under the monitor: CPython's of descriptors and processes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from precopy.access.tracking.recording import record

MODULES = ["test.test_fcntl", "test.test_posix"]


def _outcomes(said: str) -> list[str]:
    return sorted(line for line in said.splitlines() if re.search(r"\) \.\.\. ", line))


def test_each_test_of_cpython_ends_as_it_does_without(tmp_path: Path) -> None:
    if importlib.util.find_spec("test.test_posix") is None:
        pytest.skip("CPython's tests not installed")
    plain, recorded = tmp_path / "plain", tmp_path / "recorded"
    plain.mkdir()
    recorded.mkdir()
    command = [sys.executable, "-m", "unittest", "-v", *MODULES]
    done = subprocess.run(command, cwd=plain, capture_output=True, text=True, check=False)
    script = 'exec "$@" > /dev/null 2> said'
    record(["sh", "-c", script, "sh", *command], app="tests", log=tmp_path / "a.db", cwd=recorded)
    expected = _outcomes(done.stderr)
    assert len(expected) > 100
    assert _outcomes((recorded / "said").read_text()) == expected
