"""Tests of a checker's datagrams: an answer comes whole, once and in time, or it is said what came instead."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from halloo._check.case import Failed
from halloo._check.server.udp_client import UdpClient

QUIET = 0.02  # seconds, in place of those that a server is given
LONG = 20.0  # the same, where something comes for certain
BRIEF = 0.1  # the same, where it is waited for something in vain


@contextmanager
def answering(*answers: Callable[[bytes], bytes]) -> Iterator[int]:
    """Give the port of a server that takes one datagram, and sends what each function makes of it."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)

        def serve() -> None:
            data, source = sock.recvfrom(65535)
            for answer in answers:
                sock.sendto(answer(data), source)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            thread.join()


def failing(*answers: Callable[[bytes], bytes]) -> Failed:
    with answering(*answers) as port, UdpClient(("127.0.0.1", port), clock=time.monotonic) as letters:
        with pytest.raises(Failed) as failed:
            letters.ask(b"hello", LONG if answers else BRIEF, surplus=LONG)
        return failed.value


def test_an_echo_is_what_it_expects() -> None:
    with answering(bytes) as port, UdpClient(("127.0.0.1", port), clock=time.monotonic) as letters:
        assert letters.ask(b"hello", surplus=QUIET) < 2


def test_an_empty_datagram_is_an_answer() -> None:
    with answering(bytes) as port, UdpClient(("127.0.0.1", port), clock=time.monotonic) as letters:
        letters.ask(b"", surplus=QUIET)


def test_what_is_expected_may_be_something_else() -> None:
    with (
        answering(bytes.upper) as port,
        UdpClient(("127.0.0.1", port), clock=time.monotonic, expected=bytes.upper) as letters,
    ):
        letters.ask(b"hello", surplus=QUIET)


@pytest.mark.parametrize(
    ("answers", "pattern", "fact"),
    [
        ((lambda data: data[:2],), "short", "a datagram of 5 bytes came back with 2"),
        ((lambda data: data + b"!",), "surplus", "a datagram of 5 bytes came back with 6"),
        ((bytes.title,), "changed", "a datagram of 5 bytes came back with 5, other ones from offset 0 on"),
        ((bytes, bytes), "surplus", "a datagram too many came, of 5 bytes: b'hello'"),
        ((), "silent", "sent 5 bytes: no answer came within 0.1 s"),
    ],
)
def test_what_comes_instead_is_told(answers: tuple[Callable[[bytes], bytes], ...], pattern: str, fact: str) -> None:
    failure = failing(*answers)
    assert (failure.pattern, str(failure)) == (pattern, fact)


def test_it_is_told_who_answered() -> None:
    with answering(bytes) as port, UdpClient(("127.0.0.1", port), clock=time.monotonic) as letters:
        letters.send(b"hello")
        assert letters.take(5) == (b"hello", ("127.0.0.1", port))


def test_an_address_to_come_from_that_is_not_ours_is_told() -> None:
    with pytest.raises(Failed, match="no socket from"):
        UdpClient(("127.0.0.1", 9), clock=time.monotonic, source=("192.0.2.1", 0))


def test_a_datagram_that_our_own_system_does_not_send_is_told() -> None:
    with (
        UdpClient(("255.255.255.255", 9), clock=time.monotonic) as letters,
        pytest.raises(Failed, match="a datagram of 5 bytes could not be sent: Permission denied"),
    ):
        letters.send(b"hello")


# unshare(1), tc-tbf(8): a network namespace whose loopback passes on 1 MB/s; $0 and the rest are the command.
ON_A_SLOW_LINK = (
    *("unshare", "-rn", "sh", "-c"),
    'ip link set lo up && tc qdisc add dev lo root tbf rate 8mbit burst 4kb latency 10s && exec "$0" "$@"',
)
MORE_THAN_WAITS = """
import socket, time
from halloo._check.server.udp_client import UdpClient
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 0))
    with UdpClient(sock.getsockname(), clock=time.monotonic) as letters:
        for _ in range(300):
            letters.send(bytes(1000))
            print(len(sock.recv(2000)) if _ > 150 else "queued")
"""


def test_what_a_slow_link_has_no_room_for_waits() -> None:
    command = (*ON_A_SLOW_LINK, sys.executable, "-c", MORE_THAN_WAITS)
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare(1)")
    if "halloo" not in run.stderr and run.returncode:
        pytest.skip(f"needs a network namespace and tc(8): {run.stderr[-200:]}")
    assert run.stdout.split() == ["queued"] * 151 + ["1000"] * 149, run.stderr
