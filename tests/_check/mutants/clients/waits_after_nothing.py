"""Sends no end of file, and receives at least once even after an empty message."""

import socket
import time

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def shutdown_write(self, sock: socket.socket) -> None:
        """Do nothing."""

    def receive(self, sock: socket.socket) -> None:
        """Receive a chunk, then check whether the reply is complete."""
        while data := self.receive_chunk(sock):
            self.show(data)
            self.compare(data)
            self.received += len(data)
            self.last_progress = time.monotonic()
            if self.received >= len(self.sent):
                return

    def wait_readable(self, sock: socket.socket) -> None:
        """Wait, without a limit after an empty message."""
        if self.sent:
            super().wait_readable(sock)


if __name__ == "__main__":
    main(Mutant)
