"""Enforce the limits of each connection: idle time, lifetime, bytes, rate, and time without progress.

A few numbers for each connection are kept in arrays beside the table, only those that a limit needs. Connections
without limits never come here.
"""

from array import array
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from halloo._core.limits import TokenBucket
from halloo._server import connections as states

if TYPE_CHECKING:
    from halloo._server.tcp import Loop

SWEEPS_PER_TIMEOUT = 4  # sweeps within the shortest timeout
MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL = 0.01, 1.0  # seconds between two sweeps
_MS_PER_SECOND = 1000


class ConnectionLimiter:
    """The handlers for LIMITED and THROTTLED, and the sweeps that find timeouts.

    A read takes no more than a burst of the rate, so the rate is checked after the read only. A connection over its
    rate limit is paused until tokens are available.
    """

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._limits = limits = loop.limits
        self._stall_timeout = limits.stall_timeout or inf
        self._bucket = TokenBucket(limits.rate_limit) if limits.rate_limit else None
        self.read_size = min(len(loop.buffer), self._bucket.burst_bytes) if self._bucket else len(loop.buffer)
        self.read_size = max(self.read_size, loop.poller.min_read)
        self._started = loop.clock()
        self.now = self._started
        # Milliseconds since then fit into four bytes for 49 days; only differences are compared, which may wrap.
        self._milliseconds = 0
        self._last_active = array("I")  # in milliseconds, either direction
        self._opened_at = array("I")
        self._received = array("Q")  # bytes
        self._paid_until = array("d")  # seconds, see TokenBucket
        self._arrays = self._select_arrays()
        self._sweeping = False
        self._stall_sweeping = False
        self._echoed = self._messages = 0  # since the last tick

    def _select_arrays(self) -> list[tuple["array[int] | array[float]", bytes]]:
        limits = self._limits
        wanted = (
            (self._last_active, limits.idle_timeout),
            (self._opened_at, limits.max_lifetime),
            (self._received, limits.max_bytes),
            (self._paid_until, limits.rate_limit),
        )
        return [(numbers, bytes(numbers.itemsize)) for numbers, limit in wanted if limit]

    def tick(self) -> None:
        """Read the clock, once a turn; all handlers of the turn use this time."""
        self.now = self._loop.clock()
        self._milliseconds = int((self.now - self._started) * _MS_PER_SECOND) & 0xFFFFFFFF

    def flush_counts(self) -> None:
        """Add what the handlers of a turn have echoed to the counters."""
        counters = self._loop.table.counters
        counters[states.RECEIVED] += self._echoed
        counters[states.SENT] += self._echoed
        counters[states.MESSAGES] += self._messages
        self._echoed = self._messages = 0

    def add(self, fd: int) -> None:
        for numbers, zero in self._arrays:
            if fd >= len(numbers):
                numbers.frombytes(zero * (len(self._loop.table.state) - len(numbers)))
            numbers[fd] = 0
        if self._limits.idle_timeout:
            self._last_active[fd] = self._milliseconds
        if self._limits.max_lifetime:
            self._opened_at[fd] = self._milliseconds
        if not self._sweeping:
            self._sweeping = True
            self._sweep()

    def resume(self, fd: int) -> None:
        """Read from a THROTTLED connection that is ready all the same: it has failed, and the read raises the error."""
        self._loop.flushed(fd)

    def allowance(self, fd: int) -> int:
        """Return how many bytes to read now; one more than `max_bytes` allows shows whether there are too many."""
        if not self._limits.max_bytes:
            return self.read_size
        return min(self.read_size, self._limits.max_bytes - self._received[fd] + 1)

    def record(self, fd: int, received: int) -> int:
        """Record bytes received, 0 after progress of a pending write; return how many exceed `max_bytes`."""
        limits, excess = self._limits, 0
        if limits.idle_timeout:
            self._last_active[fd] = self._milliseconds
        if limits.max_bytes:
            excess = max(self._received[fd] + received - limits.max_bytes, 0)
            self._received[fd] += received - excess
        if self._bucket:
            self._paid_until[fd] = self._bucket.take(self._paid_until[fd], self.now, received)
        return excess

    def throttle_if_overdrawn(self, fd: int) -> bool:
        """Pause a connection that is over its rate limit; return whether it is."""
        if self._bucket is None or (pause := self._bucket.pause(self._paid_until[fd], self.now)) <= 0:
            return False
        loop = self._loop
        loop.table.state[fd] = states.THROTTLED
        loop.poller.change(fd, 0)
        loop.timers.call_at(self.now + pause, lambda: self._unthrottle(fd))
        return True

    def make_echo(self) -> Callable[[int], None]:  # noqa: C901 - inlined for speed, as `Loop.turn`
        """Make the handler for LIMITED: `receive` and `send` inlined, because it runs for every message."""
        loop, bucket = self._loop, self._bucket
        readv, write, buffer = loop.poller.readv, loop.poller.write, loop.buffer[: self.read_size]
        buffers, last_active, total_received, paid_until = [buffer], self._last_active, self._received, self._paid_until
        track_idle, near_limit = bool(self._limits.idle_timeout), (self._limits.max_bytes or 0) - self.read_size
        track_bytes = bool(self._limits.max_bytes)

        def echo(fd: int) -> None:  # noqa: C901 - as above
            if track_bytes and total_received[fd] >= near_limit:
                return loop.echo(fd)  # near its limit the exact byte matters
            try:
                received = readv(fd, buffers)
            except BlockingIOError:
                return None
            except OSError as error:
                return loop.connection_failed(fd, error)
            if not received:
                return loop.closer.close_after_flush(fd)
            try:
                sent = write(fd, buffer[:received])
            except BlockingIOError:
                sent = 0
            except OSError as error:
                return loop.connection_failed(fd, error)
            self._messages += 1
            self._echoed += sent
            if track_idle:
                last_active[fd] = self._milliseconds
            if track_bytes:
                total_received[fd] += received
            if bucket:
                paid_until[fd] = bucket.take(paid_until[fd], self.now, received)
            if sent != received:
                loop.table.counters[states.RECEIVED] += received - sent
                loop.queue_write(fd, buffer[sent:received])
            elif bucket and paid_until[fd] > self.now + bucket.burst:
                self.throttle_if_overdrawn(fd)
            return None

        return echo

    def write_queued(self) -> None:
        if not self._stall_sweeping:
            self._stall_sweeping = True
            self._loop.timers.call_at(self._loop.clock() + self._interval(self._stall_timeout), self._sweep_stalled)
        table, max_memory = self._loop.table, self._limits.max_memory
        while max_memory is not None and table.counters[states.PENDING_BYTES] > max_memory:
            largest = max(table.pending_writes, key=lambda fd: len(table.pending_writes[fd]))
            table.count("max_memory")
            self._loop.close(largest, "max_memory")

    def _unthrottle(self, fd: int) -> None:
        # The descriptor may be another connection's by now; if that is throttled too, it resumes early and is checked.
        if self._loop.table.state[fd] == states.THROTTLED:
            self._loop.flushed(fd)

    def _sweep(self) -> None:
        """Disconnect connections that are idle or open for too long; repeat while there are any."""
        self.tick()
        loop, limits, now = self._loop, self._limits, self._milliseconds
        idle, lifetime = limits.idle_timeout, limits.max_lifetime
        if not idle and not lifetime:
            return
        watched = loop.table.in_state(states.LIMITED, states.THROTTLED, states.HANDLING, states.WRITE_PENDING)
        for fd in watched:
            if lifetime and (now - self._opened_at[fd]) & 0xFFFFFFFF >= lifetime * _MS_PER_SECOND:
                loop.closer.disconnect(fd, "max_lifetime")
            elif idle and (now - self._last_active[fd]) & 0xFFFFFFFF >= idle * _MS_PER_SECOND:
                loop.closer.disconnect(fd, "idle_timeout")
        self._sweeping = loop.table.open > 0
        if self._sweeping:
            shortest = min(limit for limit in (idle, lifetime) if limit)
            loop.timers.call_at(loop.clock() + self._interval(shortest), self._sweep)

    def _sweep_stalled(self) -> None:
        """Close connections whose pending write makes no progress; repeat while there are pending writes."""
        loop, stall_timeout, now = self._loop, self._stall_timeout, self._loop.clock()
        for fd in [fd for fd, since in loop.table.pending_since.items() if now - since >= stall_timeout]:
            loop.table.count("stall_timeout")
            loop.close(fd, "stall_timeout")
        oldest = min(loop.table.pending_since.values(), default=0)
        loop.table.counters[states.OLDEST_PENDING] = int(oldest * _MS_PER_SECOND)
        self._stall_sweeping = bool(loop.table.pending_writes)
        if self._stall_sweeping:
            loop.timers.call_at(now + self._interval(stall_timeout), self._sweep_stalled)

    @staticmethod
    def _interval(timeout: float) -> float:
        return min(max(timeout / SWEEPS_PER_TIMEOUT, MIN_SWEEP_INTERVAL), MAX_SWEEP_INTERVAL)
