"""Both pollers keep one contract, so that one loop runs on either."""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from halloo._server import poller as pollers
from halloo._server.poller import READ, READ_NORMAL, WRITE, Poller, Selector, default_poller
from tests.peers import reset

MAKERS: list[Callable[[], Poller]] = [Selector]
if hasattr(select, "epoll"):
    MAKERS.append(pollers.Epoll)

BLOCK_SIZE = 1 << 20  # bytes
POLL_TIMEOUT = 5  # seconds allowed for an event that is certain


@pytest.fixture(params=MAKERS)
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """The other end of `fd`: a TCP connection, because it can be reset."""
    with socket.socket() as sock:
        yield sock


@pytest.fixture
def fd(poller: Poller, peer: socket.socket) -> Iterator[int]:
    """A connection that was adopted and is watched for reading."""
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


def test_a_readable_descriptor_is_reported(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    assert poller.poll(POLL_TIMEOUT) == [(fd, READ)]


def test_read_normal_is_reported_for_those_that_ask_for_it(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.change(fd, READ_NORMAL)
    assert poller.poll(POLL_TIMEOUT) == [(fd, READ_NORMAL)]
    poller.change(fd, READ)
    assert poller.poll(POLL_TIMEOUT) == [(fd, READ)]


def test_a_descriptor_watched_for_nothing_is_not_reported(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.change(fd, 0)
    assert poller.poll(0) == []
    poller.change(fd, READ)
    assert poller.poll(POLL_TIMEOUT) == [(fd, READ)]


def test_queued_bytes_count_until_both_sides_have_read(poller: Poller, fd: int, peer: socket.socket) -> None:
    assert poller.queued_bytes(fd) == (0, 0)
    peer.sendall(b"hello")
    poller.poll(POLL_TIMEOUT)
    if not any(poller.queued_bytes(fd)):
        pytest.skip("this system does not tell")
    assert poller.queued_bytes(fd) == (5, 0)
    assert poller.read(fd, 9) == b"hello"
    assert poller.queued_bytes(fd) == (0, 0)


def test_shutdown_write_sends_fin_and_reading_goes_on(poller: Poller, fd: int, peer: socket.socket) -> None:
    poller.close_notify(fd)
    poller.shutdown_write(fd)
    assert peer.recv(1) == b""
    peer.sendall(b"hello")
    poller.poll(POLL_TIMEOUT)
    assert poller.read(fd, 9) == b"hello"


def test_a_descriptor_is_reported_again_until_it_is_read(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    assert poller.poll(POLL_TIMEOUT) == poller.poll(POLL_TIMEOUT) == [(fd, READ)]
    poller.readv(fd, [memoryview(bytearray(5))])
    assert poller.poll(0) == []


def test_the_end_of_a_stream_is_reported_as_readable(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)
    assert poller.poll(POLL_TIMEOUT) == [(fd, READ)]


def test_a_reset_is_reported_to_a_reader(poller: Poller, fd: int, peer: socket.socket) -> None:
    reset(peer)
    [(ready, events)] = poller.poll(POLL_TIMEOUT)
    assert ready == fd
    assert events & READ


def test_a_reset_is_reported_to_a_writer(poller: Poller, fd: int, peer: socket.socket) -> None:
    fill(poller, fd)
    poller.change(fd, WRITE)
    reset(peer)
    [(ready, events)] = poller.poll(POLL_TIMEOUT)
    assert ready == fd
    assert events & WRITE


def test_after_a_change_only_room_to_write_is_reported(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.change(fd, WRITE)
    assert poller.poll(POLL_TIMEOUT) == [(fd, WRITE)]


def test_room_to_write_is_not_reported_where_there_is_none(poller: Poller, fd: int) -> None:
    fill(poller, fd)
    poller.change(fd, WRITE)
    assert poller.poll(0) == []


def test_room_to_write_is_reported_once_the_peer_has_read(poller: Poller, fd: int, peer: socket.socket) -> None:
    unread = sum(fill(poller, fd))
    poller.change(fd, WRITE)
    while unread and not poller.poll(0):
        unread -= len(peer.recv(65536))
    assert poller.poll(POLL_TIMEOUT) == [(fd, WRITE)]


def test_both_are_reported_at_once(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.change(fd, WRITE)
    poller.poll(POLL_TIMEOUT)
    poller.change(fd, READ | WRITE)
    assert poller.poll(POLL_TIMEOUT) == [(fd, READ | WRITE)]


def test_an_unwatched_descriptor_is_not_reported(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    poller.unwatch(fd)
    assert poller.poll(0) == []
    poller.watch(fd, READ)
    assert poller.poll(POLL_TIMEOUT) == [(fd, READ)]


def test_reading_fills_the_buffer_and_returns_the_count(poller: Poller, fd: int, peer: socket.socket) -> None:
    buffer = bytearray(b"........")
    peer.sendall(b"hello")
    poller.poll(POLL_TIMEOUT)
    assert poller.readv(fd, [memoryview(buffer)]) == 5
    assert buffer == b"hello..."


def test_reading_at_the_end_returns_zero(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)
    poller.poll(POLL_TIMEOUT)
    assert poller.readv(fd, [memoryview(bytearray(1))]) == 0


def test_reading_does_not_block(poller: Poller, fd: int) -> None:
    with pytest.raises(BlockingIOError):
        poller.readv(fd, [memoryview(bytearray(1))])


def test_writing_returns_the_count_and_does_not_block(poller: Poller, fd: int) -> None:
    assert fill(poller, fd)[-1] < BLOCK_SIZE
    with pytest.raises(BlockingIOError):
        poller.write(fd, bytes(BLOCK_SIZE))


def test_written_data_arrives(poller: Poller, fd: int, peer: socket.socket) -> None:
    assert poller.write(fd, memoryview(b"hello")[1:]) == 4
    assert peer.recv(9) == b"ello"


def test_close_fd_closes_and_unwatches(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        fd = poller.adopt(listener.accept()[0])
        poller.watch(fd, READ)
        poller.close_fd(fd)
        assert poller.poll(0) == []
        assert peer.recv(1) == b""


def test_a_closed_descriptor_number_can_be_reused(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            with socket.create_connection(listener.getsockname()) as peer:
                fd = poller.adopt(listener.accept()[0])
                poller.watch(fd, READ)
                peer.sendall(b"hello")
                assert poller.poll(POLL_TIMEOUT) == [(fd, READ)]
                poller.close_fd(fd)


def test_polling_without_a_timeout_ends_with_the_first_event(poller: Poller, fd: int, peer: socket.socket) -> None:
    peer.sendall(b"hello")
    assert poller.poll(None) == [(fd, READ)]


def test_the_default_poller_is_the_fastest_one() -> None:
    made = default_poller()
    made.close()
    assert type(made) is MAKERS[-1]


def fill(poller: Poller, fd: int) -> list[int]:
    """Write until it blocks; return how much each write took."""
    written = []
    with suppress(BlockingIOError):
        while True:
            written.append(poller.write(fd, bytes(BLOCK_SIZE)))
    return written
