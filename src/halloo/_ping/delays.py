"""Round trips, one-way times and their variation, from two clocks. Pure: no I/O, no clock, no randomness.

Times are integers of nanoseconds: the kernel's receive timestamps and the server's are of the wall clock, durations are
of the steady clock. A one-way time is only as exact as the server's clock agrees with this machine's; the variation of
one-way times does not depend on that.
"""

from collections.abc import Callable
from typing import NamedTuple

from halloo._core.histogram import Histogram
from halloo._core.probe import NUMBER_MODULUS, ServerTimestamp
from halloo._core.units import show_duration
from halloo._ping.report import DelayVariation, DirectionalLoss, TimestampReport

CLOSE_NS = 2_000  # longer than two readings last, even where each is a system call
TRIES = 3
SMOOTHING = 16  # RFC 3550, 6.4.1
MAX_CLOCK_CHANGE = 1_000_000  # nanoseconds between both clocks, from reply to reply: more and the wall clock was set
# Parts of a round trip by which two clocks may differ over it: each is slewed by 500 per million at most (adjtimex(2)).
MAX_DRIFT = 1000
CLOCK_SET = "the clock of this machine was set during the run"
CLOCKS_DISAGREE = "one of them was negative, so the clocks of the two machines disagree"


class Instant(NamedTuple):
    """One moment on both clocks."""

    steady_ns: int
    wall_ns: int

    @property
    def offset_ns(self) -> int:
        """The wall clock less the steady clock: it changes when the wall clock is set."""
        return self.wall_ns - self.steady_ns


def read_clocks(steady: Callable[[], int], wall: Callable[[], int]) -> Instant:
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


def round_trip(sent: Instant, read: Instant, kernel_ns: int | None) -> int:
    """Return the time from sending to the kernel's receive timestamp, or to reading if that timestamp is implausible.

    The timestamp and the reading are moments apart, so that only a clock step between them can distort the result; a
    backward step counts as no time in the kernel, since no reply is read before it arrives.

    >>> sent, read = Instant(1_000, 50_000), Instant(1_900, 50_900)
    >>> round_trip(sent, read, kernel_ns=50_700), round_trip(sent, read, None), round_trip(sent, read, 10_000)
    (700, 900, 900)
    """
    elapsed = max(read.steady_ns - sent.steady_ns, 0)
    in_kernel = 0 if kernel_ns is None else max(read.wall_ns - kernel_ns, 0)
    return elapsed - in_kernel if in_kernel < elapsed else elapsed


class Variation:
    """The running variation of a stream of delays: RFC 3393's ipdv and RFC 3550's jitter.

    Delays are by two clocks with any constant difference, so that they may be negative. Memory is bounded: a delay is
    kept until the probes beside it are answered or lost.
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
            self._jitter += (abs(delay_ns - self._last) - self._jitter) / SMOOTHING
        self._last = delay_ns
        self._arrived += 1

    def result(self) -> DelayVariation:
        return DelayVariation(
            ipdv_ns=round(self._pair_total / self._pairs) if self._pairs else None,
            jitter_rfc3550_ns=round(self._jitter) if self._arrived > 1 else None,
        )


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
    """The round trips of one target divided by server timestamps: forward, in the server, reverse."""

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
