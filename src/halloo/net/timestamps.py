"""Read from a socket, and when the kernel had received what is read.

Knows SO_TIMESTAMPNS (socket(7)). The time is of the wall clock, taken by software as the packet came in; of a stream it
is that of the last packet read. Where there is none, what was waited for on our own side counts as on the way.
"""

import socket
import struct
import sys

SO_TIMESTAMPNS = 35  # Linux's number, which the socket module does not name; its control message has the same
ROOM = 64  # bytes for what the kernel tells beside a read
SECOND = 1_000_000_000
_TIMESPEC = struct.Struct("=qq")  # of systems with 64 bits


def stamps(sock: socket.socket) -> bool:
    """Ask the kernel for the times; whether it will tell them."""
    if not sys.platform.startswith("linux") or not hasattr(sock, "recvmsg") or sock.family not in _INTERNET:
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return struct.calcsize("P") == struct.calcsize("q")


def receive(sock: socket.socket, size: int) -> tuple[bytes, int | None]:
    """Read what has come, at most `size` bytes, and when the kernel had it. Raises OSError, as recvmsg(2) does."""
    data, notes, _, _ = sock.recvmsg(size, ROOM)
    return data, told(notes)


def told(notes: list[tuple[int, int, bytes]]) -> int | None:
    """Find the time among what came beside a read."""
    for level, kind, note in notes:
        if kind == SO_TIMESTAMPNS and level == socket.SOL_SOCKET and len(note) == _TIMESPEC.size:
            seconds, rest = _TIMESPEC.unpack(note)
            return int(seconds * SECOND + rest)
    return None


_INTERNET = (socket.AF_INET, socket.AF_INET6)
