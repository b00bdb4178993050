"""The far side of a migration: one file, standard library only, sent over the connection itself.

It is started at the destination as ``python3 -I -S -c BOOTSTRAP``, which reads this text and then
frames from standard input; it answers on standard output. Nothing is installed. Python 3.9 will do.

A frame is one byte (what), four bytes (length, little-endian) and that many bytes. Requests are
done in their order; only some are answered. The first error is kept, what comes after it is skipped
and the next request that is answered tells it. How much has been done is acknowledged on the way.

Invariants, which a reviewer may want to check:

- Every name is walked from the target's own descriptor, component by component, and no symbolic
  link is followed (`Target.directory`); what is opened is compared with what was made.
- Nothing is replaced, changed or deleted that this migration did not make (`Target.require_ours`).
  What is made is written down before it is made, and which inode it is before anything is put into
  it (`Manifest.add`); a run that resumes knows it by that (`Target.require_same`).
- What is deleted is first moved to where nobody else can exchange it (`Target.unlink`); what is
  made or renamed replaces nothing, whoever was faster (`System.rename`).
- Files are made with mode 0600 and directories with 0700, and a file has that mode again as soon as
  it is written into; `Target.metadata` opens them to others.
- After the commit record is written nothing is changed; only then a program can be started,
  by argument vector, and only once (`Launcher`).
- Whatever comes in, the answer is a frame or the end of the connection, never a traceback. It ends
  when its input does, or when nothing at all was heard for a while.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import select
import signal
import stat
import struct
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

VERSION = 1
GREETING = b"\0precopy-far-side "  # followed by a line of JSON
STATE = b".precopy-migration"
ASIDE, FRESH = b"aside", b"fresh"  # in it: what is being deleted, what is being made
FRAME = struct.Struct("<BI")
NUMBER = struct.Struct("<q")
LENGTH = struct.Struct("<I")
LONGEST = (1 << 20) + (1 << 16)  # of a frame
LONGEST_PATH = 4096
DIGEST_BYTES = 16
MOST_BLOCKS = 1 << 20  # of one file, in one request for digests
LARGEST_BLOCK = 1 << 28
ACKNOWLEDGE_EVERY = 1 << 16
PIECE = 1 << 20
RESERVED = 4096  # bytes for the commit record
MOST_WRONG = 10_000
SYNC_LIMIT_S = 600.0
ALIVE_EVERY_S = 1.0
IDLE_LIMIT_S = 120.0

# Requests.
(TARGET, STATUS, BEGIN, FREE, LISTING, MKDIR, TRUNCATE, WRITE, ZERO, SYMLINK) = range(1, 11)
(LINK, FIFO, RENAME, METADATA, DELETE, DIGESTS, VERIFY, SYNC, BARRIER, COMMIT) = range(11, 21)
(START, WITHDRAW, PING, END) = range(21, 25)
# Answers. ALIVE says that the work goes on, ACKNOWLEDGED how many bytes of requests are done.
(ANSWER, PART, ERROR, ALIVE, ACKNOWLEDGED) = range(100, 105)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN: Any = {"usedforsecurity": False}
_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
}


class Refused(Exception):  # noqa: N818 - it is told to a person, and the connection goes on
    """A request that cannot be done, and why."""

    def __init__(self, text: str, path: bytes | None = None, number: int | None = None) -> None:
        super().__init__(text)
        self.path = path
        self.number = number


class Malformed(Exception):  # noqa: N818
    """Input that is no request: it ends the connection."""


class Fields:
    """The parts of a request, one behind the other."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0
        self.seen = b""  # the path that a request is about

    def number(self) -> int:
        """Return a signed number of eight bytes."""
        try:
            (value,) = NUMBER.unpack_from(self.data, self.at)
        except struct.error:
            raise Malformed("a request is cut off") from None
        self.at += 8
        return int(value)

    def size(self) -> int:
        """Return a number that is not negative."""
        value = self.number()
        if value < 0:
            raise Malformed(f"a request says {value}, expected a number that is not negative")
        return value

    def text(self) -> bytes:
        """Return a string of bytes, which has its length in front."""
        try:
            (size,) = LENGTH.unpack_from(self.data, self.at)
        except struct.error:
            raise Malformed("a request is cut off") from None
        end = self.at + 4 + size
        if end > len(self.data):
            raise Malformed("a request is cut off")
        value = bytes(self.data[self.at + 4 : end])
        self.at = end
        return value

    def path(self) -> bytes:
        """Return a path below the target."""
        path = checked(self.text())
        self.seen = self.seen or path
        return path

    def rest(self) -> memoryview:
        """Return what is left."""
        rest = self.data[self.at :]
        self.at = len(self.data)
        return rest

    def end(self) -> None:
        """Refuse a request that goes on."""
        if self.at != len(self.data):
            raise Malformed(f"a request has {len(self.data) - self.at} bytes too many")


def checked(path: bytes) -> bytes:
    """Return a path whose components are all names below the target."""
    if len(path) > LONGEST_PATH or b"\0" in path:
        raise Refused(f"path: got {show(path[:100])}…, expected at most {LONGEST_PATH} bytes")
    for name in path.split(b"/"):
        if name in (b"", b".", b"..") or len(name) > 255:
            raise Refused(f"path: got {show(path)}, expected names below the target")
    if path == STATE or path.startswith(STATE + b"/"):
        raise Refused(f"path: got {show(path)}, which is the migration's own")
    return path


def show(path: bytes) -> str:
    """Return a path as a person may read it, on one line."""
    return ascii(os.fsdecode(path)) if path else "''"


def split(path: bytes) -> tuple[bytes, bytes]:
    """Return the directory's path (empty for the target) and the name."""
    parent, _, name = path.rpartition(b"/")
    return parent, name


class System:
    """Calls that Python has no names for; where they cannot be had, weaker ones do."""

    def __init__(self) -> None:
        self.errno: Callable[[], int] = lambda: 0
        libc: Any = None
        with contextlib.suppress(ImportError, OSError):
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            self.errno = ctypes.get_errno
            self.buffer = ctypes.create_string_buffer(256)
        self.syncfs = getattr(libc, "syncfs", None)
        self.renameat2 = getattr(libc, "renameat2", None)
        self.statx = getattr(libc, "statx", None)
        self.fallocate = getattr(libc, "fallocate64", None)
        if self.fallocate is not None:
            self.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        elif hasattr(libc, "fallocate"):
            self.fallocate = libc.fallocate
            self.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]

    def punch(self, fd: int, offset: int, size: int) -> bool:
        """Make a hole; return whether this file system can."""
        keep_size_and_punch = 0x01 | 0x02
        if self.fallocate is None:
            return False
        return bool(self.fallocate(fd, keep_size_and_punch, offset, size) == 0)

    def sync(self, fd: int) -> None:
        """Bring a whole file system to its disk."""
        if self.syncfs is None:
            os.sync()
        elif self.syncfs(fd) != 0:
            raise OSError(self.errno(), os.strerror(self.errno()))

    def rename(self, old_parent: int, old: bytes, new_parent: int, new: bytes) -> None:
        """Rename, and replace nothing; where the file system cannot, what was just looked for."""
        if self.renameat2 is not None:
            if self.renameat2(old_parent, old, new_parent, new, 1) == 0:
                return
            if self.errno() not in (errno.EINVAL, errno.ENOSYS):
                raise OSError(self.errno(), os.strerror(self.errno()))
        with contextlib.suppress(FileNotFoundError):
            os.stat(new, dir_fd=new_parent, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent)

    def born_ns(self, fd: int, name: bytes) -> int:
        """Return when an inode was made; 0 where the file system does not tell."""
        birth, empty_path, no_follow = 0x800, 0x1000, 0x100
        if self.statx is None or self.statx(fd, name, empty_path | no_follow, birth, self.buffer):
            return 0
        mask, seconds, ns = struct.unpack_from("<I76xqI", self.buffer)
        return seconds * 10**9 + ns if mask & birth else 0


