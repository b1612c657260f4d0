"""The instrumented server of datagrams: what came, from whom and when; answers from it and from elsewhere.

Knows sockets. An act, a script, takes the datagrams one by one.
"""

import socket
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from halloo._check.client.loop import Script, ScriptLoop, Step
from halloo._check.client.server import Hear, Sockets

MOST = 65507  # bytes
WHOLE = 65536
ELSEWHERE = "127.0.0.2"  # another address of this machine (Linux has all of 127/8)


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram that came."""

    data: bytes
    when: float
    sender: tuple[str, int]
    socket: socket.socket


class UdpServer:
    """A port of loopback for datagrams, on both families."""

    def __init__(self, sockets: Sockets, loop: ScriptLoop, *, hear: Hear = lambda: None) -> None:
        """Take over sockets that have a port; `hear` is called before anything is sent."""
        self.letters: list[Datagram] = []
        self.given: list[bytes] = []
        self._loop, self._hear = loop, hear
        self._taken = 0
        self._sockets = [*sockets.values()]
        for sock in self._sockets:
            sock.setblocking(False)
            loop.watch(sock.fileno(), partial(self._read, sock), read=True)

    def _read(self, sock: socket.socket, _: int) -> None:
        with suppress(OSError):  # of an answer that nobody waited for
            data, sender = sock.recvfrom(WHOLE)
            self.letters.append(Datagram(data, self._loop.clock(), sender[:2], sock))

    def next(self) -> Generator[Step, None, Datagram]:
        """Wait for the next datagram."""
        yield lambda: len(self.letters) > self._taken
        self._taken += 1
        return self.letters[self._taken - 1]

    def answer(self, letter: Datagram, data: bytes | None = None) -> None:
        """Send the sender of a datagram what it sent, or something else."""
        self._hear()
        self.given.append(letter.data if data is None else data)
        with suppress(OSError):
            letter.socket.sendto(self.given[-1], letter.sender)

    def lie(self, letter: Datagram, data: bytes) -> None:
        """Send it from another port, and from another address."""
        self._hear()
        family = letter.socket.family
        host, port, *_ = letter.socket.getsockname()
        places = [(host, 0)]
        if family == socket.AF_INET:
            places.append((ELSEWHERE, port))
        for place in places:
            with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind(place)
                sock.sendto(data, letter.sender)

    def close(self) -> None:
        """Give the port back."""
        for sock in self._sockets:
            self._loop.forget(sock.fileno())
            sock.close()


def refuse_all(sockets: Sockets) -> None:
    """Have a port at which nobody is: each socket hears one stranger alone, so that everybody else is refused."""
    for sock in sockets.values():
        sock.connect((sock.getsockname()[0], 1))


Post = Callable[[UdpServer], Script]
