"""Decodes each piece as UTF-8, and encodes it again."""

import socket

from tests._check.threaded import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def reply(self, conn: socket.socket, data: bytes) -> None:
        """Send the encoded text."""
        conn.sendall(data.decode().encode())


if __name__ == "__main__":
    main(Mutant)
