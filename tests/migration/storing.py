"""Maps a file shared and stores into it: `storing.py FILE`, a store per line of standard input."""

import mmap
import os
import sys


def main(path):
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 0) as memory:
        os.close(fd)
        memory.read()
        print("mapped", flush=True)
        for line in sys.stdin:
            at, value = map(int, line.split())
            memory[at] = value
            print("stored", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
