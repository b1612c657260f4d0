"""Waits without a limit, for a connection and for an answer."""

import socket

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def connect(self) -> socket.socket:
        """Connect, however long it takes."""
        return socket.create_connection((self.host, self.port))

    def wait(self, sock: socket.socket) -> None:
        """Wait for ever."""


if __name__ == "__main__":
    main(Mutant)
