"""Build the C: the core as an extension module, and the shared libraries that are none.

The access monitor is preloaded into other programs, and what adds up its records is called through
ctypes; neither includes Python.h, so the C compiler builds them directly.  They need Linux and the
GNU C library: elsewhere the simulator is installed without them, and ``precopy record`` says so.

``PRECOPY_SANITIZE=1`` builds the core with AddressSanitizer and UBSan.  ``PRECOPY_WERROR=1`` turns
every compiler warning into an error, and so is a library that cannot be built.
"""

import atexit
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, SetupError

ROOT = Path(__file__).parent
STRICT = bool(os.environ.get("PRECOPY_WERROR"))
SANITIZE = bool(os.environ.get("PRECOPY_SANITIZE"))
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", *(["-Werror"] if STRICT else [])]

# The model is exact: no fused multiply-add, so that every platform draws and ranks the same.
compile_args = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", *WARNINGS]
link_args = []
if SANITIZE:
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    # Python's own flags say -fwrapv, under which UBSan reports no overflow.
    sanitizers += ["-fsanitize=float-cast-overflow,float-divide-by-zero", "-fno-wrapv"]
    compile_args += [*sanitizers, "-O1", "-g", "-fno-omit-frame-pointer"]
    link_args += sanitizers


def sources(directory: str, suffix: str = "c") -> list[str]:
    """Return the files of a directory as the build wants them, relative to this file's."""
    found = sorted((ROOT / directory).glob(f"*.{suffix}"))
    if not found:
        raise SetupError(
            f"{directory}: expected files *.{suffix}, got none; the sources are incomplete"
        )
    return [path.relative_to(ROOT).as_posix() for path in found]


CORE = Extension(
    "precopy._core",
    sources=[*sources("csrc/python"), *sources("csrc/core")],
    depends=[*sources("csrc/python", "h"), *sources("csrc/core", "h")],
    include_dirs=["csrc/core", numpy.get_include()],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)

# What the migration asks the file system: Linux alone has its calls.
SOURCE = Extension(
    "precopy.migration.source._source",
    sources=sources("csrc/source"),
    depends=sources("csrc/source", "h"),
    extra_compile_args=compile_args,
    extra_link_args=link_args,
    optional=not STRICT,
)

SHARED = ["-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-z,now,-z,defs"]
LIBRARIES = {
    # The monitor runs on a thread that libc and the compiler's runtime know nothing of.
    "precopy/access/libprecopy_monitor.so": (
        sources("csrc/monitor"),
        # It is the first to be initialised, so that it sees what other libraries do then.
        [
            "-fno-stack-protector",
            "-fno-tree-loop-distribute-patterns",
            "-flto=auto",
            "-Wl,-z,initfirst",
        ],
    ),
    "precopy/access/tracking/libprecopy_batch.so": (sources("csrc/batch"), []),
}


def loads(script: str) -> bool:
    """Tell whether what was built can be loaded here; what is built for elsewhere is believed."""
    if SANITIZE or "_PYTHON_HOST_PLATFORM" in os.environ:
        return True
    return subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def build_shared_library(target: Path, files: list[str], options: list[str]) -> None:
    """Compile one library; raise OSError where that cannot be done."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder, target.name)
        command = [*shlex.split(os.environ.get("CC", "cc")), *SHARED, "-Wpedantic", *WARNINGS]
        command += [*options, "-o", str(made), *(str(ROOT / file) for file in files)]
        if subprocess.run(command, check=False).returncode:
            raise OSError(f"{command[0]} does not compile it")
        if not loads(f"import ctypes; ctypes.CDLL({str(made)!r})"):
            raise OSError("it was built for another system than this one's")
        made.replace(target)


class BuildAll(build_ext):
    """The core as usual, then the shared libraries, beside it or into the source tree."""

    def run(self) -> None:
        """Build everything."""
        compiler = self.compiler
        super().run()
        self._core_again_if_it_does_not_load(compiler)
        for name, (files, options) in LIBRARIES.items():
            try:
                build_shared_library(self._home() / name, files, options)
            except OSError as error:
                (self._home() / name).unlink(missing_ok=True)
                if STRICT:
                    raise CompileError(f"{name}: {error}") from error
                print(
                    f"precopy: warning: {name} cannot be built here ({error}): the simulator is "
                    "installed, and 'precopy record' will not work",
                    file=sys.stderr,
                )

    def _home(self) -> Path:
        return ROOT if self.inplace or self.editable_mode else Path(self.build_lib)

    def _core_again_if_it_does_not_load(self, compiler: str | None) -> None:
        """Build with Python's own compiler, where ``CC`` is one for another C library."""
        core = str(Path(self.get_ext_fullpath(CORE.name)).absolute())
        load = f"spec_from_file_location('precopy._core', {core!r})"
        if loads(f"from importlib.util import *; module_from_spec({load})"):
            return
        if STRICT or "CC" not in os.environ:
            raise CompileError("precopy._core: it was built and does not load into this Python")
        ignored = os.environ.pop("CC")
        print(
            f"precopy: warning: CC={ignored} is not used: its code does not load into this Python",
            file=sys.stderr,
        )
        self.force, self.compiler = True, compiler
        super().run()

    def get_outputs(self) -> list[str]:
        """Return the files that were built."""
        libraries = [Path(self.build_lib) / name for name in LIBRARIES]
        return [*super().get_outputs(), *(str(path) for path in libraries if path.exists())]


def options() -> dict[str, dict[str, str]]:
    """Return where to build: in a directory of its own, unless only an extension is asked for.

    What another version left in ``build`` is not packed, two builds of one tree do not disturb one
    another, and the tree may be read-only.
    """
    if "build_ext" in sys.argv:
        return {}
    scratch = tempfile.TemporaryDirectory(prefix="precopy-build-")
    atexit.register(scratch.cleanup)
    chosen = {"build": {"build_base": scratch.name}}
    if not os.access(ROOT, os.W_OK):
        chosen["egg_info"] = {"egg_base": scratch.name}
    return chosen


setup(ext_modules=[CORE, SOURCE], cmdclass={"build_ext": BuildAll}, options=options())
