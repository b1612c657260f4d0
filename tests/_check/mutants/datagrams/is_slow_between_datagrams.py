"""Takes 50 ms for each datagram before it reads the next one, as for a lookup of the sender's name."""

import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Reply, and wait."""
        super().reply(sock, datagram)
        self.never_set.wait(0.05)


if __name__ == "__main__":
    main(Mutant)
