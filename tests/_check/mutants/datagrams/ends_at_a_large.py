"""Has no room for what does not fit into a packet of Ethernet, and ends when such a datagram comes."""

import os
import socket

from tests._check.reference_udp import Letter, Server, main

ROOM = 1472  # bytes


class Mutant(Server):
    """Differs in one step."""

    def hear(self, sock: socket.socket) -> Letter:
        """Receive a datagram that fits."""
        letter = super().hear(sock)
        if len(letter.data) > ROOM:
            os._exit(1)
        return letter


if __name__ == "__main__":
    main(Mutant)
