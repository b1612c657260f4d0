"""Record durations in a histogram, and summarise their distribution. Pure: no I/O, no clock, no randomness.

Knows integers of nanoseconds. Any number of values takes a bounded amount of memory; the least, the greatest, the mean
and the deviation are exact, and a percentile is off by one part in 32 768 at most.

A bucket is a value's 15 highest bits (HdrHistogram's layout, http://hdrhistogram.org): small values have a bucket each.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

BITS = 15  # of a value that are kept
PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
ABOVE = 10  # samples that a percentile needs beyond it, or it says nothing
_SMOOTHING = 16  # RFC 3550, 6.4.1


@dataclass(frozen=True, slots=True)
class Summary:
    """How values are distributed, in nanoseconds.

    `percentiles` has those of PERCENTILES alone that have ABOVE values beyond them. `mdev` is the standard deviation,
    as ping has it; `ipdv` the mean difference between one value and the next (RFC 3393), `jitter` that of RFC 3550.
    """

    count: int
    min_ns: int
    mean_ns: int
    max_ns: int
    mdev_ns: int
    median_ns: int
    percentiles: dict[float, int]
    ipdv_ns: int | None = None
    jitter_rfc3550_ns: int | None = None

    def at(self, percent: float) -> int | None:
        """Give a percentile, None where there are too few values to say."""
        return self.percentiles.get(percent)


class Histogram:
    """Values so far."""

    def __init__(self, values: Iterable[int] = ()) -> None:
        """Begin with some."""
        self._counts: dict[int, int] = {}
        self.count = self._total = self._squares = self._max = 0
        self._min: int | None = None
        self._last: tuple[int, int] | None = None
        self._steps = self._step_total = 0
        self._jitter = 0.0
        for value in values:
            self.record(value)

    def record(self, value: int, number: int | None = None) -> None:
        """Add a value. `number` is its probe's: only a value and its direct successor make a step of ipdv."""
        value = max(value, 0)
        shift = max(value.bit_length() - BITS, 0)
        bucket = value >> shift << shift
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self._total += value
        self._squares += value * value
        self._max = max(self._max, value)
        if self._min is None or value < self._min:
            self._min = value
        if number is not None:
            if self._last and self._last[0] == number - 1:
                step = abs(value - self._last[1])
                self._steps += 1
                self._step_total += step
                self._jitter += (step - self._jitter) / _SMOOTHING
            self._last = number, value

    @property
    def slowest(self) -> int:
        """The greatest, 0 when there is none."""
        return self._max

    def buckets(self) -> list[tuple[int, int]]:
        """Give the middle of each bucket that is not empty, and how many values it has, in order."""
        return [(_middle(bucket), count) for bucket, count in sorted(self._counts.items())]

    def summary(self) -> Summary | None:
        """Say how they are distributed; None when there are none."""
        if self._min is None:
            return None
        told = [percent for percent in PERCENTILES if self.count * (100 - percent) / 100 >= ABOVE - 1e-9]
        found = self.percentiles([50.0, *told])
        variance = self._squares * self.count - self._total * self._total  # times the square of the count: exact
        return Summary(
            count=self.count,
            min_ns=self._min,
            mean_ns=round(self._total / self.count),
            max_ns=self._max,
            mdev_ns=round(math.sqrt(variance) / self.count),
            median_ns=found[50.0],
            percentiles={percent: found[percent] for percent in told},
            ipdv_ns=round(self._step_total / self._steps) if self._steps else None,
            jitter_rfc3550_ns=round(self._jitter) if self._steps else None,
        )

    def percentiles(self, wanted: Iterable[float]) -> dict[float, int]:
        """Give the values that so many percent of all do not exceed; `wanted` rises. Empty when there are none."""
        found: dict[float, int] = {}
        pairs, seen, bucket = iter(sorted(self._counts.items())), 0, 0
        for percent in wanted:
            rank = max(math.ceil(self.count * percent / 100 - 1e-9), 1)
            while seen < rank:
                following = next(pairs, None)
                if following is None:
                    return found
                bucket, seen = following[0], seen + following[1]
            found[percent] = min(max(_middle(bucket), self._min or 0), self._max)
        return found


def _middle(bucket: int) -> int:
    return bucket + ((1 << max(bucket.bit_length() - BITS, 0)) >> 1)
