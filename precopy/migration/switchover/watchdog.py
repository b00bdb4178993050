"""Lets a stopped application go on if whoever stopped it is gone.

`switchover.switch` starts this file as a process of its own, in a session of its own, before it
stops anything, and tells it by lines of JSON what is about to be stopped.  When the controller
dies, or the application stands longer than it may, the application goes on, unless the journal says
COMMITTED: then the destination is in charge, and nothing here may run again.

Invariants.  The decision is one line in the journal, and whoever writes that line, COMMITTED or
THAWING, holds the journal's lock while it looks and writes; so there is one decision, whenever
anybody dies.  A process is only signalled while its start time is the one that was told.
Standard library only: it runs as ``python3 -I -S`` and imports nothing of the package.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any

COMMITTED = "COMMITTED"
AFTER_COMMIT = (COMMITTED, "STARTED", "DONE")
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP)
_BLANK = b" \n\0"


# --- processes -----------------------------------------------------------------------------------


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return None


def send_signal(pid: int, started: int, number: int) -> bool:
    """Send a signal to the process with this pid and start time; False if it is gone.

    Raises
    ------
    PermissionError
        If it is another user's.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:  # a kernel without them: the moment between look and kill remains
        if start_time(pid) != started:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False
    try:
        # The descriptor was there before the look: what the look finds is what it stands for.
        if start_time(pid) != started:
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)
            return True
        return False
    finally:
        os.close(fd)


def thaw(processes: list[tuple[int, int]], groups: list[str]) -> list[int]:
    """Let processes and control groups go on; return the pids that we may not signal."""
    refused = []
    for group in groups:
        with suppress(OSError), open(os.path.join(group, "cgroup.freeze"), "w") as file:
            file.write("0")
    for pid, started in processes:
        try:
            send_signal(pid, started, signal.SIGCONT)
        except PermissionError:
            refused.append(pid)
    return refused


# --- the journal ---------------------------------------------------------------------------------


def entries(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the journal's entries, and where the next one goes; what is torn does not count."""
    found: list[dict[str, Any]] = []
    end = 0
    for line in data.rstrip(_BLANK).splitlines(keepends=True):
        end += len(line)
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            found.append(entry)
    return found, end


def read_all(fd: int) -> bytes:
    """Return what a file holds."""
    return os.pread(fd, max(os.fstat(fd).st_size, 1), 0)


def append(fd: int, entry: dict[str, Any]) -> None:
    """Write one entry after the last one; the caller holds the lock, and makes it durable."""
    _, end = entries(read_all(fd))
    text = b"\n" + json.dumps(entry).encode() + b"\n" if end else json.dumps(entry).encode() + b"\n"
    while text:
        done = os.pwrite(fd, text, end)
        text, end = text[done:], end + done


def is_committed(found: list[dict[str, Any]]) -> bool:
    """Tell whether the destination is in charge."""
    return any(entry.get("state") in AFTER_COMMIT for entry in found)


def is_ours(found: list[dict[str, Any]], stop_id: str) -> bool:
    """Tell whether this stop is the last one, and what it has stopped may be let go on."""
    stops = [entry for entry in found if entry.get("state") == "FROZEN"]
    return not is_committed(found) and bool(stops) and stops[-1].get("stop_id") == stop_id


def is_over(found: list[dict[str, Any]]) -> bool:
    """Tell whether the journal says already that the application goes on."""
    return bool(found) and found[-1].get("state") in ("THAWED", "ABORTED", "WITHDRAWN")


def now() -> str:
    """Return the time for the journal."""
    at = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"


# --- the watchdog --------------------------------------------------------------------------------


class Watchdog:
    """What has to go on, and how long it may stand."""

    def __init__(self) -> None:
        self._journal = -1
        self._processes: list[tuple[int, int]] = []
        self._groups: list[str] = []
        self._longest_s = 60.0
        self._stop_id = ""
        self._since: float | None = None
        self._rest = b""

    def serve(self) -> None:
        """Listen until the controller is through, or gone."""
        while True:
            pause = None
            if self._since is not None and self._longest_s < math.inf:
                pause = max(0.0, self._since + self._longest_s - time.monotonic())
            if not select.select([0], [], [], pause)[0]:
                self._decide(f"the application stood for more than {self._longest_s:g} s")
                self._longest_s = math.inf  # the controller may only sleep: it is watched on
                continue
            data = os.read(0, 1 << 16)
            if not data:
                self._decide("the controller died")
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                if not self._take(json.loads(line)):
                    return

    def _take(self, message: dict[str, Any]) -> bool:
        """Do what the controller says; False at the end."""
        if "journal" in message:
            self._journal = os.open(message["journal"], os.O_RDWR | os.O_CLOEXEC)
            self._longest_s = float(message["longest_s"])
            self._stop_id = message["stop_id"]
        for pid, started in message.get("processes", []):
            self._processes.append((pid, started))
        self._groups += message.get("groups", [])
        if message.get("stop") and self._since is None:
            self._since = time.monotonic()
        with suppress(OSError):
            os.write(1, b"+")
        return not message.get("end")

    def _decide(self, reason: str) -> None:
        """Let the application go on, unless the destination is in charge."""
        if self._since is None:
            return
        fcntl.flock(self._journal, fcntl.LOCK_EX)
        found = entries(read_all(self._journal))[0]
        if is_ours(found, self._stop_id):
            self._thaw(reason, told=is_over(found))
        fcntl.flock(self._journal, fcntl.LOCK_UN)

    def _thaw(self, reason: str, told: bool) -> None:
        entry = {"time": now(), "reason": reason, "by": "watchdog", "pid": os.getpid()}
        # Nothing that is wrong with the disk may keep the application standing; and after a crash
        # of the machine there is nothing to thaw: these lines need not be durable.
        with suppress(OSError):
            if not told:
                append(self._journal, {"state": "THAWING", **entry})
        entry["refused"] = thaw(self._processes, self._groups)
        with suppress(OSError):
            if not told:
                append(self._journal, {"state": "THAWED", **entry})


def main() -> None:
    """Run the watchdog."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("-900")
    os.write(1, b"+")
    Watchdog().serve()


if __name__ == "__main__":
    main()
    sys.exit(0)
