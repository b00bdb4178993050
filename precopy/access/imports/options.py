"""What a format needs to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from precopy.access.imports.devices import EXTENT_BYTES


@dataclass(frozen=True)
class Options:
    """How to read a trace; see `precopy.access.imports.import_trace`."""

    columns: Mapping[str, str] = field(default_factory=dict)
    header: bool | None = None
    unit: str = "s"
    delimiter: bytes = b","
    extent_bytes: int = EXTENT_BYTES
    device: str | None = None
    action: str = "C"
    start_ns: int = 0
