"""Make the connections of many flows concurrently, so that a slow one does not delay the others.

Uses ProbeConnections and the steady clock. The caller waits for the descriptors in `wait_set`.
"""

import errno
import os
from collections.abc import Callable, Mapping, Sequence

from halloo._net import error_mapping
from halloo._net.readiness import WaitSet
from halloo._ping.flow import ProbeConnection
from halloo.errors import HallooError

MAX_CONNECTING = 64  # each may need two more descriptors while it connects


class Connector:
    """Connections in progress, by the index of their flow."""

    def __init__(
        self,
        connections: Sequence[ProbeConnection],
        on_open: Callable[[int, Mapping[str, int]], object],
        on_failure: Callable[[int, HallooError], object],
    ) -> None:
        """Call `on_open` with the nanoseconds of each phase, or `on_failure` with the error, once per connection."""
        self._connections = connections
        self._on_open = on_open
        self._on_failure = on_failure
        self._active: set[int] = set()
        self._queued: dict[int, None] = {}  # in this order, until fewer than MAX_CONNECTING are active

    def __bool__(self) -> bool:
        return bool(self._active)

    def __contains__(self, index: int) -> bool:
        return index in self._active or index in self._queued

    def start(self, index: int) -> None:
        """Connect a flow, once fewer than MAX_CONNECTING others are in progress. It may be connected at once."""
        self._queued[index] = None
        self._start_queued()

    def advance(self, ready: set[int]) -> None:
        for index in [*self._active]:
            outcome = self._connections[index].awaited.outcome(ready)
            if outcome is not None:
                self._step(index, outcome)
        self._start_queued()

    def time_out(self) -> None:
        """Fail all connections in progress with ETIMEDOUT."""
        indexes = [*self._active, *self._queued]
        self._active.clear()
        self._queued.clear()
        for index in indexes:
            self._connections[index].close()
            error = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            self._on_failure(index, error_mapping.connecting(self._connections[index].options.address, error))

    def cancel(self) -> None:
        """Close the connections in progress without calling `on_failure`."""
        for index in self._active:
            self._connections[index].close()
        self._active.clear()
        self._queued.clear()

    def wait_set(self) -> WaitSet:
        return WaitSet.of(self._connections[index].awaited for index in self._active)

    def _start_queued(self) -> None:
        while self._queued and len(self._active) < MAX_CONNECTING:
            index = next(iter(self._queued))
            del self._queued[index]
            self._active.add(index)
            self._step(index, None)

    def _step(self, index: int, ready: bool | None) -> None:
        connection = self._connections[index]
        try:
            phases = connection.open() if ready is None else connection.advance(ready)
        except HallooError as error:
            self._active.discard(index)
            self._on_failure(index, error)
            return
        if phases is not None:
            self._active.discard(index)
            self._on_open(index, phases)
