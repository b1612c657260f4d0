"""A correct UDP echo server, which passes all cases: `python -m tests._check.reference_udp PORT`.

Uses only the standard library on Linux, not halloo. It binds the port on all addresses of both families, and serves
TCP on another port. Mutants are changes of a line or two of it.
"""

import socket
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

BUFFER = 65535  # bytes: the maximum of a datagram
QUEUE = 8 << 20  # bytes requested; the kernel limits it to net.core.rmem_max
TTL = 200  # marks the replies of this program and its copies: no system uses it as the initial value
SERVICES = frozenset({0, 7, 9, 13, 17, 19, 37, 53, 69, 123, 161})  # ports that answer any datagram; 0 is no valid port
# Linux, see ip(7) and ipv6(7): the socket module has no names for these before Python 3.14.
IP_PKTINFO, IP_RECVTTL, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT = 8, 12, 49, 51
FAMILIES = {
    socket.AF_INET: (
        *((socket.IPPROTO_IP, IP_PKTINFO, 1), (socket.IPPROTO_IP, IP_RECVTTL, 1)),
        (socket.IPPROTO_IP, socket.IP_TTL, TTL),
    ),
    socket.AF_INET6: (
        *((socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1), (socket.IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)),
        *((socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL), (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)),
    ),
}
WILDCARD = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
#  IPv4: | interface | local address | destination |   IPv6: | destination | interface |
IPV4, IPV6 = struct.Struct("=i4s4s"), struct.Struct("=16si")
Ancillary = tuple[int, int, bytes]


class Datagram(NamedTuple):
    """A datagram, its source address, and its ancillary data."""

    data: bytes
    peer: tuple[str, int]
    ancillary: Sequence[Ancillary]

    @property
    def destination_info(self) -> list[Ancillary]:
        """The ancillary data with the destination; sent with the reply, it sets the source."""
        kinds = ((socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO))
        return [item for item in self.ancillary if item[:2] in kinds]

    @property
    def sent_to_group(self) -> bool:
        item = self.destination_info[0][2]
        if len(item) == IPV4.size:
            _, local, destination = IPV4.unpack(item)
            return bool(local != destination)
        return ip_address(IPV6.unpack(item)[0]).is_multicast

    @property
    def is_reply(self) -> bool:
        """Whether it has the TTL of a reply; on this machine no router decrements it."""
        kinds = ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT))
        return any(item[:2] in kinds and struct.unpack("=i", item[2])[0] == TTL for item in self.ancillary)


class Server:
    """A socket and a thread for each address family."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.never_set = threading.Event()  # waiting for it is a sleep
        self.streams = socket.create_server(("127.0.0.1", 0))
        self.socks = [self.open(family) for family in FAMILIES if has(family)]
        for sock in self.socks:
            sock.bind((WILDCARD[sock.family], port))

    def open(self, family: socket.AddressFamily) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
        for option in FAMILIES[family]:
            sock.setsockopt(*option)
        return sock

    def serve(self) -> None:
        threading.Thread(target=self.accept, daemon=True).start()
        for sock in self.socks[1:]:
            threading.Thread(target=self.echo, args=(sock,), daemon=True).start()
        self.echo(self.socks[0])

    def echo(self, sock: socket.socket) -> None:
        while True:
            self.step(sock)

    def step(self, sock: socket.socket) -> None:
        with suppress(OSError):  # it concerns one client, perhaps an earlier one
            datagram = self.receive(sock)
            if not self.ignores(datagram):
                self.reply(sock, datagram)

    def receive(self, sock: socket.socket) -> Datagram:
        data, ancillary, _, peer = sock.recvmsg(BUFFER, 256)
        return Datagram(data, peer, ancillary)

    def ignores(self, datagram: Datagram) -> bool:
        host, port = datagram.peer[:2]
        from_group = ip_address(host.partition("%")[0]).is_multicast  # for broadcasts, the kernel needs SO_BROADCAST
        is_loop = datagram.is_reply or port == self.port
        return is_loop or port in SERVICES or datagram.sent_to_group or from_group

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        sock.sendmsg([datagram.data], datagram.destination_info, 0, datagram.peer)

    def accept(self) -> None:
        while True:
            conn, _ = self.streams.accept()
            threading.Thread(target=self.serve_client, args=(conn,), daemon=True).start()

    def serve_client(self, conn: socket.socket) -> None:
        with conn, suppress(OSError):
            while data := conn.recv(BUFFER):
                conn.sendall(data)


def has(family: socket.AddressFamily) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((WILDCARD[family], 0))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    Server(int(sys.argv[1])).serve()
