"""A destination that follows scans as their documentation says, with nothing but the os module."""

import os
import stat

import numpy as np

from precopy.migration.source.blocks import Blocks
from precopy.migration.source.metadata import read_metadata
from precopy.migration.source.tree import Selection, Tree


class Copy:
    """What a `Tree` scans, kept at `target` by applying every scan in the documented order."""

    def __init__(self, paths, target):
        self.tree = Tree(Selection.from_paths(paths))
        self.blocks = Blocks()
        self.target = os.fsencode(target)
        self.early = set()

    def at(self, path):
        return self.target + path

    def cycle(self, found=None):
        """Scan (or take what a `Dirty` found), and bring the destination up to date."""
        scan = self.tree.scan() if found is None else found.scan
        look = set(map(int, scan.changed if found is None else found.look))
        for old, new in scan.heirs:
            self.blocks.inherit(old, new)
        for id, old, new in scan.renames:
            assert self.tree.entry(id).path == new
            os.rename(self.at(old), self.at(new))
        for id in scan.vanished:
            self.delete(id)
        for id in scan.relinked:
            self.delete(id)
        self.early = set()
        again = set(scan.relinked)
        for id in [*scan.appeared, *sorted(again, key=lambda id: self.tree.entry(id).path)]:
            self.make(self.tree.entry(id))
        look |= {id for id in again if self.tree.entry(id).kind == "file"}
        for id in sorted(look):
            if self.tree.entry(id).same_as is None:
                ranges = None if found is None else found.ranges.get(id)
                self.send(self.tree.entry(id), ranges, found is not None and id in found.clean)
        for id in sorted(look | set(map(int, scan.touched)), key=self.depth, reverse=True):
            self.adorn(self.tree.entry(id))
        return scan

    def depth(self, id):
        return self.tree.entry(id).path.count(b"/")

    def delete(self, id):
        entry = self.tree.entry(id)
        self.blocks.forget(id)
        if entry.kind == "directory" and not self.tree.is_there(id):
            os.rmdir(self.at(entry.path))
        else:
            os.unlink(self.at(entry.path))

    def make(self, entry):
        at = self.at(entry.path)
        if entry.kind == "directory":
            os.mkdir(at)
        elif entry.same_as is not None:
            first = self.tree.entry(entry.same_as)
            if not os.path.lexists(self.at(first.path)):
                self.make(first)
                self.early.add(first.id)
            os.link(self.at(first.path), at, follow_symlinks=False)
        elif entry.id in self.early:
            pass
        elif entry.kind == "link":
            os.symlink(entry.target, at)
        elif entry.kind == "fifo":
            os.mkfifo(at)
        else:
            os.close(os.open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL))

    def send(self, entry, ranges=None, clean=False):
        try:
            changed = self.blocks.compare(entry, ranges, clean=clean)
            part = self.blocks.read(entry, changed.index)
        except FileNotFoundError:
            return  # the next scan says what became of it
        size = part.size if len(changed) else changed.size
        with open(self.at(entry.path), "r+b") as file:
            file.truncate(size)
            for offset, length, data in part.pieces():
                file.seek(offset)
                file.write(bytes(length) if data is None else data)
        self.blocks.hold(entry, part.index, part.digests, size)

    def adorn(self, entry):
        try:
            meta = read_metadata(entry.path, entry.status.mode)
        except FileNotFoundError:
            return
        at = self.at(entry.path)
        if entry.kind != "link":
            os.chmod(at, meta.mode)
        os.utime(at, ns=(meta.atime_ns, meta.mtime_ns), follow_symlinks=False)

    def differences(self, roots):
        """Return what is not the same at the source and at the destination, below some roots."""
        found = []
        for root in map(os.fsencode, roots):
            here, there = picture(root), picture(self.at(root))
            found += [
                (path, here.get(path), there.get(path))
                for path in sorted(here.keys() | there.keys())
                if here.get(path) != there.get(path)
            ]
        return found


def picture(root):
    """Return everything below a directory by relative path: kind, rights, content, other names."""
    found, names = {}, {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            what = stat.S_IFMT(status.st_mode)
            content = None
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            if not stat.S_ISDIR(status.st_mode):
                names.setdefault(status.st_ino, []).append(os.path.relpath(path, root))
            rights = 0 if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)
            at = os.path.relpath(path, root)
            found[at] = [what, rights, content, status.st_mtime_ns, status.st_ino]
    for entry in found.values():
        entry[-1] = sorted(names.get(entry[-1], []))
    return found


def everything(size, block_bytes):
    """Return the numbers of all blocks of a file."""
    return np.arange(-(-size // block_bytes), dtype=np.int64)
