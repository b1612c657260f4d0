"""`halloo connect` as a filter between two pipes; arguments of `halloo.client()`."""

import hashlib
import math
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
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
)
from tests.programs import PYTHON, Terminal, run, started

CONNECT = (PYTHON, "-m", "halloo", "connect")
RANDOM = hashlib.shake_256(b"halloo").digest(5_000_000)


@pytest.fixture
def echo() -> Iterator[str]:
    with halloo.Server("127.0.0.1:0") as server:
        yield server.address.place


def read(process: subprocess.Popen[bytes], size: int) -> bytes:
    """Read exactly this many bytes of the output."""
    assert process.stdout
    return b"".join(process.stdout.read(1) for _ in range(size))


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
        assert client.wait(timeout=10) == 0


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
        assert client.wait(timeout=10) == 0


# The arguments of halloo.client()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": "echo"}, "port must be a whole number, not 'echo'"),
        ({"port": None}, "port must be a whole number, not None"),
        ({"port": 70_000}, "port must be 0 to 65535, not 70000"),
        ({"timeout": math.nan}, "timeout must be a number of seconds or None, not nan"),
        ({"timeout": -1}, "timeout must be at least 0 seconds, not -1"),
        ({"timeout": "5"}, "timeout must be a number of seconds or None, not '5'"),
        ({"size": 5}, "size is for datagrams; write udp:// before the host, or leave it out"),
        (
            {"host": "udp://h", "size": 5, "interactive": True},
            "size is for piped input; leave it out: at a prompt, a line is a datagram",
        ),
        ({"host": "h:9", "port": 10}, "port 10 contradicts 'tcp://h:9'; leave it out, or name a host without a port"),
        ({"host": "unix:/s", "port": 10}, "port 10 contradicts 'unix:/s'; leave it out, or name a host without a port"),
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


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_timeout_of_none_is_for_ever(scheme: str) -> None:
    with halloo.Server(f"{scheme}://127.0.0.1:0") as server:
        program = f"import halloo; halloo.client({str(server.address)!r}, timeout=None)"
        done = run(PYTHON, "-c", program, input=b"hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_family_is_an_ip_version_and_not_a_constant_of_socket(family: int) -> None:
    with pytest.raises(halloo.UsageError, match="family must be 4, 6 or None, not <AddressFamily"):
        halloo.client(family=family)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("host", [None, b"localhost", 5.0, []])
def test_a_host_of_another_type_is_refused(host: Any) -> None:  # noqa: ANN401 - of a wrong type
    with pytest.raises(AddressError):
        halloo.client(host)
