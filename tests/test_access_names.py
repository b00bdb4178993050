"""Names and descriptors: whatever a file is called, or comes by, it is reported as what it is."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from access.truth import Use, meta, need, query, seen, uses

from precopy.access.tracking.live import LOSSES
from precopy.access.tracking.recording import record

HERE = Path(__file__).parent / "access"

REUSED = """
import os, shutil, sys
top = sys.argv[1]
for how in ("cwd", "dirfd"):
    for i in range(10):
        for name in (f"{top}/{how}-old{i}", f"{top}/{how}-new{i}"):
            os.mkdir(name)
            if how == "cwd":
                os.chdir(name)
                open("data", "w").write("x")
                os.chdir("/")
            else:
                directory = os.open(name, os.O_RDONLY)
                file = os.open("data", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=directory)
                os.write(file, b"x")
                os.close(file)
                os.close(directory)
            if "-old" in name:
                # By another process: nothing in this one sees it go.
                os.spawnlp(os.P_WAIT, "rm", "rm", "-r", name)
"""

REUSED_IN_SHELL = """
cd "$1"
for i in 0 1 2 3 4 5 6 7 8 9; do
    mkdir old$i; cd old$i; echo hello > data; cd ..; rm -r old$i
    mkdir sh-new$i; cd sh-new$i; : > data; cd ..
done
"""


def compiled(source: str, directory: Path, *options: str) -> Path:
    need("gcc")
    program = directory / source.removesuffix(".c")
    subprocess.run(["gcc", "-O1", "-o", program, HERE / source, *options], check=True)
    return program


def run(command: list[str], log: Path, cwd: Path, **environment: str) -> dict[bytes, Use]:
    """Record a command and say what it used, by the names in `cwd`."""
    done = record(command, app="a", log=log, cwd=cwd, env={**os.environ, **environment})
    assert done.returncode == 0
    start = os.fsencode(cwd) + b"/"
    return {path.removeprefix(start): use for path, use in uses(log).items()}


@contextlib.contextmanager
def file_system(kind: str, directory: Path) -> Iterator[Path]:
    """A directory on a file system of a kind; skips by name where it cannot be had."""
    directory.mkdir()
    if kind == "here":
        yield directory
        return
    options = {"tmpfs": ["-t", "tmpfs", "tmpfs"]}
    if kind == "btrfs":
        need("mkfs.btrfs")
        image = directory.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(256 << 20)
        subprocess.run(["mkfs.btrfs", "-q", image], check=True)
        options["btrfs"] = ["-o", "loop", str(image)]
    elif kind == "overlay":
        for part in ("base", "lower", "upper", "work"):
            (directory.parent / f"overlay-{part}").mkdir()
        base = directory.parent / "overlay-base"
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", base]).returncode:
            pytest.skip("mount of tmpfs not permitted")
        for part in ("upper", "work"):
            (base / part).mkdir()
        lower = directory.parent / "overlay-lower"
        layers = f"lowerdir={lower},upperdir={base}/upper,workdir={base}/work"
        options["overlay"] = ["-t", "overlay", "overlay", "-o", layers]
    if subprocess.run(["mount", *options[kind], directory], capture_output=True).returncode:
        pytest.skip(f"mount of {kind} not permitted")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
        if kind == "overlay":
            subprocess.run(["umount", base], check=True)


@pytest.mark.parametrize("kind", ["here", "tmpfs", "btrfs", "overlay"])
def test_a_directory_with_a_reused_inode_is_not_the_old_one(kind: str, tmp_path: Path) -> None:
    script, shell, log = tmp_path / "reused.py", tmp_path / "reused.sh", tmp_path / "access.db"
    script.write_text(REUSED)
    shell.write_text(REUSED_IN_SHELL)
    with file_system(kind, tmp_path / "top") as top:
        command = f"{sys.executable} -I -S {script} {top} && sh {shell} {top}"
        done = record(["sh", "-c", command], app="a", log=log)
        assert done.returncode == 0
        kept = {os.fsencode(path) for path in top.rglob("data")}
    assert len(kept) == 30
    assert kept - {path for path, use in uses(log).items() if use.write} == set()
    assert meta(log, "complete") == 1


def test_a_file_is_found_when_it_gets_its_name(tmp_path: Path) -> None:
    program = compiled("nameless.c", tmp_path)
    (tmp_path / "work").mkdir()
    seen = run([str(program)], tmp_path / "access.db", tmp_path / "work")
    assert (seen[b"by-proc"].writes, seen[b"by-proc"].bytes_written) == (2, 7)
    assert (seen[b"by-descriptor"].writes, seen[b"by-descriptor"].bytes_written) == (1, 4)
    assert (seen[b"new-name"].writes, seen[b"new-name"].bytes_written) == (1, 4)
    assert meta(tmp_path / "access.db", "complete") == 1
    seen = run([str(program), "another"], tmp_path / "access.db", tmp_path / "work")
    assert seen[b"by-another"].writes == 1 or meta(tmp_path / "access.db", "complete") == 0


def test_every_change_of_attributes_is_a_change(tmp_path: Path) -> None:
    program = compiled("attributes.c", tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    source = (HERE / "attributes.c").read_text()
    names = [part.split('"')[0] for part in source.split('file("')[1:]]
    assert len(names) > 20
    for name in [*names, "target"]:
        (work / name).touch()
        if "remove" in name:
            os.setxattr(work / name, "user.old", b"value")
    (work / "directory").mkdir()
    (work / "through").symlink_to("target")
    (work / "link").symlink_to("nowhere")
    run([str(program)], tmp_path / "access.db", work)
    found = seen(tmp_path / "access.db")
    expected = {**dict.fromkeys([*names, "target"], 1), "link": 2, "directory": 2}
    changes = {
        name: found[os.fsencode(work / name)].changes
        for name in expected
        if os.fsencode(work / name) in found
    }
    assert changes == expected
    assert all("write" in found[os.fsencode(work / name)].uses for name in expected)
    kinds = dict(query(tmp_path / "access.db", "SELECT path, kind FROM file"))
    assert kinds[os.fsencode(work / "directory")] == "directory"
    assert kinds[os.fsencode(work / "link")] == kinds[os.fsencode(work / "through")] == "link"


RECEIVES = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
server = socket.socket(socket.AF_UNIX)
server.connect("socket")
_, (received, unreadable), _, _ = socket.recv_fds(server, 10, 4)
assert os.read(received, 100) == b"received"
os.write(unreadable, b"x")
pid, number, raw = map(int, sys.argv[1:])
pidfd = os.pidfd_open(pid)
taken = libc.pidfd_getfd(pidfd, number, 0)
assert os.pread(taken, 100, 0) == b"taken", os.strerror(ctypes.get_errno())
taken = libc.syscall(438, pidfd, raw, 0)
assert os.pread(taken, 100, 0) == b"taken-raw"
"""


