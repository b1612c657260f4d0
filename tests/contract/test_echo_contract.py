"""The contract: what every echo keeps, whatever it is made of.

Knows sockets. Knows no implementation: `echoes` names them, and the asyncio reference among them proves the contract.
"""

import hashlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cache, partial

import psutil
import pytest

from halloo.testing import every_split
from tests.contract.echoes import ECHOES, INAPPLICABLE, PROGRAMS, SEVERAL, Connect

KIB, MIB = 1024, 1024 * 1024
FLOOD = 192 * MIB  # far more than the kernel keeps for the two of them
GROWTH = 16 * MIB  # what one client may cost a whole process; with no pushing back it would be the flood
PATIENCE = 20  # seconds in which what has to happen does
TURNS = 100  # of a server without room after which a flood has been stopped: the kernel holds less than it could read
QUIET = 0.1  # seconds without room after which it is taken to have been, where turns cannot be counted

Start = Callable[[], AbstractContextManager[Connect]]
Flood = Callable[..., int]  # `flooded`, without its observer


@pytest.fixture(scope="module", params=[*ECHOES, *PROGRAMS])
def echo(request: pytest.FixtureRequest) -> str:
    """Name an echo."""
    return str(request.param)


@pytest.fixture(scope="module")
def start(echo: str) -> Iterator[Start]:
    """Give what starts the echo: anew for each test, or, where it is a program, once for all of them."""
    if echo in ECHOES:
        yield ECHOES[echo]
    else:
        with PROGRAMS[echo]() as connect:
            yield lambda: nullcontext(connect)


@pytest.fixture
def connect(request: pytest.FixtureRequest, echo: str, start: Start) -> Iterator[Connect]:
    """Start an echo, and give what makes clients of it, each closed after the test."""
    if reason := INAPPLICABLE.get((request.node.originalname, echo)):
        pytest.skip(reason)
    with start() as connect, ExitStack() as clients:
        yield lambda: clients.enter_context(connect())


@pytest.fixture
def client(connect: Connect) -> socket.socket:
    return connect()


@pytest.fixture
def flood(echo: str, connect: Connect) -> Flood:
    """Give `flooded`, with a client beside it whose answers tell that the server takes turns."""
    return partial(flooded, None if echo in SEVERAL else connect())


@pytest.fixture
def processes() -> list[psutil.Process]:
    """Name the processes of the echo, whichever it is: this one and its children."""
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


# Bytes come back.


def test_a_short_message_comes_back(client: socket.socket) -> None:
    client.sendall(b"hello\n")
    assert received(client, 6) == b"hello\n"


def test_a_message_without_a_newline_comes_back(client: socket.socket) -> None:
    client.sendall(b"no newline here")
    assert received(client, 15) == b"no newline here"


def test_bytes_of_every_value_come_back(client: socket.socket) -> None:
    client.sendall(bytes(range(256)))
    assert received(client, 256) == bytes(range(256))


def test_nothing_comes_unasked(connect: Connect) -> None:
    silent = connect()
    assert_served(connect())
    silent.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent.recv(1)


def test_nothing_is_added(client: socket.socket) -> None:
    client.sendall(b"abc")
    client.shutdown(socket.SHUT_WR)
    assert to_the_end(client) == b"abc"


def test_many_messages_on_one_connection_come_back(client: socket.socket) -> None:
    for number in range(300):
        assert_served(client, b"message %d\n" % number)


def test_a_message_sent_byte_by_byte_comes_back(client: socket.socket) -> None:
    for byte in payload(300):
        client.sendall(bytes([byte]))
    assert received(client, 300) == payload(300)


def test_a_message_comes_back_however_it_is_split(client: socket.socket) -> None:
    for pieces in every_split("gr\u00fc\u00df dich\r\n".encode()):
        for piece in pieces:
            client.sendall(piece)
        assert received(client, sum(map(len, pieces))) == b"".join(pieces)


def test_messages_sent_ahead_of_their_answers_come_back(client: socket.socket) -> None:
    data = payload(64 * 200)  # a Unix socket holds fewer than three hundred of them, however small
    for start in range(0, len(data), 64):
        client.sendall(data[start : start + 64])
    assert_same(received(client, len(data)), data)


@pytest.mark.parametrize("piece", [1, 64, 997, 1460, 64 * KIB])
def test_pieces_of_any_size_come_back(client: socket.socket, piece: int) -> None:
    data = payload(min(piece * 1000, MIB))
    assert_same(exchanged(client, data, piece), data)


