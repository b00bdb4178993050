"""Records one service of the zoo.

    python benchmarks/services/record.py NAME [--seconds 100] [--log NAME.db] [--seed 1]
        [--save FILE] [--scan FILE] [--directory DIR] [--ship DIR]
    python benchmarks/services/record.py --list

The service starts in a directory of its own under the access monitor, makes its initial data, and
is then under load for so many seconds: from the log's mark "ready" to its mark "end".  In the end
every write that it acknowledged must be there.  Nothing is left but the log, and what was asked
for: --save keeps what `AccessLog.recorded` gives for these seconds and the service's directory,
--scan what a look at all files once a second found, --directory the service's files, --ship what
the package ships of it (precopy/data).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ship
import zoo
from tqdm import tqdm

# isort: split
from access import scanner
from migration.services import Service, alive

from precopy import Recorded
from precopy.access import AccessLog

PRECOPY = [sys.executable, "-m", "precopy"]


def listed() -> Iterator[str]:
    """Give a line for each service: its name, what it is, and what is missing for it here."""
    for name, kind in zoo.ZOO.items():
        lacks = zoo.missing(kind)
        text = (kind.__doc__ or "").splitlines()[0]
        yield f"{name:<16} {text}" + (f" (missing: {', '.join(lacks)})" if lacks else "")


@contextlib.contextmanager
def scanning(directory: Path, to: Path | None) -> Iterator[None]:
    """Look at the files once a second meanwhile, if that was asked for."""
    if to is None:
        yield
        return
    command = [sys.executable, "-I", scanner.__file__, os.fspath(directory), os.fspath(to)]
    process = subprocess.Popen([*DIES_WITH_US, *command], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


# Also if this is killed, what it started ends.
DIES_WITH_US = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def record(service: Service, directory: Path, log: Path, seconds: float, scan: Path | None) -> None:
    """Run the service under load for so many seconds; fail if it ends early or loses a write."""
    service.prepare(directory)
    service.launch(directory)
    service.fill()
    with scanning(directory, scan):
        service.serve()
        AccessLog(log).mark("ready")
        end = time.monotonic() + seconds
        with tqdm(
            total=round(seconds), unit="s", desc=service.name, leave=False, disable=None
        ) as bar:
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(1.0, left))
                bar.update(1)
                if not alive(service.pid):
                    raise RuntimeError(f"{service.name} ended: {service.errors()}")
        AccessLog(log).mark("end")
        # One more look at what there is now.
        time.sleep(1.0 if scan else 0.0)
    service.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0], allow_abbrev=False
    )
    parser.add_argument("name", nargs="?", choices=[*zoo.ZOO], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="the services, and what they lack here")
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="the access log (default: NAME.db)")
    parser.add_argument("--save", type=Path, help="the recording, for precopy.Recorded.load")
    parser.add_argument("--scan", type=Path, help="what the look at all files found, gzip")
    parser.add_argument("--directory", type=Path, help="where the service's files shall stay")
    parser.add_argument("--ship", type=Path, help="where the form goes that the package ships")
    options = parser.parse_args()
    if options.list:
        print("\n".join(listed()))
        return
    if options.name is None:
        parser.error("NAME: expected a service's name, got none; --list shows them")
    kind = zoo.ZOO[options.name]
    if lacks := zoo.missing(kind):
        parser.error(f"{options.name}: missing {', '.join(lacks)}")
    log = (options.log or Path(f"{options.name}.db")).absolute()
    for made in (log, options.directory):
        if made is not None and made.exists():
            parser.error(f"{made}: expected none, got one that exists")
    # However it is ended, the service and its directory are taken away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="precopy-zoo-") as made:
        base = Path(made)
        base.chmod(0o755)  # servers have users of their own
        directory = (options.directory or base / options.name).absolute()
        prefix = [*DIES_WITH_US, *PRECOPY, "record", "--app", options.name]
        prefix += ["--log", os.fspath(log), "--"]
        with kind(base / "outside", options.seed, prefix) as service:
            record(service, directory, log, options.seconds, options.scan)
            recorded = report(options.name, log, directory, options.save)
            if options.ship is not None:
                what = (kind.__doc__ or "").splitlines()[0]
                ship.ship(recorded, what, options.seed, options.ship)
            # A start for the check is no part of the recording, and it may change files.
            service.prefix = []
            if options.directory is not None:
                directory = base / "checked"
                subprocess.run(["cp", "-a", options.directory, directory], check=True)
            service.check(directory)


def report(name: str, log: Path, directory: Path, save: Path | None) -> Recorded:
    """Say what was recorded, and keep it if that was asked for."""
    with AccessLog(log) as opened:
        if not opened.complete:
            print(f"incomplete: {opened.incomplete_reason}", file=sys.stderr)
        everything = opened.recorded(name, roots=[directory], since="ready", until="end")
    recorded = ship.below(everything, directory)
    print(recorded)
    if save is not None:
        recorded.save(save)
    return recorded


if __name__ == "__main__":
    main()
