"""Pre-copy migration at file granularity: simulate it, bound it, reproduce the paper."""

from importlib import import_module
from types import ModuleType

from precopy import bound, paper, plot
from precopy.files import FileSet
from precopy.run import Cycle, Run
from precopy.simulation import simulate
from precopy.stop import finish
from precopy.sweep import sweep
from precopy.workload import Workload, WriteTrace

__all__ = [
    "Cycle",
    "FileSet",
    "Run",
    "Workload",
    "WriteTrace",
    "access",
    "bound",
    "finish",
    "paper",
    "plot",
    "simulate",
    "sweep",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Import the live parts when they are first used: simulations do without them."""
    if name == "access":
        return import_module("precopy.access")
    raise AttributeError(f"module 'precopy' has no attribute {name!r}")
