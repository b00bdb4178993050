"""Tells, before a program is started, whether the monitor can live in it.

The monitor is a library of this machine's C library and word size, loaded by its dynamic loader.
Invariant: a program that it could disturb is started without it, and the log says so; one whose
file cannot be read, or is of a kind that only the kernel knows, is taken for an ordinary one.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_LONGEST_CHAIN = 5  # of interpreters, as in the kernel
_INTERPRETER = 3  # PT_INTERP
_NOSUID = getattr(os, "ST_NOSUID", 2)


def find(program: str, env: Mapping[str, str], cwd: str | Path | None = None) -> str | None:
    """Return the file that `program` names, searched for as execvp does; None: there is none.

    Examples
    --------
    >>> find("sh", {"PATH": "/nowhere:/bin"})
    '/bin/sh'
    """
    where = str(cwd) if cwd is not None else "."
    if os.sep in program:
        path = os.path.join(where, program)
        return path if os.access(path, os.X_OK) else None
    search = env.get("PATH", os.defpath).split(os.pathsep)
    if cwd is not None:
        search = [os.path.join(where, part) for part in search]
    return shutil.which(program, path=os.pathsep.join(part or where for part in search))


def startable(program: str, env: Mapping[str, str], cwd: str | Path | None = None) -> str:
    """Return the file that `program` names, if it can be started.

    Raises
    ------
    FileNotFoundError
        If it, or the interpreter that it names, is not there.
    PermissionError
        If one of them is not a file that may be executed.

    Examples
    --------
    >>> startable("/", {})
    Traceback (most recent call last):
    PermissionError: command: program '/' is a directory
    """
    found = find(program, env, cwd)
    if found is None and os.sep not in program:
        raise FileNotFoundError(f"command: no program {program!r}")
    where = str(cwd) if cwd is not None else "."
    path = found or os.path.join(where, program)
    what = f"program {program!r}"
    for _ in range(_LONGEST_CHAIN):
        _check_executable(path, what)
        needed = _needed_by(path)
        if not needed:
            break
        path, what = os.path.join(where, needed), f"interpreter {needed!r} of {program!r}"
    return found or path


def _needed_by(path: str) -> str:
    """Return the interpreter or dynamic loader that a program names; empty if there is none."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
            if head[:4] == b"\x7fELF" and len(head) >= 64:
                # One of another machine is run by an emulator, which looks for it elsewhere.
                return (_is_of_this_machine(head) and _loader(file.fileno(), head)) or ""
    except OSError:
        return ""
    words = head[2:].split(b"\n", 1)[0].split() if head[:2] == b"#!" else []
    return os.fsdecode(words[0]) if words else ""


def _check_executable(path: str, what: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        raise PermissionError(f"command: {what} cannot be reached") from None
    except (OSError, ValueError):
        raise FileNotFoundError(f"command: no {what}") from None
    if stat.S_ISDIR(mode):
        raise PermissionError(f"command: {what} is a directory")
    if not stat.S_ISREG(mode) or not os.access(path, os.X_OK):
        raise PermissionError(f"command: {what} may not be executed")


def why_not_followed(program: str) -> str | None:
    """Return why the monitor is kept out of a program; None if it is not.

    Parameters
    ----------
    program : str
        The file.

    Examples
    --------
    >>> why_not_followed("/bin/sh") is None
    True
    """
    path = program
    for _ in range(_LONGEST_CHAIN):
        try:
            with open(path, "rb") as file:
                head = file.read(4096)
                status = os.fstat(file.fileno())
                why = _gains_rights(path, status) or _of_elf(file.fileno(), head, path)
        except OSError:
            return None
        if why is not None:
            return f"{program}: {why}" if path == program else f"{program}: {path}: {why}"
        words = head[2:].split(b"\n", 1)[0].split()
        if head[:2] != b"#!" or not words:
            return None
        path = os.fsdecode(words[0])
    return None


def _gains_rights(path: str, status: os.stat_result) -> str | None:
    with suppress(OSError):
        if os.statvfs(path).f_flag & _NOSUID:
            return None
    user = status.st_mode & stat.S_ISUID and status.st_uid != os.getuid()
    group = status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP
    if user or (group and status.st_gid != os.getgid()):
        return "runs with another user's or group's rights"
    with suppress(OSError):
        if os.getuid() != 0 and os.getxattr(path, "security.capability"):
            return "gains capabilities"
    return None


def _of_elf(fd: int, head: bytes, path: str) -> str | None:
    if head[:4] != b"\x7fELF" or len(head) < 64:
        return None
    with _own_program().open("rb") as file:
        my_loader = _loader(file.fileno(), file.read(4096))
    if not _is_of_this_machine(head):
        return "is of another word size or machine"
    loader = _loader(fd, head)
    if loader is None:
        if (
            my_loader is not None
            and os.path.exists(my_loader)
            and os.path.samefile(path, my_loader)
        ):
            return None
        return "is statically linked"
    if my_loader is None or os.path.basename(loader) == os.path.basename(my_loader):
        return None
    with suppress(OSError):
        if os.path.samefile(loader, my_loader):
            return None
    return f"uses another C library ({os.path.basename(loader)})"


def _own_program() -> Path:
    return Path("/proc/self/exe") if os.path.exists("/proc/self/exe") else Path(sys.executable)


def _is_of_this_machine(head: bytes) -> bool:
    """Return whether a program's header tells of our word size, byte order and machine."""
    with _own_program().open("rb") as file:
        mine = file.read(64)
    return head[4:6] == mine[4:6] and head[18:20] == mine[18:20]


def _loader(fd: int, head: bytes) -> str | None:
    """Return the dynamic loader that an ELF file names (PT_INTERP), or None."""
    order = "<" if head[5] == 1 else ">"
    if head[4] == 2:
        at, (size, count) = (
            struct.unpack_from(f"{order}Q", head, 32)[0],
            struct.unpack_from(f"{order}HH", head, 54),
        )
        form, fields = f"{order}IIQQQQQQ", (2, 5)
    else:
        at, (size, count) = (
            struct.unpack_from(f"{order}I", head, 28)[0],
            struct.unpack_from(f"{order}HH", head, 42),
        )
        form, fields = f"{order}IIIIIIII", (1, 4)
    for index in range(count):
        part = os.pread(fd, struct.calcsize(form), at + index * size)
        if len(part) < struct.calcsize(form):
            return None
        row = struct.unpack(form, part)
        if row[0] == _INTERPRETER:
            return os.fsdecode(os.pread(fd, row[fields[1]], row[fields[0]]).rstrip(b"\0"))
    return None
