"""The far side is confined: nothing leads out of the target, whoever plants what where."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from migration.driven import drive, errors, frame, numbers, opening, text

from precopy.migration.source.metadata import Metadata
from precopy.migration.transport import TargetError, TransportError, connect, farside, reach
from precopy.migration.transport.channel import Channel

STATE = ".precopy-migration"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Make a directory that must stay as it is."""
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    (outside / "file").write_text("kept")
    return outside


@pytest.fixture
def there(target: Path) -> Iterator[Channel]:
    made = connect(str(target))
    assert isinstance(made, Channel)
    made.begin("m", resume=False)
    yield made
    made.close()


def look(root: Path) -> dict[str, tuple[object, ...]]:
    return {
        str(path): (*path.lstat()[:7], path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
        for path in [root, *root.rglob("*")]
    }


def meta(mode: int = 0o777) -> Metadata:
    return Metadata(mode, 4321, 4321, 1, 1, {b"user.x": b"1"})


WAYS: dict[str, Callable[[Channel, bytes], None]] = {
    "mkdir": lambda there, path: there.mkdir(path),
    "truncate": lambda there, path: there.truncate(path, 0),
    "write": lambda there, path: there.write(path, 0, b"spoilt"),
    "zero": lambda there, path: there.zero(path, 0, 4),
    "symlink": lambda there, path: there.symlink(path, b"x"),
    "link": lambda there, path: there.link(path, b"/ours"),
    "link from": lambda there, path: there.link(b"/new", path),
    "fifo": lambda there, path: there.fifo(path),
    "rename": lambda there, path: there.rename(b"/ours", path),
    "rename from": lambda there, path: there.rename(path, b"/new"),
    "metadata": lambda there, path: there.metadata(path, meta()),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_request_follows_a_planted_link(
    there: Channel, target: Path, outside: Path, way: str
) -> None:
    there.truncate(b"/ours", 5)
    there.truncate(b"/d/e/f", 5)
    there.barrier()
    shutil.rmtree(target / "d/e")
    (target / "d/e").symlink_to(outside)
    (target / "planted").symlink_to(outside)
    (target / "planted-file").symlink_to(outside / "file")
    before = look(outside)
    for path in (b"/d/e/file", b"/d/e/below/new", b"/planted/file", b"/planted/new"):
        WAYS[way](there, path)
        with pytest.raises(TargetError):
            there.barrier()
        assert look(outside) == before
    with contextlib.suppress(TargetError):
        WAYS[way](there, b"/planted-file")
        there.barrier()
    assert look(outside) == before


def test_what_cannot_be_walked_is_neither_read_nor_deleted(
    there: Channel, target: Path, outside: Path
) -> None:
    there.truncate(b"/d/file", 0)
    there.barrier()
    shutil.rmtree(target / "d")
    (target / "d").symlink_to(outside)
    before = look(outside)
    there.delete(b"/d/file")
    there.barrier()
    with pytest.raises(TargetError):
        there.digests(b"/d/file", 4096)
    assert b"/d/file" not in there.listing()
    assert there.withdraw() == [b"/d"]
    assert look(outside) == before


def test_what_was_put_in_the_place_of_ours_is_not_deleted(
    there: Channel, target: Path, outside: Path
) -> None:
    there.mkdir(b"/d/e")
    there.symlink(b"/l", b"x")
    there.fifo(b"/p")
    there.barrier()
    (target / "kept").mkdir()
    for name in ("d/e", "l", "p"):
        (target / name).rename(target / "kept" / Path(name).name)
        (target / name).symlink_to(outside)
    before = look(outside)
    for spoil in (
        lambda: there.delete(b"/d"),
        lambda: there.delete(b"/l"),
        lambda: there.truncate(b"/p", 0),
        lambda: there.symlink(b"/l", b"y"),
    ):
        spoil()
        with pytest.raises(TargetError, match="replaced there by somebody else"):
            there.barrier()
    assert look(outside) == before


@pytest.mark.parametrize(
    "name",
    [
        *(b"", b"..", b"../x", b"a/../../x", b"a//b", b"/x", b"./x", b"a/.", b"a/", b"a\0b"),
        *(b"x" * 256, STATE.encode(), STATE.encode() + b"/commit", b"y/" * 3000),
    ],
    ids=ascii,
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: bytes) -> None:
    place = tmp_path / "target"
    start = opening(os.fsencode(place))
    before = look(tmp_path)
    for request in (
        frame(farside.MKDIR, text(name)),
        frame(farside.TRUNCATE, text(name), numbers(0)),
        frame(farside.SYMLINK, text(name), text(b"/etc")),
        frame(farside.RENAME, text(b"a"), text(name)),
        frame(farside.LINK, text(name), text(b"a")),
        frame(farside.DELETE, text(name)),
        frame(farside.METADATA, text(name), numbers(0o777, 0, 0, 0, 0, 0)),
    ):
        found, server = drive(
            start + frame(farside.TRUNCATE, text(b"a"), numbers(0)) + request
            + frame(farside.BARRIER)
        )  # fmt: skip
        [error] = errors(found)
        assert error["text"].startswith("path: got"), error
        server.target.forget()
        os.close(server.target.lock)
        assert sorted(os.listdir(place)) == [STATE, "a"]
    assert set(look(tmp_path)) - set(before) == {str(place / name) for name in ("", "a", STATE)} | {
        str(place / STATE / name) for name in ("commit", "lock", "manifest", "migration", "session")
    }


def test_the_state_directory_is_not_taken_from_somebody_else(target: Path, outside: Path) -> None:
    target.mkdir()
    there = connect(str(target))
    (target / STATE).symlink_to(outside)
    before = look(outside)
    with pytest.raises(TargetError, match=r"is no directory|is a link"):
        there.begin("m", resume=False)
    assert look(outside) == before
    (target / STATE).unlink()
    (target / STATE).mkdir(mode=0o777)
    (target / STATE).chmod(0o777)
    with pytest.raises(TargetError, match="not ours alone"):
        there.begin("m", resume=False)
    (target / STATE).chmod(0o700)
    if os.geteuid() == 0:
        os.chown(target / STATE, 65534, 65534)
        with pytest.raises(TargetError, match="not ours alone"):
            there.begin("m", resume=False)
        os.chown(target / STATE, 0, 0)
    for name in ("lock", "migration", "manifest", "session", "commit"):
        (target / STATE / name).unlink(missing_ok=True)
        (target / STATE / name).symlink_to(outside / "file")
        with pytest.raises(TargetError):
            there.begin("m", resume=False)
        (target / STATE / name).unlink()
    assert look(outside) == before
    there.close()


def test_nothing_can_be_read_by_others_before_its_metadata_come(
    there: Channel, target: Path
) -> None:
    there.truncate(b"/a/b/f", 5)
    there.mkdir(b"/c")
    there.fifo(b"/p")
    there.barrier()
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in target.rglob("*")}
    state = dict.fromkeys(("commit", "lock", "manifest", "migration", "session"), 0o600)
    expected = {"a": 0o700, "b": 0o700, "c": 0o700, "f": 0o600, "p": 0o600, STATE: 0o700}
    assert modes == expected | state


def test_a_file_put_in_the_place_of_ours_is_left_alone(
    there: Channel, target: Path, outside: Path
) -> None:
    there.truncate(b"/f", 5)
    there.mkdir(b"/d")
    there.barrier()
    (target / "f").unlink()
    os.link(outside / "file", target / "f")
    (target / "d").rename(target / "moved")
    (target / "d").mkdir()
    (outside / "file").touch()
    before = (outside / "file").read_text(), (outside / "file").stat()[:9]
    for spoil in (
        lambda: there.write(b"/f", 0, b"spoilt"),
        lambda: there.truncate(b"/f", 0),
        lambda: there.zero(b"/f", 0, 4),
        lambda: there.metadata(b"/f", meta()),
        lambda: there.link(b"/g", b"/f"),
        lambda: there.truncate(b"/d/f", 0),
        lambda: there.metadata(b"/d", meta()),
    ):
        spoil()
        with pytest.raises(TargetError, match="replaced there by somebody else"):
            there.barrier()
    assert ((outside / "file").read_text(), (outside / "file").stat()[:9]) == before
    assert there.withdraw() == [b"/f", b"/d"]
    assert (outside / "file").read_text() == "kept"


def test_after_a_resume_a_file_with_another_name_elsewhere_is_left_alone(
    there: Channel, target: Path, outside: Path
) -> None:
    there.truncate(b"/f", 5)
    there.truncate(b"/l", 5)
    there.truncate(b"/one", 5)
    there.link(b"/two", b"/one")
    there.barrier()
    there.close()
    for name in ("f", "l"):
        (target / name).unlink()
    os.link(outside / "file", target / "f")
    (target / "l").symlink_to(outside / "file")
    again = connect(str(target))
    again.begin("m", resume=True)
    again.write(b"/two", 0, b"fine")
    again.barrier()
    again.write(b"/f", 0, b"spoilt")
    with pytest.raises(TargetError, match="replaced there by somebody else"):
        again.barrier()
    again.write(b"/l", 0, b"spoilt")
    with pytest.raises(TargetError):
        again.barrier()
    again.close()
    assert (outside / "file").read_text() == "kept"


def test_a_directory_swapped_for_a_link_all_the_time_lets_nothing_out(
    there: Channel, target: Path, outside: Path
) -> None:
    there.truncate(b"/d/e/f", 4)
    there.barrier()
    before = set(look(outside))
    stop = threading.Event()

    def swap() -> None:
        (target / "d/link").symlink_to(outside)
        names = [target / "d/e", target / "d/link", target / "d/third"]
        while not stop.is_set():
            for old, new in ((0, 2), (1, 0), (0, 1), (2, 0)):
                with contextlib.suppress(OSError):
                    names[old].rename(names[new])

    swapper = threading.Thread(target=swap)
    swapper.start()
    told = 0
    try:
        for number in range(300):
            there.truncate(b"/d/e/n%d" % number, 4)
            there.write(b"/d/e/n%d" % number, 0, b"data")
            there.metadata(b"/d/e/n%d" % number, Metadata(0o644, 0, 0, 1, 1))
            there.symlink(b"/d/e/l%d" % number, b"x")
            there.delete(b"/d/e/file")
            try:
                there.barrier()
            except TargetError:
                told += 1
    finally:
        stop.set()
        swapper.join()
    assert set(look(outside)) == before
    assert (outside / "file").read_text() == "kept"


def test_no_file_is_opened_that_could_block_or_act(there: Channel, target: Path) -> None:
    there.truncate(b"/f", 5)
    there.barrier()
    (target / "f").unlink()
    os.mkfifo(target / "f")
    there.write(b"/f", 0, b"x")
    with pytest.raises(TargetError, match=r"no regular file|replaced"):
        there.barrier()


MALFORMED = {
    "no such request": frame(77),
    "too long": farside.FRAME.pack(farside.WRITE, farside.LONGEST + 1),
    "cut off": frame(farside.TRUNCATE, text(b"a"), numbers(1))[:-3],
    "cut inside": frame(farside.TRUNCATE, text(b"a"), b"123"),
    "too much": frame(farside.MKDIR, text(b"a"), b"more"),
    "negative": frame(farside.TRUNCATE, text(b"a"), numbers(-1)),
    "a name beyond the end": frame(farside.MKDIR, farside.LENGTH.pack(1 << 31), b"a"),
    "begun twice": frame(farside.BEGIN, text(b"m"), numbers(1)),
    "another target": frame(farside.TARGET, text(b"/etc")),
    "many digests": frame(farside.VERIFY, text(b"a"), numbers(1, 4096, 1 << 60)),
    "large blocks": frame(farside.DIGESTS, text(b"a"), numbers(1 << 62)),
    "an owner that is none": frame(farside.METADATA, text(b"a"), numbers(0, 1 << 40, 0, 0, 0, 0)),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_input_ends_it_with_one_line(target: Path, case: str) -> None:
    found, server = drive(opening(os.fsencode(target)) + MALFORMED[case] + frame(farside.BARRIER))
    assert [error["kind"] for error in errors(found)] == ["malformed"]
    assert "\n" not in errors(found)[0]["text"]
    assert found[-1][0] == farside.ERROR
    os.close(server.target.lock)


def test_requests_before_the_target_is_taken_end_it(target: Path) -> None:
    for request in (frame(farside.MKDIR, text(b"a")), frame(farside.STATUS)):
        found, _ = drive(request)
        assert [error["kind"] for error in errors(found)] == ["malformed"]
    found, _ = drive(frame(farside.TARGET, text(bytes(target))) + frame(farside.MKDIR, text(b"a")))
    assert [error["kind"] for error in errors(found)] == ["malformed"]
    assert not target.exists()


def test_any_way_of_cutting_the_input_gives_the_same(tmp_path: Path) -> None:
    expected = None
    for size in (1, 3, 5, 6, 1000, 1 << 20):
        place = tmp_path / str(size)
        requests = opening(os.fsencode(place)) + b"".join(
            frame(farside.TRUNCATE, text(b"f%d" % number), numbers(number))
            + frame(farside.WRITE, text(b"f%d" % number), numbers(number), bytes(number))
            for number in range(30)
        )
        found, _ = drive(requests + frame(farside.LISTING), iter(lambda size=size: size, None))
        expected = expected or found
        assert found == expected


def test_thousands_of_malformed_messages_do_no_harm() -> None:
    script = Path(__file__).parent / "migration/fuzz.py"
    done = subprocess.run(
        [sys.executable, script, "--count", "1000"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parents[1]), *sys.path])},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1000 conversations" in done.stdout


