"""The README does what it says: its commands, its example, its files and its numbers."""

import pkgutil
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import precopy
from precopy.cli import main

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def blocks(language):
    return [code for name, code in BLOCKS if name == language]


def test_there_are_exactly_two_commands_of_one_line_each():
    install, test = blocks("sh")
    assert install.count("\n") == test.count("\n") == 1
    assert "pip install" in install
    assert install.strip().endswith("precopy reproduce")
    assert "pip install" in test
    assert test.strip().endswith("-m pytest")


def test_the_python_example_runs_as_written(tmp_path, monkeypatch, capsys):
    (example,) = blocks("python")
    app = tmp_path / "srv" / "app"
    app.mkdir(parents=True)
    for number in range(30):
        (app / f"file{number}").write_bytes(bytes(1000 * number))
    (app / "fixed").write_bytes(bytes(5000))
    (app / "fixed").chmod(0o444)
    assert '"/srv/app"' in example
    monkeypatch.chdir(tmp_path)
    names = {}
    with mpl.rc_context({"backend": "agg"}):
        exec(example.replace("/srv/app", str(app)), names)
        plt.close("all")
    assert len(names["files"]) == 31
    assert names["files"].read_only.sum() == 1
    assert dict(names["table"].sizes) == {"order": 3, "seed": 10, "step": 300, "file": 31}
    printed = capsys.readouterr().out
    assert "downtime" in printed
    bound = precopy.bound.final_copy_bytes(names["files"], names["writes"], names["cycle"])
    assert str(bound) in printed


def test_every_file_and_directory_it_names_exists():
    here = r"notebooks|csrc|precopy|tests|benchmarks|docs"
    linked = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(rf"`((?:{here})(?:/[\w./-]+)?|[A-Z]+\.(?:md|cff)|LICENSE)`", prose)
    in_tests = [f"tests/{name}" for name in re.findall(r"`(specification\.py)`", prose)]
    found = {*linked, *named, *in_tests}
    assert {"notebooks/fig7.png", "csrc/core", "docs/monitor.md", "CONTRIBUTING.md"} <= found
    missing = [name for name in found if not (ROOT / name).exists()]
    assert not missing


def test_every_name_of_the_package_it_uses_exists():
    named = re.findall(r"\bprecopy\.(\w+(?:\.\w+)*)", TEXT)
    assert {"simulate", "bound.final_copy_bytes", "access.AccessLog"} <= set(named)
    for name in named:
        pkgutil.resolve_name(f"precopy.{name}")


def test_every_command_it_uses_exists(capsys):
    commands = set(re.findall(r"(?:`|^\$ |/)precopy ([a-z][a-z-]*)", TEXT, re.MULTILINE))
    assert {"reproduce", "simulate", "sweep"} <= commands
    for command in commands:
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert f"precopy {command}" in capsys.readouterr().out


def test_the_options_it_uses_exist(tmp_path, capsys):
    (command,) = re.findall(r"`precopy (simulate --directory [^`]*)`", TEXT)
    for number in range(5):
        (tmp_path / f"file{number}").write_bytes(bytes(100))
    words = command.replace("/srv/app", str(tmp_path)).split()
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "5 files" in capsys.readouterr().out


@pytest.fixture(scope="module")
def claims():
    return precopy.paper.reproduce(seeds=30).claims


ROWS = {
    "least final copy, size ascending": "least final copy, size-ascending",
    "least final copy, size descending": "least final copy, size-descending",
    "final copy, update frequency, at cycle 300": "final copy, update-frequency, at cycle 300",
    "… its least value within 300 cycles": "least final copy, update-frequency",
    "update frequency saturates": "cycle at which update-frequency stalls",
    "least final copy, existing method": "least final copy, existing method",
    "5 Mbps × 500 × 0.03 s = 75 MB": "5 Mbps, 500 writes of 0.03 s: bytes per cycle",
}
TWO = "size descending falls behind, gets ahead again"


def table():
    rows = re.findall(r"^\|(.*)\|$", TEXT, re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {row[0]: row[1:] for row in cells if len(row) == 4 and not row[0].startswith("---")}


def numbers(text):
    return re.findall(r"\d+(?:\.\d+)?", text)


@pytest.mark.parametrize("row", ROWS)
def test_its_numbers_are_those_of_thirty_seeds(row, claims):
    published, ours, verdict = table()[row]
    (claim,) = (one for one in claims if one.claim == ROWS[row])
    assert numbers(claim.published) == numbers(published)
    assert numbers(claim.ours)[: len(numbers(ours))] == numbers(ours)
    assert ours
    if claim.verdict in ("reproduced", "not reproduced"):
        assert verdict.split(":")[0] == claim.verdict


def test_its_two_crossings_are_those_of_thirty_seeds(claims):
    published, ours, verdict = table()[TWO]
    first, second = (one for one in claims if "gets" in one.claim and "cycle" in one.claim)
    assert numbers(published) == [*numbers(first.published), *numbers(second.published)]
    assert numbers(ours) == [*numbers(first.ours), *numbers(second.ours)[:2]]
    assert verdict == first.verdict == second.verdict


def test_its_table_has_no_other_rows():
    assert set(table()) - {"claim of the paper"} == {*ROWS, TWO}


def test_update_frequency_comes_as_close_to_the_bound_as_it_says():
    assert "within one percent" in TEXT
    curves = precopy.sweep(
        precopy.paper.files(), precopy.paper.skewed(), seed=range(5), cycles=300, keep="curves"
    )
    mean = float(curves.final_copy_bytes.sel(step=slice(251, 300)).mean())
    assert 1.0 < mean / float(curves.bound_bytes) < 1.01
