"""What the destination has beside content: names, links, directories, and their attributes.

A scan of the source says what came, went, or has another name; here it is done at the destination,
in the scan's order.  Invariants: only queued, nothing waits; the attributes of an entry are sent
after its content, those of a directory after everything in it; but rights that were taken away are
taken away there before anything else is done, so that nobody can read what he never could here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from precopy.migration.source.blocks import Blocks
from precopy.migration.source.metadata import Metadata, read_metadata
from precopy.migration.source.tree import Entry, Scan, Tree
from precopy.migration.transport.interface import Transport

_ACL = b"system.posix_acl_access"


class Structure:
    """The names at the destination.

    Parameters
    ----------
    tree : Tree
    blocks : Blocks
        Told of names that hand on what is known of their content.
    transport : Transport

    Attributes
    ----------
    there : set of int
        Ids of the entries that have been made at the destination.
    touched : set of int
        Ids of the entries whose attributes are not known to be right there.
    """

    def __init__(self, tree: Tree, blocks: Blocks, transport: Transport) -> None:
        self._tree, self._blocks, self._transport = tree, blocks, transport
        self.there: set[int] = set()
        self.touched: set[int] = set()
        self._held: dict[int, Metadata] = {}
        self._unmade: set[int] = set()
        self._symlinks: dict[tuple[int, int], int] = {}

    def apply(self, scan: Scan) -> list[int]:
        """Bring names up to date; return the ids of files whose content has to be looked at."""
        look: list[int] = []
        self._narrow(scan)
        for old, new in scan.heirs:
            self._blocks.inherit(old, new)
            if old in self.there:
                self.there.add(new)
            look.append(new)
        renamed = {to for _, _, to in scan.renames}
        for id, path, to in scan.renames:
            if id in self.there:
                self._transport.rename(path, to)
            self._touch(id, path, to)
        for id in scan.vanished:
            self._vanish(self._tree.entry(id), keep=renamed)
        for id in scan.relinked:
            self._unmake(self._tree.entry(id))
        self.touched.update(scan.touched.tolist())
        again = [id for id in self._unmade if self._tree.is_there(id)]
        self._unmade.clear()
        for id in [*scan.appeared, *scan.relinked, *again]:
            entry = self._tree.entry(id)
            self.touched.add(id)
            if entry.kind != "file" or entry.same_as is not None:
                self.make(entry)
            else:
                look.append(id)
        return look

    def _narrow(self, scan: Scan) -> None:
        """Take rights away there that were taken away here; new ones come with all attributes."""
        for id in scan.touched.tolist():
            entry, held = self._tree.entry(id), self._held.get(id)
            if id not in self.there or entry.kind == "link" or not _is_narrower(entry, held):
                continue
            try:
                found = read_metadata(entry.path, entry.status.mode)
            except FileNotFoundError:
                continue  # the next scan says what became of it
            mode = found.mode & (0o700 if held is None or _is_other(held, found) else held.mode)
            path = entry.path
            for _, old, new in reversed(scan.renames):  # which are done after this
                if path == new or path.startswith(new + b"/"):
                    path = old + path[len(new) :]
            self._held[id] = replace(found, mode=mode)
            self._transport.metadata(path, self._held[id])

    def make(self, entry: Entry) -> None:
        """Make an entry at the destination unless it is there; a file without content."""
        if entry.id in self.there:
            return
        path = entry.path
        if entry.same_as is not None:
            first = self._tree.entry(entry.same_as)
            self.make(first)
            if first.id not in self.there:
                self._unmade.add(entry.id)
                return
            self._transport.link(path, first.path)
        elif entry.kind == "directory":
            self._transport.mkdir(path)
        elif entry.kind == "link":
            try:
                target = os.readlink(path)
            except OSError:  # something else stands there by now; the next scan says what
                self._unmade.add(entry.id)
                return
            other = self._symlinks.setdefault(_inode(entry), entry.id)
            if other != entry.id and other in self.there and entry.status.nlink > 1:
                self._transport.link(path, self._tree.entry(other).path)
            else:
                self._transport.symlink(path, target)
        elif entry.kind == "fifo":
            self._transport.fifo(path)
        else:
            self._transport.truncate(path, 0)
        self.there.add(entry.id)
        self._touch(entry.id, path)

    def send_metadata(self, waits: Iterable[int]) -> None:
        """Send attributes that are not right there yet, but of files that wait for content."""
        waiting = set(waits)
        ready = [self._tree.entry(id) for id in self.touched - waiting if id in self.there]
        directories = [entry for entry in ready if entry.kind == "directory"]
        others = [entry for entry in ready if entry.kind != "directory"]
        # What is inside a directory comes before it: deeper ones first.
        directories.sort(key=lambda entry: entry.path.count(b"/"), reverse=True)
        for entry in [*others, *directories]:
            if entry.same_as is not None and entry.same_as in waiting:
                continue
            self._send_one(entry)

    def _send_one(self, entry: Entry) -> None:
        try:
            found = read_metadata(entry.path, entry.status.mode)
        except FileNotFoundError:
            return  # the next scan says what became of it
        self._transport.metadata(entry.path, found)
        self._held[entry.id] = found
        self.touched.discard(entry.id)

    def left_out(self) -> dict[bytes, int]:
        """Return the extended attributes that did not move, and how many entries have them."""
        names: dict[bytes, int] = {}
        for meta in self._held.values():
            for name in meta.left_out:
                names[name] = names.get(name, 0) + 1
        return names

    def _vanish(self, entry: Entry, keep: set[bytes]) -> None:
        if entry.id in self.there and entry.path not in keep:
            self._unmake(entry)
            return
        self._forget(entry)

    def _unmake(self, entry: Entry) -> None:
        if entry.id in self.there:
            self._transport.delete(entry.path)
            self._touch(entry.id, entry.path)
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        if entry.kind == "file" and entry.same_as is None:
            self._blocks.forget(entry.id)
        elif self._symlinks.get(_inode(entry)) == entry.id:
            del self._symlinks[_inode(entry)]
        self.there.discard(entry.id)
        self.touched.discard(entry.id)
        self._held.pop(entry.id, None)

    def _touch(self, id: int, *paths: bytes) -> None:
        """Note that an entry, and the directories that hold it, are not as they were."""
        self.touched.add(id)
        for path in paths:
            above = self._tree.find(os.path.dirname(path))
            if above is not None:
                self.touched.add(above.id)


def _is_narrower(entry: Entry, held: Metadata | None) -> bool:
    """Return whether somebody may have lost a right since attributes were sent."""
    if held is None:  # an earlier run has sent them; a file there is closed until they come
        return entry.kind == "directory"
    status = entry.status
    return (
        bool(held.mode & ~status.mode)
        or (held.uid, held.gid) != (status.uid, status.gid)
        or _ACL in held.xattrs
    )


def _is_other(held: Metadata, found: Metadata) -> bool:
    """Return whether rights are others', so that modes cannot be compared."""
    owners = (held.uid, held.gid) != (found.uid, found.gid)
    return owners or held.xattrs.get(_ACL) != found.xattrs.get(_ACL)


def _inode(entry: Entry) -> tuple[int, int]:
    return entry.status.dev, entry.status.ino
