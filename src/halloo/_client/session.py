"""Talk to an echo at a prompt: send each line that is typed, and print what arrives, asked for or not.

Uses a connection, the lines, standard output and the clock.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from halloo._client.prompt import Lines
from halloo._client.streams import print_received
from halloo._net import error_mapping
from halloo._net.connection import CHUNK, Connection
from halloo._net.datagram_exchange import RECENT, DuplicateFilter
from halloo._net.datagrams import DatagramConnection
from halloo._net.readiness import deadline_ns, seconds_until
from halloo._output.terminal import say
from halloo.errors import IncompleteRead, Reset, TimedOut

REPLY_PAUSE = 0.5  # seconds of silence that complete a reply without a newline
TURN = 16  # pieces to print before looking at the prompt again


@dataclass(slots=True)
class StreamSession:
    """Lines and replies over a stream: a reply ends with its newline or, without one, with a pause.

    It waits `timeout` seconds for each reply, and until a time of the monotonic clock for all.
    """

    _connection: Connection | DatagramConnection
    _lines: Lines
    _timeout: float
    _until_ns: int | None
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_datagrams: int = 0
    lost_datagrams: int = 0

    def run(self) -> None:
        try:
            while line := self._next_line():
                data = line + b"\n"
                self._connection.send(data, timeout=self._within(self._timeout))
                self.sent_bytes += len(data)
                self._print_reply(data)
            self._end()
        except KeyboardInterrupt:
            self._lines.new_line()
        except TimedOut as error:
            if seconds_until(self._until_ns) == 0:
                raise error_mapping.overdue(self._connection.address, "did not answer") from error
            raise
        finally:
            self._lines.close()

    def _next_line(self) -> bytes:
        """Return the next line, empty at the end; print what arrives meanwhile."""
        while True:
            more = self._print_unasked()
            self._lines.show_prompt()
            left = seconds_until(self._until_ns)
            if self._lines.ready(self._connection.fileno(), 0 if more else left):
                return self._lines.read()
            if left == 0:
                return b""

    def _print_unasked(self) -> bool:
        """Print what has arrived: a greeting, or a late reply. Return whether there may be more."""
        for _ in range(TURN):
            try:
                data = self._receive(0)
            except TimedOut:
                return False
            self._lines.leave_prompt()
            self._print(data)
        return True

    def _end(self) -> None:
        assert isinstance(self._connection, Connection)  # noqa: S101 - datagrams have a session of their own
        self._connection.send_eof()
        with suppress(IncompleteRead, Reset):
            self._print_unasked()

    def _receive(self, timeout: float) -> bytes:
        data = self._connection.receive(timeout=self._within(timeout))
        if not data:
            fact, address = f"{self._connection.address.place} closed the connection", str(self._connection.address)
            raise IncompleteRead(fact, error_mapping.LOOK, address=address)
        self.received_bytes += len(data)
        return data

    def _replies(self, owed: int) -> Iterator[bytes]:
        """Yield what arrives until a pause; only the bytes owed extend the time. Raises TimedOut when there is none."""
        data = self._receive(self._timeout)
        received, until_ns = 0, deadline_ns(self._timeout)
        while True:
            yield data
            if received < owed:
                until_ns = deadline_ns(self._timeout)
            received += len(data)
            left = self._within(seconds_until(until_ns) or 0)
            if not left:
                return
            try:
                data = self._receive(min(left, REPLY_PAUSE))
            except TimedOut:
                return

    def _within(self, seconds: float) -> float:
        left = seconds_until(self._until_ns)
        return seconds if left is None else min(seconds, left)

    def _print_reply(self, sent: bytes) -> None:
        """Print the reply; on an error, print the part received before raising it."""
        line = b""
        try:
            for data in self._replies(len(sent)):
                whole, newline, line = (line + data).rpartition(b"\n")
                self._print(whole + newline)
                if not line or len(line) > max(len(sent), CHUNK):
                    return
        finally:
            self._print(line)

    def _print(self, data: bytes) -> None:
        print_received(data)


@dataclass(slots=True)
class DatagramSession(StreamSession):
    """Lines and replies as datagrams, any of which may be lost, late or duplicated.

    A reply that does not arrive in time is lost, and ends nothing.
    """

    _sent: deque[bytes] = field(default_factory=lambda: deque(maxlen=RECENT))
    _duplicates: DuplicateFilter = field(default_factory=DuplicateFilter)

    def _end(self) -> None:
        assert isinstance(self._connection, DatagramConnection)  # noqa: S101 - as above
        self._connection.check_refused()
        self._print_unasked()

    def _receive(self, timeout: float) -> bytes:
        data = self._connection.receive(timeout=self._within(timeout))
        self.received_bytes += len(data)
        if not self._duplicates.receive(data):
            self.lost_datagrams = max(self.lost_datagrams - 1, 0)
        return data

    def _print_reply(self, sent: bytes) -> None:
        """Print the reply; after one that belongs to an earlier line, wait a little longer for the right one."""
        self._duplicates.send(sent)
        self.sent_datagrams += 1
        self.lost_datagrams += 1
        wait = self._within(self._timeout)
        try:
            for data in self._replies(len(sent)):
                self._print(data)
                if data == sent or data not in self._sent:
                    break
        except TimedOut:
            say(f"no reply within {wait:.3g} seconds; a datagram may be lost")
        except KeyboardInterrupt:  # the reply may be under way
            self.lost_datagrams = max(self.lost_datagrams - 1, 0)
            raise
        self._sent.append(sent)

    def _print(self, data: bytes) -> None:
        print_received(data or b"\n")
