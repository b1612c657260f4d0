"""Stops reading at the end of the stream, and does not close the connection."""

import socket
from typing import ClassVar

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    kept: ClassVar[list[socket.socket]] = []

    def serve_client(self, conn: socket.socket) -> None:
        """Echo to the end of the stream, and keep the connection open."""
        super().serve_client(conn)
        self.kept.append(conn.dup())


if __name__ == "__main__":
    main(Mutant)
