"""Runs of `precopy migrate` that can be held in any state: a child per line of JSON.

``{"argv": [...], "environment": {...}, "scratch": DIRECTORY, "hold": STATE}`` answers with a pid;
``{"wait": PID}`` with its status.  A run that is to be held in a state, or just before it
(``before:STATE``), makes the file ``held``, and goes on when there is a file ``go``.  One process
has imported everything, and each run is a fork of it: that saves a second each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from precopy.cli import main
from precopy.migration import command, moving
from precopy.migration.switchover import journal
from precopy.migration.transport import channel


def hold(state: str, scratch: Path, timeout_s: float) -> None:
    """Let every run stay in a state until it is told to go.

    From then on the destination may be silent for `timeout_s` only; 0 leaves it as it is.
    """
    made: list[channel.Channel] = []
    connect = moving.connect

    def remembered(*words: Any, **options: Any) -> Any:
        made.append(connect(*words, **options))
        return made[-1]

    moving.connect = remembered
    when, _, name = state.rpartition(":")
    enter = journal.Journal.enter

    def stay() -> None:
        (scratch / "held").write_text(state)
        while not (scratch / "go").exists():
            time.sleep(0.001)
        for one in made if timeout_s else ():
            one._timeout = timeout_s

    def held(self: journal.Journal, entered: str, **facts: object) -> None:
        if when and entered == name:
            stay()
        enter(self, entered, **facts)
        if not when and entered == name:
            stay()

    journal.Journal.enter = held  # type: ignore[method-assign]


def run(request: dict) -> None:
    """Become one run."""
    os.setsid()
    scratch = Path(request["scratch"])
    for number, name in ((0, os.devnull), (1, scratch / "out"), (2, scratch / "err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.environ.update(request["environment"])
    if request.get("hold"):
        hold(request["hold"], scratch, request["timeout"])
    status = 70
    try:
        status = main(["migrate", *request["argv"]])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    """Answer until the input ends."""
    assert command
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            run(request)
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
