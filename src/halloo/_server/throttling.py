"""Enforce the limits of each connection: idle time, lifetime, bytes and rate.

A few numbers for each connection are kept in arrays, only those that a limit needs. Connections without limits never
come here.
"""

from array import array
from collections.abc import Callable

from halloo._core.limits import Limits, TokenBucket
from halloo._server import states
from halloo._server.closer import Closer
from halloo._server.poller import READ
from halloo._server.reactor import Reactor

SWEEPS_PER_TIMEOUT = 4  # sweeps within the shortest timeout
MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL = 0.01, 1.0  # seconds between two sweeps
_MS_PER_SECOND = 1000
_UNLIMITED = (states.HANDSHAKING, states.TLS_CLOSING, states.LINGERING)  # which have deadlines of their own


def sweep_interval(timeout: float) -> float:
    """Return the seconds between two looks for what has reached a timeout."""
    return min(max(timeout / SWEEPS_PER_TIMEOUT, MIN_SWEEP_INTERVAL), MAX_SWEEP_INTERVAL)


class ConnectionLimiter:
    """Records what connections receive, pauses those over their rate limit, and sweeps for timeouts.

    A read takes no more than a burst of the rate, so the rate is checked after the read only. A connection over its
    rate limit is paused until tokens are available.
    """

    def __init__(
        self, reactor: Reactor, closer: Closer, limits: Limits, buffer_size: int, resume: Callable[[int], None]
    ) -> None:
        """Have `resume` called for a connection whose pause is over."""
        self._reactor = reactor
        self._closer = closer
        self._resume = resume
        self._idle_timeout, self._max_lifetime = limits.idle_timeout, limits.max_lifetime
        self._max_bytes = limits.max_bytes
        self._bucket = TokenBucket(limits.rate_limit) if limits.rate_limit else None
        read_size = min(buffer_size, self._bucket.burst_bytes) if self._bucket else buffer_size
        self.read_size = max(read_size, reactor.poller.min_read)
        self._near_limit = (limits.max_bytes or 0) - self.read_size
        self._started = self._now = reactor.clock()
        # Milliseconds since then fit into four bytes for 49 days; only differences are compared, which may wrap.
        self._milliseconds = 0
        self._last_active = array("I")  # in milliseconds, either direction
        self._opened_at = array("I")
        self._received = array("Q")  # bytes
        self._paid_until = array("d")  # seconds, see TokenBucket
        for numbers, limit in (
            (self._last_active, limits.idle_timeout),
            (self._opened_at, limits.max_lifetime),
            (self._received, limits.max_bytes),
        ):
            if limit:
                reactor.by_descriptor(numbers, 0)
        if self._bucket:
            reactor.by_descriptor(self._paid_until, 0)
        timeouts = [limit for limit in (limits.idle_timeout, limits.max_lifetime) if limit]
        self._sweep_interval = sweep_interval(min(timeouts)) if timeouts else None
        self._sweeping = False

    def tick(self) -> None:
        """Read the clock, once a turn; all handlers of the turn use this time."""
        self._now = self._reactor.clock()
        self._milliseconds = int((self._now - self._started) * _MS_PER_SECOND) & 0xFFFFFFFF

    def add(self, fd: int) -> None:
        if self._idle_timeout:
            self._last_active[fd] = self._milliseconds
        if self._max_lifetime:
            self._opened_at[fd] = self._milliseconds
        if self._max_bytes:
            self._received[fd] = 0
        if self._bucket:
            self._paid_until[fd] = 0
        if self._sweep_interval and not self._sweeping:
            self._sweeping = True
            self._reactor.call_later(self._sweep_interval, self._sweep)

    def near_limit(self, fd: int) -> bool:
        """Whether the next read may exceed `max_bytes`, so that the exact byte matters."""
        return self._max_bytes is not None and self._received[fd] >= self._near_limit

    def allowance(self, fd: int) -> int:
        """Return how many bytes to read now; one more than `max_bytes` allows shows whether there are too many."""
        if not self._max_bytes:
            return self.read_size
        return min(self.read_size, self._max_bytes - self._received[fd] + 1)

    def record(self, fd: int, received: int) -> int:
        """Record bytes received, 0 after progress of a pending write; return how many exceed `max_bytes`."""
        excess = 0
        if self._idle_timeout:
            self._last_active[fd] = self._milliseconds
        if self._max_bytes:
            excess = max(self._received[fd] + received - self._max_bytes, 0)
            self._received[fd] += received - excess
        if self._bucket:
            self._paid_until[fd] = self._bucket.take(self._paid_until[fd], self._now, received)
        return excess

    def record_echo(self, fd: int, received: int, whole: bool) -> None:
        """Record an echo of the hot loop, far from `max_bytes`; pause if need be, unless the rest of it is pending."""
        if self._idle_timeout:
            self._last_active[fd] = self._milliseconds
        if self._max_bytes:
            total = self._received[fd] = self._received[fd] + received
            if total >= self._near_limit:
                self._reactor.poller.change(fd, READ)  # no more by the hot loop: see `EchoServer.turn`
        if bucket := self._bucket:
            paid_until = self._paid_until[fd] = bucket.take(self._paid_until[fd], self._now, received)
            if whole and paid_until > self._now + bucket.burst:
                self.throttle_if_overdrawn(fd)

    def throttle_if_overdrawn(self, fd: int) -> None:
        """Pause a connection that is over its rate limit."""
        if self._bucket and (pause := self._bucket.pause(self._paid_until[fd], self._now)) > 0:
            self._reactor.move(fd, states.THROTTLED, 0)
            self._reactor.timers.call_at(self._now + pause, lambda: self._unthrottle(fd))

    def _unthrottle(self, fd: int) -> None:
        # The descriptor may be another connection's by now; if that is throttled too, it resumes early and is checked.
        if self._reactor.state[fd] == states.THROTTLED:
            self._resume(fd)

    def _sweep(self) -> None:
        """Disconnect connections that are idle or open for too long; repeat while there are any."""
        self.tick()
        idle, lifetime, now = self._idle_timeout, self._max_lifetime, self._milliseconds
        connected = self._reactor.in_state(*states.CONNECTED)
        for fd in connected:
            if self._reactor.state[fd] in _UNLIMITED:
                continue
            if lifetime and (now - self._opened_at[fd]) & 0xFFFFFFFF >= lifetime * _MS_PER_SECOND:
                self._closer.disconnect(fd, "max_lifetime")
            elif idle and (now - self._last_active[fd]) & 0xFFFFFFFF >= idle * _MS_PER_SECOND:
                self._closer.disconnect(fd, "idle_timeout")
        self._sweeping = bool(connected)
        if self._sweep_interval and self._sweeping:
            self._reactor.call_later(self._sweep_interval, self._sweep)
