"""`halloo connect` as a filter between two pipes; arguments of `halloo.client()`."""

import hashlib
import math
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
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
def test_an_empty_input_is_reported_and_none_waits_for_ever(scheme: str) -> None:
    with halloo.Server(f"{scheme}://127.0.0.1:0") as server:
        result = run(*CONNECT, str(server.address))
        program = f"import halloo; halloo.client({str(server.address)!r}, timeout=None)"
        done = run(PYTHON, "-c", program, input=b"hello\n")
    message = b"halloo: nothing was sent (no input; with docker: run -i)\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", message)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


@pytest.mark.parametrize("data", [b"\xff\r\n\0", RANDOM], ids=["binary", "5 MB"])
def test_piped_data_is_echoed(data: bytes, echo: str) -> None:
    result = run(*CONNECT, echo, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    identical = result.stdout == data  # a variable, because pytest would print a long diff of both
    assert identical


LOOK = "look at the server's own messages"


@pytest.mark.parametrize(
    ("act", "code", "output", "message"),
    [
        (halving, 1, b"01234", f"closed the connection after sending back 5 of 10 bytes; {LOOK}\n"),
        (answering(b"hello, world"), 0, b"hello, world", ""),  # a longer reply is no error
        (resetting, 1, b"", f"ended the connection with a reset; {LOOK}\n"),
    ],
    ids=["short", "long", "reset"],
)
def test_a_reply_that_is_cut_short_is_an_error(
    act: Callable[[socket.socket], None], code: int, output: bytes, message: str
) -> None:
    with peer(act) as port:
        result = run(*CONNECT, f"127.0.0.1:{port}", input=b"0123456789")
    errors = f"halloo: 127.0.0.1:{port} {message}" if message else ""
    assert (result.returncode, result.stdout, result.stderr.decode()) == (code, output, errors)


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


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_input_may_pause_for_longer_than_the_timeout(scheme: str) -> None:
    with (
        halloo.Server(f"{scheme}://127.0.0.1:0") as server,
        started(*CONNECT, str(server.address), "-W", "300ms") as client,
    ):
        assert client.stdin
        client.stdin.write(b"one\n")
        assert read(client, 4) == b"one\n"
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(timeout=0.5)
        client.stdin.write(b"two")
        client.stdin.close()
        assert read(client, 3) == b"two"
        assert client.wait(timeout=10) == 0


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
@pytest.mark.parametrize(
    "end",
    [
        pytest.param("^C", marks=pytest.mark.skipif(os.name == "nt", reason="signals go to whole process groups")),
        "closed output",
    ],
)
def test_ctrl_c_or_a_closed_output_ends_a_filter_silently(scheme: str, end: str) -> None:
    with halloo.Server(f"{scheme}://127.0.0.1:0") as server, started(*CONNECT, str(server.address)) as client:
        assert client.stdin
        assert client.stdout
        assert client.stderr
        client.stdin.write(b"x\n")
        assert read(client, 2) == b"x\n"
        if end == "^C":
            client.send_signal(signal.SIGINT)
        else:
            client.stdout.close()
            client.stdin.write(b"more\n")
        assert client.stderr.read() == b""
        assert client.wait(timeout=10) in ((0, 130) if end == "^C" else (0,))


def test_binary_data_is_escaped_on_a_terminal_up_to_an_incomplete_character_at_the_end() -> None:
    with (
        peer(answering(b"\x1b]0;title\x07\xff\nabc\xc3")) as port,
        Terminal("sh", "-c", 'printf x | "$@"', "sh", *CONNECT, f"127.0.0.1:{port}") as terminal,
    ):
        assert terminal.read_to_end().splitlines() == [rb"\x1b]0;title\x07\xff", rb"abc\xc3"]
        assert terminal.wait() == 0


def test_any_timeout_is_accepted(echo: str) -> None:
    for timeout in ("0", "1000h"):
        result = run(*CONNECT, echo, "-W", timeout)
        assert (result.stderr.count(b"\n") <= 1, b"Traceback" in result.stderr) == (True, False)


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


def test_no_reply_to_any_datagram_is_a_one_line_error() -> None:
    with datagram_socket() as server:
        port = server.getsockname()[1]
        result = run(*CONNECT, f"udp://127.0.0.1:{port}", "-W", "50ms", input=b"one\ntwo\n")
    message = f"halloo: 127.0.0.1:{port} did not answer any of 2 datagrams within 0.05 seconds; "
    remedy = "check that an echo is there, and any firewall between; or allow more time with --timeout\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", message + remedy)


# The arguments of halloo.client()


def test_a_usage_error_names_the_argument() -> None:
    prompt = "size is for piped input; leave it out: at a prompt, a line is a datagram"
    contradicts = "port 10 contradicts '{}'; leave it out, or name a host without a port"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"port": "echo"}, "port must be a whole number, not 'echo'"),
        ({"port": None}, "port must be a whole number, not None"),
        ({"port": 70_000}, "port must be 0 to 65535, not 70000"),
        ({"timeout": math.nan}, "timeout must be a number of seconds or None, not nan"),
        ({"timeout": -1}, "timeout must be at least 0 seconds, not -1"),
        ({"timeout": "5"}, "timeout must be a number of seconds or None, not '5'"),
        ({"size": 5}, "size is for datagrams; write udp:// before the host, or leave it out"),
        ({"host": "udp://h", "size": 5, "interactive": True}, prompt),
        ({"host": "h:9", "port": 10}, contradicts.format("tcp://h:9")),
        ({"host": "unix:/s", "port": 10}, contradicts.format("unix:/s")),
        ({"host": "udp://h", "size": "5"}, "size must be a whole number or None, not '5'"),
        (
            {"host": "udp://h", "size": 0},
            "size must be 1 to 65507 bytes, not 0; a datagram carries no more; or use tcp://",
        ),
        ({"family": 5}, "family must be 4, 6 or None, not 5; 4 is IPv4, 6 is IPv6, None either"),
    ]
    for arguments, message in cases:
        with pytest.raises(halloo.UsageError) as caught:
            halloo.client(**arguments)
        assert str(caught.value) == message
    for family in (socket.AF_INET, socket.AF_INET6):  # constants of the socket module
        with pytest.raises(halloo.UsageError, match="family must be 4, 6 or None, not <AddressFamily"):
            halloo.client(family=family)  # type: ignore[arg-type]  # the point of the test
    hosts: tuple[object, ...] = (None, b"localhost", 5.0, [])
    for host in hosts:
        with pytest.raises(AddressError):
            halloo.client(host)  # type: ignore[arg-type]  # as above
