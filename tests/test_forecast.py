"""The forecast's numbers: replays file by file, windows of a recording, stops, halves, advice."""

import json
import random
from dataclasses import fields, replace

import numpy as np
import pytest
from specification import Row, _Names, _total

import precopy
from precopy.forecast.ahead import ahead
from precopy.forecast.fixed import Fixed, Slowdown
from precopy.forecast.forecast import forecast
from precopy.forecast.halves import USUAL, compare
from precopy.forecast.hot import burden, common_name, hottest
from precopy.forecast.moves import with_files
from precopy.forecast.numbers import Interval, Outcome
from precopy.forecast.replayed import FileReplay
from precopy.forecast.runs import OVERHEAD_BYTES, Runs
from precopy.forecast.stopped import Curves, Stops
from precopy.forecast.timeline import Timeline
from precopy.migration.pending import Policy
from precopy.migration.report import Report
from precopy.options import Order

SECOND = 10**9
MB = 10**6


def recorded(rows, size_bytes, seconds, present=None, path=None, name="app"):
    """Return a recording; rows are (file, seconds, count, bytes, size afterwards, from)."""
    columns = [np.array(column, np.int64) for column in zip(*rows, strict=True)] or [[]] * 6
    file_id, time_ns, count, write_bytes, size, from_id = columns
    written = np.isin(np.arange(len(size_bytes)), [*file_id, *from_id])
    writes = precopy.WriteTrace(
        file_id,
        write_bytes,
        time_ns=time_ns,
        count=count,
        size_bytes=size,
        from_id=from_id,
        present=present,
        duration_ns=round(seconds * SECOND),
    )
    return precopy.Recorded(name, precopy.FileSet(size_bytes, ~written, path), writes)


def row(file_id, at_s, count=1, write_bytes=0, size=0, from_id=-1):
    return file_id, round(at_s * SECOND), count, write_bytes, size, from_id


def problem(seed):
    """Return a small recording drawn with births, deaths and renames, and its rows."""
    draw = random.Random(seed)
    count = draw.randint(1, 6)
    present = [draw.random() < 0.6 for _ in range(count)]
    size = [draw.randint(0, 50) if there else 0 for there in present]
    duration = draw.randint(5, 40)
    rows = []
    for at in sorted(draw.randrange(duration) for _ in range(draw.randint(0, 25))):
        name, old = draw.randrange(count), -1
        if draw.random() < 0.2 and count > 1:
            old = draw.choice([each for each in range(count) if each != name])
        gone = old < 0 and draw.random() < 0.15
        written = draw.choice([0, 0, draw.randint(0, 30)])
        after = -1 if gone else draw.randint(0, 50)
        rows.append(Row(name, at, draw.randint(0, 3), written, after, old))
    as_rows = [
        (each.file_id, each.time_ns, each.count, each.write_bytes, each.size_bytes, each.from_id)
        for each in rows
    ]
    return recorded(as_rows, size, duration / SECOND, present), rows, draw


