"""Tries the first address of the name alone."""

import socket

from tests._check.client.reference import PATIENCE, Client, main


class Mutant(Client):
    """Differs in one step."""

    def connect(self) -> socket.socket:
        """Connect to the first address."""
        family, kind, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        sock.settimeout(PATIENCE)
        sock.connect(address)
        sock.settimeout(None)
        return sock


if __name__ == "__main__":
    main(Mutant)
