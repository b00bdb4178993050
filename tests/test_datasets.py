"""The recordings that come with the package, and the services that they were made of."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from access.scanner import looks
from migration.services import alive, descendants

import precopy
from precopy.access import AccessLog

ROOT = Path(__file__).parent.parent
SERVICES = ROOT / "benchmarks" / "services"
sys.path.insert(0, os.fspath(SERVICES))

import zoo  # noqa: E402

DATA = Path(precopy.datasets.__file__).parent / "data"
NAMES = precopy.datasets.names()


# What is shipped.


def test_there_are_eight_to_ten_and_they_are_small():
    assert 8 <= len(NAMES) <= 10
    assert sum(path.stat().st_size for path in DATA.iterdir()) <= 400_000


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_whole_and_says_where_it_comes_from(name):
    app = precopy.datasets.load(name)
    about = precopy.datasets.provenance(name)
    assert app.name == name
    assert name in zoo.ZOO
    assert set(about) == {
        "service", "version", "command", "seconds", "seed", "machine", "updates_per_s",
        "bytes_per_s", "left_out",
    }  # fmt: skip
    assert all(about.values())
    assert app.seconds == pytest.approx(about["seconds"], abs=0.001)
    assert app.seconds > 60
    assert app.writes.updates / app.seconds == pytest.approx(about["updates_per_s"], abs=0.1)
    # The notes and the provenance say the same.
    text = " ".join(app.notes)
    assert about["version"] in text
    assert about["left_out"] in text
    for why, count in app.writes.left_out.items():
        assert f"{count} updates: {why}" in about["left_out"]
    there = app.present
    assert 20e6 < app.files.size_bytes[there].sum() < 200e6
    assert not app.files.size_bytes[~there].any()
    assert not any(path.startswith("/") for path in app.files.path)
    # What is written is spread over the whole time.
    fifths = np.histogram(app.writes.time_ns / 1e9, 5, (0, app.seconds))[0]
    assert fifths.min() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("once_s", [8, 60])
def test_a_recording_is_replayed(name, once_s):
    app = precopy.datasets.load(name)
    data = int(app.files.size_bytes[app.present].sum())
    cycle = precopy.Cycle.of_seconds(1, data / once_s)
    run = precopy.simulate(app, cycle=cycle, cycles=4 * once_s)
    # Everything is pending at first, and a part of it in the long run.
    assert run.final_copy_bytes[0] > 0.8 * data * (1 - 1 / once_s)
    left = run.final_copy_bytes[-once_s:]
    assert 0 < left.mean() < 0.95 * run.present_bytes[-once_s:].mean()
    later = precopy.simulate(app, cycle=cycle, cycles=4 * once_s, start_s=app.starts(2)[1])
    assert not np.array_equal(run.final_copy_bytes, later.final_copy_bytes)


def test_another_name_is_an_error_that_lists_them():
    for function in (precopy.datasets.load, precopy.datasets.provenance):
        with pytest.raises(ValueError, match=r"name: expected one of \[.*'pg'.*\], got 'pq'"):
            function("pq")


def test_the_guide_lists_every_recording():
    text = (ROOT / "docs/guide/datasets.md").read_text()
    assert [name for name in zoo.ZOO if f"| `{name}` |" not in text] == []
    shipped = [line.split("`")[1] for line in text.splitlines() if line.endswith("| yes |")]
    assert sorted(shipped) == NAMES


# How they are made.


def record(name, *options, cwd, **variables):
    command = [sys.executable, os.fspath(SERVICES / "record.py"), name, *options]
    environment = os.environ | variables
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_services_are_listed():
    done = record("--list", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(zoo.ZOO)


@pytest.mark.parametrize("name", ["logs", "uploads"])
def test_a_service_is_recorded_by_one_command(name, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = ["--seconds", "3", "--save", "a.npz", "--scan", "a.scan", "--directory", "d"]
    done = record(name, *options, "--ship", ".", cwd=tmp_path, TMPDIR=os.fspath(scratch))
    assert done.returncode == 0, done.stderr
    app = precopy.Recorded.load(tmp_path / "a.npz")
    assert done.stdout == f"{app!r}\n"
    log_path = tmp_path / f"{name}.db"
    with AccessLog(log_path) as log:
        assert log.complete, log.incomplete_reason
        marks = log.marks()
    assert marks["end"] - marks["ready"] == pytest.approx(3e9, rel=0.5)
    assert app.seconds == pytest.approx((marks["end"] - marks["ready"]) / 1e9, abs=0.2)
    assert (app.writes.from_id >= 0).any()
    # What somebody saw change who knows nothing of the log, is in the recording: but for the last
    # bucket of time, which may end behind the window, and for empty files that are not written.
    changed, before = set(), None
    for look in looks(tmp_path / "a.scan"):
        if before is not None and look.end_ns < marks["end"] - 200_000_000:
            changed |= {
                path
                for path, state in look.files.items()
                if state != before.files.get(path) and state[0] > 0
            }
        before = look if look.begin_ns > marks["ready"] else None
    assert changed
    origin = app.writes.from_id[app.writes.from_id >= 0]
    concerned = np.unique(np.concatenate([app.writes.file_id, origin]))
    assert changed <= {app.files.path[k] for k in concerned}
    # The form that is shipped says the same, but for times and names.
    small = precopy.Recorded.load(tmp_path / f"{name}.npz")
    for column in ("file_id", "count", "write_bytes", "size_bytes", "from_id"):
        one, other = getattr(app.writes, column), getattr(small.writes, column)
        np.testing.assert_array_equal(one, other)
    assert np.abs(app.writes.time_ns - small.writes.time_ns).max() < 10_000_000
    assert list(scratch.iterdir()) == []


def test_a_recording_that_is_ended_leaves_nothing_behind(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, os.fspath(SERVICES / "record.py"), "logs", "--log", "a.db"]
    environment = os.environ | {"TMPDIR": os.fspath(scratch)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    ours, end = [], time.monotonic() + 60
    while not list(scratch.glob("*/logs/logs/*.log")) and time.monotonic() < end:
        ours = descendants(process.pid)
        time.sleep(0.02)
    assert len(ours) > 1
    process.terminate()
    assert process.wait() == 1
    process.stderr.close()
    while any(alive(pid) for pid in ours) and time.monotonic() < end:
        time.sleep(0.02)
    assert [pid for pid in ours if alive(pid)] == []
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("logs", lambda root: [path.write_bytes(b"") for path in root.glob("logs/*.log")]),
        ("maildir", lambda root: [path.unlink() for path in root.glob("mail/*/new/*")]),
        ("uploads", lambda root: [path.unlink() for path in root.glob("uploads/*/f[1-9]*")]),
        ("sqlite-wal", lambda root: [path.unlink() for path in root.glob("databases/*-wal")]),
    ],
)
def test_a_lost_write_is_found(name, damage, tmp_path):
    with zoo.ZOO[name](tmp_path / "outside", seed=3) as service:
        service.start(tmp_path / "d")
        end = time.monotonic() + 60
        while service.acknowledged() < 150 and time.monotonic() < end:
            time.sleep(0.05)
        pid = service.pid
        # SQLite would bring its logs into the databases.
        service.stop(signal.SIGKILL if name == "sqlite-wal" else signal.SIGTERM)
        assert not alive(pid)
        shutil.copytree(tmp_path / "d", tmp_path / "damaged")
        damage(tmp_path / "damaged")
        service.check(tmp_path / "d")
        with pytest.raises(AssertionError, match=r"lost|missing|torn"):
            service.check(tmp_path / "damaged")
