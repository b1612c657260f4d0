"""What the kernel drops before anybody reads it: told by what comes through, after what does not."""

import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from halloo._net.bpf import MAX_INITIAL_TTL, TTL, break_loops, refuse_new
from halloo._net.datagrams import dropped
from tests.stepping import POLL_TIMEOUT, readable, unconnected

LOOPBACK = ["127.0.0.1", "::1"]

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: nothing is filtered here")


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=LOOPBACK)
def ends(request: pytest.FixtureRequest, cleanup: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Give a socket that breaks loops, and a sender connected to it."""
    listener, sender = (cleanup.enter_context(unconnected(request.param)) for _ in range(2))
    break_loops(listener)
    sender.connect(listener.getsockname())
    return listener, sender


def live(sock: socket.socket, hops: int) -> None:
    """Have what a socket sends live for so many routers."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


def came(listener: socket.socket, sender: socket.socket) -> list[bytes]:
    """Say what came up to now: a last datagram ends the list."""
    live(sender, 64)
    sender.send(b"the last")
    pieces: list[bytes] = []
    while pieces[-1:] != [b"the last"]:
        assert select.select([listener], [], [], POLL_TIMEOUT)[0]
        pieces.append(listener.recv(100))
    return pieces[:-1]


# Loops between echo servers.


@pytest.mark.parametrize("hops", [1, 2, 32, 54, 64, 100, MAX_INITIAL_TTL])
def test_what_any_system_sends_comes_through(ends: tuple[socket.socket, socket.socket], hops: int) -> None:
    listener, sender = ends
    live(sender, hops)
    sender.send(b"hello")
    assert came(listener, sender) == [b"hello"]


@pytest.mark.parametrize("hops", [TTL + 1, 254, 255])
def test_what_began_with_255_comes_through_over_54_routers(
    ends: tuple[socket.socket, socket.socket], hops: int
) -> None:
    listener, sender = ends
    live(sender, hops)
    sender.send(b"hello")
    assert came(listener, sender) == [b"hello"]


@needs_linux
@pytest.mark.parametrize("routers", [0, 1, 10, TTL - MAX_INITIAL_TTL - 1])
def test_what_we_have_sent_is_dropped_up_to_71_routers_away(
    ends: tuple[socket.socket, socket.socket], routers: int
) -> None:
    listener, sender = ends
    live(sender, TTL - routers)
    sender.send(b"hello")
    assert came(listener, sender) == []
    assert dropped(listener) == 1
    assert TTL - MAX_INITIAL_TTL - 1 == 71


@needs_linux
def test_of_two_that_break_loops_neither_hears_the_other(ends: tuple[socket.socket, socket.socket]) -> None:
    listener, sender = ends
    break_loops(sender)
    listener.connect(sender.getsockname())
    sender.send(b"hello")
    listener.send(b"hello")
    assert not readable(listener)
    assert not readable(sender)
    assert [dropped(listener), dropped(sender)] == [1, 1]


def test_who_breaks_loops_is_heard_by_others(ends: tuple[socket.socket, socket.socket]) -> None:
    listener, sender = ends
    listener.connect(sender.getsockname())
    listener.send(b"hello")
    assert select.select([sender], [], [], POLL_TIMEOUT)[0]
    assert sender.recv(100) == b"hello"


@needs_linux
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_at_a_socket_for_both_families_either_is_dropped(cleanup: ExitStack, host: str) -> None:
    listener = cleanup.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 0))
    break_loops(listener)
    sender = cleanup.enter_context(unconnected(host))
    sender.connect((host, listener.getsockname()[1]))
    live(sender, TTL)
    sender.send(b"hello")
    assert came(listener, sender) == []


@needs_linux
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_a_socket_for_both_families_sends_is_dropped(cleanup: ExitStack, host: str) -> None:
    sender = cleanup.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    break_loops(sender)
    listener = cleanup.enter_context(unconnected(host))
    break_loops(listener)
    sender.sendto(b"hello", (host if ":" in host else f"::ffff:{host}", listener.getsockname()[1]))
    with cleanup.enter_context(unconnected(host)) as other:
        other.connect(listener.getsockname())
        assert came(listener, other) == []


# The end of a server.


@needs_linux
def test_who_knocks_after_the_door_was_closed_waits_and_who_did_before_is_let_in(cleanup: ExitStack) -> None:
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


@needs_linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_of_datagrams_what_has_come_can_be_read_and_nothing_comes_after_it(cleanup: ExitStack, host: str) -> None:
    listener, sender = (cleanup.enter_context(unconnected(host)) for _ in range(2))
    break_loops(listener)
    sender.connect(listener.getsockname())
    sender.send(b"hello")
    refuse_new(listener)
    sender.send(b"too late")
    assert listener.recv(100) == b"hello"
    assert not readable(listener)
    assert dropped(listener) == 1
