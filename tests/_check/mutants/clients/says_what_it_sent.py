"""Receives once, and prints what it has sent beside: whoever does not look twice finds the whole answer there."""

import socket

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def receive(self, sock: socket.socket) -> None:
        """Show both, and look no further."""
        data = self.take(sock)
        self.show(b"Sent: " + self.sent + b"\nReceived: " + data + b"\n")
        self.compare(data)
        self.received += len(data)


if __name__ == "__main__":
    main(Mutant)
