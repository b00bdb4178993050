"""What the migration asks the source's file system, in C. Use the package, not this module."""

from typing import Any, TypeAlias

import numpy.typing as npt
from typing_extensions import Buffer

_Data: TypeAlias = Buffer | npt.NDArray[Any]

def digests(data: _Data, block_bytes: int, /) -> bytes: ...
def statuses(
    names: list[bytes | None],
    known: _Data,
    older_ns: _Data | None,
    under_way_ns: int,
    write_rate: int,
    /,
) -> bytes: ...
def look(
    path: bytes,
    dev: int,
    ino: int,
    block_bytes: int,
    known: _Data | None,
    ranges: _Data | None,
    clean: bool,
    lazy: bool,
    data_limit: int,
    /,
) -> tuple[int, int, bytes, bytes, bytes, bytes, int]: ...
