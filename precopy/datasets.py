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
from typing import TYPE_CHECKING, Any

from precopy import _check
from precopy.recorded import Recorded

if TYPE_CHECKING:
    import pandas

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


def migrations() -> pandas.DataFrame:
    """Return what live migrations of recorded services brought, beside what was forecast.

    Measured once by ``benchmarks/bench_forecast.py``: each service ran under the access monitor,
    ``precopy forecast`` said what a migration would bring, and ``precopy migrate`` made it, over a
    real link between two network namespaces.

    Returns
    -------
    pandas.DataFrame
        A row per migration: ``service``; ``granularity``, "block" or "file"; ``bandwidth`` of the
        link in bytes per second; ``rule``; ``reached`` and ``of``, from how many start points it
        was forecast to hold. For each of downtime_s (seconds), final_copy_bytes, precopy_bytes
        (bytes) and precopy_s (seconds) the forecast with ``_low``, ``_median`` and ``_high`` behind
        the name, NaN where the rule was not forecast to hold, and ``_measured``. ``predicted_s``:
        the downtime that the migration itself predicted just before the stop. ``right``: whether
        the destination equalled the stopped source and had every acknowledged write.

    Raises
    ------
    ImportError
        Without pandas.

    Examples
    --------
    >>> import precopy
    >>> moved = precopy.datasets.migrations()
    >>> bool(moved.right.all())
    True

    References
    ----------
    Paper, section 6 (its open item: comparison with the transfer of real applications).
    """
    import pandas

    rows = json.loads((_ROOM / "migrations.json").read_text("utf-8"))
    return pandas.DataFrame(rows)


def _known(name: str) -> None:
    _check.choice("name", name, names())
