"""Tests of the checker's stream client: its timeouts, and the text and pattern of each failure."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from halloo._check.case import Failed
from halloo._check.payload import payload
from halloo._check.server.stream_client import StreamClient, check_not_self_connected, unacknowledged
from tests.peers import echoing, peer, receive_all, resetting, silent, unused_port

QUIET = 0.02  # seconds of silence, instead of the default
LONG = 20.0  # seconds until something that is certain to arrive
BRIEF = 0.1  # seconds until a timeout that is expected

Act = Callable[[StreamClient], object]
Serve = Callable[[socket.socket], object]


@contextmanager
def connected(port: int, **how: object) -> Iterator[StreamClient]:
    with StreamClient(("127.0.0.1", port), clock=time.monotonic, **how) as client:  # type: ignore[arg-type] # keyword arguments of the client
        yield client


def failing(act: Act, server: Serve) -> Failed:
    """Return the failure of a client with a server."""
    with peer(server) as port, connected(port) as client:
        with pytest.raises(Failed) as failed:
            act(client)
        return failed.value


def saying(data: bytes) -> Serve:
    """Send the data, then read to the end of the stream."""

    def act(connection: socket.socket) -> None:
        connection.sendall(data)
        receive_all(connection)

    return act


def half_closed(act: Act) -> Act:
    def first_half_close(client: StreamClient) -> None:
        client.half_close()
        act(client)

    return first_half_close


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
    assert failure.pattern == pattern
    assert str(failure).startswith(fact)


@pytest.mark.parametrize(
    ("act", "server", "pattern", "fact"),
    [
        (
            lambda c: c.expect_silence(LONG),
            lambda _: None,
            "cut",
            "the server ended the stream first, after 0 bytes sent",
        ),
        (
            lambda c: c.expect_eof(BRIEF),
            receive_all,
            "open",
            "did not end the stream within 0.1 s of the client's half-c",
        ),
        (lambda c: c.expect_eof(), saying(b"bye"), "surplus", "3 unexpected bytes were received"),
        (
            half_closed(lambda c: c.expect(b"hello\n")),
            receive_all,
            "cut",
            "0 of 6 bytes came back, then the end of the",
        ),
        (half_closed(lambda c: c.expect_eof()), resetting, "reset", "Connection reset by peer"),
    ],
)
def test_a_wrong_end_is_described(act: Act, server: Serve, pattern: str, fact: str) -> None:
    failure = failing(act, server)
    assert failure.pattern == pattern
    assert fact in str(failure)


def test_the_evidence_contains_the_bytes_around_a_difference() -> None:
    data = payload(200)
    failure = failing(lambda client: client.roundtrip(data), saying(data[:100] + b"?" + data[101:]))
    assert failure.evidence
    assert failure.evidence.offset == 100
    assert failure.evidence.expected == data[68:132]
    assert failure.evidence.received == data[68:100] + b"?" + data[101:132]


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


def test_a_local_port_can_be_reused() -> None:
    with peer(receive_all) as port, connected(port, source_port=0) as client:
        used = client.raw.getsockname()[1]
        client.half_close()
        client.expect_eof()
    with peer(receive_all) as port, connected(port, source_port=used) as client:
        assert client.raw.getsockname()[1] == used
