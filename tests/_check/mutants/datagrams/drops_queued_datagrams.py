"""Empties its receive queue after a reply: datagrams received meanwhile are lost."""

import select
import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Reply to one datagram, and drop the others."""
        super().reply(sock, datagram)
        while select.select([sock], [], [], 0.02)[0]:
            self.receive(sock)


if __name__ == "__main__":
    main(Mutant)
