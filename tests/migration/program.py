"""A service whose files the migration tests move: seeded, standard library only.

    program.py DIRECTORY ACKS [--rate STEPS_PER_S] [--seed N] [--first N] PART ...

Each PART is a way in which applications write: ``sqlite:JOURNAL:FILES``, ``append``, ``replace``,
``churn``, ``mapped``.  A step is one write of one part, in turn.  Only when it is done, a line goes
to ACKS: the part's name, what has to be there from now on, and the time.  SIGTERM ends it properly.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import random
import shutil
import signal
import sqlite3
import struct
import time

SKEW = (1, 10, 10, 79)
SIZES_KIB = (64, 256, 512, 1024)
ROW_BYTES = 1000
SLOTS, SLOT_BYTES = 4096, 256


class Acknowledgements:
    """The log of what was done, which is kept outside of what moves."""

    def __init__(self, path):
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, part, text):
        os.write(self.descriptor, f"{part}\t{text}\t{time.time():.4f}\n".encode())


def payload(name, row, number):
    """Return the bytes that a row has after the write of this number: nothing compresses them."""
    return hashlib.shake_128(f"{name} {row} {number}".encode()).digest(ROW_BYTES)


class Sqlite:
    """Databases of four sizes; a quarter of them each gets 1, 10, 10 and 79 of a hundred writes."""

    def __init__(self, directory, random_source, journal="mixed", files="8", scale="1"):
        self.directory = os.path.join(directory, "databases")
        self.random = random_source
        os.makedirs(self.directory, exist_ok=True)
        self.files = []
        for number in range(int(files)):
            kind = ("wal", "delete")[number // 16 % 2] if journal == "mixed" else journal
            rows = max(4, int(SIZES_KIB[number // 4 % 4] * float(scale)))
            name = f"{number:04}.db"
            self.files.append((name, rows, self.open(name, rows, kind)))
        shares = [SKEW[number % 4] for number in range(len(self.files))]
        self.shares = [sum(shares[: k + 1]) for k in range(len(shares))]

    def open(self, name, rows, journal):
        path = os.path.join(self.directory, name)
        fresh = not os.path.exists(path)
        database = sqlite3.connect(path, isolation_level=None, cached_statements=4)
        database.execute("pragma journal_mode = " + ("wal" if journal == "mapped" else journal))
        database.execute("pragma synchronous = off")
        database.execute("pragma cache_size = 8")
        database.execute("pragma wal_autocheckpoint = 64")
        if journal == "mapped":
            database.execute("pragma mmap_size = 268435456")
        if fresh:
            database.execute("begin")
            database.execute("create table t (id integer primary key, number integer, data blob)")
            values = ((row, 0, payload(name, row, 0)) for row in range(rows))
            database.executemany("insert into t values (?, ?, ?)", values)
            database.execute("commit")
            database.execute("pragma wal_checkpoint(truncate)")
        return database

    def step(self, number):
        name, rows, database = self.random.choices(self.files, cum_weights=self.shares)[0]
        row = self.random.randrange(rows)
        values = (number, payload(name, row, number), row)
        database.execute("update t set number = ?, data = ? where id = ?", values)
        return f"{name} {row} {number}"

    def close(self):
        for _, _, database in self.files:
            database.close()


class Append:
    """A log that only grows."""

    def __init__(self, directory, random_source):
        self.random = random_source
        self.descriptor = os.open(
            os.path.join(directory, "service.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640
        )

    def step(self, number):
        text = f"{number} " + self.random.randbytes(100).hex() + "\n"
        os.write(self.descriptor, text.encode())
        return str(number)

    def close(self):
        os.close(self.descriptor)


class Replace:
    """A file that another one takes the place of, as careful programs save their state."""

    def __init__(self, directory, random_source):
        self.path = os.path.join(directory, "state.txt")
        self.random = random_source

    def step(self, number):
        body = f"{number} " + self.random.randbytes(500).hex()
        with open(self.path + ".new", "w") as file:
            file.write(f"{body} {hashlib.sha256(body.encode()).hexdigest()}\n")
        os.rename(self.path + ".new", self.path)
        return str(number)

    def close(self):
        pass


class Churn:
    """A program that makes and deletes files and directories, links and renames.

    What it is about to do goes to the log, too: if it is stopped there, either state is right.
    """

    def __init__(self, directory, random_source, first, acknowledgements):
        self.base = f"churn-{first}"
        self.directory = directory
        self.random = random_source
        self.acknowledgements = acknowledgements
        os.makedirs(os.path.join(directory, self.base))
        acknowledgements.write("churn", f"mkdir {self.base}")
        self.directories, self.files = [self.base], []

    def step(self, number):
        chosen = self.random.random()
        where = self.random.choice(self.directories)
        if chosen < 0.15 and len(self.directories) < 20:
            operation = ("mkdir", f"{where}/d{number}")
        elif chosen < 0.25 and len(self.directories) > 4:
            operation = ("rmtree", self.random.choice(self.directories[1:]))
        elif chosen < 0.4 and len(self.directories) > 2:
            operation = (
                "rename",
                self.random.choice(self.directories[1:]),
                f"{self.base}/r{number}",
            )
        elif chosen < 0.5 and self.files:
            operation = ("rename", self.random.choice(self.files), f"{where}/m{number}")
        elif chosen < 0.7 and self.files:
            operation = ("unlink", self.random.choice(self.files))
        elif chosen < 0.75:
            operation = ("symlink", f"{where}/s{number}")
        else:
            operation = ("create", f"{where}/f{number}")
        text = " ".join(operation)
        self.acknowledgements.write("churn?", text)
        self.do(*operation)
        return text

    def do(self, kind, name, to=None):
        path = os.path.join(self.directory, name)
        if kind == "mkdir":
            os.mkdir(path)
            self.directories.append(name)
        elif kind == "create":
            with open(path, "w") as file:
                file.write(name * 50)
            self.files.append(name)
        elif kind == "symlink":
            os.symlink("nowhere/" + name, path)
        elif kind == "unlink":
            os.unlink(path)
            self.files.remove(name)
        elif kind == "rmtree":
            shutil.rmtree(path)
            gone = (name, name + "/")
            self.directories = [
                d for d in self.directories if d != name and not d.startswith(gone[1])
            ]
            self.files = [f for f in self.files if not f.startswith(gone[1])]
        else:
            os.rename(path, os.path.join(self.directory, to))
            self.directories = [self.moved(d, name, to) for d in self.directories]
            self.files = [self.moved(f, name, to) for f in self.files]

    @staticmethod
    def moved(path, name, to):
        return to + path[len(name) :] if (path + "/").startswith(name + "/") else path

    def close(self):
        pass


class Mapped:
    """Numbers stored through a mapping, most of them into pages that are dirty already."""

    def __init__(self, directory, random_source):
        self.random = random_source
        path = os.path.join(directory, "mapped.bin")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, SLOTS * SLOT_BYTES)
        self.map = mmap.mmap(descriptor, SLOTS * SLOT_BYTES)
        os.close(descriptor)

    def step(self, number):
        slot = min(int(self.random.expovariate(1 / 200)), SLOTS - 1)
        # Eight aligned bytes are one store: a freeze finds the old number or the new one.
        self.map[slot * SLOT_BYTES : slot * SLOT_BYTES + 8] = struct.pack("<q", number)
        return f"{slot} {number}"

    def close(self):
        self.map.close()


def main(more=None):
    """Run the parts that were asked for; `more` makes further kinds of them, given the acks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("acks")
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    random_source = random.Random(options.seed * 1_000_003 + options.first)
    acknowledgements = Acknowledgements(options.acks)
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    kinds = {
        "sqlite": Sqlite,
        "append": Append,
        "replace": Replace,
        "churn": lambda *given: Churn(*given, options.first, acknowledgements),
        "mapped": Mapped,
        **(more(acknowledgements) if more else {}),
    }
    # A part that is named several times is one part, whose turn comes more often.
    made = {}
    for text in options.parts:
        if text not in made:
            name, *arguments = text.split(":")
            made[text] = name, kinds[name](options.directory, random_source, *arguments)
    parts = [made[text] for text in options.parts]
    acknowledgements.write("ready", str(os.getpid()))
    number, due = options.first, time.monotonic()
    while not ended:
        name, part = parts[number % len(parts)]
        acknowledgements.write(name, part.step(number))
        number += 1
        due = max(due + 1 / options.rate, time.monotonic() - 0.2)
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    for _, part in made.values():
        part.close()
    acknowledgements.write("ended", str(number))


if __name__ == "__main__":
    main()
