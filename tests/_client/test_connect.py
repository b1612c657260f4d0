"""`halloo connect` as a process, on a terminal and as a filter between two pipes; arguments of `halloo.client()`."""

import hashlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import halloo
from halloo.errors import AddressError
from tests.peers import (
    answering,
    closing,
    datagram_peer,
    datagram_socket,
    echo_datagram,
    halving,
    peer,
    resetting,
    silent,
    unused_datagram_port,
)
from tests.programs import PYTHON, Terminal, run, started

CONNECT = (PYTHON, "-m", "halloo", "connect")
RANDOM = hashlib.shake_256(b"halloo").digest(5_000_000)


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


def read(process: subprocess.Popen[bytes], size: int) -> bytes:
    """Read exactly this many bytes of the output."""
    assert process.stdout
    return b"".join(process.stdout.read(1) for _ in range(size))


# On a terminal


def test_a_line_is_echoed_and_a_blank_line_ends_the_session(echo: str) -> None:
    with session(port_of(echo)) as terminal:
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'hello'\r\nSend:"
        terminal.type("\n")
        assert terminal.read_to_end() == b"\r\n"
        assert terminal.wait() == 0


def test_letters_of_any_script_are_echoed(echo: str) -> None:
    with session(port_of(echo)) as terminal:
        terminal.type("zażółć, 日本\n")
        assert "\nReceived 'zażółć, 日本'\r\nSend:".encode() in terminal.read_until(b"Send:")


def test_a_long_line_is_echoed_whole(echo: str) -> None:
    line = "ż" * 1500  # a terminal takes up to 4095 bytes a line
    with session(port_of(echo)) as terminal:
        terminal.type(f"{line}\n")
        assert f"Received '{line}'".encode() in terminal.read_until(b"'\r\nSend:")


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_bytes_that_are_not_text_are_echoed(scheme: str) -> None:
    with halloo.Server(f"{scheme}://127.0.0.1:0") as server, session(server.address.port, scheme=scheme) as terminal:
        terminal.type(b"caf\xe9\n")
        assert b"\nReceived b'caf\\xe9'\r\nSend:" in terminal.read_until(b"Send:")


@pytest.mark.skipif(sys.platform != "linux", reason="other terminals keep another number of bytes")
@pytest.mark.parametrize(("size", "told"), [(4094, False), (5000, True)])
def test_a_line_that_the_terminal_may_have_cut_is_reported(size: int, told: bool, echo: str) -> None:
    with session(port_of(echo)) as terminal:
        terminal.type("x" * size + "\n")
        output = terminal.read_until(b"Send:")
    message = (
        b"halloo: the terminal passes on 4095 bytes of a line, and may have cut this one; send longer lines from a"
    )
    assert (message in output) == told
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


def test_ctrl_c_at_the_prompt_ends_the_session(echo: str) -> None:
    with session(port_of(echo)) as terminal:
        terminal.interrupt()
        assert terminal.read_to_end().removeprefix(b"^C") == b"\r\n"  # readline does not echo it
        assert terminal.wait() == 0


def test_ctrl_c_ends_the_wait_for_a_reply() -> None:
    with silent() as port, session(port) as terminal:
        terminal.type("hello\n")
        terminal.read_until(b"hello\r\n")
        terminal.interrupt()
        assert terminal.read_to_end() == b"^C\r\n"
        assert terminal.wait() == 0


def test_ctrl_d_ends_the_session(echo: str) -> None:
    with session(port_of(echo)) as terminal:
        terminal.type("\x04")
        assert terminal.read_to_end().strip() == b""
        assert terminal.wait() == 0


def test_a_server_that_closes_is_a_one_line_error() -> None:
    with peer(closing) as port, session(port) as terminal:
        terminal.type("hello\n")
        message = f"halloo: 127.0.0.1:{port} closed the connection; look at the server's own messages\r\n"
        assert terminal.read_to_end().decode() == "hello\r\n" + message
        assert terminal.wait() == 1


def test_an_incomplete_reply_is_printed_before_the_error() -> None:
    def cutting_short(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"hel")

    with peer(cutting_short) as port, session(port) as terminal:
        terminal.type("hello\n")
        message = f"halloo: 127.0.0.1:{port} closed the connection; look at the server's own messages\r\n"
        assert terminal.read_to_end().decode() == "hello\r\nReceived 'hel'\r\n" + message


