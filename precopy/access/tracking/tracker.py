"""The tracking process: named pipe → journal → access log.

One loop moves the pipe's content into the journal without looking at it (``splice``), one thread
takes the journal into SQLite.  Invariant: a record is in the pipe, in the journal behind the
ingested offset, or in the log, and in exactly one of them, at every instant; so the process may be
killed at any moment and a new one goes on where it stopped.

`main` is what the supervisor starts; it ends after everything is ingested, when the supervisor says
so or is gone.

References
----------
Paper section 2.1, figure 1.
"""

from __future__ import annotations

import argparse
import array
import errno
import fcntl
import gc
import os
import select
import signal
import sqlite3
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from precopy.access import schema
from precopy.access.tracking.ingest import CHUNK_BYTES, Ingest
from precopy.access.tracking.live import OF_ANOTHER_USER, LiveDirectory, now_ns

DONE, FAILED, BUSY, UNFINISHED, DAMAGED, MOVED = 0, 1, 3, 4, 5, 6
"""Exit codes: clean; broken; another tracker has the log; ended with journal left to ingest; the
same, since the log is damaged; the log's name means another file now."""

FINISH = b"f"
"""What the supervisor writes to end a tracker."""

SEGMENT_BYTES = 64 << 20
"""A journal segment is followed by a new one when it reaches this size."""

_SHORTEST_NAP_S, _LONGEST_NAP_S = 0.002, 0.05
_INGEST_EVERY_S = 0.05
_REST = 4.0  # while it keeps up, ingesting takes a fifth of a processor: the applications need it
_LOOK_AROUND_EVERY_S = 0.25
_RETRY_S = 0.5
_TRIES = 3
_LOCKED_S = 120.0
_NOT_WRITTEN = "the log could not be written for a time (disk full?)"
_MOVED = "the log was moved, removed or replaced while it was recorded into"


