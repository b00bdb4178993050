"""Python's ways to open, write, map, hand on and rename files."""

import mmap
import multiprocessing
import os
import shutil
import subprocess
import tempfile


def work(number):
    with open(f"pool{number}", "w") as file:
        file.write("1")


def main():
    with open("a", "w") as file:
        file.write("x" * 100)
    with open("mapped", "w+b") as file:
        file.truncate(8192)
        with mmap.mmap(file.fileno(), 8192) as memory:
            memory[0] = 1
    with tempfile.NamedTemporaryFile(dir=".", delete=False) as file:
        file.write(b"1")
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(b"1")
    subprocess.run(["cp", "a", "b"], check=True)
    subprocess.run(["cp", "a", "scrubbed"], env={}, check=True)
    os.system("unset LD_PRELOAD PRECOPY_LIVE PRECOPY_APP; echo hi > c")
    with open("a") as source, open("d", "w") as target:
        subprocess.run(["cat"], stdin=source, stdout=target, check=True)
    shutil.copy("a", "g")
    os.rename("g", "h")
    os.link("h", "i")
    os.symlink("h", "j")
    os.remove("i")
    with open("j", "a") as file:
        file.write("through a link")
    fd = os.open("k", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"abc", 10)
    os.writev(fd, [b"a", b"b"])
    os.posix_fallocate(fd, 0, 100)
    os.ftruncate(fd, 5)
    os.write(os.dup(fd), b"z")
    os.dup2(fd, 77)
    os.write(77, b"q")
    os.truncate("k", 3)
    source, target = os.open("a", os.O_RDONLY), os.open("l", os.O_WRONLY | os.O_CREAT)
    os.sendfile(target, source, 0, 50)
    os.copy_file_range(source, target, 20)
    if os.fork() == 0:
        os.write(target, b"child")
        os._exit(0)
    os.wait()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "a", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "spawned", os.O_WRONLY | os.O_CREAT, 0o644),
    ]
    os.waitpid(os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions), 0)
    with multiprocessing.Pool(2) as pool:
        pool.map(work, range(4))


if __name__ == "__main__":
    main()