def test_a_server_that_does_not_reply_is_a_one_line_error() -> None:
    with silent() as port, session(port, "-W", "100ms") as terminal:
        terminal.type("hello\n")
        assert terminal.read_to_end().startswith(
            f"hello\r\nhalloo: 127.0.0.1:{port} sent nothing within 0.1 seconds".encode()
        )
        assert terminal.wait() == 1


def test_what_the_server_sends_unasked_is_printed_at_once() -> None:
    sending = threading.Event()

    def act(connection: socket.socket) -> None:
        assert sending.wait(10)
        connection.sendall(b"welcome\n")
        connection.sendall(connection.recv(100))
        connection.recv(100)

    with peer(act) as port, session(port) as terminal:
        sending.set()
        assert terminal.read_until(b"Send:") == b"\r\nReceived 'welcome'\r\nSend:"
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'hello'\r\nSend:"


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


def test_the_deadline_ends_the_session_at_the_prompt(echo: str) -> None:
    with session(port_of(echo), "-w", "1500ms") as terminal:
        assert (terminal.read_to_end(), terminal.wait()) == (b"\r\n", 0)


def test_a_server_that_closes_at_the_prompt_ends_the_session_at_once() -> None:
    closed = threading.Event()
    with peer(lambda _: closed.wait(10)) as port, session(port) as terminal:
        closed.set()
        message = f"halloo: 127.0.0.1:{port} closed the connection; look at the server's own messages\r\n"
        assert terminal.read_to_end().decode() == "\r\n" + message
        assert terminal.wait() == 1


def test_a_reply_may_differ_from_the_line() -> None:
    with halloo.Server("127.0.0.1:0", respond=bytes.upper) as server, session(server.address.port) as terminal:
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'HELLO'\r\nSend:"


def test_control_characters_in_a_reply_are_escaped() -> None:
    def red(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"\x1b[31mred\x9b\n")
        connection.recv(100)

    with peer(red) as port, session(port) as terminal:
        terminal.type("hello\n")
        terminal.read_until(b"hello\r\n")
        assert terminal.read_until(b"Send:") == rb"Received b'\x1b[31mred\x9b'" + b"\r\nSend:"


# On a terminal, over UDP


def test_a_datagram_is_echoed_and_a_blank_line_ends_the_session() -> None:
    with datagram_peer(echo_datagram) as port, session(port, scheme="udp") as terminal:
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'hello'\r\nSend:"
        terminal.type("\n")
        assert (terminal.read_to_end(), terminal.wait()) == (b"\r\n", 0)


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
        message = f"halloo: nothing is listening on 127.0.0.1:{port} (connection refused); "
        remedy = f"start a server there with: halloo serve udp://{port}\r\n"
        assert terminal.read_to_end().decode() == f"hello\r\n{message}{remedy}"
        assert terminal.wait() == 1


def test_ctrl_c_ends_the_wait_for_a_datagram() -> None:
    with datagram_socket() as server, session(server.getsockname()[1], scheme="udp") as terminal:
        terminal.type("hello\n")
        terminal.read_until(b"hello\r\n")
        assert server.recv(100) == b"hello\n"
        terminal.interrupt()
        assert (terminal.read_to_end(), terminal.wait()) == (b"^C\r\n", 0)


# At a prompt without a terminal, as in a notebook or the console of an IDE


def test_interactive_prompts_without_a_terminal(echo: str) -> None:
    program = f"import halloo; halloo.client({echo!r}, interactive=True)"
    result = run(PYTHON, "-X", "utf8", "-c", program, input="zażółć\n".encode() + b"caf\xe9\n\nnot read\n")
    expected = "Send:Received 'zażółć'\nSend:Received b'caf\\xe9'\nSend:"
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, expected, b"")


def test_the_flag_prompts_without_a_terminal_until_the_end_of_input(echo: str) -> None:
    result = run(*CONNECT, echo, "--prompt", input=b"hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"Send:Received 'hello'\nSend:\n", b"")


# As a filter


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_an_empty_input_is_reported(scheme: str) -> None:
    with halloo.Server(f"{scheme}://127.0.0.1:0") as server:
        result = run(*CONNECT, str(server.address))
    message = b"halloo: nothing was sent (no input; with docker: run -i)\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", message)


