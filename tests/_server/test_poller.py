"""Both pollers keep one contract, so that one loop runs on either."""

import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from halloo._server import poller as pollers
from halloo._server.poller import FLOW, READ, WRITE, Poller, Selector, best

MAKERS: list[Callable[[], Poller]] = [Selector]
if hasattr(select, "epoll"):
    MAKERS.append(pollers.Epoll)

BLOCK = 1 << 20  # bytes
SOON = 5  # seconds allowed for what is certain to happen


@pytest.fixture(params=MAKERS)
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """The other end of `fd`: a TCP connection, since that is what can be reset."""
    with socket.socket() as sock:
        yield sock


@pytest.fixture
def fd(poller: Poller, peer: socket.socket) -> Iterator[int]:
    """A connection that was adopted and is watched for something to read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer.connect(listener.getsockname())
        sock, _ = listener.accept()
    sock.setblocking(False)
    fd = poller.adopt(sock)
    poller.watch(fd, READ)
    yield fd
    poller.close_fd(fd)


def test_nothing_is_ready_at_first(poller: Poller, fd: int) -> None:
    assert fd
    assert poller.poll(0) == []


def test_what_can_be_read_is_reported(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    assert poller.poll(SOON) == [(fd, READ)]


def test_what_flows_is_told_from_all_others(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.change(fd, FLOW)
    assert poller.poll(SOON) == [(fd, FLOW)]
    poller.change(fd, READ)
    assert poller.poll(SOON) == [(fd, READ)]


def test_what_rests_is_not_reported(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.change(fd, 0)
    assert poller.poll(0) == []
    poller.change(fd, READ)
    assert poller.poll(SOON) == [(fd, READ)]


def test_what_is_on_its_way_is_counted_until_both_sides_have_read(poller: Poller, fd: int, peer: socket.socket) -> None:
    assert poller.in_flight(fd) == 0
    peer.sendall(b"hello")
    poller.poll(SOON)
    if not poller.in_flight(fd):
        pytest.skip("this system does not tell")
    assert poller.in_flight(fd) == 5
    assert poller.read(fd, 9) == b"hello"
    assert poller.in_flight(fd) == 0


def test_our_end_is_sent_and_reading_goes_on(poller: Poller, fd: int, peer: socket.socket) -> None:
    poller.close_notify(fd)
    poller.shutdown_write(fd)
    assert peer.recv(1) == b""
    peer.sendall(b"hello")
    poller.poll(SOON)
    assert poller.read(fd, 9) == b"hello"


def test_it_is_reported_again_until_it_is_read(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    assert poller.poll(SOON) == poller.poll(SOON) == [(fd, READ)]
    poller.readv(fd, [memoryview(bytearray(5))])
    assert poller.poll(0) == []


def test_the_end_of_a_stream_is_reported_as_readable(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)
    assert poller.poll(SOON) == [(fd, READ)]


def test_a_reset_is_reported_to_who_waits_to_read(poller: Poller, fd: int, peer: socket.socket) -> None:
    reset(peer)
    [(ready, events)] = poller.poll(SOON)
    assert ready == fd
    assert events & READ


def test_a_reset_is_reported_to_who_waits_to_write(poller: Poller, fd: int, peer: socket.socket) -> None:
    fill(poller, fd)
    poller.change(fd, WRITE)
    reset(peer)
    [(ready, events)] = poller.poll(SOON)
    assert ready == fd
    assert events & WRITE


def test_after_a_change_only_room_to_write_is_reported(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.change(fd, WRITE)
    assert poller.poll(SOON) == [(fd, WRITE)]


def test_room_to_write_is_not_reported_where_there_is_none(poller: Poller, fd: int) -> None:
    fill(poller, fd)
    poller.change(fd, WRITE)
    assert poller.poll(0) == []


def test_room_to_write_is_reported_once_the_peer_has_read(poller: Poller, fd: int, peer: socket.socket) -> None:
    unread = sum(fill(poller, fd))
    poller.change(fd, WRITE)
    while unread and not poller.poll(0):
        unread -= len(peer.recv(65536))
    assert poller.poll(SOON) == [(fd, WRITE)]


def test_both_are_reported_at_once(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.change(fd, WRITE)
    poller.poll(SOON)
    poller.change(fd, READ | WRITE)
    assert poller.poll(SOON) == [(fd, READ | WRITE)]


def test_what_is_forgotten_is_not_reported(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.forget(fd)
    assert poller.poll(0) == []
    poller.watch(fd, READ)
    assert poller.poll(SOON) == [(fd, READ)]


def test_reading_fills_the_buffer_and_says_how_far(poller: Poller, fd: int, peer: socket.socket) -> None:
    buffer = bytearray(b"........")
    peer.sendall(b"hello")
    poller.poll(SOON)
    assert poller.readv(fd, [memoryview(buffer)]) == 5
    assert buffer == b"hello..."


def test_reading_at_the_end_gives_nothing(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)
    poller.poll(SOON)
    assert poller.readv(fd, [memoryview(bytearray(1))]) == 0


def test_reading_does_not_wait(poller: Poller, fd: int) -> None:
    with pytest.raises(BlockingIOError):
        poller.readv(fd, [memoryview(bytearray(1))])


def test_writing_says_how_much_went_and_does_not_wait(poller: Poller, fd: int) -> None:
    assert fill(poller, fd)[-1] < BLOCK
    with pytest.raises(BlockingIOError):
        poller.write(fd, bytes(BLOCK))


def test_what_is_written_arrives(poller: Poller, fd: int, peer: socket.socket) -> None:
    assert poller.write(fd, memoryview(b"hello")[1:]) == 4
    assert peer.recv(9) == b"ello"


def test_a_descriptor_that_is_shut_is_closed_and_not_reported(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        fd = poller.adopt(listener.accept()[0])
        poller.watch(fd, READ)
        poller.close_fd(fd)
        assert poller.poll(0) == []
        assert peer.recv(1) == b""


def test_a_number_that_was_shut_can_be_used_anew(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            with socket.create_connection(listener.getsockname()) as peer:
                fd = poller.adopt(listener.accept()[0])
                poller.watch(fd, READ)
                peer.sendall(b"hello")
                assert poller.poll(SOON) == [(fd, READ)]
                poller.close_fd(fd)


def test_waiting_for_ever_ends_with_the_first_event(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    assert poller.poll(None) == [(fd, READ)]


def test_the_best_poller_is_the_fastest_there_is() -> None:
    made = best()
    made.close()
    assert type(made) is MAKERS[-1]


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def fill(poller: Poller, fd: int) -> list[int]:
    """Write blocks until nothing more goes; say how much of each did."""
    written = []
    with suppress(BlockingIOError):
        while True:
            written.append(poller.write(fd, bytes(BLOCK)))
    return written
