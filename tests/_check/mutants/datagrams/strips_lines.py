"""Treats a datagram as a line, and strips its newline."""

import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Reply without the newline."""
        super().reply(sock, datagram._replace(data=datagram.data.rstrip()))


if __name__ == "__main__":
    main(Mutant)
