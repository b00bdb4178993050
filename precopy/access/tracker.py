"""The tracking process: named pipe → journal → access log.

One loop moves the pipe's content into the journal without looking at it (``splice``), one thread
takes the journal into SQLite.  Invariant: a record is in the pipe, in the journal behind the
ingested offset, or in the log, and in exactly one of them, at every instant; so the process may be
killed at any moment and a new one goes on where it stopped.

`main` is what the supervisor starts; it ends on SIGTERM or SIGINT after everything is ingested.

References
----------
Paper section 2.1, figure 1.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from precopy.access import schema
from precopy.access.ingest import CHUNK_BYTES, Ingest
from precopy.access.live import LiveDirectory

DONE, FAILED, BUSY, UNFINISHED = 0, 1, 3, 4
"""Exit codes: clean; broken; another tracker has the log; ended with journal left to ingest."""

SEGMENT_BYTES = 64 << 20
"""A journal segment is followed by a new one when it reaches this size."""

_SHORTEST_NAP_S, _LONGEST_NAP_S = 0.002, 0.05
_INGEST_EVERY_S = 0.05
_REST = 4.0  # while it keeps up, ingesting takes a fifth of a processor: the applications need it
_LOOK_AROUND_EVERY_S = 0.25
_RETRY_S = 0.5
_NOT_WRITTEN = "the log could not be written for a time (disk full?)"


class Journal:
    """Appends the pipe's content to the newest segment.

    Parameters
    ----------
    live : LiveDirectory
        Where the segments lie.
    position : int
        Stream offset to begin at if there is no segment.
    """

    def __init__(self, live: LiveDirectory, position: int) -> None:
        self._live = live
        segments = live.segments()
        last_begin, _, last_size = segments[-1] if segments else (0, None, 0)
        # A log that is ahead of the journal has seen bytes that somebody removed: leave a gap.
        ahead = not segments or last_begin + last_size < position
        self._begin = position if ahead else last_begin
        self._fd = self._open()

    def _open(self) -> int:
        file = self._live.journal / f"{self._begin:020d}"
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(fd).st_size
        return fd

    def take(self, pipe: int) -> int:
        """Move what the pipe holds into the journal; return the number of bytes.

        Raises
        ------
        OSError
            If the journal cannot be written; what was not moved is still in the pipe.
        """
        moved = 0
        while True:
            try:
                size = os.splice(
                    pipe, self._fd, SEGMENT_BYTES, offset_dst=self._size,
                    flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
                )  # fmt: skip
            except BlockingIOError:
                return moved
            if size == 0:
                return moved
            moved += size
            self._size += size
            if self._size >= SEGMENT_BYTES:
                os.close(self._fd)
                self._begin += self._size
                self._fd = self._open()

    def remove(self, position: int) -> None:
        """Remove the segment if the log contains it all; the next one begins where it ended."""
        if self._begin + self._size <= position:
            (self._live.journal / f"{self._begin:020d}").unlink(missing_ok=True)

    def close(self) -> None:
        """Close the segment."""
        os.close(self._fd)


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

    Raises
    ------
    BlockingIOError
        If another tracker has the log.
    """

    def __init__(
        self, log: str | Path, history_s: float | None = None, pipes: Sequence[int] = ()
    ) -> None:
        self._live = LiveDirectory(log)
        self._live.create()
        lock = self._live.lock()
        if lock is None:
            raise BlockingIOError(f"log: another tracker is at work on {str(log)!r}")
        self._lock = lock
        self._connection = schema.connect(log)
        self._ingest = Ingest(self._live, self._connection, history_s)
        self._journal = Journal(self._live, self._ingest.position)
        self._pipes = list(pipes)
        if not any(self._live.is_named(pipe) for pipe in self._pipes):
            self._pipes.append(self._live.open_pipe())
        self._stopping = threading.Event()
        self._told: dict[str, float] = {}

    def stop(self) -> None:
        """Make `run` finish: stop accepting reports, ingest what there is, return."""
        self._stopping.set()

    def run(self, supervisor: int) -> int:
        """Track until `stop` or until the parent is not `supervisor`; return an exit code."""
        ingester = threading.Thread(target=self._keep_ingesting, daemon=True)
        ingester.start()
        nap, look_around_at = _SHORTEST_NAP_S, 0.0
        while not self._stopping.is_set():
            moved = self._move()
            nap = _SHORTEST_NAP_S if moved else min(nap * 1.5, _LONGEST_NAP_S)
            if time.monotonic() >= look_around_at:
                look_around_at = time.monotonic() + _LOOK_AROUND_EVERY_S
                self._look_around()
                if os.getppid() != supervisor:
                    self.stop()  # nobody is left to restart us or to hold the pipe
            self._stopping.wait(nap)
        ingester.join()
        return self._finish()

    def close(self) -> None:
        """Close everything; the lock last."""
        self._journal.close()
        for fd in self._pipes:
            os.close(fd)
        self._connection.close()
        os.close(self._lock)

    def _move(self) -> int:
        moved = 0
        try:
            for pipe in self._pipes:
                moved += self._journal.take(pipe)
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

    def _keep_ingesting(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            if self._try(self._ingest.step) < CHUNK_BYTES:
                took = time.monotonic() - began
                self._stopping.wait(max(_INGEST_EVERY_S, _REST * took))

    def _try(self, step: Callable[[], int]) -> int:
        """Take a step of ingesting; -1 if the log could not be written."""
        try:
            return step()
        except (sqlite3.OperationalError, OSError) as error:
            self._tell(f"access log: {error}; trying again")
            self._ingest.give_up(_NOT_WRITTEN)
            self._stopping.wait(_RETRY_S)
            return -1

    def _finish(self) -> int:
        """Take away the pipe's name, then empty it: whoever was still writing is done by then."""
        with suppress(FileNotFoundError):
            if any(self._live.is_named(pipe) for pipe in self._pipes):
                self._live.pipe.unlink()
        for _ in range(3):
            self._move()
            time.sleep(0.01)
        while (taken := self._try(self._ingest.step)) > 0:
            pass
        while taken >= 0 and (taken := self._try(self._ingest.skip_torn)) > 0:
            pass
        if taken >= 0:
            taken = self._try(self._ingest.settle)
        if taken < 0:
            self._live.release_reserve()
            self._ingest.give_up(_NOT_WRITTEN)
        with suppress(sqlite3.OperationalError):  # somebody reads it just now
            # While nobody tracks, the log is one plain file: readable on a full disk, too.
            self._connection.execute("PRAGMA journal_mode = DELETE")
        if taken < 0:
            return UNFINISHED
        self._journal.remove(self._ingest.position)
        return DONE

    def _tell(self, message: str) -> None:
        """Report on standard error, the same thing once a minute at most."""
        now = time.monotonic()
        if now - self._told.get(message, -60.0) >= 60.0:
            self._told[message] = now
            with suppress(OSError):
                os.write(2, f"precopy: {message}\n".encode(errors="replace"))


def _say_last_words(log: str) -> None:
    """Mark a log incomplete that could not even be opened for want of space."""
    LiveDirectory(log).release_reserve()
    with suppress(OSError, ValueError, sqlite3.Error):
        connection = schema.connect(log)
        try:
            connection.execute("BEGIN IMMEDIATE")
            schema.mark_incomplete(connection, _NOT_WRITTEN)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = DELETE")
        finally:
            connection.close()


def main(arguments: list[str] | None = None) -> int:
    """Run a tracker as a process; return its exit code."""
    parser = argparse.ArgumentParser(prog="precopy-tracker", description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--history", type=float, default=None)
    parser.add_argument("--supervisor", type=int, default=os.getppid(), metavar="PID")
    parser.add_argument("--pipe", type=int, action="append", default=[], metavar="FD")
    parser.add_argument("--drain", action="store_true", help="take in what there is, then end")
    options = parser.parse_args(arguments)
    sys.setswitchinterval(0.0005)  # the pipe must not wait for a long stretch of ingesting
    gc.disable()  # nor for a walk through a million rows, none of which are part of a cycle
    try:
        tracker = Tracker(options.log, options.history, options.pipe)
    except BlockingIOError:
        return BUSY
    except (OSError, ValueError, sqlite3.Error) as error:
        full = isinstance(error, sqlite3.OperationalError) or (
            isinstance(error, OSError) and error.errno == errno.ENOSPC
        )
        print(f"precopy: tracker: {error}", file=sys.stderr)
        if full and options.drain:
            _say_last_words(options.log)
        return UNFINISHED if full else FAILED
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: tracker.stop())
    if options.drain:
        tracker.stop()
    try:
        return tracker.run(options.supervisor)
    finally:
        tracker.close()


if __name__ == "__main__":
    sys.exit(main())
