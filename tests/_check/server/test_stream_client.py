"""Tests of the checker's stream client: its timeouts, and the text and pattern of each failure."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from halloo._check.case import Failed
from halloo._check.payload import payload
from halloo._check.server.stream_client import StreamClient, check_not_self_connected
from tests.peers import echoing, peer, receive_all, resetting, silent, unused_port

QUIET = 0.02  # seconds of silence, instead of the default
LONG = 20.0  # seconds until something that is certain to arrive
BRIEF = 0.1  # seconds until a timeout that is expected


@contextmanager
def connected(port: int, **how: object) -> Iterator[StreamClient]:
    with StreamClient(("127.0.0.1", port), clock=time.monotonic, **how) as client:  # type: ignore[arg-type] # keyword arguments of the client
        yield client


def failing(act: Callable[[StreamClient], object], server: Callable[[socket.socket], object]) -> Failed:
    """Return the failure of a client with a server."""
    with peer(server) as port, connected(port) as client:
        with pytest.raises(Failed) as failed:
            act(client)
        return failed.value


def saying(data: bytes) -> Callable[[socket.socket], None]:
    """Send the data, then read to the end of the stream."""

    def act(connection: socket.socket) -> None:
        connection.sendall(data)
        receive_all(connection)

    return act


def ending_at_once(_: socket.socket) -> None:
    """Close without sending anything."""


def test_an_echo_is_accepted() -> None:
    with peer(echoing) as port, connected(port) as client:
        assert client.roundtrip(b"hello\n", quiet_time=QUIET) < 2
        client.half_close()
        client.expect_eof()


def test_duplex_sends_and_receives_at_the_same_time() -> None:
    with peer(echoing) as port, connected(port) as client:
        client.duplex(payload(4 << 20), half_close=True)
        assert client.sent == client.received == 4 << 20


def test_the_expected_reply_may_differ_from_the_request() -> None:
    with peer(saying(b"HELLO\n")) as port, connected(port, expected=bytes.upper) as client:
        client.roundtrip(b"hello\n", quiet_time=QUIET)


def test_a_greeting_can_be_skipped() -> None:
    with peer(saying(b"welcome\nhello\n")) as port, connected(port) as client:
        client.skip_line()
        client.expect(b"hello\n", quiet_time=QUIET)


@pytest.mark.parametrize(
    ("reply", "pattern", "fact"),
    [
        (
            b"hello\nhello\n",
            "surplus",
            "6 unexpected bytes were received after 6 bytes sent and 12 received: b'hello\\n'",
        ),
        (b"hullo\n", "changed", "at offset 1 bytes were received that were never sent"),
        (b"hel", "short", "sent b'hello\\n': 3 of 6 bytes came back within 0.1 s"),
        (b"", "silent", "sent b'hello\\n': 0 of 6 bytes came back within 0.1 s"),
    ],
)
def test_a_wrong_reply_is_described(reply: bytes, pattern: str, fact: str) -> None:
    def act(client: StreamClient) -> None:
        if reply:
            client.wait(LONG)  # until the reply has arrived
        client.roundtrip(b"hello\n", BRIEF)

    failure = failing(act, saying(reply))
    assert (failure.pattern, str(failure)) == (pattern, fact)


def test_the_evidence_contains_the_bytes_around_a_difference() -> None:
    data = payload(200)
    failure = failing(lambda client: client.roundtrip(data), saying(data[:100] + b"?" + data[101:]))
    assert failure.evidence
    assert failure.evidence.offset == 100
    assert failure.evidence.expected == data[68:132]
    assert failure.evidence.received == data[68:100] + b"?" + data[101:132]


def test_an_end_of_stream_before_the_reply_is_reported() -> None:
    def act(client: StreamClient) -> None:
        client.half_close()
        client.expect(b"hello\n")

    failure = failing(act, receive_all)
    assert (failure.pattern, str(failure)[-50:]) == ("cut", "0 of 6 bytes came back, then the end of the stream")


def test_an_unexpected_end_of_stream_is_reported() -> None:
    failure = failing(lambda client: client.expect_silence(LONG), ending_at_once)
    assert failure.pattern == "cut"
    assert str(failure) == "the server ended the stream first, after 0 bytes sent and 0 received"


def test_a_missing_end_of_stream_is_reported() -> None:
    failure = failing(lambda client: client.expect_eof(BRIEF), receive_all)
    assert (failure.pattern, str(failure)) == (
        "open",
        "the server did not end the stream within 0.1 s of the client's half-close",
    )


def test_bytes_before_the_end_of_stream_are_reported() -> None:
    failure = failing(lambda client: client.expect_eof(), saying(b"bye"))
    assert failure.pattern == "surplus"


def test_a_reset_is_reported() -> None:
    def act(client: StreamClient) -> None:
        client.half_close()
        client.expect_eof()

    failure = failing(act, resetting)
    assert failure.pattern == "reset"
    assert "Connection reset by peer" in str(failure)


def test_a_server_that_stops_reading_is_reported() -> None:
    with silent() as port, connected(port) as client:
        with pytest.raises(Failed, match=r"the server accepted only [\d,]+ of 67,108,864 bytes within 0.1 s") as failed:
            client.send(bytes(64 << 20), BRIEF)
        assert failed.value.pattern == "stuck"


def test_a_refused_connection_is_reported() -> None:
    port = unused_port()
    with pytest.raises(Failed, match=f"no connection to 127.0.0.1 port {port}: .*refused") as failed:
        StreamClient(("127.0.0.1", port), clock=time.monotonic)
    assert failed.value.pattern == "refused"


def test_a_self_connection_is_rejected() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        with pytest.raises(Failed, match="connected to itself"):
            check_not_self_connected(sock)


def test_send_until_blocked_stops_at_backpressure() -> None:
    with silent() as port, connected(port) as client:
        assert 0 < client.send_until_blocked(bytes(64 << 20), BRIEF) < 64 << 20


def test_the_number_of_unacknowledged_bytes_is_known() -> None:
    with peer(receive_all) as port, connected(port) as client:
        client.send(b"hello")
        while client.unacknowledged():
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


def test_a_local_port_can_be_reused() -> None:
    with peer(receive_all) as port, connected(port, source_port=0) as client:
        used = client.port
        client.half_close()
        client.expect_eof()
    with peer(receive_all) as port, connected(port, source_port=used) as client:
        assert client.port == used
