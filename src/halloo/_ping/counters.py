"""Count probes: answered, late, duplicate, reordered or lost. Pure: no I/O, no clock, no randomness.

Knows numbers and integers of nanoseconds, of one clock that only goes forward. Knows no socket.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from halloo._core.probe import WINDOW, ServerTimestamp

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


class ProbeCounters:
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


Way = Literal["forward", "reverse"]
KEPT = 4096  # stamps that are remembered


@dataclass(frozen=True, slots=True)
class DirectionalLoss:
    """How many were lost on the way there and back, refused by the server itself, and after the last stamp."""

    forward: int
    reverse: int
    refused: int
    unknown: int


class LossDirection:
    """The stamps of one run so far."""

    def __init__(self) -> None:
        """Begin with none."""
        self._stamps: OrderedDict[int, ServerTimestamp] = OrderedDict()
        self._highest = -1
        self._arrived = self._refused = 0
        self._forgotten = False

    def note(self, number: int, stamp: ServerTimestamp) -> None:
        """Take note of the stamp on the answer to a probe."""
        self._forgotten = self._forgotten or self._lacks_all(number, stamp)
        self._highest = max(self._highest, number)
        self._arrived, self._refused = max(self._arrived, stamp.arrived), max(self._refused, stamp.refused)
        self._stamps[number] = stamp
        if len(self._stamps) > KEPT:
            self._stamps.popitem(last=False)

    def way(self, number: int) -> Way | None:
        """Say on which way a probe was lost that did not come back; None when no stamp tells, or it may be refused."""
        covering = [later for later in range(number + 1, number + WINDOW) if later in self._stamps]
        if not covering or self._forgotten:
            return None
        if not any(self._stamps[later].window >> (later - number) & 1 for later in covering):
            return "forward"
        before = next((earlier for earlier in range(number - 1, number - WINDOW, -1) if earlier in self._stamps), None)
        refused = 0 if before is None else self._stamps[before].refused
        return "reverse" if self._stamps[covering[0]].refused == refused else None

    def ways(self, sent: int, came: int) -> DirectionalLoss | None:
        """Add up, of so many probes sent and come back; None without stamps, or when the server began anew meanwhile.

        >>> direction = Direction()
        >>> direction.note(3, Stamp(0, 0, arrived=3, refused=1, window=0b1011))
        >>> direction.ways(sent=5, came=1)
        Ways(there=1, back=1, refused=1, unknown=1)
        """
        if self._highest < 0 or self._forgotten:
            return None
        known = max(self._highest + 1, self._arrived)  # a later one may have come there first, and not back
        return DirectionalLoss(
            forward=max(known - self._arrived, 0),
            reverse=max(self._arrived - self._refused - came, 0),
            refused=self._refused,
            unknown=sent - known,
        )

    def _lacks_all(self, number: int, stamp: ServerTimestamp) -> bool:
        """Whether the server has counted no further, and of the probes whose stamps are here remembers none.

        Of those that have overtaken others both there and back, it remembers the ones before.
        """
        if number <= self._highest or stamp.arrived > self._arrived:
            return False
        before = range(max(number - WINDOW + 1, 0), number)
        return not any(earlier in self._stamps and stamp.window >> (number - earlier) & 1 for earlier in before)
