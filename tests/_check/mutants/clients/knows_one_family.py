"""Supports IPv4 only."""

import socket

from tests._check.client.reference import TIMEOUT, Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def connect(self) -> socket.socket:
        """Connect over IPv4."""
        sock = socket.socket(socket.AF_INET)
        sock.settimeout(TIMEOUT)
        sock.connect((self.host, self.port))
        sock.settimeout(None)
        return sock


if __name__ == "__main__":
    main(Mutant)
