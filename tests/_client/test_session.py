"""An interactive session of `halloo connect`, on a terminal and at a prompt without one."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

import halloo
from tests.peers import (
    datagram_peer,
    datagram_socket,
    peer,
    silent,
    unused_datagram_port,
)
from tests.programs import PYTHON, Terminal, run

CONNECT = (PYTHON, "-m", "halloo", "connect")


@pytest.fixture
def echo() -> Iterator[str]:
    with halloo.Server("127.0.0.1:0") as server:
        yield server.address.place


@contextmanager
def session(port: int, *options: str, scheme: str = "tcp") -> Iterator[Terminal]:
    with Terminal(*CONNECT, f"{scheme}://127.0.0.1:{port}", *options) as terminal:
        assert terminal.read_until(b"Send:") == b"Send:"
        yield terminal


def port_of(echo: str) -> int:
    return int(echo.rpartition(":")[2])


# On a terminal


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_lines_of_any_text_are_echoed_and_a_blank_line_ends_the_session(scheme: str) -> None:
    with halloo.Server(f"{scheme}://127.0.0.1:0") as server, session(server.address.port, scheme=scheme) as terminal:
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'hello'\r\nSend:"
        terminal.type("zażółć, 日本\n")
        assert "\nReceived 'zażółć, 日本'\r\nSend:".encode() in terminal.read_until(b"Send:")
        terminal.type(b"caf\xe9\n")
        assert b"\nReceived b'caf\\xe9'\r\nSend:" in terminal.read_until(b"Send:")
        line = "ż" * 1500  # a terminal takes up to 4095 bytes a line
        terminal.type(f"{line}\n")
        assert f"Received '{line}'".encode() in terminal.read_until(b"'\r\nSend:")
        terminal.type("\n")
        assert terminal.read_to_end() == b"\r\n"
        assert terminal.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other terminals keep another number of bytes")
@pytest.mark.parametrize(("size", "told"), [(4094, False), (5000, True)])
def test_a_line_that_the_terminal_may_have_cut_is_reported(size: int, told: bool, echo: str) -> None:
    with session(port_of(echo)) as terminal:
        terminal.type("x" * size + "\n")
        output = terminal.read_until(b"Send:")
    message = (
        b"halloo: the terminal passes on 4095 bytes of a line, and may have cut this one; send longer lines from a"
    )
    assert (message in b" ".join(output.split())) == told
    assert f"Received '{'x' * min(size, 4095)}'".encode() in output


def test_a_line_without_its_newline_is_sent_at_the_end_of_input(echo: str) -> None:
    with session(port_of(echo)) as terminal:
        terminal.type("hello\x04\x04")
        assert b"Received 'hello'\r\n" in terminal.read_to_end()
        assert terminal.wait() == 0


def test_the_rest_of_a_paste_is_not_left_to_the_shell(echo: str) -> None:
    shell = '"$@"; echo over; read -r line; echo "left: $line"'
    with Terminal("sh", "-c", shell, "sh", *CONNECT, echo) as terminal:
        terminal.read_until(b"Send:")
        terminal.type("hello\n\na command\nhalf of ano")
        terminal.read_until(b"over\r\n")
        terminal.type("after\n")
        assert terminal.read_to_end().endswith(b"\nleft: after\r\n")


@pytest.mark.parametrize("key", ["^C", "^D"])
def test_a_key_at_the_prompt_ends_the_session(key: str, echo: str) -> None:
    with session(port_of(echo)) as terminal:
        if key == "^C":
            terminal.interrupt()
        else:
            terminal.type("\x04")
        assert terminal.read_to_end().removeprefix(b"^C").strip() == b""  # readline does not echo it
        assert terminal.wait() == 0


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_ctrl_c_ends_the_wait_for_a_reply(scheme: str) -> None:
    with datagram_socket() as server, silent() as silent_port:
        port = server.getsockname()[1] if scheme == "udp" else silent_port
        with session(port, scheme=scheme) as terminal:
            terminal.type("hello\n")
            terminal.read_until(b"hello\r\n")
            if scheme == "udp":
                assert server.recv(100) == b"hello\n"
            terminal.interrupt()
            assert (terminal.read_to_end(), terminal.wait()) == (b"^C\r\n", 0)


@pytest.mark.parametrize("reply", [b"", b"hel"], ids=["none", "incomplete"])
def test_a_server_that_closes_is_a_one_line_error_behind_its_last_bytes(reply: bytes) -> None:
    def act(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(reply)

    with peer(act) as port, session(port) as terminal:
        terminal.type("hello\n")
        message = f"halloo: 127.0.0.1:{port} closed the connection; look at the server's own messages\r\n"
        printed = "Received 'hel'\r\n" if reply else ""
        assert terminal.read_to_end().decode() == f"hello\r\n{printed}{message}"
        assert terminal.wait() == 1


@pytest.mark.parametrize(
    ("option", "time", "message"),
    [
        ("-W", "100ms", "sent nothing within 0.1 seconds; allow more time, or look at the peer's own messages"),
        ("-w", "1s", "did not answer before the deadline; allow more with --deadline"),
    ],
)
def test_a_server_that_does_not_reply_is_a_one_line_error(option: str, time: str, message: str) -> None:
    with silent() as port, session(port, option, time) as terminal:
        terminal.type("hello\n")
        printed = terminal.read_to_end().decode()  # in the width of the terminal
        assert " ".join(printed.split()) == f"hello halloo: 127.0.0.1:{port} {message}"
        assert terminal.wait() == 1


def test_the_deadline_ends_the_session_at_the_prompt(echo: str) -> None:
    with session(port_of(echo), "-w", "1500ms") as terminal:
        assert (terminal.read_to_end(), terminal.wait()) == (b"\r\n", 0)


def test_what_the_server_sends_is_printed_at_once_and_escaped() -> None:
    sending = threading.Event()

    def act(connection: socket.socket) -> None:
        assert sending.wait(10)
        connection.sendall(b"welcome\n")
        assert connection.recv(100) == b"hello\n"
        connection.sendall(b"\x1b[31mred\x9b\n")
        connection.recv(100)

    with peer(act) as port, session(port) as terminal:
        sending.set()
        assert terminal.read_until(b"Send:") == b"\r\nReceived 'welcome'\r\nSend:"
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\n" + rb"Received b'\x1b[31mred\x9b'" + b"\r\nSend:"


def test_a_server_that_never_pauses_does_not_keep_the_prompt_away() -> None:
    closed = threading.Event()

    def trickling(connection: socket.socket) -> None:
        with suppress(ConnectionError):
            connection.recv(100)
            while not closed.wait(0.02):
                connection.sendall(b".")

    with peer(trickling) as port, session(port, "-W", "100ms") as terminal:
        terminal.type("hello\n")
        assert b"\r\nReceived '......" in terminal.read_until(b"'\r\nSend:")
        terminal.type("\n")
        terminal.read_to_end()
        assert terminal.wait() == 0
        closed.set()


def test_a_server_that_closes_at_the_prompt_ends_the_session_at_once() -> None:
    closed = threading.Event()
    with peer(lambda _: closed.wait(10)) as port, session(port) as terminal:
        closed.set()
        message = f"halloo: 127.0.0.1:{port} closed the connection; look at the server's own messages\r\n"
        assert terminal.read_to_end().decode() == "\r\n" + message
        assert terminal.wait() == 1


# On a terminal, over UDP


def test_an_empty_datagram_and_one_of_several_lines_are_replies() -> None:
    with (
        datagram_peer(lambda line: [b"one\ntwo\n"] if line == b"more\n" else [b""]) as port,
        session(port, scheme="udp") as terminal,
    ):
        terminal.type("nothing\n")
        assert terminal.read_until(b"Send:") == b"nothing\r\nReceived ''\r\nSend:"
        terminal.type("more\n")
        assert terminal.read_until(b"Send:") == b"more\r\nReceived 'one'\r\nReceived 'two'\r\nSend:"


def test_a_late_reply_is_printed_at_once() -> None:
    with datagram_socket() as server, session(server.getsockname()[1], "-W", "50ms", scheme="udp") as terminal:
        terminal.type("one\n")
        message = b"one\r\nhalloo: no reply within 0.05 seconds; a datagram may be lost\r\nSend:"
        assert terminal.read_until(b"Send:") == message
        server.sendto(*server.recvfrom(100))
        assert terminal.read_until(b"Send:") == b"\r\nReceived 'one'\r\nSend:"
        terminal.type("\n")
        assert (terminal.read_to_end(), terminal.wait()) == (b"\r\n", 0)


def test_a_duplicate_of_an_earlier_reply_is_not_taken_for_the_reply_to_the_next_line() -> None:
    with datagram_socket() as server, session(server.getsockname()[1], scheme="udp") as terminal:
        terminal.type("one\n")
        server.sendto(*server.recvfrom(100))
        terminal.read_until(b"Send:")
        terminal.type("two\n")
        reply, client = server.recvfrom(100)
        for data in (b"one\n", reply):
            server.sendto(data, client)
        assert terminal.read_until(b"Send:") == b"two\r\nReceived 'one'\r\nReceived 'two'\r\nSend:"


def test_a_refused_datagram_ends_the_session() -> None:
    port = unused_datagram_port()
    with session(port, scheme="udp") as terminal:
        terminal.type("hello\n")
        message = f"halloo: nothing is listening on 127.0.0.1:{port} (connection refused); start a"
        remedy = f"  server there with: halloo serve udp://{port}"
        assert terminal.read_to_end().decode().splitlines() == ["hello", message, remedy]
        assert terminal.wait() == 1


# At a prompt without a terminal, as in a notebook or the console of an IDE


def test_interactive_prompts_without_a_terminal(echo: str) -> None:
    program = f"import halloo; halloo.client({echo!r}, interactive=True)"
    result = run(PYTHON, "-X", "utf8", "-c", program, input="zażółć\n".encode() + b"caf\xe9\n\nnot read\n")
    expected = "Send:Received 'zażółć'\nSend:Received b'caf\\xe9'\nSend:"
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, expected, b"")


def test_the_flag_prompts_without_a_terminal_until_the_end_of_input(echo: str) -> None:
    result = run(*CONNECT, echo, "--prompt", input=b"hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"Send:Received 'hello'\nSend:\n", b"")
