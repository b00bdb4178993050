"""`precopy forecast` as users run it: what it prints and refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from test_forecast import service

from precopy.access import import_strace
from precopy.access.schema import connect as open_log
from precopy.access.schema import mark_incomplete
from precopy.cli import main


@pytest.fixture
def run(capfd):
    def call(*words):
        try:
            status = main(["forecast", *words])
        except SystemExit as error:
            status = error.code
        out, err = capfd.readouterr()
        return status, out, err

    return call


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "srv"
    directory.mkdir()
    for name, size in (("hot", 200_000), ("cold", 300_000), ("unused", 500_000)):
        (directory / name).write_bytes(bytes(size))
    return directory


def trace(files, begin, seconds=30, written="hot"):
    """Return what strace shows of a program that writes a file each second, and reads another."""
    lines = []
    for at in range(begin, begin + seconds):
        lines.append(
            f'7 {at}.5 openat(AT_FDCWD</>, "{files}/{written}", O_RDWR) = 3<{files}/{written}>'
        )
        lines.append(f'7 {at}.6 pwrite64(3<{files}/{written}>, "x"..., 4096, 0) = 4096')
        lines.append(f"7 {at}.7 close(3<{files}/{written}>) = 0")
    lines.append(f'7 {begin}.1 openat(AT_FDCWD</>, "{files}/cold", O_RDONLY) = 4<{files}/cold>')
    return lines


@pytest.fixture
def log(files):
    begin = int(time.time()) + 1  # the files are older than what is told of them
    import_strace(trace(files, begin), "access.db", app="shop", cwd="/")
    import_strace(trace(files, begin, written="hot"), "access.db", app="report", cwd="/")
    return "access.db"


def test_one_screen(run, log, files):
    status, out, err = run("shop", "--log", log, "--bandwidth", "1MB", "--starts", "4")
    assert (status, err) == (0, "")
    text = " ".join(out.split())
    assert "shop, which moves with all of report, shop: 2 files" in text
    assert "by default" in out
    assert "/hot (" in text
    assert len(out.splitlines()) < 60
    assert max(map(len, out.splitlines())) <= 110 + len(str(files))


def test_unopened_files_of_a_root_are_sent_as_well(run, log, files):
    words = ("shop", "--log", log, "--bandwidth", "1MB", "--starts", "4", "--format", "json")
    _, out, _ = run(*words, "--roots", str(files), "--downtime", "50ms", "2s", "--downtime", "9s")
    found = json.loads(out)
    assert (found["files"], found["total_bytes"]) == (3, 1_000_000)
    assert found["applications"] == ["report", "shop"]
    assert found["goals_s"] == [0.05, 2.0, 9.0]
    assert found["complete"] is True
    _, out, _ = run(*words)
    without = json.loads(out)
    assert found["total_bytes"] - without["total_bytes"] == 500_000
    assert found["outcome"]["precopy_bytes"]["low"] >= without["outcome"]["precopy_bytes"]["low"]


def test_without_a_bandwidth_each_link_has_a_line(run, log):
    status, out, _ = run("shop", "--log", log, "--starts", "2")
    assert status == 0
    for link in ("12.5 MB/s", "125 MB/s", "1.25 GB/s"):
        assert any(line.startswith(link) for line in out.splitlines())
    assert "--bandwidth B tells more" in out
    status, out, _ = run("shop", "--log", log, "--starts", "2", "--format", "json")
    assert [each["bandwidth"] for each in json.loads(out)["links"]] == [12.5e6, 125e6, 1.25e9]


def test_an_incomplete_log_is_refused_unless_accepted(run, log):
    connection = open_log(log)
    mark_incomplete(connection, "somebody blinked")
    connection.close()
    words = ("shop", "--log", log, "--bandwidth", "1MB", "--starts", "2")
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert "somebody blinked" in err
    assert "--accept-incomplete" in err
    status, out, _ = run(*words, "--accept-incomplete", "--format", "json")
    assert status == 0
    found = json.loads(out)
    assert found["complete"] is False
    assert "somebody blinked" in " ".join(found["notes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shop", "--log", "nowhere.db"], "nowhere.db"),
        (["shpo"], "shpo"),
        (["shop", "--picture", "a.gif", "--bandwidth", "1MB"], "--picture: got 'a.gif'"),
        (["shop", "--picture", "no/a.png", "--bandwidth", "1MB"], "--picture: 'no/a.png' cannot"),
        (["shop", "--picture", "a.png"], "--picture: expected --bandwidth beside it"),
        (["shop", "--since", "lunch", "--bandwidth", "1MB"], "lunch"),
        (["shop", "--bandwidth", "fast"], "fast"),
        (["shop", "--bandwidth", "0"], "bandwidth: expected a finite number above 0, got 0"),
        (["shop", "--bandwidth", "1MB", "--until", "soon"], "soon"),
        (["shop", "--bandwidth", "1MB", "--starts", "0"], "starts: expected a whole number"),
        (["shop", "--bandwidth", "1MB", "--downtime", "0"], "downtime_s: expected a finite"),
        (["gone.npz"], "gone.npz"),
        (["shop.npz", "--since", "5"], "--since: expected it with an application of a log only"),
    ],
)
def test_bad_input_is_named(run, log, words, message):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert message in err


def test_a_file_that_one_of_two_applications_uses_brings_it_in(run, files):
    begin = int(time.time()) + 1
    import_strace(trace(files, begin), "access.db", app="shop", cwd="/")
    status, out, _ = run("srv/cold", "--bandwidth", "1MB", "--starts", "2", "--format", "json")
    assert status == 0, out
    assert json.loads(out)["applications"] == ["shop"]


def test_a_saved_recording_needs_no_log(run, tmp_path):
    service().save(tmp_path / "shop.npz")
    status, out, err = run(
        str(tmp_path / "shop.npz"), "--bandwidth", "10MB", "--starts", "3", "--granularity", "file",
        "--picture", str(tmp_path / "shop.svg"), "--order", "size-ascending",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "whole files, order size-ascending" in " ".join(out.split())
    assert "app.log" in (tmp_path / "shop.svg").read_text()


def test_since_leaves_out_what_was_before(run, files):
    begin = int(time.time()) + 1
    first = trace(files, begin, 20)
    import_strace([*first, *trace(files, begin + 20, 20, "unused")], "access.db", app="shop")
    words = ("shop", "--bandwidth", "1MB", "--starts", "2", "--format", "json", "--since", "20")
    status, out, _ = run(*words)
    assert status == 0
    found = json.loads(out)
    assert found["recorded_s"] == pytest.approx(20, abs=1)
    assert {os.path.basename(each["path"]) for each in found["hot"]} == {"unused"}
    assert found["seen_share"] > 0.99  # what was before is not missing


# SIGINT may be ignored where the tests run in the background; the program takes it back.
PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from precopy import _core
from precopy.cli import main

real = _core.simulate

def simulate(**arguments):
    os.write(1, b"started\\n")
    return real(**arguments)

_core.simulate = simulate
sys.exit(main())
"""


def test_ctrl_c_is_exit_status_130_and_one_line(tmp_path):
    service().save(tmp_path / "shop.npz")
    words = ["forecast", "shop.npz", "--bandwidth", "20kB", "--starts", "4000"]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout.readline() == "started\n"
            child.send_signal(signal.SIGINT)
            errors = child.communicate(timeout=60)[1]
        finally:
            child.kill()
    assert child.returncode == 130
    assert errors == "precopy forecast: interrupted\n"
