"""Keeps the client in a variable of the server, and replies to the latest one."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    latest: socket.socket

    def start_client(self, conn: socket.socket) -> None:
        """Start to serve a client."""
        self.latest = conn
        super().start_client(conn)

    def reply(self, conn: socket.socket, data: bytes) -> None:
        """Send to the latest client."""
        del conn
        super().reply(self.latest, data)


if __name__ == "__main__":
    main(Mutant)
