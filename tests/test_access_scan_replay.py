"""A recording's replay against an independent simulation from scans of size, time and inode."""

import random

import pytest
from access.scan_replay import Scans, as_scanned, compare
from access.scanner import Look

from precopy import Cycle, FileSet, Recorded, WriteTrace, simulate

SECOND = 10**9


def both(seed, names=12, seconds=15):
    """Make up what an application does; return a faultless recording of it, and the looks."""
    pick = random.Random(seed)
    path = [f"f{i:02}" for i in range(names)]
    there = {i: [pick.randrange(1, 50), 0, 100 + i] for i in range(names - 4)}
    begin = {i: state[0] for i, state in there.items()}
    rows, looks = [], []
    clock = 0
    for second in range(seconds + 1):
        now = {path[i]: tuple(state) for i, state in sorted(there.items())}
        looks.append(Look(second * SECOND, second * SECOND, now))
        renamed = set()
        for _ in range(pick.choice([0, 1, 2, 5]) if second < seconds else 0):
            clock += 1
            at = second * SECOND + clock % 1000 * 1000
            i = pick.randrange(names)
            kind = pick.random()
            if kind < 0.2 and i in there:
                del there[i]
                rows.append((at, i, 0, -1, -1))
            elif kind < 0.45 and i in there:
                target = pick.choice([j for j in range(names) if j != i])
                if renamed & {i, target}:
                    continue  # there and back is nothing that a look could see
                renamed |= {i, target}
                there[target] = there.pop(i)
                rows.append((at, target, 0, there[target][0], i))
            else:
                inode = there[i][2] if i in there else 1000 + clock
                there[i] = [pick.randrange(1, 50), clock, inode]
                rows.append((at, i, pick.randrange(1, 9), there[i][0], -1))
    rows.sort(key=lambda row: row[0])
    time, file_id, count, size, source = (list(column) for column in zip(*rows, strict=True))
    named = {*file_id, *source}
    files = FileSet(
        [begin.get(i, 0) for i in range(names)],
        [i not in named for i in range(names)],
        [f"/srv/{one}" for one in path],
    )
    trace = WriteTrace(
        file_id,
        time_ns=time,
        count=count,
        size_bytes=size,
        from_id=source,
        present=[i in begin for i in range(names)],
        duration_ns=seconds * SECOND,
    )
    return Recorded("made up", files, trace), Scans(looks)


@pytest.mark.parametrize("order", ["size-ascending", "update-frequency"])
@pytest.mark.parametrize("seed", range(25))
def test_of_a_faultless_recording_both_are_the_same(seed, order):
    app, scans = both(seed)
    for budget in (20, 45, 130):
        for start in (0, 7):
            run = simulate(
                as_scanned(app, scans),
                cycle=Cycle.of_seconds(1, budget),
                order=order,
                cycles=40,
                start_s=float(start),
            )
            assert run.final_copy_bytes.tolist() == scans.simulate(order, budget, 40, start)


def test_what_a_recording_misses_is_seen():
    """The check can fail: without the busiest file's writes the replay leaves less."""
    app, scans = both(3, seconds=30)
    writes = app.writes
    keep = writes.file_id != 2
    less = WriteTrace(
        writes.file_id[keep],
        time_ns=writes.time_ns[keep],
        count=writes.count[keep],
        size_bytes=writes.size_bytes[keep],
        from_id=writes.from_id[keep],
        present=writes.present,
        duration_ns=writes.duration_ns,
    )
    whole, missed = (
        compare(one, scans, 0, starts=1) for one in (app, Recorded("less", app.files, less))
    )
    assert {round(one.ratio, 9) for one in whole if "all" not in one.order} == {1.0}
    assert min(one.ratio for one in missed) < 0.95
