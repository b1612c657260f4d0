"""Does not set SO_REUSEADDR: its port cannot be bound again for a minute."""

import socket

from tests._check.threaded import HOST, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def listen(self, port: int) -> socket.socket:
        """Bind without SO_REUSEADDR."""
        listener = socket.socket()
        listener.bind((HOST, port))
        listener.listen(4096)
        return listener


if __name__ == "__main__":
    main(Mutant)
