"""Read the steady clock and the wall clock as one moment, even if the process is interrupted between the two readings.

The kernel's receive timestamps are of the wall clock, durations are of the steady clock.
"""

import time
from collections.abc import Callable

from halloo._ping.round_trip import Instant

CLOSE_NS = 2_000  # longer than two readings last, even where each is a system call
TRIES = 3


def read_clocks(steady: Callable[[], int] = time.monotonic_ns, wall: Callable[[], int] = time.time_ns) -> Instant:
    """Read the wall clock between two readings of the steady clock, again if these are not close.

    If no try is, the steady time is too late for the wall time, never too early: a round trip then includes some of the
    time until its reply was read, but never lacks any.
    """
    before, wall_ns, after = steady(), wall(), steady()
    if after - before > CLOSE_NS:
        for _ in range(1, TRIES):
            before, wall_ns, after = after, wall(), steady()
            if after - before <= CLOSE_NS:
                break
    return Instant(after, wall_ns)
