from dataclasses import replace
from pathlib import Path

import pytest

from halloo._core.histogram import Histogram
from halloo._ping.json import ReportSink
from halloo._ping.report import PingReport
from tests._ping.sample_reports import BAD, GOOD, MANY, SECOND, START, report

log = pytest.importorskip("hdrh.log", reason="needs hdrhistogram, which is not built for every system")
hdr = pytest.importorskip("halloo._ping.hdr")


def written(found: PingReport) -> str:
    writes: list[str] = []
    sink = ReportSink(writes.append, hdr.hdr_log)
    sink.begin(found, lambda: found)
    sink.interim(found)
    assert writes == []
    sink.end(found)
    return "".join(writes)


def test_a_log_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "rtt.hlog"
    path.write_text(written(report(BAD)), encoding="utf-8")
    reader = log.HistogramLogReader(str(path), hdr.packed(()))
    try:
        histogram = reader.get_next_interval_histogram()
        assert reader.get_next_interval_histogram() is None
    finally:
        reader.close()
    assert histogram.get_total_count() == len(MANY)
    for percent in (50, 99, 99.9, 100):
        expected = Histogram(MANY).percentiles([percent])[percent]
        assert expected
        assert histogram.get_value_at_percentile(percent) == pytest.approx(expected, rel=1e-3)
    assert histogram.get_start_time_stamp() == pytest.approx(START / 1e6, abs=1)
    assert histogram.get_end_time_stamp() == pytest.approx((START + 9.01 * SECOND) / 1e6, abs=2)


def test_a_log_has_a_header_and_a_line_for_each_target_with_its_length_and_maximum() -> None:
    *header, line = written(report(GOOD)).splitlines()
    assert header == [
        "#[Logged with halloo ping: round trips in nanoseconds, maxima of intervals in milliseconds]",
        "#[Histogram log format version 1.3]",
        "#[StartTime: 1767323045.123 (seconds since epoch)]",
        "#[BaseTime: 1767323045.123 (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    assert line.startswith("0.000,9.010,0.130047,HIST")
    odd = replace(GOOD, label="a b,c\nd"), replace(GOOD, label="unix:/tmp/\udcff")
    tags = [line.partition(",0.000,")[0] for line in written(report(GOOD, BAD, *odd)).splitlines()[5:]]
    assert tags[:3] == ["Tag=localhost:8888", "Tag=udp://10.0.0.2:8888", "Tag=a_b_c_d"]
    assert tags[3].encode()


def test_values_out_of_range_are_clamped() -> None:
    histogram = hdr.packed([(0, 2), (hdr.MAX_NS * 10, 3)])
    assert histogram.get_total_count() == 5
    assert histogram.get_max_value() >= hdr.MAX_NS
