"""The C core: simulations, and the sampler of its writes. Use the package, not this module."""

from typing import Any

import numpy as np
import numpy.typing as npt

CHOICES: dict[str, dict[str, int]]
USES_SIZE: dict[str, int]
USES_UPDATES: dict[str, int]
STOPS: dict[str, int]
HALF_LIFE_MIN: float

_Int64 = npt.NDArray[np.int64]
_Rows = tuple[_Int64, _Int64, _Int64, _Int64, _Int64]
_Recording = tuple[npt.NDArray[np.bool_], _Rows, _Rows]

def alias_build(share: npt.NDArray[np.float64], alias: npt.NDArray[np.uint64], /) -> int: ...
def alias_draw(
    alias: npt.NDArray[np.uint64], bit_generator: np.random.BitGenerator, count: int, /
) -> _Int64: ...
def rank_by_size(size_bytes: _Int64, /) -> npt.NDArray[np.uint32]: ...
def rank(
    size_bytes: _Int64,
    read_only: npt.NDArray[np.bool_],
    pending: npt.NDArray[np.bool_] | None,
    count: _Int64 | None,
    score: npt.NDArray[np.float64] | None,
    options: dict[str, Any],
    /,
) -> _Int64: ...
def recording_check(
    size_bytes: _Int64, read_only: npt.NDArray[np.bool_], recording: _Recording, /
) -> int: ...
def recording_sizes(
    size_bytes: _Int64, read_only: npt.NDArray[np.bool_], recording: _Recording, row: int, /
) -> _Int64: ...
def take(
    cost_bytes: _Int64, left_bytes: int, options: dict[str, Any], /
) -> tuple[npt.NDArray[np.bool_], int, int]: ...
def trace_check(trace: _Int64, read_only: npt.NDArray[np.bool_], /) -> int: ...
def simulate(
    *,
    size_bytes: _Int64,
    read_only: npt.NDArray[np.bool_],
    by_size: npt.NDArray[np.uint32] | None,
    trace: _Int64 | None,
    alias: npt.NDArray[np.uint64] | None,
    bit_generator: np.random.BitGenerator | None,
    cancel: npt.NDArray[np.uint8] | None,
    options: tuple[dict[str, Any], ...],
    trace_bytes: _Int64 | None,
    phases: tuple[tuple[int, npt.NDArray[np.uint64], npt.NDArray[np.float64]], ...],
    recording: _Recording | None,
) -> list[tuple[int, int, _Int64]] | None: ...
