"""Close connections: after the client's end, on the server's decision, or at a deadline.

Closing with unread bytes would send a reset, which destroys what the client has not read yet (RFC 1122, 4.2.2.13). So
when the server closes first, it sends FIN and then reads until the client's FIN.
"""

from contextlib import suppress
from math import inf

from halloo._core.timers import Deadlines
from halloo._server import states
from halloo._server.connections import Connections
from halloo._server.counters import LOST
from halloo._server.poller import READ, WRITE
from halloo._server.reactor import Reactor

LINGER_TIMEOUT = 1.0  # seconds that a client has to close after our FIN


class Closer:
    """The handlers for TLS_CLOSING and LINGERING, deadlines, and the transitions to them."""

    def __init__(self, reactor: Reactor, connections: Connections, stall_timeout: float | None) -> None:
        self._reactor = reactor
        self._connections = connections
        self._stall_timeout = stall_timeout
        self._deadlines = Deadlines()
        self._reasons: dict[int, str] = {}
        self._next_check = inf  # when the next look at the deadlines is due
        reactor.handlers[states.TLS_CLOSING] = self.close_after_flush
        reactor.handlers[states.LINGERING] = self._discard_input
        connections.on_closed.append(self.clear_deadline)

    def close_after_flush(self, fd: int) -> None:
        """Close a connection after the client's end; everything is answered. The handler for TLS_CLOSING retries it."""
        try:
            self._reactor.poller.close_notify(fd)
        except BlockingIOError:
            self._reactor.move(fd, states.TLS_CLOSING, WRITE)
            self.set_deadline(fd, self._stall_timeout or LINGER_TIMEOUT, "stall_timeout")
        except OSError as error:
            self._connections.fail(fd, error)
        else:
            self._connections.close(fd)

    def disconnect(self, fd: int, reason: str) -> None:
        """Close a connection on the server's decision, and count the reason."""
        self._connections.count(reason)
        self._connections.counters[LOST] += len(self._connections.pending.get(fd, b""))
        self.linger(fd, reason)

    def linger(self, fd: int, reason: str) -> None:
        """Send FIN, and wait LINGER_TIMEOUT for the client's."""
        with suppress(OSError):  # no TLS handshake yet, or no room for close_notify
            self._reactor.poller.close_notify(fd)
        with suppress(OSError):  # the client has reset the connection
            self._reactor.poller.shutdown_write(fd)
        self._connections.discard_pending(fd)
        self._reactor.move(fd, states.LINGERING, READ)
        self._reasons[fd] = reason
        self.set_deadline(fd, LINGER_TIMEOUT, reason)

    def close(self, fd: int, reason: str = "") -> None:
        """Close a connection at once; the reason for which a FIN was sent has precedence."""
        self._connections.close(fd, self._reasons.pop(fd, reason))

    def set_deadline(self, fd: int, seconds: float, reason: str) -> None:
        when = self._reactor.clock() + seconds
        self._deadlines.set(fd, when, reason)
        self._check_at(when)

    def clear_deadline(self, fd: int, _reason: str = "") -> None:
        if self._deadlines:
            self._deadlines.clear(fd)
            self._reasons.pop(fd, None)

    def _discard_input(self, fd: int) -> None:
        """Read and discard what a client still sends, until its end."""
        try:
            ended = not self._reactor.poller.readv(fd, [self._connections.buffer])
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self.close(fd)

    def _expire(self) -> None:
        self._next_check = inf
        for fd, reason in self._deadlines.pop_expired(self._reactor.clock()):
            if self._reactor.state[fd] != states.LINGERING:  # whose reason is counted already
                self._connections.count(reason)
            self._connections.close(fd, reason)
        if self._deadlines:
            self._check_at(self._deadlines.earliest)

    def _check_at(self, when: float) -> None:
        if when < self._next_check:
            self._next_check = when
            self._reactor.timers.call_at(when, self._expire)
