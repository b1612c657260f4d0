"""Round trips as an HdrHistogram log (`.hlog`), which other tools merge and draw: https://hdrhistogram.github.io.

Knows the log's form; hdrhistogram knows how a histogram is packed. A line a target, with its label as the tag where
there are several.
"""

import re
from collections.abc import Sequence
from typing import TextIO

from halloo._core.escape import printable
from halloo._core.units import NS, SECOND
from halloo._ping.report import PingReport
from halloo.errors import Unsupported

try:
    from hdrh.histogram import HdrHistogram
except ImportError:
    raise Unsupported("--hdr needs hdrhistogram", "pip install 'halloo[hdr]'") from None

LEAST, MOST, DIGITS = 1, NS["h"], 3  # nanoseconds; what is more counts as the most
Bucket = tuple[int, int]


def write_hdr(report: PingReport, stream: TextIO) -> None:
    """Write the round trips of a report: a header, then a line a target, its times relative to the start."""
    # Not with hdrh.log's writer: it rounds an interval's maximum to whole milliseconds, and fails to write a start.
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
        most = histogram.get_max_value() / NS["ms"]
        lines.append(f"{tag}0.000,{lasted:.3f},{most:.6f},{histogram.encode().decode('ascii')}")
    stream.write("".join(f"{line}\n" for line in lines))


def packed(buckets: Sequence[Bucket]) -> HdrHistogram:
    """Put values, and how many there are of each, into a histogram."""
    histogram = HdrHistogram(LEAST, MOST, DIGITS)
    for value, count in buckets:
        histogram.record_value(min(max(value, LEAST), MOST), count)
    return histogram


def _tag(label: str) -> str:
    """Leave out what would end a tag, or be no text."""
    return re.sub(r"[\s,]+", "_", printable(label))
