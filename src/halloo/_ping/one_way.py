"""Divide round trips by server timestamps: forward, in the server, reverse. Pure: no I/O, no clock, no randomness.

Times are integers of nanoseconds. The server's are of its wall clock, so that a one-way time is only as exact as it
agrees with this machine's. The variation of one-way times does not depend on that.
"""

from typing import NamedTuple

from halloo._core.histogram import Histogram
from halloo._core.probe import NUMBER_MODULUS, ServerTimestamp
from halloo._core.units import show_duration
from halloo._ping.counters import DirectionalLoss
from halloo._ping.report import TimestampReport
from halloo._ping.round_trip import Instant
from halloo._ping.variation import Variation

MAX_CLOCK_CHANGE = 1_000_000  # nanoseconds between both clocks, from reply to reply: more and the wall clock was set
# Parts of a round trip by which two clocks may differ over it: each is slewed by 500 per million at most (adjtimex(2)).
MAX_DRIFT = 1000
CLOCK_SET = "the clock of this machine was set during the run"
CLOCKS_DISAGREE = "one of them was negative, so the clocks of the two machines disagree"


class OneWay(NamedTuple):
    """The parts of a round trip, which add up to it; `forward_ns` and `reverse_ns` may be negative."""

    forward_ns: int
    server_ns: int
    reverse_ns: int


def impossibility(timestamp: ServerTimestamp, rtt_ns: int, sent: int) -> str | None:
    """Return why a timestamp cannot be right.

    The time in the server is negative, or longer than the round trip; or more probes have arrived than were sent.

    >>> impossibility(ServerTimestamp(0, 184_000_000, 1, 0, 1), 15_000_000, 1)
    'impossible server time of 184ms in a round trip of 15ms'
    """
    # This probe was not refused. Counts wrap around.
    if sent < NUMBER_MODULUS and not timestamp.refused < timestamp.arrived <= sent:
        return f"impossible counts of {timestamp.arrived} arrived and {timestamp.refused} refused of {sent} sent"
    server_ns = timestamp.sent_ns - timestamp.received_ns
    if 0 <= server_ns <= rtt_ns + rtt_ns // MAX_DRIFT:
        return None
    sign = "-" if server_ns < 0 else ""
    time = f"{sign}{show_duration(abs(server_ns))}"
    return f"impossible server time of {time} in a round trip of {show_duration(rtt_ns)}"


class OneWayTimes:
    """The distributions of one target."""

    def __init__(self) -> None:
        self._server, self._forward, self._reverse = Histogram(), Histogram(), Histogram()
        self._forward_variation, self._reverse_variation = Variation(), Variation()
        self._offset: int | None = None  # of the wall clock, at the last reply
        self._withheld: str | None = None

    def record(
        self, number: int, timestamp: ServerTimestamp, sent: Instant, read: Instant, *, rtt_ns: int, settled: int
    ) -> OneWay:
        """Add a probe's timestamp; all probes before number `settled` are answered or lost."""
        forward, server = timestamp.received_ns - sent.wall_ns, timestamp.sent_ns - timestamp.received_ns
        one_way = OneWay(forward, server, rtt_ns - forward - server)
        self._server.record(server)
        self._forward.record(one_way.forward_ns)
        self._reverse.record(one_way.reverse_ns)
        # By the steady clock, which is never set.
        at_sending, at_reading = sent.offset_ns, read.offset_ns
        self._forward_variation.record(number, one_way.forward_ns + at_sending, settled)
        self._reverse_variation.record(number, one_way.reverse_ns - at_sending, settled)
        before = at_sending if self._offset is None else self._offset
        self._offset = at_reading
        if max(abs(at_sending - before), abs(at_reading - before)) >= MAX_CLOCK_CHANGE:
            self._withheld = CLOCK_SET
        elif min(one_way.forward_ns, one_way.reverse_ns) < 0:
            self._withheld = self._withheld or CLOCKS_DISAGREE
        return one_way

    def report(self, lost: DirectionalLoss | None) -> TimestampReport | None:
        """Return the distributions; None without timestamps."""
        server = self._server.summary()
        if server is None:
            return None
        shown = self._withheld is None
        return TimestampReport(
            server,
            lost,
            forward=self._forward.summary() if shown else None,
            reverse=self._reverse.summary() if shown else None,
            withheld=self._withheld,
            forward_variation=self._forward_variation.result(),
            reverse_variation=self._reverse_variation.result(),
        )
