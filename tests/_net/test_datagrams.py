import errno
import itertools
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from halloo._core.address import Address
from halloo._core.icmp import IcmpReport
from halloo._net.datagrams import (
    MAX_DATAGRAM,
    MAX_REPORTS,
    QUEUE,
    DatagramConnection,
    answering_first,
    connect_elsewhere,
    dropped,
    enlarge_buffers,
    open_datagrams,
    read_reports,
    request_reports,
)
from halloo._net.readiness import deadline_ns, run_steps, until_readable
from halloo._net.resolver import Place
from halloo.errors import (
    ConnectionClosed,
    NotPermitted,
    Refused,
    TimedOut,
    Truncated,
    Unreachable,
    UsageError,
)
from tests.blocked import until_blocked
from tests.conditions import TIMEOUT, linux
from tests.peers import datagram_peer, datagram_socket, echo_datagram, unused_datagram_port
from tests.router import behind_a_router

Pair = tuple[DatagramConnection, socket.socket]

SHORT_TIMEOUT = 0.01  # seconds to wait for a peer that stays silent
NAME = Address("udp", "host", 9)


def place(port: int, host: str = "127.0.0.1") -> Place:
    return (socket.AF_INET, (host, port))


def connected(*places: Place) -> DatagramConnection:
    return open_datagrams(NAME, places, timeout=TIMEOUT)


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with datagram_socket() as sock:
        yield sock


@pytest.fixture
def pair(peer: socket.socket) -> Iterator[Pair]:
    """Connect to a plain socket, which is connected back."""
    with connected(place(peer.getsockname()[1])) as connection:
        peer.connect(connection.socket.getsockname())
        yield connection, peer


# Single datagrams.


@pytest.mark.parametrize("data", [b"hello", b"", b"\xff\0\r\n", bytes(MAX_DATAGRAM)], ids=len)
def test_a_datagram_is_sent_and_received_whole(pair: Pair, data: bytes) -> None:
    connection, peer = pair
    connection.send(memoryview(bytearray(data + b"."))[:-1] if len(data) < MAX_DATAGRAM else data)
    assert (peer.recv(65536) == data) is True
    peer.send(data)
    peer.send(b"next")
    assert (connection.receive() == data) is True
    assert connection.receive() == b"next"


def test_an_overlong_datagram_is_refused(pair: Pair) -> None:
    connection, peer = pair
    with pytest.raises(UsageError, match=f"{MAX_DATAGRAM + 1} bytes is too long; send at most"):
        connection.send(bytes(MAX_DATAGRAM + 1))
    connection.send(b"next")
    assert peer.recv(100) == b"next"


def test_truncated_holds_the_beginning_of_the_datagram(pair: Pair) -> None:
    connection, peer = pair
    peer.send(b"hello")
    peer.send(b"next")
    with pytest.raises(Truncated, match="sent a datagram of 5 bytes, longer than the limit of 3") as caught:
        connection.receive(3)
    assert (caught.value.partial, connection.receive(4)) == (b"hel", b"next")


def test_iterating_a_connection_yields_datagrams_until_a_timeout(pair: Pair) -> None:
    connection, peer = pair
    connection.timeout = SHORT_TIMEOUT
    for data in (b"one", b"", b"two"):
        peer.send(data)
    datagrams = iter(connection)
    assert list(itertools.islice(datagrams, 3)) == [b"one", b"", b"two"]
    with pytest.raises(TimedOut):
        next(datagrams)


def test_datagrams_from_other_addresses_are_not_received(pair: Pair) -> None:
    connection, _ = pair
    with datagram_socket() as other:
        other.sendto(b"I am your server", connection.socket.getsockname())
        with pytest.raises(TimedOut, match=r"sent nothing within 0\.01 seconds"):
            connection.receive(timeout=None, deadline=0.01)
    with pytest.raises(TimedOut, match="sent nothing within 0 seconds"):
        connection.receive(timeout=0)


def test_a_connection_knows_both_addresses(pair: Pair) -> None:
    connection, peer = pair
    both = Address("udp", *peer.getpeername()), Address("udp", *peer.getsockname())
    assert (connection.local_address, connection.address) == both
    with connection:
        assert connection.fileno() == connection.socket.fileno()
    assert connection.socket.fileno() == -1


