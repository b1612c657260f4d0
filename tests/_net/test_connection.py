import errno
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from halloo._core.address import Address
from halloo._net.connection import CHUNK, Connection
from halloo._net.connector import connect
from halloo._net.listener import Listener, listen
from halloo.errors import ConnectionClosed, IncompleteRead, MessageTooLong, Reset, TimedOut, UsageError
from halloo.testing import every_split
from tests.blocked import check_message_after_timeout, until_blocked

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


@pytest.mark.parametrize("blocked", [True, False])
def test_abort_resets_the_connection_and_ends_the_wait_of_another_thread(pair: Pair, blocked: bool) -> None:
    near, far = pair
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(near.receive)
        if blocked:
            until_blocked(near)
        near.abort()
        with pytest.raises(ConnectionClosed, match="is closed on this side"):
            waiting.result()
    with pytest.raises(Reset):
        far.receive()


def test_an_aborted_connection_can_be_aborted_again(pair: Pair) -> None:
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


# Receiving up to a separator.


class InPieces(socket.socket):
    """A socket on which each receive returns the next of some pieces, then the end."""

    pieces: list[bytes]

    def recv(self, _size: int, _flags: int = 0, /) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@pytest.mark.parametrize("pieces", [*every_split(b"one\r\n\rtwo\r\nthree")], ids=str)
def test_a_message_ends_with_its_separator_however_it_is_split(pieces: list[bytes]) -> None:
    with Connection(InPieces(), Address(host="peer")) as connection:
        connection.socket.pieces = list(pieces)  # type: ignore[attr-defined]
        assert [connection.receive_until(b"\r\n"), connection.receive_until(b"\r\n")] == [b"one\r\n", b"\rtwo\r\n"]
        with pytest.raises(IncompleteRead) as caught:
            connection.receive_until(b"\r\n")
    assert caught.value.partial == b"three"


def test_a_message_longer_than_the_limit_is_refused_and_its_bytes_kept(pair: Pair) -> None:
    near, far = pair
    near.send(b"123456\n")
    with pytest.raises(MessageTooLong, match=r"sent 6 bytes without b'\\n'; allow more with limit="):
        far.receive_until(b"\n", 6)
    assert far.receive_until(b"\n", 7) == b"123456\n"


def test_an_end_without_the_separator_holds_what_came(pair: Pair) -> None:
    near, far = pair
    near.send(b"abc")
    near.send_eof()
    with pytest.raises(IncompleteRead, match=r"closed the connection after 3 bytes, without b'\\n'") as caught:
        far.receive_until(b"\n")
    assert (caught.value.partial, far.receive()) == (b"abc", b"")


def test_an_empty_separator_is_refused(pair: Pair) -> None:
    with pytest.raises(UsageError, match="separator must not be empty"):
        pair[0].receive_until(b"")


def test_the_last_line_may_lack_its_ending_and_then_lines_are_empty(pair: Pair) -> None:
    near, far = pair
    near.send(b"one\n\ntwo")
    near.send_eof()
    assert [far.receive_line() for _ in range(5)] == [b"one\n", b"\n", b"two", b"", b""]


def test_a_line_longer_than_the_limit_is_refused(pair: Pair) -> None:
    near, far = pair
    near.send(b"123456")
    with pytest.raises(MessageTooLong):
        far.receive_line(5)


# Interrupted calls.


@pytest.mark.parametrize("size", [5, 6])
def test_what_a_read_had_received_at_its_timeout_is_read_by_the_next(pair: Pair, size: int) -> None:
    near, far = pair
    near.send(b"hel")
    with pytest.raises(TimedOut) as caught:
        far.receive_exactly(size, timeout=0.01)
    assert caught.value.partial == b"hel"
    near.send(b"lo\n")
    assert far.receive_line() == b"hello\n"


def test_what_a_read_had_received_before_the_peers_reset_is_read_by_the_next(pair: Pair) -> None:
    near, far = pair
    near.send(b"hel")
    with pytest.raises(TimedOut):
        far.receive_exactly(5, timeout=0.01)
    reset(near)
    with pytest.raises(Reset) as caught:
        far.receive_exactly(5)
    assert (caught.value.partial, far.receive()) == (b"hel", b"hel")


