"""Pictures of an identification: what they tell apart, and that other programs read them."""

import json
import shutil
import subprocess
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from access.graphs import FIGURE_2, ONLY_READ, make_log, run

from precopy.access import identify, picture

mpl.use("agg")


@pytest.fixture
def log_of(tmp_path):
    """Make a log from ``{application: {path: "r" | "w" | "rw"}}``."""
    return lambda accesses: make_log(tmp_path / "access.db", accesses)


def test_the_picture_tells_everything_apart_without_colour(log_of):
    ax = picture.draw(identify(log_of(FIGURE_2), "AP1"))
    boxes = {text.get_text(): text.get_bbox_patch() for text in ax.texts if text.get_text()}
    assert boxes.keys() == {"AP1", "AP2", "AP3", "A", "B", "C", "D"}
    line_style = {name: box.get_linestyle() for name, box in boxes.items()}
    moving = {name for name, style in line_style.items() if style in ("-", "solid")}
    assert moving == {"AP1", "AP2", "A", "B", "C"}
    shapes = {name: type(box.get_boxstyle()).__name__ for name, box in boxes.items()}
    assert {shapes[name] for name in ("AP1", "AP2", "AP3")} == {"Round"}
    assert {shapes[name] for name in "ABCD"} == {"Square"}
    arrows = [text.arrow_patch for text in ax.texts if not text.get_text()]
    styles = sorted(arrow.get_linestyle() for arrow in arrows)
    assert len(arrows) == 5
    assert styles.count("dashed") + styles.count("--") == 2
    faces = {box.get_facecolor()[:3] for box in boxes.values()}
    assert all(red == green == blue for red, green, blue in faces)
    mpl.pyplot.close(ax.figure)


def test_the_picture_goes_where_it_is_told_to(log_of):
    figure, (left, right) = mpl.pyplot.subplots(1, 2)
    assert picture.draw(identify(log_of(ONLY_READ), "AP1"), ax=right) is right
    assert not left.texts
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["moves", "is copied (only read)", "stays", "writes", "reads"]
    mpl.pyplot.close(figure)


def test_many_files_that_are_used_alike_are_one_box(log_of):
    many = {f"/srv/images/{number}.png": "r" for number in range(50)}
    found = identify(log_of({"app": many | {"/srv/db": "w"}}), "app")
    ax = picture.draw(found)
    assert {text.get_text() for text in ax.texts} - {""} == {
        "app",
        "db",
        "50 files in\n/srv/images",
    }
    mpl.pyplot.close(ax.figure)
    assert picture.dot(found).count("[shape=note") == 2
    assert picture.dot(found, bundle=50).count("[shape=note") == 51
    with pytest.raises(ValueError, match="bundle: got 0"):
        picture.dot(found, bundle=0)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_written_in_the_format_of_the_ending(log_of, tmp_path, ending):
    log = log_of(FIGURE_2 | {"$x^": {r"/srv/odd\377$\n": "w"}})
    path = tmp_path / f"picture.{ending}"
    run(["identify", "AP1", "--log", log, "--picture", path, "--explain", "AP1"])
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)


def test_graphviz_understands_the_dot_text(log_of, tmp_path):
    found = identify(log_of(FIGURE_2 | {'A"P\\4': {r"/srv/q\"uote\\ new\nline\377": "rw"}}), "AP1")
    path = tmp_path / "picture.dot"
    picture.save(found, path)
    if shutil.which("dot") is None:
        pytest.skip("graphviz not installed")
    done = subprocess.run(["dot", "-Tjson", path], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    drawn = json.loads(done.stdout)
    style = {node["label"]: node["style"] for node in drawn["objects"]}
    assert {label for label, how in style.items() if "filled" in how} == {
        "AP1", "AP2", "A", "B", "C",
    }  # fmt: skip
    assert len(style) == 9
    directions = sorted(edge.get("dir", "forward") for edge in drawn["edges"])
    assert directions == ["back", "back", "both", "forward", "forward", "forward"]


HOSTILE = "a\x1b[31m\n\r\x07\u202e\u2028\x00</text><script>\"'&lt;]]>"


@pytest.mark.parametrize("ending", ["svg", "dot"])
def test_hostile_names_never_get_out(log_of, tmp_path, ending):
    """Control characters, turned writing, quotes and markup in names of applications and files."""
    name = HOSTILE.replace("\x00", "")
    raw = "".join(rf"\{byte:o}" for byte in name.encode())
    log = log_of({name: {f"/srv/{raw}/{number}": "w" for number in range(2)}})
    path = tmp_path / f"picture.{ending}"
    picture.save(identify(log, name), path)
    text = path.read_bytes().decode()
    assert not any(letter in text for letter in "\x1b\r\x07\u202e\u2028")
    if ending == "svg":
        shown = "".join(ElementTree.fromstring(text).itertext())
        assert "script" not in {
            node.tag.rpartition("}")[2] for node in ElementTree.fromstring(text).iter()
        }
        assert "<script>" not in text
        assert shown is not None
        return
    if shutil.which("dot") is None:
        pytest.skip("graphviz not installed")
    done = subprocess.run(["dot", "-Tjson", path], check=True, capture_output=True, text=True)
    labels = [node["label"] for node in json.loads(done.stdout)["objects"]]
    assert done.stderr == ""
    assert any("&amp;lt;" in label for label in labels)
    done = subprocess.run(["dot", "-Tsvg", path], check=True, capture_output=True)
    ElementTree.fromstring(done.stdout)
