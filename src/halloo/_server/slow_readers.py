"""Close connections whose client does not read: no progress for a time, or too much kept for all of them together."""

from math import inf

from halloo._core.limits import Limits
from halloo._server.connections import Connections
from halloo._server.counters import OLDEST_PENDING, PENDING_BYTES
from halloo._server.reactor import Reactor
from halloo._server.throttling import sweep_interval

_MS_PER_SECOND = 1000


class SlowReaders:
    """Looks at the pending writes, while there are any."""

    def __init__(self, reactor: Reactor, connections: Connections, limits: Limits) -> None:
        self._reactor = reactor
        self._connections = connections
        self._max_memory = limits.max_memory
        self._stall_timeout = limits.stall_timeout or inf
        self._sweeping = False
        connections.on_queued = self._write_queued

    def _write_queued(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._reactor.call_later(sweep_interval(self._stall_timeout), self._sweep)
        connections, pending = self._connections, self._connections.pending
        while self._max_memory is not None and connections.counters[PENDING_BYTES] > self._max_memory:
            self._cut_off(max(pending, key=lambda fd: len(pending[fd])), "max_memory")

    def _sweep(self) -> None:
        """Close those without progress; repeat while there are pending writes."""
        since, now = self._connections.pending_since, self._reactor.clock()
        for fd in [fd for fd, progress in since.items() if now - progress >= self._stall_timeout]:
            self._cut_off(fd, "stall_timeout")
        self._connections.counters[OLDEST_PENDING] = int(min(since.values(), default=0) * _MS_PER_SECOND)
        self._sweeping = bool(since)
        if self._sweeping:
            self._reactor.call_later(sweep_interval(self._stall_timeout), self._sweep)

    def _cut_off(self, fd: int, reason: str) -> None:
        self._connections.count(reason)
        self._connections.close(fd, reason)
