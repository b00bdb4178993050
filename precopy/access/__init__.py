"""The identification step (paper, section 2.1): what an application uses, and what moves with it.

An access monitor inside each program reports opened and written files through a named pipe, a
tracker keeps them in an access log, and the identification computes which applications and files
must move together:

- `record` runs a command under the monitor; `import_strace` reads a trace of one that cannot be;
- `AccessLog` shows what was recorded (`precopy.access.log` says how to query it in SQL);
- `identify` returns an `Identification`, `precopy.access.picture` draws it;
- `audit` says which files changed and were never reported.
"""

from precopy.access.audit import audit
from precopy.access.identify import Identification, identify
from precopy.access.log import AccessLog
from precopy.access.strace import import_strace
from precopy.access.tracking.recording import record, track

__all__ = [
    "AccessLog",
    "Identification",
    "audit",
    "identify",
    "import_strace",
    "record",
    "track",
]
