import errno
import itertools
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from halloo._core.address import Address
from halloo._net.datagrams import (
    MAX_DATAGRAM,
    QUEUE,
    DatagramConnection,
    DatagramListener,
    Place,
    connect_elsewhere,
    dropped,
    enlarge_buffers,
    open_datagrams,
)
from halloo.errors import (
    ConnectionClosed,
    NotPermitted,
    Refused,
    TimedOut,
    Truncated,
    UsageError,
)
from tests.blocked import until_blocked
from tests.peers import datagram_socket, unused_datagram_port

Pair = tuple[DatagramConnection, socket.socket]

WAIT = 10.0  # seconds that no test takes
MOMENT = 0.01  # seconds that a peer which stays silent is given
NAME = Address("udp", "host", 9)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as Linux does it")


def place(port: int, host: str = "127.0.0.1") -> Place:
    return (socket.AF_INET, (host, port))


def dialled(*places: Place) -> DatagramConnection:
    return open_datagrams(NAME, places, timeout=WAIT)


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with datagram_socket() as sock:
        yield sock


@pytest.fixture
def pair(far: socket.socket) -> Iterator[Pair]:
    """Connect to a plain socket, which is connected as well."""
    with dialled(place(far.getsockname()[1])) as near:
        far.connect(near.socket.getsockname())
        yield near, far


# One datagram each time.


@pytest.mark.parametrize("data", [b"hello", b"", b"\xff\0\r\n", bytes(MAX_DATAGRAM)], ids=len)
def test_what_is_sent_is_one_datagram(pair: Pair, data: bytes) -> None:
    near, far = pair
    near.send(data)
    identical = far.recv(65536) == data
    assert identical


def test_any_bytes_can_be_sent(pair: Pair) -> None:
    near, far = pair
    near.send(memoryview(bytearray(b"hello"))[1:3])
    assert far.recv(100) == b"el"


@pytest.mark.parametrize("data", [b"hello", b"", bytes(MAX_DATAGRAM)], ids=len)
def test_a_datagram_is_received_whole(pair: Pair, data: bytes) -> None:
    near, far = pair
    far.send(data)
    far.send(b"next")
    identical = near.receive() == data
    assert identical
    assert near.receive() == b"next"


def test_more_than_a_datagram_holds_cannot_be_sent(pair: Pair) -> None:
    near, far = pair
    with pytest.raises(UsageError, match=f"{MAX_DATAGRAM + 1} bytes is too long; send at most"):
        near.send(bytes(MAX_DATAGRAM + 1))
    near.send(b"next")
    assert far.recv(100) == b"next"


def test_a_datagram_longer_than_allowed_is_an_error_that_holds_its_beginning(pair: Pair) -> None:
    near, far = pair
    far.send(b"hello")
    far.send(b"next")
    with pytest.raises(Truncated, match="sent a datagram of 5 bytes, longer than the limit of 3") as caught:
        near.receive(3)
    assert (caught.value.partial, near.receive(4)) == (b"hel", b"next")


def test_a_connection_is_its_datagrams_until_none_comes(pair: Pair) -> None:
    near, far = pair
    near.timeout = MOMENT
    for data in (b"one", b"", b"two"):
        far.send(data)
    datagrams = iter(near)
    assert list(itertools.islice(datagrams, 3)) == [b"one", b"", b"two"]
    with pytest.raises(TimedOut):
        next(datagrams)


@pytest.mark.parametrize("timeout", [0, MOMENT])
def test_receiving_ends_when_nothing_comes_in_time(pair: Pair, timeout: float) -> None:
    with pytest.raises(TimedOut, match=f"sent nothing within {timeout} seconds"):
        pair[0].receive(timeout=timeout)


def test_what_somebody_else_sends_is_not_received(pair: Pair) -> None:
    near, _ = pair
    with datagram_socket() as stranger:
        stranger.sendto(b"I am your server", near.socket.getsockname())
        with pytest.raises(TimedOut):
            near.receive(timeout=MOMENT)


def test_checking_for_a_refusal_sends_nothing_and_loses_nothing(pair: Pair) -> None:
    near, far = pair
    far.send(b"one")
    far.send(b"two")
    near.check_refused()
    near.send(b"and on")
    assert [near.receive(), near.receive(), far.recv(100)] == [b"one", b"two", b"and on"]


def test_closing_ends_the_wait_of_another_thread(pair: Pair) -> None:
    near, _ = pair
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(near.receive, timeout=None)
        until_blocked(near)
        near.close()
        with pytest.raises(ConnectionClosed, match="is closed on this side"):
            waiting.result()


def test_a_deadline_bounds_a_call(pair: Pair) -> None:
    with pytest.raises(TimedOut, match=r"sent nothing within 0\.01 seconds"):
        pair[0].receive(timeout=None, deadline=0.01)


