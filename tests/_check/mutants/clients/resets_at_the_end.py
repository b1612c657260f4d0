"""Ends the connection with a reset."""

import socket
import struct
import time

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def judge(self) -> None:
        """Judge, and then be gone."""
        super().judge()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def connect(self) -> socket.socket:
        """Connect, and remember it."""
        self.sock = super().connect()
        return self.sock

    def finish(self, sock: socket.socket) -> None:
        """Leave the end to close()."""

    def receive(self, sock: socket.socket) -> None:
        """Show what comes, until all has come."""
        while self.received < len(self.sent) and (data := self.take(sock)):
            self.show(data)
            self.compare(data)
            self.received += len(data)
            self.moved = time.monotonic()


if __name__ == "__main__":
    main(Mutant)
