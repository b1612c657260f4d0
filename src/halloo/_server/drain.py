"""Drain a loop when its server stops: answer what clients have sent, then close every connection.

A connection is drained once everything received is answered and acknowledged, and nothing has arrived for QUIET_TIME:
a segment may still be on its way. A client that goes on sending is answered for SENDING_TIME, in which the time is not
counted that it takes to read its answers; nothing that it sends later is answered. Datagrams are answered until the
last connection is closed.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from math import inf

from halloo._server import states
from halloo._server.closer import Closer
from halloo._server.connections import Connections
from halloo._server.counters import LOST, RECEIVED
from halloo._server.exchange import Exchange, Handler
from halloo._server.reactor import Reactor

QUIET_TIME = 0.25  # seconds without input, longer than the gap between two segments
SENDING_TIME = 1.0  # seconds that a client has to finish sending, or half of the time to drain if that is less
POLL_INTERVAL = 0.02  # seconds between two checks
_LAST_INPUT = struct.Struct("=52xI")  # tcpi_last_data_recv of struct tcp_info: in milliseconds (linux/tcp.h)
_KNOWS_QUEUES = os.name != "nt"  # see `poller.queued_bytes`


class Drain:
    """The connections of an echo server that are being drained."""

    def __init__(
        self,
        reactor: Reactor,
        connections: Connections,
        closer: Closer,
        exchange: Exchange,
        turn: Callable[[float], list[tuple[int, int]]],
        *,
        seconds: float,
    ) -> None:
        """Drain within `seconds`; `turn` takes one of the server's turns."""
        self._reactor = reactor
        self._connections = connections
        self._closer = closer
        self._exchange = exchange
        self._take_turn = turn
        self._checked = now = reactor.clock()
        self._deadline = now + seconds
        connected = reactor.in_state(*states.CONNECTED)
        self._last_input = {fd: now - seconds_without_input(fd) for fd in connected}
        self._time_to_send = dict.fromkeys(connected, min(SENDING_TIME, seconds / 2))

    def run(self) -> None:
        """Take turns until every connection is closed; close the others at the deadline, or at a `stop`."""
        reactor = self._reactor
        while reactor.running and self._connections.open and reactor.clock() < self._deadline:
            self.turn()
        for fd in reactor.in_state(*states.CONNECTED):
            self._close(fd)

    def turn(self) -> None:
        ready = self._take_turn(POLL_INTERVAL)
        self._reactor.call_due()
        now = self._reactor.clock()
        self._last_input.update((fd, now) for fd, _ in ready)
        if now >= self._checked + POLL_INTERVAL:
            self._check(now)

    def _check(self, now: float) -> None:
        elapsed, self._checked = now - self._checked, now
        queued_bytes = self._reactor.poller.queued_bytes
        for fd in self._reactor.in_state(*states.READING, states.THROTTLED, states.HANDSHAKING):
            if now - self._last_input[fd] >= QUIET_TIME and not any(queued_bytes(fd)):
                self._closer.disconnect(fd, "drained")
                if _KNOWS_QUEUES and not queued_bytes(fd)[0]:
                    # A close would reset nothing: the client has all answers.
                    self._closer.close(fd)
                continue
            self._time_to_send[fd] -= elapsed
            if self._time_to_send[fd] <= 0:
                self._time_to_send[fd] = inf
                self._end_input(fd)

    def _end_input(self, fd: int) -> None:
        """Have answered what has been received so far, and nothing that arrives later."""
        unread, _ = self._reactor.poller.queued_bytes(fd)
        if unread and self._reactor.state[fd] != states.HANDSHAKING:
            last = LastInput(unread, self._reactor, self._connections)
            last.inner = self._exchange.replace_handler(fd, last)
        else:
            self._closer.disconnect(fd, "drained")

    def _close(self, fd: int) -> None:
        if self._reactor.state[fd] == states.LINGERING:
            self._closer.close(fd)
            return
        lost = len(self._connections.pending.get(fd, b"")) + sum(self._reactor.poller.queued_bytes(fd))
        reason = "cut_off" if lost else "drained"
        self._connections.count(reason)
        self._connections.counters[LOST] += lost
        self._connections.close(fd, reason)


class LastInput:
    """A handler that has the one before it answer `unread` bytes more, and then disconnects."""

    def __init__(self, unread: int, reactor: Reactor, connections: Connections) -> None:
        self._unread = unread
        self._reactor = reactor
        self._connections = connections
        self.inner: Handler | None = None  # None for the echo

    def opened(self, exchange: Exchange, fd: int) -> None:
        """Do nothing: the connection is open."""

    def readable(self, exchange: Exchange, fd: int) -> None:
        """Read once, as the server did before."""
        if self._unread > 0:
            before = self._connections.counters[RECEIVED]
            if self.inner:
                self.inner.readable(exchange, fd)
            else:
                exchange.echo(fd)
            self._unread -= self._connections.counters[RECEIVED] - before
        self._disconnect_if_answered(exchange, fd)

    def writable(self, exchange: Exchange, fd: int) -> None:
        if self.inner:
            self.inner.writable(exchange, fd)
        self._disconnect_if_answered(exchange, fd)

    def closed(self, fd: int) -> None:
        if self.inner:
            self.inner.closed(fd)

    def _disconnect_if_answered(self, exchange: Exchange, fd: int) -> None:
        if self._reactor.state[fd] != states.HANDLING:
            return
        later, _ = self._reactor.poller.queued_bytes(fd)
        if self._unread <= 0 or not later:
            self._connections.counters[LOST] += later
            exchange.disconnect(fd, "cut_off" if later else "drained")


def seconds_without_input(fd: int) -> float:
    """Return how long ago the last byte of a TCP connection arrived; 0 where the system does not report it (tcp(7))."""
    if not sys.platform.startswith("linux"):
        return 0
    sock = socket.socket(fileno=fd)
    try:
        with suppress(OSError, struct.error):  # a Unix socket; an older kernel
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_INPUT.size)
            return float(_LAST_INPUT.unpack(info)[0]) / 1000
        return 0
    finally:
        sock.detach()
