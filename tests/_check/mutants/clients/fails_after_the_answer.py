"""Takes a reset for an error even when all of the answer has come."""

import socket

from tests._check.client.reference import BUFFER, Client, main


class Mutant(Client):
    """Differs in one step."""

    def take(self, sock: socket.socket) -> bytes:
        """Receive a piece."""
        self.wait(sock)
        return sock.recv(BUFFER)


if __name__ == "__main__":
    main(Mutant)
