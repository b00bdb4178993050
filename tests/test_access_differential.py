"""The same programs under the monitor and under strace, with the flags that people use.

Every column of the log is compared, for files, directories and links, looks included.  One thing a
trace cannot tell: whether ``O_CREAT|O_TRUNC`` made a file or emptied one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest
from access.truth import Seen, meta, need, seen

from precopy.access import import_strace, record

FLAGS = {
    "-y -ttt": ["-f", "-y", "-ttt"],
    "-yy -tt": ["-f", "-yy", "-tt"],
    "-ff": ["-ff", "-y", "-ttt"],
    "-X raw -s 0": ["-f", "-y", "-X", "raw", "-s", "0"],
    "-X verbose -k": ["-f", "-y", "-X", "verbose", "-ttt", "-k"],
    "-r": ["-f", "-y", "-r"],
    "-v -xx -T": ["-f", "-y", "-v", "-xx", "-T", "-ttt"],
    "no stamps -z": ["-f", "-y", "-z"],
    "no -y": ["-f", "-ttt"],
}
PYTHON = """python3 -c '
import os, threading, subprocess, tempfile, shutil
os.link("big", "hard"); os.symlink("big", "soft"); os.readlink("soft"); os.makedirs("e/g")
def work(number):
    os.chdir("e" if os.path.exists("e") else ".") if not number else None
    for _ in range(9):
        with open(f"t{number}", "a") as file: file.write("x")
for number in range(4):
    thread = threading.Thread(target=work, args=(number,)); thread.start(); thread.join()
os.chdir(".."); os.rename("e/t1", "e/g/u1"); subprocess.run(["cp", "big", "e/copy"], cwd=".")
os.truncate("soft", 500); os.chmod("soft", 0o600); os.utime("hard"); os.chown("big", -1, -1)
with open("e/g/u1", "r+b") as file: file.truncate(3)
shutil.copytree("e", "f"); os.replace("f/copy", "f/again"); os.listdir("f")
fd = os.open("e", os.O_PATH); os.unlink("t2", dir_fd=fd); os.fchdir(fd); os.stat("g/u1")
'"""
GIT = """export GIT_AUTHOR_DATE="1700000000 +0000" GIT_COMMITTER_DATE="1700000000 +0000"
git init -q r; cd r; git config user.name n; git config user.email e@x
git config gc.auto 0; git config core.trustctime false
echo 1 > one; touch -d @1600000000 one; git add .; git commit -qm 1; echo 2 >> one
touch -d @1600000001 one; git commit -qam 2; git checkout -q -b b
git mv one two; git commit -qm 3; git log --stat -3; git status -s"""
JAIL = """python3 -c '
import os
os.makedirs("j/data"); open("j/data/x", "w").close(); os.symlink("/data", "j/l")
os.chroot("j"); os.chdir("/data"); fd = os.open("y", os.O_WRONLY | os.O_CREAT); os.write(fd, b"1")
os.rename("/data/y", "/data/../../data/z"); os.unlink("x"); os.mkdir("/n"); os.rename("z", "/n/o")
os.stat("/l/../n/o"); os.truncate("/n/o", 0); os.listdir("/l")
'"""
SCRIPTS = {
    "shell": "echo a > f; cat f >> g; exec 5<> f; echo b >&5; (cd d; echo c > h; mv h i); rm f",
    "files": "mkdir e; cp big c; mv c e/moved; ln big hard; truncate -s 5 big; dd if=big of=o",
    "links": "ln -s d ld; echo a > ld/x; cat ld/x; mv ld/x ld/y; ln -sfn big l; cat l; rm l ld/y",
    "archive": "tar cf t big; mkdir x; tar xf t -C x; mv x y; cat y/big > z; rm y/big; echo > y/n",
    "look": "find . ; test -e no; stat big; readlink -f big; ls -l d; du .; realpath d/..",
    "edit": "sed -i s/x/y/ big; patch -s big < p; sort -o big big; install -m 600 big d/i",
    "database": "sqlite3 db 'create table t(a); insert into t values(1); delete from t; vacuum'",
    "log ahead": "sqlite3 db 'pragma journal_mode=wal; create table t(a); insert into t values(1)'",
    "mirror": "rsync -rlc d/ e/; cp big d/f; rsync -rlc d/ e/; echo x >> d/f; "
    "rsync -rlc --inplace d/ e/; rm d/f; rsync -rlc --delete d/ e/",
    "python": PYTHON,
    "git": GIT,
    "jail": JAIL,
}  # fmt: skip
PAIRS = [(script, flags) for script in ("shell", "files", "links", "archive") for flags in FLAGS]
PAIRS += [
    (script, flags)
    for index, script in enumerate(list(SCRIPTS)[4:])
    for flags in ("-y -ttt", "no -y", list(FLAGS)[1 + index % (len(FLAGS) - 1)])
]
ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "HOME": "/nonexistent"}
RANDOM = re.compile(rb"(/tmp_obj_|/\.f\.|/sed|/big\.o|/\.git/t)\w{6}\Z")