class Journal:
    """Appends the pipe's content to the newest segment.

    Parameters
    ----------
    live : LiveDirectory
        Where the segments lie.
    """

    def __init__(self, live: LiveDirectory) -> None:
        self._live = live
        self._begin = live.offset
        self._fd, self._size = -1, 0
        segments = live.segments()
        if segments and segments[-1][0] + segments[-1][2] == self._begin:
            self._begin, _, self._size = segments[-1]

    def _open(self) -> None:
        name = f"{self._begin:020d}"
        self._fd = self._live.open(name, os.O_WRONLY | os.O_CREAT, "journal")
        self._size = os.fstat(self._fd).st_size

    def take(self, pipe: int) -> int:
        """Move what the pipe holds into the journal; return the number of bytes.

        Raises
        ------
        OSError
            If the journal cannot be written; what was not moved is still in the pipe.
        """
        moved = 0
        while waiting_bytes(pipe) > 0:
            if self._fd < 0:
                self._open()
            try:
                size = os.splice(
                    pipe, self._fd, SEGMENT_BYTES, offset_dst=self._size,
                    flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
                )  # fmt: skip
            except BlockingIOError:
                return moved
            moved += size
            self._size += size
            if self._size >= SEGMENT_BYTES:
                self.close()
                self._begin += self._size
                self._size = 0
        return moved

    def remove(self, position: int) -> None:
        """Remove the segment if the log contains it all; the next one begins where it ended."""
        if self._size > 0 and self._begin + self._size <= position:
            self._live.note_offset(self._begin + self._size)
            self._live.remove(self._live.journal / f"{self._begin:020d}")

    def close(self) -> None:
        """Close the segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def waiting_bytes(pipe: int) -> int:
    """Return how much a pipe holds."""
    waiting = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0]


class Tracker:
    """Empties the pipe of one log until told to stop.

    Parameters
    ----------
    log : str or Path
        The access log; created if missing.
    history_s : float, optional
        Drop write buckets older than this many seconds.
    pipes : sequence of int
        Descriptors of pipes that the supervisor holds: they may have lost their name, but not
        their content.
    recording : str, optional
        The supervisor's name in the log.
    identity : tuple of two int, optional
        Device and inode of the log that is meant; by default of the one that has the name.

    Raises
    ------
    BlockingIOError
        If another tracker has the log.
    """

    def __init__(
        self,
        log: str | Path,
        history_s: float | None = None,
        pipes: Sequence[int] = (),
        recording: str = "",
        identity: tuple[int, int] | None = None,
    ) -> None:
        self._live = LiveDirectory(log)
        self._live.create()
        lock = self._live.lock()
        if lock is None:
            raise BlockingIOError(f"log: another tracker is at work on {str(log)!r}")
        self._lock = lock
        self._live.sign(lock)
        self._journal = Journal(self._live)
        self._history_s, self._recording = history_s, recording
        self._log: Ingest | None = None
        self._losses: list[str] = []
        self._identity = identity
        self._pipes = list(pipes)
        if not any(self._live.is_named(pipe) for pipe in self._pipes):
            self._pipes.append(self._live.open_pipe())
        self._told: dict[str, float] = {}
        self._strangers = -1
        self._hear_strangers()
        self._stopping = threading.Event()
        self._broken = DONE  # DAMAGED or MOVED, once that is seen

    def stop(self) -> None:
        """Make `run` finish: stop accepting reports, ingest what there is, return."""
        self._stopping.set()

    def run(self, supervisor: int, control: int = -1) -> int:
        """Track until told to stop, or until the parent is not `supervisor`; return an exit code.

        `control` is a descriptor on which the supervisor says to stop, and whose end says that it
        is gone.
        """
        ingester = threading.Thread(target=self._keep_ingesting, daemon=True)
        ingester.start()
        nap, look_around_at = _SHORTEST_NAP_S, 0.0
        while not self._stopping.is_set() and self._broken != MOVED:
            moved = self._move()
            nap = _SHORTEST_NAP_S if moved else min(nap * 1.5, _LONGEST_NAP_S)
            if time.monotonic() >= look_around_at:
                look_around_at = time.monotonic() + _LOOK_AROUND_EVERY_S
                self._look_around()
                if os.getppid() != supervisor:
                    self.stop()  # nobody is left to restart us or to hold the pipe
            if control < 0:
                self._stopping.wait(nap)
            elif select.select([control], [], [], nap)[0]:
                self.stop()
        self._stopping.set()
        ingester.join()
        if self._broken == MOVED:
            return MOVED
        return self._finish()

    def close(self) -> None:
        """Close everything; the lock last."""
        self._journal.close()
        for fd in (*self._pipes, self._strangers):
            with suppress(OSError):
                os.close(fd)
        if self._log is not None:
            self._log.close()
        os.close(self._lock)

    def _move(self) -> int:
        moved, began_ns = 0, now_ns()
        try:
            for pipe in self._pipes:
                moved += self._journal.take(pipe)
                if waiting_bytes(pipe) == 0 and self._live.is_named(pipe):
                    self._live.note_drained(pipe, began_ns)
        except OSError as error:
            self._tell(f"journal: {error.strerror}; applications go on, reports wait or are lost")
            self._stopping.wait(_RETRY_S)
        return moved

    def _look_around(self) -> None:
        """Make the pipe anew if its name was removed; those who have the old one keep it."""
        try:
            self._live.create()
            if not any(self._live.is_named(pipe) for pipe in self._pipes):
                self._pipes.append(self._live.open_pipe())
                self._tell("the pipe was removed; made a new one")
        except OSError as error:
            self._tell(f"live directory: {error}")
        self._hear_strangers()
        self._look_at_log()

    def _hear_strangers(self) -> None:
        """Take from processes of other users that they were there, and nothing else."""
        try:
            if self._strangers < 0:
                self._strangers = self._live.open_strangers()
            if os.read(self._strangers, 4096):
                self._tell(f"{OF_ANOTHER_USER}; the log is incomplete")
                self._losses.append(OF_ANOTHER_USER)
        except BlockingIOError:
            pass
        except OSError as error:
            self._tell(f"processes of other users go unnoticed: {error}")

    def _look_at_log(self) -> None:
        """See whether the log's name still means the log."""
        if self._broken != DONE or self._identity is None:
            return
        try:
            status = os.lstat(self._live.log)
        except OSError as error:
            what = error.strerror or str(error)
        else:
            if (status.st_dev, status.st_ino) == self._identity:
                return
            what = "another file has its name"
        self._tell(f"log: {str(self._live.log)!r} was moved, removed or replaced: {what}")
        self._broken = MOVED

    def leave_log(self) -> int:
        """Say in the former log that it was moved, and begin the one that has its name now."""
        if self._log is not None:
            self._log.give_up(_MOVED)
            self._log.settle_file()
        try:
            connection = schema.connect(self._live.log)
            connection.execute("BEGIN IMMEDIATE")
            schema.mark_incomplete(connection, _MOVED)
            connection.execute("COMMIT")
            connection.close()
        except (OSError, ValueError, sqlite3.Error) as error:
            self._tell(f"{error}; the reports are kept in {str(self._live.path)!r}")
            return UNFINISHED
        return MOVED

    def _ingest(self) -> Ingest:
        """Return the log's writer; it is opened here, while the pipe is emptied already."""
        if self._log is None:
            connection = schema.connect(self._live.log)
            try:
                self._log = Ingest(self._live, connection, self._history_s)
            except BaseException:
                connection.close()
                raise
            if self._identity is None:
                status = os.lstat(self._live.log)
                self._identity = status.st_dev, status.st_ino
        while self._losses:
            self._log.lose(self._losses.pop())
        return self._log

    def _keep_ingesting(self) -> None:
        while not self._stopping.is_set() and self._broken == DONE:
            began = time.monotonic()
            if self._try(Ingest.step) < CHUNK_BYTES:
                took = time.monotonic() - began
                self._stopping.wait(max(_INGEST_EVERY_S, _REST * took))

    def _try(self, step: Callable[[Ingest], int]) -> int:
        """Take a step of ingesting; -1 if the log could not be written, -2 if it is locked."""
        if self._broken != DONE:
            return -1
        try:
            ingest = self._ingest()
            size = step(ingest)
        except (OSError, ValueError, MemoryError, sqlite3.Error) as error:
            result = -2 if _is_locked(error) else -1
            if isinstance(error, sqlite3.DatabaseError | ValueError) and not isinstance(
                error, sqlite3.OperationalError
            ):
                self._broken = DAMAGED
                self._tell(
                    f"the log {str(self._live.log)!r} is damaged ({error}); the reports are kept "
                    f"in {str(self._live.path)!r}"
                )
            else:
                self._tell(f"access log: {str(error) or 'no memory'}; trying again")
                self._stopping.wait(_RETRY_S)
            return result
        for warning in ingest.take_warnings():
            self._tell(warning)
        return size

    def _finish(self) -> int:
        """Take away the pipe's name, then empty it: whoever was still writing is done by then."""
        self._look_at_log()
        if self._broken == MOVED:
            return MOVED
        if any(self._live.is_named(pipe) for pipe in self._pipes):
            self._live.remove_pipe()
        for _ in range(3):
            self._move()
            time.sleep(0.01)
        self._hear_strangers()
        rest = self._read_rest()
        if self._recording and not rest:
            with suppress(OSError):
                self._live.keep(self._live.kept | {self._recording})
        taken = self._ingest_all(rest)
        if taken < 0:
            self._live.release_reserve()
            if taken == -1 and self._log is not None:
                self._log.give_up(_NOT_WRITTEN)
        if self._log is not None:
            self._log.settle_file()
        if taken < 0 or self._log is None:
            return DAMAGED if self._broken == DAMAGED else UNFINISHED
        self._journal.remove(self._log.position)
        return DONE

    def _read_rest(self) -> bytes:
        """Return what is in the pipes because the journal cannot be written."""
        parts = []
        for pipe in self._pipes:
            while waiting_bytes(pipe) > 0:
                with suppress(BlockingIOError):
                    parts.append(os.read(pipe, 1 << 20))
        return b"".join(parts)

    def _ingest_all(self, rest: bytes) -> int:
        """Take in journal, spill files and `rest`; below 0, as `_try` says, if that fails."""
        give_up_at = time.monotonic() + _LOCKED_S
        steps: list[Callable[[Ingest], int]] = [Ingest.step, Ingest.skip_torn]
        steps.append(Ingest.settle)
        if rest:
            steps.insert(2, lambda ingest: ingest.add_rest(rest))
        for step in steps:
            tries = 0
            while (taken := self._try(step)) != 0:
                if taken == -2 and time.monotonic() < give_up_at:
                    self._tell(f"waiting for {str(self._live.log)!r}: another program locks it")
                    time.sleep(_RETRY_S)
                elif taken < 0:
                    tries += 1
                    if taken == -2 or self._broken != DONE or tries >= _TRIES:
                        return taken
        return 0

    def _tell(self, message: str) -> None:
        """Report on standard error, the same thing once a minute at most."""
        now = time.monotonic()
        if now - self._told.get(message, -60.0) >= 60.0:
            self._told[message] = now
            with suppress(OSError):
                os.write(2, f"precopy: {message}\n".encode(errors="replace"))


