"""Takes a datagram of no bytes for the end, as it would be of a stream."""

import os
import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def hear(self, sock: socket.socket) -> Letter:
        """Receive a datagram, or the end."""
        letter = super().hear(sock)
        if not letter.data:
            os._exit(0)
        return letter


if __name__ == "__main__":
    main(Mutant)
