"""Receives once, sends once, and thinks that was the message."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def talk(self, conn: socket.socket) -> None:
        """Answer one message."""
        self.answer(conn, self.hear(conn))


if __name__ == "__main__":
    main(Mutant)
