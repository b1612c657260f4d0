"""A loop that the test runs itself, a turn at a time, and whose time passes when the test says so.

Knows sockets and the loop. Knows no test. Nothing waits for a clock: a turn may wait for what is on its way already.
"""

import hashlib
import os
import select
import socket
import struct
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import ExitStack
from functools import cache
from ssl import SSLContext
from typing import Self

from halloo._core.limits import Limits
from halloo._net.datagrams import QUEUE, WHOLE
from halloo._server import poller
from halloo._server.acceptor import Endpoint
from halloo._server.connections import SLOT, Snapshot
from halloo._server.handlers import ConnectionObserver, Handler, PeerName, Respond
from halloo._server.poller import Poller, Selector
from halloo._server.tcp import BUFFER, Loop
from halloo._server.timestamps import ProbeTimestamper
from halloo._server.udp import UDP_SEGMENT

MAKERS: list[Callable[[], Poller]] = [Selector]
if hasattr(select, "epoll"):
    MAKERS.append(poller.Epoll)

SOON = 5  # seconds that a turn may wait for what is on its way
FLOOD = 64 * BUFFER  # more than the kernel keeps for the two of them
IDLE, IDLE_TURNS = 0.01, 100  # seconds of a turn with nothing to do, and how many of them are too many
TURNS = 10_000  # after so many turns it will not happen any more


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Turns:
    """One loop, and a clock of its own; it closes the sockets of its posts."""

    def __init__(
        self,
        posts: Sequence[Endpoint],
        limits: Limits | None,
        *,
        poller: Poller | None = None,
        observer: ConnectionObserver | None = None,
        row: MutableSequence[int] | None = None,
        clients: int | None = None,
    ) -> None:
        self._cleanup = ExitStack()
        for post in posts:
            self._cleanup.enter_context(post.sock)
        self.clock = Clock()
        self.loop = Loop(
            posts, poller=poller, limits=limits, clients=clients, observer=observer, row=row, clock=self.clock
        )
        self._cleanup.callback(lambda: None if self.loop.waker.fileno() < 0 else self.loop.shutdown())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def seen(self) -> Snapshot:
        """What the loop has done so far."""
        return self.loop.snapshot()

    def count(self, name: str) -> int:
        """How often something was counted."""
        return self.loop.table.row[SLOT[name]]

    def until(self, condition: Callable[[], bool]) -> None:
        """Take turns until it is so."""
        for _ in range(TURNS):
            if condition():
                return
            self.loop.turn(SOON)
        raise AssertionError(f"not after {TURNS} turns: {self.seen}")

    def settle(self) -> None:
        """Take turns while there is something to do."""
        for _ in range(TURNS):
            if not self.loop.turn(0):
                return
        raise AssertionError(f"busy after {TURNS} turns: {self.seen}")

    def elapse(self, seconds: float) -> None:
        """Let time pass, and happen what is then due."""
        self.clock.now += seconds
        for act in self.loop.timers.due(self.clock.now):
            act()

    def pass_slowly(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass in steps, taking the turns that there are at each."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.elapse(min(step, end - self.clock.now))
            self.settle()


class Stage(Turns):
    """A loop with one listening socket, and the clients that a test lets appear."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        poller: Poller | None = None,
        handler: Handler | None = None,
        context: SSLContext | None = None,
        observer: ConnectionObserver | None = None,
        row: MutableSequence[int] | None = None,
        clients: int | None = None,
        buffer: int | None = None,
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.listener.setblocking(False)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as that of a server
        if buffer:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self.listener.setsockopt(socket.SOL_SOCKET, option, buffer)
        posts = [Endpoint(self.listener, handler, context)]
        super().__init__(posts, limits, poller=poller, observer=observer, row=row, clients=clients)

    def dial(self, host: str = "127.0.0.1", *, buffer: int | None = None) -> socket.socket:
        """Connect a client that never blocks; the kernel answers it, accepted or not."""
        client = self._cleanup.enter_context(socket.socket())
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.bind((host, 0))
        client.connect(self.listener.getsockname())
        client.setblocking(False)
        return client

    def arrive(self, host: str = "127.0.0.1", *, buffer: int | None = None) -> socket.socket:
        """Connect a client, and take turns until it has been taken in or turned away."""
        before = self._met()
        client = self.dial(host, buffer=buffer)
        self.until(lambda: self._met() > before)
        return client

    def _met(self) -> int:
        return self.seen.accepted + sum(self.seen.refused.values())

    def echo(self, client: socket.socket, message: bytes = b"still there?\n") -> bytes:
        """Send a message and give as many bytes as come back for it, fewer at an end."""
        client.sendall(message)
        return self.read(client, len(message))

    def read(self, client: socket.socket, size: int = 1 << 62) -> bytes:
        """Read so many bytes, or to the end, while the loop takes turns."""
        pieces, patience = bytearray(), IDLE_TURNS
        while patience:
            try:
                piece = client.recv(min(size - len(pieces), BUFFER))
            except BlockingIOError:
                if not self.loop.turn(0) and not readable(client):
                    self.loop.turn(IDLE)
                    patience -= 1
                continue
            patience = IDLE_TURNS
            pieces += piece
            if not piece or len(pieces) == size:
                return bytes(pieces)
        raise AssertionError(f"only {len(pieces)} bytes came: {self.seen}")

    def flood(self, client: socket.socket, size: int = FLOOD) -> int:
        """Send until neither the loop nor the system takes any more; say how much was taken."""
        data, sent = memoryview(pattern(FLOOD))[:size], 0
        while sent < len(data):
            try:
                sent += client.send(data[sent : sent + BUFFER])
            except BlockingIOError:
                if self.loop.table.pending_writes and not self.loop.poller.poll(0):
                    return sent
                self.loop.turn(SOON)
        raise AssertionError(f"{sent} bytes were taken")


class Hearing(Turns):
    """A loop with sockets for datagrams, one for each host, and the senders that a test lets appear."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        hosts: Sequence[str] = ("127.0.0.1",),
        poller: Poller | None = None,
        respond: Respond | None = None,
        stamper: ProbeTimestamper | None = None,
        observer: ConnectionObserver | None = None,
        row: MutableSequence[int] | None = None,
        buffer: int = QUEUE,
    ) -> None:
        self.socks = [unconnected(host, buffer) for host in hosts]
        posts = [Endpoint(sock, respond=respond, timestamper=stamper) for sock in self.socks]
        super().__init__(posts, limits, poller=poller, observer=observer, row=row)

    @property
    def port(self) -> int:
        """That of the first socket."""
        return int(self.socks[0].getsockname()[1])

    def sender(self, host: str = "127.0.0.1") -> socket.socket:
        """Make somebody who can send, and never blocks."""
        return self._cleanup.enter_context(unconnected(host))

    def send(self, sender: socket.socket, datagram: bytes, to: str | None = None, *, segment: int = 0) -> None:
        """Send a datagram, or a train of them cut into segments: where the sender is at home, or `to` another host."""
        place = (to or sender.getsockname()[0], self.port)
        sender.sendmsg([datagram], [train(segment)] if segment else [], 0, place)

    def ask(self, sender: socket.socket, datagram: bytes, to: str | None = None) -> bytes:
        """Send a datagram and give what comes back."""
        self.send(sender, datagram, to)
        return self.answers(sender, 1)[0]

    def answers(self, sender: socket.socket, count: int) -> list[bytes]:
        """Take turns until so many have come back."""
        came: list[bytes] = []
        while len(came) < count:
            self.until(lambda: readable(sender))
            came.append(sender.recv(WHOLE))
        return came

    def hear(self, count: int) -> None:
        """Take turns until so many datagrams have come in all, answered or not, and nothing is left."""
        self.until(lambda: self.seen.datagrams >= count)
        self.settle()
        assert self.seen.datagrams == count


