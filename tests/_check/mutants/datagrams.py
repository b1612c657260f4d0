"""UDP echo servers with one mistake each: `python -m tests._check.mutants.datagrams NAME PORT`."""

import os
import select
import socket
import sys
import traceback
from contextlib import suppress

from tests._check import reference_udp

IP_RECVERR = 11  # Linux, see ip(7)
ROOM = 1472  # bytes


class AssumesAddressPairs(reference_udp.Server):
    """Assumes that an address is a pair of host and port; an IPv6 address has four parts."""

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        with suppress(ValueError):  # too many values to unpack
            host, port = datagram.peer
            super().reply(sock, datagram._replace(peer=(host, port)))


class DecodesUtf8(reference_udp.Server):
    """Decodes datagrams as UTF-8, and replaces invalid bytes."""

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        super().reply(sock, datagram._replace(data=datagram.data.decode(errors="replace").encode()))


class DropsQueuedDatagrams(reference_udp.Server):
    """Empties its receive queue after a reply: datagrams received meanwhile are lost."""

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        super().reply(sock, datagram)
        while select.select([sock], [], [], 0.02)[0]:
            self.receive(sock)


class ExitsAtEmptyDatagram(reference_udp.Server):
    """Exits at an empty datagram, as if it were the end of a stream."""

    def receive(self, sock: socket.socket) -> reference_udp.Datagram:
        datagram = super().receive(sock)
        if not datagram.data:
            os._exit(0)
        return datagram


class ExitsAtFailedSend(reference_udp.Server):
    """Replies to port 0 as well, and exits because sending there, or to a broadcast address, fails."""

    services = reference_udp.SERVICES - {0}

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        try:
            super().reply(sock, datagram)
        except OSError:
            traceback.print_exc()
            os._exit(1)


class ExitsAtIcmpError(reference_udp.Server):
    """Exits at the ICMP error that a closed client socket causes."""

    def open(self, family: socket.AddressFamily) -> socket.socket:
        sock = super().open(family)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        return sock

    def receive(self, sock: socket.socket) -> reference_udp.Datagram:
        try:
            return super().receive(sock)
        except OSError:
            traceback.print_exc()
            os._exit(1)


class ExitsAtLargeDatagram(reference_udp.Server):
    """Exits at a datagram that does not fit into one Ethernet packet."""

    def receive(self, sock: socket.socket) -> reference_udp.Datagram:
        datagram = super().receive(sock)
        if len(datagram.data) > ROOM:
            os._exit(1)
        return datagram


class HasA1KibBuffer(reference_udp.Server):
    """Has a buffer of 1024 bytes, and truncates larger datagrams."""

    def receive(self, sock: socket.socket) -> reference_udp.Datagram:
        data, notes, _, peer = sock.recvmsg(1024, 256)
        return reference_udp.Datagram(data, peer, notes)


class HasAn8KibBuffer(reference_udp.Server):
    """Has a buffer of 8 KiB, and truncates larger datagrams."""

    def receive(self, sock: socket.socket) -> reference_udp.Datagram:
        data, notes, _, peer = sock.recvmsg(8192, 256)
        return reference_udp.Datagram(data, peer, notes)


class IgnoresEmptyDatagrams(reference_udp.Server):
    """Does not reply to empty datagrams."""

    def ignores(self, datagram: reference_udp.Datagram) -> bool:
        return not datagram.data or super().ignores(datagram)


class IsSlowBetweenDatagrams(reference_udp.Server):
    """Takes 50 ms for each datagram before it reads the next one, as for a lookup of the sender's name."""

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        super().reply(sock, datagram)
        self.never_set.wait(0.05)


class JoinsDatagrams(reference_udp.Server):
    """Treats datagrams as a stream: those that one client sends within 20 ms get one reply."""

    def step(self, sock: socket.socket) -> None:
        datagrams = [self.receive(sock)]
        while select.select([sock], [], [], 0.02)[0]:
            datagrams.append(self.receive(sock))
        peers = {datagram.peer: datagram for datagram in datagrams if not self.ignores(datagram)}
        for peer, datagram in peers.items():
            data = b"".join(each.data for each in datagrams if each.peer == peer)
            with suppress(OSError):
                self.reply(sock, datagram._replace(data=data))


