"""Pictures: what is drawn is what the dataset holds, and lines can be told apart without colour."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from matplotlib.colors import to_rgb

import precopy
from precopy import _core, plot
from precopy._colours import number_text

FILES = precopy.FileSet.from_classes(
    [1_000_000, 2_000_000, 4_000_000], read_only=[5, 4, 3], read_write=[20, 18, 12]
)
WRITES = {
    "uniform": precopy.Workload.uniform(FILES),
    "zipf": precopy.Workload.zipf(FILES, 1.3, seed=4),
    "skewed": precopy.Workload.shares(FILES, (1, 9)),
}
CYCLE = precopy.Cycle(writes=15, write_seconds=0.1, bandwidth=6e6)
ORDERS = [
    "size-ascending",
    "size-descending",
    "update-frequency",
    "expected-update",
    "least-recently-updated",
]
LIMITS = [30e6, 50e6, 70e6, 90e6]


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    with mpl.rc_context({"backend": "agg"}):
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def curves():
    return precopy.sweep(FILES, WRITES, order=ORDERS, seed=range(4), cycle=CYCLE, cycles=50)


@pytest.fixture(scope="module")
def zipf(curves):
    return curves.sel(writes="zipf")


@pytest.fixture(scope="module")
def finished(curves):
    return precopy.finish(curves, LIMITS)


@pytest.fixture
def no_simulation(monkeypatch):
    def fail(**arguments):
        raise AssertionError("a picture must not simulate")

    monkeypatch.setattr(_core, "simulate", fail)


def draw(name, curves, finished, ax=None):
    """Each of the four pictures in its usual form."""
    if name == "final_copy":
        return plot.final_copy(curves.sel(writes="zipf"), ax, limit=40e6)
    done = finished.sel(writes="zipf")
    if name == "precopy_bars":
        return plot.precopy_bars(done.sel(threshold_bytes=70e6), ax)
    if name == "heatmap":
        chosen = finished.sel(order="update-frequency")
        return plot.heatmap(chosen.downtime_s, "threshold_bytes", "writes", ax)
    return plot.pareto(done, ax)


PICTURES = ["final_copy", "precopy_bars", "heatmap", "pareto"]


@pytest.mark.parametrize("name", PICTURES)
def test_it_draws_on_the_axes_it_is_given(name, curves, finished, no_simulation):
    _, (left, right) = plt.subplots(ncols=2)
    assert draw(name, curves, finished, right) is right
    assert right.has_data()
    assert not left.has_data()


@pytest.mark.parametrize("name", PICTURES)
def test_without_axes_it_makes_a_figure(name, curves, finished, no_simulation):
    before = set(plt.get_fignums())
    ax = draw(name, curves, finished)
    assert {ax.figure.number} == set(plt.get_fignums()) - before


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_it_can_be_printed(name, suffix, curves, finished, tmp_path, no_simulation):
    path = tmp_path / f"{name}.{suffix}"
    ax = draw(name, curves, finished)
    ax.figure.savefig(path)
    assert path.stat().st_size > 5000
    if suffix == "png":
        assert len(np.unique(plt.imread(path).reshape(-1, 4), axis=0)) > 20


@pytest.mark.parametrize("name", PICTURES)
def test_it_leaves_its_dataset_alone(name, curves, finished):
    before = curves.copy(deep=True), finished.copy(deep=True)
    draw(name, curves, finished)
    assert curves.identical(before[0])
    assert finished.identical(before[1])


# What is drawn.


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_final_copy_draws_the_mean_the_range_the_bound_and_the_limit(zipf):
    ax = plot.final_copy(zipf, limit=40e6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("pre-copy cycle", "final copy [MB]")
    lines = lines_of(ax)
    assert set(lines) == {*ORDERS, "optimal bound", "X = 40 MB"}
    for order in ORDERS:
        x, y = lines[order].get_data()
        np.testing.assert_array_equal(x, np.arange(1, 51))
        expected = zipf.final_copy_bytes.sel(order=order).mean("seed") / 1e6
        np.testing.assert_allclose(y, expected, rtol=1e-12)
    bands = [band.get_paths()[0].vertices[:, 1] for band in ax.collections]
    assert len(bands) == len(ORDERS)
    for order, band in zip(ORDERS, bands, strict=True):
        values = zipf.final_copy_bytes.sel(order=order) / 1e6
        assert band.min() == pytest.approx(float(values.min()))
        assert band.max() == pytest.approx(float(values.max()))
    assert set(lines["optimal bound"].get_ydata()) == {float(zipf.bound_bytes) / 1e6}
    assert lines["optimal bound"].get_linestyle() == "--"
    assert set(lines["X = 40 MB"].get_ydata()) == {40.0}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(lines)
    assert ax.get_ylim()[0] == 0


def test_final_copy_of_one_seed_has_no_band(zipf):
    ax = plot.final_copy(zipf.sel(seed=2))
    assert not ax.collections
    y = lines_of(ax)["size-ascending"].get_ydata()
    expected = zipf.final_copy_bytes.sel(seed=2, order="size-ascending") / 1e6
    np.testing.assert_array_equal(y, expected)


def test_final_copy_of_another_hue(curves):
    ax = plot.final_copy(curves.sel(order="update-frequency"), hue="writes")
    # Three workloads have three bounds; none of them is drawn.
    assert set(lines_of(ax)) == set(WRITES)


def test_final_copy_of_runs_that_end_early():
    dataset = precopy.sweep(
        FILES, WRITES["zipf"], order=ORDERS, cycle=CYCLE, cycles=50, seed=1, threshold_bytes=50e6
    )
    ax = plot.final_copy(dataset)
    for order in ORDERS:
        y = lines_of(ax)[order].get_ydata()
        assert np.isfinite(y).sum() == dataset.cycles_run.sel(order=order)


def test_precopy_bars_draws_means_and_ranges(finished):
    done = finished.sel(writes="zipf", threshold_bytes=70e6)
    ax = plot.precopy_bars(done)
    assert ax.get_ylabel() == "pre-copy until X [MB]"
    assert [text.get_text() for text in ax.get_xticklabels()] == ORDERS
    for order, bar, text in zip(ORDERS, ax.patches, ax.texts, strict=True):
        values = done.precopy_bytes.sel(order=order).values / 1e6
        assert bar.get_height() == pytest.approx(values.mean())
        assert text.get_text() == f"{values.mean():,.0f} MB"
        assert text.get_position()[1] >= values.max()
    spreads = [line.get_segments()[0][:, 1] for line in ax.collections]
    for order, spread in zip(ORDERS, spreads, strict=True):
        values = done.precopy_bytes.sel(order=order).values / 1e6
        assert spread == pytest.approx([values.min(), values.max()])


def test_precopy_bars_counts_runs_that_never_get_there(finished):
    done = finished.sel(writes="zipf", threshold_bytes=70e6).copy(deep=True)
    done.precopy_bytes.loc[{"order": "size-ascending", "seed": [0, 2, 3]}] = np.nan
    done.precopy_bytes.loc[{"order": "size-descending"}] = np.nan
    texts = [text.get_text() for text in plot.precopy_bars(done).texts]
    assert "1 of 4" in texts[0]
    assert texts[1] == "never"
    assert "of 4" not in texts[2]


def test_pareto_draws_a_point_per_limit(finished):
    done = finished.sel(writes="zipf")
    ax = plot.pareto(done)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("pre-copy [MB]", "downtime [s]")
    for order in ORDERS:
        x, y = lines_of(ax)[order].get_data()
        mean = done.sel(order=order).mean("seed", skipna=False)
        np.testing.assert_allclose(x, mean.precopy_bytes / 1e6)
        np.testing.assert_allclose(y, mean.downtime_s)


def test_pareto_draws_a_point_per_rule(zipf):
    rules = {"stall": precopy.stop.stall(5), "late": precopy.stop.cycles(40)}
    done = precopy.finish(zipf, {**rules, "never": precopy.stop.final_copy(1)})
    ax = plot.pareto(done)
    for order in ORDERS:
        line = lines_of(ax)[order]
        assert line.get_linestyle() == "None"
        mean = done.sel(order=order).mean("seed", skipna=False)
        np.testing.assert_allclose(line.get_xdata(), mean.precopy_bytes / 1e6)
        np.testing.assert_allclose(line.get_ydata(), mean.downtime_s)
    assert {text.get_text() for text in ax.texts} == {"stall", "late"}
    ax = plot.pareto(done.sel(order="update-frequency"), hue="rule")
    assert set(lines_of(ax)) == {"stall", "late", "never: not in every run"}
    assert not ax.texts
    bars = plot.precopy_bars(done.sel(rule="stall"))
    assert bars.get_ylabel() == "pre-copy until the rule holds [MB]"


@pytest.mark.parametrize(
    ("value", "label", "scale"),
    [
        ("precopy_bytes", "pre-copy since the start [MB]", 1e6),
        ("downtime_s", "downtime [s]", 1),
        ("finish_cycle", "last pre-copy cycle", 1),
    ],
)
def test_heatmap_draws_the_mean_of_the_seeds(value, label, scale, finished):
    chosen = finished.sel(order="update-frequency")
    ax = plot.heatmap(chosen[value], "threshold_bytes", "writes")
    (mesh,) = ax.collections
    expected = chosen[value].mean("seed", skipna=False).transpose("writes", "threshold_bytes")
    assert np.isnan(expected).any()
    cells = mesh.get_array().reshape(expected.shape)
    np.testing.assert_array_equal(np.ma.getmaskarray(cells), np.isnan(expected))
    np.testing.assert_allclose(cells.filled(np.nan), expected / scale)
    assert mesh.colorbar.ax.get_ylabel() == label
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("limit X", "writes")
    ticks = [text.get_text() for text in ax.get_xticklabels()]
    assert ticks == ["30 MB", "50 MB", "70 MB", "90 MB"]
    assert [text.get_text() for text in ax.get_yticklabels()] == list(WRITES)
    assert len(ax.texts) == int(expected.notnull().sum())


def test_heatmap_takes_a_label_a_scale_and_leaves_numbers_out(finished):
    values = finished.downtime_s.sel(order="update-frequency")
    ax = plot.heatmap(
        values, "writes", "threshold_bytes", label="wait [s]", annotate=False, vmin=0, vmax=20
    )
    (mesh,) = ax.collections
    assert mesh.get_clim() == (0, 20)
    assert mesh.colorbar.ax.get_ylabel() == "wait [s]"
    assert not ax.texts


@pytest.mark.parametrize("unit", ["kB", "MB", "GB"])
def test_bytes_can_be_drawn_in_a_unit_of_choice(unit, zipf, finished):
    scale = {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    ax = plot.final_copy(zipf, unit=unit)
    assert ax.get_ylabel() == f"final copy [{unit}]"
    first = float(zipf.final_copy_bytes.sel(order="size-ascending", step=1).mean())
    assert lines_of(ax)["size-ascending"].get_ydata()[0] == pytest.approx(first / scale)
    done = finished.sel(writes="zipf")
    assert plot.pareto(done, unit=unit).get_xlabel() == f"pre-copy [{unit}]"
    bars = plot.precopy_bars(done.sel(threshold_bytes=70e6), unit=unit)
    assert bars.get_ylabel() == f"pre-copy until X [{unit}]"


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "kB"), (1, "MB"), (1e3, "GB")])
def test_the_unit_suits_the_size(factor, unit, zipf):
    scaled = (zipf.final_copy_bytes * factor).assign_attrs(units="B")
    ax = plot.final_copy(zipf.assign(final_copy_bytes=scaled))
    assert ax.get_ylabel() == f"final copy [{unit}]"


# Telling lines apart.


def luminance(color):
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in to_rgb(color)
    )
    # Lightness of CIE L*a*b*, from 0 to 100: what a photocopy keeps.
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y


def appearance(line):
    offset, dashes = line._unscaled_dash_pattern
    return (offset, tuple(dashes or ())), line.get_marker(), luminance(line.get_color())


def names(count):
    return [f"method {number}" for number in range(count)]


HUES = {
    "the paper's": ["existing method", "size-descending", "size-ascending", "update-frequency"],
    "all orders": ORDERS,
    "one known, four own": ["update-frequency", *names(4)],
    "three known, six own": [*names(3), *ORDERS[:3], *names(6)[3:]],
    "own": names(7),
    "a dozen": names(12),
    "ten and all known": [*ORDERS, *names(10)],
}


@pytest.mark.parametrize("labels", HUES.values(), ids=HUES)
def test_every_pair_of_lines_differs_in_greyscale(labels):
    dataset = precopy.sweep(
        FILES,
        WRITES["zipf"],
        order={label: np.roll(np.arange(len(FILES)), place) for place, label in enumerate(labels)},
        cycle=CYCLE,
        cycles=3,
        seed=1,
    )
    done = precopy.finish(dataset, [100e6, 110e6])
    for ax in (plot.final_copy(dataset), plot.pareto(done)):
        lines = {label: appearance(line) for label, line in lines_of(ax).items()}
        assert set(labels) <= set(lines)
        for one, other in itertools.combinations(lines, 2):
            (dash, marker, light), (dash2, marker2, light2) = lines[one], lines[other]
            apart = dash != dash2 or marker != marker2 or abs(light - light2) > 5
            assert apart, (one, other)


def test_the_usual_lines_differ_in_dash_whatever_the_ink(zipf):
    dashes = [appearance(line)[0] for line in plot.final_copy(zipf, limit=40e6).get_lines()]
    assert len(set(dashes)) == len(dashes)


def test_up_to_49_lines_differ_in_colour_or_dash():
    dataset = precopy.sweep(
        FILES, WRITES["zipf"], order="size-ascending", seed=range(49), cycle=CYCLE, cycles=2
    )
    lines = lines_of(plot.final_copy(dataset, hue="seed"))
    looks = {(line.get_color(), appearance(line)[0]) for line in lines.values()}
    assert len(looks) == len(lines)


def test_an_order_looks_the_same_in_every_picture(curves, finished):
    whole = lines_of(plot.final_copy(curves.sel(writes="zipf")))
    part = lines_of(
        plot.pareto(finished.sel(writes="zipf", order=["update-frequency", "size-ascending"]))
    )
    for order in ("update-frequency", "size-ascending"):
        assert part[order].get_color() == whole[order].get_color()
        assert appearance(part[order])[0] == appearance(whole[order])[0]
    done = finished.sel(writes="zipf", threshold_bytes=70e6)
    bars = plot.precopy_bars(done).patches
    for order, bar in zip(ORDERS, bars, strict=True):
        assert to_rgb(bar.get_facecolor()) == to_rgb(whole[order].get_color())
    assert len({bar.get_hatch() for bar in bars}) == len(bars)


# Single values and nothing at all.


def test_one_order_that_was_not_swept_has_its_name():
    dataset = precopy.sweep(
        FILES, WRITES["zipf"], order="size-ascending", seed=[1, 2], cycle=CYCLE, cycles=20
    )
    assert "size-ascending" in lines_of(plot.final_copy(dataset))
    done = precopy.finish(dataset, [80e6, 100e6])
    assert "size-ascending" in lines_of(plot.pareto(done))
    bars = plot.precopy_bars(done.isel(threshold_bytes=0))
    assert [text.get_text() for text in bars.get_xticklabels()] == ["size-ascending"]


def test_a_key_of_ones_own_is_called_key():
    dataset = precopy.sweep(
        FILES, WRITES["zipf"], order=np.arange(len(FILES)), seed=1, cycle=CYCLE, cycles=2
    )
    assert "key" in lines_of(plot.final_copy(dataset))


def test_a_selected_order_keeps_its_name(zipf, finished):
    assert "size-descending" in lines_of(plot.final_copy(zipf.sel(order="size-descending")))
    done = finished.sel(writes="zipf", order="size-descending")
    assert "size-descending" in lines_of(plot.pareto(done))


def test_dimensions_of_one_value_need_no_selection(curves, finished):
    ax = plot.final_copy(curves.sel(writes=["zipf"], seed=[1]))
    assert set(ORDERS) < set(lines_of(ax))
    ax = plot.precopy_bars(finished.sel(writes=["zipf"], threshold_bytes=[70e6]))
    assert len(ax.patches) == len(ORDERS)


def test_a_single_cycle_a_single_limit_a_single_cell(tmp_path):
    dataset = precopy.sweep(
        FILES, WRITES["zipf"], order=["size-ascending"], seed=1, cycle=CYCLE, cycles=1
    )
    done = precopy.finish(dataset, 120e6)
    cell = plot.heatmap(done.downtime_s, "order", "threshold_bytes")
    assert [text.get_text() for text in cell.texts] == [f"{done.downtime_s.item():.3g}"]
    curve = plot.final_copy(dataset)
    # A line of one point is only seen by its marker.
    assert lines_of(curve)["size-ascending"].get_marker() not in ("", "None", None)
    for number, ax in enumerate([curve, plot.pareto(done), cell]):
        ax.figure.savefig(tmp_path / f"{number}.png")


def test_a_limit_that_nothing_reaches(curves, tmp_path):
    done = precopy.finish(curves, [0, 1]).sel(writes="zipf")
    assert bool(done.finish_cycle.isnull().all())
    bars = plot.precopy_bars(done.isel(threshold_bytes=0))
    assert {text.get_text() for text in bars.texts} == {"never"}
    assert bars.get_xlim()[0] <= -0.3
    assert bars.get_xlim()[1] >= len(ORDERS) - 1 + 0.3
    pareto = plot.pareto(done)
    assert all(np.isnan(line.get_xdata()).all() for line in pareto.get_lines())
    heatmap = plot.heatmap(done.precopy_bytes, "threshold_bytes", "order")
    assert np.ma.getmaskarray(heatmap.collections[0].get_array()).all()
    assert not heatmap.texts
    for number, ax in enumerate([bars, pareto, heatmap]):
        ax.figure.savefig(tmp_path / f"{number}.png")


def test_curves_of_nothing_but_nan(zipf, tmp_path):
    empty = zipf.assign(final_copy_bytes=zipf.final_copy_bytes * np.nan)
    ax = plot.final_copy(empty)
    assert np.isnan(lines_of(ax)["size-ascending"].get_ydata()).all()
    ax.figure.savefig(tmp_path / "empty.png")


# Clear refusals, before anything is drawn.


REFUSED = {
    "final_copy, a dimension too many": (
        lambda c, f: plot.final_copy(c),
        r"writes.*choose.*sel\(writes=",
    ),
    "final_copy, finished": (lambda c, f: plot.final_copy(f), "^dataset: .*curves"),
    "final_copy, hue": (lambda c, f: plot.final_copy(c.sel(writes="zipf"), hue="skew"), "'skew'"),
    "final_copy, unit": (
        lambda c, f: plot.final_copy(c.sel(writes="zipf"), unit="MiB"),
        "^unit: .*'MiB'",
    ),
    "precopy_bars, several limits": (
        lambda c, f: plot.precopy_bars(f.sel(writes="zipf")),
        r"threshold_bytes.*choose.*sel\(threshold_bytes=",
    ),
    "precopy_bars, curves": (lambda c, f: plot.precopy_bars(c), "^finished: .*precopy.finish"),
    "precopy_bars, hue": (
        lambda c, f: plot.precopy_bars(f.isel(writes=0, threshold_bytes=0), hue="skew"),
        "'skew'",
    ),
    "pareto, one limit": (
        lambda c, f: plot.pareto(f.isel(threshold_bytes=0, writes=0)),
        "^finished: .*several limits",
    ),
    "pareto, a dimension too many": (lambda c, f: plot.pareto(f), r"writes.*sel\(writes="),
    "pareto, curves": (lambda c, f: plot.pareto(c), "^finished: "),
    "heatmap, x": (lambda c, f: plot.heatmap(f.downtime_s, "skew", "order"), "^x: .*'skew'"),
    "heatmap, y": (lambda c, f: plot.heatmap(f.downtime_s, "order", "skew"), "^y: .*'skew'"),
    "heatmap, twice": (lambda c, f: plot.heatmap(f.downtime_s, "order", "order"), "^y: .*'order'"),
    "heatmap, a dimension too many": (
        lambda c, f: plot.heatmap(f.downtime_s, "order", "writes"),
        r"threshold_bytes.*sel\(threshold_bytes=",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_refused_with_the_way_out(case, curves, finished):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make(curves, finished)


def test_a_summary_cannot_be_drawn_as_curves():
    dataset = precopy.sweep(FILES, WRITES["zipf"], cycle=CYCLE, cycles=3, seed=1, keep="summary")
    with pytest.raises(ValueError, match=r"^dataset: .*curves"):
        plot.final_copy(dataset)


# What the label says is what the numbers are.


def cell_texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    "compute",
    [
        lambda v: v / 1e6,
        lambda v: v * 8,
        lambda v: v.mean("seed") / 1e6,
        lambda v: (v.to_dataset() / 1e6)["precopy_bytes"],
        lambda v: v.copy(data=v.values / 1e12),
        lambda v: v / v.max(),
    ],
)
def test_numbers_that_were_computed_from_bytes_are_not_called_bytes(compute, finished):
    values = compute(finished["precopy_bytes"].sel(writes="zipf", threshold_bytes=[70e6, 90e6]))
    values = values.assign_attrs(units="bytes", long_name="sent")  # as newer xarray leaves them
    ax = plot.heatmap(values, "threshold_bytes", "order", annotate=True)
    drawn = values.mean("seed", skipna=False) if "seed" in values.dims else values
    drawn = drawn.transpose("order", "threshold_bytes").values.ravel()
    assert ax.figure.axes[1].get_ylabel().split(" (")[0] == "sent"
    assert cell_texts(ax) == [number_text(one) for one in drawn if not np.isnan(one)]


def shrink_in_place(table):
    for name in list(table.data_vars):
        if table[name].dtype == float:
            table[name] /= 1e3
        else:
            table[name] = table[name].copy(data=table[name].values / 1e3)
    return table


def keep_attributes(table, computed):
    """Do what newer xarray does: what was computed keeps all attributes."""
    for name, values in computed.variables.items():
        values.attrs = dict(table[name].attrs)
    return computed


COMPUTED = {
    "divided": lambda t: keep_attributes(t, t / 1e6),
    "mean": lambda t: keep_attributes(t, t.mean("seed")),
    "one variable": lambda t: t.assign(
        {
            name: (t[name] / 1e6).assign_attrs(units="bytes")
            for name in ("final_copy_bytes", "precopy_bytes")
        }
    ),
    "in place": lambda t: shrink_in_place(t.copy(deep=True)),
    "selected, then in place": lambda t: shrink_in_place(t.isel(seed=[1]).copy(deep=True)),
}


@pytest.mark.parametrize("read", [False, True], ids=["fresh", "read"])
@pytest.mark.parametrize("way", COMPUTED)
def test_tables_that_were_computed_are_drawn_without_a_unit(way, read, zipf, finished, tmp_path):
    done = finished.sel(writes="zipf")
    if read:
        paths = tmp_path / "curves.nc", tmp_path / "finished.nc"
        for table, path in zip((zipf, done), paths, strict=True):
            table.to_netcdf(path)
        zipf, done = (xarray.load_dataset(path) for path in paths)
    curves, done = COMPUTED[way](zipf), COMPUTED[way](done)
    ax = plot.final_copy(curves, limit=2.5)
    assert ax.get_ylabel() == "final copy"
    drawn = curves.final_copy_bytes.sel(order="size-ascending")
    drawn = drawn.mean("seed") if "seed" in drawn.dims else drawn
    np.testing.assert_allclose(lines_of(ax)["size-ascending"].get_ydata(), drawn)
    assert lines_of(ax)["X = 2.5"].get_ydata()[0] == 2.5
    # The bound is of the same unit, or is not there.
    drawn_too = way in ("divided", "mean")
    assert ("optimal bound" in lines_of(ax)) == (drawn_too or "in place" in way)
    bars = plot.precopy_bars(done.isel(threshold_bytes=1))
    assert bars.get_ylabel() == "pre-copy until X"
    assert not any("B" in text.get_text() for text in bars.texts)
    front = plot.pareto(done)
    assert front.get_xlabel() == "pre-copy"
    assert front.get_ylabel() == ("downtime [s]" if way == "one variable" else "downtime")
    again = precopy.finish(curves, 40e6)
    assert "units" not in again.final_copy_bytes.attrs
    assert "units" not in again.threshold_bytes.attrs
    assert "units" not in again.downtime_s.attrs


def test_a_unit_that_is_asked_for_says_that_numbers_are_bytes(zipf, finished):
    curves, done = zipf.mean("seed"), finished.sel(writes="zipf")
    done = done.where(done.precopy_bytes < 1e9)
    ax = plot.final_copy(curves, unit="MB")
    assert ax.get_ylabel() == "final copy [MB]"
    expected = curves.final_copy_bytes.sel(order="size-ascending") / 1e6
    np.testing.assert_allclose(lines_of(ax)["size-ascending"].get_ydata(), expected)
    assert "optimal bound" in lines_of(ax)
    front = plot.pareto(done, unit="MB")
    assert (front.get_xlabel(), front.get_ylabel()) == ("pre-copy [MB]", "downtime [s]")
    bars = plot.precopy_bars(done.isel(threshold_bytes=1), unit="kB")
    assert bars.get_ylabel() == "pre-copy until X [kB]"


def test_a_unit_that_the_user_states_is_believed(zipf, finished):
    megabytes = (zipf.final_copy_bytes / 1e6).assign_attrs(units="MB")
    ax = plot.final_copy(zipf.assign(final_copy_bytes=megabytes))
    assert ax.get_ylabel() == "final copy [MB]"
    expected = megabytes.sel(order="size-ascending").mean("seed")
    np.testing.assert_allclose(lines_of(ax)["size-ascending"].get_ydata(), expected)


def test_limits_that_were_computed_are_not_called_bytes(finished):
    values = finished.downtime_s.sel(order="update-frequency")
    texts = [
        t.get_text() for t in plot.heatmap(values, "threshold_bytes", "writes").get_xticklabels()
    ]
    assert texts == ["30 MB", "50 MB", "70 MB", "90 MB"]
    limits = (values.threshold_bytes / 1e6).assign_attrs(units="bytes")
    ax = plot.heatmap(values.assign_coords(threshold_bytes=limits), "threshold_bytes", "writes")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["30", "50", "70", "90"]


def test_a_run_and_what_is_read_of_a_file_that_has_gone(zipf, tmp_path):
    run = precopy.simulate(FILES, WRITES["zipf"], cycle=CYCLE, cycles=5, seed=1)
    assert plot.final_copy(run).get_ylabel() == "final copy [MB]"
    zipf.to_netcdf(tmp_path / "curves.nc")
    read = xarray.load_dataset(tmp_path / "curves.nc")
    assert plot.final_copy(read.sel(seed=1)).get_ylabel() == "final copy [MB]"
    (tmp_path / "curves.nc").unlink()
    assert plot.final_copy(read).get_ylabel() == "final copy"


def test_numbers_that_were_selected_or_read_keep_their_unit(finished, tmp_path):
    chosen = finished.sel(writes="zipf").isel(seed=[0, 1])
    finished.to_netcdf(tmp_path / "finished.nc")
    with xarray.open_dataset(tmp_path / "finished.nc") as dataset:
        read = dataset.sel(writes="zipf").isel(seed=[0, 1]).load()
    for one in (chosen, read, chosen.copy(deep=True), chosen.transpose()):
        ax = plot.heatmap(one.precopy_bytes, "threshold_bytes", "order")
        assert ax.figure.axes[1].get_ylabel() == "pre-copy since the start [MB]"
    ax = plot.heatmap(read.precopy_bytes / 1e6, "threshold_bytes", "order")
    assert "[" not in ax.figure.axes[1].get_ylabel()


def table_of(rows):
    coords = {"x": [f"x{i}" for i in range(len(rows[0]))], "y": [f"y{i}" for i in range(len(rows))]}
    return xarray.DataArray(np.array(rows, float), dims=("y", "x"), coords=coords, name="cost")


def colours(ax):
    mesh = ax.collections[0]
    return mesh.cmap(mesh.norm(mesh.get_array())).reshape(-1, 4)


def test_the_first_row_is_on_top():
    ax = plot.heatmap(table_of([[1, 2], [3, 4], [5, 6]]), "x", "y")
    bottom, top = ax.get_ylim()
    assert (bottom, top) == (3, 0)
    ax.figure.canvas.draw()
    heights = [label.get_window_extent().y0 for label in ax.get_yticklabels()]
    assert heights == sorted(heights, reverse=True)


def test_counts_have_a_colour_each():
    ax = plot.heatmap(table_of([[1, 2, 3], [3, np.nan, 5]]), "x", "y")
    bar = ax.collections[0].colorbar
    assert bar.get_ticks().tolist() == [1, 2, 3, 4, 5]
    assert len(np.unique(colours(ax)[:4], axis=0)) == 3
    assert len(bar.solids.get_array()) == 5
    many = plot.heatmap(table_of([[0, 20], [30, 33]]), "x", "y").collections[0].colorbar
    assert (many.get_ticks() == np.round(many.get_ticks())).all()
    parts = plot.heatmap(table_of([[1, 2], [3, 4.5]]), "x", "y").collections[0].colorbar
    assert len(parts.solids.get_array()) > 100


@pytest.mark.parametrize("rows", [[[1, 2, 3], [4, 2.5, 900]], [[0, 1.5, 2], [3, 4, 70]]])
def test_one_extreme_cell_does_not_flatten_the_rest(rows):
    ax = plot.heatmap(table_of(rows), "x", "y")
    assert ax.figure.axes[1].get_ylabel() == "cost (log scale)"
    array = colours(ax)
    first, third = array[rows[0].index(sorted(rows[0])[1])], array[3]
    assert np.abs(first - third).max() > 0.05
    assert np.isfinite(array).all()
    assert cell_texts(ax) == [f"{value:.3g}" for row in rows for value in row]
    plain = plot.heatmap(table_of(rows), "x", "y", log=False)
    assert plain.figure.axes[1].get_ylabel() == "cost"
    # Pictures that share their ends share their scale.
    assert (
        plot.heatmap(table_of(rows), "x", "y", vmin=0, vmax=900).figure.axes[1].get_ylabel()
        == "cost"
    )


def test_a_log_scale_can_be_asked_for():
    ax = plot.heatmap(table_of([[1, 2], [3, 4]]), "x", "y", log=True, label="cost [s]")
    assert ax.figure.axes[1].get_ylabel() == "cost [s] (log scale)"
    for rows in ([[-1, 2], [3, 4]], [[0, 0], [0, 0]], [[np.nan] * 2]):
        with pytest.raises(ValueError, match=r"^log: expected numbers above 0"):
            plot.heatmap(table_of(rows), "x", "y", log=True)
    assert (
        "log"
        not in plot.heatmap(table_of([[-1, 2], [3, 900]]), "x", "y").figure.axes[1].get_ylabel()
    )


@pytest.mark.parametrize("rows", [[[0, 0], [0, 0]], [[5]], [[7, 7]], [[-3, -1]], [[1e-9, 1e12]]])
def test_odd_tables_are_drawn(rows, tmp_path):
    ax = plot.heatmap(table_of(rows), "x", "y")
    ax.figure.savefig(tmp_path / "odd.png")
    assert len(ax.texts) == np.size(rows)


def test_a_front_of_nothing_says_so(curves, zipf):
    none = precopy.finish(curves, [0, 1]).sel(writes="zipf")
    ax = plot.pareto(none)
    assert cell_texts(ax) == ["no limit is reached by every run"]
    some = precopy.finish(zipf, LIMITS)
    lost = some.assign(precopy_bytes=some.precopy_bytes.where(some.order != "size-ascending"))
    ax = plot.pareto(lost)
    assert "size-ascending: reaches no limit" in lines_of(ax)
    assert {"size-descending", "update-frequency"} <= set(lines_of(ax))
    assert not ax.texts


def test_no_marker_is_cut(zipf):
    ax = plot.pareto(precopy.finish(zipf, LIMITS))
    ax.plot([100], [500], marker="*")  # what is drawn later has room, too
    ax.figure.canvas.draw()
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 500
    done = precopy.finish(zipf, LIMITS)
    done["downtime_s"] = done.downtime_s * 0
    ax = plot.pareto(done)
    assert ax.get_ylim()[0] < 0
    single = plot.final_copy(zipf.isel(step=[0]))
    assert single.get_xlim() == (0, 2)


@pytest.mark.parametrize("name", ["final_copy", "precopy_bars", "pareto"])
def test_nothing_is_drawn_in_the_colour_of_the_background(name, curves, finished):
    for style, ink in (("default", (0, 0, 0)), ("dark_background", (1, 1, 1))):
        with plt.style.context(style):
            ax = draw(name, curves, finished)
            back = luminance(ax.get_facecolor())
            drawn = [line.get_color() for line in ax.get_lines()]
            drawn += [patch.get_edgecolor() for patch in ax.patches]
            drawn += [patch.get_facecolor() for patch in ax.patches]
            assert all(abs(luminance(color) - back) > 0.09 for color in drawn)
            if ax.patches:
                assert {patch.get_edgecolor()[:3] for patch in ax.patches} == {ink}
