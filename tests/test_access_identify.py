"""Identification: the paper's figure 2 with real programs, the closure, its forms and pictures."""

import argparse
import json
import os
import shutil
import subprocess
from collections import defaultdict

import pytest
from access.graphs import FIGURE_2, ONLY_READ, make_log, run, uses
from hypothesis import given, settings
from hypothesis import strategies as st

from precopy.access import AccessLog, format, identify, import_strace, record
from precopy.access.cli import add_commands


@pytest.fixture
def log_of(tmp_path):
    """Make a log from ``{application: {path: "r" | "w" | "rw"}}``."""
    return lambda accesses: make_log(tmp_path / "access.db", accesses)


# Figure 2 with real programs


def record_with_monitor(command, app, log, cwd):
    assert record(command, app=app, log=log, cwd=cwd).returncode == 0


def record_with_strace(command, app, log, cwd):
    if shutil.which("strace") is None:
        pytest.skip("strace not installed")
    trace = log.with_suffix(".trace")
    subprocess.run(
        ["strace", "-f", "-y", "-ttt", "-o", trace, *command], check=True, cwd=cwd, timeout=120
    )
    import_strace(trace, log, app)


@pytest.fixture(params=[record_with_monitor, record_with_strace], ids=["monitor", "strace"])
def programs(request, tmp_path):
    """Run shell programs as recorded applications in a directory with the files A, B, C, D."""
    work = tmp_path / "work"
    work.mkdir()
    for name in "ABCD":
        (work / name).write_text(f"{name}\n")
    log = tmp_path / "access.db"

    def make(**commands):
        for app, command in commands.items():
            request.param(["sh", "-c", command], app, log, work)
        return log, work

    return make


def found_names(found, work):
    assert all(os.path.dirname(path) == str(work) for path in found.files)
    return {*found.applications, *(os.path.basename(path) for path in found.files)}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cat B >> A", "cat A C > /dev/null"),  # AP1 writes what both use
        ("cat A B > /dev/null", "cat C >> A"),  # AP2 does
        ("cp B A", "sort -o C A"),
        ("dd if=B of=A conv=notrunc 2> /dev/null", "exec 3<A 4<>C; cat <&3 >&4"),
    ],
)
@pytest.mark.parametrize("share", ["written", "any"])
def test_figure_2_a_is_written(programs, first, second, share):
    log, work = programs(AP1=first, AP2=second, AP3="echo x > D")
    for target in ("AP1", "AP2"):
        found = identify(log, target, share=share)
        assert found_names(found, work) == {"AP1", "AP2", "A", "B", "C"}
        assert found.shared == []
    assert found_names(identify(log, "AP3", share=share), work) == {"AP3", "D"}


def test_figure_2_a_is_only_read(programs):
    log, work = programs(AP1="cat A > B", AP2="cat A > C", AP3="echo x > D")
    found = identify(log, "AP1", share="written")
    assert found_names(found, work) == {"AP1", "A", "B"}
    assert found.shared == [str(work / "A")]
    assert found_names(identify(log, "AP2"), work) == {"AP2", "A", "C"}
    everything = identify(log, "AP1", share="any")
    assert found_names(everything, work) == {"AP1", "AP2", "A", "B", "C"}
    assert everything.shared == []


# The closure


def test_explain_gives_the_chain(log_of):
    found = identify(log_of(FIGURE_2), "AP1")
    assert found.explain("/srv/C") == "AP1 –writes→ /srv/A ←reads– AP2 –writes→ /srv/C"
    assert found.explain("/srv/B") == "AP1 –reads→ /srv/B"
    assert found.explain("AP2") == "AP1 –writes→ /srv/A ←reads– AP2"
    assert found.explain("AP1") == "AP1"
    assert found.explain(b"/srv/A") == "AP1 –writes→ /srv/A"
    assert identify(log_of({}), "/srv/A").explain("/srv/C") == (
        "/srv/A ←reads– AP2 –writes→ /srv/C"
    )
    with pytest.raises(ValueError, match=r"'/srv/D' is not part .* used by AP3 only"):
        found.explain("/srv/D")
    with pytest.raises(ValueError, match="application 'AP3' is not part"):
        found.explain("AP3")
    with pytest.raises(ValueError, match="'/nowhere' is not in the log"):
        found.explain("/nowhere")


