"""The live migration (paper, section 2.2): move a running application's files in ranked cycles.

`migrate` moves them while the application runs, stops it, sends the rest, proves that nothing is
missing, and starts it at the destination; it returns a `Report`.  A name is imported when it is
first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from precopy.migration.moving import migrate
    from precopy.migration.report import Report

__all__ = ["Report", "migrate"]

_HOMES = {"Report": "report", "migrate": "moving"}


def __getattr__(name: str) -> Any:
    """Import a name of the package when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
