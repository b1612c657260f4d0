"""Limits its rate by sleeping in the loop that serves all clients."""

import select
import socket

from tests._check.reference import EchoServer, main


class Mutant(EchoServer):
    """Overrides one step of the reference."""

    echoed = 0

    def receive(self, sock: socket.socket) -> bytes:
        """Receive what is available; after each 8 MiB sleep for 0.1 s."""
        data = super().receive(sock)
        self.echoed += len(data)
        if self.echoed >= 8 << 20:
            self.echoed = 0
            select.select([], [], [], 0.1)
        return data


if __name__ == "__main__":
    main(Mutant)
