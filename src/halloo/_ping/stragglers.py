"""Decide how long to wait for replies after the last probe.

Datagrams may be lost, so that few multiples of the slowest round trip are enough; streams lose nothing.
"""

from collections.abc import Sequence

from halloo._ping.flow import Flow

# After the last datagram: nanoseconds, and multiples of the slowest round trip, to wait for replies.
MIN_STRAGGLER_WAIT, STRAGGLER_FACTOR = 50_000_000, 3


def straggler_wait(slowest_ns: int) -> int:
    """Return for how many nanoseconds to wait if the slowest round trip took that long."""
    return max(MIN_STRAGGLER_WAIT, STRAGGLER_FACTOR * slowest_ns)


class Stragglers:
    """The flows whose replies may still be waited for."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        """Start with all flows."""
        self._flows = [*flows]
        self._since_ns: int | None = None

    def until(self, now_ns: int) -> int:
        """Return until when to wait for further replies, 0 if for none; the first call begins the wait."""
        if self._since_ns is None:
            self._since_ns = now_ns
        while self._flows:
            until = _deadline(self._flows[-1], self._since_ns)
            if until > now_ns:
                return until
            self._flows.pop()
        return 0


def _deadline(flow: Flow, since_ns: int) -> int:
    expires, slowest = flow.tracker.counters.expires_ns(), flow.tracker.latency.max
    if expires is None or flow.stream or not slowest:
        return expires or 0
    return min(expires, since_ns + straggler_wait(slowest))
