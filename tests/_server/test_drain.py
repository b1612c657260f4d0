"""Draining: what is answered when a server stops, when it ends, and what is counted."""

import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from halloo._core.address import Address
from halloo._core.limits import Limits
from halloo._net.connector import connect_udp
from halloo._net.listener import Listener, listen
from halloo._server.acceptor import MAX_ACCEPTS
from halloo._server.drain import POLL_INTERVAL, QUIET_TIME, SENDING_TIME, Drain, LastInput, seconds_without_input
from halloo._server.echo import EchoServer
from halloo._server.endpoint import Endpoint
from halloo._server.handlers import RespondHandler
from halloo._server.poller import Poller
from halloo._server.responder import Respond
from halloo._server.running import Service
from halloo._server.states import ECHOING, HANDLING
from tests.peers import payload, receive_all
from tests.stepping import FLOOD, MAKERS, Stage, draining, ended

TIMEOUT = 20  # seconds without a byte, after which the test fails
DRAIN_TIME = 10.0  # seconds of draining
MIB = 1024 * 1024
RECEIVE_BUFFER = 16 * 1024  # bytes that a client's kernel may hold: fixed, since the kernel would grow it


MakeStage = Callable[..., Stage]


class DrainStage:
    """A loop on a listener, and blocking clients."""

    def __init__(self, poller: Poller, cleanup: ExitStack, limits: Limits | None = None) -> None:
        self._cleanup = cleanup
        self.listener = cleanup.enter_context(Listener([(socket.create_server(("127.0.0.1", 0), backlog=200), "tcp")]))
        self.loop = EchoServer([Endpoint(self.listener.sockets[0])], poller=poller, limits=limits)
        self._closed = False
        cleanup.callback(self.shutdown)

    def dial(self, buffer: int | None = None) -> socket.socket:
        return self._cleanup.enter_context(dialled(self.listener.address, buffer))

    def connect(self, buffer: int | None = None) -> socket.socket:
        client = self.dial(buffer)
        client.sendall(b"hello")
        before = self.loop.snapshot().sent_bytes
        while self.loop.snapshot().sent_bytes == before:
            self.loop.turn(1)
        assert client.recv(5) == b"hello"
        return client

    def fill(self, client: socket.socket) -> int:
        return fill(self.loop, client)

    def drain(self, seconds: float = DRAIN_TIME) -> None:
        self.loop.drain(seconds, self.listener)

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self.loop.shutdown()


def dialled(address: Address, buffer: int | None = None) -> socket.socket:
    """Connect a blocking client."""
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(TIMEOUT)
    client.connect((address.host, address.port))
    return client


def fill(loop: EchoServer, client: socket.socket) -> int:
    """Send from a client that does not read, until a write is pending; return how much it has sent."""
    data, sent = payload(FLOOD), 0
    client.setblocking(False)
    while not loop.connections.pending:
        try:
            sent += client.send(data[sent : sent + MIB])
        except BlockingIOError:
            loop.turn(1)
    client.settimeout(TIMEOUT)
    return sent


def advance(stage: Stage, drain: Drain, seconds: float, step: float = POLL_INTERVAL) -> None:
    """Take turns of a drain while the clock advances, and one more; an idle turn really takes POLL_INTERVAL."""
    end = stage.clock.now + seconds
    while stage.clock.now < end:
        drain.turn()
        stage.clock.now += step
    drain.turn()


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest) -> Iterator[MakeStage]:
    with ExitStack() as cleanup:
        yield lambda *limits, **options: cleanup.enter_context(Stage(*limits, poller=request.param(), **options))


@pytest.fixture(params=MAKERS)
def make_drain_stage(request: pytest.FixtureRequest) -> Iterator[Callable[..., DrainStage]]:
    with ExitStack() as cleanup:
        yield lambda *limits: DrainStage(request.param(), cleanup, *limits)


@pytest.fixture
def drain_stage(make_drain_stage: Callable[..., DrainStage]) -> DrainStage:
    return make_drain_stage()


