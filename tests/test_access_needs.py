"""What a copy needs beside opened files: names of one file, links, directories, programs, roots."""

import json
import os
import shutil
import subprocess
from contextlib import closing
from itertools import pairwise

import pytest
from access.graphs import run
from matplotlib.figure import Figure

from precopy.access import AccessLog, format, identify, picture, record, renames, schema
from precopy.access.tracking.wire import LISTED, LOADED, LOOKED, MAPPED, READ, WRITE

BITS = (READ, WRITE, MAPPED, LOOKED, LISTED, LOADED)


@pytest.fixture
def log_of(tmp_path):
    """Make a log from ``{application: {path: (kind, use[, identity])}}``."""
    path = tmp_path / "log" / "access.db"
    path.parent.mkdir()

    def make(accesses, programs=()):
        with closing(schema.connect(path)) as log:
            log.execute("BEGIN")
            for app, used in accesses.items():
                number = schema.application_id(log, app)
                for name, (kind, use, *identity) in used.items():
                    (file,) = schema.file_ids(log, [os.fsencode(name)])
                    schema.describe_files(log, [(file, kind, (identity or [0])[0], 5)])
                    flags = [int(use & bit != 0) for bit in BITS]
                    schema.add_accesses(log, [(number, file, 1, *flags, 0, 0, 0, 1, 1)])
            for app, command in programs:
                number = schema.application_id(log, app)
                schema.add_processes(log, [(number, 7, 1, os.fsencode(command), 1, 2)])
            log.execute("COMMIT")
        return path

    return make


@pytest.fixture
def srv(tmp_path):
    directory = tmp_path / "srv"
    directory.mkdir()
    return directory


def below(directory, paths):
    return [os.path.relpath(path, directory) for path in paths if path.startswith(f"{directory}/")]


# One file, several names


def test_names_of_one_written_file_tie(log_of, srv):
    (srv / "db").touch()
    os.link(srv / "db", srv / "other")
    used = {
        "A": {srv / "db": ("file", WRITE, 77)},
        "B": {srv / "other": ("file", READ, 77), srv / "b": ("file", WRITE)},
        "C": {srv / "c": ("file", WRITE, 78)},
    }
    log = log_of(used)
    for target in ("A", "B"):
        found = identify(log, target)
        assert found.applications == ["A", "B"]
        assert below(srv, found.files) == ["b", "db", "other"]
    text = identify(log, "A").explain(srv / "b")
    assert text == f"A –writes→ {srv}/db –is→ {srv}/other ←reads– B –writes→ {srv}/b"
    assert identify(log, srv / "other").applications == ["A", "B"]


def test_names_of_a_file_that_is_only_read_do_not_tie(log_of, srv):
    used = {"A": {srv / "x": ("file", READ, 77)}, "B": {srv / "y": ("file", READ, 77)}}
    log = log_of(used)
    assert identify(log, "A").files == [f"{srv}/x"]
    assert identify(log, "A", share="any").applications == ["A", "B"]
    assert identify(log, srv / "x").applications == ["A", "B"]


def test_without_births_an_inode_that_is_used_again_ties_nobody(log_of, srv, monkeypatch):
    monkeypatch.setattr("precopy.access.graph._tells_birth", lambda path: False)
    for name in ("one", "two", "three"):
        (srv / name).touch()
    os.link(srv / "one", srv / "same")
    names = {"A": "one", "B": "same", "C": "two", "D": "gone"}
    log = log_of({app: {srv / name: ("file", WRITE, 77)} for app, name in names.items()})
    assert identify(log, "A").applications == ["A", "B"]
    assert identify(log, "C").applications == ["C"]
    assert identify(log, "D").applications == ["D"]


