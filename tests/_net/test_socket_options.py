"""Socket options that mark packets, checked by reading them back from the kernel."""

import errno
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Iterator

import pytest

from halloo._net.readiness import until_readable
from halloo._net.socket_options import (
    SO_TIMESTAMPNS,
    SocketOptions,
    effective,
    path_mtu,
    receive,
    stamps,
    timestamp,
)
from halloo.errors import Unreachable, Unsupported, UsageError
from tests.conditions import TIMEOUT, has_ipv6, linux
from tests.kernel_timestamps import kernel_timestamps
from tests.peers import datagram_socket

FAMILIES = [socket.AF_INET, pytest.param(socket.AF_INET6, marks=pytest.mark.skipif(not has_ipv6(), reason="no ::1"))]


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def sock(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(request.param, socket.SOCK_DGRAM) as made:
        yield made


def loopback(sock: socket.socket) -> str:
    return "127.0.0.1" if sock.family == socket.AF_INET else "::1"


def test_dscp_and_ttl_take_effect(sock: socket.socket) -> None:
    before = effective(sock)
    SocketOptions().prepare(sock)
    assert effective(sock) == before
    assert before[0] == 0
    assert before[1]
    for dscp, ttl in ((0, 1), (46, 64), (63, 255)):
        SocketOptions(dscp, ttl).prepare(sock)
        assert effective(sock) == (dscp, ttl)
    if sock.family == socket.AF_INET:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 63 << 2  # the ECN bits stay unset


def test_bind_sets_the_source_address(sock: socket.socket) -> None:
    SocketOptions(bind=loopback(sock)).prepare(sock)
    assert sock.getsockname()[0] == loopback(sock)


@linux
def test_any_loopback_address_can_be_the_source() -> None:
    with datagram_socket() as peer, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        SocketOptions(bind="127.0.0.2").prepare(sock)
        sock.sendto(b"hello", peer.getsockname())
        assert peer.recvfrom(100)[1][0] == "127.0.0.2"


def test_a_source_of_another_machine_or_a_name_is_refused() -> None:
    no_ip = "is not an IP address; name one of this machine's own; see them with: ip addr"
    messages = {
        "192.0.2.1": "bind 192.0.2.1 is not an address of this machine; name one of its own; see them with: ip addr",
        "a..b": f"bind a..b {no_ip}",
        "localhost": f"bind localhost {no_ip}",  # it would have to be resolved
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for source, message in messages.items():
            with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
                SocketOptions(bind=source).prepare(sock)
        if sys.platform == "linux":
            sock.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):  # bound already: no fault of the source
                SocketOptions(bind="127.0.0.1").prepare(sock)


def test_a_source_of_the_other_family_is_named(sock: socket.socket) -> None:
    version, other = (4, "::1") if sock.family == socket.AF_INET else (6, "127.0.0.1")
    with pytest.raises(Unreachable) as caught:  # an OSError: another address of the target may be of its family
        SocketOptions(bind=other).prepare(sock)
    fact = f"no IPv{version} address can be reached from {other}"
    assert str(caught.value) == f"{fact}; name another source with bind=, or leave it out"
    assert caught.value.errno == errno.EADDRNOTAVAIL


@linux
def test_with_df_overlong_datagrams_are_refused_locally(sock: socket.socket) -> None:
    SocketOptions(df=True).prepare(sock)
    assert path_mtu(sock) is None
    sock.connect((loopback(sock), 9))
    mtu = path_mtu(sock)
    assert mtu
    assert mtu >= 1280
    if mtu <= 65_507:
        with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
            sock.send(bytes(mtu))


def test_df_is_unsupported_outside_linux(monkeypatch: pytest.MonkeyPatch, sock: socket.socket) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unsupported, match="df is for Linux only; leave it out"):
        SocketOptions(df=True).prepare(sock)
    assert path_mtu(sock) is None


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_options_do_not_apply_to_a_unix_socket() -> None:
    sock, peer = socket.socketpair()
    with sock, peer:
        SocketOptions(46, 7, "192.0.2.1", df=True).prepare(sock)
        assert effective(sock) == (None, None)
        assert path_mtu(sock) is None


def test_without_ipv6_tclass_only_dscp_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(socket, "IPV6_TCLASS", raising=False)
    if not has_ipv6():
        pytest.skip("no ::1")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        with pytest.raises(Unsupported, match="this system cannot mark IPv6 traffic; leave dscp= out, or use family=4"):
            SocketOptions(dscp=46).prepare(sock)
        SocketOptions(ttl=7).prepare(sock)
        assert effective(sock) == (None, None)


DELAY = 0.05  # seconds for which a datagram stays unread
DELAY_NS = 50_000_000


def note(
    seconds: int, rest: int, *, level: int = socket.SOL_SOCKET, kind: int = SO_TIMESTAMPNS
) -> tuple[int, int, bytes]:
    return level, kind, struct.pack("=qq", seconds, rest)


@linux
def test_a_datagram_is_stamped_on_arrival_not_when_read() -> None:
    with kernel_timestamps(), datagram_socket() as peer, datagram_socket() as sock, datagram_socket() as idle:
        assert stamps(sock)
        before = time.time_ns()
        peer.sendto(b"hello", sock.getsockname())
        assert not until_readable([idle], DELAY)
        data, arrived = receive(sock, 100)
        read = time.time_ns()
    assert data == b"hello"
    assert arrived
    assert before <= arrived <= read - DELAY_NS // 2


@linux
def test_stream_data_has_an_arrival_timestamp_and_its_end_none() -> None:
    with (
        kernel_timestamps(),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
    ):
        assert stamps(sock)
        with listener.accept()[0] as peer:
            before = time.time_ns()
            peer.sendall(b"hello")
            assert until_readable([sock], TIMEOUT)
            data, arrived = receive(sock, 100)
        assert data == b"hello"
        assert arrived
        assert before <= arrived <= time.time_ns()
        assert until_readable([sock], TIMEOUT)
        assert receive(sock, 100) == (b"", None)


@pytest.mark.skipif(not hasattr(socket.socket, "recvmsg"), reason="needs recvmsg")
def test_without_the_option_there_is_no_timestamp(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not stamps(near)
    with datagram_socket() as peer, datagram_socket() as sock:
        peer.sendto(b"hello", sock.getsockname())
        assert receive(sock, 100) == (b"hello", None)
        sock.close()
        assert not stamps(sock)
        monkeypatch.setattr(sys, "platform", "darwin")
        assert not stamps(peer)


def test_the_timestamp_is_found_among_other_control_messages() -> None:
    others = [note(9, 9, level=socket.IPPROTO_IP), note(9, 9, kind=1), (socket.SOL_SOCKET, SO_TIMESTAMPNS, b"short")]
    assert timestamp([*others, note(1_700_000_000, 999_999_999)]) == 1_700_000_000_999_999_999
    assert timestamp(others) is None
    assert timestamp([]) is None
