"""Whether a destination equals its source, once the source stands still."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

# What a file system may allocate more for the same file: its last block, and some of its map.
SLACK_BYTES = 64 << 10


def walk(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Give every name from `root` on, relative to it, and its status."""
    yield b"", os.lstat(root)
    for where, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(where, name)
            yield os.path.relpath(path, root), os.lstat(path)


def attributes(path: bytes) -> dict[str, bytes]:
    """Return the extended attributes, access lists among them."""
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}


def content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def first_difference(one: bytes, other: bytes) -> int:
    for at in range(0, max(len(one), len(other)), 4096):
        if one[at : at + 4096] != other[at : at + 4096]:
            return at
    return -1


def links(entries: dict[bytes, os.stat_result]) -> set[frozenset[bytes]]:
    """Return which names are one file."""
    groups: dict[tuple[int, int], set[bytes]] = {}
    for name, status in entries.items():
        if not stat.S_ISDIR(status.st_mode):
            groups.setdefault((status.st_dev, status.st_ino), set()).add(name)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def differences(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    content_only: bool = False,
) -> list[str]:
    """Return in what `destination` differs from `source`; nothing if they are equal.

    Compared are names, kinds, content, modes, owners, times of change in nanoseconds, attributes,
    which names are one file, and about how much is allocated.  Sockets do not move.
    """
    roots = os.fsencode(source), os.fsencode(destination)
    if not os.path.lexists(roots[1]):
        return [f"{destination}: it is missing"]
    one, other = (dict(walk(root)) for root in roots)
    one = {name: status for name, status in one.items() if not stat.S_ISSOCK(status.st_mode)}
    found = []
    for name in sorted({*one, *other}):
        text = os.fsdecode(name) or "."
        if name not in other or name not in one:
            found.append(f"{text!r}: only at the {'destination' if name in other else 'source'}")
            continue
        paths = [os.path.join(root, name) if name else root for root in roots]
        found += [
            f"{text!r}: {what}" for what in entry(paths, one[name], other[name], content_only)
        ]
    if not content_only and links(one) != links(other):
        found.append(f"hard links: {links(one)} became {links(other)}")
    return found


def entry(
    paths: list[bytes], one: os.stat_result, other: os.stat_result, content_only: bool
) -> Iterator[str]:
    if stat.S_IFMT(one.st_mode) != stat.S_IFMT(other.st_mode):
        yield f"kind {stat.filemode(one.st_mode)} became {stat.filemode(other.st_mode)}"
        return
    if stat.S_ISREG(one.st_mode):
        data = [content(path) for path in paths]
        if data[0] != data[1]:
            at = first_difference(*data)
            yield f"content differs from {at} of {len(data[0])}, {len(data[1])} bytes"
    if stat.S_ISLNK(one.st_mode):
        targets = [os.readlink(path) for path in paths]
        if targets[0] != targets[1]:
            yield f"target {targets[0]!r} became {targets[1]!r}"
    if content_only:
        return
    for what in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
        if getattr(one, what) != getattr(other, what):
            yield f"{what} {getattr(one, what)} became {getattr(other, what)}"
    if attributes(paths[0]) != attributes(paths[1]):
        yield f"attributes {attributes(paths[0])} became {attributes(paths[1])}"
    if stat.S_ISREG(one.st_mode):
        allocated = [512 * status.st_blocks for status in (one, other)]
        if allocated[1] > allocated[0] * 1.02 + SLACK_BYTES:
            yield f"allocated {allocated[0]} became {allocated[1]}"
