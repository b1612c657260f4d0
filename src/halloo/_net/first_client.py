"""Accept clients until one sends something: silent ones, scanners and failed handshakes hold up no other client.

Uses a listener and the clock, in one thread.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from halloo._core.limits import HANDSHAKE
from halloo._net.connection import Connection
from halloo._net.datagrams import DatagramConnection
from halloo._net.listener import Listener
from halloo._net.readiness import Awaited, Steps, WaitSet, deadline_ns, seconds_until, wait
from halloo.errors import HallooError, IncompleteRead, TimedOut

MAX_SILENT = 16  # clients held at once that have sent nothing yet


class FirstClient(NamedTuple):
    """The connection of a client, and the first bytes that it sent; over UDP its datagram, which may be empty."""

    connection: Connection | DatagramConnection
    data: bytes


def first_client(
    listener: Listener, *, until_ns: int | None, on_drop: Callable[[str], object], max_silent: int = MAX_SILENT
) -> FirstClient | None:
    """Accept clients until one sends something; None if none does until a time of the monotonic clock.

    `on_drop` is called with the reason for each client that is dropped: it ended or failed before its first byte, or
    was silent for longest when more than `max_silent` were.
    """
    silent = _SilentClients(on_drop, max_silent)
    try:
        while True:
            left = seconds_until(until_ns)
            ready = wait(*WaitSet.of([Awaited(listener.sockets, False, until_ns), *silent.awaited.values()]))
            new = [sock for sock in listener.sockets if sock.fileno() in ready]
            accepting = [_first_data(listener.accepting(sock, deadline_ns(HANDSHAKE))) for sock in new]
            if (found := silent.advance(ready, accepting)) or left == 0:
                return found
    finally:
        silent.close()


def _first_data(accepting: Steps[Connection | DatagramConnection | None]) -> Steps[FirstClient | None]:
    connection = yield from accepting
    if connection is None:
        return None
    try:
        while True:
            try:
                data = connection.receive(timeout=0)
            except TimedOut:
                yield Awaited([connection.socket], writing=False)
                continue
            if not data and isinstance(connection, Connection):
                _end_before_the_first_byte(connection)
            return FirstClient(connection, data)
    except BaseException:
        connection.close()
        raise


def _end_before_the_first_byte(connection: Connection) -> None:
    fact = f"{connection.address.place} closed the connection without sending anything"
    raise IncompleteRead(fact, address=str(connection.address))


class _SilentClients:
    """Clients that have sent nothing yet, the longest silent one first, each with what it waits for."""

    def __init__(self, on_drop: Callable[[str], object], most: int) -> None:
        self._on_drop = on_drop
        self._most = most
        self.awaited: dict[Steps[FirstClient | None], Awaited] = {}

    def advance(self, ready: set[int], new: Iterable[Steps[FirstClient | None]]) -> FirstClient | None:
        """Go on with the clients whose wait has ended, then with new ones; return the first that has sent something."""
        for steps, awaited in [*self.awaited.items()]:
            outcome = awaited.outcome(ready)
            if outcome is not None and (found := self._step(steps, outcome)):
                return found
        for steps in new:
            if found := self._step(steps, None):
                return found
            if len(self.awaited) > self._most:
                oldest = next(iter(self.awaited))
                del self.awaited[oldest]
                oldest.close()
                self._on_drop(f"more than {self._most} clients have sent nothing; the oldest is dropped")
        return None

    def close(self) -> None:
        for steps in self.awaited:
            steps.close()

    def _step(self, steps: Steps[FirstClient | None], ready: bool | None) -> FirstClient | None:
        try:
            self.awaited[steps] = next(steps) if ready is None else steps.send(ready)
        except StopIteration as end:
            self.awaited.pop(steps, None)
            return end.value  # type: ignore[no-any-return]  # as in readiness
        except HallooError as error:
            self.awaited.pop(steps, None)
            self._on_drop(error.fact)
        return None
