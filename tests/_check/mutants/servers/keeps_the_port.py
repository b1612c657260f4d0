"""Does not set SO_REUSEADDR: its port cannot be taken again for a minute."""

import socket

from tests._check.threaded import HOST, Server, main


class Mutant(Server):
    """Differs in one step."""

    def listen(self, port: int) -> socket.socket:
        """Bind as it comes."""
        listener = socket.socket()
        listener.bind((HOST, port))
        listener.listen(4096)
        return listener


if __name__ == "__main__":
    main(Mutant)
