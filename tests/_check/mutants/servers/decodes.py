"""Decodes each piece to a text, and encodes the text again."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Differs in one step."""

    def answer(self, conn: socket.socket, data: bytes) -> None:
        """Send the text."""
        conn.sendall(data.decode().encode())


if __name__ == "__main__":
    main(Mutant)
