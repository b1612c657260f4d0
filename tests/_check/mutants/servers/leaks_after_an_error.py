"""Closes a connection at its end, but not after an error."""

import socket
from contextlib import suppress
from typing import ClassVar

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    opened: ClassVar[list[socket.socket]] = []

    def handle(self, conn: socket.socket) -> None:
        """Serve a client to the end, or until it breaks."""
        self.opened.append(conn)
        with suppress(OSError):
            self.talk(conn)
            conn.close()
        self.heard.pop(conn, None)


if __name__ == "__main__":
    main(Mutant)
