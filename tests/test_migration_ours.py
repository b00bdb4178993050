"""The far side knows what is its own, by inode, also in another run and while names are swapped."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from precopy.migration.transport import TargetError, connect, farside
from precopy.migration.transport.channel import Channel

STATE = ".precopy-migration"
REPLACED = "was replaced there by somebody else"
IN_THE_WAY = "in the way and was not made by this migration"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "target"


def begun(place: Path, *, resume: bool = True, merge: bool = False) -> Channel:
    made = connect(str(place))
    assert isinstance(made, Channel)
    made.begin("m", resume=resume, merge=merge)
    return made


@pytest.fixture
def far(place: Path) -> Iterator[farside.Target]:
    """The far side's own part, in this process."""
    target = farside.Target(os.fsencode(place), lambda: None)
    target.begin("m", False, False)
    yield target
    target.forget()
    for fd in (target.lock, target.records.fd, target.manifest.fd, target.root):
        os.close(fd)


# --- another run ---------------------------------------------------------------------------------


def put_foreign(path: Path, kind: str) -> None:
    """Put something of somebody else's in a name's place; its inode number may be the same."""
    (path.rmdir if path.is_dir() and not path.is_symlink() else path.unlink)()
    if kind == "directory":
        path.mkdir()
        (path / "kept").write_text("foreign")
    elif kind == "link":
        path.symlink_to("foreign")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_text("foreign")


def content(path: Path) -> object:
    if path.is_symlink():
        return os.readlink(path)
    if path.is_dir():
        return sorted((each.name, each.read_text()) for each in path.iterdir())
    return path.read_text() if path.is_file() else stat.S_IFMT(path.lstat().st_mode)


MAKE: dict[str, Callable[[Channel, bytes], None]] = {
    "file": lambda there, path: there.truncate(path, 5),
    "directory": lambda there, path: there.mkdir(path),
    "link": lambda there, path: there.symlink(path, b"ours"),
    "fifo": lambda there, path: there.fifo(path),
}


@pytest.mark.parametrize("kind", MAKE)
def test_what_takes_a_names_place_between_two_runs_is_foreign(place: Path, kind: str) -> None:
    there = begun(place, resume=False)
    for name in (b"/a", b"/b", b"/kept"):
        MAKE[kind](there, name)
    there.barrier()
    there.close()
    for name in ("a", "b"):
        put_foreign(place / name, kind)
    before = content(place / "a")
    there = begun(place)
    there.delete(b"/b")  # whoever asks without looking first is told, too
    with pytest.raises(TargetError, match=REPLACED):
        there.barrier()
    assert set(there.listing()) == {b"/kept"}
    for spoil in (
        lambda: MAKE[kind](there, b"/a"),
        lambda: there.delete(b"/a"),
        lambda: there.rename(b"/a", b"/c"),
        lambda: there.rename(b"/kept", b"/a"),
    ):
        spoil()
        with pytest.raises(TargetError, match=IN_THE_WAY):
            there.barrier()
    assert sorted(there.withdraw()) == [b"/a", b"/b"]
    there.close()
    assert content(place / "a") == content(place / "b") == before
    assert sorted(os.listdir(place)) == ["a", "b"]


def test_what_is_still_ours_is_known_in_another_run(place: Path) -> None:
    there = begun(place, resume=False)
    for name, make in enumerate(MAKE.values()):
        make(there, b"/d/%d" % name)
    there.link(b"/second", b"/d/0")
    there.rename(b"/d", b"/e")
    there.barrier()
    os.kill(there.far["pid"], 9)
    names = {b"/e", b"/second", *(b"/e/%d" % name for name in range(len(MAKE)))}
    again = begun(place)
    assert set(again.listing()) == names
    again.write(b"/second", 0, b"fine")
    again.barrier()
    assert again.withdraw() == []
    assert not place.exists()
    again.close()


