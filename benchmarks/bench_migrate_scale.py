"""What the migration's source side costs: looking at 200,000 files, hashing, and memory."""

from __future__ import annotations

import gc
import hashlib
import os
import tempfile
import time
import tracemalloc
from functools import cache
from pathlib import Path

import numpy as np
from harness import QUICK, Figure, figure, interleave, repeats

from precopy.migration.source import _source
from precopy.migration.source.blocks import BLOCK_BYTES, Blocks
from precopy.migration.source.dirty import Dirty
from precopy.migration.source.entries import STATUS
from precopy.migration.source.tree import Selection, Tree

FOLDERS, FILES_EACH = (20, 100) if QUICK else (2_000, 100)
HASHED_BYTES = 32 << 20
HELD_BYTES = 64 << 20


@cache
def _folder():
    folder = tempfile.TemporaryDirectory(prefix="precopy-scale-")
    for number in range(FOLDERS):
        below = Path(folder.name, "srv", "application", f"folder-{number}")
        below.mkdir(parents=True)
        for file in range(FILES_EACH):
            (below / f"file-{file}.dat").touch()
    time.sleep(0.3)  # nothing is young any more
    return folder


def _python_stat(paths):
    for path in paths:
        os.lstat(path)


@cache
def measure_looking():
    """Return the times of a quiet look, a quiet cycle with all layers, and the plain calls."""
    tree = Tree(Selection.from_paths([_folder().name]))
    tree.scan()
    tree.scan()
    names = [entry.path for entry in tree.entries()]
    nothing = np.zeros(len(names), STATUS)
    with Dirty(tree) as dirty:
        dirty.cycle()
        subjects = {
            # One statx per name, in a loop in C: every one is new and is written down.
            "stat": lambda: _source.statuses(names, nothing, None, 0, 0),
            "os.lstat": lambda: _python_stat(names),
            "scan": tree.scan,
            "cycle": dirty.cycle,
        }
        return interleave(subjects, repeats(9), clock=time.process_time)


@cache
def measure_hashing():
    """Return the times of hashing blocks of 4 KiB, by us and by hashlib."""
    data = np.random.default_rng(1).bytes(HASHED_BYTES)
    view = memoryview(data)

    def theirs():
        for at in range(0, HASHED_BYTES, BLOCK_BYTES):
            hashlib.blake2b(view[at : at + BLOCK_BYTES], digest_size=16).digest()

    subjects = {"ours": lambda: _source.digests(data, BLOCK_BYTES), "hashlib": theirs}
    return interleave(subjects, repeats(9))


class QuietLook:
    """A look that finds nothing, per one stat of each file: in C, and as os.lstat."""

    params = (["scan", "cycle"], ["stat", "os.lstat"])
    param_names = ("look", "over")
    unit = "x one stat per file"

    def track_look(self, look, over) -> Figure:
        times = measure_looking()
        limit = 3.0 if over == "stat" and not QUICK else None
        return figure(times[look] / times[over], at_most=limit)


class LookTime:
    """A quiet look, per entry."""

    params = (["stat", "os.lstat", "scan", "cycle"],)
    param_names = ("look",)
    unit = "ns/entry"

    def track_time(self, look) -> Figure:
        entries = FOLDERS * (FILES_EACH + 1)
        return figure(measure_looking()[look] * 1e9 / entries)


class Hashing:
    """BLAKE2b of blocks of 4 KiB."""

    params = (["ours", "hashlib"],)
    param_names = ("by",)
    unit = "MB/s"

    def track_hashing(self, by) -> Figure:
        return figure(HASHED_BYTES / 1e6 / measure_hashing()[by])


class HashingOverHashlib:
    """How much faster than hashlib."""

    unit = "x hashlib"

    def track_ratio(self) -> Figure:
        times = measure_hashing()
        return figure(times["hashlib"] / times["ours"], at_least=0.9)


class Memory:
    """What is kept at the source per entry, beside the bytes of its path, and per block."""

    params = (["entry", "blocks of a small file", "block"],)
    param_names = ("of",)
    unit = "bytes"

    def track_memory(self, of) -> Figure:
        measure, limit = {
            "entry": (self._entry, 350),
            "blocks of a small file": (self._small_file, 400),
            "block": (self._block, 18),
        }[of]
        return figure([measure()], limit)

    def _entry(self):
        tree = Tree(Selection.from_paths([_folder().name]))
        taken = _memory_of(tree.scan)
        paths = [entry.path for entry in tree.entries()]
        return (taken - sum(map(len, paths))) / len(paths)

    def _small_file(self):
        tree = Tree(Selection.from_paths([_folder().name]))
        tree.scan()
        files = [entry for entry in tree.entries() if entry.kind == "file"]
        blocks, one = Blocks(), np.ones((1, 16), np.uint8)

        def hold():
            for entry in files:
                blocks.hold(entry, np.zeros(1, np.int64), one, BLOCK_BYTES)

        return _memory_of(hold) / len(files)

    def _block(self):
        with tempfile.NamedTemporaryFile() as file:
            tree = Tree(Selection.from_paths([file.name]))
            tree.scan()
            entry = tree.find(os.fsencode(os.path.realpath(file.name)))
            blocks, none = Blocks(), np.empty(0, np.int64)
            digests = np.empty((0, 16), np.uint8)
            taken = _memory_of(lambda: blocks.hold(entry, none, digests, HELD_BYTES))
            return taken / (HELD_BYTES / BLOCK_BYTES)


def _memory_of(work):
    """Return how many bytes more are taken after some work than before."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        del result
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
