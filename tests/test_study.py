"""Study files: refused before the first run, or run to the end."""

import copy
import os
import tomllib

import pytest
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from precopy import _core, stop
from precopy.study import Study

BASE = """
[files]
classes = { size_bytes = [100, 200], read_only = [1, 1], read_write = [5, 5] }
[writes]
even = "uniform"
hot = { zipf = 1.0, seed = 3 }
[cycle]
writes = 5
write_seconds = 0.1
bandwidth = 600
[sweep]
order = ["size-ascending", "update-frequency"]
seeds = 2
cycles = 4
[finish]
threshold_bytes = [500, 1000]
[[plot]]
kind = "final_copy"
writes = "hot"
[[plot]]
kind = "heatmap"
x = "threshold_bytes"
y = "writes"
order = "update-frequency"
[[plot]]
kind = "precopy_bars"
writes = "even"
threshold_bytes = 1000
[[plot]]
kind = "pareto"
writes = "even"
"""


@pytest.fixture
def no_run(monkeypatch):
    def fail(**arguments):
        raise AssertionError("a run was made")

    monkeypatch.setattr(_core, "simulate", fail)


def load(folder, text, encoding="utf-8"):
    file = folder / "study.toml"
    file.write_bytes(text.encode(encoding))
    return Study.load(file)


def test_it_runs_to_the_end(tmp_path):
    _, written = load(tmp_path, BASE).run(tmp_path / "out", progress=False)
    assert [path.name for path in written] == [
        "sweep.nc",
        "finish.nc",
        "1-final_copy.png",
        "2-heatmap.png",
        "3-precopy_bars.png",
        "4-pareto.png",
    ]
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize(
    "change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n\n"]
)
def test_how_an_editor_saves_it_does_not_matter(change, tmp_path):
    plain = load(tmp_path, BASE)
    changed = load(tmp_path, change(BASE))
    assert (changed.plots, changed.threshold_bytes) == (plain.plots, plain.threshold_bytes)
    assert list(changed.arguments) == list(plain.arguments)


def test_its_pictures_say_what_they_show(tmp_path, monkeypatch):
    titles = []
    original = Axes.set_title
    monkeypatch.setattr(
        Axes, "set_title", lambda ax, text, **k: (titles.append(text), original(ax, text, **k))
    )
    load(tmp_path, BASE).run(tmp_path / "out", progress=False)
    assert titles == [
        "final copy\nwrites hot",
        "precopy bytes\norder update-frequency",
        "pre-copy until X\nwrites even, X = 1 kB",
        "downtime against pre-copy\nwrites even",
    ]


RULES = BASE.replace(
    "threshold_bytes = [500, 1000]", 'until = { stall = "stall(2)", late = "cycles(3)" }'
).replace('x = "threshold_bytes"', 'x = "rule"')
RULES = RULES.replace("threshold_bytes = 1000", 'rule = "late"')


def test_rules_instead_of_limits(tmp_path, monkeypatch):
    titles = []
    original = Axes.set_title
    monkeypatch.setattr(
        Axes, "set_title", lambda ax, text, **k: (titles.append(text), original(ax, text, **k))
    )
    study = load(tmp_path, RULES)
    assert study.threshold_bytes is None
    assert study.rules == {"stall": stop.stall(2), "late": stop.cycles(3)}
    _, written = study.run(tmp_path / "out", progress=False)
    assert len(written) == 6
    with xarray.open_dataset(written[1]) as done:
        assert done.rule.values.tolist() == ["stall", "late"]
        assert (done.finish_cycle.sel(rule="late") == 3).all()
    assert titles[2] == "pre-copy until the rule holds\nwrites even, rule late"
    assert load(
        tmp_path, RULES.replace("{ stall =", '"cycles(4)" #')[: RULES.index("[[plot")]
    ).rules


LATE_RULES = {
    "a bad rule": ("stall(2)", "stall(x)", "^finish.until.stall: expected one of cycles"),
    "a rule of no text": ('"stall(2)"', "3", "^finish.until.stall: expected a text"),
    "no rules": ('{ stall = "stall(2)", late = "cycles(3)" }', "{}", "^finish.until: expected a"),
    "rules and limits": (
        "[finish]",
        "[finish]\nthreshold_bytes = 3",
        "^finish.until: expected eit",
    ),
    "an unknown rule": ('rule = "late"', 'rule = "later"', "^plot 3: rule: "),
    "no choice": ('rule = "late"', "", "^plot 3: rule: "),
    "a limit": ('rule = "late"', "threshold_bytes = 500", "^plot 3: *threshold_bytes: "),
}


