"""Malformed input for the far side: run as a program, it ends with 0 if nothing bad came of it.

Every conversation is drawn from its seed: requests with hostile names and numbers, which are then
bent, cut, or made of random bytes. Whatever comes in, the far side must answer with frames and
end; it must raise nothing, start nothing that was not committed, stay small, and change nothing
outside the target.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import tempfile
from pathlib import Path

from migration.driven import drive, frame, numbers, opening, text

from precopy.migration.transport import farside as far

NAMES = [
    b"a", b"b", b"a/b", b"a/b/c", b"d/e", b"out", b"out/kept", b"file-out", b"hard", b"x" * 255,
    b"", b"/", b"/etc/passwd", b"..", b"../kept", b"a/../../kept", b"a//b", b"./a", b"a/.", b"a/",
    b".precopy-migration", b".precopy-migration/lock", b".precopy-migration/x/../..", b"\0",
    b"a\0b", b"x" * 256, b"y/" * 3000, b"\xff\xfe\n", b"-rf", b"~", b"a/out/../../kept",
]  # fmt: skip
NUMBERS = [
    0, 1, 2, 7, 255, 4096, 10_000, 65536, -1, -(1 << 63), (1 << 63) - 1, 1 << 32, (1 << 32) - 1,
    1 << 40, 1 << 62, 0o7777, 0o10000,
]  # fmt: skip
SHAPES = {
    far.FREE: "", far.LISTING: "", far.STATUS: "", far.PING: "", far.SYNC: "", far.BARRIER: "",
    far.MKDIR: "p", far.TRUNCATE: "pn", far.WRITE: "pnd", far.ZERO: "pnn", far.SYMLINK: "pt",
    far.LINK: "pp", far.FIFO: "p", far.RENAME: "pp", far.METADATA: "pnnnnnx", far.DELETE: "p",
    far.DIGESTS: "pn", far.VERIFY: "pnnv", far.COMMIT: "d", far.START: "ntw", far.WITHDRAW: "",
    far.TARGET: "t", far.BEGIN: "tn", far.END: "", 77: "d", far.ANSWER: "d",
}  # fmt: skip
RARE = {far.WITHDRAW, far.COMMIT, far.TARGET, far.BEGIN, far.END, far.STATUS, 77, far.ANSWER}
COMMON = [kind for kind in SHAPES if kind not in RARE]


class Drawn:
    """One conversation."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def part(self, shape: str) -> bytes:
        draw = self.draw
        if shape in "pt":
            return text(draw.choice(NAMES[:10]) if draw.random() < 0.7 else draw.choice(NAMES))
        if shape == "n":
            return numbers(
                draw.choice(NUMBERS[:8]) if draw.random() < 0.7 else draw.choice(NUMBERS)
            )
        if shape == "d":
            return draw.randbytes(draw.choice((0, 1, 100, 5000)))
        if shape == "v":
            count = draw.choice((0, 1, 3))
            index = [draw.choice(NUMBERS[:8]) for _ in range(count)]
            return numbers(draw.choice((count, *NUMBERS)), *index) + draw.randbytes(16 * count)
        count = draw.choice((0, 1, 2))
        words = [
            draw.choice((b"user.x", b"security.x", b"", b"\0", b"/bin/true")) for _ in range(4)
        ]
        size = draw.choice((count, count, *NUMBERS))
        return numbers(size) + b"".join(map(text, words[: count * (2 if shape == "x" else 1)]))

    def request(self, kinds: list[int]) -> bytes:
        draw = self.draw
        kind = draw.choice(kinds if draw.random() < 0.1 else COMMON)
        return frame(kind, *(self.part(shape) for shape in SHAPES[kind]))

    def bend(self, data: bytes) -> bytes:
        """Make a request what it should not be."""
        draw = self.draw
        at = draw.randrange(len(data))
        what = draw.randrange(7)
        if what == 0:
            return data[:at]
        if what == 1:
            return data[:at] + draw.randbytes(draw.randrange(1, 20)) + data[at:]
        if what == 2:
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        if what == 3:  # another length than it has
            size = draw.choice((0, 1, far.LONGEST, far.LONGEST + 1, (1 << 32) - 1))
            return far.FRAME.pack(data[0], size) + data[far.FRAME.size :]
        if what == 4:  # a number in the middle
            return data[:at] + numbers(draw.choice(NUMBERS)) + data[at + 8 :]
        if what == 5:
            return draw.randbytes(draw.randrange(1, 2000))
        return frame(data[0], data[far.FRAME.size : far.FRAME.size + at])  # cut, with its length

    def conversation(self, target: bytes) -> bytes:
        draw = self.draw
        start = opening(target) if draw.random() < 0.95 else b""
        # Whoever connects says which directory is the target: that cannot be drawn.
        kinds = [kind for kind in SHAPES if start or kind != far.TARGET]
        requests = [self.request(kinds) for _ in range(draw.randrange(1, 12))]
        for _ in range(draw.randrange(1, 3)):
            at = draw.randrange(len(requests))
            requests[at] = self.bend(requests[at]) or b"\0"
        return start + b"".join(requests)


def picture(root: Path) -> dict[str, object]:
    """Return everything about what must not change."""
    found: dict[str, object] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = (
            status.st_mode,
            status.st_uid,
            status.st_size,
            status.st_mtime_ns,
            content,
        )
    return found


def plant(sandbox: Path) -> Path:
    """Make a target with traps in it, and what they lead to."""
    target = sandbox / "target"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir()
    drive(opening(os.fsencode(target)))
    (target / "out").symlink_to(sandbox / "outside")
    (target / "file-out").symlink_to(sandbox / "outside/kept")
    os.link(sandbox / "outside/kept", target / "hard")
    return target


def run(first: int, count: int) -> None:
    """Have that many conversations."""
    far.Launcher.start = lambda *arguments: (1, True)  # type: ignore[method-assign]
    sandbox = Path(tempfile.mkdtemp(prefix="precopy-fuzz-", dir="/dev/shm"))
    (sandbox / "outside").mkdir()
    (sandbox / "outside/kept").write_text("kept")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    resource.setrlimit(resource.RLIMIT_DATA, (used + (512 << 20),) * 2)
    lowest = os.dup(0)
    os.close(lowest)
    os.chdir(sandbox / "outside")
    target = plant(sandbox)
    before = picture(sandbox / "outside")
    kinds: dict[str, int] = {}
    for seed in range(first, first + count):
        data = Drawn(seed).conversation(os.fsencode(target))
        signal.alarm(60)
        try:
            found, server = drive(data, iter(random.Random(seed).choices((1, 7, 100, 5000), k=5)))
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        for kind, answer in found:
            assert far.ANSWER <= kind <= far.ACKNOWLEDGED, (seed, kind)
            if kind == far.ERROR:
                told = json.loads(answer)
                assert "\n" not in told["text"], (seed, told)
                assert "MemoryError" not in told["text"], (seed, told)
                kinds[told["kind"]] = kinds.get(told["kind"], 0) + 1
        os.closerange(lowest, 2000)
        if seed % 100 == 0 or server.committed or not (target / "out").is_symlink():
            assert picture(sandbox / "outside") == before, seed
            assert sorted(os.listdir(sandbox)) == ["outside", "target"], seed
            target = plant(sandbox)
            before = picture(sandbox / "outside")
    assert picture(sandbox / "outside") == before
    shutil.rmtree(sandbox)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - used
    print(f"{count} conversations; errors told: {kinds}; memory grew by {grown >> 20} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    options = parser.parse_args()
    run(options.first, options.count)
