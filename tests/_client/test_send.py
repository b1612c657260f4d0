"""`halloo send` as a process, with correct and faulty peers."""

import hashlib
import os
import socket
import sys
from collections.abc import Iterator

import pytest

import halloo
from tests.peers import (
    answering,
    datagram_peer,
    datagram_socket,
    halving,
    peer,
    receive_all,
    silent,
    unused_port,
)
from tests.programs import PYTHON, Terminal, run
from tests.router import behind_a_router

SEND = (PYTHON, "-m", "halloo", "send")
RANDOM = hashlib.shake_256(b"halloo").digest(5_000_000)


@pytest.fixture
def echo() -> Iterator[str]:
    with halloo.Server("127.0.0.1:0") as server:
        yield server.address.place


@pytest.mark.parametrize(
    ("arguments", "data", "printed"),
    [
        (["Hello world"], b"", b""),
        (["--reply", "Hello world"], b"", b"Hello world"),
        (["--reply", ""], b"", b""),
        (["--reply", "--", "-x"], b"", b"-x"),
        (["--reply"], b"\xff\0\r\n", b"\xff\0\r\n"),
        (["--reply"], RANDOM, RANDOM),
    ],
    ids=["silent", "reply", "empty", "hyphen", "binary", "5 MB"],
)
def test_a_message_is_sent_and_with_reply_the_reply_printed(
    echo: str, arguments: list[str], data: bytes, printed: bytes
) -> None:
    result = run(*SEND, echo, *arguments, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    identical = result.stdout == printed  # a variable, because pytest would print a long diff of both
    assert identical


@pytest.mark.skipif(sys.platform != "linux", reason="other terminals keep another number of bytes")
def test_a_typed_line_that_the_terminal_may_have_cut_is_reported(echo: str) -> None:
    with Terminal(*SEND, echo) as terminal:
        terminal.type("x" * 5000 + "\n\x04")
        assert b"halloo: the terminal passes on 4095 bytes of a line, and may have cut" in terminal.read_to_end()


def test_an_empty_input_is_reported(echo: str) -> None:
    result = run(*SEND, echo)
    message = b"halloo: nothing was sent (no input; with docker: run -i)\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", message)


@pytest.mark.skipif(os.name == "nt", reason="arguments are text on Windows")
def test_a_message_that_is_not_utf_8_is_sent_unchanged() -> None:
    received: list[bytes] = []
    with peer(lambda connection: received.append(receive_all(connection))) as port:
        assert run(*SEND, f"127.0.0.1:{port}", b"\xff\xfe".decode(errors="surrogateescape")).returncode == 0
    assert received == [b"\xff\xfe"]


def test_an_unread_reply_does_not_destroy_the_message() -> None:
    # Closing with unread data resets the connection, and the peer loses what it has not read yet.
    received: list[bytes] = []

    def sending_first(connection: socket.socket) -> None:
        connection.sendall(b"x" * 100_000)
        received.append(receive_all(connection))

    with peer(sending_first) as port:
        assert run(*SEND, f"127.0.0.1:{port}", input=RANDOM).returncode == 0
    assert [len(data) for data in received] == [len(RANDOM)]


def test_send_waits_a_second_for_a_peer_that_never_closes() -> None:
    with silent() as port:
        result = run(*SEND, f"127.0.0.1:{port}", "Hello world", timeout=4)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("-W", ", then nothing for 0.1 seconds; allow more time with --timeout, or look at the server\n"),
        ("-w", " before the deadline; allow more with --deadline\n"),
    ],
)
def test_a_missing_reply_is_an_error(option: str, message: str) -> None:
    with silent() as port:
        result = run(*SEND, f"127.0.0.1:{port}", "Hello world", "--reply", option, "100ms")
    fact = f"halloo: 127.0.0.1:{port} sent back 0 of 11 bytes"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", fact + message)


def test_a_reply_cut_short_is_printed_before_the_error() -> None:
    with peer(halving) as port:
        result = run(*SEND, f"127.0.0.1:{port}", "0123456789", "--reply")
    assert (result.returncode, result.stdout.rstrip(b"\n")) == (1, b"01234")
    assert result.stderr.count(b"\n") == 1


def test_a_refused_connection_is_an_error() -> None:
    port = unused_port()
    result = run(*SEND, f"127.0.0.1:{port}", "Hello world")
    message = f"halloo: nothing is listening on 127.0.0.1:{port} (connection refused); "
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == message + f"start a server there with: halloo serve {port}\n"


def test_control_characters_in_a_reply_are_escaped() -> None:
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
    with datagram_socket() as server:
        result = run(*SEND, f"udp://127.0.0.1:{server.getsockname()[1]}", *arguments, input=data)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
        assert server.recv(100) == sent


def test_the_reply_is_the_next_datagram_of_any_length() -> None:
    longest = RANDOM[:65507]
    with datagram_peer(lambda datagram: [datagram[::-1], b"another"]) as port:
        result = run(*SEND, f"udp://127.0.0.1:{port}", "--reply", input=longest)
    assert (result.returncode, result.stderr) == (0, b"")
    identical = result.stdout == longest[::-1]
    assert identical


def test_an_endless_input_for_a_datagram_is_a_usage_error() -> None:
    with datagram_socket() as server:
        place = f"udp://127.0.0.1:{server.getsockname()[1]}"
        result = run("sh", "-c", '"$@" < /dev/zero', "sh", *SEND, place, timeout=10)
    message = b"halloo: the message is longer than the 65507 bytes that a datagram carries; send less, or use tcp://\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, b"", message)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("-W", "did not answer the datagram within 0.05 seconds; check that an echo is there, and any firewall"),
        ("-w", "answered 0 of 1 datagrams before the deadline; allow more with --deadline\n"),
    ],
)
def test_a_missing_reply_to_a_datagram_is_an_error(option: str, message: str) -> None:
    with datagram_socket() as server:
        port = server.getsockname()[1]
        result = run(*SEND, f"udp://127.0.0.1:{port}", "hello", "--reply", option, "50ms")
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode().startswith(f"halloo: 127.0.0.1:{port} {message}")


def test_a_datagram_that_a_router_does_not_pass_on_is_an_error() -> None:
    printed = behind_a_router("""
from halloo._client.send import send
from halloo.errors import Unreachable
from tests.router import HOST4, ROUTER4, icmp, router
with router(lambda packet: icmp(packet, 3, 1)):
    for reply in (False, True):
        try:
            send(f"udp://{HOST4}:8888", b"hello", reply=reply, timeout=0.5)
        except Unreachable as error:
            print(error.fact)
""")
    assert printed == "10.9.0.1 reports: host unreachable\n" * 2
