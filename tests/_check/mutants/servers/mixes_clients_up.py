"""Keeps one client in a variable of the whole server, and answers that one."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    latest: socket.socket

    def welcome(self, conn: socket.socket) -> None:
        """Begin to serve a client."""
        self.latest = conn
        super().welcome(conn)

    def answer(self, conn: socket.socket, data: bytes) -> None:
        """Answer the latest client."""
        del conn
        super().answer(self.latest, data)


if __name__ == "__main__":
    main(Mutant)
