"""Gives up when an answer takes longer than a second."""

import socket

from tests._check.client.reference import Client, Trouble, main


class Mutant(Client):
    """Differs in one step."""

    def wait(self, sock: socket.socket) -> None:
        """Wait a second."""
        if not self.readable(sock, 1):
            raise Trouble("no answer within a second")


if __name__ == "__main__":
    main(Mutant)
