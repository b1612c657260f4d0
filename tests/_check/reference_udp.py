"""A right echo server of datagrams, the measure of their cases: `python -m tests._check.reference_udp PORT`.

Knows the standard library of Linux alone, and nothing of halloo. It has the port on every address of both families, and
serves streams beside, on a port of its own. Mutants differ from it in one step, and override that one.
"""

import socket
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

BUFFER = 65535  # bytes: no datagram is longer
QUEUE = 8 << 20  # bytes asked for; the kernel takes it down to net.core.rmem_max
TTL = 200  # the mark of our own answers, wherever they come from: no system starts with it
SERVICES = frozenset({0, 7, 9, 13, 17, 19, 37, 53, 69, 123, 161})  # ports that answer whatever comes; 0 is nobody's
# Of Linux, see ip(7) and ipv6(7): the socket module has no names for these before Python 3.14.
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
EVERY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
#  | interface | our address there | the address it was sent to |   of IPv4; of IPv6: | sent to | interface |
IPV4, IPV6 = struct.Struct("=i4s4s"), struct.Struct("=16si")
Note = tuple[int, int, bytes]


class Letter(NamedTuple):
    """A datagram, who sent it, and what the system notes about it."""

    data: bytes
    peer: tuple[str, int]
    notes: Sequence[Note]

    @property
    def place(self) -> list[Note]:
        """Where it was sent to; given back with the answer, that is where the answer comes from."""
        kinds = ((socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO))
        return [note for note in self.notes if note[:2] in kinds]

    @property
    def to_many(self) -> bool:
        """Whether it was sent to a broadcast or multicast address."""
        note = self.place[0][2]
        if len(note) == IPV4.size:
            _, ours, meant = IPV4.unpack(note)
            return bool(ours != meant)
        return ip_address(IPV6.unpack(note)[0]).is_multicast

    @property
    def is_answer(self) -> bool:
        """Whether it starts with the mark that answers have; on this machine no router counts it down."""
        kinds = ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT))
        return any(note[:2] in kinds and struct.unpack("=i", note[2])[0] == TTL for note in self.notes)


class Server:
    """Steps of a server, each a method, so that a mutant can take one of them wrong."""

    services = SERVICES

    def __init__(self, port: int) -> None:
        """Take the port, and another one for streams."""
        self.port = port
        self.moment = threading.Event()  # never set: to wait for it is to let time pass
        self.streams = socket.create_server(("127.0.0.1", 0))
        self.socks = [self.open(family) for family in FAMILIES if has(family)]
        for sock in self.socks:
            sock.bind((EVERY[sock.family], port))

    def open(self, family: socket.AddressFamily) -> socket.socket:
        """Make a socket that has room, and is told where from and where to."""
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
        for option in FAMILIES[family]:
            sock.setsockopt(*option)
        return sock

    def serve(self) -> None:
        """Serve all sockets at once, until one of IPv4 breaks."""
        threading.Thread(target=self.accept, daemon=True).start()
        for sock in self.socks[1:]:
            threading.Thread(target=self.echo, args=(sock,), daemon=True).start()
        self.echo(self.socks[0])

    def echo(self, sock: socket.socket) -> None:
        """Answer one datagram after another."""
        while True:
            self.step(sock)

    def step(self, sock: socket.socket) -> None:
        """Answer one datagram. An error is about one client, and perhaps not even this one."""
        with suppress(OSError):
            letter = self.hear(sock)
            if not self.refuses(letter):
                self.answer(sock, letter)

    def hear(self, sock: socket.socket) -> Letter:
        """Receive a datagram."""
        data, notes, _, peer = sock.recvmsg(BUFFER, 256)
        return Letter(data, peer, notes)

    def refuses(self, letter: Letter) -> bool:
        """Say whether nothing must be answered: there would be no end, or it would go to somebody else."""
        return self.is_loop(letter) or letter.peer[1] in self.services or letter.to_many or self.is_many(letter.peer)

    def is_loop(self, letter: Letter) -> bool:
        """Whether it comes from ourselves, or from a copy of ours."""
        return letter.is_answer or letter.peer[1] == self.port

    def is_many(self, peer: tuple[str, int]) -> bool:
        """Whether the sender is a group. To send to a broadcast address, the system asks for SO_BROADCAST."""
        return ip_address(peer[0].partition("%")[0]).is_multicast

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Send a datagram back from where it was sent to."""
        sock.sendmsg([letter.data], letter.place, 0, letter.peer)

    def accept(self) -> None:
        """Take in clients of streams."""
        while True:
            conn, _ = self.streams.accept()
            threading.Thread(target=self.talk, args=(conn,), daemon=True).start()

    def talk(self, conn: socket.socket) -> None:
        """Send back what comes in a stream."""
        with conn, suppress(OSError):
            while data := conn.recv(BUFFER):
                conn.sendall(data)


def has(family: socket.AddressFamily) -> bool:
    """Whether this machine has IPv4, or IPv6."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((EVERY[family], 0))
    except OSError:
        return False
    return True


def main(server: type[Server] = Server) -> None:
    """Serve the port of the command line."""
    server(int(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
