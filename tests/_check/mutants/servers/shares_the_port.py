"""Sets SO_REUSEPORT: a second copy starts without a word, and takes half of the clients."""

import socket

from tests._check.threaded import HOST, Server, main


class Mutant(Server):
    """Differs in one step."""

    def listen(self, port: int) -> socket.socket:
        """Take the port, whoever has it."""
        return socket.create_server((HOST, port), backlog=4096, reuse_port=True)


if __name__ == "__main__":
    main(Mutant)
