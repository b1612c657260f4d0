"""Ignores the return value of send()."""

import socket
import time

from tests._check.client.reference import Client, main

PART = 1 << 20


class Mutant(Client):
    """The reference client with one step changed."""

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Call send() once for each part."""
        for offset in range(0, len(data), PART):
            sock.send(data[offset : offset + PART])
            self.last_progress = time.monotonic()


if __name__ == "__main__":
    main(Mutant)
