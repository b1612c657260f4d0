"""Make a round trip of what two clocks said.

Knows integers of nanoseconds. The steady clock never goes backward but knows no date; the wall clock may be set at any
moment, and is the only one whose times the kernel puts on what it receives.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment, as both clocks have it."""

    steady_ns: int
    wall_ns: int


def waited(read: Instant, kernel_ns: int | None) -> int:
    """Say how long something lay in the kernel until it was read: 0 where that is not known, or cannot be.

    Both are of the wall clock and moments apart, so that only a step between the two is taken for waiting; a step
    backward is not, since nothing is read before it came.
    """
    return max(read.wall_ns - kernel_ns, 0) if kernel_ns is not None else 0


def round_trip(sent: Instant, read: Instant, kernel_ns: int | None) -> int:
    """Give the time from sending to the kernel's receiving, or to reading where the kernel's time makes no sense.

    >>> sent, read = Instant(1_000, 50_000), Instant(1_900, 50_900)
    >>> round_trip(sent, read, kernel_ns=50_700), round_trip(sent, read, None), round_trip(sent, read, 10_000)
    (700, 900, 900)
    """
    passed = max(read.steady_ns - sent.steady_ns, 0)
    lay = waited(read, kernel_ns)
    return passed - lay if lay < passed else passed
