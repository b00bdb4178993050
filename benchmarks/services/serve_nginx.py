"""Runs nginx in a directory and turns its logs, as logrotate does.

    serve_nginx.py DIRECTORY FULL_BYTES KEPT

A log that is full is renamed, nginx is told to open a new one, the one before is compressed, the
oldest goes.  SIGTERM ends nginx, too.
"""

import contextlib
import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading


def turn(log, kept):
    """Make room for a new log; return the file that is to be compressed when nobody writes it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{log}.{kept}.gz")
    for age in range(kept - 1, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{log}.{age}.gz", f"{log}.{age + 1}.gz")
    if os.path.exists(f"{log}.1"):
        with open(f"{log}.1", "rb") as old, gzip.open(f"{log}.2.gz.new", "wb") as new:
            shutil.copyfileobj(old, new)
        os.rename(f"{log}.2.gz.new", f"{log}.2.gz")
        os.unlink(f"{log}.1")
    os.rename(log, f"{log}.1")


def main():
    directory, full_bytes, kept = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    command = ["nginx", "-p", directory, "-c", "nginx.conf", "-e", "logs/error.log"]
    nginx = subprocess.Popen([*command, "-g", "daemon off;"])
    logs = os.path.join(directory, "logs")
    while not ended.wait(1) and nginx.poll() is None:
        full = [
            entry.path
            for entry in os.scandir(logs)
            if entry.name.endswith(".log") and entry.stat().st_size > full_bytes
        ]
        for log in full:
            turn(log, kept)
        if full:
            nginx.send_signal(signal.SIGUSR1)
    nginx.terminate()
    sys.exit(nginx.wait())


if __name__ == "__main__":
    main()
