"""Answers port 0 as well, and ends because nothing can be sent there, nor to a broadcast address."""

import os
import socket
import traceback

from tests._check.reference_udp import SERVICES, Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    services = SERVICES - {0}

    def answer(self, sock: socket.socket, letter: Letter) -> None:
        """Answer, and let no error pass."""
        try:
            super().answer(sock, letter)
        except OSError:
            traceback.print_exc()
            os._exit(1)


if __name__ == "__main__":
    main(Mutant)
