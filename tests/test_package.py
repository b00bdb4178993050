"""The package as users get it: its names, its version, its files, and what is built from them."""

import ast
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
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


# Its files. A source tree is a copy in a directory with a space; the compiler is in a hurry.

# Of the repository, and of no use in a source distribution.
NOT_SHIPPED = {".gitignore", ".ci/run"}
# Of the source distribution, and made by setuptools.
MADE = {"PKG-INFO", "setup.cfg"}

COMPILER = """#!{python}
import os, sys
if {refused!r} and any({refused!r} in word for word in sys.argv):
    sys.exit("this compiler does not do {refused}")
os.execvp("cc", ["cc", *("-O0" if word in ("-O2", "-O3") else word for word in sys.argv[1:])])
"""


def build(what, tree, out, refused="", **variables):
    """Build a distribution of a source tree as pip does; return its file, or the failed process."""
    out.mkdir(exist_ok=True)
    compiler = out / "compiler"
    compiler.write_text(COMPILER.format(python=sys.executable, refused=refused))
    compiler.chmod(0o755)
    script = f"import setuptools.build_meta as b, sys; b.build_{what}(sys.argv[1])"
    environment = {k: v for k, v in os.environ.items() if k != "PRECOPY_WERROR"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)],
        cwd=tree,
        env={**environment, "CC": f"'{compiler}'", **variables},
        capture_output=True,
        text=True,
    )
    made = [*out.glob("*.tar.gz"), *out.glob("*.whl")]
    return (made[0] if made else None), done


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """What git knows of this checkout, as it is on the disk."""
    tree = tmp_path_factory.mktemp("a source tree")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().split("\0")[:-1]:
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


@pytest.fixture(scope="module")
def sdist(tree, tmp_path_factory):
    """The unpacked source distribution, of a tree that was worked in."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(tree, folder / "worked in")
    for name in ("precopy/_core.so", "csrc/core/a.o", "tests/__pycache__/a.pyc", "access.db"):
        (folder / "worked in" / name).parent.mkdir(exist_ok=True)
        (folder / "worked in" / name).write_bytes(b"not to be shipped")
    archive, done = build("sdist", folder / "worked in", folder / "out")
    assert done.returncode == 0, done.stderr
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    stale = sdist / "build" / "lib" / "precopy" / "stale.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    archive, done = build("wheel", sdist, tmp_path_factory.mktemp("wheel"))
    assert done.returncode == 0, done.stderr
    return archive


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_source_distribution_is_what_git_knows(tree, sdist):
    shipped = {n for n in files_below(sdist) if not n.startswith(("precopy.egg-info/", "build/"))}
    assert shipped - MADE == files_below(tree) - NOT_SHIPPED
    assert shipped >= MADE


def test_a_wheel_holds_the_package_and_its_libraries(tree, wheel):
    assert wheel.name.split("-")[2] == f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
        sizes = {name: packed.getinfo(name).file_size for name in names}
    python = {name for name in files_below(tree) if name.startswith("precopy/")}
    assert python <= names
    built = {name.split(".")[0] for name in names - python}
    libraries = {
        "precopy/access/libprecopy_monitor",
        "precopy/access/tracking/libprecopy_batch",
    }
    assert built == {"precopy/_core", "precopy/migration/source/_source", *libraries}
    assert min(sizes[name] for name in names - python) > 10_000


def install(wheel, folder):
    """Unpack a wheel, and return how to run a Python that finds it before the checkout."""
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    (folder / "empty").mkdir()
    options = {"cwd": folder / "empty", "env": {**os.environ, "PYTHONPATH": str(folder / "site")}}
    found = python("import precopy; print(precopy.__file__)", **options)
    assert found == f"{folder}/site/precopy/__init__.py\n"
    return options


def precopy_command(*words, **options):
    command = [sys.executable, "-m", "precopy", *words]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_what_is_installed_records_simulates_and_reproduces(wheel, tmp_path):
    options = install(wheel, tmp_path)
    script = "open('written', 'w').write('12345')"
    done = precopy_command("record", "--app", "a", "--", sys.executable, "-c", script, **options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = precopy_command("identify", "a", "--format", "paths", **options)
    assert f"{tmp_path}/empty/written\n" in done.stdout
    done = precopy_command("simulate", "--directory", ".", "--cycles", "3", **options)
    assert done.returncode == 0, done.stderr
    done = precopy_command("reproduce", "--seeds", "2", "--out", "results", **options)
    assert done.returncode == 0, done.stderr
    assert "unit misprinted" in done.stdout
    assert (tmp_path / "empty" / "results" / "fig7.svg").stat().st_size > 10_000


@pytest.mark.parametrize("library", ["monitor", "batch"])
def test_without_a_library_the_simulator_is_installed_and_record_says_so(sdist, tmp_path, library):
    archive, done = build("wheel", sdist, tmp_path / "out", refused=f"csrc/{library}")
    assert done.returncode == 0
    name = f"libprecopy_{library}.so"
    room = {"monitor": "precopy/access", "batch": "precopy/access/tracking"}[library]
    assert f"precopy: warning: {room}/{name} cannot be built here" in done.stderr
    options = install(archive, tmp_path)
    assert precopy_command("simulate", "--help", **options).returncode == 0
    python(
        "import precopy; precopy.simulate(f := precopy.FileSet([1]), precopy.Workload([1]))",
        **options,
    )
    done = precopy_command("record", "--app", "a", "--", "touch", "never", **options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "the access monitor was not built" in done.stderr
    assert name in done.stderr
    assert not list((tmp_path / "empty").iterdir())
    assert precopy_command("track", **options).returncode == 2


def test_where_warnings_are_errors_a_missing_library_is_one(sdist, tmp_path):
    archive, done = build("wheel", sdist, tmp_path, refused="csrc/monitor", PRECOPY_WERROR="1")
    assert archive is None
    assert done.returncode != 0
    assert "libprecopy_monitor.so" in done.stderr


def test_a_compiler_for_another_system_is_not_used(sdist, tmp_path):
    """Here one that links with a function that this system does not have."""
    (tmp_path / "foreign.c").write_text("int nowhere(void); int (*ours)(void) = nowhere;")
    foreign = tmp_path / "foreign-cc"
    foreign.write_text(
        f"""#!/bin/sh
case "$*" in *-shared*) exec cc "$@" "{tmp_path}/foreign.c";; esac
exec cc "$@"
"""
    )
    foreign.chmod(0o755)
    _, done = build("wheel", sdist, tmp_path / "strict", CC=f"'{foreign}'", PRECOPY_WERROR="1")
    assert done.returncode != 0
    assert "precopy._core: it was built and does not load into this Python" in done.stderr
    archive, done = build("wheel", sdist, tmp_path / "out", CC=f"'{foreign}'")
    assert "its code does not load into this Python" in done.stderr
    options = install(archive, tmp_path)
    assert python("import precopy._core; print(1)", **options) == "1\n"


@pytest.mark.parametrize("missing", ["csrc/core", "csrc/monitor", "csrc/batch"])
def test_a_tree_without_sources_is_not_built(tree, tmp_path, missing):
    shutil.copytree(tree, tmp_path / "tree", ignore=shutil.ignore_patterns("notebooks", "tests"))
    shutil.rmtree(tmp_path / "tree" / missing)
    archive, done = build("wheel", tmp_path / "tree", tmp_path / "out")
    assert archive is None
    assert done.returncode != 0
    assert f"{missing}: expected files *.c, got none; the sources are incomplete" in done.stderr
