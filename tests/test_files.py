"""File sets: what they accept, what they refuse and how they look."""

import copy
import os
import pickle
import socket
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas
import pytest
import xarray

from precopy import FileSet


@pytest.mark.model("files")
@pytest.mark.parametrize(
    ("size_bytes", "error", "message"),
    [
        ([], ValueError, "size_bytes: expected at least one file"),
        ([3, -1], ValueError, "size_bytes: .* got -1 at index 1"),
        (np.array([0, -(2**63)]), ValueError, "size_bytes: .* got -9223372036854775808"),
        ([0.0, np.nan], ValueError, "size_bytes: .* got nan at index 1"),
        ([np.inf], ValueError, "size_bytes: .* got inf"),
        ([1, 1.5], ValueError, r"size_bytes: .* got 1\.5 at index 1"),
        ([-1.0], ValueError, r"size_bytes: .* got -1\.0"),
        ([1e19], ValueError, r"size_bytes: .* fit int64, got 1e\+19"),
        ([2**63], ValueError, "size_bytes: .* got 9223372036854775808"),
        ([1, 2**70], ValueError, "size_bytes: .* got 1180591620717411303424"),
        ([-(2**70), 1], ValueError, "size_bytes: .* got -1180591620717411303424"),
        (np.array([2**63], dtype=np.uint64), ValueError, "size_bytes: .* got 9223372036854775808"),
        ([2**62, 2**62], ValueError, "size_bytes: .* sum .* got 9223372036854775808"),
        ([2**63 - 1, 1], ValueError, "size_bytes: .* sum .* got 9223372036854775808"),
        (np.full(4, 2**62), ValueError, "size_bytes: .* sum .* got 18446744073709551616"),
        ([[1, 2]], ValueError, r"size_bytes: .* got shape \(1, 2\)"),
        ([[1], [1, 2]], ValueError, r"size_bytes: .* got \[\[1\], \[1, 2\]\]"),
        ("abc", TypeError, "size_bytes: .* got 'abc'"),
        (None, TypeError, "size_bytes: .* got None"),
        (5, TypeError, "size_bytes: .* got 5"),
        (np.ma.array([1, 2], mask=[0, 1]), ValueError, "size_bytes: .* masked"),
        (["a"], TypeError, "size_bytes: .* got dtype <U1"),
        ([True], TypeError, "size_bytes: .* got dtype bool"),
        ([1j], TypeError, "size_bytes: .* got dtype complex128"),
        ([None], TypeError, "size_bytes: .* got dtype object"),
        (np.array(["2020"], dtype="M8[D]"), TypeError, "size_bytes: .* got dtype datetime64"),
    ],
)
def test_bad_sizes(size_bytes, error, message):
    with pytest.raises(error, match=f"^{message}"):
        FileSet(size_bytes)


@pytest.mark.parametrize(
    ("read_only", "error", "message"),
    [
        ([True], ValueError, "read_only: expected 2 entries, one per file, got 1"),
        ([True] * 3, ValueError, "read_only: expected 2 entries, one per file, got 3"),
        ([0, 1], TypeError, "read_only: .* got dtype int64"),
        ([0.0, np.nan], TypeError, "read_only: .* got dtype float64"),
        ([[True, False]], ValueError, r"read_only: .* got shape \(1, 2\)"),
        (True, TypeError, "read_only: .* got True"),
    ],
)
def test_bad_access(read_only, error, message):
    with pytest.raises(error, match=f"^{message}"):
        FileSet([1, 2], read_only)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (5, TypeError, "path: expected a sequence of str, got 5"),
        ("ab", TypeError, "path: expected a sequence of str, got 'ab'"),
        (b"ab", TypeError, "path: expected a sequence of str, got b'ab'"),
        (["a"], ValueError, "path: expected 2 entries, one per file, got 1"),
        (["a", b"b"], TypeError, "path: expected str, got b'b' at index 1"),
        (["a", None], TypeError, "path: expected str, got None at index 1"),
    ],
)
def test_bad_paths(path, error, message):
    with pytest.raises(error, match=f"^{message}"):
        FileSet([1, 2], path=path)


