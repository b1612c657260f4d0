"""The contract for datagrams: what every echo of them keeps, whatever it is made of.

Knows sockets. Knows no implementation: `datagram_echoes` names them, and the reference among them proves the contract.
"""

import hashlib
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import cache

import pytest

from tests.contract.datagram_echoes import ECHOES, PROGRAMS, Echo

PATIENCE = 20  # seconds without a datagram after which a client gives up, and its test has failed
ROOM = 65536  # bytes
QUEUE = 4 << 20  # bytes of answers that may wait at a client
WAITING = 32  # datagrams that may be on their way at once, so that no queue of any system overflows
SIZES = [0, 1, 511, 512, 513, 1472, 1473, 8192, 8193, 65507]
UDP_SEGMENT = 103  # of Linux; the socket module does not name it

Start = Callable[[], AbstractContextManager[Echo]]
Connect = Callable[..., socket.socket]

needs_trains = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux sends trains")


@pytest.fixture(scope="module", params=[*ECHOES, *PROGRAMS])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Give what starts the echo: anew for each test, or, where it is a program, once for all of them."""
    if request.param in ECHOES:
        yield ECHOES[request.param]
    else:
        with PROGRAMS[request.param]() as echo:
            yield lambda: nullcontext(echo)


@pytest.fixture
def echo(start: Start) -> Iterator[Echo]:
    with start() as echo:
        yield echo


@pytest.fixture
def connect(echo: Echo) -> Iterator[Connect]:
    """Give what makes clients of the echo, each closed after the test; connected, they hear from nobody else."""
    with ExitStack() as clients:

        def connect(host: str = echo.hosts[0]) -> socket.socket:
            client = clients.enter_context(unconnected(host))
            client.connect((host, echo.port))
            return client

        yield connect


@pytest.fixture
def client(connect: Connect) -> socket.socket:
    return connect()


# Datagrams come back.


@pytest.mark.parametrize("size", SIZES)
def test_a_datagram_comes_back_whole(client: socket.socket, size: int) -> None:
    assert_same(asked(client, payload(size)), payload(size))


def test_bytes_of_every_value_come_back(client: socket.socket) -> None:
    assert asked(client, bytes(range(256))) == bytes(range(256))


def test_sizes_in_any_order_come_back(client: socket.socket) -> None:
    for size in (*SIZES, *reversed(SIZES), 65507, 0, 65507, 1):
        assert_same(asked(client, payload(size)), payload(size))


def test_an_empty_datagram_comes_back_empty_and_ends_nothing(client: socket.socket) -> None:
    assert [asked(client, datagram) for datagram in (b"", b"", b"hello", b"", b"hello")] == [
        *(b"", b"", b"hello", b"", b"hello"),
    ]


def test_nothing_comes_unasked(connect: Connect) -> None:
    silent = connect()
    assert_served(connect())
    assert_quiet(silent)


def test_each_is_answered_once(client: socket.socket) -> None:
    for number in range(300):
        assert_served(client, b"datagram %d" % number)
    assert_quiet(client)


def test_datagrams_sent_ahead_of_their_answers_come_back_and_none_is_joined(client: socket.socket) -> None:
    for _ in range(10):
        datagrams = [payload(size)[::-1] for size in (1000, 3, 0, 500, 500, 1000, 0, 1)]
        assert exchanged(client, datagrams) == datagrams


def test_the_same_datagram_again_and_again_comes_back_as_often(client: socket.socket) -> None:
    for _ in range(50):
        assert exchanged(client, [b"the same"] * WAITING) == [b"the same"] * WAITING


# From the address that was asked.


def test_the_answer_comes_from_where_it_was_asked(echo: Echo) -> None:
    for host in echo.hosts:
        with unconnected(host) as client:
            client.sendto(b"hello", (host, echo.port))
            datagram, peer = client.recvfrom(ROOM)
            assert (datagram, peer[:2]) == (b"hello", (host, echo.port))


def test_addresses_asked_in_turn_answer_each_for_itself(connect: Connect, echo: Echo) -> None:
    clients = [connect(host) for host in echo.hosts]
    for _ in range(10):
        for number, client in enumerate(clients):
            client.send(b"at host %d" % number)
        for number, client in enumerate(clients):
            assert client.recv(ROOM) == b"at host %d" % number


def test_one_client_may_ask_all_of_them(echo: Echo) -> None:
    with unconnected(echo.hosts[0]) as client:
        for host in echo.hosts * 5:
            client.sendto(host.encode(), (host, echo.port))
            datagram, peer = client.recvfrom(ROOM)
            assert (datagram.decode(), peer[0]) == (host, host)


# Many at once.


def test_two_clients_in_turn_get_each_its_own(connect: Connect) -> None:
    clients = [connect(), connect()]
    for turn in range(WAITING // 2):
        for number, client in enumerate(clients):
            client.send(b"client %d, turn %d" % (number, turn))
    for number, client in enumerate(clients):
        expected = [b"client %d, turn %d" % (number, turn) for turn in range(WAITING // 2)]
        assert [client.recv(ROOM) for _ in expected] == expected


def test_a_thousand_senders_get_each_its_own(connect: Connect) -> None:
    for hundred in range(10):
        clients = [connect() for _ in range(100)]
        for start in range(0, 100, WAITING):
            for number, client in enumerate(clients[start : start + WAITING]):
                client.send(b"sender %d" % (100 * hundred + start + number))
            for number, client in enumerate(clients[start : start + WAITING]):
                assert client.recv(ROOM) == b"sender %d" % (100 * hundred + start + number)
        for client in clients:
            client.close()


def test_mixed_sizes_of_mixed_senders_come_back_to_each_its_own(connect: Connect) -> None:
    clients, mixed = [connect() for _ in range(5)], payload(2000)
    for turn in range(0, 400, WAITING):
        sent: dict[socket.socket, list[bytes]] = {client: [] for client in clients}
        for place in range(turn, turn + WAITING):
            datagram = payload(4096)[place : place + 8 * mixed[place]]
            client = clients[mixed[place + 1000] % 5]
            client.send(datagram)
            sent[client].append(datagram)
        for client, datagrams in sent.items():
            assert [client.recv(ROOM) for _ in datagrams] == datagrams


def test_the_largest_of_several_senders_at_once_come_back(connect: Connect) -> None:
    clients = [connect() for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(payload(65507 - number))
    for number, client in enumerate(clients):
        assert_same(client.recv(ROOM), payload(65507 - number))


# Clients that leave badly.


def test_a_client_that_closes_at_once_harms_no_later_one(connect: Connect) -> None:
    later = connect()  # now, for otherwise the system might give it the port, and the answer, of one that has gone
    for _ in range(20):
        client = connect()
        client.send(b"and away")
        client.close()
    assert_served(later)


def test_a_client_that_closes_at_once_harms_no_other(connect: Connect) -> None:
    other = connect()
    for number in range(20):
        client = connect()
        client.send(b"and away")
        other.send(b"%d" % number)
        client.close()
        assert other.recv(ROOM) == b"%d" % number


def test_a_client_that_never_reads_harms_nobody(connect: Connect) -> None:
    client = connect()
    for _ in range(20):
        for _ in range(20):
            client.send(payload(1000))
        assert_served(connect())


def test_a_client_whose_answers_overflow_its_queue_is_served_when_it_reads(connect: Connect) -> None:
    client = connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(WAITING):
        client.send(payload(1000))
    assert_served(connect())
    client.settimeout(0.1)
    assert any(is_served_after(client, payload(1000)) for _ in range(100))


# Trains: what one call sends, and the system may keep together on its way.


@needs_trains
@pytest.mark.parametrize(
    ("size", "segment"),
    [(1000, 1000), (2000, 1000), (2001, 1000), (1999, 1000), (64, 1), (4 * 1472 + 1, 1472), (63 * 1000 + 500, 1000)],
)
def test_a_train_comes_back_as_the_datagrams_that_it_was(client: socket.socket, size: int, segment: int) -> None:
    send_train(client, payload(size), segment)
    expected = cut(payload(size), segment)
    assert [client.recv(ROOM) for _ in expected] == expected
    assert_served(client)


@needs_trains
def test_trains_and_others_of_mixed_senders_come_back_to_each_its_own(connect: Connect) -> None:
    clients = [connect() for _ in range(4)]
    sent: dict[socket.socket, list[bytes]] = {client: [] for client in clients}
    for turn, (size, segment) in enumerate([(1900, 1000), (5, 0), (1900, 500), (0, 0), (500, 500), (1999, 1000)]):
        for number, client in enumerate(clients):
            data = payload(4096)[7 * turn + number :][:size]
            if segment:
                send_train(client, data, segment)
            else:
                client.send(data)
            sent[client] += cut(data, segment)
    for client, expected in sent.items():
        assert [client.recv(ROOM) for _ in expected] == expected
        assert_quiet(client)


@needs_trains
def test_a_train_is_answered_from_where_it_was_asked(connect: Connect, echo: Echo) -> None:
    for host in echo.hosts:
        client = connect(host)
        send_train(client, payload(2500), 1000)
        assert [client.recv(ROOM) for _ in range(3)] == cut(payload(2500), 1000)


@needs_trains
def test_a_train_of_a_client_that_has_gone_harms_nobody(connect: Connect) -> None:
    later = connect()  # as above
    for _ in range(20):
        client = connect()
        send_train(client, payload(2500), 1000)
        client.close()
    assert_served(later)


# What the tests are made of.


@cache
def payload(size: int) -> bytes:
    """Make bytes that look like chance, and are the same in every run."""
    return hashlib.shake_128(b"halloo").digest(size)


def unconnected(host: str) -> socket.socket:
    """Make a client of the host's family, at an address of the same network."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
    sock.bind(("::1" if ":" in host else "127.0.0.1", 0))
    return sock


