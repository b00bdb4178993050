"""Files that come, go, are renamed, cut, linked and replaced: what a replay has to follow."""

import ctypes
import mailbox
import os
import sqlite3
import time
from pathlib import Path


def pause():
    """Let the next thing be in another bucket of time, and the tracker look."""
    time.sleep(0.25)


def replaced():
    Path("state").write_text("first")
    time.sleep(0.05)
    for number in range(50):
        Path("state.tmp").write_text("x" * 1000)
        os.rename("state.tmp", "state")
        time.sleep(0.002 + 0.01 * (number % 10 == 0))


def rotated():
    for turn in range(4):
        with open("log", "a") as log:
            for _ in range(5):
                log.write("line\n" * 100)
                log.flush()
                time.sleep(0.01)
        if turn == 3:
            break
        pause()
        for number in (2, 1):
            if os.path.exists(f"log.{number}"):
                os.rename(f"log.{number}", f"log.{number + 1}")
        os.rename("log", "log.1")


def mail():
    box = mailbox.Maildir("box")
    for number in range(8):
        box.add("Subject: x\n\n" + "text " * 100 * (number + 1))
    pause()
    for key in list(box.keys())[:5]:
        message = box[key]
        message.set_subdir("cur")
        box[key] = message
    box.remove(min(box.keys()))
    os.mkdir("drop")
    for number in range(3):
        Path("drop/tmp").write_bytes(bytes(100 + number))
        os.rename("drop/tmp", f"drop/new.{number}")
        os.rename(f"drop/new.{number}", f"drop/cur.{number}")


def databases():
    for mode in ("delete", "wal"):
        with sqlite3.connect(f"{mode}.db", isolation_level=None) as base:
            base.execute(f"PRAGMA journal_mode = {mode}")
            base.execute("PRAGMA synchronous = OFF")
            base.execute("CREATE TABLE t (a, b)")
            for number in range(40):
                base.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 500))
                time.sleep(0.005)
            if mode == "wal":  # as it is found while the service runs
                os.link("wal.db", "kept.db")
                os._exit(0)


def directory():
    os.makedirs("old/below")
    Path("old/a").write_bytes(bytes(1234))
    Path("old/below/b").write_bytes(bytes(77))
    pause()
    os.rename("old", "moved")
    pause()
    with open("moved/a", "ab") as file:
        file.write(bytes(10))


def cut():
    Path("cut").write_bytes(bytes(9000))
    pause()
    os.truncate("cut", 100)
    pause()
    for size in (10, 20, 30):
        Path("again").write_bytes(bytes(size))
        os.unlink("again")
    Path("again").write_bytes(bytes(40))
    Path("gone").write_bytes(bytes(40))
    pause()
    os.unlink("gone")


def linked():
    Path("one").write_bytes(bytes(50))
    os.link("one", "other")
    with open("other", "ab") as file:
        file.write(bytes(5))


def before():
    with open("appended", "ab") as file:
        for _ in range(5):
            file.write(bytes(1000))
            file.flush()
            time.sleep(0.03)
    with open("in place", "r+b") as file:
        for number in range(5):
            file.seek(1000 * number)
            file.write(bytes(1000))
            file.flush()
    Path("read").read_bytes()
    os.unlink("unlinked")
    os.rename("renamed", "renamed.new")


def exchanged():
    Path("left").write_bytes(bytes(11))
    Path("right").write_bytes(bytes(222))
    pause()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, b"left", -100, b"right", 2) == 0, os.strerror(ctypes.get_errno())


def main():
    for work in (
        before, replaced, rotated, mail, directory, cut, linked, exchanged, databases,
    ):  # fmt: skip
        os.makedirs(work.__name__, exist_ok=True)
        os.chdir(work.__name__)
        work()
        os.chdir("..")


if __name__ == "__main__":
    main()
