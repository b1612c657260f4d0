import errno
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from halloo._core.address import Address
from halloo._core.arguments import ReadableBuffer
from halloo._net.connection import CHUNK, Connection
from halloo.errors import ConnectionClosed, IncompleteRead, MessageTooLong, Reset, TimedOut, UsageError
from halloo.testing import every_split
from tests.blocked import check_message_after_timeout, until_blocked
from tests.conditions import TIMEOUT, Pair
from tests.peers import reset

BULK = bytes(range(256)) * 4096


def shrink_send_buffer(connection: Connection) -> None:
    """Reduce the send buffer to a few KiB."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


# Sending and receiving.


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_each_side_receives_what_the_other_sends(pair: Pair, kind: Callable[[bytes], bytes]) -> None:
    for one, other in (pair, pair[::-1]):
        one.send(kind(b""))
        one.send(kind(b"hello"))
        assert other.receive() == b"hello"


def test_urgent_bytes_are_received_in_their_places_by_either_side(pair: Pair) -> None:
    for one, other in (pair, pair[::-1]):
        one.send(b"a")
        one.socket.send(b"!", socket.MSG_OOB)
        one.send(b"b")
        assert other.receive_exactly(3) == b"a!b"


def test_send_delivers_everything_to_a_slow_reader(pair: Pair) -> None:
    client, server = pair
    shrink_send_buffer(client)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: b"".join(iter(lambda: server.receive(4000), b"")))
        client.send(BULK)
        client.send_eof()
        assert reading.result() == BULK


def test_receive_returns_at_most_the_limit_and_receive_exactly_the_size(pair: Pair) -> None:
    client, server = pair
    assert server.receive_exactly(0) == b""
    client.send(b"hello")
    assert [server.receive(3), server.receive(3)] == [b"hel", b"lo"]
    client.send(b"hello world")
    assert [server.receive_exactly(5, timeout=0), server.receive()] == [b"hello", b" world"]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(server.receive_exactly, len(BULK))
        client.send(BULK)
        assert reading.result() == BULK


def test_after_a_half_close_the_other_direction_stays_open(pair: Pair) -> None:
    client, server = pair
    client.send(b"hel")
    client.send_eof()
    with pytest.raises(IncompleteRead, match="after 3 of 5 bytes") as caught:
        server.receive_exactly(5)
    assert caught.value.partial == b"hel"
    assert [server.receive(), server.receive()] == [b"", b""]
    server.send(b"goodbye")
    assert client.receive() == b"goodbye"


def test_receive_and_later_calls_meet_the_peers_reset(pair: Pair) -> None:
    client, server = pair
    reset(server.socket)
    with pytest.raises(Reset, match="ended the connection with a reset") as caught:
        client.receive()
    assert isinstance(caught.value, ConnectionResetError)
    assert caught.value.errno == errno.ECONNRESET
    with pytest.raises(Reset, match="has closed the connection"):
        client.send(b"hello")
    client.send_eof()  # no error: receiving has reported it


def test_send_raises_reset(pair: Pair) -> None:
    client, server = pair
    shrink_send_buffer(client)
    reset(server.socket)
    with pytest.raises(Reset):
        client.send(BULK)


def test_no_chunk_exceeds_the_chunk_size(pair: Pair) -> None:
    client, server = pair
    with ThreadPoolExecutor(1) as pool:
        sizes = pool.submit(lambda: [len(chunk) for chunk in server])
        client.send(BULK)
        client.send_eof()
        assert max(sizes.result()) <= CHUNK


@pytest.mark.parametrize("blocked", [True, False])
def test_abort_resets_the_connection_and_unblocks_another_thread(pair: Pair, blocked: bool) -> None:
    client, server = pair
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.receive)
        if blocked:
            until_blocked(client)
        client.abort()
        with pytest.raises(ConnectionClosed, match="is closed on this side"):
            waiting.result()
    with pytest.raises(Reset):
        server.receive()


def test_an_aborted_connection_can_be_aborted_again(pair: Pair) -> None:
    client, server = pair
    reset(server.socket)
    client.abort()
    client.abort()


def test_both_sides_set_tcp_nodelay_and_know_both_addresses(pair: Pair) -> None:
    client, server = pair
    assert [each.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0 for each in pair] == [True, True]
    assert (client.local_address, client.address) == (server.address, server.local_address)
    server.send(b"hello")
    assert select.select([client], [], [], TIMEOUT)[0] == [client]
    with client:
        assert client.fileno() == client.socket.fileno()
    assert client.socket.fileno() == -1


# Receiving up to a separator.


class PiecewiseSocket(socket.socket):
    """A socket whose `recv` returns the next piece, and b"" after the last."""

    pieces: list[bytes]

    def recv(self, _size: int, _flags: int = 0, /) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@pytest.mark.parametrize("pieces", [*every_split(b"one\r\n\rtwo\r\nthree")], ids=str)
def test_receive_until_finds_a_separator_split_across_pieces(pieces: list[bytes]) -> None:
    sock = PiecewiseSocket()
    sock.pieces = list(pieces)
    with Connection(sock, Address(host="peer")) as connection:
        assert [connection.receive_until(b"\r\n"), connection.receive_until(b"\r\n")] == [b"one\r\n", b"\rtwo\r\n"]
        with pytest.raises(IncompleteRead) as caught:
            connection.receive_until(b"\r\n")
    assert caught.value.partial == b"three"


def test_a_message_over_the_limit_is_refused_and_stays_readable(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(UsageError, match="separator must not be empty"):
        server.receive_until(b"")
    client.send(b"123456\nabc")
    with pytest.raises(MessageTooLong, match=r"sent 6 bytes without b'\\n'; allow more with limit="):
        server.receive_until(b"\n", 6)
    with pytest.raises(MessageTooLong):
        server.receive_line(5)
    assert server.receive_until(b"\n", 7) == b"123456\n"
    client.send_eof()
    with pytest.raises(IncompleteRead, match=r"closed the connection after 3 bytes, without b'\\n'") as caught:
        server.receive_until(b"\n")
    assert (caught.value.partial, server.receive()) == (b"abc", b"")


def test_the_last_line_may_lack_its_ending_and_later_lines_are_empty(pair: Pair) -> None:
    client, server = pair
    client.send(b"one\n\ntwo")
    client.send_eof()
    assert [server.receive_line() for _ in range(5)] == [b"one\n", b"\n", b"two", b"", b""]


# Interrupted calls.


@pytest.mark.parametrize("size", [5, 6])
def test_bytes_received_before_a_timeout_are_returned_by_the_next_read(pair: Pair, size: int) -> None:
    client, server = pair
    client.send(b"hel")
    with pytest.raises(TimedOut) as caught:
        server.receive_exactly(size, timeout=0.01)
    assert caught.value.partial == b"hel"
    client.send(b"lo\n")
    assert server.receive_line() == b"hello\n"


def test_bytes_received_before_a_reset_are_returned_by_the_next_read(pair: Pair) -> None:
    client, server = pair
    client.send(b"hel")
    with pytest.raises(TimedOut):
        server.receive_exactly(5, timeout=0.01)
    reset(client.socket)
    with pytest.raises(Reset) as caught:
        server.receive_exactly(5)
    assert (caught.value.partial, server.receive()) == (b"hel", b"hel")


@pytest.mark.skipif(os.name == "nt", reason="a signal there cannot be sent to one thread")
def test_bytes_received_before_a_signal_are_returned_by_the_next_read(pair: Pair) -> None:
    client, server = pair
    client.send(b"hel")
    main = threading.get_ident()

    def interrupt() -> None:
        until_blocked(server)
        while server._unread != b"hel":
            pass
        signal.pthread_kill(main, signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.receive_exactly(5)
    client.send(b"lo")
    assert server.receive_exactly(5) == b"hello"


def test_a_send_that_times_out_reports_the_bytes_sent(pair: Pair) -> None:
    client, server = pair
    shrink_send_buffer(client)
    with pytest.raises(TimedOut) as caught:
        client.send(BULK * 16, timeout=0.05)
    client.send_eof()
    assert 0 < caught.value.sent < len(BULK) * 16
    assert b"".join(server) == (BULK * 16)[: caught.value.sent]


def test_a_message_after_a_timed_out_send_arrives_once(pair: Pair) -> None:
    check_message_after_timeout(*pair)


# Closing.


@pytest.mark.parametrize("call", ["receive", "send"])
def test_close_unblocks_a_call_in_another_thread(pair: Pair, call: str) -> None:
    client, _ = pair
    client.timeout = None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.receive) if call == "receive" else pool.submit(client.send, bytes(64 << 20))
        until_blocked(client)
        client.close()
        with pytest.raises(ConnectionClosed, match=r"the connection to .* is closed on this side; connect again"):
            waiting.result()


@pytest.mark.parametrize("close", [Connection.close, Connection.abort])
def test_calls_on_a_closed_connection_raise_connection_aborted(pair: Pair, close: Callable[[Connection], None]) -> None:
    client, _ = pair
    close(client)
    for call in (client.receive, client.send_eof, lambda: client.send(b"x"), lambda: client.local_address):
        with pytest.raises(ConnectionAbortedError):
            call()
    assert client.fileno() == -1


def test_abort_drops_bytes_not_yet_sent(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(TimedOut):
        client.send(bytes(64 << 20), timeout=0.01)
    client.abort()
    with pytest.raises(ConnectionResetError):
        for _ in server:
            pass


# Addresses and descriptors.


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_each_call_has_a_timeout_and_the_connection_its_default(pair: Pair, timeout: float) -> None:
    client, server = pair
    with pytest.raises(TimedOut, match=f"sent nothing within {timeout} seconds"):
        client.receive(timeout=timeout)
    server.send(b"hello")
    with pytest.raises(TimedOut):
        client.receive_exactly(6, timeout=timeout)
    client.timeout = timeout
    assert client.receive_exactly(5, timeout=None) == b"hello"
    for given in ({}, {"timeout": ...}):
        with pytest.raises(TimedOut, match=f"within {timeout} seconds"):
            client.receive(**given)  # type: ignore[arg-type]  # an Ellipsis, as the signature says
    shrink_send_buffer(client)
    with pytest.raises(TimedOut, match=r"took no more bytes \(\d+ of 67108864 left\)"):
        client.send(bytes(64 << 20))


# Timeouts and deadlines.


def test_a_timeout_of_none_waits_indefinitely(pair: Pair) -> None:
    client, server = pair
    client.timeout = 0
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(client.receive, timeout=None)
        until_blocked(client)
        server.send(b"late")
        assert reading.result() == b"late"


@pytest.mark.parametrize("read", ["receive_exactly", "receive_until"])
def test_a_deadline_bounds_a_read_from_a_peer_that_sends_byte_by_byte(pair: Pair, read: str) -> None:
    client, server = pair
    stopped = threading.Event()

    def drip() -> None:
        while not stopped.wait(0.01):
            server.send(b".")

    with ThreadPoolExecutor(1) as pool:
        dripping = pool.submit(drip)
        with pytest.raises(TimedOut, match=r"sent no more than \d+ bytes within 0\.1 s") as caught:
            getattr(client, read)(*{"receive_exactly": (10**6,), "receive_until": (b"!",)}[read], deadline=0.1)
        stopped.set()
        dripping.result()
    assert 0 < len(caught.value.partial) < 100


class TirelessSocket(socket.socket):
    """A socket of a peer that never pauses: there is always another byte to receive, and room for one to send."""

    def recv(self, _size: int, _flags: int = 0, /) -> bytes:
        return b"."

    def send(self, _data: ReadableBuffer, _flags: int = 0, /) -> int:  # type: ignore[override] # only bytes are sent
        return 1


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    ("call", "argument", "fact"),
    [
        ("receive_exactly", 10**9, "sent no more than"),
        ("receive_until", b"!", "sent no more than"),
        ("send", bytes(10**9), "took only"),
    ],
)
def test_a_deadline_bounds_a_call_to_a_peer_that_never_pauses(call: str, argument: object, fact: str) -> None:
    with Connection(TirelessSocket(), Address(host="peer")) as connection:
        limit = {"limit": 10**9} if call == "receive_until" else {}
        with pytest.raises(TimedOut, match=rf"^peer:8888 {fact} \d+ .*bytes within 0\.05 seconds"):
            getattr(connection, call)(argument, deadline=0.05, **limit)


class EmptySocket(socket.socket):
    """A socket that is readable, yet has no data: as one of TLS is, while its peer sends records of the protocol."""

    def recv(self, _size: int, _flags: int = 0, /) -> bytes:
        raise BlockingIOError


@pytest.mark.timeout(5)
@pytest.mark.parametrize("times", [{"timeout": 0.05}, {"timeout": None, "deadline": 0.05}], ids=str)
def test_wakeups_without_data_do_not_extend_a_wait(times: dict[str, Any]) -> None:
    near, far = socket.socketpair()
    with far, near, Connection(EmptySocket(fileno=near.detach()), Address(host="peer")) as connection:
        far.send(b"a record")
        with pytest.raises(TimedOut, match=r"sent nothing within 0\.05 seconds"):
            connection.receive(**times)


# The peer's reset.
