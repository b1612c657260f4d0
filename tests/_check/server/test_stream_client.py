"""Tests of the checker's stream client: its timeouts, and the text and pattern of each failure."""

import errno
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from halloo._check.case import Evidence, Failed
from halloo._check.payload import payload
from halloo._check.server.stream_client import StreamClient
from halloo._check.sockets import check_not_self_connected, is_free, reset, unacknowledged
from tests.peers import echoing, peer, receive_all, resetting, silent, unused_port

QUIET = 0.02  # seconds of silence, instead of the default
LONG = 20.0  # seconds until something that is certain to arrive
BRIEF = 0.1  # seconds until a timeout that is expected

Serve = Callable[[socket.socket], object]


@contextmanager
def connected(port: int, **how: object) -> Iterator[StreamClient]:
    with StreamClient(("127.0.0.1", port), clock=time.monotonic, **how) as client:  # type: ignore[arg-type] # keyword arguments of the client
        yield client


@contextmanager
def failing(server: Serve, pattern: str, fact: str) -> Iterator[StreamClient]:
    """Check that what a client does with a server fails in this way."""
    with peer(server) as port, connected(port) as client:
        with pytest.raises(Failed, match=re.escape(fact)) as failed:
            yield client
        assert failed.value.pattern == pattern


def saying(data: bytes) -> Serve:
    """Send the data, then read to the end of the stream."""

    def act(connection: socket.socket) -> None:
        connection.sendall(data)
        receive_all(connection)

    return act


def test_an_echo_is_accepted_and_the_expected_reply_may_differ_from_the_request() -> None:
    with peer(echoing) as port, connected(port) as client:
        assert client.roundtrip(b"hello\n", quiet_time=QUIET) < 2
        client.half_close()
        client.expect_eof()
    with peer(saying(b"HELLO\n")) as port, connected(port, expected=bytes.upper) as client:
        client.roundtrip(b"hello\n", quiet_time=QUIET)


def test_duplex_sends_and_receives_at_the_same_time() -> None:
    with peer(echoing) as port, connected(port) as client:
        client.duplex(payload(4 << 20), half_close=True)
        assert client.sent == client.received == 4 << 20


def test_a_stream_is_cut_short_after_a_while_however_much_was_sent_by_then() -> None:
    """The clock shows 10 ms more each time, as that of a slow machine."""
    looks = count()
    with (
        peer(echoing) as port,
        StreamClient(("127.0.0.1", port), clock=lambda: next(looks) / 100) as client,
    ):
        client.duplex(payload(4 << 20), half_close=True, chunk_size=1000)
        assert 0 < client.sent == client.received < 4 << 20
        assert client.sent % 8 == 0  # whole lines


def test_a_limit_grows_with_the_round_trip_to_a_far_server() -> None:
    for far in (False, True):
        with peer(echoing) as port, connected(port, far=far) as client:
            client.roundtrip(b"hello\n", quiet_time=QUIET)
            assert (client.allowed(2) > 2) is far


def test_a_wrong_reply_is_described() -> None:
    surplus = "6 unexpected bytes were received after 6 bytes sent and 12 received: b'hello\\n'"
    for reply, pattern, fact in (
        (b"hello\nhello\n", "surplus again", surplus),
        (b"hello\n\0", "surplus inserted nul", "1 unexpected byte was received after 6 bytes sent and 7 received"),
        (b"hullo\n", "changed", "at offset 1 other bytes were received than expected"),
        (b"> hello\n", "inserted", "at offset 0 2 bytes are inserted: b'> '"),
        (b"hel", "short", "sent b'hello\\n': 3 of 6 bytes came back, then nothing for 0.1 s"),
        (b"hello", "short newline", "sent b'hello\\n': 5 of 6 bytes came back, then nothing for 0.1 s"),
        (b"", "silent", "sent b'hello\\n': 0 of 6 bytes came back within 0.1 s"),
    ):
        with failing(saying(reply), pattern, fact) as client:
            client.wait(LONG if reply else 0)  # until the reply has arrived
            client.roundtrip(b"hello\n", BRIEF)


