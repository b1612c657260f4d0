"""Lets five clients wait to be accepted: of a crowd, most have to ask again after a second."""

import socket

from tests._check.threaded import HOST, Server, main


class Mutant(Server):
    """Differs in one step."""

    def listen(self, port: int) -> socket.socket:
        """Ask for a queue of five."""
        return socket.create_server((HOST, port), backlog=5)


if __name__ == "__main__":
    main(Mutant)
