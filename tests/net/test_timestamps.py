"""When the kernel had what is read: before we read it, and after it was sent."""

import socket
import struct
import sys
import time

import pytest

from halloo.net.timestamps import ROOM, SO_TIMESTAMPNS, receive, stamps, told
from halloo.net.waiting import until_readable
from tests.peers import mailbox
from tests.stamped import stamping_kernel

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone")
WAIT = 10.0  # seconds that no test takes
LAY = 0.05  # seconds that something lies unread
LAY_NS = 50_000_000


def note(
    seconds: int, rest: int, *, level: int = socket.SOL_SOCKET, kind: int = SO_TIMESTAMPNS
) -> tuple[int, int, bytes]:
    return level, kind, struct.pack("=qq", seconds, rest)


@linux
def test_what_lay_unread_came_when_it_came() -> None:
    with stamping_kernel(), mailbox() as far, mailbox() as near, mailbox() as nobody:
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
        stamping_kernel(),
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
    with mailbox() as far, mailbox() as near:
        far.sendto(b"hello", near.getsockname())
        assert receive(near, 100) == (b"hello", None)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_unix_socket_has_none() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not stamps(near)


def test_where_the_system_does_not_tell_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with mailbox() as near:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert not stamps(near)


@linux
def test_a_socket_that_refuses_the_option_tells_none() -> None:
    with mailbox() as near:
        near.close()
        assert not stamps(near)


def test_the_time_is_found_among_what_else_is_told() -> None:
    others = [note(9, 9, level=socket.IPPROTO_IP), note(9, 9, kind=1), (socket.SOL_SOCKET, SO_TIMESTAMPNS, b"short")]
    assert told([*others, note(1_700_000_000, 999_999_999)]) == 1_700_000_000_999_999_999
    assert told(others) is None
    assert told([]) is None


@linux
def test_there_is_room_for_it() -> None:
    assert socket.CMSG_SPACE(struct.calcsize("=qq")) <= ROOM
