"""Takes an address for a host and a port, and nothing more; those of IPv6 have four parts."""

import socket
from contextlib import suppress

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Send a datagram back, where that is known."""
        with suppress(ValueError):  # too many values to unpack
            host, port = letter.peer
            super().answer(sock, letter._replace(peer=(host, port)))


if __name__ == "__main__":
    main(Mutant)
