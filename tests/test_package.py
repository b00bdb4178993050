"""The package as users get it: its names, its version, its files, and what is built from them."""

import ast
import importlib.metadata
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import precopy

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "precopy"


def python(script, *arguments, **options):
    """Run a script in an interpreter of its own; return what it prints."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


# Its names.


def test_importing_the_package_imports_none_of_it():
    added = python(
        "import sys; before = set(sys.modules); import precopy;"
        "print(*sorted(set(sys.modules) - before))"
    )
    ours = {name for name in added.split() if name.split(".")[0] == "precopy"}
    assert ours == {"precopy", "precopy._version"}
    assert not {"numpy", "xarray", "pandas", "matplotlib", "tqdm"} & set(added.split())


def test_a_simulation_needs_neither_tables_nor_pictures():
    loaded = python(
        "import precopy, sys; f = precopy.FileSet([1, 2]);"
        "precopy.simulate(f, precopy.Workload.uniform(f), cycles=2, seed=1);"
        "print(*sys.modules)"
    ).split()
    assert "numpy" in loaded
    assert not {"xarray", "pandas", "matplotlib", "precopy.access"} & set(loaded)


def test_every_name_is_there_and_listed():
    shown = python("import precopy; print(*dir(precopy))").split()
    assert {*precopy.__all__, "__version__"} <= set(shown)
    for name in precopy.__all__:
        assert getattr(precopy, name) is getattr(precopy, name)
    python("from precopy import *; print(simulate, sweep, paper, access)")


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'precopy' has no attribute 'simulat'"):
        precopy.simulat  # noqa: B018
    assert not hasattr(precopy, "__wrapped__")
    with pytest.raises(ImportError, match="cannot import name 'simulat'"):
        from precopy import simulat  # noqa: F401


@pytest.mark.parametrize(
    "first", ["import precopy.sweep", "import precopy.study", "from precopy.sweep import sweep", ""]
)
def test_a_function_is_not_hidden_by_the_module_of_its_name(first):
    script = f"{first}\nimport precopy\nprint(type(precopy.sweep).__name__)"
    assert python(script) == "function\n"


def imports_of(path):
    """Go through the module and the name of each import in a file, those within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from ((node.module, name.name) for name in node.names)
        elif isinstance(node, ast.Import):
            yield from ((name.name, None) for name in node.names)


def test_nothing_inside_the_package_relies_on_its_first_module():
    for path in PACKAGE.rglob("*.py"):
        for module, name in imports_of(path):
            assert (module, name) != ("precopy", None), path
            if module == "precopy":
                assert path == PACKAGE / "__init__.py" or importlib.util.find_spec(
                    f"precopy.{name}"
                ), f"{path}: {name}"


def test_what_type_checkers_see_is_what_is_imported():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert sorted(seen) == sorted(precopy.__all__) == precopy.__all__
    for name, module in seen.items():
        home = importlib.import_module(module)
        value = getattr(home, name) if module != "precopy" else sys.modules[f"precopy.{name}"]
        assert getattr(precopy, name) is value


# One version.


def test_there_is_one_version_number():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    assert importlib.metadata.version("precopy") == precopy.__version__
    assert f"\nversion: {precopy.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    heading = (ROOT / "CHANGELOG.md").read_text("utf-8").split("\n## ")[1]
    assert heading.splitlines()[0] == precopy.__version__
    command = [sys.executable, "-m", "precopy", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == f"precopy {precopy.__version__}\n"