@pytest.mark.parametrize("seed", range(60))
def test_a_replay_file_by_file_is_simulate(seed):
    app, _, draw = problem(seed)
    order = draw.choice(
        ["size-ascending", "size-descending", "update-frequency", "expected-update",
         "least-recently-updated"]
    )  # fmt: skip
    cost, budget = draw.choice(["whole", "delta"]), draw.choice(["carry", "skip"])
    cycle = precopy.Cycle.of_seconds(draw.randint(1, 9) / SECOND, draw.randint(2, 20) * SECOND)
    start_s = draw.randrange(app.writes.duration_ns) / SECOND
    run = precopy.simulate(
        app,
        order=order,
        cycle=cycle,
        cycles=12,
        cost=cost,
        budget=budget,
        start_s=start_s,
        **({"overhead_bytes": 3} if cost == "delta" else {}),
    )
    policy = Policy(order, budget=budget)
    replay = FileReplay(Timeline(app), app.files.read_only, policy, cycle, start_s, cost, 3)
    found = []
    for _ in range(12):
        replay.cycle()
        waiting = int(replay.cost_bytes[replay.pending].sum())
        found.append((waiting, int(replay.sent_bytes.sum()), int(replay.resent_bytes.sum())))
    assert found == list(
        zip(
            run.final_copy_bytes.tolist(),
            run.precopy_bytes.tolist(),
            run.resent_bytes.tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("cost", ["whole", "delta"])
def test_what_is_written_in_a_window_costs_what_the_specification_says(seed, cost):
    app, rows, draw = problem(seed)
    begin = draw.randrange(app.writes.duration_ns)
    end = draw.randrange(begin, app.writes.duration_ns) + 1
    names = _Names(app.files.size_bytes.tolist(), app.present.tolist())
    for each in rows:
        if each.time_ns < begin:
            names.apply(each)
    names.pending, names.has_copy = set(), set(names.exists)  # all has been sent
    names.unsent = [0] * len(names.size)
    for each in rows:
        if begin <= each.time_ns < end:
            names.apply(each)
    expected = _total(names.costs(cost, 3), names.pending)
    written = Timeline(app, resolution_ns=0).between(begin, end)
    assert int(written.cost_bytes(cost, 3).sum()) == expected


@pytest.mark.parametrize("seed", range(30))
def test_the_state_at_a_moment_is_that_of_the_rows_before_it(seed):
    app, rows, draw = problem(seed)
    at = draw.randrange(app.writes.duration_ns + 1)
    names = _Names(app.files.size_bytes.tolist(), app.present.tolist())
    for each in rows:
        if each.time_ns < at:
            names.apply(each)
    exists, size = Timeline(app).state(at)
    assert set(np.flatnonzero(exists).tolist()) == names.exists
    assert [int(size[i]) for i in sorted(names.exists)] == [
        names.size[i] for i in sorted(names.exists)
    ]


def test_updates_of_a_row_lie_evenly_before_the_last_of_them():
    app = recorded([row(0, 1.0, count=10, write_bytes=1000, size=5000)], [5000], 3)
    line = Timeline(app)
    ten_ms = line.between(SECOND - 25_000_000, SECOND - 15_000_000)
    assert ten_ms.unsent_bytes.tolist() == [100]
    assert line.between(SECOND - 90_000_000, SECOND + 1).unsent_bytes.tolist() == [1000]
    assert len(line.between(SECOND - 9_000_000, SECOND).file_id) == 0
    assert len(line.between(SECOND + 1, 2 * SECOND).file_id) == 0


def test_a_window_goes_on_at_the_beginning():
    app = recorded([row(0, 0.5, write_bytes=10, size=50), row(1, 2.5, size=60)], [50, 60], 3)
    found = Timeline(app).between(2 * SECOND, 4 * SECOND)
    assert sorted(found.file_id.tolist()) == [0, 1]
    assert len(Timeline(app).between(3 * SECOND, 3 * SECOND + 400_000_000).file_id) == 0


def test_an_interval_is_moved_apart_above_its_base_only():
    samples = [100 + each for each in range(11)]
    assert Interval.of(samples) == Interval(105.0, 101.0, 109.0)
    wide = Interval.of(samples, factor=2.0, base=100.0)
    assert (wide.median, wide.low, wide.high) == (105.0, 100.5, 118.0)
    assert wide.width == pytest.approx(118 / 100.5)
    assert Interval.of([0.0]).width == 1.0


# --- where it stops -------------------------------------------------------------------------------


def steady(bytes_per_ms=100, seconds=30, size=50 * MB):
    """Return a file that is written every millisecond, as a log with 100 ms knows it."""
    rows = [
        row(0, at / 10, count=100, write_bytes=100 * bytes_per_ms, size=size)
        for at in range(10 * seconds)
    ]
    return recorded(rows, [size], seconds)


def test_what_is_left_is_what_was_written_in_the_last_rehearsal():
    app = steady(size=100 * MB)  # so large that it is not read as a whole
    cycle = precopy.Cycle.of_seconds(1.0, 10e6)
    fixed = Fixed(1, "block", cycle.bandwidth)
    first_copy = np.array([40 * MB, 30 * MB, 20 * MB, 10 * MB, 104_096, 104_096], np.int64)
    sent = np.array([10, 20, 30, 40, 50, 50], np.int64) * MB + [0, 0, 0, 0, 0, 104_096]
    curves = Curves(0.0, 50 * MB, first_copy, sent, np.zeros(6, np.int64))
    stops = Stops(Timeline(app), curves, cycle, "delta", OVERHEAD_BYTES, fixed)
    now, later, never = stops.find(
        [precopy.stop.downtime(2.0), precopy.stop.downtime(0.1), precopy.stop.downtime(1e-3)]
    )
    # With 20 MB pending at 10 MB/s it stops after the third cycle, and rehearses nothing.
    assert (now.precopy_s, now.final_copy_bytes) == (4.0, 10 * MB)
    assert now.downtime_s == pytest.approx(fixed.seconds + 1.0)
    assert never is None
    # In the sixth cycle all could be sent. What a rehearsal writes is its length's worth.
    assert later.precopy_s == pytest.approx(5.0, abs=0.3)
    lasts_s = fixed.copy_s
    for _ in range(20):
        left = 100_000 * lasts_s + OVERHEAD_BYTES
        lasts_s = fixed.copy_s + fixed.sending_s(left)
    assert later.final_copy_bytes == pytest.approx(left, rel=0.1)
    assert later.final_copy_bytes < 10_000 < 104_096
    assert later.downtime_s == pytest.approx(fixed.seconds + fixed.sending_s(left), rel=0.05)


def test_a_large_part_of_a_cycle_is_not_rehearsed():
    app = steady(bytes_per_ms=8000)
    cycle = precopy.Cycle.of_seconds(1.0, 10e6)
    runs = Runs.of(app, Policy(), cycle, progress=False)
    [curves] = runs.curves(["update-frequency"], ["block"], [0.0])["update-frequency", "block"]
    stops = Stops(
        runs.line, curves, cycle, "delta", OVERHEAD_BYTES, Fixed(1, "block", cycle.bandwidth)
    )
    (stop,) = stops.find([precopy.stop.cycles(20)])
    assert stop.precopy_s == 20.0
    assert stop.final_copy_bytes == curves.final_copy_bytes[19] > 5 * MB


def test_a_round_trip_is_in_the_downtime_twice():
    app = steady()
    near, far = (
        forecast(app, 10e6, starts=2, round_trip_s=each, progress=False) for each in (0.0, 0.02)
    )
    assert far.fixed_s == pytest.approx(near.fixed_s + 0.04)
    assert far.downtime_s.median >= near.downtime_s.median + 0.04


def test_a_busy_machine_takes_longer_and_leaves_more():
    app = steady(seconds=20, size=100 * MB)
    idle, busy = (
        forecast(app, 10e6, starts=4, slowdown=each, progress=False)
        for each in (Slowdown(), Slowdown(3.0, 5.0))
    )
    assert busy.fixed_s == pytest.approx(3 * idle.fixed_s)
    assert busy.downtime_s.median > 2 * idle.downtime_s.median
    # The low end is that of a quick machine, whoever is busy now.
    assert busy.downtime_s.low == idle.downtime_s.low < idle.fixed_s
    assert idle.downtime_s.high > 2 * idle.fixed_s
    assert busy.downtime_s.high > 30 * idle.fixed_s
    # Rehearsals that take longer leave more to be sent.
    assert busy.outcome.final_copy_bytes.high > 2 * idle.outcome.final_copy_bytes.high
    assert "this machine is busy: all takes 3 times as long" in " ".join(str(busy).split())
    assert "busy" not in str(idle)
    goal = busy.goals[0]  # 50 ms
    assert (goal.reached, goal.reached_if_slow) == (4, 0)
    assert "0–4 of 4" in str(busy)
    assert json.loads(busy.to_json())["slowdown"] == [3.0, 5.0]


def test_how_busy_the_machine_is_can_be_measured():
    found = Slowdown.measured()
    assert found.worst >= found.usual >= 1.0
    assert found.slow >= 2.0


# --- the whole ------------------------------------------------------------------------------------


def service():
    """Return files in place, a log that grows, a file that is replaced, and what is only read."""
    paths = [f"/srv/db/{each:02}.db" for each in range(20)]
    paths += ["/srv/log/app.log", "/srv/state.json", "/srv/state.json.new", "/srv/static.bin"]
    size = [MB] * 20 + [30 * MB, 2 * MB, 0, 10 * MB]
    present = [True] * 22 + [False, True]
    rows = []
    for tenth in range(400):
        at = tenth / 10
        rows.append(row(tenth % 20, at, count=2, write_bytes=8192, size=MB))
        rows.append(row(20, at + 0.05, count=4, write_bytes=400, size=30 * MB + 400 * tenth))
        if tenth % 80 == 35:
            rows.append(row(22, at + 0.06, write_bytes=2 * MB, size=2 * MB))
            rows.append(row(21, at + 0.07, size=2 * MB, from_id=22))
    return recorded(rows, size, 40, present, paths, "shop")


@pytest.fixture(scope="module")
def by_files():
    return forecast(
        service(), 10e6, granularity="file", downtime_s=[0.2, 10], starts=8, progress=False
    )


@pytest.fixture(scope="module")
def by_blocks():
    return forecast(service(), 10e6, downtime_s=0.05, starts=8, progress=False)


def test_names_are_those_of_a_migrations_report(by_files):
    report = {field.name for field in fields(Report)}
    outcome = {field.name for field in fields(Outcome)} - {
        "rule",
        "reached",
        "of",
        "reached_if_slow",
    }
    assert outcome <= report
    found = json.loads(by_files.to_json())
    assert {"total_bytes", "files", "bandwidth", "granularity", "order"} <= set(found) & report
    assert set(found["outcome"]["downtime_s"]) == {"median", "low", "high"}
    assert found["seen_share"] == 1.0


def test_goals_are_reached_or_not(by_files, by_blocks):
    assert by_files.goals_s == [0.2, 10.0]
    never, soon = by_files.goals
    assert (never.reached, never.of, never.downtime_s) == (0, 8, None)
    assert soon.reached == 8
    assert soon.downtime_s.high < 10
    assert by_blocks.goals[0].reached == 8
    # The log alone is 30 MB; as blocks some kB of it are written in a moment.
    assert by_files.long_run.orders["update-frequency"] > 30 * MB
    left = by_files.outcome.final_copy_bytes
    assert left.median > 30 * MB
    assert left.high / left.low >= USUAL**2  # no recording tells more than that
    assert by_blocks.outcome.final_copy_bytes.median < 100_000
    assert by_files.instead.downtime_s.median == by_blocks.outcome.downtime_s.median


def test_no_order_is_below_the_bound(by_files):
    least = min(by_files.long_run.orders.values())
    assert least >= 0.95 * by_files.long_run.bound_bytes > 0
    assert by_files.long_run.best_order in by_files.long_run.orders


def test_the_best_order_comes_first_and_another_one_is_advice():
    rows = [
        row(each, at + each / 100, size=(each + 1) * MB)
        for at in range(40)
        for each in range(10)
        if at % (each + 1) == 0
    ]
    app = recorded(rows, [(each + 1) * MB for each in range(10)], 40)
    known = {"granularity": "file", "starts": 4, "downtime_s": 60, "progress": False}
    left = forecast(app, 4e6, **known).long_run.orders
    worst, best = max(left, key=left.get), min(left, key=left.get)
    assert left[best] < left[worst] / 1.2
    found = forecast(app, 4e6, order=worst, **known)
    assert found.long_run.best_order == best
    assert any(text.startswith(f"--order {best}: ") for text in found.advice)
    assert not any("--order" in text for text in forecast(app, 4e6, order=best, **known).advice)


def test_a_goal_that_is_not_reached_names_the_link_that_it_takes(by_files):
    text = next(text for text in by_files.advice if text.startswith("200 ms takes a link of"))
    multiple = float(text.split(", ")[1].split()[0])
    faster = forecast(service(), multiple * 10e6, granularity="file", downtime_s=0.2, starts=5,
                      progress=False)  # fmt: skip
    assert faster.goals[0].reached == 5
    assert "--granularity block: about" in " ".join(by_files.advice)


def test_what_keeps_it_up_is_named_with_its_share(by_files, by_blocks):
    log, *others = by_files.hot
    assert (log.path, log.kind) == ("/srv/log/app.log", "grows")
    assert log.final_copy_share > 0.5
    assert "send blocks; a log can be rotated before, or left out" in log.advice
    assert log.size_bytes == pytest.approx(30 * MB, rel=0.02)
    tenants = next(each for each in others if each.path == "/srv/db/#.db")
    assert (tenants.files, tenants.kind) == (20, "in place")
    assert tenants.updates_per_s == pytest.approx(20)
    assert sum(each.final_copy_share for each in by_files.hot) == pytest.approx(1, abs=0.02)
    assert sum(each.traffic_share for each in by_files.hot) == pytest.approx(1, abs=0.02)
    state = by_blocks.hot[0]
    assert (state.path, state.kind) == ("/srv/state.json", "replaced")
    assert state.every_s == pytest.approx(8)
    assert "about every 8 s: stop between two" in state.advice


def test_what_comes_and_goes_and_what_is_rewritten():
    rows = []
    for at in range(20):
        rows.append(row(0, at, write_bytes=5000, size=5000))
        rows.append(row(0, at + 0.5, size=-1))
        if at % 5 == 0:
            rows.append(row(1, at + 0.6, count=3, write_bytes=4000, size=4000))
    app = recorded(rows, [0, 4000], 20, [False, True], ["/srv/db-journal", "/srv/dump"])
    runs = Runs.of(app, Policy(), precopy.Cycle.of_seconds(0.2, 10e6), progress=False)
    found = hottest(runs, burden(runs, "file", [0.0]), "file")
    kinds = {each.path: each.kind for each in found}
    assert kinds == {"/srv/db-journal": "comes and goes", "/srv/dump": "rewritten"}


def test_names_that_differ_in_digits_are_one():
    assert common_name(["/srv/a1/x-09.db", "/srv/a1/x-10.db"]) == "/srv/a1/x-#.db"
    assert common_name(["/o/3f786850e387/a", "/o/89e6c98d9288/a"]) == "/o/#/a"
    assert common_name(["/srv/1"]) == "/srv/1"


def test_halves_that_differ_make_the_interval_wider():
    rows = [row(0, at / 10, write_bytes=2000, size=MB) for at in range(200)]
    rows += [row(0, 20 + at / 10, write_bytes=10_000, size=MB) for at in range(200)]
    app = recorded(rows, [MB], 40)
    found = forecast(app, 10e6, starts=6, progress=False)
    halves = found.halves
    assert halves.factor == pytest.approx(halves.second_bytes / halves.first_bytes)
    assert halves.first_bytes == pytest.approx(20_000 + OVERHEAD_BYTES, rel=0.05)
    assert halves.second_bytes == pytest.approx(100_000 + OVERHEAD_BYTES, rel=0.05)
    assert any("times apart" in text for text in found.notes)
    left = found.outcome.final_copy_bytes
    assert left.low <= left.median / halves.factor
    alike = forecast(steady(seconds=20), 10e6, starts=6, progress=False)
    assert alike.halves.factor == pytest.approx(1, abs=0.05)
    assert not any("times apart" in text for text in alike.notes)


def test_what_comes_after_a_recording_begins_where_it_ended():
    rows = [
        row(0, 0.1, size=150), row(0, 0.2, size=200),  # a log that grows
        row(1, 1, size=60),  # one that was cut
        row(2, 2, size=40), row(2, 3, size=70), row(2, 4, size=50),  # made, and stays
        row(4, 5, size=20), row(3, 6, size=20, from_id=4),  # replaced
        row(5, 7, size=9), row(5, 8, size=-1),  # comes and goes
        row(6, 9, size=80, write_bytes=5),  # in place
    ]  # fmt: skip
    present = [True, True, False, True, False, False, True]
    app = recorded(rows, [100, 90, 0, 10, 0, 0, 80], 10, present)
    later = ahead(app)
    assert later.files.size_bytes.tolist() == [200, 90, 50, 10, 0, 0, 80]
    assert later.present.tolist() == [True, True, True, True, False, False, True]
    assert later.writes.size_bytes.tolist() == [250, 300, 60, 50, 70, 50, 20, 20, 9, -1, 80]
    assert later.writes.file_id.tolist() == app.writes.file_id.tolist()
    assert later.writes.write_bytes.tolist() == app.writes.write_bytes.tolist()
    assert ahead(steady()).files.size_bytes.tolist() == [50 * MB]


def test_a_log_is_forecast_as_large_as_it_has_become():
    rows = [row(0, at, write_bytes=MB, size=(at + 1) * MB) for at in range(40)]
    app = recorded(rows, [0], 40)
    found = forecast(app, 10e6, granularity="file", starts=4, progress=False)
    assert found.total_bytes == 40 * MB
    assert found.outcome.final_copy_bytes.median >= 40 * MB
    factor = max(USUAL, found.halves.factor)
    assert found.outcome.final_copy_bytes.low >= 40 * MB / factor
    # The first half of it tells the second one.
    assert found.halves.factor < 1.5


def test_half_of_a_recording_begins_with_what_was_there():
    app = service()
    second = app.part(20, 40)
    exists, size = Timeline(app).state(20 * SECOND)
    assert second.present.tolist() == exists.tolist()
    assert second.files.size_bytes.tolist() == size.tolist()
    runs = Runs.of(app.part(0, 3), Policy(), precopy.Cycle.of_seconds(1, 1e7), progress=False)
    assert compare(app.part(0, 3), runs, "update-frequency", "block") is None


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (recorded([], [MB], 30), "nothing was written while it was recorded"),
        (steady(seconds=3), "3 s were recorded"),
        (steady(seconds=3), "too short to compare its halves"),
        (steady(seconds=25, size=500 * MB), "the pre-copy takes longer than was recorded"),
        (
            recorded([row(0, at, write_bytes=MB, size=at * MB) for at in range(30)], [0], 30),
            "it grew from 0 B to 29 MB while it was recorded",
        ),
        (
            recorded(
                [row(0, at, write_bytes=100 if at != 9 else MB, size=MB) for at in range(30)],
                [MB],
                30,
            ),
            "1 MB were written 9 s after the beginning, and so much only once",
        ),
        (steady(seconds=25, size=500 * MB), "files above 67.11 MB are written"),
    ],
    ids=["nothing", "short", "no halves", "rotated", "grows", "once", "large"],
)
def test_what_the_recording_cannot_tell_is_said(app, expected):
    found = forecast(app, 10e6, starts=2, progress=False)
    assert any(expected in text for text in found.notes), found.notes
    assert expected in " ".join(str(found).split())


