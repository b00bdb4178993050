"""The controller's side of the watchdog: starts it, tells it what is stopped, notices its death.

Invariant: `Guard.tell` returns only when the watchdog has heard; nothing is stopped before.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from precopy.migration.switchover import watchdog
from precopy.migration.switchover.journal import MigrationError
from precopy.migration.switchover.processes import Process

_ANSWER_S = 10.0
_GRACE_S = 3.0
"""How much longer the watchdog waits than the controller, which is to say why."""


class WatchdogError(MigrationError):
    """There is no watchdog (any more), so nothing may be stopped."""


class Guard:
    """A running watchdog.

    Parameters
    ----------
    journal : Path
        Where the decision is looked up.
    stop_id : str
        Which stop in it this is about.
    longest_s : float
        How long the application may stand.
    lost : callable
        Called from a thread of its own, with the reason, when the watchdog is dead or the
        application has stood too long.
    """

    def __init__(
        self, journal: Path, stop_id: str, longest_s: float, lost: Callable[[str], None]
    ) -> None:
        self._longest_s, self._lost = longest_s, lost
        self._life, its = os.pipe()
        self._wake, self._waker = os.pipe()
        self._thread: threading.Thread | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[its],
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            self._close_pipes()
            raise WatchdogError(f"watchdog: cannot start it: {error.strerror}") from error
        finally:
            os.close(its)
        try:
            self._hear()
            self._say(journal=str(journal), stop_id=stop_id, longest_s=longest_s + _GRACE_S)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The watchdog's process."""
        return self._process.pid

    def tell(self, processes: Iterable[Process], places: Iterable[str]) -> None:
        """Say what is stopped next; from the first time on the application's standing is timed.

        Raises
        ------
        WatchdogError
            If the watchdog does not answer.
        """
        self._say(processes=[list(process) for process in processes], groups=list(places), stop=1)
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True, name="guard")
            self._thread.start()

    def _say(self, **message: object) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[stdin.write(data) :]
        except OSError:
            raise WatchdogError("watchdog: it died; nothing may be stopped without it") from None
        self._hear()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        if not select.select([fd], [], [], _ANSWER_S)[0]:
            raise WatchdogError(f"watchdog: it does not answer within {_ANSWER_S:g} s")
        if not os.read(fd, 1):
            raise WatchdogError("watchdog: it died; nothing may be stopped without it")

    def _watch(self) -> None:
        ready = select.select([self._life, self._wake], [], [], self._longest_s)[0]
        if self._wake in ready:
            return
        if ready:
            self._lost("the watchdog died; without it the application may not stand")
        else:
            self._lost(f"the application stood for more than {self._longest_s:g} s")

    def is_alive(self) -> bool:
        """Tell whether the watchdog lives."""
        return not select.select([self._life], [], [], 0)[0]

    def close(self, *, through: bool = True) -> None:
        """End the watchdog: nothing stands any more, or nothing may go on any more.

        Parameters
        ----------
        through : bool
            Whether that is known; if not, the watchdog decides as if the controller had died.
        """
        with suppress(OSError):
            os.write(self._waker, b"!")
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if through:
            with suppress(WatchdogError):
                self._say(end=True)
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.stdout.close()  # type: ignore[union-attr]
        give_up_at = time.monotonic() + _ANSWER_S
        while self._process.poll() is None and time.monotonic() < give_up_at:
            time.sleep(0.001)
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for fd in (self._life, self._wake, self._waker):
            os.close(fd)
