"""Pictures of applications and files, like the paper's figure 2.

Applications stand in one row and files in another; an arrow shows where data goes.  Everything
is told apart by shape, line and fill, so that it survives a print in grey.  Invariant: files that
are used by the same applications in the same way look the same, so many of them are drawn as one.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from precopy._text import printable
from precopy.access.graph import APPLICATION, FILE, Graph, Link
from precopy.access.identify import Identification
from precopy.access.tracking.wire import LOADED, LOOKED, READ, WRITE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class _Box:
    """A file, or several that are used alike, as one box of the picture."""

    label: str
    users: tuple[Link, ...]
    fate: str  # "moves", "copied" or "stays"


_Line = Literal["solid", "dashed", "dotted"]
_FACE = {"moves": "0.82", "copied": "0.94", "stays": "white"}
_EDGE: dict[str, _Line] = {"moves": "solid", "copied": "dashed", "stays": "dotted"}
_LEGEND = {
    "moves": "moves",
    "copied": "is copied (only read)",
    "stays": "stays",
}


def draw(identification: Identification, ax: Axes | None = None, *, bundle: int = 6) -> Axes:
    """Draw what moves and what stays, and why.

    Parameters
    ----------
    identification : Identification
        What to draw.
    ax : matplotlib.axes.Axes, optional
        Where; by default a new figure.
    bundle : int
        More files than this that are used alike are drawn as one box.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with a legend.

    References
    ----------
    Paper, figure 2.

    Examples
    --------
    >>> import os, tempfile
    >>> from precopy.access import identify, import_strace, picture
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     log = os.path.join(directory, "access.db")
    ...     _ = import_strace(['7 1.5 creat("/a", 0600) = 3</a>'], log, app="AP1")
    ...     ax = picture.draw(identify(log, "AP1"))
    >>> sorted(text.get_text() for text in ax.texts if text.get_text())
    ['/a', 'AP1']
    """
    boxes = _boxes(identification, bundle)
    applications = _order(identification, boxes)
    columns = _columns(identification, boxes)
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=_size_inch(columns, boxes), layout="constrained")
    top = _spread(len(applications), columns)
    place = {application: top[rank] for rank, application in enumerate(applications)}
    boxes.sort(key=lambda box: (_middle(box, place), box.label))
    bottom = _spread(len(boxes), columns)
    for x, box in zip(bottom, boxes, strict=True):
        _text(ax, x, 0.0, box.label, box.fate, "square")
        for application, how in box.users:
            _arrow(ax, place[application], x, how)
    for application, x in place.items():
        fate = "moves" if identification.moves((APPLICATION, application)) else "stays"
        name = printable(identification.graph.names[application])
        _text(ax, x, 1.0, name, fate, "round")
    _legend(ax, {box.fate for box in boxes} | {"moves"}, _not_drawn(identification))
    common = _common(_drawn(identification.graph))
    if common not in (b"", b"/"):
        ax.set_title(f"files in {printable(common)}", fontsize="medium", parse_math=False)
    ax.set(xlim=(-0.6, columns - 0.4), ylim=(-0.15 - 0.12 * _lines(boxes), 1.25))
    ax.set_axis_off()
    return ax


def dot(identification: Identification, *, bundle: int = 6) -> str:
    """Return the same picture as Graphviz text, for ``dot -Tsvg``.

    Parameters
    ----------
    identification : Identification
        What to draw.
    bundle : int
        More files than this that are used alike are drawn as one box.

    Returns
    -------
    str
        A ``digraph``.

    References
    ----------
    Paper, figure 2.
    """
    styles = {
        "moves": 'style=filled fillcolor="#d1d1d1" penwidth=2',
        "copied": 'style="filled,dashed" fillcolor="#f0f0f0"',
        "stays": "style=dotted",
    }
    lines = ["digraph identification {", "  rankdir=TB;"]
    if not_drawn := _not_drawn(identification):
        lines.append(f"  label={_quoted(not_drawn)};")
    for index, name in enumerate(identification.graph.names):
        fate = "moves" if identification.moves((APPLICATION, index)) else "stays"
        lines.append(f"  a{index} [shape=box label={_quoted(printable(name))} {styles[fate]}];")
    for index, box in enumerate(_boxes(identification, bundle)):
        lines.append(f"  f{index} [shape=note label={_quoted(box.label)} {styles[box.fate]}];")
        for application, how in box.users:
            direction = "both" if how == READ | WRITE else "forward" if how & WRITE else "back"
            style = "style=bold" if how & WRITE else "style=dashed"
            lines.append(f"  a{application} -> f{index} [dir={direction} {style}];")
    return "\n".join([*lines, "}", ""])


def save(identification: Identification, path: str | os.PathLike[str], *, bundle: int = 6) -> None:
    """Draw into a file, in the format of its ending; ``.dot`` is Graphviz text.

    Parameters
    ----------
    identification : Identification
        What to draw.
    path : path
        The file to write.
    bundle : int
        More files than this that are used alike are drawn as one box.

    Raises
    ------
    ValueError
        If the ending is unknown.
    NotADirectoryError
        If there is no directory for it.
    """
    check_path(path)
    if os.fspath(path).endswith(".dot"):
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(dot(identification, bundle=bundle))
        return
    from matplotlib.figure import Figure

    boxes = _boxes(identification, bundle)
    size = _size_inch(_columns(identification, boxes), boxes)
    figure = Figure(figsize=size, layout="constrained")
    draw(identification, figure.add_subplot(), bundle=bundle)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def check_path(path: str | os.PathLike[str]) -> None:
    """Refuse a file that `save` could not write.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    ValueError
        If its ending is no format's.
    NotADirectoryError
        If there is no directory for it.
    """
    name = os.fspath(path)
    ending = os.path.splitext(name)[1][1:]
    if ending != "dot":
        from matplotlib.backend_bases import FigureCanvasBase

        formats = ["dot", *sorted(FigureCanvasBase.get_supported_filetypes())]
        if ending.lower() not in formats:
            raise ValueError(
                f"picture: got '{printable(name)}', expected one of these endings: "
                f"{', '.join(f'.{name}' for name in formats)}"
            )
    where = os.path.dirname(name) or "."
    if not os.path.isdir(where):
        raise NotADirectoryError(f"picture: '{printable(where)}' is not a directory")
    if os.path.isdir(name):
        raise IsADirectoryError(f"picture: '{printable(name)}' is a directory")


def _columns(identification: Identification, boxes: list[_Box]) -> int:
    return max(len(identification.graph.names), len(boxes), 2)


def _lines(boxes: list[_Box]) -> int:
    return max((box.label.count("\n") + 1 for box in boxes), default=1)


def _size_inch(columns: int, boxes: list[_Box]) -> tuple[float, float]:
    letters = max((len(line) for box in boxes for line in box.label.split("\n")), default=1)
    return max(5.0, columns * max(1.1, 0.3 + 0.1 * letters)), 3.2 + 0.2 * _lines(boxes)


def _legend(ax: Axes, fates: set[str], not_drawn: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=_FACE[fate], edgecolor="black", linestyle=_EDGE[fate], label=label)
        for fate, label in _LEGEND.items()
        if fate in fates
    ]
    handles.append(Line2D([], [], color="black", linewidth=1.8, label="writes"))
    handles.append(Line2D([], [], color="black", linewidth=1.0, linestyle="--", label="reads"))
    if not_drawn:
        handles.append(Line2D([], [], linestyle="none", label=not_drawn))
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _quoted(text: str) -> str:
    """Quote for Graphviz, which reads backslashes and XML's entities in a label."""
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n")
    return f'"{escaped}"'


