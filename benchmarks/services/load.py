"""Applications of the zoo that are a library and a loop: more parts of tests/migration/program.py.

    load.py DIRECTORY ACKS [--rate STEPS_PER_S] [--seed N] [--first N] PART ...

Beside ``sqlite:JOURNAL:FILES:SCALE`` and the other parts of program.py: ``leveldb``, ``rocksdb``,
``lmdb``, ``maildir``, ``uploads``, ``logs``.  Each makes its initial data before the line "ready",
except where it finds some.  Tenants differ: a quarter of them each gets 1, 10, 10 and 79 of a
hundred steps.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import itertools
import json
import os
import random
import sys
from pathlib import Path

# Run by its path, perhaps isolated: nothing but this file's place tells where the other one is.
sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[2] / "tests"))

from migration import program


class Tenants:
    """So many tenants, of whom a quarter each gets 1, 10, 10 and 79 of a hundred steps."""

    def __init__(self, count):
        shares = [program.SKEW[number % 4] for number in range(count)]
        self.sums = list(itertools.accumulate(shares))

    def draw(self, random_source):
        return bisect.bisect(self.sums, random_source.random() * self.sums[-1])


class Store:
    """Values under keys of tenants, several of them put at once.

    What a step draws says which keys it writes: a check needs no more than that and its number.
    """

    tenants = 16
    keys = 2500
    batch = 16

    def __init__(self, directory, random_source):
        self.path = os.path.join(directory, self.name)
        self.random = random_source
        fresh = not os.path.exists(self.path)
        os.makedirs(self.path, exist_ok=True)
        self.open()
        if fresh:
            numbers = range(self.tenants * self.keys)
            for begin in range(0, len(numbers), 500):
                part = [divmod(k, self.keys) for k in numbers[begin : begin + 500]]
                self.put([(tenant, key, self.value(tenant, key, 0)) for tenant, key in part])

    @staticmethod
    def value(tenant, key, number):
        return b"%d " % number + program.payload(f"{tenant}", key, number)

    @classmethod
    def written(cls, drawn):
        """Return the tenant and the keys that a step writes which drew this."""
        random_source = random.Random(drawn)
        tenant = Tenants(cls.tenants).draw(random_source)
        return tenant, random_source.sample(range(cls.keys), cls.batch)

    def step(self, number):
        drawn = self.random.getrandbits(32)
        tenant, keys = self.written(drawn)
        self.put([(tenant, key, self.value(tenant, key, number)) for key in keys])
        return f"{drawn} {number}"


class LevelDb(Store):
    """One LevelDB: a log, tables that are merged again and again."""

    name = "leveldb"

    def open(self):
        import plyvel

        self.database = plyvel.DB(self.path, create_if_missing=True)

    def put(self, values):
        with self.database.write_batch() as batch:
            for tenant, key, value in values:
                batch.put(b"%04d/%06d" % (tenant, key), value)

    def get(self, tenant, key):
        return self.database.get(b"%04d/%06d" % (tenant, key))

    def close(self):
        self.database.close()


class RocksDb(Store):
    """One RocksDB, with small memory tables, so that it flushes and compacts often."""

    name = "rocksdb"

    def open(self):
        from rocksdict import Options, Rdict

        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(4 << 20)
        options.set_target_file_size_base(4 << 20)
        options.set_max_bytes_for_level_base(16 << 20)
        options.set_max_background_jobs(2)
        self.database = Rdict(self.path, options)

    def put(self, values):
        from rocksdict import WriteBatch

        batch = WriteBatch(raw_mode=True)
        for tenant, key, value in values:
            batch.put(b"%04d/%06d" % (tenant, key), value)
        self.database.write(batch)

    def get(self, tenant, key):
        return self.database.get(b"%04d/%06d" % (tenant, key))

    def close(self):
        self.database.close()


class Lmdb(Store):
    """An LMDB for each tenant: copy-on-write pages of one file."""

    name = "lmdb"
    batch = 4

    def open(self):
        import lmdb

        self.databases = []
        for tenant in range(self.tenants):
            path = os.path.join(self.path, f"{tenant:04}")
            os.makedirs(path, exist_ok=True)
            self.databases.append(lmdb.open(path, map_size=64 << 20, sync=False))

    def put(self, values):
        for tenant, group in itertools.groupby(values, lambda value: value[0]):
            with self.databases[tenant].begin(write=True) as transaction:
                for _, key, value in group:
                    transaction.put(b"%06d" % key, value)

    def get(self, tenant, key):
        with self.databases[tenant].begin() as transaction:
            return transaction.get(b"%06d" % key)

    def close(self):
        for database in self.databases:
            database.close()


def mail(number):
    """Return the mail of this number: a head and a body, of ten kilobytes or so."""
    size = min(int(random.Random(number).lognormvariate(8.8, 1.0)), 500_000)
    head = f"Message-ID: <{number}@example.org>\nSubject: {number}\n\n".encode()
    return head + hashlib.shake_128(head).digest(size)


class Maildir:
    """Mailboxes: mail comes into new, is read and flagged in cur, and is deleted.

    Each box has an index, as mail servers keep it: a log that is appended to, and a list that is
    replaced when the log has become long.
    """

    boxes, first_mails = 40, 4000
    index_bytes = 16_384

    def __init__(self, directory, random_source, acknowledgements):
        self.root = os.path.join(directory, "mail")
        self.random = random_source
        self.acknowledgements = acknowledgements
        self.chosen = Tenants(self.boxes)
        self.new = [[] for _ in range(self.boxes)]
        self.cur = [[] for _ in range(self.boxes)]
        if os.path.exists(self.root):
            self.look()
            return
        for box in range(self.boxes):
            for name in ("tmp", "new", "cur"):
                os.makedirs(self.path(box, name))
        for k in range(self.first_mails):
            # Numbers below zero are nobody's step.
            self.deliver(k % self.boxes, -1 - k)
            self.read(k % self.boxes)

    def path(self, box, *names):
        return os.path.join(self.root, f"{box:03}", *names)

    def look(self):
        for box in range(self.boxes):
            self.new[box] = sorted(os.listdir(self.path(box, "new")))
            self.cur[box] = sorted(os.listdir(self.path(box, "cur")))

    def deliver(self, box, number):
        name = f"M{number}.example"
        with open(self.path(box, "tmp", name), "wb") as file:
            file.write(mail(number))
        os.rename(self.path(box, "tmp", name), self.path(box, "new", name))
        self.new[box].append(name)
        self.note(box, f"+ {name}\n")
        return f"deliver {box} {number}"

    def read(self, box):
        name = self.new[box].pop(0)
        os.rename(self.path(box, "new", name), self.path(box, "cur", name + ":2,S"))
        self.cur[box].append(name + ":2,S")
        self.note(box, f"S {name}\n")
        return f"read {box} {name}"

    def flag(self, box):
        name = self.cur[box].pop(self.random.randrange(len(self.cur[box])))
        flagged = name.replace(":2,S", ":2,FS") if ":2,S" in name else name.replace(",FS", ",S")
        os.rename(self.path(box, "cur", name), self.path(box, "cur", flagged))
        self.cur[box].append(flagged)
        self.note(box, f"F {name}\n")
        return f"flag {box} {flagged}"

    def expunge(self, box):
        name = self.cur[box].pop(self.random.randrange(len(self.cur[box])))
        number = name.partition(".")[0][1:]
        self.acknowledgements.write("maildir?", f"expunge {box} {number}")
        os.unlink(self.path(box, "cur", name))
        self.note(box, f"- {name}\n")
        return f"expunge {box} {number}"

    def note(self, box, line):
        log = self.path(box, "index.log")
        with open(log, "a") as file:
            file.write(line)
            size = file.tell()
        if size > self.index_bytes:
            with open(log + ".tmp", "w") as file:
                file.write("".join(f"{name}\n" for name in self.new[box] + self.cur[box]))
            os.rename(log + ".tmp", self.path(box, "index"))
            os.truncate(log, 0)

    def step(self, number):
        box = self.chosen.draw(self.random)
        what = self.random.random()
        if what < 0.4 or not self.cur[box]:
            return self.deliver(box, number)
        if what < 0.7 and self.new[box]:
            return self.read(box)
        return self.flag(box) if what < 0.75 else self.expunge(box)

    def close(self):
        pass


class Uploads:
    """A place for files: each comes in pieces, six at a time, and takes its name when it is whole.

    A tenant has a preview of each file, a list of them that is replaced, and a quota: the oldest
    files go.  One upload in four is a new version of a file that is there.
    """

    tenants, first_files, quota = 24, 180, 4_000_000
    piece, at_once = 65_536, 6

    def __init__(self, directory, random_source, acknowledgements):
        self.root = os.path.join(directory, "uploads")
        self.random = random_source
        self.acknowledgements = acknowledgements
        self.chosen = Tenants(self.tenants)
        self.files = [{} for _ in range(self.tenants)]
        self.coming = []
        if os.path.exists(self.root):
            self.look()
            return
        for tenant in range(self.tenants):
            os.makedirs(self.path(tenant, "previews"))
        os.mkdir(os.path.join(self.root, "incoming"))
        for k in range(self.first_files):
            upload = self.begin(-1 - k, k % self.tenants)
            while not self.piece_of(upload):
                pass
            self.take(upload)

    def path(self, tenant, *names):
        return os.path.join(self.root, f"{tenant:03}", *names)

    def look(self):
        for tenant in range(self.tenants):
            with open(self.path(tenant, "files.json")) as file:
                self.files[tenant] = json.load(file)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(os.path.join(self.root, "incoming")):
                os.unlink(os.path.join(self.root, "incoming", name))

    def begin(self, number, tenant):
        size = min(int(self.random.lognormvariate(12.3, 1.0)), 3_000_000)
        there = list(self.files[tenant])
        name = f"f{number}"
        if number > 0 and there and self.random.random() < 0.25:
            name = self.random.choice(there)
        temporary = os.path.join(self.root, "incoming", f"{number}.part")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        return {
            "tenant": tenant, "name": name, "number": number, "size": size, "left": size,
            "temporary": temporary, "descriptor": descriptor,
        }  # fmt: skip

    def piece_of(self, upload):
        """Take in one more piece; return whether that was the last one."""
        piece = program.payload("upload", upload["number"], upload["left"])
        size = min(self.piece, upload["left"])
        os.write(upload["descriptor"], (piece * (size // len(piece) + 1))[:size])
        upload["left"] -= size
        return not upload["left"]

    def take(self, upload):
        tenant, name = upload["tenant"], upload["name"]
        os.fsync(upload["descriptor"])
        os.close(upload["descriptor"])
        os.rename(upload["temporary"], self.path(tenant, name))
        with open(self.path(tenant, "previews", name + ".jpg"), "wb") as file:
            file.write(program.payload(name, tenant, upload["number"]) * 4)
        files = self.files[tenant]
        files.pop(name, None)
        files[name] = [upload["number"], upload["size"]]
        gone = []
        while sum(size for _, size in files.values()) > self.quota and len(files) > 1:
            gone.append(next(iter(files)))
            del files[gone[-1]]
        with open(self.path(tenant, "files.json.new"), "w") as file:
            json.dump(files, file)
        os.rename(self.path(tenant, "files.json.new"), self.path(tenant, "files.json"))
        for old in gone:
            os.unlink(self.path(tenant, old))
            os.unlink(self.path(tenant, "previews", old + ".jpg"))
        return f"{tenant} {name} {upload['number']} {upload['size']}"

    def step(self, number):
        while len(self.coming) < self.at_once:
            # Several uploads may begin in one step: their numbers differ, and say when.
            new = number * 10 + len(self.coming)
            self.coming.append(self.begin(new, self.chosen.draw(self.random)))
        upload = self.random.choice(self.coming)
        if self.piece_of(upload):
            self.coming.remove(upload)
            return "took " + self.take(upload)
        return f"piece {upload['number']}"

    def close(self):
        for upload in self.coming:
            os.close(upload["descriptor"])


class Logs:
    """A log for each tenant, ten lines at a time; a full one is renamed, the oldest goes."""

    tenants, full_bytes, kept = 16, 1_000_000, 4
    lines, line_bytes = 10, 300

    def __init__(self, directory, random_source):
        self.root = os.path.join(directory, "logs")
        self.chosen = Tenants(self.tenants)
        self.random = random_source
        fresh = not os.path.exists(self.root)
        os.makedirs(self.root, exist_ok=True)
        self.open = [self.appending(tenant) for tenant in range(self.tenants)]
        self.sizes = [os.fstat(descriptor).st_size for descriptor in self.open]
        if fresh:
            # As they are after a long time: all old ones are there, the newest is partly full.
            for tenant in range(self.tenants):
                for _ in range(self.kept):
                    self.append(tenant, 0, self.full_bytes // self.line_bytes)
                    self.turn(tenant)
                self.append(tenant, 0, self.random.randrange(self.full_bytes // self.line_bytes))

    def path(self, tenant, age=0):
        return os.path.join(self.root, f"{tenant:03}.log" + (f".{age}" if age else ""))

    def appending(self, tenant):
        return os.open(self.path(tenant), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def append(self, tenant, number, lines):
        words = self.random.randbytes(120).hex()
        line = f"{number} {words} ".ljust(self.line_bytes - 1, ".") + "\n"
        text = line.encode() * lines
        os.write(self.open[tenant], text)
        self.sizes[tenant] += len(text)

    def turn(self, tenant):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(tenant, self.kept))
        for age in range(self.kept - 1, -1, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.path(tenant, age), self.path(tenant, age + 1))
        os.close(self.open[tenant])
        self.open[tenant] = self.appending(tenant)
        self.sizes[tenant] = 0

    def step(self, number):
        tenant = self.chosen.draw(self.random)
        self.append(tenant, number, self.lines)
        if self.sizes[tenant] > self.full_bytes:
            self.turn(tenant)
        return f"{tenant} {number}"

    def close(self):
        for descriptor in self.open:
            os.close(descriptor)


STORES = {"leveldb": LevelDb, "rocksdb": RocksDb, "lmdb": Lmdb}


def main():
    program.main(
        lambda acknowledgements: {
            **STORES,
            "logs": Logs,
            "maildir": lambda *given: Maildir(*given, acknowledgements),
            "uploads": lambda *given: Uploads(*given, acknowledgements),
        }
    )


if __name__ == "__main__":
    main()