def test_with_merging_a_directory_in_our_place_is_merged_into(place: Path) -> None:
    place.mkdir()
    (place / "mine").write_text("mine")
    there = begun(place, resume=False, merge=True)
    there.mkdir(b"/d")
    there.truncate(b"/f", 1)
    there.barrier()
    there.close()
    put_foreign(place / "d", "directory")
    put_foreign(place / "f", "file")
    there = begun(place, merge=True)
    assert there.listing() == {}
    there.truncate(b"/d/new", 1)
    there.barrier()
    there.truncate(b"/f", 1)
    with pytest.raises(TargetError, match=IN_THE_WAY):
        there.barrier()
    assert sorted(there.withdraw()) == [b"/d", b"/f"]
    there.close()
    assert [content(place / name) for name in ("d", "f", "mine")] == [
        [("kept", "foreign")], "foreign", "mine",
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["nothing", "ours", "foreign", "later"])
def test_a_name_that_was_noted_and_perhaps_not_made(place: Path, what: str) -> None:
    there = begun(place, resume=False)
    there.truncate(b"/other", 0)
    there.barrier()
    os.kill(there.far["pid"], 9)
    there.close()
    manifest = place / STATE / "manifest"
    with manifest.open("ab") as file:
        file.write(b"+" + b"f".hex().encode() + b"\n")
    if what != "nothing":
        (place / "f").write_text("foreign" if what == "foreign" else "")
    if what == "later":
        moment = manifest.stat().st_mtime - 3600
        os.utime(manifest, (moment, moment))
    again = begun(place)
    assert (b"/f" in again.listing()) == (what == "ours")
    again.truncate(b"/f", 3)
    if what in ("foreign", "later"):
        with pytest.raises(TargetError, match=IN_THE_WAY):
            again.barrier()
        assert (place / "f").read_text() == ("foreign" if what == "foreign" else "")
    else:
        again.barrier()
    again.close()


def test_an_inode_number_that_is_used_again_is_another_file(far: farside.Target) -> None:
    if not far.system.born_ns(far.root, b""):
        pytest.skip("this file system does not tell when a file was made")
    far.truncate(b"f", 0)
    far.forget()
    path = Path(far.name) / "f"
    first = path.stat().st_ino
    for _ in range(50):
        path.unlink()
        path.write_text("foreign")
        if path.stat().st_ino == first:
            break
    with pytest.raises(farside.Refused, match=REPLACED):
        far.delete(b"f")
    assert path.read_text() == "foreign"


# --- while names are swapped ---------------------------------------------------------------------


def just_before(
    monkeypatch: pytest.MonkeyPatch, holder: object, call: str, act: Callable[[], None]
) -> None:
    """Let somebody act once, right before the far side's next such call."""
    real = getattr(holder, call)

    def first(*words: object, **options: object) -> object:
        monkeypatch.setattr(holder, call, real)
        act()
        return real(*words, **options)

    monkeypatch.setattr(holder, call, first)


