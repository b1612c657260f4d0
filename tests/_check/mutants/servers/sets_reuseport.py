"""Sets SO_REUSEPORT: a second copy starts without an error, and gets half of the clients."""

import socket

from tests._check.threaded import HOST, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def listen(self, port: int) -> socket.socket:
        """Bind the port even if it is in use."""
        return socket.create_server((HOST, port), backlog=4096, reuse_port=True)


if __name__ == "__main__":
    main(Mutant)
