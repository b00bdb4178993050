"""What a signature does not show: mapped stores, long writes, where a large file was written."""

import ctypes
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from migration.changes import change
from migration.copying import Copy

from precopy.access import schema
from precopy.access.log import AccessLog
from precopy.migration.source.dirty import Dirty
from precopy.migration.source.mapped import shared_writable, writes_behind
from precopy.migration.source.mounts import Mount, Mounts
from precopy.migration.source.tracing import Tracing, is_traceable
from precopy.migration.source.tree import Selection, Tree

STORING = Path(__file__).parent / "migration" / "storing.py"
RAM, DISKS = ("tmpfs",), ("ext4", "xfs", "btrfs", "f2fs")
SMALL, LARGE, FOLIOS = 1 << 18, 12 << 20, 6 << 20
INSTANCES = Path("/sys/kernel/tracing/instances")


class Storing:
    """A program that has a file mapped."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, STORING, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "mapped\n"

    def store(self, at, value):
        self.process.stdin.write(f"{at} {value}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "stored\n"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def folder_on(kind, tmp_path, stack):
    """A directory on a file system of a kind that this machine has."""
    for place in (tmp_path, Path("/dev/shm"), Path("/var/tmp"), Path("/tmp")):
        if Mounts.read().of(os.fsencode(place.resolve())).kind in kind:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place)))
    pytest.skip(f"no {' or '.join(kind)} here")


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


class Watched:
    """A directory with one file, its copy, and the layers over it."""

    def __init__(self, base, size, stack, processes=(), **options):
        self.root = base / "r"
        self.root.mkdir()
        (base / "t").mkdir()
        self.path = self.root / "f"
        self.path.write_bytes(random.Random(size).randbytes(size))
        self.copy = Copy([self.root], base / "t")
        self.tree = self.copy.tree
        self.dirty = stack.enter_context(Dirty(self.tree, processes, **options))

    @property
    def id(self):
        return self.tree.find(os.fsencode(self.path)).id

    def cycle(self, **options):
        found = self.dirty.cycle(**options)
        self.copy.cycle(found)
        return found

    def rest(self):
        """Let the file become quiet, so that nothing is looked at because it is young."""
        self.cycle()
        time.sleep(0.25)
        self.cycle()
        self.cycle()

    def is_right(self):
        return self.copy.differences([self.root]) == []


@pytest.mark.parametrize(
    "kind", [("tmpfs",), ("ext4", "xfs", "btrfs", "f2fs")], ids=["ram", "disk"]
)
def test_a_store_without_a_time_stamp_is_found(tmp_path, stack, kind):
    base = folder_on(kind, tmp_path, stack)
    path = base / "r" / "f"
    watched = Watched(base, SMALL, stack, use=["mapped"])
    with Storing(path) as program:
        watched.dirty.follow([program.process.pid])
        watched.rest()
        for number in range(8):
            # Again and again into the same page: from the second store on it is dirty already.
            program.store(5000, number)
            watched.cycle()
            program.store(5001, number)
            watched.cycle()
            assert watched.is_right(), number


def test_mapped_files_are_always_looked_at_in_memory(tmp_path, stack):
    base = folder_on(RAM, tmp_path, stack)
    watched = Watched(base, SMALL, stack, use=["mapped"])
    watched.rest()
    assert watched.id not in watched.cycle().look
    with Storing(watched.path) as program:
        watched.dirty.follow([program.process.pid])
        assert watched.id in watched.cycle().look
        assert watched.id in watched.cycle().look
    # It may have been stored into after the last look.
    assert watched.id in watched.cycle().look


def test_a_mapping_that_came_and_went_in_memory_is_found_in_the_final_cycle(tmp_path, stack):
    base = folder_on(RAM, tmp_path, stack)
    watched = Watched(base, SMALL, stack, use=["mapped"])
    watched.rest()
    with Storing(watched.path) as program:
        program.store(0, 1)
        program.store(0, 2)
    watched.cycle(final=True)
    assert watched.is_right()


def test_a_mapped_file_on_disk_is_cleaned_once_and_then_trusted(tmp_path, stack):
    base = folder_on(DISKS, tmp_path, stack)
    watched = Watched(base, SMALL, stack, use=["mapped"])
    with Storing(watched.path) as program:
        watched.dirty.follow([program.process.pid])
        watched.rest()
        watched.dirty.follow([program.process.pid])
        watched.rest()
        assert watched.id not in watched.cycle().look
        program.store(1, 1)
        assert watched.id in watched.cycle().clean
        assert watched.id not in watched.cycle(final=True).clean


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees everybody's mappings")
def test_a_process_that_does_not_move_has_mapped_a_file(tmp_path, stack):
    base = folder_on(RAM, tmp_path, stack)
    watched = Watched(base, SMALL, stack, use=["mapped"])
    watched.rest()
    with Storing(watched.path):
        # Each cycle asks some others, and all are asked anew every second.
        end = time.monotonic() + 60
        while watched.id not in watched.dirty.cycle().look and time.monotonic() < end:
            time.sleep(0.005)
        assert watched.id in watched.cycle().look


def test_processes_that_may_not_be_seen_are_named(tmp_path, stack, monkeypatch):
    watched = Watched(tmp_path, SMALL, stack, processes=[os.getpid()], use=["mapped"])

    def refused(pid):
        raise PermissionError

    monkeypatch.setattr("precopy.migration.source.mapped.shared_writable", refused)
    watched.cycle()
    assert f"not for {os.getpid()}" in watched.dirty.layers["mapped"]


def test_children_are_looked_at_with_their_parents(tmp_path, stack):
    base = folder_on(RAM, tmp_path, stack)
    watched = Watched(base, SMALL, stack, use=["mapped"])
    watched.dirty._mapped._asked_all_at = time.monotonic() + 1000  # nobody else is asked
    watched.dirty.follow([os.getpid()])
    watched.rest()
    assert watched.id not in watched.cycle().look
    with Storing(watched.path):
        assert watched.id in watched.cycle().look


def test_which_mappings_count(tmp_path):
    names = ["shared", "private", "read-only"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(4096))
    inodes = [(tmp_path / name).stat().st_ino for name in names]
    with ExitStack() as stack:
        files = [stack.enter_context(open(tmp_path / name, "r+b")).fileno() for name in names]
        stack.enter_context(mmap.mmap(files[0], 0))
        stack.enter_context(mmap.mmap(files[1], 0, flags=mmap.MAP_PRIVATE))
        stack.enter_context(mmap.mmap(files[2], 0, access=mmap.ACCESS_READ))
        found = shared_writable(os.getpid())
    assert [inode in found for inode in inodes] == [True, False, False]


def test_asynchronous_writers_are_known(tmp_path):
    number = {"x86_64": 206, "aarch64": 0}[os.uname().machine]
    script = f"""
