"""Ctrl-C, and the other signals that ask us to end: obeyed until the decision, not after it."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """We were asked to end.

    Attributes
    ----------
    signal : int
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


class Interrupts:
    """Turns signals into `Interrupted` until `decided`; from then on they are only noted.

    Only in the main thread; elsewhere nothing is changed.

    Attributes
    ----------
    late : bool
        Whether one came after the decision.
    """

    def __init__(self) -> None:
        self.late = False
        self._decided = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def decided(self) -> None:
        """From here on what was begun is completed."""
        self._decided = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._decided:
            raise Interrupted(number)
        self.late = True