def test_a_mebibyte_comes_back_while_it_is_sent(client: socket.socket) -> None:
    assert_same(exchanged(client, payload(MIB)), payload(MIB))


# The end: everything first.


def test_the_end_comes_after_the_answer(client: socket.socket) -> None:
    client.sendall(b"bye\n")
    assert received(client, 4) == b"bye\n"
    client.shutdown(socket.SHUT_WR)
    assert to_the_end(client) == b""


def test_an_end_with_nothing_before_it_is_answered(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert to_the_end(client) == b""


def test_data_and_end_in_one_burst_are_answered(client: socket.socket) -> None:
    client.sendall(payload(64 * KIB))
    client.shutdown(socket.SHUT_WR)
    assert_same(to_the_end(client), payload(64 * KIB))


def test_sixteen_mebibytes_come_back_before_the_end(client: socket.socket) -> None:
    assert_same(exchanged(client, payload(16 * MIB)), payload(16 * MIB))


def test_all_that_was_queued_comes_back_when_reading_begins_after_the_end_was_sent(
    client: socket.socket, flood: Flood
) -> None:
    data = payload(16 * MIB)
    sent = flood(client, data)
    client.shutdown(socket.SHUT_WR)
    assert_same(to_the_end(client), data[:sent])


def test_a_client_that_stalls_goes_on_where_it_was(client: socket.socket, flood: Flood) -> None:
    data = payload(16 * MIB)
    sent = flood(client, data)
    assert_same(received(client, sent), data[:sent])
    assert_served(client)


# Many at once.


def test_five_clients_at_once_get_each_its_own(connect: Connect) -> None:
    clients = [connect() for _ in range(5)]
    for turn in range(20):
        for number, client in enumerate(clients):
            client.sendall(b"client %d, turn %02d\n" % (number, turn))
    for number, client in enumerate(clients):
        expected = b"".join(b"client %d, turn %02d\n" % (number, turn) for turn in range(20))
        assert received(client, len(expected)) == expected


def test_a_silent_client_holds_nobody_up(connect: Connect) -> None:
    connect()
    assert_served(connect())


def test_the_next_client_is_served_after_one_has_left(connect: Connect) -> None:
    for _ in range(3):
        with connect() as client:
            assert_served(client)


def test_a_client_that_never_reads_harms_nobody(connect: Connect, flood: Flood) -> None:
    before = connect()
    flood(connect(), payload(MIB))
    for client in (before, *(connect() for _ in range(5))):
        assert_served(client)


def test_a_client_that_never_reads_is_pushed_back(client: socket.socket, flood: Flood) -> None:
    assert flood(client, payload(MIB), FLOOD) < FLOOD


def test_a_client_that_never_reads_costs_little_memory(
    client: socket.socket, flood: Flood, processes: list[psutil.Process]
) -> None:
    data, before = payload(MIB), resident(processes)
    flood(client, data, FLOOD)
    assert resident(processes) - before < GROWTH


def test_two_hundred_clients_are_held_and_served(connect: Connect) -> None:
    clients = [connect() for _ in range(200)]
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    assert [received(client, len(str(number))) for number, client in enumerate(clients)] == [
        b"%d" % number for number in range(200)
    ]


# Clients that leave badly.


def test_a_reset_amid_a_stream_harms_no_later_client(connect: Connect) -> None:
    for _ in range(10):
        client = connect()
        client.sendall(payload(100_000))
        reset(client)
    assert_served(connect())


def test_a_reset_harms_no_other_stream(connect: Connect, flood: Flood) -> None:
    other, client = connect(), connect()
    sent = flood(other, payload(4 * MIB))
    client.sendall(payload(100_000))
    reset(client)
    assert_same(received(other, sent), payload(4 * MIB)[:sent])


def test_a_client_that_closes_with_its_answer_unread_harms_no_later_one(connect: Connect) -> None:
    for _ in range(10):
        client = connect()
        client.sendall(payload(200_000))
        client.recv(1)
        client.close()
    assert_served(connect())


def test_a_reset_before_it_is_accepted_harms_no_later_client(connect: Connect) -> None:
    for _ in range(100):
        reset(connect())
    assert_served(connect())


def test_a_reset_while_an_answer_is_owed_harms_no_later_client(connect: Connect, flood: Flood) -> None:
    client = connect()
    flood(client, payload(16 * MIB))
    reset(client)
    assert_served(connect())


def test_a_reset_after_the_end_was_sent_harms_no_later_client(connect: Connect, flood: Flood) -> None:
    client = connect()
    flood(client, payload(16 * MIB))
    client.shutdown(socket.SHUT_WR)
    reset(client)
    assert_served(connect())


def test_clients_that_come_and_go_leave_no_descriptors(connect: Connect, processes: list[psutil.Process]) -> None:
    observer = connect()
    assert_served(observer)
    before = descriptors(processes)
    for _ in range(300):
        connect().close()
    assert_settles(observer, lambda: descriptors(processes) <= before)


def test_clients_that_send_and_reset_leave_no_descriptors(connect: Connect, processes: list[psutil.Process]) -> None:
    observer = connect()
    assert_served(observer)
    before = descriptors(processes)
    for _ in range(100):
        client = connect()
        client.sendall(payload(2000))
        reset(client)
    assert_settles(observer, lambda: descriptors(processes) <= before)


def test_the_bytes_around_an_urgent_one_come_back(client: socket.socket) -> None:
    client.sendall(b"a")
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b"b")
    client.shutdown(socket.SHUT_WR)
    assert to_the_end(client).replace(b"!", b"") == b"ab"  # whether the urgent one is in line is left to the server


