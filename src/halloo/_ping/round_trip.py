"""Round trips, from two clocks and the kernel's receive timestamp. Pure: no I/O, no clock, no randomness."""

from typing import NamedTuple


class Instant(NamedTuple):
    """One moment on both clocks."""

    steady_ns: int
    wall_ns: int

    @property
    def offset_ns(self) -> int:
        """The wall clock less the steady clock: it changes when the wall clock is set."""
        return self.wall_ns - self.steady_ns


def kernel_delay(read: Instant, kernel_ns: int | None) -> int:
    """Return how long a reply was in the kernel before it was read; 0 if that is unknown or impossible.

    Both times are of the wall clock and moments apart, so that only a clock step between them can distort the result; a
    backward step gives 0, since no reply is read before it arrives.
    """
    return max(read.wall_ns - kernel_ns, 0) if kernel_ns is not None else 0


def round_trip(sent: Instant, read: Instant, kernel_ns: int | None) -> int:
    """Return the time from sending to the kernel's receive timestamp, or to reading if that timestamp is implausible.

    >>> sent, read = Instant(1_000, 50_000), Instant(1_900, 50_900)
    >>> round_trip(sent, read, kernel_ns=50_700), round_trip(sent, read, None), round_trip(sent, read, 10_000)
    (700, 900, 900)
    """
    elapsed = max(read.steady_ns - sent.steady_ns, 0)
    delay = kernel_delay(read, kernel_ns)
    return elapsed - delay if delay < elapsed else elapsed
