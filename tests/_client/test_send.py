"""`halloo send`, as a process of its own, to the right peers and the wrong ones."""

import hashlib
import os
import socket
from collections.abc import Iterator

import pytest

import halloo
from tests.peers import (
    answering,
    correspondent,
    everything,
    halving,
    mailbox,
    once,
    peer,
    silent,
    unused_port,
)
from tests.programs import PYTHON, Terminal, run

SEND = (PYTHON, "-m", "halloo", "send")
RANDOM = hashlib.shake_256(b"halloo").digest(5_000_000)


@pytest.fixture
def echo() -> Iterator[str]:
    with halloo.serving("127.0.0.1:0") as server:
        yield server.address.place


def test_the_message_goes_and_nothing_is_printed(echo: str) -> None:
    result = run(*SEND, echo, "Hello world")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_the_reply_is_printed_when_asked_for(echo: str) -> None:
    result = run(*SEND, echo, "Hello world", "--reply")
    assert (result.returncode, result.stdout.rstrip(b"\n"), result.stderr) == (0, b"Hello world", b"")


def test_the_message_may_come_from_standard_input(echo: str) -> None:
    result = run(*SEND, echo, "--reply", input=b"\xff\0\r\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"\xff\0\r\n", b"")


def test_a_message_of_any_size_comes_back(echo: str) -> None:
    result = run(*SEND, echo, "--reply", input=RANDOM)
    identical = result.stdout == RANDOM  # apart: pytest would explain the difference of two megabytes at length
    assert (result.returncode, identical) == (0, True)


def test_an_empty_message_is_a_message(echo: str) -> None:
    result = run(*SEND, echo, "", "--reply")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_a_message_may_begin_with_a_dash_after_two(echo: str) -> None:
    result = run(*SEND, "--reply", echo, "--", "-x")
    assert (result.returncode, result.stdout.rstrip(b"\n"), result.stderr) == (0, b"-x", b"")


@pytest.mark.skipif(os.name == "nt", reason="arguments are text there")
def test_a_message_that_is_no_text_goes_byte_for_byte() -> None:
    got: list[bytes] = []
    with peer(lambda connection: got.append(everything(connection))) as port:
        assert run(*SEND, f"127.0.0.1:{port}", b"\xff\xfe".decode(errors="surrogateescape")).returncode == 0
    assert got == [b"\xff\xfe"]


def test_an_answer_nobody_asked_for_does_not_destroy_the_message() -> None:
    # Closing with an answer unread resets the connection, and the peer loses what it has not read yet.
    got: list[bytes] = []

    def talking_first(connection: socket.socket) -> None:
        connection.sendall(b"x" * 100_000)
        got.append(everything(connection))

    with peer(talking_first) as port:
        assert run(*SEND, f"127.0.0.1:{port}", input=RANDOM).returncode == 0
    assert [len(data) for data in got] == [len(RANDOM)]


def test_a_peer_that_never_closes_is_left_after_a_second() -> None:
    with silent() as port:
        result = run(*SEND, f"127.0.0.1:{port}", "Hello world", timeout=4)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_a_reply_that_never_comes_is_an_error() -> None:
    with silent() as port:
        result = run(*SEND, f"127.0.0.1:{port}", "Hello world", "--reply", "-W", "100ms")
    said = f"halloo: 127.0.0.1:{port} sent back 0 of 11 bytes, then nothing for 0.1 seconds; "
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode().startswith(said)


def test_a_reply_cut_short_is_an_error_after_what_did_come() -> None:
    with peer(halving) as port:
        result = run(*SEND, f"127.0.0.1:{port}", "0123456789", "--reply")
    assert (result.returncode, result.stdout.rstrip(b"\n")) == (1, b"01234")
    assert result.stderr.count(b"\n") == 1


def test_a_port_where_nothing_listens_is_an_error() -> None:
    port = unused_port()
    result = run(*SEND, f"127.0.0.1:{port}", "Hello world")
    said = f"halloo: nothing is listening on 127.0.0.1:{port} (connection refused); "
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == said + f"start a server there with: halloo serve {port}\n"


def test_a_reply_cannot_command_the_terminal() -> None:
    with (
        peer(answering(b"\x1b[2Jred\n")) as port,
        Terminal(*SEND, f"127.0.0.1:{port}", "x", "--reply") as terminal,
    ):
        assert terminal.read_to_end() == rb"\x1b[2Jred" + b"\r\n"
        assert terminal.wait() == 0


# Over UDP


@pytest.mark.parametrize(
    ("arguments", "data", "sent"),
    [
        (("Hello world",), b"", b"Hello world"),
        (("",), b"", b""),
        ((), b"two\nlines \xff\0", b"two\nlines \xff\0"),
    ],
    ids=["text", "empty", "from standard input"],
)
def test_a_message_is_one_datagram(arguments: tuple[str, ...], data: bytes, sent: bytes) -> None:
    with mailbox() as far:
        result = run(*SEND, f"udp://127.0.0.1:{far.getsockname()[1]}", *arguments, input=data)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
        assert far.recv(100) == sent


def test_the_reply_is_the_datagram_that_comes() -> None:
    with correspondent(lambda datagram: [datagram.upper(), b"another"]) as port:
        result = run(*SEND, f"udp://127.0.0.1:{port}", "hello", "--reply")
    assert (result.returncode, result.stdout.rstrip(b"\n"), result.stderr) == (0, b"HELLO", b"")


def test_the_longest_datagram_comes_back() -> None:
    with correspondent(once) as port:
        result = run(*SEND, f"udp://127.0.0.1:{port}", "--reply", input=RANDOM[:65507])
    identical = result.stdout == RANDOM[:65507]
    assert (result.returncode, identical) == (0, True)


def test_a_message_too_long_for_a_datagram_is_an_error_of_usage() -> None:
    with mailbox() as far:
        result = run(*SEND, f"udp://127.0.0.1:{far.getsockname()[1]}", input=bytes(70_000))
    said = b"halloo: 70000 bytes are too many for a datagram; 65507 are the most; or use tcp://\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, b"", said)


def test_a_datagram_that_is_never_answered_is_an_error() -> None:
    with mailbox() as far:
        port = far.getsockname()[1]
        result = run(*SEND, f"udp://127.0.0.1:{port}", "hello", "--reply", "-W", "50ms")
    said = f"halloo: nothing came from 127.0.0.1:{port} within 0.05 seconds; "
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode().startswith(said)
