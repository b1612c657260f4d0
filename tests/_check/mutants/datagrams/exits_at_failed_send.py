"""Replies to port 0 as well, and exits because sending there, or to a broadcast address, fails."""

import os
import socket
import traceback

from tests._check.reference_udp import SERVICES, Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    services = SERVICES - {0}

    def reply(self, sock: socket.socket, datagram: Datagram) -> None:
        """Reply, and exit at an error."""
        try:
            super().reply(sock, datagram)
        except OSError:
            traceback.print_exc()
            os._exit(1)


if __name__ == "__main__":
    main(Mutant)