@pytest.mark.parametrize(
    "size_bytes",
    [
        (5, 0, 7),
        [5.0, 0.0, 7.0],
        np.array([5, 0, 7], dtype=">i8"),
        np.array([5, 0, 7], dtype=">u2"),
        np.array([5, 0, 7], dtype=">f4"),
        np.array([5, 0, 7], dtype=np.uint64),
        np.array([5, 0, 7], dtype=np.int8),
        np.array([5, 9, 0, 9, 7])[::2],
        np.array([7, 0, 5])[::-1],
        np.asfortranarray(np.arange(6).reshape(3, 2) * 0 + [[5, 1], [0, 1], [7, 1]])[:, 0],
        memoryview(np.array([5, 0, 7])),
    ],
)
def test_good_sizes(size_bytes):
    files = FileSet(size_bytes)
    assert files.size_bytes.tolist() == [5, 0, 7]
    assert files.size_bytes.dtype == np.int64
    assert files.size_bytes.dtype.isnative
    assert files.size_bytes.flags.c_contiguous
    assert files.read_only.tolist() == [False] * 3
    assert files.path is None


def test_strided_access():
    read_only = np.array([True, True, False, False])[::2]
    assert FileSet([1, 2], read_only).read_only.tolist() == [True, False]


@pytest.mark.model("files")
def test_the_largest_sum():
    assert FileSet([2**63 - 1]).total_bytes == 2**63 - 1
    assert FileSet([2**62, 2**62 - 1, 0]).total_bytes == 2**63 - 1


def test_columns_are_copies_and_cannot_be_changed():
    sizes, read_only = np.array([1, 2]), np.array([True, False])
    files = FileSet(sizes, read_only)
    sizes[0] = 9
    read_only[0] = False
    assert files.size_bytes.tolist() == [1, 2]
    assert files.read_only.tolist() == [True, False]
    for column in (files.size_bytes, files.read_only):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
    with pytest.raises(AttributeError):
        files.size_bytes = sizes


def test_properties():
    files = FileSet([4, 0, 2], [False, True, False], ["x", "y", "z"])
    assert len(files) == 3
    assert files.total_bytes == 6
    assert files.read_write.tolist() == [0, 2]
    assert files.path == ("x", "y", "z")
    assert files.name(1) == "file 1 (y)"
    assert FileSet([1]).name(0) == "file 0"


def test_from_classes():
    files = FileSet.from_classes([30, 10], read_only=[1, 2], read_write=[2, 0])
    assert files.size_bytes.tolist() == [30, 10, 10, 30, 30]
    assert files.read_only.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([-1], [1], [1]), "size_bytes: .* got -1"),
        (([1], [-1], [1]), "read_only: .* got -1"),
        (([1], [1], [1.5]), r"read_write: .* got 1\.5"),
        (([1, 2], [1], [1]), "size_bytes, read_only, read_write: .* got 2, 1 and 1"),
        (([], [], []), "size_bytes: expected at least one file"),
        (([5], [0], [0]), "size_bytes: expected at least one file"),
    ],
)
def test_bad_classes(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        FileSet.from_classes(*arguments)


@pytest.mark.parametrize(
    "copied", [lambda files: pickle.loads(pickle.dumps(files)), copy.deepcopy, copy.copy]
)
def test_copies(copied):
    files = FileSet([4, 0, 2], [False, True, False], ["x", "y", "z"])
    twin = copied(files)
    assert twin.size_bytes.tolist() == [4, 0, 2]
    assert twin.read_only.tolist() == [False, True, False]
    assert twin.path == ("x", "y", "z")
    assert twin.total_bytes == 6
    assert not twin.size_bytes.flags.writeable
    assert not twin.read_only.flags.writeable
    assert repr(twin) == repr(files)


def test_repr():
    files = FileSet([1000, 500_000, 2_500_000], [True, False, False])
    assert repr(files) == ("<FileSet: 3 files, 3.001 MB; 1 read-only (1 kB), 2 read-write (3 MB)>")
    assert repr(FileSet([0], [True])) == (
        "<FileSet: 1 files, 0 B; 1 read-only (0 B), 0 read-write (0 B)>"
    )


def test_html():
    html = FileSet([1000, 3000], [True, False], ["<b>&", "c"])._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "<b>&" not in html
    assert "<td>4 kB</td>" in html
    for files in (FileSet([0]), FileSet([1], [True])):
        assert files._repr_html_().count("<tr>") == 4


def test_from_directory(tmp_path):
    (tmp_path / "b").write_bytes(bytes(10))
    (tmp_path / "empty").touch()
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "a").write_bytes(bytes(7))
    (tmp_path / "sub" / "deep" / "fixed").write_bytes(bytes(3))
    (tmp_path / "sub" / "deep" / "fixed").chmod(0o444)
    (tmp_path / "link").symlink_to("b")
    (tmp_path / "linked").symlink_to("sub")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    os.link(tmp_path / "b", tmp_path / "same as b")
    files = FileSet.from_directory(tmp_path)
    root = str(tmp_path.resolve())
    names = ["/b", "/empty", "/sub/a", "/sub/deep/fixed"]
    assert files.path == tuple(root + name for name in names)
    assert files.size_bytes.tolist() == [10, 0, 7, 3]
    assert files.read_only.tolist() == [False, False, False, True]


