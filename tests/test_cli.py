"""The command line: what it prints, what it writes, how it fails."""

import csv
import os
import re
import shlex
import signal
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import precopy
from precopy import _core
from precopy.cli import main
from precopy.tables import parse_bytes, read_table

ORDERS = [
    "expected-update",
    "least-recently-updated",
    "size-ascending",
    "size-descending",
    "update-frequency",
]
# 2 s and 10 MB per cycle.
QUICK = ["--writes", "20", "--write-seconds", "0.1", "--cycles", "30", "--seeds", "2"]


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    with mpl.rc_context({"backend": "agg"}):
        yield
        assert not plt.get_fignums()
        plt.close("all")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory; return its exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        try:
            status = main([str(word) for word in words])
        except SystemExit as stopped:
            status = stopped.code
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def table(tmp_path):
    """Write lines to table.csv; return its path."""

    def write(*lines, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return path

    return write


@pytest.fixture
def good(table):
    rows = [f"{1_000_000 + 1000 * n},{'ro' if n % 5 == 0 else 'rw'},f{n}" for n in range(50)]
    return table("size,access,path", *rows)


@pytest.fixture
def runs_made(monkeypatch):
    made = []
    real = _core.simulate

    def simulate(**arguments):
        made.append(arguments)
        return real(**arguments)

    monkeypatch.setattr(_core, "simulate", simulate)
    return made


def curves_of(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def assert_fails(outcome, command, *parts):
    """One line that names the command and what is wrong, and exit status 2."""
    status, out, err = outcome
    assert status == 2
    assert out == ""
    usage, _, message = err.rpartition(f"precopy {command}: error: ".replace("  ", " "))
    assert message.count("\n") == 1
    assert "Traceback" not in err
    assert not usage or usage.startswith("usage: ")
    for part in parts:
        assert part in message


# reproduce


def test_reproduce_writes_and_prints_the_evaluation(run, tmp_path):
    status, out, err = run("reproduce", "--seeds", 2, "--out", "results")
    assert (status, err) == (0, "")
    assert str(precopy.paper.reproduce(seeds=2)) in out
    assert out.endswith("results/\n")
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert len(names) == 10
    assert {"fig5.png", "fig6.svg", "fig7.csv", "claims.csv"} <= names


def test_reproduce_has_the_defaults_that_its_help_tells(run, monkeypatch):
    asked = []
    monkeypatch.setattr(precopy.paper, "reproduce", lambda *words: asked.append(words) or "table")
    assert run("reproduce")[0] == 0
    ((directory, seeds),) = asked
    assert (str(directory), seeds) == ("paper-results", 30)
    text = run("reproduce", "--help")[1]
    assert "paper-results" in text
    assert "30" in text


@pytest.mark.parametrize("seeds", ["1", "0", "-2", "x", "2.5"])
def test_reproduce_needs_two_seeds(seeds, run, runs_made, tmp_path):
    assert_fails(run("reproduce", "--seeds", seeds), "reproduce", "seeds", seeds)
    assert not runs_made
    assert not list(tmp_path.iterdir())


def test_reproduce_into_a_file_fails_before_it_runs(run, tmp_path, runs_made):
    (tmp_path / "results").write_text("mine")
    assert_fails(run("reproduce", "--out", "results"), "reproduce", "results")
    assert not runs_made
    assert (tmp_path / "results").read_text() == "mine"


# simulate


def test_simulate_writes_the_curves_of_simulate(run, good, tmp_path):
    status, out, err = run("simulate", "--files", good, *QUICK, "--out", "results")
    assert (status, err) == (0, "")
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "curves.csv",
        "final_copy.png",
    }
    files, _ = read_table(good)
    cycle = precopy.Cycle(20, 0.1, 5e6)
    rows = curves_of(tmp_path / "results" / "curves.csv")
    assert len(rows) == len(ORDERS) * 2 * 30
    for order in ORDERS:
        for seed in range(2):
            mine = precopy.simulate(
                files, precopy.Workload.uniform(files), order, cycle, cycles=30, seed=seed
            )
            found = [row for row in rows if row["order"] == order and row["seed"] == str(seed)]
            for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes"):
                assert [int(row[name]) for row in found] == getattr(mine, name).tolist()
    assert repr(files) in out
    assert "10 MB per cycle" in out
    bound = precopy.bound.final_copy_bytes(files, precopy.Workload.uniform(files), cycle)
    assert f"{bound / 1e6:.4g} MB" in out
    for order in ORDERS:
        assert len(re.findall(rf"^{order} .*downtime$", out, re.MULTILINE)) == 1
    assert (tmp_path / "results" / "final_copy.png").read_bytes().startswith(b"\x89PNG")


def test_simulate_writes_to_simulation_results_by_default(run, good, tmp_path):
    assert run("simulate", "--files", good, *QUICK)[0] == 0
    assert (tmp_path / "simulation-results" / "curves.csv").exists()


def test_simulate_passes_its_options_on(run, good, tmp_path):
    words = ["--order", "size-descending", "--order", "size-ascending", "--zipf", "1.5"]
    words += ["--bandwidth", "400kB", "--budget", "carry", "--schedule", "rounds", "--seeds", "1"]
    words += ["--writes", "7", "--write-seconds", "0.25", "--cycles", "25", "--out", "results"]
    assert run("simulate", "--files", good, *words)[0] == 0
    files, _ = read_table(good)
    rows = curves_of(tmp_path / "results" / "curves.csv")
    assert {row["order"] for row in rows} == {"size-descending", "size-ascending"}
    mine = precopy.simulate(
        files,
        precopy.Workload.zipf(files, 1.5),
        "size-ascending",
        precopy.Cycle(7, 0.25, 4e5),
        cycles=25,
        budget="carry",
        schedule="rounds",
        seed=0,
    )
    found = [float(row["final_copy_bytes"]) for row in rows if row["order"] == "size-ascending"]
    assert found == mine.final_copy_bytes.tolist()


def last_final_copy(tmp_path):
    return float(curves_of(tmp_path / "simulation-results" / "curves.csv")[-1]["final_copy_bytes"])


def test_simulate_tells_where_rules_end_it(run, good):
    rules = ["stall(3) & dip(20%, window=5)", "cycles(9) | final_copy(0)", "final_copy(1)"]
    words = ["simulate", "--files", good, *QUICK, "--order", "size-ascending"]
    status, out, _ = run(*words, *(f"--until={rule}" for rule in rules))
    assert status == 0
    lines = [line.strip() for line in out.splitlines()]
    assert any(
        re.match(r"stall\(3\) & dip\(0.2, 5\): after \d+ cycles and .*B of pre-copy", one)
        for one in lines
    )
    assert any(one.startswith("cycles(9) | final_copy(0): after 9 cycles and ") for one in lines)
    assert "final_copy(1): never holds" in lines
    status, out, err = run(*words, "--until", "stall(3) & dop(2)")
    assert (status, out) == (2, "")
    assert "argument --until: expected a rule, one of final_copy, downtime" in err
    assert err.endswith("  stall(3) & dop(2)\n             ^\n")


@pytest.mark.parametrize("pattern", ["table", "--uniform", "--shares", "--zipf"])
def test_the_column_share_is_used_unless_another_pattern_is_asked_for(
    pattern, run, table, tmp_path
):
    path = table("access,share,size", *[f"rw,{n * n},500000" for n in range(40)])
    files, share = read_table(path)
    assert share == [float(n * n) for n in range(40)]
    words, workload = {
        "table": ([], precopy.Workload(share)),
        "--uniform": (["--uniform"], precopy.Workload.uniform(files)),
        "--shares": (["--shares", "1:4:0:5"], precopy.Workload.shares(files, (1, 4, 0, 5))),
        "--zipf": (["--zipf", "2"], precopy.Workload.zipf(files, 2.0)),
    }[pattern]
    status, out, _ = run("simulate", "--files", path, *QUICK, *words)
    assert status == 0
    mine = precopy.simulate(
        files, workload, "update-frequency", precopy.Cycle(20, 0.1, 5e6), cycles=30, seed=1
    )
    assert last_final_copy(tmp_path) == mine.final_copy_bytes[-1]
    bound = precopy.bound.final_copy_bytes(files, workload, precopy.Cycle(20, 0.1, 5e6))
    assert f"{bound / 1e6:.4g} MB" in out or f"{bound / 1e3:.4g} kB" in out


def test_simulate_takes_a_directory(run, tmp_path):
    folder = tmp_path / "app"
    (folder / "sub").mkdir(parents=True)
    for number in range(12):
        (folder / "sub" / f"{number}").write_bytes(bytes(1000 * number))
    (folder / "fixed").write_bytes(bytes(500))
    (folder / "fixed").chmod(0o444)
    status, out, _ = run("simulate", "--directory", folder, *QUICK)
    assert status == 0
    assert repr(precopy.FileSet.from_directory(folder)) in out
    assert "13 files" in out
    assert "1 read-only" in out


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("20e6", 20e6),
        ("20000000", 20e6),
        ("20000000B", 20e6),
        ("20000kB", 20e6),
        ("20MB", 20e6),
        ("20 MB", 20e6),
        ("0.02GB", 0.02e9),
        ("0.00002TB", 0.00002e12),
        ("0", 0.0),
    ],
)
def test_limits_have_units(text, limit, run, good, monkeypatch):
    used = []
    finish = precopy.stop.finish
    monkeypatch.setattr(
        precopy.stop, "finish", lambda table, one: used.append(one) or finish(table, one)
    )
    status, out, _ = run("simulate", "--files", good, *QUICK, "--threshold", text)
    assert status == 0
    assert used == [pytest.approx(limit, rel=1e-15)]
    files, _ = read_table(good)
    table = precopy.sweep(
        files,
        precopy.Workload.uniform(files),
        order=ORDERS,
        cycle=precopy.Cycle(20, 0.1, 5e6),
        cycles=30,
        seed=range(2),
    )
    done = precopy.finish(table, limit)
    for order in ORDERS:
        (line,) = re.findall(rf"^{order} .*$", out, re.MULTILINE)
        found = done.sel(order=order)
        reached = int(found.finish_cycle.notnull().sum())
        if reached:
            assert f"after {float(found.finish_cycle.mean()):.0f} cycles" in line
            assert f"downtime {float(found.downtime_s.mean()):.1f} s" in line
        if reached < 2:
            assert f"reaches the limit in {reached} of 2 runs" in line


