"""Every service, moved while it writes, goes on at the destination without a lost write.

A service writes and acknowledges.  It is moved in cycles, frozen or asked to end, and must then
equal its source in everything; started at the destination it goes on, and in the end every write
that was acknowledged on either side is there.  Continuous integration runs two of each service,
chosen so that every pair of the other dimensions occurs; PRECOPY_MATRIX=all runs every one of them,
three times.
"""

from __future__ import annotations

import itertools
import os
import shlex
import time
from collections.abc import Iterator

import pytest
from migration import compare, links
from migration.moving import migrate, need, need_root, place
from migration.services import SERVICES, Postgres, Redis, alive, wait_for

WAYS = list(itertools.product(("block", "file"), ("local", "ssh"), ("freeze", "term")))
SHARE = [WAYS[number] for number in (0, 7, 2, 5, 3, 4, 6, 1)]
TOOLS = {"postgres": "setpriv", "redis": "redis-server"}


def cases() -> list[tuple[str, str, str, str, int]]:
    if os.environ.get("PRECOPY_MATRIX") == "all":
        repeats = itertools.product(range(3), SERVICES, WAYS)
        return [(service, *way, seed) for seed, service, way in repeats]
    chosen = []
    for number, service in enumerate(SERVICES):
        for k in (0, 1):
            chosen.append((service, *SHARE[(2 * number + k) % len(SHARE)], k))
    return chosen


@pytest.fixture(scope="module")
def link() -> Iterator[links.Link]:
    need_root()
    need("ip", "tc", "nsenter", "sshd", "ssh")
    with links.link(bandwidth=125e6) as made:
        yield made


@pytest.mark.parametrize(("name", "granularity", "where", "stop", "seed"), cases())
def test_service_moves(
    name: str, granularity: str, where: str, stop: str, seed: int, request: pytest.FixtureRequest
) -> None:
    need(*[TOOLS[name]] if name in TOOLS else [])
    with place() as base, SERVICES[name](base / "outside", seed) as service:
        source, target = base / "service", base / "target"
        destination = target / source.relative_to("/")
        service.start(source)
        pid = service.pid
        if stop == "term" and name == "postgres":
            stop = f"kill -INT {pid}"  # on SIGTERM it waits until the last client has gone
        options = ["--granularity", granularity, "--stop", stop]
        options += ["--cycle-seconds", "0.15", "--until", "cycles(4)"]
        # On a busy machine the link may seem slow: that is no reason to give up.
        options += ["--max-downtime", "600", *(["--bandwidth", "100MB"] if seed else [])]
        settings, to = {}, str(target)
        starts = where == "ssh" and seed != 1
        if where == "ssh":
            link: links.Link = request.getfixturevalue("link")
            settings = {"prefix": link.near, "environment": link.environment}
            to = f"far:{target}"
        if starts:
            options += ["--start", shlex.join(service.command(destination))]
        moved = migrate([source], to, *options, scratch=base, pids=[pid], **settings)
        assert moved.status == 0, moved.errors
        assert moved.report["verified"] is True
        assert not alive(pid), "the source still runs"
        if starts:
            service.adopt(moved.report["started"]["pid"])
        else:
            service.stop()
            assert compare.differences(source, destination) == []
            service.check(destination)
            service.start(destination)
        before = service.acknowledged()
        wait_for(lambda: service.acknowledged() > before + 20, "writes at the destination")
        if isinstance(service, Postgres | Redis):
            service.check(destination)
        service.stop()
        time.sleep(0.01)
        service.check(destination)