def unconnected(host: str, buffer: int = QUEUE) -> socket.socket:
    """Make a socket for datagrams that does not block."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


def train(segment: int) -> tuple[int, int, bytes]:
    """Say beside a sendmsg that it is a train of so large datagrams (UDP_SEGMENT; udp(7))."""
    return socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", segment)


class Notes:
    """A observer that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def opened(self, fd: int, peer: PeerName) -> None:  # noqa: ARG002 - the shape is Witness's
        self.told.append(("opened", peer))

    def datagram_received(self, peer: PeerName) -> None:
        self.told.append(("datagram_received", peer))

    def refused(self, peer: PeerName, reason: str) -> None:
        self.told.append((f"refused: {reason}", peer))

    def closed(self, fd: int, reason: str) -> None:  # noqa: ARG002 - as above
        self.told.append(("closed", reason))


@cache
def pattern(size: int) -> bytes:
    """Make bytes that look like chance, and are the same in every run."""
    return hashlib.shake_128(b"halloo").digest(size)


def readable(client: socket.socket) -> bool:
    """Whether something, or the end, has come."""
    return bool(select.select([client], [], [], 0)[0])


def ended(client: socket.socket) -> bool:
    """Whether the end is what comes next."""
    return bool(select.select([client], [], [], SOON)[0]) and client.recv(1) == b""


def reset(client: socket.socket) -> None:
    """End the connection with a reset: close(2) sends one when it is told to linger for no time."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
    client.close()