import ctypes, sys
context = ctypes.c_ulong()
assert ctypes.CDLL(None).syscall({number}, 8, ctypes.byref(context)) == 0
print("ready", flush=True)
sys.stdin.read()
"""
    assert not writes_behind(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        program.stdout.readline()
        assert writes_behind(program.pid)
        program.stdin.close()


def test_deleted_files_that_are_open_are_named(tmp_path, stack):
    watched = Watched(tmp_path, 10, stack, processes=[os.getpid()])
    with open(tmp_path / "r" / "temporary", "wb") as file:
        os.unlink(file.name)
        ((path, why),) = [
            (path, why)
            for path, why in watched.dirty.deleted_files()
            if path.endswith(b"temporary")
        ]
    assert path == os.fsencode(tmp_path / "r" / "temporary")
    assert f"process {os.getpid()}" in why


# --- fanotify -------------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path, stack):
    """A directory whose files fanotify tells of, and nothing else."""
    watched = Watched(tmp_path, 5000, stack, use=["fanotify"])
    if "not here" in watched.dirty.layers["fanotify"]:
        pytest.skip(f"fanotify: {watched.dirty.layers['fanotify']}")
    watched.rest()
    return watched


def test_a_write_that_ends_after_its_times_moved_is_looked_at(told):
    told.path.write_bytes(b"x")
    # As if the times had moved long before the data: the tree has seen them, and they are old.
    told.tree.scan()
    time.sleep(0.3)
    told.tree.scan()
    assert len(told.tree.scan().changed) == 0
    assert told.id in told.cycle().look
    assert told.is_right()
    assert told.id not in told.cycle().look


def test_new_directories_are_listened_to(told):
    (told.root / "d").mkdir()
    path = told.root / "d" / "g"
    path.write_bytes(b"x")
    told.rest()
    with open(path, "r+b") as file:
        file.write(b"y")
    told.tree.scan()
    time.sleep(0.3)
    told.tree.scan()
    assert told.tree.find(os.fsencode(path)).id in told.cycle().look


def test_where_writes_are_told_a_file_is_young_for_a_moment_only(told):
    told.path.write_bytes(b"x")
    told.cycle()
    time.sleep(0.05)
    told.cycle()
    assert told.id not in told.cycle().look


def test_an_overflow_means_everything_that_changed_lately(told):
    quiet = told.root / "quiet"
    quiet.write_bytes(b"x")
    told.rest()
    told.dirty._modified.drain = lambda: (set(), True)
    look = told.cycle().look.tolist()
    for path in (told.path, quiet):
        assert told.tree.find(os.fsencode(path)).id in look


# --- tracepoints ----------------------------------------------------------------------------------


@pytest.fixture
def traced(tmp_path, stack, monkeypatch):
    """A large file that is traced."""
    base = folder_on(("ext4",), tmp_path, stack)
    monkeypatch.setattr("precopy.migration.source.dirty.LARGE_BYTES", LARGE // 2)
    watched = Watched(base, LARGE, stack, use=["mapped", "trace"])
    if "not here" in watched.dirty.layers["trace"]:
        pytest.skip(f"tracepoints: {watched.dirty.layers['trace']}")
    watched.rest()
    assert watched.is_right()
    return watched


def asked(watched):
    """Cycle; return how many bytes of the file the ranges cover, or None for all of it."""
    found = watched.cycle()
    assert watched.is_right()
    ranges = found.ranges.get(watched.id)
    return None if ranges is None else int((ranges[:, 1] - ranges[:, 0]).sum())


def test_only_what_was_written_is_read_of_a_large_file(traced):
    with open(traced.path, "r+b", buffering=0) as file:
        for round in range(3):
            for at in (5 << 20, 9 << 20, (9 << 20) + 5000):
                file.seek(at + round)
                file.write(b"written")
            assert 0 < asked(traced) <= FOLIOS


def test_stores_through_a_mapping_are_traced(traced):
    with Storing(traced.path) as program:
        traced.dirty.follow([program.process.pid])
        asked(traced)
        for number in range(3):
            program.store(7 << 20, number)
            assert asked(traced) is not None
            program.store((7 << 20) + 1, number)
            program.store(3 << 20, number)
            assert 0 < asked(traced) <= FOLIOS


def test_a_file_that_grows_is_read_at_its_end(traced):
    for _ in range(3):
        with open(traced.path, "ab") as file:
            file.write(b"appended" * 1000)
        assert 0 < asked(traced) <= FOLIOS


@pytest.mark.parametrize("what", ["cut", "cut and grown", "punched", "zeroed"])
def test_cuts_and_holes_mean_the_whole_file(traced, what):
    size = traced.path.stat().st_size
    if what.startswith("cut"):
        os.truncate(traced.path, 7 << 20)
        if what == "cut and grown":
            os.truncate(traced.path, size)
    else:
        libc = ctypes.CDLL(None, use_errno=True)
        mode = {"punched": 1 | 2, "zeroed": 16}[what]
        with open(traced.path, "r+b") as file:
            where = [ctypes.c_int64(2 << 20), ctypes.c_int64(1 << 20)]
            assert libc.fallocate(file.fileno(), mode, *where) == 0
    assert asked(traced) is None


def test_direct_writes_are_traced(traced):
    with mmap.mmap(-1, 4096) as buffer:
        buffer[:] = b"d" * 4096
        fd = os.open(traced.path, os.O_RDWR | os.O_DIRECT)
        try:
            os.pwritev(fd, [buffer], 3 << 20)
        finally:
            os.close(fd)
    assert 0 < asked(traced) <= 1 << 20


def test_lost_events_mean_the_whole_file(traced):
    tracing = traced.dirty._tracing
    (tracing._instance / "buffer_size_kb").write_text("4")
    with open(traced.path, "r+b", buffering=0) as file:
        for _ in range(4):
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for at in range(4096, 8 << 20, 8192):
                file.seek(at)
                file.write(b"x")
    assert asked(traced) is None


def test_a_final_look_does_not_clean_and_is_not_relied_on(traced):
    with open(traced.path, "r+b", buffering=0) as file:
        file.write(b"one")
        found = traced.cycle(final=True)
        assert traced.id in found.ranges
        assert not found.clean
        assert traced.is_right()
        file.seek(3)
        file.write(b"two")  # into a page that is dirty: no event
        assert asked(traced) is None  # thawed: the file is cleaned and read as a whole again


def test_another_file_under_the_name_is_read_as_a_whole(traced):
    with open(traced.path, "r+b") as file:
        file.write(b"x")
    assert asked(traced) is not None
    other = traced.root / "new"
    other.write_bytes(random.Random(9).randbytes(LARGE))
    os.replace(other, traced.path)
    assert asked(traced) is None


def test_the_trace_instance_goes_away(traced):
    instance = traced.dirty._tracing._instance
    assert instance.is_dir()
    traced.dirty.stop()
    assert not instance.exists()


def test_what_a_killed_process_left_is_taken_away(traced):
    script = (
        "from precopy.migration.source.tracing import *\n"
        "t = Tracing(); print(1, flush=True); input()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        left = INSTANCES / f"precopy-{other.pid}-0"
        assert left.is_dir()
        Tracing().close()  # of a process that lives nothing is taken
        assert left.is_dir()
        other.send_signal(signal.SIGKILL)
    assert left.is_dir()
    Tracing().close()
    assert not left.exists()


def test_where_changes_have_events():
    assert is_traceable(Mount(b"/", "ext4"))
    assert not is_traceable(Mount(b"/", "ext4", frozenset(["data=journal"])))
    assert not is_traceable(Mount(b"/", "tmpfs"))


WITHOUT = """
import os, sys
from precopy.migration.source.dirty import Dirty
from precopy.migration.source.tree import Selection, Tree
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
with Dirty(Tree(Selection.from_paths(["/etc/hostname"]))) as dirty:
    dirty.cycle()
    print(dirty.layers["fanotify"])
    print(dirty.layers["trace"])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_without_rights_it_is_said_what_is_missing():
    command = [sys.executable, "-c", WITHOUT]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    fanotify, trace = told.splitlines()
    assert "not here" in fanotify
    assert "1 s per GB" in trace


