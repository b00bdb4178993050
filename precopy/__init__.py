"""Pre-copy migration at file granularity: simulate it, bound it, reproduce the paper."""

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
    "bound",
    "finish",
    "paper",
    "plot",
    "simulate",
    "sweep",
]
__version__ = "0.1.0"
