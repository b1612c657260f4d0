"""Treats a reset as an error even after the whole reply."""

import socket

from tests._check.client.reference import BUFFER, Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def receive_chunk(self, sock: socket.socket) -> bytes:
        """Receive a chunk."""
        self.wait_readable(sock)
        return sock.recv(BUFFER)


if __name__ == "__main__":
    main(Mutant)
