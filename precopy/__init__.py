"""Pre-copy migration at file granularity: simulate it, bound it, reproduce the paper.

Every name is imported when it is first used, so that importing the package costs next to nothing.
Nothing inside the package may rely on this module: what it needs, it imports from where it is.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from precopy._version import __version__ as __version__

if TYPE_CHECKING:
    from precopy import access, bound, datasets, paper, plot, stop
    from precopy.character import characterise
    from precopy.estimate import Estimate
    from precopy.files import FileSet
    from precopy.forecast.forecast import forecast
    from precopy.ranking import rank, take
    from precopy.recorded import Recorded
    from precopy.run import Cycle, Run
    from precopy.simulation import simulate
    from precopy.stop import finish
    from precopy.sweep import sweep
    from precopy.trace import WriteTrace
    from precopy.workload import Workload

__all__ = [
    "Cycle",
    "Estimate",
    "FileSet",
    "Recorded",
    "Run",
    "Workload",
    "WriteTrace",
    "access",
    "bound",
    "characterise",
    "datasets",
    "finish",
    "forecast",
    "paper",
    "plot",
    "rank",
    "simulate",
    "stop",
    "sweep",
    "take",
]

# Where each name is; the others are modules.
_HOMES = {
    "Cycle": "run",
    "Estimate": "estimate",
    "FileSet": "files",
    "Recorded": "recorded",
    "Run": "run",
    "Workload": "workload",
    "WriteTrace": "trace",
    "characterise": "character",
    "finish": "stop",
    "forecast": "forecast.forecast",
    "rank": "ranking",
    "simulate": "simulation",
    "sweep": "sweep",
    "take": "ranking",
}


def __getattr__(name: str) -> Any:
    """Import a name of the package when it is first used, or a module of it."""
    home = f"precopy.{_HOMES.get(name, name)}"
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        if error.name != home:
            raise
        raise AttributeError(f"module 'precopy' has no attribute {name!r}") from None
    if name not in _HOMES:
        return module
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """A package whose functions are not hidden by modules of the same name.

    Whoever imports the module `precopy.sweep` makes Python set it as an attribute here, where the
    function `sweep` is promised.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
