"""The options of `simulate`, each of which `sweep` also takes as several values.

Made from the signature of `simulate` by tests/swept.py; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

if TYPE_CHECKING:
    from numpy import typing as npt

    from precopy.options import Budget, Cost, DirtyTracking, Frequency, Order, Schedule
    from precopy.run import Cycle
    from precopy.seeds import Seed

T = TypeVar("T")
Swept: TypeAlias = T | Sequence[T] | Mapping[Any, T]


class SweptOptions(TypedDict, total=False):
    """What `sweep` takes besides files and writes: one value, several, or several by label."""

    order: Swept[Order | npt.NDArray[Any]]
    cycle: Swept[Cycle]
    cycles: Swept[int]
    threshold_bytes: Swept[float | None]
    schedule: Swept[Schedule]
    seed: Swept[Seed]
    read_only_first: Swept[bool | None]
    frequency: Swept[Frequency]
    half_life: Swept[float | None]
    history: Swept[npt.NDArray[Any] | None]
    max_sends: Swept[int | None]
    max_update_rate: Swept[float | None]
    cost: Swept[Cost]
    write_bytes: Swept[int | None]
    overhead_bytes: Swept[int | None]
    budget: Swept[Budget | None]
    dirty_tracking: Swept[DirtyTracking]
    rounds: Swept[int]
    start_s: Swept[float]
