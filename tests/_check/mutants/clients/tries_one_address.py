"""Tries only the first address of a name."""

import socket

from tests._check.client.reference import TIMEOUT, Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def connect(self) -> socket.socket:
        """Connect to the first address."""
        family, kind, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        sock.settimeout(TIMEOUT)
        sock.connect(address)
        sock.settimeout(None)
        return sock


if __name__ == "__main__":
    main(Mutant)
