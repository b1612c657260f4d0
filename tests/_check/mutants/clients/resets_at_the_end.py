"""Ends the connection with a reset."""

import socket
import struct
import time

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def check_complete(self) -> None:
        """Check, then make close() send a reset."""
        super().check_complete()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def connect(self) -> socket.socket:
        """Connect and keep the socket."""
        self.sock = super().connect()
        return self.sock

    def shutdown_write(self, sock: socket.socket) -> None:
        """Leave the end of file to close()."""

    def receive(self, sock: socket.socket) -> None:
        """Print the reply until all bytes have arrived."""
        while self.received < len(self.sent) and (data := self.receive_chunk(sock)):
            self.show(data)
            self.compare(data)
            self.received += len(data)
            self.last_progress = time.monotonic()


if __name__ == "__main__":
    main(Mutant)
