"""Mark what leaves a socket, and choose how it leaves: class of service, hops, source address, no fragments.

Knows socket options (ip(7), ipv6(7)). The kernel may grant something else than was asked for, so it is read back.
"""

import errno
import os
import socket
import struct
import sys
from dataclasses import dataclass

from halloo.errors import Unsupported, UsageError

ECN_BITS = 2  # below the DSCP in its byte (RFC 3168)
# Linux's numbers, which the socket module does not name everywhere.
_MTU_DISCOVER, _MTU6_DISCOVER, _PROBE, _MTU, _MTU6 = 10, 23, 3, 14, 24


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """What is asked for; None leaves it to the system. `dscp` is 0 to 63 (RFC 2474), `bind` an address of ours.

    With `df` nothing is fragmented on the way, not even by a machine that knows of a smaller MTU (IP_PMTUDISC_PROBE).
    """

    dscp: int | None = None
    ttl: int | None = None
    bind: str | None = None
    df: bool = False

    def prepare(self, sock: socket.socket) -> None:
        """Mark a socket before it connects. Raises UsageError, Unsupported, OSError."""
        if sock.family == getattr(socket, "AF_UNIX", None):
            return
        four = sock.family == socket.AF_INET
        if self.dscp is not None:
            _set(sock, (socket.IPPROTO_IP, socket.IP_TOS) if four else _traffic_class(), self.dscp << ECN_BITS)
        if self.ttl is not None:
            _set(sock, (socket.IPPROTO_IP, socket.IP_TTL) if four else _hops(), self.ttl)
        if self.df:
            if not sys.platform.startswith("linux"):
                raise Unsupported("--df is for Linux alone", "leave it out")
            _set(sock, (socket.IPPROTO_IP, _MTU_DISCOVER) if four else (socket.IPPROTO_IPV6, _MTU6_DISCOVER), _PROBE)
        if self.bind is not None:
            self._leave_from(sock, self.bind)

    def _leave_from(self, sock: socket.socket, source: str) -> None:
        try:
            places = socket.getaddrinfo(source, 0, sock.family, sock.type)
            sock.bind(places[0][4])
        except (socket.gaierror, UnicodeError) as error:
            if _is_of_the_other_family(source, sock):
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)) from error
            raise UsageError(f"--bind {source} is no address", "name one of this machine's own") from error
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            fact = f"--bind {source} is no address of this machine"
            raise UsageError(fact, "name one of its own; see them with: ip addr") from error


def effective(sock: socket.socket) -> tuple[int | None, int | None]:
    """Read back the DSCP and the hops (TTL) of what leaves a socket; None where there are none, or nobody tells."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None, None
    four = sock.family == socket.AF_INET
    try:
        marks = sock.getsockopt(*((socket.IPPROTO_IP, socket.IP_TOS) if four else _traffic_class()))
        hops = sock.getsockopt(*((socket.IPPROTO_IP, socket.IP_TTL) if four else _hops()))
    except (OSError, Unsupported):
        return None, None
    return marks >> ECN_BITS, hops


def path_mtu(sock: socket.socket) -> int | None:
    """Read the MTU of the way to the peer, as far as the kernel knows it (IP_MTU)."""
    if not sys.platform.startswith("linux") or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    option = (socket.IPPROTO_IP, _MTU) if sock.family == socket.AF_INET else (socket.IPPROTO_IPV6, _MTU6)
    try:
        return sock.getsockopt(*option)
    except OSError:  # not connected
        return None


def _set(sock: socket.socket, option: tuple[int, int], value: int) -> None:
    sock.setsockopt(*option, value)


def _traffic_class() -> tuple[int, int]:
    if not hasattr(socket, "IPV6_TCLASS"):
        raise Unsupported("this system cannot mark IPv6 traffic", "leave --dscp out, or use -4")
    return socket.IPPROTO_IPV6, socket.IPV6_TCLASS


def _hops() -> tuple[int, int]:
    return socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS


def _is_of_the_other_family(source: str, sock: socket.socket) -> bool:
    """Whether the source is an address, but none of this socket's family: another place of the name may fit."""
    try:
        return socket.getaddrinfo(source, 0)[0][0] != sock.family
    except (socket.gaierror, UnicodeError):
        return False


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
