"""Gives up when a reply takes longer than a second."""

import socket

from tests._check.client.reference import Client, ClientError, main


class Mutant(Client):
    """The reference client with one step changed."""

    def wait_readable(self, sock: socket.socket) -> None:
        """Wait for a second at most."""
        if not self.readable(sock, 1):
            raise ClientError("no answer within a second")


if __name__ == "__main__":
    main(Mutant)
