"""The notebooks: committed with outputs, and running from top to bottom with their assertions."""

import re
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted(Path(__file__).parent.parent.glob("notebooks/*.ipynb"))
STUDY = "02_thresholds_and_skews"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def streams(notebook):
    return [
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream"
    ]


def run(notebook, folder):
    """Execute in place; an assertion that fails in a cell is raised here, with the cell."""
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def test_there_are_six():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_with_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "not executed from top to bottom"
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert streams(notebook) == [], "no warnings, prints or progress bars"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_names_no_machine(path):
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
    assert not re.search(r"/(home|root|tmp|work|Users|usr|opt)/", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, tmp_path):
    copy = Path(shutil.copy(path, tmp_path))
    executed = run(nbformat.read(copy, as_version=4), tmp_path)
    assert streams(executed) == []
    assert [other.name for other in tmp_path.iterdir()] == [copy.name], "a notebook writes nothing"


@pytest.mark.parametrize("patterns", ["[(3, 1), (1, 2, 3), 0.8]", "[2.5]"])
def test_one_list_of_the_study_can_be_changed(patterns, tmp_path):
    notebook = nbformat.read(NOTEBOOKS[0].with_name(f"{STUDY}.ipynb"), as_version=4)
    first = code_cells(notebook)[0]
    first.source, replaced = re.subn(
        r"PATTERNS = \[.*\]", f"PATTERNS = {patterns}", first.source, flags=re.DOTALL
    )
    assert replaced == 1
    assert streams(run(notebook, tmp_path)) == []
