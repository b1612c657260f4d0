"""Close connections: after the client's end, on the server's decision, or at a deadline.

Closing with unread bytes would send a reset, which destroys what the client has not read yet (RFC 1122, 4.2.2.13). So
when the server closes first, it sends FIN and then reads until the client's FIN.
"""

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from halloo._core.timers import Deadlines
from halloo._server import connections as states
from halloo._server.poller import READ, WRITE

if TYPE_CHECKING:
    from halloo._server.tcp import Loop

LINGER_TIMEOUT = 1.0  # seconds that a client has to close after our FIN


class Closer:
    """The handlers for TLS_CLOSING and LINGERING, deadlines, and the transitions to them."""

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._deadlines = Deadlines()
        self._reasons: dict[int, str] = {}
        self._next_check = inf  # when the next look at the deadlines is due

    def close_after_flush(self, fd: int) -> None:
        """Close a connection after the client's end; everything is answered. The handler for TLS_CLOSING retries it."""
        try:
            self._loop.poller.close_notify(fd)
        except BlockingIOError:
            self._loop.table.state[fd] = states.TLS_CLOSING
            self._loop.poller.change(fd, WRITE)
            self.set_deadline(fd, self._loop.limits.stall_timeout or LINGER_TIMEOUT, "stall_timeout")
        except OSError as error:
            self._loop.connection_failed(fd, error)
        else:
            self._loop.close(fd)

    def disconnect(self, fd: int, reason: str) -> None:
        """Close a connection on the server's decision, and count the reason."""
        self._loop.table.count(reason)
        self._loop.table.counters[states.LOST] += len(self._loop.table.pending_writes.get(fd, b""))
        self.linger(fd, reason)

    def linger(self, fd: int, reason: str) -> None:
        """Send FIN, and wait LINGER_TIMEOUT for the client's."""
        loop = self._loop
        with suppress(OSError):  # no TLS handshake yet, or no room for close_notify
            loop.poller.close_notify(fd)
        with suppress(OSError):  # the client has reset the connection
            loop.poller.shutdown_write(fd)
        loop.table.discard_pending(fd)
        loop.table.state[fd] = states.LINGERING
        loop.poller.change(fd, READ)
        self._reasons[fd] = reason
        self.set_deadline(fd, LINGER_TIMEOUT, reason)

    def discard_input(self, fd: int) -> None:
        """Read and discard what a client still sends, until its end: the handler for LINGERING."""
        try:
            ended = not self._loop.poller.readv(fd, [self._loop.buffer])
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self.close(fd)

    def close(self, fd: int, reason: str = "") -> None:
        """Close a connection at once; the reason for which a FIN was sent has precedence."""
        self._loop.close(fd, self._reasons.pop(fd, reason))

    def set_deadline(self, fd: int, seconds: float, reason: str) -> None:
        when = self._loop.clock() + seconds
        self._deadlines.set(fd, when, reason)
        self._check_at(when)

    def clear_deadline(self, fd: int) -> None:
        if self._deadlines:
            self._deadlines.clear(fd)
            self._reasons.pop(fd, None)

    def _expire(self) -> None:
        loop, self._next_check = self._loop, inf
        for fd, reason in self._deadlines.pop_expired(loop.clock()):
            if loop.table.state[fd] != states.LINGERING:  # whose reason is counted already
                loop.table.count(reason)
            loop.close(fd, reason)
        if self._deadlines:
            self._check_at(self._deadlines.earliest)

    def _check_at(self, when: float) -> None:
        if when < self._next_check:
            self._next_check = when
            self._loop.timers.call_at(when, self._expire)