@pytest.mark.parametrize("data", [b"x", b"\xff\r\n\0", RANDOM], ids=["1 B", "binary", "5 MB"])
def test_piped_data_is_echoed(data: bytes, echo: str) -> None:
    result = run(*CONNECT, echo, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    identical = result.stdout == data  # a variable, because pytest would print a long diff of both
    assert identical


def test_a_reply_shorter_than_the_input_is_an_error_with_both_counts() -> None:
    with peer(halving) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=b"0123456789")
    message = f"halloo: 127.0.0.1:{port} closed the connection after sending back 5 of 10 bytes; "
    assert (result.returncode, result.stdout) == (1, b"01234")
    assert result.stderr.decode() == message + "look at the server's own messages\n"


def test_a_reply_longer_than_the_input_is_no_error() -> None:
    with peer(answering(b"hello, world")) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=b"hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello, world", b"")


def test_a_reset_is_a_one_line_error() -> None:
    with peer(resetting) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=b"hello")
    message = f"halloo: 127.0.0.1:{port} ended the connection with a reset; look at the server's own messages\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", message)


def test_a_server_that_closes_during_sending_is_a_one_line_error() -> None:
    with peer(closing) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=RANDOM)
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


def test_a_silent_server_is_an_error_after_the_timeout() -> None:
    with silent() as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", "-W", "200ms", input=b"hello")
    message = f"halloo: 127.0.0.1:{port} sent back 0 of 5 bytes, then nothing for 0.2 seconds; "
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == message + "allow more time with --timeout, or look at the server\n"


def test_input_may_pause_for_longer_than_the_timeout(echo: str) -> None:
    with started(*CONNECT, echo, "-W", "300ms") as client:
        assert client.stdin
        client.stdin.write(b"one")
        assert read(client, 3) == b"one"
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(timeout=0.5)
        client.stdin.write(b"two")
        assert read(client, 3) == b"two"
        client.stdin.close()
        assert client.wait(timeout=10) == 0


@pytest.mark.skipif(os.name == "nt", reason="signals go to whole process groups on Windows")
def test_ctrl_c_ends_a_filter_silently(echo: str) -> None:
    with started(*CONNECT, echo) as client:
        assert client.stdin
        assert client.stderr
        client.stdin.write(b"x")
        assert read(client, 1) == b"x"
        client.send_signal(signal.SIGINT)
        assert client.stderr.read() == b""
        assert client.wait(timeout=10) in (0, 130)


def test_binary_data_is_escaped_on_a_terminal() -> None:
    with (
        peer(answering(b"\x1b]0;title\x07\xff\n")) as port,
        Terminal("sh", "-c", 'printf x | "$@"', "sh", *CONNECT, f"127.0.0.1:{port}") as terminal,
    ):
        assert terminal.read_to_end() == rb"\x1b]0;title\x07\xff" + b"\r\n"
        assert terminal.wait() == 0


def test_an_incomplete_character_at_the_end_is_printed_escaped() -> None:
    with (
        peer(answering(b"abc\xc3")) as port,
        Terminal("sh", "-c", 'printf x | "$@"', "sh", *CONNECT, f"127.0.0.1:{port}") as terminal,
    ):
        assert rb"abc\xc3" in terminal.read_to_end()


@pytest.mark.parametrize("timeout", ["0", "1000h"])
def test_any_timeout_is_accepted(timeout: str, echo: str) -> None:
    result = run(*CONNECT, echo, "-W", timeout)
    assert (result.stderr.count(b"\n") <= 1, b"Traceback" in result.stderr) == (True, False)


def test_a_closed_output_pipe_ends_a_filter_silently(echo: str) -> None:
    with started(*CONNECT, echo) as client:
        assert client.stdin
        assert client.stdout
        assert client.stderr
        client.stdin.write(b"0123456789")
        assert read(client, 10) == b"0123456789"
        client.stdout.close()
        client.stdin.write(b"more")
        assert client.stderr.read() == b""
        assert client.wait(timeout=10) == 1


# As a filter, over UDP


LONG = b"x" * 200_000  # more than one datagram holds


@pytest.mark.parametrize(
    ("data", "options"),
    [(b"\n\xff\r\n\0", ()), (LONG + b"\nlast", ()), (RANDOM[:500_000], ()), (RANDOM, ("--size", "16KiB"))],
    ids=["binary", "long line", "500 kB in lines", "5 MB in pieces"],
)
def test_piped_data_is_echoed_as_datagrams(data: bytes, options: tuple[str, ...]) -> None:
    with datagram_peer(echo_datagram) as port:
        result = run(*CONNECT, f"udp://127.0.0.1:{port}", *options, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    identical = result.stdout == data
    assert identical


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), [b"one\n", b"\n", b"three"]), (("--size", "4"), [b"one\n", b"\nthr", b"ee"])],
    ids=["lines", "size"],
)
def test_a_datagram_is_a_line_or_size_bytes(options: tuple[str, ...], expected: list[bytes]) -> None:
    received: list[bytes] = []

    def echo(datagram: bytes) -> list[bytes]:
        received.append(datagram)
        return [datagram]

    with datagram_peer(echo) as port:
        assert run(*CONNECT, f"udp://127.0.0.1:{port}", *options, input=b"one\n\nthree").returncode == 0
    assert received == expected


