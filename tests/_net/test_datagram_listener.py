import socket
from collections.abc import Iterator
from typing import Any

import pytest

from halloo._core.address import Address
from halloo._net.datagram_listener import DatagramListener
from halloo._net.datagrams import DatagramConnection, open_datagrams
from tests.conditions import TIMEOUT, linux
from tests.peers import datagram_socket


@pytest.fixture
def listener() -> Iterator[DatagramListener]:
    with datagram_socket() as sock:
        sock.setblocking(False)
        yield DatagramListener(sock)


def connected_to(listener: DatagramListener) -> DatagramConnection:
    place = (socket.AF_INET, ("127.0.0.1", int(listener._sock.getsockname()[1])))
    return open_datagrams(Address("udp", "host", 9), [place], timeout=TIMEOUT)


def accepted(listener: DatagramListener) -> DatagramConnection:
    served = listener.accept()
    assert served
    served.timeout = TIMEOUT
    return served


def test_an_accepted_connection_has_all_datagrams_of_its_peer_and_answers_from_the_same_port(
    listener: DatagramListener,
) -> None:
    with connected_to(listener) as connection:
        assert listener.accept() is None
        for data in (b"one", b"", b"two"):
            connection.send(data)
        with accepted(listener) as served:
            assert served.address == Address("udp", *connection.socket.getsockname())
            connection.send(b"after")
            assert [served.receive() for _ in range(4)] == [b"one", b"", b"two", b"after"]
            assert listener.accept() is None
            served.send(b"hello")
            assert connection.receive() == b"hello"


@linux
def test_each_client_has_a_separate_connection(listener: DatagramListener) -> None:
    with connected_to(listener) as first, connected_to(listener) as second:
        for connection, data in ((first, b"1a"), (second, b"2a"), (first, b"1b")):
            connection.send(data)
        with accepted(listener) as served, accepted(listener) as other:
            second.send(b"2b")
            first.send(b"1c")
            assert [served.receive() for _ in range(3)] == [b"1a", b"1b", b"1c"]
            assert [other.receive() for _ in range(2)] == [b"2a", b"2b"]


@linux
def test_a_client_is_accepted_again_after_its_connection_is_closed(listener: DatagramListener) -> None:
    with connected_to(listener) as connection:
        for data in (b"one", b"two"):
            connection.send(data)
            with accepted(listener) as served:
                assert served.receive() == data


class FloodedSocket(socket.socket):
    """A socket at which one sender's datagrams arrive without a pause."""

    sender: tuple[str, int]

    def recvfrom(self, _size: int, _flags: int = 0, /) -> tuple[bytes, Any]:
        return bytes(1000), self.sender


@pytest.mark.timeout(5)
def test_under_a_flood_accept_returns_with_no_more_than_the_kernel_queues() -> None:
    with datagram_socket() as peer, FloodedSocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sender = peer.getsockname()
        connection = DatagramListener(sock).accept()
        assert connection
        with connection:
            room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert 0 < len(connection._queued) * 1000 <= room


def test_a_datagram_from_an_unanswerable_address_is_discarded(listener: DatagramListener) -> None:
    listener.datagrams.append((b"forged", ("255.255.255.255", 9)))
    assert listener.accept() is None
    with connected_to(listener) as connection:
        connection.send(b"hello")
        with accepted(listener) as served:
            assert served.receive() == b"hello"