def test_from_directory_does_not_read_the_files(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(5))
    (tmp_path / "secret").chmod(0)
    files = FileSet.from_directory(str(tmp_path))
    assert files.size_bytes.tolist() == [5]
    assert files.read_only.tolist() == [True]


def test_from_directory_with_a_name_that_is_no_text(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff"
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    (path,) = FileSet.from_directory(tmp_path).path
    assert os.fsencode(path) == os.path.realpath(name)


def test_from_directory_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(bytes(2))
    (tmp_path / "link").symlink_to("real")
    files = FileSet.from_directory(tmp_path / "link")
    assert files.path == (str((tmp_path / "real" / "a").resolve()),)


def test_from_directory_takes_the_first_of_hard_links(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_bytes(bytes(2))
    os.link(tmp_path / "b", tmp_path / "a" / "x")
    files = FileSet.from_directory(tmp_path)
    assert files.path == (str((tmp_path / "a" / "x").resolve()),)


def test_from_directory_without_files(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"^root: expected a directory with regular files, got"):
        FileSet.from_directory(tmp_path)


def test_from_directory_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        FileSet.from_directory(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        FileSet.from_directory(tmp_path / "nothing")
    with pytest.raises(TypeError):
        FileSet.from_directory(5)


def test_from_directory_that_cannot_be_listed(tmp_path, monkeypatch):
    """As for a user without the permission; the superuser has it always."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a").touch()
    (tmp_path / "shut").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="shut"):
        FileSet.from_directory(tmp_path)


def test_from_directory_while_files_come_and_go(tmp_path):
    """Names that are listed are gone, or below no directory, when they are looked at."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("x")
    real = os.lstat
    seen = []

    def lstat(path, **options):
        seen.append(path)
        if os.path.basename(path) == "b":
            raise NotADirectoryError(path) if len(seen) % 2 else FileNotFoundError(path)
        return real(path, **options)

    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "lstat", lstat)
            assert FileSet.from_directory(tmp_path).path == (str(tmp_path / "a"),)
        seen.append("")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "c").write_text("x")
    scan = os.scandir

    def scandir(path):
        if os.path.basename(path) == "gone":
            raise FileNotFoundError(2, "gone", path)
        return scan(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        assert len(FileSet.from_directory(tmp_path)) == 2
    with pytest.raises(FileNotFoundError, match="nothing"):
        FileSet.from_directory(tmp_path / "nothing")


def test_from_directory_takes_no_special_files(tmp_path):
    (tmp_path / "a").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "s"))
    assert FileSet.from_directory(tmp_path).path == (str(tmp_path / "a"),)


def test_equal_by_value():
    one = FileSet([1, 2], [True, False], ["a", "b"])
    assert one == FileSet([1, 2], [True, False], ["a", "b"])
    assert hash(one) == hash(pickle.loads(pickle.dumps(one)))
    others = [
        FileSet([1, 3], [True, False], ["a", "b"]),
        FileSet([1, 2], [False, False], ["a", "b"]),
        FileSet([1, 2], [True, False], ["a", "c"]),
        FileSet([1, 2], [True, False]),
        FileSet([1, 2, 3], [True, False, False], ["a", "b", "c"]),
    ]
    assert all(one != other for other in [*others, [1, 2], None])
    assert len({one, one, *others}) == 6


def test_paths_of_pathlib():
    assert FileSet([1, 2], path=[Path("a"), "b"]).path == ("a", "b")


