"""Taking a target that the other side of an earlier run may still hold for a moment.

A far side whose controller was killed first does what it was told: it brings data to a disk, or
watches the program that it has started.  It holds the target meanwhile.  The same command, run at
once again, waits for that a while.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from precopy.migration.transport.interface import TargetError, Transport

ENDS_WITHIN_S = 10.0
"""How long a far side that has lost its controller is waited for."""
_AGAIN_S = 0.05


def take(
    transport: Transport,
    migration: str,
    *,
    resume: bool,
    merge: bool = False,
    tell: Callable[[str], None] | None = None,
) -> bool:
    """Begin (`Transport.begin`), when the migration's own earlier run there has ended.

    Parameters
    ----------
    transport, migration, resume, merge
        As for `Transport.begin`.
    tell : callable, optional
        Told once, for people, if there is something to wait for.

    Returns
    -------
    bool
        Whether the migration was begun before: that run may have come so far while we waited.

    Raises
    ------
    TransportError
        As `Transport.begin` does; for a target that stays in use, after `ENDS_WITHIN_S`.
    """
    give_up_at = 0.0
    while True:
        try:
            transport.begin(migration, resume=resume, merge=merge)
            return resume
        except TargetError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise
            now = time.monotonic()
            if give_up_at and now > give_up_at:
                raise
            if not give_up_at:
                give_up_at = now + ENDS_WITHIN_S
                if tell is not None:
                    tell(f"{error}; waiting up to {ENDS_WITHIN_S:.0f} s for it")
        time.sleep(_AGAIN_S)
        resume = resume or transport.status().get("migration") == migration