# --- a log that grows -----------------------------------------------------------------------------


class Log:
    """A log that a recording writes while we read."""

    def __init__(self, path, stack):
        self.connection = stack.enter_context(closing(schema.connect(path)))
        self.time_ns = time.time_ns()

    def report(self, app, path, writes=1, write=1, mapped=0):
        self.time_ns = max(self.time_ns + 1, time.time_ns())
        application = schema.application_id(self.connection, app)
        (file,) = schema.file_ids(self.connection, [os.fsencode(path)])
        row = (application, file, 1, 0, write, mapped, 0, 0, 0, writes, 10 * writes, 0)
        schema.add_accesses(self.connection, [(*row, self.time_ns, self.time_ns)])


@pytest.fixture
def logged(tmp_path, stack):
    log = Log(tmp_path / "access.db", stack)
    log.report("service", tmp_path / "r" / "f", 100)
    log.report("other", tmp_path / "r" / "f", 1000)
    reader = stack.enter_context(AccessLog(tmp_path / "access.db"))
    watched = Watched(
        tmp_path, 5000, stack, log=reader, applications=["service"], exclude=["/usr"], use=["log"]
    )
    watched.log = log
    return watched


def test_writes_are_counted_from_the_start_on(logged):
    assert logged.cycle().writes == 0
    logged.log.report("service", logged.path, 3)
    logged.log.report("other", logged.path, 50)
    assert logged.cycle().writes == 3
    assert logged.cycle().writes == 0
    assert logged.dirty.counts()[logged.id] == 3
    logged.log.report("service", logged.path, 4)
    logged.cycle()
    assert logged.dirty.counts()[logged.id] == 7


