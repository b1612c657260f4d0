"""`halloo connect`, as a process of its own: typed at in a terminal, and as a filter between two pipes."""

import hashlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import halloo
from tests.peers import (
    answering,
    closing,
    correspondent,
    halving,
    mailbox,
    once,
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
    with halloo.serving("127.0.0.1:0") as server:
        yield server.address.place


@contextmanager
def typing_to(port: int, *options: str, scheme: str = "tcp") -> Iterator[Terminal]:
    with Terminal(*CONNECT, f"{scheme}://127.0.0.1:{port}", *options) as terminal:
        assert terminal.read_until(b"Send:") == b"Send:"
        yield terminal


def port_of(echo: str) -> int:
    return int(echo.rpartition(":")[2])


def read(process: subprocess.Popen[bytes], size: int) -> bytes:
    """Read so many bytes of the output, in whatever pieces they come."""
    assert process.stdout
    return b"".join(process.stdout.read(1) for _ in range(size))


# Typed, word for word


def test_a_line_comes_back_and_a_blank_one_ends(echo: str) -> None:
    with typing_to(port_of(echo)) as terminal:
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'hello'\r\nSend:"
        terminal.type("\n")
        assert terminal.read_to_end() == b"\r\n"
        assert terminal.wait() == 0


def test_letters_of_any_alphabet_come_back(echo: str) -> None:
    with typing_to(port_of(echo)) as terminal:
        terminal.type("zażółć, 日本\n")
        assert "\nReceived 'zażółć, 日本'\r\nSend:".encode() in terminal.read_until(b"Send:")


def test_a_long_line_comes_back_whole(echo: str) -> None:
    line = "ż" * 1500  # a terminal takes up to 4095 bytes a line
    with typing_to(port_of(echo)) as terminal:
        terminal.type(f"{line}\n")
        assert f"Received '{line}'".encode() in terminal.read_until(b"'\r\nSend:")


def test_ctrl_c_at_the_prompt_ends(echo: str) -> None:
    with typing_to(port_of(echo)) as terminal:
        terminal.interrupt()
        assert terminal.read_to_end().removeprefix(b"^C") == b"\r\n"  # readline does not show it
        assert terminal.wait() == 0


def test_ctrl_c_ends_the_wait_for_an_answer() -> None:
    with silent() as port, typing_to(port) as terminal:
        terminal.type("hello\n")
        terminal.read_until(b"hello\r\n")
        terminal.interrupt()
        assert terminal.read_to_end() == b"^C\r\n"
        assert terminal.wait() == 0


def test_ctrl_d_ends(echo: str) -> None:
    with typing_to(port_of(echo)) as terminal:
        terminal.type("\x04")
        assert terminal.read_to_end().strip() == b""
        assert terminal.wait() == 0


def test_a_server_that_closes_is_one_line() -> None:
    with peer(closing) as port, typing_to(port) as terminal:
        terminal.type("hello\n")
        said = f"halloo: 127.0.0.1:{port} closed the connection; look at the server's own messages\r\n"
        assert terminal.read_to_end().decode() == "hello\r\n" + said
        assert terminal.wait() == 1


def test_an_unfinished_answer_is_printed_before_the_error() -> None:
    def stammering(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"hel")

    with peer(stammering) as port, typing_to(port) as terminal:
        terminal.type("hello\n")
        said = f"halloo: 127.0.0.1:{port} closed the connection; look at the server's own messages\r\n"
        assert terminal.read_to_end().decode() == "hello\r\nReceived 'hel'\r\n" + said


def test_a_server_that_does_not_answer_is_one_line() -> None:
    with silent() as port, typing_to(port, "-W", "100ms") as terminal:
        terminal.type("hello\n")
        assert terminal.read_to_end().startswith(f"hello\r\nhalloo: nothing came from 127.0.0.1:{port}".encode())
        assert terminal.wait() == 1


def test_a_greeting_is_shown_with_the_first_answer() -> None:
    greeted = threading.Event()

    def polite(connection: socket.socket) -> None:
        connection.sendall(b"welcome\n")
        greeted.set()
        connection.sendall(connection.recv(100))
        connection.recv(100)

    with peer(polite) as port, typing_to(port) as terminal:
        assert greeted.wait(10)
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'welcome'\r\nReceived 'hello'\r\nSend:"


def test_an_answer_may_differ_from_what_went() -> None:
    with halloo.serving("127.0.0.1:0", respond=bytes.upper) as server, typing_to(server.address.port) as terminal:
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'HELLO'\r\nSend:"


def test_an_answer_cannot_command_the_terminal() -> None:
    def red(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"\x1b[31mred\x9b\n")
        connection.recv(100)

    with peer(red) as port, typing_to(port) as terminal:
        terminal.type("hello\n")
        terminal.read_until(b"hello\r\n")
        assert terminal.read_until(b"Send:") == rb"Received b'\x1b[31mred\x9b'" + b"\r\nSend:"


# Typed, a datagram a line


def test_a_datagram_comes_back_and_a_blank_line_ends() -> None:
    with correspondent(once) as port, typing_to(port, scheme="udp") as terminal:
        terminal.type("hello\n")
        assert terminal.read_until(b"Send:") == b"hello\r\nReceived 'hello'\r\nSend:"
        terminal.type("\n")
        assert (terminal.read_to_end(), terminal.wait()) == (b"\r\n", 0)


def test_an_empty_datagram_is_an_answer_and_so_is_one_of_several_lines() -> None:
    with (
        correspondent(lambda line: [b"one\ntwo\n"] if line == b"more\n" else [b""]) as port,
        typing_to(port, scheme="udp") as terminal,
    ):
        terminal.type("nothing\n")
        assert terminal.read_until(b"Send:") == b"nothing\r\nReceived ''\r\nSend:"
        terminal.type("more\n")
        assert terminal.read_until(b"Send:") == b"more\r\nReceived 'one'\r\nReceived 'two'\r\nSend:"


def test_an_answer_that_is_late_is_shown_before_the_next_line_is_sent() -> None:
    with mailbox() as far, typing_to(far.getsockname()[1], "-W", "50ms", scheme="udp") as terminal:
        terminal.type("one\n")
        said = b"one\r\nhalloo: no reply within 0.05 seconds; a datagram may be lost\r\nSend:"
        assert terminal.read_until(b"Send:") == said
        far.sendto(*far.recvfrom(100))
        terminal.type("two\n")
        assert far.recv(100) == b"two\n"
        assert terminal.read_until(b"Received 'one'\r\n") == b"two\r\nReceived 'one'\r\n"


def test_a_copy_of_an_earlier_answer_is_not_taken_for_that_of_the_next_line() -> None:
    with mailbox() as far, typing_to(far.getsockname()[1], scheme="udp") as terminal:
        terminal.type("one\n")
        far.sendto(*far.recvfrom(100))
        terminal.read_until(b"Send:")
        terminal.type("two\n")
        answer, client = far.recvfrom(100)
        for data in (b"one\n", answer):
            far.sendto(data, client)
        assert terminal.read_until(b"Send:") == b"two\r\nReceived 'one'\r\nReceived 'two'\r\nSend:"


def test_where_nobody_hears_a_line_the_conversation_ends() -> None:
    port = unused_datagram_port()
    with typing_to(port, scheme="udp") as terminal:
        terminal.type("hello\n")
        said = f"halloo: nothing is listening on 127.0.0.1:{port} (connection refused); "
        remedy = f"start a server there with: halloo serve udp://{port}\r\n"
        assert terminal.read_to_end().decode() == f"hello\r\n{said}{remedy}"
        assert terminal.wait() == 1


def test_ctrl_c_ends_the_wait_for_a_datagram() -> None:
    with mailbox() as far, typing_to(far.getsockname()[1], scheme="udp") as terminal:
        terminal.type("hello\n")
        terminal.read_until(b"hello\r\n")
        assert far.recv(100) == b"hello\n"
        terminal.interrupt()
        assert (terminal.read_to_end(), terminal.wait()) == (b"^C\r\n", 0)


# As a filter


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\r\n\0", RANDOM], ids=["0 B", "1 B", "binary", "5 MB"])
def test_what_is_piped_in_comes_out(data: bytes, echo: str) -> None:
    result = run(*CONNECT, echo, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    identical = result.stdout == data  # apart: pytest would explain the difference of two megabytes at length
    assert identical


def test_an_answer_shorter_than_what_went_is_an_error_with_both_counts() -> None:
    with peer(halving) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=b"0123456789")
    said = f"halloo: 127.0.0.1:{port} closed the connection after sending back 5 of 10 bytes; "
    assert (result.returncode, result.stdout) == (1, b"01234")
    assert result.stderr.decode() == said + "look at the server's own messages\n"


def test_an_answer_longer_than_what_went_is_none() -> None:
    with peer(answering(b"hello, world")) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=b"hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello, world", b"")


