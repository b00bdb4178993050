"""Going on with a migration that was interrupted: what the destination has need not go again."""

from __future__ import annotations

from collections.abc import Mapping

from precopy.migration.source.blocks import Blocks
from precopy.migration.source.tree import Tree
from precopy.migration.structure import Structure
from precopy.migration.transport.interface import Transport


def resume(
    there: Mapping[bytes, tuple[str, int]],
    tree: Tree,
    blocks: Blocks,
    structure: Structure,
    transport: Transport,
) -> None:
    """Take what the destination has as held, by its own digests; delete there what is no more.

    Parameters
    ----------
    there : mapping of bytes to (str, int)
        Kind and size by path, as `Transport.listing` returns it.
    tree, blocks, structure, transport
        What is at the source, after the first scan, and the destination.
    """
    wanted: list[tuple[bytes, int]] = []
    for path in sorted(there, key=lambda path: path.count(b"/"), reverse=True):
        kind, _ = there[path]
        entry = tree.find(path)
        # Whether a name is another name of a file there cannot be told: it is made anew.
        if entry is None or entry.kind != kind or kind == "link" or entry.same_as is not None:
            transport.delete(path)
            continue
        structure.there.add(entry.id)
        if kind == "file":
            wanted.append((path, blocks.block_bytes(entry)))
    transport.barrier()
    for path, digests in transport.digests_of(wanted):
        entry = tree.find(path)
        if entry is not None:
            blocks.restore(entry, there[path][1], digests)
