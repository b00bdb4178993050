"""What the migration asks of a destination: one interface, and how it fails.

Calls are queued and done at the destination in their order; `Transport.barrier` waits for them.
Invariant: what a barrier has returned for is done there, and after an error nothing that was asked
later is done until a barrier (or another call that waits) has told it.

References
----------
Paper section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from precopy.migration.source.metadata import Metadata

Kind = Literal["file", "directory", "link", "fifo"]


class TransportError(Exception):
    """The destination cannot be reached, or refuses: what happened, and what to do.

    Unless it is one of the classes below, the transport is of no further use.
    """


class TargetError(TransportError):
    """The destination could not do what it was asked, and is still there.

    Nothing that was asked after it was done either, up to the call that raised this.

    Attributes
    ----------
    path : bytes or None
        The path that it is about.
    errno : int or None
        The system's error number, for example ``errno.ENOSPC``.
    """

    def __init__(
        self, message: str, *, path: bytes | None = None, errno: int | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.errno = errno


class VerifyError(TransportError):
    """What the destination holds is not what was expected. Everything else was done.

    Attributes
    ----------
    wrong : dict
        Path: numbers of the blocks that differ; none if the size does, or it is no file.
    """

    def __init__(self, message: str, *, wrong: dict[bytes, list[int]]) -> None:
        super().__init__(message)
        self.wrong = wrong


class StartError(TransportError):
    """The program could not be started at the destination, or ended at once with an error.

    Attributes
    ----------
    status : int or None
        Its exit status, negative if a signal ended it; None if it could not be started.
    output : bytes
        The end of what it wrote to its standard output and error.
    """

    def __init__(self, message: str, *, status: int | None = None, output: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.output = output


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a barrier has waited for.

    Attributes
    ----------
    bytes : int
        Bytes that crossed the link since the barrier before.
    seconds : float
        From the first of them until everything was done.
    waited_s : float
        How long this call took.
    verify_s, sync_s : float
        Part of that at the destination: verifying, and waiting for the disk.
    notes : tuple of str
        What could not be kept and is no error, for example owners where the far side is not root.
    """

    bytes: int
    seconds: float
    waited_s: float = 0.0
    verify_s: float = 0.0
    sync_s: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """A program that runs at the destination.

    Attributes
    ----------
    pid : int
    seconds : float
        From the request's arrival there until the program was executing.
    already : bool
        Whether an earlier call had started it and it was still running.
    output : bytes
        The path there, relative to the target, of what it writes to standard output and error.
    """

    pid: int
    seconds: float
    already: bool = False
    output: bytes = b""


class Transport(Protocol):
    """One destination. Paths are absolute paths of the source; ``/a/b`` arrives as ``DIR/a/b``."""

    @property
    def link_bytes(self) -> int:
        """Bytes that have crossed the link so far, in both directions."""

    @property
    def blocks(self) -> bool:
        """Whether parts of files can be written, and digests asked for; rsync cannot."""

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second that are assumed for what may be unacknowledged; can be set."""

    @bandwidth.setter
    def bandwidth(self, value: float | None) -> None: ...

    def begin(self, migration: str, *, resume: bool, merge: bool = False) -> None:
        """Lock the target and mark it as this migration's.

        Parameters
        ----------
        migration : str
            Its id: letters, digits, ``-``, ``_`` and ``.``.
        resume : bool
            Whether a target that this migration has begun already is expected (and fine).
        merge : bool
            Whether the target may hold other things. Nothing of them is replaced or deleted.

        Raises
        ------
        TargetError
            If the target is not empty and not this migration's, in use, or cannot be written.
        """

    def free_bytes(self) -> int:
        """Return how many bytes can still be written there."""

    def listing(self) -> dict[bytes, tuple[Kind, int]]:
        """Return what this migration has put there and is still there: kind and size by path."""

    def mkdir(self, path: bytes) -> None:
        """Make a directory; parents are made as needed, mode 0700 until their metadata come."""

    def truncate(self, path: bytes, size: int) -> None:
        """Give a file this size, with a hole where it grows; it is made if it is not there."""

    def write(self, path: bytes, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write into a file that is there; the data are copied, the caller may use them again."""

    def zero(self, path: bytes, offset: int, size: int) -> None:
        """Make a hole; the file's size stays."""

    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link."""

    def link(self, path: bytes, existing: bytes) -> None:
        """Make a hard link to a path that is there already."""

    def fifo(self, path: bytes) -> None:
        """Make a FIFO."""

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename; what is at `new` is replaced."""

    def metadata(self, path: bytes, meta: Metadata) -> None:
        """Set mode, owner, times and extended attributes; to be sent after the content."""

    def delete(self, path: bytes) -> None:
        """Delete what this migration put there, a directory with all in it; no error if gone."""

    def digests(self, path: bytes, block_bytes: int) -> bytes:
        """Return 16 bytes (blake2b) per block of what is there now; waits."""

    def digests_of(self, wanted: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, bytes]]:
        """Do this for many files ``(path, block_bytes)`` without a round trip for each.

        Other calls are not allowed until the iterator has ended.
        """

    def verify(
        self,
        path: bytes,
        size: int,
        block_bytes: int,
        index: Sequence[int] | NDArray[np.int64],
        digests: bytes | NDArray[np.uint8],
    ) -> None:
        """Compare size and blocks with what is there; the next barrier raises `VerifyError`."""

    def sync(self) -> None:
        """Begin to bring everything to the disk; barriers after it wait for its end."""

    def barrier(self) -> Acknowledged:
        """Wait until everything that was asked is done there.

        Raises
        ------
        TargetError, VerifyError
            The first error since the last call that waited.
        """

    def check(self) -> None:
        """Raise `TransportError` if the destination is known to be gone.

        A connection tells at once; where none stays open (rsync), it is asked, for seconds at most.
        """

    def commit(self, record: bytes, *, wait: bool = True) -> None:
        """Write down, durably, that the destination is in charge; nothing is changed afterwards.

        A record that is there already stays as it is. Without `wait` the next call that waits
        tells the error, and what was asked after it (a start) has not been done then.
        """

    def start(self, argv: Sequence[bytes], cwd: bytes | None, *, watch_s: float = 0.3) -> Started:
        """Start a program in a session of its own; only after `commit`, and only once.

        Parameters
        ----------
        argv : sequence of bytes
            Its arguments; the first one is looked up in PATH. No shell sees them.
        cwd : bytes, optional
            A directory at the destination; relative ones start at the target, as does None.
        watch_s : float
            How long to see whether it ends at once. `Started.seconds` does not include it.

        Raises
        ------
        StartError
            If it could not be started, or ended with an error within `watch_s`.
        """

    def status(self) -> dict[str, Any]:
        """Return what the target's records say, without a lock; works before `begin`.

        Keys: ``migration`` (str or None), ``commit`` (bytes or None), ``started`` (dict with pid,
        argv and running, or None), ``locked`` (bool: someone is at work).
        """

    def withdraw(self) -> list[bytes]:
        """Delete what this migration made and its state; never after `commit`.

        Returns
        -------
        list of bytes
            Directories that stay because others put something in them.
        """

    def close(self) -> None:
        """End the connection, and the far side with it; no error, and may be called twice."""
