"""Decodes datagrams as UTF-8, and replaces invalid bytes."""

import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Reply with the encoded text."""
        super().reply(sock, datagram._replace(data=datagram.data.decode(errors="replace").encode()))


if __name__ == "__main__":
    main(Mutant)
