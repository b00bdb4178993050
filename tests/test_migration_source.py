"""What is at the source: digests, blocks of files, the tree and its scans, what is selected."""

import hashlib
import os
import random
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migration.changes import change, settled
from migration.copying import Copy, everything

from precopy.access import identify, import_strace
from precopy.migration.source import _source
from precopy.migration.source import tree as tree_module
from precopy.migration.source.blocks import BLOCK_BYTES, Blocks, block_bytes_for, zero_digest
from precopy.migration.source.granularity import Granularity
from precopy.migration.source.hardlinks import Names
from precopy.migration.source.metadata import read_metadata
from precopy.migration.source.mounts import COARSE_NS, TICK_NS, Mount, Mounts
from precopy.migration.source.renames import Renaming
from precopy.migration.source.tree import Selection, Tree

WEIRD = [b"two\nlines", b"-rf", b"bad-\xff-utf8", b" ", b"tab\t", "ü".encode(), b"x" * 255]


def digest(data):
    return hashlib.blake2b(data, digest_size=16).digest()


def tree_of(*paths):
    """A tree that has seen everything, and nothing of it is young."""
    tree = Tree(Selection.from_paths(paths))
    tree.scan()
    settled(tree)
    return tree


def names(tree, ids):
    return sorted(os.path.basename(tree.entry(int(id)).path) for id in ids)


# --- digests --------------------------------------------------------------------------------------


def test_digests_of_every_length_are_those_of_hashlib():
    data = random.Random(1).randbytes(1200)
    for size in range(len(data) + 1):
        assert _source.digests(data[:size], max(size, 1)) == digest(data[:size]), size


@given(st.binary(max_size=9000), st.sampled_from([1, 100, 127, 128, 129, 256, 512, 1024, 4096]))
def test_digests_of_blocks_are_those_of_hashlib(data, block):
    blocks = [data[at : at + block] for at in range(0, len(data), block)] or [b""]
    assert _source.digests(data, block) == b"".join(map(digest, blocks))


def test_many_equal_blocks_at_once_and_what_is_left():
    data = random.Random(2).randbytes(4096 * 7 + 5)
    blocks = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    assert _source.digests(data, 4096) == b"".join(map(digest, blocks))


# --- the binding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (b"x", 0),
        (b"x", -1),
    ],
)
def test_digests_refuse_what_is_no_block(arguments):
    with pytest.raises(ValueError, match="block_bytes"):
        _source.digests(*arguments)


def test_statuses_refuse_tables_that_do_not_fit():
    with pytest.raises(ValueError, match="expected 1 entries"):
        _source.statuses([b"/"], b"", None, 0, 0)
    with pytest.raises(ValueError, match="multiple of 64"):
        _source.statuses([b"/"], b"x" * 63, None, 0, 0)
    with pytest.raises(ValueError, match="expected 1 entries"):
        _source.statuses([b"/"], bytes(64), bytes(16), 0, 0)
    with pytest.raises(TypeError, match="expected bytes or None"):
        _source.statuses(["/"], bytes(64), None, 0, 0)
    with pytest.raises(TypeError):
        _source.statuses((b"/",), bytes(64), None, 0, 0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({3: 0}, "block_bytes"),
        ({3: (1 << 20) + 1}, "block_bytes"),
        ({4: bytes(15)}, "known"),
        ({5: bytes(8)}, "ranges"),
        ({5: np.array([[5, 4]])}, "ranges"),
        ({5: np.array([[-1, 4]])}, "ranges"),
        ({5: np.array([[0, 9], [8, 12]])}, "ranges"),
    ],
)
def test_look_refuses_bad_arguments(tmp_path, change, problem):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    status = path.stat()
    arguments = [os.fsencode(path), status.st_dev, status.st_ino, 4096, None, None, 0, 0, 0]
    for index, value in change.items():
        arguments[index] = value
    with pytest.raises(ValueError, match=problem):
        _source.look(*arguments)


def test_no_range_is_not_the_whole_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    status = path.stat()
    found = _source.look(
        os.fsencode(path), status.st_dev, status.st_ino, 4096, None, b"", False, False, 0
    )
    assert found == (1, 0, b"", b"", b"", b"", 0)


