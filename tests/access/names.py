"""Writes files with awkward names and deep directories; prints what it wrote."""

import os
import sys

NAMES = [b"new\nline", b"\xff\xfe invalid", b"tab\tquote'\"", b" ", b"-rf", b"a" * 255]


def main():
    for name in NAMES:
        with open(name, "wb") as file:
            file.write(name)
    # One directory after the other, each relative to the last: a path of 4,095 bytes, or more.
    depth = int(sys.argv[1])
    fd = os.open(".", os.O_RDONLY)
    size = len(os.getcwdb())
    while size + 1 < depth:
        part = b"d" * min(200, depth - size - 1)
        os.mkdir(part, dir_fd=fd)
        fd = os.open(part, os.O_RDONLY, dir_fd=fd)
        size += 1 + len(part)
    out = os.open(b"deep", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    for _ in range(10):
        os.write(out, b"x")
    print(size, os.fstat(out).st_size)


if __name__ == "__main__":
    main()
