import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from halloo._net.connection import CHUNK, Connection
from halloo._net.connector import connect
from halloo._net.listener import Listener, listen
from halloo.errors import IncompleteRead, Reset, TimedOut

Pair = tuple[Connection, Connection]

WAIT = 10.0  # seconds that no test takes: each socket call of a broken one ends after them
RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER of 0 seconds: close with a reset (socket(7))
BULK = bytes(range(256)) * 4096


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen(0, family=4) as opened:
        yield opened


@pytest.fixture
def pair(listener: Listener) -> Iterator[Pair]:
    with connect(listener.address, timeout=WAIT) as near, listener.accept(timeout=WAIT) as far:
        far.timeout = WAIT
        yield near, far


def narrow(connection: Connection) -> None:
    """Leave room for a few KiB on the way out."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def reset(connection: Connection) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


# Sending and receiving.


def test_what_is_sent_is_received(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello")
    assert far.receive() == b"hello"


def test_what_comes_back_is_received(pair: Pair) -> None:
    near, far = pair
    far.send(b"hello")
    assert near.receive() == b"hello"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_can_be_sent(pair: Pair, kind: Callable[[bytes], bytes]) -> None:
    near, far = pair
    near.send(kind(b"hello"))
    assert far.receive() == b"hello"


def test_sending_nothing_sends_nothing(pair: Pair) -> None:
    near, far = pair
    near.send(b"")
    near.send_eof()
    assert far.receive() == b""


def test_all_is_sent_to_a_slow_reader(pair: Pair) -> None:
    near, far = pair
    narrow(near)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: b"".join(iter(lambda: far.receive(4000), b"")))
        near.send(BULK)
        near.send_eof()
        assert reading.result() == BULK


def test_a_reading_takes_no_more_than_its_limit(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello")
    assert [far.receive(3), far.receive(3)] == [b"hel", b"lo"]


def test_exactly_so_many_bytes_are_received_and_the_others_left(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello world")
    assert [far.receive_exactly(5), far.receive()] == [b"hello", b" world"]


def test_exactly_so_many_bytes_are_received_in_however_many_pieces(pair: Pair) -> None:
    near, far = pair
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(far.receive_exactly, len(BULK))
        near.send(BULK)
        assert reading.result() == BULK


def test_exactly_no_bytes_need_no_waiting(pair: Pair) -> None:
    assert pair[0].receive_exactly(0) == b""


def test_an_end_that_comes_too_early_holds_what_came(pair: Pair) -> None:
    near, far = pair
    near.send(b"hel")
    near.send_eof()
    with pytest.raises(IncompleteRead, match="after 3 of 5 bytes") as caught:
        far.receive_exactly(5)
    assert caught.value.partial == b"hel"


def test_the_peers_end_is_empty_however_often_it_is_asked_for(pair: Pair) -> None:
    near, far = pair
    near.close()
    assert [far.receive(), far.receive()] == [b"", b""]


def test_after_a_half_close_the_other_direction_still_works(pair: Pair) -> None:
    near, far = pair
    near.send_eof()
    assert far.receive() == b""
    far.send(b"goodbye")
    assert near.receive() == b"goodbye"


def test_a_half_close_after_the_peers_reset_is_no_error(pair: Pair) -> None:
    near, far = pair
    reset(far)
    with pytest.raises(Reset):
        near.receive()
    near.send_eof()


def test_a_connection_is_the_chunks_until_the_peers_end(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello")
    near.send_eof()
    assert b"".join(far) == b"hello"


def test_no_chunk_is_longer_than_it_may_be(pair: Pair) -> None:
    near, far = pair
    with ThreadPoolExecutor(1) as pool:
        sizes = pool.submit(lambda: [len(chunk) for chunk in far])
        near.send(BULK)
        near.send_eof()
        assert max(sizes.result()) <= CHUNK


def test_abandoning_ends_the_wait_of_another_thread(pair: Pair) -> None:
    near, _ = pair
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(near.receive)
        near.abort()
        assert waiting.result() == b""


def test_an_abandoned_connection_can_be_abandoned_again(pair: Pair) -> None:
    near, far = pair
    reset(far)
    near.abort()
    near.abort()


def test_a_connection_is_closed_with_its_block(listener: Listener) -> None:
    with connect(listener.address) as near:
        pass
    assert near.socket.fileno() == -1


def test_small_messages_are_sent_at_once(pair: Pair) -> None:
    assert [each.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0 for each in pair] == [True, True]


# Waiting no longer than allowed.


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_receiving_ends_when_nothing_comes_in_time(pair: Pair, timeout: float) -> None:
    with pytest.raises(TimedOut, match=f"nothing came from .* within {timeout} seconds"):
        pair[0].receive(timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_receiving_exactly_ends_when_the_rest_does_not_come_in_time(pair: Pair, timeout: float) -> None:
    near, far = pair
    near.send(b"hel")
    with pytest.raises(TimedOut):
        far.receive_exactly(5, timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_sending_ends_when_the_peer_takes_nothing_in_time(pair: Pair, timeout: float) -> None:
    near, _ = pair
    narrow(near)
    with pytest.raises(TimedOut, match=r"takes no more bytes \(\d+ of 67108864 left\)"):
        near.send(bytes(64 << 20), timeout=timeout)


def test_the_connections_timeout_holds_where_a_call_has_none(pair: Pair) -> None:
    near, _ = pair
    near.timeout = 0.01
    with pytest.raises(TimedOut, match=r"within 0\.01 seconds"):
        near.receive()


def test_what_has_come_is_received_without_waiting(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello")
    assert far.receive_exactly(5, timeout=0) == b"hello"


def test_a_connection_can_be_used_after_a_timeout(pair: Pair) -> None:
    near, far = pair
    with pytest.raises(TimedOut):
        near.receive(timeout=0)
    far.send(b"late")
    assert near.receive() == b"late"


# The peer's reset.


def test_receiving_tells_of_a_reset(pair: Pair) -> None:
    near, far = pair
    reset(far)
    with pytest.raises(Reset, match="ended the connection with a reset"):
        near.receive()


def test_sending_tells_of_a_reset(pair: Pair) -> None:
    near, far = pair
    narrow(near)
    reset(far)
    with pytest.raises(Reset):
        near.send(BULK)


def test_a_reset_is_the_one_that_python_knows(pair: Pair) -> None:
    near, far = pair
    reset(far)
    with pytest.raises(ConnectionResetError) as caught:
        near.receive()
    assert caught.value.errno == errno.ECONNRESET


def test_sending_after_the_peers_reset_was_met_is_a_reset_too(pair: Pair) -> None:
    near, far = pair
    reset(far)
    with pytest.raises(Reset):
        near.receive()
    with pytest.raises(Reset, match="has closed the connection"):
        near.send(b"hello")
