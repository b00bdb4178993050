"""How the site is built: `sphinx-build -W -b html docs docs/_build`."""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from precopy import __version__  # noqa: E402

project = "precopy"
author = "the precopy developers"
copyright = "the precopy developers"
release = version = __version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "rules",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_templates"]
html_theme = "furo"
html_title = f"precopy {release}"

# The notebooks are committed with their outputs, and the tests run them.
nb_execution_mode = "off"
# Their own headings are for a reader of the notebook; a page may begin with a deeper one.
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

autodoc_typehints = "none"
templates_path = ["_templates"]
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

shutil.copytree(
    DOCS.parent / "notebooks",
    DOCS / "notebooks",
    ignore=shutil.ignore_patterns(".ipynb_checkpoints", "*.py"),
    dirs_exist_ok=True,
)