def plain_digest(data: bytes) -> bytes:
    """Return a digest that is for finding damage, not for secrets."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, **_PLAIN).digest()


class Syncer:
    """Brings the target's file systems to their disks in a thread, beside everything else."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.places: dict[int, int] = {}  # one descriptor per file system
        self.changed = threading.Condition()
        self.wanted = 0
        self.done = 0
        self.working = False
        self.error: OSError | None = None

    def place(self, device: int, fd: int) -> None:
        """Remember a file system that has to be brought to its disk, too."""
        if device not in self.places:
            self.places[device] = os.dup(fd)

    def start(self) -> None:
        """Begin; what was written before counts, whatever runs already."""
        with self.changed:
            self.wanted += 1
            if not self.working:
                self.working = True
                threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        """Be the thread, as long as something is wanted."""
        while True:
            with self.changed:
                goal = self.wanted
                if self.done == goal:
                    self.working = False
                    return
            try:
                for fd in list(self.places.values()):
                    self.system.sync(fd)
            except OSError as error:
                self.error = error
            with self.changed:
                self.done = goal
                self.changed.notify_all()

    def wait(self, alive: Callable[[], None]) -> float:
        """Wait until everything that was begun has ended; return for how long."""
        began = time.monotonic()
        with self.changed:
            while self.done < self.wanted:
                self.changed.wait(ALIVE_EVERY_S / 2)
                alive()
                if time.monotonic() - began > SYNC_LIMIT_S:
                    raise Refused(f"sync: the disk was not done after {SYNC_LIMIT_S:.0f} s")
        error, self.error = self.error, None
        if error is not None:
            raise Refused(f"sync: {error.strerror}", number=error.errno)
        return time.monotonic() - began