def test_check_refused_sends_nothing_and_loses_no_datagrams(pair: Pair) -> None:
    connection, peer = pair
    peer.send(b"one")
    peer.send(b"two")
    connection.check_refused()
    connection.send(b"and on")
    assert [connection.receive(), connection.receive(), peer.recv(100)] == [b"one", b"two", b"and on"]


def test_close_unblocks_a_call_in_another_thread(pair: Pair) -> None:
    connection, _ = pair
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connection.receive, timeout=None)
        until_blocked(connection)
        connection.close()
        with pytest.raises(ConnectionClosed, match="is closed on this side"):
            waiting.result()


# Closed ports. On loopback the system reports them before `send` returns.


@pytest.fixture
def closed_port() -> Place:
    return place(unused_datagram_port())


def test_connecting_to_a_closed_port_raises_nothing(closed_port: Place) -> None:
    with connected(closed_port) as connection, pytest.raises(TimedOut):
        connection.receive(timeout=SHORT_TIMEOUT)


def test_after_a_send_to_a_closed_port_the_next_call_raises_refused_once(closed_port: Place) -> None:
    with connected(closed_port) as connection:
        connection.send(b"hello")
        fact, remedy = r"nothing is listening on host:9 \(connection refused\)", "halloo serve udp://:9"
        with pytest.raises(Refused, match=f"{fact}; start a server there with: {remedy}$") as caught:
            connection.receive()
        assert (caught.value.errno, caught.value.address) == (errno.ECONNREFUSED, "udp://host:9")
        with pytest.raises(TimedOut):
            connection.receive(timeout=0)
        connection.send(b"hello")
        with pytest.raises(Refused):
            connection.send(b"hello")
        connection.send(b"hello")
        with pytest.raises(Refused):
            connection.check_refused()


def test_datagrams_before_a_refusal_are_received_before_it(pair: Pair) -> None:
    connection, peer = pair
    for data in (b"one", b"two"):
        peer.send(data)
    peer.close()
    connection.send(b"three")
    assert [connection.receive(), connection.receive()] == [b"one", b"two"]
    with pytest.raises(Refused):
        connection.receive()


def test_datagrams_arrive_again_after_the_peer_restarts(peer: socket.socket) -> None:
    with connected(place(peer.getsockname()[1])) as connection:
        peer.sendto(b"old", connection.socket.getsockname())
        old_address = peer.getsockname()
        peer.close()
        connection.send(b"lost")
        assert connection.receive() == b"old"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(old_address)
            connection.send(b"heard")
            again.sendto(*again.recvfrom(100))
            assert connection.receive() == b"heard"


class WindowsSocket(socket.socket):
    """Reports a closed port as Windows does: as a reset of the connection."""

    def recv(self, *args: int) -> bytes:
        try:
            return super().recv(*args)
        except ConnectionRefusedError as error:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error


def test_a_reset_is_reported_as_refused(closed_port: Place) -> None:
    sock = WindowsSocket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(closed_port[1])
    with DatagramConnection(sock, NAME) as connection:
        connection.send(b"hello")
        with pytest.raises(Refused):
            connection.receive(timeout=TIMEOUT)


def test_a_connection_to_oneself_is_refused() -> None:
    with datagram_socket() as sock, pytest.raises(ConnectionRefusedError):
        connect_elsewhere(sock, sock.getsockname())


# Several addresses for a name.


def test_when_the_first_address_refuses_the_next_receives_everything_sent(
    peer: socket.socket, closed_port: Place
) -> None:
    with connected(closed_port, closed_port, place(peer.getsockname()[1])) as connection, ThreadPoolExecutor(1) as pool:
        connection.send(b"one")
        connection.send(b"two")
        waiting = pool.submit(connection.receive)
        peer.sendto(*peer.recvfrom(100))
        assert (waiting.result(TIMEOUT), peer.recv(100)) == (b"one", b"two")
        assert connection.address == Address("udp", *peer.getsockname())
        first, second = connection.attempts
        assert (first.address.port, type(first.error)) == (closed_port[1][1], Refused)
        assert second.address == first.address


