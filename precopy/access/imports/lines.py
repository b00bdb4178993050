"""The lines of a trace: numbered, of bounded length, counted and hashed as they are read.

Invariant: one line is in memory at a time, and none is longer than `MOST_LINE`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from precopy.access.imports.events import Refused

MOST_LINE = 1 << 20
"""Bytes of the longest line of any format."""
COMPRESSED = (b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"(\xb5/\xfd")
"""How files of gzip, xz, bzip2 and zstd begin."""
_OFTEN = 1 << 14

Input = str | os.PathLike[str] | BinaryIO | Iterable[str | bytes]
Progress = Callable[[int, int | None], None]
"""Called now and then with the bytes read, and how many there are if that is known."""


class Lines:
    """The lines of one trace.

    Parameters
    ----------
    trace : path, binary file or iterable of lines
        The trace.
    progress : callable, optional
        Called with the bytes read so far, and with all there are, or None.
    """

    def __init__(self, trace: Input, progress: Progress | None = None) -> None:
        self.number = 0
        self.bytes = 0
        self._trace = trace
        self._progress = progress
        self._digest = hashlib.sha256()
        self.path = Path(trace) if isinstance(trace, str | os.PathLike) else None

    @property
    def label(self) -> str:
        """What a message calls the trace."""
        return ascii(self.path.name)[1:-1] if self.path else "the trace"

    @property
    def digest(self) -> str:
        """Equal for equal text, once all of it was read."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        with ExitStack() as stack:
            total: int | None = None
            if self.path is not None:
                stream = stack.enter_context(self.path.open("rb"))
                total = os.fstat(stream.fileno()).st_size
                raw = _of_stream(stream)
            elif isinstance(self._trace, io.IOBase) or hasattr(self._trace, "readline"):
                raw = _of_stream(self._trace)  # type: ignore[arg-type]
            else:
                raw = (
                    os.fsencode(line) if isinstance(line, str) else bytes(line)
                    for line in self._trace  # type: ignore[union-attr]
                )
            for line in raw:
                self.number += 1
                self.bytes += len(line)
                if len(line) > MOST_LINE:
                    raise Refused(f"the line is longer than {MOST_LINE} bytes")
                if self.number == 1 and line.startswith(COMPRESSED):
                    raise Refused("it is compressed; unpack it, as 'zcat FILE | precopy import -'")
                self._digest.update(line)
                if b"\0" in line:
                    raise Refused("the line has a NUL byte")
                if self._progress is not None and not self.number % _OFTEN:
                    self._progress(self.bytes, total)
                yield line.rstrip(b"\r\n")


def _of_stream(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(MOST_LINE + 2):
        yield line
