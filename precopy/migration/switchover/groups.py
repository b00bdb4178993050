"""Control groups of version 2: which one holds an application, and how it is frozen as a whole.

A group is only used if it holds the application's processes and nobody else.  None is made, and no
process is moved into another one: its limits, its accounting and the service manager that knows it
by its group would be lost, and that is a change at the source.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from precopy.migration.source.mounts import Mounts


@cache
def mount() -> Path | None:
    """Return where version 2 is mounted, or None; looked for once."""
    points = Mounts.read().points("cgroup2")
    return Path(os.fsdecode(points[0])) if points else None


def of(pid: int) -> Path | None:
    """Return the group of a process, or None."""
    root = mount()
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(errors="replace").splitlines():
            if root is not None and line.startswith("0::"):
                return root / line[3:].lstrip("/")
    return None


def members(group: Path) -> set[int]:
    """Return the processes in a group and in those below it.

    Raises
    ------
    OSError
        If there is no such group.
    """
    found = {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    for place, _, names in os.walk(group):
        if "cgroup.procs" in names and place != str(group):
            with suppress(OSError):
                found.update(map(int, Path(place, "cgroup.procs").read_text().split()))
    return found


def common(pids: Iterable[int]) -> Path | None:
    """Return the smallest group that holds all of these processes, those that are gone apart."""
    root = mount()
    places = {place for pid in pids if (place := of(pid)) is not None}
    if root is None or not places:
        return None
    group = Path(os.path.commonpath([str(place) for place in places]))
    return group if root in group.parents else None


def is_usable(group: Path, strangers: Iterable[int]) -> bool:
    """Tell whether a group may be frozen: we may, and none of the strangers is in it.

    Processes that are neither known nor strangers were born there just now.
    """
    with suppress(OSError):
        return os.access(group / "cgroup.freeze", os.W_OK) and not members(group) & set(strangers)
    return False


def is_frozen(group: Path) -> bool:
    """Tell whether all of a group stands."""
    with suppress(OSError):
        return "frozen 1" in (group / "cgroup.events").read_text()
    return False


def is_to_stand(group: Path) -> bool:
    """Tell whether a group was told to stand, and not to go on since."""
    with suppress(OSError):
        return (group / "cgroup.freeze").read_text().strip() == "1"
    return False


def stands(pid: int) -> bool:
    """Tell whether a process is in a frozen group, or in one below it."""
    group = of(pid)
    return group is not None and is_frozen(group)


def wait(group: Path, give_up_at: float) -> bool:
    """Wait until all of a group stands, which has been told so; False if it does not in time."""
    fd = os.open(group / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while not is_frozen(group):
            left = give_up_at - time.monotonic()
            if left <= 0:
                return False
            poll.poll(min(left, 0.05) * 1000)
            os.pread(fd, 256, 0)
        return True
    finally:
        os.close(fd)