def test_the_chain_is_a_shortest_one(log_of):
    log = log_of(
        {
            "a": {"/x": "w", "/far": "w"},
            "b": {"/far": "r", "/far2": "w"},
            "c": {"/far2": "r", "/y": "w"},
            "d": {"/x": "r", "/y": "w"},
        }
    )
    assert identify(log, "a").explain("/y") == "a –writes→ /x ←reads– d –writes→ /y"


def test_targets_may_be_paths_and_directories(log_of):
    log = log_of(FIGURE_2 | {"AP4": {"/srv2/x": "r", "/opt/deep/er/y": "w"}})
    everything = (["AP1", "AP2"], ["/srv/A", "/srv/B", "/srv/C"])
    for target in ("/srv/A", b"/srv/B", "/srv/../srv/C", ["AP1", "/srv/C"]):
        found = identify(log, target)
        assert (found.applications, found.files) == everything
    assert identify(log, "/srv").applications == ["AP1", "AP2", "AP3"]
    assert identify(log, "/opt").files == ["/opt/deep/er/y", "/srv2/x"]
    assert identify(log, ["AP3", "AP4"]).applications == ["AP3", "AP4"]


def test_a_relative_or_linked_path_names_the_recorded_file(log_of, tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")
    log = log_of({"app": {f"{tmp_path}/real/file": "w"}, "file": {"/other": "w"}})
    monkeypatch.chdir(tmp_path / "real")
    assert identify(log, "./file").applications == ["app"]
    assert identify(log, "file").applications == ["file"]  # the application goes first
    assert identify(log, tmp_path / "link" / "file").applications == ["app"]
    assert identify(log, "app").explain("../link/file") == f"app –writes→ {tmp_path}/real/file"


def test_a_named_file_brings_in_its_readers(log_of):
    found = identify(log_of(ONLY_READ), "/srv/A")
    assert found.applications == ["AP1", "AP2"]
    assert found.files == ["/srv/A", "/srv/B", "/srv/C"]


def test_system_paths_tie_nothing_together(log_of):
    log = log_of(
        {
            "a": {"/dev/tty": "rw", "/usr/lib/x.so": "r", "/srv/a": "w", "/run/x": "w"},
            "b": {"/dev/tty": "rw", "/usr/lib/x.so": "w", "/srv/b": "w", "/run/x": "w"},
        }
    )
    assert identify(log, "a").files == ["/srv/a"]
    assert identify(log, "a", exclude=[]).applications == ["a", "b"]
    assert identify(log, "a", exclude=["/dev", "/usr", "/run"]).files == ["/srv/a"]
    assert identify(log, "a", exclude=["/srv", "/dev", "/run"]).files == ["/usr/lib/x.so"]
    named = identify(log, "/usr/lib/x.so")  # what is named is never excluded
    assert named.files == ["/srv/a", "/srv/b", "/usr/lib/x.so"]
    assert identify(log, "/usr/lib").files == named.files


def test_programs_that_the_system_does_not_provide_are_said(log_of, capsysbinary):
    log = log_of({"other": {"/srv/x": "w"}})
    lines = ['7 1.0 execve("/usr/bin/env", ["env"], 0x1 /* 9 vars */) = 0', *uses(("/srv/a", "w"))]
    import_strace([*lines, '8 1.0 execve("bin/shop", ["shop"], 0x1) = 0'], log, "app", cwd="/opt")
    found = identify(log, "app")
    assert (found.programs, found.files) == (["/opt/bin/shop"], ["/srv/a"])
    assert identify(log, "other").programs == []
    out = run(["identify", "app", "--log", log], capsysbinary)[1].decode()
    assert out.endswith("which the destination needs as well: 1\n  /opt/bin/shop\n")


def test_bad_arguments_are_named(log_of):
    log = log_of(FIGURE_2)
    with pytest.raises(ValueError, match="share: got 'all', expected 'written' or 'any'"):
        identify(log, "AP1", share="all")
    with pytest.raises(ValueError, match=r"targets: 'AP' is neither .* did you mean 'AP"):
        identify(log, "AP")
    with pytest.raises(ValueError, match="targets: got none"):
        identify(log, [])
    with pytest.raises(ValueError, match="targets: '' is neither"):
        identify(log, "")
    with pytest.raises(TypeError, match="targets: got 3, expected"):
        identify(log, [3])
    with pytest.raises(FileNotFoundError):
        identify(log.with_name("absent.db"), "AP1")


def test_it_takes_an_open_log_and_leaves_it_open(log_of):
    with AccessLog(log_of(FIGURE_2)) as log:
        assert identify(log, "AP3").files == ["/srv/D"]
        assert log.applications() == ["AP1", "AP2", "AP3"]


def slow_reference(accesses, target, share):
    """The definition itself: applications joined by common files, until nothing changes."""
    applications = {target}
    changed = True
    while changed:
        changed = False
        for one in list(applications):
            for other in accesses:
                common = accesses[one].keys() & accesses[other].keys()
                tied = any(
                    share == "any" or "w" in accesses[one][file] or "w" in accesses[other][file]
                    for file in common
                )
                if tied and other not in applications:
                    applications.add(other)
                    changed = True
    files = {file for name in applications for file in accesses[name]}
    readers = defaultdict(set)
    for name, used in accesses.items():
        for file in used:
            readers[file].add(name)
    return applications, files, {file for file in files if readers[file] - applications}


graphs = st.dictionaries(
    st.sampled_from([f"app{number}" for number in range(7)]),
    st.dictionaries(
        st.sampled_from([f"/f{number}" for number in range(10)]),
        st.sampled_from(["r", "w", "rw"]),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
)


@given(graphs, st.sampled_from(["written", "any"]), st.data())
@settings(max_examples=150, deadline=None)
def test_the_closure_is_that_of_the_definition(tmp_path_factory, accesses, share, data):
    target = data.draw(st.sampled_from(sorted(accesses)))
    log = tmp_path_factory.mktemp("graph") / "access.db"
    for app, files in accesses.items():
        import_strace(uses(*files.items()), log, app)
    found = identify(log, target, share=share)
    applications, files, shared = slow_reference(accesses, target, share)
    assert (set(found.applications), set(found.files)) == (applications, files)
    assert set(found.shared) == shared
    for node in [*found.applications, *found.files]:
        chain = found.explain(node)
        assert chain.split()[0] == target
        assert chain.split()[-1] == node
        assert_true_chain(chain.split(), accesses)


def assert_true_chain(words, accesses):
    """Every arrow of a chain must be an access in the log."""
    for left, arrow, right in zip(words[::2], words[1::2], words[2::2], strict=False):
        app, file = (left, right) if arrow.startswith("–") else (right, left)
        assert ("writes" in arrow) == ("w" in accesses[app][file])


def test_a_chain_of_ten_thousand_applications_needs_no_recursion(log_of, tmp_path):
    from precopy.access.schema import connect

    log = tmp_path / "long.db"
    count = 10_000
    connection = connect(log)
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO application VALUES (?, ?)", ((n, f"app{n}") for n in range(count))
    )
    connection.executemany(
        "INSERT INTO file (id, path) VALUES (?, ?)", ((n, b"/f%d" % n) for n in range(count + 1))
    )
    connection.executemany(
        "INSERT INTO access VALUES (?, ?, 1, 1, ?, 0, 0, 0, 0, 0, 0, 0, 1, 1)",
        ((n, n + end, end) for n in range(count) for end in (0, 1)),
    )
    connection.execute("COMMIT")
    connection.close()
    found = identify(log, "app0")
    assert len(found.applications) == count
    assert found.explain(f"/f{count}").count("→") == count


# Its forms


@pytest.fixture
def odd(log_of, tmp_path):
    """A log with file names that are awkward to print, of which one exists."""
    (tmp_path / "there").write_bytes(b"12345")
    files = {r"/srv/new\nline": "w", r"/srv/inv\377alid": "r", f"{tmp_path}/there": "w"}
    return log_of({"odd": files, "o2": {r"/srv/inv\377alid": "r"}})


def test_json_holds_every_name(odd, tmp_path, capsysbinary):
    status, out, err = run(["identify", "odd", "--log", odd, "--format", "json"], capsysbinary)
    assert (status, err) == (0, b"")
    answer = json.loads(out.decode("ascii"))
    assert answer["applications"] == ["odd"]
    assert [os.fsencode(path) for path in answer["files"]] == sorted(
        [b"/srv/inv\xffalid", b"/srv/new\nline", os.fsencode(tmp_path / "there")]
    )
    assert answer["shared"] == ["/srv/inv\udcffalid"]
    assert (answer["share"], answer["targets"], answer["complete"]) == ("written", ["odd"], True)


def test_paths_are_never_ambiguous(odd, tmp_path, capsysbinary):
    base = ["identify", "odd", "--log", odd, "--format", "paths"]
    with pytest.raises(ValueError, match=r"new\\\\nline' has a newline in it; use --null"):
        run(base)
    out = run([*base, "--null"], capsysbinary)[1]
    assert set(out.split(b"\0")) == {
        b"",
        b"/srv/inv\xffalid",
        b"/srv/new\nline",
        os.fsencode(tmp_path / "there"),
    }
    out = run([*base, "--existing"], capsysbinary)[1]
    assert out == os.fsencode(tmp_path / "there") + b"\n"


def test_the_table_is_safe_to_print(odd, tmp_path, capsysbinary):
    out = run(["identify", "odd", "--log", odd], capsysbinary)[1].decode("utf-8")
    lines = out.splitlines()
    assert lines[0] == "Applications that move: 1"
    assert lines[1].split() == ["odd", "3", "files,", "2", "written"]
    assert lines[2] == "Files that move: 3, 5 bytes"
    shown = {tuple(line.split(None, 2)) for line in lines[4:]}
    assert shown == {
        ("gone", "shared", r"/srv/inv\xffalid  (stays for o2, too)"),
        ("gone", "written", r"/srv/new\nline"),
        ("5", "written", str(tmp_path / "there")),
    }


def test_explain_exclude_and_share_on_the_command_line(log_of, capsysbinary):
    log = log_of(ONLY_READ)
    base = ["identify", "AP1", "--log", log]
    out = run([*base, "--share", "any", "--explain", "/srv/C"], capsysbinary)[1].decode()
    assert out == "AP1 –reads→ /srv/A ←reads– AP2 –writes→ /srv/C\n"
    out = run([*base, "--share", "any", "--format", "paths", "--exclude", "/srv/A"], capsysbinary)
    assert out[1] == b"/srv/B\n"
    out = run(["identify", "--list-excluded", "--exclude", "!/usr/local"], capsysbinary)[1]
    assert {b"/usr", b"/proc", b"/dev", b"!/usr/local"} <= set(out.splitlines())
    out = run(["identify", "--list-excluded", "--no-default-excluded"], capsysbinary)[1]
    assert out.strip() == b""


def test_an_incomplete_log_is_said_so(capsysbinary, tmp_path):
    log = tmp_path / "access.db"
    import_strace(['7 1.0 rename("/a", "b") = 0'], log, "app")
    _, out, err = run(["identify", "app", "--log", log, "--format", "json"], capsysbinary)
    assert json.loads(out)["complete"] is False
    assert b"the log is incomplete" in err
    assert "INCOMPLETE" in repr(identify(log, "app"))


def test_import_strace_on_the_command_line(tmp_path, capsysbinary):
    trace = tmp_path / "trace"
    trace.write_text('7 1.5 creat("A", 0600) = 3</srv/A>\n7 1.6 rename("A", "B") = 0\n')
    log = tmp_path / "access.db"
    base = ["import-strace", trace, "--app", "AP1", "--log", log]
    status, out, err = run([*base, "--cwd", "/srv"], capsysbinary)
    assert (status, err) == (0, b"")
    assert out.startswith(b"2 calls in 2 lines: 2 files, 1 opens, 0 writes")
    assert identify(log, "AP1").files == ["/srv/A", "/srv/B"]


def test_the_record_command_keeps_the_commands_own_options():
    parser = argparse.ArgumentParser(prog="precopy")
    add_commands(parser.add_subparsers(required=True))
    line = ["record", "--app", "x", "--", "ls", "-l", "--log", "y"]
    args = parser.parse_args(line)
    assert [args.program, *args.arguments] == ["ls", "-l", "--log", "y"]
    assert (args.app, args.log, args.history) == ("x", "access.db", None)
    with pytest.raises(SystemExit):
        parser.parse_args(["record", "--app", "x", "--history", "-1", "--", "ls"])


def test_written_directories_are_the_outermost(log_of, tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x-").mkdir()
    files = {"x/y/1": "w", "x/2": "w", "x-/3": "w", "absent/4": "w", "5": "r"}
    log = log_of({"app": {f"{tmp_path}/{name}": how for name, how in files.items()}})
    found = identify(log, "app")
    assert sorted(format.written_directories(found)) == [f"{tmp_path}/x", f"{tmp_path}/x-"]
