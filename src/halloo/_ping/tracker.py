"""Track the probes of one target: outcomes, times, what was learnt. Pure: no I/O, no clock, no randomness.

Knows bytes and two clocks' integers. Knows no socket: whoever has it says what was sent, and what came when.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from halloo._core.histogram import Histogram
from halloo._core.probe import ASKING, HEAD, STAMP_END, Probes, difference, read, read_stamp
from halloo._ping.counters import REMEMBERED, LossDirection, Outage, ProbeCounters, Way
from halloo._ping.report import Clock, Kernel, Outcome, ProbeEvent, TargetReport, TimestampReport

ALIKE = 64  # outstanding probes that a reply without a readable number is compared with
LEAST_ALIKE = 12  # bytes: with fewer, something else may look like an answer
NOT_ALIKE = 0.5  # the share of wrong bytes from which on it is none
_COMPARED = 256  # bytes at the end
TICKS = 1000  # nanoseconds by which the time of a probe may be ahead of the clock
ASTRAY = 1_000_000  # nanoseconds that two clocks may differ over a round trip
Error = tuple[str, str]  # its name and its sentence


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


class Sent(NamedTuple):
    """When a probe left, and the time that is written in it: it may have been made before."""

    left: Instant
    written_ns: int


class ProbeTracker:
    """One target's probes, from the first to the last."""

    def __init__(
        self, place: int, probes: Probes, wait_ns: int, target: TargetReport, *, one_connection: bool = True
    ) -> None:
        """Begin; `place` is the target's among all, and `target` what is known of it beforehand.

        Each of a server's workers counts for itself: only with `one_connection` do its counts tell what was lost.
        """
        self.target = target
        self.tally = ProbeCounters(wait_ns)
        self.latency = Histogram()
        self.clock: Clock = "user"
        self._place = place
        self._one_connection = one_connection
        self._probes = probes
        self._sent: dict[int, Sent] = {}
        self._phases: dict[str, Histogram] = {}
        self._latest: dict[str, int] = {}  # the phases of the present connection, until they are told
        self._fresh = False  # whether the next echo is a connection's first
        self._direction = LossDirection()
        self._server, self._there, self._back = Histogram(), Histogram(), Histogram()
        # A time on the way below zero shows, even once, that the two clocks do not agree; one that passes quicker or
        # slower than the steady clock has been set meanwhile.
        self._agree = True
        self._corrupt = self._stray = 0
        self._errors: Counter[str] = Counter()
        self._failure: str | None = None
        self._kernel: Kernel | None = None  # of the connections that are closed
        self._kernel_now: Kernel | None = None
        self._last_ns = -TICKS  # written in the latest probe
        self._took: int | None = None  # by the last answer
        self._offset_ns = 0  # from the steady to the wall clock

    def connected(self, phases: Mapping[str, int]) -> None:
        """Take note of a connection that was made, and how long its phases took."""
        self._latest = dict(phases)
        self._fresh = True
        for name, took in phases.items():
            self._phases.setdefault(name, Histogram()).record(took)

    def make(self, now: Instant) -> bytes:
        """Make the next probe. It counts from when it is `sent`; until then another one may be made in its place."""
        # A clock that ticks slowly says the same of several, and a damaged number would be another probe's.
        self._last_ns = self._last_ns + 1 if 0 <= self._last_ns - now.wall_ns < TICKS else now.wall_ns
        return self._probes.make(self.tally.sent, self._last_ns)

    def sent(self, now: Instant) -> int:
        """Note that the probe made last leaves now, and give its number."""
        number = self.tally.send(now.steady_ns)
        self._sent[number] = Sent(now, self._last_ns)
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        self._offset_ns = now.wall_ns - now.steady_ns
        return number

    def send(self, now: Instant) -> tuple[int, bytes]:
        """Make the next probe, which is about to leave, and give its number."""
        probe = self.make(now)
        return self.sent(now), probe

    @property
    def expected_ns(self) -> int | None:
        """When the oldest answer that is awaited will come if it takes as long as the last one, of the steady clock.

        None where that is not known, or does not matter, since the kernel tells when it came.
        """
        oldest = self.tally.oldest_ns
        return None if oldest is None or self._took is None or self.clock == "kernel" else oldest + self._took

    def answer(self, data: bytes, now: Instant, kernel_ns: int | None) -> ProbeEvent:
        """Take what came: an answer, whole or not, or something else."""
        number, offset = self._identified(data)
        sent = None if number is None else self._sent.pop(number, None)
        took = round_trip(sent.left, now, kernel_ns) if sent else 0
        came_ns = sent.left.steady_ns + took if sent else now.steady_ns  # it may have waited to be read
        arrival, reordered = ("unknown", False) if number is None else self.tally.receive(number, came_ns)
        if arrival == "duplicate":
            return self._told("duplicate", now, number, size=len(data))
        if number is None or sent is None or arrival == "unknown":
            self._stray += 1
            return self._told("stray", now, size=len(data))
        if offset is not None:
            self._corrupt += 1
            return self._told("corrupt", now, number, took, size=len(data), offset=offset)
        if arrival == "reply":
            self._took = took
            self.latency.record(took, number)
            self._note_stamp(number, data, sent.left, kernel_ns or now.wall_ns, took)
        phases = self._first(took) if self._fresh else {}
        outcome: Outcome = "late" if arrival == "late" else "reply"
        return ProbeEvent(
            self._place, outcome, now.wall_ns, number, took, len(data), reordered, phases=phases, peer=self.target.peer
        )

    def reached(self, now: Instant) -> ProbeEvent:
        """Take note of a probe that was a connection, and nothing sent on it; its round trip is the SYN's."""
        number, phases = self.tally.sent - 1, self._latest
        took = phases.get("connect", 0)
        self._sent.pop(number, None)
        arrival, _ = self.tally.receive(number, now.steady_ns)
        if arrival == "reply":
            self.latency.record(took, number)
        return self._told("late" if arrival == "late" else "reply", now, number, took, phases=phases)

    def overdue(self, now: Instant) -> Iterator[ProbeEvent]:
        """Give up what is awaited for too long."""
        for number in self.tally.overdue(now.steady_ns):
            yield self._lost(number, now)

    def fail(self, number: int | None, error: Error, now: Instant) -> ProbeEvent:
        """Take note of an error, which a probe was the victim of, or none."""
        name, text = error
        self._errors[name] += 1
        self._failure = text
        if number is not None:
            self.tally.fail(number)
        return self._told("error", now, number, text=text)

    def finish(self, now: Instant) -> Iterator[ProbeEvent]:
        """Give up all that are still awaited."""
        for number in self.tally.finish(now.steady_ns):
            yield self._lost(number, now)

    def note_kernel(self, kernel: Kernel | None, *, closing: bool = False) -> None:
        """Take note of what the kernel knows of the present connection."""
        if kernel is not None:
            self._kernel_now = kernel
        if closing:
            self._kernel, self._kernel_now = _joined(self._kernel, self._kernel_now), None

    def fill(self, **known: object) -> None:
        """Take note of more that is known of the target: see Target."""
        self.target = replace(self.target, **known)  # type: ignore[arg-type]

    def report(self, *, histogram: bool = False) -> TargetReport:
        """Say what it came to so far; the `histogram` may be long."""
        tally, kernel = self.tally, _joined(self._kernel, self._kernel_now)
        return replace(
            self.target,
            sent=tally.sent,
            received=tally.received,
            lost=tally.lost,
            late=tally.late,
            duplicate=tally.duplicate,
            reordered=tally.reordered,
            corrupt=self._corrupt,
            stray=self._stray,
            timed_out=tally.timed_out,
            errors=dict(self._errors),
            failure=self.target.failure or (None if tally.received else self._failure),
            clock=self.clock,
            round_trip=self.latency.summary(),
            phases={name: spread for name, took in self._phases.items() if (spread := took.summary())},
            kernel=kernel,
            floor_ns=kernel.min_rtt_ns if kernel else None,
            timestamps=self._stamped(),
            outages=tuple(self._on_the_wall(outage) for outage in tally.outages),
            outage_count=tally.outage_count,
            longest_outage=self._on_the_wall(tally.longest) if tally.longest else None,
            histogram=tuple(self.latency.buckets()) if histogram else (),
        )

    def _told(
        self,
        outcome: Outcome,
        now: Instant,
        number: int | None = None,
        took: int | None = None,
        *,
        size: int = 0,
        offset: int | None = None,
        way: Way | None = None,
        phases: Mapping[str, int] | None = None,
        text: str = "",
    ) -> ProbeEvent:
        return ProbeEvent(
            target=self._place,
            peer=self.target.peer,
            outcome=outcome,
            wall_ns=now.wall_ns,
            number=number,
            round_trip_ns=took,
            size=size,
            offset=offset,
            way=way,
            phases=phases or {},
            text=text,
        )

    def _lost(self, number: int, now: Instant) -> ProbeEvent:
        return self._told("lost", now, number, way=self._direction.way(number))

    def _first(self, took: int) -> dict[str, int]:
        """Take note of the first echo on a connection, and give all of its phases."""
        self._fresh = False
        self._phases.setdefault("first", Histogram()).record(took)
        return {**self._latest, "first": took}

    def _identified(self, data: bytes) -> tuple[int | None, int | None]:
        """Say which probe this answers, if any, and the first byte that is wrong, if any."""
        number = self._probes.number(data, self.tally.sent - 1)
        offset = self._offset(number, data)
        if number in self._sent and offset is None:
            return number, None
        number = self._damaged(number if number is not None and 0 <= number < self.tally.sent else None, data)
        return number, self._offset(number, data)

    def _offset(self, number: int | None, data: bytes) -> int | None:
        """Compare with a probe that is still known."""
        sent = self._sent.get(number) if number is not None else None
        if number is None or sent is None:
            return None
        return difference(self._probes.make(number, sent.written_ns), data)

    def _damaged(self, named: int | None, data: bytes) -> int | None:
        """Find the probe that this may be the answer to: its number may be what was damaged, or missing.

        Another run's is read as well as ours; what cannot be read is ours if most of its bytes are.
        """
        awaited, heading = self.tally.outstanding()[:ALIKE], read(data)
        timed = (number for number in awaited if heading and heading.sent_ns == self._sent[number].written_ns)
        named = next(timed, named)
        if named is not None or heading is not None:
            return named
        wrong = {number: likeness(self._probes.make(number, self._sent[number].written_ns), data) for number in awaited}
        best = min(awaited, key=wrong.__getitem__, default=None)
        return None if best is None or wrong[best] >= NOT_ALIKE else best

    def _note_stamp(self, number: int, data: bytes, sent: Instant, came_wall_ns: int, passed_ns: int) -> None:
        if stamp := read_stamp(data):
            self._direction.note(number, stamp)
            self._server.record(stamp.left_ns - stamp.came_ns)
            for way, took in ((self._there, stamp.came_ns - sent.wall_ns), (self._back, came_wall_ns - stamp.left_ns)):
                self._agree = self._agree and took >= 0
                way.record(took)
            self._agree = self._agree and abs(came_wall_ns - sent.wall_ns - passed_ns) < ASTRAY

    def _stamped(self) -> TimestampReport | None:
        server = self._server.summary()
        if server is None:
            return None
        came = self.tally.received + self.tally.late
        ways = self._direction.ways(self.tally.sent, came) if self._one_connection else None
        there, back = (self._there.summary(), self._back.summary()) if self._agree else (None, None)
        return TimestampReport(server, ways, there, back)

    def _on_the_wall(self, outage: Outage) -> Outage:
        return replace(outage, start_ns=outage.start_ns + self._offset_ns, end_ns=outage.end_ns + self._offset_ns)


def likeness(probe: bytes, came: bytes) -> float:
    """Give the share of wrong bytes, from the beginning or from the end, whichever is less; a stamp is not compared."""
    skipped = STAMP_END if probe.startswith(ASKING) else HEAD
    places = [*range(HEAD), *range(max(skipped, len(probe) - _COMPARED), len(probe))]
    shares = [1.0]
    for shift in (0, len(came) - len(probe)):
        wrong = [probe[place] != came[place + shift] for place in places if 0 <= place + shift < len(came)]
        if len(wrong) >= LEAST_ALIKE:
            shares.append(sum(wrong) / len(wrong))
    return min(shares)


def _joined(before: Kernel | None, after: Kernel | None) -> Kernel | None:
    """Put what was known of earlier connections together with a later one: the least, and the sums."""
    if before is None or after is None:
        return after or before
    least = [rtt for rtt in (before.min_rtt_ns, after.min_rtt_ns) if rtt is not None]
    return replace(
        after,
        min_rtt_ns=min(least, default=None),
        retransmits=before.retransmits + after.retransmits,
        lost=before.lost + after.lost,
    )
