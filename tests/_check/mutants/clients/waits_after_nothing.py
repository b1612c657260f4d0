"""Does not say that it has finished, and receives at least once, even when it has sent nothing."""

import socket
import time

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def finish(self, sock: socket.socket) -> None:
        """Say nothing."""

    def receive(self, sock: socket.socket) -> None:
        """Receive, and then see whether that was all."""
        while data := self.take(sock):
            self.show(data)
            self.compare(data)
            self.received += len(data)
            self.moved = time.monotonic()
            if self.received >= len(self.sent):
                return

    def wait(self, sock: socket.socket) -> None:
        """Wait; without a limit where nothing is owed."""
        if self.sent:
            super().wait(sock)


if __name__ == "__main__":
    main(Mutant)
