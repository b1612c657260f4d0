"""Replies to each datagram twice, in case one is lost."""

import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Send two replies."""
        super().reply(sock, datagram)
        super().reply(sock, datagram)


if __name__ == "__main__":
    main(Mutant)
