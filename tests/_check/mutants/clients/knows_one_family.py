"""Knows IPv4 only."""

import socket

from tests._check.client.reference import PATIENCE, Client, main


class Mutant(Client):
    """Differs in one step."""

    def connect(self) -> socket.socket:
        """Connect, as it was done in 1990."""
        sock = socket.socket(socket.AF_INET)
        sock.settimeout(PATIENCE)
        sock.connect((self.host, self.port))
        sock.settimeout(None)
        return sock


if __name__ == "__main__":
    main(Mutant)
