"""The connections of a reactor: read, write, keep what did not fit, close, and count.

A connection is its descriptor. An idle one costs a byte for its state and one for its scheme; an entry in `pending`
exists only while its client does not read.
"""

from collections.abc import Callable, MutableSequence

from halloo._server import counters as rows
from halloo._server import states
from halloo._server.counters import MESSAGES, PENDING_BYTES, RECEIVED, SENT
from halloo._server.poller import WRITE
from halloo._server.reactor import Reactor


class Connections:
    """Reads and writes without blocking, through one buffer for all; no policy."""

    def __init__(self, reactor: Reactor, buffer: memoryview, counters: MutableSequence[int] | None = None) -> None:
        """Count in `counters`, or in a row of its own."""
        self._reactor = reactor
        self._poller = reactor.poller
        self._state = reactor.state
        self.buffer = buffer
        self.counters: MutableSequence[int] = rows.new_counters() if counters is None else counters
        self._schemes = bytearray()  # numbers in SCHEMES
        reactor.by_descriptor(self._schemes, 0)
        self.pending: dict[int, memoryview] = {}  # writes: what the kernel has not taken
        self.pending_since: dict[int, float] = {}  # when one was queued or last shrank
        self.on_queued: Callable[[], object] | None = None
        self.on_closed: list[Callable[[int, str], object]] = []  # called with the reason, empty if the client closed

    @property
    def open(self) -> int:
        return self.counters[rows.ACCEPTED] - self.counters[rows.CLOSED]

    def count(self, name: str) -> None:
        rows.count_event(self.counters, name)

    def add(self, fd: int, scheme: int) -> None:
        """Count an accepted connection, of a scheme by number."""
        self._schemes[fd] = scheme
        self.counters[rows.ACCEPTED] += 1
        self.counters[rows.ACCEPTED_BY_SCHEME + scheme] += 1

    def receive(self, fd: int, limit: int) -> memoryview | None:
        """Read into the shared buffer: empty at the end of the stream, None if there is no data now."""
        try:
            received = self._poller.readv(fd, [self.buffer[: max(limit, self._poller.min_read)]])
        except BlockingIOError:
            return None
        except OSError as error:
            self.fail(fd, error)
            return None
        self.counters[RECEIVED] += received
        return self.buffer[:received]

    def send(self, fd: int, data: memoryview | bytes) -> bool:
        """Write an answer; True if all of it was written; otherwise the rest is pending, or the connection failed."""
        try:
            sent = self._poller.write(fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.fail(fd, error)
            return False
        self.counters[SENT] += sent
        self.counters[MESSAGES] += 1
        if sent < len(data):
            self.queue_write(fd, memoryview(data)[sent:])
        return sent == len(data)

    def queue_write(self, fd: int, rest: memoryview) -> None:
        """Keep the unsent rest of an answer, and read no more until the client has taken it."""
        self._keep(fd, memoryview(bytes(rest)))
        self._reactor.move(fd, states.WRITE_PENDING, WRITE)
        if self.on_queued:
            self.on_queued()

    def flush(self, fd: int) -> bool:
        """Write more of what is pending; return whether there was progress. What is left remains in `pending`."""
        pending = self.pending[fd]
        try:
            sent = self._poller.write(fd, pending) if pending else 0
        except BlockingIOError:
            return False
        except OSError as error:
            self.fail(fd, error)
            return False
        self.counters[SENT] += sent
        if sent < len(pending):
            self._keep(fd, pending[sent:])
        else:
            self.discard_pending(fd)
        return True

    def discard_pending(self, fd: int) -> None:
        if (pending := self.pending.pop(fd, None)) is not None:
            self.counters[PENDING_BYTES] -= len(pending)
            del self.pending_since[fd]

    def fail(self, fd: int, error: OSError) -> None:
        """Count an error of a connection, and close it."""
        if self._state[fd] != states.FREE:
            name = rows.error_name(error)
            self.count(name)
            self.close(fd, name)

    def close(self, fd: int, reason: str = "") -> None:
        """Close a connection; the reason is for the log, empty if the client closed."""
        self._state[fd] = states.FREE
        if self.pending:
            self.discard_pending(fd)
        self._poller.close_fd(fd)
        self.counters[rows.CLOSED] += 1
        self.counters[rows.CLOSED_BY_SCHEME + self._schemes[fd]] += 1
        for callback in self.on_closed:
            callback(fd, reason)

    def _keep(self, fd: int, rest: memoryview) -> None:
        self.counters[PENDING_BYTES] += len(rest) - len(self.pending.get(fd, b""))
        self.pending[fd] = rest
        self.pending_since[fd] = self._reactor.clock()
