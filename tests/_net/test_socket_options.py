"""How a socket's packets are marked, as the kernel itself tells it afterwards."""

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator

import pytest

from halloo._net.listener import listen
from halloo._net.readiness import until_readable
from halloo._net.socket_options import (
    CONTROL_SIZE,
    SO_TIMESTAMPNS,
    SocketOptions,
    effective,
    path_mtu,
    receive,
    stamps,
    timestamp,
)
from halloo.errors import Unsupported, UsageError
from tests.kernel_timestamps import kernel_timestamps
from tests.peers import datagram_socket

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone")


def has_ipv6() -> bool:
    try:
        listen(0, family=6).close()
    except OSError:
        return False
    return True


FAMILIES = [socket.AF_INET, pytest.param(socket.AF_INET6, marks=pytest.mark.skipif(not has_ipv6(), reason="no ::1"))]


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def sock(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(request.param, socket.SOCK_DGRAM) as made:
        yield made


def home(sock: socket.socket) -> str:
    return "127.0.0.1" if sock.family == socket.AF_INET else "::1"


@pytest.mark.parametrize(("dscp", "ttl"), [(0, 1), (46, 64), (63, 255)])
def test_what_is_asked_for_is_in_effect(sock: socket.socket, dscp: int, ttl: int) -> None:
    SocketOptions(dscp, ttl).prepare(sock)
    assert effective(sock) == (dscp, ttl)


def test_what_is_not_asked_for_is_left_to_the_system(sock: socket.socket) -> None:
    before = effective(sock)
    SocketOptions().prepare(sock)
    assert effective(sock) == before
    assert before[0] == 0
    assert before[1]


def test_a_mark_leaves_the_bits_of_congestion_alone() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        SocketOptions(dscp=46).prepare(sock)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2


def test_a_source_is_bound_to(sock: socket.socket) -> None:
    SocketOptions(bind=home(sock)).prepare(sock)
    assert sock.getsockname()[0] == home(sock)


@linux
def test_any_loopback_address_will_do_as_a_source() -> None:
    with datagram_socket() as far, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        SocketOptions(bind="127.0.0.2").prepare(sock)
        sock.sendto(b"hello", far.getsockname())
        assert far.recvfrom(100)[1][0] == "127.0.0.2"


def test_a_source_that_is_not_ours_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(
            UsageError, match=r"bind 192\.0\.2\.1 is not an address of this machine; name one of its own"
        ):
            SocketOptions(bind="192.0.2.1").prepare(sock)
        with pytest.raises(UsageError, match=r"bind a\.\.b is not an address; name one of this machine's own"):
            SocketOptions(bind="a..b").prepare(sock)


def test_a_source_of_the_other_family_is_for_another_place_of_the_name(sock: socket.socket) -> None:
    other = "::1" if sock.family == socket.AF_INET else "127.0.0.1"
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)) as caught:
        SocketOptions(bind=other).prepare(sock)
    assert not isinstance(caught.value, UsageError)


@linux
def test_a_source_that_is_taken_is_no_usage_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            SocketOptions(bind="127.0.0.1").prepare(sock)


@linux
def test_datagrams_that_must_not_be_cut_are_not_cut_by_us_either(sock: socket.socket) -> None:
    SocketOptions(df=True).prepare(sock)
    sock.connect((home(sock), 9))
    mtu = path_mtu(sock)
    assert mtu
    if mtu <= 65_507:
        with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
            sock.send(bytes(mtu))


def test_elsewhere_than_on_linux_nobody_knows_how(monkeypatch: pytest.MonkeyPatch, sock: socket.socket) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unsupported, match="df is for Linux only; leave it out"):
        SocketOptions(df=True).prepare(sock)
    assert path_mtu(sock) is None


@linux
def test_the_mtu_of_a_way_is_known_once_there_is_one(sock: socket.socket) -> None:
    assert path_mtu(sock) is None
    sock.connect((home(sock), 9))
    mtu = path_mtu(sock)
    assert mtu
    assert mtu >= 1280


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_unix_socket_has_no_packets_to_mark() -> None:
    near, far = socket.socketpair()
    with near, far:
        SocketOptions(46, 7, "192.0.2.1", df=True).prepare(near)
        assert effective(near) == (None, None)
        assert path_mtu(near) is None


def test_where_ipv6_cannot_be_marked_that_is_said_to_who_asks_for_it_and_to_nobody_else(
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


WAIT = 10.0  # seconds that no test takes
LAY = 0.05  # seconds that something lies unread
LAY_NS = 50_000_000


def note(
    seconds: int, rest: int, *, level: int = socket.SOL_SOCKET, kind: int = SO_TIMESTAMPNS
) -> tuple[int, int, bytes]:
    return level, kind, struct.pack("=qq", seconds, rest)


@linux
def test_what_lay_unread_came_when_it_came() -> None:
    with kernel_timestamps(), datagram_socket() as far, datagram_socket() as near, datagram_socket() as nobody:
        assert stamps(near)
        before = time.time_ns()
        far.sendto(b"hello", near.getsockname())
        assert not until_readable([nobody], LAY)
        data, came = receive(near, 100)
        read = time.time_ns()
    assert data == b"hello"
    assert came
    assert before <= came <= read - LAY_NS // 2


@linux
def test_of_a_stream_it_is_known_as_well() -> None:
    with (
        kernel_timestamps(),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
    ):
        assert stamps(near)
        far, _ = listener.accept()
        with far:
            before = time.time_ns()
            far.sendall(b"hello")
            assert until_readable([near], WAIT)
            data, came = receive(near, 100)
    assert data == b"hello"
    assert came
    assert before <= came <= time.time_ns()


@linux
def test_at_the_end_of_a_stream_there_is_no_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        assert stamps(near)
        listener.accept()[0].close()
        assert until_readable([near], WAIT)
        assert receive(near, 100) == (b"", None)


@pytest.mark.skipif(not hasattr(socket.socket, "recvmsg"), reason="needs recvmsg")
def test_without_asking_for_it_there_is_none() -> None:
    with datagram_socket() as far, datagram_socket() as near:
        far.sendto(b"hello", near.getsockname())
        assert receive(near, 100) == (b"hello", None)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_unix_socket_has_none() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not stamps(near)


def test_where_the_system_does_not_tell_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with datagram_socket() as near:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert not stamps(near)


@linux
def test_a_socket_that_refuses_the_option_tells_none() -> None:
    with datagram_socket() as near:
        near.close()
        assert not stamps(near)


def test_the_time_is_found_among_what_else_is_told() -> None:
    others = [note(9, 9, level=socket.IPPROTO_IP), note(9, 9, kind=1), (socket.SOL_SOCKET, SO_TIMESTAMPNS, b"short")]
    assert timestamp([*others, note(1_700_000_000, 999_999_999)]) == 1_700_000_000_999_999_999
    assert timestamp(others) is None
    assert timestamp([]) is None


@linux
def test_there_is_room_for_it() -> None:
    assert socket.CMSG_SPACE(struct.calcsize("=qq")) <= CONTROL_SIZE
