"""Assumes that an address is a pair of host and port; an IPv6 address has four parts."""

import socket
from contextlib import suppress

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Send a datagram back, if its source is a pair."""
        with suppress(ValueError):  # too many values to unpack
            host, port = datagram.peer
            super().reply(sock, datagram._replace(peer=(host, port)))


if __name__ == "__main__":
    main(Mutant)
