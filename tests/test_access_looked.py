"""What an application only looks at, and the directories that it makes, enters or lists."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from access.truth import meta, need, query

from precopy.access.tracking.recording import record

HERE = Path(__file__).parent / "access"


LOOKED, DIRECTORY, LINK = "file look", "directory look", "link look"
EXPECTED = {
    "stat.file": LOOKED, "stat.dir": DIRECTORY, "stat64.to-file": LINK, "stat64.file": LOOKED,
    "lstat.to-dir": LINK, "lstat64.file": LOOKED, "fstatat.to-dir": LINK,
    "fstatat.dir/inner": LOOKED, "fstatat64.to-file": LINK, "statx.file": LOOKED,
    "syscall.file": LOOKED, "access.to-file": LINK, "access.file": LOOKED, "at.dir": DIRECTORY,
    "at.dir/inner": LOOKED, "euidaccess.file": LOOKED, "eaccess.file": LOOKED,
    "readlink.to-file": LINK, "readlinkat.to-dir": LINK, "realpath.to-dir": LINK,
    "realpath.dir/inner": LOOKED, "canonical.to-file": LINK, "canonical.file": LOOKED,
    "inotify.to-file": LINK, "inotify.file": LOOKED, "statfs.file": LOOKED,
    "statvfs.file": LOOKED, "listxattr.to-file": LINK, "listxattr.file": LOOKED,
    "llistxattr.file": LOOKED, "path.to-file": LINK, "path.file": LOOKED,
    "opendir.to-dir": LINK, "opendir.dir": "directory r list",
    "fdopendir.dir": "directory r look list", "scandir.dir": "directory r list",
    "ftw.dir": "directory r list", "ftw.dir/inner": LOOKED, "nftw.dir": "directory r list",
    "nftw.dir/inner": LOOKED, "fts.dir": "directory r list", "fts.dir/inner": LOOKED,
    "glob.dir": "directory r list", "glob.dir/inner": LOOKED, "mkdir.made": "directory w",
    "mkdirat.made": "directory w", "raw.made": "directory w", "symlink.made": "link w",
    "chdir.to-dir": LINK, "chdir.dir": DIRECTORY, "chdir.dir/inner": LOOKED,
}  # fmt: skip


def seen(log: Path, root: Path) -> dict[str, str]:
    """What the log says of each path below a directory: kind and uses, in one word each."""
    rows = query(
        log,
        """SELECT CAST(path AS TEXT), kind, max(read), max(write), max(looked), max(listed)
           FROM access JOIN file ON file.id = file_id GROUP BY path""",
    )
    said = {}
    for path, kind, *flags in rows:
        uses = [use for use, flag in zip(("r", "w", "look", "list"), flags, strict=True) if flag]
        said[str(path)] = " ".join([str(kind), *uses])
    prefix = f"{root}/"
    return {path[len(prefix) :]: said[path] for path in said if path.startswith(prefix)}


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the log says of the files of ``looks.c``."""
    need("gcc")
    directory = tmp_path_factory.mktemp("looks").resolve()
    work, program, log = directory / "work", directory / "looks", directory / "access.db"
    work.mkdir()
    subprocess.run(["gcc", "-O2", "-w", str(HERE / "looks.c"), "-o", str(program)], check=True)
    for case in {name.partition(".")[0] for name in EXPECTED} | {"never"}:
        (work / f"{case}.file").write_text("1")
        (work / f"{case}.dir").mkdir()
        (work / f"{case}.dir" / "inner").write_text("1")
        (work / f"{case}.to-file").symlink_to(f"{case}.file")
        (work / f"{case}.to-dir").symlink_to(work / f"{case}.dir")
    done = record([str(program)], app="looks", log=log, cwd=work)
    assert done.returncode == 0
    assert meta(log, "complete") == 1
    return seen(log, work)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_way_to_look_is_reported(name: str, looked: dict[str, str]) -> None:
    assert looked.get(name) == EXPECTED[name]


def test_nothing_else_is_reported(looked: dict[str, str]) -> None:
    others = {name for name in looked if not name.startswith("mkdtemp.")}
    assert others - EXPECTED.keys() == set()
    assert looked["mkdtemp.made"].startswith("directory")


