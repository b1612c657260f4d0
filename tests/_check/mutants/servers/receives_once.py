"""Receives once and sends once, as if one recv() were one message."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve_client(self, conn: socket.socket) -> None:
        """Echo one piece."""
        self.reply(conn, self.receive(conn))


if __name__ == "__main__":
    main(Mutant)
