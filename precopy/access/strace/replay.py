"""Replays the system calls of a trace: who is where, and what happened to which file.

Invariant: every call is a change of sums, in the columns of the access log, so that a replay can
be stored as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from precopy.access.strace.lines import Call, TraceError


@dataclass
class FileAccess:
    """Sums for one file, in the columns of the log's table ``access``."""

    opens: int = 0
    read: int = 0
    write: int = 0
    mapped: int = 0
    writes: int = 0
    bytes_written: int = 0
    changes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    buckets: dict[int, list[int]] = field(default_factory=dict)


class Replay:
    """The state of one trace.

    Parameters
    ----------
    bucket_ns : int
        Width of a time bucket of the log, in nanoseconds.
    cwd : bytes, optional
        The first process's working directory, if it is known.
    """

    def __init__(self, bucket_ns: int, cwd: bytes | None) -> None:
        self.bucket_ns = bucket_ns
        self.cwd = cwd
        self.files: dict[bytes, FileAccess] = {}
        self.processes: dict[int, list[int]] = {}
        self.commands: dict[int, bytes] = {}
        self.calls = 0
        self.unresolved = 0
        self.described = 0  # opens whose descriptor's path is shown
        self.bare = 0  # the first line with an open that lacks it
        self.directories: set[bytes] = set()
        self._gone: set[bytes] = set()  # names that were removed or renamed away
        self._where: dict[int, list[bytes | None]] = {}  # shared by the threads of a process
        self._parents: dict[bytes, bytes] = {}
        self._above: set[bytes] = set()  # directories of files, and with each those above it

    def take(self, call: Call) -> None:
        """Account for one completed call."""
        self.calls += 1
        span = self.processes.setdefault(call.pid, [call.time_ns, call.time_ns])
        span[1] = max(span[1], call.time_ns)
        if call.directory is not None:
            self._cell(call)[0] = call.directory
        handler = _HANDLERS.get(call.name)
        if handler is not None and call.succeeded:
            handler(self, call)

    def touch(
        self,
        path: bytes | None,
        call: Call,
        *,
        opens: int = 0,
        read: bool = False,
        write: bool = False,
        mapped: bool = False,
        writes: int = 0,
        written: int = 0,
        changes: int = 0,
    ) -> None:
        """Add one event to a file; pipes, sockets and other things without a path are ignored."""
        if path is None or not path.startswith(b"/"):
            return
        self._gone.discard(path)
        access = self.files.get(path) or self._meet(path, call.time_ns)
        access.opens += opens
        access.read |= read
        access.write |= write
        access.mapped |= mapped
        access.writes += writes
        access.bytes_written += written
        access.changes += changes
        access.first_ns = min(access.first_ns, call.time_ns)
        access.last_ns = max(access.last_ns, call.time_ns)
        if writes or changes:
            bucket = access.buckets.setdefault(call.time_ns // self.bucket_ns, [0, 0, 0])
            bucket[0] += writes
            bucket[1] += written
            bucket[2] += changes

    def _meet(self, path: bytes, time_ns: int) -> FileAccess:
        access = self.files[path] = FileAccess(first_ns=time_ns, last_ns=time_ns)
        directory = os.path.dirname(path)
        while directory not in self._above:
            self._above.add(directory)
            directory = os.path.dirname(directory)
        return access

    def finish(self) -> None:
        """Drop what turned out to be a directory: opened like a file, but none.

        Raises
        ------
        TraceError
            If no descriptor's path was shown, so that writes cannot be told apart.
        """
        if self.bare and not self.described:
            raise TraceError(f"line {self.bare}: no path behind the descriptor; run strace with -y")
        for path in [path for path in self.files if self.is_directory(path)]:
            access = self.files[path]
            if not (access.writes or access.changes):
                del self.files[path]

    def is_directory(self, path: bytes) -> bool:
        """Return whether the trace has shown that this is no file."""
        return path in self._above or path in self.directories

    def rename(self, call: Call, old: bytes | None, new: bytes | None) -> None:
        """Give a file a new name, or all that are known below a directory."""
        names = [(old, new)]
        if old is not None and new is not None and self.is_directory(old):
            self.directories.add(new)
            below = [path for path in self.files if path.startswith(old + b"/")]
            names = [(path, new + path[len(old) :]) for path in below if path not in self._gone]
        for before, after in names:
            self.remove(before, call)
            self.touch(after, call, write=True, changes=1)

    def remove(self, path: bytes | None, call: Call) -> None:
        """Note that a name stands for nothing any more."""
        self.touch(path, call, write=True, changes=1)
        if path is not None:
            self._gone.add(path)

    def resolve(
        self, call: Call, path: int, directory: int | None = None, *, needed: bool = True
    ) -> bytes | None:
        """Return the absolute path that an argument names, or None if it cannot be known."""
        name = call.string(path)
        if name is None:
            return None
        if not name.startswith(b"/"):
            base = self._cell(call)[0] if directory is None else call.path(directory)
            if base is None:
                self.unresolved += needed
                return None
            name = os.path.join(base, name)
        name = os.path.normpath(name)
        parent, last = os.path.split(name)
        if parent not in self._parents:
            # The trace shows real paths for descriptors; names in calls may pass through links.
            self._parents[parent] = os.path.realpath(parent)
        return os.path.join(self._parents[parent], last)

    def move_to(self, call: Call, directory: bytes | None) -> None:
        """Note a process's new working directory."""
        self._cell(call)[0] = directory

    def start(self, call: Call) -> None:
        """Let a new process or thread begin where its parent is."""
        cell = self._cell(call)
        if any(b"CLONE_FS" in argument for argument in call.arguments):
            self._where[call.value] = cell
        else:
            self._where.setdefault(call.value, list(cell))

    def _cell(self, call: Call) -> list[bytes | None]:
        if call.pid not in self._where:
            # A child's first line may stand before its parent's clone has returned.
            parent = self._where.get(call.parent) if call.parent is not None else None
            self._where[call.pid] = list(parent) if parent else [self.cwd]
        return self._where[call.pid]


def _open(
    flags: int | None, path: int | None = None, directory: int | None = None
) -> Callable[[Replay, Call], None]:
    """Handle an open: its flags' argument, and those that name the file."""

    def handle(replay: Replay, call: Call) -> None:
        how = call.arguments[flags] if flags is not None else b"O_WRONLY|O_CREAT|O_TRUNC"
        if b"O_DIRECTORY" in how or b"O_PATH" in how or b"O_TMPFILE" in how:
            return
        opened = call.value_path
        replay.described += call.value_described
        if not call.value_described and path is not None:
            # A descriptor that was gone before strace could look, or a trace without -y.
            replay.bare = replay.bare or call.line
            opened = replay.resolve(call, path, directory)
        both = b"O_RDWR" in how
        write = both or b"O_WRONLY" in how
        truncated = b"O_TRUNC" in how
        replay.touch(
            opened,
            call,
            opens=1,
            read=both or not write,
            write=write or truncated,
            changes=truncated,
        )

    return handle


def _write(descriptor: int) -> Callable[[Replay, Call], None]:
    def handle(replay: Replay, call: Call) -> None:
        if call.value > 0:  # copy_file_range and sendfile say with 0 that the source has ended
            replay.touch(call.path(descriptor), call, write=True, writes=1, written=call.value)

    return handle


def _change(path: int, directory: int | None = None) -> Callable[[Replay, Call], None]:
    """Handle what replaces, removes, makes or resizes the file that the arguments name."""

    def handle(replay: Replay, call: Call) -> None:
        if any(b"AT_REMOVEDIR" in argument for argument in call.arguments):
            return
        name = replay.resolve(call, path, directory)
        if call.name.startswith(b"unlink"):
            replay.remove(name, call)
        else:
            replay.touch(name, call, write=True, changes=1)

    return handle


def _rename(old: int, new: int) -> Callable[[Replay, Call], None]:
    def handle(replay: Replay, call: Call) -> None:
        directories = (old - 1, new - 1) if old == 1 else (None, None)
        replay.rename(
            call,
            replay.resolve(call, old, directories[0]),
            replay.resolve(call, new, directories[1]),
        )

    return handle


def _resize(replay: Replay, call: Call) -> None:
    replay.touch(call.path(0), call, write=True, changes=1)


def _clone_file(replay: Replay, call: Call) -> None:
    if b"FICLONE" in call.arguments[1]:
        replay.touch(call.path(0), call, write=True, changes=1)


def _map(replay: Replay, call: Call) -> None:
    shared = b"MAP_SHARED" in call.arguments[3] and b"MAP_ANONYMOUS" not in call.arguments[3]
    if shared and b"PROT_WRITE" in call.arguments[2]:
        replay.touch(call.path(4), call, write=True, mapped=True)


def _chdir(replay: Replay, call: Call) -> None:
    replay.move_to(call, replay.resolve(call, 0))


def _fchdir(replay: Replay, call: Call) -> None:
    replay.move_to(call, call.path(0))


def _show(replay: Replay, call: Call) -> None:
    """Learn from a listing or a status that a descriptor is that of a directory."""
    if call.name.startswith(b"getdents") or b"_mode=S_IFDIR" in call.text:
        path = call.path(0)
        if path is not None:
            replay.directories.add(path)


def _make_directory(replay: Replay, call: Call) -> None:
    named_by = (0, None) if call.name == b"mkdir" else (1, 0)
    path = replay.resolve(call, *named_by, needed=False)
    if path is not None:
        replay.directories.add(path)


def _exec(replay: Replay, call: Call) -> None:
    named_by = (0, None) if call.name == b"execve" else (1, 0)
    program = replay.resolve(call, *named_by, needed=False)
    if program:
        replay.commands[call.pid] = program


_WRITES = (b"write", b"pwrite64", b"writev", b"pwritev", b"pwritev2", b"sendfile", b"sendfile64")
_STATUS = (b"fstat", b"fstat64", b"newfstatat", b"fstatat64", b"statx")

_HANDLERS: dict[bytes, Callable[[Replay, Call], None]] = {
    b"open": _open(1, 0),
    b"openat": _open(2, 1, 0),
    b"openat2": _open(2, 1, 0),
    b"open_by_handle_at": _open(2),
    b"creat": _open(None, 0),
    **dict.fromkeys(_WRITES, _write(0)),
    **dict.fromkeys((b"splice", b"copy_file_range"), _write(2)),
    **dict.fromkeys((b"ftruncate", b"ftruncate64", b"fallocate"), _resize),
    **dict.fromkeys((b"truncate", b"truncate64", b"unlink"), _change(0)),
    b"unlinkat": _change(1, 0),
    b"link": _change(1),
    b"linkat": _change(3, 2),
    b"symlink": _change(1),
    b"symlinkat": _change(2, 1),
    b"rename": _rename(0, 1),
    **dict.fromkeys((b"renameat", b"renameat2"), _rename(1, 3)),
    b"ioctl": _clone_file,
    **dict.fromkeys((b"mmap", b"mmap2"), _map),
    **dict.fromkeys((b"mkdir", b"mkdirat"), _make_directory),
    **dict.fromkeys((b"getdents", b"getdents64", *_STATUS), _show),
    b"chdir": _chdir,
    b"fchdir": _fchdir,
    **dict.fromkeys((b"execve", b"execveat"), _exec),
    **dict.fromkeys((b"fork", b"vfork", b"clone", b"clone3"), Replay.start),
}