def _is_locked(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def main(arguments: list[str] | None = None) -> int:
    """Run a tracker as a process; return its exit code."""
    parser = argparse.ArgumentParser(prog="precopy-tracker", description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--history", type=float, default=None)
    parser.add_argument("--supervisor", type=int, default=os.getppid(), metavar="PID")
    parser.add_argument("--control", type=int, default=-1, metavar="FD")
    parser.add_argument("--recording", default="", metavar="NAME")
    parser.add_argument("--identity", type=int, nargs=2, default=None, metavar=("DEV", "INODE"))
    parser.add_argument("--pipe", type=int, action="append", default=[], metavar="FD")
    parser.add_argument("--drain", action="store_true", help="take in what there is, then end")
    options = parser.parse_args(arguments)
    if arguments is None:  # what is sent to the process group is not for us
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sys.setswitchinterval(0.0005)  # the pipe must not wait for a long stretch of ingesting
    gc.disable()  # nor for a walk through a million rows, none of which are part of a cycle
    try:
        identity = None if options.identity is None else tuple(options.identity)
        tracker = Tracker(options.log, options.history, options.pipe, options.recording, identity)
    except BlockingIOError:
        return BUSY
    except (OSError, ValueError, MemoryError) as error:
        os.write(2, f"precopy: tracker: {error or 'no memory'}\n".encode(errors="replace"))
        return UNFINISHED if getattr(error, "errno", 0) == errno.ENOSPC else FAILED
    if options.drain:
        tracker.stop()
    code = tracker.run(options.supervisor, options.control)
    if code == MOVED:
        # The former log is not closed in the ordinary way: SQLite would remove, by its name, a file
        # that is another log's by now.
        os._exit(tracker.leave_log())
    tracker.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
