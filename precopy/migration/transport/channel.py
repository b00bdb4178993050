"""The channel: one connection to one far side, for a directory here or at a host behind ssh.

Invariants: whoever waits, waits at most `timeout` without progress. At most `window` bytes are
unacknowledged, so that little is in flight when the application is stopped. After an error of the
link every call raises it again.

References
----------
Paper section 2.2.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from precopy.migration.transport import farside
from precopy.migration.transport.farside import FRAME, LENGTH, NUMBER
from precopy.migration.transport.interface import (
    Acknowledged,
    Kind,
    Started,
    StartError,
    TargetError,
    TransportError,
    VerifyError,
)
from precopy.migration.transport.reach import Reach, source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from precopy.migration.source.metadata import Metadata
_LEAST_WINDOW = 1 << 18
_WINDOW_S = 0.05
_BATCH = 1 << 16  # bytes of requests that are sent together
_MERGE = 1 << 18  # bytes of neighbouring writes that become one, at most
_NOISE = 1 << 16  # of rc files, before the greeting
_READ = 1 << 18
_PIPE = 1 << 20
_PING_EVERY_S = 10.0
_LONGEST_ANSWER = (farside.MOST_BLOCKS + 1) * farside.DIGEST_BYTES
_LONGEST_LISTING = 1 << 30
_SAID = 8192  # bytes of the other side's standard error that are kept
_IN_FLIGHT = 64  # requests for digests


class Channel:
    """A destination that a far side serves; see `precopy.migration.transport.interface`.

    Use `connect` to get one.
    """

    blocks = True

    def __init__(
        self, reach: Reach, directory: bytes, *, bandwidth: float | None, timeout: float
    ) -> None:
        self.bandwidth = bandwidth
        self._reach = reach
        self._timeout = timeout
        self._lock = threading.RLock()
        self._broken: TransportError | None = None
        self._closed = False
        self._out = bytearray()
        self._heard = bytearray()
        self._answers: deque[tuple[int, bytes]] = deque()
        self._sent = self._acknowledged = 0
        self._crossed = 0
        self._rate = 0.0
        self._round_trip = 0.0
        self._marks: deque[tuple[int, float]] = deque()  # bytes sent, when
        self._pending: tuple[bytes, int, list[bytes], int] | None = None
        self._since = (0, 0.0)  # bytes crossed at the last barrier, when the first one after it
        self._last_sent = time.monotonic()
        self._said = bytearray()
        self._process = reach.start()
        self._input, self._output = _pipes(self._process)
        self._listener = threading.Thread(
            target=self._attend, args=(self._process.stderr,), daemon=True
        )
        self._listener.start()
        try:
            self._push(source())
            self._greeting()
            self._request(farside.TARGET, _text(directory))
            self._flush()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._ping, daemon=True).start()

    # The connection.

    def _attend(self, stderr: Any) -> None:
        """Keep the end of what the other side says on standard error."""
        with suppress(OSError, ValueError):
            while data := os.read(stderr.fileno(), 4096):
                self._said += data
                del self._said[:-_SAID]

    def _ping(self) -> None:
        """Be heard now and then, while there is nothing to send."""
        while not self._closed and self._broken is None:
            time.sleep(min(1.0, _PING_EVERY_S / 4))
            if time.monotonic() - self._last_sent < _PING_EVERY_S:
                continue
            if self._lock.acquire(blocking=False):
                try:
                    if not self._closed and self._broken is None:
                        self._request(farside.PING)
                        self._flush()
                except TransportError:
                    return  # whoever asks next is told
                finally:
                    self._lock.release()

    def _fail(self, what: str) -> TransportError:
        """Return the error that ends this connection; it is raised again by every later call."""
        if self._broken is None:
            self._broken = TransportError(what)
            self._end(kill=True)
        return self._broken

    def _lost(self) -> TransportError:
        """Return what to say when the connection has ended."""
        if self._broken is not None:
            return self._broken
        if self._answers and self._answers[-1][0] == farside.ERROR:
            error = json.loads(self._answers[-1][1])
            if error.get("kind") == "malformed":
                return self._told(error)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        # For the last words on standard error; what ssh left behind may hold it open for ever.
        self._listener.join(1.0)
        return self._fail(self._reach.explain(self._process.poll(), self._last_words()))

    def _last_words(self) -> str:
        return bytes(self._said).decode("utf-8", "replace").strip()

    def _end(self, kill: bool) -> None:
        """End the process that leads to the other side."""
        self._closed = True
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(timeout=0.05 if kill else 5)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._listener.join(0.3)
        if self._process.stderr is not None and not self._listener.is_alive():
            self._process.stderr.close()

    def _wait(self, *, write: bool, read: bool, what: str, limit: float | None = None) -> int:
        """Wait until the link can be written to or read from; return poll's bits."""
        limit = self._timeout if limit is None else limit
        poll = select.poll()
        if read:
            poll.register(self._output, select.POLLIN)
        if write:
            poll.register(self._input, select.POLLOUT)
        ready = poll.poll(limit * 1000)
        if not ready:
            raise self._fail(
                f"link: nothing has moved for {limit:g} s while {what}; "
                f"{self._reach.name} may be down or the link cut; run the same command again to go "
                "on from here"
            )
        bits = 0
        for fd, event in ready:
            if fd == self._output and event:
                bits |= select.POLLIN
            if fd == self._input and event:
                bits |= select.POLLOUT
        return bits

    def _push(self, data: bytes | bytearray) -> None:
        """Send bytes, and hear what comes in the meantime."""
        rest = memoryview(data)
        with self._whole():
            while rest:
                try:
                    done = os.write(self._input, rest)
                except BlockingIOError:
                    if self._wait(write=True, read=True, what="sending") & select.POLLIN:
                        self._hear()
                    continue
                except OSError:
                    raise self._lost() from None
                rest = rest[done:]
                self._crossed += done
        self._last_sent = time.monotonic()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Let nothing more be sent or heard after an interruption (Ctrl-C) in the middle."""
        try:
            yield
        except TransportError:
            raise
        except BaseException:
            self._fail("link: it was interrupted; run the same command again to go on from here")
            raise

    def _hear(self) -> None:
        """Read what is there, and sort it."""
        try:
            data = os.read(self._output, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._sort()
            raise self._lost()
        self._crossed += len(data)
        self._heard += data
        self._sort()

    def _sort(self) -> None:
        """Take frames from what was heard; what is not acknowledgement is kept."""
        at = 0
        while len(self._heard) - at >= FRAME.size:
            kind, size = FRAME.unpack_from(self._heard, at)
            if size > farside.LONGEST or not farside.ANSWER <= kind <= farside.ACKNOWLEDGED:
                raise self._fail(
                    f"link: {self._reach.name} sent what is no answer; something else writes into "
                    "the connection"
                )
            if len(self._heard) - at < FRAME.size + size:
                break
            data = bytes(self._heard[at + FRAME.size : at + FRAME.size + size])
            at += FRAME.size + size
            if kind == farside.ACKNOWLEDGED:
                self._note(NUMBER.unpack(data)[0])
            elif kind != farside.ALIVE:
                self._answers.append((kind, data))
        del self._heard[:at]

    def _note(self, done: int) -> None:
        """Take in an acknowledgement; measure the link by it."""
        now = time.monotonic()
        self._acknowledged = min(max(done, self._acknowledged), self._sent)
        while len(self._marks) > 1 and self._marks[1][0] <= done:
            self._marks.popleft()
        if self._marks:
            sent, when = self._marks[0]
            passed = max(now - when, 1e-6)
            if sent <= done:
                self._round_trip = min(self._round_trip or passed, passed)
            first, began = self._window_began
            if now - began >= _WINDOW_S and done > first:
                self._rate = max(self._rate * 0.9, (done - first) / (now - began))
                self._window_began = (done, now)

    _window_began: tuple[int, float] = (0, 0.0)

    @property
    def window(self) -> int:
        """Bytes that may be unacknowledged: 50 ms of the link, at least 256 KiB.

        Where a round trip takes longer than 40 ms, a quarter more than its worth. A single request
        that is larger (a verification, metadata with long attributes) goes alone.
        """
        rate = self.bandwidth or self._rate
        return max(_LEAST_WINDOW, int(rate * max(_WINDOW_S, 1.25 * self._round_trip)))

    @property
    def unacknowledged(self) -> int:
        """Bytes that were sent and of which is not known yet that they are done."""
        return self._sent - self._acknowledged

    def _greeting(self) -> None:
        """Wait for the far side; skip what rc files print before."""
        until = time.monotonic() + self._reach.patience(self._timeout)
        while True:
            at = self._heard.find(farside.GREETING)
            end = self._heard.find(b"\n", at) if at >= 0 else -1
            if end >= 0:
                break
            if len(self._heard) > _NOISE:
                raise self._fail(
                    f"link: {self._reach.name} printed {len(self._heard)} bytes and no greeting "
                    "came; something in its shell's rc files prints without end"
                )
            poll = select.poll()
            poll.register(self._output, select.POLLIN)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise self._fail(self._reach.silence(bytes(self._heard), self._last_words()))
            data = os.read(self._output, 4096)
            if not data:
                self._reach.noise = bytes(self._heard[-500:])
                raise self._lost()
            self._heard += data
        try:
            self.far = json.loads(self._heard[at + len(farside.GREETING) : end])
            version = self.far["version"]
        except (ValueError, KeyError, TypeError):
            raise self._fail(f"link: {self._reach.name} greeted in no way we know") from None
        if version != farside.VERSION:
            raise self._fail(
                f"link: the far side at {self._reach.name} is version {version}, expected "
                f"{farside.VERSION}; install precopy anew here"
            )
        del self._heard[: end + 1]
        self._reach.greeted = True

    # Requests.

    def _usable(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._closed:
            raise TransportError("link: the transport is closed")

    def _request(self, kind: int, *parts: bytes) -> None:
        """Queue a request."""
        self._settle()
        size = sum(map(len, parts))
        if size > farside.LONGEST:
            raise TargetError(f"request: got {size} bytes, expected at most {farside.LONGEST}")
        self._out += FRAME.pack(kind, size)
        for part in parts:
            self._out += part
        if len(self._out) >= _BATCH:
            self._flush()

    def _settle(self) -> None:
        """Queue the neighbouring writes that were gathered."""
        if self._pending is None:
            return
        path, offset, pieces, size = self._pending
        self._pending = None
        self._out += FRAME.pack(farside.WRITE, len(path) + NUMBER.size + size)
        self._out += path
        self._out += NUMBER.pack(offset)
        for piece in pieces:
            self._out += piece

    def _flush(self) -> None:
        """Send what is queued, as the window allows."""
        self._settle()
        self._usable()
        if not self._out:
            return
        data, self._out = self._out, bytearray()
        now = time.monotonic()
        if self._since[1] == 0.0:
            self._since = (self._crossed, now)
        if self._sent == self._acknowledged:
            self._window_began = (self._sent, now)
        while self.unacknowledged > max(self.window - len(data), farside.ACKNOWLEDGE_EVERY):
            self._wait(write=False, read=True, what="waiting for an acknowledgement")
            self._hear()
        self._sent += len(data)
        self._marks.append((self._sent, time.monotonic()))
        self._push(data)

    def _answer(self, what: str) -> tuple[int, bytes]:
        """Wait for the next answer."""
        with self._whole():
            self._flush()
            while not self._answers:
                self._wait(write=False, read=True, what=f"waiting for {what}")
                self._hear()
        kind, data = self._answers.popleft()
        if kind == farside.ERROR:
            raise self._told(json.loads(data))
        return kind, data

    def _ask(self, kind: int, *parts: bytes, what: str) -> dict[str, Any]:
        """Send a request and return its answer."""
        with self._lock:
            self._usable()
            self._request(kind, *parts)
            return self._fields(what)

    def _fields(self, what: str) -> dict[str, Any]:
        kind, data = self._answer(what)
        found = json.loads(data) if kind == farside.ANSWER else None
        if not isinstance(found, dict):
            raise self._fail(f"link: {self._reach.name} answered out of order")
        return found

    def _parts(self, what: str, longest: int = _LONGEST_ANSWER) -> bytes:
        """Return an answer that comes in parts."""
        found = bytearray()
        while True:
            kind, data = self._answer(what)
            if kind == farside.ANSWER:
                return bytes(found)
            found += data
            if len(found) > longest:
                raise self._fail(f"link: {self._reach.name} answers without end")

    def _told(self, error: dict[str, Any]) -> TransportError:
        """Return the exception for an error that the far side tells."""
        text = f"{self._reach.name}: {error.get('text')}"
        kind = error.get("kind")
        if kind == "malformed":
            return self._fail(f"link: {text}")
        if kind == "verify":
            wrong = {b"/" + path.encode("latin-1"): blocks for path, blocks in error["wrong"]}
            path, blocks = next(iter(wrong.items()))
            which = f"in {len(blocks)} blocks" if blocks else "in size or kind"
            more = f", and {len(wrong) - 1} more files" if len(wrong) > 1 else ""
            return VerifyError(
                f"verify: at {self._reach.name} {os.fsdecode(path)!r} differs {which}{more}",
                wrong=wrong,
            )
        if kind == "start":
            return StartError(
                text, status=error["status"], output=error["output"].encode("latin-1")
            )
        path = error.get("path")
        return TargetError(
            text,
            path=None if path is None else b"/" + path.encode("latin-1"),
            errno=error.get("errno"),
        )

    def _send(self, kind: int, *parts: bytes) -> None:
        with self._lock:
            self._usable()
            self._request(kind, *parts)

    # The interface.

    @property
    def link_bytes(self) -> int:
        """Bytes that have crossed the link so far, in both directions."""
        return self._crossed

    def begin(self, migration: str, *, resume: bool, merge: bool = False) -> None:
        """Lock the target and mark it."""
        flags = NUMBER.pack(int(resume) + 2 * int(merge))
        self._ask(farside.BEGIN, _text(migration.encode()), flags, what="the target")

    def free_bytes(self) -> int:
        """Return how many bytes can still be written there."""
        return int(self._ask(farside.FREE, what="the free space")["bytes"])

    def listing(self) -> dict[bytes, tuple[Kind, int]]:
        """Return what this migration has put there."""
        with self._lock:
            self._send(farside.LISTING)
            lines = self._parts("the listing", _LONGEST_LISTING).splitlines()
        return {
            b"/" + path.encode("latin-1"): (kind, size)
            for kind, size, path in map(json.loads, lines)
        }

    def mkdir(self, path: bytes) -> None:
        """Make a directory."""
        self._send(farside.MKDIR, _path(path))

    def truncate(self, path: bytes, size: int) -> None:
        """Make a file, or set its size."""
        self._send(farside.TRUNCATE, _path(path), NUMBER.pack(size))

    def write(self, path: bytes, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write into a file."""
        with self._lock:
            self._usable()
            where = _path(path)
            size = len(data)
            most = min(_MERGE, self.window // 4)
            if size > most:
                view = memoryview(data)
                for at in range(0, size, most):
                    self.write(path, offset + at, view[at : at + most])
                return
            pending = self._pending
            if pending is not None:
                known, start, pieces, have = pending
                if start + have == offset and have + size <= most and known == where:
                    pieces.append(bytes(data))
                    self._pending = (known, start, pieces, have + size)
                    return
                self._settle()
                if len(self._out) >= _BATCH:
                    self._flush()
            self._pending = (where, offset, [bytes(data)], size)

    def zero(self, path: bytes, offset: int, size: int) -> None:
        """Make a hole."""
        self._send(farside.ZERO, _path(path), NUMBER.pack(offset), NUMBER.pack(size))

    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link."""
        self._send(farside.SYMLINK, _path(path), _text(target))

    def link(self, path: bytes, existing: bytes) -> None:
        """Make a hard link."""
        self._send(farside.LINK, _path(path), _path(existing))

    def fifo(self, path: bytes) -> None:
        """Make a FIFO."""
        self._send(farside.FIFO, _path(path))

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename."""
        self._send(farside.RENAME, _path(old), _path(new))

    def metadata(self, path: bytes, meta: Metadata) -> None:
        """Set mode, owner, times and extended attributes."""
        numbers = (meta.mode, meta.uid, meta.gid, meta.atime_ns, meta.mtime_ns, len(meta.xattrs))
        xattrs = [_text(part) for pair in meta.xattrs.items() for part in pair]
        self._send(farside.METADATA, _path(path), *map(NUMBER.pack, numbers), *xattrs)

    def delete(self, path: bytes) -> None:
        """Delete what this migration put there."""
        self._send(farside.DELETE, _path(path))

    def digests(self, path: bytes, block_bytes: int) -> bytes:
        """Return the digests of what is there now."""
        with self._lock:
            self._send(farside.DIGESTS, _path(path), NUMBER.pack(block_bytes))
            return self._parts("digests")

    def digests_of(self, wanted: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, bytes]]:
        """Yield the digests of many files."""
        asked: deque[bytes] = deque()
        try:
            for path, block_bytes in wanted:
                self._send(farside.DIGESTS, _path(path), NUMBER.pack(block_bytes))
                asked.append(path)
                if len(asked) >= _IN_FLIGHT:
                    yield asked[0], self._next_digests(asked)
            while asked:
                yield asked[0], self._next_digests(asked)
        finally:
            # An error, or the caller has seen enough: no answer may be taken for another's.
            while asked and self._broken is None:
                with suppress(TransportError):
                    self._next_digests(asked)

    def _next_digests(self, asked: deque[bytes]) -> bytes:
        with self._lock:
            self._usable()
            asked.popleft()
            return self._parts("digests")

    def verify(
        self,
        path: bytes,
        size: int,
        block_bytes: int,
        index: Sequence[int] | NDArray[np.int64],
        digests: bytes | NDArray[np.uint8],
    ) -> None:
        """Compare size and blocks with what is there."""
        where = _path(path) + NUMBER.pack(size) + NUMBER.pack(block_bytes)
        blob = digests if isinstance(digests, bytes) else digests.tobytes()
        if len(blob) != farside.DIGEST_BYTES * len(index):
            raise ValueError(f"digests: got {len(blob)} bytes for {len(index)} blocks")
        step = 2048
        for at in range(0, max(1, len(index)), step):
            part = index[at : at + step]
            numbers = struct.pack(f"<{1 + len(part)}q", len(part), *part)
            piece = blob[farside.DIGEST_BYTES * at : farside.DIGEST_BYTES * (at + len(part))]
            self._send(farside.VERIFY, where, numbers, piece)

    def sync(self) -> None:
        """Begin to bring everything to the disk."""
        with self._lock:
            self._send(farside.SYNC)
            self._flush()

    def barrier(self) -> Acknowledged:
        """Wait until everything that was asked is done there."""
        with self._lock:
            began = time.monotonic()
            found = self._ask(farside.BARRIER, what="everything to be done there")
            now = time.monotonic()
            crossed, since = self._since
            self._since = (self._crossed, 0.0)
            return Acknowledged(
                bytes=self._crossed - crossed,
                seconds=now - since,
                waited_s=now - began,
                verify_s=found["verify_s"],
                sync_s=found["sync_s"],
                notes=tuple(found["notes"]),
            )

    def check(self) -> None:
        """Raise `TransportError` if the other end is gone; waits for nothing."""
        with self._lock:
            self._usable()
            ends = select.poll()
            for fd in (self._input, self._output):
                ends.register(fd, 0)  # what is reported besides is that the other end is gone
            if ends.poll(0):
                raise self._lost()

    def commit(self, record: bytes, *, wait: bool = True) -> None:
        """Write down that the destination is in charge."""
        with self._lock:
            self._send(farside.COMMIT, record)
            if wait:
                self.barrier()

    def start(self, argv: Sequence[bytes], cwd: bytes | None, *, watch_s: float = 0.3) -> Started:
        """Start a program."""
        if not argv:
            raise ValueError("argv: got no words, expected a program")
        words = [_text(word) for word in argv]
        found = self._ask(
            farside.START,
            NUMBER.pack(round(watch_s * 1000)),
            _text(cwd or b""),
            NUMBER.pack(len(words)),
            *words,
            what="the program's start",
        )
        output = farside.STATE + b"/output"
        return Started(found["pid"], found["seconds"], found["already"], output)

    def status(self) -> dict[str, Any]:
        """Return what the target's records say."""
        found = self._ask(farside.STATUS, what="the records")
        if found["commit"] is not None:
            found["commit"] = found["commit"].encode("latin-1")
        return found

    def withdraw(self) -> list[bytes]:
        """Delete what this migration made, and its state."""
        found = self._ask(farside.WITHDRAW, what="everything to be deleted")
        return [b"/" + path.encode("latin-1") for path in found["stay"]]

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            if self._closed:
                return
            with suppress(TransportError):
                self._request(farside.END)
                self._flush()
            self._end(kill=False)


def _text(data: bytes) -> bytes:
    """Return bytes with their length in front."""
    return LENGTH.pack(len(data)) + data


def _path(path: bytes) -> bytes:
    """Return an absolute path as the far side wants it."""
    if not path.startswith(b"/"):
        raise ValueError(f"path: got {path!r}, expected an absolute one")
    return LENGTH.pack(len(path) - 1) + path[1:]


def _pipes(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Return the two descriptors, ready for poll."""
    assert process.stdin is not None
    assert process.stdout is not None
    ends = process.stdin.fileno(), process.stdout.fileno()
    for fd in ends:
        os.set_blocking(fd, False)
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)
    return ends