def test_a_reset_is_one_line() -> None:
    with peer(resetting) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=b"hello")
    said = f"halloo: 127.0.0.1:{port} ended the connection with a reset; look at the server's own messages\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", said)


def test_a_server_that_closes_before_all_was_sent_is_one_line() -> None:
    with peer(closing) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=RANDOM)
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


def test_a_silent_server_is_waited_for_as_long_as_w_says() -> None:
    with silent() as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", "-W", "200ms", input=b"hello")
    said = f"halloo: 127.0.0.1:{port} sent back 0 of 5 bytes, then nothing for 0.2 seconds; "
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == said + "allow more time with -W, or look at the server\n"


def test_input_may_pause_for_longer_than_an_answer(echo: str) -> None:
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


@pytest.mark.skipif(os.name == "nt", reason="there a signal is sent to whole groups of processes")
def test_ctrl_c_ends_a_filter_without_a_word(echo: str) -> None:
    with started(*CONNECT, echo) as client:
        assert client.stdin
        assert client.stderr
        client.stdin.write(b"x")
        assert read(client, 1) == b"x"
        client.send_signal(signal.SIGINT)
        assert client.stderr.read() == b""
        assert client.wait(timeout=10) in (0, 130)


def test_binary_answers_on_a_terminal_are_made_safe() -> None:
    with (
        peer(answering(b"\x1b]0;title\x07\xff\n")) as port,
        Terminal("sh", "-c", 'printf x | "$@"', "sh", *CONNECT, f"127.0.0.1:{port}") as terminal,
    ):
        assert terminal.read_to_end() == rb"\x1b]0;title\x07\xff" + b"\r\n"
        assert terminal.wait() == 0


