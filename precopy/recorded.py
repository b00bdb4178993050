"""An application's files and writes in time: what is replayed, forecast and characterised."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from precopy import _check
from precopy._packing import packed, unpacked
from precopy._text import printable
from precopy.files import FileSet, file_set
from precopy.trace import WriteTrace

_FORMAT = "precopy recording 1"


class Recorded:
    """A recorded application: `simulate` and `sweep` take it in place of files and writes.

    It comes from `AccessLog.recorded`, from `precopy.datasets.load`, from a file (`load`), or from
    files and a trace of one's own.

    Parameters
    ----------
    name : str
        What the application is called.
    files : FileSet
        Every file that existed at some time, with its size at the beginning, 0 where it did not
        exist then.
    writes : WriteTrace
        What happened to them, in time.
    notes : iterable of str, optional
        What a reader of results should know, such as what could not be recorded.

    Raises
    ------
    ValueError
        For a trace without times, or of other files.

    References
    ----------
    Model, rules replay.*; paper, section 6 (its open item: evaluation fitted to real environments).

    Examples
    --------
    >>> import precopy
    >>> files = precopy.FileSet([100, 0])
    >>> writes = precopy.WriteTrace(
    ...     [0, 1], time_ns=[0, 10**9], size_bytes=[100, 20], present=[True, False]
    ... )
    >>> precopy.Recorded("editor", files, writes)
    <Recorded editor: 2 files, 1 at the beginning (100 B); 2 updates of 2 files in 1 s, 2 rows>
    """

    __slots__ = ("_files", "_name", "_notes", "_writes")

    def __init__(
        self, name: str, files: FileSet, writes: WriteTrace, notes: Iterable[str] = ()
    ) -> None:
        self._name = str(name)
        self._files = file_set(files)
        if not isinstance(writes, WriteTrace):
            raise TypeError(f"writes: expected a WriteTrace, got {_check.shown(writes)}")
        if not writes.in_time:
            raise ValueError(f"writes: expected a trace in time, got {writes!r}")
        if writes.present is not None and len(writes.present) != len(files):
            raise ValueError(
                f"writes: expected what is present of {len(files)} files, as in files, got "
                f"{len(writes.present)}"
            )
        writes.counts(files)
        self._writes = writes
        self._notes = tuple(str(note) for note in notes)

    @property
    def name(self) -> str:
        """What the application is called."""
        return self._name

    @property
    def files(self) -> FileSet:
        """Every file that existed at some time; sizes are those at the beginning."""
        return self._files

    @property
    def writes(self) -> WriteTrace:
        """What happened to the files, in time."""
        return self._writes

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results should know."""
        return self._notes

    @property
    def seconds(self) -> float:
        """How long was recorded, in seconds."""
        return self._writes.duration_ns / 1e9

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which files exist at the beginning, bool[n]."""
        if self._writes.present is None:
            return np.ones(len(self._files), np.bool_)
        return self._writes.present

    def starts(self, count: int = 10) -> list[float]:
        """Return start points, in seconds, spread evenly over the recording.

        A replay that starts later in the recording goes on at its beginning; so the start points
        take the place of seeds.

        Parameters
        ----------
        count : int, default 10
            How many.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([100])
        >>> writes = precopy.WriteTrace(
        ...     [0], time_ns=[0], size_bytes=[100], duration_ns=10 * 10**9
        ... )
        >>> precopy.Recorded("editor", files, writes).starts(4)
        [0.0, 2.5, 5.0, 7.5]
        """
        number = _check.integer("count", count, least=1)
        return [index * self.seconds / number for index in range(number)]

    def part(self, begin_s: float = 0.0, end_s: float | None = None) -> Recorded:
        """Return a stretch of the recording as one of its own, such as a half of it.

        Parameters
        ----------
        begin_s : float, default 0.0
            Where it begins, in seconds.
        end_s : float, optional
            Where it ends; default: where the recording does.

        Returns
        -------
        Recorded
            With the same ids; files that do not exist in it are absent. What was left out is
            known for the whole recording only, and is not in it.

        Raises
        ------
        ValueError
            If that is no stretch of the recording.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([100])
        >>> writes = precopy.WriteTrace(
        ...     [0, 0], time_ns=[0, 10**9], size_bytes=[100, 200], duration_ns=4 * 10**9
        ... )
        >>> precopy.Recorded("editor", files, writes).part(0.5, 2.5)
        <Recorded editor: 1 files, 1 at the beginning (100 B); 1 updates of 1 files in 2 s, 1 rows>
        """
        from precopy._clean import column
        from precopy.replay import Replay

        begin_ns = round(_check.not_negative("begin_s", begin_s) * 1e9)
        end_ns = self._writes.duration_ns
        if end_s is not None:
            end_ns = round(_check.not_negative("end_s", end_s) * 1e9)
        if not begin_ns < end_ns <= self._writes.duration_ns:
            raise ValueError(
                f"end_s: expected a time after begin_s = {begin_s!r} and up to {self.seconds!r}, "
                f"got {end_s!r}"
            )
        writes = self._writes
        first, end = np.searchsorted(column(writes.time_ns), [begin_ns, end_ns])
        sizes = Replay.of(self._files, writes).sizes(int(first))
        part = slice(first, end)
        source = column(writes.from_id)[part]
        untouched = np.ones(len(sizes), np.bool_)
        untouched[writes.file_id[part]] = False
        untouched[source[source >= 0]] = False
        trace = WriteTrace(
            writes.file_id[part],
            None if writes.write_bytes is None else writes.write_bytes[part],
            time_ns=column(writes.time_ns)[part] - begin_ns,
            count=column(writes.count)[part],
            size_bytes=column(writes.size_bytes)[part],
            from_id=source,
            present=sizes >= 0,
            duration_ns=end_ns - begin_ns,
        )
        files = FileSet(np.maximum(sizes, 0), untouched, self._files.path)
        return Recorded(self._name, files, trace, self._notes)

    def later(self, idle_ns: int) -> Recorded:
        """Return the recording with a time before it in which nothing happens.

        A replay that starts at its beginning has sent everything before the first write, if the
        time is long enough.

        Parameters
        ----------
        idle_ns : int
            How long nothing happens, in nanoseconds.

        Examples
        --------
        >>> import precopy
        >>> files = precopy.FileSet([100])
        >>> writes = precopy.WriteTrace([0], time_ns=[5], size_bytes=[100], duration_ns=10)
        >>> quiet = precopy.Recorded("editor", files, writes).later(30).writes
        >>> quiet.time_ns.tolist(), quiet.duration_ns
        ([35], 40)
        """
        idle = _check.integer("idle_ns", idle_ns)
        writes = self._writes
        assert writes.time_ns is not None
        later = writes.replace(time_ns=writes.time_ns + idle, duration_ns=writes.duration_ns + idle)
        return Recorded(self._name, self._files, later, self._notes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recording to a file that `load` reads, in a portable, compressed form.

        Parameters
        ----------
        path : path
            The file; an older one is replaced.
        """
        writes = self._writes
        arrays: dict[str, npt.NDArray[Any]] = {
            **packed(writes, self._files.size_bytes),
            "initial_bytes": self._files.size_bytes,
            "present": self.present,
        }
        paths = self._files.path
        about = {
            "format": _FORMAT,
            "name": self._name,
            "notes": self._notes,
            "duration_ns": writes.duration_ns,
            "left_out": writes.left_out,
            "path": None if paths is None else [printable(each) for each in paths],
        }
        target = Path(path)
        unfinished = target.with_name(target.name + ".new")
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_LZMA) as archive:
            for name, array in arrays.items():
                file = io.BytesIO()
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
                _add(archive, f"{name}.npy", file.getvalue())
            _add(archive, "about.json", json.dumps(about, ensure_ascii=False).encode())
        unfinished.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recorded:
        """Read a recording that `save` has written.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        Recorded

        Raises
        ------
        OSError
            If it cannot be read.
        ValueError
            If it is no recording, or a damaged one.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                about = json.loads(archive.read("about.json"))
                if not isinstance(about, dict) or about.get("format") != _FORMAT:
                    raise ValueError(f"another format than {_FORMAT!r}")
                arrays = {
                    name.removesuffix(".npy"): np.lib.format.read_array(
                        io.BytesIO(archive.read(name)), allow_pickle=False
                    )
                    for name in archive.namelist()
                    if name.endswith(".npy")
                }
            return cls._unpacked(about, arrays)
        except OSError:
            raise
        except Exception as error:
            raise ValueError(
                f"path: expected a recording, got {os.fspath(path)!r}: {error}"
            ) from error

    @classmethod
    def _unpacked(cls, about: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Recorded:
        initial, present = arrays.pop("initial_bytes"), arrays.pop("present")
        writes = WriteTrace(
            **unpacked(arrays, initial),
            present=present,
            duration_ns=about["duration_ns"],
            left_out=about["left_out"],
        )
        written = np.zeros(len(initial), np.bool_)
        written[writes.file_id] = True
        assert writes.from_id is not None
        written[writes.from_id[writes.from_id >= 0]] = True
        files = FileSet(initial, ~written, about["path"])
        return cls(about["name"], files, writes, about["notes"])

    def __repr__(self) -> str:
        there = self.present
        count = int(there.sum())
        size = _check.bytes_text(int(self._files.size_bytes[there].sum()))
        writes = repr(self._writes).removeprefix("<WriteTrace: ").removesuffix(">")
        return (
            f"<Recorded {self._name}: {len(self._files)} files, {count} at the beginning ({size}); "
            f"{writes}>"
        )

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{escape(note)}</li>" for note in self._notes)
        return f"<code>{escape(repr(self))}</code>" + (f"<ul>{notes}</ul>" if notes else "")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A fixed time: the same recording is the same file.
    archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_LZMA)