def asked(client: socket.socket, datagram: bytes) -> bytes:
    client.send(datagram)
    return client.recv(ROOM)


def exchanged(client: socket.socket, datagrams: Sequence[bytes]) -> list[bytes]:
    """Send all of them, and then receive as many."""
    for datagram in datagrams:
        client.send(datagram)
    return [client.recv(ROOM) for _ in datagrams]


def send_train(client: socket.socket, data: bytes, segment: int) -> None:
    client.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", segment))])


def cut(data: bytes, segment: int) -> list[bytes]:
    """Give the datagrams of a train; without segments it is one."""
    return [data[start : start + segment] for start in range(0, len(data), segment)] if segment else [data]


def assert_served(client: socket.socket, datagram: bytes = b"still there?") -> None:
    assert asked(client, datagram) == datagram


def is_served_after(client: socket.socket, others: bytes) -> bool:
    """Whether an answer comes, perhaps after others: there may be no room for it while those wait."""
    client.send(b"still there?")
    with suppress(TimeoutError):
        while (datagram := client.recv(ROOM)) == others:
            pass
        return datagram == b"still there?"
    return False


def assert_quiet(client: socket.socket) -> None:
    """See that nothing more has come: what is asked now is what comes next."""
    assert_served(client, b"nothing before this?")
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(ROOM)
    client.settimeout(PATIENCE)


def assert_same(came: bytes, sent: bytes) -> None:
    """Compare, and say where they part: pytest would take minutes over so many bytes."""
    if came != sent:
        parting = next((at for at, (a, b) in enumerate(zip(came, sent, strict=False)) if a != b), len(came))
        pytest.fail(f"{len(came)} of {len(sent)} bytes came back, the same up to byte {parting}")
