"""Say how late the slowest answers are.

Knows seconds, and how halloo keeps times everywhere.
"""

from collections.abc import Iterable

from halloo.core.latency import Latency
from halloo.core.units import SECOND


def p99(seconds: Iterable[float]) -> float:
    """Give what 99 of 100 do not exceed, in seconds; there has to be one at least.

    >>> round(p99([0.001] * 99 + [0.5]), 4)
    0.001
    """
    return Latency(round(each * SECOND) for each in seconds).percentiles([99.0])[99.0] / SECOND
