"""Datagrams with a false sender, as anybody on a network can write them; and what a server sends, seen on the wire.

Knows the headers of IPv4 and UDP, and raw sockets, which belong to root (raw(7), packet(7)).
"""

import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from halloo.check.case import Skipped

Place = tuple[str, int]
_UDP, _IPV4 = 17, 0x0800
_ALL = 3  # ETH_P_ALL: with a protocol of its own a packet socket is not shown what leaves
#  0      1    2       4     6      8    9      10     12      16
#  | 4, 5 | 0 | length | id | flags | ttl | proto | sum | from | to |
_IP = struct.Struct("!BBHHHBBH4s4s")
#  | from | to | length | sum |
_PORTS = struct.Struct("!HHHH")


def forge(source: Place, destination: Place, data: bytes) -> None:
    """Send one datagram that claims to come from `source`. Raises Skipped without the rights."""
    udp = _PORTS.pack(source[1], destination[1], _PORTS.size + len(data), 0)  # a sum of 0 is none (RFC 768)
    header = _IP.pack(
        0x45, 0, _IP.size + len(udp) + len(data), 0, 0, 64, _UDP, 0, *map(socket.inet_aton, (source[0], destination[0]))
    )
    with (
        _raw("AF_INET", socket.SOCK_RAW, socket.IPPROTO_RAW) as sock,
        suppress(OSError),
    ):  # the system refuses some senders itself
        sock.sendto(header + udp + data, (destination[0], 0))


@contextmanager
def wire(clock: Callable[[], float]) -> Iterator["Wire"]:
    """See what leaves, by whichever interface. Raises Skipped without the rights."""
    with _raw("AF_PACKET", socket.SOCK_DGRAM, socket.htons(_ALL)) as sock:
        sock.setblocking(False)
        yield Wire(sock, clock)


class Wire:
    """The packets that leave, from now on."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float]) -> None:
        """Read from a packet socket."""
        self._sock = sock
        self._clock = clock

    def sent_from(self, port: int, seconds: float) -> int:
        """Watch for so long, and count the datagrams that leave from a port."""
        poll, deadline, count = select.poll(), self._clock() + seconds, 0
        poll.register(self._sock, select.POLLIN)
        while (left := deadline - self._clock()) > 0:
            poll.poll(left * 1000)
            with suppress(BlockingIOError):
                while self._clock() < deadline:
                    packet, (_, protocol, kind, *_) = self._sock.recvfrom(65536)
                    count += kind == socket.PACKET_OUTGOING and protocol == _IPV4 and _from(packet, port)
        return count


def _from(packet: bytes, port: int) -> bool:
    start = (packet[0] & 0xF) * 4 if packet else 0
    return len(packet) >= start + 2 and packet[9] == _UDP and int.from_bytes(packet[start : start + 2]) == port


@contextmanager
def _raw(family: str, kind: int, protocol: int) -> Iterator[socket.socket]:
    try:
        sock = socket.socket(getattr(socket, family), kind, protocol)
    except PermissionError:
        raise Skipped("needs the right to forge datagrams (root, or CAP_NET_RAW)") from None
    except (OSError, AttributeError) as error:
        raise Skipped(f"this system has no such sockets ({error})") from None
    with sock:
        yield sock
