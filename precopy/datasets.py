"""Recordings of real applications that come with the package.

Each is what `AccessLog.recorded` made of a service under load, from fixed seeds; which services
there are, and what their writes look like, is in the guide "Recorded services". How they were made
is in `benchmarks/services`, where each can be recorded again by one command.

References
----------
Paper, section 6: evaluation fitted to real environments is its open item.
"""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from typing import Any

from precopy import _check
from precopy.recorded import Recorded

_ROOM = files("precopy") / "data"
_SUFFIX = ".npz"


def names() -> list[str]:
    """Return the names of the recordings, in alphabetical order.

    Examples
    --------
    >>> import precopy
    >>> "pg" in precopy.datasets.names()
    True
    """
    return sorted(
        each.name.removesuffix(_SUFFIX) for each in _ROOM.iterdir() if each.name.endswith(_SUFFIX)
    )


def load(name: str) -> Recorded:
    """Return a recording.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    Recorded
        What `simulate` and `sweep` take in place of files and writes. Paths are relative to the
        service's directory. Its notes say how it was made, as `provenance` does.

    Raises
    ------
    ValueError
        If there is no recording of that name.

    Examples
    --------
    >>> import precopy
    >>> app = precopy.datasets.load("pg")
    >>> app.name
    'pg'
    >>> run = precopy.simulate(app, cycle=precopy.Cycle.of_seconds(1, 5e6), cycles=100)
    >>> len(run.final_copy_bytes)
    100
    """
    _known(name)
    with as_file(_ROOM / f"{name}{_SUFFIX}") as path:
        return Recorded.load(path)


def provenance(name: str) -> dict[str, Any]:
    """Return how a recording was made.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    dict
        ``service``: what it is; ``version``; ``command``: what records it again; ``seconds``;
        ``seed``; ``machine``; ``updates_per_s``; ``bytes_per_s``, those in the trace; ``left_out``:
        what the recording had and this one has not, in words.

    Raises
    ------
    ValueError
        If there is no recording of that name.

    Examples
    --------
    >>> import precopy
    >>> precopy.datasets.provenance("pg")["seed"]
    1
    """
    _known(name)
    found: dict[str, Any] = json.loads((_ROOM / "provenance.json").read_text("utf-8"))[name]
    return found


def _known(name: str) -> None:
    _check.choice("name", name, names())
