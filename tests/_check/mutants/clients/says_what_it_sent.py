"""Receives once and prints its message beside the reply, so that the output contains the whole reply anyway."""

import socket

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def receive(self, sock: socket.socket) -> None:
        """Print the message and the first chunk."""
        data = self.receive_chunk(sock)
        self.show(b"Sent: " + self.sent + b"\nReceived: " + data + b"\n")
        self.compare(data)
        self.received += len(data)


if __name__ == "__main__":
    main(Mutant)
