"""Pictures that are the project's own: the same bytes whenever and wherever they are made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from precopy._text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Without a date in the file; PNG has none.
_METADATA: dict[str, dict[str, None]] = {
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


@contextmanager
def own_style() -> Iterator[None]:
    """Draw as matplotlib does by default, whatever the user has set; names in SVG do not vary."""
    import matplotlib.style

    with matplotlib.style.context("default"), matplotlib.rc_context({"svg.hashsalt": "precopy"}):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure, in the format of the file's suffix."""
    figure.savefig(path, dpi=150, metadata=_METADATA.get(path.suffix))


def check_format(option: str, name: str) -> None:
    """Refuse a name whose ending names no format, before anything is done for the picture."""
    if Path(name).suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(
            f"{option}: got '{printable(name)}', expected a name that ends in .png, .svg or .pdf"
        )
