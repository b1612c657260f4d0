"""Has a backlog of five: in a burst, most clients have to resend their SYN after a second."""

import socket

from tests._check.threaded import HOST, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def listen(self, port: int) -> socket.socket:
        """Listen with a backlog of five."""
        return socket.create_server((HOST, port), backlog=5)


if __name__ == "__main__":
    main(Mutant)
