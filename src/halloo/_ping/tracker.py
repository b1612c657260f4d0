"""Track the probes of one target: outcomes, round trips, phases. Pure: no I/O, no clock, no randomness.

Times are integers of two clocks. The caller does the I/O, and passes what was sent and received, and when.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from halloo._core.histogram import Histogram
from halloo._core.icmp import IcmpReport
from halloo._core.probe import (
    HEADER_SIZE,
    NOTICE,
    REQUEST,
    TIMESTAMP_END,
    Probes,
    ServerTimestamp,
    first_difference,
    is_reply,
    read_header,
    read_notice,
    read_timestamp,
)
from halloo._ping.counters import MAX_TRACKED, LossDirection, ProbeCounters
from halloo._ping.delays import Instant, OneWay, OneWayTimes, Variation, impossibility, round_trip
from halloo._ping.report import Clock, Kernel, Outage, Outcome, ProbeEvent, TargetReport

MAX_CANDIDATES = 64  # pending probes that a reply without a readable number is compared with
MIN_COMPARED_BYTES = 12  # with fewer, unrelated bytes may look like a reply
MAX_WRONG_SHARE = 0.5  # from which on data is not a reply
_COMPARED_TAIL = 256  # bytes
MAX_CLOCK_LEAD = 1000  # nanoseconds
RATE_LIMITED = "RateLimited"  # the name of the error
MAX_REPORTS = 16  # different ones that are counted apart
COUNTS = ("sent", "received", "lost", "late", "duplicate", "reordered", "timed_out", "outage_count")  # of the counters
Error = tuple[str, str]  # name and message


class Sent(NamedTuple):
    """When a probe was sent, and the time written in it, which is earlier if it was prepared."""

    at: Instant
    written_ns: int


class ProbeTracker:
    """The probes of one target."""

    def __init__(
        self,
        index: int,
        probes: Probes,
        timeout_ns: int,
        target: TargetReport,
        *,
        one_connection: bool = True,
        tracked: int = MAX_TRACKED,
    ) -> None:
        """Start with a target's initial report; `index` is its position in the final one.

        Each server worker keeps its own counts, so loss by direction is known with `one_connection` only. Older probes
        than the last `tracked` count as lost.
        """
        self.target = target
        self.counters = ProbeCounters(timeout_ns, tracked=tracked)
        self.latency = Histogram()
        self._tracked = tracked
        self._variation = Variation()
        self.clock: Clock = "user"
        self._index = index
        self._one_connection = one_connection
        self._probes = probes
        self._sent: dict[int, Sent] = {}
        self._phases: dict[str, Histogram] = {}
        self._current_phases: dict[str, int] = {}  # of the current connection
        self._first_echo_pending = False
        self._direction = LossDirection()
        self._one_way = OneWayTimes()
        self._corrupt = self._unmatched = self._stray = 0
        self._errors: Counter[str] = Counter()
        self._icmp: Counter[IcmpReport] = Counter()
        self._rate_limited = 0
        self._failure: str | None = None
        self._kernel: Kernel | None = None  # of closed connections
        self._kernel_current: Kernel | None = None
        self._written_ns = -MAX_CLOCK_LEAD  # the time written in the last probe
        self._last_round_trip: int | None = None
        self._last_sent = Instant(0, 0)

    def connected(self, phases: Mapping[str, int]) -> None:
        self._current_phases = dict(phases)
        self._first_echo_pending = True
        for name, elapsed in phases.items():
            self._phases.setdefault(name, Histogram()).record(elapsed)

    def make(self, now: Instant) -> bytes:
        """Encode the next probe. It counts once it is marked sent; until then it may be encoded anew."""
        # Times are unique even if the clock is coarse, so that they identify a probe whose number is damaged.
        lead = self._written_ns - now.wall_ns
        self._written_ns = self._written_ns + 1 if 0 <= lead < MAX_CLOCK_LEAD else now.wall_ns
        return self._probes.encode(self.counters.sent, self._written_ns)

    def mark_sent(self, now: Instant) -> int:
        """Record that the last encoded probe is sent now, and return its number."""
        number = self.counters.send(now.steady_ns)
        self._sent[number] = Sent(now, self._written_ns)
        self._sent.pop(number - self._tracked, None)
        self._last_sent = now
        return number

    def send(self, now: Instant) -> tuple[int, bytes]:
        probe = self.make(now)
        return self.mark_sent(now), probe

    @property
    def expected_ns(self) -> int | None:
        """When the oldest pending reply arrives if it takes as long as the last one, by the steady clock.

        None if unknown, and with kernel timestamps, for which the time of reading does not matter.
        """
        oldest = self.counters.oldest_sent_ns
        if oldest is None or self._last_round_trip is None or self.clock == "kernel":
            return None
        return oldest + self._last_round_trip

    def receive(self, data: bytes, now: Instant, kernel_ns: int | None) -> ProbeEvent:
        """Classify received data as a reply, corrupt or not, as stray, or as a notice of the server's rate limit."""
        if data.startswith(NOTICE) and (notice := read_notice(data)):
            return self._limited(*notice, now)
        number, offset = self._identify(data)
        sent = None if number is None else self._sent.pop(number, None)
        rtt_ns = round_trip(sent.at, now, kernel_ns) if sent else 0
        received_ns = sent.at.steady_ns + rtt_ns if sent else now.steady_ns  # without the time until it was read
        arrival, reordered = ("unknown", False) if number is None else self.counters.receive(number, received_ns)
        if arrival == "duplicate":
            return self._event("duplicate", now, number, size=len(data))
        if number is None or sent is None or arrival == "unknown":
            unmatched = is_reply(data)
            self._unmatched += unmatched
            self._stray += not unmatched
            return self._event("unmatched" if unmatched else "stray", now, size=len(data))
        timestamp = read_timestamp(data) if offset is None else None
        impossible = impossibility(timestamp, rtt_ns, self.counters.sent) if timestamp else None
        if offset is not None or impossible:
            self._corrupt += 1
            offset = HEADER_SIZE if offset is None else offset
            return self._event("corrupt", now, number, rtt_ns, size=len(data), offset=offset, text=impossible or "")
        parts = self._record_reply(number, timestamp, sent.at, now, rtt_ns) if arrival == "reply" else None
        phases = self._first_echo(rtt_ns) if self._first_echo_pending else {}
        times = parts._asdict() if parts else {}
        outcome: Outcome = "late" if arrival == "late" else "reply"
        return self._event(outcome, now, number, rtt_ns, size=len(data), reordered=reordered, phases=phases, **times)

    def _limited(self, probe: bytes, refused: int, now: Instant) -> ProbeEvent:
        number = self._probes.number(probe, self.counters.sent - 1)
        if number in self._sent:  # not answered
            self._rate_limited = min(max(refused, self._rate_limited), self.counters.sent)
        if number not in self.counters.outstanding():  # as unmatched as a late or repeated reply: no byte is wrong
            self._unmatched += 1
            return self._event("unmatched", now, size=len(probe))
        return self.fail(number, (RATE_LIMITED, "not answered: the server limits this sender"), now)

    def complete_connect(self, now: Instant) -> ProbeEvent:
        """Record a probe that was only a connection; its round trip is that of the SYN."""
        number, phases = self.counters.sent - 1, self._current_phases
        rtt_ns = phases.get("connect", 0)
        self._sent.pop(number, None)
        arrival, _ = self.counters.receive(number, now.steady_ns)
        if arrival == "reply":
            self.latency.record(rtt_ns)
            self._variation.record(number, rtt_ns, self.counters.settled)
        return self._event("late" if arrival == "late" else "reply", now, number, rtt_ns, phases=phases)

    def expire(self, now: Instant) -> Iterator[ProbeEvent]:
        for number in self.counters.expire(now.steady_ns):
            yield self._lost(number, now)

    def fail(self, number: int | None, error: Error, now: Instant) -> ProbeEvent:
        """Record an error, and the failure of probe `number` if there is one."""
        name, text = error
        self._errors[name] += 1
        self._failure = text
        if number is not None:
            self.counters.fail(number)
        return self._event("error", now, number, text=text)

    def record_report(self, report: IcmpReport, quoted: bytes) -> int | None:
        """Count a report about a probe; return the probe's number, None if it is not pending.

        A router that quotes too little of the probe is taken to mean the latest.
        """
        key = report if report in self._icmp or len(self._icmp) < MAX_REPORTS else replace(report, router="others")
        self._icmp[key] += 1
        number, pending = self._probes.number(quoted, self.counters.sent - 1), self.counters.outstanding()
        if number is None and read_header(quoted) is None:
            return pending[-1] if pending else None
        return number if number in pending else None

    def finish(self, now: Instant) -> Iterator[ProbeEvent]:
        for number in self.counters.finish(now.steady_ns):
            yield self._lost(number, now)

    def record_kernel(self, kernel: Kernel | None, *, closing: bool = False) -> None:
        if kernel is not None:
            self._kernel_current = kernel
        if closing:
            self._kernel, self._kernel_current = _merge(self._kernel, self._kernel_current), None

    def update_target(self, **fields: object) -> None:
        self.target = replace(self.target, **fields)  # type: ignore[arg-type]  # by name

    def report(self, *, histogram: bool = False) -> TargetReport:
        """Return the results so far; `histogram` includes all round trips, which may be many."""
        counters, kernel = self.counters, _merge(self._kernel, self._kernel_current)
        settled = counters.received + counters.late + counters.lost
        summary = self.latency.summary(missing=settled - self.latency.count)
        lost = None
        if self._one_connection:
            lost = self._direction.totals(counters.sent, counters.received + counters.late)
        return replace(
            self.target,
            **{name: getattr(counters, name) for name in COUNTS},
            corrupt=self._corrupt,
            unmatched=self._unmatched,
            stray=self._stray,
            errors=dict(self._errors),
            icmp=tuple(self._icmp.items()),
            rate_limited=self._rate_limited,
            failure=self.target.failure or (None if counters.received else self._failure),
            clock=self.clock,
            round_trip=summary and replace(summary, **asdict(self._variation.result())),
            phases={name: summary for name, times in self._phases.items() if (summary := times.summary())},
            kernel=kernel,
            floor_ns=kernel.min_rtt_ns if kernel else None,
            timestamps=self._one_way.report(lost),
            outages=tuple(self._in_wall_time(outage) for outage in counters.outages),
            longest_outage=self._in_wall_time(counters.longest_outage) if counters.longest_outage else None,
            histogram=tuple(self.latency.buckets()) if histogram else (),
        )

    def _event(
        self,
        outcome: Outcome,
        now: Instant,
        number: int | None = None,
        rtt_ns: int | None = None,
        **fields: Any,  # noqa: ANN401 - the other ones of ProbeEvent
    ) -> ProbeEvent:
        return ProbeEvent(self._index, outcome, now.wall_ns, number, rtt_ns, peer=self.target.peer, **fields)

    def _lost(self, number: int, now: Instant) -> ProbeEvent:
        return self._event("lost", now, number, way=self._direction.direction(number))

    def _first_echo(self, rtt_ns: int) -> dict[str, int]:
        self._first_echo_pending = False
        self._phases.setdefault("first", Histogram()).record(rtt_ns)
        return {**self._current_phases, "first": rtt_ns}

    def _identify(self, data: bytes) -> tuple[int | None, int | None]:
        """Return the number of the probe that this answers, and the offset of the first wrong byte, None for either."""
        number = self._probes.number(data, self.counters.sent - 1)
        offset = self._first_difference(number, data)
        if number in self._sent and offset is None:
            return number, None
        number = self._match_damaged(number if number is not None and 0 <= number < self.counters.sent else None, data)
        return number, self._first_difference(number, data)

    def _first_difference(self, number: int | None, data: bytes) -> int | None:
        """Return the first wrong byte, None if the reply is right or its probe is unknown."""
        sent = self._sent.get(number) if number is not None else None
        if number is None or sent is None:
            return None
        return first_difference(self._probes.encode(number, sent.written_ns), data)

    def _match_damaged(self, named: int | None, data: bytes) -> int | None:
        """Find the probe of a damaged reply, whose number may be wrong or missing.

        A reply with a readable header of another run is not ours; one without is ours if most of its bytes match.
        """
        pending, header = self.counters.outstanding()[:MAX_CANDIDATES], read_header(data)
        timed = (number for number in pending if header and header.sent_ns == self._sent[number].written_ns)
        named = next(timed, named)
        if named is not None or header is not None:
            return named
        shares = {n: wrong_share(self._probes.encode(n, self._sent[n].written_ns), data) for n in pending}
        best = min(pending, key=shares.__getitem__, default=None)
        return None if best is None or shares[best] >= MAX_WRONG_SHARE else best

    def _record_reply(
        self, number: int, timestamp: ServerTimestamp | None, sent: Instant, read: Instant, rtt_ns: int
    ) -> OneWay | None:
        """Record a correct reply in time; return its one-way times if it has a server timestamp."""
        self._last_round_trip = rtt_ns
        self.latency.record(rtt_ns)
        self._variation.record(number, rtt_ns, self.counters.settled)
        if not timestamp:
            return None
        self._direction.record(number, timestamp)
        return self._one_way.record(number, timestamp, sent, read, rtt_ns=rtt_ns, settled=self.counters.settled)

    def _in_wall_time(self, outage: Outage) -> Outage:
        offset_ns = self._last_sent.offset_ns
        return replace(outage, start_ns=outage.start_ns + offset_ns, end_ns=outage.end_ns + offset_ns)


def wrong_share(probe: bytes, reply: bytes) -> float:
    """Return the share of wrong bytes, aligned at the start or at the end, whichever is less, ignoring timestamps."""
    skipped = TIMESTAMP_END if probe.startswith(REQUEST) else HEADER_SIZE
    positions = [*range(HEADER_SIZE), *range(max(skipped, len(probe) - _COMPARED_TAIL), len(probe))]
    shares = [1.0]
    for shift in (0, len(reply) - len(probe)):
        wrong = [probe[i] != reply[i + shift] for i in positions if 0 <= i + shift < len(reply)]
        if len(wrong) >= MIN_COMPARED_BYTES:
            shares.append(sum(wrong) / len(wrong))
    return min(shares)


def _merge(before: Kernel | None, after: Kernel | None) -> Kernel | None:
    """Combine the kernel's data of two connections: the least round trip, the summed counts."""
    if before is None or after is None:
        return after or before
    least = [rtt for rtt in (before.min_rtt_ns, after.min_rtt_ns) if rtt is not None]
    return replace(
        after,
        min_rtt_ns=min(least, default=None),
        retransmits=before.retransmits + after.retransmits,
        lost=before.lost + after.lost,
    )
