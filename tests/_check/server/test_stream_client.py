"""Tests of a checker's connection: it waits for nothing without a limit, and says what it has seen."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from halloo._check.case import Failed
from halloo._check.payload import payload
from halloo._check.server.stream_client import StreamClient, refuse_oneself
from tests.peers import echoing, everything, peer, resetting, silent, unused_port

QUIET = 0.02  # seconds, in place of those that a server is given
LONG = 20.0  # the same, where something comes for certain
BRIEF = 0.1  # the same, where it is waited for something in vain


@contextmanager
def connected(port: int, **how: object) -> Iterator[StreamClient]:
    with StreamClient(("127.0.0.1", port), clock=time.monotonic, **how) as client:  # type: ignore[arg-type] # as it has them
        yield client


def failing(act: Callable[[StreamClient], object], server: Callable[[socket.socket], object]) -> Failed:
    """Give how a client fails with a server."""
    with peer(server) as port, connected(port) as client:
        with pytest.raises(Failed) as failed:
            act(client)
        return failed.value


def saying(data: bytes) -> Callable[[socket.socket], None]:
    """Send this, and read on to the client's end."""

    def act(connection: socket.socket) -> None:
        connection.sendall(data)
        everything(connection)

    return act


def ending_at_once(_: socket.socket) -> None:
    """Say nothing, and close."""


def test_an_echo_is_what_it_expects() -> None:
    with peer(echoing) as port, connected(port) as client:
        assert client.ask(b"hello\n", surplus=QUIET) < 2
        client.half_close()
        client.end()


def test_much_goes_both_ways_at_once() -> None:
    with peer(echoing) as port, connected(port) as client:
        client.exchange(payload(4 << 20), half_close=True)
        assert client.sent == client.received == 4 << 20


def test_what_is_expected_may_be_something_else() -> None:
    with peer(saying(b"HELLO\n")) as port, connected(port, expected=bytes.upper) as client:
        client.ask(b"hello\n", surplus=QUIET)


def test_a_greeting_can_be_skipped() -> None:
    with peer(saying(b"welcome\nhello\n")) as port, connected(port) as client:
        client.skip_line()
        client.expect(b"hello\n", surplus=QUIET)


@pytest.mark.parametrize(
    ("came", "pattern", "fact"),
    [
        (b"hello\nhello\n", "surplus", "6 bytes too many came after 6 bytes sent and 12 received: b'hello\\n'"),
        (b"hullo\n", "changed", "at offset 1 came something that was never sent there"),
        (b"hel", "short", "sent b'hello\\n': 3 of 6 bytes came back within 0.1 s"),
        (b"", "silent", "sent b'hello\\n': 0 of 6 bytes came back within 0.1 s"),
    ],
)
def test_what_comes_instead_is_told(came: bytes, pattern: str, fact: str) -> None:
    def act(client: StreamClient) -> None:
        if came:
            client.wait(LONG)  # until it is there
        client.ask(b"hello\n", BRIEF)

    failure = failing(act, saying(came))
    assert (failure.pattern, str(failure)) == (pattern, fact)


def test_a_difference_is_shown_with_what_is_around_it() -> None:
    data = payload(200)
    failure = failing(lambda client: client.ask(data), saying(data[:100] + b"?" + data[101:]))
    assert failure.evidence
    assert failure.evidence.offset == 100
    assert failure.evidence.expected == data[68:132]
    assert failure.evidence.came == data[68:100] + b"?" + data[101:132]


def test_an_end_before_the_answer_is_told() -> None:
    def act(client: StreamClient) -> None:
        client.half_close()
        client.expect(b"hello\n")

    failure = failing(act, everything)
    assert (failure.pattern, str(failure)[-50:]) == ("cut", "0 of 6 bytes came back, then the end of the stream")


def test_an_end_that_nobody_asked_for_is_told() -> None:
    failure = failing(lambda client: client.quiet(LONG), ending_at_once)
    assert failure.pattern == "cut"
    assert str(failure) == "the server ended the stream unasked, after 0 bytes sent and 0 received"


def test_an_end_that_does_not_come_is_told() -> None:
    failure = failing(lambda client: client.end(BRIEF), everything)
    assert (failure.pattern, str(failure)) == ("open", "no end of the stream came within 0.1 s of the client's own")


def test_bytes_before_the_end_are_told() -> None:
    failure = failing(lambda client: client.end(), saying(b"bye"))
    assert failure.pattern == "surplus"


def test_a_reset_is_told() -> None:
    def act(client: StreamClient) -> None:
        client.half_close()
        client.end()

    failure = failing(act, resetting)
    assert failure.pattern == "reset"
    assert "Connection reset by peer" in str(failure)


def test_a_server_that_takes_nothing_is_told() -> None:
    with silent() as port, connected(port) as client:
        with pytest.raises(Failed, match=r"the server took only [\d,]+ of 67,108,864 bytes within 0.1 s") as failed:
            client.send(bytes(64 << 20), BRIEF)
        assert failed.value.pattern == "stuck"


def test_nobody_at_the_port_is_told() -> None:
    port = unused_port()
    with pytest.raises(Failed, match=f"no connection to 127.0.0.1 port {port}: .*refused") as failed:
        StreamClient(("127.0.0.1", port), clock=time.monotonic)
    assert failed.value.pattern == "refused"


def test_a_connection_to_itself_is_refused() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        with pytest.raises(Failed, match="led to itself"):
            refuse_oneself(sock)


def test_pushing_ends_when_nothing_more_is_taken() -> None:
    with silent() as port, connected(port) as client:
        assert 0 < client.push(bytes(64 << 20), BRIEF) < 64 << 20


def test_what_the_other_system_has_confirmed_is_known() -> None:
    with peer(everything) as port, connected(port) as client:
        client.send(b"hello")
        while client.unacknowledged():
            client.wait(0.001, read=False)


def test_it_can_close_with_a_reset() -> None:
    seen: list[OSError] = []

    def act(connection: socket.socket) -> None:
        try:
            everything(connection)
        except OSError as error:
            seen.append(error)

    with peer(act) as port, connected(port) as client:
        client.reset()
    assert isinstance(seen[0], ConnectionResetError)


def test_it_can_come_from_a_port_again() -> None:
    with peer(everything) as port, connected(port, source_port=0) as client:
        used = client.port
        client.half_close()
        client.end()
    with peer(everything) as port, connected(port, source_port=used) as client:
        assert client.port == used
