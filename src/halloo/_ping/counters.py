"""Count probes: answered, late, duplicate, reordered or lost. Pure: no I/O, no clock, no randomness.

Times are integers of nanoseconds of one monotonic clock.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal

from halloo._core.probe import WINDOW, ServerTimestamp
from halloo._ping.report import Direction, DirectionalLoss, Outage

MAX_TRACKED = 1 << 16  # probes: older ones count as lost, and their duplicates as unknown
MAX_OUTAGES = 1000  # listed; more are only counted
MIN_OUTAGE_PROBES = 2  # consecutive lost or late probes
MAX_TIMESTAMPS = 4096  # the latest are kept

_PENDING, _ANSWERED, _LOST, _LATE = range(4)
Arrival = Literal["reply", "late", "duplicate", "unknown"]


class ProbeCounters:
    """The probes of one target, numbered from 0 in the order of sending."""

    def __init__(self, timeout_ns: int, *, tracked: int = MAX_TRACKED) -> None:
        """Count a probe as lost after `timeout_ns`, or `tracked` newer probes; a reply after that makes it late."""
        self._timeout = timeout_ns
        self._tracked = tracked
        self.sent = self.received = self.late = self.duplicate = self.reordered = 0
        self.timed_out = 0  # without a reply within the timeout, late ones included
        self._marked_lost = 0  # late ones included
        self.outages: list[Outage] = []
        self.outage_count = 0
        self.longest_outage: Outage | None = None
        self._states = bytearray(tracked)
        self._times: dict[int, int] = {}  # when each unsettled probe was sent
        self.settled = 0  # the oldest pending probe: all before it are answered or lost
        self._highest = -1
        self._failing: list[int] = []  # when the first of the last consecutive losses was sent, and their count
        self._evicted: list[int] = []  # lost because too many newer probes were sent

    @property
    def lost(self) -> int:
        return self._marked_lost - self.late

    @property
    def pending(self) -> int:
        return self.sent - self.received - self._marked_lost

    def send(self, now_ns: int) -> int:
        """Count a probe that is about to be sent, and return its number."""
        number = self.sent
        if self.fail(number - self._tracked):  # its slot is needed
            self._evicted.append(number - self._tracked)
        self.sent += 1
        self._states[number % self._tracked] = _PENDING
        self._times[number] = now_ns
        return number

    def receive(self, number: int, now_ns: int) -> tuple[Arrival, bool]:
        """Classify a reply, and tell whether a later probe was answered before (reordering as in RFC 4737)."""
        if not self.sent - self._tracked <= number < self.sent or number < 0:
            return "unknown", False
        slot = number % self._tracked
        if self._states[slot] in (_ANSWERED, _LATE):
            self.duplicate += 1
            return "duplicate", False
        if self._states[slot] == _PENDING and now_ns - self._times[number] > self._timeout:
            self._mark_lost(number)
            self.timed_out += 1
        reordered = number < self._highest
        self.reordered += reordered
        self._highest = max(self._highest, number)
        if self._states[slot] == _LOST:
            self._states[slot] = _LATE
            self.late += 1
            return "late", reordered
        self._states[slot] = _ANSWERED
        self.received += 1
        self._settle()
        return "reply", reordered

    def fail(self, number: int) -> bool:
        """Mark a pending probe as lost at once: sending failed or its connection ended. Return whether it was."""
        if was_pending := number >= self.settled and self._states[number % self._tracked] == _PENDING:
            self._mark_lost(number)
        return was_pending

    def expire(self, now_ns: int) -> Iterator[int]:
        """Mark the probes past the timeout as lost, and yield their numbers and those of the evicted ones."""
        yield from self._take_evicted()
        while self.settled < self.sent and now_ns - self._times[self.settled] > self._timeout:
            number = self.settled
            self._mark_lost(number)
            self.timed_out += 1
            yield number

    def outstanding(self) -> list[int]:
        return [number for number in self._times if self._states[number % self._tracked] == _PENDING]

    @property
    def oldest_sent_ns(self) -> int | None:
        """When the oldest pending probe was sent; None without one."""
        return self._times[self.settled] if self.settled < self.sent else None

    def expires_ns(self) -> int | None:
        """Return when the oldest pending probe times out: 0 if one was evicted, None if none is pending."""
        if self._evicted:
            return 0
        return self._times[self.settled] + self._timeout + 1 if self.settled < self.sent else None

    def finish(self, now_ns: int) -> list[int]:
        """Mark all pending probes as lost and return their numbers. An outage in progress ends here."""
        left = self.outstanding()
        for number in left:
            self._mark_lost(number)
        self._end_outage(now_ns, over=False)
        return [*self._take_evicted(), *left]

    def _take_evicted(self) -> list[int]:
        evicted, self._evicted = self._evicted, []
        return evicted

    def _mark_lost(self, number: int) -> None:
        self._states[number % self._tracked] = _LOST
        self._marked_lost += 1
        self._settle()

    def _settle(self) -> None:
        while self.settled < self.sent and (state := self._states[self.settled % self._tracked]) != _PENDING:
            sent_ns = self._times.pop(self.settled)
            if state == _ANSWERED:
                if self._failing:
                    self._end_outage(sent_ns, over=True)
            elif self._failing:
                self._failing[1] += 1
            else:
                self._failing = [sent_ns, 1]
            self.settled += 1

    def _end_outage(self, now_ns: int, *, over: bool) -> None:
        if self._failing and self._failing[1] >= MIN_OUTAGE_PROBES:
            outage = Outage(self._failing[0], max(now_ns, self._failing[0]), self._failing[1], over)
            self.outage_count += 1
            if len(self.outages) < MAX_OUTAGES:
                self.outages.append(outage)
            if self.longest_outage is None or outage.length_ns > self.longest_outage.length_ns:
                self.longest_outage = outage
        self._failing = []


class LossDirection:
    """Loss by direction, from the server timestamps of one run."""

    def __init__(self) -> None:
        self._timestamps: OrderedDict[int, ServerTimestamp] = OrderedDict()
        self._highest = -1
        self._arrived = self._refused = 0
        self._restarted = False

    def record(self, number: int, timestamp: ServerTimestamp) -> None:
        self._restarted = self._restarted or self._shows_restart(number, timestamp)
        self._highest = max(self._highest, number)
        self._arrived, self._refused = max(self._arrived, timestamp.arrived), max(self._refused, timestamp.refused)
        self._timestamps[number] = timestamp
        if len(self._timestamps) > MAX_TIMESTAMPS:
            self._timestamps.popitem(last=False)

    def direction(self, number: int) -> Direction | None:
        """Return the path on which a probe was lost; None if no timestamp tells, or the server may have refused it."""
        newer = [later for later in range(number + 1, number + WINDOW) if later in self._timestamps]
        if not newer or self._restarted:
            return None
        if not any(self._timestamps[later].window >> (later - number) & 1 for later in newer):
            return "forward"
        before = next((n for n in range(number - 1, number - WINDOW, -1) if n in self._timestamps), None)
        refused = 0 if before is None else self._timestamps[before].refused
        return "reverse" if self._timestamps[newer[0]].refused == refused else None

    def totals(self, sent: int, received: int) -> DirectionalLoss | None:
        """Sum up the loss by direction. None without timestamps, or if the server restarted its counts meanwhile.

        >>> direction = LossDirection()
        >>> direction.record(3, ServerTimestamp(0, 0, arrived=3, refused=1, window=0b1011))
        >>> direction.totals(sent=5, received=1)
        DirectionalLoss(forward=1, reverse=1, refused=1, unknown=1)
        """
        if self._highest < 0 or self._restarted:
            return None
        known = max(self._highest + 1, self._arrived)  # a later probe may have arrived and been lost in reverse
        return DirectionalLoss(
            forward=max(known - self._arrived, 0),
            reverse=max(self._arrived - self._refused - received, 0),
            refused=self._refused,
            unknown=sent - known,
        )

    def _shows_restart(self, number: int, timestamp: ServerTimestamp) -> bool:
        """Return whether the server's count did not grow and its window has none of the earlier probes.

        The window of a probe that overtook others on both paths does have earlier ones.
        """
        if number <= self._highest or timestamp.arrived > self._arrived:
            return False
        before = range(max(number - WINDOW + 1, 0), number)
        return not any(earlier in self._timestamps and timestamp.window >> (number - earlier) & 1 for earlier in before)
