"""Closes a connection at the end of the stream, but not after an error."""

import socket
from contextlib import suppress
from typing import ClassVar

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    opened: ClassVar[list[socket.socket]] = []

    def handle(self, conn: socket.socket) -> None:
        """Serve a client; close it unless there is an error."""
        self.opened.append(conn)
        with suppress(OSError):
            self.serve_client(conn)
            conn.close()
        self.last_received.pop(conn, None)


if __name__ == "__main__":
    main(Mutant)
