"""What a name in a call stood for at the time: links, as far as the trace shows them.

Invariant: nothing here looks at the file system of the importing machine, which may have changed
since.  What is known comes from the trace: a path behind a descriptor is a real one, so every
directory above it is no link; ``symlink`` and ``readlink`` tell a link's target; a name that was
opened and the path behind the descriptor together tell where the links in between led.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_MOST_LINKS = 40
_VOLATILE = (b"/proc/", b"/dev/", b"/sys/")


@dataclass(frozen=True)
class Found:
    """Where a name leads.

    Attributes
    ----------
    path : bytes
        The real path, as far as it is known.
    links : list of bytes
        Known links that the name passes through.
    doubts : list of bytes
        What the name passes through and nobody knows to be no link.
    """

    path: bytes
    links: list[bytes] = field(default_factory=list)
    doubts: list[bytes] = field(default_factory=list)


class Names:
    """Links and real paths that a trace has shown so far."""

    def __init__(self) -> None:
        self._real: set[bytes] = {b"/"}
        self._leads: dict[bytes, bytes] = {}  # where a whole name led, through links unknown
        self._moved: dict[bytes, bytes] = {}
        self._below: dict[bytes, set[bytes]] = {}  # real paths by directory
        self._links: dict[bytes, tuple[bytes, bool]] = {}  # target; whether it is a real path

    def find(self, base: bytes, root: bytes, name: bytes, *, follow: bool) -> Found:
        """Follow a name from a directory, below a root, as the kernel does."""
        path = root if name.startswith(b"/") else base
        found = Found(path)
        rest = [part for part in name.split(b"/") if part not in (b"", b".")][::-1]
        follow = follow or name.endswith((b"/", b"/."))
        while rest:
            part = rest.pop()
            if part == b"..":
                path = path if path == root else parent(path)
                continue
            here = join(path, part)
            if rest or follow:
                if here in self._links:
                    found.links.append(here)
                    if len(found.links) > _MOST_LINKS:
                        # The kernel got through: somebody else has turned one of them.
                        for link in found.links:
                            self._links.pop(link, None)
                        return self.find(base, root, name, follow=follow)
                    target, real = self._links[here]
                    if target.startswith(b"/"):
                        path = b"/" if real else root
                    rest += [p for p in target.split(b"/") if p not in (b"", b".")][::-1]
                    continue
                if here not in self._real and not here.startswith(_VOLATILE):
                    found.doubts.append(here)
                if not rest and follow and here in self._leads:
                    return Found(self._leads[here], found.links)
            path = here
        return Found(path, found.links, found.doubts)

    def show(self, path: bytes) -> None:
        """Note a real path: neither it nor anything above it is a link."""
        for above in upwards(path):
            if above in self._real:
                break
            self._add(above)
            self._links.pop(above, None)

    def known(self, path: bytes) -> bool:
        """Return whether a path has been shown to be real."""
        return path in self._real

    def learn(self, found: Found, opened: bytes) -> list[bytes]:
        """Compare where a name should have led with the path behind the descriptor.

        Returns
        -------
        list of bytes
            Which part of the name must be a link; if more than one may be, all of them, and then
            only this very name is known to lead there.
        """
        self.show(opened)
        if found.path == opened or found.path.startswith(_VOLATILE) or opened.startswith(_VOLATILE):
            return []
        if any(
            self._moved.get(here, b"") + found.path[len(here) :] == opened
            for here in upwards(found.path)
        ):
            return []  # renamed between the call and its line
        candidates = self._between(found.path, opened)
        if len(candidates) == 1:
            here, target = candidates[0]
            self.forget(here)
            self._links[here] = target, True
        elif candidates:
            self._leads[found.path] = opened
        return [here for here, _ in candidates]

    def _between(self, spelled: bytes, opened: bytes) -> list[tuple[bytes, bytes]]:
        """Return which parts of a name may be links, and to where."""
        parts, real = spelled.split(b"/")[1:], opened.split(b"/")[1:]
        candidates = []
        for index in range(len(parts)):
            here = b"/" + b"/".join(parts[: index + 1])
            rest = parts[index + 1 :]
            fits = not rest or (real[-len(rest) :] == rest and len(real) > len(rest))
            if not fits or (rest and here in self._real):
                continue
            target = b"/" + b"/".join(real[: len(real) - len(rest)])
            # A link that leads to itself or below itself would be none.
            if target != here and not target.startswith(here + b"/"):
                candidates.append((here, target))
        return candidates

    def link(self, path: bytes, target: bytes | None) -> None:
        """Note that a path is a symbolic link; to an unknown target if None."""
        if path.startswith(_VOLATILE):
            return
        self.forget(path, keep_link=target is None)
        if target is not None:
            self._links[path] = target, False

    def forget(self, path: bytes, *, keep_link: bool = False) -> None:
        """Note that a name, and what is below it, stands for nothing known any more."""
        if not keep_link:
            self._links.pop(path, None)
        self._take_away(path)
        if self._leads:
            below = path + b"/"
            for name in [n for n in self._leads if n == path or n.startswith(below)]:
                del self._leads[name]

    def move(self, old: bytes, new: bytes) -> None:
        """Give what is known of a name, and of what is below it, to another."""
        links = {p: t for p, t in self._links.items() if p == old or p.startswith(old + b"/")}
        self.forget(new)
        for path in list(links):
            if links[path][0] == new:  # no link: its path was shown after this rename
                del links[path], self._links[path]
        self._moved.pop(new, None)
        self._moved[old] = new
        moved = self._take_away(old)
        self.forget(old)
        for path in moved:
            self._add(new + path[len(old) :])
        for path, target in links.items():
            self._links.pop(path, None)
            self._links[new + path[len(old) :]] = target

    def _add(self, path: bytes) -> None:
        self._real.add(path)
        self._below.setdefault(parent(path), set()).add(path)

    def _take_away(self, path: bytes) -> list[bytes]:
        """Remove a real path and those below it; return them, each after the one above it."""
        if path not in self._real or path == b"/":
            return []
        self._below.get(parent(path), set()).discard(path)
        gone = [path]
        for here in gone:
            self._real.discard(here)
            gone += self._below.pop(here, ())
        return gone

    def leads_to(self, path: bytes, target: bytes) -> bool:
        """Return whether a path seemed to be a link to a real path."""
        return self._links.get(path) == (target, True)


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of an entry of a directory."""
    return (b"" if directory == b"/" else directory) + b"/" + name


def parent(path: bytes) -> bytes:
    """Return the directory of an absolute path."""
    return path[: path.rfind(b"/")] or b"/"


def upwards(path: bytes) -> Iterator[bytes]:
    """Yield an absolute path and all above it but the root."""
    while path not in (b"/", b""):
        yield path
        path = parent(path)
