"""Send datagrams with a spoofed source address, and capture the datagrams that a server sends.

Builds IPv4 and UDP headers, and uses raw sockets, which need root (raw(7), packet(7)).
"""

import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from halloo._check.case import Skipped
from halloo._net.bpf import attach

HostPort = tuple[str, int]
MAX_BATCH = 10_000  # packets read between two looks at the clock: a flood must not block the deadline
_UDP, _IPV4 = 17, 0x0800
_ALL = 3  # ETH_P_ALL: bound to one protocol, a packet socket does not receive outgoing packets
_LOAD, _LOAD_2, _LOAD_2_AFTER, _LENGTH, _IF, _END = 0x30, 0x28, 0x48, 0xB1, 0x15, 0x06
_PROTOCOL, _PACKET_TYPE = 0xFFFFF000, 0xFFFFF004  # SKF_AD_PROTOCOL and SKF_AD_PKTTYPE: packet metadata
#  0      1    2       4     6      8    9      10     12      16
#  | 4, 5 | 0 | length | id | flags | ttl | proto | sum | from | to |
_IP = struct.Struct("!BBHHHBBH4s4s")
#  | from | to | length | sum |
_PORTS = struct.Struct("!HHHH")


def spoof(source: HostPort, destination: HostPort, data: bytes) -> None:
    """Send one datagram with a spoofed `source` address. Raises Skipped without the privilege."""
    udp = _PORTS.pack(source[1], destination[1], _PORTS.size + len(data), 0)  # a checksum of 0 means none (RFC 768)
    header = _IP.pack(
        0x45, 0, _IP.size + len(udp) + len(data), 0, 0, 64, _UDP, 0, *map(socket.inet_aton, (source[0], destination[0]))
    )
    # The kernel refuses some source addresses.
    with _raw_socket("AF_INET", socket.SOCK_RAW, socket.IPPROTO_RAW) as sock, suppress(OSError):
        sock.sendto(header + udp + data, (destination[0], 0))


@contextmanager
def capture(clock: Callable[[], float], port: int) -> Iterator["Capture"]:
    """Capture the datagrams sent from a port, on all interfaces. Raises Skipped without the privilege."""
    with _raw_socket("AF_PACKET", socket.SOCK_DGRAM, socket.htons(_ALL)) as sock:
        # The kernel drops all other packets, which would fill the queue.
        steps = (
            *((_LOAD_2, 0, 0, _PROTOCOL), (_IF, 0, 8, _IPV4)),
            *((_LOAD, 0, 0, _PACKET_TYPE), (_IF, 0, 6, socket.PACKET_OUTGOING)),
            *((_LOAD, 0, 0, 9), (_IF, 0, 4, _UDP)),
            *((_LENGTH, 0, 0, 0), (_LOAD_2_AFTER, 0, 0, 0), (_IF, 0, 1, port)),
            *((_END, 0, 0, 64), (_END, 0, 0, 0)),
        )
        attach(sock, steps)
        sock.setblocking(False)
        with suppress(BlockingIOError):
            while sock.recv(1):  # packets received before the filter was attached
                pass
        yield Capture(sock, clock)


@dataclass(frozen=True, slots=True)
class Capture:
    """Counts outgoing datagrams, read from a packet socket."""

    sock: socket.socket
    clock: Callable[[], float]

    def count_sent(self, seconds: float) -> int:
        poll, deadline, count = select.poll(), self.clock() + seconds, 0
        poll.register(self.sock, select.POLLIN)
        while True:
            left = deadline - self.clock()
            with suppress(BlockingIOError):
                for _ in range(MAX_BATCH):
                    self.sock.recv(64)
                    count += 1
            if left <= 0:  # packets that were queued by then have been counted
                return count
            poll.poll(left * 1000)


@contextmanager
def _raw_socket(family: str, kind: int, protocol: int) -> Iterator[socket.socket]:
    try:
        sock = socket.socket(getattr(socket, family), kind, protocol)
    except PermissionError:
        raise Skipped("needs the privilege to spoof datagrams (root or CAP_NET_RAW)") from None
    except (OSError, AttributeError) as error:
        raise Skipped(f"this system has no raw sockets ({error})") from None
    with sock:
        yield sock
