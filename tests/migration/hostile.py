"""Writes in every way that is easy to miss, while the files move: standard library only.

    hostile.py DIRECTORY READY KIND ...

Each KIND prepares files below DIRECTORY.  Then step after step takes the next file of each and does
to it what the kind is named for, so that whenever the program is stopped, the last change of every
file has another age.  READY is made when all is prepared.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import signal
import socket
import sys
import time

FILES = 120
PAUSE_SECONDS = 0.002
SIZE = 20_000
PUNCH = 1 | 2  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


def write(path, data, flags=os.O_CREAT | os.O_TRUNC):
    descriptor = os.open(path, os.O_WRONLY | flags, 0o644)
    os.write(descriptor, data)
    os.close(descriptor)


def filled(number, size=SIZE):
    """Return bytes that are others for every number."""
    return (b"%12d\n" % number * (size // 13 + 1))[:size]


class Kind:
    """Files that something is done to, one after the other."""

    def __init__(self, directory):
        self.directory = os.path.join(os.fsencode(directory), type(self).__name__.lower().encode())
        os.mkdir(self.directory)
        for index in range(FILES):
            self.prepare(self.path(index), index)

    def path(self, index):
        return os.path.join(self.directory, b"f%d" % index)

    def prepare(self, path, index):
        write(path, filled(index))

    def step(self, path, index, number):
        raise NotImplementedError


class Stores(Kind):
    """Stores through mappings: only the first one into a page moves the file's time."""

    def prepare(self, path, index):
        super().prepare(path, index)
        descriptor = os.open(path, os.O_RDWR)
        self.maps = getattr(self, "maps", [])
        self.maps.append(mmap.mmap(descriptor, SIZE))
        os.close(descriptor)
        self.maps[-1][::4096] = b"m" * len(range(0, SIZE, 4096))

    def step(self, path, index, number):
        at = number * 4096 % SIZE // 8 * 8
        self.maps[index][at : at + 8] = b"%8d" % (number % 10**8)


class SameSecond(Kind):
    """The same size, and a time of change that is set back to what it was."""

    def step(self, path, index, number):
        status = os.stat(path)
        write(path, filled(number), 0)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class LongAgo(Kind):
    """A time of change in the distant past, or none that a clock has shown."""

    def step(self, path, index, number):
        write(path, filled(number), 0)
        os.utime(path, ns=(0, number % 3 * -1_000_000_007))


class Swaps(Kind):
    """What was a file becomes a directory, then a link, then a pipe, then a file again."""

    def step(self, path, index, number):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
            os.symlink(b"../elsewhere/%d" % number, path)
        elif os.path.islink(path):
            os.unlink(path)
            os.mkfifo(path, 0o622)
        elif os.path.isfile(path):
            os.unlink(path)
            os.mkdir(path)
            write(os.path.join(path, b"inside"), filled(number, 500))
        else:
            os.unlink(path)
            write(path, filled(number))


class Renames(Kind):
    """Directories that get another name, one over an empty one, while files in them are written."""

    def prepare(self, path, index):
        os.mkdir(path)
        write(os.path.join(path, b"deep"), filled(index))
        os.mkdir(os.path.join(path, b"below"))
        write(os.path.join(path, b"below/er"), filled(index))
        self.names = getattr(self, "names", [])
        self.names.append(path)

    def step(self, path, index, number):
        name = self.path(index) + b".%d" % number
        if number % 3 == 0:
            os.mkdir(name)
        os.rename(self.names[index], name)
        self.names[index] = name
        write(os.path.join(name, b"below/er"), filled(number))


class Sizes(Kind):
    """Cut off, then longer than before, with a hole between and other bytes behind it."""

    def step(self, path, index, number):
        descriptor = os.open(path, os.O_RDWR)
        os.ftruncate(descriptor, number * 37 % SIZE)
        os.ftruncate(descriptor, SIZE + number * 4099 % (3 * SIZE))
        os.pwrite(descriptor, filled(number, 100), SIZE + number % 1000)
        os.close(descriptor)


