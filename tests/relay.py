"""A datagram relay that randomly drops, duplicates and reorders datagrams, and records what it did.

Uses raw sockets and one thread, and does not depend on halloo. The random source is an argument, for repeatable runs.
"""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.peers import datagram_socket


@dataclass
class RelayDirection:
    """One direction: what may happen to a datagram, and what did.

    The probabilities apply to each datagram that is not exempt. A held one is sent right after the next one.
    """

    random: Random
    drop: float = 0.0
    duplicate: float = 0.0
    hold: float = 0.0
    exempt: Callable[[bytes], bool] = lambda _: False
    dropped: list[bytes] = field(default_factory=list)
    delivered: list[bytes] = field(default_factory=list)  # in the order sent
    held: bytes | None = None

    def forward(self, datagram: bytes) -> list[bytes]:
        """Return what to send when this datagram arrives."""
        fate = 1.0 if self.exempt(datagram) else self.random.random()
        if fate < self.drop:
            self.dropped.append(datagram)
            return []
        if self.drop + self.duplicate <= fate < self.drop + self.duplicate + self.hold and self.held is None:
            self.held = datagram
            return []
        copies = [datagram] * (2 if fate < self.drop + self.duplicate else 1)
        if self.held is not None:
            copies.append(self.held)
            self.held = None
        self.delivered += copies
        return copies


@contextmanager
def relay(server: int, forward: RelayDirection, reverse: RelayDirection, *, first_delay: float = 0.0) -> Iterator[int]:
    """Yield the port of a relay to a local server, for one client; the first reply takes `first_delay` seconds."""
    with datagram_socket() as client_side, datagram_socket() as server_side, datagram_socket() as control:
        server_side.connect(("127.0.0.1", server))
        thread = threading.Thread(
            target=_run,
            args=(client_side, server_side, control.getsockname(), (forward, reverse), first_delay),
            name="relay",
        )
        thread.start()
        try:
            yield client_side.getsockname()[1]
        finally:
            control.sendto(b"stop", client_side.getsockname())
            thread.join()


def _run(
    client_side: socket.socket,
    server_side: socket.socket,
    control: tuple[str, int],
    directions: tuple[RelayDirection, RelayDirection],
    first_delay: float,
) -> None:
    client, (forward, reverse) = control, directions
    while True:
        readable, _, _ = select.select([client_side, server_side], [], [])
        if client_side in readable:
            datagram, sender = client_side.recvfrom(65536)
            if sender == control:
                return
            client = sender
            for copy in forward.forward(datagram):
                server_side.send(copy)
        if server_side in readable:
            answer = server_side.recv(65536)
            threading.Event().wait(first_delay)
            first_delay = 0
            for copy in reverse.forward(answer):
                client_side.sendto(copy, client)
