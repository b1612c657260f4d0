"""A relay for datagrams that loses, doubles and reorders some of them, by chance, and remembers exactly what it did.

Knows raw sockets and one thread. Knows nothing of halloo. Chance is an argument, so that what happens can be repeated.
"""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.peers import mailbox


@dataclass
class Way:
    """One direction: what may happen to a datagram there, and what did.

    The probabilities are of each datagram that is not spared. One that is held back comes right after the next one.
    """

    chance: Random
    drop: float = 0.0
    double: float = 0.0
    hold: float = 0.0
    spares: Callable[[bytes], bool] = lambda _: False
    dropped: list[bytes] = field(default_factory=list)
    delivered: list[bytes] = field(default_factory=list)  # in the order in which they were sent on
    held: bytes | None = None

    def through(self, datagram: bytes) -> list[bytes]:
        """Give what is sent on when this has come."""
        fate = 1.0 if self.spares(datagram) else self.chance.random()
        if fate < self.drop:
            self.dropped.append(datagram)
            return []
        if self.drop + self.double <= fate < self.drop + self.double + self.hold and self.held is None:
            self.held = datagram
            return []
        copies = [datagram] * (2 if fate < self.drop + self.double else 1)
        if self.held is not None:
            copies.append(self.held)
            self.held = None
        self.delivered += copies
        return copies


@contextmanager
def relay(server: int, there: Way, back: Way, *, first_takes: float = 0.0) -> Iterator[int]:
    """Give the port of a relay to a server on this machine, for one client; its first answer takes so many seconds."""
    with mailbox() as front, mailbox() as behind, mailbox() as caller:
        behind.connect(("127.0.0.1", server))
        thread = threading.Thread(
            target=_run, args=(front, behind, caller.getsockname(), (there, back), first_takes), name="relay"
        )
        thread.start()
        try:
            yield front.getsockname()[1]
        finally:
            caller.sendto(b"that is all", front.getsockname())
            thread.join()


def _run(
    front: socket.socket, behind: socket.socket, caller: tuple[str, int], ways: tuple[Way, Way], first_takes: float
) -> None:
    client, (there, back) = caller, ways
    while True:
        readable, _, _ = select.select([front, behind], [], [])
        if front in readable:
            datagram, sender = front.recvfrom(65536)
            if sender == caller:
                return
            client = sender
            for copy in there.through(datagram):
                behind.send(copy)
        if behind in readable:
            answer = behind.recv(65536)
            threading.Event().wait(first_takes)
            first_takes = 0
            for copy in back.through(answer):
                front.sendto(copy, client)
