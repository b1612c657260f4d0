"""Send datagrams and receive the replies at the same time, no more in flight than an echo's buffer holds.

Uses a connection, a thread that reads the source, and the clock. Any bytes may be sent, so a reply does not show which
datagram it answers: replies are counted, without the duplicates that DuplicateFilter recognises.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from halloo._net import error_mapping
from halloo._net.datagrams import DatagramConnection
from halloo._net.read_ahead import ReadAhead
from halloo._net.readiness import seconds_until, until_readable
from halloo.errors import HallooError, TimedOut

MAX_IN_FLIGHT = 32  # datagrams
MAX_BYTES_IN_FLIGHT = 64 * 1024  # what a socket's default buffer holds, with the kernel's own overhead
# How long a missing reply holds back further datagrams: seconds at least, and a multiple of the slowest round trip.
MIN_WAIT, ROUND_TRIPS = 0.05, 4
TURN = 64  # replies received before looking at the time and at the source again
RECENT = 1024  # datagrams remembered in each direction


class DuplicateFilter:
    """Recognise replies that arrive twice, by the datagrams sent recently and those already answered."""

    def __init__(self) -> None:
        # Hashes, as the datagrams themselves may be 64 MB.
        self._unanswered: deque[int] = deque(maxlen=RECENT)
        self._answered: deque[int] = deque(maxlen=RECENT)
        self._echo = True

    def send(self, datagram: bytes) -> None:
        self._unanswered.append(hash(datagram))

    def receive(self, answer: bytes) -> bool:
        """Note a reply; return whether it is a duplicate: the echo of a datagram that was answered already."""
        digest = hash(answer)
        if digest in self._unanswered:
            self._unanswered.remove(digest)
            self._answered.append(digest)
            return False
        duplicate = self._echo and digest in self._answered
        self._echo = duplicate  # a reply that was never sent does not come from an echo
        return duplicate


@dataclass(slots=True)
class DatagramExchange:
    """How many datagrams and bytes were sent and received; duplicates, and more than were sent, count as bytes only."""

    sent: int = 0
    received: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(slots=True)
class _Progress:
    _connection: DatagramConnection
    _sink: Callable[[bytes], object]
    _timeout: float
    _until_ns: int | None
    done: DatagramExchange = field(default_factory=DatagramExchange)
    _duplicates: DuplicateFilter = field(default_factory=DuplicateFilter)
    _in_flight: int = 0  # an estimate: a reply that was given up may still arrive
    _max_in_flight: int = MAX_IN_FLIGHT
    _slowest: float = 0.0
    _moved: float = field(default_factory=time.monotonic)

    @property
    def owed(self) -> int:
        return self.done.sent - self.done.received

    @property
    def full(self) -> bool:
        return self._in_flight >= self._max_in_flight

    def send(self, datagram: bytes) -> None:
        try:
            self._connection.send(datagram, timeout=self._timeout)
        except HallooError:
            self.receive()  # the replies that arrived before
            raise
        self.done.sent += 1
        self.done.sent_bytes += len(datagram)
        self._duplicates.send(datagram)
        self._in_flight += 1
        self._max_in_flight = max(min(MAX_IN_FLIGHT, MAX_BYTES_IN_FLIGHT // max(len(datagram), 1)), 1)
        self._moved = time.monotonic()

    def receive(self) -> bool:
        """Pass on replies that have arrived, a limited number; return whether all of them were surplus."""
        some = progress = False
        for _ in range(TURN):
            try:
                answer = self._connection.receive(timeout=0)
            except TimedOut:
                break
            some = True
            self._sink(answer)
            self.done.received_bytes += len(answer)
            if self.owed > 0 and not self._duplicates.receive(answer):
                progress = True
                self.done.received += 1
                self._in_flight = max(self._in_flight - 1, 0)
                now = time.monotonic()
                self._slowest, self._moved = max(self._slowest, now - self._moved), now
        return some and not progress

    def time_left(self, *, over: bool) -> float | None:
        """Return for how many more seconds to wait, None for ever; `over` is whether no more will be sent."""
        elapsed, left = time.monotonic() - self._moved, math.inf
        if over or (self._in_flight and not self.done.received):
            left = self._timeout - elapsed
        elif self.full:
            left = min(self._timeout, max(MIN_WAIT, ROUND_TRIPS * self._slowest)) - elapsed
        if (until := seconds_until(self._until_ns)) is not None:
            left = min(left, until)
        return None if left == math.inf else max(left, 0)

    @property
    def overdue(self) -> bool:
        return seconds_until(self._until_ns) == 0

    def give_up(self, *, over: bool) -> None:
        """Wait no longer for the datagrams in flight. Raises TimedOut when no reply has ever arrived, or overdue."""
        self._in_flight = 0
        if self.overdue and not (over and self.done.received):
            fact = f"answered {self.done.received} of {self.done.sent} datagrams"
            raise error_mapping.overdue(self._connection.address, fact)
        if not self.done.received:
            if error := self._connection.undelivered:
                raise error
            sent, place = self.done.sent, self._connection.address.place
            those = "the datagram" if sent == 1 else f"any of {sent} datagrams"
            fact = f"{place} did not answer {those} within {self._timeout:g} seconds"
            raise TimedOut(fact, self._connection.silence_remedy, address=str(self._connection.address))


def exchange_datagrams(
    connection: DatagramConnection,
    datagrams: Iterable[bytes],
    sink: Callable[[bytes], object],
    *,
    timeout: float,
    until_ns: int | None = None,
) -> DatagramExchange:
    """Send the datagrams, and pass replies to `sink`, until as many have arrived as were sent or `timeout` is over.

    `timeout` is how many seconds may pass without a reply that is owed; more replies than datagrams do not extend it.
    `until_ns`, on the monotonic clock, ends all. Replies received before an error have been passed to `sink`.
    Raises Refused; when no reply arrived, Unreachable if a router reports why, else TimedOut; TimedOut at `until_ns`
    before all was sent.
    """
    progress = _Progress(connection, sink, timeout, until_ns)
    with ReadAhead(datagrams, MAX_IN_FLIGHT) as source:
        while True:
            surplus = progress.receive()
            while not progress.full and (datagram := source.take()) is not None:
                progress.send(datagram)
            over = source.over
            if over and progress.owed <= 0:
                return progress.done
            watched = [connection.socket] if progress.full or source.silent else [connection.socket, source.waking]
            left = progress.time_left(over=over)
            if progress.overdue or (surplus and left == 0) or not until_readable(watched, left):
                progress.give_up(over=over)
                if over:
                    return progress.done
