"""Symbolic links that names pass through, and what the dynamic loader reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from access.truth import meta, need, query

from precopy.access.tracking.recording import record

HERE = Path(__file__).parent / "access"

TREE = """
mkdir -p srv/releases/1/etc srv/data bin real
echo conf > srv/releases/1/etc/app.conf
ln -s releases/1 srv/current              # in the middle, relative
ln -s current/etc/app.conf srv/app.conf   # at the end, through another one
ln -s "$PWD/srv/app.conf" srv/absolute    # a chain, absolute
ln -s ../data srv/releases/data           # left again by ".."
ln -s srv/current entered
ln -s srv/current unused
echo 1 > srv/data/f
"""
NAMES = """
for name in srv/current/etc/app.conf srv/absolute srv/releases/data/../data/f; do
    [ "$(cat "$name")" ] || exit 1
done
cd entered; [ "$(cat etc/app.conf)" = conf ]
"""
PASSED = {
    "srv/current", "srv/app.conf", "srv/absolute", "srv/releases/data", "entered",
}  # fmt: skip


def of_kind(log: Path, kind: str, root: Path) -> set[str]:
    """The names below a directory that the log says are of a kind."""
    rows = query(log, f"SELECT CAST(path AS TEXT) FROM file WHERE kind = '{kind}'")
    prefix = f"{root}/"
    return {str(path).removeprefix(prefix) for (path,) in rows if str(path).startswith(prefix)}


def shell(script: str, directory: Path) -> None:
    subprocess.run(["bash", "-ec", script], cwd=directory, check=True)


def test_every_link_that_a_name_passes_through_is_reported(tmp_path: Path) -> None:
    root, log = tmp_path.resolve(), tmp_path / "access.db"
    shell(TREE, root)
    assert record(["bash", "-ec", NAMES], app="x", log=log, cwd=root).returncode == 0
    assert meta(log, "complete") == 1
    assert of_kind(log, "link", root) == PASSED
    assert of_kind(log, "file", root) == {"srv/releases/1/etc/app.conf", "srv/data/f"}


def test_links_are_walked_as_written_below_another_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root only")
    root, log = tmp_path.resolve() / "jail", tmp_path / "access.db"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "conf").write_text("1")
    (root / "conf").symlink_to("/etc/conf")  # the jail's own
    script = f"import os; os.chroot({str(root)!r}); os.chdir('/'); open('/conf').close()"
    assert record([sys.executable, "-c", script], app="x", log=log).returncode == 0
    assert of_kind(log, "link", root) == {"conf"}
    assert of_kind(log, "file", root) == {"etc/conf"}


STARTED = {
    "by a link": ('ln -s /bin/true "$0/run"', ["run"], {"run"}),
    "by a link's directory": (
        'ln -s real "$0/to"; cp /bin/true "$0/real/run"', ["to/run"], {"to"},
    ),
    "by the interpreter of a script": (
        'ln -s /bin/sh "$0/sh"; printf "#!%s/sh\\n:\\n" "$0" > "$0/real/script";'
        ' ln -s real/script "$0/script"; chmod +x "$0/real/script"', ["script"], {"sh", "script"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", STARTED)
def test_a_program_is_started_by_a_link(how: str, tmp_path: Path) -> None:
    prepare, command, links = STARTED[how]
    root, log = tmp_path.resolve(), tmp_path / "access.db"
    (root / "real").mkdir()
    subprocess.run(["bash", "-ec", prepare, str(root)], check=True)
    done = record([str(root / command[0]), *command[1:]], app="x", log=log)
    assert done.returncode == 0
    assert of_kind(log, "link", root) == links


def test_a_working_directory_that_was_entered_through_a_link(tmp_path: Path) -> None:
    root, log = tmp_path.resolve(), tmp_path / "access.db"
    shell("mkdir real; ln -s real entered", root)
    env = dict(os.environ) | {"PWD": str(root / "entered")}
    done = record(["/bin/true"], app="x", log=log, cwd=root / "entered", env=env)
    assert done.returncode == 0
    assert of_kind(log, "link", root) == {"entered"}


LIBRARIES = """
mkdir lib searched
for name in relative.so lib/origin.so lib/libdirect.so apart.so early.so searched/libfound.so; do
    echo 'int f(void) { return 7; }' | gcc -shared -fPIC -x c - -o $name
done
echo 'int f(void) { return 7; }' | gcc -shared -fPIC -x c - -o lib/libversion.so.1
ln -s libversion.so.1 lib/libversion.so
echo 'int g(void) { return 8; }' | gcc -shared -fPIC -x c - -o lib/libdep.so
ln -s searched to-searched
gcc "$SOURCE" -o app -L lib -ldep -Wl,-rpath,"\\$ORIGIN/lib" -Wl,--enable-new-dtags
"""


def test_every_library_that_the_loader_reads_is_reported(tmp_path: Path) -> None:
    need("gcc")
    root, log = tmp_path.resolve(), tmp_path / "access.db"
    source = {**os.environ, "SOURCE": str(HERE / "loads.c")}
    subprocess.run(["bash", "-ec", LIBRARIES], cwd=root, env=source, check=True)
    env = dict(os.environ) | {
        "LD_LIBRARY_PATH": f"{root}/to-searched", "LD_PRELOAD": f"{root}/early.so",
    }  # fmt: skip
    assert record(["./app"], app="x", log=log, cwd=root, env=env).returncode == 0
    assert meta(log, "complete") == 1
    rows = query(
        log,
        """SELECT DISTINCT CAST(path AS TEXT) FROM access JOIN file ON file.id = file_id
           WHERE read AND CAST(path AS TEXT) LIKE '%.so%'""",
    )
    below = {
        str(path).removeprefix(f"{root}/") for (path,) in rows if str(path).startswith(f"{root}/")
    }
    assert below == {
        "relative.so", "lib/libversion.so.1", "searched/libfound.so", "lib/origin.so",
        "lib/libdirect.so", "apart.so", "early.so", "lib/libdep.so",
    }  # fmt: skip
    assert of_kind(log, "link", root) == {"lib/libversion.so", "to-searched"}
    assert any("/ld-linux" in str(path) for (path,) in rows)
    for names in ("./relative.so", "libfound.so look", "look"):
        log = tmp_path / f"{names}.db".replace("/", "")
        done = record(["./app", *names.split()], app="x", log=log, cwd=root, env=env)
        assert done.returncode == -9
        loaded = query(log, "SELECT path FROM access JOIN file ON file.id = file_id WHERE loaded")
        assert {os.path.basename(path) for (path,) in loaded} >= {
            *(os.fsencode(os.path.basename(name)) for name in names.split() if ".so" in name),
            b"libdep.so", b"early.so",
        }  # fmt: skip
