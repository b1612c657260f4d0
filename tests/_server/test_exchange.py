"""The exchange alone: connections over real sockets, in a reactor whose events the test hands on."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import Limits
from halloo._server.closer import Closer
from halloo._server.connections import Connections
from halloo._server.exchange import Exchange
from halloo._server.poller import READ, READ_NORMAL
from halloo._server.reactor import Reactor
from halloo._server.states import ECHOING, FREE, HANDLING, LINGERING, WRITE_PENDING
from halloo._server.throttling import ConnectionLimiter
from tests.stepping import MAKERS, Clock, readable

BUFFER = 1000  # bytes


class Recorder:
    """A handler that answers in capitals, and records what it is called for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def opened(self, exchange: Exchange, fd: int) -> None:
        self.calls.append("opened")
        exchange.send(fd, b"welcome")

    def readable(self, exchange: Exchange, fd: int) -> None:
        self.calls.append("readable")
        if data := exchange.receive(fd):
            exchange.send(fd, bytes(data).upper())
            exchange.continue_later(fd)
        elif data is not None:
            exchange.end(fd)

    def writable(self, exchange: Exchange, fd: int) -> None:
        self.calls.append("writable")
        exchange.answered(fd)

    def closed(self, fd: int) -> None:
        self.calls.append(f"closed {fd}")


class Bench:
    """One connection, and what serves it."""

    def __init__(self, reactor: Reactor, cleanup: ExitStack) -> None:
        self.reactor = reactor
        self.connections = Connections(reactor, memoryview(bytearray(BUFFER)))
        self.closer = Closer(reactor, self.connections, None)
        self.exchange = Exchange(reactor, self.connections, self.closer)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = cleanup.enter_context(socket.create_connection(listener.getsockname()))
            server, _ = listener.accept()
        server.setblocking(False)
        self.fd = reactor.poller.adopt(server)
        reactor.add(self.fd, FREE)
        self.connections.add(self.fd, 0)
        cleanup.callback(lambda: self.closer.close(self.fd) if self.state else None)

    @property
    def state(self) -> int:
        return self.reactor.state[self.fd]

    def limit(self, limits: Limits) -> None:
        self.exchange.limiter = ConnectionLimiter(self.reactor, self.closer, limits, BUFFER, self.exchange.resume)
        self.exchange.limiter.add(self.fd)

    def watch(self) -> None:
        self.reactor.watch(self.fd, *self.exchange.reading(self.fd, None))

    def turn(self) -> list[int]:
        """Hand the events on, and return them."""
        ready = self.reactor.poller.poll(5)
        for fd, _ in ready:
            self.reactor.handlers[self.reactor.state[fd]](fd)
        return [events for _, events in ready]

    def ask(self, message: bytes) -> bytes:
        self.client.sendall(message)
        self.turn()
        return self.client.recv(100) if readable(self.client) else b""


@pytest.fixture(params=MAKERS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with ExitStack() as cleanup:
        reactor = Reactor(request.param(), clock=Clock())
        cleanup.callback(reactor.close)
        yield Bench(reactor, cleanup)


def test_without_a_handler_what_is_read_is_echoed_until_the_end(bench: Bench) -> None:
    bench.watch()
    assert bench.ask(b"hello") == b"hello"
    bench.client.shutdown(socket.SHUT_WR)
    assert bench.turn() == [READ_NORMAL]
    assert (bench.client.recv(1), bench.state) == (b"", FREE)


def test_a_handler_opens_reads_goes_on_and_closes(bench: Bench) -> None:
    handler = Recorder()
    bench.watch()
    bench.exchange.handle(bench.fd, handler)
    bench.exchange.begin(bench.fd)
    assert (bench.state, bench.client.recv(100)) == (HANDLING, b"welcome")
    assert bench.ask(b"hello") == b"HELLO"
    assert bench.state == WRITE_PENDING  # so that other connections come first
    bench.turn()
    assert bench.state == HANDLING
    bench.client.shutdown(socket.SHUT_WR)
    bench.turn()
    assert handler.calls == ["opened", "readable", "writable", "readable", f"closed {bench.fd}"]


def test_another_handler_takes_over_at_once_or_after_the_pending_write(bench: Bench) -> None:
    first, second = Recorder(), Recorder()
    bench.watch()
    assert bench.exchange.replace_handler(bench.fd, first) is None
    assert bench.ask(b"hello") == b"HELLO"
    assert bench.exchange.replace_handler(bench.fd, second) is first
    assert bench.state == WRITE_PENDING
    bench.turn()
    assert (first.calls, second.calls) == (["readable"], ["writable"])


def test_near_max_bytes_the_connection_is_not_left_to_the_hot_loop_and_the_exact_byte_counts(bench: Bench) -> None:
    bench.limit(Limits(max_bytes=BUFFER + 8))
    bench.watch()
    bench.client.sendall(b"hello")
    assert bench.turn() == [READ_NORMAL]
    assert bench.exchange.reading(bench.fd, None) == (ECHOING, READ_NORMAL)
    assert bench.ask(b"four") == b"hellofour"
    assert bench.exchange.reading(bench.fd, None) == (ECHOING, READ)
    bench.client.sendall(bytes(BUFFER))
    bench.turn()
    assert (bench.state, len(bench.client.recv(2 * BUFFER))) == (LINGERING, BUFFER - 1)
    bench.client.close()
    bench.turn()
    assert bench.state == FREE