@pytest.mark.parametrize("case", LATE_RULES)
def test_a_bad_rule_is_not_found_late(case, tmp_path, no_run):
    old, new, message = LATE_RULES[case]
    assert old in RULES
    with pytest.raises((ValueError, TypeError), match=message):
        load(tmp_path, RULES.replace(old, new))


LATE = {
    "no limits": ("threshold_bytes = [500, 1000]", "threshold_bytes = []", "finish.threshold_byt"),
    "a limit twice": ("[500, 1000]", "[500, 500.0]", "^finish.threshold_bytes: expected different"),
    "no key": ("[finish]\nthreshold_bytes = [500, 1000]", "[finish]", "^finish.threshold_bytes: "),
    "limits of both kinds": ("cycles = 4", "threshold_bytes = 9", "^sweep.threshold_bytes: expect"),
    "a bad order": ('"size-ascending"', '"size-asc"', "^sweep.order: "),
    "a bad number": ("cycles = 4", "cycles = 0", "^sweep.cycles: "),
    "an unknown key": ("cycles = 4", "cylces = 4", "^sweep.cylces: .* \\(did you mean 'cycles'"),
    "classes": ("[100, 200]", "[100, -1]", "^files.classes.size_bytes: "),
    "classes of no table": ("classes = {", "classes = 3 #", "^files.classes: expected a table"),
    "a seed": ("seed = 3", "seed = -3", "^writes.hot: seed: "),
    "a name of no text": ('writes = "hot"', 'writes = "hot"\nname = 3', "^plot 1: name: "),
    "an empty name": ('writes = "hot"', 'writes = "hot"\nname = ""', "^plot 1: name: "),
    "a long name": ('writes = "hot"', f'writes = "hot"\nname = "{"x" * 251}"', "^plot 1: name: "),
    "a name twice": ('writes = "hot"', 'writes = "hot"\nname = "2-heatmap"', "^plot 2: name: "),
    "an axis twice": ('y = "writes"', 'y = "threshold_bytes"', "^plot 2: y: "),
    "a choice of an axis": ('y = "writes"', 'y = "writes"\nwrites = "hot"', "^plot 2: writes: "),
    "a key of another kind": ('writes = "hot"', 'writes = "hot"\nx = "seed"', "^plot 1: x: "),
    "a limit chosen of a front": (
        'kind = "pareto"',
        'kind = "pareto"\nthreshold_bytes = 500',
        "^plot 4",
    ),
    "true for one": ('writes = "hot"', 'writes = "hot"\nseed = true', "^plot 1: seed: "),
    "no plots": ("[[plot]]", "[plots]", "plots"),
}


@pytest.mark.parametrize("case", LATE)
def test_nothing_is_found_late(case, tmp_path, no_run):
    old, new, message = LATE[case]
    assert old in BASE
    with pytest.raises((ValueError, TypeError), match=message):
        load(tmp_path, BASE.replace(old, new, 1 if case != "no plots" else -1))


@pytest.mark.parametrize("text", ["", "\0", "a" * 9, "x = " + "[" * 99999, "x = " + "1" * 5000])
def test_what_is_no_study_is_an_error(text, tmp_path, no_run):
    with pytest.raises(ValueError, match="expected"):
        load(tmp_path, text)
    with pytest.raises(ValueError, match="expected TOML"):
        load(tmp_path, BASE, "utf-16")