@pytest.mark.skipif(os.name == "nt", reason="a signal there cannot be sent to one thread")
def test_what_a_read_had_received_at_a_signal_is_read_by_the_next(pair: Pair) -> None:
    near, far = pair
    near.send(b"hel")
    main = threading.get_ident()

    def interrupt() -> None:
        until_blocked(far)
        while far._unread != b"hel":
            pass
        signal.pthread_kill(main, signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            far.receive_exactly(5)
    near.send(b"lo")
    assert far.receive_exactly(5) == b"hello"


def test_a_send_that_timed_out_counts_what_it_has_handed_over(pair: Pair) -> None:
    near, far = pair
    narrow(near)
    with pytest.raises(TimedOut) as caught:
        near.send(BULK * 16, timeout=0.05)
    near.send_eof()
    assert 0 < caught.value.sent < len(BULK) * 16
    assert b"".join(far) == (BULK * 16)[: caught.value.sent]


def test_a_message_after_a_send_that_timed_out_arrives_once(pair: Pair) -> None:
    check_message_after_timeout(*pair)


# Closing.


@pytest.mark.parametrize("call", ["receive", "send"])
def test_close_ends_the_blocked_call_of_another_thread(pair: Pair, call: str) -> None:
    near, _ = pair
    near.timeout = None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(near.receive) if call == "receive" else pool.submit(near.send, bytes(64 << 20))
        until_blocked(near)
        near.close()
        with pytest.raises(ConnectionClosed, match=r"the connection to .* is closed on this side; connect again"):
            waiting.result()


@pytest.mark.parametrize("close", [Connection.close, Connection.abort])
def test_a_closed_connection_says_so(pair: Pair, close: Callable[[Connection], None]) -> None:
    near, _ = pair
    close(near)
    for call in (near.receive, near.send_eof, lambda: near.send(b"x"), lambda: near.local_address):
        with pytest.raises(ConnectionAbortedError):
            call()
    assert near.fileno() == -1


def test_abort_drops_bytes_not_yet_sent(pair: Pair) -> None:
    near, far = pair
    with pytest.raises(TimedOut):
        near.send(bytes(64 << 20), timeout=0.01)
    near.abort()
    with pytest.raises(ConnectionResetError):
        for _ in far:
            pass


# Addresses and descriptors.


def test_either_side_knows_both_addresses(pair: Pair) -> None:
    near, far = pair
    assert (near.local_address, near.address) == (far.address, far.local_address)


def test_a_connection_can_be_selected(pair: Pair) -> None:
    near, far = pair
    far.send(b"hello")
    assert select.select([near], [], [], WAIT)[0] == [near]
    assert near.fileno() == near.socket.fileno()


# Waiting no longer than allowed.


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_receiving_ends_when_nothing_comes_in_time(pair: Pair, timeout: float) -> None:
    with pytest.raises(TimedOut, match=f"sent nothing within {timeout} seconds"):
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
    with pytest.raises(TimedOut, match=r"took no more bytes \(\d+ of 67108864 left\)"):
        near.send(bytes(64 << 20), timeout=timeout)


def test_the_connections_timeout_holds_where_a_call_has_none(pair: Pair) -> None:
    near, _ = pair
    near.timeout = 0.01
    with pytest.raises(TimedOut, match=r"within 0\.01 seconds"):
        near.receive()


def test_a_timeout_of_a_call_replaces_the_connections(pair: Pair) -> None:
    near, far = pair
    near.timeout = 0
    far.send(b"hello")
    assert near.receive_exactly(5, timeout=None) == b"hello"
    with pytest.raises(TimedOut, match="within 0 seconds"):
        near.receive(timeout=...)


def test_none_waits_for_ever(pair: Pair) -> None:
    near, far = pair
    near.timeout = 0
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(near.receive, timeout=None)
        until_blocked(near)
        far.send(b"late")
        assert reading.result() == b"late"


@pytest.mark.parametrize("read", ["receive_exactly", "receive_until"])
def test_a_deadline_bounds_a_read_from_a_peer_that_sends_a_byte_now_and_then(pair: Pair, read: str) -> None:
    near, far = pair
    stopped = threading.Event()

    def drip() -> None:
        while not stopped.wait(0.01):
            far.send(b".")

    with ThreadPoolExecutor(1) as pool:
        dripping = pool.submit(drip)
        with pytest.raises(TimedOut, match=r"sent nothing within 0\.1 seconds") as caught:
            getattr(near, read)(*{"receive_exactly": (10**6,), "receive_until": (b"!",)}[read], deadline=0.1)
        stopped.set()
        dripping.result()
    assert 0 < len(caught.value.partial) < 100


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
