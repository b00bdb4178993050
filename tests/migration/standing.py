"""Applications that are stopped by the tests: each process counts in a file of its own, for ever.

    standing.py DIRECTORY KIND [MARK]

``one``, ``threads``, ``forks`` (workers that are there from the start), ``births`` (a child every
millisecond that counts and ends), ``orphans`` (the same, each of them let go by its parent),
``spawns`` (a program started by vfork every millisecond), ``deaf`` (ignores SIGTERM), ``waits``
(a child that cannot become another program, and its parent, which waits for it in the kernel).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time


def count(directory: str, times: int = 0) -> None:
    """Count in a file; for ever, or some times."""
    path = os.path.join(directory, f"{os.getpid()}-{threading.get_native_id()}")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number = 0
    while not times or number < times:
        number += 1
        os.write(fd, b"x")
        time.sleep(0.0002)
    os.close(fd)
    if times:
        os.unlink(path)


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    directory, kind = sys.argv[1:3]
    if kind == "threads":
        for _ in range(4):
            threading.Thread(target=count, args=(directory,), daemon=True).start()
    if kind == "forks":
        for _ in range(3):
            if os.fork() == 0:
                break
    if kind == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "waits":
        fifo = os.path.join(directory, "fifo")
        os.mkfifo(fifo)
        actions = [(os.POSIX_SPAWN_OPEN, 0, fifo, os.O_RDONLY, 0)]
        os.posix_spawn("/bin/true", ["true"], os.environ, file_actions=actions)
    if kind not in ("births", "orphans", "spawns"):
        count(directory)
    while True:
        if kind == "spawns":
            subprocess.run(["/bin/true"], check=True)
        elif os.fork() == 0:
            if kind == "births" or os.fork() == 0:
                count(directory, 20)
            os._exit(0)
        reap()
        time.sleep(0.001)


if __name__ == "__main__":
    main()
