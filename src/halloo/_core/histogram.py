"""Record durations in a histogram, and summarise their distribution. Pure: no I/O, no clock, no randomness.

Durations are integers of nanoseconds. Minimum, maximum, mean and deviation are exact; a percentile is off by one part
in 32 768 at most.

A bucket is a value's 15 highest bits (HdrHistogram's layout, http://hdrhistogram.org): each small value has a bucket.
Memory is bounded for any number of values, at 4 MiB up to an hour. Buckets are counted in chunks of neighbours, so that
it ceases to grow early: a dict of buckets would still grow after a million values.
"""

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SIGNIFICANT_BITS = 15  # kept of each value
_HALF_BITS = SIGNIFICANT_BITS - 1  # each power of two from there on has that many buckets
_CHUNK_BITS = 8
_EMPTY_CHUNK = array("Q", bytes(8 << _CHUNK_BITS))
PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
MIN_ABOVE = 10  # a percentile with fewer samples above it is not reported


@dataclass(frozen=True, slots=True)
class Summary:
    """The distribution of values, in nanoseconds.

    `percentiles` has only those of PERCENTILES with MIN_ABOVE values above them. `with_missing` counts `missing`
    further values as greater than any, and has None where one of these is the percentile; it always has the median.
    `mdev` is the standard deviation, as in ping. `ipdv` (RFC 3393) and `jitter` (RFC 3550) depend on the order of the
    values, so a histogram sets neither.
    """

    count: int
    min_ns: int
    mean_ns: int
    max_ns: int
    mdev_ns: int
    median_ns: int
    percentiles: dict[float, int]
    missing: int = 0
    with_missing: dict[float, int | None] = field(default_factory=dict)
    ipdv_ns: int | None = None
    jitter_rfc3550_ns: int | None = None

    def at(self, percent: float) -> int | None:
        """Return a percentile, None if there are too few values."""
        return self.percentiles.get(percent)


class Histogram:
    """Counts of values in buckets, with running minimum, maximum and sums."""

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._chunks: dict[int, array[int]] = {}  # by the number of their first bucket, shifted
        self.count = self._total = self._squares = self.max = 0  # the greatest value, 0 if there are none
        self._min: int | None = None
        for value in values:
            self.record(value)

    def record(self, value: int) -> None:
        value = max(value, 0)
        shift = max(value.bit_length() - SIGNIFICANT_BITS, 0)
        bucket = (shift << _HALF_BITS) + (value >> shift)
        if (chunk := self._chunks.get(bucket >> _CHUNK_BITS)) is None:
            chunk = self._chunks[bucket >> _CHUNK_BITS] = _EMPTY_CHUNK[:]
        chunk[bucket % len(chunk)] += 1
        self.count += 1
        self._total += value
        self._squares += value * value
        self.max = max(self.max, value)
        if self._min is None or value < self._min:
            self._min = value

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Yield the midpoint and the count of each bucket that is not empty, in ascending order."""
        for first, chunk in sorted(self._chunks.items()):
            for bucket, count in enumerate(chunk, first << _CHUNK_BITS):
                if count:
                    shift = max((bucket >> _HALF_BITS) - 1, 0)
                    yield ((bucket - (shift << _HALF_BITS)) << shift) + ((1 << shift) >> 1), count

    @property
    def memory(self) -> int:
        return sum(chunk.itemsize * len(chunk) for chunk in self._chunks.values())

    def summary(self, *, missing: int = 0) -> Summary | None:
        if self._min is None:
            return None
        reportable = _reportable(self.count)
        found = self.percentiles([50.0, *reportable])
        with_missing: dict[float, int | None] = {**found}
        if missing:
            percents = [50.0, *_reportable(self.count + missing)]
            counted = self.percentiles(percents, missing=missing)
            with_missing = {percent: counted.get(percent) for percent in percents}
        variance = self._squares * self.count - self._total * self._total  # times the square of the count: exact
        return Summary(
            count=self.count,
            min_ns=self._min,
            mean_ns=round(self._total / self.count),
            max_ns=self.max,
            mdev_ns=round(math.sqrt(variance) / self.count),
            median_ns=found[50.0],
            percentiles={percent: found[percent] for percent in reportable},
            missing=missing,
            with_missing=with_missing,
        )

    def percentiles(self, percents: Iterable[float], *, missing: int = 0) -> dict[float, int]:
        """Return the value at each percentile; `percents` must ascend. Those in the `missing` values have none."""
        found: dict[float, int] = {}
        pairs, seen, midpoint = self.buckets(), 0, 0
        for percent in percents:
            rank = max(math.ceil((self.count + missing) * percent / 100 - 1e-9), 1)
            while seen < rank:
                following = next(pairs, None)
                if following is None:
                    return found
                midpoint, seen = following[0], seen + following[1]
            found[percent] = min(max(midpoint, self._min or 0), self.max)
        return found


def _reportable(count: int) -> list[float]:
    return [percent for percent in PERCENTILES if count * (100 - percent) / 100 >= MIN_ABOVE - 1e-9]
