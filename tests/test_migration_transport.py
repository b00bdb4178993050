"""The channel: what is asked for arrives, here and behind ssh, and every end of a link is told."""

from __future__ import annotations

import ast
import contextlib
import errno
import fcntl
import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import termios
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from migration.hosts import Host, has_sshd, sshd

from precopy.migration.source.metadata import Metadata, read_metadata
from precopy.migration.transport import (
    StartError,
    TargetError,
    TransportError,
    VerifyError,
    channel,
    connect,
    farside,
    reach,
)
from precopy.migration.transport.channel import Channel

needs_sshd = pytest.mark.skipif(not has_sshd(), reason="sshd not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root is needed")
BLOCK = 4096


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with sshd(tmp_path_factory.mktemp("sshd")) as host:
        yield host


@pytest.fixture(params=["local", pytest.param("ssh", marks=needs_sshd)])
def reached(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Channel]]:
    """Connect to ``tmp_path / "target"``, as often as wanted."""
    host = request.getfixturevalue("host") if request.param == "ssh" else None
    with contextlib.ExitStack() as stack:

        def open_channel(bandwidth: float | None = None) -> Channel:
            to = f"{host.alias}:{tmp_path}/target" if host else f"{tmp_path}/target"
            made = connect(to, bandwidth=bandwidth, ssh=host and host.ssh)
            assert isinstance(made, Channel)
            stack.callback(made.close)
            return made

        yield open_channel


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Channel]:
    """Give a channel to ``tmp_path / "target"`` that has begun."""
    made = connect(str(tmp_path / "target"))
    assert isinstance(made, Channel)
    made.begin("m", resume=False)
    yield made
    made.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def put(there: Channel, path: bytes, data: bytes) -> None:
    there.truncate(path, len(data))
    there.write(path, 0, data)


