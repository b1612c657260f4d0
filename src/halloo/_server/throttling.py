"""Keep each connection within its limits: how long, how much, how fast, and how long it may let us wait.

Knows the loop, and a few numbers for each connection in arrays beside the table. What is not limited is not even
counted: a plain echo flows without ever coming here.
"""

from array import array
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from halloo._core.limits import TokenBucket
from halloo._server import connections as states

if TYPE_CHECKING:
    from halloo._server.tcp import Loop

SWEEPS = 4  # looks at all connections within the shortest of the timeouts
SOONEST, LATEST = 0.01, 1.0  # seconds between two looks
_MILLI = 1000


class Limiter:
    """The acts METERED and RESTING, and the sweeps that find what took too long.

    A read takes no more than a burst of the rate, so the rate is looked at after the read alone: who has taken more
    than was due rests until it is.
    """

    def __init__(self, loop: "Loop") -> None:
        """Watch the connections of a loop."""
        self._loop = loop
        self._limits = limits = loop.limits
        self._stall = limits.stall_timeout or inf
        self._meter = TokenBucket(limits.rate_limit) if limits.rate_limit else None
        self.most = min(len(loop.buffer), self._meter.burst_bytes) if self._meter else len(loop.buffer)
        self.most = max(self.most, loop.poller.least)
        self._began = loop.clock()
        self.now = self._began
        # Milliseconds since then fit into four bytes for 49 days; what is compared is differences, which may wrap.
        self._milliseconds = 0
        self._moved = array("I")  # when a byte last went either way
        self._came = array("I")
        self._taken = array("Q")  # bytes received
        self._paid = array("d")  # see Meter
        self._used = self._arrays()
        self._sweeping = False
        self._stall_sweeping = False
        self._echoed = self._messages = 0  # since the last tick

    def _arrays(self) -> list[tuple["array[int] | array[float]", bytes]]:
        limits = self._limits
        wanted = (
            (self._moved, limits.idle_timeout),
            (self._came, limits.max_lifetime),
            (self._taken, limits.max_bytes),
            (self._paid, limits.rate_limit),
        )
        return [(numbers, bytes(numbers.itemsize)) for numbers, limit in wanted if limit]

    def tick(self) -> None:
        """Look at the clock, once a turn: its acts take place now."""
        self.now = self._loop.clock()
        self._milliseconds = int((self.now - self._began) * _MILLI) & 0xFFFFFFFF

    def settle(self) -> None:
        """Count what the acts of a turn have echoed."""
        row = self._loop.table.row
        row[states.RECEIVED] += self._echoed
        row[states.SENT] += self._echoed
        row[states.MESSAGES] += self._messages
        self._echoed = self._messages = 0

    def begin(self, fd: int) -> None:
        """Start the numbers of a new connection."""
        for numbers, zero in self._used:
            if fd >= len(numbers):
                numbers.frombytes(zero * (len(self._loop.table.state) - len(numbers)))
            numbers[fd] = 0
        if self._limits.idle_timeout:
            self._moved[fd] = self._milliseconds
        if self._limits.max_lifetime:
            self._came[fd] = self._milliseconds
        if not self._sweeping:
            self._sweeping = True
            self._sweep()

    def probe(self, fd: int) -> None:
        """Wake a RESTING connection that is ready all the same: it is broken, and reading will say how."""
        self._loop.flushed(fd)

    def allowance(self, fd: int) -> int:
        """Say how much may be read now. One byte too many tells more to come from the client's end."""
        if not self._limits.max_bytes:
            return self.most
        return min(self.most, self._limits.max_bytes - self._taken[fd] + 1)

    def note(self, fd: int, received: int) -> int:
        """Count what was read, 0 when the client took some of its debt; give how much of it was too much."""
        limits, excess = self._limits, 0
        if limits.idle_timeout:
            self._moved[fd] = self._milliseconds
        if limits.max_bytes:
            excess = max(self._taken[fd] + received - limits.max_bytes, 0)
            self._taken[fd] += received - excess
        if self._meter:
            self._paid[fd] = self._meter.take(self._paid[fd], self.now, received)
        return excess

    def throttle_if_overdrawn(self, fd: int) -> bool:
        """Let a connection rest that has taken more than was due, and say whether it has."""
        if self._meter is None or (pause := self._meter.pause(self._paid[fd], self.now)) <= 0:
            return False
        loop = self._loop
        loop.table.state[fd] = states.THROTTLED
        loop.poller.change(fd, 0)
        loop.timers.at(self.now + pause, lambda: self._wake(fd))
        return True

    def echo(self) -> Callable[[int], None]:  # noqa: C901 - as in `Loop.turn`, for speed
        """Make the act METERED: what `receive` and `send` do, written out, since it is done for every message."""
        loop, meter = self._loop, self._meter
        readv, write, buffer = loop.poller.readv, loop.poller.write, loop.buffer[: self.most]
        buffers, moved, taken, paid = [buffer], self._moved, self._taken, self._paid
        idle, edge = bool(self._limits.idle_timeout), (self._limits.max_bytes or 0) - self.most
        counted = bool(self._limits.max_bytes)

        def echo(fd: int) -> None:  # noqa: C901 - as above
            if counted and taken[fd] >= edge:
                return loop.echo(fd)  # near its limit it is watched byte by byte
            try:
                received = readv(fd, buffers)
            except BlockingIOError:
                return None
            except OSError as error:
                return loop.lose(fd, error)
            if not received:
                return loop.closer.close_after_flush(fd)
            try:
                sent = write(fd, buffer[:received])
            except BlockingIOError:
                sent = 0
            except OSError as error:
                return loop.lose(fd, error)
            self._messages += 1
            self._echoed += sent
            if idle:
                moved[fd] = self._milliseconds
            if counted:
                taken[fd] += received
            if meter:
                paid[fd] = meter.take(paid[fd], self.now, received)
            if sent != received:
                loop.table.row[states.RECEIVED] += received - sent
                loop.queue_write(fd, buffer[sent:received])
            elif meter and paid[fd] > self.now + meter.burst:
                self.throttle_if_overdrawn(fd)
            return None

        return echo

    def write_pending(self) -> None:
        """Note that there are debts: see that they are repaid, and that they are not too many."""
        if not self._stall_sweeping:
            self._stall_sweeping = True
            self._loop.timers.at(self._loop.clock() + self._pause(self._stall), self._sweep_stalled)
        table, most = self._loop.table, self._limits.max_memory
        while most is not None and table.row[states.PENDING] > most:
            largest = max(table.pending_writes, key=lambda fd: len(table.pending_writes[fd]))
            table.count("max_memory")
            self._loop.close(largest, "max_memory")

    def _wake(self, fd: int) -> None:
        # The number may belong to another connection by now; if that rests too, it wakes early, and looks at its rate.
        if self._loop.table.state[fd] == states.THROTTLED:
            self._loop.flushed(fd)

    def _sweep(self) -> None:
        """Look for those who were silent or here for too long, and come back while anybody is here."""
        self.tick()
        loop, limits, now = self._loop, self._limits, self._milliseconds
        idle, lifetime = limits.idle_timeout, limits.max_lifetime
        if not idle and not lifetime:
            return
        watched = loop.table.in_state(states.LIMITED, states.THROTTLED, states.HANDLING, states.WRITE_PENDING)
        for fd in watched:
            if lifetime and (now - self._came[fd]) & 0xFFFFFFFF >= lifetime * _MILLI:
                loop.closer.end(fd, "max_lifetime")
            elif idle and (now - self._moved[fd]) & 0xFFFFFFFF >= idle * _MILLI:
                loop.closer.end(fd, "idle_timeout")
        self._sweeping = loop.table.open > 0
        if self._sweeping:
            shortest = min(limit for limit in (idle, lifetime) if limit)
            loop.timers.at(loop.clock() + self._pause(shortest), self._sweep)

    def _sweep_stalled(self) -> None:
        """Look for those who let us wait, and come back while there are debts."""
        loop, stall, now = self._loop, self._stall, self._loop.clock()
        for fd in [fd for fd, since in loop.table.since.items() if now - since >= stall]:
            loop.table.count("stall_timeout")
            loop.close(fd, "stall_timeout")
        oldest = min(loop.table.since.values(), default=0)
        loop.table.row[states.OLDEST] = int(oldest * _MILLI)
        self._stall_sweeping = bool(loop.table.pending_writes)
        if self._stall_sweeping:
            loop.timers.at(now + self._pause(stall), self._sweep_stalled)

    @staticmethod
    def _pause(timeout: float) -> float:
        return min(max(timeout / SWEEPS, SOONEST), LATEST)
