"""What the client commands add to their functions: messages and exit codes."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.peers import datagram_peer, peer
from tests.programs import PYTHON, Terminal, listening_port, run, started

HALLOO = (PYTHON, "-m", "halloo")


def test_connect_accepts_the_port_as_an_argument_and_as_a_flag() -> None:
    with started(*HALLOO, "serve", "127.0.0.1:0") as server:
        port = str(listening_port(server))
        for arguments in (["127.0.0.1", port], ["127.0.0.1", "--port", port]):
            result = run(*HALLOO, "connect", *arguments, input=b"Hello world")
            assert (result.returncode, result.stdout) == (0, b"Hello world")


@pytest.mark.parametrize(("surplus", "fact"), [(b"", "all bytes came back"), (b".", "all bytes came back, and more")])
def test_connect_reports_that_the_server_did_not_close(surplus: bytes, fact: str) -> None:
    def never_closing(connection: socket.socket) -> None:
        connection.sendall(connection.recv(100))
        connection.recv(1)  # the client's half-close, after which an echo server closes
        with suppress(ConnectionError):
            while not done.wait(0.02):
                connection.sendall(surplus)

    done = threading.Event()
    with peer(never_closing) as port:
        result = run(*HALLOO, "connect", f"127.0.0.1:{port}", "-W", "500ms", input=b"Hello world")
        done.set()
    expected = f"halloo: {fact}, but 127.0.0.1:{port} did not close the connection\n"
    assert (result.returncode, result.stdout.rstrip(b"."), result.stderr.decode()) == (0, b"Hello world", expected)


def test_a_lost_datagram_is_a_failure_and_counted() -> None:
    with datagram_peer(lambda datagram: [datagram] if b"o" in datagram else []) as port:
        result = run(*HALLOO, "connect", f"udp://127.0.0.1:{port}", "-W", "50ms", input=b"one\ntwo\nthree\n")
    fact = "1 of 3 datagrams did not come back (33.3 %)"
    expected = f"halloo: {fact}; if the server refused them, its own messages say so\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"one\ntwo\n", expected)


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (lambda datagram: [datagram.upper()], 0),
        (lambda datagram: [datagram, b"more"], 0),
        (lambda datagram: [datagram[:2]], 1),
    ],
    ids=["other bytes", "surplus", "shorter"],
)
def test_over_udp_only_fewer_bytes_than_were_sent_are_a_failure(
    answers: Callable[[bytes], list[bytes]], code: int
) -> None:
    with datagram_peer(answers) as port:
        result = run(*HALLOO, "connect", f"udp://127.0.0.1:{port}", input=b"one\ntwo\n")
    message = f"halloo: 127.0.0.1:{port} sent back 4 of 8 bytes; look at the server's own messages\n" if code else ""
    assert (result.returncode, result.stderr.decode()) == (code, message)


@pytest.mark.parametrize(("echoed", "expected"), [("one", "1 of 2 datagrams"), ("none", "2 of 2 datagrams")])
def test_an_interactive_session_counts_lost_datagrams(echoed: str, expected: str) -> None:
    with (
        datagram_peer(lambda line: [line] if line.decode() == f"{echoed}\n" else []) as port,
        Terminal(*HALLOO, "connect", f"udp://127.0.0.1:{port}", "-W", "50ms") as terminal,
    ):
        for line in ("one\n", "two\n", "\n"):
            terminal.read_until(b"Send:")
            terminal.type(line)
        assert f"\r\nhalloo: {expected} did not come back".encode() in terminal.read_to_end()
        assert terminal.wait() == 1