def test_either_side_knows_both_addresses(pair: Pair) -> None:
    near, far = pair
    assert (near.local_address, near.address) == (
        Address("udp", *far.getpeername()),
        Address("udp", *far.getsockname()),
    )
    assert near.fileno() == near.socket.fileno()


def test_a_connection_is_closed_with_its_block(far: socket.socket) -> None:
    with dialled(place(far.getsockname()[1])) as near:
        pass
    assert near.socket.fileno() == -1


# Nobody there. On loopback the system says so before `send` has returned.


@pytest.fixture
def nobody() -> Place:
    return place(unused_datagram_port())


def test_connecting_tells_nobody_anything_yet(nobody: Place) -> None:
    with dialled(nobody) as near, pytest.raises(TimedOut):
        near.receive(timeout=MOMENT)


def test_a_port_that_nobody_has_refuses_what_is_sent(nobody: Place) -> None:
    with dialled(nobody) as near:
        near.send(b"hello")
        with pytest.raises(Refused, match=r"nothing is listening on host:9 \(connection refused\)") as caught:
            near.receive()
    assert (caught.value.errno, caught.value.address) == (errno.ECONNREFUSED, "udp://host:9")


def test_who_is_refused_is_told_how_to_start_a_server(nobody: Place) -> None:
    with dialled(nobody) as near:
        near.send(b"hello")
        with pytest.raises(ConnectionRefusedError, match=r"start a server there with: halloo serve udp://:9$"):
            near.receive()


def test_sending_on_tells_of_the_refusal(nobody: Place) -> None:
    with dialled(nobody) as near:
        near.send(b"hello")
        with pytest.raises(Refused):
            near.send(b"hello")


def test_a_refusal_can_be_checked_for(nobody: Place) -> None:
    with dialled(nobody) as near:
        near.send(b"hello")
        with pytest.raises(Refused):
            near.check_refused()


def test_a_refusal_is_told_once(nobody: Place) -> None:
    with dialled(nobody) as near:
        near.send(b"hello")
        with pytest.raises(Refused):
            near.receive()
        with pytest.raises(TimedOut):
            near.receive(timeout=0)


def test_what_came_before_the_refusal_is_received_before_it(pair: Pair) -> None:
    near, far = pair
    for data in (b"one", b"two"):
        far.send(data)
    far.close()
    near.send(b"three")
    assert [near.receive(), near.receive()] == [b"one", b"two"]
    with pytest.raises(Refused):
        near.receive()


def test_a_peer_that_has_come_back_is_heard(far: socket.socket) -> None:
    with dialled(place(far.getsockname()[1])) as near:
        far.sendto(b"old", near.socket.getsockname())
        here = far.getsockname()
        far.close()
        near.send(b"lost")
        assert near.receive() == b"old"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(here)
            near.send(b"heard")
            again.sendto(*again.recvfrom(100))
            assert near.receive() == b"heard"


class Windows(socket.socket):
    """Says of a port that nobody has what Windows says: the peer has reset the connection."""

    def recv(self, *args: int) -> bytes:
        try:
            return super().recv(*args)
        except ConnectionRefusedError as error:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error