# What the tests are made of.


@cache
def payload(size: int) -> bytes:
    """Make bytes that look like chance, and are the same in every run: no piece of them is like another."""
    return hashlib.shake_128(b"halloo").digest(size)


def received(client: socket.socket, size: int) -> bytes:
    """Receive so many bytes, or fewer where the stream ends before."""
    pieces = bytearray()
    while len(pieces) < size and (piece := client.recv(min(size - len(pieces), MIB))):
        pieces += piece
    return bytes(pieces)


def to_the_end(client: socket.socket) -> bytes:
    """Receive until the end of the stream."""
    pieces = bytearray()
    while piece := client.recv(MIB):
        pieces += piece
    return bytes(pieces)


def exchanged(client: socket.socket, data: bytes, piece: int = MIB) -> bytes:
    """Send the data in pieces and then the end, and receive all the while."""

    def send() -> None:
        for start in range(0, len(data), piece):
            client.sendall(data[start : start + piece])
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return to_the_end(client)
    finally:
        sender.join()


def flooded(observer: socket.socket | None, client: socket.socket, data: bytes, limit: int | None = None) -> int:
    """Send the data, over and over where the limit is beyond it, until no more is taken; say how much was."""
    sent, limit, turns = 0, limit or len(data), 0
    patience = client.gettimeout()
    client.setblocking(False)
    view = memoryview(data)
    while sent < limit and turns < TURNS:
        try:
            sent += client.send(view[sent % len(data) :])
            turns = 0
        except BlockingIOError:
            turns += taken(observer, client)
    client.settimeout(patience)
    return sent


def taken(observer: socket.socket | None, client: socket.socket) -> int:
    """Let the server take a turn, made sure of by an echo; without a observer, give it the time for all of them."""
    if observer is None:
        return 0 if select.select([], [client], [], QUIET)[1] else TURNS
    assert_served(observer)
    return 1


def reset(client: socket.socket) -> None:
    """End the connection with a reset: close(2) sends one when it is told to linger for no time."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
    client.close()


def resident(processes: list[psutil.Process]) -> int:
    """Count the bytes of memory that they have."""
    return sum(process.memory_info().rss for process in processes)


def descriptors(processes: list[psutil.Process]) -> int:
    """Count what they have open."""
    return sum(map(opened, processes))


def opened(process: psutil.Process) -> int:
    return process.num_fds() if hasattr(process, "num_fds") else process.num_handles()  # type: ignore[attr-defined] # Windows


def assert_served(client: socket.socket, message: bytes = b"still there?\n") -> None:
    client.sendall(message)
    assert received(client, len(message)) == message


def assert_settles(observer: socket.socket, settled: Callable[[], bool]) -> None:
    """Let the server take turns, each made sure of by an echo, until it has."""
    deadline = time.monotonic() + PATIENCE
    while not settled():
        assert time.monotonic() < deadline, "it never did"
        assert_served(observer)


def assert_same(came: bytes, sent: bytes) -> None:
    """Compare, and say where they part: pytest would take minutes over so many bytes."""
    if came != sent:
        parting = next((at for at, (a, b) in enumerate(zip(came, sent, strict=False)) if a != b), len(came))
        pytest.fail(f"{len(came)} of {len(sent)} bytes came back, the same up to byte {parting}")
