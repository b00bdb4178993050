"""Text from outside (names, paths, messages) as one line that is safe to show.

Invariant: what `printable` returns has no control character, no character that turns the direction
of writing, no line break of any kind and no lone surrogate; so it may go to a terminal, into an
XML or a Graphviz file (each with its own quoting), or into a message.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable
from pathlib import Path

Text = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def printable(text: Text) -> str:
    r"""Return a text or a path as one line that is safe to show on a terminal.

    Examples
    --------
    >>> print(printable(b"/srv/two\nlines-\xff"))
    /srv/two\nlines-\xff
    """
    shown = os.fsdecode(text)
    if shown.isprintable():
        return shown
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in shown)


def printable_lines(text: Text) -> str:
    r"""Return a text of several lines, each of them `printable`.

    Examples
    --------
    >>> print(printable_lines("one\ntwo\x1b[2J"))
    one
    two\x1b[2J
    """
    return "\n".join(printable(line) for line in os.fsdecode(text).split("\n"))


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # how Python spells a byte that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def json_text(values: dict[str, object], path: str | Path | None = None) -> str:
    """Return values as JSON text, and write it to a file if one is given.

    Examples
    --------
    >>> print(json_text({"files": 3}), end="")
    {
     "files": 3
    }
    """
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    if path is not None:
        Path(path).write_text(text)
    return text


def error_text(error: BaseException) -> str:
    """Return what an error says, without the number that the system has for it.

    Examples
    --------
    >>> error_text(PermissionError(13, "Permission denied", "/srv/app"))
    "'/srv/app': Permission denied"
    >>> error_text(ValueError("seed: got -1"))
    'seed: got -1'
    """
    if not isinstance(error, OSError) or not error.strerror or error.filename2 is not None:
        return str(error)
    if isinstance(error.filename, (str, bytes, os.PathLike)):
        return f"'{printable(error.filename)}': {error.strerror}"
    return error.strerror


def hint(name: str, known: Iterable[str]) -> str:
    """Return what to add to an error about an unknown name: the closest known one, or all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    if not names:
        return "; the log has no applications yet"
    return f"; it has {', '.join(map(repr, names[:10]))}{', …' if len(names) > 10 else ''}"


def is_path(path: object) -> bool:
    """Return whether something read from a log is an absolute path, as all in it are."""
    return isinstance(path, bytes) and path.startswith(b"/") and b"\0" not in path