def test_files_behind_received_and_taken_descriptors_are_read(tmp_path: Path) -> None:
    for name in ("received", "taken", "taken-raw"):
        (tmp_path / name).write_text(name)
    (tmp_path / "receives.py").write_text(RECEIVES)
    files = [os.open(tmp_path / name, os.O_RDONLY) for name in ("received", "taken", "taken-raw")]
    output = os.open(tmp_path / "output", os.O_WRONLY | os.O_CREAT, 0o600)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    server.listen()

    def serve() -> None:
        client, _ = server.accept()
        socket.send_fds(client, [b"x"], [files[0], output])
        client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    numbers = [str(os.getpid()), str(files[1]), str(files[2])]
    command = [sys.executable, "-I", "-S", "receives.py", *numbers]
    seen = run(command, tmp_path / "access.db", tmp_path)
    thread.join()
    for fd in (*files, output):
        os.close(fd)
    server.close()
    assert all(seen[name].read for name in (b"received", b"taken", b"taken-raw"))
    assert not seen[b"output"].read
    assert seen[b"output"].bytes_written == 1


def message_catalog(messages: dict[bytes, bytes]) -> bytes:
    """A catalog as gettext reads it."""
    pairs = sorted(messages.items())
    count, texts, tables = len(pairs), b"", []
    start = 28 + 16 * count
    for column in (0, 1):
        for pair in pairs:
            tables.append(struct.pack("<II", len(pair[column]), start + len(texts)))
            texts += pair[column] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return head + b"".join(tables) + texts


def test_files_that_libc_opens_by_the_applications_names_are_seen(tmp_path: Path) -> None:
    program = compiled("libc_files.c", tmp_path)
    work = tmp_path / "work"
    (work / "catalogs" / "de" / "LC_MESSAGES").mkdir(parents=True)
    (work / "catalogs" / "de" / "LC_MESSAGES" / "app.mo").write_bytes(
        message_catalog({b"": b"Content-Type: text/plain; charset=UTF-8\n", b"word": b"Wort"})
    )
    (work / "table").write_text("device directory type options 0 0\n")
    (work / "zone").write_bytes(
        b"TZif" + bytes(16) + struct.pack(">6I", 0, 0, 0, 0, 1, 4)
        + struct.pack(">iBB", 5 * 3600, 0, 0) + b"FIV\0"
    )  # fmt: skip
    for name in ("logins", "login-log"):
        (work / name).touch()
    (work / "old-logins").write_bytes(bytes(384))
    seen = run(
        [str(program)], tmp_path / "access.db", work, TZ=f":{work}/zone", LANGUAGE="de_AT:en"
    )
    for name in (b"table", b"old-logins", b"catalogs/de/LC_MESSAGES/app.mo", b"zone"):
        assert seen[name].read, name
        assert not seen[name].write, name
    for name in (b"added", b"logins", b"login-log"):
        assert seen[name].write, name
        assert seen[name].bytes_written == (work / name.decode()).stat().st_size, name