class Holes(Kind):
    """Sparse files, in which holes are punched and filled again."""

    def prepare(self, path, index):
        write(path, b"")
        os.truncate(path, 1 << 20)
        descriptor = os.open(path, os.O_RDWR)
        os.pwrite(descriptor, filled(index), (index % 8) << 16)
        os.close(descriptor)

    def step(self, path, index, number):
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(path, os.O_RDWR)
        os.pwrite(descriptor, filled(number), (number % 16) << 16)
        offset, size = ctypes.c_long(((number + 1) % 16) << 16), ctypes.c_long(SIZE)
        if libc.fallocate(descriptor, PUNCH, offset, size):
            raise OSError(ctypes.get_errno(), "fallocate")
        os.close(descriptor)


class HardLinks(Kind):
    """A file with two names, written through either; names part and join again."""

    def prepare(self, path, index):
        super().prepare(path, index)
        os.link(path, path + b".other")

    def step(self, path, index, number):
        other = path + b".other"
        if number % 4 == 0:
            os.unlink(other)
            write(other, filled(number))
        elif number % 4 == 1:
            os.unlink(other)
            os.link(path, other)
        elif number % 4 == 2:
            os.unlink(path)
            os.rename(other, path)
            os.link(path, other)
        else:
            write(other, filled(number), 0)


class Deleted(Kind):
    """Files that are deleted while they are open, and written on."""

    def step(self, path, index, number):
        self.open = getattr(self, "open", {})
        if index in self.open:
            os.write(self.open[index], b"more")
            os.close(self.open.pop(index))
            write(path, filled(number))
        else:
            self.open[index] = os.open(path, os.O_RDWR)
            os.unlink(path)
            os.write(self.open[index], filled(number))


class Special(Kind):
    """Pipes and sockets that come and go, beside files."""

    def step(self, path, index, number):
        os.unlink(path)
        if number % 3 == 0:
            os.mkfifo(path)
        elif number % 3 == 1:
            bound = socket.socket(socket.AF_UNIX)
            bound.bind(path)
            bound.close()
        else:
            write(path, filled(number, 100))


class Names(Kind):
    """Names with a newline, a leading dash, blanks, a backslash, and bytes that are no UTF-8."""

    FORMS = (b"-rf %d", b"new\nline%d", b"\xff\xfe%d", b"a\\b'\"$(c)%d", b" %d ", b"--x=%d", b"*%d")

    def path(self, index):
        return os.path.join(self.directory, self.FORMS[index % len(self.FORMS)] % index)

    def step(self, path, index, number):
        if number % 5 == 0:
            os.rename(path, path + b"\n")
            os.rename(path + b"\n", path)
        write(path, filled(number))


class Attributes(Kind):
    """Modes, owners and attributes, which change without a byte of content."""

    def step(self, path, index, number):
        os.chmod(path, (0o600, 0o4755, 0o644, 0o2770, 0o000)[number % 5])
        if number % 3 == 0:
            os.setxattr(path, "user.number", b"%d" % number)
        elif "user.number" in os.listxattr(path):
            os.removexattr(path, "user.number")
        if os.getuid() == 0:
            os.chown(path, number % 7 * 1000, number % 5 * 1000)


class Born(Kind):
    """Children that write, each for a moment: one is always being born."""

    def step(self, path, index, number):
        if os.fork() == 0:
            write(path, filled(number))
            os._exit(0)
        # Those that have ended are not waited for, so that a child may outlive its step.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


class Fast(Kind):
    """More than the link can carry."""

    def step(self, path, index, number):
        descriptor = os.open(path, os.O_WRONLY)
        os.pwrite(descriptor, os.urandom(SIZE), 0)
        os.close(descriptor)


def main():
    directory, ready, *names = sys.argv[1:]
    kinds = [globals()[name](directory) for name in names]
    write(ready, b"")
    number = FILES
    while True:
        for kind in kinds:
            index = number % FILES
            kind.step(kind.path(index), index, number)
        number += 1
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
