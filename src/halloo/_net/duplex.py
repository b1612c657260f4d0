"""Send a stream and receive the answer at the same time, so that two full buffers cannot block each other.

Uses one connection, on which no call waits, a thread that reads the source, and the clock.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from halloo._core.units import SECOND
from halloo._net import error_mapping
from halloo._net.connection import CHUNK, Connection
from halloo._net.read_ahead import ReadAhead
from halloo._net.readiness import until_ready
from halloo.errors import HallooError, IncompleteRead, Reset, TimedOut

READ_AHEAD = 32  # chunks; with fewer the two threads take turns more often
GRACE = 0.1  # seconds for the source to end, when the peer's end follows its last byte at once


@dataclass(frozen=True, slots=True)
class DuplexResult:
    """How many bytes were sent and received; `finished` is whether the peer closed its side too."""

    sent_bytes: int
    received_bytes: int
    finished: bool


def duplex(
    connection: Connection,
    source: Iterable[bytes],
    sink: Callable[[bytes], object],
    *,
    timeout: float,
    linger: float | None = None,
    until_ns: int | None = None,
) -> DuplexResult:
    """Send `source`, half-close, and pass to `sink` all that arrives until the peer's end.

    `timeout` is how many seconds may pass without progress: while bytes are sent, fewer were received than sent, or
    only the peer's end is missing. Bytes beyond those sent are no progress. With `linger` no answer is expected: the
    peer's end is awaited for that many seconds after the half-close. `until_ns`, on the monotonic clock, ends all.
    Bytes received before an error have been passed to `sink`.
    Raises Reset, TimedOut, IncompleteRead, and what `source` raises.
    """
    connection.timeout = 0
    until = math.inf if until_ns is None else until_ns / SECOND
    with ReadAhead(filter(None, source), READ_AHEAD) as ahead:
        both = _Duplex(connection, ahead, sink, timeout, linger, until)
        while not both.ended:
            progress = both.receive()
            progress = both.send() or progress
            left = both.time_left()
            if left <= 0 and not both.ended:
                both.check_answered()
                break
            if not progress:
                both.wait(left)
        else:
            both.check_ended()
        return DuplexResult(both.sent, both.received, finished=both.ended)


@dataclass(slots=True)
class _Duplex:
    _connection: Connection
    _source: ReadAhead
    _sink: Callable[[bytes], object]
    _timeout: float
    _linger: float | None
    _until: float
    sent: int = 0
    received: int = 0
    ended: bool = False  # whether the peer has closed its side
    _moved: float = field(default_factory=time.monotonic)
    _unsent: bytes | memoryview = b""
    _blocked: bool = False  # whether the kernel takes no more
    _retry_at: int = 0  # bytes received, before which sending more is in vain
    _finished: bool = False  # whether all of the source and the half-close were sent
    _failure: HallooError | None = None  # of sending; what the peer sent before can still be received

    @property
    def _owed(self) -> int:
        return self.sent - self.received if self._linger is None else 0

    def receive(self) -> bool:
        """Pass on what has arrived; return whether anything has. A reset after the whole answer is an end as well."""
        try:
            chunk = self._connection.receive()
        except TimedOut:
            return False
        except Reset:
            if self._linger is not None or not self._finished or not 0 < self.sent <= self.received:
                raise
            chunk = b""
        progress = self._owed > 0
        self.received += len(chunk)
        self.ended = not chunk
        if chunk:
            self._sink(chunk)
        if progress:
            self._moved = time.monotonic()  # not before: the time that the sink takes is not the peer's
        return True

    def send(self) -> bool:
        """Send what the kernel takes, and the half-close behind the last of the source; return whether it took any."""
        if self._finished or self._failure or self.received < self._retry_at:
            return False
        if not self._unsent:
            self._unsent = memoryview(self._source.take() or b"")
        over = not self._unsent and self._source.over
        if not (self._unsent or over or self._blocked):
            return False
        if not self._blocked:
            self._moved = time.monotonic()  # this send has all of its time, however long the source has paused
        accepted, self._blocked = len(self._unsent[:CHUNK]), False
        try:
            self._connection.send(self._unsent[:CHUNK])
            if over:
                self._connection.send_eof()
                self._finished = True
        except TimedOut as error:
            accepted, self._blocked = error.sent, True
            self._retry_at = self.received + CHUNK  # an echo that is read makes room
        except HallooError as error:
            self._failure = error
            return False
        self.sent += accepted
        self._unsent = self._unsent[accepted:]
        if accepted or self._finished:
            self._moved = time.monotonic()
        return not self._blocked or accepted > 0

    def time_left(self) -> float:
        """Return for how many more seconds to wait for a byte; while none is owed, until the end of all."""
        now = time.monotonic()
        left = math.inf
        if self._finished and self._linger is not None:
            left = self._linger
        elif self._owed > 0 or self._blocked or self._finished or self._failure:
            left = self._timeout
        return min(left - (now - self._moved), self._until - now)

    def wait(self, left: float) -> None:
        sock = self._connection.socket
        readers = [] if self.ended else [sock]
        if not (self._unsent or self._blocked or self._finished or self._failure):
            readers.append(self._source.waking)
        until_ready(readers, [sock] if self._blocked else [], left)
        self._retry_at = 0

    def check_answered(self) -> None:
        """Raise an error if something is missing besides the peer's end, once no time is left."""
        if self._finished and self._owed <= 0:
            return
        if self._failure:
            raise self._failure
        address, sent = self._connection.address, self.sent
        if time.monotonic() >= self._until:
            raise error_mapping.overdue(address, f"sent back {self.received} of {sent} bytes")
        if self.received >= sent:
            fact = f"{address.place} took {sent} bytes, then no more for {self._timeout:g} seconds"
        else:
            fact = (
                f"{address.place} sent back {self.received} of {sent} bytes, then nothing for {self._timeout:g} seconds"
            )
        raise TimedOut(fact, "allow more time with timeout=, or look at the server", address=str(address))

    def check_ended(self) -> None:
        """Raise an error if the peer's end came too early, once the source has had GRACE to end."""
        until, place = time.monotonic() + GRACE, self._connection.address.place
        while not (self._finished or self._failure) and (left := until - time.monotonic()) > 0:
            if not self.send():
                self.wait(left)
        if not self._finished:
            counts = f"({self.sent} bytes sent, {self.received} received)"
            fact = f"{place} closed the connection before all was sent {counts}"
        elif self._owed > 0:
            fact = f"{place} closed the connection after sending back {self.received} of {self.sent} bytes"
        else:
            return
        raise IncompleteRead(fact, error_mapping.LOOK, address=str(self._connection.address))