def test_what_lies_in_a_mount_that_was_taken_away_keeps_its_path(tmp_path: Path) -> None:
    for name in ("f", "g"):
        (tmp_path / name).touch()
    (tmp_path / "t").mkdir()
    script = """
        mount --bind f g || exit 77; exec 5>>g; umount -l g
        mount -t tmpfs tmpfs t; exec 6>t/held; umount -l t
        sleep 0.2; echo late >&5; echo late >&6
    """
    log = tmp_path / "access.db"
    done = record(["unshare", "-m", "sh", "-c", script], app="a", log=log, cwd=tmp_path)
    if done.returncode in (1, 77):
        pytest.skip("mount not permitted")
    seen = uses(log)
    assert {path for path, use in seen.items() if use.write} == {
        os.fsencode(tmp_path / "g"),
        os.fsencode(tmp_path / "t" / "held"),
    }
    assert seen[os.fsencode(tmp_path / "g")].writes == 1
    assert LOSSES["lost-namespace"] in str(meta(log, "incomplete_reason"))


def test_a_directory_that_was_taken_away_makes_the_log_incomplete(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    script = 'mount -t tmpfs tmpfs t || exit 77; cd t; umount -l "$OLDPWD/t"; sleep 0.2; : > rel'
    log = tmp_path / "access.db"
    done = record(["unshare", "-m", "sh", "-c", script], app="a", log=log, cwd=tmp_path)
    if done.returncode in (1, 77):
        pytest.skip("mount not permitted")
    if os.fsencode(tmp_path / "t" / "rel") not in uses(log):
        reasons = str(meta(log, "incomplete_reason")).splitlines()
        assert set(reasons) == {LOSSES["lost-path"], LOSSES["lost-namespace"]}
    assert b"/rel" not in uses(log)


NAMESPACE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
done = eval(sys.argv[1])
if done == 0 and 'wait' in sys.argv:
    os._exit(0)
sys.exit(77 if done < 0 else 0)
"""


@pytest.mark.parametrize(
    ("call", "own"),
    [
        ("libc.unshare(0x20000)", True),
        ("libc.unshare(0x400)", False),
        ("libc.syscall(272, 0x20200)", True),
        ("libc.setns(os.open('/proc/self/ns/mnt', 0), 0x20000)", True),
        ("libc.setns(os.open('/proc/self/ns/uts', 0), 0x4000000)", False),
        ("libc.syscall(56, 0x20011, 0, 0, 0, 0)", True),
        ("libc.syscall(56, 0x11, 0, 0, 0, 0)", False),
        ("libc.syscall(435, 8, 88) * 0", False),  # the kernel refuses the pointer
    ],
)
def test_mounts_of_its_own_make_the_log_incomplete(call: str, own: bool, tmp_path: Path) -> None:
    """Outside, the paths that such a program sees mean other files, or none."""
    if os.uname().machine != "x86_64" and "syscall" in call:
        call = "libc.unshare(0x20000)" if own else "0"
    log = tmp_path / "access.db"
    command = [sys.executable, "-I", "-S", "-c", NAMESPACE, call, "wait"]
    done = record(command, app="a", log=log, cwd=tmp_path)
    if done.returncode == 77:
        pytest.skip("unshare: not permitted")
    assert done.returncode == 0
    assert (LOSSES["lost-namespace"] in str(meta(log, "incomplete_reason"))) == own
    assert own or meta(log, "complete") == 1


RING = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
parameters = ctypes.create_string_buffer(120)
made = libc.syscall(425, 1, parameters)
open('made', 'w').write(str(made))
"""


def test_a_ring_makes_the_log_incomplete(tmp_path: Path) -> None:
    (tmp_path / "ring.py").write_text(RING)
    log = tmp_path / "access.db"
    run([sys.executable, "-I", "-S", "ring.py"], log, tmp_path)
    if int((tmp_path / "made").read_text()) < 0:
        pytest.skip("io_uring not permitted")
    assert meta(log, "incomplete_reason") == LOSSES["lost-ring"]


@pytest.mark.parametrize("how", [[], ["params"]])
def test_a_ring_of_liburings_makes_the_log_incomplete(how: list[str], tmp_path: Path) -> None:
    if not Path("/usr/include/liburing.h").exists():
        pytest.skip("liburing not installed")
    program, log = compiled("ring.c", tmp_path, "-luring"), tmp_path / "access.db"
    if record([str(program), *how], app="a", log=log, cwd=tmp_path).returncode != 0:
        pytest.skip("io_uring not permitted")
    assert meta(log, "incomplete_reason") == LOSSES["lost-ring"]


def test_files_behind_inherited_descriptors_are_read(tmp_path: Path) -> None:
    ways = {"read": os.O_RDONLY, "both": os.O_RDWR, "written": os.O_WRONLY}
    given = [os.open(tmp_path / name, flags | os.O_CREAT) for name, flags in ways.items()]
    log = tmp_path / "access.db"
    command = [sys.executable, "-m", "precopy", "record", "--app", "a", "--log", log, "--", "true"]
    subprocess.run(command, pass_fds=given, check=True)
    for fd in given:
        os.close(fd)
    seen = uses(log)
    assert {name for name in ways if os.fsencode(tmp_path / name) in seen} == {"read", "both"}
    assert all(
        use.read and not use.write for path, use in seen.items() if tmp_path.name in str(path)
    )
