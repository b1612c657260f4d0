"""Tests of spoofed datagrams, and of counting the datagrams sent from a port."""

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
def capturing(sock: socket.socket) -> Iterator[Capture]:
    try:
        with capture(time.monotonic, sock.getsockname()[1]) as captured:
            yield captured
    except Skipped as why:
        pytest.skip(str(why))


def test_a_spoofed_datagram_arrives_with_the_spoofed_source(sock: socket.socket) -> None:
    try:
        spoof(("192.0.2.7", 4000), sock.getsockname(), b"hello")
    except Skipped as why:
        pytest.skip(str(why))
    assert sock.recvfrom(64) == (b"hello", ("192.0.2.7", 4000))


def test_datagrams_sent_from_the_port_are_counted(sock: socket.socket) -> None:
    with capturing(sock) as captured:
        for _ in range(3):
            sock.sendto(b"hello", sock.getsockname())
        assert captured.count_sent(BRIEF) == 3


def test_datagrams_from_other_ports_are_ignored_and_hide_none(sock: socket.socket) -> None:
    with capturing(sock) as captured, socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        for _ in range(NOISE):
            other.sendto(bytes(1000), other.getsockname())
        sock.sendto(b"hello", sock.getsockname())
        assert captured.count_sent(BRIEF) == 1


def test_datagrams_sent_before_the_capture_are_not_counted(sock: socket.socket) -> None:
    sock.sendto(b"hello", sock.getsockname())
    with capturing(sock) as captured:
        assert captured.count_sent(BRIEF) == 0
