"""A loop that the test runs itself, turn by turn, with a clock that the test moves.

No test waits for a clock; a turn may wait for data already sent.
"""

import select
import socket
import struct
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import ExitStack
from ssl import SSLContext
from typing import Self

from halloo._core.limits import Limits
from halloo._net.datagrams import DATAGRAM_ROOM, QUEUE
from halloo._server import poller
from halloo._server.counters import COUNTER_INDEX, Snapshot
from halloo._server.drain import Drain
from halloo._server.echo import BUFFER_SIZE, EchoServer
from halloo._server.endpoint import Endpoint
from halloo._server.exchange import Handler
from halloo._server.handlers import ConnectionObserver, PeerName
from halloo._server.poller import Poller, Selector
from halloo._server.responder import Respond, Responder, flush_log
from halloo._server.timestamps import ProbeTimestamper
from halloo._server.udp import UDP_SEGMENT
from tests.peers import payload

MAKERS: list[Callable[[], Poller]] = [Selector]
if hasattr(select, "epoll"):
    MAKERS.append(poller.Epoll)

POLL_TIMEOUT = 5  # seconds that a turn may wait for data already sent
FLOOD = 64 * BUFFER_SIZE  # more than the kernel buffers for both ends
IDLE_TIMEOUT, MAX_IDLE_TURNS = 0.01, 100  # seconds of an idle turn; turns
MAX_TURNS = 10_000  # after which waiting fails


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SteppedLoop:
    """One loop with its own clock; it closes the sockets of its endpoints."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        limits: Limits | None,
        *,
        poller: Poller | None = None,
        observer: ConnectionObserver | None = None,
        counters: MutableSequence[int] | None = None,
        clients: int | None = None,
    ) -> None:
        self._cleanup = ExitStack()
        self._cleanup.callback(flush_log)
        for post in endpoints:
            self._cleanup.enter_context(post.sock)
        self.clock = Clock()
        self.loop = EchoServer(
            endpoints,
            poller=poller,
            limits=limits,
            clients=clients,
            observer=observer,
            counters=counters,
            clock=self.clock,
        )
        self._cleanup.callback(lambda: None if self.loop.reactor.wakeup_writer.fileno() < 0 else self.loop.shutdown())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def snapshot(self) -> Snapshot:
        """What the loop has done so far."""
        return self.loop.snapshot()

    def count(self, name: str) -> int:
        """Return the counter of a name."""
        return self.loop.connections.counters[COUNTER_INDEX[name]]

    def until(self, condition: Callable[[], bool]) -> None:
        """Take turns until the condition holds."""
        for _ in range(MAX_TURNS):
            if condition():
                return
            self.loop.turn(POLL_TIMEOUT)
        raise AssertionError(f"not after {MAX_TURNS} turns: {self.snapshot}")

    def settle(self) -> None:
        """Take turns until no event is left."""
        for _ in range(MAX_TURNS):
            if not self.loop.turn(0):
                return
        raise AssertionError(f"busy after {MAX_TURNS} turns: {self.snapshot}")

    def elapse(self, seconds: float) -> None:
        """Advance the clock, and call the callbacks that are due."""
        self.clock.now += seconds
        self.loop.reactor.call_due()

    def elapse_in_steps(self, seconds: float, step: float = 0.25) -> None:
        """Advance the clock in steps, taking turns at each."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.elapse(min(step, end - self.clock.now))
            self.settle()