def test_hard_links_and_bind_mounts_of_running_programs(tmp_path, srv):
    log = tmp_path / "access.db"
    (srv / "live").mkdir()
    (srv / "backup").mkdir()
    (srv / "mount").mkdir()
    (srv / "live" / "db").write_text("1\n")
    os.link(srv / "live" / "db", srv / "backup" / "db")
    mounted = subprocess.run(
        ["mount", "--bind", srv / "live", srv / "mount"], capture_output=True, check=False
    )
    try:
        record(["sh", "-c", "echo 2 >> live/db"], app="A", log=log, cwd=srv)
        record(["sh", "-c", "cat backup/db > b"], app="B", log=log, cwd=srv)
        record(["sh", "-c", "cat mount/db > d"], app="D", log=log, cwd=srv)
        record(["sh", "-c", "echo > e"], app="E", log=log, cwd=srv)
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", srv / "mount"], check=True)
    if mounted.returncode != 0:
        pytest.skip("mount: not allowed to bind-mount")
    assert identify(log, "A").applications == ["A", "B", "D"]
    assert identify(log, "E").applications == ["E"]


def test_replacing_by_rename_on_and_on_is_one_file_and_no_growth(tmp_path, srv):
    log = tmp_path / "access.db"
    script = (
        "import os\n"
        "for i in range(300):\n"
        "    with open('new', 'w') as new: new.write('x')\n"
        "    os.rename('new', 'state')\n"
    )
    record(["python3", "-I", "-S", "-c", script], app="A", log=log, cwd=srv)
    record(["sh", "-c", "cat state > copy"], app="B", log=log, cwd=srv)
    record(["sh", "-c", "echo > apart"], app="C", log=log, cwd=srv)
    assert identify(log, "A").applications == ["A", "B"]
    assert identify(log, "C").applications == ["C"]
    with AccessLog(log) as opened:
        assert sum(path.startswith(os.fsencode(srv)) for path in opened.paths().values()) <= 5
    assert "–is→" not in identify(log, "A").explain("B")  # the path itself is common


# What is copied and ties nobody


def test_what_is_looked_at_listed_or_loaded_is_copied_and_ties_nobody(log_of, srv):
    (srv / "spool").mkdir()
    (srv / "spool" / "mail").touch()
    (srv / "spool" / "deep").mkdir()
    (srv / "spool" / "deep" / "not").touch()
    (srv / "lib.so").touch()
    log = log_of(
        {
            "A": {
                srv / "marker": ("file", LOOKED),
                srv / "lib.so": ("file", READ | LOADED),
                srv / "spool": ("directory", READ | LISTED),
                srv / "a": ("file", WRITE),
            },
            "B": {
                srv / "marker": ("file", WRITE),
                srv / "lib.so": ("file", READ | LOADED),
                srv / "spool": ("directory", WRITE),
                srv / "spool" / "mail": ("file", WRITE),
            },
        }
    )
    for share in ("written", "any"):
        found = identify(log, "A", share=share)
        assert found.applications == ["A"]
        assert below(srv, found.files) == ["a", "lib.so", "marker", "spool/mail"]
        assert below(srv, found.shared) == ["lib.so", "marker"]
        assert below(srv, found.directories) == ["spool"]
    assert found.explain(srv / "spool" / "mail") == f"A –lists→ {srv}/spool/mail"
    assert found.explain(srv / "marker") == f"A –looks at→ {srv}/marker"
    assert found.explain(srv / "spool") == f"A –lists→ {srv}/spool"
    assert found.uses()["A"][f"{srv}/lib.so"] == "loads"
    assert identify(log, "B").applications == ["B"]
    assert identify(log, srv / "lib.so").applications == ["A", "B"]  # it is asked for


def test_who_loads_what_another_application_writes_depends_on_it(log_of, srv):
    lib = srv / "lib.so"
    log = log_of({"A": {lib: ("file", READ | LOADED)}, "pip": {lib: ("file", WRITE)}})
    assert identify(log, "A").applications == ["A", "pip"]


