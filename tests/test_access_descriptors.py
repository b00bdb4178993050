"""The descriptor table belongs to the application, and what cannot be followed is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from access.truth import meta, need, query, uses

from precopy.access.tracking.live import LiveDirectory
from precopy.access.tracking.recording import environment, record

HERE = Path(__file__).parent / "access"
MONITOR = Path(__file__).parents[1] / "csrc" / "monitor"
NOBODY = 65534
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    built = tmp_path_factory.mktemp("descriptors") / "descriptors"
    source = HERE / "descriptors.c"
    subprocess.run(["gcc", "-O1", "-Wall", source, "-o", built, "-pthread"], check=True)
    for directory in list(built.parents)[:3]:
        if directory.stat().st_uid == os.geteuid() and directory != Path("/tmp"):
            directory.chmod(0o755)
    return built


def live(directory: Path) -> LiveDirectory:
    """A live directory without a tracker."""
    found = LiveDirectory(directory / "access.db")
    found.create()
    return found


def run(command: list[object], directory: Path, **options: object) -> str:
    """Run a program under the monitor alone; return what it complains of."""
    variables = environment("x", directory / "access.db", {})
    work = directory / "work"
    work.mkdir(exist_ok=True)
    work.chmod(0o777)
    done = subprocess.run(
        [str(part) for part in command], cwd=work, env={**os.environ, **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options,
    )  # type: ignore[call-overload]  # fmt: skip
    return f"{done.stdout}{done.stderr}{done.returncode or ''}"


@pytest.mark.parametrize("case", ["lowest", "numbers"])
@pytest.mark.parametrize("pipe", ["full", "missing"])
def test_numbers_are_the_programs_when_the_pipe_takes_nothing(
    case: str, pipe: str, program: Path, tmp_path: Path
) -> None:
    """Every report then opens the spill file."""
    directory = live(tmp_path)
    if pipe == "full":
        fd = directory.open_pipe()
        with suppress(BlockingIOError):
            while os.write(fd, b"x" * 4096):
                pass
    assert run([program, case], tmp_path) == ""
    assert directory.spills() != []
    if pipe == "full":
        os.close(fd)


@pytest.mark.parametrize("user", ["own", "other"])
@pytest.mark.parametrize("limit", [64, 400, 3000])
def test_every_number_below_the_limit_is_the_programs(
    user: str, limit: int, program: Path, tmp_path: Path
) -> None:
    """The limit is the hard one, too, which only root could lift."""
    directory = live(tmp_path)
    pipe = directory.open_pipe()
    shell = ["sh", "-c", f'ulimit -n {limit} && exec "$0" fills', program]
    if user == "other":
        if os.geteuid() != 0:
            pytest.skip("root only")
        need("setpriv")
        subprocess.run(["chown", "-R", str(NOBODY), tmp_path], check=True)
        for parent in list(tmp_path.parents)[:2]:
            parent.chmod(0o755)
        shell = ["setpriv", "--reuid", NOBODY, "--clear-groups", *shell]
    assert run(shell, tmp_path) == ""
    os.close(pipe)


def test_no_descriptor_is_seen_that_the_program_was_not_given(
    program: Path, tmp_path: Path
) -> None:
    code = (
        "import subprocess, sys, os\n"
        "subprocess.run([sys.argv[1], 'listed'], stdin=subprocess.DEVNULL, check=True)\n"
        "child = 'import os; print(sorted(map(int, os.listdir(\"/proc/self/fd\"))))'\n"
        "subprocess.run([sys.executable, '-c', child], stdin=subprocess.DEVNULL, check=True)\n"
    )
    pipe = live(tmp_path).open_pipe()
    assert run([sys.executable, "-c", code, program], tmp_path) == "[0, 1, 2, 3]\n"
    os.close(pipe)


@pytest.mark.parametrize("user", ["own", "other"])
def test_a_chain_of_programs_has_one_pipe(user: str, tmp_path: Path) -> None:
    """Also once a program took the number, and where each inherits the pipe of the one before."""
    code = (
        "import os, sys\n"
        "n = int(sys.argv[1])\n"
        "if n == 12 and sys.argv[2] == 'other': os.setuid(65534)\n"
        "if n == 8: os.dup2(os.open('/dev/null', os.O_RDONLY), 1024, inheritable=True)\n"
        "if n: os.execv(sys.executable, [sys.executable, '-S', '-c', sys.orig_argv[3],\n"
        "               str(n - 1), sys.argv[2]])\n"
        "def target(fd):\n"
        "    try: return os.readlink(f'/proc/self/fd/{fd}')\n"
        "    except OSError: return ''\n"
        "print(sum(target(fd).endswith('-live/pipe') for fd in range(5000)), target(1024))\n"
    )
    if user == "other" and os.geteuid() != 0:
        pytest.skip("root only")
    pipe = live(tmp_path).open_pipe()
    python = os.path.realpath("/usr/bin/python3")
    assert run([python, "-S", "-c", code, 12, user], tmp_path) == "1 /dev/null\n"
    os.close(pipe)


@ROOT_ONLY
def test_a_pipe_without_a_reader_sends_no_signal(program: Path, tmp_path: Path) -> None:
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    pipe = live(tmp_path).open_pipe()
    work = tmp_path / "work"
    work.mkdir(mode=0o777)
    work.chmod(0o777)
    variables = environment("x", tmp_path / "access.db", {})
    with subprocess.Popen([program, "drops"], cwd=work, env={**os.environ, **variables}) as process:
        while not (work / "dropped-5").exists():
            assert process.poll() is None
        os.close(pipe)
    assert process.returncode == 0


@ROOT_ONLY
def test_a_program_with_more_rights_does_not_act_on_a_users_word(tmp_path: Path) -> None:
    """It neither follows his links nor makes anything in his directory."""
    (tmp_path / "secret").mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("precious data")
    theirs = tmp_path / "access.db-live"
    theirs.mkdir(mode=0o700)
    (theirs / "spill").symlink_to("../secret")
    (theirs / "lost-spill").symlink_to("../precious")
    os.mkfifo(theirs / "pipe", 0o600)
    subprocess.run(["chown", "-hR", str(NOBODY), theirs], check=True)
    assert run(["sh", "-c", "echo 1 > out; cat out"], tmp_path) == "1\n"
    assert os.listdir(tmp_path / "secret") == []
    assert precious.read_text() == "precious data"


def test_nothing_in_the_own_directory_is_followed_either(tmp_path: Path) -> None:
    """Links, and files of a second name, in a directory that is ours."""
    directory = live(tmp_path)
    precious = tmp_path / "precious"
    precious.write_text("precious data")
    (directory.path / "lost-spill").unlink()
    (directory.path / "lost-spill").hardlink_to(precious)
    (tmp_path / "elsewhere").mkdir()
    directory.spill.rmdir()
    directory.spill.symlink_to("../elsewhere")
    assert run(["sh", "-c", "echo 1 > out; cat out"], tmp_path) == "1\n"
    assert os.listdir(tmp_path / "elsewhere") == []
    assert precious.read_text() == "precious data"
    (directory.path / "lost-spill").unlink()
    (directory.path / "lost-spill").symlink_to(precious)
    assert run(["sh", "-c", "echo 1 > out; cat out"], tmp_path) == "1\n"
    assert precious.read_text() == "precious data"
    directory.path.rename(tmp_path / "moved")
    directory.path.symlink_to("moved")
    (tmp_path / "moved" / "spill").unlink()
    (tmp_path / "moved" / "spill").mkdir()
    assert run(["sh", "-c", "echo 1 > out; cat out"], tmp_path) == "1\n"
    assert os.listdir(tmp_path / "moved" / "spill") == []


@ROOT_ONLY
def test_what_is_inherited_can_only_be_written_to(tmp_path: Path) -> None:
    need("setpriv")
    code = "f=${PRECOPY_PIPE%%:*}; readlink /proc/self/fd/$f; cat /proc/self/fdinfo/$f"
    log, out = tmp_path / "access.db", tmp_path / "out"
    script = f"setpriv --reuid {NOBODY} sh -c '{code}' > {out}"
    assert record(["sh", "-c", script], app="x", log=log).returncode == 0
    lines = out.read_text().splitlines()
    assert lines[0] == f"{log}-live/pipe"
    assert int(lines[2].split()[1], 8) & os.O_ACCMODE == os.O_WRONLY


SOURCE = '#include <stdio.h>\nint main(void) { fputs("ran\\n", fopen("out", "w")); return 0; }\n'


@pytest.mark.parametrize("kind", ["static", "musl", "script", "set-user-id"])
@pytest.mark.parametrize("way", ["exec", "spawn", "search"])
def test_a_program_that_cannot_be_followed_runs_and_the_log_says_so(
    kind: str, way: str, tmp_path: Path
) -> None:
    compiler = "musl-gcc" if kind in ("musl", "script") else "gcc"
    need(compiler)
    (tmp_path / "source.c").write_text(SOURCE)
    options = ["-static"] if kind == "static" else []
    built = tmp_path / "built"
    subprocess.run([compiler, "-w", *options, tmp_path / "source.c", "-o", built], check=True)
    if kind == "script":
        built = tmp_path / "script"
        built.write_text(f"#!{tmp_path / 'built'} argument\n")
        built.chmod(0o755)
    if kind == "set-user-id":
        if os.geteuid() != 0:
            pytest.skip("root only")
        os.chown(built, NOBODY, NOBODY)
        built.chmod(0o4755)
        tmp_path.chmod(0o1777)
        for parent in list(tmp_path.parents)[:2]:
            parent.chmod(0o755)
    code = {
        "exec": "import os, sys; os.execve(sys.argv[1], ['x'], os.environ)",
        "spawn": "import os, sys; os.waitpid(os.posix_spawn(sys.argv[1], ['x'], os.environ), 0)",
        "search": "import os, sys; os.environ['PATH'] = os.path.dirname(sys.argv[1])\n"
        "os.execvp(os.path.basename(sys.argv[1]), ['x'])",
    }[way]
    log = tmp_path / "access.db"
    done = record([sys.executable, "-c", code, str(built)], app="x", log=log, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "ran\n"
    assert meta(log, "complete") == 0
    assert "a program could not be followed" in str(meta(log, "incomplete_reason"))


def test_a_program_behind_one_that_is_followed_is_followed(tmp_path: Path) -> None:
    """No false alarm: scripts, searches, a loader under its other name, an empty environment."""
    log = tmp_path / "access.db"
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env -S sh\necho x > scripted\n")
    script.chmod(0o755)
    code = (
        "import os, subprocess, sys\n"
        "subprocess.run(['./script']); subprocess.run(['touch', 'searched'])\n"
        "subprocess.run(['/usr/bin/touch', 'bare'], env={})\n"
        "os.system('touch shell'); os.popen('touch piped').read()\n"
        "os.fork() or os.execv('/usr/bin/touch', ['touch', 'forked']); os.wait()\n"
        "fd = os.open('/usr/bin/touch', os.O_RDONLY); os.execve(fd, ['touch', 'by-fd'], {})\n"
    )
    assert record([sys.executable, "-c", code], app="x", log=log, cwd=tmp_path).returncode == 0
    found = {os.path.basename(os.fsdecode(path)) for path in uses(log)}
    names = {"scripted", "searched", "bare", "shell", "piped", "forked", "by-fd"}
    assert names - found == set()
    assert meta(log, "complete") == 1, meta(log, "incomplete_reason")


def test_environments_are_rewritten_as_a_slow_model_does_it(tmp_path: Path) -> None:
    need("gcc")
    built = tmp_path / "rewrite"
    subprocess.run(
        ["gcc", "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-I", MONITOR,
         "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
         HERE / "rewrite.c", MONITOR / "rewrite.c", "-o", built],
        check=True,
    )  # fmt: skip
    done = subprocess.run([built], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_many_entries_of_one_name_reach_the_program(tmp_path: Path) -> None:
    log = tmp_path / "access.db"
    source = tmp_path / "many.c"
    source.write_text(
        "#include <stdlib.h>\n#include <unistd.h>\n"
        'int main(int c, char **v) { static char *e[2001], *a[] = {"true", 0};\n'
        ' for (int i = 0; i < atoi(v[1]); i++) e[i] = "LD_PRELOAD=";\n'
        ' execve("/bin/true", a, e); return 99; }\n'
    )
    subprocess.run(["gcc", "-w", source, "-o", tmp_path / "many"], check=True)
    for count in (1, 2, 5, 60, 2000):
        done = record([str(tmp_path / "many"), str(count)], app="x", log=log)
        assert done.returncode == 0
    assert len(query(log, "SELECT 1 FROM process WHERE CAST(command AS TEXT) LIKE '%/true'")) == 5
