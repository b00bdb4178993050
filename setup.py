"""Builds what pyproject.toml cannot say: the shared libraries that are no Python extensions.

The access monitor is preloaded into other programs and the journal reader is called through ctypes;
neither includes Python.h, so the C compiler builds them directly.
"""

import os
import shlex
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
SHARED = ["-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-z,now,-z,defs"]
LIBRARIES = {
    # The monitor runs on a thread that libc and the compiler's runtime know nothing of.
    "precopy/access/libprecopy_monitor.so": (
        "csrc/monitor",
        ["-fno-stack-protector", "-fno-tree-loop-distribute-patterns", "-flto"],
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
        command = [*compiler, *SHARED, *WARNINGS, *options, "-o", str(target), *files]
        subprocess.run(command, check=True)


class BuildWithSharedLibraries(build_ext):
    """Extensions as usual, then the shared libraries, beside them or into the source tree."""

    def run(self) -> None:
        """Build everything."""
        super().run()
        build_shared_libraries(ROOT if self.inplace else Path(self.build_lib))

    def get_outputs(self) -> list[str]:
        """Return the files that were built."""
        return [*super().get_outputs(), *(str(Path(self.build_lib) / name) for name in LIBRARIES)]


class BinaryDistribution(Distribution):
    """Platform-specific even without an extension module."""

    def has_ext_modules(self) -> bool:
        """Return True: the libraries are for one platform."""
        return True


if __name__ == "__main__":
    setup(cmdclass={"build_ext": BuildWithSharedLibraries}, distclass=BinaryDistribution)