def test_links_and_chains_of_links(log_of, srv):
    (srv / "releases" / "1").mkdir(parents=True)
    (srv / "releases" / "1" / "conf").touch()
    (srv / "stable").symlink_to("releases/1")
    (srv / "current").symlink_to("stable")
    log = log_of(
        {
            "A": {
                srv / "current": ("link", LOOKED),
                srv / "gone": ("link", WRITE),
                srv / "releases" / "1" / "conf": ("file", READ),
            },
            "B": {srv / "current": ("link", LOOKED), srv / "x": ("file", WRITE)},
        }
    )
    found = identify(log, "A", share="any")
    assert found.applications == ["A"]
    assert below(srv, found.links) == ["current", "gone", "stable"]
    assert found.explain(srv / "stable") == f"A –passes through→ {srv}/stable"
    assert below(srv, found.directories) == ["releases", "releases/1"]


def test_programs_come_with_links_and_interpreters(log_of, srv, capsysbinary):
    (srv / "bin").mkdir()
    shutil.copy("/bin/true", srv / "bin" / "python3")
    (srv / "bin" / "python").symlink_to("python3")
    (srv / "serve").write_text(f"#!{srv}/bin/python -x\nprint()\n")
    log = log_of({"A": {srv / "a": ("file", WRITE)}}, [("A", srv / "serve")])
    found = identify(log, "A")
    assert below(srv, found.programs) == ["bin/python3", "serve"]
    assert below(srv, found.links) == ["bin/python"]
    out = run(["identify", "A", "--log", log, "--format", "paths", "--existing"], capsysbinary)[1]
    assert below(srv, out.decode().splitlines()) == ["bin", "bin/python", "bin/python3", "serve"]


def test_a_directory_that_is_taken_for_a_file_brings_nothing_along(log_of, srv, capsysbinary):
    (srv / "other").mkdir()
    (srv / "other" / "secret").touch()
    log = log_of({"A": {"/": ("file", WRITE), srv / "other": ("file", READ | WRITE)}})
    found = identify(log, "A")
    assert found.files == []
    assert below(srv, found.directories) == ["other"]
    _, out, err = run(["identify", "A", "--log", log, "--format", "paths"], capsysbinary)
    assert out == b""
    assert err.decode().splitlines()[-1] == (
        f"precopy: the directory {srv}/other is needed and not in the list; --directories"
    )


# The list, as tar and rsync take it


@pytest.fixture
def tree(srv, log_of):
    for name in ("data/used", "data/unused", "spool/in", "whole/deep", "empty", "cwd"):
        (srv / name).mkdir(parents=True)
    for name in ("data/used/db", "data/unused/table", "whole/deep/a", "whole/b", "cwd/secret"):
        (srv / name).write_text(name)
    os.mkfifo(srv / "spool" / "fifo")
    (srv / "whole" / "link").symlink_to("b")
    (srv / "whole").chmod(0o700)
    return log_of(
        {
            "A": {
                srv / "data" / "used" / "db": ("file", READ | WRITE),
                srv / "data": ("directory", READ | LISTED),
                srv / "spool" / "in": ("directory", WRITE),
                srv / "whole" / "deep" / "a": ("file", READ),
                srv / "whole" / "b": ("file", READ),
                srv / "whole" / "link": ("link", LOOKED),
                srv / "empty": ("directory", LOOKED),
                srv / "cwd": ("directory", WRITE),
                "/": ("directory", READ | LISTED),
            }
        }
    )


EXPECTED = ["data/used/db", "empty", "spool/in", "whole/b", "whole/deep/a", "whole/link"]


def arrived(directory):
    """Files, links and empty directories below a directory."""
    found = []
    for here, directories, files in os.walk(directory):
        found += [os.path.relpath(os.path.join(here, name), directory) for name in files]
        found += [
            os.path.relpath(os.path.join(here, name), directory)
            for name in directories
            if not os.listdir(os.path.join(here, name))
        ]
    return sorted(found)