def test_an_address_that_has_answered_is_kept_although_it_refuses_the_next_datagram(peer: socket.socket) -> None:
    with datagram_socket() as first:
        connection = connected(place(first.getsockname()[1]), place(peer.getsockname()[1]))
        connection.send(b"one")
        first.sendto(*first.recvfrom(100))
    with connection:  # the first one has ended
        connection.send(b"two")
        with pytest.raises(Refused):
            connection.send(b"three")
        assert (connection.receive(), connection.attempts) == (b"one", ())


def test_when_every_address_refuses_the_error_names_the_host(closed_port: Place) -> None:
    ports = closed_port[1][1], unused_datagram_port()
    facts = ", ".join(rf"nothing is listening on 127\.0\.0\.1:{port} \(connection refused\)" for port in ports)
    with connected(closed_port, place(ports[1])) as connection:
        for _ in range(2):  # later refusals add nothing
            connection.send(b"hello")
            with pytest.raises(Refused, match=f"^no address of host can be connected to: {facts};"):
                connection.receive()
        assert len(connection.attempts) == 1


def test_an_address_that_cannot_be_connected_to_is_skipped(peer: socket.socket, closed_port: Place) -> None:
    broadcast = place(9, "255.255.255.255")  # needs SO_BROADCAST
    with connected(broadcast, place(peer.getsockname()[1])) as connection:
        assert connection.address.host == "127.0.0.1"
    with pytest.raises(NotPermitted, match="connecting to host:9 is not permitted"):
        connected(broadcast)
    with connected(closed_port, broadcast) as connection:
        connection.send(b"hello")
        with pytest.raises(Refused):
            connection.receive()


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH])
def test_an_unreachable_address_is_left_for_the_next(peer: socket.socket, number: int) -> None:
    with (
        datagram_socket() as first,
        connected(place(first.getsockname()[1]), place(peer.getsockname()[1])) as connection,
    ):
        connection.next_address(OSError(number, os.strerror(number)))
        connection.send(b"hello")
        assert peer.recv(100) == b"hello"
        assert type(connection.attempts[0].error) is Unreachable


def ordered(*places: Place, seconds: float = TIMEOUT) -> list[Place]:
    return run_steps(answering_first(places, b"anybody?", until_ns=deadline_ns(seconds)))


def test_the_place_that_answers_comes_first(closed_port: Place) -> None:
    with datagram_socket() as silent, datagram_peer(echo_datagram) as port:
        first = place(silent.getsockname()[1])
        assert ordered(first, closed_port, place(port)) == [place(port), first, closed_port]
        assert silent.recv(100) == b"anybody?"


def test_without_an_answer_the_order_is_kept_but_refusing_places_come_last(closed_port: Place) -> None:
    with datagram_socket() as one, datagram_socket() as two:
        silent = place(one.getsockname()[1]), place(two.getsockname()[1])
        assert ordered(closed_port, *silent, seconds=0.05) == [*silent, closed_port]


# Buffers.


class StrictSocket(socket.socket):
    """Refuses too large a buffer, as macOS does, instead of reducing it."""

    def setsockopt(self, level: int, name: int, value: int) -> None:  # type: ignore[override] # only integers are set
        if value > QUEUE // 4:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        super().setsockopt(level, name, value)


