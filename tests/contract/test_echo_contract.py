"""The contract: what every echo guarantees.

It does not depend on an implementation: `echoes` lists them, and the asyncio reference among them proves the contract.
"""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial

import psutil
import pytest

from halloo.testing import every_split
from tests.contract.echoes import ECHOES, VARIANTS, Connect
from tests.peers import assert_same, payload, receive_all, reset

KIB, MIB = 1024, 1024 * 1024
FLOOD = 192 * MIB  # far more than the kernel buffers for both ends
MAX_GROWTH = 16 * MIB  # what one client may cost a whole process; with no pushing back it would be the flood
TIMEOUT = 20  # seconds
MAX_FULL_TURNS = (
    100  # of a server without room after which a flood has been stopped: the kernel holds less than it could read
)
FULL_TIME = 0.1  # seconds without room after which it is taken to have been, where turns cannot be counted

Start = Callable[[], AbstractContextManager[Connect]]
Flood = Callable[..., int]  # `flood_connection`, without its observer


@pytest.fixture(scope="module", params=ECHOES)
def echo(request: pytest.FixtureRequest) -> str:
    """Name an echo."""
    return str(request.param)


@pytest.fixture(scope="module")
def start(echo: str) -> Iterator[Start]:
    """Return what starts the echo: for each test, or once for all of them if it is a separate process."""
    if echo == "workers":
        with ECHOES[echo]() as connect:
            yield lambda: nullcontext(connect)
    else:
        yield (ECHOES | VARIANTS)[echo]


@pytest.fixture
def connect(start: Start) -> Iterator[Connect]:
    """Start an echo, and make clients of it, closed after the test."""
    with start() as connect, ExitStack() as clients:
        yield lambda: clients.enter_context(connect())


@pytest.fixture
def client(connect: Connect) -> socket.socket:
    return connect()


@pytest.fixture
def flood(echo: str, connect: Connect) -> Flood:
    """Return `flood_connection` with a second client whose answers show that the server takes turns, if it is one."""
    return partial(flood_connection, None if "workers" in echo else connect())


@pytest.fixture
def processes() -> list[psutil.Process]:
    """The processes of the echo: this one and its children."""
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


# Echo.


def test_bytes_of_every_value_are_echoed(client: socket.socket) -> None:
    client.sendall(bytes(range(256)))
    assert receive(client, 256) == bytes(range(256))


def test_nothing_is_sent_unasked(connect: Connect) -> None:
    silent = connect()
    assert_served(connect())
    silent.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent.recv(1)


def test_many_messages_on_one_connection_are_echoed(client: socket.socket) -> None:
    for number in range(300):
        assert_served(client, b"message %d\n" % number)


def test_a_message_is_echoed_however_it_is_split(client: socket.socket) -> None:
    for pieces in every_split("gr\u00fc\u00df dich\r\n".encode()):
        for piece in pieces:
            client.sendall(piece)
        assert receive(client, sum(map(len, pieces))) == b"".join(pieces)


def test_pipelined_messages_are_echoed(client: socket.socket) -> None:
    data = payload(64 * 200)  # a Unix socket holds fewer than three hundred of them, however small
    for start in range(0, len(data), 64):
        client.sendall(data[start : start + 64])
    assert_same(receive(client, len(data)), data)


@pytest.mark.parametrize("piece", [1, 1460, 64 * KIB])
def test_pieces_of_any_size_are_echoed(client: socket.socket, piece: int) -> None:
    data = payload(min(piece * 1000, MIB))
    assert_same(exchange(client, data, piece), data)


# The end of a stream: everything is echoed first.


def test_fin_without_data_is_answered_and_nothing_is_added(connect: Connect) -> None:
    for message in (b"", b"bye\n"):
        client = connect()
        assert_served(client, message)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


def test_sixteen_mebibytes_are_echoed_before_fin(client: socket.socket) -> None:
    assert_same(exchange(client, payload(16 * MIB)), payload(16 * MIB))


def test_all_queued_data_is_echoed_when_reading_begins_after_fin_was_sent(client: socket.socket, flood: Flood) -> None:
    data = payload(16 * MIB)
    sent = flood(client, data)
    client.shutdown(socket.SHUT_WR)
    assert_same(receive_all(client), data[:sent])


def test_a_client_that_stalls_continues_where_it_stopped(client: socket.socket, flood: Flood) -> None:
    data = payload(16 * MIB)
    sent = flood(client, data)
    assert_same(receive(client, sent), data[:sent])
    assert_served(client)


# Many clients.


def test_five_clients_at_once_each_get_their_own_data(connect: Connect) -> None:
    clients = [connect() for _ in range(5)]
    for turn in range(20):
        for number, client in enumerate(clients):
            client.sendall(b"client %d, turn %02d\n" % (number, turn))
    for number, client in enumerate(clients):
        expected = b"".join(b"client %d, turn %02d\n" % (number, turn) for turn in range(20))
        assert receive(client, len(expected)) == expected


def test_a_silent_client_delays_no_other(connect: Connect) -> None:
    connect()
    assert_served(connect())


def test_a_client_that_never_reads_does_not_affect_others(connect: Connect, flood: Flood) -> None:
    before = connect()
    flood(connect(), payload(MIB))
    for client in (before, *(connect() for _ in range(5))):
        assert_served(client)


