"""End connections: at the client's wish, at ours, or when a deadline has passed.

Knows the loop. Closing with bytes unread would be a reset, which destroys what the client has not read yet (RFC 1122,
4.2.2.13); so when it is us who end, our end is sent first, and then what still comes is read until the client's own.
"""

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from halloo._core.timers import Deadlines
from halloo._server import connections as states
from halloo._server.poller import READ, WRITE

if TYPE_CHECKING:
    from halloo._server.tcp import Loop

GOODBYE = 1.0  # seconds that a client has for its own end after ours


class Closer:
    """The acts PARTING and LEAVING, and what leads to them."""

    def __init__(self, loop: "Loop") -> None:
        """End connections of a loop."""
        self._loop = loop
        self._deadlines = Deadlines()
        self._reasons: dict[int, str] = {}
        self._alarm = inf  # when the next look at the deadlines is due

    def close_after_flush(self, fd: int) -> None:
        """End a connection all of whose bytes are answered, at the client's end; the act PARTING tries again."""
        try:
            self._loop.poller.close_notify(fd)
        except BlockingIOError:
            self._loop.table.state[fd] = states.TLS_CLOSING
            self._loop.poller.change(fd, WRITE)
            self.set_deadline(fd, self._loop.limits.stall_timeout or GOODBYE, "stall_timeout")
        except OSError as error:
            self._loop.lose(fd, error)
        else:
            self._loop.close(fd)

    def end(self, fd: int, reason: str) -> None:
        """End a connection of our own accord, and count why."""
        self._loop.table.count(reason)
        self._loop.table.row[states.LOST] += len(self._loop.table.pending_writes.get(fd, b""))
        self.linger(fd, reason)

    def linger(self, fd: int, reason: str) -> None:
        """Send our end, and give the client a while for its own."""
        loop = self._loop
        with suppress(OSError):  # TLS was not agreed yet, or its goodbye finds no room
            loop.poller.close_notify(fd)
        with suppress(OSError):  # the client's reset came first
            loop.poller.shutdown_write(fd)
        loop.table.discard_pending(fd)
        loop.table.state[fd] = states.LINGERING
        loop.poller.change(fd, READ)
        self._reasons[fd] = reason
        self.set_deadline(fd, GOODBYE, reason)

    def discard_input(self, fd: int) -> None:
        """Read and throw away what a client still sends, until its end: the act LEAVING."""
        try:
            over = not self._loop.poller.readv(fd, [self._loop.buffer])
        except BlockingIOError:
            over = False
        except OSError:
            over = True
        if over:
            self._loop.close(fd, self._reasons.pop(fd, "left"))

    def set_deadline(self, fd: int, seconds: float, reason: str) -> None:
        """Close the connection, for the reason, unless its deadline is lifted within so many seconds."""
        when = self._loop.clock() + seconds
        self._deadlines.set(fd, when, reason)
        self._wake_at(when)

    def clear_deadline(self, fd: int) -> None:
        """Expect nothing more of a connection."""
        if self._deadlines:
            self._deadlines.lift(fd)
            self._reasons.pop(fd, None)

    def _expire(self) -> None:
        """Close what had until now, and come back for the next."""
        loop, self._alarm = self._loop, inf
        for fd, reason in self._deadlines.missed(loop.clock()):
            if loop.table.state[fd] != states.LINGERING:  # that one's reason was counted when it was told to leave
                loop.table.count(reason)
            loop.close(fd, reason)
        if self._deadlines:
            self._wake_at(self._deadlines.next)

    def _wake_at(self, when: float) -> None:
        if when < self._alarm:
            self._alarm = when
            self._loop.timers.at(when, self._expire)


QUIET = 0.25  # seconds without a byte: longer than a pause between two segments
STEP = 0.02  # seconds between two looks


def drain(loop: "Loop", seconds: float, *, closed: Callable[[], None]) -> None:
    """Let the loop finish what it owes, within `seconds`; `closed` is called when the last client has been taken in.

    What the deadline, or a `stop` meanwhile, cuts off is counted.
    """
    loop.running = True
    deadline = loop.clock() + seconds
    loop.acceptor.close()
    if loop.datagrams:
        loop.datagrams.drain(deadline)
    closed()
    now = loop.clock()
    heard = dict.fromkeys(loop.table.in_state(*states.CONNECTED), now)
    while loop.running and loop.table.open and now < deadline:
        ready = loop.turn(STEP)
        now = loop.clock()
        for act in loop.timers.due(now):
            act()
        heard.update((fd, now) for fd, _ in ready)
        for fd in loop.table.in_state(states.ECHOING, states.LIMITED, states.HANDLING):
            if now - heard.get(fd, now) >= QUIET and not loop.poller.in_flight(fd):
                loop.closer.end(fd, "drained")
    for fd in loop.table.in_state(*states.CONNECTED):
        if loop.table.state[fd] != states.LINGERING:
            loop.table.count("cut_off")
            loop.table.row[states.LOST] += len(loop.table.pending_writes.get(fd, b"")) + loop.poller.in_flight(fd)
    loop.running = False
