"""Takes what one recv() gives for the whole answer."""

import socket

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def receive(self, sock: socket.socket) -> None:
        """Show the first piece."""
        data = self.take(sock)
        self.show(data)
        self.compare(data)
        self.received += len(data)


if __name__ == "__main__":
    main(Mutant)
