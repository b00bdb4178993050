"""The C core: one simulation, and the sampler of its writes. Use the package, not this module."""

import numpy as np
import numpy.typing as npt

SCHEDULES: dict[str, int]
ORDERS: dict[str, int]
FREQUENCIES: dict[str, int]
BUDGET_RULES: dict[str, int]
DIRTY_TRACKINGS: dict[str, int]
STOPS: dict[str, int]
ORDER_KEY: int
ERROR_TRACE: int
HALF_LIFE_MIN: float

_Int64 = npt.NDArray[np.int64]

def alias_build(share: npt.NDArray[np.float64], alias: npt.NDArray[np.uint64], /) -> int: ...
def alias_draw(
    alias: npt.NDArray[np.uint64], bit_generator: np.random.BitGenerator, count: int, /
) -> _Int64: ...
def rank_by_size(size_bytes: _Int64, /) -> npt.NDArray[np.uint32]: ...
def trace_check(trace: _Int64, read_only: npt.NDArray[np.bool_], /) -> int: ...
def simulate(
    *,
    size_bytes: _Int64,
    read_only: npt.NDArray[np.bool_],
    by_size: npt.NDArray[np.uint32] | None,
    schedule: int,
    order: int,
    key: npt.NDArray[np.float64] | None,
    read_only_first: bool,
    frequency: int,
    half_life: float,
    history: _Int64 | None,
    budget_rule: int,
    dirty_tracking: int,
    cycles: int,
    rounds: int,
    writes_per_cycle: int,
    budget_bytes: int,
    threshold_bytes: int,
    trace: _Int64 | None,
    alias: npt.NDArray[np.uint64] | None,
    bit_generator: np.random.BitGenerator | None,
    cancel: npt.NDArray[np.uint8] | None,
) -> tuple[int, int, _Int64, _Int64, _Int64, _Int64]: ...
