"""Replies from the address that the kernel chooses, not from the one that the datagram was sent to."""

import socket

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Send a datagram back, from any address."""
        sock.sendto(datagram.data, datagram.peer)


if __name__ == "__main__":
    main(Mutant)
