"""What makes random writes the same again: whatever numpy.random.default_rng takes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from precopy import _check

# Whatever numpy.random.default_rng takes.
Seed = Any

_SEED_BITS = 8192


def generator(seed: Seed) -> np.random.Generator:
    """Return ``numpy.random.default_rng(seed)``, or complain about the seed by name."""
    if _is_no_seed(seed):
        raise TypeError(
            f"seed: expected what numpy.random.default_rng takes, got {_check.shown(seed)}"
        )
    try:
        return np.random.default_rng(seed)
    except Exception:  # even one that comes from the value itself
        raise ValueError(
            f"seed: expected what numpy.random.default_rng takes, got {_check.shown(seed)}"
        ) from None


def _is_no_seed(seed: Any) -> bool:
    """Tell what NumPy would take, and is more likely a mistake, or too long to be written down."""
    if type(seed) is int:
        return seed.bit_length() > _SEED_BITS
    if isinstance(seed, (bool, np.bool_, Set, Mapping)):
        return True
    if isinstance(seed, np.ndarray):
        return seed.ndim == 0 or seed.size == 0 or seed.dtype.kind not in "iuO"
    if isinstance(seed, (list, tuple)):
        return not seed or any(isinstance(one, (bool, np.bool_)) for one in seed)
    return False


def reproducing(seed: Seed) -> Seed:
    """Return what gives the same writes later: a plain int, or a copy that nobody else advances."""
    if isinstance(seed, (int, np.integer)):
        return int(seed)
    return copy.deepcopy(seed)


def drawn_seed() -> int:
    """Return a seed from the system's entropy, of 128 bits."""
    entropy = np.random.SeedSequence().entropy
    assert isinstance(entropy, int)
    return entropy
