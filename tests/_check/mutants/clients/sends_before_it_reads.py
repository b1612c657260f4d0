"""Sends everything before it reads anything."""

import socket

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def start_sending(self, sock: socket.socket, data: bytes) -> None:
        """Send in the same thread."""
        self.send(sock, data)
        self.shutdown_write(sock)


if __name__ == "__main__":
    main(Mutant)
