"""The contract for datagrams: what every datagram echo guarantees.

It does not depend on an implementation: `datagram_echoes` lists them, and the reference among them proves the contract.
"""

import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress

import pytest

from tests.contract.datagram_echoes import ECHOES, VARIANTS, Echo
from tests.peers import assert_same, payload

TIMEOUT = 20  # seconds without a datagram, after which the test fails
RECEIVE_SIZE = 65536  # bytes
QUEUE_SIZE = 4 << 20  # bytes of a client's receive buffer
MAX_IN_FLIGHT = 32  # datagrams sent ahead, few enough that no system's queue overflows
SIZES = [0, 1, 511, 512, 513, 1472, 1473, 8192, 8193, 65507]
UDP_SEGMENT = 103  # Linux; not in the socket module

Start = Callable[[], AbstractContextManager[Echo]]
Connect = Callable[..., socket.socket]

BATCHES = sys.platform.startswith("linux") and hasattr(socket.socket, "sendmsg")
needs_batches = pytest.mark.skipif(not BATCHES, reason="only Linux sends batches")


@pytest.fixture(scope="module", params=ECHOES)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Return what starts the echo: for each test, or once for all of them if it is a separate process."""
    if request.param == "workers":
        with ECHOES["workers"]() as echo:
            yield lambda: nullcontext(echo)
    else:
        yield (ECHOES | VARIANTS)[request.param]


@pytest.fixture
def echo(start: Start) -> Iterator[Echo]:
    with start() as echo:
        yield echo


@pytest.fixture
def connect(echo: Echo) -> Iterator[Connect]:
    """Make clients of the echo, closed after the test; a connected socket receives from the echo only."""
    with ExitStack() as clients:

        def connect(host: str = echo.hosts[0]) -> socket.socket:
            client = clients.enter_context(unconnected(host))
            client.connect((host, echo.port))
            return client

        yield connect


@pytest.fixture
def client(connect: Connect) -> socket.socket:
    return connect()


# Echo.


def test_datagrams_of_any_size_are_echoed_whole_in_any_order(client: socket.socket) -> None:
    for size in (*SIZES, *reversed(SIZES), 65507, 0, 65507, 1):
        assert_same(exchange(client, payload(size)), payload(size))


def test_an_empty_datagram_is_echoed_and_ends_nothing(client: socket.socket) -> None:
    assert [exchange(client, datagram) for datagram in (b"", b"", b"hello", b"", b"hello")] == [
        *(b"", b"", b"hello", b"", b"hello"),
    ]


def test_nothing_is_sent_unasked(connect: Connect) -> None:
    silent = connect()
    assert_served(connect())
    assert_quiet(silent)


def test_each_datagram_is_answered_once(client: socket.socket) -> None:
    for number in range(300):
        assert_served(client, b"datagram %d" % number)
    assert_quiet(client)


def test_pipelined_datagrams_are_echoed_separately(client: socket.socket) -> None:
    for _ in range(10):
        datagrams = [payload(size)[::-1] for size in (1000, 3, 0, 500, 500, 1000, 0, 1)]
        assert exchange_all(client, datagrams) == datagrams


def test_a_repeated_datagram_is_echoed_each_time(client: socket.socket) -> None:
    for _ in range(50):
        assert exchange_all(client, [b"the same"] * MAX_IN_FLIGHT) == [b"the same"] * MAX_IN_FLIGHT


# Source addresses.


def test_the_answer_comes_from_the_destination_address(echo: Echo) -> None:
    with unconnected(echo.hosts[0]) as client:
        for host in echo.hosts * 5:
            client.sendto(host.encode(), (host, echo.port))
            datagram, peer = client.recvfrom(RECEIVE_SIZE)
            assert (datagram.decode(), peer[:2]) == (host, (host, echo.port))


def test_alternating_destination_addresses_each_answer_from_their_own(connect: Connect, echo: Echo) -> None:
    clients = [connect(host) for host in echo.hosts]
    for _ in range(10):
        for number, client in enumerate(clients):
            client.send(b"at host %d" % number)
        for number, client in enumerate(clients):
            assert client.recv(RECEIVE_SIZE) == b"at host %d" % number


# Many clients.


def test_a_thousand_senders_each_get_their_own_datagrams(connect: Connect) -> None:
    for hundred in range(10):
        clients = [connect() for _ in range(100)]
        for start in range(0, 100, MAX_IN_FLIGHT):
            for number, client in enumerate(clients[start : start + MAX_IN_FLIGHT]):
                client.send(b"sender %d" % (100 * hundred + start + number))
            for number, client in enumerate(clients[start : start + MAX_IN_FLIGHT]):
                assert client.recv(RECEIVE_SIZE) == b"sender %d" % (100 * hundred + start + number)
        for client in clients:
            client.close()


def test_mixed_sizes_of_several_senders_are_echoed_to_each(connect: Connect) -> None:
    clients, mixed = [connect() for _ in range(5)], payload(2000)
    for turn in range(0, 400, MAX_IN_FLIGHT):
        sent: dict[socket.socket, list[bytes]] = {client: [] for client in clients}
        for place in range(turn, turn + MAX_IN_FLIGHT):
            datagram = payload(4096)[place : place + 8 * mixed[place]]
            client = clients[mixed[place + 1000] % 5]
            client.send(datagram)
            sent[client].append(datagram)
        for client, datagrams in sent.items():
            assert [client.recv(RECEIVE_SIZE) for _ in datagrams] == datagrams


def test_the_largest_datagrams_of_several_senders_at_once_are_echoed(connect: Connect) -> None:
    clients = [connect() for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(payload(65507 - number))
    for number, client in enumerate(clients):
        assert_same(client.recv(RECEIVE_SIZE), payload(65507 - number))


# Clients that close early.


def test_a_client_that_closes_at_once_does_not_affect_others(connect: Connect) -> None:
    other = connect()
    for number in range(20):
        client = connect()
        client.send(b"and away")
        other.send(b"%d" % number)
        client.close()
        assert other.recv(RECEIVE_SIZE) == b"%d" % number


def test_a_client_that_never_reads_does_not_affect_others(connect: Connect) -> None:
    client = connect()
    for _ in range(20):
        for _ in range(20):
            client.send(payload(1000))
        assert_served(connect())


def test_a_client_whose_answers_overflow_its_queue_is_served_when_it_reads(connect: Connect) -> None:
    client = connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(MAX_IN_FLIGHT):
        client.send(payload(1000))
    assert_served(connect())
    client.settimeout(0.1)
    assert any(is_served_after(client, payload(1000)) for _ in range(100))


# Batches: datagrams sent by one call, which the system may keep together.


@needs_batches
def test_a_batch_is_echoed_as_the_same_datagrams(client: socket.socket) -> None:
    batches = [(1000, 1000), (2000, 1000), (2001, 1000), (1999, 1000), (64, 1), (4 * 1472 + 1, 1472), (63_500, 1000)]
    for size, segment in batches:
        send_batch(client, payload(size), segment)
        expected = split(payload(size), segment)
        assert [client.recv(RECEIVE_SIZE) for _ in expected] == expected
    assert_served(client)


@needs_batches
def test_batches_and_single_datagrams_of_several_senders_are_echoed_to_each(connect: Connect) -> None:
    clients = [connect() for _ in range(4)]
    sent: dict[socket.socket, list[bytes]] = {client: [] for client in clients}
    for turn, (size, segment) in enumerate([(1900, 1000), (5, 0), (1900, 500), (0, 0), (500, 500), (1999, 1000)]):
        for number, client in enumerate(clients):
            data = payload(4096)[7 * turn + number :][:size]
            if segment:
                send_batch(client, data, segment)
            else:
                client.send(data)
            sent[client] += split(data, segment)
    for client, expected in sent.items():
        assert [client.recv(RECEIVE_SIZE) for _ in expected] == expected
        assert_quiet(client)


@needs_batches
def test_a_batch_is_answered_from_the_destination_address(connect: Connect, echo: Echo) -> None:
    for host in echo.hosts:
        client = connect(host)
        send_batch(client, payload(2500), 1000)
        assert [client.recv(RECEIVE_SIZE) for _ in range(3)] == split(payload(2500), 1000)


@needs_batches
def test_a_batch_of_a_closed_client_does_not_affect_others(connect: Connect) -> None:
    later = connect()  # as above
    for _ in range(20):
        client = connect()
        send_batch(client, payload(2500), 1000)
        client.close()
    assert_served(later)


@pytest.mark.parametrize("start", VARIANTS, indirect=True)
def test_a_variant_keeps_the_core_of_the_contract(connect: Connect, echo: Echo) -> None:
    test_datagrams_of_any_size_are_echoed_whole_in_any_order(connect())
    test_pipelined_datagrams_are_echoed_separately(connect())
    test_the_answer_comes_from_the_destination_address(echo)
    test_mixed_sizes_of_several_senders_are_echoed_to_each(connect)
    test_a_client_that_closes_at_once_does_not_affect_others(connect)
    if BATCHES:
        test_a_batch_is_echoed_as_the_same_datagrams(connect())
        test_a_batch_is_answered_from_the_destination_address(connect, echo)


# Helpers.


def unconnected(host: str) -> socket.socket:
    """Make a client of the host's family, at an address of the same network."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_SIZE)
    sock.bind(("::1" if ":" in host else "127.0.0.1", 0))
    return sock


