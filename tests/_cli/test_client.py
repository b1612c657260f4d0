"""What the client commands add to their functions: messages and exit codes."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from halloo import Server
from tests.command import halloo
from tests.peers import datagram_peer, peer
from tests.programs import PYTHON, Terminal


def test_connect_accepts_the_port_as_an_argument_and_as_a_flag() -> None:
    with Server("127.0.0.1:0") as server:
        port = str(server.address.port)
        for arguments in (["127.0.0.1", port], ["127.0.0.1", "--port", port]):
            result = halloo("connect", *arguments, input=b"Hello world")
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
        result = halloo("connect", f"127.0.0.1:{port}", "-W", "500ms", input=b"Hello world")
        done.set()
    expected = f"halloo: {fact}, but 127.0.0.1:{port} did not close the connection\n"
    assert (result.returncode, result.stdout.rstrip(b"."), result.stderr.decode()) == (0, b"Hello world", expected)


def test_a_lost_datagram_is_a_failure_and_counted() -> None:
    with datagram_peer(lambda datagram: [datagram] if b"o" in datagram else []) as port:
        result = halloo("connect", f"udp://127.0.0.1:{port}", "-W", "50ms", input=b"one\ntwo\nthree\n")
    fact = "1 of 3 datagrams did not come back (33.3 %)"
    expected = f"halloo: {fact}; if the server refused them, its own messages say so\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"one\ntwo\n", expected)


def test_over_udp_only_fewer_bytes_than_were_sent_are_a_failure() -> None:
    cases: list[tuple[Callable[[bytes], list[bytes]], int]] = [
        (lambda datagram: [datagram.upper()], 0),
        (lambda datagram: [datagram, b"more"], 0),
        (lambda datagram: [datagram[:2]], 1),
    ]
    for answers, code in cases:
        with datagram_peer(answers) as port:
            result = halloo("connect", f"udp://127.0.0.1:{port}", input=b"one\ntwo\n")
        fact = f"halloo: 127.0.0.1:{port} sent back 4 of 8 bytes; look at the server's own messages\n"
        assert (result.returncode, result.stderr.decode()) == (code, fact if code else "")


def test_an_interactive_session_counts_lost_datagrams() -> None:
    with (
        datagram_peer(lambda line: [line] if line == b"one\n" else []) as port,
        Terminal(PYTHON, "-m", "halloo", "connect", f"udp://127.0.0.1:{port}", "-W", "50ms") as terminal,
    ):
        for line in ("one\n", "two\n", "\n"):
            terminal.read_until(b"Send:")
            terminal.type(line)
        assert b"\r\nhalloo: 1 of 2 datagrams did not come back" in terminal.read_to_end()
        assert terminal.wait() == 1
