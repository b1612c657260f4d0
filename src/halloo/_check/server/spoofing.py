"""Datagrams with a false sender, as anybody on a network can write them; and what a server sends, seen on the wire.

Knows the headers of IPv4 and UDP, and raw sockets, which belong to root (raw(7), packet(7)).
"""

import select
import socket
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from halloo._check.case import Skipped

Place = tuple[str, int]
AT_ONCE = 10_000  # packets: who is flooded comes to an end, too
_UDP, _IPV4 = 17, 0x0800
_ALL = 3  # ETH_P_ALL: with a protocol of its own a packet socket is not shown what leaves
_SO_ATTACH_FILTER = 26  # of Linux; the socket module does not name it
_LOAD, _LOAD_2, _LOAD_2_AFTER, _LENGTH, _IF, _END = 0x30, 0x28, 0x48, 0xB1, 0x15, 0x06
_PROTOCOL, _KIND = 0xFFFFF000, 0xFFFFF004  # SKF_AD_PROTOCOL and SKF_AD_PKTTYPE: facts beside the packet
#  0      1    2       4     6      8    9      10     12      16
#  | 4, 5 | 0 | length | id | flags | ttl | proto | sum | from | to |
_IP = struct.Struct("!BBHHHBBH4s4s")
#  | from | to | length | sum |
_PORTS = struct.Struct("!HHHH")


def spoof(source: Place, destination: Place, data: bytes) -> None:
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
def capture(clock: Callable[[], float], port: int) -> Iterator["Capture"]:
    """See the datagrams that leave from a port, by whichever interface. Raises Skipped without the rights."""
    with _raw("AF_PACKET", socket.SOCK_DGRAM, socket.htons(_ALL)) as sock:
        _only(sock, port)
        sock.setblocking(False)
        with suppress(BlockingIOError):
            while sock.recv(1):  # it has heard everybody until now
                pass
        yield Capture(sock, clock)


def _only(sock: socket.socket, port: int) -> None:
    """Have the kernel keep what else happens on this machine: it would fill the queue (socket(7), SO_ATTACH_FILTER)."""
    steps = (
        *((_LOAD_2, 0, 0, _PROTOCOL), (_IF, 0, 8, _IPV4)),
        *((_LOAD, 0, 0, _KIND), (_IF, 0, 6, socket.PACKET_OUTGOING)),
        *((_LOAD, 0, 0, 9), (_IF, 0, 4, _UDP)),
        *((_LENGTH, 0, 0, 0), (_LOAD_2_AFTER, 0, 0, 0), (_IF, 0, 1, port)),
        *((_END, 0, 0, 64), (_END, 0, 0, 0)),
    )
    code = array("B", b"".join(struct.pack("HBBI", *step) for step in steps))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(steps), code.buffer_info()[0]))


class Capture:
    """The datagrams that leave, from now on."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float]) -> None:
        """Read from a packet socket."""
        self._sock = sock
        self._clock = clock

    def sent(self, seconds: float) -> int:
        """Watch for so long, and count the datagrams that leave."""
        poll, deadline, count = select.poll(), self._clock() + seconds, 0
        poll.register(self._sock, select.POLLIN)
        while True:
            left = deadline - self._clock()
            with suppress(BlockingIOError):
                for _ in range(AT_ONCE):
                    self._sock.recv(64)
                    count += 1
            if left <= 0:  # and what had left by then has been seen
                return count
            poll.poll(left * 1000)


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
