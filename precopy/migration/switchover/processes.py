"""What /proc says of processes: who they are, whose children, whether they stand still.

Invariant: a process is a pid and a start time, so that a pid that was given to another process
never stands for the first one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from precopy._text import printable

_KERNEL_THREAD = 0x00200000
STOPPED = frozenset("TZXx")
"""States in which a thread runs no code of its own until it is told to, or never again."""


class Process(NamedTuple):
    """One process: its pid is its only as long as the start time fits."""

    pid: int
    start_time: int


class Seen(NamedTuple):
    """A line of /proc/PID/stat."""

    process: Process
    state: str
    parent: int
    group: int
    session: int
    kernel: bool


def look(pid: int | str) -> Seen | None:
    """Return a process or, as ``"PID/task/TID"``, a thread; None if there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        head, _, tail = os.read(fd, 4096).rpartition(b") ")
        part = tail.split(maxsplit=20)
        return Seen(
            Process(int(head.split(b" ", 1)[0]), int(part[19])),
            part[0].decode(),
            int(part[1]),
            int(part[2]),
            int(part[3]),
            bool(int(part[6]) & _KERNEL_THREAD),
        )
    except (OSError, ValueError, IndexError):  # it ended just now
        return None
    finally:
        os.close(fd)


def table(leave_out: Iterable[int] = ()) -> dict[int, Seen]:
    """Return all processes by pid, without those to be left out."""
    wanted = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    wanted.difference_update(leave_out)
    return {pid: seen for pid in wanted if (seen := look(pid)) is not None}


def threads(pid: int) -> list[Seen]:
    """Return a process's threads; empty if it is gone."""
    with suppress(OSError):
        names = os.listdir(f"/proc/{pid}/task")
        return [seen for name in names if (seen := look(f"{pid}/task/{name}")) is not None]
    return []


def stands(pid: int) -> bool:
    """Tell whether no thread of a process runs: all are stopped, or have ended."""
    return all(thread.state in STOPPED for thread in threads(pid))


def is_gone(process: Process) -> bool:
    """Tell whether a process has ended; a zombie has."""
    seen = look(process.pid)
    if seen is None or seen.process != process:
        return True
    return seen.state in "ZX" and all(thread.state in "ZXx" for thread in threads(process.pid))


def arguments(pid: int) -> list[bytes]:
    """Return a process's command line; empty if it is gone, not ours to see, or in the kernel."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    return []


def program(pid: int) -> str:
    """Return the path of a process's program, or nothing if that cannot be seen."""
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""


def command(pid: int) -> tuple[str, tuple[bytes, ...]]:
    """Return what tells one program's processes from others': its path and its arguments."""
    return program(pid), tuple(arguments(pid))


def tracer(pid: int) -> int:
    """Return the pid of the process that traces this one, or 0."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"TracerPid:"):
                return int(line.split()[1])
    return 0


def is_recorder(pid: int) -> bool:
    """Tell whether a process is part of ``precopy record``, and not of an application."""
    part = arguments(pid)[:5]
    return b"-I" in part[1:2] and any(
        word.endswith(b"/precopy/access/tracking/runner.py")
        or b"from precopy.access.tracking." in word
        for word in part[2:]
    )


def ancestors() -> set[int]:
    """Return this process and its ancestors."""
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        seen = look(pid)
        pid = seen.parent if seen else 0
    return found


def told(pid: int) -> str:
    """Return a process for a message: its pid and what runs in it."""
    words = arguments(pid)
    with suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n")
        return f"{pid} ({printable(b' '.join(words)[:60] or name)})"
    return f"{pid}"


def service(pid: int) -> str:
    """Return the systemd service that a process belongs to, or nothing."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(errors="replace").splitlines():
            number, kind, path = line.split(":", 2)
            if (number == "0" or kind == "name=systemd") and path.endswith(".service"):
                return path.rpartition("/")[2]
    return ""


def writers(paths: Iterable[bytes], but: Iterable[int] = ()) -> list[tuple[int, bytes]]:
    """Return ``(pid, path)`` of processes that have one of these files open for writing.

    Parameters
    ----------
    paths : iterable of bytes
        Absolute paths.
    but : iterable of int
        Processes that are not looked at.
    """
    wanted, found, passed = set(paths), [], set(but)
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in passed:
            continue
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{name}/fd"):
                with suppress(OSError):
                    path = os.fsencode(os.readlink(f"/proc/{name}/fd/{fd}"))
                    if path in wanted and _is_writable(name, fd):
                        found.append((int(name), path))
    return found


def _is_writable(pid: str, fd: str) -> bool:
    for line in Path(f"/proc/{pid}/fdinfo/{fd}").read_bytes().splitlines():
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False
