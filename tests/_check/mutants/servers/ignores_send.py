"""Takes for granted that send() sends everything: a stop and a continuation make it fall short."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, conn: socket.socket, data: bytes) -> None:
        """Send once."""
        conn.send(data)


if __name__ == "__main__":
    main(Mutant)
