"""Sends everything before it reads anything."""

import socket

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def begin(self, sock: socket.socket, data: bytes) -> None:
        """Send."""
        self.send(sock, data)
        self.finish(sock)


if __name__ == "__main__":
    main(Mutant)
