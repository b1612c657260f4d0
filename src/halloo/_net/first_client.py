"""Accept clients until one sends something: silent ones, scanners and failed handshakes hold up no other client.

Uses a listener and the clock, in one thread.
"""

import socket
from collections.abc import Callable
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
    silent: dict[Steps[FirstClient | None], Awaited] = {}  # the one silent for longest first
    try:
        while True:
            left = seconds_until(until_ns)
            ready = wait(*WaitSet.of([Awaited(listener.sockets, False, until_ns), *silent.values()]))
            outcomes = [(steps, awaited.outcome(ready)) for steps, awaited in silent.items()]
            go_on: list[tuple[Steps[FirstClient | None], bool | None]] = [
                *((steps, outcome) for steps, outcome in outcomes if outcome is not None),
                *((_first_data(listener, sock), None) for sock in listener.sockets if sock.fileno() in ready),
            ]
            for steps, outcome in go_on:
                try:
                    silent[steps] = steps.send(outcome)  # type: ignore[arg-type]  # None begins
                except StopIteration as end:
                    silent.pop(steps, None)
                    if end.value:
                        return end.value  # type: ignore[no-any-return]  # as in readiness
                except HallooError as error:
                    silent.pop(steps, None)
                    on_drop(error.fact)
                if len(silent) > max_silent:
                    oldest = next(iter(silent))
                    del silent[oldest]
                    oldest.close()
                    on_drop(f"more than {max_silent} clients have sent nothing; the oldest is dropped")
            if left == 0:
                return None
    finally:
        for steps in silent:
            steps.close()


def _first_data(listener: Listener, sock: socket.socket) -> Steps[FirstClient | None]:
    connection = yield from listener.accepting(sock, deadline_ns(HANDSHAKE))
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
                fact = f"{connection.address.place} closed the connection without sending anything"
                raise IncompleteRead(fact, address=str(connection.address))  # noqa: TRY301 - it is closed below
            return FirstClient(connection, data)
    except BaseException:
        connection.close()
        raise
