"""The engine: the length of cycles, the link's speed, when it ends; units; files."""

import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from migration import compare

from precopy import stop
from precopy.migration.curves import Curves
from precopy.migration.ending import DEFAULT_RULE, RuleEnding
from precopy.migration.engine import LONGEST_CYCLE_SECONDS, Engine, Pace, Sent
from precopy.migration.pending import Pending, Policy
from precopy.migration.prediction import Prediction
from precopy.migration.rehearsal import rehearse
from precopy.migration.source.blocks import Blocks
from precopy.migration.source.dirty import Dirty
from precopy.migration.source.selection import Selection
from precopy.migration.source.tree import Tree
from precopy.migration.transport import connect
from precopy.migration.work import FileWork


class FakeClock:
    """Time that passes only while somebody waits or sends."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


class FakeWork:
    """Units of 1 MB over a link of 10 MB/s; every look finds `hot` units written."""

    def __init__(self, clock, units=50, hot=0, writes_per_second=0.0):
        self.clock, self.hot, self.rate = clock, hot, writes_per_second
        self.pending = Pending(Policy())
        self.pending.add(np.full(units, 1_000_000), np.zeros(units, bool))
        self.batches = []

    def look(self):
        return np.arange(self.hot)

    def send(self, units):
        seconds = len(units) / 10
        self.clock.sleep(seconds)
        self.batches.append(len(units))
        return Sent(len(units) * 1_000_000, seconds)

    def writes(self):
        return int(self.clock.time * self.rate) if self.rate else None


class After:
    """Ends after so many cycles."""

    def __init__(self, cycles):
        self.cycles = cycles

    def after(self, curves):
        return "enough" if len(curves) >= self.cycles else None

    def would(self, curves):
        return False


def engine_of(pace, cycles, **options):
    clock = FakeClock()
    work = FakeWork(clock, **options)
    engine = Engine(work, pace, lambda engine: 0.5, After(cycles), clock)
    assert engine.run() == "enough"
    return engine


def test_the_bandwidth_is_measured_and_the_first_cycle_ends_in_time():
    engine = engine_of(Pace(1.0), 3)
    assert engine.bandwidth == pytest.approx(10e6)
    sent = [record.sent_bytes for record in engine.curves.records]
    # The first cycle begins with a batch of one unit, then sends for what is left of its second.
    assert sent == [10_000_000] * 3
    assert engine.work.batches[0] == 1
    assert [record.seconds for record in engine.curves.records] == pytest.approx([1, 2, 3])


def test_a_given_bandwidth_is_a_limit_and_stays():
    engine = engine_of(Pace(1.0, bandwidth=4e6), 3)
    assert engine.bandwidth == 4e6
    assert [record.sent_bytes for record in engine.curves.records] == [4_000_000] * 3
    assert [record.cycle_seconds for record in engine.curves.records] == pytest.approx([1.0] * 3)


def test_cycles_end_after_so_many_writes():
    engine = engine_of(Pace(0.2, writes=20, bandwidth=5e6), 3, writes_per_second=40.0, hot=1)
    assert [r.cycle_seconds for r in engine.curves.records] == pytest.approx([0.5] * 3, abs=0.06)
    # The first cycle's budget is that of its seconds, the others have that of the one before.
    assert [r.sent_bytes for r in engine.curves.records][:2] == [1_000_000, 2_000_000]


def test_a_cycle_without_enough_writes_ends_all_the_same():
    engine = engine_of(Pace(1.0, writes=10**9, bandwidth=100e6), 1, writes_per_second=1.0)
    assert engine.curves.records[0].cycle_seconds == pytest.approx(LONGEST_CYCLE_SECONDS, rel=0.01)


def test_a_cycle_ends_early_where_nothing_is_left_and_the_rule_would_hold():
    clock = FakeClock()
    work = FakeWork(clock, units=5)
    ending = RuleEnding(stop.final_copy(0), lambda: 5_000_000)
    engine = Engine(work, Pace(10.0, bandwidth=10e6), lambda engine: 0.0, ending, clock)
    assert engine.run().startswith("final_copy(0)")
    assert clock.time == pytest.approx(0.5)


def test_written_and_resent_bytes_are_recorded():
    engine = engine_of(Pace(1.0, bandwidth=100e6), 3, hot=7)
    records = engine.curves.records
    assert [record.pending_bytes for record in records] == [7_000_000] * 3
    assert [record.written_bytes for record in records] == [7_000_000] * 3
    assert [record.sent_bytes for record in records] == [50_000_000, 7_000_000, 7_000_000]
    assert [record.resent_bytes for record in records] == [0, 7_000_000, 7_000_000]


# --- when it ends ---------------------------------------------------------------------------------


def curves(*rows):
    made = Curves()
    for number, (pending, downtime, written) in enumerate(rows, 1):
        made.append(
            seconds=float(number), cycle_seconds=1.0, sent_bytes=1_000_000, resent_bytes=0,
            link_bytes=1_000_000, pending_bytes=pending, written_bytes=written, bandwidth=1e6,
            predicted_downtime_s=downtime,
        )  # fmt: skip
    return made


def test_the_default_rule_ends_where_the_downtime_is_short():
    ending = RuleEnding(stop.parse(DEFAULT_RULE), lambda: 10_000_000)
    assert ending.after(curves((9e6, 9.0, 0))) is None
    reason = ending.after(curves((9e6, 9.0, 0), (5e4, 0.05, 0)))
    assert reason == "downtime(0.1): the downtime would be 0.05 s"


def test_the_default_rule_ends_where_nothing_improves_while_little_is_pending():
    ending = RuleEnding(stop.parse(DEFAULT_RULE), lambda: 10_000_000)
    rows = [(5e6 + 1e5 * (number % 5), 5.0, 0) for number in range(40)]
    ended = next(n for n in range(1, 41) if ending.after(curves(*rows[:n])))
    assert ended > 19  # the window of the dip
    assert rows[ended - 1][0] == 5e6


def test_asking_whether_a_rule_would_hold_looks_at_new_cycles_only():
    rows = [(1e6, 1.0, 0)] * 30
    total = []
    ending = RuleEnding(stop.stall(2), lambda: total.append(1) or 1)
    assert ending.after(curves(*rows)).startswith("stall(2)")
    total.clear()
    assert ending.would(curves(*rows, (1e6, 1.0, 0)))
    assert total == [1]


def test_a_rule_is_asked_without_consequences_whether_it_would_hold():
    ending = RuleEnding(stop.cycles(3), lambda: 1)
    assert not ending.would(curves((1, 1, 1)))
    assert ending.would(curves((1, 1, 1), (1, 1, 1), (1, 1, 1)))
    assert ending.after(curves((1, 1, 1))) is None


def test_writes_that_outrun_the_link_are_told_once():
    told = []
    ending = RuleEnding(stop.cycles(100), lambda: 1, told.append)
    for number in range(1, 9):
        ending.after(curves(*[(4e6, 4.0, 3e6)] * number))
    assert told == ["the link cannot keep up: 3 MB are written per second, and it carries 1 MB"]


@pytest.mark.parametrize("size", [4e6, 400e6])
def test_a_first_copy_that_gets_on_is_not_outrun(size):
    """Until a file is sent, all of it counts as written whenever something in it is."""
    told = []
    ending = RuleEnding(stop.cycles(100), lambda: 1, told.append)
    for number in range(1, 9):
        ending.after(curves(*[(size - k * 5e5, 4.0 - k / 2, 3e6) for k in range(number)]))
    assert told == []


def test_what_was_not_sent_is_not_held_out():
    pending = Pending(Policy())
    pending.sent(pending.add([100] * 3, [False] * 3)[:1])
    for _ in range(4):
        pending.written([0, 1, 2])
    assert pending.hold_out(50).units == 1


def test_writes_that_the_link_keeps_up_with_are_not_told():
    told = []
    ending = RuleEnding(stop.cycles(100), lambda: 1, told.append)
    for number in range(1, 9):
        ending.after(curves(*[(4e5, 0.4, 9e5)] * number))
    assert told == []


def told_of(rule, rows):
    told = []
    ending = RuleEnding(stop.parse(rule), lambda: 10_000_000, stalled=told.append)
    for number in range(1, len(rows) + 1):
        ending.after(curves(*rows[:number]))
    return told


def test_a_rule_that_will_not_hold_is_told_with_numbers_at_growing_intervals():
    rows = [(4e5 + 1e3 * (number % 7), 0.4 + 0.001 * (number % 7), 0) for number in range(130)]
    told = told_of("downtime(0.01)", rows)
    assert [int(text.split()[0]) for text in told] == [30, 61, 123]
    assert told[0] == (
        "30 cycles (30.0 s) have brought nothing more, and the rule downtime(0.01) does not hold: "
        "stopped now it would stand 402 ms (402 kB pending), at best it was 400 ms (400 kB "
        "pending) in cycle 1. It goes on. Ctrl-C ends it, the application runs on, and the same "
        "command resumes; --until 'downtime(0.01) | stall(10) & dip(0.1)' stops it where nothing "
        "improves, last in cycle 29: 400 ms (400 kB pending)"
    )
    assert stop.parse(told[0].split("'")[1])
    hint = told_of("downtime(0.01) | stall(10) & dip(0.1)", [(4e5, 0.4, 0)] * 9)
    assert hint == []


def test_as_long_as_there_is_progress_nothing_is_told():
    assert told_of("downtime(0.01)", [(4e5 * 0.98**n, 0.4, 0) for n in range(80)]) == []
    assert told_of("downtime(0.01)", [(4e5, 0.4 * 0.98**n, 0) for n in range(80)]) == []


def test_a_cycle_that_could_send_everything_rehearses_the_final_copy():
    """One that could not has nothing to learn from it."""
    clock = FakeClock()
    work = FakeWork(clock, units=15, hot=2)
    rehearsed = []

    def rehearse(engine):
        rehearsed.append(len(engine.curves))
        work.pending.written(work.look())
        units = work.pending.ranked(everything=True)
        sent = work.send(units)
        work.pending.sent(units)
        return sent.link_bytes

    engine = Engine(
        work,
        Pace(seconds=1.0, bandwidth=1e7),
        lambda engine: 9.0 if not rehearsed else 0.01,
        RuleEnding(stop.downtime(0.05), lambda: 1),
        clock,
        rehearse=rehearse,
    )
    assert engine.run().startswith("downtime(0.05)")
    assert rehearsed == [1]
    assert len(engine.curves) == 2
    assert engine.curves.records[-1].sent_bytes == 9_000_000
    assert engine.curves.records[-1].link_bytes == 9_000_000


# --- units ----------------------------------------------------------------------------------------


def test_units_that_every_send_of_is_in_vain_are_held_out_until_the_end():
    pending = Pending(Policy())
    pending.sent(pending.add([100] * 6, [False] * 6))
    pending.waiting[5] = True
    # Units 0 to 3 are written in every cycle, unit 4 in one of four, unit 5 never.
    for number in range(4):
        pending.written([0, 1, 2, 3, *([4] if number == 0 else [])])
    held = pending.hold_out(100)
    # Unit 4 costs 25 bytes per cycle; none of the others fits beside it.
    assert (held.units, held.left_bytes) == (4, 25 + 400)
    assert sorted(pending.ranked().tolist()) == [4, 5]
    assert sorted(pending.ranked(everything=True).tolist()) == [0, 1, 2, 3, 4, 5]


def test_units_that_move_keep_what_is_known_of_them():
    pending = Pending(Policy())
    first = pending.add([10, 20], [True, False])
    pending.written(first[1:])
    pending.sent(first[:1])
    new = pending.add([0] * 4, [True] * 4)
    pending.waiting[new] = False
    pending.moved(int(first[0]), int(new[0]), 2)
    assert pending.cost_bytes[new].tolist() == [10, 20, 0, 0]
    assert pending.waiting.tolist()[:6] == [False, False, False, True, False, False]
    assert pending.updates[new].tolist() == [0, 1, 0, 0]
    assert pending.read_only[new].tolist() == [True, False, True, True]
    pending.sent(new[:2])
    assert pending.resent_bytes == 10


# --- files ----------------------------------------------------------------------------------------


class Place:
    """A directory, a destination, and the work between them."""

    def __init__(self, base, granularity="block", history=None):
        self.source, self.target = base / "source", base / "target"
        self.there = self.target / str(self.source)[1:]
        self.source.mkdir(exist_ok=True)
        self.granularity, self.history = granularity, history

    def __enter__(self):
        tree = Tree(Selection.from_paths([self.source]))
        self.transport = connect(os.fspath(self.target))
        self.dirty = Dirty(tree, (), None)
        self.dirty.start()
        self.work = FileWork(
            tree, self.dirty, Blocks(), self.transport, Policy(), self.granularity, self.history
        )
        self.work.scan()
        self.transport.begin("test", resume=self.target.exists() and any(self.target.iterdir()))
        self.work.begin(self.transport.listing())
        return self

    def __exit__(self, *exception):
        self.dirty.stop()
        self.transport.close()

    def settle(self):
        """Send everything; return how many bytes crossed the link."""
        before = self.transport.link_bytes
        self.work.send_all()
        return self.transport.link_bytes - before

    def differences(self):
        return compare.differences(self.source, self.there)


@pytest.mark.parametrize("granularity", ["block", "file"])
def test_what_happens_to_names_happens_there(tmp_path, granularity):
    with Place(tmp_path, granularity) as place:
        source = place.source
        for name in ("a", "b", "c"):
            (source / name).write_bytes(name.encode() * 9000)
        (source / "d").mkdir()
        (source / "d" / "e").write_bytes(b"e")
        os.symlink("a", source / "link")
        os.link(source / "c", source / "c2")
        place.settle()
        assert place.differences() == []
        (source / "a").rename(source / "d" / "a2")
        (source / "d").rename(source / "dd")
        (source / "b").unlink()
        (source / "b").mkdir()
        (source / "link").unlink()
        os.symlink("elsewhere", source / "link")
        (source / "tmp").write_bytes(b"new c" * 2000)
        (source / "tmp").rename(source / "c")
        place.settle()
        assert place.differences() == []
        assert (place.there / "c2").read_bytes() == b"c" * 9000


@pytest.mark.parametrize("step", ["compare", "read"])
def test_a_file_that_was_not_there_to_be_read_is_looked_at_again(tmp_path, monkeypatch, step):
    """A directory above it is renamed away and back: no time stamp of the file tells."""
    with Place(tmp_path) as place:
        folder, away, work = place.source / "d", place.source / "away", place.work
        folder.mkdir()
        (folder / "f").write_bytes(b"old" * 9000)
        place.settle()
        (folder / "f").write_bytes(b"new" * 9000)
        time.sleep(0.6)  # it is not young any more
        real = getattr(Blocks, step)

        def swapped(*arguments, **options):
            folder.rename(away)
            try:
                return real(*arguments, **options)
            finally:
                away.rename(folder)

        with monkeypatch.context() as patch:
            patch.setattr(Blocks, step, swapped)
            work.pending.written(work.look())
            units = work.pending.ranked()
            work.send(units)
            work.pending.sent(units)
        assert place.differences() != []
        place.settle()
        assert place.differences() == []


def test_a_link_that_could_not_be_read_is_not_made_where_something_else_stands(
    tmp_path, monkeypatch
):
    def gone(path):
        raise FileNotFoundError(path)

    with Place(tmp_path) as place:
        path, structure = place.source / "f", place.work.structure
        os.symlink("first", path)
        with monkeypatch.context() as patch:
            only_there = SimpleNamespace(readlink=gone, path=os.path)
            patch.setattr("precopy.migration.structure.os", only_there)
            place.work.look()
        for again in range(2):
            path.unlink()
            os.mkfifo(path)
            place.settle()
            assert place.differences() == []
            path.unlink()
            os.symlink(f"again {again}", path)
            place.settle()
            assert place.differences() == []
        assert all(place.work.tree.is_there(id) for id in structure.there)


def test_a_file_that_shrinks_back_while_it_is_read_has_its_size_there(tmp_path, monkeypatch):
    monkeypatch.setattr("precopy.migration.work.READ_BYTES", 4096)
    with Place(tmp_path) as place:
        path, work = place.source / "f", place.work
        path.write_bytes(b"a" * 9000)
        place.settle()
        path.write_bytes(b"b" * 13000)
        real = Blocks.read

        def shrinking(*arguments):
            part = real(*arguments)
            os.truncate(path, 9000)
            return part

        work.pending.written(work.look())
        with monkeypatch.context() as patch:
            patch.setattr(Blocks, "read", shrinking)
            work.send(work.pending.ranked())
        place.settle()
        assert place.differences() == []


def test_attributes_alone_cost_no_data(tmp_path):
    with Place(tmp_path) as place:
        big = place.source / "big"
        big.write_bytes(os.urandom(1 << 20))
        place.settle()
        big.chmod(0o640)
        os.utime(big, ns=(1, 2))
        assert place.settle() < 2000
        assert stat.S_IMODE((place.there / "big").stat().st_mode) == 0o640
        assert (place.there / "big").stat().st_mtime_ns == 2


def test_one_changed_block_costs_one_block(tmp_path):
    with Place(tmp_path) as place:
        big = place.source / "big"
        big.write_bytes(os.urandom(1 << 20))
        place.settle()
        with big.open("r+b") as file:
            file.seek(500_000)
            file.write(b"changed")
        assert 4096 < place.settle() < 4096 + 2000
        assert place.differences() == []


def test_a_whole_file_costs_itself(tmp_path):
    with Place(tmp_path, "file") as place:
        big = place.source / "big"
        big.write_bytes(os.urandom(1 << 20))
        place.settle()
        with big.open("r+b") as file:
            file.write(b"changed")
        assert place.settle() > 1 << 20
        assert place.differences() == []


@pytest.mark.parametrize("granularity", ["block", "file"])
def test_sizes_follow(tmp_path, granularity):
    with Place(tmp_path, granularity) as place:
        (place.source / "grows").write_bytes(b"x" * 5000)
        (place.source / "shrinks").write_bytes(b"y" * 50_000)
        (place.source / "empty").touch()
        (place.source / "hole").touch()
        os.truncate(place.source / "hole", 3 << 20)
        place.settle()
        assert place.differences() == []
        with (place.source / "grows").open("ab") as file:
            file.write(b"z" * 100_000)
        os.truncate(place.source / "shrinks", 4097)
        os.truncate(place.source / "hole", 1 << 20)
        place.settle()
        assert place.differences() == []
        os.truncate(place.source / "grows", 0)
        (place.source / "empty").write_bytes(b"not any more")
        place.settle()
        assert place.differences() == []


def test_what_is_there_already_is_not_sent_again(tmp_path):
    with Place(tmp_path) as place:
        (place.source / "same").write_bytes(os.urandom(1 << 20))
        (place.source / "other").write_bytes(os.urandom(1 << 20))
        (place.source / "goes").write_bytes(b"goes")
        place.settle()
    with (place.source / "other").open("r+b") as file:
        file.write(b"changed meanwhile")
    (place.source / "goes").unlink()
    with Place(tmp_path) as place:
        assert place.settle() < 100_000
        assert place.differences() == []


def test_a_file_that_nobody_wrote_goes_first_and_a_log_tells_which(tmp_path):
    place = Place(tmp_path, "file")
    names = [place.source / name for name in ("hot", "warm", "cold")]
    for path in names:
        path.write_bytes(b"x" * 1000)
    paths = [os.fsencode(path) for path in names]
    place.history = {paths[0]: 9, paths[1]: 2}
    with place:
        work = place.work
        ranked = [work.tree.entry(id).path for id, _ in work.units.by_file(work.pending.ranked())]
        assert ranked == [paths[2], paths[1], paths[0]]


def test_a_file_that_vanishes_while_it_is_sent_is_no_error_before_the_stop(tmp_path):
    with Place(tmp_path) as place:
        for name in ("stays", "goes"):
            (place.source / name).write_bytes(b"x" * 5000)
        units = place.work.look()
        place.work.pending.written(units)
        (place.source / "goes").unlink()
        place.work.send(place.work.pending.ranked())
        place.settle()
        assert place.differences() == []


def test_after_the_stop_a_change_is_told(tmp_path):
    with Place(tmp_path) as place:
        file = place.source / "file"
        file.write_bytes(b"x" * 5000)
        place.settle()
        assert place.work.changed_paths() == []
        file.write_bytes(b"y" * 5000)
        (place.source / "new").touch()
        changed = [Path(os.fsdecode(path)).name for path in place.work.changed_paths()]
        assert set(changed) >= {"file", "new"}


def test_what_cannot_be_read_any_more_is_told_apart_from_what_never_could(tmp_path):
    with Place(tmp_path) as place:
        (place.source / "file").touch()
        work = place.work
        work.problems.append((b"/before", "the directory cannot be read: Permission denied"))
        work.scan()
        assert work.unread() == []
        work.problems.append((b"/srv/lost", "the directory cannot be read: Input/output error"))
        work.problems.append((b"/srv/socket", "a socket"))
        assert work.unread() == ["/srv/lost: the directory cannot be read: Input/output error"]


# --- just before the stop -------------------------------------------------------------------------


class Rehearsed:
    """Work whose final copies take as long as given."""

    def __init__(self, clock, pending_bytes, *seconds):
        self.clock, self.seconds = clock, list(seconds)
        self.pending = Pending(Policy())
        self.pending.add([pending_bytes], [False])
        self.found = SimpleNamespace(prepared_s=0.0, scan=SimpleNamespace(seconds=0.0))
        self.rehearsals = 0

    def send_all(self):
        self.rehearsals += 1
        self.clock.sleep(self.seconds.pop(0))
        units = self.pending.ranked(everything=True)
        self.pending.sent(units)
        return units


def rehearsed(monkeypatch, pending_bytes, *seconds):
    clock = FakeClock()
    monkeypatch.setattr("precopy.migration.rehearsal.time", SimpleNamespace(monotonic=clock.now))
    work = Rehearsed(clock, pending_bytes, *seconds)
    engine = Engine(work, Pace(1.0, bandwidth=1e6), lambda engine: 7.0, After(1), clock)
    prediction = Prediction()
    prediction.journal_s = 0.0
    return rehearse(work, engine, prediction), work, engine


def test_it_is_rehearsed_until_that_gets_no_shorter(monkeypatch):
    predicted, work, engine = rehearsed(
        monkeypatch, 100_000, 0.5, 0.2, 0.08, 0.02, 0.011, 0.01, 0.01, 9.0
    )
    assert work.rehearsals == 7
    assert predicted == pytest.approx(0.011)  # the middle one of the last five
    seconds = [record.cycle_seconds for record in engine.curves.records]
    assert seconds[:3] == pytest.approx([0.5, 0.2, 0.08])
    assert engine.curves.precopy_bytes[-1] == 100_000


def test_what_takes_the_link_long_is_not_sent_beforehand(monkeypatch):
    predicted, work, _ = rehearsed(monkeypatch, 600_000)
    assert (predicted, work.rehearsals) == (7.0, 0)


def test_the_forecast_adds_what_is_around_a_final_copy():
    prediction = Prediction()
    for seconds in (0.004, 0.002, 0.9):
        prediction.looked_at_processes(seconds)
    prediction.scan_s, prediction.round_trip_s, prediction.journal_s = 0.003, 0.02, 0.001
    around = 1.5 * 0.004 + 0.001 + 0.003 + 3 * 0.001 + 0.02
    assert prediction.rehearsed([0.02, 0.01, 0.5]) == pytest.approx(0.02 + around)
    assert prediction.estimated(1_000_000, 1e6, 0.5) == pytest.approx(0.5 + 1 + 0.02 + around)
    assert prediction.estimated(5, None, 0.5) == pytest.approx(0.5 + 0.02 + around)


# --- rights ---------------------------------------------------------------------------------------


def readable(root):
    """Return the contents below a directory that anybody may read."""
    found, stack = set(), [root]
    while stack:
        for path in stack.pop().iterdir():
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) and mode & 0o001:
                stack.append(path)
            elif stat.S_ISREG(mode) and mode & 0o004:
                found.add(path.read_bytes())
    return found


class Watched:
    """A transport after each call of which somebody looks at what anybody may read."""

    def __init__(self, transport, look):
        self._transport, self._look = transport, look

    def __getattr__(self, name):
        call = getattr(self._transport, name)
        if name not in ("mkdir", "truncate", "write", "rename", "link", "delete", "metadata"):
            return call

        def watched(*words, **options):
            done = call(*words, **options)
            self._transport.barrier()
            self._look()
            return done

        return watched


def narrowed(source):
    (source / "wide").chmod(0o700)
    (source / "wide/secret").write_bytes(b"secret")


def moved_into_what_was_narrowed(source):
    (source / "wide").chmod(0o700)
    (source / "private/inside").rename(source / "wide/inside")


def narrowed_and_renamed(source):
    (source / "wide").chmod(0o700)
    (source / "wide").rename(source / "other")
    (source / "private/inside").rename(source / "other/deep/inside")


def narrowed_below_what_was_widened(source):
    (source / "private/inside").chmod(0o600)
    (source / "private").chmod(0o755)


def given_away(source):
    os.chown(source / "wide", 4321, 4321)
    (source / "wide").chmod(0o770)
    (source / "wide/secret").write_bytes(b"secret")


def an_acl_narrowed(source):
    os.setxattr(source / "listed", "system.posix_acl_access", ACL % (7, 0))
    (source / "listed/secret").write_bytes(b"secret")


ACL = b"\2\0\0\0" + b"".join(
    tag + rights + b"\0" + who
    for tag, rights, who in (
        (b"\1\0", b"\7", b"\xff" * 4), (b"\2\0", b"\5", b"\xe1\x10\0\0"),
        (b"\4\0", b"%c", b"\xff" * 4), (b"\x10\0", b"\7", b"\xff" * 4),
        (b"\x20\0", b"%c", b"\xff" * 4),
    )
)  # fmt: skip


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        narrowed,
        moved_into_what_was_narrowed,
        narrowed_and_renamed,
        narrowed_below_what_was_widened,
        given_away,
        an_acl_narrowed,
    ],
)
def test_what_nobody_could_read_here_nobody_can_read_there(tmp_path, change, resumed):
    if change is given_away and os.geteuid() != 0:
        pytest.skip("root is needed to give a directory away")
    place = Place(tmp_path)
    for name in ("wide", "private", "listed"):
        (place.source / name / "deep").mkdir(parents=True)
        (place.source / name / "inside").write_bytes(name.encode())
    (place.source / "private").chmod(0o700)
    try:
        os.setxattr(place.source / "listed", "system.posix_acl_access", ACL % (7, 5))
    except OSError:
        pytest.skip("this file system has no access control lists")
    seen = readable(place.source)
    assert seen == {b"wide", b"listed"}

    def look():
        assert readable(place.there) <= seen

    with place:
        for each in (tmp_path, *place.there.parents, place.there):
            if each.exists() and each.is_relative_to(tmp_path):
                each.chmod(0o755)
        place.settle()
        if not resumed:
            change(place.source)
            watched = Watched(place.transport, look)
            place.work.transport = place.work.structure._transport = watched
            place.settle()
    if resumed:
        change(place.source)
        real = connect  # `Place` calls it
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(globals(), "connect", lambda to: Watched(real(to), look))
            with place:
                place.settle()
    assert place.differences() == []
    assert b"secret" not in readable(place.there)
