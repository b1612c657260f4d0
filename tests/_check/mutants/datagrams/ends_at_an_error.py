"""Is told that a client has gone, which is no error of its own, and ends."""

import os
import socket
import traceback

from tests._check.reference_udp import Letter, Server, main

IP_RECVERR = 11  # of Linux, see ip(7)


class Mutant(Server):
    """Differs in one step."""

    def open(self, family: socket.AddressFamily) -> socket.socket:
        """Make a socket that is told of refusals, as every socket is on Windows."""
        sock = super().open(family)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        return sock

    def hear(self, sock: socket.socket) -> Letter:
        """Receive a datagram, and let no error pass."""
        try:
            return super().hear(sock)
        except OSError:
            traceback.print_exc()
            os._exit(1)


if __name__ == "__main__":
    main(Mutant)