@pytest.fixture
def run_in_thread() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Run functions in threads during the draining, and join them at the end."""
    threads = []

    def run_in_thread(act: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=act, name="run_in_thread")
        threads.append(thread)
        thread.start()
        return thread

    yield run_in_thread
    for thread in threads:
        thread.join()


@pytest.fixture
def receive_in_thread(run_in_thread: "RunInThread") -> Callable[[socket.socket], Callable[[], bytes]]:
    """Read from a client to the end in a thread, then close it; the returned function waits for the data."""

    def receive_in_thread(client: socket.socket) -> Callable[[], bytes]:
        got: list[bytes] = []

        def read() -> None:
            with client:
                got.append(receive_all(client))

        thread = run_in_thread(read)

        def result() -> bytes:
            thread.join()
            return got[0]

        return result

    return receive_in_thread


RunInThread = Callable[[Callable[[], object]], threading.Thread]
ReceiveInThread = Callable[[socket.socket], Callable[[], bytes]]


# Draining.


def test_drain_without_clients_returns_at_once(drain_stage: DrainStage) -> None:
    began = time.monotonic()
    drain_stage.drain()
    assert time.monotonic() - began < 1


def test_drain_answers_data_not_read_yet(drain_stage: DrainStage, receive_in_thread: ReceiveInThread) -> None:
    client = drain_stage.connect()
    client.sendall(payload(100_000))
    got = receive_in_thread(client)
    drain_stage.drain()
    assert got() == payload(100_000)


def test_drain_answers_queued_clients(drain_stage: DrainStage) -> None:
    clients = [drain_stage.dial() for _ in range(3 * MAX_ACCEPTS)]
    for client in clients:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
    drain_stage.drain()
    drain_stage.shutdown()
    assert [receive_all(client) for client in clients] == [b"hello"] * len(clients)


def test_drain_sends_everything_to_a_slow_reader(drain_stage: DrainStage, receive_in_thread: ReceiveInThread) -> None:
    client = drain_stage.connect()
    sent = drain_stage.fill(client)
    got = receive_in_thread(client)
    drain_stage.drain()
    assert got() == payload(FLOOD)[:sent]


def test_drain_answers_a_client_that_sends_on_and_then_ends(
    drain_stage: DrainStage, receive_in_thread: ReceiveInThread, run_in_thread: RunInThread
) -> None:
    client, data = drain_stage.connect(), payload(4 * MIB)

    def send() -> None:
        for start in range(0, len(data), 64 * 1024):
            client.sendall(data[start : start + 64 * 1024])
        client.shutdown(socket.SHUT_WR)

    run_in_thread(send)
    got = receive_in_thread(client)
    drain_stage.drain()
    assert got() == data
    assert "cut_off" not in drain_stage.loop.snapshot().ended


def test_drain_answers_a_rate_limited_client(
    make_drain_stage: Callable[..., DrainStage], receive_in_thread: ReceiveInThread
) -> None:
    drain_stage = make_drain_stage(Limits(rate_limit=10_000))
    client = drain_stage.connect()
    client.sendall(payload(5_000))
    got = receive_in_thread(client)
    drain_stage.drain()
    assert got() == payload(5_000)


def test_drain_closes_and_counts_an_idle_client(drain_stage: DrainStage, receive_in_thread: ReceiveInThread) -> None:
    got = receive_in_thread(drain_stage.connect())
    drain_stage.drain()
    assert got() == b""
    assert drain_stage.loop.snapshot().ended == {"drained": 1}
    assert drain_stage.loop.snapshot().open == 0


def test_drain_accepts_no_client_after_the_queue_is_empty(drain_stage: DrainStage) -> None:
    drain_stage.drain()
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect((drain_stage.listener.address.host, drain_stage.listener.address.port))


def test_a_drained_loop_has_accepted_every_queued_client(drain_stage: DrainStage) -> None:
    for _ in range(3):
        drain_stage.dial().close()
    drain_stage.drain()
    assert (drain_stage.loop.snapshot().accepted, drain_stage.loop.snapshot().open) == (3, 0)


def test_datagrams_are_answered_until_the_last_connection_is_drained(run_in_thread: RunInThread) -> None:
    with listen("tcp://127.0.0.1:0", "udp://127.0.0.1:0") as listener, ExitStack() as cleanup:
        loop = Service().loop(listener)
        cleanup.callback(loop.shutdown)
        slow = cleanup.enter_context(dialled(listener.addresses[0], RECEIVE_BUFFER))
        sender = cleanup.enter_context(connect_udp(listener.addresses[1]))
        sent = fill(loop, slow)
        draining = run_in_thread(lambda: loop.drain(DRAIN_TIME, listener))
        for _ in range(3):
            sender.send(b"still there?")
            assert sender.receive(timeout=TIMEOUT) == b"still there?"
        slow.shutdown(socket.SHUT_WR)
        assert receive_all(slow) == payload(FLOOD)[:sent]
        draining.join()
        assert loop.snapshot().open == 0
        assert [sock.fileno() for sock in listener.sockets] == [-1, -1]


# How long it takes: the test's clock moves between two turns.


def test_a_client_is_drained_when_it_has_been_quiet(make_stage: MakeStage) -> None:
    stage = make_stage()
    client, passed = stage.connect(), QUIET_TIME
    [fd] = stage.loop.reactor.in_state(ECHOING)
    while passed > QUIET_TIME / 2:  # seconds of the kernel's clock, which a busy machine may take to come here
        stage.echo(client)
        drain = draining(stage.loop, DRAIN_TIME)
        passed = seconds_without_input(fd)
    advance(stage, drain, QUIET_TIME - passed - POLL_INTERVAL)
    assert stage.snapshot.ended == {}
    advance(stage, drain, passed + 3 * POLL_INTERVAL)
    assert (stage.snapshot.ended, stage.snapshot.open) == ({"drained": 1}, 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs tcp_info")
def test_a_client_that_has_been_quiet_before_is_drained_at_once(make_stage: MakeStage) -> None:
    stage = make_stage()
    client = stage.connect()
    assert stage.echo(client) == b"still there?\n"
    [fd] = stage.loop.reactor.in_state(ECHOING)
    while seconds_without_input(fd) < QUIET_TIME:
        stage.loop.turn(max(QUIET_TIME - seconds_without_input(fd), 0))  # less than 0 would be for ever
    advance(stage, draining(stage.loop, DRAIN_TIME), 3 * POLL_INTERVAL)
    assert (stage.snapshot.ended, stage.snapshot.open) == ({"drained": 1}, 0)
    assert ended(client)


def test_a_tls_client_that_never_begins_is_drained_when_it_has_been_quiet(make_stage: MakeStage) -> None:
    stage = make_stage(context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    client = stage.connect()
    advance(stage, draining(stage.loop, DRAIN_TIME), QUIET_TIME + 3 * POLL_INTERVAL)
    assert (stage.snapshot.ended, stage.snapshot.open) == ({"drained": 1}, 0)
    assert ended(client)


@pytest.mark.parametrize(
    ("respond", "limits"),
    [(None, {}), (bytes, {}), (None, {"idle_timeout": 60}), (bytes, {"rate_limit": 200_000})],
    ids=["echo", "respond", "limited echo", "limited respond"],
)
def test_a_client_that_sends_on_is_answered_for_a_while_and_then_cut_off(
    make_stage: MakeStage, respond: Respond | None, limits: dict[str, Any]
) -> None:
    stage = make_stage(
        Limits(buffer=1000, **limits),  # of each read: less than the client sends between two turns
        handler=respond and RespondHandler(respond, "raw", b""),
    )
    client = stage.connect()
    drain, began, sent, received = draining(stage.loop, DRAIN_TIME), stage.clock.now, 0, b""
    while stage.snapshot.ended == {}:
        assert stage.clock.now - began < 3 * SENDING_TIME
        sent += client.send(payload(FLOOD)[sent : sent + 4000])
        advance(stage, drain, POLL_INTERVAL)
        with suppress(BlockingIOError):
            received += client.recv(FLOOD)
    received += stage.read(client)
    assert stage.snapshot.ended == {"cut_off": 1}
    assert received == payload(FLOOD)[: stage.snapshot.received_bytes]
    assert stage.snapshot.lost_bytes > 0


def test_a_slow_reader_is_sent_everything_however_long_it_takes(make_stage: MakeStage) -> None:
    stage = make_stage(buffer=RECEIVE_BUFFER)
    client = stage.connect(buffer=RECEIVE_BUFFER)
    sent = stage.flood(client)
    drain, received = draining(stage.loop, DRAIN_TIME), b""
    advance(stage, drain, 2 * SENDING_TIME, step=10 * POLL_INTERVAL)
    while len(received) < sent:
        assert stage.snapshot.ended == {}
        with suppress(BlockingIOError):
            received += client.recv(MIB)
        drain.turn()
    assert received == payload(FLOOD)[:sent]
    advance(stage, drain, QUIET_TIME + 3 * POLL_INTERVAL)
    assert (stage.snapshot.ended, stage.snapshot.open) == ({"drained": 1}, 0)


# Cut off.


def test_a_client_that_keeps_a_handshake_going_is_closed_after_a_while(make_stage: MakeStage) -> None:
    stage = make_stage(context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    client = stage.connect()
    drain, began = draining(stage.loop, DRAIN_TIME), stage.clock.now
    client.send(b"\x16\x03\x01\x40\x00")  # the header of a long record
    while stage.snapshot.ended == {}:
        assert stage.clock.now - began < 3 * SENDING_TIME
        client.send(b"\x01")
        advance(stage, drain, POLL_INTERVAL)
    assert (stage.snapshot.ended, stage.snapshot.lost_bytes) == ({"drained": 1}, 0)


def test_a_client_that_does_not_close_after_our_fin_is_closed_at_the_deadline(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.connect()
    drain = draining(stage.loop, DRAIN_TIME)
    stage.loop.closer.disconnect(stage.loop.reactor.in_state(ECHOING)[0], "idle_timeout")
    stage.clock.now += DRAIN_TIME
    drain.run()
    assert (stage.snapshot.ended, stage.snapshot.open) == ({"idle_timeout": 1}, 0)


@pytest.mark.parametrize("respond", [None, bytes], ids=["echo", "respond"])
def test_a_pending_write_of_the_last_input_is_flushed_before_the_end(
    make_stage: MakeStage, respond: Respond | None
) -> None:
    stage = make_stage(handler=respond and RespondHandler(respond, "raw", b""), buffer=RECEIVE_BUFFER)
    client = stage.connect(buffer=RECEIVE_BUFFER)
    [fd] = stage.loop.reactor.in_state(ECHOING, HANDLING)
    stage.flood(client)
    last = LastInput(stage.loop.reactor.poller.queued_bytes(fd)[0], stage.loop.reactor, stage.loop.connections)
    last.inner = stage.loop.exchange.replace_handler(fd, last)
    received = stage.read(client)
    assert received == payload(FLOOD)[: stage.snapshot.received_bytes]
    assert (stage.snapshot.ended, stage.snapshot.lost_bytes > 0) == ({"cut_off": 1}, True)


def test_pending_writes_at_the_deadline_are_counted_as_lost(drain_stage: DrainStage) -> None:
    drain_stage.fill(drain_stage.connect(RECEIVE_BUFFER))
    [pending] = drain_stage.loop.connections.pending.values()
    drain_stage.drain(0.3)
    seen = drain_stage.loop.snapshot()
    assert seen.ended == {"cut_off": 1}
    assert seen.lost_bytes >= len(pending)


def test_drain_keeps_its_deadline(drain_stage: DrainStage) -> None:
    drain_stage.fill(drain_stage.connect(RECEIVE_BUFFER))  # does not read
    began = time.monotonic()
    drain_stage.drain(0.3)
    assert 0.2 <= time.monotonic() - began < 2


def test_a_stop_during_drain_ends_it_at_once(drain_stage: DrainStage) -> None:
    drain_stage.connect()
    drain_stage.fill(drain_stage.connect(RECEIVE_BUFFER))  # does not read
    drain_stage.loop.reactor.timers.call_at(drain_stage.loop.reactor.clock(), drain_stage.loop.reactor.stop)
    began = time.monotonic()
    drain_stage.drain()
    assert time.monotonic() - began < 5
    assert drain_stage.loop.snapshot().ended == {"drained": 1, "cut_off": 1}