def test_an_error_that_nobody_thought_of_is_one_line(target: Path) -> None:
    text_of = reach.source().replace(
        b"    def ping(self, fields: Fields) -> None:\n",
        b"    def ping(self, fields: Fields) -> None:\n        self.nothing()\n",
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", reach._BOOTSTRAP.format(len(text_of))],
        input=text_of + opening(os.fsencode(target)) + frame(farside.PING),
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"the far side failed: AttributeError" in done.stdout


def test_what_a_far_side_sends_is_checked(there: Channel) -> None:
    for answer in (b"\0" * 5, farside.FRAME.pack(farside.ANSWER, (1 << 32) - 1)):
        there._heard[:] = answer
        there._broken = None
        with pytest.raises(TransportError, match="no answer"):
            there._sort()


# Whatever is there after a crash is known.


class Crash(BaseException):
    """The far side is killed here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, point: int) -> list[int]:
    """Have the far side die before its call number `point` that changes something."""
    calls = [0]
    for call in [
        "mkdir",
        "open",
        "symlink",
        "link",
        "mkfifo",
        "rename",
        "unlink",
        "rmdir",
        "write",
        "pwrite",
        "ftruncate",
    ]:
        real = getattr(os, call)

        def counted(*words: object, real: object = real, **options: object) -> object:
            calls[0] += 1
            if calls[0] == point:
                raise Crash
            return real(*words, **options)  # type: ignore[operator]

        monkeypatch.setattr(farside.os, call, counted)
    return calls


def work(target: farside.Target) -> None:
    """Do one of each kind."""
    target.begin("m", True, False)
    target.truncate(b"a/b/f", 3)
    target.write(b"a/b/f", 0, memoryview(b"abc"))
    target.symlink(b"a/l", b"b/f")
    target.link(b"a/second", b"a/b/f")
    target.fifo(b"a/p")
    target.rename(b"a/b", b"c/new")
    target.symlink(b"a/l", b"other")
    target.mkdir(b"a/p")
    target.truncate(b"a/p/in", 0)
    target.rename(b"a/second", b"c/new/f")
    target.manifest.rewrite()
    target.delete(b"c")
    target.truncate(b"a/p", 1)
    target.end()


def close_others(known: set[str]) -> None:
    """Close what a process that was killed would have had open."""
    for number in set(os.listdir("/proc/self/fd")) - known:
        with contextlib.suppress(OSError):
            os.close(int(number))


def test_killed_at_any_call_everything_that_is_there_is_known(tmp_path: Path) -> None:
    point = 0
    open_before = set(os.listdir("/proc/self/fd"))
    while True:
        point += 1
        place = tmp_path / "target"
        target = farside.Target(os.fsencode(place), lambda: None)
        with pytest.MonkeyPatch.context() as patch:
            calls = crash_at(patch, point)
            with contextlib.suppress(Crash):
                work(target)
        there = {
            bytes(path.relative_to(place)) for path in place.rglob("*") if STATE not in str(path)
        }
        close_others(open_before)
        again = farside.Target(os.fsencode(place), lambda: None)
        if there or (place / STATE / "migration").exists():
            again.begin("m", True, False)
            assert there <= set(again.manifest.made), point
            work_again(again)
        close_others(open_before)
        shutil.rmtree(place, ignore_errors=True)
        if calls[0] < point:
            break
    assert point > 60


def work_again(target: farside.Target) -> None:
    """Withdraw: nothing is left, so all of it was known."""
    assert target.withdraw(target.records) == []
    assert not os.path.exists(target.name) or not os.listdir(target.name)


def test_nobody_reads_or_runs_what_is_written_before_its_metadata(
    there: Channel, target: Path
) -> None:
    def rights() -> tuple[int, int]:
        status = (target / "file").stat()
        return stat.S_IMODE(status.st_mode), status.st_uid

    owner = 4321 if os.geteuid() == 0 else os.geteuid()
    given = Metadata(0o6755, owner, os.getegid(), 1, 1, {})
    ways: list[Callable[[], None]] = [
        lambda: there.truncate(b"/file", 9),
        lambda: there.write(b"/file", 0, b"secret"),
        lambda: there.zero(b"/file", 0, 4),
    ]
    there.truncate(b"/file", 5)
    for way in ways:
        there.metadata(b"/file", given)
        there.barrier()
        assert rights() == (0o6755, owner)
        way()
        there.barrier()
        assert rights() == (0o600, os.geteuid())
    there.metadata(b"/file", given)
    there.barrier()
    assert rights() == (0o6755, owner)


def test_killed_before_it_is_noted_a_program_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = farside.Target(os.fsencode(tmp_path / "target"), lambda: None)
    target.begin("m", False, False)
    pid = os.fork()
    if pid == 0:
        launcher = farside.Launcher(target.records, target.root, 0o022)
        launcher.records.remember = lambda *names, **fields: os._exit(0)  # type: ignore
        try:
            launcher.start([b"touch", os.fsencode(tmp_path / "ran")], b"")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    launcher = farside.Launcher(target.records, target.root, 0o022)
    assert launcher.started() is None
    started, already = launcher.start([b"touch", os.fsencode(tmp_path / "second")], b"")
    assert not already
    os.waitpid(started, 0)
    assert (tmp_path / "second").exists()
    assert not (tmp_path / "ran").exists()


def test_what_could_not_be_made_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "target"
    target = farside.Target(os.fsencode(place), lambda: None)
    target.begin("m", False, False)
    target.truncate(b"ours", 0)
    real = farside.Target.place
    appearing: list[Path] = []

    def find(self: farside.Target, path: bytes, make: bool = False) -> tuple[int, bytes]:
        """Somebody else makes the file just before we do."""
        found = real(self, path, make)
        while make and appearing:
            appearing.pop().write_text("foreign")
        return found

    monkeypatch.setattr(farside.Target, "place", find)
    for number, way in enumerate(
        (
            lambda path: target.truncate(path, 0),
            lambda path: target.symlink(path, b"x"),
            lambda path: target.link(path, b"ours"),
            lambda path: target.fifo(path),
        )
    ):
        name = b"n%d" % number
        appearing.append(place / os.fsdecode(name))
        with pytest.raises(FileExistsError):
            way(name)
        with pytest.raises(farside.Refused, match="not made by this migration"):
            target.delete(name)
        assert (place / os.fsdecode(name)).read_text() == "foreign"


def test_a_commit_waits_for_the_disk_even_if_nobody_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(farside.System, "sync", lambda self, fd: synced.append(fd))
    place = os.fsencode(tmp_path / "other")
    requests = opening(place) + frame(farside.TRUNCATE, text(b"f"), numbers(1))
    found, server = drive(requests + frame(farside.COMMIT, b"r") + frame(farside.BARRIER))
    assert not errors(found)
    assert synced
    os.close(server.target.lock)
