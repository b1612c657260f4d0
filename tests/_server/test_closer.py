"""How connections end: at the client's wish, at ours, or at a deadline."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import Limits
from halloo._server.acceptor import ACCEPTS, Endpoint
from halloo._server.closer import GOODBYE, drain
from halloo._server.connections import ECHOING, LINGERING
from halloo._server.poller import Poller
from halloo._server.tcp import Loop
from tests.stepping import FLOOD, MAKERS, Notes, Stage, ended, pattern, reset

SMALL = 16 * 1024  # bytes of a kernel's buffer, so that a debt is soon there


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as cleanup:
        yield lambda *limits, **options: cleanup.enter_context(Stage(*limits, poller=request.param(), **options))


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def notes() -> Notes:
    return Notes()


def only(stage: Stage) -> int:
    """Give the one connection's number."""
    [fd] = stage.loop.table.in_state(ECHOING)
    return fd


# At the client's wish.


def test_at_the_client_s_end_it_gets_ours_and_nothing_is_counted(stage: Stage) -> None:
    client = stage.arrive()
    client.shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.seen.open == 0)
    assert ended(client)
    assert (stage.seen.ended, stage.seen.errors) == ({}, {})


def test_the_log_is_told_no_reason_for_the_client_s_own_wish(make_stage: Callable[..., Stage], notes: Notes) -> None:
    stage = make_stage(observer=notes)
    stage.arrive().shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.seen.open == 0)
    assert notes.told[-1] == ("closed", "")


def test_the_log_is_told_the_error_of_a_connection_that_broke(make_stage: Callable[..., Stage], notes: Notes) -> None:
    stage = make_stage(observer=notes)
    reset(stage.arrive())
    stage.until(lambda: stage.seen.open == 0)
    assert notes.told[-1] == ("closed", "ECONNRESET")


# At ours.