def test_nothing_written_stands_as_long_as_nothing_left(tmp_path):
    found = forecast(recorded([], [MB, 2 * MB], 30), 10e6, starts=3, progress=False)
    assert found.downtime_s.median == pytest.approx(found.fixed_s)
    assert found.outcome.final_copy_bytes.high == 0
    assert found.hot == [] == found.advice
    found.plot(tmp_path / "nothing.png")


def test_without_bytes_a_write_writes_all_of_a_file():
    app = service()
    columns = ("time_ns", "count", "size_bytes", "from_id", "present", "duration_ns")
    columns = {name: getattr(app.writes, name) for name in columns}
    unknown = precopy.Recorded("shop", app.files, precopy.WriteTrace(app.writes.file_id, **columns))
    found = forecast(unknown, 10e6, starts=2, progress=False)
    assert any("how much was written is not known" in note for note in found.notes)
    levels = found.long_run.granularities
    assert levels["block"] == levels["file"] > 30 * MB


def test_left_out_writes_are_counted_by_reason():
    app = service()
    columns = ("write_bytes", "time_ns", "count", "size_bytes", "from_id", "present", "duration_ns")
    writes = precopy.WriteTrace(
        app.writes.file_id,
        **{name: getattr(app.writes, name) for name in columns},
        left_out={"to files that are gone": app.writes.updates},
    )
    app = precopy.Recorded("shop", app.files, writes, ["mapped files leave no trace"])
    found = forecast(app, 10e6, starts=2, progress=False)
    assert found.seen_share == 0.5
    text = " ".join(str(found).split())
    assert "50 % of what was written is in the replay" in text
    assert f"{app.writes.updates:,} to files that are gone" in text
    assert "mapped files leave no trace" in text


