"""A recording that is saved and loaded is the same one, and takes little room."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import precopy
from precopy._packing import packed, unpacked

COLUMNS = ("file_id", "time_ns", "count", "write_bytes", "size_bytes", "from_id", "present")
WIDE = st.integers(0, 2**62)


def equal(one, other):
    for name in COLUMNS:
        a, b = getattr(one.writes, name), getattr(other.writes, name)
        if name == "present":
            a, b = one.present, other.present
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(a, b, name)
    assert one.files == other.files
    assert (one.name, one.notes) == (other.name, other.notes)
    assert one.writes.duration_ns == other.writes.duration_ns
    assert one.writes.left_out == other.writes.left_out


@st.composite
def recordings(draw):
    count = draw(st.integers(1, 6))
    files = st.integers(0, count - 1)
    row = st.tuples(
        files,
        st.integers(0, 8) | WIDE,
        st.integers(0, 3) | WIDE,
        st.integers(0, 5000) | st.integers(0, 2**40),
        st.just(-1) | st.integers(0, 5000) | WIDE,
        st.just(-1) | files,
    )
    rows = sorted(draw(st.lists(row, max_size=30)), key=lambda row: row[1])
    file_id, time, updates, size, after, origin = np.array(rows, np.int64).reshape(-1, 6).T
    updates = np.where(size == 0, updates, updates % 1000)  # bytes of all updates fit
    writes = precopy.WriteTrace(
        file_id,
        draw(st.none() | st.just(size)),
        time_ns=time,
        count=updates,
        size_bytes=after,
        from_id=np.where(origin == file_id, -1, origin),
        present=draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        left_out=draw(st.just({}) | st.just({"mapped": 3})),
    )
    initial = draw(st.lists(st.integers(0, 10**9), min_size=count, max_size=count))
    there = set(file_id.tolist()) | set(writes.from_id.tolist())
    named = draw(st.none() | st.just([f"f{k}" for k in range(count)]))
    return precopy.Recorded(
        "drawn",
        precopy.FileSet(initial, [k not in there for k in range(count)], named),
        writes,
        draw(st.just([]) | st.just(["one note", "another"])),
    )


@settings(max_examples=300)
@given(recordings())
def test_what_is_packed_is_unpacked(recorded):
    initial = recorded.files.size_bytes
    columns = unpacked(packed(recorded.writes, initial), initial)
    for name, column in columns.items():
        np.testing.assert_array_equal(getattr(recorded.writes, name), column, name)


@settings(max_examples=10)
@given(recordings())
def test_what_is_saved_is_loaded(tmp_path_factory, recorded):
    path = tmp_path_factory.mktemp("saved") / "a"
    recorded.save(path)
    equal(recorded, precopy.Recorded.load(path))


def test_the_same_recording_is_the_same_file(tmp_path):
    writes = precopy.WriteTrace([0, 1], time_ns=[0, 5], size_bytes=[10, 3])
    recorded = precopy.Recorded("a", precopy.FileSet([10, 0]), writes)
    for name in ("one", "two"):
        recorded.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_row_takes_little_more_than_a_byte(tmp_path):
    """Files that are written in turn by updates of one size, at times that were drawn."""
    random = np.random.default_rng(1)
    file_id = random.integers(0, 100, 20_000)
    count = random.integers(1, 4, 20_000)
    writes = precopy.WriteTrace(
        file_id,
        count * 4120,
        time_ns=np.arange(20_000) // 20 * 100_000_000,
        count=count,
        size_bytes=np.full(20_000, 50_000),
    )
    recorded = precopy.Recorded("a", precopy.FileSet([50_000] * 100), writes)
    recorded.save(tmp_path / "a")
    equal(recorded, precopy.Recorded.load(tmp_path / "a"))
    # What was drawn: files 100 of them, 20 in each of 1,000 times, in some order; counts of 3.
    assert (tmp_path / "a").stat().st_size < 2.5 * 20_000


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, cut):
    writes = precopy.WriteTrace([0, 1], time_ns=[0, 5], size_bytes=[10, 3])
    path = tmp_path / "a"
    precopy.Recorded("a", precopy.FileSet([10, 0]), writes).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=f"path: expected a recording, got '{path}'"):
        precopy.Recorded.load(path)