def exchange(client: socket.socket, datagram: bytes) -> bytes:
    client.send(datagram)
    return client.recv(RECEIVE_SIZE)


def exchange_all(client: socket.socket, datagrams: Sequence[bytes]) -> list[bytes]:
    """Send all datagrams, and then receive as many."""
    for datagram in datagrams:
        client.send(datagram)
    return [client.recv(RECEIVE_SIZE) for _ in datagrams]


def send_batch(client: socket.socket, data: bytes, segment: int) -> None:
    client.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", segment))])


def split(data: bytes, segment: int) -> list[bytes]:
    """Return the datagrams of a batch; without a segment size it is one datagram."""
    return [data[start : start + segment] for start in range(0, len(data), segment)] if segment else [data]


def assert_served(client: socket.socket, datagram: bytes = b"still there?") -> None:
    assert exchange(client, datagram) == datagram


def is_served_after(client: socket.socket, others: bytes) -> bool:
    """Whether an answer arrives, perhaps after others, whose queue may leave no room for it at first."""
    client.send(b"still there?")
    with suppress(TimeoutError):
        while (datagram := client.recv(RECEIVE_SIZE)) == others:
            pass
        return datagram == b"still there?"
    return False


def assert_quiet(client: socket.socket) -> None:
    """Check that nothing else has arrived: the answer to a new datagram comes next."""
    assert_served(client, b"nothing before this?")
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(RECEIVE_SIZE)
    client.settimeout(TIMEOUT)
