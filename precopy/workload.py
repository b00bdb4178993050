"""Which file the application writes, and how often: random workloads."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from precopy import _check, _core
from precopy.files import FileSet, file_set
from precopy.run import Cycle
from precopy.seeds import Seed, generator
from precopy.trace import WriteTrace

_DRAW_BLOCK = 1 << 24


class Workload:
    """Each file's share of all writes; every write is drawn independently of the others.

    Parameters
    ----------
    share : array_like of float, shape (n,)
        Each file's share of all writes, in any unit: shares are normalised to a sum of 1.
        Read-only files must have 0, which is checked where files and workload come together.

    Raises
    ------
    ValueError
        For shares that are negative, NaN, infinite or all zero.

    References
    ----------
    Model, rules random.*; paper, section 5.1.1.

    Examples
    --------
    >>> import precopy
    >>> precopy.Workload([0, 1, 3]).share.tolist()
    [0.0, 0.25, 0.75]
    """

    def __init__(self, share: Any) -> None:
        self._set(_normalised("share", share))

    def _set(self, share: npt.NDArray[np.float64]) -> None:
        share.flags.writeable = False
        self._share = share

    @classmethod
    def _idle(cls, count: int) -> Workload:
        """Return the workload of a file set without read-write files: nothing is ever written."""
        workload = cls.__new__(cls)
        workload._set(np.zeros(count))
        return workload

    @classmethod
    def uniform(cls, files: FileSet) -> Workload:
        """Spread the writes evenly over the read-write files.

        Parameters
        ----------
        files : FileSet
            The files; without a read-write file among them nothing is ever written.

        Returns
        -------
        Workload

        References
        ----------
        Paper, section 5.1.1, first update pattern.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([10, 10, 10], read_only=[True, False, False])
        >>> precopy.Workload.uniform(files).share.tolist()
        [0.0, 0.5, 0.5]
        """
        return cls._of((~file_set(files).read_only).astype(np.float64))

    @classmethod
    def shares(cls, files: FileSet, shares: Any, group: Any = None) -> Workload:
        """Give groups of read-write files their shares of the writes, evenly within a group.

        Parameters
        ----------
        files : FileSet
            The files.
        shares : sequence of float, length k
            The groups' shares, in any unit, such as the paper's ``(1, 10, 10, 79)``.
        group : array_like of int, shape (n,), optional
            The group of each file, 0 to k - 1; entries of read-only files are ignored. By default
            the read-write files of each size, in id order, are cut into k equal runs: file j of m
            goes to group floor(j k / m).

        Returns
        -------
        Workload

        Raises
        ------
        ValueError
            For a group without files whose share is not 0, or a group number out of range.

        References
        ----------
        Paper, section 5.1.1, second update pattern; model, rule random.shares.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([10] * 4)
        >>> precopy.Workload.shares(files, (1, 3)).share.tolist()
        [0.125, 0.125, 0.375, 0.375]
        """
        parts = _normalised("shares", shares)
        if group is None:
            member = _cut_size_classes(file_set(files), len(parts))
        else:
            member = _check.column("group", group, len(file_set(files)))
            if member.dtype.kind not in "iu":
                raise TypeError(f"group: expected an array of integers, got dtype {member.dtype}")
        written = ~files.read_only
        wrong = written & ((member < 0) | (member >= len(parts)))
        _check.first("group", member, wrong, f"group numbers from 0 to {len(parts) - 1}")
        size = np.bincount(member[written], minlength=len(parts))
        empty = np.flatnonzero((size == 0) & (parts > 0))
        if len(empty) and written.any():
            raise ValueError(
                "shares: expected files in every group whose share is not 0, got "
                f"{_check.shown(shares)} with no file in group {empty[0]}"
            )
        share = np.zeros(len(files))
        share[written] = (parts / np.maximum(size, 1))[member[written]]
        return cls._of(share)

    @classmethod
    def zipf(cls, files: FileSet, exponent: float, seed: Seed = 0) -> Workload:
        """Give the r-th busiest read-write file a share proportional to r ** -exponent.

        Parameters
        ----------
        files : FileSet
            The files.
        exponent : float
            0 is uniform; web and storage traces are often near 1.
        seed : anything that numpy.random.default_rng takes, default 0
            Draws which file has which place in the ranking.

        Returns
        -------
        Workload

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([10] * 3)
        >>> sorted(precopy.Workload.zipf(files, 1.0).share.round(3).tolist())
        [0.182, 0.273, 0.545]
        """
        power = _check.real("exponent", exponent)
        if not 0.0 <= power < np.inf:
            raise ValueError(
                f"exponent: expected a finite number from 0 on, got {_check.shown(exponent)}"
            )
        written = file_set(files).read_write
        rank = generator(seed).permutation(len(written)) + 1.0
        share = np.zeros(len(files))
        share[written] = rank**-power
        return cls._of(share)

    @classmethod
    def switching(cls, parts: Any, cycle: Cycle) -> Workload:
        """Follow one workload after the other, such as a group of hot files that moves.

        Parameters
        ----------
        parts : sequence of (int, Workload)
            How many cycles before each part begins, 0 for the first: ``[(0, a), (100, b)]`` draws
            cycles 1 to 100 from a, and all later ones from b.
        cycle : Cycle
            What a cycle is here. The parts change with the writes, so in a run with other cycles
            they change after as many writes, in the middle of a cycle if it comes to that.

        Returns
        -------
        Workload
            It has `parts` and no `share`; `bound` refuses it.

        Raises
        ------
        ValueError, TypeError
            For parts that do not begin at 0 and ascend, or are workloads of different files.

        References
        ----------
        Model, rule random.switch.

        Examples
        --------
        >>> import precopy
        >>> a, b = precopy.Workload([1, 0]), precopy.Workload([0, 1])
        >>> moving = precopy.Workload.switching([(0, a), (2, b)], precopy.Cycle(writes=3))
        >>> moving.draw(9, seed=1).file_id.tolist()
        [0, 0, 0, 0, 0, 0, 1, 1, 1]
        """
        if not isinstance(cycle, Cycle):
            raise TypeError(f"cycle: expected a Cycle, got {_check.shown(cycle)}")
        return _Switching(_parts(parts, cycle))

    @property
    def parts(self) -> tuple[tuple[int, Workload], ...]:
        """From which write on (0, ...) which workload is in force: one part, unless it switches."""
        return ((0, self),)

    @classmethod
    def _of(cls, share: npt.NDArray[np.float64]) -> Workload:
        return cls(share) if share.any() else cls._idle(len(share))

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """Each file's share of all writes, float64[n], summing to 1; read-only."""
        return self._share

    @cached_property
    def alias(self) -> npt.NDArray[np.uint64]:
        """The alias table that writes are drawn from, uint64[k, 2], made once per workload."""
        table = np.empty((len(self._share), 2), dtype=np.uint64)
        slots = _core.alias_build(self._share, table)
        table.flags.writeable = False
        return table[:slots]

    def draw(self, n: int, seed: Seed = None) -> WriteTrace:
        """Draw the writes that ``simulate(files, workload, seed=seed)`` draws.

        Every write takes one 64-bit draw u from the bit generator; with k files that are written,
        the high half of ``u * k`` is a slot of an alias table and the low half is the coin. So a
        seed means the same writes on every platform.

        Parameters
        ----------
        n : int
            How many writes.
        seed : anything that numpy.random.default_rng takes
            A Generator is advanced by n draws.

        Returns
        -------
        WriteTrace

        References
        ----------
        Model, rule random.draw.

        Examples
        --------
        >>> import precopy
        >>> precopy.Workload([0, 1, 0]).draw(3, seed=1).file_id.tolist()
        [1, 1, 1]
        """
        count = _check.integer("n", n)
        if count and not len(self.parts[0][1].alias):
            raise ValueError(f"n: expected 0 without a read-write file, got {n}")
        bits = generator(seed).bit_generator
        file_id = np.empty(count, dtype=np.int64)
        ends = [first for first, _ in self.parts[1:]] + [count]
        with bits.lock:
            for (first, part), end in zip(self.parts, ends, strict=True):
                # In blocks, so that Ctrl-C does not wait for billions of draws.
                for start in range(first, min(end, count), _DRAW_BLOCK):
                    block = file_id[start : min(start + _DRAW_BLOCK, end)]
                    block[:] = _core.alias_draw(part.alias, bits, len(block))
        return WriteTrace._trusted(file_id)

    def split(self, files: FileSet, block_bytes: int) -> Workload:
        """Spread each file's share over its blocks, in proportion to their sizes.

        Parameters
        ----------
        files : FileSet
            The files, before they are split.
        block_bytes : int
            As for `FileSet.split`.

        Returns
        -------
        Workload
            The shares of the blocks.

        Raises
        ------
        ValueError
            For shares of another number of files.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([8, 3])
        >>> precopy.Workload([2, 1]).split(files, 4).share.round(3).tolist()
        [0.333, 0.333, 0.333]
        """
        if len(file_set(files)) != len(self):
            raise ValueError(
                f"files: expected {len(self)} files, as there are shares, got {len(files)}"
            )
        count, sizes = files.block_sizes(block_bytes)
        part = sizes / np.repeat(np.maximum(files.size_bytes, 1), count)
        empty = files.size_bytes == 0
        if empty.any():
            part[np.repeat(empty, count)] = 1.0
        return self._of(np.repeat(self._share, count) * part)

    def along(self, files: FileSet) -> Workload:
        """Return the workload of `files`: split, if they are the blocks of this one's files."""
        if files.whole is None or len(self) == len(files) or len(self) != len(files.whole[0]):
            return self
        key = id(files)
        if key not in self._splits:
            # The file set is kept, too: another one must not get its id.
            self._splits[key] = files, self.split(*files.whole)
        return self._splits[key][1]

    @cached_property
    def _splits(self) -> dict[int, tuple[FileSet, Workload]]:
        return {}

    def __len__(self) -> int:
        return len(self._share)

    def __getstate__(self) -> dict[str, Any]:
        return {"_share": self._share}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(state["_share"])

    def __repr__(self) -> str:
        written = np.sort(self._share[self._share > 0])[::-1]
        if len(written) == 0:
            return f"<Workload: {len(self)} files, none of them written>"
        top = max(1, len(written) // 10)
        return (
            f"<Workload: {len(self)} files, {len(written)} written; "
            f"the busiest {top} get {written[:top].sum():.1%} of the writes>"
        )


class _Switching(Workload):
    """Workloads that follow one another."""

    def __init__(self, parts: tuple[tuple[int, Workload], ...]) -> None:
        self._parts = parts

    @property
    def parts(self) -> tuple[tuple[int, Workload], ...]:
        return self._parts

    @property
    def share(self) -> npt.NDArray[np.float64]:
        raise ValueError(
            f"share: expected a workload whose shares stay, got {self!r}; its parts have shares"
        )

    def split(self, files: FileSet, block_bytes: int) -> Workload:
        return _Switching(
            tuple((first, part.split(files, block_bytes)) for first, part in self._parts)
        )

    def __len__(self) -> int:
        return len(self._parts[0][1])

    def __getstate__(self) -> dict[str, Any]:
        return {"_parts": self._parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._parts = state["_parts"]

    def __repr__(self) -> str:
        starts = ", ".join(str(first) for first, _ in self._parts)
        return f"<Workload: {len(self)} files, switching at the writes {starts}>"


def _normalised(name: str, share: Any) -> npt.NDArray[np.float64]:
    values = _check.floats(name, share)
    if len(values) == 0:
        raise ValueError(f"{name}: expected at least one number, got an empty array")
    _check.first(name, values, values < 0, "numbers that are not negative")
    _check.first(name, values, np.isinf(values), "finite numbers")
    with np.errstate(over="ignore"):
        total = float(values.sum())
    if total == 0.0:
        raise ValueError(f"{name}: expected at least one number above 0, got only zeros")
    if np.isinf(total):
        raise ValueError(f"{name}: expected a finite sum, got an overflow")
    # Shares that are normalised already stay as they are, so that a copy is exact.
    return values if abs(total - 1.0) < 1e-12 else values / total


def _parts(parts: Any, cycle: Cycle) -> tuple[tuple[int, Workload], ...]:
    if not isinstance(parts, (list, tuple)) or not parts:
        raise TypeError(
            f"parts: expected a list of (cycles before, Workload), got {_check.shown(parts)}"
        )
    found: list[tuple[int, Workload]] = []
    for index, item in enumerate(parts):
        if not isinstance(item, (list, tuple)) or len(item) != 2:
            raise TypeError(
                f"parts: expected pairs (cycles before, Workload), got {_check.shown(item)} at "
                f"index {index}"
            )
        first = _check.integer("parts", item[0]) * cycle.writes
        part = item[1]
        if not isinstance(part, Workload) or len(part.parts) > 1:
            raise TypeError(
                f"parts: expected workloads that do not switch, got {_check.shown(part)} at index "
                f"{index}"
            )
        if (not found and first) or (found and first <= found[-1][0]) or first > _check.INT64_MAX:
            raise ValueError(
                f"parts: expected cycles from 0 on that ascend, got {_check.shown(item[0])} at "
                f"index {index}"
            )
        if len(part) != len(parts[0][1]):
            raise ValueError(
                f"parts: expected workloads of {len(parts[0][1])} files, got {len(part)} at index "
                f"{index}"
            )
        found.append((first, part))
    return tuple(found)


def _cut_size_classes(files: FileSet, groups: int) -> npt.NDArray[np.int64]:
    """Return the default groups: equal contiguous runs of the read-write files of each size."""
    member = np.zeros(len(files), dtype=np.int64)
    ids = files.read_write
    by_size = ids[np.argsort(files.size_bytes[ids], kind="stable")]
    _, start, count = np.unique(files.size_bytes[by_size], return_index=True, return_counts=True)
    within = np.arange(len(by_size)) - np.repeat(start, count)
    member[by_size] = within * groups // np.repeat(count, count)
    return member
