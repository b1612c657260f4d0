"""Exits at a datagram that does not fit into one Ethernet packet."""

import os
import socket

from tests._check.reference_udp import Datagram, Server, main

ROOM = 1472  # bytes


class Mutant(Server):
    """Overrides one step of the reference."""

    def receive(self, sock: socket.socket) -> Datagram:
        """Receive a datagram, and exit if it is too large."""
        datagram = super().receive(sock)
        if len(datagram.data) > ROOM:
            os._exit(1)
        return datagram


if __name__ == "__main__":
    main(Mutant)
