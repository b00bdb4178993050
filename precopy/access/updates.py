"""What the simulator takes from a log: which file was written how often, and when.

The log keeps sums per file and time bucket; `interleave` makes a sequence of them.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHOSEN = "application_id IN (SELECT value FROM json_each(?))"

UPDATES = f"""
SELECT bucket, file_id, sum(writes + changes) AS updates FROM write_bucket WHERE {CHOSEN}
GROUP BY bucket, file_id HAVING updates > 0 ORDER BY bucket, file_id"""

NOT_REGULAR = -1

EXCLUDED = "to excluded paths"
NOT_REGULAR_FILES = "to what is no regular file"
NO_MORE = "to files that are gone"
NOT_LISTED = "to files that were not asked for"
NO_TIME = "of which the log keeps no times"
OUTSIDE = "outside the window"
NO_SIZE = "to files of unknown size"
"""Why write calls are not in a trace."""


def regular_size(path: bytes) -> int | None:
    """Return a regular file's size in bytes, None if it is gone, `NOT_REGULAR` if another kind."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else NOT_REGULAR


def interleave(
    bucket: NDArray[np.int64], file_id: NDArray[np.int64], updates: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Spread each row's updates evenly over its bucket and return the file ids in time order."""
    row = np.repeat(np.arange(updates.size), updates)
    first = np.cumsum(updates) - updates
    place = (np.arange(row.size) - first[row] + 0.5) / updates[row]
    order = np.lexsort((file_id[row], place, bucket[row]))
    ordered: NDArray[np.int64] = file_id[row][order]
    return ordered
