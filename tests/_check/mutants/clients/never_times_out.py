"""Waits without a limit for the connection and for the reply."""

import socket

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def connect(self) -> socket.socket:
        """Connect without a timeout."""
        return socket.create_connection((self.host, self.port))

    def wait_readable(self, sock: socket.socket) -> None:
        """Do not limit the wait."""


if __name__ == "__main__":
    main(Mutant)
