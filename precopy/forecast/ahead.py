"""What comes after a recording: its writes once more, from the state in which it ended.

A migration begins when the recording is over.  A log that grew while it was recorded is as large as
it was at the end then, and grows on.  Of the ten recordings that ship, it is those of services that
still grow that it tells better (``benchmarks/services/halves.py --ahead``): SQLite's logs within a
factor of 1.38 where the recorded half is 2.53 off; but logs that are about to be rotated worse.
"""

from __future__ import annotations

import numpy as np

from precopy.files import FileSet
from precopy.forecast.timeline import Timeline
from precopy.recorded import Recorded
from precopy.trace import GONE, NO_FILE


def ahead(app: Recorded) -> Recorded:
    """Return the recording as it would go on.

    Of files that are there at both ends, what grew grows on from there.  What was made meanwhile
    and stayed is there from the beginning, as large as it became.  All else, such as files that
    come and go or are replaced by renames, is as recorded.

    Examples
    --------
    A log of 100 bytes that grows to 300 goes on to 500:

    >>> import precopy
    >>> second = 10**9
    >>> writes = precopy.WriteTrace(
    ...     [0, 0], time_ns=[0, second], size_bytes=[200, 300], duration_ns=2 * second
    ... )
    >>> log = ahead(precopy.Recorded("log", precopy.FileSet([100]), writes))
    >>> log.files.size_bytes.tolist(), log.writes.size_bytes.tolist()
    ([300], [400, 500])
    """
    line, writes = Timeline(app), app.writes
    there, last = line.state(line.duration_ns)
    first, present = app.files.size_bytes, app.present
    renames, gone = line.from_id != NO_FILE, line.size_bytes == GONE
    changes = np.zeros(len(first), np.bool_)  # names whose file is not always the same one
    changes[line.file_id[gone | renames]] = changes[line.from_id[renames]] = True

    grown = np.where(~changes & present & there, np.maximum(last - first, 0), 0)
    made = ~changes & ~present & there

    size = line.size_bytes + grown[line.file_id]
    size = np.where(made[line.file_id], np.maximum(size, last[line.file_id]), size)
    trace = writes.replace(size_bytes=np.where(gone, GONE, size), present=present | made)
    sizes = np.where(made, last, first + grown)
    return Recorded(app.name, FileSet(sizes, app.files.read_only, app.files.path), trace, app.notes)
