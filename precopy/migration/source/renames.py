"""Renames in an order in which a destination can do them.

Invariant: `current` says where the destination has what is gone here, after the renames so far.
"""

from __future__ import annotations


class Renaming:
    """Renames under way.

    Parameters
    ----------
    current : dict of int to bytes
        The entries that are not where they were, by id, and where that was.

    Attributes
    ----------
    renames : list of (int, bytes, bytes)
        ``(id, old path, new path)``; what has moved along with a directory is left out.
    ids : list of int
        All that were found again, those that moved along included.
    taken : set of bytes
        Where they were found.

    Examples
    --------
    >>> renaming = Renaming({1: b"/a", 2: b"/a/f", 3: b"/a/g"})
    >>> renaming.take(1, b"/b", is_directory=True)
    >>> renaming.take(2, b"/b/f", is_directory=False)
    >>> renaming.take(3, b"/b/h", is_directory=False)
    >>> renaming.renames
    [(1, b'/a', b'/b'), (3, b'/b/g', b'/b/h')]
    """

    def __init__(self, current: dict[int, bytes]) -> None:
        self.current = current
        self._at = {path: id for id, path in current.items()}
        self.renames: list[tuple[int, bytes, bytes]] = []
        self.ids: list[int] = []
        self.taken: set[bytes] = set()

    def choose(self, ids: list[int], path: bytes) -> int | None:
        """Return which of some entries, names of one file, is the one that is found at a path now.

        None if something else that is not settled stands in the way at the destination.
        """
        there = self._at.get(path)
        if there is None:
            return ids[0] if ids else None
        return there if there in ids else None

    def take(self, id: int, path: bytes, *, is_directory: bool) -> None:
        """Note where an entry is now; directories first, parents before what is in them."""
        old = self.current.pop(id)
        del self._at[old]
        self.ids.append(id)
        self.taken.add(path)
        if old == path:
            return
        self.renames.append((id, old, path))
        if is_directory:
            below = old + b"/"
            moved = [other for other, at in self.current.items() if at.startswith(below)]
            for other in moved:
                del self._at[self.current[other]]
                self.current[other] = path + self.current[other][len(old) :]
            self._at.update((self.current[other], other) for other in moved)
