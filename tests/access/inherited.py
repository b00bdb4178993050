"""Prints, as JSON, everything that a process inherits or can see of itself."""

import ctypes
import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path


def status(name):
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(name + ":"))


def descriptors():
    found = {}
    listed = os.listdir("/proc/self/fd")
    for fd in map(int, listed):
        with suppress(OSError):
            found[fd] = [os.fstat(fd).st_ino, os.fstat(fd).st_mode, os.get_inheritable(fd)]
    return {fd: value for fd, value in found.items() if os.path.exists(f"/proc/self/fd/{fd}")}


def libc(option):
    value = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(option, ctypes.byref(value), 0, 0, 0)
    return value.value


def main():
    own = ("LD_PRELOAD", "ASAN_OPTIONS", "LC_CTYPE")
    with open("/proc/self/environ", "rb") as file:
        environment = file.read().decode("latin-1").split("\0")
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    seen = {
        "arguments": sys.argv[1:],
        "blocked": status("SigBlk"),
        "capabilities": [status("CapEff"), status("NoNewPrivs")],
        "cwd": os.readlink("/proc/self/cwd"),
        "descriptors": descriptors(),
        "environment": [
            entry for entry in environment
            if not entry.startswith("PRECOPY_") and entry.partition("=")[0] not in own
        ],
        "given pid": os.environ.get("LISTEN_PID") == str(os.getpid()),
        "group": os.getpgrp() == int(os.environ.get("GROUP", os.getpgrp())),
        # what Python itself ignores says nothing
        "ignored": int(status("SigIgn"), 16) & ~(1 << 12 | 1 << 24),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
        "nice": os.nice(0),
        "out of memory": Path("/proc/self/oom_score_adj").read_text(),
        "parent death signal": libc(2),
        "session": os.getsid(0) == int(os.environ.get("SESSION", os.getsid(0))),
        "umask": status("Umask"),
    }  # fmt: skip
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
        seen["foreground"] = os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        seen["foreground"] = None
    seen["environment"] = [e for e in seen["environment"] if not e.startswith("LISTEN_PID=")]
    with open(os.environ["INHERITED"], "w") as out:
        json.dump(seen, out)


if __name__ == "__main__":
    main()
