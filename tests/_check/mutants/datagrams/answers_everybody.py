"""May send broadcasts, and does when the sender is forged."""

import socket

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Differs in one step."""

    def open(self, family: socket.AddressFamily) -> socket.socket:
        """Make a socket that may send to everybody."""
        sock = super().open(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return sock


if __name__ == "__main__":
    main(Mutant)