def test_what_is_swapped_in_just_before_a_deletion_is_moved_back(
    far: farside.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(far.name) / "f"
    for kind in ("file", "directory", "link"):
        far.truncate(b"f", 0)
        just_before(monkeypatch, farside.os, "rename", lambda kind=kind: put_foreign(path, kind))
        with pytest.raises(farside.Refused, match=REPLACED):
            far.delete(b"f")
        assert content(path) == {"file": "foreign", "link": "foreign"}.get(
            kind, [("kept", "foreign")]
        )
        assert "aside" not in os.listdir(Path(far.name) / STATE)
        for below in path.iterdir() if kind == "directory" else ():
            below.unlink()
        (path.rmdir if kind == "directory" else path.unlink)()
        far.manifest.drop(b"f")


def test_what_cannot_be_moved_back_is_kept(
    far: farside.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(far.name) / "f"
    far.truncate(b"f", 0)
    just_before(monkeypatch, farside.os, "rename", lambda: put_foreign(path, "file"))
    just_before(monkeypatch, far.system, "rename", lambda: path.write_text("another"))
    with pytest.raises(farside.Refused, match=REPLACED):
        far.delete(b"f")
    assert path.read_text() == "another"
    [note] = far.notes
    kept = Path(re.findall("'(.*)'", note)[0])
    assert kept.read_text() == "foreign"
    assert far.withdraw(far.records) == [b"f", STATE.encode()]
    assert kept.read_text() == "foreign"


@pytest.mark.parametrize("ours", [True, False])
def test_killed_in_the_middle_of_a_deletion(far: farside.Target, ours: bool) -> None:
    far.truncate(b"f", 0)
    far.forget()
    state = Path(far.name) / STATE
    if not ours:
        put_foreign(Path(far.name) / "f", "file")
    (Path(far.name) / "f").rename(state / "aside")
    far.find_aside()
    kept = [path.read_text() for path in state.glob("kept-*")]
    assert not (state / "aside").exists()
    assert kept == ([] if ours else ["foreign"])


def test_what_appears_just_before_a_rename_is_not_replaced(
    far: farside.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(far.name)
    far.mkdir(b"d")
    far.truncate(b"d/f", 0)
    just_before(monkeypatch, far.system, "rename", lambda: (place / "e").mkdir())
    with pytest.raises(FileExistsError):
        far.rename(b"d", b"e")
    assert content(place / "e") == []
    assert content(place / "d") == [("f", "")]
    with pytest.raises(farside.Refused, match=IN_THE_WAY):
        far.delete(b"e")
    far.delete(b"d")


def test_what_is_swapped_in_just_before_a_rename_is_moved_back(
    far: farside.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(far.name)
    far.truncate(b"f", 0)
    just_before(monkeypatch, far.system, "rename", lambda: put_foreign(place / "f", "file"))
    with pytest.raises(farside.Refused, match=REPLACED):
        far.rename(b"f", b"g")
    assert content(place / "f") == "foreign"
    assert not (place / "g").exists()


def test_a_hard_link_is_to_what_we_made_whatever_has_its_name(
    far: farside.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(far.name)
    far.truncate(b"f", 5)
    just_before(monkeypatch, farside.os, "link", lambda: (place / "f").rename(place / "moved"))
    far.link(b"second", b"f")
    assert (place / "second").stat().st_ino == (place / "moved").stat().st_ino


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_what_is_swapped_in_right_after_it_was_made_is_not_taken_for_ours(
    far: farside.Target, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path, real = Path(far.name) / "n", far.system.rename

    def rename(*words: object) -> None:
        monkeypatch.setattr(far.system, "rename", real)
        real(*words)  # type: ignore[arg-type]
        path.rename(path.with_name("moved"))
        path.mkdir()

    monkeypatch.setattr(far.system, "rename", rename)
    if kind == "fifo":
        far.fifo(b"n")
    elif kind == "link":
        far.symlink(b"n", b"x")
    spoil = far.mkdir if kind == "directory" else far.delete
    with pytest.raises(farside.Refused, match=REPLACED):
        spoil(b"n")
    assert content(path) == []


def test_what_appears_just_before_it_is_made_is_not_ours(
    far: farside.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(far.name) / "n"
    for make in (far.mkdir, far.fifo, lambda name: far.symlink(name, b"x")):
        just_before(monkeypatch, far.system, "rename", path.mkdir)
        with pytest.raises(FileExistsError):
            make(b"n")
        assert content(path) == []
        assert b"n" not in far.manifest.made
        path.rmdir()
        assert "fresh" not in os.listdir(Path(far.name) / STATE)


def test_on_a_file_system_mounted_in_the_target_it_is_made_in_place(far: farside.Target) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is needed to mount a file system")
    far.mkdir(b"d")
    far.forget()
    subprocess.run(["mount", "-t", "tmpfs", "none", Path(far.name) / "d"], check=True)
    try:
        target = farside.Target(os.fsencode(far.name), lambda: None)
        os.close(far.lock)
        target.begin("m", True, False)
        far.lock = target.lock
        with pytest.raises(farside.Refused, match=REPLACED):  # a mount point is none of ours
            target.mkdir(b"d/e")
        target.manifest.add(b"d", target.look(target.root, b"d")[1])
        for make in (target.mkdir, target.fifo, lambda name: target.symlink(name, b"x")):
            make(b"d/n")
            assert target.manifest.made[b"d/n"].startswith(b"1.")
            target.delete(b"d/n")
        assert os.listdir(Path(far.name) / "d") == []
        target.forget()
        for fd in target.syncer.places.values():
            os.close(fd)
    finally:
        subprocess.run(["umount", "-l", Path(far.name) / "d"], check=True)


def test_without_the_systems_own_call_a_rename_looks_first(far: farside.Target) -> None:
    far.system.renameat2 = None
    far.truncate(b"f", 0)
    (Path(far.name) / "g").write_text("foreign")
    with pytest.raises(FileExistsError):
        far.system.rename(far.root, b"f", far.root, b"g")
    far.system.rename(far.root, b"f", far.root, b"h")
    assert sorted(os.listdir(far.name)) == [STATE, "g", "h"]


def test_without_a_c_library_it_works_as_before(place: Path) -> None:
    target = farside.Target(os.fsencode(place), lambda: None)
    for call in ("syncfs", "renameat2", "statx", "fallocate"):
        setattr(target.system, call, None)
    target.begin("m", False, False)
    target.truncate(b"a/f", 9000)
    target.zero(b"a/f", 0, 4096)
    target.rename(b"a", b"b")
    target.system.sync(target.root)
    assert set(target.manifest.made) == {b"b", b"b/f"}
    assert target.withdraw(target.records) == []


# --- where others may write ----------------------------------------------------------------------


@pytest.mark.parametrize("where", ["the target", "above", "beside a link"])
def test_a_place_in_which_all_may_swap_names_is_refused_to_root(tmp_path: Path, where: str) -> None:
    wide = tmp_path / "wide"
    wide.mkdir()
    target = wide / "target"
    if where == "the target":
        target = wide
    elif where == "beside a link":
        (tmp_path / "real").mkdir()
        (wide / "link").symlink_to(tmp_path / "real")
        target = wide / "link/target"
    wide.chmod(0o777)
    with pytest.raises(farside.Refused, match=r"chmod o-w.*another directory"):
        farside.guard(str(target), True)
    [doubt] = farside.guard(str(target), False)
    assert f"'{wide}' can be written by others" in doubt
    wide.chmod(0o1777)
    assert farside.guard(str(target), True) == []
    wide.chmod(0o755)
    assert farside.guard(str(target), True) == []
    wide.chmod(0o777)
    there = connect(str(target))
    if os.geteuid() == 0:
        with pytest.raises(TargetError, match="can be written by others"):
            there.begin("m", resume=False)
        assert where == "the target" or not target.exists()
        assert STATE not in os.listdir(wide)
    there.close()


def test_what_is_doubtful_is_told(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is needed to give a directory away")
    for number, (owner, group, mode, why) in enumerate(
        ((4321, 0, 0o700, "belongs to user 4321"), (0, 4321, 0o770, "can be written by others"))
    ):
        above = tmp_path / str(number)
        above.mkdir()
        os.chown(above, owner, group)
        above.chmod(mode)
        there = begun(above / "target", resume=False)
        [note] = there.barrier().notes
        assert f"'{above}' {why}" in note
        there.close()


def test_a_directory_of_others_in_which_all_may_swap_names_is_not_merged_into(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is not refused what others may")
    (place / "wide").mkdir(parents=True)
    (place / "wide").chmod(0o777)
    there = begun(place, resume=False, merge=True)
    there.truncate(b"/wide/f", 0)
    with pytest.raises(TargetError, match="can be written by everybody"):
        there.barrier()
    assert content(place / "wide") == []
    (place / "wide").chmod(0o1777)
    there.truncate(b"/wide/f", 0)
    there.barrier()
    there.close()


def test_what_keeps_its_owner_out_is_let_in_only_if_it_is_ours(
    far: farside.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, real = Path(far.name), os.open
    monkeypatch.setattr(far, "is_root", False)
    far.mkdir(b"d")
    far.truncate(b"f", 0)
    far.forget()
    for name in ("d", "f"):
        put_foreign(place / name, "file")
        (place / name).chmod(0o400)

    def refused(*words: object, **options: object) -> int:
        """Root is let in whatever the mode: be somebody else, once."""
        monkeypatch.setattr(farside.os, "open", real)
        raise PermissionError

    with pytest.raises(farside.Refused, match=REPLACED):
        far.loosen(far.root, b"d", b"d")
    monkeypatch.setattr(farside.os, "open", refused)
    with pytest.raises(farside.Refused, match=REPLACED):
        far.open_file(far.root, b"f", b"f", os.O_RDWR)
    assert [stat.S_IMODE((place / name).stat().st_mode) for name in ("d", "f")] == [0o400] * 2
