"""Ignores how much send() has sent."""

import socket
import time

from tests._check.client.reference import Client, main

PART = 1 << 20


class Mutant(Client):
    """Differs in one step."""

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send a part of each part."""
        for place in range(0, len(data), PART):
            sock.send(data[place : place + PART])
            self.moved = time.monotonic()


if __name__ == "__main__":
    main(Mutant)
