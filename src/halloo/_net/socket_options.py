"""Set how packets leave a socket: DSCP, TTL, source address, no fragmentation (ip(7), ipv6(7)).

The kernel may grant other values than requested, so they are read back.
"""

import errno
import socket
import struct
import sys
from dataclasses import dataclass

from halloo._core import arguments
from halloo._core.address import zone_fault
from halloo._core.units import SECOND
from halloo._net.connection import INTERNET
from halloo.errors import Unreachable, Unsupported, UsageError

ECN_BITS = 2  # below the DSCP in its byte (RFC 3168)
# Linux's numbers, which the socket module does not name everywhere.
_MTU_DISCOVER, _MTU6_DISCOVER, _PROBE, _MTU, _MTU6 = 10, 23, 3, 14, 24


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """The requested options; None leaves one to the system.

    `dscp` is 0 to 63 (RFC 2474), `bind` an IP address of this machine. With `df` packets are never fragmented, not even
    by this machine when it knows of a smaller MTU (IP_PMTUDISC_PROBE).
    """

    dscp: int | None = None
    ttl: int | None = None
    bind: str | None = None
    df: bool = False

    def __post_init__(self) -> None:
        arguments.instance("bind", self.bind, str, type(None), what="an address of this machine or None")

    def prepare(self, sock: socket.socket) -> None:
        if sock.family == getattr(socket, "AF_UNIX", None):
            return
        if self.dscp is not None:
            sock.setsockopt(*_traffic_class(sock), self.dscp << ECN_BITS)
        if self.ttl is not None:
            sock.setsockopt(*_hops(sock), self.ttl)
        if self.df:
            if not sys.platform.startswith("linux"):
                raise Unsupported("is for Linux only", "leave it out", argument="df")
            sock.setsockopt(*of_version(sock, _MTU_DISCOVER, _MTU6_DISCOVER), _PROBE)
        if self.bind is not None:
            self._bind(sock, self.bind)

    def _bind(self, sock: socket.socket, source: str) -> None:
        try:
            # No name: resolving it might take long, and could not be interrupted here.
            places = socket.getaddrinfo(source, 0, sock.family, sock.type, 0, socket.AI_NUMERICHOST)
            sock.bind(places[0][4])
        except (socket.gaierror, UnicodeError) as error:
            if _is_of_the_other_family(source, sock):
                fact = f"no IPv{4 if sock.family == socket.AF_INET else 6} address can be reached from {source}"
                remedy = "name another source with bind=, or leave it out"
                raise Unreachable(fact, remedy, errno=errno.EADDRNOTAVAIL) from error
            raise _unusable(source) from error
        except OSError as error:
            if error.errno == errno.EINVAL and zone_fault(source):
                raise _unusable(source) from error
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            fact = f"{source} is not an address of this machine"
            raise UsageError(fact, "name one of its own; see them with: ip addr", argument="bind") from error


def _unusable(source: str) -> UsageError:
    """Return the error for a source that no socket takes: a name, or a link-local address without its interface."""
    fact, remedy = f"{source} is not an IP address", "name one of this machine's own; see them with: ip addr"
    if fault := zone_fault(source):
        fact, remedy = f"{source} is not complete: {fault[0]}", fault[1]
    return UsageError(fact, remedy, argument="bind")


def of_version(sock: socket.socket, four: int, six: int) -> tuple[int, int]:
    """Return an option's level and its number, which differ between the IP versions."""
    return (socket.IPPROTO_IP, four) if sock.family == socket.AF_INET else (socket.IPPROTO_IPV6, six)


def effective(sock: socket.socket) -> tuple[int | None, int | None]:
    """Return the DSCP and the TTL (hop limit) that a socket sends with; None where the system does not say."""
    if sock.family not in INTERNET:
        return None, None
    try:
        return sock.getsockopt(*_traffic_class(sock)) >> ECN_BITS, sock.getsockopt(*_hops(sock))
    except (OSError, Unsupported):
        return None, None


def path_mtu(sock: socket.socket) -> int | None:
    """Return the path MTU to the peer as the kernel knows it (IP_MTU), None where it does not."""
    if not sys.platform.startswith("linux") or sock.family not in INTERNET:
        return None
    try:
        return sock.getsockopt(*of_version(sock, _MTU, _MTU6))
    except OSError:  # not connected
        return None


def _traffic_class(sock: socket.socket) -> tuple[int, int]:
    if sock.family == socket.AF_INET6 and not hasattr(socket, "IPV6_TCLASS"):
        raise Unsupported("this system cannot mark IPv6 traffic", "leave dscp= out, or use family=4")
    return of_version(sock, socket.IP_TOS, getattr(socket, "IPV6_TCLASS", 0))


def _hops(sock: socket.socket) -> tuple[int, int]:
    return of_version(sock, socket.IP_TTL, socket.IPV6_UNICAST_HOPS)


def _is_of_the_other_family(source: str, sock: socket.socket) -> bool:
    """Whether the source is an address of another family: another address of the target's name may match."""
    try:
        return socket.getaddrinfo(source, 0, flags=socket.AI_NUMERICHOST)[0][0] != sock.family
    except (socket.gaierror, UnicodeError):
        return False


SO_TIMESTAMPNS = 35  # Linux's number, which the socket module does not name; its control message has the same
CONTROL_SIZE = 64  # bytes for control messages
_TIMESPEC = struct.Struct("=qq")  # struct timespec on 64-bit systems


def stamps(sock: socket.socket) -> bool:
    """Request receive timestamps from the kernel; return whether it reports them."""
    if not sys.platform.startswith("linux") or not hasattr(sock, "recvmsg") or sock.family not in INTERNET:
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return struct.calcsize("P") == struct.calcsize("q")


def receive(sock: socket.socket, size: int) -> tuple[bytes, int | None]:
    """Receive at most `size` bytes, and the time at which the kernel received them. Raises OSError (recvmsg(2))."""
    data, messages, _, _ = sock.recvmsg(size, CONTROL_SIZE)
    return data, timestamp(messages)


def timestamp(messages: list[tuple[int, int, bytes]]) -> int | None:
    """Return the receive time in nanoseconds that is among the control messages, if it is."""
    for level, kind, data in messages:
        if kind == SO_TIMESTAMPNS and level == socket.SOL_SOCKET and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds * SECOND + nanoseconds)
    return None