def gone(pid: int) -> bool:
    """Wait until a process has ended."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False


def meta(mode: int, **others: object) -> Metadata:
    now = {"uid": os.geteuid(), "gid": os.getegid(), "atime_ns": 5, "mtime_ns": 7}
    return Metadata(mode, **(now | others))  # type: ignore[arg-type]


# What arrives.


def test_everything_that_a_tree_can_hold_arrives(
    reached: Callable[..., Channel], target: Path
) -> None:
    there = reached()
    there.begin("m", resume=False)
    odd = b"/d/new\nline -x \xff\xfe"
    put(there, odd, b"abc" * 5000)
    there.truncate(b"/d/sparse", 10 << 20)
    there.write(b"/d/sparse", 5 << 20, b"data")
    there.mkdir(b"/d/empty")
    there.symlink(b"/d/link", b"/etc/\xffpasswd")
    there.link(b"/d/second", odd)
    there.fifo(b"/d/fifo")
    # user::rw-, user:1000:rw-, group::r--, mask::rw-, other::---
    acl = bytes.fromhex("0200000001000600ffffffff02000600e803000004000400ffffffff")
    acl += bytes.fromhex("10000600ffffffff20000000ffffffff")
    owner = {"uid": 1234, "gid": 2345} if os.geteuid() == 0 else {}
    xattrs = {b"user.note": b"\0\xff", b"system.posix_acl_access": acl}
    there.metadata(odd, meta(0o660, mtime_ns=1_000_000_000_123_456_789, xattrs=xattrs, **owner))
    there.metadata(b"/d/link", meta(0o777, mtime_ns=3_000_000_001, **owner))
    there.metadata(b"/d/fifo", meta(0o622, mtime_ns=4_000_000_001, **owner))
    there.metadata(b"/d/empty", meta(0o3751, mtime_ns=5_000_000_001, **owner))
    there.metadata(b"/d", meta(0o711, mtime_ns=6_000_000_001))
    there.sync()
    acknowledged = there.barrier()

    name = os.fsencode(target) + odd
    found = read_metadata(name)
    assert Path(os.fsdecode(name)).read_bytes() == b"abc" * 5000
    assert found.mtime_ns == 1_000_000_000_123_456_789
    assert found.atime_ns == 5
    assert found.xattrs == xattrs
    assert stat.S_IMODE(found.mode) == 0o660
    for path, mode, mtime in (
        ("d/fifo", 0o622, 4_000_000_001),
        ("d/empty", 0o3751, 5_000_000_001),
        ("d", 0o711, 6_000_000_001),
        ("d/link", 0o777, 3_000_000_001),
    ):
        status = os.lstat(target / path)
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (mode, mtime), path
        if owner and path != "d":
            assert (status.st_uid, status.st_gid) == (1234, 2345), path
    assert stat.S_ISFIFO(os.lstat(target / "d/fifo").st_mode)
    assert os.readlink(os.fsencode(target) + b"/d/link") == b"/etc/\xffpasswd"
    assert os.lstat(target / "d/second").st_ino == os.lstat(name).st_ino
    sparse = os.lstat(target / "d/sparse")
    assert sparse.st_size == 10 << 20
    assert sparse.st_blocks * 512 < 1 << 20
    assert acknowledged.bytes > 15000
    assert acknowledged.notes == ()
    assert there.listing()[odd] == ("file", 15000)
    assert there.listing()[b"/d/fifo"] == ("fifo", 0)


def test_a_hole_is_one_wherever_it_is(there: Channel, target: Path) -> None:
    data = bytearray(os.urandom(64 * BLOCK))
    put(there, b"/f", data)
    there.sync()
    there.barrier()
    for offset, size in ((0, BLOCK), (10 * BLOCK, 20 * BLOCK), (60 * BLOCK, 9 * BLOCK), (7, 5)):
        there.zero(b"/f", offset, size)
        end = min(offset + size, len(data))
        data[offset:end] = bytes(end - offset)
    there.barrier()
    assert (target / "f").read_bytes() == data
    assert os.stat(target / "f").st_blocks * 512 <= 42 * BLOCK


def test_without_holes_in_files_zeros_take_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = farside.System()
    system.call = None
    monkeypatch.setattr(farside, "System", lambda: system)
    target = farside.Target(os.fsencode(tmp_path / "t"), lambda: None)
    target.begin("m", False, False)
    data = bytearray(os.urandom(16 * BLOCK))
    target.truncate(b"f", len(data))
    target.write(b"f", 0, memoryview(data))
    for offset, size in ((BLOCK + 1, 3 * BLOCK), (14 * BLOCK, 1 << 62)):
        target.zero(b"f", offset, size)
        end = min(offset + size, len(data))
        data[offset:end] = bytes(end - offset)
    assert (tmp_path / "t/f").read_bytes() == data


KINDS: dict[str, Callable[[Channel, bytes], None]] = {
    "file": lambda there, path: put(there, path, b"file"),
    "directory": lambda there, path: put(there, path + b"/below/deeper", b"x"),
    "link": lambda there, path: there.symlink(path, b"elsewhere"),
    "fifo": lambda there, path: there.fifo(path),
    "second": lambda there, path: there.link(path, b"/other"),
}


@pytest.mark.parametrize("before", KINDS)
@pytest.mark.parametrize("after", KINDS)
def test_a_name_changes_its_kind(there: Channel, target: Path, before: str, after: str) -> None:
    put(there, b"/other", b"other")
    KINDS[before](there, b"/d/name")
    there.barrier()
    if after == "file" and before == "second":
        there.delete(b"/d/name")  # else it would still be the other one, too
    KINDS[after](there, b"/d/name")
    there.barrier()
    expected = {"second": "file"}.get(after, after)
    assert there.listing()[b"/d/name"][0] == expected
    assert (target / "other").read_bytes() == b"other"
    assert (after == "second") == (os.lstat(target / "other").st_nlink == 2)


def test_renames_take_along_what_is_below(there: Channel, target: Path) -> None:
    put(there, b"/a/x/f", b"one")
    put(there, b"/b/f", b"two")
    there.barrier()
    there.rename(b"/a/x", b"/b/new/x")
    there.rename(b"/b/f", b"/b/new/x/f")
    there.write(b"/b/new/x/f", 0, b"2")
    there.barrier()
    assert (target / "b/new/x/f").read_bytes() == b"2wo"
    assert sorted(there.listing()) == [b"/a", b"/b", b"/b/new", b"/b/new/x", b"/b/new/x/f"]
    for old, new in ((b"/b", b"/b/new/in"), (b"/b/new/x", b"/b"), (b"/gone", b"/b/new/y")):
        there.rename(old, new)
        with pytest.raises(TargetError):
            there.barrier()
    assert (target / "b/new/x/f").read_bytes() == b"2wo"


def test_one_name_of_a_file_is_renamed_to_another_of_it(there: Channel, target: Path) -> None:
    put(there, b"/a", b"data")
    there.link(b"/b", b"/a")
    there.rename(b"/a", b"/b")
    there.barrier()
    assert sorted(there.listing()) == [b"/b"]
    assert (target / "b").read_bytes() == b"data"


def test_what_is_deleted_twice_or_was_never_there_is_no_error(there: Channel) -> None:
    put(there, b"/d/f", b"x")
    there.delete(b"/d/f")
    there.delete(b"/d/f")
    there.delete(b"/never/was")
    there.delete(b"/d")
    there.delete(b"/d/f")
    there.barrier()
    assert there.listing() == {}


def test_digests_are_of_what_is_there(there: Channel) -> None:
    size = 5 * BLOCK + 100
    data = bytearray(size)
    data[2 * BLOCK : 3 * BLOCK] = os.urandom(BLOCK)
    there.truncate(b"/f", size)
    there.write(b"/f", 2 * BLOCK, data[2 * BLOCK : 3 * BLOCK])
    there.truncate(b"/empty", 0)
    there.truncate(b"/hole", 3 * BLOCK)
    for block in (BLOCK, 1000, 1 << 20):
        expected = b"".join(digest(data[at : at + block]) for at in range(0, size, block))
        assert there.digests(b"/f", block) == expected, block
    assert there.digests(b"/empty", BLOCK) == b""
    assert there.digests(b"/hole", BLOCK) == 3 * digest(bytes(BLOCK))


def test_digests_of_many_files_come_without_a_round_trip_for_each(there: Channel) -> None:
    names = [b"/d/%d" % number for number in range(300)]
    for name in names:
        put(there, name, name)
    found = dict(there.digests_of((name, BLOCK) for name in names))
    assert found == {name: digest(name) for name in names}
    # An error in the middle, or a caller who has seen enough, leaves no answer behind.
    with pytest.raises(TargetError):
        list(there.digests_of([(names[0], BLOCK), (b"/none", BLOCK), (names[1], BLOCK)]))
    assert next(iter(there.digests_of((name, BLOCK) for name in names)))[0] == names[0]
    assert there.digests(names[7], BLOCK) == digest(names[7])


def test_a_difference_is_told_with_path_and_blocks(there: Channel) -> None:
    data = os.urandom(10 * BLOCK)
    put(there, b"/right", data)
    put(there, b"/wrong", data)
    put(there, b"/short", data[:-1])
    for block in (3, 9):
        there.write(b"/wrong", block * BLOCK, bytes([data[block * BLOCK] ^ 1]))
    every = np.arange(10)
    expected = np.frombuffer(
        b"".join(digest(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)), np.uint8
    ).reshape(10, 16)
    for name in (b"/right", b"/wrong", b"/short", b"/missing"):
        there.verify(name, len(data), BLOCK, every, expected)
    with pytest.raises(VerifyError) as caught:
        there.barrier()
    assert caught.value.wrong == {b"/wrong": [3, 9], b"/short": [], b"/missing": []}
    there.verify(b"/right", len(data), BLOCK, every[4:5], expected[4:5])
    assert there.barrier().verify_s > 0


def test_what_is_verified_is_found_by_its_name(there: Channel, target: Path) -> None:
    put(there, b"/f", b"right")
    there.digests(b"/f", BLOCK)  # waits, and the file stays open there
    (target / "f").rename(target / "moved")
    (target / "f").write_bytes(b"right")
    there.verify(b"/f", 5, BLOCK, [0], digest(b"right"))
    with pytest.raises(VerifyError):
        there.barrier()


def test_verifying_thousands_of_blocks_takes_several_requests(there: Channel) -> None:
    blocks = 5000
    data = os.urandom(blocks * 16)
    put(there, b"/f", data)
    expected = b"".join(digest(data[at : at + 16]) for at in range(0, len(data), 16))
    there.verify(b"/f", len(data), 16, list(range(blocks)), expected)
    there.barrier()
    there.write(b"/f", 4999 * 16, bytes([data[4999 * 16] ^ 1]))
    there.verify(b"/f", len(data), 16, list(range(blocks)), expected)
    with pytest.raises(VerifyError) as caught:
        there.barrier()
    assert caught.value.wrong == {b"/f": [4999]}


def test_the_first_error_is_told_and_nothing_after_it_was_done(
    there: Channel, target: Path
) -> None:
    put(there, b"/before", b"x")
    there.write(b"/none", 0, b"x")
    put(there, b"/after", b"x")
    with pytest.raises(TargetError, match="not there") as caught:
        there.barrier()
    assert caught.value.path == b"/none"
    assert caught.value.errno == errno.ENOENT
    assert sorted(os.listdir(target)) == [".precopy-migration", "before"]
    put(there, b"/after", b"x")
    there.barrier()
    assert (target / "after").exists()


def test_data_may_be_used_again_after_write(there: Channel, target: Path) -> None:
    data = bytearray(b"a" * BLOCK)
    there.truncate(b"/f", 3 * BLOCK)
    for number in range(3):
        data[:] = b"%d" % number * BLOCK
        there.write(b"/f", number * BLOCK, memoryview(data))
    there.barrier()
    assert (target / "f").read_bytes() == b"0" * BLOCK + b"1" * BLOCK + b"2" * BLOCK


def test_random_calls_give_what_they_say(there: Channel, target: Path) -> None:
    draw = random.Random(1)
    held: dict[bytes, bytearray] = {}
    for number in range(3000):
        name = b"/%d/f%d" % (draw.randrange(5), draw.randrange(60))
        size = draw.choice((0, 10, BLOCK, 5 * BLOCK, 300_000))
        what = draw.randrange(6)
        if what == 0 or name not in held:
            there.truncate(name, size)
            old = held.get(name, bytearray())
            held[name] = old[:size] + bytearray(max(0, size - len(old)))
        elif what <= 3:
            at = draw.choice((0, len(held[name]), draw.randrange(400_000)))
            data = draw.randbytes(draw.choice((1, BLOCK, 70_000)))
            there.write(name, at, data)
            old = held[name] + bytearray(max(0, at + len(data) - len(held[name])))
            old[at : at + len(data)] = data
            held[name] = old
        elif what == 4:
            there.delete(name)
            del held[name]
        else:
            other = b"/%d/r%d" % (draw.randrange(5), number)
            there.rename(name, other)
            held[other] = held.pop(name)
    there.barrier()
    found = {b"/%s" % os.fsencode(path.relative_to(target)): path.read_bytes()
             for path in target.rglob("*/*") if ".precopy" not in str(path)}  # fmt: skip
    assert found == held


# How it crosses the link.


def test_the_final_copy_is_one_round_trip(there: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    answer = Channel._answer
    monkeypatch.setattr(
        Channel, "_answer", lambda self, what: (waits.append(what), answer(self, what))[1]
    )
    for number in range(100):
        put(there, b"/%d" % number, b"x" * BLOCK)
        there.metadata(b"/%d" % number, meta(0o644))
        there.verify(b"/%d" % number, BLOCK, BLOCK, [0], digest(b"x" * BLOCK))
    there.sync()
    there.barrier()
    assert len(waits) == 1
    there.commit(b"record", wait=False)
    there.start([b"sleep", b"0"], None, watch_s=0)
    assert len(waits) == 2


@pytest.mark.parametrize("bandwidth", [1e6, 40e6, None])
def test_little_is_unacknowledged_at_any_time(
    there: Channel, monkeypatch: pytest.MonkeyPatch, bandwidth: float | None
) -> None:
    there.bandwidth = bandwidth
    most = [0]
    push = Channel._push

    def watched(self: Channel, data: bytes) -> None:
        most[0] = max(most[0], self.unacknowledged - self.window)
        push(self, data)

    monkeypatch.setattr(Channel, "_push", watched)
    for size in (BLOCK, 64 * BLOCK, 3 << 20):
        for number in range(max(3, (4 << 20) // size)):
            there.truncate(b"/f%d" % number, size)
            there.write(b"/f%d" % number, 0, bytes(size))
    there.barrier()
    assert most[0] <= 0
    assert there.unacknowledged <= farside.ACKNOWLEDGE_EVERY + 1000
    if bandwidth:
        assert there.window == max(1 << 18, int(bandwidth * 0.05))


def test_the_link_is_measured_where_no_bandwidth_is_given(there: Channel) -> None:
    there.truncate(b"/f", 64 << 20)
    end = time.monotonic() + 30
    # As long as it takes: what is over at once, or stands in between, measures nothing.
    while there.window <= 1 << 18 and time.monotonic() < end:
        for number in range(64):
            there.write(b"/f", number << 20, bytes(1 << 20))
        there.barrier()
    assert there.window > 1 << 18
    assert there.link_bytes > 64 << 20


def test_idle_for_long_is_no_error_but_a_silent_link_ends_the_far_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = reach.source().replace(b"IDLE_LIMIT_S = 120.0", b"IDLE_LIMIT_S = 0.6")
    monkeypatch.setattr(reach, "source", lambda: text)
    monkeypatch.setattr(channel, "source", lambda: text)
    monkeypatch.setattr(channel, "_PING_EVERY_S", 0.05)
    alive = connect(str(tmp_path / "one"))
    alive.begin("m", resume=False)
    time.sleep(1.2)
    alive.barrier()
    alive.close()
    monkeypatch.setattr(channel, "_PING_EVERY_S", 1000.0)
    silent = connect(str(tmp_path / "two"))
    assert isinstance(silent, Channel)
    silent.begin("m", resume=False)
    assert silent._process.wait(timeout=20) == 0
    with pytest.raises(TransportError, match=r"nothing was heard"):
        silent.barrier()


# What ends it.


class Killing:
    """Kills a process after so many calls."""

    def __init__(self, pid: int, at: int) -> None:
        self.pid, self.at = pid, at

    def __call__(self, number: int) -> None:
        if number == self.at:
            os.kill(self.pid, signal.SIGKILL)


def send_some(
    there: Channel, data: bytes, after: Callable[[int], object] = lambda number: None
) -> None:
    for number in range(300):
        put(there, b"/%d/%d" % (number % 7, number), data * 5)
        after(number)
    there.barrier()


@pytest.mark.parametrize("who", ["link", "far side"])
def test_killed_in_the_middle_it_says_so_and_goes_on_from_there(
    reached: Callable[..., Channel], target: Path, who: str
) -> None:
    draw = random.Random(who)
    data = os.urandom(BLOCK)
    for attempt in range(2):
        there = reached()
        there.begin("m", resume=attempt > 0)
        pid = there.far["pid"] if who == "far side" else there._process.pid
        at = draw.randrange(200)
        killing = Killing(pid, at)
        with pytest.raises(TransportError, match="run the same command again"):
            send_some(there, data, killing)
        with pytest.raises(TransportError):
            there.listing()
        assert gone(there.far["pid"])
        there.close()
    there = reached()
    there.begin("m", resume=True)
    known = there.listing()
    made = {b"/" + os.fsencode(path.relative_to(target)) for path in target.rglob("*")
            if ".precopy" not in str(path)}  # fmt: skip
    assert set(known) == made
    send_some(there, data)
    assert all(path.read_bytes() == data * 5 for path in target.glob("?/*"))


def let_go(there: Channel) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(there.far["pid"], signal.SIGCONT)


def test_a_far_side_that_stands_still_is_an_error_in_time(
    reached: Callable[..., Channel],
) -> None:
    there = reached()
    there.begin("m", resume=False)
    there._timeout = 1
    os.kill(there.far["pid"], signal.SIGSTOP)
    try:
        put(there, b"/f", b"x")
        with pytest.raises(TransportError, match="nothing has moved for 1 s"):
            there.barrier()
    finally:
        let_go(there)
    assert gone(there.far["pid"])


def test_a_far_side_that_takes_nothing_more_is_an_error_in_time(
    reached: Callable[..., Channel],
) -> None:
    there = reached(bandwidth=1e9)
    there.begin("m", resume=False)
    there.truncate(b"/f", 0)
    there.barrier()
    there._timeout = 1
    os.kill(there.far["pid"], signal.SIGSTOP)
    try:
        with pytest.raises(TransportError, match="nothing has moved for 1 s"):
            there.write(b"/f", 0, bytes(100 << 20))
    finally:
        let_go(there)
    assert gone(there.far["pid"])


def test_long_work_at_the_far_side_is_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = reach.source().replace(b"ALIVE_EVERY_S = 1.0", b"ALIVE_EVERY_S = 0.01")
    monkeypatch.setattr(reach, "source", lambda: text)
    monkeypatch.setattr(channel, "source", lambda: text)
    there = connect(str(tmp_path / "target"))
    assert isinstance(there, Channel)
    there.begin("m", resume=False)
    put(there, b"/f", b"x" * (1 << 18))
    there.barrier()
    heard = []
    wait = Channel._wait
    monkeypatch.setattr(
        Channel, "_wait", lambda self, **what: (heard.append(what), wait(self, **what))[1]
    )
    there.verify(b"/f", 1 << 18, 1 << 18, [0] * 400, bytes(6400))
    with pytest.raises(VerifyError):
        there.barrier()
    assert len(heard) > 3
    there.close()


def test_an_interruption_in_the_middle_ends_the_channel(
    there: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Channel, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        there.barrier()
    monkeypatch.undo()
    with pytest.raises(TransportError, match="interrupted"):
        there.barrier()


def test_closed_it_says_so_and_leaves_no_process(there: Channel) -> None:
    there.close()
    there.close()
    assert gone(there.far["pid"])
    with pytest.raises(TransportError, match="closed"):
        there.barrier()


def test_a_controller_that_is_killed_takes_the_far_side_with_it(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom precopy.migration.transport import connect\n"
        "there = connect(sys.argv[1]); there.begin('m', resume=False)\n"
        "print(there.far['pid'], flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "target"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert gone(pid)
    again = connect(str(tmp_path / "target"))
    again.begin("m", resume=True)
    again.close()


def test_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = reach.source().replace(b"\nVERSION = 1\n", b"\nVERSION = 7\n")
    monkeypatch.setattr(reach, "source", lambda: text)
    monkeypatch.setattr(channel, "source", lambda: text)
    with pytest.raises(TransportError, match=r"version 7, expected 1"):
        connect(str(tmp_path))


def test_the_far_side_is_python_3_9() -> None:
    ast.parse(reach.source(), feature_version=(3, 9))


# Hosts behind ssh that are no use.

UNUSABLE = {
    "silent": ("sleep 100", 1.0, "did not answer in time"),
    "endless": ("yes", 20.0, "prints without end"),
    "no login": ("echo This account is closed; exit 1", 20.0, "ran no far side.*account is closed"),
    "no python": (
        'PATH=/nowhere; exec /bin/sh -c "$(echo "$SSH_ORIGINAL_COMMAND" | '
        "/bin/sed 's#exec sh#exec /bin/sh#;s#/usr/l#/none/#g')\"",
        20.0,
        r"no usable Python at there: tried python3, .*3\.9 or newer; install",
    ),
}


@needs_sshd
@pytest.mark.parametrize("case", UNUSABLE)
def test_a_host_without_a_far_side_says_what_is_the_matter(tmp_path: Path, case: str) -> None:
    login, timeout, message = UNUSABLE[case]
    with sshd(tmp_path / "sshd", login=login) as host, pytest.raises(TransportError, match=message):
        connect(f"{host.alias}:{tmp_path}/target", ssh=host.ssh, timeout=timeout)


@needs_sshd
def test_what_rc_files_print_is_skipped(tmp_path: Path) -> None:
    login = 'echo welcome; printf "no\\nnewline"; exec sh -c "$SSH_ORIGINAL_COMMAND"'
    with sshd(tmp_path / "sshd", login=login) as host:
        there = connect(f"{host.alias}:{tmp_path}/target", ssh=host.ssh)
        there.begin("m", resume=False)
        there.close()


@needs_sshd
def test_a_host_that_is_not_to_be_reached_says_what_to_do(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as host:
        known, authorized = host.known_hosts.read_text(), host.directory / "authorized"
        keys = authorized.read_text()
        host.known_hosts.write_text("")
        with pytest.raises(TransportError, match=r"host key.*connect once by hand"):
            connect(f"{host.alias}:{tmp_path}/t", ssh=host.ssh)
        assert host.known_hosts.read_text() == ""
        host.known_hosts.write_text(known)
        authorized.write_text("")
        with pytest.raises(TransportError, match=r"accepts no key of ours.*ssh-copy-id"):
            connect(f"{host.alias}:{tmp_path}/t", ssh=host.ssh)
        authorized.write_text(keys)
    with pytest.raises(TransportError, match="refuses the connection"):
        connect(f"{host.alias}:{tmp_path}/t", ssh=host.ssh)
    with pytest.raises(TransportError, match="cannot be run"):
        connect(f"there:{tmp_path}/t", ssh=str(tmp_path / "no-ssh"))


@needs_sshd
def test_ssh_gets_the_user_s_options_from_the_environment(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRECOPY_SSH", f"{host.ssh} -o 'User nobody'")
    with pytest.raises(TransportError, match="accepts no key"):
        connect(f"{host.alias}:{tmp_path}/t")
    monkeypatch.setenv("PRECOPY_SSH", host.ssh)
    connect(f"{host.alias}:{tmp_path}/t").close()


AT_A_TERMINAL = """
import sys, time
from precopy.migration.transport import connect
there = connect(sys.argv[1], ssh=sys.argv[2])
there.begin("m", resume=False)
print("BEGUN", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    pass
there.truncate(b"/f", 5)
there.barrier()
there.close()
print("DONE", flush=True)
"""


@needs_sshd
def test_at_a_terminal_ssh_may_ask_and_ctrl_c_does_not_cut_the_link(tmp_path: Path) -> None:
    ours, its = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(its, termios.TIOCSCTTY, 0)

    def read_to(word: bytes) -> None:
        said = b""
        while word not in said:
            said += os.read(ours, 1000)

    with sshd(tmp_path / "sshd") as host:
        host.known_hosts.write_text("")
        config = host.ssh_config.read_text()
        host.ssh_config.write_text(config.replace("HostKeyChecking yes", "HostKeyChecking ask"))
        process = subprocess.Popen(
            [sys.executable, "-c", AT_A_TERMINAL, f"{host.alias}:{tmp_path}/target", host.ssh],
            stdin=its, stdout=its, stderr=its, preexec_fn=take_terminal,
        )  # fmt: skip
        os.close(its)
        read_to(b"continue connecting")
        os.write(ours, b"yes\n")
        read_to(b"BEGUN")
        os.write(ours, b"\x03")
        read_to(b"DONE")
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert (tmp_path / "target/f").stat().st_size == 5


@pytest.mark.parametrize("to", ["", "host:", ":/dir", "-oProxyCommand=x:/dir", "a b:/dir", "x\0y"])
def test_what_is_no_target_is_refused(to: str) -> None:
    with pytest.raises(ValueError, match="to: got"):
        connect(to)


@pytest.mark.parametrize(
    ("to", "host", "directory"),
    [
        ("/a:b", None, "/a:b"),
        ("host:dir", "host", "dir"),
        ("me@host:/d:e", "me@host", "/d:e"),
        ("[::1]:/d", "::1", "/d"),
        ("me@[fe80::1]:d", "me@fe80::1", "d"),
        ("./h:d", None, "./h:d"),
    ],
)
def test_a_target_is_read_as_scp_would(to: str, host: str | None, directory: str) -> None:
    from precopy.migration.transport.target import split_target

    assert split_target(to) == (host, directory)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeout: got 0"):
        connect(str(tmp_path), timeout=0)
    with pytest.raises(ValueError, match="bandwidth: got -1"):
        connect(str(tmp_path), bandwidth=-1)


# Whose the target is.


def test_a_target_that_is_not_ours_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "thing").write_text("foreign")
    there = connect(str(tmp_path))
    with pytest.raises(TargetError, match=r"not empty.*'thing'.*choose another directory"):
        there.begin("m", resume=False)
    assert os.listdir(tmp_path) == ["thing"]
    there.close()


def test_merging_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o751)
    (tmp_path / "d/foreign").write_text("foreign")
    (tmp_path / "lib").symlink_to("usr/lib")
    there = connect(str(tmp_path))
    there.begin("m", resume=False, merge=True)
    put(there, b"/d/ours", b"x")
    there.metadata(b"/d", meta(0o700))
    there.symlink(b"/lib", b"usr/lib")
    there.barrier()
    assert stat.S_IMODE(os.stat(tmp_path / "d").st_mode) == 0o751
    for spoil in (
        lambda: there.truncate(b"/d/foreign", 0),
        lambda: there.delete(b"/d/foreign"),
        lambda: there.delete(b"/d"),
        lambda: there.rename(b"/d/ours", b"/d/foreign"),
        lambda: there.rename(b"/d/foreign", b"/d/mine"),
        lambda: there.symlink(b"/d/foreign", b"x"),
        lambda: there.symlink(b"/lib", b"other"),
        lambda: there.link(b"/d/foreign", b"/d/ours"),
        lambda: there.link(b"/d/mine", b"/d/foreign"),
        lambda: there.mkdir(b"/d/foreign"),
        lambda: there.truncate(b"/lib/f", 0),
        lambda: there.truncate(b"/d", 0),
        lambda: there.write(b"/d/foreign", 0, b"x"),
    ):
        spoil()
        with pytest.raises(TargetError):
            there.barrier()
    assert (tmp_path / "d/foreign").read_text() == "foreign"
    assert there.withdraw() == []
    there.close()
    assert sorted(os.listdir(tmp_path)) == ["d", "lib"]
    assert os.listdir(tmp_path / "d") == ["foreign"]


def test_only_one_migration_at_a_time(there: Channel, target: Path) -> None:
    other = connect(str(target))
    assert other.status()["locked"]
    # Only for the same migration it is worth to wait: it is what a killed run has left.
    for migration, number in (("m", errno.EWOULDBLOCK), ("n", None)):
        with pytest.raises(TargetError, match=r"another migration.*process \d+") as caught:
            other.begin(migration, resume=True)
        assert caught.value.errno == number
    there.close()
    with pytest.raises(TargetError, match="belongs to migration m;"):
        other.begin("n", resume=False)
    with pytest.raises(TargetError, match="begun already"):
        other.begin("m", resume=False)
    other.begin("m", resume=True)
    other.close()


def test_a_directory_of_ours_with_something_foreign_in_it_stays(
    there: Channel, target: Path
) -> None:
    put(there, b"/d/ours", b"x")
    there.barrier()
    (target / "d/foreign").write_text("foreign")
    for spoil in (
        lambda: there.delete(b"/d"),
        lambda: put(there, b"/d", b"x"),
        lambda: there.truncate(b"/d/foreign", 0),
    ):
        spoil()
        with pytest.raises(TargetError, match=r"foreign.*not made by this migration") as caught:
            there.barrier()
        assert caught.value.path == b"/d/foreign"
    assert sorted(os.listdir(target / "d")) == ["foreign", "ours"]
    assert there.withdraw() == [b"/d"]
    there.close()
    assert [str(path.relative_to(target)) for path in target.rglob("*")] == ["d", "d/foreign"]


def test_withdrawn_nothing_is_left(there: Channel, target: Path) -> None:
    put(there, b"/a/b/c", b"x")
    there.symlink(b"/a/l", b"b")
    assert there.withdraw() == []
    assert there.status()["migration"] is None
    there.close()
    assert not target.exists()


def test_records_say_who_is_in_charge(there: Channel, target: Path) -> None:
    looking = connect(str(target))
    nowhere = connect(str(target / "not/there"))
    expected = {"migration": None, "commit": None, "started": None, "locked": False}
    assert nowhere.status() == expected
    nowhere.close()
    expected.update(migration="m", locked=True)
    assert looking.status() == expected
    put(there, b"/f", b"x")
    there.commit(b"\0record\xff")
    there.commit(b"another")
    assert looking.status()["commit"] == b"\0record\xff"
    looking.close()
    for change in (
        lambda: there.truncate(b"/f", 0),
        lambda: there.write(b"/f", 0, b"y"),
        lambda: there.delete(b"/f"),
        lambda: there.metadata(b"/f", meta(0o777)),
        lambda: there.rename(b"/f", b"/g"),
    ):
        change()
        with pytest.raises(TargetError, match="committed"):
            there.barrier()
    with pytest.raises(TargetError, match="committed"):
        there.withdraw()
    assert (target / "f").read_bytes() == b"x"
    there.close()
    again = connect(str(target))
    again.begin("m", resume=True)
    again.truncate(b"/f", 0)
    with pytest.raises(TargetError, match="committed"):
        again.barrier()
    again.close()


def test_what_differs_is_not_committed(there: Channel) -> None:
    put(there, b"/f", b"x")
    there.verify(b"/f", 1, BLOCK, [0], digest(b"y"))
    there.commit(b"record", wait=False)
    with pytest.raises(TargetError, match="differ"):
        there.start([b"true"], None)
    assert there.status()["commit"] is None


# What is known after a crash.


def lines(target: Path) -> list[bytes]:
    return (target / ".precopy-migration/manifest").read_bytes().splitlines()


def test_the_manifest_survives_a_torn_end_and_stays_short(there: Channel, target: Path) -> None:
    for number in range(50):
        put(there, b"/f%d" % number, b"x")
    for _ in range(20):
        there.delete(b"/f0")
        put(there, b"/f0", b"x")
    there.barrier()
    os.kill(there.far["pid"], signal.SIGKILL)
    assert len(lines(target)) == 2 * 50 + 3 * 20
    with (target / ".precopy-migration/manifest").open("ab") as file:
        file.write(bytes(20) + b"\n+6g\n+6162")
    again = connect(str(target))
    again.begin("m", resume=True)
    assert len(again.listing()) == 50
    assert len(lines(target)) == 50
    again.truncate(b"/ab", 0)
    again.barrier()
    again.close()


def test_a_long_run_writes_the_manifest_anew(tmp_path: Path) -> None:
    target = farside.Target(os.fsencode(tmp_path / "t"), lambda: None)
    target.begin("m", False, False)
    target.manifest.lines = 1_000_000
    target.truncate(b"a", 0)
    target.truncate(b"b", 0)
    target.link(b"c", b"b")
    target.manifest.tidy()
    target.mkdir(b"d")
    names = [line.split(b" ")[0] for line in lines(tmp_path / "t")]
    assert names == [b"+61", b"+62", b"+63", b"+64"]
    assert list(farside.Manifest(target.records).made) == [b"a", b"b", b"c", b"d"]


def test_after_a_power_loss_names_that_the_manifest_lost_are_found(
    there: Channel, target: Path
) -> None:
    put(there, b"/d/kept", b"x")
    there.barrier()
    os.kill(there.far["pid"], signal.SIGKILL)
    assert gone(there.far["pid"])
    state = target / ".precopy-migration"
    (state / "manifest").write_bytes(b"+" + b"d".hex().encode() + b"\n")
    session = (state / "session").read_text()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # The machine has not been down: what is not noted is not ours.
    again = connect(str(target))
    again.begin("m", resume=True)
    assert b"/d/kept" not in again.listing()
    again.truncate(b"/d/kept", 0)
    with pytest.raises(TargetError, match="not made by this migration"):
        again.barrier()
    again.close()
    # It has: what appeared in between is.
    (state / "session").write_text(session.replace(boot, "another").replace(
        session.split('"began": ')[1].rstrip("}"), "1.0"
    ))  # fmt: skip
    now = farside.booted()
    far = farside.Target(os.fsencode(target), lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(farside, "booted", lambda: (now[0], time.time()))
        far.begin("m", True, False)
    assert b"d/kept" in far.manifest.made
    assert far.notes


# Programs at the destination.


def test_a_program_runs_in_a_session_of_its_own_and_outlives_the_link(
    reached: Callable[..., Channel], target: Path, tmp_path: Path
) -> None:
    there = reached()
    there.begin("m", resume=False)
    there.mkdir(b"/work dir")
    there.metadata(b"/work dir", meta(0o755))
    with pytest.raises(TargetError, match="not committed"):
        there.start([b"true"], None)
    there.commit(b"record")
    script = (
        "import os, sys, time\n"
        "mine = os.getsid(0) == os.getpid(), os.read(0, 1), sorted(os.listdir('/proc/self/fd'))\n"
        "print(os.getcwd(), sys.argv[1:], *mine, flush=True)\ntime.sleep(60)"
    )
    started = there.start(
        [os.fsencode(sys.executable), b"-c", script.encode(), b"$HOME;*", b"\xff"], b"work dir"
    )
    assert not started.already
    again = there.start([b"true"], None)
    assert (again.pid, again.already) == (started.pid, True)
    there.close()
    later = reached()
    later.begin("m", resume=True)
    assert later.start([b"true"], None).pid == started.pid
    assert later.status()["started"]["running"]
    later.close()
    try:
        text = (target / os.fsdecode(started.output)).read_text(errors="surrogateescape")
        place = f"{target}/work dir"
        expected = f"{place} ['$HOME;*', '\\udcff'] True b'' ['0', '1', '2', '3']\n"
        assert text == expected
    finally:
        os.kill(started.pid, signal.SIGKILL)


def test_a_listing_may_be_longer_than_the_digests_of_a_file(
    there: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("precopy.migration.transport.channel._LONGEST_ANSWER", 20)
    there.mkdir(b"/one")
    there.mkdir(b"/two")
    assert sorted(there.listing()) == [b"/one", b"/two"]


def test_what_has_ended_since_it_was_started_is_not_started_twice(
    there: Channel, target: Path, tmp_path: Path
) -> None:
    there.commit(b"record")
    script = f"echo >>{tmp_path}/times; read nothing <{tmp_path}/go; exit 0"
    os.mkfifo(tmp_path / "go")
    started = there.start([b"sh", b"-c", script.encode()], None, watch_s=0)
    with (tmp_path / "go").open("w"):
        pass
    give_up_at = time.monotonic() + 20
    while there.status()["started"]["running"]:
        assert time.monotonic() < give_up_at
    with pytest.raises(
        StartError, match=rf"process {started.pid} was started before and has ended"
    ):
        there.start([b"sh", b"-c", script.encode()], None)
    assert (tmp_path / "times").read_text() == "\n"
    (target / ".precopy-migration" / "started").unlink()
    assert not there.start([b"true"], None).already


def test_a_program_that_ends_at_once_is_told_with_what_it_said(there: Channel) -> None:
    there.commit(b"record")
    with pytest.raises(StartError, match=r"status 3; it said: no database") as caught:
        there.start([b"sh", b"-c", b"echo no database >&2; exit 3"], None, watch_s=5)
    assert (caught.value.status, caught.value.output) == (3, b"no database\n")
    with pytest.raises(StartError, match="by signal 9"):
        there.start([b"sh", b"-c", b"kill -9 $$"], None, watch_s=5)
    with pytest.raises(StartError, match="'no-such-program' cannot be started: No such file"):
        there.start([b"no-such-program"], None)
    with pytest.raises(StartError, match="its directory '/no/such/directory': No such file"):
        there.start([b"true"], b"/no/such/directory")
    with pytest.raises(ValueError, match="argv: got no words"):
        there.start([], None)
    # One that leaves a daemon at work ends at once, too: it is not started again.
    started = there.start([b"true"], None, watch_s=5)
    again = there.start([b"true"], None)
    assert (started.already, again.already, again.pid) == (False, True, started.pid)


# Disks.


@contextlib.contextmanager
def mounted(directory: Path, *options: str) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", *options, "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


@needs_root
def test_a_full_disk_is_told_and_can_be_gone_on_from(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-o", "size=256k") as disk:
        there = connect(str(disk))
        there.begin("m", resume=False)
        assert there.free_bytes() <= 256 << 10
        put(there, b"/big", bytes(300_000))
        with pytest.raises(TargetError, match=r"big.*No space left .*\(\d+ bytes") as caught:
            there.barrier()
        assert caught.value.errno == errno.ENOSPC
        there.delete(b"/big")
        put(there, b"/small", b"x")
        there.barrier()
        there.close()


@needs_root
def test_a_target_that_is_read_only_is_told(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-o", "ro") as disk:
        there = connect(str(disk))
        with pytest.raises(TargetError, match="Read-only file system"):
            there.begin("m", resume=False)
        there.close()


@pytest.mark.parametrize("place", ["missing/target", "file"])
def test_a_target_that_cannot_be_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    there = connect(str(tmp_path / place))
    with pytest.raises(TargetError, match=r"target: .* cannot be"):
        there.begin("m", resume=False)
    there.close()


@needs_root
def test_without_root_everything_but_owners_is_kept(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o111)
    place = tmp_path / "for-all"
    place.mkdir()
    os.chown(place, 65534, 65534)
    far, near = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            target = farside.Target(os.fsencode(place / "t"), lambda: None)
            target.begin("m", False, False)
            target.truncate(b"d/e/f", 5)
            target.metadata(b"d/e/f", 0o400, (1, 1), (0, 0), {b"user.x": b"1"})
            target.metadata(b"d/e", 0o500, (65534, 65534), (0, 0), {})
            target.metadata(b"d", 0o000, (65534, 65534), (0, 0), {})
            target.truncate(b"d/e/g", 5)
            target.write(b"d/e/f", 0, memoryview(b"hello"))
            target.metadata(b"d/e/f", 0o400, (1, 1), (0, 0), {})
            target.tighten()
            target.forget()
            target.write(b"d/e/f", 0, memoryview(b"H"))
            target.metadata(b"d/e/f", 0o400, (1, 1), (0, 0), {})
            target.tighten()
            os.write(near, "\n".join(target.notes).encode())
        except BaseException as error:
            os.write(near, "".join(traceback.format_exception(error)).encode())
        finally:
            os._exit(0)
    os.close(near)
    with os.fdopen(far) as file:
        said = file.read()
    os.waitpid(pid, 0)
    assert said == "owners were not kept: the far side does not run as root"
    assert (place / "t/d/e/f").read_bytes() == b"Hello"
    modes = [stat.S_IMODE(os.stat(place / "t" / name).st_mode) for name in ("d", "d/e", "d/e/f")]
    assert modes == [0o000, 0o500, 0o400]
    assert os.listxattr(place / "t/d/e/f") == []


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_a_commit_record_counts_as_a_whole_or_not_at_all(
    there: Channel, target: Path, size: int
) -> None:
    record = os.urandom(size)
    there.commit(record)
    assert there.status()["commit"] == record
    path = target / ".precopy-migration/commit"
    written = path.read_bytes()
    for cut in (0, 3, 19, 20, 20 + size // 2):
        path.write_bytes(written[:cut] + bytes(len(written) - cut))
        if written != path.read_bytes():
            assert there.status()["commit"] is None, cut