@pytest.mark.parametrize("tool", ["tar", "rsync"])
@pytest.mark.parametrize("options", [[], ["--directories"]], ids=["plain", "directories"])
def test_tar_and_rsync_copy_what_is_needed_and_no_more(tree, srv, tmp_path, tool, options):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} not installed")
    names = format.paths(identify(tree, "A"), null=True, existing=True, directories=bool(options))
    target = tmp_path / "target"
    target.mkdir()
    if tool == "rsync":
        copy = ["rsync", "-a", "--from0", "--files-from=-", "/", target]
        subprocess.run(copy, input=names, check=True, capture_output=True)
    else:
        recursion = ["--no-recursion"] if options else []
        pack = ["tar", "c", "-C", "/", *recursion, "--null", "-T", "-"]
        packed = subprocess.run(pack, input=names, check=True, capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", target], input=packed, check=True)
    moved = f"{target}{srv}"
    extra = ["cwd"] if options else []
    without_fifo = [name for name in arrived(moved) if name != "spool/fifo"]
    assert without_fifo == sorted(EXPECTED + extra)
    assert os.stat(f"{moved}/whole").st_mode & 0o777 == 0o700
    assert os.readlink(f"{moved}/whole/link") == "b"


def test_a_needed_directory_that_is_not_listed_is_said(tree, srv, capsysbinary):
    base = ["identify", "A", "--log", tree, "--format", "paths"]
    err = run(base, capsysbinary)[2].decode()
    said = f"precopy: the directory {srv}/cwd is needed and not in the list; --directories\n"
    assert said in err
    assert said not in run([*base, "--directories"], capsysbinary)[2].decode()


def test_roots_move_with_all_that_is_in_them(tree, srv, log_of, capsysbinary):
    log_of({"B": {srv / "data" / "unused" / "table": ("file", WRITE)}})
    found = identify(tree, "A", roots=[srv / "data"])
    assert found.applications == ["A", "B"]  # it writes below
    assert below(srv / "data", found.files) == ["unused/table", "used/db"]
    assert below(srv, found.directories)[:3] == ["cwd", "data", "data/unused"]
    assert f"{srv}/data –holds→ " in found.explain("B")
    _, out, err = run(
        ["identify", "A", "--log", tree, "--root", srv / "data", "--format", "json"], capsysbinary
    )
    answer = json.loads(out)
    assert answer["roots"] == [f"{srv}/data"]
    assert answer["notes"] == []
    assert f"{srv}/spool/in" in answer["directories"]
    assert answer["uses"]["A"][f"{srv}/empty"] == "looks at"
    assert err == b""
    with pytest.raises(NotADirectoryError, match=r"roots: .*nowhere"):
        identify(tree, "A", roots=[srv / "nowhere"])
    with pytest.raises(ValueError, match="roots: got '/'"):
        identify(tree, "A", roots=["/"])


def test_a_directory_that_is_used_in_part_is_said(log_of, srv, capsysbinary):
    for name in ("one", "two", "three"):
        (srv / name).touch()
    log = log_of({"A": {srv / "one": ("file", WRITE)}})
    note = f"2 files below {srv} were not used while recording; --root {srv} takes them in"
    assert identify(log, "A").notes == [note]
    assert (
        run(["identify", "A", "--log", log], capsysbinary)[1].decode().endswith(f"Note: {note}\n")
    )
    err = run(["identify", "A", "--log", log, "--format", "paths"], capsysbinary)[2].decode()
    assert err == f"precopy: {note}\n"
    (srv / "two").unlink()
    (srv / "three").unlink()
    assert identify(log, "A").notes == []


@pytest.mark.parametrize("elsewhere", ["sticky", "gone", "/"])
def test_it_is_said_wherever_else_the_application_writes(elsewhere, log_of, srv):
    data = srv / "data"
    data.mkdir()
    (data / "one").touch()
    (data / "two").touch()
    srv.chmod(0o1777)
    other = {"sticky": srv / "x", "gone": srv / "gone" / "x", "/": "/x"}[elsewhere]
    log = log_of({"A": {data / "one": ("file", WRITE), other: ("file", WRITE)}})
    note = f"1 file below {data} was not used while recording; --root {data} takes it in"
    assert identify(log, "A").notes == [note]


def test_a_directory_that_is_only_looked_at_is_not_said_to_be_needed(log_of, srv, capsysbinary):
    """As a shell looks at OLDPWD; its mode and owner are copied, or a chdir() would fail there."""
    for name in ("data", "before/deep", "bin"):
        (srv / name).mkdir(parents=True)
    (srv / "before" / "secret").touch()
    (srv / "data" / "f").touch()
    looked = ("directory", LOOKED)
    used = {srv / "data" / "f": ("file", READ), srv / "data": looked, srv / "bin": looked}
    used |= {srv / "before": looked, srv / "before" / "deep": looked}
    (srv / "bin" / "run").touch()
    log = log_of({"A": used}, programs=[("A", f"{srv}/bin/run")])
    out = run(["identify", "A", "--log", log], capsysbinary)[1].decode()
    assert f"Directories they make, list or are in: 2\n  {srv}/bin\n  {srv}/data\n" in out
    title = "Directories they only look at, with nothing of theirs inside: 2\n"
    assert f"{title}  {srv}/before\n  {srv}/before/deep\n" in out
    found = identify(log, "A")
    assert found.explain(srv / "before") == f"A –looks at→ {srv}/before"
    assert format.left_out(found) == []
    assert below(srv, found.directories) == ["before", "before/deep", "bin", "data"]
    assert "before/secret" not in below(srv, found.files)


def test_the_table_says_who_uses_what(log_of, srv, capsysbinary):
    (srv / "shared").write_text("12345")
    log = log_of(
        {
            "A": {
                srv / "shared": ("file", WRITE),
                srv / "absent": ("file", READ),
                srv: ("directory", LOOKED),
            },
            "B": {srv / "shared": ("file", READ), srv / "l": ("link", LOOKED)},
        }
    )
    lines = run(["identify", "A", "--log", log], capsysbinary)[1].decode().splitlines()
    assert lines == [
        "Applications that move: 2",
        "  A  2 files, 1 written",
        "  B  1 file, 0 written",
        "Files that move: 2, 5 bytes",
        "  SIZE/BYTES  USE      PATH",
        f"           5  written  {srv}/shared  [A writes; B reads]",
        f"        gone  read     {srv}/absent  [A reads]",
        "Links on the way: 1",
        f"  {srv}/l  [B passes through]",
        "Directories they make, list or are in: 1",
        f"  {srv}  [A is in]",
    ]


def test_a_file_set_holds_regular_files_only(log_of, srv):
    (srv / "file").write_text("123")
    log = log_of(
        {
            "A": {
                srv / "file": ("file", LOOKED),
                srv: ("directory", WRITE),
                srv / "link": ("link", WRITE),
            }
        }
    )
    with AccessLog(log) as opened:
        assert list(opened.file_set("A", missing="empty").path) == [f"{srv}/file"]
        assert opened.accesses()["kind"].tolist() == ["directory", "file", "link"]
        assert len(opened.write_trace("A")) == 0


def test_names_of_one_file_are_one_box(log_of, srv):
    used = {
        "A": {srv / "db": ("file", WRITE, 9), srv / "seen": ("file", LOOKED)},
        "B": {srv / "alias": ("file", READ, 9), srv / "b": ("file", WRITE)},
    }
    drawn = picture.dot(identify(log_of(used), "A"))
    assert drawn.count("[shape=note") == 2
    assert "alias = db" in drawn


def test_renaming_a_directory_on_and_on_costs_what_is_below_once(tmp_path, monkeypatch):
    """A thousand renames of 200 files: each file is looked for a few times, not a thousand."""
    top = os.fsencode(tmp_path)
    os.makedirs(top + b"/d")
    names = [b"/%d" % number for number in range(200)]
    for name in names:
        with open(top + b"/d" + name, "wb"):
            pass
    asked = []
    monkeypatch.setattr(
        schema.os.path, "lexists", lambda path: asked.append(path) or os.access(path, 0)
    )
    with closing(schema.connect(tmp_path / "access.db")) as log:
        app = schema.application_id(log, "app")
        files = schema.file_ids(log, [top + b"/d" + name for name in names])
        row = (1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1)
        schema.add_accesses(log, [(app, file, *row) for file in files])
        ways = [(top + b"/d", top + b"/e"), (top + b"/e", top + b"/d")]
        renames.add_renames(log, [(app, *ways[i % 2], 1, 10 + i) for i in range(1000)])
        # And through names that are used once, the last of which is there.
        chain = [top + b"/d", *(top + b"/n%d" % number for number in range(500)), top + b"/last"]
        os.rename(top + b"/d", top + b"/last")
        pairs = pairwise(chain)
        renames.add_renames(log, [(app, *pair, 1, 5000 + i) for i, pair in enumerate(pairs)])
        renames.add_renames(log, [(app, b"", top, 1, 9000)])  # what no monitor sends
        renames.settle(log)
        paths = {path for (path,) in log.execute("SELECT path FROM file WHERE id > 200")}
        assert {top + b"/last" + name for name in names} <= paths
        assert log.execute("SELECT count(*) FROM renamed").fetchone() == (0,)
    assert len(asked) < 3000


@pytest.mark.parametrize("kind", ["overlay", "btrfs"])
def test_names_of_one_file_on_other_file_systems(kind, tmp_path):
    """Device and inode mean other things there: a copy-up on the way, a device per subvolume."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if kind == "overlay":
        for name in ("lower", "upper", "work"):
            (tmp_path / name).mkdir()
        (tmp_path / "lower" / "volume").mkdir()
        (tmp_path / "lower" / "volume" / "below").write_text("1\n")
        layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", layers, mounted]
    else:
        if shutil.which("mkfs.btrfs") is None:
            pytest.skip("mkfs.btrfs not installed")
        with open(tmp_path / "image", "wb") as image:
            image.truncate(128 << 20)
        subprocess.run(["mkfs.btrfs", "-q", tmp_path / "image"], check=True, capture_output=True)
        mount = ["mount", "-o", "loop", tmp_path / "image", mounted]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"mount: not allowed to mount {kind}")
    try:
        volume = mounted / "volume"
        if kind == "btrfs":
            create = ["btrfs", "-q", "subvolume", "create", volume]
            subprocess.run(create, check=True, capture_output=True)
        (volume / "db").write_text("1\n")
        os.link(volume / "db", volume / "alias")
        log = tmp_path / "access.db"
        record(["sh", "-c", "echo 2 >> db; echo >> below"], app="A", log=log, cwd=volume)
        record(["sh", "-c", "cat alias > b"], app="B", log=log, cwd=volume)
        record(["sh", "-c", "cat below > c"], app="C", log=log, cwd=volume)
        record(["sh", "-c", "echo > e"], app="E", log=log, cwd=volume)
        assert identify(log, "B").applications == ["A", "B", "C"]
        assert identify(log, "E").applications == ["E"]
        if kind == "btrfs":  # the same inode numbers, but other files
            snapshot = ["btrfs", "-q", "subvolume", "snapshot", volume, mounted / "old"]
            subprocess.run(snapshot, check=True, capture_output=True)
            record(["sh", "-c", "echo >> db"], app="S", log=log, cwd=mounted / "old")
            assert identify(log, "S").applications == ["S"]
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_a_picture_says_how_many_files_are_not_in_it(log_of, srv):
    log = log_of({"A": {srv / "f": ("file", WRITE)}})
    assert "not drawn" not in picture.dot(identify(log, "A"))
    log_of({"A": {srv / "seen": ("file", LOOKED)}})
    assert '\n  label="not drawn: 1 file\\nthat nobody opens";\n' in picture.dot(identify(log, "A"))
    (srv / "listed").touch()
    log_of({"A": {srv: ("directory", READ | LISTED)}})
    ax = picture.draw(identify(log, "A"), Figure().add_subplot())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[-1] == "not drawn: 2 files\nthat nobody opens"