def test_when_we_end_the_client_gets_our_end_and_it_is_counted(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.closer.end(only(stage), "idle_timeout")
    assert ended(client)
    assert stage.seen.ended == {"idle_timeout": 1}


def test_what_still_comes_after_our_end_is_thrown_away_and_not_answered(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.closer.end(only(stage), "idle_timeout")
    client.send(pattern(100_000))
    stage.settle()
    assert ended(client)  # with a reset, this would have raised
    assert stage.seen.received_bytes == 0


def test_what_was_answered_before_our_end_is_not_destroyed_by_what_comes_after(stage: Stage) -> None:
    client = stage.arrive()
    client.send(b"hello")
    stage.until(lambda: stage.seen.sent_bytes == 5)
    stage.loop.closer.end(only(stage), "idle_timeout")
    client.send(b"more")
    stage.settle()
    assert stage.read(client) == b"hello"


def test_it_is_over_at_the_client_s_own_end(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.closer.end(only(stage), "idle_timeout")
    client.close()
    stage.until(lambda: stage.seen.open == 0)


def test_it_is_over_after_a_while_without_the_client_s_end(stage: Stage) -> None:
    stage.arrive()
    stage.loop.closer.end(only(stage), "idle_timeout")
    stage.pass_slowly(GOODBYE - 0.25)
    assert stage.seen.open == 1
    stage.pass_slowly(0.25)
    assert stage.seen.open == 0
    assert stage.seen.ended == {"idle_timeout": 1}  # once


def test_it_is_over_after_a_while_though_the_client_goes_on_sending(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.closer.end(only(stage), "idle_timeout")
    for _ in range(int(GOODBYE / 0.25)):
        client.send(b"and another thing")
        stage.pass_slowly(0.25)
    assert stage.seen.open == 0


def test_it_is_over_at_the_client_s_reset(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.closer.end(only(stage), "idle_timeout")
    reset(client)
    stage.until(lambda: stage.seen.open == 0)
    assert stage.seen.errors == {}


def test_a_client_that_has_reset_already_can_be_ended(stage: Stage) -> None:
    client = stage.arrive()
    fd = only(stage)
    reset(client)
    stage.loop.closer.end(fd, "idle_timeout")
    stage.until(lambda: stage.seen.open == 0)


def test_a_debt_of_a_connection_that_we_end_is_lost_and_counted(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(buffer=SMALL)
    stage.flood(stage.arrive(buffer=SMALL))
    [(fd, debt)] = stage.loop.table.pending_writes.items()
    stage.loop.closer.end(fd, "max_lifetime")
    assert (stage.seen.lost_bytes, stage.seen.pending_write_bytes) == (len(debt), 0)
    assert stage.loop.table.pending_writes == {}


def test_who_leaves_keeps_no_turn_busy(stage: Stage) -> None:
    stage.arrive()
    stage.loop.closer.end(only(stage), "idle_timeout")
    stage.settle()
    assert stage.loop.poller.poll(0) == []


def test_the_log_is_told_our_reason_whatever_the_client_then_does(
    make_stage: Callable[..., Stage], notes: Notes
) -> None:
    stage = make_stage(observer=notes)
    client = stage.arrive()
    stage.loop.closer.end(only(stage), "max_lifetime")
    client.close()
    stage.until(lambda: stage.seen.open == 0)
    assert notes.told[-1] == ("closed", "max_lifetime")


# Deadlines.


def test_who_meets_no_deadline_is_closed_and_counted(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.closer.set_deadline(only(stage), 5, "handshake_timeout")
    stage.elapse(4)
    assert stage.seen.open == 1
    stage.elapse(1)
    assert ended(client)
    assert stage.seen.ended == {"handshake_timeout": 1}


def test_a_deadline_that_is_lifted_closes_nothing(stage: Stage) -> None:
    stage.arrive()
    fd = only(stage)
    stage.loop.closer.set_deadline(fd, 5, "handshake_timeout")
    stage.loop.closer.clear_deadline(fd)
    stage.elapse(6)
    assert stage.seen.open == 1


def test_a_deadline_ends_with_its_connection(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.closer.set_deadline(only(stage), 5, "handshake_timeout")
    client.close()
    stage.until(lambda: stage.seen.open == 0)
    newcomer = stage.arrive()
    stage.elapse(6)
    assert stage.echo(newcomer, b"hello") == b"hello"


def test_each_has_a_deadline_of_its_own(stage: Stage) -> None:
    stage.arrive()
    stage.loop.closer.set_deadline(only(stage), 5, "handshake_timeout")
    first = only(stage)
    stage.arrive()
    [second] = set(stage.loop.table.in_state(ECHOING)) - {first}
    stage.elapse(3)
    stage.loop.closer.set_deadline(second, 5, "handshake_timeout")
    stage.elapse(2)
    assert stage.loop.table.in_state(ECHOING) == [second]
    stage.elapse(3)
    assert stage.seen.ended == {"handshake_timeout": 2}


def test_a_sooner_deadline_is_kept_though_a_later_one_was_there_before(stage: Stage) -> None:
    stage.arrive()
    stage.loop.closer.set_deadline(only(stage), 60, "handshake_timeout")
    first = only(stage)
    stage.arrive()
    [second] = set(stage.loop.table.in_state(ECHOING)) - {first}
    stage.loop.closer.set_deadline(second, 5, "handshake_timeout")
    stage.elapse(5)
    assert stage.loop.table.in_state(ECHOING) == [first]


def test_many_deadlines_that_are_lifted_leave_few_timers(stage: Stage) -> None:
    stage.arrive()
    fd = only(stage)
    for _ in range(1000):
        stage.loop.closer.set_deadline(fd, 5, "handshake_timeout")
        stage.loop.closer.clear_deadline(fd)
    assert len(list(stage.loop.timers.due(stage.clock.now + 5))) < 10


def test_a_limit_that_has_ended_somebody_does_not_end_him_again(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Limits(idle_timeout=0.5))
    stage.arrive()
    stage.pass_slowly(1.2)
    assert stage.loop.table.in_state(LINGERING)
    assert stage.seen.ended == {"idle_timeout": 1}


PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed
ENOUGH = 10.0  # seconds of draining
MIB = 1024 * 1024
FIXED = 16 * 1024  # bytes that a client's kernel may hold: left to itself it makes room, in time for all that is owed


class House:
    """A loop on a listener, and its clients, which may block."""

    def __init__(self, poller: Poller, cleanup: ExitStack, limits: Limits | None = None) -> None:
        self._cleanup = cleanup
        self.listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        self.listener.setblocking(False)
        self.loop = Loop([Endpoint(self.listener)], poller=poller, limits=limits)
        self._shut = False
        cleanup.callback(self.shut)

    def dial(self, buffer: int | None = None) -> socket.socket:
        client = self._cleanup.enter_context(socket.socket())
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(PATIENCE)
        client.connect(self.listener.getsockname())
        return client

    def arrive(self, buffer: int | None = None) -> socket.socket:
        client = self.dial(buffer)
        client.sendall(b"hello")
        before = self.loop.snapshot().sent_bytes
        while self.loop.snapshot().sent_bytes == before:
            self.loop.turn(1)
        assert client.recv(5) == b"hello"
        return client

    def indebt(self, client: socket.socket) -> int:
        """Have a client send, and not read, until it is owed something; say how much it has sent."""
        data, sent = pattern(FLOOD), 0
        client.setblocking(False)
        while not self.loop.table.pending_writes:
            try:
                sent += client.send(data[sent : sent + MIB])
            except BlockingIOError:
                self.loop.turn(1)
        client.settimeout(PATIENCE)
        return sent

    def drain(self, seconds: float = ENOUGH) -> None:
        drain(self.loop, seconds, closed=self.listener.close)

    def shut(self) -> None:
        if not self._shut:
            self._shut = True
            self.loop.shutdown()


@pytest.fixture(params=MAKERS)
def make_house(request: pytest.FixtureRequest) -> Iterator[Callable[..., House]]:
    with ExitStack() as cleanup:
        yield lambda *limits: House(request.param(), cleanup, *limits)


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house()


@pytest.fixture
def beside() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Run something beside the draining, and see it to its end."""
    threads = []

    def beside(act: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=act, name="beside")
        threads.append(thread)
        thread.start()
        return thread

    yield beside
    for thread in threads:
        thread.join()


@pytest.fixture
def meanwhile(beside: "Beside") -> Callable[[socket.socket], Callable[[], bytes]]:
    """Have a client read to the end and then close, beside the draining; what is given waits for all that it read."""

    def meanwhile(client: socket.socket) -> Callable[[], bytes]:
        got: list[bytes] = []

        def read() -> None:
            with client:
                got.append(to_the_end(client))

        thread = beside(read)

        def all_of_it() -> bytes:
            thread.join()
            return got[0]

        return all_of_it

    return meanwhile


Beside = Callable[[Callable[[], object]], threading.Thread]
Meanwhile = Callable[[socket.socket], Callable[[], bytes]]


def to_the_end(client: socket.socket) -> bytes:
    pieces = bytearray()
    while piece := client.recv(MIB):
        pieces += piece
    return bytes(pieces)


# What is answered.


def test_without_clients_it_is_over_at_once(house: House) -> None:
    began = time.monotonic()
    house.drain()
    assert time.monotonic() - began < 1


def test_what_was_sent_and_not_yet_read_is_answered(house: House, meanwhile: Meanwhile) -> None:
    client = house.arrive()
    client.sendall(pattern(100_000))
    got = meanwhile(client)
    house.drain()
    assert got() == pattern(100_000)


def test_who_waits_in_the_queue_is_answered(house: House) -> None:
    clients = [house.dial() for _ in range(3 * ACCEPTS)]
    for client in clients:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
    house.drain()
    house.shut()
    assert [to_the_end(client) for client in clients] == [b"hello"] * len(clients)


def test_a_slow_reader_gets_everything(house: House, meanwhile: Meanwhile) -> None:
    client = house.arrive()
    sent = house.indebt(client)
    got = meanwhile(client)
    house.drain()
    assert got() == pattern(FLOOD)[:sent]


def test_who_goes_on_sending_and_then_finishes_gets_everything(
    house: House, meanwhile: Meanwhile, beside: Beside
) -> None:
    client, data = house.arrive(), pattern(4 * MIB)

    def send() -> None:
        for start in range(0, len(data), 64 * 1024):
            client.sendall(data[start : start + 64 * 1024])
        client.shutdown(socket.SHUT_WR)

    beside(send)
    got = meanwhile(client)
    house.drain()
    assert got() == data
    assert "cut_off" not in house.loop.snapshot().ended


def test_who_is_limited_to_a_rate_gets_everything(make_house: Callable[..., House], meanwhile: Meanwhile) -> None:
    house = make_house(Limits(rate_limit=10_000))
    client = house.arrive()
    client.sendall(pattern(8_000))
    got = meanwhile(client)
    house.drain()
    assert got() == pattern(8_000)


def test_who_is_quiet_is_sent_an_end_and_counted(house: House, meanwhile: Meanwhile) -> None:
    got = meanwhile(house.arrive())
    house.drain()
    assert got() == b""
    assert house.loop.snapshot().ended == {"drained": 1}
    assert house.loop.snapshot().open == 0


def test_nobody_is_let_in_after_the_queue_is_empty(house: House) -> None:
    address = house.listener.getsockname()
    house.drain()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, PATIENCE)


def test_the_listener_is_closed_as_soon_as_the_queue_is_empty(house: House) -> None:
    for _ in range(3):
        house.dial().close()
    told: list[tuple[int, int]] = []

    def closed() -> None:
        told.append((house.loop.snapshot().accepted, house.loop.snapshot().open))
        house.listener.close()

    drain(house.loop, ENOUGH, closed=closed)
    assert told == [(3, 3)]


# What is cut off.


def test_who_goes_on_sending_beyond_the_deadline_is_cut_off_and_counted(house: House, beside: Beside) -> None:
    client = house.arrive()
    client.settimeout(0.05)
    over = threading.Event()

    def chatter() -> None:
        while not over.is_set():
            try:
                client.sendall(b"and another thing\n")
                client.recv(1000)
            except TimeoutError:
                continue  # a busy machine; it goes on talking all the same
            except OSError:
                return

    beside(chatter)
    house.drain(0.6)
    over.set()
    assert house.loop.snapshot().ended == {"cut_off": 1}


def test_what_a_reader_was_owed_at_the_deadline_is_counted_as_lost(house: House) -> None:
    house.indebt(house.arrive(FIXED))
    house.drain(0.3)
    seen = house.loop.snapshot()
    assert seen.ended == {"cut_off": 1}
    assert seen.lost_bytes >= len(next(iter(house.loop.table.pending_writes.values())))


def test_the_deadline_is_kept(house: House) -> None:
    house.arrive()  # which is quiet, and after our end does not send its own
    began = time.monotonic()
    house.drain(0.5)
    assert 0.4 <= time.monotonic() - began < 2


def test_a_stop_meanwhile_ends_it_at_once(house: House, beside: Beside) -> None:
    client = house.arrive()
    client.sendall(b"x")
    began = time.monotonic()

    def interrupt() -> None:
        client.recv(1)
        house.loop.stop()

    beside(interrupt)
    house.drain()
    assert time.monotonic() - began < 5
    assert house.loop.snapshot().ended == {"cut_off": 1}