# Bad tables: the line, or the file, is named.


BAD_ROWS = {
    "size is a word": "many,rw,1",
    "size is not whole": "5.5,rw,1",
    "size is negative": "-5,rw,1",
    "size beyond int64": "99999999999999999999,rw,1",
    "size is missing": ",rw,1",
    "access is unknown": "5,wo,1",
    "access is missing": "5,,1",
    "cells are missing": "5",
    "a cell too many": "5,rw,1,extra",
    "share is a word": "5,rw,much",
    "share is negative": "5,rw,-1",
    "share is not a number": "5,rw,nan",
    "share is infinite": "5,rw,inf",
    "share is missing": "5,rw,",
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_by_its_line(case, run, table, runs_made):
    path = table("size,access,share", "10,rw,1", "10,read-only,0", BAD_ROWS[case], "7,ro,0")
    assert_fails(run("simulate", "--files", path, *QUICK), "simulate", "table.csv, line 4:")
    assert not runs_made


def test_the_line_is_that_in_the_file(run, table):
    path = table("path,size,access", '"a\nname of\nthree lines",10,rw', "b,10,rw", "c,ten,rw")
    assert_fails(run("simulate", "--files", path), "simulate", "line 6:", "'ten'")


BAD_TABLES = {
    "no size": (["access,path", "rw,a"], "'size'"),
    "no access": (["size,path", "10,a"], "'access'"),
    "a column twice": (["size,access,Size", "10,rw,20"], "column 'size'"),
    "an open quote": (["size,access,path", '10,rw,"a'], "table.csv"),
    "no files": (["size,access"], "at least one file"),
    "empty": ([""], "'size'"),
    "shares of nothing": (["size,access,share", "10,rw,0"], "share"),
    "a share of a read-only file": (["size,access,share", "10,rw,1", "5,ro,1"], "read-only"),
    "a cell beyond all limits": (["size,access,path", "10,rw," + "x" * 200_000], "table.csv"),
    "more than int64 in all": (["size,access", *["9000000000000000000,rw"] * 2], "size"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_an_error_of_one_line(case, run, table, runs_made):
    lines, part = BAD_TABLES[case]
    assert_fails(run("simulate", "--files", table(*lines), *QUICK), "simulate", part)
    assert not runs_made


@pytest.mark.parametrize(
    "lines",
    [
        ["Size , ACCESS,Path,Share", "1k,RO,a,0", "", ",,,", "2KiB,Read-Write,b,1"],
        ["size;access;path;share", "1000;ro;a;0", ";;;", "2048 B;rw;b;1"],
        ["share\taccess\tsize\tpath", "0\tro\t1e3\ta", "1\trw\t2048\tb"],
        ["size,note,access,path,share", '"1kB",x,"ro","a",0', '2Ki,"y, z",rw,b,1'],
    ],
    ids=["any case", "semicolons", "tabs", "quotes"],
)
def test_tables_as_people_write_them(lines, table):
    files, share = read_table(table(*lines))
    assert files == precopy.FileSet([1000, 2048], [True, False], ["a", "b"])
    assert share == [0, 1]


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ("5.5,rw,1", "size", "'5.5'"),
        ("5 kb,rw,1", "size", "'5 kb'"),
        ("5iB,rw,1", "size", "'5iB'"),
        ("nan,rw,1", "size", "'nan'"),
        ("9e18k,rw,1", "size", "'9e18k'"),
        ("5,wo,1", "access", "'wo'"),
        ("5,rw,much", "share", "'much'"),
    ],
)
def test_a_bad_cell_is_named(row, column, value, table):
    with pytest.raises(ValueError, match=rf"table\.csv, line 3: {column}: .*{value}$"):
        read_table(table("size,access,share", "1,rw,1", row))


def test_sizes_with_units():
    for text, size in {
        **{f"3{unit}{b}": 3 * 1000**n for n, unit in enumerate(" kMGT") for b in ("", "B")},
        **{f"3 {unit}i{b}": 3 * 1024**n for n, unit in enumerate(" KMGT") if n for b in ("", "B")},
        "1K": 1000,
        "1.5ki": 1536,
        "0.1": 0.1,
        "9223372036854775807": 2**63 - 1,
    }.items():
        assert parse_bytes(text) == size
    assert isinstance(parse_bytes("1.5k"), int)
    for text in (
        "",
        "B",
        "-1",
        "+1",
        "1 k B",
        "0x10",
        "inf",
        "1_000",
        "1,5",
        "9223372036854775808",
    ):
        with pytest.raises(ValueError, match=r"^expected .*, got "):
            parse_bytes(text)


@pytest.mark.parametrize("words", [["--help"], ["simulate", "--help"]], ids=" ".join)
def test_a_closed_pipe_ends_quietly(words):
    command = shlex.join([sys.executable, "-m", "precopy", *words])
    script = f"{{ sleep 0.1; {command}; echo $? >&2; }} | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stderr == "141\n"


def test_an_output_that_is_full_is_an_error_of_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "precopy", "--help"], stdout=full, stderr=-1, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("precopy: error: the output cannot be written: ")
    assert done.stderr.count("\n") == 1