COMPILED = """
mkdir -p srv/shop; : > srv/shop/__init__.py; echo 'def total(): return 42' > srv/shop/prices.py
printf 'from shop import prices\\nprint("total", prices.total())\\n' > srv/main.py
"$PYTHON" -B -m compileall -q srv
"""


def test_a_copy_of_a_compiled_python_program_runs(tmp_path: Path) -> None:
    need("tar")
    python, log = sys.executable, tmp_path / "access.db"
    subprocess.run(["bash", "-ec", COMPILED], cwd=tmp_path, env={**os.environ, "PYTHON": python},
                   check=True)  # fmt: skip
    assert record([python, "-B", "srv/main.py"], app="a", log=log, cwd=tmp_path).returncode == 0
    used = seen(log, tmp_path.resolve() / "srv")
    assert used["shop/prices.py"] == LOOKED
    shutil.move(tmp_path / "srv", tmp_path / "before")
    for name, use in used.items():
        if use.startswith("file"):
            (tmp_path / "srv" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tmp_path / "before" / name, tmp_path / "srv" / name)
    shutil.rmtree(tmp_path / "before")
    done = subprocess.run([python, "-B", "srv/main.py"], cwd=tmp_path, capture_output=True)
    assert done.stdout == b"total 42\n"


def test_marker_files_and_work_trees_are_in_the_log(tmp_path: Path) -> None:
    need("git")
    work = tmp_path.resolve() / "work"
    git = "git -c user.name=n -c user.email=n@example.org"
    prepare = f"mkdir work; cd work; : > .initialized; {git} init -q; echo 1 > one; {git} add one"
    subprocess.run(["bash", "-ec", prepare], cwd=tmp_path, check=True, capture_output=True)
    # Git trusts what it knows of a file, and does not read it, once the clock has moved on.
    os.utime(work / "one", ns=(10**18, 10**18))
    subprocess.run(["git", "update-index", "--refresh"], cwd=work, check=True)
    script = "[ -e .initialized ] && git status -s"
    log = tmp_path / "access.db"
    assert record(["bash", "-c", script], app="a", log=log, cwd=work).returncode == 0
    used = seen(log, work)
    assert used[".initialized"] == LOOKED
    assert used["one"] == LOOKED


def test_like_names_in_one_directory_after_another_are_told_apart(tmp_path: Path) -> None:
    names = [f"{number:02}/{'eg'[number % 2]}/f" for number in range(20)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    program = (
        f"import os\nfor number in range(20):\n  os.chdir({str(tmp_path)!r} + f'/{{number:02}}')\n"
    )
    program += "  os.stat('eg'[number % 2] + '/f')"
    log = tmp_path / "log.db"
    record([sys.executable, "-I", "-S", "-c", program], app="app", log=log, cwd=tmp_path)
    found = seen(log, tmp_path)
    assert {path for path in found if path.endswith("/f")} == set(names)


def test_the_old_name_of_a_link_and_a_new_root_are_looked_at(tmp_path: Path) -> None:
    for name in ("one", "two", "three", "four"):
        (tmp_path / name).touch()
    (tmp_path / "to").symlink_to("three")
    (tmp_path / "root").mkdir()
    program = """
import ctypes, os, platform
os.link("one", "one.l", follow_symlinks=False)
libc = ctypes.CDLL(None)
assert libc.linkat(-100, b"to", -100, b"three.l", 0x400) == 0
linkat = {"x86_64": 265, "aarch64": 37}[platform.machine()]
assert libc.syscall(linkat, -100, b"four", -100, b"four.l", 0) == 0
if os.geteuid() == 0:
    os.chroot("root")
"""
    log = tmp_path / "log.db"
    record([sys.executable, "-I", "-S", "-c", program], app="app", log=log, cwd=tmp_path)
    found = seen(log, tmp_path)
    assert found["one"] == found["three"] == found["four"] == LOOKED
    assert found["to"] == LINK
    assert os.geteuid() != 0 or found["root"] == DIRECTORY
    assert "two" not in found