def test_a_character_that_never_ended_is_shown_too() -> None:
    with (
        peer(answering(b"abc\xc3")) as port,
        Terminal("sh", "-c", 'printf x | "$@"', "sh", *CONNECT, f"127.0.0.1:{port}") as terminal,
    ):
        assert rb"abc\xc3" in terminal.read_to_end()


@pytest.mark.parametrize("wait", ["0", "1000h"])
def test_any_duration_may_be_waited_for(wait: str, echo: str) -> None:
    result = run(*CONNECT, echo, "-W", wait)
    assert (result.stderr.count(b"\n") <= 1, b"Traceback" in result.stderr) == (True, False)


def test_a_reader_that_has_enough_ends_it_quietly(echo: str) -> None:
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


# As a filter, in datagrams


LONG = b"x" * 200_000  # more than one datagram holds


@pytest.mark.parametrize(
    ("data", "options"),
    [(b"", ()), (b"\n\xff\r\n\0", ()), (LONG + b"\nlast", ()), (RANDOM[:500_000], ()), (RANDOM, ("--size", "16KiB"))],
    ids=["0 B", "binary", "long line", "500 kB in lines", "5 MB in pieces"],
)
def test_what_is_piped_in_as_datagrams_comes_out(data: bytes, options: tuple[str, ...]) -> None:
    with correspondent(once) as port:
        result = run(*CONNECT, f"udp://127.0.0.1:{port}", *options, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    identical = result.stdout == data
    assert identical


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), [b"one\n", b"\n", b"three"]), (("--size", "4"), [b"one\n", b"\nthr", b"ee"])],
    ids=["lines", "size"],
)
def test_a_datagram_is_a_line_or_so_many_bytes(options: tuple[str, ...], expected: list[bytes]) -> None:
    came: list[bytes] = []

    def answers(datagram: bytes) -> list[bytes]:
        came.append(datagram)
        return [datagram]

    with correspondent(answers) as port:
        assert run(*CONNECT, f"udp://127.0.0.1:{port}", *options, input=b"one\n\nthree").returncode == 0
    assert came == expected


def test_where_the_first_family_of_localhost_has_nobody_the_other_one_answers() -> None:
    with correspondent(once) as port:
        result = run(*CONNECT, f"udp://localhost:{port}", input=b"one\ntwo\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"one\ntwo\n", b"")


def test_datagrams_come_back_while_the_input_stays_open() -> None:
    with correspondent(once) as port, started(*CONNECT, f"udp://127.0.0.1:{port}", "-W", "100ms") as client:
        assert client.stdin
        client.stdin.write(b"one\n")
        assert read(client, 4) == b"one\n"
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(timeout=0.2)
        client.stdin.write(b"two")
        client.stdin.close()
        assert read(client, 3) == b"two"
        assert client.wait(timeout=10) == 0


def test_no_answer_to_any_datagram_is_one_line() -> None:
    with mailbox() as far:
        port = far.getsockname()[1]
        result = run(*CONNECT, f"udp://127.0.0.1:{port}", "-W", "50ms", input=b"one\ntwo\n")
    said = f"halloo: 127.0.0.1:{port} did not answer any of 2 datagrams within 0.05 seconds; "
    remedy = "check that an echo is there, and any firewall between; or allow more time with -W\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", said + remedy)


@pytest.mark.skipif(os.name == "nt", reason="there a signal is sent to whole groups of processes")
def test_ctrl_c_ends_a_filter_of_datagrams_without_a_word() -> None:
    with correspondent(once) as port, started(*CONNECT, f"udp://127.0.0.1:{port}") as client:
        assert client.stdin
        assert client.stderr
        client.stdin.write(b"x\n")
        assert read(client, 2) == b"x\n"
        client.send_signal(signal.SIGINT)
        assert client.stderr.read() == b""
        assert client.wait(timeout=10) in (0, 130)


def test_a_reader_that_has_enough_of_datagrams_ends_it_quietly() -> None:
    with correspondent(once) as port, started(*CONNECT, f"udp://127.0.0.1:{port}") as client:
        assert client.stdin
        assert client.stdout
        assert client.stderr
        client.stdin.write(b"one\n")
        assert read(client, 4) == b"one\n"
        client.stdout.close()
        client.stdin.write(b"more\n")
        assert client.stderr.read() == b""
        assert client.wait(timeout=10) == 1
