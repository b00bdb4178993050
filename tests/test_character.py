"""What a recording's writes look like: every number by hand, and what is drawn."""

import itertools
import json
import math

import matplotlib as mpl
import numpy as np
import pytest

import precopy
from precopy import FileSet, Recorded, WriteTrace
from precopy.access.tracking.recording import record
from precopy.character import History, dirty_bytes, zipf_exponent
from precopy.cli import main

mpl.use("agg")

SECOND = 10**9


def recorded(sizes, rows, seconds, present=None, left_out=None):
    """Make a recording of rows (second, file, updates, bytes, size afterwards, old name)."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    time, file_id, count, written, size, source = columns
    trace = WriteTrace(
        list(file_id),
        list(written),
        time_ns=[round(at * SECOND) for at in time],
        count=list(count),
        size_bytes=list(size),
        from_id=list(source),
        present=present,
        duration_ns=round(seconds * SECOND),
        left_out=left_out,
    )
    named = {*file_id, *source}
    return Recorded("app", FileSet(sizes, [i not in named for i in range(len(sizes))]), trace)


# File 0: written each second; 1: only read; 2: a log that grows, renamed to 3 and begun again;
# 4: a temporary file that is renamed over 5 twice; 6: born and removed.
ROWS = sorted(
    [
        *[(second + 0.1, 0, 2, 20, 1000, -1) for second in range(10)],
        (1.5, 2, 1, 100, 600, -1),
        (2.5, 3, 0, 0, 600, 2),
        (2.5, 2, 1, 50, 50, -1),
        (3.0, 4, 3, 200, 200, -1),
        (3.2, 5, 0, 0, 200, 4),
        (6.0, 4, 3, 300, 300, -1),
        (6.2, 5, 0, 0, 300, 4),
        (7.0, 6, 4, 40, 40, -1),
        (7.5, 6, 0, 0, -1, -1),
    ],
    key=lambda row: row[0],
)
PRESENT = [True, True, True, False, False, True, False]
SIZES = [1000, 5000, 500, 0, 0, 100, 0]


@pytest.fixture
def app():
    return recorded(SIZES, ROWS, 10, PRESENT, left_out={"pipes": 8})


def test_files(app):
    found = precopy.characterise(app)
    assert (found.files, found.files_at_begin, found.begin_bytes) == (7, 4, 6600)
    assert found.growth_bytes_per_s == pytest.approx((6950 - 6600) / 10)
    assert found.largest_share == pytest.approx(5000 / 6600)
    steps = [(0, 6600), (1.5, 6700), (2.5, 6750), (3, 6950), (3.2, 6850), (6, 7150), (6.2, 6950)]
    steps += [(7, 6990), (7.5, 6950), (10, None)]
    area = sum((then - at) * size for (at, size), (then, _) in itertools.pairwise(steps))
    assert found.mean_bytes == pytest.approx(area / 10)


def test_rates(app):
    found = precopy.characterise(app)
    assert found.updates == 20 + 2 + 6 + 4
    assert found.updates_per_s == pytest.approx(3.2)
    assert found.peak_updates_per_s == 6
    assert found.written_bytes_per_s == pytest.approx((200 + 150 + 500 + 40) / 10)
    assert found.peak_written_bytes_per_s == 320
    # At the end of its second: file 0; with it the log at 1; the new log, not the renamed one, at
    # 2 (written at 1.5, clean if sent at 2: renamed clean); what came to be 5 at 3 and 6; no 6.
    dirty = [1000, 1600, 1050, 1200, 1000, 1000, 1300, 1000, 1000, 1000]
    assert dirty_bytes(app, 1.0).tolist() == dirty
    assert found.dirty_bytes_per_s == pytest.approx(np.mean(dirty))
    assert found.peak_dirty_bytes_per_s == 1600
    halves = precopy.characterise(app, interval_s=0.5)
    assert halves.peak_updates_per_s == 12
    assert halves.interval_s == 0.5


def test_coming_and_going(app):
    found = precopy.characterise(app)
    # Born: the log again, the temporary file twice, file 6. Gone by itself: 6 only.
    assert found.births_per_s == pytest.approx(0.4)
    assert found.deaths_per_s == pytest.approx(0.1)
    assert found.renames_per_s == pytest.approx(0.3)
    assert found.replaced_per_s == pytest.approx(0.2)
    assert found.lasting_share == pytest.approx(20 / 32)
    assert found.fixed_share == pytest.approx(20 / 32)
    grows = recorded([100, 100], [(1, 0, 3, 1, 100, -1), (2, 1, 1, 1, 200, -1)], 4)
    assert precopy.characterise(grows).lasting_share == 1
    assert precopy.characterise(grows).fixed_share == pytest.approx(3 / 4)


def test_a_rename_of_what_does_not_exist_is_a_birth():
    found = History.of(recorded([0, 0], [(1, 0, 1, 1, 10, 1)], 2, [False, False]))
    assert found.births().sum() == 1
    assert not found.brought.any()
    assert not found.deaths().any()


def test_skew(app):
    found = precopy.characterise(app)
    assert found.written_files_share == pytest.approx(4 / 7)
    assert found.top_1_share == found.top_10_share == pytest.approx(20 / 32)
    counts = [20, 0, 2, 0, 6, 0, 4]
    apart = sum(abs(one - other) for one in counts for other in counts)
    assert found.gini == pytest.approx(apart / (2 * 7 * sum(counts)))


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.3])
def test_the_exponent_that_writes_were_drawn_from_is_found(exponent):
    files = FileSet([1] * 200)
    drawn = precopy.Workload.zipf(files, exponent, seed=1).draw(20_000, seed=2)
    assert zipf_exponent(drawn.counts(files)) == pytest.approx(exponent, abs=0.12)


def test_no_exponent_of_one_file():
    assert math.isnan(zipf_exponent([7, 0]))


def test_bursts(app):
    found = precopy.characterise(app)
    per_second = np.array([2, 3, 3, 5, 2, 2, 5, 6, 2, 2])
    assert found.dispersion == pytest.approx(per_second.var(ddof=1) / per_second.mean())
    assert found.busy_10_share == pytest.approx(6 / 32)
    assert found.idle_share == 0
    assert found.longest_idle_s == pytest.approx(1.0)  # 4.1 to 5.1
    burst = recorded([10], [(2.0, 0, 5, 5, 10, -1), (2.5, 0, 5, 5, 10, -1)], 8)
    found = precopy.characterise(burst)
    assert found.idle_share == pytest.approx(7 / 8)
    assert found.longest_idle_s == pytest.approx(5.5)
    assert found.dispersion == pytest.approx(10)


def test_independent_writes_are_no_burst():
    generator = np.random.default_rng(3)
    times = np.sort(generator.uniform(0, 500, 5000))
    app = recorded([10], [(at, 0, 1, 1, 10, -1) for at in times], 500)
    assert precopy.characterise(app).dispersion == pytest.approx(1, abs=0.25)


def test_halves():
    rows = [(at, file, count, 1, 10, -1) for at, file, count in [(1, 0, 9), (2, 1, 5), (3, 2, 1)]]
    later = [(at, file, count, 1, 10, -1) for at, file, count in [(6, 0, 8), (7, 1, 4), (8, 2, 2)]]
    same = precopy.characterise(recorded([10] * 4, rows + later, 10))
    assert same.halves_rank_correlation == pytest.approx(1)
    assert same.halves_known_share == 1
    assert same.halves_rate_ratio == pytest.approx(14 / 15)
    turned = [(6, 2, 8, 1, 10, -1), (7, 1, 4, 1, 10, -1), (8, 0, 2, 1, 10, -1)]
    found = precopy.characterise(recorded([10] * 4, rows + turned, 10))
    assert found.halves_rank_correlation == pytest.approx(-1)
    other = [(6, 3, 5, 1, 10, -1), (7, 0, 5, 1, 10, -1)]
    found = precopy.characterise(recorded([10] * 4, rows + other, 10))
    assert found.halves_known_share == pytest.approx(1 / 2)


def test_links(app):
    found = precopy.characterise(app, bandwidths=[2000, 100_000])
    slow, fast = found.links
    assert slow.bound_bytes == precopy.bound.trace_final_copy_bytes(
        app, precopy.Cycle.of_seconds(1, 2000)
    )
    assert slow.once_s == pytest.approx(found.mean_bytes / 2000)
    assert slow.load == pytest.approx(found.dirty_bytes_per_s / 2000)
    assert slow.bound_s == pytest.approx(slow.bound_bytes / 2000)
    assert fast.bound_bytes <= slow.bound_bytes
    default = precopy.characterise(app).links
    assert [round(link.once_s, 6) for link in default] == [8, 25, 60]


def test_what_is_left_out(app):
    assert precopy.characterise(app).left_out_share == pytest.approx(8 / 40)


def test_shown(app):
    found = precopy.characterise(app)
    text = str(found)
    assert "updates per second" in text
    assert "least mean final copy" in text
    assert max(map(len, text.splitlines())) <= 100
    assert json.loads(json.dumps(found.to_dict()))["updates"] == 32
    table = found.to_dataframe()
    assert table.loc["births_per_s", "value"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    "rows",
    [[], [(1, 0, 0, 0, -1, -1)], [(1, 0, 1, 5, 5, -1)]],
    ids=["nothing happens", "a file goes", "one write"],
)
@pytest.mark.filterwarnings("error")
def test_little_to_say(rows):
    """Numbers that a recording does not have are not known; nothing is divided by 0."""
    app = recorded([5], rows, 3)
    found = precopy.characterise(app)
    assert "not known" in str(found)
    assert "NaN" not in json.dumps(found.to_dict())
    assert set(precopy.plot.character(app)) == {"files", "rate", "bytes", "skew", "bound"}
    mpl.pyplot.close("all")


def test_drawn(app):
    axes = precopy.plot.character(app)
    figure = axes["files"].figure
    figure.draw_without_rendering()
    cells = axes["files"].collections[0].get_array()
    assert cells.sum() == 32
    assert cells[0].sum() == 20  # the busiest file is the first row
    assert axes["files"].yaxis_inverted()
    updates = axes["skew"].lines[0]
    assert updates.get_xdata()[1] == pytest.approx(100 / 7)
    assert updates.get_ydata()[1] == pytest.approx(100 * 20 / 32)
    labels = [text.get_text() for text in axes["bytes"].get_legend().get_texts()]
    assert labels == ["4 born", "1 gone", "3 renamed"]
    assert axes["bytes"].lines[0].get_ydata()[-1] == pytest.approx(6.95)
    mpl.pyplot.close(figure)


def test_many_files_share_rows():
    """More files than rows of cells: every update is still in one of them."""
    rows = [(0.01 * i, i, 1, 1, 10, -1) for i in range(900)]
    axes = precopy.plot.character(recorded([10] * 1000, rows, 10))
    assert axes["files"].collections[0].get_array().sum() == 900
    assert axes["files"].get_yscale() == "log"
    mpl.pyplot.close("all")


def test_refused(app):
    with pytest.raises(TypeError, match=r"^app: expected a Recorded"):
        precopy.characterise(app.files)
    with pytest.raises(ValueError, match=r"^interval_s: "):
        precopy.characterise(app, interval_s=0)
    with pytest.raises(ValueError, match=r"^bandwidths: "):
        precopy.characterise(app, bandwidths=[-1])
    with pytest.raises(TypeError, match=r"^app: expected a Recorded"):
        precopy.plot.character(app.files)
    with pytest.raises(TypeError, match=r"^figure: expected a matplotlib Figure"):
        precopy.plot.character(app, 3)


def test_command(app, tmp_path, capsys):
    saved, picture = tmp_path / "app.npz", tmp_path / "app.png"
    app.save(saved)
    assert main(["character", str(saved), "--bandwidth", "2kB", "--picture", str(picture)]) == 0
    assert capsys.readouterr().out == f"{precopy.characterise(app, bandwidths=[2000])}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["character", str(saved), "--format", "json", "--interval", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["interval_s"], found["peak_updates_per_s"]) == (0.5, 12)
    assert len(found["links"]) == 3


def test_command_of_a_log(tmp_path, capsys):
    directory, log = tmp_path / "app", tmp_path / "a.db"
    directory.mkdir()
    (directory / "never opened").write_bytes(b"x" * 5000)
    script = "for i in 1 2 3; do echo line >> log; sleep 0.2; done; echo x > new; mv new there"
    record(["sh", "-c", script], app="shop", log=log, cwd=directory)
    command = ["character", "shop", "--log", str(log), "--root", str(directory)]
    assert main([*command, "--interval", "0.1", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "shop"
    assert found["updates"] >= 4
    assert found["begin_bytes"] == 5000
    assert found["renames_per_s"] > 0
    assert main([*command, "--since", "ready"]) == 2
    assert "no mark 'ready' in the log" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--root", "--since", "--until"])
def test_command_refuses_what_a_file_has_not(app, tmp_path, capsys, option):
    saved = tmp_path / "app.npz"
    app.save(saved)
    assert main(["character", str(saved), option, "x"]) == 2
    assert f"{option}: expected it with an application of a log only" in capsys.readouterr().err


def test_part(app):
    half = app.part(2.0, 7.2)
    assert half.seconds == pytest.approx(5.2)
    assert half.present.tolist() == [True, True, True, False, False, True, False]
    assert half.files.size_bytes.tolist() == [1000, 5000, 600, 0, 0, 100, 0]
    assert half.writes.updates == 12 + 1 + 6 + 4
    assert half.writes.time_ns[0] == round(0.1 * SECOND)
    assert half.files.read_only.tolist() == [False, True, False, False, False, False, False]
    assert app.part().writes.updates == 32
    with pytest.raises(ValueError, match=r"^end_s: expected a time after begin_s"):
        app.part(5, 5)
    with pytest.raises(ValueError, match=r"^end_s: "):
        app.part(5, 11)