def test_hard_links_are_counted_as_one_file(logged):
    os.link(logged.path, logged.root / "g")
    logged.cycle()
    logged.log.report("service", logged.root / "g", 5)
    logged.cycle()
    assert logged.dirty.counts()[logged.id] == 5


def test_a_new_file_that_the_log_names_moves(logged, tmp_path):
    logged.cycle()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("written", "read", "others"):
        (elsewhere / name).write_bytes(b"x")
    logged.log.report("service", elsewhere / "written")
    logged.log.report("service", elsewhere / "read", 0, write=0)
    logged.log.report("service", elsewhere / "gone")
    logged.log.report("service", "/usr/lib/os-release")
    logged.log.report("other", elsewhere / "others")
    logged.cycle()
    found = {entry.path for entry in logged.tree.entries() if entry.kind == "file"}
    assert found == {os.fsencode(logged.path), os.fsencode(elsewhere / "written")}


def test_a_log_never_says_that_a_file_is_clean(logged):
    logged.rest()
    logged.path.write_bytes(b"not in the log")
    assert logged.id in logged.cycle().look
    assert logged.is_right()


def test_a_write_that_was_counted_long_after_the_times_moved(logged):
    logged.rest()
    logged.log.time_ns = time.time_ns() + 5_000_000_000
    logged.log.report("service", logged.path)
    assert logged.id in logged.cycle().look


def test_all_layers_at_once_over_a_changing_tree(tmp_path, stack):
    watched = Watched(tmp_path, 5000, stack, processes=[os.getpid()])
    draw = random.Random(11)
    for _ in range(25):
        done = [change(draw, watched.root) for _ in range(4)]
        watched.cycle(final=draw.random() < 0.3)
        assert watched.is_right(), done


def test_stopping_twice_and_trees_of_nothing(tmp_path):
    (tmp_path / "r").mkdir()
    dirty = Dirty(Tree(Selection.from_paths([tmp_path / "r"])))
    dirty.start()
    assert len(dirty.cycle().look) == 0
    dirty.stop()
    dirty.stop()
