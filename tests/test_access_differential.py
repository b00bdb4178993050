"""The same programs under the monitor and under strace, with the flags that people use."""

import shutil
import subprocess
from pathlib import Path

import pytest
from access.truth import need, uses

from precopy.access import import_strace, record

FLAGS = {
    "-y -ttt": ["-f", "-y", "-ttt"],
    "-yy -tt": ["-f", "-yy", "-tt"],
    "-ff": ["-ff", "-y", "-ttt"],
    "-X raw -s 0": ["-f", "-y", "-X", "raw", "-s", "0"],
}
SCRIPTS = {
    "shell": "echo a > f; cat f >> g; exec 5<> f; echo b >&5; (cd d; echo c > h; mv h i); rm f",
    "files": "mkdir e; cp big c; mv c e/moved; ln big hard; truncate -s 5 big; dd if=big of=o",
    "archive": "tar cf t big; mkdir x; tar xf t -C x; mv x y; cat y/big > z; rm -r y",
    "database": "sqlite3 db 'create table t(a); insert into t values(1); delete from t'",
}
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def counts(log: Path, work: Path) -> dict[bytes, tuple[object, ...]]:
    below = bytes(work) + b"/"
    return {
        path.removeprefix(below): (use.read, use.write, use.mapped, use.writes, use.bytes_written)
        for path, use in uses(log).items()
        if path.startswith(below)
    }


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_monitor_and_strace_tell_the_same(tmp_path: Path, script: str, flags: str) -> None:
    need("strace", "sqlite3")
    work = tmp_path / "work"
    command = ["bash", "-c", SCRIPTS[script]]

    def begin() -> None:
        shutil.rmtree(work, ignore_errors=True)
        (work / "d").mkdir(parents=True)
        (work / "big").write_bytes(b"x" * 1000)

    begin()
    trace = ["strace", *FLAGS[flags], "-o", str(tmp_path / "trace"), *command]
    subprocess.run(trace, cwd=work, check=True, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    parts = sorted(tmp_path.glob("trace*"))
    summary = import_strace(parts, tmp_path / "traced.db", "app", cwd=work)
    assert summary.reasons == ()
    begin()
    record(command, app="app", log=tmp_path / "monitor.db", cwd=work, env=ENVIRONMENT)
    traced = counts(tmp_path / "traced.db", work)
    assert len(traced) > 1
    assert counts(tmp_path / "monitor.db", work) == traced
