"""A correct UDP echo server with a small buffer, which loses part of a burst: `python -m tests._check.lossy PORT`.

It is correct because datagrams may be lost.
"""

import socket

from tests._check.reference_udp import Datagram, Server, main

ROOM = 16 << 10  # bytes; Linux doubles it for its bookkeeping


class Lossy(Server):
    """The reference with a small buffer, and slower."""

    def open(self, family: socket.AddressFamily) -> socket.socket:
        sock = super().open(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        return sock

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        super().reply(sock, datagram)
        self.never_set.wait(0.001)


if __name__ == "__main__":
    main(Lossy)
