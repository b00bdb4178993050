"""Options and orders are declared once; everything else, type checkers included, follows."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import swept

import precopy
from precopy import _core, options
from precopy.simulation import OPTIONS, simulate

CHOICES = {
    "order": options.Order,
    "schedule": options.Schedule,
    "frequency": options.Frequency,
    "cost": options.Cost,
    "budget": options.Budget,
    "dirty_tracking": options.DirtyTracking,
}


def test_the_names_that_type_checkers_know_are_the_core_s():
    assert {name: get_args(names) for name, names in CHOICES.items()} == {
        name: tuple(values) for name, values in _core.CHOICES.items()
    }


def test_every_option_says_what_it_is():
    assert list(OPTIONS) == list(options.declared(simulate))
    assert {name for name, one in OPTIONS.items() if one.choices} == {*CHOICES} - {"order"}
    for option in OPTIONS.values():
        assert option.summary, option.name
        assert option.default is not None or option.optional or option.name == "seed"
    assert OPTIONS["rounds"].kind is int
    assert (OPTIONS["half_life"].kind, OPTIONS["half_life"].optional) == (float, True)


def test_the_options_of_sweep_are_those_of_simulate():
    with open(swept.__file__.replace("tests/swept.py", "precopy/_swept.py")) as file:
        assert file.read() == swept.text()


SCRIPT = """
import numpy as np
import precopy
files = precopy.paper.files()
writes = precopy.paper.skewed()
precopy.sweep(files, writes, order=["size-ascending", "update-frequency"], seed=range(3))
precopy.sweep(files, writes, order={"mine": np.arange(3.0)}, half_life=[None, 1.0], cycles=[5, 9])
precopy.simulate(files, writes, "size-ascending", budget="carry", history=[1, 2])
"""
WRONG = {
    "parameter of sweep": 'precopy.sweep(files, writes, ordr=["size-ascending"])',
    "choice of sweep": 'precopy.sweep(files, writes, budget=["whole", "cary"])',
    "order of sweep": 'precopy.sweep(files, writes, order="size-up")',
    "parameter of simulate": "precopy.simulate(files, writes, sead=1)",
    "choice of simulate": 'precopy.simulate(files, writes, frequency="counts")',
    "order of simulate": 'precopy.simulate(files, writes, "size-up")',
    "budget of take": 'precopy.take([1], 2, "half")',
}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_find_what_is_misspelt(checker, tmp_path):
    if checker == "pyright" and shutil.which("node") is None:
        pytest.skip("no node, which pyright runs on")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + "\n".join(WRONG.values()) + "\n")
    options = ["--config-file="] if checker == "mypy" else []
    command = [sys.executable, "-m", checker, *options, str(script)]
    root = Path(precopy.__file__).parent.parent  # where both look for packages
    printed = subprocess.run(command, capture_output=True, text=True, cwd=root).stdout
    first = SCRIPT.count("\n") + 1
    found = {
        int(line.split(":")[1])
        for line in printed.splitlines()
        if "script.py:" in line and " error" in line
    }
    assert found == set(range(first, first + len(WRONG))), printed
