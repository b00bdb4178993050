"""What a log that grows says while the migration runs: who writes how often, and new names.

Invariant: it only adds; what it does not mention may be dirty all the same, since it comes late.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from precopy.access.exclude import DEFAULT_EXCLUDED, Excluded
from precopy.access.log import AccessLog

_LATE_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Use:
    """What was newly reported of a path."""

    path: bytes
    updates: int
    written: bool
    last_ns: int


class Logged:
    """Follows a log.

    Parameters
    ----------
    log : AccessLog
    applications : iterable of str, optional
        Those that move; default: all in the log.
    exclude : iterable of str
        Paths that stay.
    """

    def __init__(
        self,
        log: AccessLog,
        applications: Iterable[str] | None = None,
        exclude: Iterable[str] = DEFAULT_EXCLUDED,
    ) -> None:
        self._log = log
        self._applications = None if applications is None else list(applications)
        self._excluded = Excluded(exclude)
        self._updates: dict[int, int] = {}
        self._since_ns = 0

    def news(self) -> list[Use]:
        """Return what was reported since the last call; the first one returns everything."""
        now = time.time_ns()
        news = []
        for number, path, _, written, _, updates, last_ns in self._log.used_since(
            self._since_ns, self._applications
        ):
            before = self._updates.get(number)
            self._updates[number] = updates
            if (before is None or updates > before) and path not in self._excluded:
                news.append(Use(path, updates - (before or 0), written, last_ns))
        self._since_ns = now - _LATE_NS
        return news
