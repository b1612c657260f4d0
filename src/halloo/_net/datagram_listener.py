"""A bound datagram socket, which becomes a connection of its own for each sender (see `datagrams`)."""

import socket
import sys
from collections import deque
from contextlib import suppress

from halloo._net.datagrams import DATAGRAM_ROOM, DatagramConnection, IpPeer, enlarge_buffers
from halloo._net.resolver import from_sockaddr

KERNEL_OVERHEAD = 256  # bytes that the kernel counts for a datagram, besides its own, at least (struct sk_buff)


class DatagramListener:
    """A bound datagram socket, which becomes a connection for each sender."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.datagrams: deque[tuple[bytes, IpPeer]] = deque()  # received, of senders without a connection
        self._room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)  # bytes that the kernel holds, and this side

    def accept(self) -> DatagramConnection | None:
        """Make a connection with the first sender, on the same port; None when there is none."""
        while self.datagrams or self._collect(self._sock):
            peer, sock = self.datagrams[0][1], self._open_beside()
            try:
                sock.connect(peer)
            except OSError:
                sock.close()
                self._take_from(peer)  # dropped: no reply could ever reach the sender
                continue
            # Before the new socket was connected, either one received from any sender; now it receives the peer's.
            self._collect(self._sock)
            self._collect(sock)
            return DatagramConnection(sock, from_sockaddr("udp", peer), queued=self._take_from(peer))
        return None

    def _take_from(self, peer: IpPeer) -> list[bytes]:
        datagrams, self.datagrams = self.datagrams, deque(item for item in self.datagrams if item[1] != peer)
        return [data for data, sender in datagrams if sender == peer]

    def _collect(self, sock: socket.socket) -> bool:
        """Receive what is queued in the kernel, and no more than its queue holds; return whether there was anything.

        Where datagrams arrive without a pause, there would be no end. What does not fit here is dropped.
        """
        kept, read = sum(map(_kernel_size, self.datagrams)), 0
        with suppress(BlockingIOError):
            while read < self._room:
                try:
                    received = sock.recvfrom(DATAGRAM_ROOM)
                except ConnectionError:
                    continue  # a refusal of an earlier datagram
                read += _kernel_size(received)
                if not self.datagrams or kept + read <= self._room:
                    self.datagrams.append(received)
        return read > 0

    def _open_beside(self) -> socket.socket:
        """Open a socket on the same port, for one peer alone: the kernel prefers the one that is connected.

        On systems other than Linux a port cannot be shared afterwards, and the first connection takes it over.
        """
        if not sys.platform.startswith("linux"):
            return self._sock.dup()
        sock = socket.socket(self._sock.family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            for one in (self._sock, sock):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            enlarge_buffers(sock)
            sock.bind(self._sock.getsockname())
        except BaseException:
            sock.close()
            raise
        return sock


def _kernel_size(received: tuple[bytes, IpPeer]) -> int:
    """Return what a datagram takes in the kernel's queue, at least: an empty one is not free there either."""
    return len(received[0]) + KERNEL_OVERHEAD
