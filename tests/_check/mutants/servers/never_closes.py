"""Stops reading at the client's end, and does not close."""

import socket
from typing import ClassVar

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    stayed: ClassVar[list[socket.socket]] = []

    def talk(self, conn: socket.socket) -> None:
        """Send back what comes, and stay."""
        super().talk(conn)
        self.stayed.append(conn.dup())


if __name__ == "__main__":
    main(Mutant)
