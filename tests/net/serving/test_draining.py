"""The end of a server: nothing that the kernel had accepted goes unanswered. Here the clock is the real one."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo.core.limits import Limits
from halloo.net.serving.accepting import ACCEPTS, Post
from halloo.net.serving.draining import drain
from halloo.net.serving.poller import Poller
from halloo.net.serving.tcp import Loop
from tests.stepping import FLOOD, MAKERS, pattern

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
        self.loop = Loop([Post(self.listener)], poller=poller, limits=limits)
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
        while not self.loop.table.debts:
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
    assert seen.lost_bytes >= len(next(iter(house.loop.table.debts.values())))


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