def test_a_status_is_what_the_kernel_says(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    entry = tree_of(path).find(os.fsencode(path))
    status = path.stat()
    assert (entry.kind, entry.status.size) == ("file", 5)
    for name in ("mode", "uid", "gid", "nlink", "ino", "dev", "mtime_ns", "ctime_ns"):
        assert getattr(entry.status, name) == getattr(status, f"st_{name}"), name


# --- blocks ---------------------------------------------------------------------------------------


class Held:
    """One file, its blocks, and what a destination would hold."""

    def __init__(self, path):
        self.path, self.blocks = path, Blocks()
        self.tree = Tree(Selection.from_paths([path]))
        self.there = b""

    def entry(self):
        self.tree.scan()
        return self.tree.find(os.fsencode(self.path))

    def compare(self, ranges=None, **options):
        return self.blocks.compare(self.entry(), ranges, **options)

    def send(self):
        """Bring the destination up to date; return the numbers of the blocks that went."""
        changed = self.compare()
        part = self.blocks.read(self.entry(), changed.index)
        there = bytearray(self.there[: part.size].ljust(part.size, b"\0"))
        for offset, length, data in part.pieces():
            there[offset : offset + length] = bytes(length) if data is None else data
        self.there = bytes(there)
        self.blocks.hold(self.entry(), part.index, part.digests, part.size)
        return changed.index.tolist()

    def holds_what_is_there(self):
        size, digests = self.blocks.held(self.entry())
        block = self.blocks.block_bytes(self.entry())
        expected = [digest(self.there[at : at + block]) for at in range(0, size, block)]
        known = [bytes(row) for row in digests]
        return len(known) == len(expected) and all(
            have in (want, bytes(16)) for have, want in zip(known, expected, strict=True)
        )


@pytest.fixture
def held(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(random.Random(3).randbytes(10 * 4096 + 100))
    return Held(path)


def write_at(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_only_what_changed_differs(held):
    assert held.send() == list(range(11))
    assert held.send() == []
    write_at(held.path, 3 * 4096 + 7, b"!")
    write_at(held.path, 10 * 4096, b"!")
    assert held.send() == [3, 10]
    assert held.there == held.path.read_bytes()
    assert held.holds_what_is_there()


def test_a_file_that_is_new_is_not_read_to_see_that_it_is_new(held):
    changed = held.compare()
    assert (len(changed), changed.read_bytes, changed.bytes) == (11, 0, 10 * 4096 + 100)


def test_a_file_grows_shrinks_and_grows_again(held):
    held.send()
    for size in (10 * 4096 + 200, 10 * 4096, 5 * 4096 + 9, 5 * 4096 + 900, 0, 70_000, 3):
        os.truncate(held.path, size)
        held.send()
        assert held.there == held.path.read_bytes(), size
        assert held.holds_what_is_there(), size
    with open(held.path, "ab") as file:
        file.write(b"tail" * 3000)
    held.send()
    assert held.there == held.path.read_bytes()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 60_000), st.integers(0, 9000), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_any_sequence_of_writes_and_cuts_arrives(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("steps") / "f"
    path.write_bytes(b"")
    held = Held(path)
    for number, (offset, size, cut) in enumerate(steps):
        if cut:
            os.truncate(path, offset)
        else:
            write_at(path, offset, random.Random(number).randbytes(size))
        held.send()
        assert held.there == path.read_bytes()
        assert held.holds_what_is_there()


def test_holes_are_neither_read_nor_sent(tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(20 << 20)
        file.seek(10 << 20)
        file.write(b"data")
    held = Held(path)
    changed = held.compare()
    assert len(changed) <= 16
    assert 10 * 256 in changed.index
    held.send()
    assert held.compare().read_bytes <= 1 << 16
    assert held.holds_what_is_there()
    with open(path, "r+b") as file:  # data that become a hole go as zeros
        file.truncate(10 << 20)
        file.truncate(20 << 20)
    changed = held.compare()
    assert len(changed) <= 16
    assert changed.zero.all()
    part = held.blocks.read(held.entry(), changed.index)
    assert [data for _, _, data in part.pieces()] == [None]


def test_written_zeros_are_sent_as_a_hole(held):
    held.send()
    write_at(held.path, 4096, bytes(2 * 4096))
    part = held.blocks.read(held.entry(), np.array([0, 1, 2, 3]))
    data = held.path.read_bytes()
    assert [(offset, length, d and bytes(d)) for offset, length, d in part.pieces()] == [
        (0, 4096, data[:4096]),
        (4096, 8192, None),
        (3 * 4096, 4096, data[3 * 4096 : 4 * 4096]),
    ]


def test_ranges_say_where_to_look(held):
    held.send()
    write_at(held.path, 0, b"one")
    write_at(held.path, 9 * 4096, b"two")
    changed = held.compare(np.array([[9 * 4096 + 5, 9 * 4096 + 6]]))
    assert (changed.index.tolist(), changed.read_bytes) == ([9], 4096)
    assert held.compare(np.empty((0, 2), np.int64)).index.tolist() == []
    assert held.compare(np.array([[0, 1], [1, 2], [40_000, 1 << 40]])).index.tolist() == [0, 9]


def test_data_come_with_the_comparison_up_to_a_limit(held):
    held.send()
    write_at(held.path, 0, b"one")
    write_at(held.path, 9 * 4096, b"two")
    data = held.path.read_bytes()
    changed = held.compare(data=True)
    assert changed.data == data[:4096] + data[9 * 4096 : 10 * 4096]
    assert changed.data_count == len(changed) == 2
    changed = held.compare(data=True, data_limit=5000)
    assert (changed.data, changed.data_count, len(changed)) == (data[:4096], 1, 2)
    assert [length for _, length, _ in changed.pieces()] == [4096]


def test_what_was_hashed_is_what_is_sent(held):
    part = held.blocks.read(held.entry(), everything(10 * 4096 + 100, 4096))
    pieces = b"".join(bytes(data) for _, _, data in part.pieces())
    blocks = [pieces[at : at + 4096] for at in range(0, len(pieces), 4096)]
    assert part.digests.tobytes() == b"".join(map(digest, blocks))


def test_a_digest_counts_only_when_it_is_held(held):
    held.send()
    write_at(held.path, 0, b"!")
    assert held.compare().index.tolist() == [0]
    assert held.compare().index.tolist() == [0]


def test_resuming_from_the_far_sides_digests(held):
    held.send()
    again = Held(held.path)
    there = bytearray(held.there)
    there[5000] ^= 1
    blocks = [there[at : at + 4096] for at in range(0, len(there), 4096)]
    again.blocks.restore(again.entry(), len(there), b"".join(map(digest, blocks)))
    assert again.compare().index.tolist() == [1]
    with pytest.raises(ValueError, match="expected 176"):
        again.blocks.restore(again.entry(), len(there), bytes(16))


def test_heirs_and_forgotten_files(held):
    held.send()
    entry = held.entry()
    held.blocks.inherit(entry.id, 77)
    assert held.blocks.held(entry)[0] == 0
    held.blocks.inherit(77, entry.id)
    assert held.compare().index.tolist() == []
    held.blocks.forget(entry.id)
    assert len(held.compare()) == 11


def test_blocks_of_large_files_are_larger():
    assert block_bytes_for((1 << 30) + 1) == 8192
    assert block_bytes_for(1 << 50) == 1 << 20
    assert zero_digest(8192) == digest(bytes(8192))
    assert zero_digest(5) == digest(bytes(5))


def test_a_file_keeps_its_blocks_when_it_grows(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    held = Held(path)
    held.send()
    os.truncate(path, 3 << 30)
    assert held.blocks.block_bytes(held.entry()) == BLOCK_BYTES


def test_a_file_in_several_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("precopy.migration.source.blocks._PIECE_BYTES", 3 * 4096)
    path = tmp_path / "f"
    path.write_bytes(random.Random(4).randbytes(20 * 4096 + 5))
    held = Held(path)
    assert held.send() == list(range(21))
    write_at(path, 11 * 4096 - 1, b"ab")
    assert held.compare(data=True).index.tolist() == [10, 11]
    assert held.compare(np.array([[0, 4096 * 11]])).index.tolist() == [10]
    assert held.send() == [10, 11]
    assert held.there == path.read_bytes()


def test_another_file_in_the_same_place_is_not_read(held):
    entry = held.entry()
    held.path.rename(held.path.with_name("old"))
    with pytest.raises(FileNotFoundError):
        held.blocks.compare(entry)
    held.path.write_bytes(b"another")
    with pytest.raises(FileNotFoundError, match="another file stands there"):
        held.blocks.compare(entry)
    held.path.unlink()
    held.path.symlink_to("old")
    with pytest.raises(FileNotFoundError):
        held.blocks.read(entry, np.array([0]))


def test_a_fifo_in_a_files_place_is_not_opened(held):
    entry = held.entry()
    held.path.unlink()
    os.mkfifo(held.path)
    stop = threading.Event()
    opened = []

    def writer():
        while not stop.is_set():
            with suppress(OSError):  # nobody reads
                opened.append(os.open(held.path, os.O_WRONLY | os.O_NONBLOCK))

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(200):
            with pytest.raises(FileNotFoundError):
                held.blocks.compare(entry)
    finally:
        stop.set()
        thread.join()
    assert opened == []


def test_reading_moves_no_times(held):
    os.utime(held.path, ns=(10**18, 10**18))
    before = held.path.stat()
    held.send()
    tree = tree_of(held.path.parent)
    tree.scan()
    after = held.path.stat()
    assert (before.st_atime_ns, before.st_ctime_ns) == (after.st_atime_ns, after.st_ctime_ns)


def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(1))
    held = Held(path)
    stop = threading.Event()

    def writer():
        draw = random.Random(5)
        while not stop.is_set():
            if draw.random() < 0.5:
                os.truncate(path, draw.randrange(3 << 20))
            else:
                write_at(path, draw.randrange(1 << 20), draw.randbytes(1 << 18))

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(40):
            held.send()
    finally:
        stop.set()
        thread.join()
    held.send()
    assert held.there == path.read_bytes()
    assert held.holds_what_is_there()


# --- the tree -------------------------------------------------------------------------------------


def test_a_quiet_scan_finds_nothing(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    tree = tree_of(tmp_path)
    scan = tree.scan()
    assert scan.quiet
    assert len(scan.changed) == 0


def test_what_a_first_scan_finds(tmp_path):
    root = tmp_path / "r"
    (root / "empty").mkdir(parents=True)
    (root / "f").write_bytes(b"x")
    (root / "l").symlink_to("nowhere")
    os.mkfifo(root / "p")
    tree = Tree(Selection.from_paths([root]))
    scan = tree.scan()
    kinds = {os.path.basename(e.path): e.kind for e in map(tree.entry, scan.appeared)}
    assert kinds[b"empty"] == kinds[b"r"] == "directory"
    assert (kinds[b"f"], kinds[b"l"], kinds[b"p"]) == ("file", "link", "fifo")
    assert tree.find(os.fsencode(root / "l")).target == b"nowhere"
    paths = [tree.entry(id).path for id in scan.appeared]
    assert paths == sorted(paths)
    assert names(tree, scan.changed) == [b"f"]
    assert tree.find(os.fsencode(tmp_path)).above
    assert not tree.find(os.fsencode(root)).above


def test_same_size_in_the_same_tick(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"one")
    tree = Tree(Selection.from_paths([path]))
    tree.scan()
    path.write_bytes(b"two")
    assert names(tree, tree.scan().changed) == [b"f"]


def test_a_young_signature_is_not_trusted(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"one")
    tree = Tree(Selection.from_paths([path]))
    first, second = tree.scan(), tree.scan()
    assert names(tree, first.changed) == names(tree, second.changed) == [b"f"]
    assert names(tree, second.moved) == []


def test_a_signature_that_was_young_when_it_was_taken_is_not_trusted_later(tmp_path):
    """A later write in the tick of the first scan has the same signature, however long ago."""
    for attempt in range(1000):
        root = tmp_path / str(attempt) / "r"
        root.mkdir(parents=True)
        (root / "f").write_bytes(b"one")
        tree = Tree(Selection.from_paths([root]))
        tree.scan()
        if time.time_ns() - root.stat().st_ctime_ns < 4_000_000:  # else we were not let run
            break
    time.sleep(0.5)
    later, after = tree.scan(), tree.scan()
    assert names(tree, later.changed) == [b"f"]
    assert names(tree, later.touched) == [b"f", b"r"]
    assert later.moved.tolist() == []
    assert after.quiet


@pytest.mark.parametrize("missed", ["listing", "status"])
def test_what_a_rename_of_a_directory_above_hides_for_a_moment_is_found(
    tmp_path, monkeypatch, missed
):
    """Renamed away and back in mid-scan: that moves no time stamp of what is below it."""
    root, away = tmp_path / "r", tmp_path / "away"
    folder = root / "a" / "d"
    folder.mkdir(parents=True)
    tree = tree_of(root)
    (folder / "new").write_bytes(b"x")
    time.sleep(0.6)  # nothing is young any more

    def swapped(real, counts):
        def call(*arguments):
            if not counts(arguments):
                return real(*arguments)
            (root / "a").rename(away)
            try:
                return real(*arguments)
            finally:
                away.rename(root / "a")

        return call

    with monkeypatch.context() as patch:
        if missed == "listing":
            real = tree_module._list_quietly
            at = os.fsencode(folder)
            patch.setattr(tree_module, "_list_quietly", swapped(real, lambda a: a[0] == at))
        else:
            at = os.fsencode(folder / "new")
            statuses = swapped(_source.statuses, lambda a: at in a[0])
            patch.setattr(tree_module, "_source", SimpleNamespace(statuses=statuses))
        tree.scan()
    assert tree.find(os.fsencode(folder / "new")) is None
    tree.scan()
    assert tree.find(os.fsencode(folder / "new")).kind == "file"
    assert tree._unread == set()


def test_a_link_that_was_not_there_to_be_read_is_read_by_the_next_scan(tmp_path, monkeypatch):
    def gone(path):
        raise FileNotFoundError(path)

    path = tmp_path / "r" / "link"
    path.parent.mkdir()
    path.symlink_to("old")
    tree = tree_of(path.parent)
    path.unlink()
    path.symlink_to("new")
    time.sleep(0.3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "readlink", gone)
        tree.scan()
    assert names(tree, tree.scan().relinked) == [b"link"]
    assert tree.find(os.fsencode(path)).target == b"new"
    assert tree.scan().relinked == []


def test_times_set_back_are_seen(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"one")
    tree = tree_of(path)
    before = path.stat()
    write_at(path, 0, b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    scan = tree.scan()
    assert names(tree, scan.changed) == names(tree, scan.moved) == [b"f"]


def test_rights_and_attributes_are_seen(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"one")
    tree = tree_of(path)
    path.chmod(0o600)
    assert names(tree, tree.scan().touched) == [b"f"]
    settled(tree)
    os.setxattr(path, "user.note", b"x")
    assert names(tree, tree.scan().touched) == [b"f"]


def test_a_renamed_file_and_a_renamed_directory_keep_their_ids(tmp_path):
    root = tmp_path / "r"
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "e" / "f").write_bytes(b"x")
    tree = tree_of(root)
    ids = {e.path: e.id for e in tree.entries()}
    (root / "d").rename(root / "n")
    (root / "n" / "e" / "f").rename(root / "n" / "e" / "g")
    scan = tree.scan()
    at = os.fsencode(root)
    assert scan.renames == [
        (ids[at + b"/d"], at + b"/d", at + b"/n"),
        (ids[at + b"/d/e/f"], at + b"/n/e/f", at + b"/n/e/g"),
    ]
    assert (scan.appeared, scan.vanished) == ([], [])
    assert tree.find(at + b"/n/e").id == ids[at + b"/d/e"]


def test_a_name_that_something_else_came_to_first_is_no_goal_of_a_rename():
    renaming = Renaming({1: b"/d", 2: b"/d/x", 3: b"/q"})
    renaming.take(1, b"/n", is_directory=True)
    assert renaming.current == {2: b"/n/x", 3: b"/q"}
    assert renaming.choose([3], b"/n/x") is None  # 2 is there at the destination
    assert renaming.choose([3, 2], b"/n/x") == 2
    assert renaming.choose([3, 2], b"/n/y") == 3
    assert renaming.choose([], b"/n/y") is None


def test_a_file_replaced_by_rename_keeps_the_id_of_its_name(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    tree = tree_of(tmp_path)
    id = tree.find(os.fsencode(path)).id
    (tmp_path / "new").write_bytes(b"new")
    os.replace(tmp_path / "new", path)
    scan = tree.scan()
    assert (scan.appeared, scan.vanished, scan.renames) == ([], [], [])
    assert id in scan.changed
    assert tree.entry(id).status.ino == path.stat().st_ino


@pytest.mark.parametrize("before", ["file", "directory", "link"])
@pytest.mark.parametrize("after", ["file", "directory", "link"])
def test_one_kind_in_the_place_of_another(tmp_path, before, after):
    make = {
        "file": lambda path: path.write_bytes(b"x"),
        "directory": lambda path: (path.mkdir(), (path / "in").write_bytes(b"y")),
        "link": lambda path: path.symlink_to(before),
    }
    path = tmp_path / "r" / "x"
    path.parent.mkdir()
    make[before](path)
    tree = tree_of(path.parent)
    old = tree.find(os.fsencode(path))
    shutil.rmtree(path) if before == "directory" else path.unlink()
    make[after](path)
    scan = tree.scan()
    new = tree.find(os.fsencode(path))
    assert new.kind == after
    if before == after:
        assert new.id == old.id
    else:
        assert old.id in scan.vanished
        assert new.id in scan.appeared
        assert tree.entry(old.id).kind == before
    inside = [e for e in tree.entries() if e.path.endswith(b"/in")]
    assert len(inside) == (after == "directory")


def test_a_directory_renamed_in_mid_scan(tmp_path, monkeypatch):
    root = tmp_path / "r"
    (root / "d").mkdir(parents=True)
    for number in range(10):
        (root / "d" / str(number)).write_bytes(b"x")
    copy = Copy([root], tmp_path)
    copy.target = os.fsencode(tmp_path / "t")
    os.mkdir(copy.target)
    copy.cycle()
    real = _source.statuses
    calls = []

    def renaming(given, known, *rest):
        if calls:
            return real(given, known, *rest)
        calls.append(True)
        half = len(given) // 2
        first = np.frombuffer(real(given[:half], known[:half], None, 0, 0), np.uint8)
        (root / "d").rename(root / "n")
        second = np.frombuffer(real(given[half:], known[half:], None, 0, 0), np.uint8)
        table = second.reshape(-1, 72).copy()
        table[:, :8] = (table[:, :8].copy().view(np.int64) + half).view(np.uint8).reshape(-1, 8)
        return first.tobytes() + table.tobytes()

    monkeypatch.setattr("precopy.migration.source.tree._source.statuses", renaming)
    assert copy.cycle().vanished
    below = {e.path for e in copy.tree.entries()}
    assert all(os.path.dirname(path) in below | {b"/"} for path in below)
    copy.cycle()
    assert copy.differences([root]) == []


def test_hard_links_are_one_file(tmp_path):
    root = tmp_path / "r"
    root.mkdir()
    (root / "a").write_bytes(b"x")
    os.link(root / "a", root / "b")
    tree = tree_of(root)
    a, b = (tree.find(os.fsencode(root / name)) for name in "ab")
    assert (a.same_as, b.same_as, tree.names(b.id)) == (None, a.id, [a.id, b.id])
    write_at(root / "b", 0, b"y")
    assert tree.scan().changed.tolist() == [a.id]
    (root / "a").unlink()
    scan = tree.scan()
    assert scan.heirs == [(a.id, b.id)]
    assert tree.entry(b.id).same_as is None
    os.link(root / "b", root / "c")
    (root / "b").unlink()
    (root / "b").write_bytes(b"another")
    scan = tree.scan()
    c = tree.find(os.fsencode(root / "c"))
    assert (scan.relinked, c.same_as) == ([], None)
    assert b.id in scan.changed
    (root / "c").unlink()
    os.link(root / "b", root / "c")
    scan = tree.scan()
    assert (scan.relinked, tree.entry(c.id).same_as) == ([c.id], b.id)


def test_a_name_that_joined_before_it_was_looked_at_is_linked_anew():
    links = Names()
    links.update({2: (1, 1, 1)}, set(), {2})
    assert links.update({1: (1, 1, 1)}, set(), set()) == ([], [1])


def test_weird_names(tmp_path):
    root = os.fsencode(tmp_path / "r")
    os.mkdir(root)
    for name in WEIRD:
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
    os.mkdir(tmp_path / "t")
    copy = Copy([root], tmp_path / "t")
    copy.cycle()
    assert names(copy.tree, copy.tree._ids.values())[-len(WEIRD) :]
    assert copy.differences([root]) == []
    os.rename(os.path.join(root, WEIRD[0]), os.path.join(root, b"other\r"))
    copy.cycle()
    assert copy.differences([root]) == []


def test_what_does_not_move_is_told_once(tmp_path):
    root = tmp_path / "r"
    root.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "s"))
    tree = Tree(Selection.from_paths([root]))
    ((path, why),) = tree.scan().problems
    assert path == os.fsencode(root / "s")
    assert "socket" in why
    (root / "f").write_bytes(b"x")
    assert tree.scan().problems == []


def test_a_named_file_that_is_gone_is_looked_for(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    tree = tree_of(path)
    path.unlink()
    assert names(tree, tree.scan().vanished) == [b"f"]
    assert tree.scan().quiet
    path.write_bytes(b"x")
    assert names(tree, tree.scan().appeared) == [b"f"]


def test_a_path_that_a_log_names(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "d" / "g").write_bytes(b"x")
    tree = tree_of(tmp_path / "f")
    assert not tree.add(os.fsencode(tmp_path / "f"))
    assert tree.add(os.fsencode(tmp_path / "d" / "g"))
    assert tree.add(os.fsencode(tmp_path / "none"))
    assert names(tree, tree.scan().appeared) == [b"d", b"g"]
    assert tree.find(os.fsencode(tmp_path / "d")).above


def test_others_names_in_a_directory_of_many_do_not_matter(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    tree = tree_of(path)
    (tmp_path / "somebody's").write_bytes(b"x")
    assert tree.scan().quiet
    tmp_path.chmod(0o711)
    assert names(tree, tree.scan().touched) == [os.path.basename(os.fsencode(tmp_path))]


def test_a_directory_is_read_again_only_if_it_may_have_changed(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / "r" / name).mkdir(parents=True)
    tree = tree_of(tmp_path / "r")
    read = []
    real = Tree._list
    monkeypatch.setattr(
        Tree,
        "_list",
        lambda self, draft, path, status: (read.append(path), real(self, draft, path, status))[1],
    )
    tree.scan()
    assert read == []
    (tmp_path / "r" / "a" / "f").write_bytes(b"x")
    tree.scan()
    assert read == [os.fsencode(tmp_path / "r" / "a")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_mounts_below_a_root(tmp_path):
    root = tmp_path / "r"
    for name in ("data", "kernel"):
        (root / name).mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", root / "data"], check=True)
    subprocess.run(["mount", "-t", "proc", "none", root / "kernel"], check=True)
    try:
        (root / "data" / "f").write_bytes(b"x")
        tree = Tree(Selection.from_paths([root]))
        scan = tree.scan()
        assert tree.find(os.fsencode(root / "data" / "f"))
        ((path, why),) = scan.problems
        assert path == os.fsencode(root / "kernel")
        assert "proc" in why
        assert not [e for e in tree.entries() if e.path.startswith(path + b"/")]
    finally:
        for name in ("data", "kernel"):
            subprocess.run(["umount", root / name], check=True)


UNREADABLE = """
import os, sys
from precopy.migration.source.tree import Selection, Tree
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for path, why in Tree(Selection.from_paths([sys.argv[1]])).scan().problems:
    print(os.path.basename(path).decode(), why)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_what_may_not_be_read_is_told(tmp_path):
    root = tmp_path / "r"
    (root / "closed").mkdir(parents=True)
    (root / "secret").write_bytes(b"x")
    (root / "open").write_bytes(b"x")
    for path, mode in ((root / "secret", 0o600), (root / "closed", 0o700)):
        path.chmod(mode)
    for path in (root, *root.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    command = [sys.executable, "-c", UNREADABLE, root]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    lines = sorted(told.splitlines())
    assert [line.split()[0] for line in lines] == ["closed", "secret"]
    assert "run as root" in lines[1]


@pytest.mark.parametrize("seed", range(24))
def test_whatever_happens_between_scans_arrives(tmp_path, seed):
    root = tmp_path / "r"
    root.mkdir()
    (tmp_path / "t").mkdir()
    draw = random.Random(seed)
    copy = Copy([root], tmp_path / "t")
    copy.cycle()
    done = []
    for _ in range(8):
        for _ in range(draw.randrange(1, 7)):
            done.append(change(draw, root))
        copy.cycle()
        assert copy.differences([root]) == [], done


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_during_scans_arrives(tmp_path, seed):
    root = tmp_path / "r"
    root.mkdir()
    (tmp_path / "t").mkdir()
    copy = Copy([root], tmp_path / "t")
    copy.cycle()
    script = Path(__file__).parent / "migration" / "changes.py"
    with subprocess.Popen([sys.executable, script, root, str(seed), "400"]) as changing:
        while changing.poll() is None:
            copy.cycle()
    assert changing.returncode == 0
    copy.cycle()
    copy.cycle()
    assert copy.differences([root]) == []


# --- time stamps and file systems -----------------------------------------------------------------


def test_granularity_is_the_worst_until_a_fraction_of_a_second_is_seen():
    known = Granularity()
    assert not known.learn(b"/", 1, 5_000_000_000)
    assert known.of(1) == COARSE_NS
    assert known.learn(b"/", 1, 5_000_000_001)
    assert known.of(1) <= COARSE_NS
    assert not known.learn(b"/", 1, 5_000_000_002)


def test_what_is_known_of_file_systems():
    assert Mount(b"/", "ext4").granularity_ns == TICK_NS
    assert Mount(b"/", "vfat").granularity_ns == COARSE_NS
    assert Mount(b"/", "nfs4").is_remote
    assert not Mount(b"/", "vfat").is_remote
    assert Mount(b"/", "ext4").shows_stores
    assert not Mount(b"/", "ext4", frozenset(["dax=always"])).shows_stores
    assert Mount(b"/", "tmpfs").hides_stores
    assert Mounts([Mount(b"/", "a"), Mount(b"/b", "c"), Mount(b"/b", "d")]).of(b"/b/x").kind == "d"
    assert Mounts([]).of(b"/b/x").granularity_ns == COARSE_NS


def test_another_machines_clock_is_not_trusted(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    tree = Tree(Selection.from_paths([path]))
    monkeypatch.setattr(Mounts, "of", lambda self, path: Mount(b"/", "nfs4"))
    tree.scan()
    path.write_bytes(b"y")
    os.utime(path)
    tree.scan()
    # As if the server's clock were an hour late: by its times the file has been quiet for long.
    tree._granularity_ns[:] = -3_600_000_000_000
    tree.under_way_ns = 0
    assert names(tree, tree.scan().changed) == [b"f"]
    tree._granularity._moved_at = {id: at - 3 for id, at in tree._granularity._moved_at.items()}
    assert names(tree, tree.scan().changed) == []


# --- the selection --------------------------------------------------------------------------------


def test_paths_and_the_links_that_they_pass_through(tmp_path):
    (tmp_path / "releases" / "5" / "data").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/5")
    (tmp_path / "name").symlink_to(tmp_path / "current" / "data")
    chosen = Selection.from_paths([tmp_path / "name"])
    at = os.fsencode(tmp_path)
    assert chosen.links == (at + b"/current", at + b"/name")
    assert chosen.roots == (at + b"/releases/5/data",)
    assert at + b"/releases" in chosen.above
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "loop").symlink_to("loop")
    chosen = Selection.from_paths([tmp_path / "dangling", tmp_path / "loop"])
    assert chosen.links == (at + b"/dangling", at + b"/loop")


def test_a_path_below_a_root_is_no_second_one(tmp_path, monkeypatch):
    (tmp_path / "r" / "s").mkdir(parents=True)
    (tmp_path / "r" / "f").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    chosen = Selection.from_paths(["r/f", "r/s/", "r", "r/../r"])
    assert (chosen.roots, chosen.files) == ((os.fsencode(tmp_path / "r"),), ())


def test_paths_that_cannot_move(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no '.*one', '.*two\\n'"):
        Selection.from_paths([tmp_path / "one", tmp_path, tmp_path / "two\n"])
    with pytest.raises(ValueError, match="whole machine"):
        Selection.from_paths(["/"])
    with pytest.raises(ValueError, match="kernel's"):
        Selection.from_paths(["/proc/self/status"])
    with pytest.raises(ValueError, match="kernel's"):
        Selection.from_paths(["/dev/null"])
    with pytest.raises(ValueError, match="got none"):
        Selection.from_paths([])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
    with pytest.raises(ValueError, match="socket"):
        Selection.from_paths([tmp_path / "s"])


def test_targets_that_cannot_be(tmp_path):
    root = tmp_path / "r"
    (root / "in").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(root)
    chosen = Selection.from_paths([root])
    for target in (root, root / "in", root / "new" / "deep", tmp_path / "link" / "in"):
        with pytest.raises(ValueError, match="lies inside"):
            chosen.refuse_target(target)
    with pytest.raises(ValueError, match="arrive where it is"):
        chosen.refuse_target("/")
    chosen.refuse_target(tmp_path / "out")
    chosen.refuse_target(tmp_path / "r2")


def used(*files):
    return [
        f'7 1.{number} openat(AT_FDCWD</>, "{path}", {mode}) = 3<{path}>'
        for number, (path, mode) in enumerate(files)
    ]


def test_what_an_identification_brings(tmp_path):
    own, common = tmp_path / "own", tmp_path / "common"
    own.mkdir()
    common.mkdir()
    for path in (own / "a", own / "b", common / "c", common / "others"):
        path.write_bytes(b"x")
    log = tmp_path / "access.db"
    lines = used(
        *((path, "O_RDWR") for path in (own / "a", own / "b", common / "c", own / "gone")),
        (tmp_path / "pipe", "O_RDONLY"),
    )
    import_strace(lines, log, app="service")
    os.mkfifo(tmp_path / "pipe")
    chosen = Selection.from_identification(identify(log, "service"))
    at = os.fsencode(tmp_path)
    assert chosen.files == (at + b"/common/c", at + b"/own/a", at + b"/own/b")
    assert chosen.fifos == (at + b"/pipe",)
    assert (at + b"/own/gone", "it is gone; nothing to do, if it was a temporary file") in (
        chosen.left_out
    )
    assert chosen.watched == {at + b"/own"}
    assert at + b"/common" in chosen.unwatched
    tree = Tree(chosen)
    tree.scan()
    (own / "new").write_bytes(b"x")
    (common / "new").write_bytes(b"x")
    scan = tree.scan()
    assert [tree.entry(id).path for id in scan.appeared] == [at + b"/own/new"]


def test_a_directory_that_everybody_may_write_is_nobodys(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "f").write_bytes(b"x")
    import_strace(used((shared / "f", "O_RDWR")), tmp_path / "access.db", app="service")
    chosen = Selection.from_identification(identify(tmp_path / "access.db", "service"))
    assert chosen.files == (os.fsencode(shared / "f"),)
    assert os.fsencode(shared) not in chosen.watched


# --- metadata -------------------------------------------------------------------------------------


def acl(user):
    """user::rw-, user:USER:r--, group::r--, mask::r--, other::---, as the kernel keeps it."""
    nobody = 0xFFFFFFFF
    rows = [(1, 6, nobody), (2, 4, user), (4, 4, nobody), (16, 4, nobody), (32, 0, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def test_metadata_of_a_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    path.chmod(0o640)
    os.setxattr(path, "user.note", b"\0binary")
    os.setxattr(path, "system.posix_acl_access", acl(1234))
    os.utime(path, ns=(1_500_000_000_123_456_789, 1_600_000_000_987_654_321))
    found = read_metadata(os.fsencode(path))
    assert (found.mode, found.uid, found.gid) == (0o640, os.getuid(), path.stat().st_gid)
    assert found.atime_ns == 1_500_000_000_123_456_789
    assert found.mtime_ns == 1_600_000_000_987_654_321
    assert found.xattrs == {b"user.note": b"\0binary", b"system.posix_acl_access": acl(1234)}


def test_metadata_of_a_directory_and_a_link(tmp_path):
    (tmp_path / "d").mkdir()
    os.setxattr(tmp_path / "d", "system.posix_acl_default", acl(1234))
    (tmp_path / "l").symlink_to("d")
    assert read_metadata(os.fsencode(tmp_path / "d")).xattrs == {
        b"system.posix_acl_default": acl(1234)
    }
    assert read_metadata(os.fsencode(tmp_path / "l")).xattrs == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives capabilities")
def test_capabilities_are_metadata(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    value = struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0)  # cap_net_bind_service, effective
    os.setxattr(path, "security.capability", value)
    assert read_metadata(os.fsencode(path)).xattrs == {b"security.capability": value}


def test_a_file_system_without_attributes_is_no_error():
    found = read_metadata(b"/proc/self/status")
    assert (found.xattrs, stat.filemode(stat.S_IFREG | found.mode)) == ({}, "-r--r--r--")


def test_labels_of_the_machine_stay(monkeypatch):
    monkeypatch.setattr(os, "listxattr", lambda path, **_: ["security.selinux", "user.a"])
    monkeypatch.setattr(os, "getxattr", lambda path, name, **_: b"v")
    found = read_metadata(b"/")
    assert (found.xattrs, found.left_out) == ({b"user.a": b"v"}, (b"security.selinux",))


def test_metadata_of_what_is_gone(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    for name in ("none", "f/below"):
        with pytest.raises(FileNotFoundError):
            read_metadata(os.fsencode(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        read_metadata(os.fsencode(tmp_path / "f"), stat.S_IFDIR)


def test_scanning_lets_other_threads_run(tmp_path):
    # Reading holds no lock that another thread needs: this one goes on counting.
    (tmp_path / "f").write_bytes(random.Random(6).randbytes(8 << 20))
    held = Held(tmp_path / "f")
    entry = held.entry()
    counted = 0
    done = threading.Event()

    def reader():
        held.blocks.read(entry, everything(8 << 20, 4096))
        done.set()

    thread = threading.Thread(target=reader)
    thread.start()
    while not done.wait(0.0001):
        counted += 1
    thread.join()
    assert counted > 0
