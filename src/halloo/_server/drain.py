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
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from halloo._server import connections as states

if TYPE_CHECKING:
    from halloo._net.listener import Listener
    from halloo._server.handlers import Handler
    from halloo._server.tcp import Loop

QUIET_TIME = 0.25  # seconds without input, longer than the gap between two segments
SENDING_TIME = 1.0  # seconds that a client has to finish sending, or half of the time to drain if that is less
POLL_INTERVAL = 0.02  # seconds between two checks
_LAST_INPUT = struct.Struct("=52xI")  # tcpi_last_data_recv of struct tcp_info: in milliseconds (linux/tcp.h)
_KNOWS_QUEUES = os.name != "nt"  # see `poller.queued_bytes`
_READING = (states.ECHOING, states.LIMITED, states.HANDLING)


def drain(loop: "Loop", seconds: float, listener: "Listener") -> None:
    """Answer what clients have sent, within `seconds`, and close the connections and the listener's sockets.

    What the deadline, or a `stop` meanwhile, cuts off is counted.
    """
    loop.running = True
    deadline = loop.clock() + seconds
    listener.refuse_new(socket.SOCK_STREAM)
    loop.acceptor.close()
    listener.close_streams()
    Drain(loop, seconds).run()
    if loop.datagrams:
        listener.refuse_new(socket.SOCK_DGRAM)
        loop.datagrams.drain(deadline)
    listener.release()
    loop.running = False


class Drain:
    """The connections of a loop that are being drained."""

    def __init__(self, loop: "Loop", seconds: float) -> None:
        self._loop = loop
        self._checked = now = loop.clock()
        self._deadline = now + seconds
        connected = loop.table.in_state(*states.CONNECTED)
        self._last_input = {fd: now - seconds_without_input(fd) for fd in connected}
        self._time_to_send = dict.fromkeys(connected, min(SENDING_TIME, seconds / 2))

    def run(self) -> None:
        """Take turns until every connection is closed; close the others at the deadline."""
        loop = self._loop
        while loop.running and loop.table.open and loop.clock() < self._deadline:
            self.turn()
        for fd in loop.table.in_state(*states.CONNECTED):
            self._close(fd)

    def turn(self) -> None:
        loop = self._loop
        ready = loop.turn(POLL_INTERVAL)
        now = loop.clock()
        for callback in loop.timers.pop_due(now):
            callback()
        self._last_input.update((fd, now) for fd, _ in ready)
        if now >= self._checked + POLL_INTERVAL:
            self._check(now)

    def _check(self, now: float) -> None:
        loop, elapsed, self._checked = self._loop, now - self._checked, now
        for fd in loop.table.in_state(*_READING, states.THROTTLED, states.HANDSHAKING):
            if now - self._last_input[fd] >= QUIET_TIME and not any(loop.poller.queued_bytes(fd)):
                loop.closer.disconnect(fd, "drained")
                if _KNOWS_QUEUES and not loop.poller.queued_bytes(fd)[0]:
                    # A close would reset nothing: the client has all answers.
                    loop.closer.close(fd)
                continue
            self._time_to_send[fd] -= elapsed
            if self._time_to_send[fd] <= 0:
                self._time_to_send[fd] = inf
                self._end_input(fd)

    def _end_input(self, fd: int) -> None:
        """Have answered what has been received so far, and nothing that arrives later."""
        unread, _ = self._loop.poller.queued_bytes(fd)
        if unread and self._loop.table.state[fd] != states.HANDSHAKING:
            LastInput(unread).take_over(self._loop, fd)
        else:
            self._loop.closer.disconnect(fd, "drained")

    def _close(self, fd: int) -> None:
        loop = self._loop
        if loop.table.state[fd] == states.LINGERING:
            loop.closer.close(fd)
            return
        lost = len(loop.table.pending_writes.get(fd, b"")) + sum(loop.poller.queued_bytes(fd))
        reason = "cut_off" if lost else "drained"
        loop.table.count(reason)
        loop.table.counters[states.LOST] += lost
        loop.close(fd, reason)


class LastInput:
    """A handler that has the one before it answer `unread` bytes more, and then disconnects."""

    def __init__(self, unread: int) -> None:
        self._unread = unread
        self._inner: Handler | None = None

    def take_over(self, loop: "Loop", fd: int) -> None:
        self._inner = loop.replace_handler(fd, self)

    def opened(self, loop: "Loop", fd: int) -> None:
        """Do nothing: the connection is open."""

    def readable(self, loop: "Loop", fd: int) -> None:
        """Read once, as the server did before."""
        if self._unread > 0:
            before = loop.table.counters[states.RECEIVED]
            if self._inner:
                self._inner.readable(loop, fd)
            else:
                loop.echo(fd)
            self._unread -= loop.table.counters[states.RECEIVED] - before
        self._disconnect_if_answered(loop, fd)

    def writable(self, loop: "Loop", fd: int) -> None:
        if self._inner:
            self._inner.writable(loop, fd)
        self._disconnect_if_answered(loop, fd)

    def closed(self, fd: int) -> None:
        if self._inner:
            self._inner.closed(fd)

    def _disconnect_if_answered(self, loop: "Loop", fd: int) -> None:
        if loop.table.state[fd] != states.HANDLING:
            return
        later, _ = loop.poller.queued_bytes(fd)
        if self._unread <= 0 or not later:
            loop.table.counters[states.LOST] += later
            loop.closer.disconnect(fd, "cut_off" if later else "drained")


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