@pytest.mark.conformance
def test_a_client_that_never_reads_meets_backpressure_and_costs_little_memory(
    client: socket.socket, flood: Flood, processes: list[psutil.Process]
) -> None:
    data, before = payload(MIB), resident(processes)
    assert flood(client, data, FLOOD) < FLOOD
    assert resident(processes) - before < MAX_GROWTH


def test_two_hundred_clients_are_served(connect: Connect) -> None:
    clients = [connect() for _ in range(200)]
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    assert [receive(client, len(str(number))) for number, client in enumerate(clients)] == [
        b"%d" % number for number in range(200)
    ]


# Clients that close early.


def test_a_reset_does_not_affect_another_stream(connect: Connect, flood: Flood) -> None:
    other, client = connect(), connect()
    sent = flood(other, payload(4 * MIB))
    client.sendall(payload(100_000))
    reset(client)
    assert_same(receive(other, sent), payload(4 * MIB)[:sent])


def test_a_client_that_closes_with_its_answer_unread_does_not_affect_a_later_one(connect: Connect) -> None:
    for _ in range(10):
        client = connect()
        client.sendall(payload(200_000))
        client.recv(1)
        client.close()
    assert_served(connect())


def test_a_reset_before_accept_does_not_affect_a_later_client(connect: Connect) -> None:
    for _ in range(100):
        reset(connect())
    assert_served(connect())


@pytest.mark.parametrize("fin", [False, True], ids=["", "after FIN"])
def test_a_reset_with_a_pending_answer_does_not_affect_a_later_client(
    connect: Connect, flood: Flood, fin: bool
) -> None:
    client = connect()
    flood(client, payload(16 * MIB))
    if fin:
        client.shutdown(socket.SHUT_WR)
    reset(client)
    assert_served(connect())


def test_clients_that_close_or_send_and_reset_leave_no_descriptors(
    connect: Connect, processes: list[psutil.Process]
) -> None:
    observer = connect()
    assert_served(observer)
    before = descriptors(processes)
    for _ in range(50):
        connect().close()
        client = connect()
        client.sendall(payload(2000))
        reset(client)
    wait_until(observer, lambda: descriptors(processes) <= before)


def test_urgent_bytes_are_echoed_in_their_places(echo: str, client: socket.socket) -> None:
    if echo == "tls":
        pytest.skip("urgent data is TCP's, and a record knows none")
    for number in range(20):
        client.sendall(b"%d" % number)
        client.send(b"!", socket.MSG_OOB)
    client.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"".join(b"%d!" % number for number in range(20))


@pytest.mark.parametrize("echo", VARIANTS, indirect=True)
def test_a_variant_keeps_the_core_of_the_contract(connect: Connect, flood: Flood) -> None:
    test_a_message_is_echoed_however_it_is_split(connect())
    test_pieces_of_any_size_are_echoed(connect(), 1460)
    test_all_queued_data_is_echoed_when_reading_begins_after_fin_was_sent(connect(), flood)
    test_five_clients_at_once_each_get_their_own_data(connect)
    test_a_reset_does_not_affect_another_stream(connect, flood)
    test_a_client_that_closes_with_its_answer_unread_does_not_affect_a_later_one(connect)


# Helpers.


def receive(client: socket.socket, size: int) -> bytes:
    """Receive that many bytes, or fewer if the stream ends before."""
    pieces = bytearray()
    while len(pieces) < size and (piece := client.recv(min(size - len(pieces), MIB))):
        pieces += piece
    return bytes(pieces)


def exchange(client: socket.socket, data: bytes, piece: int = MIB) -> bytes:
    """Send the data in pieces and then FIN, and receive at the same time."""

    def send() -> None:
        for start in range(0, len(data), piece):
            client.sendall(data[start : start + piece])
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return receive_all(client)
    finally:
        sender.join()


def flood_connection(
    observer: socket.socket | None, client: socket.socket, data: bytes, limit: int | None = None
) -> int:
    """Send the data, repeatedly up to the limit, until no more is taken; return how much was."""
    sent, limit, turns = 0, limit or len(data), 0
    patience = client.gettimeout()
    client.setblocking(False)
    view = memoryview(data)
    while sent < limit and turns < MAX_FULL_TURNS:
        try:
            sent += client.send(view[sent % len(data) :])
            turns = 0
        except BlockingIOError:
            turns += let_server_turn(observer, client)
    client.settimeout(patience)
    return sent


def let_server_turn(observer: socket.socket | None, client: socket.socket) -> int:
    """Let the server take a turn, confirmed by an echo; without an observer, wait long enough for all turns."""
    if observer is None:
        return 0 if select.select([], [client], [], FULL_TIME)[1] else MAX_FULL_TURNS
    assert_served(observer)
    return 1


def resident(processes: list[psutil.Process]) -> int:
    """Return the resident memory of the processes, in bytes."""
    return sum(process.memory_info().rss for process in processes)


def descriptors(processes: list[psutil.Process]) -> int:
    """Count the open descriptors of the processes."""
    return sum(map(opened, processes))


def opened(process: psutil.Process) -> int:
    return process.num_fds() if hasattr(process, "num_fds") else process.num_handles()  # type: ignore[attr-defined] # Windows


def assert_served(client: socket.socket, message: bytes = b"still there?\n") -> None:
    client.sendall(message)
    assert receive(client, len(message)) == message


def wait_until(observer: socket.socket, settled: Callable[[], bool]) -> None:
    """Let the server take turns, each confirmed by an echo, until the condition holds."""
    deadline = time.monotonic() + TIMEOUT
    while not settled():
        assert time.monotonic() < deadline, "the condition never held"
        assert_served(observer)
