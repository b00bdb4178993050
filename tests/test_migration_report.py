"""The report: its numbers as a table, JSON, text for one screen, a picture."""

import json
from dataclasses import replace

import pytest

from precopy.migration.curves import CycleRecord
from precopy.migration.report import Report, seconds_text

RECORDS = [
    CycleRecord(1.0, 1.0, 80_000_000, 0, 81_000_000, 20_000_000, 3_000_000, 80e6, 0.26),
    CycleRecord(2.0, 1.0, 20_000_000, 2_000_000, 20_100_000, 40_960, 40_960, 80e6, 0.009),
]
REPORT = Report(
    migration="abc", what="shop", to="backup:/srv", granularity="block", order="update-frequency",
    files=412, directories=7, links=2, total_bytes=98_000_000, downtime_s=0.0083,
    downtime_parts={"freeze": 0.0021, "scan": 0.0006, "read": 0.0004, "link": 0.0012,
                    "verify": 0.0008, "sync": 0.0019, "commit": 0.0009, "other": 0.0004},
    predicted_downtime_s=0.0089, final_copy_bytes=48_000, final_copy_files=3,
    precopy_bytes=100_000_000, resent_bytes=2_000_000, link_bytes=101_300_000, precopy_s=2.4,
    bandwidth=80e6, stopped_because="downtime(0.1): the downtime would be 0.009 s", verified=True,
    started={"pid": 4242, "argv": ["./server", "--port", "80"], "output": "log"},
    notes=["one thing to know"], records=RECORDS,
    simulated={"seconds": [0.0, 1.0, 2.0], "pending_bytes": [98e6, 2e7, 4e6]},
)  # fmt: skip


def test_the_table_has_a_row_per_cycle():
    table = REPORT.cycles
    assert table.index.tolist() == [1, 2]
    assert table["pending_bytes"].tolist() == [20_000_000, 40_960]
    assert table["resent_bytes"].sum() == REPORT.resent_bytes


def test_json_has_the_promised_keys(tmp_path):
    text = REPORT.to_json(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == text
    values = json.loads(text)
    promised = {"downtime_s", "downtime_parts", "final_copy_bytes", "precopy_bytes",
                "resent_bytes", "stopped_because", "verified", "cycles"}  # fmt: skip
    assert promised <= set(values)
    assert values["cycles"][1]["predicted_downtime_s"] == 0.009
    assert values["verified"] is True


def test_the_summary_fits_one_screen():
    lines = str(REPORT).splitlines()
    assert lines == [
        "moved       shop to backup:/srv: 412 files, 98 MB, every byte verified there, on its disk",
        "downtime    8.3 ms (predicted 8.9 ms): freeze 2.1 ms, scan 0.6 ms, read 0.4 ms, link "
        "1.2 ms, verify 0.8 ms, sync 1.9 ms, commit 0.9 ms, other 0.4 ms",
        "final copy  48 kB in 3 files",
        "pre-copy    2.4 s, 2 cycles, 100 MB, 2 MB of it again; the link carried 80 MB/s",
        "stopped     downtime(0.1): the downtime would be 0.009 s",
        "started     pid 4242 there: ./server --port 80; its output: log there",
        "note        one thing to know",
    ]


def test_what_is_not_verified_is_not_said_to_be():
    report = replace(REPORT, verified=False)
    assert "verified" not in str(report).splitlines()[0]
    assert "NOT verified" in repr(report)


def test_the_picture_shows_curves_bars_and_the_split(tmp_path):
    figure = REPORT.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    above, middle, below = figure.axes
    measured, simulated = above.get_lines()[:2]
    assert measured.get_ydata().tolist() == pytest.approx([98, 20, 0.04096])
    assert simulated.get_ydata().tolist() == pytest.approx([98, 20, 4])
    heights = [patch.get_height() for patch in middle.patches]
    assert heights == pytest.approx([80, 18, 0, 2])
    widths = [patch.get_width() for patch in below.patches]
    assert sum(widths) == pytest.approx(8.3)


def test_a_migration_without_cycles_or_data_is_drawn(tmp_path):
    empty = replace(REPORT, records=[], simulated=None, downtime_parts={}, precopy_s=0.0,
                    bandwidth=None, total_bytes=0)  # fmt: skip
    empty.plot(tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0
    assert len(empty.cycles) == 0


def test_seconds_for_people():
    assert seconds_text(float("inf")) == "unknown"
    assert seconds_text(0.1) == "100 ms"
