"""Delay variation of a stream: RFC 3393's ipdv and RFC 3550's jitter. Pure: no I/O, no clock, no randomness.

Delays are integers of nanoseconds, by two clocks with any constant difference, so that they may be negative.
"""

from dataclasses import dataclass

_SMOOTHING = 16  # RFC 3550, 6.4.1


@dataclass(frozen=True, slots=True)
class DelayVariation:
    """`ipdv_ns` is None without two consecutive probes that were answered, the jitter with fewer than two replies."""

    ipdv_ns: int | None = None
    jitter_rfc3550_ns: int | None = None


class Variation:
    """The running variation.

    Memory is bounded: a delay is kept until the probes beside it are answered or lost.
    """

    def __init__(self) -> None:
        self._delays: dict[int, int] = {}
        self._first_kept = 0
        self._pairs = self._pair_total = 0
        self._last: int | None = None
        self._arrived = 0
        self._jitter = 0.0

    def record(self, number: int, delay_ns: int, settled: int) -> None:
        """Add a probe's delay, in order of arrival; all probes before number `settled` are answered or lost.

        >>> variation = Variation()
        >>> for number, delay_ns in ((0, 10), (2, 40), (1, 90)):
        ...     variation.record(number, delay_ns, settled=0)
        >>> variation.result().ipdv_ns  # of 0 and 1, and of 1 and 2
        65
        """
        delays = self._delays
        if (before := delays.get(number - 1)) is not None:
            self._pairs += 1
            self._pair_total += abs(delay_ns - before)
        if delays and (after := delays.get(number + 1)) is not None:
            self._pairs += 1
            self._pair_total += abs(delay_ns - after)
        delays[number] = delay_ns
        while self._first_kept < settled - 1:
            delays.pop(self._first_kept, None)
            self._first_kept += 1
        if self._last is not None:
            self._jitter += (abs(delay_ns - self._last) - self._jitter) / _SMOOTHING
        self._last = delay_ns
        self._arrived += 1

    def result(self) -> DelayVariation:
        return DelayVariation(
            ipdv_ns=round(self._pair_total / self._pairs) if self._pairs else None,
            jitter_rfc3550_ns=round(self._jitter) if self._arrived > 1 else None,
        )

    @property
    def kept(self) -> int:
        """The number of delays in memory."""
        return len(self._delays)