def _boxes(identification: Identification, bundle: int) -> list[_Box]:
    if bundle < 1:
        raise ValueError(f"bundle: got {bundle}, expected a positive number of files")
    graph = identification.graph
    shared = {os.fsencode(path) for path in identification.shared}
    alike: dict[tuple[tuple[Link, ...], str], list[list[bytes]]] = defaultdict(list)
    for index, path in enumerate(graph.paths):
        users = _users(graph, index)
        if not users or any(other < index for other in graph.same[index]):
            continue  # nobody does more than look at it; or it is drawn under its first name
        moves = identification.moves((FILE, index))
        fate = "copied" if path in shared else "moves" if moves else "stays"
        names = sorted([path, *(graph.paths[other] for other in graph.same[index])])
        alike[users, fate].append(names)
    common = _common(_drawn(graph))
    boxes = []
    for (users, fate), files in alike.items():
        if len(files) > bundle:
            where = _folded(printable(_common([name for names in files for name in names])))
            boxes.append(_Box(f"{len(files)} files in\n{where}", users, fate))
        else:
            for names in sorted(files):
                label = " = ".join(_folded(_short(name, common)) for name in names)
                boxes.append(_Box(label, users, fate))
    return boxes


def _users(graph: Graph, file: int) -> tuple[Link, ...]:
    """Return who uses a file under any of its names; who only looks at it is left out."""
    users: dict[int, int] = {}
    for name in (file, *graph.same[file]):
        for application, how in graph.users[name]:
            if how != LOOKED:
                read = READ if how == LOADED else how
                users[application] = users.get(application, 0) | read
    return tuple(sorted(users.items()))


