"""Socket filters that drop packets in the kernel. Each test checks which packets still arrive."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from halloo._net.bpf import MAX_INITIAL_TTL, TTL, break_loops, refuse_new
from halloo._net.datagrams import dropped
from tests.conditions import linux
from tests.stepping import POLL_TIMEOUT, readable, unconnected

LOOPBACK = ["127.0.0.1", "::1"]


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=LOOPBACK)
def pair(request: pytest.FixtureRequest, cleanup: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return a socket that breaks loops, and a sender connected to it."""
    listener, sender = (cleanup.enter_context(unconnected(request.param)) for _ in range(2))
    break_loops(listener)
    sender.connect(listener.getsockname())
    return listener, sender


def set_ttl(sock: socket.socket, hops: int) -> None:
    """Set the TTL of the packets that a socket sends."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


def received(listener: socket.socket, sender: socket.socket) -> list[bytes]:
    """Return the datagrams received so far: one more datagram is sent to mark the end."""
    set_ttl(sender, 64)
    sender.send(b"the last")
    pieces: list[bytes] = []
    while pieces[-1:] != [b"the last"]:
        assert select.select([listener], [], [], POLL_TIMEOUT)[0]
        pieces.append(listener.recv(100))
    return pieces[:-1]


# Loops between echo servers.


def test_datagrams_of_other_systems_pass(pair: tuple[socket.socket, socket.socket]) -> None:
    listener, sender = pair
    for hops in (1, 2, 32, 54, 64, 100, MAX_INITIAL_TTL, TTL + 1, 254, 255):  # the last three begin at 255
        set_ttl(sender, hops)
        sender.send(b"hello")
        assert received(listener, sender) == [b"hello"]


@linux
def test_our_own_datagrams_are_dropped_up_to_71_hops_away(pair: tuple[socket.socket, socket.socket]) -> None:
    listener, sender = pair
    for number, routers in enumerate((0, 1, 10, 71), start=1):
        set_ttl(sender, TTL - routers)
        sender.send(b"hello")
        assert received(listener, sender) == []
        assert dropped(listener) == number


@linux
def test_two_loop_breaking_sockets_drop_each_others_datagrams(pair: tuple[socket.socket, socket.socket]) -> None:
    listener, sender = pair
    break_loops(sender)
    listener.connect(sender.getsockname())
    sender.send(b"hello")
    listener.send(b"hello")
    assert not readable(listener)
    assert not readable(sender)
    assert [dropped(listener), dropped(sender)] == [1, 1]


def test_a_plain_socket_receives_from_a_loop_breaking_one(pair: tuple[socket.socket, socket.socket]) -> None:
    listener, sender = pair
    listener.connect(sender.getsockname())
    listener.send(b"hello")
    assert select.select([sender], [], [], POLL_TIMEOUT)[0]
    assert sender.recv(100) == b"hello"


@linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_a_dual_stack_socket_marks_and_drops_datagrams_of_both_families(cleanup: ExitStack, host: str) -> None:
    dual = cleanup.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    dual.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    dual.bind(("::", 0))
    listener, sender = (cleanup.enter_context(unconnected(host)) for _ in range(2))
    for sock in (dual, listener):
        break_loops(sock)
    sender.connect((host, dual.getsockname()[1]))
    set_ttl(sender, TTL)
    sender.send(b"hello")
    assert received(dual, sender) == []
    dual.sendto(b"hello", (host if ":" in host else f"::ffff:{host}", listener.getsockname()[1]))
    with cleanup.enter_context(unconnected(host)) as other:
        other.connect(listener.getsockname())
        assert received(listener, other) == []


# Shutdown.


@linux
def test_refuse_new_keeps_queued_connections_and_ignores_later_ones(cleanup: ExitStack) -> None:
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    early, late = (cleanup.enter_context(socket.socket()) for _ in range(2))
    early.connect(listener.getsockname())
    refuse_new(listener)
    late.setblocking(False)
    late.connect_ex(listener.getsockname())
    early.send(b"hello")
    with listener.accept()[0] as served:
        assert served.recv(5) == b"hello"
    assert not readable(listener)
    assert not select.select([], [late], [], 0)[1]


@linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_refuse_new_keeps_queued_datagrams_and_drops_later_ones(cleanup: ExitStack, host: str) -> None:
    listener, sender = (cleanup.enter_context(unconnected(host)) for _ in range(2))
    break_loops(listener)
    sender.connect(listener.getsockname())
    sender.send(b"hello")
    refuse_new(listener)
    sender.send(b"too late")
    assert listener.recv(100) == b"hello"
    assert not readable(listener)
    assert dropped(listener) == 1
