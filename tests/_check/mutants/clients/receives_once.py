"""Treats the result of one recv() as the whole reply."""

import socket

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def receive(self, sock: socket.socket) -> None:
        """Print the first chunk only."""
        data = self.receive_chunk(sock)
        self.show(data)
        self.compare(data)
        self.received += len(data)


if __name__ == "__main__":
    main(Mutant)
