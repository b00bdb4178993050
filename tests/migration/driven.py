"""The far side's requests, made and answered in this process."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from precopy.migration.transport import farside


def text(data: bytes) -> bytes:
    return farside.LENGTH.pack(len(data)) + data


def numbers(*values: int) -> bytes:
    return b"".join(map(farside.NUMBER.pack, values))


def frame(kind: int, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return farside.FRAME.pack(kind, len(data)) + data


def opening(target: bytes, migration: bytes = b"m", resume: bool = True) -> bytes:
    """Return what every conversation begins with."""
    return frame(farside.TARGET, text(target)) + frame(
        farside.BEGIN, text(migration), numbers(int(resume))
    )


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Take what the far side sent apart."""
    found = []
    while data:
        kind, size = farside.FRAME.unpack_from(data)
        found.append((kind, data[farside.FRAME.size : farside.FRAME.size + size]))
        assert len(found[-1][1]) == size, "half a frame"
        data = data[farside.FRAME.size + size :]
    return found


def drive(requests: bytes, pieces: Iterable[int] = ()) -> tuple[list[tuple[int, bytes]], Any]:
    """Let a far side do these requests, which arrive in pieces of such sizes."""
    rest = memoryview(requests)
    sizes = iter(pieces)
    sent = bytearray()

    def receive(buffer: memoryview) -> int:
        nonlocal rest
        size = min(len(rest), len(buffer), next(sizes, len(rest)))
        buffer[:size] = rest[:size]
        rest = rest[size:]
        return size

    server = farside.Server(receive, sent.extend, 0o022)
    server.serve()
    return answers(bytes(sent)), server


def errors(found: list[tuple[int, bytes]]) -> list[dict[str, Any]]:
    """Return the errors among answers."""
    return [json.loads(data) for kind, data in found if kind == farside.ERROR]