class RepliesFromWrongAddress(reference_udp.Server):
    """Replies from the address that the kernel chooses, not from the one that the datagram was sent to."""

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        sock.sendto(datagram.data, datagram.peer)


class RepliesToBroadcasts(reference_udp.Server):
    """Replies to datagrams sent to a broadcast address."""

    def ignores(self, datagram: reference_udp.Datagram) -> bool:
        return self.is_loop(datagram) or datagram.peer[1] in self.services or self.is_group(datagram.peer)


class RepliesToItsCopies(reference_udp.Server):
    """Ignores its own port, but no other echo server."""

    def is_loop(self, datagram: reference_udp.Datagram) -> bool:
        return datagram.peer[1] == self.port


class RepliesToItself(reference_udp.Server):
    """Replies to its own replies, and to those of its copies."""

    def is_loop(self, datagram: reference_udp.Datagram) -> bool:
        del datagram
        return False


class RepliesToLatestClient(reference_udp.Server):
    """Keeps the client in a variable, and replies to the latest one."""

    def step(self, sock: socket.socket) -> None:
        datagrams = [self.receive(sock)]
        while select.select([sock], [], [], 0.02)[0]:
            datagrams.append(self.receive(sock))
        accepted = [datagram for datagram in datagrams if not self.ignores(datagram)]
        for datagram in accepted:
            with suppress(OSError):
                self.reply(sock, datagram._replace(peer=accepted[-1].peer))


class RepliesToMulticastSources(reference_udp.Server):
    """Replies to a multicast source address."""

    def is_group(self, peer: tuple[str, int]) -> bool:
        del peer
        return False


class RepliesToServicePorts(reference_udp.Server):
    """Replies to the ports of services that answer any datagram."""

    services = frozenset({0})


class RepliesTwice(reference_udp.Server):
    """Replies to each datagram twice, in case one is lost."""

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        super().reply(sock, datagram)
        super().reply(sock, datagram)


class SendsBroadcasts(reference_udp.Server):
    """Enables SO_BROADCAST, and so replies to a spoofed broadcast address."""

    def open(self, family: socket.AddressFamily) -> socket.socket:
        sock = super().open(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return sock


class SendsStaleBytes(reference_udp.Server):
    """Sends its buffer with the end of earlier, longer datagrams."""

    buffer = b""

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        self.buffer = datagram.data + self.buffer[len(datagram.data) :]
        super().reply(sock, datagram._replace(data=self.buffer))


class ServesOnlyFirstClient(reference_udp.Server):
    """Serves only its first client."""

    client: tuple[str, int] | None = None

    def ignores(self, datagram: reference_udp.Datagram) -> bool:
        if super().ignores(datagram):
            return True
        self.client = self.client or datagram.peer
        return datagram.peer != self.client


class StarvesTcp(reference_udp.Server):
    """Serves TCP clients only while no datagrams arrive, in the same loop."""

    def serve(self) -> None:
        conns: list[socket.socket] = []
        while True:
            while readable := select.select(self.socks, [], [], 0.02)[0]:
                for sock in readable:
                    self.step(sock)
            for ready in select.select([self.streams, *conns], [], [], 0)[0]:
                if ready is self.streams:
                    conns.append(ready.accept()[0])
                elif data := ready.recv(reference_udp.BUFFER):
                    ready.sendall(data)
                else:
                    conns.remove(ready)


class StripsLines(reference_udp.Server):
    """Treats a datagram as a line, and strips its newline."""

    def reply(self, sock: socket.socket, datagram: reference_udp.Datagram) -> None:
        super().reply(sock, datagram._replace(data=datagram.data.rstrip()))


if __name__ == "__main__":
    reference_udp.main(vars()[sys.argv.pop(1)])