def test_files_that_were_not_used_are_sent_too():
    app = service()
    sizes = {path.encode(): 0 for path in app.files.path} | {b"/srv/unused": 60 * MB}
    more = with_files(app, sizes, "all")
    assert more.files.path[-1] == "/srv/unused"
    assert more.files.read_only[-1]
    assert more.name == "all"
    found = forecast(more, 10e6, starts=2, progress=False)
    assert found.total_bytes == forecast(app, 10e6, starts=2, progress=False).total_bytes + 60 * MB
    assert found.files == 24
    assert any("the recorded files had" in note for note in more.notes)
    elsewhere = with_files(app, {b"/other": 5})
    assert len(elsewhere.files) == len(app.files)
    assert any("not on this machine" in note for note in elsewhere.notes)


def test_options_are_those_of_migrate_and_are_used():
    app = service()
    known = {"granularity": "file", "starts": 2, "downtime_s": 60, "progress": False}
    counts = forecast(app, 3e6, **known)
    for options in (
        {"frequency": "exponential", "half_life": 3.0},
        {"order": "least-recently-updated"},
        {"order": "size-ascending", "frequency": "exponential", "half_life": 3.0},
        {"budget": "skip"},
        {"read_only_first": False},
        {"cycle_seconds": 0.5},
    ):
        found = forecast(app, 3e6, **known, **options)
        assert found.to_dict() != counts.to_dict()
    late = forecast(app, 10e6, until=precopy.stop.seconds(25), starts=2, progress=False)
    assert late.outcome.precopy_s.median >= 25
    assert str(late.outcome.rule) == "seconds(25s)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": 0}, "bandwidth: expected a finite number above 0, got 0"),
        ({"granularity": "page"}, r"granularity: expected one of \['block', 'file'\]"),
        ({"order": "best"}, "order: expected one of"),
        ({"downtime_s": -1}, "downtime_s: expected a finite number above 0, got -1"),
        ({"until": "soon(3)"}, "soon"),
        ({"starts": 1}, "starts: expected a whole number from 2"),
        ({"cycle_seconds": 0}, "cycle_seconds: expected a finite number above 0"),
        ({"half_life": 2.0}, "half_life: expected it with"),
        ({"round_trip_s": -1}, "round_trip_s: expected a finite number from 0 on"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        forecast(**{"app": steady(seconds=5), "bandwidth": 1e7, **options})


def test_what_is_no_recording_is_refused():
    with pytest.raises(TypeError, match="app: expected a Recorded, got"):
        forecast(precopy.FileSet([1]), 1e7)


def test_the_screen_has_every_part_and_fits(by_files, by_blocks):
    for found in (by_files, replace(by_blocks, applications=["shop", "report"])):
        lines = str(found).splitlines()
        assert max(map(len, lines)) <= 110
        for head in ("forecast", "recorded", "link", "stop", "long run", "orders", "fixed"):
            assert any(line.startswith(head) for line in lines), head
        assert len(lines) <= 50
        assert ("moves with all of shop, report" in " ".join(lines)) == bool(found.applications)
    assert repr(by_blocks).startswith("<Forecast of shop: downtime ")
    assert by_blocks._repr_html_().startswith("<pre>forecast")


def test_the_picture_shows_the_band_the_goals_and_the_files(by_files, tmp_path):
    figure = by_files.plot(tmp_path / "shop.png")
    assert (tmp_path / "shop.png").stat().st_size > 10_000
    above, below = figure.axes
    assert above.get_legend_handles_labels()[1] == [
        by_files.order, *(each for each in Order.__args__ if each != by_files.order)
    ]  # fmt: skip
    curve = above.get_lines()[0]
    assert curve.get_ydata()[0] == pytest.approx(by_files.total_bytes / 1e6)
    assert curve.get_ydata()[-1] == pytest.approx(by_files.bands[by_files.order][1][-1] / 1e6)
    band = above.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(by_files.total_bytes / 1e6)
    assert [each.get_text() for each in above.texts] == []  # 200 ms and 10 s are out of sight
    assert [each.get_text() for each in below.get_yticklabels()][-1] == "/srv/log/app.log"
    assert below.patches[len(by_files.hot) - 1].get_width() == pytest.approx(
        100 * by_files.hot[0].final_copy_share
    )