class Stage(SteppedLoop):
    """A loop with one listening socket, and clients that the test connects."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        poller: Poller | None = None,
        handler: Handler | None = None,
        context: SSLContext | None = None,
        observer: ConnectionObserver | None = None,
        counters: MutableSequence[int] | None = None,
        clients: int | None = None,
        buffer: int | None = None,
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.listener.setblocking(False)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as a server's listener
        if buffer:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self.listener.setsockopt(socket.SOL_SOCKET, option, buffer)
        endpoints = [Endpoint(self.listener, handler, context)]
        super().__init__(endpoints, limits, poller=poller, observer=observer, counters=counters, clients=clients)

    def dial(self, host: str = "127.0.0.1", *, buffer: int | None = None) -> socket.socket:
        """Connect a non-blocking client; the kernel answers it, accepted or not."""
        client = self._cleanup.enter_context(socket.socket())
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.bind((host, 0))
        client.connect(self.listener.getsockname())
        client.setblocking(False)
        return client

    def connect(self, host: str = "127.0.0.1", *, buffer: int | None = None) -> socket.socket:
        """Connect a client, and take turns until it is accepted or refused."""
        before = self._processed()
        client = self.dial(host, buffer=buffer)
        self.until(lambda: self._processed() > before)
        return client

    def _processed(self) -> int:
        return self.snapshot.accepted + sum(self.snapshot.refused.values())

    def echo(self, client: socket.socket, message: bytes = b"still there?\n") -> bytes:
        """Send a message, and return as many bytes of the answer, fewer at the end of the stream."""
        client.sendall(message)
        return self.read(client, len(message))

    def read(self, client: socket.socket, size: int = 1 << 62) -> bytes:
        """Read `size` bytes, or to the end, while the loop takes turns."""
        data, idle_turns = bytearray(), MAX_IDLE_TURNS
        while idle_turns:
            try:
                chunk = client.recv(min(size - len(data), BUFFER_SIZE))
            except BlockingIOError:
                if not self.loop.turn(0) and not readable(client):
                    self.loop.turn(IDLE_TIMEOUT)
                    idle_turns -= 1
                continue
            idle_turns = MAX_IDLE_TURNS
            data += chunk
            if not chunk or len(data) == size:
                return bytes(data)
        raise AssertionError(f"only {len(data)} bytes received: {self.snapshot}")

    def flood(self, client: socket.socket, size: int = FLOOD) -> int:
        """Send until neither the loop nor the kernel takes more; return how much was taken."""
        data, sent = memoryview(payload(FLOOD))[:size], 0
        while sent < len(data):
            try:
                sent += client.send(data[sent : sent + BUFFER_SIZE])
            except BlockingIOError:
                if self.loop.connections.pending and not self.loop.reactor.poller.poll(0):
                    return sent
                self.loop.turn(POLL_TIMEOUT)
        raise AssertionError(f"{sent} bytes were taken")


class DatagramStage(SteppedLoop):
    """A loop with a datagram socket for each host, and senders that the test makes."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        hosts: Sequence[str] = ("127.0.0.1",),
        poller: Poller | None = None,
        respond: Respond | None = None,
        timestamper: ProbeTimestamper | None = None,
        observer: ConnectionObserver | None = None,
        counters: MutableSequence[int] | None = None,
        buffer: int = QUEUE,
    ) -> None:
        self.socks = [unconnected(host, buffer) for host in hosts]
        responder = Responder(respond) if respond else None
        endpoints = [Endpoint(sock, responder=responder, timestamper=timestamper) for sock in self.socks]
        super().__init__(endpoints, limits, poller=poller, observer=observer, counters=counters)

    @property
    def port(self) -> int:
        """The port of the first socket."""
        return int(self.socks[0].getsockname()[1])

    def sender(self, host: str = "127.0.0.1") -> socket.socket:
        """Make a non-blocking sender."""
        return self._cleanup.enter_context(unconnected(host))

    def send(self, sender: socket.socket, datagram: bytes, to: str | None = None, *, segment: int = 0) -> None:
        """Send a datagram, or a batch cut into segments, to the sender's own host, or to another one."""
        destination = (to or sender.getsockname()[0], self.port)
        sender.sendmsg([datagram], [segment_option(segment)] if segment else [], 0, destination)

    def ask(self, sender: socket.socket, datagram: bytes, to: str | None = None) -> bytes:
        """Send a datagram and return the reply."""
        self.send(sender, datagram, to)
        return self.receive_replies(sender, 1)[0]

    def receive_replies(self, sender: socket.socket, count: int) -> list[bytes]:
        """Take turns until `count` replies have arrived."""
        replies: list[bytes] = []
        while len(replies) < count:
            self.until(lambda: readable(sender))
            replies.append(sender.recv(DATAGRAM_ROOM))
        return replies

    def wait_received(self, count: int) -> None:
        """Take turns until `count` datagrams have been received in all, answered or not, and none is left."""
        self.until(lambda: self.snapshot.datagrams >= count)
        self.settle()
        assert self.snapshot.datagrams == count


def unconnected(host: str, buffer: int = QUEUE) -> socket.socket:
    """Make a non-blocking datagram socket."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


def segment_option(segment: int) -> tuple[int, int, bytes]:
    """Make the ancillary data that sends a batch of datagrams of that size (UDP_SEGMENT; udp(7))."""
    return socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", segment)


class RecordingObserver:
    """An observer that records its events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.counts: list[int] = []  # of refused datagrams

    def measured(self, poller: Poller) -> Poller:
        return poller

    def opened(self, fd: int, peer: PeerName, listener: str) -> None:  # noqa: ARG002 - ConnectionObserver's signature
        self.events.append(("opened", peer))

    def datagram_received(self, peer: PeerName, listener: str) -> None:  # noqa: ARG002 - as above
        self.events.append(("datagram_received", peer))

    def refused(self, peer: PeerName, listener: str, reason: str, count: int = 1) -> None:  # noqa: ARG002 - as above
        self.events.append((f"refused: {reason}", peer))
        self.counts.append(count)

    def closed(self, fd: int, reason: str) -> None:  # noqa: ARG002 - as above
        self.events.append(("closed", reason))


def draining(server: EchoServer, seconds: float) -> Drain:
    """Make what drains a server, for a test that takes its turns."""
    return Drain(server.reactor, server.connections, server.closer, server.exchange, server.turn, seconds=seconds)


def readable(client: socket.socket) -> bool:
    """Whether data, or the end of the stream, has arrived."""
    return bool(select.select([client], [], [], 0)[0])


def ended(client: socket.socket) -> bool:
    """Whether the end of the stream comes next."""
    return bool(select.select([client], [], [], POLL_TIMEOUT)[0]) and client.recv(1) == b""