@pytest.mark.parametrize("kind", [socket.socket, StrictSocket])
def test_buffers_are_enlarged_as_far_as_the_system_allows(kind: type[socket.socket]) -> None:
    with kind(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        enlarge_buffers(sock)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            assert sock.getsockopt(socket.SOL_SOCKET, option) >= 65536


@linux
def test_datagrams_dropped_by_the_kernel_are_counted(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the kernel's minimum
    assert dropped(peer) == 0
    with connected(place(peer.getsockname()[1])) as connection:
        for _ in range(100):
            connection.send(b"hello")
    peer.setblocking(False)
    received = 0
    with suppress(BlockingIOError):
        while peer.recv(100):
            received += 1
    assert 0 < received < 100
    assert dropped(peer) == 100 - received


# Reports of routers and hosts.

EXCHANGES = """
import halloo
from halloo._net.connector import connect_udp
from halloo._net.datagram_exchange import exchange_datagrams
from tests.router import *
seen = []
answers = [
    lambda packet: icmp(packet, 3, 1),
    lambda packet: icmp(packet, 11, 0),
    lambda packet: icmp(packet, 3, 3),
    lambda packet: None,
    lambda packet: icmp(packet, 3, 1) if len(seen) == 2 else echo(packet),
]
def answer(packet):
    seen.append(packet)
    return answers[0](packet)
with router(answer):
    while answers:
        with connect_udp("udp://10.99.0.1:8888") as connection:
            try:
                done = exchange_datagrams(connection, [b"1", b"2", b"3"], len, timeout=0.3)
                print(done.sent, done.received)
            except halloo.HallooError as error:
                print(type(error).__name__, error)
        del answers[0]
        seen.clear()
"""


def test_without_a_reply_the_error_is_what_a_router_reports() -> None:
    printed = behind_a_router(EXCHANGES).splitlines()
    expected = [
        "Unreachable 10.9.0.1 reports: host unreachable; check that the host is up",
        "Unreachable 10.9.0.1 reports: time to live exceeded; check the TTL, and",
        "Refused 10.9.0.1 refuses datagrams to 10.99.0.1:8888 (port unreachable); check",
        "TimedOut 10.99.0.1:8888 did not answer any of 3 datagrams within 0.3 seconds",
        "3 2",  # a report of one of them does not end the exchange
    ]
    assert [line[: len(text)] for line, text in zip(printed, expected, strict=True)] == expected


def test_a_receive_that_times_out_names_what_was_reported_since_the_last_datagram() -> None:
    printed = behind_a_router("""
import halloo
from tests.router import *
seen = []
def answer(packet):
    seen.append(packet)
    return [icmp(packet, 11, 0), echo(packet), None][len(seen) - 1]
with router(answer), halloo.connect_udp("udp://10.99.0.1:8888", timeout=0.2) as connection:
    for _ in range(3):
        connection.send(b"hello")
        try:
            print(connection.receive())
        except halloo.TimedOut as error:
            print(error.remedy)
""")
    first, second, third = printed.splitlines()
    assert (first, second) == (
        "10.9.0.1 reports: time to live exceeded; check the TTL, and the route for a loop",
        "b'hello'",
    )
    assert "10.9.0.1" not in third


def test_whatever_a_router_reports_the_next_address_is_tried() -> None:
    printed = behind_a_router("""
from halloo._core.address import Address
from halloo._net.datagrams import open_datagrams
from tests.router import *
places = [(2, (HOST4, PORT)), (10, (HOST6, PORT, 0, 0))]
with router(lambda packet: icmp(packet, 3, 2) if packet[0] >> 4 == 4 else echo(packet)):
    with open_datagrams(Address("udp", "both"), places, timeout=5) as connection:
        connection.send(b"hello")
        print(connection.receive(), connection.attempts[0].error.fact)
""")
    assert printed.startswith("b'hello' 10.99.0.1:8888 ")


@linux
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_closed_port_is_reported_with_the_datagram(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        request_reports(sock)
        try:
            sock.connect((host, unused_datagram_port()))
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        sock.setblocking(False)
        assert [*read_reports(sock)] == []
        sock.send(b"datagram")
        assert until_readable([sock], TIMEOUT)
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)
        ((report, quoted),) = read_reports(sock)
    assert (report.description, report.router, quoted) == ("port unreachable", host, b"datagram")


@linux
def test_no_more_reports_are_read_than_a_turn_may_take() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request_reports(sock)
        sock.connect(("127.0.0.1", unused_datagram_port()))
        sock.setblocking(False)
        reports: list[IcmpReport] = []
        sent = 0
        while sent <= MAX_REPORTS:
            try:
                sock.send(b"datagram")
                sent += 1
            except ConnectionRefusedError:
                continue  # the report of an earlier one
        reports += [report for report, _ in read_reports(sock)]
        assert len(reports) <= MAX_REPORTS
