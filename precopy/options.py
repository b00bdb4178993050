"""What the options of a run are, read from where they are declared: the signature of `simulate`.

Name, type, default, allowed values and the line of documentation all stand there. What else needs
them, `sweep`, study files and the command line, reads them from here; checks that the type already
implies are made here, too.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy.typing as npt

from precopy import _check

Order = Literal[
    "size-ascending",
    "size-descending",
    "update-frequency",
    "expected-update",
    "least-recently-updated",
]
OwnKey = Sequence[float] | npt.NDArray[Any]
"""A number per file; no `ArrayLike`, which would let any misspelt order pass a type checker."""
Schedule = Literal["cycles", "rounds"]
LiveFrequency = Literal["count", "last-cycle", "exponential"]
"""What can be known of a running application."""
Frequency = Literal["count", "last-cycle", "exponential", "oracle"]
Cost = Literal["whole", "delta"]
Budget = Literal["whole", "carry", "skip"]
DirtyTracking = Literal["round-start", "sent"]


@dataclass(frozen=True)
class Option:
    """One option: what its parameter in the signature says.

    Attributes
    ----------
    name : str
        As users write it.
    default : object
        What it is if nobody says.
    choices : tuple of str
        The names allowed, empty if it is no choice.
    kind : type or None
        int, float or bool where the option is such a number or flag; None for all others.
    optional : bool
        Whether None is allowed.
    summary : str
        The first sentence of its documentation.
    """

    name: str
    default: Any
    choices: tuple[str, ...]
    kind: type | None
    optional: bool
    summary: str

    @property
    def is_plain(self) -> bool:
        """Whether the type alone tells which values are allowed."""
        return not self.optional and (bool(self.choices) or self.kind is int)

    def check(self, value: Any) -> Any:
        """Return the value of a plain option, or raise what names it."""
        if not self.choices:
            return _check.integer(self.name, value, least=1)
        if isinstance(value, str) and value in self.choices:
            return value
        return _check.choice(self.name, value, self.choices)


@lru_cache
def declared(function: Callable[..., Any]) -> dict[str, Option]:
    """Return the options that a function declares, in order; the first two parameters are none."""
    hints = get_type_hints(function)
    summaries = _summaries(inspect.getdoc(function) or "")
    parameters = list(inspect.signature(function).parameters.values())[2:]
    return {
        one.name: _option(one.name, one.default, hints[one.name], summaries.get(one.name, ""))
        for one in parameters
    }


def _option(name: str, default: Any, hint: Any, summary: str) -> Option:
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = [part for part in parts if part is not types.NoneType]
    choices = get_args(kinds[0]) if [get_origin(kind) for kind in kinds] == [Literal] else ()
    kind = kinds[0] if kinds in ([int], [float], [bool]) else None
    return Option(name, default, choices, kind, types.NoneType in parts, summary)


def _summaries(text: str) -> dict[str, str]:
    """Return the first sentence of each parameter in a numpydoc docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in text.partition("Parameters\n")[2].partition("\nReturns\n")[0].splitlines():
        if line and not line.startswith((" ", "-")):
            name = line.partition(" : ")[0]
            found[name] = ""
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return {name: sentence.partition(". ")[0].rstrip(".") for name, sentence in found.items()}
