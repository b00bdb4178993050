"""What reads the source's files, without Python: sanitizers, reads and memory that are refused."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WRAPPED = ["malloc", "realloc", "pread"]
FLAGS = [
    *("-std=c11", "-O1", "-g", "-fno-omit-frame-pointer"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"),
    *("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"),
    "-fno-wrapv",
    *(f"-Wl,--wrap={name}" for name in WRAPPED),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "test_source"
    sources = [s for s in sorted(ROOT.glob("csrc/source/*.c")) if s.name != "module.c"]
    sources += sorted(ROOT.glob("tests/source/*.c"))
    command = [os.environ.get("CC", "gcc"), *FLAGS, f"-I{ROOT / 'csrc/source'}"]
    built = subprocess.run(
        [*command, *map(str, sources), "-o", str(path)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return path


@pytest.mark.parametrize("group", ["short", "fails", "cut", "memory", "ranges", "known", "other"])
def test_group(program, tmp_path, group):
    result = subprocess.run([program, group, tmp_path], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_the_binding_knows_python():
    for source in ROOT.glob("csrc/source/*.[ch]"):
        assert source.name == "module.c" or "Python.h" not in source.read_text()