class Records:
    """The migration's own directory in the target: small files, each replaced as a whole."""

    def __init__(self, root: int, target: str) -> None:
        try:
            self.fd = os.open(STATE, _DIRECTORY, dir_fd=root)
        except NotADirectoryError:
            raise Refused(f"target: {show(STATE)} in {target} is no directory") from None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise Refused(f"target: {show(STATE)} in {target} is a link") from None
        status = os.fstat(self.fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            os.close(self.fd)
            raise Refused(
                f"target: {show(STATE)} in {target} is not ours alone (owner {status.st_uid}, mode "
                f"{stat.S_IMODE(status.st_mode):04o}); run as its owner, or choose another target"
            )

    def open(self, name: bytes, flags: int) -> int:
        """Open one of the files."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(name, flags, 0o600, dir_fd=self.fd)

    def read(self, name: bytes) -> bytes | None:
        """Return what a file holds, or None."""
        try:
            fd = self.open(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read()

    def write(self, name: bytes, data: bytes, durable: bool = True) -> None:
        """Replace a file; when this returns it is on the disk."""
        fd = self.open(name + b".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.rename(name + b".new", name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        if durable:
            os.fsync(self.fd)

    def reserve(self, name: bytes) -> None:
        """Make room for a record: `decide` needs one write and no change of the file system's."""
        if self.read(name) is None:
            self.write(name, bytes(RESERVED))

    def decide(self, name: bytes, data: bytes) -> None:
        """Write a record, with its digest, into its reserved room; it is on the disk then."""
        record = LENGTH.pack(len(data)) + plain_digest(data) + data
        if len(record) > RESERVED:
            self.write(name, record)
            return
        fd = self.open(name, os.O_WRONLY)
        try:
            if os.pwrite(fd, record, 0) != len(record):
                raise Refused(f"target: its record {show(name)} cannot be written")
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def decided(self, name: bytes) -> bytes | None:
        """Return what `decide` wrote; None if it did not, or was cut off."""
        data = self.read(name) or b""
        start = LENGTH.size + DIGEST_BYTES
        if len(data) < start:
            return None
        record = data[start : start + LENGTH.unpack_from(data)[0]]
        return record if data[LENGTH.size : start] == plain_digest(record) else None

    def remember(self, name: bytes, durable: bool = True, **fields: Any) -> None:
        """Write a file that `recall` reads."""
        self.write(name, json.dumps(fields).encode(), durable)

    def recall(self, name: bytes) -> dict[str, Any] | None:
        """Return what `remember` wrote, or None."""
        data = self.read(name)
        if data is None:
            return None
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refused(f"target: its record {show(name)} cannot be read")
        return found

    def remove(self, name: bytes) -> None:
        """Remove a file, or an empty directory, which need not be there."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            os.rmdir(name, dir_fd=self.fd)

    def locked(self) -> bool:
        """Return whether a migration is at work."""
        try:
            fd = self.open(b"lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False


class Manifest:
    """The names of all that this migration has made, each written down before it is made.

    A line is ``+NAME`` (hexadecimal), ``+NAME WHICH`` once it is known which inode that is, or
    ``-NAME``. A line is one write, so that a kill loses none; `Target.sync` brings them to the
    disk. The file is written anew when most of it is of no use.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.made: dict[bytes, bytes] = {}  # `Target.look`; empty while it is not known
        self.lines = 0
        self.fd = records.open(b"manifest", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.written_ns = os.fstat(self.fd).st_mtime_ns
        with os.fdopen(os.dup(self.fd), "rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    self.read(line[:-1])
        self.rewrite()

    def read(self, line: bytes) -> None:
        """Take in a line; one that a crash has damaged says nothing."""
        name, _, which = line[1:].partition(b" ")
        try:
            path = bytes.fromhex(name.decode("ascii"))
        except ValueError:
            return
        if line[:1] == b"+":
            self.made[path] = which
        elif line[:1] == b"-":
            self.made.pop(path, None)

    def note(self, line: bytes) -> None:
        """Write a line."""
        written = os.write(self.fd, line)
        if written != len(line):
            os.ftruncate(self.fd, os.fstat(self.fd).st_size - written)
            raise Refused("manifest: it cannot be written as a whole", number=errno.ENOSPC)
        self.lines += 1

    def add(self, path: bytes, which: bytes = b"") -> None:
        """Write down that something is about to be made, or which inode was made."""
        if self.made.get(path) != which:
            self.note(line_of(path, which))
            self.made[path] = which

    def drop(self, path: bytes) -> None:
        """Write down that something was deleted."""
        if path in self.made:
            self.note(b"-" + path.hex().encode("ascii") + b"\n")
            self.made.pop(path)

    def tidy(self) -> None:
        """Write the file anew if it is much longer than it need be."""
        if self.lines > 4 * len(self.made) + 100_000:
            self.rewrite()

    def rewrite(self) -> None:
        """Write just what is true now, and bring it to the disk."""
        lines = [line_of(path, which) for path, which in self.made.items()]
        self.records.write(b"manifest", b"".join(lines))
        os.close(self.fd)
        self.fd = self.records.open(b"manifest", os.O_RDWR | os.O_APPEND)
        self.lines = len(lines)


def line_of(path: bytes, which: bytes) -> bytes:
    """Return the manifest's line about something that was made."""
    return b"+" + path.hex().encode("ascii") + (b" " + which if which else b"") + b"\n"


def guard(path: str, is_root: bool) -> list[str]:
    """Refuse a directory in which others can exchange names under us; return what is doubtful.

    Looked at are the directory and all above it, as far as they are there, by the names that the
    path gives them and by their real ones.
    """
    doubts = []
    names = {path} | {os.path.abspath(path), os.path.realpath(path)}
    above = {name[:at] or "/" for name in names for at in range(len(name)) if name[at] == "/"}
    for place in sorted(names | above):
        try:
            status = os.stat(place)
        except OSError:
            continue
        ours = status.st_uid in (0, os.geteuid())
        wide = 0o002 if status.st_gid in (0, os.getegid()) else 0o022
        if ours and (status.st_mode & stat.S_ISVTX or not status.st_mode & wide):
            continue
        what = f"{place!a} can be written by others"
        if not ours:
            what = f"{place!a} belongs to user {status.st_uid}"
        elif status.st_mode & 0o002 and is_root:
            raise Refused(
                f"{what}, who could put something else in the place of what is written there: "
                "take that right away (chmod o-w), or choose another directory"
            )
        doubts.append(f"{what}, who can exchange what is in it while it is written")
    return doubts


class Target:
    """The directory into which everything goes. Paths are relative to it, without ``/`` in front.

    Invariant: descriptors of directories and files are kept between requests for speed, but not
    beyond a barrier, and are forgotten only between requests (`room`) or where names change.
    """

    def __init__(self, name: bytes, alive: Callable[[], None]) -> None:
        self.name = os.fsdecode(name)
        self.alive = alive
        self.system = System()
        self.syncer = Syncer(self.system)
        self.directories: dict[bytes, int] = {}
        self.files: dict[bytes, int] = {}
        self.loosened: dict[bytes, int] = {}  # directories of ours that our own mode kept us out of
        self.notes: dict[str, int] = {}
        self.taken: list[bytes] = []  # names that were ours, and are somebody else's
        self.merge = False
        self.is_root = os.geteuid() == 0
        self.most_open = max(32, min(512, os.sysconf("SC_OPEN_MAX") // 4))
        self.root = -1

    # Whose the target is.

    def begin(self, migration: str, resume: bool, merge: bool) -> None:
        """Lock the target and mark it; refuse one that is not ours."""
        made_root = self.open_root(os.fsencode(self.name))
        if STATE not in self.names():
            self.require_empty(merge)
            try:
                os.mkdir(STATE, 0o700, dir_fd=self.root)
            except FileExistsError:
                made_root = False  # somebody else was faster: the lock decides
        self.records = Records(self.root, self.name)
        self.lock = -1
        try:
            self.take_lock(migration)
            self.claim(migration, resume, merge, made_root)
        except BaseException:  # it may be tried again
            for fd in (self.lock, self.records.fd, self.root):
                if fd >= 0:
                    os.close(fd)
            raise
        self.records.reserve(b"commit")
        self.manifest = Manifest(self.records)
        self.find_aside()
        self.adopt()

    def claim(self, migration: str, resume: bool, merge: bool, made_root: bool) -> None:
        """Write down whose the target is, or find that it is this migration's."""
        known = self.records.recall(b"migration")
        if known is None:
            self.require_empty(merge)
            self.records.remember(b"migration", id=migration, merge=merge, made_root=made_root)
            os.fsync(self.root)
        elif known.get("id") != migration:
            raise Refused(
                f"target: {self.name} belongs to migration {known.get('id')}; choose another "
                f"directory, or withdraw that migration first (--abort)"
            )
        elif known.get("transport", "channel") != "channel":
            raise Refused(f"target: {self.name} was begun with --transport {known['transport']}")
        elif not resume:
            raise Refused(f"target: migration {migration} to {self.name} was begun already")
        self.merge = bool(known.get("merge")) if known else merge

    def open_root(self, path: bytes) -> bool:
        """Open the target; return whether it was made, which it is if only its name is missing."""
        made = False
        try:
            for doubt in guard(self.name, self.is_root):
                self.remark(f"target: {doubt}")
        except Refused as refused:
            raise Refused(f"target: {refused}") from None
        try:
            os.mkdir(path, 0o700)
            made = True
        except OSError as error:
            if not os.path.isdir(path):
                raise Refused(
                    f"target: {self.name} cannot be made: {error.strerror}", number=error.errno
                ) from None
        try:
            self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Refused(
                f"target: {self.name} cannot be opened: {error.strerror}", number=error.errno
            ) from None
        if made:
            os.fchmod(self.root, 0o755)  # whatever our umask
        self.device = os.fstat(self.root).st_dev
        self.syncer.place(self.device, self.root)
        return made

    def names(self) -> list[bytes]:
        """Return what is in the target itself."""
        return [os.fsencode(name) for name in os.listdir(self.root)]

    def require_empty(self, merge: bool) -> None:
        """Refuse a target that holds something, unless that is wanted."""
        foreign = sorted(name for name in self.names() if name not in (STATE, b"lost+found"))
        if foreign and not merge:
            raise Refused(
                f"target: {self.name} is not empty and not of this migration (it holds "
                f"{show(foreign[0])}); choose another directory, or allow merging into it (--merge)"
            )

    def take_lock(self, migration: str) -> None:
        """Let nobody else migrate to this target at the same time.

        If it is this migration that has it, the error says so by its number: the far side of a run
        that was killed may still be at its last request.
        """
        self.lock = self.records.open(b"lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self.lock).st_nlink == 0:  # given up, and deleted, since it was opened
                raise BlockingIOError
        except BlockingIOError:
            known = self.records.recall(b"migration") or {}
            holder = os.pread(self.lock, 20, 0).decode("ascii", "replace").strip()
            raise Refused(
                f"target: another migration to {self.name} is at work (process {holder} there); if "
                f"its link is gone, it ends within {IDLE_LIMIT_S:.0f} s",
                number=errno.EWOULDBLOCK if known.get("id", migration) == migration else None,
            ) from None
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, b"%d\n" % os.getpid(), 0)

    def find_aside(self) -> None:
        """After a kill in the middle of `put` or `unlink`: delete what was ours, and only that."""
        self.records.remove(FRESH)
        with contextlib.suppress(FileNotFoundError):
            which = self.look(self.records.fd, ASIDE)[1]
            if which in self.manifest.made.values():
                os.unlink(ASIDE, dir_fd=self.records.fd)
            else:
                self.keep_aside()

    def adopt(self) -> None:
        """Find out about names of which the manifest does not say what was made.

        After a kill that is one at most: it was made just when the manifest was written last, and
        nothing is in it yet. After the machine went down the manifest may have lost names, too. The
        target was empty when this migration took it. What appeared in it between the beginning of
        the session that did not end and the machine's end is that session's.
        """
        session = self.records.recall(b"session") or {}
        boot, up_since = booted()
        was_down = session.get("running") and session.get("boot") != boot and not self.merge
        since = (float(session["began"]) - 2) * 1e9 if was_down else 0.0
        until = (up_since + 2) * 1e9 if was_down else self.manifest.written_ns + 10e9
        for path in [path for path, which in self.manifest.made.items() if not which]:
            try:
                parent, name = self.place(path)
                status, which = self.look(parent, name)
            except (FileNotFoundError, Refused):
                self.manifest.drop(path)
                continue
            plain = was_down or self.is_new(parent, name, status)
            if plain and since <= status.st_ctime_ns <= until:
                self.manifest.add(path, which)
            else:
                self.manifest.drop(path)
        if was_down:
            self.adopt_lost(since, until)
        self.records.remember(b"session", running=True, boot=boot, began=time.time())

    def is_new(self, parent: int, name: bytes, status: os.stat_result) -> bool:
        """Return whether something looks as what we make does, before anything is put into it."""
        if status.st_uid != os.geteuid():
            return False
        if not stat.S_ISDIR(status.st_mode):
            return status.st_nlink == 1 and (not stat.S_ISREG(status.st_mode) or not status.st_size)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            return not os.listdir(fd)
        finally:
            os.close(fd)

    def adopt_lost(self, since: float, until: float) -> None:
        """Take in names that the manifest has lost, but no name of a file with others elsewhere."""
        made = self.manifest.made
        names: dict[bytes, int] = {}
        for path, status in self.walk(b""):
            if not since <= status.st_ctime_ns <= until:
                continue
            parent, name = self.place(path)
            which = self.look(parent, name)[1]
            names[which] = names.get(which, 0) + 1
            if path not in made:
                self.remark("names that a crash had taken from the manifest were found")
                self.manifest.add(path, which)
        for path, which in list(made.items()):
            there = self.status(path) if which in names else None
            if there and stat.S_ISREG(there.st_mode) and there.st_nlink > names[which]:
                self.manifest.drop(path)

    def end(self) -> None:
        """Note that the session has ended as it should."""
        os.fsync(self.manifest.fd)
        self.records.remember(b"session", running=False)

    def walk(self, below: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """Yield all below a directory, directories before what is in them.

        No link is followed, and no directory entered that this migration did not make.
        """
        stack = [below]
        while stack:
            here = stack.pop()
            self.room()
            fd = self.directory(here) if here else self.root
            for name in sorted(map(os.fsencode, os.listdir(fd))):
                path = here + b"/" + name if here else name
                if path == STATE:
                    continue
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                yield path, status
                if stat.S_ISDIR(status.st_mode) and path in self.manifest.made:
                    stack.append(path)
            self.alive()

    def withdraw(self, records: Records) -> list[bytes]:
        """Delete what this migration made; return what stays because others have changed it."""
        made = self.manifest.made
        stay = list(self.taken)
        for path in sorted(made, key=lambda path: path.count(b"/"), reverse=True):
            self.room()
            try:
                parent, name = self.place(path)
                self.remove(parent, name, path)
            except FileNotFoundError:
                continue
            except Refused as refused:
                if refused.number != errno.ENOTDIR:
                    stay.append(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                stay.append(path)
            self.alive()
        known = records.recall(b"migration") or {}
        kept = [name for name in os.listdir(records.fd) if name.startswith("kept-")]
        for entry in set(os.listdir(records.fd)).difference(kept):
            records.remove(os.fsencode(entry))
        if kept:
            return [*stay, STATE]
        os.rmdir(STATE, dir_fd=self.root)
        if known.get("made_root") and not self.names():
            os.rmdir(os.fsencode(self.name))
        return stay

    def remark(self, text: str) -> None:
        """Keep something that the user should hear, and how often it happened."""
        self.notes[text] = self.notes.get(text, 0) + 1

    # Names.

    def require_ours(self, path: bytes) -> None:
        """Refuse to touch what this migration did not make."""
        if path not in self.manifest.made:
            if self.status(path) is None:
                raise Refused("is not there", path, errno.ENOENT)
            raise Refused("is in the way and was not made by this migration", path)

    def look(self, fd: int, name: bytes = b"") -> tuple[os.stat_result, bytes]:
        """Return the status of a name in a directory, or of what is open, and which inode it is.

        Numbers of inodes are used again, often at once: the time of birth tells them apart. Numbers
        of devices need not last, but whether it is the target's own does.
        """
        status = os.stat(name, dir_fd=fd, follow_symlinks=False) if name else os.fstat(fd)
        kind, away = stat.S_IFMT(status.st_mode) >> 12, status.st_dev != self.device
        born_ns = self.system.born_ns(fd, name)
        return status, b"%x.%x.%x.%x" % (away, kind, status.st_ino, born_ns)

    def require_same(self, path: bytes, fd: int, name: bytes = b"") -> os.stat_result:
        """Refuse what somebody has put in the place of what was made; return its status."""
        status, which = self.look(fd, name)
        if self.manifest.made.get(path, which) != which:
            raise Refused("was replaced there by somebody else", path)
        return status

    def room(self) -> None:
        """Close directories and files if many are open; not while a request is being done."""
        if len(self.directories) > self.most_open:
            self.forget()
        while len(self.files) > self.most_open:
            os.close(self.files.pop(next(iter(self.files))))

    def forget(self, path: bytes | None = None) -> None:
        """Close what is open: all, or a path with all below it."""
        for known in (self.directories, self.files):
            below = b"" if path is None else path + b"/"
            for name in [name for name in known if name == path or name.startswith(below)]:
                os.close(known.pop(name))

    def remove(self, parent: int, name: bytes, path: bytes) -> None:
        """Remove a name that we made, of a directory only if it is empty."""
        if stat.S_ISDIR(self.require_same(path, parent, name).st_mode):
            self.forget(path)
            os.rmdir(name, dir_fd=parent)
        else:
            self.unlink(parent, name, path)

    def unlink(self, parent: int, name: bytes, path: bytes) -> None:
        """Remove a name that is no directory, and was ours a moment ago.

        It is moved to where nobody can exchange it, looked at, and moved back if it is not ours.
        """
        if path in self.files:
            os.close(self.files.pop(path))
        aside = self.records.fd
        try:
            os.rename(name, ASIDE, src_dir_fd=parent, dst_dir_fd=aside)
        except OSError as error:
            if error.errno != errno.EXDEV:  # else another file system is mounted in the target
                raise
            os.unlink(name, dir_fd=parent)
            return
        try:
            self.require_same(path, aside, ASIDE)
        except Refused:
            try:
                self.system.rename(aside, ASIDE, parent, name)
            except OSError:
                self.keep_aside()
            raise
        os.unlink(ASIDE, dir_fd=aside)

    def keep_aside(self) -> None:
        """Keep something of somebody else's that cannot be moved back."""
        name = b"kept-%d" % time.time_ns()
        os.rename(ASIDE, name, src_dir_fd=self.records.fd, dst_dir_fd=self.records.fd)
        place = os.path.join(os.fsencode(self.name), STATE, name)
        self.remark(f"what somebody else had put in the place of ours is {show(place)} now")

    def directory(self, path: bytes, make: bool = False) -> int:
        """Return a descriptor of a directory; every component is opened from the one before."""
        fd = self.directories.get(path) if path else self.root
        if fd is not None:
            return fd
        known, missing = path, []
        while known and known not in self.directories:
            known, name = split(known)
            missing.append(name)
        fd = self.directories[known] if known else self.root
        keep = fd
        for name in reversed(missing):
            known = known + b"/" + name if known else name
            try:
                below = self.enter(fd, name, known, make)
            finally:
                if fd != keep:
                    os.close(fd)
            fd = below
        self.directories[path] = fd
        return fd

    def enter(self, parent: int, name: bytes, path: bytes, make: bool) -> int:
        """Open one directory in another; make it if it is missing, or something else of ours."""
        ours = path in self.manifest.made
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise
            fd, ours = self.make_directory(parent, name, path), True
        except PermissionError:
            if not ours or self.is_root:
                raise
            self.loosen(parent, name, path)
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            if not make or not ours:
                raise Refused("is no directory", path, errno.ENOTDIR) from None
            self.require_same(path, parent, name)
            self.unlink(parent, name, path)
            self.manifest.drop(path)
            fd = self.make_directory(parent, name, path)
        try:
            if not ours and not self.merge:
                raise Refused("is in the way and was not made by this migration", path)
            status = self.require_same(path, fd)
            if not ours:
                self.require_quiet(path, status)
        except Refused:
            os.close(fd)
            raise
        self.syncer.place(status.st_dev, fd)
        if ours and not self.is_root and status.st_mode & 0o700 != 0o700:
            self.loosen(parent, name, path)
        return fd

    def require_quiet(self, path: bytes, status: os.stat_result) -> None:
        """Refuse a directory of others', where merging, in which all could exchange our names."""
        if self.is_root and status.st_mode & 0o002 and not status.st_mode & stat.S_ISVTX:
            raise Refused("can be written by everybody; take that right away (chmod o-w)", path)

    @contextlib.contextmanager
    def noted(self, which: dict[bytes, bytes]) -> Iterator[None]:
        """Have names written down while they are made; if they are not made, they are not ours."""
        for path, made in which.items():
            self.manifest.add(path, made)
        try:
            yield
        except OSError:
            for path in which:
                self.manifest.drop(path)
            raise

    def put(
        self, parent: int, name: bytes, path: bytes, make: Callable[[bytes, int], None]
    ) -> None:
        """Make what is not open from its making on.

        That is done where nobody can exchange it, so that it is known before it gets its name.
        """
        fresh = self.records.fd
        make(FRESH, fresh)
        try:
            with self.noted({path: self.look(fresh, FRESH)[1]}):
                self.system.rename(fresh, FRESH, parent, name)
        except OSError as error:
            self.records.remove(FRESH)
            if error.errno != errno.EXDEV:
                raise
            with self.noted({path: b""}):  # another file system is mounted in the target
                make(name, parent)
            self.learn(path, parent, name)

    def learn(self, path: bytes, fd: int, name: bytes = b"") -> None:
        """Write down which inode it is that was just made."""
        self.manifest.add(path, self.look(fd, name)[1])

    def make_directory(self, parent: int, name: bytes, path: bytes) -> int:
        """Make a directory that nobody else can look into yet, and open it."""
        self.put(parent, name, path, lambda name, at: os.mkdir(name, 0o700, dir_fd=at))
        return os.open(name, _DIRECTORY, dir_fd=parent)

    def loosen(self, parent: int, name: bytes, path: bytes) -> None:
        """Let us into a directory of ours whose mode keeps its owner out, up to the barrier."""
        fd = os.open(name, _LOOK, dir_fd=parent)
        try:
            mode = stat.S_IMODE(self.require_same(path, fd).st_mode)
            os.chmod(f"/proc/self/fd/{fd}", mode | 0o700)
            self.loosened.setdefault(path, mode)
        finally:
            os.close(fd)

    def tighten(self) -> None:
        """Give such directories their modes back, deepest first."""
        for path in sorted(self.loosened, key=len, reverse=True):
            mode = self.loosened.pop(path)
            try:
                os.fchmod(self.directory(path), mode)
            except (FileNotFoundError, Refused):
                continue
        self.loosened.clear()

    def place(self, path: bytes, make: bool = False) -> tuple[int, bytes]:
        """Return the descriptor of the directory that a path is in, and the name in it."""
        parent, name = split(path)
        return self.directory(parent, make), name

    def status(self, path: bytes) -> os.stat_result | None:
        """Return the status of what is at a path, or None."""
        try:
            parent, name = self.place(path)
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except Refused as error:
            if error.number == errno.ENOTDIR:
                return None
            raise

    def clear(self, path: bytes, keep: int | None = None) -> bool:
        """Make room at a path; return whether what is there is of the kind to `keep`."""
        status = self.status(path)
        if status is None:
            return False
        if keep == stat.S_IFDIR and stat.S_ISDIR(status.st_mode) and self.merge:
            return True
        self.require_ours(path)
        if stat.S_IFMT(status.st_mode) == keep:
            return True
        self.delete(path)
        return False

    # Files.

    def file(self, path: bytes) -> int:
        """Return a descriptor, to read and write, of a regular file that this migration made."""
        fd = self.files.get(path)
        if fd is None:
            self.require_ours(path)
            parent, name = self.place(path)
            fd = self.files[path] = self.open_file(parent, name, path, os.O_RDWR)
            self.close_to_others(fd)
        return fd

    def close_to_others(self, fd: int) -> None:
        """Let nobody read or run what is written next before `metadata` says who may.

        Mode and owner may be narrower at the source by now, and half a program is no program.
        """
        status = os.fstat(fd)
        if self.is_root and status.st_uid != 0:
            with contextlib.suppress(PermissionError):
                os.fchown(fd, 0, -1)
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(fd, 0o600)

    def open_file(self, parent: int, name: bytes, path: bytes, flags: int) -> int:
        """Open a regular file that is the one we made, even if its mode keeps its owner out."""
        flags |= _FILE
        try:
            fd = os.open(name, flags, dir_fd=parent)
        except PermissionError:
            if self.is_root:
                raise
            look = os.open(name, _LOOK, dir_fd=parent)
            try:
                mode = self.require_same(path, look).st_mode
                if not stat.S_ISREG(mode) or mode & 0o600 == 0o600:
                    raise
                os.chmod(f"/proc/self/fd/{look}", stat.S_IMODE(mode) | 0o600)
                fd = os.open(name, flags, dir_fd=parent)
                os.fchmod(fd, stat.S_IMODE(mode))
            finally:
                os.close(look)
        try:
            if not stat.S_ISREG(self.require_same(path, fd).st_mode):
                raise Refused("is no regular file", path)
        except Refused:
            os.close(fd)
            raise
        return fd

    def mkdir(self, path: bytes) -> None:
        """Make a directory."""
        self.clear(path, stat.S_IFDIR)
        self.directory(path, make=True)

    def truncate(self, path: bytes, size: int) -> None:
        """Give a file a size; make it first if it is not there."""
        if path not in self.files and not self.clear(path, stat.S_IFREG):
            parent, name = self.place(path, make=True)
            flags = _FILE | os.O_RDWR | os.O_CREAT | os.O_EXCL
            with self.noted({path: b""}):
                fd = self.files[path] = os.open(name, flags, 0o600, dir_fd=parent)
            self.learn(path, fd)
        os.ftruncate(self.file(path), size)

    def write(self, path: bytes, offset: int, data: memoryview) -> None:
        """Write into a file that is there."""
        fd = self.files.get(path)
        if fd is None:
            fd = self.file(path)
        while data:
            done = os.pwrite(fd, data, offset)
            data, offset = data[done:], offset + done

    def zero(self, path: bytes, offset: int, size: int) -> None:
        """Make a hole; where the file system has none inside files, zeros take the data's place."""
        fd = self.file(path)
        end = os.fstat(fd).st_size
        stop = min(offset + size, end)
        if stop <= offset or self.system.punch(fd, offset, stop - offset):
            return
        if stop == end:
            os.ftruncate(fd, offset)
            os.ftruncate(fd, end)
            return
        for begin, finish in data_in(fd, offset, stop):
            for at in range(begin, finish, PIECE):
                self.write(path, at, memoryview(bytes(min(PIECE, finish - at))))
                self.alive()

    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link; where merging is allowed, one that says the same may be there."""
        status = self.status(path)
        if status is not None and stat.S_ISLNK(status.st_mode):
            parent, name = self.place(path)
            same = os.readlink(name, dir_fd=parent) == target
            if same and (self.merge or path in self.manifest.made):
                return
        self.clear(path)
        parent, name = self.place(path, make=True)
        self.put(parent, name, path, lambda name, at: os.symlink(target, name, dir_fd=at))

    def fifo(self, path: bytes) -> None:
        """Make a FIFO."""
        if not self.clear(path, stat.S_IFIFO):
            parent, name = self.place(path, make=True)
            self.put(parent, name, path, lambda name, at: os.mkfifo(name, 0o600, dir_fd=at))

    def link(self, path: bytes, existing: bytes) -> None:
        """Make a hard link to what this migration made."""
        self.require_ours(existing)
        there, here = self.status(existing), self.status(path)
        if there is None:
            raise Refused("is not there to be linked to", existing, errno.ENOENT)
        if here is not None and (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            self.require_same(existing, *self.place(existing))
            return
        self.clear(path)
        new_parent, new_name = self.place(path, make=True)
        old_parent, old_name = self.place(existing)
        fd = os.open(old_name, _LOOK, dir_fd=old_parent)
        try:
            self.require_same(existing, fd)
            with self.noted({path: self.manifest.made[existing]}):
                # What is open is linked, whatever has that name by now.
                os.link(f"/proc/self/fd/{fd}", new_name, dst_dir_fd=new_parent)
        finally:
            os.close(fd)

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename what this migration made, with all below it."""
        self.require_ours(old)
        there, here = self.status(old), self.status(new)
        if there is None:
            raise Refused("is not there to be renamed", old, errno.ENOENT)
        if new == old:
            return
        if old.startswith(new + b"/") or new.startswith(old + b"/"):
            raise Refused("cannot be renamed to what it is in, or into itself", old, errno.EINVAL)
        if here is not None and (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            self.require_ours(new)
            self.delete(old)
            return
        self.clear(new)
        self.tighten()
        self.forget(old)
        new_parent, new_name = self.place(new, make=True)
        old_parent, old_name = self.place(old)
        self.require_same(old, old_parent, old_name)
        made = self.manifest.made
        moved = [path for path in made if path == old or path.startswith(old + b"/")]
        with self.noted({new + path[len(old) :]: made[path] for path in moved}):
            self.system.rename(old_parent, old_name, new_parent, new_name)
        try:
            self.require_same(new, new_parent, new_name)
        except Refused:
            self.system.rename(new_parent, new_name, old_parent, old_name)
            raise
        for path in moved:
            self.manifest.drop(path)

    def delete(self, path: bytes) -> None:
        """Delete what this migration made; of a directory all that is in it, or nothing."""
        status = self.status(path)
        if status is None:
            self.manifest.drop(path)
            return
        self.require_ours(path)
        doomed = [path]
        if stat.S_ISDIR(status.st_mode):
            self.require_same(path, *self.place(path))
            for below, _ in self.walk(path):
                self.require_ours(below)
                self.require_same(below, *self.place(below))
                doomed.append(below)
        for below in reversed(doomed):
            self.room()
            parent, name = self.place(below)
            self.remove(parent, name, below)
            self.loosened.pop(below, None)
            self.manifest.drop(below)
            self.alive()

    # What a file has besides its content.

    def metadata(
        self, path: bytes, mode: int, owner: tuple[int, int], times: tuple[int, int], xattrs: Any
    ) -> None:
        """Set them; of what was there before this migration (merging), nothing."""
        if path not in self.manifest.made and self.merge:
            return
        self.require_ours(path)
        parent, name = self.place(path)
        kind = stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        if kind == stat.S_IFREG:
            fd = self.open_file(parent, name, path, os.O_RDONLY)
        elif kind == stat.S_IFDIR:
            fd = self.enter(parent, name, path, make=False)
        else:
            fd = os.open(name, _LOOK, dir_fd=parent)
        try:
            status = self.require_same(path, fd)
            place: Any = fd if kind in (stat.S_IFREG, stat.S_IFDIR) else f"/proc/self/fd/{fd}"
            self.set_owner(place, status, owner)
            if place == fd and not self.is_root:
                os.chmod(fd, stat.S_IMODE(status.st_mode) | 0o600)  # attributes ask for it
            self.set_xattrs(place, kind, xattrs)
            if kind != stat.S_IFLNK:
                os.chmod(place, mode)
            os.utime(place, ns=times)
        finally:
            os.close(fd)
        self.loosened.pop(path, None)
        if not self.is_root and path in self.directories:
            os.close(self.directories.pop(path))  # entered anew: its mode may keep us out now

    def set_owner(self, place: Any, status: os.stat_result, owner: tuple[int, int]) -> None:
        """Set owner and group, as far as we may."""
        if (status.st_uid, status.st_gid) == owner:
            return
        try:
            os.chown(place, *owner)
        except PermissionError:
            if self.is_root:
                raise
            self.remark("owners were not kept: the far side does not run as root")
            try:
                os.chown(place, -1, owner[1])
            except PermissionError:
                return

    def set_xattrs(self, place: Any, kind: int, wanted: dict[bytes, bytes]) -> None:
        """Have just these extended attributes, of those that move."""
        if kind == stat.S_IFLNK and not wanted:
            return
        try:
            present = {os.fsencode(name) for name in os.listxattr(place)}
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENOSYS):
                raise
            present = set()
        for name in sorted(present.difference(wanted)):
            if name.startswith((b"user.", *_ACLS)) or name == b"security.capability":
                os.removexattr(place, name)
        for name, value in wanted.items():
            if name in present and os.getxattr(place, name) == value:
                continue
            try:
                os.setxattr(place, name, value)
            except PermissionError:
                if self.is_root or not name.startswith((b"trusted.", b"security.")):
                    raise
                self.remark(f"attributes {name.split(b'.')[0].decode('ascii')}.* need root")
            except OSError as error:
                text = f"attribute {show(name)} cannot be set: {error.strerror}"
                raise Refused(text, number=error.errno) from None

    # What is there.

    def listing(self) -> Iterator[bytes]:
        """Yield kind, size and path of what this migration made and is still there.

        What somebody else has put in its place since is not ours any more.
        """
        for path in sorted(self.manifest.made):
            self.room()
            try:
                status = self.require_same(path, *self.place(path))
            except FileNotFoundError:
                continue
            except Refused as refused:
                if refused.number != errno.ENOTDIR:
                    self.remark("names there were taken by somebody else since the last run")
                    self.manifest.drop(path)
                    self.taken.append(path)
                continue
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "other")
            yield json.dumps([kind, status.st_size, path.decode("latin-1")]).encode() + b"\n"

    def digests(self, path: bytes, block_bytes: int) -> Iterator[bytes]:
        """Yield the digest of every block; holes are not read."""
        fd = self.file(path)
        size = os.fstat(fd).st_size
        if -(-size // block_bytes) > MOST_BLOCKS:
            raise Refused(f"has more than {MOST_BLOCKS} blocks of {block_bytes} bytes", path)
        empty = b""
        at = 0
        for begin, end in [*data_in(fd, 0, size), (size, size)]:
            first = begin // block_bytes * block_bytes
            while at < first:  # a hole, of whole blocks that are all alike
                empty = empty or digest(fd, at, block_bytes)
                yield empty
                at += block_bytes
            while at < end:
                yield digest(fd, at, min(block_bytes, size - at))
                at += block_bytes
        if at < size:
            yield digest(fd, at, size - at)

    def differing(
        self, path: bytes, size: int, block_bytes: int, index: list[int], expected: memoryview
    ) -> list[int] | None:
        """Return which blocks are not as expected; the file is found by its name anew."""
        try:
            self.require_ours(path)
            parent, name = self.place(path)
            fd = self.open_file(parent, name, path, os.O_RDONLY)
        except (FileNotFoundError, Refused):
            return []
        wrong = []
        try:
            if os.fstat(fd).st_size != size:
                return []
            for number, block in enumerate(index):
                begin = block * block_bytes
                found = digest(fd, begin, max(0, min(block_bytes, size - begin)))
                if found != expected[DIGEST_BYTES * number : DIGEST_BYTES * (number + 1)]:
                    wrong.append(block)
                self.alive()
        finally:
            os.close(fd)
        return wrong or None


def digest(fd: int, offset: int, size: int) -> bytes:
    """Return the digest of a part of a file."""
    found = hashlib.blake2b(digest_size=DIGEST_BYTES, **_PLAIN)
    while size > 0:
        data = os.pread(fd, min(size, PIECE), offset)
        if not data:
            break
        found.update(data)
        offset, size = offset + len(data), size - len(data)
    return found.digest()


def data_in(fd: int, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data; between them are holes."""
    while begin < end:
        try:
            start = os.lseek(fd, begin, os.SEEK_DATA)
            stop = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start, stop = begin, end  # this file system knows of no holes
        if start >= end:
            return
        yield start, min(stop, end)
        begin = stop


def booted() -> tuple[str, float]:
    """Return what is different after every start of the machine, and when that was."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    return boot, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class NotStarted(Refused):
    """A program that could not be started, or ended at once."""

    def __init__(self, text: str, status: int | None = None, output: bytes = b"") -> None:
        super().__init__(text)
        self.status = status
        self.output = output


class Launcher:
    """Starts a program once, in a session of its own, by argument vector.

    The child waits until its process id is written down before it becomes the program: whoever
    asks again finds it there, and if we are killed before, it ends without having run.
    """

    def __init__(self, records: Records, root: int, umask: int) -> None:
        self.records = records
        self.root = root
        self.umask = umask

    def started(self) -> dict[str, Any] | None:
        """Return what was started and whether it runs."""
        known = self.records.recall(b"started")
        if known is not None:
            known["running"] = process_start(known["pid"]) == known["start"]
        return known

    def start(self, argv: list[bytes], cwd: bytes) -> tuple[int, bool]:
        """Start it, if it does not run already; return its process id and whether it did."""
        known = self.started()
        boot = booted()[0]
        if known is not None and (known["running"] or known.get("left") == boot):
            return int(known["pid"]), True
        if known is not None and known.get("boot") == boot:
            raise NotStarted(
                f"process {known['pid']} was started before and has ended, and how is not known: "
                "it may have left something else at work. See whether the application runs; if "
                f"not, remove 'started' from {os.fsdecode(STATE)} in the target"
            )
        self.output = self.records.open(b"output", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.output_at = os.fstat(self.output).st_size
        return self.launch(argv, cwd, boot), False

    def launch(self, argv: list[bytes], cwd: bytes, boot: str) -> int:
        """Start it, and write down which process it is before it becomes the program."""
        may_run, let_run = os.pipe()
        failure, tell_failure = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(let_run)
                self.become(argv, cwd, may_run)
            except BaseException as error:
                reason = getattr(error, "strerror", None) or str(error)
                if isinstance(error, OSError) and error.filename == cwd:
                    reason = f"its directory {show(cwd)}: {reason}"
                os.write(tell_failure, reason.encode("utf-8", "replace")[:1000])
            finally:
                os._exit(127)
        os.close(may_run)
        os.close(tell_failure)
        words = [os.fsdecode(word) for word in argv]
        self.record = {"pid": pid, "start": process_start(pid), "argv": words, "boot": boot}
        try:
            # Not brought to the disk: a machine that goes down takes the process with it.
            self.records.remember(b"started", durable=False, **self.record)
            with contextlib.suppress(BrokenPipeError):  # then it has told why it did not wait
                os.write(let_run, b"!")
        finally:
            os.close(let_run)
        with os.fdopen(failure, "rb") as file:
            reason = file.read().decode("utf-8", "replace")
        if reason:
            os.waitpid(pid, 0)
            self.records.remove(b"started")
            raise NotStarted(f"{show(argv[0])} cannot be started: {reason}")
        return pid

    def become(self, argv: list[bytes], cwd: bytes, may_run: int) -> None:
        """Be the child: turn into the program once its process id is written down."""
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        fcntl.fcntl(self.output, fcntl.F_SETFL, os.O_APPEND)
        for number, fd in enumerate((null, self.output, self.output)):
            os.dup2(fd, number)
        os.fchdir(self.root)
        os.chdir(cwd or b".")
        os.umask(self.umask)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if os.read(may_run, 1) == b"!":
            os.execvp(argv[0], argv)
        os._exit(127)

    def watch(self, pid: int, seconds: float) -> None:
        """See whether the program ends at once, and how."""
        until = time.monotonic() + seconds
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() >= until:
                return
            time.sleep(0.005)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:  # it has left something else at work: that is not started twice, either
            self.records.remember(b"started", durable=False, left=booted()[0], **self.record)
            return
        size = os.fstat(self.output).st_size - self.output_at
        output = os.pread(self.output, 4096, self.output_at + max(0, size - 4096))
        self.records.remove(b"started")
        how = f"with status {code}" if code > 0 else f"by signal {-code}"
        last = output.decode("utf-8", "replace").strip().splitlines()[-1:]
        said = f"; it said: {last[0]}" if last else " and said nothing"
        raise NotStarted(f"the program ended at once {how}{said}", code, output)


def process_start(pid: int) -> int:
    """Return when a process was started, in ticks of the machine; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if words[0] in (b"Z", b"X") else int(words[19])


class Server:
    """Does requests one after another.

    Parameters
    ----------
    receive
        Reads into a buffer and returns how many bytes; 0 at the end.
    send
        Writes all of what it is given.
    umask
        For the programs that are started.
    """

    def __init__(
        self, receive: Callable[[memoryview], int], send: Callable[[bytes], None], umask: int
    ) -> None:
        self.receive = receive
        self.send_bytes = send
        self.umask = umask
        self.buffer = memoryview(bytearray(2 * LONGEST))
        self.begin = self.end = 0
        self.done = self.told = 0
        self.last_sent = time.monotonic()
        self.name = b""
        self.target: Target | None = None
        self.records: Records | None = None
        self.committed = False
        self.unsynced = False
        self.error: dict[str, Any] | None = None
        self.wrong: dict[bytes, list[int]] = {}
        self.verify_s = 0.0

    # Frames.

    def frame(self) -> tuple[int, memoryview] | None:
        """Return the next request, or None at the end; it is valid up to the next call."""
        while True:
            have = self.end - self.begin
            needed = FRAME.size
            if have >= needed:
                kind, size = FRAME.unpack_from(self.buffer, self.begin)
                if size > LONGEST:
                    raise Malformed(f"a request of {size} bytes, expected at most {LONGEST}")
                needed += size
                if have >= needed:
                    data = self.buffer[self.begin + FRAME.size : self.begin + needed]
                    self.begin += needed
                    return kind, data
            if have == 0 or self.begin + needed > len(self.buffer):
                self.buffer[:have] = self.buffer[self.begin : self.end]
                self.begin, self.end = 0, have
            got = self.receive(self.buffer[self.end :])
            if got == 0:
                if have:
                    raise Malformed("the input ends in the middle of a request")
                return None
            self.end += got

    def send(self, kind: int, data: bytes = b"") -> None:
        """Send a frame."""
        self.last_sent = time.monotonic()
        self.send_bytes(FRAME.pack(kind, len(data)) + data)

    def alive(self) -> None:
        """Say now and then, during long work, that it goes on."""
        if time.monotonic() - self.last_sent > ALIVE_EVERY_S:
            self.send(ALIVE)

    def answer(self, **fields: Any) -> None:
        """Answer a request."""
        self.send(ANSWER, json.dumps(fields).encode())

    def parts(self, pieces: Iterator[bytes]) -> None:
        """Answer with many bytes, however long it takes to find them."""
        held: list[bytes] = []
        size = 0
        for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size >= PIECE // 2:
                self.send(PART, b"".join(held))
                held, size = [], 0
            else:
                self.alive()
        self.send(PART, b"".join(held))
        self.answer()

    # Requests.

    def serve(self) -> None:
        """Do all requests up to the end of the input."""
        try:
            while True:
                frame = self.frame()
                if frame is None:
                    return
                kind, data = frame
                if kind == END:
                    self.finish()
                    return
                if kind != WRITE or not self.write_quickly(data):
                    self.dispatch(kind, Fields(data))
                    if self.target is not None:
                        self.target.room()
                self.done += FRAME.size + len(data)
                if self.done - self.told >= ACKNOWLEDGE_EVERY:
                    self.acknowledge()
        except Malformed as error:
            self.send(ERROR, json.dumps({"kind": "malformed", "text": str(error)}).encode())

    def write_quickly(self, data: memoryview) -> bool:
        """Write into a file that is open, of which most of the work consists; else return False."""
        if self.records is None or self.committed or self.error is not None or len(data) < 12:
            return False
        (size,) = LENGTH.unpack_from(data)
        fd = self.at().files.get(bytes(data[4 : 4 + size]))
        if fd is None or len(data) < 12 + size:
            return False
        (offset,) = NUMBER.unpack_from(data, 4 + size)
        rest = data[12 + size :]
        self.unsynced = True
        try:
            return os.pwrite(fd, rest, offset) == len(rest)
        except (OSError, OverflowError):
            return False  # done again, and explained

    def acknowledge(self) -> None:
        """Say how many bytes of requests are done."""
        self.told = self.done
        self.send(ACKNOWLEDGED, NUMBER.pack(self.done))

    def finish(self) -> None:
        """End as asked."""
        if self.target is not None and self.records is not None:
            try:
                self.target.tighten()
                self.target.end()
            except (OSError, Refused):
                return

    def dispatch(self, kind: int, fields: Fields) -> None:
        """Do one request; every kind has one row in the table."""
        row = _REQUESTS.get(kind)
        if row is None:
            raise Malformed(f"a request of kind {kind}, which is none")
        name, when, waits, *parts = row
        now = "unnamed" if self.target is None else "named" if self.records is None else "begun"
        if when not in (now, "any") or (when == "any" and now == "unnamed"):
            raise Malformed(f"a request out of order: {name}")
        if waits and self.error is not None:
            self.tell(self.error)
            self.error = None
            return
        if parts:
            self.perform(name, lambda fields: self.change(name, parts, fields), fields)
        else:
            self.perform(name, getattr(self, name), fields, waits)

    def perform(
        self, name: str, request: Callable[[Fields], None], fields: Fields, waits: bool = False
    ) -> None:
        """Do one request, unless one before failed; tell its error, or keep it."""
        if self.error is not None:
            return
        try:
            if name in _CHANGES:
                if self.committed:
                    raise Refused("the migration is committed: nothing is changed any more")
                self.unsynced = True
            request(fields)
            return
        except LinkError:
            raise
        except (Refused, OSError, ValueError, OverflowError, MemoryError) as error:
            found = self.explain(name, fields.seen, error)
        if waits:
            self.tell(found)
        else:
            self.error = found

    def explain(self, name: str, path: bytes, error: Exception) -> dict[str, Any]:
        """Return what the other side is told of an error."""
        found: dict[str, Any] = {"kind": "refused", "text": str(error), "errno": None}
        if isinstance(error, Refused):
            path = error.path or b""
            found["errno"] = error.number
            if path:
                found["text"] = f"{name}: {self.there(path)} {error}"
        elif isinstance(error, OSError):
            found["errno"] = error.errno
            found["text"] = f"{name}: {self.there(path)}: {error.strerror or error}"
        else:
            found["text"] = f"{name}: {self.there(path)}: {type(error).__name__}: {error}"
        if found["errno"] in (errno.ENOSPC, errno.EDQUOT):
            found["text"] += f" ({self.free_bytes()} bytes are free there)"
        if path:
            found["path"] = path.decode("latin-1")
        if isinstance(error, NotStarted):
            found.update(kind="start", status=error.status, output=error.output.decode("latin-1"))
        return found

    def there(self, path: bytes) -> str:
        """Return how a person calls a path of the target."""
        return show(os.path.join(self.name, path))

    def tell(self, error: dict[str, Any]) -> None:
        """Answer with an error."""
        self.send(ERROR, json.dumps(error).encode())

    def free_bytes(self) -> int:
        """Return how much we may write."""
        place = self.name
        while not os.path.exists(place):
            place = os.path.dirname(place) or b"."
        free = os.statvfs(place)
        return free.f_bavail * free.f_frsize

    def at(self) -> Target:
        """Return the target, where a request is only allowed if there is one."""
        assert self.target is not None
        return self.target

    def name_target(self, fields: Fields) -> None:
        """Say where everything goes; a home directory may be called ``~``."""
        name = fields.text()
        fields.end()
        if not name or b"\0" in name:
            raise Malformed(f"a target called {show(name)}")
        if name == b"~" or name.startswith(b"~/"):
            name = os.path.expanduser(name)
        self.name = name
        self.target = Target(name, self.alive)

    def status(self, fields: Fields) -> None:
        """Tell what the records say, without a lock."""
        fields.end()
        found: dict[str, Any] = {"migration": None, "commit": None, "started": None}
        found["locked"] = False
        try:
            root = os.open(self.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            self.answer(**found)
            return
        try:
            records = Records(root, os.fsdecode(self.name))
            known = records.recall(b"migration") or {}
            by_channel = known.get("transport", "channel") == "channel"
            commit = records.decided(b"commit") if by_channel else records.read(b"commit")
            found["migration"] = known.get("id")
            found["commit"] = None if commit is None else commit.decode("latin-1")
            found["started"] = Launcher(records, root, self.umask).started()
            found["locked"] = records.locked()
            os.close(records.fd)
        except FileNotFoundError:
            pass
        finally:
            os.close(root)
        self.answer(**found)

    def begin_migration(self, fields: Fields) -> None:
        """Take the target."""
        migration, flags = fields.text(), fields.size()
        fields.end()
        if not migration or not all(byte in _ID_BYTES for byte in migration) or flags > 3:
            raise Malformed(f"a migration called {show(migration)}")
        target = self.at()
        target.begin(migration.decode("ascii"), bool(flags & 1), bool(flags & 2))
        self.records = target.records
        self.launcher = Launcher(self.records, target.root, self.umask)
        self.committed = self.records.decided(b"commit") is not None
        self.answer(root=target.is_root, committed=self.committed)

    def free(self, fields: Fields) -> None:
        """Tell how many bytes can be written."""
        fields.end()
        self.answer(bytes=self.free_bytes())

    def listing(self, fields: Fields) -> None:
        """Tell what this migration has made."""
        fields.end()
        self.parts(self.at().listing())

    def change(self, name: str, parts: list[Callable[[Fields], Any]], fields: Fields) -> None:
        """Do what the target does itself: a file, a directory, a name."""
        found = [part(fields) for part in parts]
        fields.end()
        getattr(self.at(), name)(*found)

    def metadata(self, fields: Fields) -> None:
        """Set mode, owner, times and extended attributes."""
        path, mode = fields.path(), fields.size()
        owner = fields.size(), fields.size()
        times = fields.number(), fields.number()
        xattrs = {}
        for _ in range(fields.size()):
            name = fields.text()
            xattrs[name] = fields.text()
        fields.end()
        if mode > 0o7777 or max(owner) >= (1 << 32) - 1:
            raise Malformed("a request with a mode or an owner that is none")
        self.at().metadata(path, mode, owner, times, xattrs)

    def digests(self, fields: Fields) -> None:
        """Tell the digests of a file's blocks."""
        path, block_bytes = fields.path(), self.block_bytes(fields)
        fields.end()
        self.parts(self.at().digests(path, block_bytes))

    def block_bytes(self, fields: Fields) -> int:
        """Return the size of blocks in a request."""
        size = fields.size()
        if not 1 <= size <= LARGEST_BLOCK:
            raise Malformed(f"blocks of {size} bytes, expected 1 to {LARGEST_BLOCK}")
        return size

    def verify(self, fields: Fields) -> None:
        """Compare a file with digests; the next barrier tells what differs."""
        path, size, block_bytes = fields.path(), fields.size(), self.block_bytes(fields)
        count = fields.size()
        if count > LONGEST // NUMBER.size:
            raise Malformed("a request is cut off")
        index = [fields.size() for _ in range(count)]
        digests = fields.rest()
        if len(digests) != DIGEST_BYTES * count:
            raise Malformed("a request whose numbers and digests do not agree")
        began = time.monotonic()
        wrong = self.at().differing(path, size, block_bytes, index, digests)
        self.verify_s += time.monotonic() - began
        if wrong is not None and len(self.wrong) < MOST_WRONG:
            self.wrong.setdefault(path, []).extend(wrong[:MOST_WRONG])

    def sync(self, fields: Fields) -> None:
        """Begin to bring everything to the disk."""
        fields.end()
        self.unsynced = False
        self.at().syncer.start()

    def barrier(self, fields: Fields) -> None:
        """Tell that everything so far is done."""
        fields.end()
        target = self.at()
        target.tighten()
        target.forget()
        target.manifest.tidy()
        sync_s = target.syncer.wait(self.alive)
        verify_s, self.verify_s = self.verify_s, 0.0
        wrong, self.wrong = self.wrong, {}
        notes, target.notes = target.notes, {}
        if wrong:
            named = [[path.decode("latin-1"), blocks] for path, blocks in wrong.items()]
            self.tell({"kind": "verify", "wrong": named, "text": ""})
            return
        texts = [f"{text} ({count} times)" for text, count in notes.items()]
        self.answer(sync_s=sync_s, verify_s=verify_s, notes=texts)

    def commit(self, fields: Fields) -> None:
        """Write down that this side is in charge; not answered, but for an error."""
        record = bytes(fields.rest())
        if self.wrong:
            raise Refused("commit: what is there was found to differ and nobody was told yet")
        target = self.at()
        target.tighten()
        if self.unsynced:
            target.syncer.start()
        target.syncer.wait(self.alive)
        if not self.committed:
            target.records.decide(b"commit", record)
            self.committed = True

    def start(self, fields: Fields) -> None:
        """Start a program."""
        arrived = time.monotonic()
        watch_s, cwd, count = fields.size() / 1000, fields.text(), fields.size()
        if not 1 <= count <= LONGEST // LENGTH.size:
            raise Malformed(f"a program of {count} words")
        argv = [fields.text() for _ in range(count)]
        fields.end()
        if not self.committed:
            raise Refused("start: the migration is not committed")
        if not argv[0] or any(b"\0" in word for word in (*argv, cwd)):
            raise Refused("start: a word is empty or has a zero byte in it")
        pid, already = self.launcher.start(argv, cwd)
        seconds = time.monotonic() - arrived
        if not already:
            self.launcher.watch(pid, min(watch_s, IDLE_LIMIT_S))
        self.answer(pid=pid, seconds=seconds, already=already)

    def withdraw(self, fields: Fields) -> None:
        """Delete what this migration made."""
        fields.end()
        if self.committed:
            raise Refused("withdraw: the migration is committed: the data there are in charge")
        target = self.at()
        stay = target.withdraw(target.records)
        self.records = None
        self.target = Target(self.name, self.alive)
        self.answer(stay=[path.decode("latin-1") for path in stay])

    def ping(self, fields: Fields) -> None:
        """Hear that the other side is there."""
        fields.end()


class LinkError(Exception):
    """Nobody listens any more."""


_ID_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")

# Method, when it is allowed, whether it is answered; and its parts, if it is the target's.
_REQUESTS: dict[int, tuple[Any, ...]] = {
    TARGET: ("name_target", "unnamed", False),
    STATUS: ("status", "any", True),
    BEGIN: ("begin_migration", "named", True),
    FREE: ("free", "any", True),
    LISTING: ("listing", "begun", True),
    MKDIR: ("mkdir", "begun", False, Fields.path),
    TRUNCATE: ("truncate", "begun", False, Fields.path, Fields.size),
    WRITE: ("write", "begun", False, Fields.path, Fields.size, Fields.rest),
    ZERO: ("zero", "begun", False, Fields.path, Fields.size, Fields.size),
    SYMLINK: ("symlink", "begun", False, Fields.path, Fields.text),
    LINK: ("link", "begun", False, Fields.path, Fields.path),
    FIFO: ("fifo", "begun", False, Fields.path),
    RENAME: ("rename", "begun", False, Fields.path, Fields.path),
    METADATA: ("metadata", "begun", False),
    DELETE: ("delete", "begun", False, Fields.path),
    DIGESTS: ("digests", "begun", True),
    VERIFY: ("verify", "begun", False),
    SYNC: ("sync", "begun", False),
    BARRIER: ("barrier", "begun", True),
    COMMIT: ("commit", "begun", False),
    START: ("start", "begun", True),
    WITHDRAW: ("withdraw", "begun", True),
    PING: ("ping", "any", False),
}
_CHANGES = frozenset(row[0] for row in _REQUESTS.values() if len(row) > 3 or row[0] == "metadata")


def main() -> None:
    """Serve whoever is at standard input and output."""
    umask = os.umask(0o077)
    out = os.dup(1)
    os.dup2(2, 1)  # a stray print must not get between frames
    os.set_blocking(out, False)
    hear, say = select.poll(), select.poll()
    hear.register(0, select.POLLIN)
    say.register(out, select.POLLOUT)

    def receive(buffer: memoryview) -> int:
        if not hear.poll(IDLE_LIMIT_S * 1000):
            raise LinkError(f"nothing was heard for {IDLE_LIMIT_S:.0f} s")
        return os.readv(0, [buffer])

    def send(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if not say.poll(IDLE_LIMIT_S * 1000):
                raise LinkError(f"nothing could be told for {IDLE_LIMIT_S:.0f} s")
            try:
                rest = rest[os.write(out, rest) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise LinkError(str(error)) from None

    server = Server(receive, send, umask)
    who = {"version": VERSION, "python": sys.version.split()[0], "pid": os.getpid()}
    try:
        send(b"\n" + GREETING + json.dumps(who).encode() + b"\n")
        server.serve()
    except LinkError as error:
        print(f"precopy: the far side ends: {error}", file=sys.stderr)
    except Exception as error:  # the last resort: one line, whatever it is
        reason = f"the far side failed: {type(error).__name__}: {error}"
        try:
            server.tell({"kind": "malformed", "text": reason})
        except LinkError:
            print(f"precopy: {reason}", file=sys.stderr)
    # A thread that waits for a disk must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