def test_a_terminal_without_letters_prints(table, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "POSIX", "LANG": "C"}
    words = ["simulate", "--files", table("size,access", "10,rw"), "--out", tmp_path / "é…"]
    for more in ([*words, *QUICK], ["simulate", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "precopy", *more], capture_output=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
    assert b"A:B:..." in done.stdout


def test_a_table_that_is_no_text_is_named(run, tmp_path):
    (tmp_path / "table.csv").write_bytes(b"size,access\n10,rw\n\xff\xfe,rw\n")
    assert_fails(run("simulate", "--files", "table.csv"), "simulate", "table.csv")


def test_tables_may_come_from_a_spreadsheet(table):
    path = table("size, access ,path", encoding="utf-8-sig")
    path.write_bytes(b"\xef\xbb\xbfsize,access,path\r\n10,ro,\xc3\xa9\r\n20, read-write,\r\n")
    files, share = read_table(path)
    assert files.size_bytes.tolist() == [10, 20]
    assert files.read_only.tolist() == [True, False]
    assert files.path == ("é", "")
    assert share is None


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_a_table_that_cannot_be_read_is_named(name, run):
    assert_fails(run("simulate", "--files", name), "simulate", repr(name))


@pytest.mark.parametrize("name", ["absent", "file", "empty"])
def test_a_directory_without_files_is_named(name, run, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert_fails(run("simulate", "--directory", name), "simulate", name)


# Bad arguments.


BAD_ARGUMENTS = {
    "order": (["--order", "alphabetical"], ["--order", "alphabetical", "size-ascending"]),
    "order twice": (["--order", "size-ascending"] * 2, ["order", "size-ascending"]),
    "limit that is a word": (["--threshold", "low"], ["--threshold", "low"]),
    "limit of another unit": (["--threshold", "5mib"], ["--threshold", "5mib"]),
    "limit below 0": (["--threshold=-5"], ["threshold", "-5"]),
    "limit that is no number": (["--threshold", "nan"], ["threshold", "nan"]),
    "bandwidth of 0": (["--bandwidth", "0"], ["bandwidth", "0"]),
    "bandwidth below a file": (["--bandwidth", "1kB"], ["budget", "f49"]),
    "writes": (["--writes", "0"], ["writes", "0"]),
    "write-seconds": (["--write-seconds", "-1"], ["write", "-1"]),
    "cycles": (["--cycles", "0"], ["cycles", "0"]),
    "cycles that are no number": (["--cycles", "many"], ["--cycles", "many"]),
    "cycles beyond memory": (["--cycles", "100000000000000"], []),
    "seeds": (["--seeds", "0"], ["--seeds", "0"]),
    "shares": (["--shares", "1:x"], ["--shares", "1:x"]),
    "shares below 0": (["--shares", "1:-1"], ["shares", "-1"]),
    "exponent": (["--zipf", "-1"], ["exponent", "-1"]),
    "exponent that is no number": (["--zipf", "nan"], ["exponent", "nan"]),
    "two patterns": (["--zipf", "1", "--uniform"], ["--uniform", "--zipf"]),
    "budget": (["--budget", "half"], ["--budget", "half", "carry"]),
    "schedule": (["--schedule", "circles"], ["--schedule", "circles", "rounds"]),
    "two sources": (["--directory", "."], ["--directory", "--files"]),
    "unknown option": (["--order=size-ascending", "--colour"], ["--colour"]),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_a_bad_argument_is_an_error_of_one_line(case, run, good, runs_made, tmp_path):
    words, parts = BAD_ARGUMENTS[case]
    assert_fails(run("simulate", "--files", good, *QUICK, *words), "simulate", *parts)
    assert not runs_made
    assert not list(tmp_path.glob("*/curves.csv"))


def test_a_source_is_required(run):
    assert_fails(run("simulate"), "simulate", "--files", "--directory")


def test_simulate_into_a_file_fails_before_it_runs(run, good, tmp_path, runs_made):
    (tmp_path / "results").write_text("mine")
    assert_fails(run("simulate", "--files", good, "--out", "results"), "simulate", "results")
    assert not runs_made
    assert (tmp_path / "results").read_text() == "mine"


@pytest.mark.parametrize("words", [[], ["simulat"]], ids=["none", "unknown"])
def test_a_command_is_required(words, run):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert "precopy: error: " in err
    assert "COMMAND" in err.splitlines()[-1]


def test_out_of_memory_is_an_error_without_a_traceback(run, good, monkeypatch):
    def fail(**arguments):
        raise MemoryError

    monkeypatch.setattr(_core, "simulate", fail)
    assert_fails(run("simulate", "--files", good, *QUICK), "simulate", "MemoryError")


# The program as a process.

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MPLBACKEND": "agg"}


@pytest.mark.parametrize(
    "program", [["-m", "precopy"], ["-c", "from precopy.cli import main; raise SystemExit(main())"]]
)
def test_version_and_python_dash_m(program):
    done = subprocess.run(
        [sys.executable, *program, "--version"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"precopy {precopy.__version__}\n"


def test_the_exit_status_of_an_error_is_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "precopy", "simulate", "--files", "absent.csv"],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


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


@pytest.mark.parametrize(
    "words",
    [
        # 10^11 writes, and some ten thousands of runs.
        "simulate --files table.csv --writes 1000000 --write-seconds 0.001 --cycles 100000 "
        "--order update-frequency --seeds 1",
        "reproduce --seeds 3000",
    ],
    ids=["simulate", "reproduce"],
)
def test_ctrl_c_is_exit_status_130_and_one_line(words, good, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words.split()],
        env=ENVIRONMENT,
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
    assert errors.splitlines()[-1] == f"precopy {words.split()[0]}: interrupted"
    assert "Traceback" not in errors


def test_help_tells_every_command(run):
    status, out, _ = run("--help")
    assert status == 0
    for command in ("reproduce", "simulate", "sweep"):
        assert command in out
    # Long words may be broken at their hyphens.
    text = "".join(run("simulate", "--help")[1].split())
    for word in [*ORDERS, "kB", "MB", "GB", "TB"]:
        assert word in text


def test_ctrl_c_while_it_is_still_importing_is_quiet():
    program = """
import sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "numpy":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from precopy.__main__ import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "precopy: interrupted\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["reproduce", "--seed", "3"], "unrecognized arguments: --seed 3"),
        (["reproduce", "foo"], "unrecognized arguments: foo"),
        (["sweep", "x.toml", "--o", "y"], "unrecognized arguments: --o y"),
        (["reproduce", "--out", ""], "argument --out: got an empty name, expected a directory"),
        (
            ["simulate", "--directory", ".", "--out", ""],
            "argument --out: got an empty name, expected a directory",
        ),
    ],
)
def test_no_option_is_guessed_and_the_usage_is_the_commands(run, tmp_path, line, message):
    status, out, err = run(*line)
    assert (status, out) == (2, "")
    assert err.startswith(f"usage: precopy {line[0]} ")
    assert err.endswith(f"precopy {line[0]}: error: {message}\n")
    assert not list(tmp_path.iterdir())
