"""rsync as a transport: whole files arrive as they are, and nothing partial passes for success."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from migration.compare import differences
from migration.hosts import Host, has_sshd, sshd
from migration.moving import migrate

from precopy.migration.source.metadata import Metadata
from precopy.migration.transport import (
    StartError,
    TargetError,
    TransportError,
    VerifyError,
    connect,
    rsync,
)
from precopy.migration.transport.rsync import Rsync, _state

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync not installed")
needs_sshd = pytest.mark.skipif(not has_sshd(), reason="sshd not installed")
META = Metadata(0o600, 0, 0, 0, 0)
BLOCK = 4096


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with sshd(tmp_path_factory.mktemp("sshd")) as host:
        yield host


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    return source


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture(params=["local", pytest.param("ssh", marks=needs_sshd)])
def there(request: pytest.FixtureRequest, target: Path) -> Iterator[Rsync]:
    if request.param == "ssh":
        host = request.getfixturevalue("host")
        made = connect(f"{host.alias}:{target}", ssh=host.ssh, transport="rsync")
    else:
        made = connect(str(target), transport="rsync")
    assert isinstance(made, Rsync)
    made.begin("m", resume=False)
    yield made
    made.close()


@pytest.fixture
def here(target: Path) -> Iterator[Rsync]:
    made = connect(str(target), transport="rsync")
    assert isinstance(made, Rsync)
    made.begin("m", resume=False)
    yield made
    made.close()


def name(path: Path) -> bytes:
    return os.fsencode(path)


def send(there: Rsync, path: Path) -> None:
    """Do what the engine does for a file."""
    data = path.read_bytes()
    there.truncate(name(path), len(data))
    there.write(name(path), 0, data)
    index = range(-(-len(data) // BLOCK))
    digests = b"".join(
        hashlib.blake2b(data[at * BLOCK : (at + 1) * BLOCK], digest_size=16).digest()
        for at in index
    )
    there.verify(name(path), len(data), BLOCK, list(index), digests)
    there.metadata(name(path), META)


def at(target: Path, path: Path) -> Path:
    return target / str(path)[1:]


def test_a_tree_arrives_as_it_is(there: Rsync, source: Path, target: Path) -> None:
    odd = source / "d/new\nline -x \udcff"
    odd.parent.mkdir()
    odd.write_bytes(b"abc" * 5000)
    odd.chmod(0o640)
    os.setxattr(odd, "user.note", b"\0\xff")
    os.utime(odd, ns=(5, 1_000_000_000_123_456_789))
    (source / "empty").mkdir(mode=0o711)
    (source / "link").symlink_to("d/elsewhere")
    os.link(odd, source / "second")
    os.mkfifo(source / "fifo")
    os.truncate(os.open(source / "sparse", os.O_CREAT | os.O_RDWR), 5 << 20)
    os.utime(source / "d", ns=(5, 6_000_000_001))
    send(there, odd)
    send(there, source / "sparse")
    there.mkdir(name(source / "empty"))
    there.symlink(name(source / "link"), b"d/elsewhere")
    there.fifo(name(source / "fifo"))
    there.link(name(source / "second"), name(odd))
    there.metadata(name(source / "d"), META)
    acknowledged = there.barrier()
    for path in [*source.rglob("*")]:
        one, other = path.lstat(), at(target, path).lstat()
        assert other.st_mode == one.st_mode, path
        assert (other.st_uid, other.st_gid) == (one.st_uid, one.st_gid), path
        assert other.st_mtime_ns == one.st_mtime_ns, path
        if stat.S_ISREG(one.st_mode):
            assert at(target, path).read_bytes() == path.read_bytes(), path
    assert os.getxattr(at(target, odd), "user.note") == b"\0\xff"
    assert at(target, odd).stat().st_ino == at(target, source / "second").stat().st_ino
    assert at(target, source / "sparse").stat().st_blocks < 100
    assert acknowledged.bytes > 0
    assert there.link_bytes >= acknowledged.bytes


def test_same_size_and_second_does_not_deceive_it(here: Rsync, source: Path, target: Path) -> None:
    path = source / "f"
    path.write_bytes(b"one")
    os.utime(path, (7, 7))
    send(here, path)
    here.barrier()
    path.write_bytes(b"two")
    os.utime(path, (7, 7))
    send(here, path)
    here.barrier()
    assert at(target, path).read_bytes() == b"two"


def test_what_has_changed_since_it_was_read_goes_again(
    here: Rsync, source: Path, target: Path
) -> None:
    path = source / "f"
    path.write_bytes(b"read so")
    send(here, path)
    path.write_bytes(b"changed")
    here.barrier()
    assert at(target, path).read_bytes() == b"changed"
    path.write_bytes(b"read so")  # as the engine believes that it is there
    here.barrier()
    assert at(target, path).read_bytes() == b"read so"


def test_deletions_renames_and_kinds(there: Rsync, source: Path, target: Path) -> None:
    (source / "d/e").mkdir(parents=True)
    for file in ("d/e/f", "d/g", "h", "k"):
        (source / file).write_text(file)
        send(there, source / file)
    there.barrier()
    (source / "d").rename(source / "moved")
    there.rename(name(source / "d"), name(source / "moved"))
    (source / "h").unlink()
    there.delete(name(source / "h"))
    (source / "k").unlink()
    there.delete(name(source / "k"))
    (source / "k").mkdir()
    there.mkdir(name(source / "k"))
    (source / "k/in").write_text("in")
    send(there, source / "k/in")
    there.barrier()
    found = {str(path.relative_to(at(target, source))) for path in at(target, source).rglob("*")}
    assert found == {"moved", "moved/e", "moved/e/f", "moved/g", "k", "k/in"}


def test_nothing_foreign_is_deleted(here: Rsync, source: Path, target: Path) -> None:
    (source / "d").mkdir()
    (source / "d/f").write_text("x")
    send(here, source / "d/f")
    here.barrier()
    (at(target, source) / "d/foreign").write_text("foreign")
    shutil.rmtree(source / "d")
    here.delete(name(source / "d"))
    with pytest.raises(TargetError, match="not made by this migration"):
        here.barrier()
    assert os.listdir(at(target, source) / "d") == ["foreign"]
    stay = here.withdraw()
    assert stay[0] == name(source / "d")
    assert [path for path in target.rglob("*") if path.is_file()] == [
        at(target, source) / "d/foreign"
    ]


def test_withdrawn_nothing_of_ours_is_left(there: Rsync, source: Path, target: Path) -> None:
    (source / "d").mkdir()
    (source / "d/f").write_text("x")
    send(there, source / "d/f")
    there.barrier()
    assert there.withdraw() == []
    assert list(target.iterdir()) == []


def test_a_partial_transfer_is_no_success(
    here: Rsync, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (source / "f").write_text("x")
    send(here, source / "f")
    failing = tmp_path / "rsync"
    for status in (23, 24):
        failing.write_text(f"#!/bin/sh\necho some files were not sent >&2\nexit {status}\n")
        failing.chmod(0o755)
        monkeypatch.setattr(here, "_program", str(failing))
        here._noted = len(here._made)
        with pytest.raises(TransportError, match=rf"ended with {status} \(some files were not"):
            here.barrier()


def test_what_differs_there_is_found(
    here: Rsync, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = source / "f"
    path.write_bytes(b"right")
    os.utime(path, (7, 7))
    send(here, path)
    transfer = Rsync._transfer

    def spoil(self: Rsync, present: dict[bytes, os.stat_result]) -> None:
        transfer(self, present)
        at(target, path).write_bytes(b"wrong")
        os.utime(at(target, path), (7, 7))

    monkeypatch.setattr(Rsync, "_transfer", spoil)
    with pytest.raises(VerifyError) as caught:
        here.barrier()
    assert caught.value.wrong == {name(path): []}


def test_whose_the_target_is(here: Rsync, source: Path, target: Path, tmp_path: Path) -> None:
    (source / "f").write_text("x")
    (source / "g").write_text("x")
    send(here, source / "f")
    send(here, source / "g")
    here.barrier()
    other = connect(str(target), transport="rsync")
    assert other.status()["migration"] == "m"
    with pytest.raises(TargetError, match="belongs to migration m;"):
        other.begin("n", resume=False)
    with pytest.raises(TargetError, match="begun already"):
        other.begin("m", resume=False)
    (source / "g").unlink()
    other.begin("m", resume=True)
    assert list(other.listing()) == [name(source / "g")]
    other.delete(name(source / "g"))
    send(other, source / "f")  # type: ignore[arg-type]
    other.commit(b"\0record")
    assert not at(target, source / "g").exists()
    assert other.status()["commit"] == b"\0record"
    with pytest.raises(TargetError, match="committed"):
        other.truncate(name(source / "f"), 0)
    with pytest.raises(TargetError, match="committed"):
        other.withdraw()
    with pytest.raises(StartError):
        other.start([b"true"], None)
    other.close()
    (tmp_path / "foreign/thing").mkdir(parents=True)
    foreign = connect(str(tmp_path / "foreign"), transport="rsync")
    with pytest.raises(TargetError, match=r"not empty.*'thing'.*choose another"):
        foreign.begin("m", resume=False)
    foreign.close()
    assert os.listdir(tmp_path / "foreign") == ["thing"]


def test_the_other_transport_does_not_take_over(here: Rsync, target: Path, tmp_path: Path) -> None:
    here.close()
    channel = connect(str(target))
    assert channel.status()["migration"] == "m"
    with pytest.raises(TargetError, match="was begun with --transport rsync"):
        channel.begin("m", resume=True)
    channel.close()
    channel = connect(str(tmp_path / "other"))
    channel.begin("m", resume=False)
    channel.close()
    other = connect(str(tmp_path / "other"), transport="rsync")
    with pytest.raises(TargetError, match="was begun with --transport channel"):
        other.begin("m", resume=True)
    other.close()


def test_a_migration_by_rsync(source: Path, target: Path, tmp_path: Path) -> None:
    writer = (
        "import itertools, sys\nfor number in itertools.count():\n"
        "    open(sys.argv[1] + '/f%d' % (number % 20), 'ab', 0).write(b'%d' % number)"
    )
    process = subprocess.Popen([sys.executable, "-c", writer, source])
    try:
        options = ["--granularity", "file", "--transport", "rsync", "--until", "cycles(2)"]
        moved = migrate([source], target, *options, scratch=tmp_path, pids=[process.pid])
        assert moved.status == 0, moved.errors
    finally:
        process.kill()
        process.wait()
    assert moved.report["verified"]
    assert not differences(name(source), name(at(target, source)))


@needs_sshd
def test_a_host_that_is_not_there_is_told_and_no_socket_is_left(
    tmp_path: Path, source: Path
) -> None:
    with sshd(tmp_path / "sshd") as host:
        made = connect(f"{host.alias}:{tmp_path}/t", ssh=host.ssh, transport="rsync")
        assert isinstance(made, Rsync)
        made.begin("m", resume=False)
        assert stat.S_IMODE(made._scratch.stat().st_mode) == 0o700
        made.close()
        assert not made._scratch.exists()
    made = connect(f"{host.alias}:{tmp_path}/t", ssh=host.ssh, transport="rsync")
    with pytest.raises(TransportError, match="refuses the connection"):
        made.begin("m", resume=True)
    made.close()


QUOTES: list[tuple[str, str]] = [("a", "a"), ("a b", "'a b'"), ("it's", '"it\'s"')]


@pytest.mark.parametrize(("word", "quoted"), QUOTES)
def test_ssh_s_words_reach_it_through_rsync(word: str, quoted: str) -> None:
    assert rsync._quoted(word) == quoted


def test_words_that_rsync_cannot_hand_on_are_refused() -> None:
    with pytest.raises(ValueError, match="without both kinds of quotes"):
        rsync._quoted("'\"")


def test_a_directory_that_others_use_too_is_no_reason_to_doubt(tmp_path: Path) -> None:
    before = _state(os.stat(tmp_path))
    (tmp_path / "of another").touch()
    assert _state(os.stat(tmp_path)) == before
    tmp_path.chmod(0o711)
    assert _state(os.stat(tmp_path)) != before


def test_a_destination_that_is_gone_is_noticed_when_asked(
    there: Rsync, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.check()
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(there, "_program", str(silent))
        patch.setattr(rsync, "_CHECK_S", 0.1)
        with pytest.raises(TransportError, match=r"did not answer within 0\.1 s"):
            there.check()
    there.check()
    shutil.rmtree(target)
    with pytest.raises(TransportError):
        there.check()


def test_a_place_in_which_all_may_swap_names_is_refused_to_root(tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o777)
    there = connect(str(wide / "target"), transport="rsync")
    if os.geteuid() == 0:
        with pytest.raises(TargetError, match="can be written by others"):
            there.begin("m", resume=False)
        wide.chmod(0o755)
        os.chown(wide, 4321, 0)
    there.begin("m", resume=False)
    [note] = there.barrier().notes
    assert f"'{wide}'" in note
    assert there.barrier().notes == ()
    there.close()
