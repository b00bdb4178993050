"""Small access logs made from "who reads and writes what"."""

import argparse

from precopy.access import import_strace
from precopy.access.cli import add_commands


def uses(*files):
    """Lines of a trace in which one process opens files; the mode is r, w or rw."""
    flags = {"r": "O_RDONLY", "w": "O_WRONLY", "rw": "O_RDWR"}
    return [
        f'7 1.5 openat(AT_FDCWD</>, "{path}", {flags[how]}) = {fd}<{path}>'
        for fd, (path, how) in enumerate(files, 3)
    ]


def make_log(path, accesses):
    """Add ``{application: {path: "r" | "w" | "rw"}}`` to a log and return its path."""
    for app, files in accesses.items():
        import_strace(uses(*files.items()), path, app)
    return path


def run(argv, capsysbinary=None):
    parser = argparse.ArgumentParser(prog="precopy")
    add_commands(parser.add_subparsers(required=True))
    args = parser.parse_args([str(argument) for argument in argv])
    status = args.run(args)
    return (status, *capsysbinary.readouterr()) if capsysbinary else status


FIGURE_2 = {
    "AP1": {"/srv/A": "w", "/srv/B": "r"},
    "AP2": {"/srv/A": "r", "/srv/C": "w"},
    "AP3": {"/srv/D": "w"},
}
ONLY_READ = {
    "AP1": {"/srv/A": "r", "/srv/B": "w"},
    "AP2": {"/srv/A": "r", "/srv/C": "w"},
    "AP3": {"/srv/D": "w"},
}
