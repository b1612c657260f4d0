"""Receives 1024 bytes at a time, and leaves Nagle's algorithm on: the second piece waits for an acknowledgement."""

import socket
import time

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def talk(self, conn: socket.socket) -> None:
        """Send back what comes, in small pieces."""
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        while data := conn.recv(1024):
            self.heard[conn] = time.monotonic()
            conn.sendall(data)


if __name__ == "__main__":
    main(Mutant)
