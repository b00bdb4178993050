"""Rank and take: what one cycle does to the pending files, as two functions for any mover.

`rank` says in which order the pending files go, `take` how many of them go in this cycle.
`simulate` is these two in a loop, only faster; the live migration calls them as they are.

References
----------
Paper, section 4.2; model, rules rank and take.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precopy import _check, _core
from precopy.files import FileSet
from precopy.options import Budget, Order, OwnKey


def rank(
    files: FileSet,
    order: Order | OwnKey = "update-frequency",
    pending: npt.ArrayLike | None = None,
    updates: npt.ArrayLike | None = None,
    read_only_first: bool = True,
) -> npt.NDArray[np.int64]:
    """Rank the pending files: which of them is sent first, which next.

    Parameters
    ----------
    files : FileSet
        The n files.
    order : str or array_like of float, shape (n,), default "update-frequency"
        As for `simulate`: the key, ascending, ties by id.
    pending : array_like of bool, shape (n,), optional
        Which files wait to be sent. Default: all.
    updates : array_like of int or float, shape (n,), optional
        How often each file was written, as counts (int) or as scores (float), such as exponentially
        weighted counts; for "least-recently-updated", the cycle of its last write, or a time, 0 for
        never. Default: never. Orders that do not use updates ignore it.
    read_only_first : bool, default True
        Rank read-only files before all others.

    Returns
    -------
    ndarray of int64, shape (number of pending files,)
        Their ids, in rank order.

    Raises
    ------
    ValueError, TypeError
        For an unknown order, an array of another length, updates that are negative or not finite,
        and for "expected-update" counts whose product with a size leaves int64.

    References
    ----------
    Paper, section 4.2.2; model, rule cycle.rank.

    Examples
    --------
    Our order in your own mover: files are directories, tables, or blocks; you count the writes.

    >>> import numpy as np
    >>> import precopy
    >>> files = precopy.FileSet([700, 100, 400, 300], read_only=[False, False, True, False])
    >>> pending = np.array([True, True, True, False])
    >>> ids = precopy.rank(files, pending=pending, updates=[2, 5, 0, 1])
    >>> ids
    array([2, 0, 1])
    >>> taken, left_bytes, carried_bytes = precopy.take(files.size_bytes[ids], 1150)
    >>> pending[ids[taken]] = False  # these have been sent now
    >>> ids[taken], left_bytes, pending
    (array([2, 0]), 50, array([False,  True, False, False]))
    """
    if not isinstance(files, FileSet):
        raise TypeError(f"files: expected a FileSet, got {_check.shown(files)}")
    name, key = order_and_key(order, len(files))
    flags = None if pending is None else _check.flags("pending", pending, len(files))
    counts, scores = _updates(updates, len(files))
    if counts is not None and name in _core.USES_SIZE and name in _core.USES_UPDATES:
        _check_products(files, counts)
    options = {
        "order": name,
        "key": key,
        "read_only_first": _check.truth("read_only_first", read_only_first),
    }
    return _core.rank(files.size_bytes, files.read_only, flags, counts, scores, options)


def take(
    cost_bytes: npt.ArrayLike,
    budget_bytes: int,
    budget: Budget = "whole",
    carried_bytes: int = 0,
) -> tuple[npt.NDArray[np.bool_], int, int]:
    """Take what goes in this cycle, given what each pending file costs on the link.

    Parameters
    ----------
    cost_bytes : array_like of int, shape (k,)
        Costs of the pending files in rank order. In the simulation a file costs its size.
    budget_bytes : int
        What the link carries in this cycle.
    budget : {"whole", "carry", "skip"}
        What happens at the first file that does not fit, as for `simulate`.
    carried_bytes : int, default 0
        What the cycle before left to this one.

    Returns
    -------
    taken : ndarray of bool, shape (k,)
        Which of them go now.
    left_bytes : int
        What is left of this cycle's budget.
    carried_bytes : int
        What the next cycle may send on top of its own budget: 0, except for ``budget="carry"`` if
        a file did not fit.

    Raises
    ------
    ValueError, TypeError
        For numbers that are negative, not whole or beyond int64, and an unknown rule.

    References
    ----------
    Model, rules cycle.send and budget.*.

    Examples
    --------
    >>> import precopy
    >>> taken, left_bytes, carried_bytes = precopy.take([40, 70, 20], 100, budget="carry")
    >>> taken, left_bytes, carried_bytes
    (array([ True, False, False]), 60, 60)
    >>> precopy.take([70, 20], 100, budget="carry", carried_bytes=carried_bytes)
    (array([ True,  True]), 70, 0)
    """
    costs = _check.counts("cost_bytes", cost_bytes)
    available = _check.integer("budget_bytes", budget_bytes)
    carried = _check.integer("carried_bytes", carried_bytes)
    if available + carried > _check.INT64_MAX:
        raise ValueError(
            f"carried_bytes: expected a sum with budget_bytes below 2^63, got {carried} and "
            f"{available}"
        )
    _check.choice("budget", budget, _core.CHOICES["budget"])
    return _core.take(costs, available + carried, {"budget": budget})


def order_and_key(order: Any, length: int) -> tuple[str, npt.NDArray[np.float64] | None]:
    """Return the core's name of an order, and the key if it is an array of the caller's own."""
    known = _core.CHOICES["order"]
    if isinstance(order, str):
        return _check.choice("order", order, known), None
    if order is None or _check.is_scalar(order):
        raise TypeError(
            f"order: expected one of {list(known)} or an array of {length} numbers, got "
            f"{_check.shown(order)}"
        )
    return "key", _check.floats("order", order, length, exact=True)


def _updates(
    updates: Any, length: int
) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.float64] | None]:
    """Return counts or scores."""
    if updates is None:
        return None, None
    array = _check.column("updates", updates, length)
    if array.dtype.kind != "f":
        return _check.counts("updates", updates, length), None
    scores = _check.floats("updates", updates, length)
    _check.first("updates", scores, ~(np.isfinite(scores) & (scores >= 0)), "finite numbers >= 0")
    return None, scores


def _check_products(files: FileSet, counts: npt.NDArray[np.int64]) -> None:
    used = counts > 0
    bad = files.size_bytes[used] > _check.INT64_MAX // counts[used]
    if bad.any():
        file_id = int(np.flatnonzero(used)[bad.argmax()])
        raise ValueError(
            'updates: expected updates times size below 2^63 for "expected-update", got '
            f"{counts[file_id]} updates of {files.name(file_id)} of {files.size_bytes[file_id]} "
            "bytes; count sizes in a larger unit"
        )
