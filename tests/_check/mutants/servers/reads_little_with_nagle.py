"""Receives 1024 bytes at a time with Nagle's algorithm on: the second piece waits for an acknowledgement."""

import socket
import time

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve_client(self, conn: socket.socket) -> None:
        """Echo in small pieces."""
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        while data := conn.recv(1024):
            self.last_received[conn] = time.monotonic()
            conn.sendall(data)


if __name__ == "__main__":
    main(Mutant)
