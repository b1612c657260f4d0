"""Tests of forged datagrams: they arrive with the false sender, and what leaves is seen, whatever else does."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from halloo._check.case import Skipped
from halloo._check.server.spoofing import Capture, capture, spoof

BRIEF = 0.05  # seconds
NOISE = 5000  # datagrams of 1000 bytes: more than a queue holds


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        yield sock


@contextmanager
def watching(sock: socket.socket) -> Iterator[Capture]:
    try:
        with capture(time.monotonic, sock.getsockname()[1]) as seen:
            yield seen
    except Skipped as why:
        pytest.skip(str(why))


def test_a_forged_datagram_arrives_with_the_false_sender(sock: socket.socket) -> None:
    try:
        spoof(("192.0.2.7", 4000), sock.getsockname(), b"hello")
    except Skipped as why:
        pytest.skip(str(why))
    assert sock.recvfrom(64) == (b"hello", ("192.0.2.7", 4000))


def test_what_leaves_from_the_port_is_counted(sock: socket.socket) -> None:
    with watching(sock) as seen:
        for _ in range(3):
            sock.sendto(b"hello", sock.getsockname())
        assert seen.sent(BRIEF) == 3


def test_what_others_send_is_not_and_hides_nothing(sock: socket.socket) -> None:
    with watching(sock) as seen, socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        for _ in range(NOISE):
            other.sendto(bytes(1000), other.getsockname())
        sock.sendto(b"hello", sock.getsockname())
        assert seen.sent(BRIEF) == 1


def test_what_left_before_is_not_counted(sock: socket.socket) -> None:
    sock.sendto(b"hello", sock.getsockname())
    with watching(sock) as seen:
        assert seen.sent(BRIEF) == 0
