"""Exits at an empty datagram, as if it were the end of a stream."""

import os
import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def receive(self, sock: socket.socket) -> Datagram:
        """Receive a datagram, and exit if it is empty."""
        datagram = super().receive(sock)
        if not datagram.data:
            os._exit(0)
        return datagram


if __name__ == "__main__":
    main(Mutant)