def test_where_one_family_of_localhost_refuses_the_other_is_used() -> None:
    with datagram_peer(echo_datagram) as port:
        result = run(*CONNECT, f"udp://localhost:{port}", input=b"one\ntwo\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"one\ntwo\n", b"")


def test_datagrams_are_echoed_while_the_input_stays_open() -> None:
    with datagram_peer(echo_datagram) as port, started(*CONNECT, f"udp://127.0.0.1:{port}", "-W", "100ms") as client:
        assert client.stdin
        client.stdin.write(b"one\n")
        assert read(client, 4) == b"one\n"
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(timeout=0.2)
        client.stdin.write(b"two")
        client.stdin.close()
        assert read(client, 3) == b"two"
        assert client.wait(timeout=10) == 0


def test_no_reply_to_any_datagram_is_a_one_line_error() -> None:
    with datagram_socket() as server:
        port = server.getsockname()[1]
        result = run(*CONNECT, f"udp://127.0.0.1:{port}", "-W", "50ms", input=b"one\ntwo\n")
    message = f"halloo: 127.0.0.1:{port} did not answer any of 2 datagrams within 0.05 seconds; "
    remedy = "check that an echo is there, and any firewall between; or allow more time with --timeout\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", message + remedy)


@pytest.mark.skipif(os.name == "nt", reason="signals go to whole process groups on Windows")
def test_ctrl_c_ends_a_datagram_filter_silently() -> None:
    with datagram_peer(echo_datagram) as port, started(*CONNECT, f"udp://127.0.0.1:{port}") as client:
        assert client.stdin
        assert client.stderr
        client.stdin.write(b"x\n")
        assert read(client, 2) == b"x\n"
        client.send_signal(signal.SIGINT)
        assert client.stderr.read() == b""
        assert client.wait(timeout=10) in (0, 130)


def test_a_closed_output_pipe_ends_a_datagram_filter_silently() -> None:
    with datagram_peer(echo_datagram) as port, started(*CONNECT, f"udp://127.0.0.1:{port}") as client:
        assert client.stdin
        assert client.stdout
        assert client.stderr
        client.stdin.write(b"one\n")
        assert read(client, 4) == b"one\n"
        client.stdout.close()
        client.stdin.write(b"more\n")
        assert client.stderr.read() == b""
        assert client.wait(timeout=10) == 1


# The arguments of halloo.client()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": "echo"}, "port must be a whole number, not 'echo'"),
        ({"port": None}, "port must be a whole number, not None"),
        ({"port": 70_000}, "port must be 0 to 65535, not 70000"),
        ({"timeout": math.nan}, "timeout must be a number of seconds, not nan"),
        ({"timeout": -1}, "timeout must be at least 0 seconds, not -1"),
        ({"timeout": "5"}, "timeout must be a number of seconds, not '5'"),
        ({"timeout": None}, "timeout must be a number of seconds, not None"),
        ({"size": 5}, "size is for datagrams; write udp:// before the host, or leave it out"),
        ({"host": "udp://localhost", "size": "5"}, "size must be a whole number or None, not '5'"),
        (
            {"host": "udp://localhost", "size": 0},
            "size must be 1 to 65507 bytes, not 0; a datagram carries no more; or use tcp://",
        ),
        ({"family": 5}, "family must be 4, 6 or None, not 5; 4 is IPv4, 6 is IPv6, None either"),
    ],
    ids=str,
)
def test_a_usage_error_names_the_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(halloo.UsageError) as caught:
        halloo.client(**arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_family_is_an_ip_version_and_not_a_constant_of_socket(family: int) -> None:
    with pytest.raises(halloo.UsageError, match="family must be 4, 6 or None, not <AddressFamily"):
        halloo.client(family=family)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("host", [None, b"localhost", 5.0, []])
def test_a_host_of_another_type_is_refused(host: Any) -> None:  # noqa: ANN401 - of a wrong type
    with pytest.raises(AddressError):
        halloo.client(host)
