"""Build the C core; everything else about the package is in pyproject.toml.

``PRECOPY_SANITIZE=1`` builds with AddressSanitizer and UBSan, ``PRECOPY_WERROR=1`` turns every
compiler warning into an error.
"""

import os
from glob import glob

import numpy
from setuptools import Extension, setup

# The model is exact: no fused multiply-add, so that every platform draws and ranks the same.
compile_args = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden"]
compile_args += ["-Wall", "-Wextra", "-Wconversion"]
link_args = []
if os.environ.get("PRECOPY_WERROR"):
    compile_args += ["-Werror"]
if os.environ.get("PRECOPY_SANITIZE"):
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compile_args += [*sanitizers, "-O1", "-g", "-fno-omit-frame-pointer"]
    link_args += sanitizers

core = Extension(
    "precopy._core",
    sources=["csrc/python/module.c", *sorted(glob("csrc/core/*.c"))],
    depends=glob("csrc/core/*.h"),
    include_dirs=["csrc/core", numpy.get_include()],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)

setup(ext_modules=[core])