@pytest.mark.parametrize("path", [{"a", "b"}, {"a": 1, "b": 2}, frozenset("ab")])
def test_paths_without_an_order(path):
    with pytest.raises(TypeError, match=r"^path: expected a sequence of str, got"):
        FileSet([1, 2], path=path)


@pytest.mark.parametrize("path", [None, ["a", "b", "c"]])
def test_dataframe_there_and_back(path):
    files = FileSet([1, 2**62, 3], [True, False, False], path)
    df = files.to_dataframe()
    assert FileSet.from_dataframe(df) == files
    shuffled = df.assign(share=1.0).iloc[::-1]
    assert FileSet.from_dataframe(shuffled).size_bytes.tolist() == [3, 2**62, 1]
    df.loc[0, "size_bytes"] = 9
    assert files.size_bytes[0] == 1


@pytest.mark.parametrize(
    ("df", "error", "message"),
    [
        ([1, 2], TypeError, r"df: expected a pandas DataFrame, got \[1, 2\]"),
        (pandas.DataFrame({"size": [1]}), ValueError, r"df: .* 'size_bytes', got .*\['size'\]"),
        (pandas.DataFrame([[1, 2]], columns=["size_bytes"] * 2), ValueError, "df: expected one"),
        (pandas.DataFrame({"size_bytes": ["1"]}), TypeError, "size_bytes: .* got dtype"),
        (pandas.DataFrame({"size_bytes": [1.5]}), ValueError, r"size_bytes: .* got 1\.5"),
        (pandas.DataFrame({"size_bytes": [1], "path": [None]}), TypeError, "path: .* got "),
        (pandas.DataFrame({"size_bytes": [1], "read_only": [1]}), TypeError, "read_only: "),
    ],
)
def test_bad_dataframes(df, error, message):
    with pytest.raises(error, match=f"^{message}"):
        FileSet.from_dataframe(df)


@pytest.mark.parametrize(
    "sizes",
    [
        pandas.Series([1, 2, 3], index=[5, 6, 7]),
        pandas.array([1, 2, 3], dtype="Int64"),
        xarray.DataArray([1, 2, 3]),
        np.ma.masked_array([1, 2, 3]),
        np.array([1, 2, 3], dtype=">u2"),
        memoryview(np.array([1, 2, 3])),
        range(1, 4),
    ],
    ids=lambda sizes: type(sizes).__name__,
)
def test_sizes_of_other_libraries(sizes):
    assert FileSet(sizes).size_bytes.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "sizes",
    [
        [True, 2],
        ["1", "2"],
        [Decimal(1), 2],
        [Fraction(1, 2)],
        [2**53 + 1, 0.5],
        [1, None],
        {1, 2},
        {1: 2},
        iter([1]),
        b"12",
        pandas.array([1, None], dtype="Int64"),
        np.ma.masked_array([1, 2], [True, False]),
        np.array(5),
        [1 + 0j],
        [2**63 - 1, 1],
    ],
    ids=lambda sizes: repr(sizes).partition(" at 0x")[0],  # a test has one name in all processes
)
def test_sizes_that_are_not_exact_are_errors(sizes):
    with pytest.raises((TypeError, ValueError), match=r"^size_bytes: expected "):
        FileSet(sizes)


def test_blocks_are_files_of_their_own():
    files = FileSet([10, 0, 4, 3], [False, True, False, True], ["a", "b", "c", "d"])
    blocks = files.split(4)
    assert blocks.size_bytes.tolist() == [4, 4, 2, 0, 4, 3]
    assert blocks.read_only.tolist() == [False, False, False, True, False, True]
    assert blocks.path == ("a", "a", "a", "b", "c", "d")
    assert blocks.total_bytes == files.total_bytes
    assert files.blocks(4).tolist() == [3, 1, 1, 1]
    assert (blocks.whole, files.whole) == ((files, 4), None)
    assert FileSet([5]).split(5) == FileSet([5])


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (0, ValueError, "block_bytes: .* got 0"),
        (2.5, ValueError, r"block_bytes: .* got 2\.5"),
        ("4k", TypeError, "block_bytes: .* got '4k'"),
        (1, ValueError, r"block_bytes: .* at most 2\^32 - 2 blocks, got 1 for 1 TB"),
    ],
)
def test_blocks_that_cannot_be(size, error, message):
    with pytest.raises(error, match=f"^{message}"):
        FileSet([10**12]).split(size)
