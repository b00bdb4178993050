"""The identification step (paper, section 2.1): what an application uses, and what moves with it.

An access monitor inside each program reports opened and written files through a named pipe, a
tracker keeps them in an access log, and the identification computes which applications and files
must move together:

- `record` runs a command under the monitor; `import_strace` reads a trace of one that cannot be,
  `import_trace` traces of other programs;
- `AccessLog` shows what was recorded (`precopy.access.log` says how to query it in SQL);
- `identify` returns an `Identification`, `precopy.access.picture` draws it;
- `audit` says which files changed and were never reported.

A name is imported when it is first used: a tracker process is to be small.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from precopy.access.audit import audit
    from precopy.access.identify import Identification, identify
    from precopy.access.imports import import_trace
    from precopy.access.log import AccessLog
    from precopy.access.strace import import_strace
    from precopy.access.tracking.recording import record, track

__all__ = [
    "AccessLog",
    "Identification",
    "audit",
    "identify",
    "import_strace",
    "import_trace",
    "record",
    "track",
]

_HOMES = {
    "AccessLog": "log",
    "Identification": "identify",
    "audit": "audit",
    "identify": "identify",
    "import_strace": "strace",
    "import_trace": "imports",
    "record": "tracking.recording",
    "track": "tracking.recording",
}


def __getattr__(name: str) -> Any:
    """Import a name of the package when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """A package whose functions are not hidden by modules of the same name, as in `precopy`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
