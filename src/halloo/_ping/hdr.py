"""Round trips as an HdrHistogram log (`.hlog`), which other tools merge and plot: https://hdrhistogram.github.io.

Writes the log format; `hdrhistogram` encodes the histograms. Each target is a line, tagged with its label if there are
several.
"""

import re
from collections.abc import Sequence

from halloo._core.escape import printable
from halloo._core.units import NS, SECOND
from halloo._ping.report import PingReport
from halloo.errors import Unsupported

try:
    from hdrh.histogram import HdrHistogram
except ImportError:
    raise Unsupported("needs hdrhistogram", "pip install hdrhistogram", argument="hdr") from None

MIN_NS, MAX_NS, DIGITS = 1, NS["h"], 3  # larger values are clamped
Bucket = tuple[int, int]


def hdr_log(report: PingReport) -> str:
    """Return the round trips of a report: a header, then a line for each target, with times relative to the start."""
    # hdrh.log's writer is not used: it rounds an interval's maximum to whole milliseconds, and cannot write a start.
    began, lasted = report.started_ns / SECOND, report.duration_ns / SECOND
    lines = [
        "#[Logged with halloo ping: round trips in nanoseconds, maxima of intervals in milliseconds]",
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {began:.3f} (seconds since epoch)]",
        f"#[BaseTime: {began:.3f} (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    for target in report.targets:
        histogram = packed(target.histogram)
        tag = f"Tag={_tag(target.label)}," if len(report.targets) > 1 else ""
        maximum = histogram.get_max_value() / NS["ms"]
        lines.append(f"{tag}0.000,{lasted:.3f},{maximum:.6f},{histogram.encode().decode('ascii')}")
    return "\n".join(lines)


def packed(buckets: Sequence[Bucket]) -> HdrHistogram:
    """Build a histogram from values and their counts."""
    histogram = HdrHistogram(MIN_NS, MAX_NS, DIGITS)
    for value, count in buckets:
        histogram.record_value(min(max(value, MIN_NS), MAX_NS), count)
    return histogram


def _tag(label: str) -> str:
    """Replace characters that would end a tag or are not printable."""
    return re.sub(r"[\s,]+", "_", printable(label))
