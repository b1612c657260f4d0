"""Enables SO_BROADCAST, and so replies to a spoofed broadcast address."""

import socket

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def open(self, family: socket.AddressFamily) -> socket.socket:
        """Make a socket that may send broadcasts."""
        sock = super().open(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return sock


if __name__ == "__main__":
    main(Mutant)
