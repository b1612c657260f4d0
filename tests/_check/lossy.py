"""A right echo server of datagrams with little room, which loses some of a burst: `python -m tests._check.lossy PORT`.

Knows the reference. Datagrams may get lost, so that this is no mistake.
"""

import socket

from tests._check.reference_udp import Letter, Server, main

ROOM = 16 << 10  # bytes; Linux doubles it, for its own records


class Lossy(Server):
    """The reference, somewhat slow."""

    def open(self, family: socket.AddressFamily) -> socket.socket:
        """Make a socket with little room."""
        sock = super().open(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        return sock

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Take a moment."""
        super().answer(sock, letter)
        self.moment.wait(0.001)


if __name__ == "__main__":
    main(Lossy)
