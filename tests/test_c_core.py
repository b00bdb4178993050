"""The C core on its own: built without Python, under sanitizers, every allocation failing once."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
WRAPPED = ["malloc", "calloc", "pc_pending_init", "pc_budget_begin_cycle", "pc_pending_free"]
FLAGS = [
    *("-std=c11", "-O1", "-g", "-ffp-contract=off", "-fno-omit-frame-pointer"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"),
    *("-fsanitize=address,undefined,float-cast-overflow,float-divide-by-zero",),
    *("-fno-sanitize-recover=all", "-fno-wrapv"),
    *(f"-Wl,--wrap={name}" for name in WRAPPED),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("core") / "test_core"
    sources = sorted([*ROOT.glob("csrc/core/*.c"), *ROOT.glob("tests/c/*.c")])
    command = [os.environ.get("CC", "gcc"), *FLAGS, f"-I{ROOT / 'csrc/core'}"]
    command += [f"-I{np.get_include()}", *map(str, sources), "-lm", "-o", str(path)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return path


def run(program, group):
    options = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    return subprocess.run(
        [program, group], capture_output=True, text=True, env=os.environ | options
    )


@pytest.mark.parametrize(
    "group",
    ["arguments", "allocations", "invariants", "interrupts", "writes", "rank", "shared", "replay"],
)
def test_group(program, group):
    result = run(program, group)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_leak_detector_is_awake(program):
    result = run(program, "leak")
    assert result.returncode != 0
    assert "LeakSanitizer" in result.stderr


def test_core_stays_free_of_python():
    for source in ROOT.glob("csrc/core/*.[ch]"):
        assert "Python.h" not in source.read_text()