def test_a_wrong_end_is_described() -> None:
    with failing(lambda _: None, "cut", "the server ended the stream first, after 0 bytes sent") as client:
        client.expect_silence(LONG)
    with failing(receive_all, "open", "did not end the stream within 0.1 s of the client's half-close") as client:
        client.expect_eof(BRIEF)
    with failing(saying(b"bye"), "surplus inserted first", "3 unexpected bytes were received") as client:
        client.expect_eof()
    with failing(receive_all, "cut", "0 of 6 bytes came back, then the end of the") as client:
        client.half_close()
        client.expect(b"hello\n")
    with failing(resetting, "reset", "Connection reset by peer") as client:
        client.half_close()
        client.expect_eof()


def test_the_evidence_contains_the_bytes_around_a_difference() -> None:
    data = payload(200)
    server = saying(data[:100] + b"?" + data[101:])
    with peer(server) as port, connected(port) as client, pytest.raises(Failed) as failed:
        client.roundtrip(data)
    assert failed.value.evidence == Evidence(100, data[68:132], data[68:100] + b"?" + data[101:132])


def test_a_server_that_stops_reading_is_reported() -> None:
    with silent() as port, connected(port) as client:
        assert 0 < client.send_until_blocked(bytes(64 << 20), BRIEF) < 64 << 20
        with pytest.raises(Failed, match=r"the server accepted only [\d,]+ of 67,108,864 bytes within 0.1 s") as failed:
            client.send(bytes(64 << 20), BRIEF)
        assert failed.value.pattern == "stuck"


def test_a_refused_connection_and_a_self_connection_are_reported() -> None:
    port = unused_port()
    refused = re.compile(f"no connection to 127.0.0.1 port {port}: .*refused")
    with pytest.raises(Failed, match=refused) as failed:
        StreamClient(("127.0.0.1", port), clock=time.monotonic)
    assert failed.value.pattern == "refused"
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        with pytest.raises(Failed, match="connected to itself"):
            check_not_self_connected(sock)


def test_the_number_of_unacknowledged_bytes_is_known() -> None:
    with peer(receive_all) as port, connected(port) as client:
        client.send(b"hello")
        while unacknowledged(client.raw):
            client.wait(0.001, read=False)


def test_it_can_close_with_a_reset() -> None:
    errors: list[OSError] = []

    def act(connection: socket.socket) -> None:
        try:
            receive_all(connection)
        except OSError as error:
            errors.append(error)

    with peer(act) as port, connected(port) as client:
        client.reset()
    assert isinstance(errors[0], ConnectionResetError)


class StubbornSocket(socket.socket):
    """A socket that refuses every option, as one does on macOS once the peer has reset it."""

    def setsockopt(self, *_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_a_socket_that_refuses_to_be_reset_is_closed() -> None:
    sock = StubbornSocket()
    with pytest.raises(OSError, match="Invalid argument"):
        reset(sock)
    assert sock.fileno() == -1


def test_a_local_port_can_be_reused() -> None:
    with peer(receive_all) as port, connected(port, source_port=0) as client:
        used = client.raw.getsockname()[1]
        client.half_close()
        client.expect_eof()
    with peer(receive_all) as port, connected(port, source_port=used) as client:
        assert client.raw.getsockname()[1] == used


def closing_first(connection: socket.socket) -> None:
    """Close before the client does, and after it has sent something."""
    connection.recv(1)
    connection.close()


@pytest.mark.parametrize("frees_port", [True, False])
def test_a_port_can_be_kept_out_of_time_wait(frees_port: bool) -> None:
    with peer(closing_first) as port, connected(port, frees_port=frees_port) as client:
        client.send(b"x")
        client.expect_eof()
    assert is_free("tcp", port) == frees_port


def test_a_server_that_has_ended_its_side_alone_is_not_reset() -> None:
    read: list[bytes] = []

    def half_closing(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        read.append(connection.recv(1))

    with peer(half_closing) as port, connected(port, frees_port=True) as client:
        client.expect_eof()
        client.close()
    assert read == [b""]
