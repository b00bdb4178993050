"""Write precopy/_swept.py: the options of `simulate` as `sweep` takes them, for type checkers.

Run it after a change of simulate's signature: ``python tests/swept.py > precopy/_swept.py``.
"""

import inspect

from precopy.simulation import simulate

HEAD = '''"""The options of `simulate`, each of which `sweep` also takes as several values.

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

'''


def text():
    """Return the module."""
    parameters = list(inspect.signature(simulate).parameters.values())[2:]
    # A list is a dimension; only an array is one key or history of the caller's own.
    arrays = {"OwnKey": "npt.NDArray[Any]", "npt.ArrayLike": "npt.NDArray[Any]"}
    fields = []
    for one in parameters:
        annotation = one.annotation
        for name, array in arrays.items():
            annotation = annotation.replace(name, array)
        fields.append(f"    {one.name}: Swept[{annotation}]\n")
    return HEAD + "".join(fields)


if __name__ == "__main__":
    print(text(), end="")
