"""Build the C: the core as an extension module, and the shared libraries that are none.

The access monitor is preloaded into other programs and the journal reader is called through ctypes;
neither includes Python.h, so the C compiler builds them directly.

``PRECOPY_SANITIZE=1`` builds the core with AddressSanitizer and UBSan, ``PRECOPY_WERROR=1`` turns
every compiler warning into an error.
"""

import os
import shlex
import subprocess
from glob import glob
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
WARNINGS = ["-Wall", "-Wextra", "-Wconversion"]
if os.environ.get("PRECOPY_WERROR"):
    WARNINGS += ["-Werror"]

# The model is exact: no fused multiply-add, so that every platform draws and ranks the same.
compile_args = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", *WARNINGS]
link_args = []
if os.environ.get("PRECOPY_SANITIZE"):
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    # Python's own flags say -fwrapv, under which UBSan reports no overflow.
    sanitizers += ["-fsanitize=float-cast-overflow,float-divide-by-zero", "-fno-wrapv"]
    compile_args += [*sanitizers, "-O1", "-g", "-fno-omit-frame-pointer"]
    link_args += sanitizers

CORE = Extension(
    "precopy._core",
    sources=sorted(glob("csrc/python/*.c")) + sorted(glob("csrc/core/*.c")),
    depends=glob("csrc/python/*.h") + glob("csrc/core/*.h"),
    include_dirs=["csrc/core", numpy.get_include()],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)

SHARED = ["-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-z,now,-z,defs"]
LIBRARIES = {
    # The monitor runs on a thread that libc and the compiler's runtime know nothing of.
    "precopy/access/libprecopy_monitor.so": (
        "csrc/monitor",
        # It is the first to be initialised, so that it sees what other libraries do then.
        [
            "-fno-stack-protector",
            "-fno-tree-loop-distribute-patterns",
            "-flto=auto",
            "-Wl,-z,initfirst",
        ],
    ),
    "precopy/access/libprecopy_journal.so": ("csrc/journal", []),
}


def build_shared_libraries(directory: Path) -> None:
    """Compile every library of `LIBRARIES` to its place below `directory`."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    for name, (sources, options) in LIBRARIES.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        files = sorted(str(path) for path in (ROOT / sources).glob("*.c"))
        command = [*compiler, *SHARED, "-Wpedantic", *WARNINGS, *options, "-o", str(target), *files]
        subprocess.run(command, check=True)


class BuildWithSharedLibraries(build_ext):
    """Extensions as usual, then the shared libraries, beside them or into the source tree."""

    def run(self) -> None:
        """Build everything."""
        super().run()
        in_source = self.inplace or self.editable_mode
        build_shared_libraries(ROOT if in_source else Path(self.build_lib))

    def get_outputs(self) -> list[str]:
        """Return the files that were built."""
        return [*super().get_outputs(), *(str(Path(self.build_lib) / name) for name in LIBRARIES)]


setup(ext_modules=[CORE], cmdclass={"build_ext": BuildWithSharedLibraries})