def test_sizes_have_units_everywhere(tmp_path):
    text = BASE.replace("[100, 200]", '["100", "0.2kB"]').replace(
        "bandwidth = 600", 'bandwidth = "600B"'
    )
    text = text.replace("[500, 1000]", '["500", "1 k"]').replace(
        "threshold_bytes = 1000", 'threshold_bytes = "1KB"'
    )
    study, plain = load(tmp_path, text), load(tmp_path, BASE)
    assert study.arguments["files"] == plain.arguments["files"]
    assert study.arguments["cycle"] == plain.arguments["cycle"]
    assert (study.threshold_bytes, study.plots) == (plain.threshold_bytes, plain.plots)
    head, tail = BASE.split("[finish]")[0], "\n[[plot]]\nkind = 'final_copy'\nwrites = 'hot'\n"
    swept = load(
        tmp_path, head + "threshold_bytes = ['1Ki', 0.3]" + tail + "threshold_bytes = '1KiB'"
    )
    assert swept.arguments["threshold_bytes"] == [1024, 0.3]
    assert swept.plots[0]["threshold_bytes"] == 1024
    labelled = load(
        tmp_path,
        head + "threshold_bytes = { low = '1k', '1k' = 5 }" + tail + "threshold_bytes = '1k'",
    )
    assert labelled.arguments["threshold_bytes"] == {"low": 1000, "1k": 5}
    assert labelled.plots[0]["threshold_bytes"] == "1k"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[100, 200]", '[100, "5 miles"]', r"^files\.classes\.size_bytes: .*got '5 miles'"),
        ("bandwidth = 600", 'bandwidth = "5Mbit"', r"^cycle\.bandwidth: .*got '5Mbit'"),
        ("[500, 1000]", '"-5MB"', r"^finish\.threshold_bytes: .*got '-5MB'"),
        (
            "threshold_bytes = 1000",
            'threshold_bytes = "2kB"',
            r"^plot 3: threshold_bytes: .*got 2000",
        ),
        ("threshold_bytes = 1000", 'threshold_bytes = "x"', r"^plot 3: threshold_bytes: .*got 'x'"),
        (
            "cycles = 4",
            'cycles = 4\nthreshold_bytes = "1e"',
            r"^sweep\.threshold_bytes: .*got '1e'",
        ),
    ],
)
def test_what_is_no_size_is_refused_by_its_key(old, new, message, tmp_path, no_run):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, BASE.replace(old, new))


@pytest.mark.parametrize("way", ["file", "file above", "directory", "read-only"])
def test_a_directory_that_cannot_be_written_is_found_before_the_runs(way, tmp_path, no_run):
    study = load(tmp_path, BASE)
    out = tmp_path / "out"
    if way == "file":
        out.touch()
    elif way == "file above":
        out.touch()
        out = out / "deeper"
    else:
        (out / "2-heatmap.png").mkdir(parents=True)
        if way == "read-only":
            (out / "2-heatmap.png").rmdir()
            (out / "2-heatmap.png").touch(0o444)
            if os.access(out / "2-heatmap.png", os.W_OK):  # root may write it
                (out / "2-heatmap.png").unlink()
                (out / "2-heatmap.png").symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"expected a (directory|file)"):
        study.run(out, progress=False)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([0.5, 20, 500, 5e9, float("nan"), float("inf"), 2**70]),
    st.sampled_from(["", "hot", "even", "uniform", "1:2", "writes", "order", "seed", "heatmap"]),
    st.sampled_from(["threshold_bytes", "size-ascending", "pareto", "rounds", "none", "cycle"]),
    st.just({}),
    st.just([]),
    st.sampled_from([["size-ascending"], [1, 2], [1, 1], [True, False], [500], ["hot"], {"a": 1}]),
)


def paths(value, prefix=()):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in items:
        yield (*prefix, key)
        if isinstance(one, (dict, list)):
            yield from paths(one, (*prefix, key))


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(one)}' for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_drawn_study_is_refused_before_the_runs_or_runs_to_the_end(data, tmp_path, monkeypatch):
    study = tomllib.loads(BASE)
    names = ["writes", "order", "seed", "x", "y", "value", "name", "budget", "schedule", "rounds"]
    names += ["threshold_bytes", "history", "half_life", "frequency", "read_only_first", "cycles"]
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(list(paths(study))))
        table = study
        for key in path:
            table = table[key]
        if isinstance(last, str) and data.draw(st.booleans()):
            last = data.draw(st.sampled_from(names))
        new = copy.deepcopy(data.draw(VALUES))
        if new is None and isinstance(table, dict):
            table.pop(last, None)
        elif new is not None:
            table[last] = new
    text = "\n".join(f"{key} = {toml(value)}" for key, value in study.items())
    ran = []
    simulate = _core.simulate
    with monkeypatch.context() as patch:
        patch.setattr(_core, "simulate", lambda **k: (ran.append(1), simulate(**k))[1])
        try:
            loaded = load(tmp_path, text)
        except (ValueError, TypeError):
            assert not ran
            return
        _, written = loaded.run(tmp_path / "out", progress=False)
    assert all(path.exists() for path in written)
