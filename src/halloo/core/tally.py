"""Keep account of probes: which came back, in time or late, twice or out of order, and which are lost.

Knows numbers and integers of nanoseconds, of one clock that only goes forward. Knows no socket.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

REMEMBERED = 1 << 16  # probes: an older one is not awaited any longer, nor a copy of it recognised
OUTAGES = 1000  # listed at most; all are counted
AT_LEAST = 2  # probes in a row that do not come back in time make an outage

_AWAITED, _ANSWERED, _GIVEN_UP, _LATE = range(4)
Arrival = Literal["reply", "late", "duplicate", "unknown"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no answer came in time: from when its first probe left until one did that was answered."""

    start_ns: int
    end_ns: int
    probes: int
    over: bool = True

    @property
    def length_ns(self) -> int:
        """How long it lasted."""
        return self.end_ns - self.start_ns


class Tally:
    """The probes of one target, numbered from 0 as they are sent."""

    def __init__(self, wait_ns: int) -> None:
        """Give a probe up after `wait_ns`; if it comes all the same, it is late."""
        self._wait = wait_ns
        self.sent = self.received = self.late = self.duplicate = self.reordered = 0
        self.timed_out = 0  # of those given up: for having taken too long
        self._given_up = 0  # late ones among them
        self.outages: list[Outage] = []
        self.outage_count = 0
        self.longest: Outage | None = None
        self._states = bytearray(REMEMBERED)
        self._times: dict[int, int] = {}  # of those not settled
        self._settled = 0  # all before this one are answered or given up
        self._highest = -1
        self._failing: list[int] = []  # the time of the first of the probes that failed in a row, and their number
        self._pushed_out: list[int] = []  # too many are under way: they are not awaited any longer

    @property
    def lost(self) -> int:
        """How many were given up, and have not come since."""
        return self._given_up - self.late

    @property
    def awaited(self) -> int:
        """How many may still come in time."""
        return self.sent - self.received - self._given_up

    def send(self, now_ns: int) -> int:
        """Note a probe that is about to leave, and give its number."""
        number = self.sent
        if self.fail(number - REMEMBERED):  # its place is needed
            self._pushed_out.append(number - REMEMBERED)
        self.sent += 1
        self._states[number % REMEMBERED] = _AWAITED
        self._times[number] = now_ns
        return number

    def receive(self, number: int, now_ns: int) -> tuple[Arrival, bool]:
        """Say what an answer is, and whether one to a later probe came before it (RFC 4737)."""
        if not self.sent - REMEMBERED <= number < self.sent or number < 0:
            return "unknown", False
        slot = number % REMEMBERED
        if self._states[slot] in (_ANSWERED, _LATE):
            self.duplicate += 1
            return "duplicate", False
        if self._states[slot] == _AWAITED and now_ns - self._times[number] > self._wait:
            self._give_up(number)
            self.timed_out += 1
        reordered = number < self._highest
        self.reordered += reordered
        self._highest = max(self._highest, number)
        if self._states[slot] == _GIVEN_UP:
            self._states[slot] = _LATE
            self.late += 1
            return "late", reordered
        self._states[slot] = _ANSWERED
        self.received += 1
        self._settle()
        return "reply", reordered

    def fail(self, number: int) -> bool:
        """Give a probe up at once, if it is awaited: it could not be sent, or its connection has ended."""
        if awaited := number >= self._settled and self._states[number % REMEMBERED] == _AWAITED:
            self._give_up(number)
        return awaited

    def overdue(self, now_ns: int) -> Iterator[int]:
        """Give up those that are awaited for too long, and say which, with those that too many others have followed."""
        yield from self._untold()
        while self._settled < self.sent and now_ns - self._times[self._settled] > self._wait:
            number = self._settled
            self._give_up(number)
            self.timed_out += 1
            yield number

    def outstanding(self) -> list[int]:
        """Which are awaited."""
        return [number for number in self._times if self._states[number % REMEMBERED] == _AWAITED]

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest that is awaited was sent; None when none is."""
        return self._times[self._settled] if self._settled < self.sent else None

    def due_ns(self) -> int | None:
        """When the oldest that is awaited will be overdue, long ago if any was pushed out; None when none is."""
        if self._pushed_out:
            return 0
        return self._times[self._settled] + self._wait + 1 if self._settled < self.sent else None

    def finish(self, now_ns: int) -> list[int]:
        """Give up all that are awaited, and say which; an outage that goes on ends here."""
        left = self.outstanding()
        for number in left:
            self._give_up(number)
        self._end_outage(now_ns, over=False)
        return [*self._untold(), *left]

    def _untold(self) -> list[int]:
        """Give those that were given up since, and nobody was told of."""
        pushed_out, self._pushed_out = self._pushed_out, []
        return pushed_out

    def _give_up(self, number: int) -> None:
        self._states[number % REMEMBERED] = _GIVEN_UP
        self._given_up += 1
        self._settle()

    def _settle(self) -> None:
        """Go on to the first that is awaited, and take note of outages on the way."""
        while self._settled < self.sent and (state := self._states[self._settled % REMEMBERED]) != _AWAITED:
            sent_ns = self._times.pop(self._settled)
            if state == _ANSWERED:
                if self._failing:
                    self._end_outage(sent_ns, over=True)
            elif self._failing:
                self._failing[1] += 1
            else:
                self._failing = [sent_ns, 1]
            self._settled += 1

    def _end_outage(self, now_ns: int, *, over: bool) -> None:
        if self._failing and self._failing[1] >= AT_LEAST:
            outage = Outage(self._failing[0], max(now_ns, self._failing[0]), self._failing[1], over)
            self.outage_count += 1
            if len(self.outages) < OUTAGES:
                self.outages.append(outage)
            if self.longest is None or outage.length_ns > self.longest.length_ns:
                self.longest = outage
        self._failing = []
