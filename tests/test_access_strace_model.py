"""Small traces of a few processes, against a slow model of what the kernel keeps for them.

The model is written from the manual pages and shares no code with the import: a tree of
directories, files and symbolic links, and for each process a working directory and a table of
descriptors, which it may share.  Traces are printed without ``-y``: all of that has to be replayed.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from precopy.access import import_strace

NAMES = ["a", "b", "d", "e"]
names = st.lists(st.sampled_from([*NAMES, "..", "d"]), min_size=1, max_size=3).map("/".join)
paths = names | names.map("/w/".__add__)
CALLS = (
    ["open"] * 3 + ["write"] * 4 + ["close", "dup", "dup2", "mkdir", "chdir", "fchdir", "rename"]
)
CALLS += ["rename", "unlink", "symlink", "fork", "thread", "files", "exec", "unshare", "exit"]
steps = st.lists(
    st.tuples(st.sampled_from(CALLS), st.integers(0, 5), st.integers(3, 6), paths, paths),
    min_size=8,
    max_size=60,
)


@dataclass
class Open:
    """An open file: where its name is now; shared by all descriptors that are copies."""

    path: list[str]
    writable: bool
    dead: bool = False  # it has no name any more, and follows no rename


@dataclass
class Task:
    """A process: each list or table may be shared with others."""

    cwd: list[list[str]]
    files: dict[int, tuple[Open, bool]]


class Model:
    """The kernel, as far as these calls go; it writes the trace, and what is right."""

    def __init__(self) -> None:
        self.tree: dict[str, str] = {"/w": "dir", "/w/d": "dir", "/w/e": "dir"}
        self.tasks = {1: Task([["w"]], {})}
        self.trace = ["1 0.5 getpid() = 1"]
        self.right: dict[str, list[int]] = {}
        self.newest = 1
        self.opened: list[Open] = []

    def say(self, pid: int, text: str) -> None:
        self.trace.append(f"{pid} {len(self.trace)}.5 {text}")

    def count(self, path: list[str], column: int, value: int = 1) -> None:
        self.right.setdefault("/" + "/".join(path), [0, 0, 0, 0])[column] += value

    def kind(self, path: list[str]) -> str:
        """What is there: "dir", "file", "" for nothing, or "->" and a link's target."""
        return "dir" if not path else self.tree.get("/" + "/".join(path), "")

    def walk(self, here: list[str], name: str, follow: bool, links: int = 0) -> list[str] | None:
        parts = [part for part in name.split("/") if part]
        here = [] if name.startswith("/") else here
        for index, part in enumerate(parts):
            if links > 9 or self.kind(here) != "dir":
                return None
            if part == "..":
                here = here[:-1]
                continue
            kind = self.kind([*here, part])
            if kind.startswith("->") and (follow or index < len(parts) - 1):
                found = self.walk(here, kind[2:], True, links + 1)
                if found is None:
                    return None
                here = found
            else:
                here = [*here, part]
        return here if not here or self.kind(here[:-1]) == "dir" else None

    def step(self, call: str, who: int, fd: int, one: str, two: str) -> None:
        pid = sorted(self.tasks)[who % len(self.tasks)]
        task = self.tasks[pid]
        here = task.cwd[0]
        if call in ("open", "mkdir", "chdir", "unlink", "rename", "symlink"):
            self.name(call, pid, fd, one, two)
        elif call in ("write", "close", "dup", "dup2", "fchdir") and fd in task.files:
            self.descriptor(call, pid, fd, two)
        elif call in ("fork", "thread", "files") and len(self.tasks) < 5:
            self.newest += 1
            shared = "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD"
            flags = {"fork": "SIGCHLD", "thread": shared}.get(call, "CLONE_FILES|SIGCHLD")
            self.say(pid, f"clone(child_stack=NULL, flags={flags}) = {self.newest}")
            cwd = task.cwd if call == "thread" else [here]
            files = dict(task.files) if call == "fork" else task.files
            self.tasks[self.newest] = Task(cwd, files)
        elif call == "exec":
            self.say(pid, 'execve("/bin/x", ["x"], 0x1) = 0')
            task.files = {n: entry for n, entry in task.files.items() if not entry[1]}
        elif call == "unshare":
            self.say(pid, "unshare(CLONE_FS|CLONE_FILES) = 0")
            task.cwd, task.files = [here], dict(task.files)
        elif call == "exit" and len(self.tasks) > 1:
            self.say(pid, "+++ exited with 0 +++")
            del self.tasks[pid]

    def name(self, call: str, pid: int, fd: int, one: str, two: str) -> None:
        task = self.tasks[pid]
        here = task.cwd[0]
        path = self.walk(here, one, call in ("open", "chdir"))
        kind = self.kind(path) if path is not None else ""
        if path is None or (one.endswith("..") and call != "chdir"):
            return
        text = "/" + "/".join(path)
        if call == "chdir" and kind == "dir":
            self.say(pid, f'chdir("{one}") = 0')
            task.cwd[0] = path
        elif call == "open" and kind in ("", "file") and len(task.files) < 8:
            number = min(set(range(3, 20)) - set(task.files))
            closes = fd % 2 == 0
            flags = "O_WRONLY|O_CREAT" + "|O_CLOEXEC" * closes
            self.say(pid, f'openat(AT_FDCWD, "{one}", {flags}, 0600) = {number}')
            self.tree[text] = "file"
            file = Open(path, True)
            self.opened.append(file)
            task.files[number] = file, closes
            self.count(path, 0)
        elif call == "open" and kind == "dir" and len(task.files) < 8:
            number = min(set(range(3, 20)) - set(task.files))
            self.say(pid, f'openat(AT_FDCWD, "{one}", O_RDONLY|O_DIRECTORY) = {number}')
            self.opened.append(Open(path, False))
            task.files[number] = self.opened[-1], False
        elif call == "mkdir" and kind == "":
            self.say(pid, f'mkdir("{one}", 0700) = 0')
            self.tree[text] = "dir"
        elif call == "symlink" and kind == "":
            self.say(pid, f'symlink("{two}", "{one}") = 0')
            self.tree[text] = "->" + two
            self.count(path, 3)
        elif call == "unlink" and kind not in ("", "dir"):
            self.say(pid, f'unlink("{one}") = 0')
            del self.tree[text]
            self.count(path, 3)
            self.bury(path)
        elif call == "rename" and kind not in ("", "dir"):
            target = self.walk(here, two, False)
            if target is None or target == path or self.kind(target) == "dir" or two.endswith(".."):
                return
            self.say(pid, f'rename("{one}", "{two}") = 0')
            self.tree["/" + "/".join(target)] = self.tree.pop(text)
            self.count(path, 3)
            self.count(target, 3)
            self.bury(target)
            for file in self.opened:
                if file.path == path and not file.dead:
                    file.path = target

    def bury(self, path: list[str]) -> None:
        for file in self.opened:
            file.dead |= file.path == path

    def descriptor(self, call: str, pid: int, fd: int, two: str) -> None:
        task = self.tasks[pid]
        file, _ = task.files[fd]
        if call == "write" and file.writable:
            self.say(pid, f'write({fd}, "xyz", 3) = 3')
            self.count(file.path, 1)
            self.count(file.path, 2, 3)
        elif call == "close":
            self.say(pid, f"close({fd}) = 0")
            del task.files[fd]
        elif call == "dup" and len(task.files) < 8:
            number = min(set(range(3, 20)) - set(task.files))
            self.say(pid, f"dup({fd}) = {number}")
            task.files[number] = file, False
        elif call == "dup2" and fd != 4:
            self.say(pid, f"dup2({fd}, 4) = 4")
            task.files[4] = file, False
        elif call == "fchdir" and not file.writable:
            self.say(pid, f"fchdir({fd}) = 0")
            task.cwd[0] = file.path


