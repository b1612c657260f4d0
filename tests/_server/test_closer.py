"""How connections close: by the client, by the server, or at a deadline."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import Limits
from halloo._server.acceptor import MAX_ACCEPTS, Endpoint
from halloo._server.closer import LINGER_TIMEOUT, drain
from halloo._server.connections import ECHOING, LINGERING
from halloo._server.poller import Poller
from halloo._server.tcp import Loop
from tests.stepping import FLOOD, MAKERS, RecordingObserver, Stage, ended, pattern, reset

SMALL_BUFFER = 16 * 1024  # bytes of the kernel's buffer, so that a write is soon pending


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as cleanup:
        yield lambda *limits, **options: cleanup.enter_context(Stage(*limits, poller=request.param(), **options))


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def recorder() -> RecordingObserver:
    return RecordingObserver()


def only_connection(stage: Stage) -> int:
    """Return the descriptor of the one connection."""
    [fd] = stage.loop.table.in_state(ECHOING)
    return fd


# Closed by the client.


def test_after_the_client_s_fin_it_gets_ours_and_nothing_is_counted(stage: Stage) -> None:
    client = stage.connect()
    client.shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.snapshot.open == 0)
    assert ended(client)
    assert (stage.snapshot.ended, stage.snapshot.errors) == ({}, {})


def test_a_close_by_the_client_is_reported_without_a_reason(
    make_stage: Callable[..., Stage], recorder: RecordingObserver
) -> None:
    stage = make_stage(observer=recorder)
    stage.connect().shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.snapshot.open == 0)
    assert recorder.events[-1] == ("closed", "")


def test_a_failed_connection_is_reported_with_its_error(
    make_stage: Callable[..., Stage], recorder: RecordingObserver
) -> None:
    stage = make_stage(observer=recorder)
    reset(stage.connect())
    stage.until(lambda: stage.snapshot.open == 0)
    assert recorder.events[-1] == ("closed", "ECONNRESET")


# Closed by the server.


def test_when_the_server_closes_the_client_gets_fin_and_it_is_counted(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    assert ended(client)
    assert stage.snapshot.ended == {"idle_timeout": 1}


def test_input_after_our_fin_is_discarded(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    client.send(pattern(100_000))
    stage.settle()
    assert ended(client)  # a reset would raise
    assert stage.snapshot.received_bytes == 0


def test_input_after_our_fin_does_not_destroy_earlier_answers(stage: Stage) -> None:
    client = stage.connect()
    client.send(b"hello")
    stage.until(lambda: stage.snapshot.sent_bytes == 5)
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    client.send(b"more")
    stage.settle()
    assert stage.read(client) == b"hello"


def test_lingering_ends_at_the_client_s_fin(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    client.close()
    stage.until(lambda: stage.snapshot.open == 0)


def test_lingering_ends_after_a_timeout(stage: Stage) -> None:
    stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    stage.elapse_in_steps(LINGER_TIMEOUT - 0.25)
    assert stage.snapshot.open == 1
    stage.elapse_in_steps(0.25)
    assert stage.snapshot.open == 0
    assert stage.snapshot.ended == {"idle_timeout": 1}  # once


def test_lingering_ends_after_a_timeout_though_the_client_keeps_sending(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    for _ in range(int(LINGER_TIMEOUT / 0.25)):
        client.send(b"and another thing")
        stage.elapse_in_steps(0.25)
    assert stage.snapshot.open == 0


def test_lingering_ends_at_the_client_s_reset(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    reset(client)
    stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.errors == {}


def test_a_client_that_has_reset_already_can_be_disconnected(stage: Stage) -> None:
    client = stage.connect()
    fd = only_connection(stage)
    reset(client)
    stage.loop.closer.disconnect(fd, "idle_timeout")
    stage.until(lambda: stage.snapshot.open == 0)


def test_a_pending_write_of_a_disconnected_client_is_counted_as_lost(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(buffer=SMALL_BUFFER)
    stage.flood(stage.connect(buffer=SMALL_BUFFER))
    [(fd, pending)] = stage.loop.table.pending_writes.items()
    stage.loop.closer.disconnect(fd, "max_lifetime")
    assert (stage.snapshot.lost_bytes, stage.snapshot.pending_write_bytes) == (len(pending), 0)
    assert stage.loop.table.pending_writes == {}


def test_a_lingering_connection_keeps_no_turn_busy(stage: Stage) -> None:
    stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    stage.settle()
    assert stage.loop.poller.poll(0) == []


def test_the_server_s_reason_is_reported_whatever_the_client_does_after(
    make_stage: Callable[..., Stage], recorder: RecordingObserver
) -> None:
    stage = make_stage(observer=recorder)
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "max_lifetime")
    client.close()
    stage.until(lambda: stage.snapshot.open == 0)
    assert recorder.events[-1] == ("closed", "max_lifetime")


# Deadlines.


def test_a_connection_that_misses_its_deadline_is_closed_and_counted(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.set_deadline(only_connection(stage), 5, "handshake_timeout")
    stage.elapse(4)
    assert stage.snapshot.open == 1
    stage.elapse(1)
    assert ended(client)
    assert stage.snapshot.ended == {"handshake_timeout": 1}


def test_a_cleared_deadline_closes_nothing(stage: Stage) -> None:
    stage.connect()
    fd = only_connection(stage)
    stage.loop.closer.set_deadline(fd, 5, "handshake_timeout")
    stage.loop.closer.clear_deadline(fd)
    stage.elapse(6)
    assert stage.snapshot.open == 1


def test_a_deadline_ends_with_its_connection(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.set_deadline(only_connection(stage), 5, "handshake_timeout")
    client.close()
    stage.until(lambda: stage.snapshot.open == 0)
    newcomer = stage.connect()
    stage.elapse(6)
    assert stage.echo(newcomer, b"hello") == b"hello"


def test_each_connection_has_its_own_deadline(stage: Stage) -> None:
    stage.connect()
    stage.loop.closer.set_deadline(only_connection(stage), 5, "handshake_timeout")
    first = only_connection(stage)
    stage.connect()
    [second] = set(stage.loop.table.in_state(ECHOING)) - {first}
    stage.elapse(3)
    stage.loop.closer.set_deadline(second, 5, "handshake_timeout")
    stage.elapse(2)
    assert stage.loop.table.in_state(ECHOING) == [second]
    stage.elapse(3)
    assert stage.snapshot.ended == {"handshake_timeout": 2}


def test_an_earlier_deadline_set_after_a_later_one_is_kept(stage: Stage) -> None:
    stage.connect()
    stage.loop.closer.set_deadline(only_connection(stage), 60, "handshake_timeout")
    first = only_connection(stage)
    stage.connect()
    [second] = set(stage.loop.table.in_state(ECHOING)) - {first}
    stage.loop.closer.set_deadline(second, 5, "handshake_timeout")
    stage.elapse(5)
    assert stage.loop.table.in_state(ECHOING) == [first]


def test_many_cleared_deadlines_leave_few_timers(stage: Stage) -> None:
    stage.connect()
    fd = only_connection(stage)
    for _ in range(1000):
        stage.loop.closer.set_deadline(fd, 5, "handshake_timeout")
        stage.loop.closer.clear_deadline(fd)
    assert len(list(stage.loop.timers.pop_due(stage.clock.now + 5))) < 10


def test_a_limit_disconnects_a_client_once(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Limits(idle_timeout=0.5))
    stage.connect()
    stage.elapse_in_steps(1.2)
    assert stage.loop.table.in_state(LINGERING)
    assert stage.snapshot.ended == {"idle_timeout": 1}


TIMEOUT = 20  # seconds without a byte, after which the test fails
DRAIN_TIME = 10.0  # seconds of draining
MIB = 1024 * 1024
RECEIVE_BUFFER = 16 * 1024  # bytes that a client's kernel may hold: fixed, since the kernel would grow it


class DrainStage:
    """A loop on a listener, and blocking clients."""

    def __init__(self, poller: Poller, cleanup: ExitStack, limits: Limits | None = None) -> None:
        self._cleanup = cleanup
        self.listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        self.listener.setblocking(False)
        self.loop = Loop([Endpoint(self.listener)], poller=poller, limits=limits)
        self._closed = False
        cleanup.callback(self.shutdown)

    def dial(self, buffer: int | None = None) -> socket.socket:
        client = self._cleanup.enter_context(socket.socket())
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(TIMEOUT)
        client.connect(self.listener.getsockname())
        return client

    def connect(self, buffer: int | None = None) -> socket.socket:
        client = self.dial(buffer)
        client.sendall(b"hello")
        before = self.loop.snapshot().sent_bytes
        while self.loop.snapshot().sent_bytes == before:
            self.loop.turn(1)
        assert client.recv(5) == b"hello"
        return client

    def fill(self, client: socket.socket) -> int:
        """Send from a client that does not read, until a write is pending; return how much it has sent."""
        data, sent = pattern(FLOOD), 0
        client.setblocking(False)
        while not self.loop.table.pending_writes:
            try:
                sent += client.send(data[sent : sent + MIB])
            except BlockingIOError:
                self.loop.turn(1)
        client.settimeout(TIMEOUT)
        return sent

    def drain(self, seconds: float = DRAIN_TIME) -> None:
        drain(self.loop, seconds, close_listener=self.listener.close)

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self.loop.shutdown()


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


def receive_all(client: socket.socket) -> bytes:
    pieces = bytearray()
    while piece := client.recv(MIB):
        pieces += piece
    return bytes(pieces)


# Draining.


def test_drain_without_clients_returns_at_once(drain_stage: DrainStage) -> None:
    began = time.monotonic()
    drain_stage.drain()
    assert time.monotonic() - began < 1


def test_drain_answers_data_not_read_yet(drain_stage: DrainStage, receive_in_thread: ReceiveInThread) -> None:
    client = drain_stage.connect()
    client.sendall(pattern(100_000))
    got = receive_in_thread(client)
    drain_stage.drain()
    assert got() == pattern(100_000)


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
    assert got() == pattern(FLOOD)[:sent]


def test_drain_answers_a_client_that_sends_on_and_then_ends(
    drain_stage: DrainStage, receive_in_thread: ReceiveInThread, run_in_thread: RunInThread
) -> None:
    client, data = drain_stage.connect(), pattern(4 * MIB)

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
    client.sendall(pattern(8_000))
    got = receive_in_thread(client)
    drain_stage.drain()
    assert got() == pattern(8_000)


def test_drain_closes_and_counts_an_idle_client(drain_stage: DrainStage, receive_in_thread: ReceiveInThread) -> None:
    got = receive_in_thread(drain_stage.connect())
    drain_stage.drain()
    assert got() == b""
    assert drain_stage.loop.snapshot().ended == {"drained": 1}
    assert drain_stage.loop.snapshot().open == 0


def test_drain_accepts_no_client_after_the_queue_is_empty(drain_stage: DrainStage) -> None:
    address = drain_stage.listener.getsockname()
    drain_stage.drain()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, TIMEOUT)


def test_drain_closes_the_listener_once_the_queue_is_empty(drain_stage: DrainStage) -> None:
    for _ in range(3):
        drain_stage.dial().close()
    events: list[tuple[int, int]] = []

    def closed() -> None:
        events.append((drain_stage.loop.snapshot().accepted, drain_stage.loop.snapshot().open))
        drain_stage.listener.close()

    drain(drain_stage.loop, DRAIN_TIME, close_listener=closed)
    assert events == [(3, 3)]


# Cut off.


def test_a_client_that_sends_past_the_deadline_is_cut_off_and_counted(
    drain_stage: DrainStage, run_in_thread: RunInThread
) -> None:
    client = drain_stage.connect()
    client.settimeout(0.05)
    over = threading.Event()

    def keep_sending() -> None:
        while not over.is_set():
            try:
                client.sendall(b"and another thing\n")
                client.recv(1000)
            except TimeoutError:
                continue  # a busy machine; keep sending
            except OSError:
                return

    run_in_thread(keep_sending)
    drain_stage.drain(0.6)
    over.set()
    assert drain_stage.loop.snapshot().ended == {"cut_off": 1}


def test_pending_writes_at_the_deadline_are_counted_as_lost(drain_stage: DrainStage) -> None:
    drain_stage.fill(drain_stage.connect(RECEIVE_BUFFER))
    drain_stage.drain(0.3)
    seen = drain_stage.loop.snapshot()
    assert seen.ended == {"cut_off": 1}
    assert seen.lost_bytes >= len(next(iter(drain_stage.loop.table.pending_writes.values())))


def test_drain_keeps_its_deadline(drain_stage: DrainStage) -> None:
    drain_stage.connect()  # idle, and does not close after our FIN
    began = time.monotonic()
    drain_stage.drain(0.5)
    assert 0.4 <= time.monotonic() - began < 2


def test_a_stop_during_drain_ends_it_at_once(drain_stage: DrainStage, run_in_thread: RunInThread) -> None:
    client = drain_stage.connect()
    client.sendall(b"x")
    began = time.monotonic()

    def interrupt() -> None:
        client.recv(1)
        drain_stage.loop.stop()

    run_in_thread(interrupt)
    drain_stage.drain()
    assert time.monotonic() - began < 5
    assert drain_stage.loop.snapshot().ended == {"cut_off": 1}
