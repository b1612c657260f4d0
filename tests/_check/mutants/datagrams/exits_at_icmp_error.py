"""Exits at the ICMP error that a closed client socket causes."""

import os
import socket
import traceback

from tests._check.reference_udp import Datagram, Server, main

IP_RECVERR = 11  # Linux, see ip(7)


class Mutant(Server):
    """Overrides one step of the reference."""

    def open(self, family: socket.AddressFamily) -> socket.socket:
        """Make a socket that reports ICMP errors, as every socket does on Windows."""
        sock = super().open(family)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        return sock

    def receive(self, sock: socket.socket) -> Datagram:
        """Receive a datagram, and exit at an error."""
        try:
            return super().receive(sock)
        except OSError:
            traceback.print_exc()
            os._exit(1)


if __name__ == "__main__":
    main(Mutant)