@settings(max_examples=80, deadline=None)
@given(steps)
@example([("open", 0, 3, "a", ""), ("rename", 0, 3, "a", "b"), ("write", 0, 3, "", "")])
@example(
    [("open", 0, 3, "a", ""), ("unlink", 0, 3, "a", ""), ("open", 0, 3, "a", ""),
     ("rename", 0, 3, "a", "b"), ("write", 0, 3, "", ""), ("write", 0, 4, "", "")]
)  # fmt: skip
@example(
    [("open", 0, 4, "a", ""), ("open", 0, 3, "b", ""), ("files", 0, 3, "", ""),
     ("close", 1, 4, "", ""), ("open", 0, 3, "c", ""), ("write", 1, 4, "", ""),
     ("exec", 0, 3, "", ""), ("open", 0, 3, "d/a", ""), ("write", 0, 3, "", ""),
     ("write", 1, 3, "", ""), ("chdir", 0, 3, "d", ""), ("unlink", 0, 3, "../b", "")]
)  # fmt: skip
@example(
    [("chdir", 0, 3, "d", ""), ("thread", 0, 3, "", ""), ("chdir", 1, 3, "../e", ""),
     ("open", 0, 3, "a", ""), ("unshare", 1, 3, "", ""), ("chdir", 1, 3, "..", ""),
     ("unlink", 0, 3, "a", ""), ("symlink", 1, 3, "b", "e"), ("open", 1, 3, "b/a", "")]
)  # fmt: skip
def test_a_small_trace_gives_what_a_slow_model_of_the_kernel_gives(
    made: list[tuple[str, int, int, str, str]],
) -> None:
    model = Model()
    for step in made:
        model.step(*step)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log.db"
        import_strace(model.trace, log, "app", cwd="/w")
        with closing(sqlite3.connect(log)) as connection:
            found = {
                path.decode(): row
                for path, *row in connection.execute(
                    """SELECT path, opens, writes, bytes_written, changes
                       FROM access JOIN file ON file.id = file_id
                       WHERE kind != 'directory' AND write AND path != '/bin/x'"""
                )
            }
    assert found == model.right, "\n".join(model.trace)
