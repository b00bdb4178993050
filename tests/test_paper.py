"""The published evaluation: its inputs, the files we write, and how each claim is judged."""

import csv
import math
import os
import re
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import precopy
from precopy import _core, paper
from precopy._picture import own_style, save
from precopy.paper.claims import crossing_cycles, stall_cycles

SEEDS = 3
PATTERNS = ["uniform", "skewed"]
METHODS = ["existing method", "size-descending", "size-ascending", "update-frequency"]


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    with mpl.rc_context({"backend": "agg"}):
        yield
        assert not plt.get_fignums()
        plt.close("all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("paper") / "made" / "results"


@pytest.fixture(scope="module")
def result(folder):
    with mpl.rc_context({"backend": "agg"}):
        return paper.reproduce(folder, seeds=SEEDS)


# Tables 1 and 2 and section 5.1, as published.


def test_the_files_are_those_of_table_1():
    files = paper.files()
    counts = {}
    for size, fixed in zip(files.size_bytes.tolist(), files.read_only.tolist(), strict=True):
        counts[size, fixed] = counts.get((size, fixed), 0) + 1
    sizes = [200_000, 400_000, 800_000, 1_600_000, 3_200_000]
    assert counts == {
        **dict(zip([(s, True) for s in sizes], [350, 300, 200, 100, 50], strict=True)),
        **dict(zip([(s, False) for s in sizes], [3500, 3000, 2000, 1000, 500], strict=True)),
    }
    assert files.read_only.tolist() == [True] * 1000 + [False] * 10_000
    assert (np.diff(files.size_bytes[:1000]) >= 0).all()
    assert (np.diff(files.size_bytes[1000:]) >= 0).all()
    assert files.size_bytes[:1000].sum() == 670_000_000
    assert files.total_bytes == 7_370_000_000


def test_the_first_pattern_is_uniform_over_the_read_write_files():
    share = paper.uniform().share
    assert share[:1000].tolist() == [0.0] * 1000
    np.testing.assert_allclose(share[1000:], 1e-4, rtol=1e-12)


def test_the_second_pattern_is_skewed_inside_each_size_class():
    share, size = paper.skewed().share, paper.files().size_bytes
    assert share[:1000].tolist() == [0.0] * 1000
    for value in np.unique(size):
        group = share[1000:][size[1000:] == value].reshape(4, -1)
        expected = np.array([1, 10, 10, 79]) / 100 / 2500
        np.testing.assert_allclose(group, np.repeat(expected[:, None], group.shape[1], axis=1))
    assert share.sum() == pytest.approx(1)


def test_the_cycle_is_that_of_table_2():
    cycle = paper.CYCLE
    assert (cycle.writes, cycle.write_seconds, cycle.bandwidth) == (500, 0.03, 5e6)
    assert paper.CYCLE.budget_bytes == 75_000_000 == paper.PUBLISHED["budget_bytes"]


def test_the_published_numbers_are_those_of_section_5():
    assert paper.LIMITS == {"uniform": 5_500_000_000, "skewed": 5_000_000_000}
    assert paper.ORDERS == ("size-descending", "size-ascending", "update-frequency")
    published = paper.PUBLISHED
    assert published["least_final_copy_bytes"] == {
        "existing method": 5_302_000_000,
        "size-ascending": 4_954_000_000,
        "size-descending": 4_748_000_000,
        "update-frequency": 1_717_000_000,
    }
    assert published["first_crossing_cycle"] == 40
    assert published["second_crossing_cycle"] == 200
    assert published["stall_cycle"] == {
        "size-descending": 40,
        "size-ascending": 50,
        "update-frequency": 50,
    }
    assert published["update_frequency_share_of_whole"] == 0.26
    assert published["precopy_saved"] == 0.93


# What reproduce() runs.


def test_the_curves_are_those_of_simulate(result):
    curves = result.curves.final_copy_bytes
    for pattern, seed in (("uniform", 2), ("skewed", 0)):
        workload = getattr(paper, pattern)()
        for order in curves.order.values:
            run = precopy.simulate(
                paper.files(), workload, order, paper.CYCLE, cycles=500, seed=seed
            )
            found = curves.sel(writes=pattern, order=order, seed=seed)
            assert found.values.tolist() == run.final_copy_bytes.tolist()


def test_the_existing_method_is_ten_rounds_in_the_order_of_the_true_rates(result):
    for pattern in PATTERNS:
        workload = getattr(paper, pattern)()
        run = precopy.simulate(
            paper.files(), workload, workload.share, schedule="rounds", cycles=2000, seed=1
        )
        assert run.stop == "rounds"
        found = result.existing.final_copy_bytes.sel(
            writes=pattern, order="existing method", seed=1
        )
        assert found.dropna("step").values.tolist() == run.final_copy_bytes.tolist()


def test_seeds_may_be_chosen():
    result = paper.reproduce(seeds=[7, 3])
    assert result.curves.seed.values.tolist() == [7, 3]
    again = paper.reproduce(seeds=np.array([7, 3]))
    assert again.curves.identical(result.curves)
    assert again.claims == result.claims


@pytest.mark.parametrize(
    ("seeds", "error"),
    [
        (1, ValueError),
        (0, ValueError),
        (-3, ValueError),
        ([4], ValueError),
        ([], ValueError),
        (2.5, ValueError),
        ("many", TypeError),
        (None, TypeError),
        ([1, 1], ValueError),
        ([1, -1], ValueError),
    ],
    ids=str,
)
def test_fewer_than_two_seeds_have_no_spread(seeds, error, tmp_path, monkeypatch):
    def fail(**arguments):
        raise AssertionError("simulated")

    monkeypatch.setattr(_core, "simulate", fail)
    with pytest.raises(error, match=r"^seeds?: "):
        paper.reproduce(tmp_path / "results", seeds=seeds)
    assert not (tmp_path / "results").exists()


# What it writes.


def test_it_writes_three_figures_and_their_numbers(result, folder):
    names = {path.name for path in folder.iterdir()}
    figures = {f"fig{n}.{suffix}" for n in (5, 6, 7) for suffix in ("png", "svg", "csv")}
    assert names == figures | {"claims.csv"}
    for number in (5, 6, 7):
        assert (folder / f"fig{number}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert plt.imread(folder / f"fig{number}.png").std() > 0.05
        assert "</svg>" in (folder / f"fig{number}.svg").read_text(encoding="utf-8")


def test_write_tells_what_it_wrote(result, tmp_path):
    written = result.write(tmp_path / "again")
    assert sorted(written) == sorted((tmp_path / "again").iterdir())
    assert len(written) == 10


def test_without_a_directory_it_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paper.reproduce(seeds=2)
    assert not list(tmp_path.iterdir())


def read_numbers(path, heads):
    """Return the columns of a table by their heads, as floats, exactly as written."""
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    names = list(zip(*(row[1:] for row in rows[:heads]), strict=True))
    body = [row for row in rows[heads:] if any(row[1:])]
    columns = {name: [float(row[place + 1]) for row in body] for place, name in enumerate(names)}
    return [int(row[0]) for row in body], columns


@pytest.mark.parametrize(("figure", "pattern"), [(5, "uniform"), (6, "skewed")])
def test_figures_5_and_6_have_the_numbers_of_the_runs(figure, pattern, result, folder):
    seeds, table = read_numbers(folder / f"fig{figure}.csv", 1)
    assert list(table) == [(method,) for method in METHODS]
    assert seeds == list(range(SEEDS))
    curves = result.curves.sel(writes=pattern)
    for order in METHODS[1:]:
        for seed in range(SEEDS):
            final = curves.final_copy_bytes.sel(order=order, seed=seed).values
            below = np.flatnonzero(final <= paper.LIMITS[pattern])
            sent = curves.precopy_bytes.sel(order=order, seed=seed).values[below[0]]
            assert table[order,][seed] == sent
    sent = result.existing.precopy_bytes.sel(writes=pattern, order="existing method").max("step")
    assert table["existing method",] == sent.values.tolist()


def test_figure_7_has_the_means_and_ranges_of_the_curves(result, folder):
    cycles, table = read_numbers(folder / "fig7.csv", 2)
    assert cycles == list(range(1, 301))
    assert len(table) == 3 * len(METHODS)
    for method in METHODS:
        source = result.existing if method == "existing method" else result.curves
        curves = source.final_copy_bytes.sel(writes="skewed", order=method)
        curves = curves.transpose("seed", "step").values[:, :300]
        np.testing.assert_allclose(table["mean", method], curves.mean(axis=0), rtol=1e-14)
        assert table["least", method] == curves.min(axis=0).tolist()
        assert table["most", method] == curves.max(axis=0).tolist()


def test_the_figures_draw_the_numbers(result):
    figures = result.figures()
    assert list(figures) == ["fig5", "fig6", "fig7"]
    for name, pattern in (("fig5", "uniform"), ("fig6", "skewed")):
        ax = figures[name].axes[0]
        sent = result.until_limit(pattern).precopy_bytes
        assert [text.get_text() for text in ax.get_xticklabels()] == METHODS
        heights = [bar.get_height() * 1e9 for bar in ax.patches]
        expected = [float(sent.sel(order=method).mean()) for method in METHODS]
        assert heights == pytest.approx(expected)
        assert f"{paper.LIMITS[pattern] / 1e6:.0f} MB" in ax.get_title()
    ax = figures["fig7"].axes[0]
    lines = {line.get_label(): line for line in ax.get_lines()}
    stars = sorted(line.get_ydata()[0] for line in ax.get_lines() if line.get_marker() == "*")
    assert stars == [1717, 4748, 4954, 5302]
    assert lines["optimal bound"].get_ydata()[0] == pytest.approx(1713.6, abs=0.1)
    assert lines["optimal bound"].get_linestyle() == "--"
    for method in METHODS:
        assert len(lines[method].get_xdata()) == 300
    assert ax.get_ylabel() == "final copy [MB]"
    for figure in figures.values():
        plt.close(figure)


def test_claims_csv_is_the_table_of_claims(result, folder):
    with open(folder / "claims.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(result.claims)
    for row, claim in zip(rows, result.claims, strict=True):
        assert row.pop("z") == ("" if claim.z is None else repr(claim.z))
        assert row == {name: getattr(claim, name) for name in row}
        assert set(row) == {"section", "claim", "published", "ours", "verdict"}


# How claims are judged.


def claim_of(result, text):
    (claim,) = (one for one in result.claims if text in one.claim)
    return claim


def skewed_curves(result, order):
    curves = result.curves.final_copy_bytes.sel(writes="skewed", order=order)
    return curves.transpose("seed", "step").values[:, :300]


def test_z_scores_of_final_copies_are_distances_in_spreads_of_single_runs(result):
    rounds = result.existing.final_copy_bytes.sel(writes="skewed", order="existing method")
    rounds = rounds.transpose("seed", "step").values[:, :300]
    cases = {
        "least final copy, existing method": (5302e6, rounds.min(axis=1)),
        "least final copy, size-ascending": (
            4954e6,
            skewed_curves(result, "size-ascending").min(axis=1),
        ),
        "least final copy, size-descending": (
            4748e6,
            skewed_curves(result, "size-descending").min(axis=1),
        ),
        "least final copy, update-frequency": (
            1717e6,
            skewed_curves(result, "update-frequency").min(axis=1),
        ),
        "update-frequency, at cycle 300": (
            1717e6,
            skewed_curves(result, "update-frequency")[:, 299],
        ),
    }
    for text, (published, values) in cases.items():
        claim = claim_of(result, text)
        spread = math.sqrt(sum((values - values.mean()) ** 2) / (SEEDS - 1))
        assert claim.z == pytest.approx((published - values.mean()) / spread)
        assert claim.published == f"{published / 1e6:.0f} MB"
        assert claim.ours == f"{values.mean() / 1e6:.0f} ± {spread / 1e6:.0f} MB"
        assert claim.verdict == ("reproduced" if abs(claim.z) <= 2 else "not reproduced")


def test_z_scores_of_cycles_allow_for_reading_a_figure(result):
    for order, published in paper.PUBLISHED["stall_cycle"].items():
        values = stall_cycles(skewed_curves(result, order), 75_000_000)
        claim = claim_of(result, f"cycle at which {order} stalls")
        spread = math.hypot(values.std(ddof=1), 5)
        assert claim.z == pytest.approx((published - values.mean()) / spread)
        assert claim.verdict == ("reproduced" if abs(claim.z) <= 2 else "not reproduced")
    first, _ = crossing_cycles(
        skewed_curves(result, "size-ascending"), skewed_curves(result, "size-descending")
    )
    claim = claim_of(result, "size ascending gets ahead of size descending")
    assert claim.z == pytest.approx((40 - first.mean()) / math.hypot(first.std(ddof=1), 5))


def test_what_needs_less_precopy_is_counted_seed_by_seed(result):
    sent = result.until_limit("skewed").precopy_bytes
    for better, worse in (
        ("update-frequency", "size-ascending"),
        ("size-ascending", "size-descending"),
    ):
        claim = claim_of(result, f"skewed: {better} reaches X with less pre-copy than {worse}")
        wins = int((sent.sel(order=better) < sent.sel(order=worse).fillna(np.inf)).sum())
        assert f"{wins} of {SEEDS} seeds" in claim.ours
        assert claim.verdict == ("reproduced" if wins == SEEDS else "not reproduced")
    sent = result.until_limit("uniform").precopy_bytes
    means = [float(sent.sel(order=order).mean()) for order in METHODS[1:]]
    claim = claim_of(result, "hardly differ")
    assert claim.ours == f"{max(means) / min(means) - 1:.1%} apart"
    claim = claim_of(result, "every proposed order needs less")
    assert f"{max(means) / 1e6:.0f} MB" in claim.ours
    assert (claim.verdict == "reproduced") == (
        max(means) < float(sent.sel(order="existing method").min())
    )


def test_the_share_of_the_whole_is_that_of_the_read_write_data(result):
    share = skewed_curves(result, "update-frequency")[:, 299] / 6_700_000_000
    claim = claim_of(result, "share of the read-write data")
    assert claim.ours == f"{share.mean():.1%} ± {share.std(ddof=1):.1%}"
    assert claim.published == "about 26%"


def test_the_truth_where_it_is_not_reproduced(result):
    assert claim_of(result, "least final copy, existing method").verdict == "not reproduced"
    assert claim_of(result, "update-frequency stalls").verdict == "not reproduced"
    arithmetic = claim_of(result, "5 Mbps")
    assert (arithmetic.published, arithmetic.z) == ("75 MB", None)
    assert arithmetic.ours.startswith("9.4 MB")


def test_every_section_with_claims_is_there(result):
    sections = {claim.section for claim in result.claims}
    assert {"5.1.1", "5.2.1", "5.2.2", "5.3.1", "5.3.2", "5.3.3"} <= sections


@pytest.mark.parametrize("seeds", [[5, 6], [5, 0]], ids=["none", "one"])
def test_seeds_without_the_second_crossing_are_told(seeds):
    result = paper.reproduce(seeds=seeds)
    curves = [skewed_curves(result, order) for order in ("size-ascending", "size-descending")]
    missing = int(np.isnan(crossing_cycles(*curves)[1]).sum())
    assert missing == {6: 2, 0: 1}[seeds[1]]
    claim = claim_of(result, "gets ahead again")
    assert f"{missing} of 2 seeds" in claim.ours
    assert "nan" not in str(result)
    assert claim.verdict == "not reproduced"


def test_its_text_is_the_table_of_claims(result):
    head, rule, *rows = str(result).splitlines()
    assert head.split() == ["§", "claim", "published", "ours", "z", "verdict"]
    assert set(rule) == {"-"}
    for row, claim in zip(rows, result.claims, strict=True):
        cells = re.split(r"\s{2,}", row)
        z = [] if claim.z is None else [f"{claim.z:+.1f}"]
        assert cells == [
            claim.section,
            claim.claim,
            claim.published,
            claim.ours,
            *z,
            claim.verdict,
        ]
    good = sum(claim.verdict == "reproduced" for claim in result.claims)
    assert repr(result) == (
        f"<Reproduction: {good} of {len(result.claims)} claims reproduced, {SEEDS} seeds>"
    )
    html = result._repr_html_()
    assert html.count("<tr>") == len(result.claims) + 1
    assert html.count("<td>") == 6 * len(result.claims)


# Crossings and stalls on made-up curves.


def test_a_curve_stalls_in_the_middle_of_the_first_slow_ten_cycles():
    # 100 bytes a cycle until cycle 30, then nothing: from cycle 30 on ten cycles bring nothing,
    # from cycle 29 on they bring 100, a tenth of the budget's ten cycles' worth.
    curve = 5000 - 100 * np.minimum(np.arange(1, 101), 30)
    faster, steady = 5000 - 40 * np.arange(1, 101), np.full(100, 7)
    found = stall_cycles(np.array([curve, faster, steady]), 100)
    # Cycles 30 to 40 have their middle at 35; the flat curve stalls at once, in cycle 6.
    assert found[0] == 35
    assert np.isnan(found[1])
    assert found[2] == 6


def test_a_tenth_of_the_budget_is_not_yet_slow():
    tenth = 5000.0 - 10 * np.arange(1, 51)
    just_less = 5000.0 - 9.99 * np.arange(1, 51)
    assert np.isnan(stall_cycles(tenth[None], 100)[0])
    assert stall_cycles(just_less[None], 100)[0] == 6


def test_curves_cross_where_the_lead_changes():
    cycles = np.arange(1, 301)
    descending = np.zeros(300)
    # Behind until cycle 40, ahead until 200, behind again.
    ascending = np.where(cycles <= 40, 5, np.where(cycles <= 200, -5, 5))
    first, second = crossing_cycles(ascending[None], descending[None])
    assert first.tolist() == [41]
    # Eleven cycles around 201 hold five cycles of lead and six of lag.
    assert second.tolist() == [201]


def test_a_lead_before_cycle_20_does_not_count():
    cycles = np.arange(1, 101)
    ascending = np.where(cycles < 20, -1, np.where(cycles < 60, 1, -1))
    first, second = crossing_cycles(ascending[None], np.zeros((1, 100)))
    assert first.tolist() == [60]
    assert np.isnan(second[0])
    ahead_at_20 = np.where(cycles == 20, -1, 1)
    assert crossing_cycles(ahead_at_20[None], np.zeros((1, 100)))[0].tolist() == [20]


def test_one_cycle_behind_is_no_second_crossing():
    cycles = np.arange(1, 101)
    ascending = np.where(cycles < 30, 5, np.where(cycles == 50, 5, -5))
    first, second = crossing_cycles(ascending[None], np.zeros((1, 100)))
    assert first.tolist() == [30]
    assert np.isnan(second[0])


def test_curves_that_never_cross_have_no_crossing():
    above, below = np.full((2, 50), 9), np.full((2, 50), 3)
    first, second = crossing_cycles(above, below)
    assert np.isnan([*first, *second]).all()


def test_runs_cross_each_on_its_own():
    cycles = np.arange(1, 101)
    ascending = np.stack([np.where(cycles <= place, 1, -1) for place in (25, 70, 200)])
    first, second = crossing_cycles(ascending, np.zeros((3, 100), dtype=np.int64))
    assert first[:2].tolist() == [26, 71]
    assert np.isnan(first[2])
    assert np.isnan(second).all()


# Made again, it is the same to the byte.

AGAIN = """
import random, sys
import matplotlib as mpl, matplotlib.pyplot as plt
mpl.use("agg")
from precopy import paper
if sys.argv[2] == "styled":
    plt.style.use("dark_background")
    plt.rcParams.update({"font.size": 23, "lines.linewidth": 9, "savefig.dpi": 30,
                         "svg.fonttype": "none", "axes.formatter.use_locale": True,
                         "savefig.bbox": "tight", "axes.prop_cycle": mpl.cycler(color="rgb")})
    plt.figure()
result = paper.reproduce(sys.argv[1], seeds=2)
if sys.argv[2] == "styled":
    assert plt.rcParams["font.size"] == 23
"""


def test_it_writes_the_same_bytes_whoever_runs_it(tmp_path):
    ways = {
        "plain": {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
        "styled": {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"},
    }
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: pink\nfigure.dpi: 33\n")
    ways["styled"]["MATPLOTLIBRC"] = str(tmp_path / "matplotlibrc")
    ways["styled"]["SOURCE_DATE_EPOCH"] = "86400"
    for way, variables in ways.items():
        command = [sys.executable, "-c", AGAIN, str(tmp_path / way), way]
        subprocess.run(command, check=True, env={**os.environ, **variables})
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / w).iterdir()} for w in ways)
    assert len(first) == 10
    assert [name for name in first if first[name] != second.get(name)] == []


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_is_saved_without_its_date(suffix, result, tmp_path, monkeypatch):
    for name, date in (("a", "0"), ("b", "1000000000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
        with own_style():
            figure = result.figures()["fig5"]
            save(figure, tmp_path / f"{name}.{suffix}")
            plt.close("all")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
