"""Changes of a tree of files, drawn: `change` makes one; as a program, so many in a row."""

import os
import random
import shutil
import sys
import time


def settled(tree, seconds=0.3):
    """Wait until nothing in a tree is young, and scan it once more."""
    time.sleep(seconds)
    tree.scan()


def change(draw, root):
    """Make one change below a directory; return what it was."""
    operation = draw.choice(list(OPERATIONS))
    folders, files, links = contents(root)
    new = os.path.join(draw.choice(folders), draw.choice("abcdef"))
    try:
        return operation, OPERATIONS[operation](draw, new, folders, files, links)
    except (OSError, IndexError, shutil.Error) as error:
        return operation, f"not done: {error}"


def contents(root):
    folders, files, links = [os.fspath(root)], [], []
    for folder, below, others in os.walk(root):
        for name in [*below, *others]:
            path = os.path.join(folder, name)
            kind = links if os.path.islink(path) else folders if name in below else files
            kind.append(path)
    return folders, files, links


def create(draw, new, folders, files, links):
    with open(new, "wb") as file:
        file.write(draw.randbytes(draw.randrange(20_000)))
    return new


def write(draw, new, folders, files, links):
    path = draw.choice(files)
    with open(path, "r+b") as file:
        file.seek(draw.randrange(20_000))
        file.write(draw.randbytes(draw.randrange(1, 9000)))
    return path


def append(draw, new, folders, files, links):
    path = draw.choice(files)
    with open(path, "ab") as file:
        file.write(draw.randbytes(100))
    return path


def truncate(draw, new, folders, files, links):
    path = draw.choice(files)
    os.truncate(path, draw.randrange(30_000))
    return path


def unlink(draw, new, folders, files, links):
    path = draw.choice(files + links)
    os.unlink(path)
    return path


def rename(draw, new, folders, files, links):
    path = draw.choice(files + links)
    os.rename(path, new)
    return path, new


def rename_folder(draw, new, folders, files, links):
    path = draw.choice(folders[1:])
    os.rename(path, new)
    return path, new


def exchange_folders(draw, new, folders, files, links):
    one, two = draw.choice(folders[1:]), draw.choice(folders[1:])
    aside = folders[0] + ".aside"
    os.rename(one, aside)
    try:
        os.rename(two, one)
        os.rename(aside, two)
    except OSError:
        os.rename(aside, one)
    return one, two


def make_folder(draw, new, folders, files, links):
    os.mkdir(new)
    return new


def remove_folder(draw, new, folders, files, links):
    path = draw.choice(folders[1:])
    shutil.rmtree(path)
    return path


def link(draw, new, folders, files, links):
    path = draw.choice(files + links)
    os.link(path, new, follow_symlinks=False)
    return path, new


def symlink(draw, new, folders, files, links):
    os.symlink(draw.choice("xyz"), new)
    return new


def folder_in_place(draw, new, folders, files, links):
    path = draw.choice(files + links)
    os.unlink(path)
    os.mkdir(path)
    return path


def link_in_place(draw, new, folders, files, links):
    path = draw.choice(folders[1:] + files)
    shutil.rmtree(path) if path in folders else os.unlink(path)
    os.symlink(draw.choice(folders), path)
    return path


def replace(draw, new, folders, files, links):
    path = draw.choice(files)
    aside = folders[0] + ".new"
    with open(aside, "wb") as file:
        file.write(draw.randbytes(5000))
    os.rename(aside, path)
    return path


def chmod(draw, new, folders, files, links):
    path = draw.choice(files)
    os.chmod(path, draw.choice([0o600, 0o644, 0o755]))
    return path


def rewrite_and_set_times_back(draw, new, folders, files, links):
    path = draw.choice(files)
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(draw.randbytes(min(status.st_size, 10)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return path


OPERATIONS = {
    function.__name__: function
    for function in (
        create, write, append, truncate, unlink, rename, rename_folder, exchange_folders,
        make_folder, remove_folder, link, symlink, folder_in_place, link_in_place, replace,
        chmod, rewrite_and_set_times_back,
    )
}  # fmt: skip


def main(root, seed, count):
    draw = random.Random(int(seed))
    for _ in range(int(count)):
        change(draw, root)


if __name__ == "__main__":
    main(*sys.argv[1:])
