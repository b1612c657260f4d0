"""Connections over socket pairs, without a server: what is read, written, kept and counted."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._server.connections import Connections
from halloo._server.counters import COUNTER_INDEX, PENDING_BYTES, Snapshot, new_counters
from halloo._server.reactor import Reactor
from halloo._server.states import ECHOING, FREE, WRITE_PENDING
from tests.peers import payload, reset
from tests.stepping import MAKERS, Clock, readable

BUFFER = 64 * 1024  # bytes


class Pair:
    """One connection of a reactor that takes no turns, and its client."""

    def __init__(self, reactor: Reactor, cleanup: ExitStack) -> None:
        self.clock = Clock()
        reactor.clock = self.clock
        self.reactor = reactor
        self.connections = Connections(reactor, memoryview(bytearray(BUFFER)))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = cleanup.enter_context(socket.create_connection(listener.getsockname()))
            server, _ = listener.accept()
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.fd = reactor.poller.adopt(server)
        reactor.watch(self.fd, ECHOING)
        self.connections.add(self.fd, 0)
        cleanup.callback(self.close)

    def close(self) -> None:
        if self.reactor.state[self.fd] != FREE:
            self.connections.close(self.fd)

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot.of(self.connections.counters, started=0, now=0)

    def fill(self) -> int:
        """Send until a write is pending; return how many bytes were given to `send`."""
        given = 0
        while not self.connections.pending:
            self.connections.send(self.fd, payload(BUFFER))
            given += BUFFER
        return given


@pytest.fixture(params=MAKERS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with ExitStack() as cleanup:
        reactor = Reactor(request.param())
        cleanup.callback(reactor.close)
        yield Pair(reactor, cleanup)


def test_what_is_received_and_sent_is_counted(pair: Pair) -> None:
    assert pair.connections.receive(pair.fd, 100) is None
    pair.client.sendall(b"hello")
    assert readable(pair.client) is False
    assert bytes(pair.connections.receive(pair.fd, 4) or b"") == b"hell"
    assert pair.connections.send(pair.fd, b"HELL")
    pair.client.shutdown(socket.SHUT_WR)
    assert bytes(pair.connections.receive(pair.fd, 4) or b"") == b"o"
    assert bytes(pair.connections.receive(pair.fd, 4) or b"-") == b"-"  # the end, which is empty
    assert pair.client.recv(9) == b"HELL"
    assert (pair.snapshot.received_bytes, pair.snapshot.sent_bytes, pair.snapshot.messages) == (5, 4, 1)
    assert (pair.connections.open, pair.snapshot.accepted_by_scheme["tcp"]) == (1, 1)


def test_what_does_not_fit_is_pending_until_it_is_flushed(pair: Pair) -> None:
    queued: list[int] = []
    pair.connections.on_queued = lambda: queued.append(pair.snapshot.pending_write_bytes)
    given = pair.fill()
    [rest] = pair.connections.pending.values()
    assert pair.reactor.state[pair.fd] == WRITE_PENDING
    assert (queued, pair.connections.pending_since) == ([len(rest)], {pair.fd: 1000.0})
    assert pair.snapshot.sent_bytes == given - len(rest)
    pair.clock.now += 5
    got, before, since = b"", len(rest), 1000.0
    while before:
        progress = pair.connections.flush(pair.fd)
        left, since = len(pair.connections.pending.get(pair.fd, b"")), 1005.0 if progress else since
        assert progress == (left < before)
        assert pair.snapshot.pending_write_bytes == left
        assert pair.connections.pending_since == ({pair.fd: since} if left else {})
        got, before = got + pair.client.recv(BUFFER), left
    while len(got) < given:
        got += pair.client.recv(BUFFER)
    assert got == payload(BUFFER) * (given // BUFFER)
    assert (pair.connections.pending, pair.connections.pending_since, pair.snapshot.pending_write_bytes) == ({}, {}, 0)


def test_an_empty_rest_is_flushed_at_once(pair: Pair) -> None:
    pair.connections.queue_write(pair.fd, memoryview(b""))
    assert pair.connections.flush(pair.fd)
    assert pair.connections.pending == {}


@pytest.mark.parametrize(
    "action",
    [
        lambda pair: pair.connections.receive(pair.fd, 1),
        lambda pair: pair.connections.send(pair.fd, b"x"),
        lambda pair: pair.connections.flush(pair.fd),
    ],
    ids=["receive", "send", "flush"],
)
def test_a_failed_connection_is_closed_and_reported_once(pair: Pair, action: Callable[[Pair], object]) -> None:
    reported: list[tuple[int, str]] = []
    pair.connections.on_closed.append(lambda fd, reason: reported.append((fd, reason)))
    pair.connections.queue_write(pair.fd, memoryview(b"rest"))
    reset(pair.client)
    assert not action(pair)
    [(fd, reason)] = reported
    assert fd == pair.fd
    assert reason in {"ECONNRESET", "EPIPE"}
    pair.connections.fail(pair.fd, ConnectionResetError())
    assert (pair.snapshot.errors, pair.snapshot.open, pair.reactor.state[pair.fd]) == ({reason: 1}, 0, FREE)
    assert pair.connections.pending == {}


def test_counters_may_be_supplied(pair: Pair) -> None:
    row = new_counters()
    connections = Connections(pair.reactor, memoryview(bytearray(1)), row)
    connections.count("EPIPE")
    connections.discard_pending(5)  # there is none
    assert (row[COUNTER_INDEX["EPIPE"]], row[PENDING_BYTES]) == (1, 0)


def test_a_thousand_connections_cost_two_bytes_each(pair: Pair) -> None:
    for fd in range(1000, 2000):
        pair.reactor.add(fd, ECHOING)
        pair.connections.add(fd, 2)
        pair.reactor.state[fd] = FREE
    assert len(pair.reactor.state) < 2 * 2000
    assert pair.snapshot.open_by_scheme == {"tcp": 1, "tls": 0, "unix": 1000}