def _not_drawn(identification: Identification) -> str:
    """Say how many files move beside those of the picture; empty if none do."""
    drawn = set(_drawn(identification.graph))
    count = sum(os.fsencode(path) not in drawn for path in identification.files)
    files = "1 file" if count == 1 else f"{count} files"
    return f"not drawn: {files}\nthat nobody opens" if count else ""


def _drawn(graph: Graph) -> list[bytes]:
    return [path for file, path in enumerate(graph.paths) if _users(graph, file)]


def _common(paths: list[bytes]) -> bytes:
    """Return the deepest directory that holds all the files."""
    return os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else b""


def _folded(name: str, width: int = 18) -> str:
    """Break a path into lines after slashes; a part that is still too long loses its middle."""
    lines = [""]
    for part in re.findall(r"[^/]*/|[^/]+", name):
        shown = part if len(part) <= width else f"{part[: width - 8]}…{part[-7:]}"
        if len(lines[-1]) + len(shown) > width and lines[-1]:
            lines.append("")
        lines[-1] += shown
    return "\n".join(lines)


def _short(path: bytes, common: bytes) -> str:
    return printable(path if common == b"/" else os.path.relpath(path, common))


def _order(identification: Identification, boxes: list[_Box]) -> list[int]:
    """Return the applications, those that move first, and those that share files side by side."""
    weight: dict[int, float] = dict.fromkeys(range(len(identification.graph.names)), 0.0)
    for rank, box in enumerate(boxes):
        for application, _ in box.users:
            weight[application] += rank / len(identification.graph.uses[application])
    return sorted(weight, key=lambda a: (not identification.moves((APPLICATION, a)), weight[a], a))


def _middle(box: _Box, place: dict[int, float]) -> float:
    return sum(place[application] for application, _ in box.users) / max(len(box.users), 1)


def _spread(count: int, columns: int) -> list[float]:
    """Return `count` places spread evenly over `columns` columns."""
    return [(index + 0.5) * columns / count - 0.5 for index in range(count)]


def _text(ax: Axes, x: float, y: float, label: str, fate: str, shape: str) -> None:
    ax.text(
        x,
        y,
        label,
        ha="center",
        va="bottom" if y else "top",
        color="0.35" if fate == "stays" else "black",
        parse_math=False,
        bbox={
            "boxstyle": f"{shape},pad=0.4",
            "facecolor": _FACE[fate],
            "edgecolor": "black",
            "linestyle": _EDGE[fate],
            "linewidth": 1.6 if fate == "moves" else 1.0,
        },
    )


def _arrow(ax: Axes, application_x: float, file_x: float, how: int) -> None:
    """Draw where data goes: down into a written file, up out of one that is read."""
    write, read = bool(how & WRITE), bool(how & READ)
    ax.annotate(
        "",
        xy=(file_x, 0.07),
        xytext=(application_x, 0.93),
        arrowprops={
            "arrowstyle": "<|-|>" if write and read else "-|>" if write else "<|-",
            "linestyle": "solid" if write else "dashed",
            "linewidth": 1.8 if write else 1.0,
            "color": "black",
            "shrinkA": 0.0,
            "shrinkB": 0.0,
        },
    )
