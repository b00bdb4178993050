"""Which names are one file (hard links), and what that means when names come and go.

One name of each file is its first one: the content is sent under it, and the destination makes the
others as links.  Invariant: a first name stays it as long as it names the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

Identity = tuple[int, int, int]
"""Device, inode and time of birth."""


class Names:
    """The names of those files that have more than one, by id."""

    def __init__(self) -> None:
        self._of: dict[Identity, list[int]] = {}
        self._identity: dict[int, Identity] = {}

    def first(self, id: int) -> int:
        """Return the first name of the file that `id` names."""
        identity = self._identity.get(id)
        return id if identity is None else self._of[identity][0]

    def all(self, id: int) -> list[int]:
        """Return all names of the file that `id` names, the first one first."""
        identity = self._identity.get(id)
        return [id] if identity is None else list(self._of[identity])

    def has(self, id: int) -> bool:
        """Return whether this is a name of a file with several."""
        return id in self._identity

    def update(
        self, now: Mapping[int, Identity | None], replaced: Set[int], new: Set[int]
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """Note which file each of some ids names now.

        Parameters
        ----------
        now : dict
            None for an id that is gone, or names a file with no other name.
        replaced : set of int
            Those that stand for another file than before.
        new : set of int
            Those that were not there before.

        Returns
        -------
        heirs, relinked
            As in `precopy.migration.source.tree.Scan`.
        """
        before = {
            id: list(self._of[self._identity[id]]) if id in self._identity else [id] for id in now
        }
        former = {
            identity: list(self._of[identity])
            for identity in (self._identity.get(id) for id in now)
            if identity is not None
        }
        touched = self._move(now)
        heirs: list[tuple[int, int]] = []
        for identity in touched | former.keys():
            members = self._of.get(identity)
            if not members:
                continue
            old = former.get(identity, [])
            stayed = [id for id in old if id in members]
            if old and old[0] not in members and stayed:
                heirs.append((old[0], stayed[0]))
            settled = stayed or [id for id in members if id not in replaced and id not in new]
            first = settled[0] if settled else min(members)
            members.sort(key=lambda id: (id != first, id))
        relinked = []
        for id in now:
            first = self.first(id)
            left = id in replaced and len(before[id]) > 1
            if id not in new and (left or first not in before[id]):
                relinked.append(id)
        return heirs, relinked

    def _move(self, now: Mapping[int, Identity | None]) -> set[Identity]:
        """Put ids where they belong; return the files that got names."""
        got: set[Identity] = set()
        for id, identity in now.items():
            old = self._identity.pop(id, None)
            if old is not None and old != identity:
                self._of[old].remove(id)
                if not self._of[old]:
                    del self._of[old]
            if identity is not None:
                self._identity[id] = identity
                members = self._of.setdefault(identity, [])
                if id not in members:
                    members.append(id)
                got.add(identity)
        return got