def begin(work: Path) -> None:
    """Make the directory that every script starts in."""
    shutil.rmtree(work, ignore_errors=True)
    (work / "d").mkdir(parents=True)
    (work / "big").write_bytes(b"x\n" * 500)
    (work / "p").write_text("--- big\n+++ big\n@@ -1 +1 @@\n-y\n+z\n")


def below(log: Path, work: Path) -> dict[bytes, Seen]:
    found = {}
    for path, use in seen(log).items():
        if path.startswith(bytes(work) + b"/"):
            if "listed" in use.uses:  # a directory is opened to be listed: that is no look besides
                use = replace(use, uses=use.uses.replace("looked ", ""))
            found[RANDOM.sub(rb"\1XXXXXX", path.removeprefix(bytes(work)))] = use
    return found


def traced(script: str, flags: list[str], tmp_path: Path) -> dict[bytes, Seen]:
    """What the import of a trace says of a script."""
    work = tmp_path / "work"
    begin(work)
    command = ["strace", *flags, "-o", str(tmp_path / "trace"), "bash", "-c", script]
    subprocess.run(command, cwd=work, check=True, env=ENVIRONMENT, capture_output=True)
    summary = import_strace(
        sorted(tmp_path.glob("trace*")), tmp_path / "traced.db", "app", cwd=work,
        date=datetime.now() if "-r" in flags else None,
    )  # fmt: skip
    known = ("symbolic links", *(["without its path"] if "-y" not in " ".join(flags) else []))
    assert [why for why in summary.reasons if not any(part in why for part in known)] == []
    return below(tmp_path / "traced.db", work)


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[bytes, Seen]]:
    """Return what the monitor says of a script, which is recorded once."""

    @cache
    def run(script: str) -> dict[bytes, Seen]:
        directory = tmp_path_factory.mktemp("monitored").resolve()
        begin(directory / "work")
        log = directory / "log.db"
        record(["bash", "-c", script], app="app", log=log, cwd=directory / "work", env=ENVIRONMENT)
        assert meta(log, "complete") == 1, meta(log, "incomplete_reason")
        return below(log, directory / "work")

    return run


@pytest.mark.parametrize(("script", "flags"), PAIRS)
def test_the_monitor_and_strace_tell_the_same(
    tmp_path: Path, monitored: Callable[[str], dict[bytes, Seen]], script: str, flags: str
) -> None:
    need("strace", "sqlite3", "git", "rsync", "patch")
    monitor = monitored(SCRIPTS[script])
    strace = traced(SCRIPTS[script], FLAGS[flags], tmp_path)
    assert len(strace) > 1
    there = {b"/big", b"/p"}
    for path, use in strace.items():
        twin = monitor.get(path)
        if path not in there and twin is not None and use.changes == twin.changes + 1:
            strace[path] = replace(use, changes=twin.changes)  # made, or emptied: nobody knows
    assert {
        path: (strace.get(path), monitor.get(path))
        for path in strace.keys() | monitor.keys()
        if strace.get(path) != monitor.get(path)
    } == {}
