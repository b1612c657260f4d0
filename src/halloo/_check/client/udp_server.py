"""The instrumented UDP server: records each datagram with its sender and time; replies from its own or another address.

Uses sockets. A behaviour, a script, receives the datagrams one by one.
"""

import socket
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from halloo._check.client.loop import Script, ScriptLoop, Step
from halloo._check.client.server import OnFirstReply, Sockets

MAX_DATAGRAM = 65507  # bytes
RECEIVE_SIZE = 65536
OTHER_ADDRESS = "127.0.0.2"  # another loopback address (Linux has all of 127/8)


@dataclass(frozen=True, slots=True)
class Datagram:
    """A received datagram."""

    data: bytes
    received_at: float
    sender: tuple[str, int]
    socket: socket.socket


class UdpServer:
    """A loopback port for datagrams, on IPv4 and IPv6."""

    def __init__(self, sockets: Sockets, loop: ScriptLoop, *, on_first_reply: OnFirstReply = lambda: None) -> None:
        """Take over bound sockets; `on_first_reply` is called before anything is sent."""
        self.received: list[Datagram] = []
        self.sent: list[bytes] = []
        self._loop, self._on_first_reply = loop, on_first_reply
        self._consumed = 0
        self._sockets = [*sockets.values()]
        for sock in self._sockets:
            sock.setblocking(False)
            loop.watch(sock.fileno(), partial(self._read, sock), read=True)

    def _read(self, sock: socket.socket, _: int) -> None:
        with suppress(OSError):  # ICMP error for a reply to a closed port
            data, sender = sock.recvfrom(RECEIVE_SIZE)
            self.received.append(Datagram(data, self._loop.clock(), sender[:2], sock))

    def receive(self) -> Generator[Step, None, Datagram]:
        yield lambda: len(self.received) > self._consumed
        self._consumed += 1
        return self.received[self._consumed - 1]

    def reply(self, datagram: Datagram, data: bytes | None = None) -> None:
        """Send `data` to the sender of a datagram; its own data when None."""
        self._on_first_reply()
        self.sent.append(datagram.data if data is None else data)
        with suppress(OSError):
            datagram.socket.sendto(self.sent[-1], datagram.sender)

    def spoof_reply(self, datagram: Datagram, data: bytes) -> None:
        """Send `data` to the sender of a datagram from another port and from another address."""
        self._on_first_reply()
        family = datagram.socket.family
        host, port, *_ = datagram.socket.getsockname()
        addresses = [(host, 0)]
        if family == socket.AF_INET:
            addresses.append((OTHER_ADDRESS, port))
        for address in addresses:
            with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind(address)
                sock.sendto(data, datagram.sender)

    def close(self) -> None:
        for sock in self._sockets:
            self._loop.unwatch(sock.fileno())
            sock.close()


def refuse_all(sockets: Sockets) -> None:
    """Refuse all datagrams: a connected UDP socket accepts them from its one remote address only."""
    for sock in sockets.values():
        sock.connect((sock.getsockname()[0], 1))


UdpBehaviour = Callable[[UdpServer], Script]