def test_a_reset_is_a_refusal_too(nobody: Place) -> None:
    sock = Windows(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(nobody[1])
    with DatagramConnection(sock, NAME) as near:
        near.send(b"hello")
        with pytest.raises(Refused):
            near.receive(timeout=WAIT)


def test_a_connection_to_oneself_is_refused() -> None:
    with datagram_socket() as sock, pytest.raises(ConnectionRefusedError):
        connect_elsewhere(sock, sock.getsockname())


# More than one address for a name.


def test_where_the_first_address_has_nobody_the_next_one_hears_all_that_was_sent(
    far: socket.socket, nobody: Place
) -> None:
    with dialled(nobody, place(far.getsockname()[1])) as near:
        near.send(b"one")
        near.send(b"two")
        near.check_refused()
        assert [far.recv(100), far.recv(100)] == [b"one", b"two"]
        assert near.address == Address("udp", *far.getsockname())


def test_the_wait_for_an_answer_goes_on_at_the_next_address(far: socket.socket, nobody: Place) -> None:
    with dialled(nobody, nobody, place(far.getsockname()[1])) as near, ThreadPoolExecutor(1) as pool:
        near.send(b"hello")
        waiting = pool.submit(near.receive)
        far.sendto(*far.recvfrom(100))
        assert waiting.result(WAIT) == b"hello"


def test_when_nobody_is_at_any_address_the_name_is_told(nobody: Place) -> None:
    with dialled(nobody, place(unused_datagram_port())) as near:
        near.send(b"hello")
        with pytest.raises(Refused, match="nothing is listening on host:9"):
            near.receive()


def test_an_address_that_has_answered_is_left_no_more(far: socket.socket) -> None:
    with datagram_socket() as other, dialled(place(far.getsockname()[1]), place(other.getsockname()[1])) as near:
        near.send(b"hello")
        far.sendto(*far.recvfrom(100))
        assert near.receive() == b"hello"
        far.close()
        near.send(b"hello")
        with pytest.raises(Refused):
            near.receive()


def test_an_address_that_cannot_be_connected_to_is_passed_over(far: socket.socket) -> None:
    with dialled(place(9, "255.255.255.255"), place(far.getsockname()[1])) as near:
        assert near.address.host == "127.0.0.1"


def test_when_no_address_can_be_connected_to_the_last_says_why(nobody: Place) -> None:
    with pytest.raises(NotPermitted, match="connecting to host:9 is not permitted"):  # broadcasts need SO_BROADCAST
        dialled(place(9, "255.255.255.255"))
    with dialled(nobody, place(9, "255.255.255.255")) as near:
        near.send(b"hello")
        with pytest.raises(Refused):
            near.receive()


# A listening socket.


@pytest.fixture
def box() -> Iterator[DatagramListener]:
    with datagram_socket() as sock:
        sock.setblocking(False)
        yield DatagramListener(sock)


def writing_to(box: DatagramListener) -> DatagramConnection:
    return dialled(place(box._sock.getsockname()[1]))


def accepted(box: DatagramListener) -> DatagramConnection:
    served = box.accept()
    assert served
    served.timeout = WAIT
    return served


def test_nobody_is_accepted_before_somebody_has_written(box: DatagramListener) -> None:
    with writing_to(box):
        assert box.accept() is None


def test_who_writes_is_accepted_with_all_that_they_wrote(box: DatagramListener) -> None:
    with writing_to(box) as near:
        for data in (b"one", b"", b"two"):
            near.send(data)
        with accepted(box) as served:
            assert served.address == Address("udp", *near.socket.getsockname())
            assert [served.receive() for _ in range(3)] == [b"one", b"", b"two"]


def test_who_was_accepted_is_answered_from_the_port_that_they_wrote_to(box: DatagramListener) -> None:
    with writing_to(box) as near:
        near.send(b"hello")
        with accepted(box) as served:
            served.send(served.receive())
            assert near.receive() == b"hello"


def test_what_comes_after_the_accepting_is_received_too(box: DatagramListener) -> None:
    with writing_to(box) as near:
        near.send(b"before")
        with accepted(box) as served:
            near.send(b"after")
            assert [served.receive(), served.receive()] == [b"before", b"after"]
            assert box.accept() is None


@linux
def test_each_who_writes_has_a_connection_of_their_own(box: DatagramListener) -> None:
    with writing_to(box) as first, writing_to(box) as second:
        for near, data in ((first, b"1a"), (second, b"2a"), (first, b"1b")):
            near.send(data)
        with accepted(box) as served, accepted(box) as other:
            second.send(b"2b")
            first.send(b"1c")
            assert [served.receive() for _ in range(3)] == [b"1a", b"1b", b"1c"]
            assert [other.receive() for _ in range(2)] == [b"2a", b"2b"]


@linux
def test_after_a_connection_is_closed_its_peer_is_accepted_again(box: DatagramListener) -> None:
    with writing_to(box) as near:
        for data in (b"one", b"two"):
            near.send(data)
            with accepted(box) as served:
                assert served.receive() == data


def test_a_letter_that_could_never_be_answered_is_thrown_away(box: DatagramListener) -> None:
    box.datagrams.append((b"forged", ("255.255.255.255", 9)))
    assert box.accept() is None
    with writing_to(box) as near:
        near.send(b"hello")
        with accepted(box) as served:
            assert served.receive() == b"hello"


# Buffers.


class Strict(socket.socket):
    """Refuses too large a buffer, as macOS does, instead of taking it down."""

    def setsockopt(self, level: int, name: int, value: int) -> None:  # type: ignore[override] # only numbers are set
        if value > QUEUE // 4:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        super().setsockopt(level, name, value)


@pytest.mark.parametrize("kind", [socket.socket, Strict])
def test_as_much_room_as_the_system_allows_is_had(kind: type[socket.socket]) -> None:
    with kind(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        enlarge_buffers(sock)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            assert sock.getsockopt(socket.SOL_SOCKET, option) >= 65536


@linux
def test_what_the_kernel_drops_is_counted(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the least that it takes
    assert dropped(far) == 0
    with dialled(place(far.getsockname()[1])) as near:
        for _ in range(100):
            near.send(b"hello")
    far.setblocking(False)
    received = 0
    with suppress(BlockingIOError):
        while far.recv(100):
            received += 1
    assert 0 < received < 100
    assert dropped(far) == 100 - received
